//! Accepting TCP connections over a link.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use smoltcp::iface::SocketHandle;

use crate::driver::Shared;
use crate::stream::Stream;

/// Accepts TCP connections on one port of a link.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    port: u16,
    waiting: Vec<SocketHandle>,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>, port: u16) -> io::Result<Self> {
        let waiting = shared.stack(|stack| stack.listen(port))?;
        Ok(Self { shared, port, waiting })
    }

    /// The next connection. May be dropped and called again.
    ///
    /// # Errors
    /// If the link is closed.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        let index = poll_fn(|cx| {
            if self.shared.is_closed() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::NotConnected)));
            }
            self.shared.stack(|stack| {
                // Every socket is asked, so that each knows whom to wake.
                let polls: Vec<_> = self.waiting.iter().map(|handle| stack.poll_accepted(*handle, cx)).collect();
                polls.iter().position(Poll::is_ready).map_or(Poll::Pending, |index| Poll::Ready(Ok(index)))
            })
        })
        .await?;
        let fresh = self.shared.stack(|stack| stack.listen_once(self.port))?;
        let handle = std::mem::replace(&mut self.waiting[index], fresh);
        Ok(Stream::new(self.shared.clone(), handle))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        for handle in &self.waiting {
            self.shared.stack(|stack| stack.orphan(*handle));
        }
    }
}
