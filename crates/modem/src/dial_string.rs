//! What follows `ATD`: digits, pauses and tones for one line.

use std::fmt;
use std::str::FromStr;

/// Longest dial string, in characters. V.250 §5.2.1 only promises 40 octets of command line; real modems take 60.
pub const DIAL_STRING_CHARS_MAX: usize = 60;

/// A dial string (V.250 §6.3.1): digits, `*`, `#`, `A`-`D`, `+`, pauses `,`, wait for dial tone `W`, flash `!`,
/// tone/pulse `T` `P`.
///
/// It can hold neither `;` (which would make a voice call) nor a control character (which would end the command and
/// start another), so a number from a file or a socket can never become a second AT command.
#[derive(Clone, PartialEq, Eq)]
pub struct DialString(Box<str>);

/// Why a text is not a dial string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialStringError {
    /// No character at all.
    #[error("the dial string is empty")]
    Empty,
    /// Longer than [`DIAL_STRING_CHARS_MAX`].
    #[error("the dial string has {0} characters; at most {DIAL_STRING_CHARS_MAX} fit")]
    TooLong(usize),
    /// A character that is not part of a dial string.
    #[error("{0:?} cannot stand in a dial string; digits, * # A-D + , W ! T P can")]
    Character(char),
}

impl DialString {
    /// The text as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DialString {
    type Err = DialStringError;

    fn from_str(text: &str) -> Result<Self, DialStringError> {
        let count = text.chars().count();
        match count {
            0 => return Err(DialStringError::Empty),
            1..=DIAL_STRING_CHARS_MAX => {}
            _ => return Err(DialStringError::TooLong(count)),
        }
        match text.chars().find(
            |c| !matches!(c, '0'..='9' | '*' | '#' | 'A'..='D' | '+' | ',' | 'W' | '!' | 'T' | 'P'),
        ) {
            Some(c) => Err(DialStringError::Character(c)),
            None => Ok(Self(text.into())),
        }
    }
}

/// Hides all but the last three characters: a number is personal data.
impl fmt::Debug for DialString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.0.len().saturating_sub(3);
        write!(f, "DialString(..{})", &self.0[hidden..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_string_cannot_carry_a_second_command() {
        for text in ["201\rATH", "201;", "201\nAT&F", "201&F", "２０１"] {
            assert!(
                matches!(
                    text.parse::<DialString>(),
                    Err(DialStringError::Character(_))
                ),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_dial_string_takes_prefix_and_pauses() {
        assert_eq!(
            "0,,W+4930123456".parse::<DialString>().unwrap().as_str(),
            "0,,W+4930123456"
        );
        assert_eq!("".parse::<DialString>(), Err(DialStringError::Empty));
        assert_eq!(
            "1".repeat(61).parse::<DialString>(),
            Err(DialStringError::TooLong(61))
        );
    }

    #[test]
    fn debug_shows_the_last_three_characters_only() {
        let dial: DialString = "0661234567".parse().unwrap();
        assert_eq!(format!("{dial:?}"), "DialString(..567)");
    }
}
