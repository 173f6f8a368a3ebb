//! Pure. What calls cost. Amounts are text, so that no binary fraction ever stands for one: `"8.5"`.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// What a call cost, or may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The most that it could cost, reserved before it was placed.
    pub reserved: String,
    /// What it came to; `None`: not known yet, or never, and then it counts as what was reserved.
    pub spent: Option<String>,
}

/// By whom amounts are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Payer {
    /// The provider whose message a call was for.
    Provider,
    /// The terminal that was called.
    Terminal,
    /// The line.
    Line,
}

/// The text is no [`Payer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayerError;

impl fmt::Display for PayerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is provider, terminal or line")
    }
}

impl std::error::Error for PayerError {}

impl Payer {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Provider, Self::Terminal, Self::Line];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Terminal => "terminal",
            Self::Line => "line",
        }
    }
}

impl FromStr for Payer {
    type Err = PayerError;

    fn from_str(text: &str) -> Result<Self, PayerError> {
        Self::ALL
            .into_iter()
            .find(|by| by.as_str() == text)
            .ok_or(PayerError)
    }
}

/// What was spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// The first day that counts, by the server's clock.
    pub since: Date,
    /// By whom.
    pub by: Payer,
    /// All of them that spent anything, the dearest first.
    pub entries: Vec<SpentBy>,
    /// All together.
    pub amount: String,
}

/// What one of them spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentBy {
    /// Its name; `None`: calls that were for no provider's message.
    pub name: Option<String>,
    /// Calls that could cost something.
    pub calls: u64,
    /// What they cost, or may have.
    pub amount: String,
}
