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
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::metrics::Metrics;
use crate::outward::smtp::{SendMailError, send_mail};
use model::alarm::AlarmKind;
use model::causes::with_causes;
use store::{Bounce, Store, StoreError};

/// How often is looked for what is to be sent.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Read in one go. What is left then is read as soon as these were tried.
const READ_AT_ONCE: u32 = 100;

/// Connections to the relay at once.
const AT_ONCE: usize = 4;

/// The first rest after the relay could not be reached; each is twice as long as the one before, up to the longest.
const REST_FIRST: Duration = Duration::from_secs(2);
const REST_MAX: Duration = Duration::from_secs(120);

/// How long a notification may wait before an alarm says so, and how old the oldest is when that is over.
const LATE_AFTER: SignedDuration = SignedDuration::from_mins(15);
const IN_TIME_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// How often is looked whether they are late.
const LATE_INTERVAL: Duration = Duration::from_secs(60);

/// From the name to the relay's last word.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The first pause after a try that failed; each is twice as long as the one before, up to the longest.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(4);

/// Longest time for which a notification is tried, as mail is (RFC 5321 §4.5.4.1).
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
pub(crate) async fn tell(
    store: Store,
    config: BounceConfig,
    alarms: Alarms,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let looks = shutdown.run_until_cancelled(look_whether_late(&store, &config, &alarms));
    let sending = shutdown.run_until_cancelled(send_all(&store, &config, &metrics));
    tokio::join!(looks, sending);
}

/// Sends what is due as fast as the relay takes it.
async fn send_all(store: &Store, config: &BounceConfig, metrics: &Metrics) {
    let mut failures = 0_u32;
    loop {
        let pause = match send_due(store, config, metrics, Timestamp::now()).await {
            Ok(Round {
                is_reached: false, ..
            }) => {
                failures = failures.saturating_add(1);
                REST_FIRST
                    .saturating_mul(1 << (failures - 1).min(16))
                    .min(REST_MAX)
            }
            Ok(Round { is_last, .. }) => {
                failures = 0;
                if is_last {
                    LOOK_INTERVAL
                } else {
                    Duration::ZERO
                }
            }
            Err(error) => {
                tracing::error!(%error, "notifications cannot be read");
                LOOK_INTERVAL
            }
        };
        sleep(pause).await;
    }
}

/// Raises and clears the alarm about a relay that is told too late.
async fn look_whether_late(store: &Store, config: &BounceConfig, alarms: &Alarms) {
    let mut look = interval(LATE_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        match store.oldest_bounce().await {
            Ok(oldest) => say_whether_late(oldest, Timestamp::now(), &config.relay, alarms).await,
            Err(error) => tracing::error!(%error, "cannot read how long notifications wait"),
        }
    }
}

async fn say_whether_late(oldest: Option<Timestamp>, now: Timestamp, relay: &str, alarms: &Alarms) {
    let is_older = |than| oldest.is_some_and(|since| now.duration_since(since) >= than);
    if let Some(since) = oldest.filter(|_| is_older(LATE_AFTER)) {
        let detail = format!(
            "notifications of undelivered mail have waited since {since:.0}: the relay cannot be reached or refuses them. Check it; \
             each is tried for five days"
        );
        alarms.raise(AlarmKind::BouncesLate, relay, detail).await;
    }
    let late = is_older(IN_TIME_AFTER).then(|| relay.to_owned());
    alarms
        .keep(AlarmKind::BouncesLate, late.into_iter().collect())
        .await;
}

/// What came of trying what was due.
struct Round {
    /// The relay was there.
    is_reached: bool,
    /// Nothing more was due.
    is_last: bool,
}

/// Tries what is due once, up to 100. A relay that is not there is not tried with all of it.
async fn send_due(
    store: &Store,
    config: &BounceConfig,
    metrics: &Metrics,
    now: Timestamp,
) -> Result<Round, StoreError> {
    let due = store.due_bounces(now, READ_AT_ONCE).await?;
    let is_last = due.len() < READ_AT_ONCE as usize;
    let mut due = due.into_iter();
    let (mut tries, mut is_reached) = (JoinSet::new(), true);
    loop {
        while is_reached
            && tries.len() < AT_ONCE
            && let Some(bounce) = due.next()
        {
            let (store, config, metrics) = (store.clone(), config.clone(), metrics.clone());
            tries.spawn(async move { try_once(&store, &config, &metrics, bounce, now).await });
        }
        let Some(tried) = tries.join_next().await else {
            return Ok(Round {
                is_reached,
                is_last,
            });
        };
        is_reached &= tried.map_err(|_| StoreError::Stopped)??;
    }
}

/// Sends one, and notes what came of it. `false`: the relay was not reached.
async fn try_once(
    store: &Store,
    config: &BounceConfig,
    metrics: &Metrics,
    bounce: Bounce,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let header = match store.content(bounce.message).await {
        Ok((_, content)) => notice::header_of(&content, HEADER_OCTETS_MAX),
        // Removed since, or damaged: the notification says what it can.
        Err(_) => String::new(),
    };
    let mail = notice::write(&bounce, config, &header, now);
    let sent = timeout(TIME_MAX, send(config, &bounce, mail.as_bytes())).await;
    let sent =
        sent.unwrap_or_else(|_| Err(SendMailError::Connect(std::io::ErrorKind::TimedOut.into())));
    let is_reached = !matches!(sent, Err(SendMailError::Connect(_)));
    let Bounce {
        id,
        failed,
        since,
        message,
        sender,
        ..
    } = bounce;
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
            let pause = FIRST_PAUSE
                .saturating_mul(1 << failed.min(20))
                .min(LONGEST_PAUSE);
            store
                .bounce_failed(id, now.checked_add(pause).unwrap_or(Timestamp::MAX))
                .await?;
        }
    }
    Ok(is_reached)
}

async fn send(config: &BounceConfig, bounce: &Bounce, mail: &[u8]) -> Result<(), SendMailError> {
    let addresses: Vec<SocketAddr> = lookup_host(&config.relay)
        .await
        .map_err(SendMailError::Connect)?
        .collect();
    let stream = TcpStream::connect(&*addresses)
        .await
        .map_err(SendMailError::Connect)?;
    send_mail(stream, &config.hostname, None, &[&bounce.sender], mail).await
}

#[cfg(test)]
mod tests;
