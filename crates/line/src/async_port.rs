//! A port under tokio: a file descriptor, or the connection to a terminal server.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use modem::Signals;
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::lock_file::LockFile;
use crate::port::{PORT_SPEED_BPS, Port, PortAddress, PortError, read, wires};
use crate::serial_server::SerialServer;

/// A [`Port`] under tokio. Dropping it hangs up.
#[derive(Debug)]
pub struct AsyncPort(Kind);

#[derive(Debug)]
enum Kind {
    Descriptor {
        fd: AsyncFd<OwnedFd>,
        signals: Signals,
        _lock: Option<LockFile>,
    },
    Server(Box<SerialServer>),
}

impl AsyncPort {
    /// Opens a port for our use alone, DTR on.
    ///
    /// # Errors
    /// [`PortError`], by whose fault it is.
    pub async fn open(port: &PortAddress) -> Result<Self, PortError> {
        let failed = |source: io::Error| PortError::Open {
            port: port.clone(),
            source,
        };
        if let PortAddress::Rfc2217(address) = port {
            let server = SerialServer::open(address, PORT_SPEED_BPS)
                .await
                .map_err(failed)?;
            return Ok(Self(Kind::Server(Box::new(server))));
        }
        let address = port.clone(); // connecting to a modem server may take its time
        let opened = tokio::task::spawn_blocking(move || Port::open(&address)).await;
        opened
            .map_err(|join| failed(io::Error::other(join)))??
            .into_async()
            .map_err(failed)
    }

    pub(crate) fn on(fd: OwnedFd, signals: Signals, lock: Option<LockFile>) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is an unsafe fn; an OwnedFd that nobody swaps is what that one asks for"
        )]
        AsyncFd::new(fd).map(|fd| {
            Self(Kind::Descriptor {
                fd,
                signals,
                _lock: lock,
            })
        })
    }

    /// What tells a modem on this port to hang up.
    pub fn signals(&self) -> Signals {
        match &self.0 {
            Kind::Descriptor { signals, .. } => *signals,
            Kind::Server(_) => Signals::Wires,
        }
    }

    /// Whether the modem shows a carrier on a wire (DCD). `None`: there is no wire, or nothing was heard of it.
    pub fn carrier(&self) -> Option<bool> {
        match &self.0 {
            Kind::Descriptor {
                fd,
                signals: Signals::Wires,
                ..
            } => wires(fd)?.read_cd().ok(),
            Kind::Descriptor { .. } => None,
            Kind::Server(server) => server.carrier(),
        }
    }

    /// From here on the end of the carrier is the end of the file. On a device the kernel does it (termios(3), CLOCAL).
    ///
    /// # Errors
    /// The operating system's.
    pub fn follow_carrier(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Descriptor { fd, .. } => {
                let mut termios = tcgetattr(&*fd)?;
                termios.control_modes.remove(ControlModes::CLOCAL);
                Ok(tcsetattr(&*fd, OptionalActions::Now, &termios)?)
            }
            Kind::Server(server) => {
                server.follow_carrier();
                Ok(())
            }
        }
    }

    /// Lets DTR drop: with `&D2` the modem hangs up. A terminal server hears of it when the port is next polled.
    ///
    /// # Errors
    /// The operating system's.
    pub fn drop_dtr(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Descriptor { fd, .. } => {
                wires(fd).ok_or(io::ErrorKind::Unsupported)?.set_dtr(false)
            }
            Kind::Server(server) => {
                server.drop_dtr();
                Ok(())
            }
        }
    }

    /// Hears what only a terminal server says in the stream: that the carrier has gone. Data is passed over.
    pub(crate) fn poll_signals(&mut self, cx: &mut Context<'_>) {
        if let Kind::Server(server) = &mut self.0 {
            server.poll_signals(cx);
        }
    }
}

impl AsyncRead for AsyncPort {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let fd = match &mut self.0 {
            Kind::Descriptor { fd, .. } => fd,
            Kind::Server(server) => return Pin::new(server).poll_read(cx, buffer),
        };
        loop {
            let mut guard = ready!(fd.poll_read_ready(cx))?;
            let space = buffer.initialize_unfilled();
            if let Ok(result) = guard.try_io(|fd| read(fd.as_fd(), space)) {
                return Poll::Ready(result.map(|count| buffer.advance(count)));
            }
        }
    }
}

impl AsyncWrite for AsyncPort {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let fd = match &mut self.0 {
            Kind::Descriptor { fd, .. } => fd,
            Kind::Server(server) => return Pin::new(server).poll_write(cx, octets),
        };
        loop {
            let mut guard = ready!(fd.poll_write_ready(cx))?;
            if let Ok(result) =
                guard.try_io(|fd| rustix::io::write(fd, octets).map_err(io::Error::from))
            {
                return Poll::Ready(result);
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Descriptor { .. } => Poll::Ready(Ok(())),
            Kind::Server(server) => Pin::new(server).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Descriptor { .. } => Poll::Ready(Ok(())),
            Kind::Server(server) => Pin::new(server).poll_shutdown(cx),
        }
    }
}
