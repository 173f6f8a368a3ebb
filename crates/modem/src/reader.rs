//! Lines out of octets: what a modem says comes in pieces, with echo, blank lines and noise between.

/// Longest line kept, in octets. What is longer is cut there and counted; a modem that never ends a line costs nothing.
pub const LINE_OCTETS_MAX: usize = 256;

/// Data Link Escape.
const DLE: u8 = 0x10;

/// Splits what comes from a modem into lines.
///
/// A line ends with CR or LF; empty lines are passed over, so `\r\nOK\r\n` is one line. Octets that are not printable
/// ASCII become `?`: they cannot be part of any result code and must not reach a log as they are. An event that a modem
/// in voice mode shields with DLE (V.253 §9.2) is a line of its own, `DLE R` a ring, wherever it stands.
#[derive(Debug, Default)]
pub struct Reader {
    line: String,
    after_cr: bool,
    after_dle: bool,
    is_cut: bool,
    cut: u64,
}

impl Reader {
    /// Takes octets from the front of `octets` up to the end of the next line. `None`: all were taken, no line is complete.
    ///
    /// What is left in `octets` was not looked at: behind a `CONNECT` it belongs to the call.
    pub fn next_line(&mut self, octets: &mut &[u8]) -> Option<String> {
        while let Some((&octet, rest)) = octets.split_first() {
            *octets = rest;
            let was_after_cr = std::mem::take(&mut self.after_cr);
            if std::mem::take(&mut self.after_dle) && octet.is_ascii_graphic() {
                return Some(format!("{}{}", char::from(DLE), char::from(octet)));
            }
            match octet {
                DLE => self.after_dle = true,
                b'\n' if was_after_cr => {}
                b'\r' | b'\n' => {
                    self.after_cr = octet == b'\r';
                    self.is_cut = false;
                    let line = std::mem::take(&mut self.line);
                    if !line.trim().is_empty() {
                        return Some(line);
                    }
                }
                _ if self.line.len() >= LINE_OCTETS_MAX => {
                    self.cut += u64::from(!self.is_cut);
                    self.is_cut = true;
                }
                0x20..=0x7e => self.line.push(char::from(octet)),
                b'\t' => self.line.push(' '),
                _ => self.line.push('?'),
            }
        }
        None
    }

    /// Takes the LF that belongs to a line ended by CR, if it is the first of `octets`: it is not yet part of the call.
    pub fn skip_line_feed(&mut self, octets: &mut &[u8]) {
        if self.after_cr && octets.first() == Some(&b'\n') {
            *octets = &octets[1..];
            self.after_cr = false;
        }
    }

    /// How many lines were cut because they were longer than [`LINE_OCTETS_MAX`].
    pub fn lines_cut(&self) -> u64 {
        self.cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(reader: &mut Reader, mut octets: &[u8]) -> Vec<String> {
        std::iter::from_fn(|| reader.next_line(&mut octets)).collect()
    }

    #[test]
    fn a_line_may_come_octet_by_octet() {
        let mut reader = Reader::default();
        let said = b"\r\nRING\r\n\r\nNMBR = 0661234567\r\n";
        let heard: Vec<String> = said.iter().flat_map(|octet| lines(&mut reader, &[*octet])).collect();
        assert_eq!(heard, ["RING", "NMBR = 0661234567"]);
    }

    #[test]
    fn an_endless_line_is_cut_and_counted_once() {
        let mut reader = Reader::default();
        assert!(lines(&mut reader, &[b'x'; 1_000_000]).is_empty());
        assert_eq!(lines(&mut reader, b"\r\nOK\r\n"), ["x".repeat(LINE_OCTETS_MAX), "OK".into()]);
        assert_eq!(reader.lines_cut(), 1);
    }

    #[test]
    fn octets_behind_a_line_are_left_alone() {
        let mut reader = Reader::default();
        let mut octets: &[u8] = b"CONNECT 33600\r\n\x7e\xff\x03";
        assert_eq!(reader.next_line(&mut octets).as_deref(), Some("CONNECT 33600"));
        reader.skip_line_feed(&mut octets);
        assert_eq!(octets, b"\x7e\xff\x03");
    }

    #[test]
    fn what_is_not_ascii_reaches_no_log() {
        assert_eq!(lines(&mut Reader::default(), b"\x1b[2JNO\xff\r"), ["?[2JNO?"]);
    }

    #[test]
    fn a_shielded_event_is_a_line_of_its_own_and_leaves_the_line_around_it_whole() {
        assert_eq!(
            lines(&mut Reader::default(), b"\x10R\r\nNMBR = 2\x10R01\r\n"),
            ["\u{10}R", "\u{10}R", "NMBR = 201"]
        );
        assert_eq!(lines(&mut Reader::default(), b"O\x10\x10K\r"), ["\u{10}K", "O"]);
    }
}
