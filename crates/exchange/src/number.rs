//! The number of a station, as a caller dials it.

use std::{borrow::Borrow, fmt, str::FromStr};

/// The number of a station on this exchange: 1 to 15 digits, with an optional leading `+`.
///
/// Extensions (`201`) and international numbers (`+4930123456`) are compared as they are written: the exchange knows
/// no dialling plan. The exchange is a simulation, so unlike a subscriber's number this one is shown in full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(Box<str>);

/// The text is not a number that a station can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number is 1 to 15 digits with an optional leading +")]
pub struct NumberError;

/// The longest international number (E.164 §6.1).
const DIGITS_MAX: usize = 15;

impl Number {
    /// The number as it is dialled.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Number {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if digits.is_empty()
            || digits.len() > DIGITS_MAX
            || !digits.bytes().all(|octet| octet.is_ascii_digit())
        {
            return Err(NumberError);
        }
        Ok(Self(text.into()))
    }
}

impl Borrow<str> for Number {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_digits_with_at_most_one_plus_in_front() {
        for good in ["2", "201", "+4930123456", "123456789012345"] {
            assert_eq!(
                good.parse::<Number>().map(|number| number.to_string()),
                Ok(good.to_owned())
            );
        }
        for bad in [
            "",
            "+",
            "++1",
            "20 1",
            "1+2",
            "abc",
            "1234567890123456",
            "٢",
        ] {
            assert_eq!(bad.parse::<Number>(), Err(NumberError), "{bad}");
        }
    }
}
