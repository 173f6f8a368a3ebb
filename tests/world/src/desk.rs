//! The server of the world: dispatch, ledger and breaker, and what a restart finds of them on the disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use calling::dispatch::{Dispatch, Input, LineTerms, Moment, Rules};
use calling::ledger::{Breaker, BreakerRules, Budget, BudgetSpent, Ledger, Request, Used};
use jiff::civil::{Date, DateTime};
use jiff::tz::{self, TimeZone};
use jiff::{Timestamp, Zoned};
use line::{CallId, Number};
use model::account::{Account, Reservation};
use model::dial_loop::Loop;
use model::money::Micros;

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) dispatch: Dispatch,
    ledger: Ledger,
    breaker: Breaker,
    disk: Disk,
    rules: Rules,
    start: Instant,
    seed: u64,
}

#[derive(Debug, Default)]
struct Disk {
    /// Of the last days.
    reservations: BTreeMap<Date, BTreeMap<CallId, (Vec<Account>, Micros)>>,
    loops: BTreeMap<Number, Loop>,
    budget: Budget,
    breaker: BreakerRules,
}

impl Desk {
    pub(crate) fn new(rules: Rules, budget: Budget, start: Instant, today: Date, seed: u64) -> Self {
        let breaker = BreakerRules { calls: 12, days: 3 };
        Self {
            dispatch: Dispatch::new(rules.clone(), seed),
            ledger: Ledger::new(budget.clone(), today),
            breaker: Breaker::new(breaker, []),
            disk: Disk { budget, breaker, ..Disk::default() },
            rules,
            start,
            seed,
        }
    }

    /// A crash: what is not on the disk is gone.
    pub(crate) fn restart(&mut self, today: Date) {
        self.seed += 1;
        self.dispatch = Dispatch::new(self.rules.clone(), self.seed);
        self.ledger = Ledger::new(self.disk.budget.clone(), today);
        for (accounts, amount) in self.disk.reservations.get(&today).into_iter().flat_map(BTreeMap::values) {
            self.ledger.restore(accounts.iter().cloned(), *amount);
        }
        self.breaker = Breaker::new(self.disk.breaker, self.disk.loops.clone());
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.disk.budget
    }

    pub(crate) fn instant(&self, now: Duration) -> Instant {
        self.start + now
    }

    pub(crate) fn moment(&self, now: Duration, local: DateTime) -> Moment {
        Moment { at: self.instant(now), wall: zoned(local).timestamp() }
    }

    pub(crate) fn feed(&mut self, input: Input, now: Duration, local: DateTime) {
        let moment = self.moment(now, local);
        self.dispatch.handle(input, moment);
    }

    pub(crate) fn is_broken(&self, number: &Number) -> bool {
        self.breaker.is_broken(number)
    }

    pub(crate) fn reserve(&mut self, request: Request) -> Result<Reservation, BudgetSpent> {
        let reservation = self.ledger.reserve(request)?;
        let day = self.disk.reservations.entry(reservation.day).or_default();
        day.insert(reservation.call, (reservation.accounts.clone(), reservation.amount));
        while self.disk.reservations.len() > 3 {
            self.disk.reservations.pop_first();
        }
        Ok(reservation)
    }

    pub(crate) fn settle(&mut self, call: CallId, day: Date, used: Used) -> Option<Micros> {
        let amount = self.ledger.settle(call, used)?;
        if let Some((_, kept)) = self.disk.reservations.get_mut(&day).and_then(|day| day.get_mut(&call)) {
            *kept = amount;
        }
        Some(amount)
    }

    /// Whether the number is left alone from now on.
    pub(crate) fn failed(&mut self, number: &Number, now: Duration) {
        let at = Timestamp::from_second(1_800_000_000 + i64::try_from(now.as_secs()).unwrap_or_default());
        let found = self.breaker.failed(number, at.expect("within a few years"));
        self.disk.loops.insert(number.clone(), found);
    }

    pub(crate) fn forget(&mut self, number: &Number) {
        if self.breaker.forget(number) {
            self.disk.loops.remove(number);
        }
    }
}

pub(crate) fn zoned(local: DateTime) -> Zoned {
    local.to_zoned(zone()).expect("a time of this century")
}

/// Where the lines are.
pub(crate) fn zone() -> TimeZone {
    TimeZone::fixed(tz::offset(9))
}

pub(crate) fn line<'a>(lines: &'a [LineTerms], name: &model::directory::Name) -> (usize, &'a LineTerms) {
    let index = lines.iter().position(|line| line.name == *name).expect("a line of the world");
    (index, &lines[index])
}
