//! Pure. Money as a limit: the possible cost of a call is reserved before the call is placed, and settled when it has
//! ended.
//!
//! ```text
//!   reserve ──► reserved (counts as spent) ──settle──► settled: the difference is free again
//!                  └── the server stops: counts as spent for the rest of the day
//! ```
//!
//! The store keeps every reservation before the call is placed (`store::ledger`); [`Ledger::restore`] restores the
//! sums of the day. The ledger is never below the bill: a call counts from the moment it is dialled, at the worst
//! position of its units ([`Tariff::most`]).

mod book;
mod breaker;
mod budget;
mod tariff;
mod tariff_file;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Zoned};
use line::CallId;

pub use book::{TariffBook, TariffBookError};
pub use breaker::{Breaker, BreakerRules};
pub use budget::Budget;
pub use tariff::{Day, DestinationClass, Month, OctetPrice, Payer, Tariff, Window};

use model::account::{Account, Reservation};
use model::directory::Name;
use model::money::Micros;

/// Shortest call worth placing, dialling and training included.
pub const SHORTEST_CALL: Duration = Duration::from_secs(60);

/// Margin before the end of a unit at which we hang up, so that the exchange sees it in time.
pub const HANG_UP_GUARD: Duration = Duration::from_secs(2);

/// A call that is about to be placed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The call.
    pub call: CallId,
    /// The terminal called.
    pub terminal: Name,
    /// The provider whose message it carries, if known.
    pub provider: Option<Name>,
    /// The line.
    pub line: Name,
    /// Its tariff.
    pub tariff: Arc<Tariff>,
    /// Time of dialling.
    pub at: Zoned,
    /// Longest duration.
    pub longest: Duration,
    /// Largest volume, both directions together.
    pub octets: u64,
}

/// A spent budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the budget of {account} for the day is spent")]
pub struct BudgetSpent {
    /// Its account.
    pub account: Account,
    /// Time until the next day.
    pub wait: Duration,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// Nothing was dialled.
    Nothing,
    /// It was not answered.
    NotAnswered,
    /// It may have been answered.
    Answered {
        /// From the dial command to on-hook.
        lasted: Duration,
        /// Octets, both directions together.
        octets: u64,
    },
}

/// Days whose sums are kept, in case the clock is set back to them.
const DAYS_MAX: usize = 8;

#[derive(Debug)]
struct Open {
    /// The days it counts for: the day of the reservation, and each day that the clock was set back to since.
    days: Vec<Date>,
    /// Number of the day change during which it was reserved.
    turn: u64,
    amount: Micros,
    tariff: Arc<Tariff>,
    at: Zoned,
    accounts: Vec<Account>,
}

/// Sums reserved and spent on a day, by account.
type Sums = BTreeMap<Account, Micros>;

/// Sums reserved and spent today. Today is the day of the wall clock: when a clock that was set ahead is corrected,
/// the sums of the right day are still here.
#[derive(Debug)]
pub struct Ledger {
    budget: Budget,
    today: Date,
    /// Today and a few other days.
    days: BTreeMap<Date, Sums>,
    /// Part of today's sums reserved since the last day change.
    turned: Sums,
    /// Number of day changes.
    turn: u64,
    open: BTreeMap<CallId, Open>,
}

impl Ledger {
    /// A ledger with nothing spent.
    pub fn new(budget: Budget, today: Date) -> Self {
        let (days, turned, open) = (BTreeMap::new(), Sums::new(), BTreeMap::new());
        Self {
            budget,
            today,
            days,
            turned,
            turn: 0,
            open,
        }
    }

    /// Counts today's costs from before the start of the server, unsettled reservations included.
    pub fn restore(&mut self, accounts: impl IntoIterator<Item = Account>, amount: Micros) {
        self.spend(accounts, amount);
    }

    /// Reserves the possible cost of a call. If the budgets do not cover the longest call, shortens it to what they
    /// cover.
    ///
    /// # Errors
    /// [`BudgetSpent`]: they do not cover [`SHORTEST_CALL`].
    pub fn reserve(&mut self, request: Request) -> Result<Reservation, BudgetSpent> {
        self.turn_to(request.at.date());
        let Request {
            call,
            tariff,
            at,
            longest,
            octets,
            ..
        } = request;
        let provider = request.provider.map(Account::Provider);
        let accounts = [
            Some(Account::Server),
            Some(Account::Terminal(request.terminal)),
            provider,
            Some(Account::Line(request.line)),
        ];
        let accounts: Vec<_> = accounts.into_iter().flatten().collect();
        let left = accounts
            .iter()
            .filter_map(|account| Some((self.left(account)?, account)))
            .min();
        let longest = match left {
            None => longest,
            Some((left, account)) => {
                let reached = tariff.longest_for(left, &at, longest, octets);
                let enough = SHORTEST_CALL.min(longest);
                let Some(reached) = reached.filter(|reached| *reached >= enough) else {
                    return Err(BudgetSpent {
                        account: account.clone(),
                        wait: to_midnight(&at),
                    });
                };
                reached
            }
        };
        let amount = tariff.reserve(&at, longest, octets);
        self.spend(accounts.iter().cloned(), amount);
        let (day, turn) = (self.today, self.turn);
        self.open.insert(
            call,
            Open {
                days: vec![day],
                turn,
                amount,
                tariff,
                at,
                accounts: accounts.clone(),
            },
        );
        let limits = accounts
            .iter()
            .filter_map(|account| Some((account.clone(), self.budget.limit(account)?)))
            .collect();
        Ok(Reservation {
            call,
            day,
            amount,
            longest,
            accounts,
            limits,
        })
    }

    /// Replaces a reservation by the cost of the call. `None`: the reservation does not exist (any more).
    pub fn settle(&mut self, call: CallId, used: Used) -> Option<Micros> {
        let Open {
            days,
            turn,
            amount,
            tariff,
            at,
            accounts,
        } = self.open.remove(&call)?;
        let cost = match used {
            Used::Nothing => Micros::ZERO,
            Used::NotAnswered => tariff.price_of_failure(),
            Used::Answered { lasted, octets } => tariff
                .most(&at, lasted, octets)
                .max(tariff.price_of_failure()),
        };
        let turned = (turn == self.turn).then_some(&mut self.turned);
        let counted = self
            .days
            .iter_mut()
            .filter(|(day, _)| days.contains(day))
            .map(|(_, sums)| sums);
        for sums in counted.chain(turned) {
            for account in &accounts {
                if let Some(spent) = sums.get_mut(account) {
                    *spent = *spent - amount + cost;
                }
            }
        }
        Some(cost)
    }

    /// Sums spent or reserved today.
    pub fn spent(&self, account: &Account) -> Micros {
        self.days
            .get(&self.today)
            .and_then(|sums| sums.get(account))
            .copied()
            .unwrap_or_default()
    }

    /// The budgets.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    fn left(&self, account: &Account) -> Option<Micros> {
        Some((self.budget.limit(account)? - self.spent(account)).max(Micros::ZERO))
    }

    fn spend(&mut self, accounts: impl IntoIterator<Item = Account>, amount: Micros) {
        let sums = self.days.entry(self.today).or_default();
        for account in accounts {
            for sums in [&mut *sums, &mut self.turned] {
                let spent = sums.entry(account.clone()).or_default();
                *spent = *spent + amount;
            }
        }
    }

    /// Sets the day of the clock. Setting it back brings no new budget: the sums of the day that is taken back count
    /// for both days.
    fn turn_to(&mut self, date: Date) {
        if date == self.today {
            return;
        }
        let turned = std::mem::take(&mut self.turned);
        if date < self.today {
            let sums = self.days.entry(date).or_default();
            for (account, amount) in turned {
                let spent = sums.entry(account).or_default();
                *spent = *spent + amount;
            }
            let meanwhile = self.open.values_mut().filter(|open| open.turn == self.turn);
            meanwhile.for_each(|open| open.days.push(date));
        }
        (self.today, self.turn) = (date, self.turn + 1);
        while self.days.len() > DAYS_MAX {
            // The day furthest from today: the clock would return to it last.
            let (Some((first, _)), Some((last, _))) =
                (self.days.first_key_value(), self.days.last_key_value())
            else {
                return;
            };
            let distance = |day: &Date| date.duration_since(*day).abs();
            let furthest = if distance(first) > distance(last) {
                *first
            } else {
                *last
            };
            self.days.remove(&furthest);
        }
    }
}

/// A day with a daylight-saving change is longer or shorter than others.
fn to_midnight(at: &Zoned) -> Duration {
    let midnight = at.tomorrow().and_then(|tomorrow| tomorrow.start_of_day());
    let rest = midnight.map_or(SignedDuration::from_hours(24), |midnight| {
        midnight.duration_since(at)
    });
    Duration::try_from(rest).unwrap_or_default()
}

#[cfg(test)]
mod tests;
