//! A link that is up, as a session sees it: on a line of this process, or at a dial-up server.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use link::{CloseReason, Counters, Fault, Link, Listener};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::keys::Admitted;

/// Why a link is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) why: String,
    /// It was ended as PPP ends a link, by whichever end.
    pub(crate) is_orderly: bool,
    /// The carrier was lost, or the way to it: the fault of no end.
    pub(crate) is_lost: bool,
}

/// A link with two ports open to the far end. All futures may be dropped and called for again.
pub(crate) trait OpenLink: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The far end's next connection to the submission port. An error: there is no link any more.
    fn submission(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The far end's next connection to the delivery port.
    fn notice(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// A connection to this port of the far end.
    fn connect(&self, port: u16) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Waits until the link is gone.
    fn gone(&self) -> impl Future<Output = Gone> + Send;

    /// How the link went, if it is gone: asked by who has lost a stream on it, and wants to know whose fault that is.
    fn lost(&self) -> impl Future<Output = Option<Gone>> + Send;

    /// Waits until nothing has come for this time.
    fn silent(&self, limit: Duration) -> impl Future<Output = ()> + Send;

    /// The far end's address.
    fn address(&self) -> Option<Ipv4Addr>;

    /// The line's rate, bit/s.
    fn rate_bps(&self) -> u32;

    /// What has crossed it, as far as known.
    fn counters(&self) -> Counters;

    /// The far end has proved who it is.
    fn proved(&self, admitted: &Admitted);

    /// Hangs up without waiting for the far end's good-bye.
    fn hang_up(&self);
}

/// A link of this process.
pub(super) struct OwnLink {
    pub(super) link: Link,
    submissions: Mutex<Listener>,
    notices: Mutex<Listener>,
}

impl OwnLink {
    /// Opens the two ports.
    pub(super) fn open(link: Link) -> io::Result<Self> {
        let (submissions, notices) = (
            link.listen(delivery::SUBMISSION_PORT)?,
            link.listen(delivery::PORT)?,
        );
        Ok(Self {
            link,
            submissions: Mutex::new(submissions),
            notices: Mutex::new(notices),
        })
    }
}

impl OpenLink for OwnLink {
    type Stream = link::Stream;

    async fn submission(&self) -> io::Result<link::Stream> {
        self.submissions.lock().await.accept().await
    }

    async fn notice(&self) -> io::Result<link::Stream> {
        self.notices.lock().await.accept().await
    }

    async fn connect(&self, port: u16) -> io::Result<link::Stream> {
        let address = self.address().ok_or(io::ErrorKind::AddrNotAvailable)?;
        self.link.connect(address, port).await
    }

    async fn gone(&self) -> Gone {
        let reason = self.link.closed().await;
        Gone {
            why: format!("link ended: {reason}"),
            is_orderly: reason.fault() == Fault::Nobody,
            is_lost: reason == CloseReason::CarrierLost,
        }
    }

    /// A link that is gone says so before its streams do.
    async fn lost(&self) -> Option<Gone> {
        timeout(Duration::ZERO, self.gone()).await.ok()
    }

    async fn silent(&self, limit: Duration) {
        self.link.silent(limit).await;
    }

    fn address(&self) -> Option<Ipv4Addr> {
        self.link.peer()
    }

    fn rate_bps(&self) -> u32 {
        self.link.rate_bps()
    }

    fn counters(&self) -> Counters {
        self.link.counters()
    }

    fn proved(&self, _admitted: &Admitted) {
        self.link.proved();
    }

    fn hang_up(&self) {
        self.link.hang_up();
    }
}
