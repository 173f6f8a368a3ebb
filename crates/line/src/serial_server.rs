//! The port of a modem behind a terminal server (`rfc2217://host:port`) as a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::telnet::{Control, Telnet, encode};

/// For the server to be reached, and then to say whether it controls the port.
const PATIENCE: Duration = Duration::from_secs(5);

/// Octets taken from the connection at once.
const READ_OCTETS: usize = 1024;

/// Reads in a row for the sake of the carrier.
const READS_MAX: usize = 16;

/// A connection to a terminal server that controls a serial port for us.
#[derive(Debug)]
pub(crate) struct SerialServer {
    stream: TcpStream,
    telnet: Telnet,
    /// Data that came and was not read yet.
    heard: Vec<u8>,
    /// Octets on their way to the server.
    pending: Vec<u8>,
    /// The end of the carrier is the end of the file.
    follows_carrier: bool,
}

impl SerialServer {
    /// Connects and sets the port up, DTR on.
    ///
    /// # Errors
    /// The operating system's; `TimedOut`; `Unsupported` from a server that does not know RFC 2217.
    pub(crate) async fn open(address: &str, speed_bps: u32) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        let mut server =
            Self { stream, telnet: Telnet::new(), heard: Vec::new(), pending: Vec::new(), follows_carrier: false };
        timeout(PATIENCE, server.negotiate(speed_bps)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(server)
    }

    async fn negotiate(&mut self, speed_bps: u32) -> io::Result<()> {
        let mut buffer = [0; READ_OCTETS];
        loop {
            let replies = self.telnet.take_replies();
            self.stream.write_all(&replies).await?;
            match self.telnet.control() {
                Control::Asked => {}
                Control::Granted => break,
                Control::Refused => {
                    let problem = "the terminal server does not control the port (RFC 2217); try tcp:// instead";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
                }
            }
            match self.stream.read(&mut buffer).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.telnet.hear(&buffer[..count], &mut self.heard),
            }
        }
        self.telnet.set_up(speed_bps);
        let replies = self.telnet.take_replies();
        self.stream.write_all(&replies).await?;
        // What was said before the port was ours is nobody's.
        self.heard.clear();
        Ok(())
    }

    /// Whether the modem has a carrier, as far as the server has said.
    pub(crate) fn carrier(&self) -> Option<bool> {
        self.telnet.carrier()
    }

    /// From here on the end of the carrier is the end of the file.
    pub(crate) fn follow_carrier(&mut self) {
        self.follows_carrier = true;
    }

    /// Lets DTR drop as soon as the connection takes it.
    pub(crate) fn drop_dtr(&mut self) {
        self.telnet.drop_dtr();
    }

    /// Sends what waits, as far as it goes.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pending.extend(self.telnet.take_replies());
        while !self.pending.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.pending))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => drop(self.pending.drain(..count)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Hears what the server says, data or not. `Ready(false)`: it has closed.
    pub(crate) fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [0; READ_OCTETS];
        let mut buffer = ReadBuf::new(&mut space);
        let _ = self.poll_pending(cx)?;
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let octets = buffer.filled();
        self.telnet.hear(octets, &mut self.heard);
        let is_open = !octets.is_empty();
        let _ = self.poll_pending(cx)?;
        Poll::Ready(Ok(is_open))
    }
}

impl SerialServer {
    /// Hears what there is for the sake of the carrier; the data in it belongs to a call that is over.
    pub(crate) fn poll_signals(&mut self, cx: &mut Context<'_>) {
        // A server that never stops talking is heard so far, and again when the timer says so.
        for _ in 0..READS_MAX {
            if !matches!(self.poll_hear(cx), Poll::Ready(Ok(true))) {
                break;
            }
            self.heard.clear();
        }
    }
}

impl AsyncRead for SerialServer {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let server = self.get_mut();
        loop {
            if !server.heard.is_empty() {
                let count = server.heard.len().min(buffer.remaining());
                buffer.put_slice(&server.heard[..count]);
                server.heard.drain(..count);
                return Poll::Ready(Ok(()));
            }
            if server.follows_carrier && server.carrier() == Some(false) {
                return Poll::Ready(Ok(()));
            }
            if !ready!(server.poll_hear(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for SerialServer {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let server = self.get_mut();
        ready!(server.poll_pending(cx))?;
        encode(octets, &mut server.pending);
        // What the connection does not take now goes before the next octets.
        let _ = server.poll_pending(cx)?;
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_pending(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_pending(cx)
    }
}
