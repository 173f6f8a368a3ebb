//! What a mail's content must be, and what is put before it. Pure.

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

/// Checks a content as it came behind DATA, without the dot.
pub(super) fn check(content: &[u8]) -> Result<(), Fault> {
    let mut before = 0;
    for (index, &octet) in content.iter().enumerate() {
        let is_bare = match octet {
            b'\n' => before != b'\r',
            b'\r' => content.get(index + 1) != Some(&b'\n'),
            _ => false,
        };
        if is_bare {
            return Err(Fault::BareLineEnd);
        }
        before = octet;
    }
    let header = header(content);
    if header.len() > HEADER_OCTETS_MAX {
        return Err(Fault::Header);
    }
    let received = header
        .split(|octet| *octet == b'\n')
        .filter(|line| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"received:")));
    if received.count() > RECEIVED_MAX { Err(Fault::Circle) } else { Ok(()) }
}

/// What stands before the first empty line.
pub(super) fn header(content: &[u8]) -> &[u8] {
    let end = content.windows(4).position(|octets| octets == b"\r\n\r\n");
    if content.starts_with(b"\r\n") { &[] } else { end.map_or(content, |end| &content[..end + 2]) }
}

/// What the last server puts before a mail: whom it is from (RFC 5321 §4.4, final delivery), and how it came.
pub(super) fn trace(sender: &str, from: &str, by: &str, protocol: &str, date: &str) -> String {
    format!("Return-Path: <{sender}>\r\nReceived: from {from}\r\n\tby {by} (Ringup) with {protocol};\r\n\t{date}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_that_stands_alone_is_refused_wherever_it_stands() {
        assert_eq!(check(b"Subject: x\r\n\r\nrain\r\n"), Ok(()));
        assert_eq!(check(b""), Ok(()));
        for content in
            [&b"a\nb\r\n"[..], b"a\rb\r\n", b"\n.\r\n", b"a\r\r\n", b"a\r\n\n", b"a\r", b"\r\n.\r\rMAIL FROM:<x>\r\n"]
        {
            assert_eq!(check(content), Err(Fault::BareLineEnd), "{content:?}");
        }
    }

    #[test]
    fn a_mail_that_goes_in_a_circle_or_has_no_end_of_header_is_refused() {
        let received = "Received: from x\r\n";
        assert_eq!(check(format!("{}\r\nbody\r\n", received.repeat(100)).as_bytes()), Ok(()));
        assert_eq!(check(format!("{}\r\nbody\r\n", received.repeat(101)).as_bytes()), Err(Fault::Circle));
        assert_eq!(check(format!("\r\n{}", received.repeat(101)).as_bytes()), Ok(()), "in the body they mean nothing");
        let endless = "X-A: b\r\n".repeat(40_000);
        assert_eq!(check(endless.as_bytes()), Err(Fault::Header));
    }
}
