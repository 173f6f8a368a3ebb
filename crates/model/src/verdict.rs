//! How an envelope ended.

use std::fmt;
use std::str::FromStr;

/// How an envelope ended: exactly one for each, never changed. The database refuses a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The terminal has it on its disk: it gave a receipt.
    Delivered,
    /// Its time was over before that.
    Expired,
    /// A newer message under the same replace key took its place.
    Replaced,
    /// Its provider or the operator withdrew it, or its terminal was removed.
    Cancelled,
    /// It cannot be delivered: its content is damaged, or it always breaks the session.
    Failed,
}

/// The text is no [`Verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a verdict is delivered, expired, replaced, cancelled or failed")]
pub struct VerdictError;

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Delivered,
        Self::Expired,
        Self::Replaced,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The word for it in the store and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = VerdictError;

    fn from_str(text: &str) -> Result<Self, VerdictError> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == text)
            .ok_or(VerdictError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_one_of_five_words() {
        assert!(
            Verdict::ALL
                .iter()
                .all(|verdict| verdict.as_str().parse() == Ok(*verdict))
        );
        assert_eq!("lost".parse::<Verdict>(), Err(VerdictError));
    }
}
