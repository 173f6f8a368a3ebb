//! Who is calling, as a modem reports it between the first and the second RING (in some countries before the first).

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
}

/// Shows the last three digits only.
impl std::fmt::Debug for CallerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digits(digits) => write!(f, "Digits(..{})", &digits[digits.len().saturating_sub(3)..]),
            Self::Withheld => f.write_str("Withheld"),
            Self::Unavailable => f.write_str("Unavailable"),
        }
    }
}

/// One line of a caller-ID block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerIdField {
    /// `NMBR = ...`: the line that decides.
    Caller(CallerId),
    /// `DATE`, `TIME`, `NAME`, `MESG`: part of the block, and a sign that a call is coming.
    Other,
}

/// Longest number read, in characters: E.164 has 15 digits; the rest is room for prefixes of an exchange.
const DIGITS_MAX: usize = 32;

impl CallerIdField {
    /// Reads a line. `None`: not part of a caller-ID block.
    ///
    /// Formatted text as Rockwell, Conexant and USR modems give it, with both spacings: `NMBR = 0661234567`
    /// (docslib S0000206) and `NMBR=0661234567` (USR5637).
    pub fn parse(line: &str) -> Option<Self> {
        let (tag, value) = line.split_once('=')?;
        match tag.trim() {
            "NMBR" => Some(Self::Caller(CallerId::from_value(value.trim()))),
            "DATE" | "TIME" | "NAME" | "MESG" => Some(Self::Other),
            _ => None,
        }
    }
}

impl CallerId {
    fn from_value(value: &str) -> Self {
        let digits = value.strip_prefix('+').unwrap_or(value);
        let is_number = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit());
        match value {
            "P" => Self::Withheld,
            _ if is_number => Self::Digits(value.to_owned()),
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
    fn both_spacings_are_read() {
        assert_eq!(caller("NMBR = 0661234567"), CallerId::Digits("0661234567".into()));
        assert_eq!(caller("NMBR=+49661234567"), CallerId::Digits("+49661234567".into()));
        assert_eq!(CallerIdField::parse("DATE=0117"), Some(CallerIdField::Other));
    }

    #[test]
    fn what_is_not_a_number_never_becomes_one() {
        assert_eq!(caller("NMBR = P"), CallerId::Withheld);
        for line in ["NMBR = O", "NMBR =", "NMBR = 20 1", "NMBR = 201x", "NMBR = ++201", "NMBR = 201,", "NMBR = +"] {
            assert_eq!(caller(line), CallerId::Unavailable, "{line}");
        }
        assert_eq!(caller(&format!("NMBR = {}", "1".repeat(33))), CallerId::Unavailable);
    }

    #[test]
    fn other_lines_are_not_caller_id() {
        for line in ["RING", "OK", "XNMBR = 201", "A=B"] {
            assert_eq!(CallerIdField::parse(line), None, "{line}");
        }
    }

    #[test]
    fn debug_hides_the_number() {
        assert_eq!(format!("{:?}", caller("NMBR = 0661234567")), "Digits(..567)");
    }
}
