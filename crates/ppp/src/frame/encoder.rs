//! Frames to the line.

use bytes::{BufMut, BytesMut};

use super::{
    ACCM_DEFAULT, ADDRESS_AND_CONTROL, ESCAPE, ESCAPE_BIT, FCS_INIT, FLAG, fcs_step, is_mapped,
};
use crate::lcp::Direction;
use crate::protocol::LCP;

/// Turns packets into frames and remembers what was agreed for this direction.
#[derive(Debug)]
pub struct Encoder {
    agreed: Direction,
    statistics: EncoderStatistics,
}

/// What went to the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncoderStatistics {
    /// Octets on the line: flags and escapes included.
    pub octets: u64,
    /// Frames.
    pub frames: u64,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder for a fresh call: everything escaped, nothing compressed (RFC 1662 §7).
    pub fn new() -> Encoder {
        Encoder {
            agreed: Direction::default(),
            statistics: EncoderStatistics::default(),
        }
    }

    /// Uses what LCP agreed for this direction, or the defaults again when LCP is not open.
    pub fn set_agreed(&mut self, agreed: Direction) {
        self.agreed = agreed;
    }

    /// Appends one frame to `line`. The information field is given in parts so that nobody has to join them.
    ///
    /// A frame that follows another in the same buffer shares its flag; the first one brings its own, which
    /// ends whatever noise an idle line has left in the peer's receiver (RFC 1662 §4.4).
    pub fn encode(&mut self, line: &mut BytesMut, protocol: u16, information: &[&[u8]]) {
        let before = line.len();
        if line.last() != Some(&FLAG) {
            line.put_u8(FLAG);
        }
        // RFC 1661 §6.5, §6.6 and RFC 1662 §7.1: a peer that lost our Configure-Ack, or that restarts, must be
        // able to read LCP whatever we believe to be agreed.
        let (accm, short_protocol, short_address) = if protocol == LCP {
            (ACCM_DEFAULT, false, false)
        } else {
            (
                self.agreed.accm,
                self.agreed.protocol_compression,
                self.agreed.address_compression,
            )
        };
        let mut writer = Writer {
            line,
            accm,
            fcs: FCS_INIT,
        };
        if !short_address {
            writer.put(&ADDRESS_AND_CONTROL);
        }
        match protocol.to_be_bytes() {
            // RFC 1661 §6.5: only numbers below 0x100 lose an octet; the low bit then says that it is the last.
            [0, low] if short_protocol => writer.put(&[low]),
            number => writer.put(&number),
        }
        for part in information {
            writer.put(part);
        }
        let fcs = !writer.fcs;
        writer.put(&fcs.to_le_bytes());
        line.put_u8(FLAG);
        self.statistics.frames += 1;
        self.statistics.octets += (line.len() - before) as u64;
    }

    /// What went to the line so far.
    pub fn statistics(&self) -> EncoderStatistics {
        self.statistics
    }
}

struct Writer<'a> {
    line: &'a mut BytesMut,
    accm: u32,
    fcs: u16,
}

impl Writer<'_> {
    fn put(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.fcs = fcs_step(self.fcs, octet);
            if octet == FLAG || octet == ESCAPE || is_mapped(self.accm, octet) {
                self.line.put_u8(ESCAPE);
                self.line.put_u8(octet ^ ESCAPE_BIT);
            } else {
                self.line.put_u8(octet);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: u16 = 0x0021;

    #[test]
    fn encodes_pppds_first_configure_request_to_the_octet() {
        let packet = [
            0x01, 0x01, 0x00, 0x14, 0x02, 0x06, 0, 0, 0, 0, 0x05, 0x06, 0xd1, 0x3b, 0xbb, 0xe1,
            0x07, 0x02, 0x08, 0x02,
        ];
        let mut line = BytesMut::new();
        Encoder::new().encode(&mut line, LCP, &[&packet]);
        let seen = "7eff7d23c0217d217d217d207d347d227d267d207d207d207d207d257d26d13bbbe17d277d227d287d22c67d2a7e";
        assert_eq!(hex(&line), seen);
        assert_eq!(line.len(), 46);
    }

    #[test]
    fn what_was_agreed_shortens_ip_but_never_lcp() {
        let mut encoder = Encoder::new();
        encoder.set_agreed(Direction {
            accm: 0,
            protocol_compression: true,
            address_compression: true,
            ..Direction::default()
        });
        let mut line = BytesMut::new();
        encoder.encode(&mut line, IP, &[&[1]]);
        assert_eq!(line[..3], [FLAG, 0x21, 0x01]);
        let mut line = BytesMut::new();
        encoder.encode(&mut line, LCP, &[&[1]]);
        assert_eq!(line[..7], [FLAG, 0xff, ESCAPE, 0x23, 0xc0, 0x21, ESCAPE]);
    }

    #[test]
    fn two_frames_in_one_write_share_a_flag_and_are_counted() {
        let mut encoder = Encoder::new();
        let mut line = BytesMut::new();
        encoder.encode(&mut line, IP, &[b"A"]);
        encoder.encode(&mut line, IP, &[b"B"]);
        assert_eq!(line.iter().filter(|&&octet| octet == FLAG).count(), 3);
        assert_eq!(
            encoder.statistics(),
            EncoderStatistics {
                octets: line.len() as u64,
                frames: 2
            }
        );
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}
