//! A far end's connection inside HTTP/2: one body each way, as a tokio stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, Incoming};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// Octets of a frame: what is written waits nowhere but in HTTP/2's window, so that the urgent can overtake it.
const FRAME_OCTETS_MAX: usize = 2048;

/// The way out of a tunnel: the body of a request or of an answer. An error breaks it off.
#[derive(Debug)]
pub(crate) struct WayOut(mpsc::Receiver<io::Result<Bytes>>);

impl Body for WayOut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0
            .poll_recv(cx)
            .map(|octets| octets.map(|octets| octets.map(Frame::data)))
    }
}

/// One connection of a far end, or to it. Dropping it says that this end has no more to say.
pub(crate) struct Tunnel {
    way_in: Incoming,
    /// What has come and was not read yet.
    left: Bytes,
    way_out: PollSender<io::Result<Bytes>>,
}

/// The entrance of a way out.
pub(crate) type Entrance = mpsc::Sender<io::Result<Bytes>>;

/// A way out, to be sent as a body, and its entrance.
pub(crate) fn way_out() -> (Entrance, WayOut) {
    let (entrance, way_out) = mpsc::channel(1);
    (entrance, WayOut(way_out))
}

impl Tunnel {
    pub(crate) fn new(entrance: Entrance, way_in: Incoming) -> Self {
        Self {
            way_in,
            left: Bytes::new(),
            way_out: PollSender::new(entrance),
        }
    }

    /// The same, with these octets to be read first.
    pub(crate) fn led_by(mut self, octets: Bytes) -> Self {
        let before = std::mem::replace(&mut self.left, octets);
        if !before.is_empty() {
            self.left = [&self.left[..], &before[..]].concat().into();
        }
        self
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.left.is_empty() {
            match ready!(Pin::new(&mut self.way_in).poll_frame(cx)) {
                Some(Ok(frame)) => self.left = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.left.len().min(buffer.remaining());
        buffer.put_slice(&self.left[..count]);
        self.left.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.way_out.poll_reserve(cx)).map_err(gone)?;
        let count = octets.len().min(FRAME_OCTETS_MAX);
        self.way_out
            .send_item(Ok(Bytes::copy_from_slice(&octets[..count])))
            .map_err(gone)?;
        Poll::Ready(Ok(count))
    }

    /// Ready at once: what was written is with HTTP/2.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.way_out.close();
        Poll::Ready(Ok(()))
    }
}
