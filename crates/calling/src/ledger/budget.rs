//! Limits of what is spent in a day.

use std::collections::BTreeMap;

use model::account::Account;
use model::money::Micros;

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
