//! Limits of what is spent in a day, and whom an amount counts for.

use std::collections::BTreeMap;
use std::fmt;

use super::Micros;
use crate::directory::Name;

/// Whom an amount counts for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// Everything.
    Server,
    /// The terminal that is called.
    Terminal(Name),
    /// The provider whose message it is called for.
    Provider(Name),
    /// The line.
    Line(Name),
}

/// What may be spent in a day, each a hard stop; what is not named has no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budget {
    /// By all calls together.
    pub server: Option<Micros>,
    /// By the calls to each terminal.
    pub terminal: Option<Micros>,
    /// By the calls for the messages of each provider.
    pub provider: Option<Micros>,
    /// By the calls on each line.
    pub line: Option<Micros>,
    /// Limits of single accounts, which count instead.
    pub named: BTreeMap<Account, Micros>,
}

impl Budget {
    /// What may be spent in a day for this account.
    pub fn limit(&self, account: &Account) -> Option<Micros> {
        let usual = match account {
            Account::Server => self.server,
            Account::Terminal(_) => self.terminal,
            Account::Provider(_) => self.provider,
            Account::Line(_) => self.line,
        };
        self.named.get(account).copied().or(usual)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("the server"),
            Self::Terminal(name) => write!(f, "the terminal {name}"),
            Self::Provider(name) => write!(f, "the provider {name}"),
            Self::Line(name) => write!(f, "the line {name}"),
        }
    }
}
