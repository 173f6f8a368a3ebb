//! The connection program: PPP over an answered or dialled call, the connected notice, receiving until there is nothing more.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::{MessageHead, Preamble, ReceiveError, StoreError, Stored, TerminalId};
use hyper::body::Incoming;
use line::Call;
use link::{
    Capture, CloseReason, Link, LinkConfig, LinkError, LocalAddress, OpenPorts, PeerAddress, Side, Terms, TunConfig,
};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use crate::inbox::Inbox;

/// A server from which nothing comes for so long is gone, or has forgotten us; somebody pays for the line.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

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

/// Brings up IP over a call, as the side that is given its address.
///
/// # Errors
/// [`SessionError::Link`].
pub async fn establish(call: Call, settings: &LinkSettings) -> Result<Link, SessionError> {
    let began = Instant::now();
    let rate_bps = call.rate_bps();
    let config = LinkConfig {
        local: LocalAddress::Ask(settings.address),
        peer: PeerAddress::Any,
        rate_bps,
        delay: settings.delay,
        ports: &[],
        terms: Terms::default(),
        expected: None,
        capture: settings.capture.clone(),
        tun: settings.tun.clone().map(|ports| TunConfig { side: Side::Terminal, ports }),
    };
    let link = Link::establish(call, config).await?;
    let address = link.local();
    tracing::info!(%address, millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "link up");
    Ok(link)
}

/// Gives the connected notice and receives until the server has nothing more.
///
/// # Errors
/// [`SessionError`].
pub async fn receive(
    link: &Link,
    terminal: TerminalId,
    reason: delivery::Reason,
    inbox: Arc<Inbox>,
    linger: Duration,
) -> Result<(), SessionError> {
    let server = link.peer().ok_or(SessionError::NoServer)?;
    let mut stream = link.connect(server, delivery::PORT).await.map_err(SessionError::Notice)?;
    let notice = format!("{}\n", Preamble { terminal, reason });
    stream.write_all(notice.as_bytes()).await.map_err(SessionError::Notice)?;
    tracing::info!("connected notice given");
    let heard = Arc::new(Notify::new());
    let inbox = Arc::new(AttentiveInbox { inbox, heard: heard.clone() });
    let mut received = std::pin::pin!(delivery::receive(stream, inbox, linger));
    let mut silent = std::pin::pin!(link.silent(SILENCE_MAX));
    loop {
        tokio::select! {
            received = &mut received => return Ok(received?),
            reason = link.closed() => return Err(SessionError::LinkEnded(reason)),
            () = &mut silent => return Err(SessionError::Silence),
            // All the proof there is until the ends have keys: it was called from a registered number, or it called
            // one, and speaks as a server does.
            () = heard.notified() => link.proved(),
        }
    }
}

/// An inbox that tells when a server has been heard.
struct AttentiveInbox {
    inbox: Arc<Inbox>,
    heard: Arc<Notify>,
}

impl delivery::Inbox for AttentiveInbox {
    async fn store(&self, head: MessageHead, content: Incoming) -> Result<Stored, StoreError> {
        self.inbox.store(head, content).await
    }

    fn heard(&self) {
        self.heard.notify_one();
    }
}
