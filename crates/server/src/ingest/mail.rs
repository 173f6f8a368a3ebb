//! Mail: an SMTP server (RFC 5321) for those who send to terminals. A 250 behind the content says: on the disk.
//!
//! It relays nothing: a recipient is a terminal of the directory, or is refused. Whoever proves a provider's token (AUTH, inside
//! TLS) submits as that provider; everybody else as the one that the config names, with its rights and quotas.

mod content;
mod recipient;
mod session;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::door::Door as Entrance;
use crate::intake::Intake;
use crate::listener::{self, Guest, Limits};
use crate::metrics::Metrics;
use model::alarm::AlarmKind;
use model::directory::Name;
use store::Store;

use session::{Ended, Session};

/// Connections at once, and of one address.
const CONNECTIONS_MAX: usize = 200;
const CONNECTIONS_OF_ONE_MAX: usize = 20;

/// A mail that is on its way to the disk when the server stops gets its answer in this time.
const GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether the provider is there as which mail is submitted.
const PROVIDER_LOOK: Duration = Duration::from_secs(60);

/// What takes mail.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// Where.
    pub listen: SocketAddr,
    /// What this host calls itself.
    pub hostname: String,
    /// The domains of the terminals' addresses.
    pub domains: Vec<String>,
    /// Whose mail it is that comes without a token.
    pub provider: Name,
    /// Mail that was not delivered in this time has expired.
    pub give_up_after: SignedDuration,
    /// The mail server that takes notifications for senders, `HOST:PORT`; `None`: they are told nothing.
    pub relay: Option<String>,
    /// The terminal that gets the postmaster's mail; `None`: it is refused, against RFC 5321 §4.5.1.
    pub postmaster: Option<Name>,
    /// For STARTTLS, if there is a certificate.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MailTlsError(String);

/// Reads a certificate chain and its key, both PEM.
///
/// # Errors
/// [`MailTlsError`] says which file, and why.
pub fn read_tls(
    chain: &std::path::Path,
    key: &std::path::Path,
) -> Result<Arc<rustls::ServerConfig>, MailTlsError> {
    let failed = |path: &std::path::Path, error: &dyn std::fmt::Display| {
        MailTlsError(format!("{}: {error}", path.display()))
    };
    let certificates =
        CertificateDer::pem_file_iter(chain).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| failed(chain, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Other mail servers are as old as they are: TLS 1.2 is taken, too, if the build has it.
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(chain, &error))?
        .with_no_client_auth()
        .with_single_cert(certificates, secret)
        .map_err(|error| failed(chain, &error))?;
    Ok(Arc::new(config))
}

/// What every session needs.
#[derive(Debug, Clone)]
struct Door {
    config: Arc<MailConfig>,
    intake: Intake,
    store: Store,
    metrics: Metrics,
    /// How full it is.
    entrance: Entrance,
}

/// Takes mail until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    seats: usize,
    config: MailConfig,
    intake: Intake,
    store: Store,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let alarms = intake.alarms().clone();
    let watched = watch_provider(&store, &alarms, &config.provider);
    let served = take(
        listener,
        seats,
        config.clone(),
        intake,
        store.clone(),
        metrics,
        shutdown,
    );
    tokio::select! {
        () = served => {}
        () = watched => {}
    }
}

/// Says when the provider as which mail is submitted is missing: no mail is taken without.
async fn watch_provider(store: &Store, alarms: &Alarms, provider: &Name) {
    // Of a provider that the config does not name any more.
    alarms
        .keep(
            AlarmKind::MailProvider,
            BTreeSet::from([provider.to_string()]),
        )
        .await;
    loop {
        match store.provider_named(provider.clone()).await {
            Ok(Some(_)) => alarms.clear(AlarmKind::MailProvider, provider).await,
            Ok(None) => {
                let detail = format!(
                    "no mail is taken until it is in the directory: ringup provider add {provider}"
                );
                alarms
                    .raise(AlarmKind::MailProvider, provider, detail)
                    .await;
            }
            Err(error) => tracing::error!(%error, "the directory cannot be read"),
        }
        sleep(PROVIDER_LOOK).await;
    }
}

async fn take(
    listener: TcpListener,
    seats: usize,
    config: MailConfig,
    intake: Intake,
    store: Store,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    if config.postmaster.is_none() {
        tracing::warn!("mail to postmaster is refused: [mail] postmaster names no terminal");
    }
    let seats = seats.min(CONNECTIONS_MAX);
    let entrance = Entrance::shared(seats, CONNECTIONS_OF_ONE_MAX);
    let refusal = Some(format!(
        "421 4.3.2 {} too many connections; try again later\r\n",
        config.hostname
    ));
    let limits = Limits {
        name: "mail",
        seats,
        door: entrance.clone(),
        refusal,
        grace: GRACE,
    };
    let door = Door {
        config: Arc::new(config),
        intake,
        store,
        metrics,
        entrance,
    };
    let stop = shutdown.clone();
    let handle = move |guest: Guest<TcpStream>| converse(door.clone(), guest, stop.clone());
    listener::serve(listener, limits, shutdown, handle).await;
}

async fn converse(door: Door, guest: Guest<TcpStream>, shutdown: CancellationToken) {
    let Guest {
        stream,
        peer,
        place: _place,
    } = guest;
    let _ = stream.set_nodelay(true);
    let tls = door.config.tls.clone();
    let plain = Session::new(door.clone(), stream, peer, None);
    let ended = match plain.run(true, &shutdown).await {
        Ok(Ended::StartTls(stream)) => {
            let Some(tls) = tls else { return };
            match timeout(
                session::HANDSHAKE_WAIT,
                TlsAcceptor::from(tls).accept(stream),
            )
            .await
            {
                Ok(Ok(stream)) => {
                    let version = stream
                        .get_ref()
                        .1
                        .protocol_version()
                        .map(|version| format!("{version:?}"));
                    let secure =
                        Session::new(door, stream, peer, Some(version.unwrap_or_default()));
                    secure.run(false, &shutdown).await.map(|_| ())
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(Ended::Over) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "mail connection ended");
    }
}

#[cfg(test)]
mod tests;
