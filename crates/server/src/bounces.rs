//! Telling a mail's sender that it did not arrive: one delivery status notification (RFC 3464) for each envelope that ended
//! otherwise than delivered, sent by the relay of the config.
//!
//! The database writes what is to be sent together with the verdict. A crash after a mail was taken and before its row is gone:
//! sent again. It goes from nobody (`MAIL FROM:<>`), so that none is ever answered by another.

mod notice;

use std::net::SocketAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::causes::with_causes;
use crate::metrics::Metrics;
use crate::outward::smtp::{SendMailError, send_mail};
use crate::store::{Bounce, Store, StoreError};

/// How often is looked for what is to be sent.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Sent in one go.
const AT_ONCE: u32 = 100;

/// From the name to the relay's last word.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The first pause after a try that failed; each is twice as long as the one before, up to the longest.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(4);

/// A notification is tried for so long, as mail is (RFC 5321 §4.5.4.1).
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(5 * 24);

/// Octets of the original's header that go back with the notification.
const HEADER_OCTETS_MAX: usize = 64 * 1024;

/// How notifications are sent.
#[derive(Debug, Clone)]
pub struct BounceConfig {
    /// The mail server that takes them, `HOST:PORT`.
    pub relay: String,
    /// What this host calls itself.
    pub hostname: String,
    /// The domain of their sender.
    pub domain: String,
}

/// Sends until `shutdown`.
pub(crate) async fn tell(store: Store, config: BounceConfig, metrics: Metrics, shutdown: CancellationToken) {
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(look.tick()).await.is_some() {
        let sent = shutdown.run_until_cancelled(send_due(&store, &config, &metrics, Timestamp::now())).await;
        if let Some(Err(error)) = sent {
            tracing::error!(%error, "notifications cannot be read");
        }
    }
}

/// Tries everything that is due once.
async fn send_due(store: &Store, config: &BounceConfig, metrics: &Metrics, now: Timestamp) -> Result<(), StoreError> {
    for bounce in store.due_bounces(now, AT_ONCE).await? {
        let header = match store.content(bounce.message).await {
            Ok((_, content)) => notice::header_of(&content, HEADER_OCTETS_MAX),
            // Removed since, or damaged: the notification says what it can.
            Err(_) => String::new(),
        };
        let mail = notice::write(&bounce, config, &header, now);
        let sent = timeout(TIME_MAX, send(config, &bounce, mail.as_bytes())).await;
        let sent = sent.unwrap_or_else(|_| Err(SendMailError::Connect(std::io::ErrorKind::TimedOut.into())));
        let Bounce { id, failed, since, message, sender, .. } = bounce;
        match sent {
            Ok(()) => {
                metrics.bounce("sent");
                tracing::info!(message_id = %message, "sender told that a mail did not arrive");
                store.bounce_done(id).await?;
            }
            Err(error) if error.is_final() || now.duration_since(since) > GIVE_UP_AFTER => {
                metrics.bounce("given-up");
                tracing::warn!(message_id = %message, sender, error = %with_causes(&error), "notification given up");
                store.bounce_done(id).await?;
            }
            Err(error) => {
                metrics.bounce("failed");
                tracing::warn!(message_id = %message, error = %with_causes(&error), "notification not sent");
                let pause = FIRST_PAUSE.saturating_mul(1 << failed.min(20)).min(LONGEST_PAUSE);
                store.bounce_failed(id, now.checked_add(pause).unwrap_or(Timestamp::MAX)).await?;
            }
        }
    }
    Ok(())
}

async fn send(config: &BounceConfig, bounce: &Bounce, mail: &[u8]) -> Result<(), SendMailError> {
    let addresses: Vec<SocketAddr> = lookup_host(&config.relay).await.map_err(SendMailError::Connect)?.collect();
    let stream = TcpStream::connect(&*addresses).await.map_err(SendMailError::Connect)?;
    send_mail(stream, &config.hostname, None, &[&bounce.sender], mail).await
}

#[cfg(test)]
mod tests;
