//! Pure. How an attempt at delivering one message ended.

use std::fmt;
use std::str::FromStr;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    /// The terminal's receipt came.
    Delivered,
    /// The terminal refused the message.
    Refused,
    /// The terminal, or what it delivers to, does not take the message for now.
    PutOff,
    /// Neither came: the session broke, the call ended, or the content could not be read here.
    Broken,
}

/// The text is no [`AttemptKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an attempt ends delivered, refused, put-off or broken")]
pub struct AttemptKindError;

impl AttemptKind {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Refused, Self::PutOff, Self::Broken];

    /// The word for it, for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::PutOff => "put-off",
            Self::Broken => "broken",
        }
    }
}

impl FromStr for AttemptKind {
    type Err = AttemptKindError;

    fn from_str(text: &str) -> Result<Self, AttemptKindError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(AttemptKindError)
    }
}

impl fmt::Display for AttemptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
