//! The connection program: PPP over an answered or dialled call, the connected notice, proof, receiving until there is
//! nothing more. Or the same without a call: over the terminal's own Internet access.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use delivery::proof::ServerKeyList;
use delivery::{Arrival, Manner, MessageId, Preamble, Progress, Reason, ReceiveError, StoreError, Stored};
use hyper::body::Incoming;
use jiff::Timestamp;
use line::Call;
use link::{
    Agreement, Capture, CloseReason, Expected, Link, LinkConfig, LinkError, LocalAddress, OpenPorts, PeerAddress, Side,
    Terms, TunConfig,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::identity::{Identity, IdentityError};
use crate::inbox::Inbox;
use crate::outbox::Outbox;

/// A server from which nothing comes for so long is gone, or has forgotten us; somebody pays for the line.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A link whose server is not proved so long after the connected notice is hung up (design section 5); on a slow line five
/// times what the handshake should take.
const PROOF_WAIT: Duration = Duration::from_secs(15);

/// Octets of the longest handshake and what surrounds it, both ways.
const HANDSHAKE_OCTETS: u32 = 1500;

/// What has come when the link goes may take so long to be brought to the disk.
const LAST_WRITES: Duration = Duration::from_secs(8);

/// How long a server may be silent on the Internet, and how long it may take to be reached.
const ONLINE_SILENCE_MAX: Duration = Duration::from_secs(60);

/// The rate of the terminal's own Internet access, as far as record sizes go.
const ONLINE_RATE_BPS: u32 = 1_000_000;

/// What a link to the server needs to know.
#[derive(Debug, Clone, Default)]
pub struct LinkSettings {
    /// Our address. Asking for the right one saves a round trip; `None` takes what is given.
    pub address: Option<Ipv4Addr>,
    /// One-way delay of the line, as far as known.
    pub delay: Duration,
    /// Where everything that crosses the link is recorded, if anywhere.
    pub capture: Option<Capture>,
    /// The ports of the link that the rest of the machine gets, if any; takes a build with the feature `tun`.
    pub tun: Option<OpenPorts>,
}

/// Why a session came to nothing. What was stored stays stored.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// PPP did not come up.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server has no address on the link: there is nobody to notify.
    #[error("the server has no address on the link")]
    NoServer,
    /// The server's delivery port did not take the notice.
    #[error("the connected notice could not be given")]
    Notice(#[source] io::Error),
    /// Whoever is there is not the server, or took too long to prove that it is. Nothing was stored, nothing was told.
    #[error("the server did not prove itself{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotProved(Option<String>),
    /// This terminal cannot prove itself.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server cannot be reached over the Internet.
    #[error("could not connect to the server at {address}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The session broke off.
    #[error("the delivery broke off")]
    Receive(#[from] ReceiveError),
    /// The link went.
    #[error("the link ended: {0}")]
    LinkEnded(CloseReason),
    /// Nothing came for a minute.
    #[error("the server fell silent")]
    Silence,
}

/// Brings up IP over a call, as the side that is given its address. `expected` is what an earlier call agreed on with a
/// server that proved itself.
///
/// # Errors
/// [`SessionError::Link`].
pub async fn establish(call: Call, settings: &LinkSettings, expected: Option<Agreement>) -> Result<Link, SessionError> {
    let began = Instant::now();
    let rate_bps = call.rate_bps();
    let config = LinkConfig {
        local: LocalAddress::Ask(settings.address),
        peer: PeerAddress::Any,
        rate_bps,
        delay: settings.delay,
        ports: &[],
        terms: Terms::default(),
        // The connected notice goes to the delivery port: its connection is begun with the first octet.
        expected: expected.map(|agreement| Expected { agreement, connect: Some(delivery::PORT) }),
        capture: settings.capture.clone(),
        tun: settings.tun.clone().map(|ports| TunConfig { side: Side::Terminal, ports }),
    };
    let link = Link::establish(call, config).await?;
    let address = link.local();
    tracing::info!(%address, millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "link up");
    Ok(link)
}

/// What a terminal brings into a session.
#[derive(Debug, Clone)]
pub struct Receiving {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Where what comes is kept.
    pub inbox: Arc<Inbox>,
    /// What it has to say.
    pub outbox: Arc<Outbox>,
    /// How long it stays connected after "nothing more".
    pub linger: Duration,
}

/// Gives the connected notice over a link and receives until the server has nothing more.
///
/// # Errors
/// [`SessionError`].
pub async fn receive(link: &Link, reason: Reason, delay: Duration, receiving: Receiving) -> Result<(), SessionError> {
    let server = link.peer().ok_or(SessionError::NoServer)?;
    let stream = link.connect(server, delivery::PORT).await.map_err(SessionError::Notice)?;
    let rate_bps = link.rate_bps();
    let (complete, identity) = (Arc::new(AtomicBool::new(false)), receiving.identity.clone());
    let course = Course { rate_bps, proof_wait: proof_wait(rate_bps, delay), complete: complete.clone() };
    let session = receive_over(stream, reason, course, receiving, || link.proved());
    let mut session = std::pin::pin!(session);
    let mut silent = std::pin::pin!(link.silent(SILENCE_MAX));
    tokio::select! {
        received = &mut session => return received,
        () = &mut silent => return Err(SessionError::Silence),
        _ = link.closed() => {}
    }
    // The session sees it, too, and brings to the disk what has come.
    let _ = timeout(LAST_WRITES, &mut session).await;
    if complete.load(Ordering::Relaxed) {
        // The server hangs up on the receipt of the last message.
        return Ok(identity.burn_secret()?);
    }
    // Not "not proved", even before the proof: a server that crashes, or a line that is cut, is no forger.
    Err(SessionError::LinkEnded(link.closed().await))
}

/// Connects to the server's delivery port at `address` (`HOST:PORT`) over the Internet, and receives as over a link.
///
/// # Errors
/// [`SessionError`].
pub async fn receive_online(address: &str, reason: Reason, receiving: Receiving) -> Result<(), SessionError> {
    let failed = |source| SessionError::Connect { address: address.to_owned(), source };
    let connected = timeout(ONLINE_SILENCE_MAX, TcpStream::connect(address)).await;
    let stream = connected.unwrap_or(Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    tracing::info!(address, "connected to the server");
    let course = Course { rate_bps: ONLINE_RATE_BPS, proof_wait: PROOF_WAIT, complete: Arc::default() };
    receive_over(stream, reason, course, receiving, || ()).await
}

/// How a session goes, as far as its line matters.
struct Course {
    rate_bps: u32,
    proof_wait: Duration,
    /// Set when all that waited has come: what ends the session then is no fault.
    complete: Arc<AtomicBool>,
}

/// One session on a stream to the server's delivery port.
async fn receive_over<S>(
    mut stream: S,
    reason: Reason,
    course: Course,
    receiving: Receiving,
    on_proved: impl Fn(),
) -> Result<(), SessionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Receiving { identity, inbox, outbox, linger } = receiving;
    let Course { rate_bps, proof_wait, complete } = course;
    let notice = format!("{}\n", Preamble { terminal: identity.id(), reason });
    stream.write_all(notice.as_bytes()).await.map_err(SessionError::Notice)?;
    stream.flush().await.map_err(SessionError::Notice)?;
    tracing::info!("connected notice given");
    let stream = identity.credentials().secure(stream, rate_bps).map_err(IdentityError::from)?;
    let mut proof = stream.proof();
    let proved = Arc::new(Notify::new());
    let inbox =
        Arc::new(AttentiveInbox { inbox, outbox, identity: identity.clone(), proved: proved.clone(), complete });
    let mut received = std::pin::pin!(delivery::receive(stream, inbox, identity.enrolment(), linger));
    let mut deadline = std::pin::pin!(sleep(proof_wait));
    let mut is_proved = false;
    loop {
        tokio::select! {
            biased;
            () = proved.notified(), if !is_proved => {
                is_proved = true;
                if let Some(proved) = proof.wait().await {
                    tracing::info!(server = %proved.peer, resumed = proved.resumed, "server proved");
                }
                on_proved();
            }
            received = &mut received => match received {
                Ok(()) => return Ok(identity.burn_secret()?),
                Err(error) if !is_proved => return Err(SessionError::NotProved(Some(innermost(&error)))),
                Err(error) => return Err(error.into()),
            },
            () = &mut deadline, if !is_proved => return Err(SessionError::NotProved(None)),
        }
    }
}

fn proof_wait(rate_bps: u32, delay: Duration) -> Duration {
    let handshake = 4 * delay + Duration::from_secs_f64(f64::from(HANDSHAKE_OCTETS * 10) / f64::from(rate_bps.max(1)));
    PROOF_WAIT.max(5 * handshake)
}

/// What is at the bottom of an error: with keys, the one that was refused.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// An inbox that tells when the server is proved.
struct AttentiveInbox {
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
    identity: Arc<Identity>,
    proved: Arc<Notify>,
    complete: Arc<AtomicBool>,
}

impl delivery::Inbox for AttentiveInbox {
    async fn store(&self, arrival: Arrival, content: Incoming) -> Result<Stored, StoreError> {
        let Manner { urgency, .. } = arrival.manner;
        if let Some(stated) =
            self.outbox.conditions().filter(|stated| !stated.take(urgency, arrival.size, Timestamp::now()))
        {
            return Err(StoreError::NotNow(stated.reason));
        }
        self.inbox.store(arrival, content).await
    }

    async fn progress(&self, id: MessageId) -> Progress {
        self.inbox.progress(id).await
    }

    fn keep_server_keys(&self, keys: &ServerKeyList) -> Result<bool, StoreError> {
        let failed = |error| StoreError::Disk { operation: "keep the server's keys", source: io::Error::other(error) };
        self.identity.keep_servers(keys).map_err(failed)?;
        tracing::info!(keys = keys.keys().len(), "told the server's keys");
        Ok(true)
    }

    fn outbox(&self) -> Option<&dyn delivery::Outbox> {
        Some(self.outbox.as_ref())
    }

    fn proved(&self) {
        self.proved.notify_one();
    }

    fn complete(&self) {
        self.complete.store(true, Ordering::Relaxed);
    }
}
