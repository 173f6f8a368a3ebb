//! Providers: the machines and people that submit, and their tokens.

use line::Number;
use sha2::{Digest as _, Sha256};

use crate::directory::Name;
use crate::rights::Right;

/// A machine or person that submits data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The operator's name for it.
    pub name: Name,
    /// The number it dials in from. Without one it submits over the network only.
    pub number: Option<Number>,
    /// To whom and under which topics it may send; empty: everything.
    pub may_send: Vec<Right>,
    /// The operator has its submissions refused.
    pub is_disabled: bool,
}

/// A provider's secret: 32 random octets as 43 base64url characters, behind `rup_` so that people and scanners know what
/// they have found. Shown once; the store keeps its hash.
pub struct Token(String);

/// What the store keeps of a [`Token`]: enough to recognise it, not enough to use it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// A token made of these random octets.
    pub fn from_octets(octets: [u8; 32]) -> Self {
        use base64::Engine as _;
        Self(format!(
            "rup_{}",
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(octets)
        ))
    }

    /// The text, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TokenHash {
    /// The hash of what a caller presents as its token. A token is random: a plain hash is enough.
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented.as_bytes()).into())
    }

    /// The octets, to be kept.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_its_hash_alone() {
        let token = Token::from_octets([7; 32]);
        assert_eq!(token.reveal().len(), 47);
        assert!(TokenHash::of(token.reveal()) == TokenHash::of(token.reveal()));
        assert!(TokenHash::of(token.reveal()) != TokenHash::of("rup_"));
    }
}
