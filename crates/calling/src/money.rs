//! Pure. What calls cost and may spend, as the operator has it; and what one call may use.

use std::sync::Arc;
use std::time::Duration;

use jiff::Zoned;

use crate::ledger::{BreakerRules, Budget, Tariff, TariffBook};

/// What our own count of a call's time may miss of it at its end.
pub const UNSEEN: Duration = Duration::from_secs(2);

/// What calls cost, and what may be spent.
#[derive(Debug, Clone)]
pub struct Money {
    /// All tariffs.
    pub tariffs: TariffBook,
    /// Budgets of a day.
    pub budget: Budget,
    /// The longest a call may last.
    pub longest_call: Duration,
    /// The most octets a call may carry, on lines on which octets cost.
    pub octets_max: u64,
    /// When a number is left alone whose calls fail.
    pub breaker: BreakerRules,
    /// Stay on the line to the end of a unit that is paid for: more may come.
    pub linger: bool,
}

impl Default for Money {
    fn default() -> Self {
        Self {
            tariffs: TariffBook::default(),
            budget: Budget::default(),
            longest_call: Duration::from_secs(4 * 3600),
            octets_max: 1_000_000,
            breaker: BreakerRules::default(),
            linger: false,
        }
    }
}

/// What a call may use.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// From the dial command to on hook, at most.
    pub longest: Duration,
    /// Octets, both ways together, at most.
    pub octets: u64,
    /// Stay to the end of a unit that is paid for, by this tariff and since then.
    pub linger: Option<(Arc<Tariff>, Zoned)>,
}
