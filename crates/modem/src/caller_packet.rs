//! Caller ID as the exchange sent it, in hex: what `AT+VCID=2` gives, and some modems in their `MESG` lines.
//!
//! ```text
//!   MDMF   80 len { type len value ... } ... checksum      Bellcore GR-30, ETSI EN 300 659-3 §5
//!   SDMF   04 len MMDDhhmm number            checksum      Bellcore GR-30
//!   MESG   { type len value ... } ...                      parameters of MDMF alone
//! ```
//!
//! The octets of a packet and its checksum add up to 0 modulo 256. One that does not is nobody's number.

use crate::caller_id::{CallerId, CallerIdField};

const SDMF: u8 = 0x04;
const MDMF: u8 = 0x80;

/// Parameters of MDMF: the caller's number, and why there is none.
const NUMBER: u8 = 0x02;
const NO_NUMBER: u8 = 0x04;
/// The caller's number as it can be dialled (Bellcore GR-30), or the number that was called (ETSI EN 300 659-3 §5.4.3):
/// the caller only where nothing else says who that is.
const DIALABLE_OR_CALLED: u8 = 0x03;

/// A message is at most 255 octets, with three around it (its type, its length, its checksum).
const PACKET_OCTETS_MAX: usize = 258;

/// Octets of date and time in SDMF.
const DATE_AND_TIME: usize = 8;

/// `None`: not a packet.
pub(crate) fn read(hex: &str) -> Option<CallerIdField> {
    // Some write the octets apart. Such a line counts as a packet only, for its checksum.
    let is_apart = hex.contains(' ');
    if is_apart && !hex.split(' ').all(|octet| octet.len() == 2) {
        return None;
    }
    let octets = if is_apart {
        from_hex(&hex.replace(' ', ""))?
    } else {
        from_hex(hex)?
    };
    match *octets {
        [kind @ (SDMF | MDMF), length, ref rest @ ..] if rest.len() == usize::from(length) + 1 => {
            let sum = octets
                .iter()
                .fold(0_u8, |sum, octet| sum.wrapping_add(*octet));
            let message = &rest[..usize::from(length)];
            match (sum, kind) {
                (0, MDMF) => parameters(message),
                (0, _) => Some(CallerIdField::Caller(value(message.get(DATE_AND_TIME..)?))),
                // Bent on its way: a call is coming, and who calls is not known.
                _ => Some(CallerIdField::Caller(CallerId::Unavailable)),
            }
        }
        _ if is_apart => None,
        _ => parameters(&octets),
    }
}

fn parameters(mut octets: &[u8]) -> Option<CallerIdField> {
    let [mut number, mut why_not, mut dialable] = [None, None, None];
    while let [kind, length, ref rest @ ..] = *octets {
        let (content, next) = rest.split_at_checked(usize::from(length))?;
        match kind {
            NUMBER => number = Some(value(content)),
            NO_NUMBER => why_not = Some(value(content)),
            DIALABLE_OR_CALLED => dialable = Some(value(content)),
            _ => {}
        }
        octets = next;
    }
    if !octets.is_empty() {
        return None;
    }
    Some(
        number
            .or(why_not)
            .or(dialable)
            .map_or(CallerIdField::Other, CallerIdField::Caller),
    )
}

fn value(octets: &[u8]) -> CallerId {
    std::str::from_utf8(octets).map_or(CallerId::Unavailable, CallerId::from_value)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let is_hex =
        text.len().is_multiple_of(2) && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    if !is_hex || !(6..=2 * PACKET_OCTETS_MAX).contains(&text.len()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made from GR-30, and read back by minimodem 0.24 and spandsp's ADSI receiver.
    const NUMBER_AND_NAME: &str =
        "802301083131323231393330020A30363631323334353637070B505553482053455256455264";
    const WITHHELD: &str = "80100108313132323139333004015008015026";
    const SINGLE: &str = "04123131323231393330303636313233343536374F";

    fn caller(hex: &str) -> CallerId {
        match read(hex) {
            Some(CallerIdField::Caller(caller)) => caller,
            other => panic!("{hex}: {other:?}"),
        }
    }

    #[test]
    fn a_number_is_read_from_both_formats_and_in_either_case() {
        for hex in [NUMBER_AND_NAME, SINGLE, &NUMBER_AND_NAME.to_lowercase()] {
            assert_eq!(caller(hex), CallerId::Digits("0661234567".into()), "{hex}");
        }
    }

    #[test]
    fn octets_may_stand_apart_in_a_packet_and_nowhere_else() {
        let apart = "80 20 01 08 31 31 32 32 31 39 33 30 02 0A 34 30 37 35 35 35 32 31 32 30 07 08 50 55 53 48 20 53 52 56 4F";
        assert_eq!(caller(apart), CallerId::Digits("4075552120".into()));
        for text in ["02 03 32 30 31", "0203 32 30 31", "80 20", "80  20"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_withheld_number_is_withheld() {
        assert_eq!(caller(WITHHELD), CallerId::Withheld);
        assert_eq!(caller("040150"), CallerId::Withheld);
    }

    #[test]
    fn the_number_that_was_called_is_not_the_caller() {
        let packet = |parameters: &[(u8, &str)]| {
            let message = parameters.iter().flat_map(|(kind, content)| {
                let length = u8::try_from(content.len()).unwrap();
                [*kind, length].into_iter().chain(content.bytes())
            });
            message
                .map(|octet| format!("{octet:02X}"))
                .collect::<String>()
        };
        let digits = |digits: &str| CallerId::Digits(digits.into());
        for (parameters, expected) in [
            (
                &[(NUMBER, "0661"), (DIALABLE_OR_CALLED, "201")][..],
                digits("0661"),
            ),
            (
                &[(DIALABLE_OR_CALLED, "201"), (NUMBER, "0661")],
                digits("0661"),
            ),
            (
                &[(NO_NUMBER, "P"), (DIALABLE_OR_CALLED, "201")],
                CallerId::Withheld,
            ),
            (
                &[(DIALABLE_OR_CALLED, "201"), (NO_NUMBER, "O")],
                CallerId::Unavailable,
            ),
            (&[(DIALABLE_OR_CALLED, "201")], digits("201")),
        ] {
            assert_eq!(caller(&packet(parameters)), expected, "{parameters:?}");
        }
    }

    #[test]
    fn one_bent_bit_makes_it_nobodys_number() {
        for at in 0..SINGLE.len() / 2 {
            for bit in 0..8 {
                let octet =
                    u8::from_str_radix(&SINGLE[2 * at..2 * at + 2], 16).unwrap() ^ (1 << bit);
                let bent = format!("{}{octet:02X}{}", &SINGLE[..2 * at], &SINGLE[2 * at + 2..]);
                let heard = read(&bent);
                assert!(
                    !matches!(heard, Some(CallerIdField::Caller(CallerId::Digits(_)))),
                    "{bent}: {heard:?}"
                );
            }
        }
    }

    #[test]
    fn parameters_that_do_not_add_up_are_no_packet() {
        for hex in [
            "",
            "0307",
            "03073535",
            "0307353535313231",
            "zz",
            "802",
            "03073535353132313200",
        ] {
            assert_eq!(read(hex), None, "{hex}");
        }
    }
}
