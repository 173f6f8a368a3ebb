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
            Self::Digits(digits) => {
                write!(f, "Digits(..{})", &digits[digits.len().saturating_sub(3)..])
            }
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
    /// The same, on the line that rings: it is a RING as well, and comes with each.
    RingingCaller(CallerId),
    /// Date, name, the number that was called: part of the block, and a sign that a call is coming.
    Other,
}

/// Characters between the digits of a number that mean nothing: those of RFC 3966 §5.1.1, blanks, quotes.
const VISUAL_SEPARATORS: [char; 6] = ['-', '.', '(', ')', ' ', '"'];

/// What the reader makes of octets that are no characters.
const NOISE: char = '?';

/// Columns of a caller's name (Bellcore GR-1188). A caller may choose its name: what stands in these columns is no tag.
const NAME_COLUMNS: usize = 15;

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
    /// let ringing = CallerIdField::RingingCaller(CallerId::Digits("08912345".into()));
    /// assert_eq!(CallerIdField::parse("RING;08912345;08765"), Some(ringing));
    /// assert_eq!(CallerIdField::parse("RING"), None);
    /// ```
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        // Noise before a tag is none of it. Before a number of its own it may have been a digit.
        let tagged = line.trim_start_matches(NOISE);
        match tag(tagged) {
            Some((Separator::Equals, ..)) => block(tagged),
            Some((_, says, value)) => read(says, value).or_else(|| block_behind_ring(tagged)),
            None if is_bare_number(line) => Some(Self::Caller(CallerId::Digits(line.to_owned()))),
            None => caller_packet::read(line),
        }
    }
}

/// The dialect in which a text begins, and its value: all that follows.
fn tag(text: &str) -> Option<(Separator, Says, &str)> {
    DIALECTS.iter().find_map(|dialect| {
        let (begins, rest) = text.split_at_checked(dialect.tag.len())?;
        if !begins.eq_ignore_ascii_case(dialect.tag) {
            return None;
        }
        let value = match dialect.separator {
            Separator::Equals => rest.trim_start().strip_prefix('=')?,
            Separator::Colon => rest.strip_prefix(':')?,
            Separator::Nothing => rest,
        };
        Some((dialect.separator, dialect.says, value.trim()))
    })
}

/// `TAG = value` once, or several of them on one line: the first that names the caller decides.
fn block(line: &str) -> Option<CallerIdField> {
    let (_, says, value) = tag(line)?;
    let begins = line.len() - value.len();
    // A name is what its caller likes, `NMBR=201` for one: it has its columns to itself.
    let columns = if line
        .get(..4)
        .is_some_and(|tag| tag.eq_ignore_ascii_case("NAME"))
    {
        NAME_COLUMNS
    } else {
        1
    };
    let next = line.match_indices(' ').map(|(at, _)| at + 1).find(|at| {
        *at >= begins + columns && matches!(tag(&line[*at..]), Some((Separator::Equals, ..)))
    });
    let first = read(says, next.map_or(value, |next| line[begins..next].trim()));
    match (first, next) {
        (Some(CallerIdField::Other) | None, Some(next)) => {
            block(&line[next..]).or(Some(CallerIdField::Other))
        }
        (first, _) => first,
    }
}

/// `RING DATE=0312 TIME=1254 NMBR=201`.
fn block_behind_ring(line: &str) -> Option<CallerIdField> {
    let (_, rest) = line.split_once(' ')?;
    match block(rest.trim_start())? {
        CallerIdField::Caller(caller) => Some(CallerIdField::RingingCaller(caller)),
        other => Some(other),
    }
}

fn read(says: Says, value: &str) -> Option<CallerIdField> {
    let caller = match says {
        Says::Nothing => return Some(CallerIdField::Other),
        Says::Number => CallerId::from_written(value),
        Says::WhyNot => CallerId::from_reason(value),
        Says::Clip => from_clip(value),
        Says::FromTo => {
            let caller = value.split_whitespace().next().unwrap_or_default();
            return Some(CallerIdField::RingingCaller(CallerId::from_value(caller)));
        }
        Says::RingCallerCalled => {
            let caller = value.split(';').next().unwrap_or_default();
            return Some(CallerIdField::RingingCaller(CallerId::from_value(caller)));
        }
        // `RING A` is a cadence and `RING` nothing; a number with its sub-address is a caller.
        Says::RingCallerSub => {
            let number = value.split('*').next().unwrap_or_default();
            return is_bare_number(number)
                .then(|| CallerIdField::RingingCaller(CallerId::from_value(number)));
        }
        Says::Packet => return Some(caller_packet::read(value).unwrap_or(CallerIdField::Other)),
    };
    Some(CallerIdField::Caller(caller))
}

fn is_bare_number(text: &str) -> bool {
    (BARE_DIGITS_MIN..=DIGITS_MAX).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// `"number",type,subaddress,satype,"alpha",validity`: TS 27.007 §7.11.
fn from_clip(value: &str) -> CallerId {
    let mut fields = value.split(',').map(|field| field.trim().trim_matches('"'));
    let number = fields.next().unwrap_or_default();
    let kind = fields.next().unwrap_or_default();
    let number = from_ucs2(number).unwrap_or_else(|| number.replace(VISUAL_SEPARATORS, ""));
    match (number.as_str(), fields.nth(3)) {
        (_, Some("1")) => CallerId::Withheld,
        (_, Some("3")) => CallerId::PayPhone,
        (_, Some("2")) | ("", _) => CallerId::Unavailable,
        // TS 24.008 §10.5.4.7: 145 is international, written with or without its `+`.
        (digits, _) if kind == "145" && !digits.starts_with('+') => {
            CallerId::from_value(&format!("+{digits}"))
        }
        (digits, _) => CallerId::from_value(digits),
    }
}

/// Digits as UCS2 in hex, as a modem with `+CSCS="UCS2"` writes them: `002B00340039` is `+49`.
fn from_ucs2(hex: &str) -> Option<String> {
    let is_number =
        hex.len() >= 4 * BARE_DIGITS_MIN && hex.len().is_multiple_of(4) && hex.is_ascii();
    let digit = |at: usize| match &hex[at..at + 4] {
        "002B" | "002b" => Some('+'),
        code => code
            .strip_prefix("003")
            .and_then(|digit| digit.parse::<u8>().ok())
            .map(|digit| char::from(b'0' + digit)),
    };
    is_number.then(|| (0..hex.len()).step_by(4).map(digit).collect())?
}

impl CallerId {
    /// A number as people write it.
    fn from_written(value: &str) -> Self {
        let digits = value.replace(VISUAL_SEPARATORS, "");
        let is_number = digits.starts_with('+') || digits.starts_with(|c: char| c.is_ascii_digit());
        if is_number {
            Self::from_value(&digits)
        } else {
            Self::from_reason(value)
        }
    }

    pub(crate) fn from_value(value: &str) -> Self {
        let digits = value.strip_prefix('+').unwrap_or(value);
        let is_number = (1..=DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|octet| octet.is_ascii_digit());
        if is_number {
            Self::Digits(value.to_owned())
        } else {
            Self::from_reason(value)
        }
    }

    /// The codes of the exchange (ETSI EN 300 659-3 §5.4.4, TTC JJ-10.12), and the words modems make of them.
    pub(crate) fn from_reason(reason: &str) -> Self {
        let reason = reason
            .trim_matches(['(', ')', '"', ' '])
            .to_ascii_uppercase();
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        match reason.as_str() {
            "P" => Self::Withheld,
            "C" => Self::PayPhone,
            "S" => Self::ServiceConflict,
            _ if says(&["PAY PHONE", "PAYPHONE"]) => Self::PayPhone,
            // `NUMBER WITHHELD`, `PRIVATE NUMBER`, `Restricted`.
            _ if says(&["PRIVATE", "WITHHELD", "RESTRICTED", "BLOCKED", "ANONYMOUS"]) => {
                Self::Withheld
            }
            _ => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(line: &str) -> CallerId {
        match CallerIdField::parse(line) {
            Some(CallerIdField::Caller(caller) | CallerIdField::RingingCaller(caller)) => caller,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_dialect_has_a_line_that_is_read_as_it_says() {
        for dialect in DIALECTS {
            let (line, expected) = dialect.example;
            let heard = match CallerIdField::parse(line) {
                Some(
                    CallerIdField::Caller(CallerId::Digits(digits))
                    | CallerIdField::RingingCaller(CallerId::Digits(digits)),
                ) => digits,
                Some(CallerIdField::Caller(other) | CallerIdField::RingingCaller(other)) => {
                    format!("{other:?}")
                }
                Some(CallerIdField::Other) => "-".to_owned(),
                None => panic!("{line}: not read"),
            };
            assert_eq!(heard, expected, "{line}");
        }
    }

    #[test]
    fn what_is_not_a_number_never_becomes_one() {
        assert_eq!(caller("NMBR = P"), CallerId::Withheld);
        let bad = [
            "O",
            "",
            "201x",
            "++201",
            "201,",
            "+",
            "２０１",
            "2?1",
            "20/1",
            "2*1",
        ];
        for line in bad.map(|value| format!("NMBR = {value}")) {
            assert_eq!(caller(&line), CallerId::Unavailable, "{line}");
        }
        assert_eq!(
            caller(&format!("NMBR = {}", "1".repeat(33))),
            CallerId::Unavailable
        );
    }

    #[test]
    fn a_number_is_read_as_people_write_it() {
        for value in [
            "407-555-2120",
            "407.555.2120",
            "(407) 555-2120",
            "407 555 2120",
            "\"4075552120\"",
            "4075552120",
        ] {
            assert_eq!(
                caller(&format!("NMBR = {value}")),
                CallerId::Digits("4075552120".into()),
                "{value}"
            );
        }
        assert_eq!(
            caller("NMBR=+1 (407) 555-2120"),
            CallerId::Digits("+14075552120".into())
        );
        assert_eq!(caller("nmbr = 201"), CallerId::Digits("201".into()));
        assert_eq!(
            caller("?NMBR = 201"),
            CallerId::Digits("201".into()),
            "noise before the tag"
        );
        assert_eq!(
            CallerIdField::parse("?0661234567"),
            None,
            "that may have been a digit"
        );
    }

    #[test]
    fn a_whole_block_may_stand_on_one_line() {
        for line in [
            "NAME=EXAMPLE E       NMBR=4075552120",
            "NAME = WIRELESS CALLER NMBR = 4075552120",
            "DATE=0119 TIME=2215 NMBR=4075552120 NAME=EXAMPLE E",
            "DATE = 0119  TIME = 2215  NMBR = 407-555-2120",
            "RING DATE=0119 TIME=2215 NMBR=4075552120",
        ] {
            assert_eq!(
                caller(line),
                CallerId::Digits("4075552120".into()),
                "{line}"
            );
        }
        assert_eq!(caller("DATE=0119 NMBR=P NAME=PRIVATE"), CallerId::Withheld);
        assert_eq!(
            CallerIdField::parse("DATE=0119 TIME=2215"),
            Some(CallerIdField::Other)
        );
    }

    #[test]
    fn a_name_that_its_caller_has_chosen_is_no_number() {
        for line in [
            "NAME = NMBR=201",
            "NAME=X NMBR=201",
            "NAME = AB  NMBR=0661",
            "DATE=0119 NAME=NMBR=201",
        ] {
            assert_eq!(
                CallerIdField::parse(line),
                Some(CallerIdField::Other),
                "{line}"
            );
        }
        assert_eq!(
            caller("NMBR=201 NAME=NMBR=301"),
            CallerId::Digits("201".into())
        );
    }

    #[test]
    fn each_absence_keeps_its_reason() {
        for (line, absence) in [
            ("NMBR = P", CallerId::Withheld),
            ("NMBR=C", CallerId::PayPhone),
            ("NMBR=S", CallerId::ServiceConflict),
            ("NMBR = Restricted", CallerId::Withheld),
            ("NMBR = RESTRICTED", CallerId::Withheld),
            ("NMBR = NUMBER WITHHELD", CallerId::Withheld),
            ("NMBR = PRIVATE NUMBER", CallerId::Withheld),
            ("REASON FOR NO CALLER NUMBER: PRIVATE", CallerId::Withheld),
            (
                "REASON FOR NO CALLER NUMBER: 0661234567",
                CallerId::Unavailable,
            ),
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
        assert_eq!(
            caller("+CLIP: \"49661234567\",145"),
            CallerId::Digits("+49661234567".into())
        );
        assert_eq!(
            caller("+CLIP: \"+49661234567\",145,,,\"Server\",0"),
            CallerId::Digits("+49661234567".into())
        );
        assert_eq!(
            caller("+CLIP: \"0661234567\",161"),
            CallerId::Digits("0661234567".into())
        );
        assert_eq!(
            caller("+CLIP: \"+49 (661) 234-567\",145"),
            CallerId::Digits("+49661234567".into())
        );
        let ucs2 = "+CLIP: \"002B0034003900360036\",145,,,,0";
        assert_eq!(caller(ucs2), CallerId::Digits("+4966".into()));
        assert_eq!(
            caller("+CLIP: \"003490012345\",129"),
            CallerId::Digits("003490012345".into()),
            "Spain"
        );
    }

    #[test]
    fn the_called_and_the_diverting_number_are_never_the_caller() {
        for line in [
            "CALLED NUMBER: 201",
            "NDID=201",
            "Diverting number: 201",
            "NAME = 201",
            "TIME = 2010",
            "DATE=0124",
        ] {
            assert_eq!(
                CallerIdField::parse(line),
                Some(CallerIdField::Other),
                "{line}"
            );
        }
    }

    #[test]
    fn other_lines_are_not_caller_id() {
        for line in [
            "RING",
            "RING A",
            "OK",
            "XNMBR = 201",
            "A=B",
            "24",
            "7",
            "CONNECT 33600",
            "NMBRX=1",
            "RING 2",
        ] {
            assert_eq!(CallerIdField::parse(line), None, "{line}");
        }
    }

    #[test]
    fn debug_hides_the_number() {
        assert_eq!(
            format!("{:?}", caller("NMBR = 0661234567")),
            "Digits(..567)"
        );
    }
}
