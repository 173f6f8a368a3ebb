//! Amounts.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Mul, Sub};
use std::str::FromStr;

/// An amount in millionths of the currency's unit (yen, euro, credits). Sums stop at the largest that can be written:
/// too much is never taken for little.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

/// The text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an amount is written like \"8.5\", with at most 6 decimals and no sign")]
pub struct MicrosError;

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// No limit.
    pub const MAX: Self = Self(i64::MAX);
}

impl Add for Micros {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Micros {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Mul<u64> for Micros {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self(
            self.0
                .saturating_mul(i64::try_from(times).unwrap_or(i64::MAX)),
        )
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::add)
    }
}

impl FromStr for Micros {
    type Err = MicrosError;

    fn from_str(text: &str) -> Result<Self, MicrosError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_number =
            |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit());
        if !is_number(whole) || !is_number(decimals) || decimals.len() > 6 {
            return Err(MicrosError);
        }
        let whole: i64 = whole.parse().map_err(|_| MicrosError)?;
        let millionths: i64 = format!("{decimals:0<6}").parse().map_err(|_| MicrosError)?;
        whole
            .checked_mul(1_000_000)
            .and_then(|micros| micros.checked_add(millionths))
            .map(Self)
            .ok_or(MicrosError)
    }
}

/// `8.5`, `0.084`, `10`.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, amount) = if self.0 < 0 {
            ("-", self.0.unsigned_abs())
        } else {
            ("", self.0.unsigned_abs())
        };
        let decimals = format!("{:06}", amount % 1_000_000);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{sign}{}", amount / 1_000_000),
            decimals => write!(f, "{sign}{}.{decimals}", amount / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_survives_its_text_form_and_nothing_else_is_one() {
        for (text, micros) in [
            ("8.5", 8_500_000),
            ("0", 0),
            ("0.000001", 1),
            ("0.084", 84_000),
            ("9223372036854.775807", i64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Micros(micros)));
            assert_eq!(Micros(micros).to_string(), text);
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1,5",
            "1e3",
            "0.0000001",
            "9223372036854.775808",
            "٢",
        ] {
            assert_eq!(text.parse::<Micros>(), Err(MicrosError), "{text:?}");
        }
    }

    #[test]
    fn too_much_stays_too_much() {
        assert_eq!(Micros(i64::MAX) + Micros(1), Micros::MAX);
        assert_eq!(Micros(2) * u64::MAX, Micros::MAX);
    }
}
