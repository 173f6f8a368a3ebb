//! Pure. Money as a limit: what a call may cost is reserved before it is placed, and settled when it is over.
//!
//! ```text
//!   reserve ──► reserved (counts as spent) ──settle──► settled: the difference is free again
//!                  └── the server stops: counts as spent for the rest of the day
//! ```
//!
//! The store keeps every reservation before the call is placed (`store::ledger`); [`Ledger::restore`] brings back what
//! the day has spent. The ledger is never below the bill: a call counts from the moment it is dialled, and where units
//! begin within it is taken as it is worst ([`Tariff::most`]).

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

/// A call shorter than this brings nothing: it is not worth being placed. Dialling and training are in it.
pub const SHORTEST_CALL: Duration = Duration::from_secs(60);

/// How long before a unit's end we hang up, so that the exchange has heard of it.
pub const HANG_UP_GUARD: Duration = Duration::from_secs(2);

/// A call that is about to be placed.
#[derive(Debug, Clone)]
pub struct Request {
    /// The call.
    pub call: CallId,
    /// Whom it is to.
    pub terminal: Name,
    /// Whose message it is for, if it is known.
    pub provider: Option<Name>,
    /// The line.
    pub line: Name,
    /// What it is charged by.
    pub tariff: Arc<Tariff>,
    /// When it is dialled.
    pub at: Zoned,
    /// The longest it may last.
    pub longest: Duration,
    /// The most it may carry, both ways together.
    pub octets: u64,
}

/// A budget that is spent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the budget of {account} for the day is spent")]
pub struct BudgetSpent {
    /// Whose.
    pub account: Account,
    /// Until the next day.
    pub wait: Duration,
}

/// What a call was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    /// Nothing was dialled.
    Nothing,
    /// It was not answered.
    NotAnswered,
    /// It may have been answered, and was over so long after it was dialled.
    Answered {
        /// From the dial command to on hook.
        lasted: Duration,
        /// Both ways together.
        octets: u64,
    },
}

/// Days whose sums are kept: those that a clock may come back to.
const DAYS_MAX: usize = 8;

#[derive(Debug)]
struct Open {
    /// The days it counts for: the one on which it was reserved, and one that the clock was set back to since.
    days: Vec<Date>,
    /// The turn of the day in which it was reserved.
    turn: u64,
    amount: Micros,
    tariff: Arc<Tariff>,
    at: Zoned,
    accounts: Vec<Account>,
}

/// What is reserved and spent on a day, by account.
type Sums = BTreeMap<Account, Micros>;

/// What is reserved and spent today. Today is what the wall clock says: a clock that is set ahead and then right comes back to the day that
/// it is, and finds there what was spent on it, before and meanwhile.
#[derive(Debug)]
pub struct Ledger {
    budget: Budget,
    today: Date,
    /// Today's and those of a few other days.
    days: BTreeMap<Date, Sums>,
    /// What of today's was reserved since the clock came to it last.
    turned: Sums,
    /// How often another day has come.
    turn: u64,
    open: BTreeMap<CallId, Open>,
}

impl Ledger {
    /// A ledger of nothing spent.
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

    /// Counts what was spent today, or was reserved and never settled, before the server started.
    pub fn restore(&mut self, accounts: impl IntoIterator<Item = Account>, amount: Micros) {
        self.spend(accounts, amount);
    }

    /// Reserves what a call can cost. If the budgets do not reach for the longest, for as long as they do.
    ///
    /// # Errors
    /// [`BudgetSpent`]: they do not reach for [`SHORTEST_CALL`].
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

    /// Puts what the call cost in the place of what was reserved. `None`: there is no such reservation (any more).
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

    /// What is spent or reserved today.
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

    /// The clock says that it is this day. One that is set back brings no new budget: what was spent on the day that it takes back counts
    /// for both.
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
            // The furthest from today: the clock comes back to it last.
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

/// A day on which the clock is set is longer or shorter than others.
fn to_midnight(at: &Zoned) -> Duration {
    let midnight = at.tomorrow().and_then(|tomorrow| tomorrow.start_of_day());
    let rest = midnight.map_or(SignedDuration::from_hours(24), |midnight| {
        midnight.duration_since(at)
    });
    Duration::try_from(rest).unwrap_or_default()
}

#[cfg(test)]
mod tests;
