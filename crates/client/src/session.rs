//! The connection program: PPP over an answered or dialled call, the connected notice, proof, receiving until there is
//! nothing more. Or the same without a call: over the terminal's own Internet access.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use delivery::proof::{self, ServerKeyList};
use delivery::{
    Arrival, Later, Manner, MessageId, Preamble, Progress, Reason, ReceiveError, StoreError, Stored,
};
use hyper::body::Incoming;
use jiff::Timestamp;
use line::Call;
use link::{
    Agreement, Capture, CloseReason, Expected, Link, LinkConfig, LinkError, LocalAddress,
    OpenPorts, PeerAddress, Side, Terms, TunConfig,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::identity::{Identity, IdentityError};
use crate::inbox::Inbox;
use crate::outbox::Outbox;

/// Silence after which the server counts as gone; the open line costs money.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How often a server is tried that has no place just now; the pause is doubled with each try.
const LATER_TRIES: u32 = 6;

/// Time to write received octets to the disk after the link is lost.
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
    /// The server has no address on the link: the notice has no destination.
    #[error("the server has no address on the link")]
    NoServer,
    /// The server's delivery port did not take the notice.
    #[error("the connected notice could not be given")]
    Notice(#[source] io::Error),
    /// The server has no place just now, on any of our tries.
    #[error("the server has no place just now: come again in {} s", .0.as_secs())]
    Later(Duration),
    /// The server closed the connection before it said anything.
    #[error(
        "the server closed the connection without a word: it does not know this terminal, or stops just now"
    )]
    TurnedAway,
    /// The peer did not prove to be the server, or not in time. Nothing was stored or reported.
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
pub async fn establish(
    call: Call,
    settings: &LinkSettings,
    expected: Option<Agreement>,
) -> Result<Link, SessionError> {
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
        expected: expected.map(|agreement| Expected {
            agreement,
            connect: Some(delivery::PORT),
        }),
        capture: settings.capture.clone(),
        tun: settings.tun.clone().map(|ports| TunConfig {
            side: Side::Terminal,
            ports,
        }),
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

/// How a session ended, and what had come of it.
#[derive(Debug)]
#[must_use]
pub struct Ended {
    /// The server has proved itself.
    pub is_proved: bool,
    /// Messages that were stored, and whether the server took what waited here.
    pub brought: u32,
    /// How.
    pub result: Result<(), SessionError>,
}

impl SessionError {
    /// The line went, or never stood: it says nothing of who was there.
    pub fn is_lines_fault(&self) -> bool {
        matches!(
            self,
            Self::LinkEnded(CloseReason::CarrierLost)
                | Self::Link(
                    LinkError::NotEstablished(CloseReason::CarrierLost) | LinkError::NoRandom(_)
                )
        )
    }

    /// This terminal's own: it says nothing of who was there either.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Identity(_) | Self::Link(LinkError::NoRandom(_)))
    }
}

/// How long a caller may take from CONNECT to the proof if its number is spaced: what a proof takes on this line, and a second.
pub fn hearing(rate_bps: u32, delay: Duration) -> Duration {
    proof::hearing(rate_bps, delay)
}

/// Gives the connected notice over a link and receives until the server has nothing more. `hearing` is how long the server may
/// take to prove itself, where that is less than usual.
pub async fn receive(
    link: &Link,
    reason: Reason,
    delay: Duration,
    hearing: Option<Duration>,
    receiving: Receiving,
) -> Ended {
    let course = Arc::new(Course::new(&receiving));
    let result = receive_on_link(link, reason, delay, hearing, receiving, course.clone()).await;
    course.ended(result)
}

async fn receive_on_link(
    link: &Link,
    reason: Reason,
    delay: Duration,
    hearing: Option<Duration>,
    receiving: Receiving,
    course: Arc<Course>,
) -> Result<(), SessionError> {
    let server = link.peer().ok_or(SessionError::NoServer)?;
    let (rate_bps, identity) = (link.rate_bps(), receiving.identity.clone());
    let limit = proof::proof_wait(rate_bps, delay);
    let limit = Limit::new(hearing.map_or(limit, |hearing| hearing.min(limit)));
    let session = async {
        let connected = timeout(limit.left(), link.connect(server, delivery::PORT)).await;
        let mut stream = match connected {
            Ok(connected) => connected.map_err(SessionError::Notice)?,
            Err(_) => {
                return Err(SessionError::NotProved(Some(
                    "its delivery port does not answer".to_owned(),
                )));
            }
        };
        give_notice(&mut stream, &identity, reason).await?;
        receive_over(stream, rate_bps, limit, course.clone(), receiving, || {
            link.proved();
        })
        .await
    };
    let mut session = std::pin::pin!(session);
    let mut silent = std::pin::pin!(link.silent(SILENCE_MAX));
    let ended = tokio::select! {
        biased;
        received = &mut session => Some(received),
        _ = link.closed() => None,
        () = &mut silent => return Err(SessionError::Silence),
    };
    let received = match ended {
        Some(received) => received,
        // The session sees it, too, and brings to the disk what has come.
        None => timeout(LAST_WRITES, &mut session)
            .await
            .unwrap_or(Err(SessionError::Silence)),
    };
    // A link that is gone says so before its streams do.
    let Ok(gone) = timeout(Duration::ZERO, link.closed()).await else {
        return received;
    };
    match received {
        Ok(()) => Ok(()),
        // The server hangs up on the receipt of the last message.
        Err(_) if course.is_complete.load(Ordering::Relaxed) => Ok(identity.burn_secret()?),
        // Not "not proved", even before the proof: a server that crashes, or a line that is cut, is no forger.
        Err(_) => Err(SessionError::LinkEnded(gone)),
    }
}

/// Connects to the server's delivery port at `address` (`HOST:PORT`) over the Internet, and receives as over a link. A server
/// that has no place just now is tried again, each terminal at another time.
pub async fn receive_online(address: &str, reason: Reason, receiving: Receiving) -> Ended {
    let mut tries = 1;
    loop {
        let course = Arc::new(Course::new(&receiving));
        let result = receive_once(address, reason, receiving.clone(), course.clone()).await;
        let Err(SessionError::Later(retry_in)) = &result else {
            return course.ended(result);
        };
        if tries == LATER_TRIES {
            return course.ended(result);
        }
        let wait = (*retry_in * (1 << (tries - 1))).mul_f64(1.0 + fraction());
        tracing::info!(address, ?wait, "the server has no place just now");
        sleep(wait).await;
        tries += 1;
    }
}

async fn receive_once(
    address: &str,
    reason: Reason,
    receiving: Receiving,
    course: Arc<Course>,
) -> Result<(), SessionError> {
    let failed = |source| SessionError::Connect {
        address: address.to_owned(),
        source,
    };
    let connected = timeout(ONLINE_SILENCE_MAX, TcpStream::connect(address)).await;
    let mut stream = connected
        .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
        .map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    tracing::info!(address, "connected to the server");
    let limit = Limit::new(proof::PROOF_WAIT);
    give_notice(&mut stream, &receiving.identity, reason).await?;
    // What begins a proof stays in the stream: it is the proof's.
    let mut first = [0];
    match timeout(limit.left(), stream.peek(&mut first)).await {
        Ok(Ok(1)) if first[0] == Later::FIRST_OCTET => {
            let later = timeout(limit.left(), Later::read(&mut stream)).await;
            let retry_in = later
                .ok()
                .and_then(Result::ok)
                .map_or(proof::PROOF_WAIT, |later| later.retry_in);
            return Err(SessionError::Later(retry_in));
        }
        Ok(Ok(0) | Err(_)) => return Err(SessionError::TurnedAway),
        Ok(Ok(_)) | Err(_) => {}
    }
    receive_over(stream, ONLINE_RATE_BPS, limit, course, receiving, || ()).await
}

/// Time that is running.
#[derive(Debug, Clone, Copy)]
struct Limit {
    at: tokio::time::Instant,
}

impl Limit {
    fn new(wait: Duration) -> Self {
        Self {
            at: tokio::time::Instant::now() + wait,
        }
    }

    fn left(&self) -> Duration {
        self.at
            .saturating_duration_since(tokio::time::Instant::now())
    }
}

/// What a session has come to so far.
#[derive(Debug, Default)]
struct Course {
    is_proved: AtomicBool,
    /// All that waited has come: what ends the session then is no fault.
    is_complete: AtomicBool,
    stored: AtomicU32,
    /// Something waited here, which the server is to take.
    outbox: Option<Arc<Outbox>>,
}

impl Course {
    fn new(receiving: &Receiving) -> Self {
        let outbox = Some(receiving.outbox.clone())
            .filter(|outbox| delivery::Outbox::waits(outbox.as_ref()));
        Self {
            outbox,
            ..Self::default()
        }
    }

    fn ended(&self, result: Result<(), SessionError>) -> Ended {
        let is_taken = self
            .outbox
            .as_ref()
            .is_some_and(|outbox| !delivery::Outbox::waits(outbox.as_ref()));
        let brought = self.stored.load(Ordering::Relaxed) + u32::from(is_taken);
        Ended {
            is_proved: self.is_proved.load(Ordering::Relaxed),
            brought,
            result,
        }
    }
}

async fn give_notice(
    stream: &mut (impl AsyncWrite + Unpin),
    identity: &Identity,
    reason: Reason,
) -> Result<(), SessionError> {
    let notice = format!(
        "{}\n",
        Preamble {
            terminal: identity.id(),
            reason
        }
    );
    stream
        .write_all(notice.as_bytes())
        .await
        .map_err(SessionError::Notice)?;
    stream.flush().await.map_err(SessionError::Notice)?;
    tracing::info!("connected notice given");
    Ok(())
}

/// One session on a stream to the server's delivery port, behind the notice.
async fn receive_over<S>(
    stream: S,
    rate_bps: u32,
    limit: Limit,
    course: Arc<Course>,
    receiving: Receiving,
    on_proved: impl Fn(),
) -> Result<(), SessionError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Receiving {
        identity,
        inbox,
        outbox,
        linger,
    } = receiving;
    let stream = identity
        .credentials()
        .secure(stream, rate_bps)
        .map_err(IdentityError::from)?;
    let mut proof = stream.proof();
    let proved = Arc::new(Notify::new());
    let inbox = Arc::new(AttentiveInbox {
        inbox,
        outbox,
        identity: identity.clone(),
        proved: proved.clone(),
        course: course.clone(),
    });
    let mut received = std::pin::pin!(delivery::receive(
        stream,
        inbox,
        identity.enrolment(),
        linger
    ));
    let mut deadline = std::pin::pin!(sleep(limit.left()));
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

/// From 0 up to 1.
fn fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
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
    course: Arc<Course>,
}

impl delivery::Inbox for AttentiveInbox {
    async fn store(&self, arrival: Arrival, content: Incoming) -> Result<Stored, StoreError> {
        let Manner { urgency, .. } = arrival.manner;
        if let Some(stated) = self
            .outbox
            .conditions()
            .filter(|stated| !stated.take(urgency, arrival.size, Timestamp::now()))
        {
            return Err(StoreError::NotNow(stated.reason));
        }
        let stored = self.inbox.store(arrival, content).await;
        self.course.stored.fetch_add(
            u32::from(matches!(stored, Ok(Stored::Now))),
            Ordering::Relaxed,
        );
        stored
    }

    async fn progress(&self, id: MessageId) -> Progress {
        self.inbox.progress(id).await
    }

    fn keep_server_keys(&self, keys: &ServerKeyList) -> Result<bool, StoreError> {
        let failed = |error| StoreError::Disk {
            operation: "keep the server's keys",
            source: io::Error::other(error),
        };
        self.identity.keep_servers(keys).map_err(failed)?;
        tracing::info!(keys = keys.keys().len(), "told the server's keys");
        Ok(true)
    }

    fn outbox(&self) -> Option<&dyn delivery::Outbox> {
        Some(self.outbox.as_ref())
    }

    fn proved(&self) {
        self.course.is_proved.store(true, Ordering::Relaxed);
        self.proved.notify_one();
    }

    fn complete(&self) {
        self.course.is_complete.store(true, Ordering::Relaxed);
    }
}
