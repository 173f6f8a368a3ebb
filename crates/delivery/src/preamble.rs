//! The connected notice: the first octets of a delivery connection, in clear. And the one answer to it that is not the
//! beginning of the proof: "later".
//!
//! ```text
//! ringup/1 Q2hhbmdlTWU called\n        ringup/1 later 12\n
//! version  terminal id why            version  retry in 12 s at the earliest
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::terminal_id::TerminalId;

/// Longest preamble, in octets, line feed included.
pub const PREAMBLE_OCTETS_MAX: usize = 40;

/// The terminal telling the server that the link is up. Nothing in it is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preamble {
    /// Who says so.
    pub terminal: TerminalId,
    /// Why it connected.
    pub reason: Reason,
}

/// Why a terminal connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The server called it.
    Called,
    /// It placed the call itself.
    DialledIn,
    /// The server's number rang and was not answered; the terminal comes over its own Internet access.
    Rung,
    /// Of its own accord, over its own Internet access.
    Online,
}

impl Reason {
    const ALL: [Self; 4] = [Self::Called, Self::DialledIn, Self::Rung, Self::Online];

    /// The word for it on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Called => "called",
            Self::DialledIn => "dialled-in",
            Self::Rung => "rung",
            Self::Online => "online",
        }
    }
}

/// Why the first octets of a connection are no connected notice.
#[derive(Debug, thiserror::Error)]
pub enum PreambleError {
    /// The connection ended or failed before a line feed.
    #[error("the connection ended before its connected notice was complete")]
    Ended(#[source] std::io::Error),
    /// No line feed within [`PREAMBLE_OCTETS_MAX`], or not of the form.
    #[error("what came first is not a connected notice: ringup/1 ID called|dialled-in|rung|online")]
    Malformed,
    /// A version of the protocol that this end does not speak.
    #[error("the terminal speaks another version of the protocol than ringup/1")]
    Version,
}

impl Preamble {
    /// Reads a preamble and not one octet more.
    ///
    /// # Errors
    /// [`PreambleError`]; all are the far end's fault.
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, PreambleError> {
        read_line(stream).await?.parse()
    }
}

impl fmt::Display for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ringup/1 {} {}", self.terminal, self.reason.as_str())
    }
}

impl FromStr for Preamble {
    type Err = PreambleError;

    fn from_str(line: &str) -> Result<Self, PreambleError> {
        let mut words = line.split(' ');
        match words.next() {
            Some("ringup/1") => {}
            Some(word) if word.starts_with("ringup/") => return Err(PreambleError::Version),
            _ => return Err(PreambleError::Malformed),
        }
        let terminal = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or(PreambleError::Malformed)?;
        let (Some(word), None) = (words.next(), words.next()) else {
            return Err(PreambleError::Malformed);
        };
        let reason = Reason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .ok_or(PreambleError::Malformed)?;
        Ok(Self { terminal, reason })
    }
}

/// The answer to a connected notice for which the server has no place just now. It is a line of the notice's form, before any
/// octet of the proof, and nothing in it is proved: it costs a terminal a pause and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Later {
    /// When to come again at the earliest, in whole seconds. Terminals wait up to twice as long, each another time.
    pub retry_in: Duration,
}

impl Later {
    /// A server asks for no longer pause than this; a terminal believes none.
    pub const LONGEST: Duration = Duration::from_secs(300);

    /// Its first octet. A proof begins with another: 0x16, a TLS handshake record.
    pub const FIRST_OCTET: u8 = b'r';

    /// Reads it and not one octet more.
    ///
    /// # Errors
    /// [`PreambleError`].
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, PreambleError> {
        read_line(stream).await?.parse()
    }
}

impl fmt::Display for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ringup/1 later {}", self.retry_in.as_secs())
    }
}

impl FromStr for Later {
    type Err = PreambleError;

    fn from_str(line: &str) -> Result<Self, PreambleError> {
        let seconds = line
            .strip_prefix("ringup/1 later ")
            .and_then(|seconds| seconds.parse().ok());
        let retry_in = seconds
            .map(Duration::from_secs)
            .ok_or(PreambleError::Malformed)?;
        Ok(Self {
            retry_in: retry_in.min(Self::LONGEST),
        })
    }
}

/// A line, without its line feed.
async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, PreambleError> {
    let mut line = Vec::with_capacity(PREAMBLE_OCTETS_MAX);
    loop {
        match stream.read_u8().await.map_err(PreambleError::Ended)? {
            b'\n' => break,
            octet if line.len() + 1 < PREAMBLE_OCTETS_MAX => line.push(octet),
            _ => return Err(PreambleError::Malformed),
        }
    }
    String::from_utf8(line).map_err(|_| PreambleError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: &str = "Q2hhbmdlTWU";

    async fn read(octets: &[u8]) -> Result<Preamble, PreambleError> {
        Preamble::read(&mut &octets[..]).await
    }

    #[tokio::test]
    async fn every_reason_fits_and_is_read_back() {
        for reason in Reason::ALL {
            let preamble = Preamble {
                terminal: TERMINAL.parse().unwrap(),
                reason,
            };
            let line = format!("{preamble}\n");
            assert!(line.len() <= PREAMBLE_OCTETS_MAX, "{line}");
            assert_eq!(read(line.as_bytes()).await.unwrap(), preamble);
        }
    }

    #[tokio::test]
    async fn later_is_read_back_and_asks_for_five_minutes_at_most() {
        let later = |seconds| Later {
            retry_in: Duration::from_secs(seconds),
        };
        for seconds in [0, 12, 300] {
            let line = format!("{}\n", later(seconds));
            assert_eq!(line.as_bytes()[0], Later::FIRST_OCTET);
            assert_eq!(
                Later::read(&mut line.as_bytes()).await.unwrap(),
                later(seconds)
            );
        }
        assert_eq!("ringup/1 later 86400".parse::<Later>().unwrap(), later(300));
        for line in [
            "ringup/1 later",
            "ringup/1 later -1",
            "ringup/2 later 1",
            "ringup/1 later 1 2",
        ] {
            assert!(
                matches!(line.parse::<Later>(), Err(PreambleError::Malformed)),
                "{line}"
            );
        }
    }

    #[tokio::test]
    async fn not_one_octet_more_is_read() {
        let mut octets: &[u8] = b"ringup/1 Q2hhbmdlTWU called\nPRI * HTTP/2.0";
        Preamble::read(&mut octets).await.unwrap();
        assert_eq!(octets, b"PRI * HTTP/2.0");
    }

    #[tokio::test]
    async fn whatever_else_comes_first_is_refused() {
        assert!(matches!(
            read(b"ringup/2 Q2hhbmdlTWU called\n").await,
            Err(PreambleError::Version)
        ));
        assert!(matches!(
            read(b"ringup/1 Q2hh").await,
            Err(PreambleError::Ended(_))
        ));
        for octets in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"ringup/1 Q2hhbmdlTWU called now\n",
            b"ringup/1 Q2hhbmdlTWU\n",
            b"ringup/1  called\n",
            b"\xff\xfe\n",
            &[b'x'; 1000],
        ] {
            assert!(
                matches!(read(octets).await, Err(PreambleError::Malformed)),
                "{octets:?}"
            );
        }
    }
}
