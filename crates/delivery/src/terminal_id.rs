//! The public name of a terminal on the wire.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A terminal's public id: 8 random octets, written as 11 base64url characters. It names, it proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TerminalId([u8; 8]);

/// The text is not 11 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a terminal id has 11 characters of A-Z a-z 0-9 - _, as `ringup terminal add` printed it")]
pub struct TerminalIdError;

impl TerminalId {
    /// The id made of these octets.
    pub const fn from_octets(octets: [u8; 8]) -> Self {
        Self(octets)
    }

    /// The octets it is made of.
    pub const fn octets(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for TerminalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TerminalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for TerminalId {
    type Err = TerminalIdError;

    fn from_str(text: &str) -> Result<Self, TerminalIdError> {
        let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| TerminalIdError)?;
        octets.try_into().map(Self).map_err(|_| TerminalIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form_and_nothing_else_is_one() {
        let id = TerminalId::from_octets(*b"\x00\x10\x83\xff\xfe\x01\x02\x03");
        assert_eq!(id.to_string().len(), 11);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            "",
            "AAAAAAAAAA",
            "AAAAAAAAAAAA",
            "AAAAAAAAAA=",
            "AAAA AAAAAA",
        ] {
            assert_eq!(text.parse::<TerminalId>(), Err(TerminalIdError), "{text:?}");
        }
    }
}
