//! A pseudo-terminal between our end and the guest's serial port.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Our end.
pub(crate) struct Wire(AsyncFd<OwnedFd>);

impl Wire {
    /// Both ends; the guest's as a path.
    pub(crate) fn new() -> (Self, String) {
        let fd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&fd).unwrap();
        unlockpt(&fd).unwrap();
        let mut termios = tcgetattr(&fd).unwrap();
        termios.make_raw();
        tcsetattr(&fd, OptionalActions::Now, &termios).unwrap();
        let flags = rustix::fs::fcntl_getfl(&fd).unwrap();
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        let guest_end = ptsname(&fd, Vec::new()).unwrap().into_string().unwrap();
        #[expect(
            deprecated,
            reason = "its successor is an unsafe fn; nobody swaps this OwnedFd"
        )]
        (Self(AsyncFd::new(fd).unwrap()), guest_end)
    }
}

impl Wire {
    /// Waits until the guest has said something, and leaves that to be read.
    pub(crate) async fn spoken(&self) {
        self.0.readable().await.unwrap().retain_ready();
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            let read = guard.try_io(|fd| match rustix::io::read(fd, &mut *space) {
                Err(Errno::IO) => Ok(0), // the guest is gone
                read => Ok(read?),
            });
            if let Ok(result) = read {
                return Poll::Ready(result.map(|count| buffer.advance(count)));
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| Ok(rustix::io::write(fd, octets)?)) {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
