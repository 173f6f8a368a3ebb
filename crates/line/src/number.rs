//! Telephone numbers: one parsed type at every edge, compared exactly.

use std::fmt;
use std::str::FromStr;

use modem::DialString;

use crate::numbering::Home;

/// Between digits, these are nothing.
const VISUAL_SEPARATORS: [char; 5] = ['-', '.', '(', ')', ' '];

/// A telephone number: in international form (`+4930123456`, ITU-T E.164), or local to a line (a PBX extension or a
/// short code such as `201`).
///
/// Two numbers are the same only if every digit is; a [`Home`] knows how lines there spell one. `+49661234567` and `0661234567` are different numbers until a line
/// says what its home country is. What is sent to a modem is a [`DialString`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(Box<str>);

/// Why a text is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// No digits.
    #[error("a number needs digits, such as +4930123456 or 201")]
    Empty,
    /// Something that is not an ASCII digit, or a `+` not at the front.
    #[error(
        "{0:?} cannot stand in a number; write digits only, with a + in front of a country code"
    )]
    Character(char),
    /// E.164 allows 3 to 15 digits; a local number 1 to 20.
    #[error("a number of {digits} digits is outside {min} to {max}")]
    Length {
        /// How many there are.
        digits: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// No country code begins with 0.
    #[error("no country code begins with 0; write +49..., not +0049...")]
    LeadingZero,
}

impl Number {
    /// The number as it is written: digits, with `+` in front of the international form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the number is in international form.
    pub fn is_international(&self) -> bool {
        self.0.starts_with('+')
    }

    /// The number that is meant in a country: see [`Home::normal`]. Without one it is what it is.
    #[must_use]
    pub fn at(self, home: Option<Home>) -> Self {
        home.map_or_else(|| self.clone(), |home| home.normal(&self))
    }

    /// What is dialled for this number on a line that needs `prefix` (such as `0,`) to get out and is in `home`, where
    /// nobody can dial a `+`.
    ///
    /// # Errors
    /// If `prefix` is not made of dial characters, or both together are too long.
    pub fn dial_string(
        &self,
        prefix: &str,
        home: Option<Home>,
    ) -> Result<DialString, modem::DialStringError> {
        let dialled = home.map_or_else(|| self.to_string(), |home| home.dialled(self));
        format!("{prefix}{dialled}").parse()
    }
}

impl FromStr for Number {
    type Err = NumberError;

    /// What only makes a number readable is left out: hyphens, dots, brackets (RFC 3966 §5.1.1), and blanks.
    fn from_str(text: &str) -> Result<Self, NumberError> {
        let written: String = text
            .chars()
            .filter(|c| !VISUAL_SEPARATORS.contains(c))
            .collect();
        let text = written.as_str();
        let (digits, min, max) = match text.strip_prefix('+') {
            Some(digits) => (digits, 3, 15),
            None => (text, 1, 20),
        };
        if digits.is_empty() {
            return Err(NumberError::Empty);
        }
        if let Some(c) = digits.chars().find(|c| !c.is_ascii_digit()) {
            return Err(NumberError::Character(c));
        }
        if !(min..=max).contains(&digits.len()) {
            return Err(NumberError::Length {
                digits: digits.len(),
                min,
                max,
            });
        }
        if text.starts_with("+0") {
            return Err(NumberError::LeadingZero);
        }
        Ok(Self(text.into()))
    }
}

/// All of it: for the operator and for the wire. Logs use `Debug`.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The last three digits only: a number is personal data.
impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "..{}", &self.0[self.0.len().saturating_sub(3)..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Result<Number, NumberError> {
        text.parse()
    }

    #[test]
    fn international_and_local_numbers_are_different_numbers() {
        let international = number("+49661234567").unwrap();
        assert!(international.is_international());
        assert_ne!(international, number("49661234567").unwrap());
        assert_ne!(international, number("0661234567").unwrap());
    }

    #[test]
    fn what_is_not_a_number_says_why() {
        assert_eq!(number(""), Err(NumberError::Empty));
        assert_eq!(number("+"), Err(NumberError::Empty));
        assert_eq!(number("２０１"), Err(NumberError::Character('２')));
        assert_eq!(number("201x"), Err(NumberError::Character('x')));
        assert_eq!(number("201\t"), Err(NumberError::Character('\t')));
        assert_eq!(number("()-"), Err(NumberError::Empty));
        assert_eq!(number("2+01"), Err(NumberError::Character('+')));
        assert_eq!(number("+0049661234567"), Err(NumberError::LeadingZero));
        assert_eq!(
            number("+12"),
            Err(NumberError::Length {
                digits: 2,
                min: 3,
                max: 15
            })
        );
        assert_eq!(
            number(&"1".repeat(21)),
            Err(NumberError::Length {
                digits: 21,
                min: 1,
                max: 20
            })
        );
    }

    #[test]
    fn a_number_may_be_written_for_reading() {
        for text in [
            "+81 6-1234-5678",
            "+81(6)1234.5678",
            "+81612345678",
            " +81 6 1234 5678 ",
        ] {
            assert_eq!(number(text).unwrap().as_str(), "+81612345678", "{text}");
        }
        assert_eq!(number("(0661) 234-567").unwrap().as_str(), "0661234567");
    }

    #[test]
    fn a_prefix_becomes_part_of_what_is_dialled_not_of_the_number() {
        let number = number("201").unwrap();
        assert_eq!(number.dial_string("0,", None).unwrap().as_str(), "0,201");
        assert!(number.dial_string("0;", None).is_err());
    }

    #[test]
    fn debug_shows_the_last_three_digits() {
        assert_eq!(format!("{:?}", number("+49661234567").unwrap()), "..567");
    }
}
