//! What LCP and every network control protocol share on the wire: packets (RFC 1661 §5) and options (§6).
//!
//! ```text
//!   code | identifier | length hi lo | data ...     length counts these four octets too;
//!                                                   what follows it is padding
//!   type | length | data ...                        an option; its length counts these two octets too
//! ```

/// RFC 1661 §5, and RFC 1570 for the last two.
pub(crate) mod code {
    pub(crate) const CONFIGURE_REQUEST: u8 = 1;
    pub(crate) const CONFIGURE_ACK: u8 = 2;
    pub(crate) const CONFIGURE_NAK: u8 = 3;
    pub(crate) const CONFIGURE_REJECT: u8 = 4;
    pub(crate) const TERMINATE_REQUEST: u8 = 5;
    pub(crate) const TERMINATE_ACK: u8 = 6;
    pub(crate) const CODE_REJECT: u8 = 7;
    pub(crate) const PROTOCOL_REJECT: u8 = 8;
    pub(crate) const ECHO_REQUEST: u8 = 9;
    pub(crate) const ECHO_REPLY: u8 = 10;
    pub(crate) const DISCARD_REQUEST: u8 = 11;
    pub(crate) const IDENTIFICATION: u8 = 12;
    pub(crate) const TIME_REMAINING: u8 = 13;
}

/// Options read from one packet. No protocol here knows more than a handful; a packet that lists more is discarded.
pub(crate) const OPTIONS_MAX: usize = 64;

/// Code, identifier and length.
pub(crate) const HEADER_OCTETS: usize = 4;

/// One packet of a control protocol, its padding removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub(crate) code: u8,
    pub(crate) id: u8,
    pub(crate) data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None` when the length does not fit: RFC 1661 §5 has such packets discarded without a word.
    pub(crate) fn parse(information: &'a [u8]) -> Option<Packet<'a>> {
        let [code, id, high, low, ..] = *information else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let data = information.get(HEADER_OCTETS..length)?;
        Some(Packet { code, id, data })
    }
}

/// One option of a Configure packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConfigureOption<'a> {
    pub(crate) kind: u8,
    pub(crate) data: &'a [u8],
    /// The option as it stood in the packet, for an answer that must repeat it unchanged.
    pub(crate) raw: &'a [u8],
}

/// Splits the data of a Configure packet. `None` when a length does not fit or there are too many.
pub(crate) fn options(mut data: &[u8]) -> Option<Vec<ConfigureOption<'_>>> {
    let mut options = Vec::new();
    while let [kind, length, ..] = *data {
        let (raw, rest) = data.split_at_checked(usize::from(length))?;
        options.push(ConfigureOption {
            kind,
            data: raw.get(2..)?,
            raw,
        });
        if options.len() > OPTIONS_MAX {
            return None;
        }
        data = rest;
    }
    data.is_empty().then_some(options)
}

/// Appends one option. Its data is at most 253 octets; all options here have four or fewer.
pub(crate) fn put_option(packet: &mut Vec<u8>, kind: u8, data: &[u8]) {
    let length = u8::try_from(data.len() + 2).expect("option data is a few octets");
    packet.extend_from_slice(&[kind, length]);
    packet.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_cut_off_and_a_length_beyond_the_frame_is_refused() {
        let packet = Packet::parse(&[1, 9, 0, 5, 0xaa, 0, 0]).unwrap();
        assert_eq!(
            packet,
            Packet {
                code: 1,
                id: 9,
                data: &[0xaa]
            }
        );
        for bad in [&[1, 9, 0, 6, 0xaa][..], &[1, 9, 0, 3], &[1, 9, 0], &[]] {
            assert_eq!(Packet::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn options_whose_lengths_do_not_add_up_are_refused() {
        assert_eq!(options(&[]).unwrap(), []);
        assert_eq!(options(&[7, 2, 5, 3, 1]).unwrap().len(), 2);
        for bad in [&[7][..], &[7, 0], &[7, 1], &[7, 3], &[7, 2, 8]] {
            assert_eq!(options(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sixty_four_options_are_read_and_one_more_is_not() {
        assert!(options(&[7, 2].repeat(64)).is_some());
        assert!(options(&[7, 2].repeat(65)).is_none());
    }
}
