//! Pure. What a mail's content must be, and what is put before it.

/// A mail that went through more servers than this goes in a circle (RFC 5321 §6.3).
const RECEIVED_MAX: usize = 100;

/// Octets of the header: nobody writes more, and it is read by the smallest of terminals.
const HEADER_OCTETS_MAX: usize = 256 * 1024;

/// Why a content is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// RFC 5321 §2.3.8: CR and LF stand together, or not at all. Who lets them stand alone can be told where a mail ends by whoever
    /// wrote it (SMTP smuggling).
    #[error("554 5.6.0 a CR or LF stands alone: lines end with both")]
    BareLineEnd,
    /// A header without end.
    #[error("554 5.6.0 the header is larger than 256 KiB")]
    Header,
    /// See [`RECEIVED_MAX`].
    #[error("554 5.4.6 this mail went through more than 100 servers: it goes in a circle")]
    Circle,
}

/// The field that each server adds.
const RECEIVED: &[u8] = b"received:";

/// Checks a content as it comes behind DATA, in pieces, without the dot.
///
/// ```text
///   header ──empty line──► body
/// ```
#[derive(Debug, Default)]
pub(super) struct Check {
    /// The last octet.
    before: u8,
    is_in_body: bool,
    header_octets: usize,
    /// Octets of the line so far, and how many of them spell [`RECEIVED`].
    column: usize,
    spelled: usize,
    received: usize,
}

impl Check {
    /// The next piece.
    pub(super) fn feed(&mut self, octets: &[u8]) -> Result<(), Fault> {
        for &octet in octets {
            if (octet == b'\n') != (self.before == b'\r') {
                return Err(Fault::BareLineEnd);
            }
            if !self.is_in_body {
                self.header(octet)?;
            }
            self.before = octet;
        }
        Ok(())
    }

    /// The content is whole.
    pub(super) fn finish(self) -> Result<(), Fault> {
        if self.before == b'\r' {
            Err(Fault::BareLineEnd)
        } else {
            Ok(())
        }
    }

    fn header(&mut self, octet: u8) -> Result<(), Fault> {
        self.header_octets += 1;
        if self.header_octets > HEADER_OCTETS_MAX {
            return Err(Fault::Header);
        }
        if octet == b'\n' {
            self.is_in_body = self.column == 1; // nothing but the CR
            (self.column, self.spelled) = (0, 0);
            return Ok(());
        }
        if self.spelled == self.column
            && RECEIVED.get(self.column) == Some(&octet.to_ascii_lowercase())
        {
            self.spelled += 1;
            if self.spelled == RECEIVED.len() {
                self.received += 1;
                if self.received > RECEIVED_MAX {
                    return Err(Fault::Circle);
                }
            }
        }
        self.column += 1;
        Ok(())
    }
}

/// What the last server puts before a mail: whom it is from (RFC 5321 §4.4, final delivery), and how it came.
pub(super) fn trace(sender: &str, from: &str, by: &str, protocol: &str, date: &str) -> String {
    format!(
        "Return-Path: <{sender}>\r\nReceived: from {from}\r\n\tby {by} (Ringup) with {protocol};\r\n\t{date}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In one piece, and octet by octet.
    fn check(content: &[u8]) -> Result<(), Fault> {
        let by = |piece: usize| {
            let mut check = Check::default();
            content
                .chunks(piece)
                .try_for_each(|octets| check.feed(octets))
                .and_then(|()| check.finish())
        };
        let whole = by(content.len().max(1));
        assert_eq!(by(1), whole, "{content:?}");
        whole
    }

    #[test]
    fn a_line_end_that_stands_alone_is_refused_wherever_it_stands() {
        assert_eq!(check(b"Subject: x\r\n\r\nrain\r\n"), Ok(()));
        assert_eq!(check(b""), Ok(()));
        for content in [
            &b"a\nb\r\n"[..],
            b"a\rb\r\n",
            b"\n.\r\n",
            b"a\r\r\n",
            b"a\r\n\n",
            b"a\r",
            b"\r\n.\r\rMAIL FROM:<x>\r\n",
        ] {
            assert_eq!(check(content), Err(Fault::BareLineEnd), "{content:?}");
        }
    }

    #[test]
    fn a_mail_that_goes_in_a_circle_or_has_no_end_of_header_is_refused() {
        let received = "Received: from x\r\n";
        assert_eq!(
            check(format!("{}\r\nbody\r\n", received.repeat(100)).as_bytes()),
            Ok(())
        );
        assert_eq!(
            check(format!("{}\r\nbody\r\n", received.repeat(101)).as_bytes()),
            Err(Fault::Circle)
        );
        assert_eq!(
            check(format!("\r\n{}", received.repeat(101)).as_bytes()),
            Ok(()),
            "in the body they mean nothing"
        );
        let endless = "X-A: b\r\n".repeat(40_000);
        assert_eq!(check(endless.as_bytes()), Err(Fault::Header));
    }
}
