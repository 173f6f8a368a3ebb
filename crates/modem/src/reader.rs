//! Lines out of octets: what a modem says comes in pieces, with echo, blank lines and noise between.

/// Longest line kept, in octets. What is longer is cut there and counted; a modem that never ends a line costs nothing.
pub const LINE_OCTETS_MAX: usize = 256;

/// Data Link Escape.
const DLE: u8 = 0x10;
/// What stands between characters and is none.
const NUL: u8 = 0x00;
const XON: u8 = 0x11;
const XOFF: u8 = 0x13;
const DEL: u8 = 0x7f;
/// Of an octet with a parity bit.
const SEVEN_BITS: u8 = 0x7f;

/// Splits what comes from a modem into lines.
///
/// A line ends with CR or LF; empty lines are passed over, so `\r\nOK\r\n` is one line. Octets that are not printable
/// ASCII become `?`: they cannot be part of any result code and must not reach a log as they are. An event that a modem
/// in voice mode shields with DLE (V.253 §9.2) is a line of its own, `DLE R` a ring, wherever it stands.
///
/// NUL, DEL, 0xff, XON and XOFF are no characters: a serial line makes them when a signal wire changes, and flow control
/// puts them anywhere. A line of seven bits and parity is read without the parity bit (V.250 §5.1): one in which all
/// octets have the same parity, or bit 7. UTF-8 behind an ASCII tag never looks so.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
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
                NUL | XON | XOFF | DEL | 0xff => {}
                b'\n' if was_after_cr => {}
                _ if self.is_line_end(octet) => {
                    self.after_cr = octet & SEVEN_BITS == b'\r';
                    self.is_cut = false;
                    let line = text(&std::mem::take(&mut self.line));
                    if !line.trim().is_empty() {
                        return Some(line);
                    }
                }
                _ if self.line.len() >= LINE_OCTETS_MAX => {
                    self.cut += u64::from(!self.is_cut);
                    self.is_cut = true;
                }
                _ => self.line.push(octet),
            }
        }
        None
    }

    /// Whether a line has begun that has not ended.
    pub fn is_within_line(&self) -> bool {
        !self.line.is_empty()
    }

    fn is_line_end(&self, octet: u8) -> bool {
        match octet {
            b'\r' | b'\n' => true,
            _ if matches!(octet & SEVEN_BITS, b'\r' | b'\n') => {
                has_parity(self.line.iter().chain([&octet]))
            }
            _ => false,
        }
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

/// Whether all octets are such as seven bits and even, odd or mark parity make them.
fn has_parity<'a>(octets: impl Iterator<Item = &'a u8>) -> bool {
    let (mut is_even, mut is_odd, mut is_mark) = (true, true, true);
    for octet in octets {
        let ones_are_even = octet.count_ones().is_multiple_of(2);
        is_even &= ones_are_even;
        is_odd &= !ones_are_even;
        is_mark &= *octet > SEVEN_BITS;
    }
    is_even || is_odd || is_mark
}

fn text(line: &[u8]) -> String {
    let mask = if has_parity(line.iter()) {
        SEVEN_BITS
    } else {
        0xff
    };
    let character = |octet: &u8| match octet & mask {
        octet @ 0x20..=0x7e => char::from(octet),
        b'\t' => ' ',
        _ => '?',
    };
    line.iter().map(character).collect()
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
        let heard: Vec<String> = said
            .iter()
            .flat_map(|octet| lines(&mut reader, &[*octet]))
            .collect();
        assert_eq!(heard, ["RING", "NMBR = 0661234567"]);
    }

    #[test]
    fn an_endless_line_is_cut_and_counted_once() {
        let mut reader = Reader::default();
        assert!(lines(&mut reader, &[b'x'; 1_000_000]).is_empty());
        assert_eq!(
            lines(&mut reader, b"\r\nOK\r\n"),
            ["x".repeat(LINE_OCTETS_MAX), "OK".into()]
        );
        assert_eq!(reader.lines_cut(), 1);
    }

    #[test]
    fn octets_behind_a_line_are_left_alone() {
        let mut reader = Reader::default();
        let mut octets: &[u8] = b"CONNECT 33600\r\n\x7e\xff\x03";
        assert_eq!(
            reader.next_line(&mut octets).as_deref(),
            Some("CONNECT 33600")
        );
        reader.skip_line_feed(&mut octets);
        assert_eq!(octets, b"\x7e\xff\x03");
    }

    #[test]
    fn what_is_not_ascii_reaches_no_log() {
        assert_eq!(
            lines(&mut Reader::default(), b"\x1b[2JNO\xff\r"),
            ["?[2JNO"]
        );
    }

    #[test]
    fn octets_between_characters_are_none() {
        let said = b"\x00OK\r\n\xff\xffRI\x11NG\x13\r\nNMBR\x00 = 2\xff01\r\n\x7fBUSY\x00\r\n";
        assert_eq!(
            lines(&mut Reader::default(), said),
            ["OK", "RING", "NMBR = 201", "BUSY"]
        );
    }

    #[test]
    fn seven_bits_and_parity_are_read_without_it() {
        let said = "\r\nRING\r\n\r\nNMBR = 4075552120\r\nOK\r\n";
        let framed = |bit: fn(u8) -> u8| {
            said.bytes()
                .map(|octet| octet | bit(octet) << 7)
                .collect::<Vec<_>>()
        };
        let even = framed(|octet| u8::from(octet.count_ones() % 2 == 1));
        let odd = framed(|octet| u8::from(octet.count_ones() % 2 == 0));
        let mark = framed(|_| 1);
        for octets in [even, odd, mark, said.as_bytes().to_vec()] {
            for pieces in [1, 1000] {
                let mut reader = Reader::default();
                let heard: Vec<_> = octets
                    .chunks(pieces)
                    .flat_map(|piece| lines(&mut reader, piece))
                    .collect();
                assert_eq!(heard, ["RING", "NMBR = 4075552120", "OK"], "{octets:02x?}");
            }
        }
    }

    #[test]
    fn a_name_beyond_ascii_ends_no_line() {
        // 0xc4 0x8d is a letter; 0x8d alone would be CR with even parity.
        let said = "NAME = \u{10d}NMBR = 201\r\nNMBR = 301\r\n";
        assert_eq!(
            lines(&mut Reader::default(), said.as_bytes()),
            ["NAME = ??NMBR = 201", "NMBR = 301"]
        );
    }

    #[test]
    fn a_shielded_event_is_a_line_of_its_own_and_leaves_the_line_around_it_whole() {
        assert_eq!(
            lines(&mut Reader::default(), b"\x10R\r\nNMBR = 2\x10R01\r\n"),
            ["\u{10}R", "\u{10}R", "NMBR = 201"]
        );
        assert_eq!(
            lines(&mut Reader::default(), b"O\x10\x10K\r"),
            ["\u{10}K", "O"]
        );
    }
}
