//! Accepting TCP connections over a link.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use crate::driver::Shared;
use crate::stream::Stream;

/// Accepts TCP connections on one port of a link. There is one for each port.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    port: u16,
}

impl Listener {
    pub(crate) fn new(shared: Arc<Shared>, port: u16) -> io::Result<Self> {
        shared.stack(|stack| stack.listen(port))?;
        Ok(Self { shared, port })
    }

    /// The next connection. May be dropped and called again.
    ///
    /// # Errors
    /// If the link is closed.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        let handle = poll_fn(|cx| {
            if self.shared.is_closed() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::NotConnected)));
            }
            self.shared
                .stack(|stack| stack.poll_accept(self.port, cx))
                .map(Ok)
        })
        .await?;
        Ok(Stream::new(self.shared.clone(), handle))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stack(|stack| stack.close_port(self.port));
    }
}
