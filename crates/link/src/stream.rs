//! A TCP connection over a link, as a tokio stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::Shared;

/// A TCP connection over a link. Dropping it sends what was written, then FIN.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    handle: SocketHandle,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, handle: SocketHandle) -> Self {
        Self { shared, handle }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let space = buffer.initialize_unfilled();
        let read = self
            .shared
            .stack(|stack| stack.poll_read(self.handle, cx, space));
        read.map_ok(|count| {
            buffer.advance(count);
            self.shared.wake(); // room in the receive buffer: the window may have to be told
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self
            .shared
            .stack(|stack| stack.poll_write(self.handle, cx, octets));
        written.map_ok(|count| {
            self.shared.wake();
            count
        })
    }

    /// Ready at once: what was written is with the stack.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.stack(|stack| stack.close(self.handle));
        self.shared.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stack(|stack| stack.orphan(self.handle));
        self.shared.wake();
    }
}
