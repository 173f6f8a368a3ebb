//! A stream on which both ends are proved: rustls driven directly, so that early data can be sent and read.
//!
//! ```text
//!   Handshaking ──► Proved            writing before it: early data while there is room for it, else waiting;
//!        │                            what the far end refused as early data is sent again, first and in order
//!        └────────► error             the far end's alert, or ours: its text says what was wrong
//! ```

use std::io::{self, Read as _, Write as _};
use std::pin::Pin as StdPin;
use std::task::{Context, Poll, ready};

use rustls::{Connection, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::key::PublicKey;
use super::pins::{NotPinned, Pin, not_pinned};
use super::sessions::UnadoptedSession;

/// What is read from the line at once.
const READ_OCTETS: usize = 4096;

/// Plaintext gathered into one record before it is sent, and ciphertext that may wait for the line.
const BUFFER_OCTETS: usize = 16 * 1024;

/// Separates this use of the handshake's secrets from any other (RFC 5705 §4).
const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL-ringup-enrolment";

/// What is known once both ends have proved themselves.
#[derive(Clone, PartialEq, Eq)]
pub struct Proved {
    /// The far end's key.
    pub peer: PublicKey,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// 32 octets that only the two ends of this connection know (RFC 8446 §7.5).
    pub exporter: [u8; 32],
}

/// Tells when the far end has been proved. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proof(watch::Receiver<Option<Proved>>);

impl Proof {
    /// Whether the far end has been proved.
    pub fn has_come(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// What the far end has proved so far.
    pub fn proved(&self) -> Option<Proved> {
        self.0.borrow().clone()
    }

    /// Waits for the far end's proof. `None`: the connection ended without.
    pub async fn wait(&mut self) -> Option<Proved> {
        self.0
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|proved| proved.clone())
    }
}

/// A stream inside TLS. What is read from it before [`Proof`] says so may be a replay.
pub struct Secured<S> {
    stream: S,
    tls: Connection,
    pin: Pin,
    rate_bps: u32,
    proved: watch::Sender<Option<Proved>>,
    /// Of a far end that is to be enrolled.
    unadopted: Option<UnadoptedSession>,
    /// Plaintext that will go into one record.
    gathered: Vec<u8>,
    /// What went as early data, until it is known whether the far end took it.
    early: Vec<u8>,
    /// What was written and flushed as early data has to be sent again: nobody else will ask for it.
    owes_early: bool,
    /// What came from the line and TLS has not taken yet; at most [`READ_OCTETS`].
    untaken: Vec<u8>,
    has_ended: bool,
}

impl<S> std::fmt::Debug for Secured<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secured")
            .field("proved", &*self.proved.borrow())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Proved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proved({}, resumed: {})", self.peer, self.resumed)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    pub(super) fn new(
        stream: S,
        mut tls: Connection,
        pin: Pin,
        rate_bps: u32,
        unadopted: Option<UnadoptedSession>,
    ) -> Self {
        tls.set_buffer_limit(Some(BUFFER_OCTETS));
        Self {
            stream,
            tls,
            pin,
            rate_bps,
            proved: watch::Sender::new(None),
            unadopted,
            gathered: Vec::new(),
            early: Vec::new(),
            owes_early: false,
            untaken: Vec::new(),
            has_ended: false,
        }
    }

    /// To be told of the far end's proof.
    pub fn proof(&self) -> Proof {
        Proof(self.proved.subscribe())
    }

    /// The session with a far end that is to be enrolled: to be adopted when it is.
    pub fn unadopted(&self) -> Option<UnadoptedSession> {
        self.unadopted.clone()
    }

    /// The line's rate, in bits per second.
    pub fn rate_bps(&self) -> u32 {
        self.rate_bps
    }

    /// The keys of which the far end must have one.
    #[cfg(test)]
    pub(crate) fn expected_servers(&self) -> Vec<PublicKey> {
        match &self.pin {
            Pin::Keys(keys) => keys.clone(),
            Pin::Enrolling => Vec::new(),
        }
    }

    /// What the far end has proved so far.
    pub fn proved(&self) -> Option<Proved> {
        self.proved.borrow().clone()
    }

    /// Hands ciphertext down until none waits.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            let mut writer = Writer {
                stream: &mut self.stream,
                cx,
            };
            match self.tls.write_tls(&mut writer) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what the line has. `Ready(Ok)`: something came, or the stream has ended.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.untaken.is_empty() {
            let mut octets = [0; READ_OCTETS];
            let mut buffer = ReadBuf::new(&mut octets);
            ready!(StdPin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            self.untaken.extend_from_slice(buffer.filled());
            if self.untaken.is_empty() {
                self.has_ended = true;
                let _ = self.tls.read_tls(&mut io::empty());
            }
        }
        while !self.untaken.is_empty() {
            let taken = self.tls.read_tls(&mut self.untaken.as_slice())?;
            self.untaken.drain(..taken);
            match self.tls.process_new_packets() {
                // Decrypted octets are read before more is taken: TLS holds a full record of them, and then takes nothing.
                Ok(state) if state.plaintext_bytes_to_read() > 0 => break,
                Ok(_) => {}
                Err(error) => {
                    // The far end is told why, if the line takes it at once.
                    let _ = self.poll_drain(cx);
                    let _ = StdPin::new(&mut self.stream).poll_flush(cx);
                    return Poll::Ready(Err(refused(error)));
                }
            }
        }
        self.check_proved()?;
        Poll::Ready(Ok(()))
    }

    /// Notes the far end's proof once it is complete.
    fn check_proved(&mut self) -> io::Result<()> {
        if self.tls.is_handshaking() || self.proved.borrow().is_some() {
            return Ok(());
        }
        let presented = self.tls.peer_certificates().and_then(|chain| chain.first());
        let key = presented.and_then(|key| PublicKey::from_presented(key));
        // A resumed session was not looked at by the verifier: its key may have been shut out since.
        let Some(peer) = key.filter(|key| self.pin.admits(key)) else {
            return Err(refused(not_pinned(key)));
        };
        let exporter = self
            .tls
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .map_err(refused)?;
        let resumed = self.tls.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        debug_assert_eq!(self.tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        if let Connection::Client(client) = &self.tls
            && !client.is_early_data_accepted()
        {
            // Refused early data comes first again, whatever has been gathered since.
            self.owes_early = !self.early.is_empty();
            self.early.append(&mut self.gathered);
            self.gathered = std::mem::take(&mut self.early);
        }
        self.early = Vec::new();
        self.proved.send_replace(Some(Proved {
            peer,
            resumed,
            exporter,
        }));
        Ok(())
    }

    /// Encrypts what has been gathered. `Pending`: it has to wait for the handshake or the line.
    fn poll_encrypt(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = if self.tls.is_handshaking() {
                match &mut self.tls {
                    Connection::Client(client) => match client.early_data() {
                        Some(mut early) if early.bytes_left() > 0 => early.write(&self.gathered)?,
                        _ => 0,
                    },
                    Connection::Server(_) => 0,
                }
            } else {
                self.tls.writer().write(&self.gathered)?
            };
            if self.tls.is_handshaking() {
                self.early.extend_from_slice(&self.gathered[..written]);
            }
            self.gathered.drain(..written);
            if written > 0 {
                continue;
            }
            ready!(self.poll_drain(cx))?;
            if self.tls.is_handshaking() {
                ready!(StdPin::new(&mut self.stream).poll_flush(cx))?;
                ready!(self.poll_take(cx))?;
                if self.has_ended {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Decrypted octets, or early ones. `None`: nothing yet.
    fn read_plain(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<Option<usize>> {
        if let Connection::Server(server) = &mut self.tls
            && let Some(mut early) = server.early_data()
        {
            let read = early.read(buffer.initialize_unfilled())?;
            if read > 0 {
                return Ok(Some(read));
            }
        }
        match self.tls.reader().read(buffer.initialize_unfilled()) {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: StdPin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some(read) = this.read_plain(buffer)? {
                buffer.advance(read);
                return Poll::Ready(Ok(()));
            }
            if this.has_ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            // The handshake's own flights; what waits for the line goes on when the line takes it.
            if this.owes_early && this.poll_encrypt(cx)?.is_ready() {
                this.owes_early = false;
            }
            if this.tls.wants_write() && this.poll_drain(cx)?.is_ready() {
                let _ = StdPin::new(&mut this.stream).poll_flush(cx)?;
            }
            ready!(this.poll_take(cx))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(
        mut self: StdPin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.gathered.len() >= BUFFER_OCTETS {
            ready!(this.poll_encrypt(cx))?;
        }
        let taken = octets.len().min(BUFFER_OCTETS - this.gathered.len());
        this.gathered.extend_from_slice(&octets[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // What is written while a record waits for the line shares the next one; early data shares the first flight.
        if !this.tls.is_handshaking() {
            ready!(this.poll_drain(cx))?;
        }
        ready!(this.poll_encrypt(cx))?;
        ready!(this.poll_drain(cx))?;
        StdPin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: StdPin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.tls.is_handshaking() {
            ready!(this.poll_encrypt(cx))?;
        }
        this.tls.send_close_notify();
        ready!(this.poll_drain(cx))?;
        StdPin::new(&mut this.stream).poll_shutdown(cx)
    }
}

/// Why TLS ended, in words that name the key if it was that.
fn refused(error: rustls::Error) -> io::Error {
    match NotPinned::of(&error) {
        Some(why) => io::Error::new(io::ErrorKind::InvalidData, why),
        None => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

/// The stream as a blocking writer: "would block" instead of waiting.
struct Writer<'a, 'b, S> {
    stream: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncWrite + Unpin> io::Write for Writer<'_, '_, S> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match StdPin::new(&mut *self.stream).poll_write(self.cx, octets) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
