//! Who is calling, as a modem reports it between the first and the second RING (in some countries before the first).

use crate::caller_packet;
use crate::dialects::{DIALECTS, Says, Separator};

/// The caller as the exchange presented it.
///
/// A presented number opens the door at most; it proves nothing (it can be forged).
#[derive(Clone, PartialEq, Eq)]
pub enum CallerId {
    /// The digits as they came, with a leading `+` if there was one. At most 32 characters, all ASCII.
    Digits(String),
    /// The caller asked not to be shown (`P`).
    Withheld,
    /// The exchange has no number to show (`O`), or what came in its place is not a number.
    Unavailable,
    /// A public telephone (Japan: `C`).
    PayPhone,
    /// The service cannot show a number on this call (Japan: `S`).
    ServiceConflict,
}

/// Shows the last three digits only.
impl std::fmt::Debug for CallerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digits(digits) => write!(f, "Digits(..{})", &digits[digits.len().saturating_sub(3)..]),
            Self::Withheld => f.write_str("Withheld"),
            Self::Unavailable => f.write_str("Unavailable"),
            Self::PayPhone => f.write_str("PayPhone"),
            Self::ServiceConflict => f.write_str("ServiceConflict"),
        }
    }
}

/// One line of a caller-ID block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerIdField {
    /// The line that decides.
    Caller(CallerId),
    /// Date, name, the number that was called: part of the block, and a sign that a call is coming.
    Other,
}

/// Longest number read, in characters: E.164 has 15 digits; the rest is room for prefixes of an exchange.
const DIGITS_MAX: usize = 32;

/// Fewest digits of a number on a line of its own: with less it would be a numeric result code.
const BARE_DIGITS_MIN: usize = 3;

impl CallerIdField {
    /// Reads a line in any of the [`DIALECTS`], or as an unformatted packet in hex. `None`: not part of a caller-ID
    /// block.
    ///
    /// ```
    /// use ringup_modem::{CallerId, CallerIdField};
    ///
    /// let caller = |digits: &str| Some(CallerIdField::Caller(CallerId::Digits(digits.into())));
    /// assert_eq!(CallerIdField::parse("NMBR = 0661234567"), caller("0661234567"));
    /// assert_eq!(CallerIdField::parse("+CLIP: \"49661234567\",145,,,,0"), caller("+49661234567"));
    /// assert_eq!(CallerIdField::parse("RING;08912345;08765"), caller("08912345"));
    /// assert_eq!(CallerIdField::parse("RING"), None);
    /// ```
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let spoken = DIALECTS.iter().find_map(|dialect| {
            let rest = line.strip_prefix(dialect.tag)?;
            let value = match dialect.separator {
                Separator::Equals => rest.trim_start().strip_prefix('=')?,
                Separator::Colon => rest.strip_prefix(':')?,
                Separator::Nothing => rest,
            };
            Some((dialect.says, value.trim()))
        });
        match spoken {
            Some((says, value)) => read(says, value),
            None if is_bare_number(line) => Some(Self::Caller(CallerId::Digits(line.to_owned()))),
            None => caller_packet::read(line),
        }
    }
}

fn read(says: Says, value: &str) -> Option<CallerIdField> {
    let caller = match says {
        Says::Nothing => return Some(CallerIdField::Other),
        Says::Number => CallerId::from_value(value),
        Says::DashedNumber => CallerId::from_value(&value.replace(['-', '(', ')'], "")),
        Says::WhyNot => CallerId::from_reason(value),
        Says::Clip => from_clip(value),
        Says::FromTo => CallerId::from_value(value.split_whitespace().next().unwrap_or_default()),
        Says::RingCallerCalled => CallerId::from_value(value.split(';').next().unwrap_or_default()),
        // `RING A` is a cadence and `RING` nothing; a number with its sub-address is a caller.
        Says::RingCallerSub => {
            let number = value.split('*').next().unwrap_or_default();
            if !is_bare_number(number) {
                return None;
            }
            CallerId::from_value(number)
        }
        Says::Packet => return Some(caller_packet::read(value).unwrap_or(CallerIdField::Other)),
    };
    Some(CallerIdField::Caller(caller))
}

fn is_bare_number(text: &str) -> bool {
    (BARE_DIGITS_MIN..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// `"number",type,subaddress,satype,"alpha",validity`: TS 27.007 §7.11.
fn from_clip(value: &str) -> CallerId {
    let mut fields = value.split(',').map(|field| field.trim().trim_matches('"'));
    let number = fields.next().unwrap_or_default();
    let kind = fields.next().unwrap_or_default();
    match (number, fields.nth(3)) {
        (_, Some("1")) => CallerId::Withheld,
        (_, Some("3")) => CallerId::PayPhone,
        (_, Some("2")) | ("", _) => CallerId::Unavailable,
        // TS 24.008 §10.5.4.7: 145 is international, written with or without its `+`.
        (digits, _) if kind == "145" && !digits.starts_with('+') => CallerId::from_value(&format!("+{digits}")),
        (digits, _) => CallerId::from_value(digits),
    }
}

impl CallerId {
    pub(crate) fn from_value(value: &str) -> Self {
        let digits = value.strip_prefix('+').unwrap_or(value);
        let is_number = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit());
        if is_number { Self::Digits(value.to_owned()) } else { Self::from_reason(value) }
    }

    /// The codes of the exchange (ETSI EN 300 659-3 §5.4.4, TTC JJ-10.12), and the words modems make of them.
    pub(crate) fn from_reason(reason: &str) -> Self {
        let reason = reason.trim_matches(['(', ')', '"']).to_ascii_uppercase();
        match reason.as_str() {
            "P" | "PRIVATE" | "PRIVATE CALLER" | "WITHHELD" | "BLOCKED" | "ANONYMOUS" => Self::Withheld,
            "C" | "PAY PHONE" | "PAYPHONE" => Self::PayPhone,
            "S" => Self::ServiceConflict,
            _ => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(line: &str) -> CallerId {
        match CallerIdField::parse(line) {
            Some(CallerIdField::Caller(caller)) => caller,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_dialect_has_a_line_that_is_read_as_it_says() {
        for dialect in DIALECTS {
            let (line, expected) = dialect.example;
            let heard = match CallerIdField::parse(line) {
                Some(CallerIdField::Caller(CallerId::Digits(digits))) => digits,
                Some(CallerIdField::Caller(other)) => format!("{other:?}"),
                Some(CallerIdField::Other) => "-".to_owned(),
                None => panic!("{line}: not read"),
            };
            assert_eq!(heard, expected, "{line}");
        }
    }

    #[test]
    fn what_is_not_a_number_never_becomes_one() {
        assert_eq!(caller("NMBR = P"), CallerId::Withheld);
        let bad = ["O", "", "20 1", "201x", "++201", "201,", "+", "２０１", "2?1"];
        for line in bad.map(|value| format!("NMBR = {value}")) {
            assert_eq!(caller(&line), CallerId::Unavailable, "{line}");
        }
        assert_eq!(caller(&format!("NMBR = {}", "1".repeat(33))), CallerId::Unavailable);
    }

    #[test]
    fn each_absence_keeps_its_reason() {
        for (line, absence) in [
            ("NMBR = P", CallerId::Withheld),
            ("NMBR=C", CallerId::PayPhone),
            ("NMBR=S", CallerId::ServiceConflict),
            ("REASON FOR NO CALLER NUMBER: PRIVATE", CallerId::Withheld),
            ("REASON FOR NO CALLER NUMBER: 0661234567", CallerId::Unavailable),
            ("+CLIP: \"\",128,,,,1", CallerId::Withheld),
            ("+CLIP: \"\",128,,,,2", CallerId::Unavailable),
            ("+CLIP: \"0661234567\",129,,,,1", CallerId::Withheld),
            ("+CLIP: \"\",128", CallerId::Unavailable),
        ] {
            assert_eq!(caller(line), absence, "{line}");
        }
    }

    #[test]
    fn a_number_in_clip_is_international_when_its_type_says_so() {
        assert_eq!(caller("+CLIP: \"49661234567\",145"), CallerId::Digits("+49661234567".into()));
        assert_eq!(caller("+CLIP: \"+49661234567\",145,,,\"Server\",0"), CallerId::Digits("+49661234567".into()));
        assert_eq!(caller("+CLIP: \"0661234567\",161"), CallerId::Digits("0661234567".into()));
    }

    #[test]
    fn the_called_and_the_diverting_number_are_never_the_caller() {
        for line in
            ["CALLED NUMBER: 201", "NDID=201", "Diverting number: 201", "NAME = 201", "TIME = 2010", "DATE=0124"]
        {
            assert_eq!(CallerIdField::parse(line), Some(CallerIdField::Other), "{line}");
        }
    }

    #[test]
    fn other_lines_are_not_caller_id() {
        for line in ["RING", "RING A", "OK", "XNMBR = 201", "A=B", "24", "7", "CONNECT 33600", "NMBRX=1", "RING 2"] {
            assert_eq!(CallerIdField::parse(line), None, "{line}");
        }
    }

    #[test]
    fn debug_hides_the_number() {
        assert_eq!(format!("{:?}", caller("NMBR = 0661234567")), "Digits(..567)");
    }
}
