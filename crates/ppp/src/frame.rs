//! Frames on an asynchronous line (RFC 1662): where one begins and ends, and whether it survived.
//!
//! ```text
//!   7e | ff 03 | protocol | information ... | FCS lo hi | 7e
//!   flag  left out   1 or 2                     RFC 1662   also the next
//!         with ACFC  octets                     appendix C  frame's flag
//! ```
//!
//! Inside a frame `7d x` stands for `x ^ 20`. What must be escaped is negotiated (the ACCM); what is escaped
//! without need is understood all the same.

mod decoder;
mod encoder;

pub use decoder::{Decoder, DecoderStatistics, Frame};
pub use encoder::{Encoder, EncoderStatistics};

/// Begins and ends a frame; one between two frames is enough (RFC 1662 §3.1).
pub(crate) const FLAG: u8 = 0x7e;
/// The next octet is to be read with bit 5 inverted (RFC 1662 §4.2).
pub(crate) const ESCAPE: u8 = 0x7d;
pub(crate) const ESCAPE_BIT: u8 = 0x20;
/// All stations, unnumbered information: the only address and control PPP uses (RFC 1662 §3.1).
pub(crate) const ADDRESS_AND_CONTROL: [u8; 2] = [0xff, 0x03];

/// The longest information field taken from the line, in octets. RFC 1661 §6.1 obliges every end to take 1500
/// whatever was negotiated, and a [`Mru`](crate::Mru) here is never larger.
pub const INFORMATION_OCTETS_MAX: usize = 1500;
/// Address, control, protocol, information and FCS, after the escapes are undone.
pub(crate) const FRAME_OCTETS_MAX: usize = INFORMATION_OCTETS_MAX + 6;

/// Every control character escaped: what counts until LCP has opened (RFC 1662 §7.1).
pub const ACCM_DEFAULT: u32 = 0xffff_ffff;

const FCS_INIT: u16 = 0xffff;
/// What the FCS over a whole good frame, its own FCS included, comes to (RFC 1662 §C.2).
const FCS_GOOD: u16 = 0xf0b8;

/// RFC 1662 §C.2 computes this table with a program; so does the compiler here.
const FCS_TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut index = 0;
    while index < 256 {
        // The index is below 256, so nothing is cut off.
        #[expect(clippy::cast_possible_truncation, reason = "0..256 fits 16 bits")]
        let mut value = index as u16;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0x8408
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

fn fcs_step(fcs: u16, octet: u8) -> u16 {
    (fcs >> 8) ^ FCS_TABLE[usize::from(fcs.to_le_bytes()[0] ^ octet)]
}

fn fcs(octets: &[u8]) -> u16 {
    octets
        .iter()
        .fold(FCS_INIT, |fcs, &octet| fcs_step(fcs, octet))
}

/// Whether an ACCM names this octet. Only the 32 control characters can be named (RFC 1662 §7.1).
fn is_mapped(accm: u32, octet: u8) -> bool {
    octet < 0x20 && accm & (1 << octet) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fcs_table_is_the_one_printed_in_the_rfc() {
        // RFC 1662 §C.2: first row, and the last entry.
        assert_eq!(
            FCS_TABLE[..8],
            [
                0x0000, 0x1189, 0x2312, 0x329b, 0x4624, 0x57ad, 0x6536, 0x74bf
            ]
        );
        assert_eq!(FCS_TABLE[255], 0x0f78);
    }

    #[test]
    fn the_check_value_of_this_crc_is_906e() {
        // CRC-16/X-25 over "123456789", as every catalogue lists it.
        assert_eq!(!fcs(b"123456789"), 0x906e);
    }

    #[test]
    fn only_control_characters_can_be_mapped() {
        assert!(is_mapped(ACCM_DEFAULT, 0x1f));
        assert!(!is_mapped(ACCM_DEFAULT, 0x20));
        assert!(is_mapped(0x000a_0000, 0x11));
        assert!(!is_mapped(0x000a_0000, 0x12));
    }
}
