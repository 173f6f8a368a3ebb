//! The name of one attempt to call.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// One attempt to call, or one call that came in. One call record bears it, and every log line of the call.
///
/// A version 7 UUID (RFC 9562 §5.7), so call ids sort by time; written as 22 base64url characters, which do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(Uuid);

/// The text is not 22 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a call id has 22 characters of A-Z a-z 0-9 - _, and ends with A, Q, g or w")]
pub struct CallIdError;

impl CallId {
    /// A new id, later than all before it. Reads the clock and a random source.
    pub fn now() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id made of these octets, for who makes its ids from a seed.
    pub fn from_octets(octets: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(octets))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for CallId {
    type Err = CallIdError;

    fn from_str(text: &str) -> Result<Self, CallIdError> {
        let octets = URL_SAFE_NO_PAD.decode(text).map_err(|_| CallIdError)?;
        Uuid::from_slice(&octets).map(Self).map_err(|_| CallIdError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = CallId::now();
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("x".parse::<CallId>(), Err(CallIdError));
    }
}
