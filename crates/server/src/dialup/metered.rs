//! A stream that counts its octets: an Internet session has no link that does.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use link::Counters;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a stream has carried. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried(Arc<[AtomicU64; 2]>);

impl Carried {
    pub(super) fn counters(&self) -> Counters {
        let [octets_out, octets_in] = [0, 1].map(|way: usize| self.0[way].load(Ordering::Relaxed));
        Counters {
            octets_out,
            octets_in,
            ..Counters::default()
        }
    }

    fn add(&self, way: usize, octets: usize) {
        self.0[way].fetch_add(octets as u64, Ordering::Relaxed);
    }
}

/// See [`Metered::new`].
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    carried: Carried,
}

impl<S> Metered<S> {
    /// The stream, and what it carries from now on.
    pub(super) fn new(stream: S) -> (Self, Carried) {
        let carried = Carried::default();
        (
            Self {
                stream,
                carried: carried.clone(),
            },
            carried,
        )
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.carried.add(1, buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, octets))?;
        self.carried.add(0, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn octets_are_counted_each_way() {
        let (near, mut far) = tokio::io::duplex(100);
        let (mut near, carried) = Metered::new(near);
        near.write_all(b"twelve octets"[..12].as_ref())
            .await
            .unwrap();
        far.write_all(b"three").await.unwrap();
        near.read_exact(&mut [0; 3]).await.unwrap();
        let Counters {
            octets_out,
            octets_in,
            ..
        } = carried.counters();
        assert_eq!((octets_out, octets_in), (12, 3));
    }
}
