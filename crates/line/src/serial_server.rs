//! The port of a modem behind a terminal server (`rfc2217://host:port`) as a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::telnet::{Control, Telnet, encode};

/// For the server to be reached, and then to say whether it controls the port.
const PATIENCE: Duration = Duration::from_secs(5);

/// Octets taken from the connection at once.
const READ_OCTETS: usize = 1024;

/// What a server may send: a burst that its buffers held back, and then far more than a serial line carries. Telnet
/// commands count, too: they need no line.
const BURST_OCTETS: f64 = 2_000_000.0;
const OCTETS_PER_SECOND: f64 = 1_000_000.0;

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
    allowance: Allowance,
}

/// How much more a server may send at the moment.
#[derive(Debug)]
struct Allowance {
    octets: f64,
    since: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            octets: BURST_OCTETS,
            since: now,
        }
    }

    /// Takes what came off it.
    ///
    /// # Errors
    /// `InvalidData`: no line carries so much.
    fn take(&mut self, count: usize, now: Instant) -> io::Result<()> {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.since = now;
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.octets = (self.octets + passed * OCTETS_PER_SECOND).min(BURST_OCTETS) - count;
        if self.octets < 0.0 {
            let problem = "the terminal server sends more than a serial line carries";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        Ok(())
    }
}

impl SerialServer {
    /// Connects and sets the port up, DTR on.
    ///
    /// # Errors
    /// The operating system's; `TimedOut`; `Unsupported` from a server that does not know RFC 2217.
    pub(crate) async fn open(address: &str, speed_bps: u32) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        let mut server = Self {
            stream,
            telnet: Telnet::new(),
            heard: Vec::new(),
            pending: Vec::new(),
            follows_carrier: false,
            allowance: Allowance::new(Instant::now()),
        };
        timeout(PATIENCE, server.negotiate(speed_bps))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
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
                count => {
                    self.allowance.take(count, Instant::now())?;
                    self.telnet.hear(&buffer[..count], &mut self.heard);
                }
            }
            // What is said before the port is ours is nobody's.
            self.heard.clear();
        }
        self.telnet.set_up(speed_bps);
        let replies = self.telnet.take_replies();
        self.stream.write_all(&replies).await?;
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
        self.allowance.take(octets.len(), Instant::now())?;
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
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// Telnet: NOP; subnegotiations without an end; DCD that changes; octets.
    const FLOODS: [&[u8]; 4] = [
        &[255, 241],
        &[255, 250, 44, 107],
        &[
            255, 250, 44, 107, 0x88, 255, 240, 255, 250, 44, 107, 8, 255, 240,
        ],
        b"2\r\n",
    ];

    #[tokio::test]
    async fn a_server_that_never_stops_talking_is_a_fault_of_the_port_and_costs_two_seconds_of_line()
     {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        for grants in [true, false] {
            for flood in FLOODS {
                let (said, address) = (flood.repeat(4096), address.clone());
                let client = tasks.spawn(async move {
                    let mut server = SerialServer::open(&address, 115_200).await?;
                    let mut sink = [0; 4096];
                    while server.read(&mut sink).await? > 0 {}
                    Ok::<_, io::Error>(())
                });
                let (mut stream, _) = listener.accept().await.unwrap();
                if grants {
                    stream.write_all(&[255, 253, 44]).await.unwrap();
                }
                let mut sent = 0_u64;
                while stream.write_all(&said).await.is_ok() {
                    sent += said.len() as u64;
                }
                let _ = client;
                let ended = tasks.join_next().await.unwrap().unwrap();
                assert_eq!(
                    ended.unwrap_err().kind(),
                    io::ErrorKind::InvalidData,
                    "{grants} {flood:?}"
                );
                // What was on its way in the kernel's buffers is not heard.
                assert!(sent < 100_000_000, "{sent}");
            }
        }
    }

    #[test]
    fn a_line_at_its_full_rate_is_never_too_much() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert!(
            allowance.take(1_500_000, start).is_ok(),
            "held back in a buffer"
        );
        for second in 1..100 {
            assert!(
                allowance
                    .take(92_160, start + Duration::from_secs(second))
                    .is_ok(),
                "921,600 bit/s"
            );
        }
    }
}
