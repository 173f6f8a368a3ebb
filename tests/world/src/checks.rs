//! The promises, checked at every event by counts of the world's own.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use calling::dispatch::{Conditions, RedialRules, StormRules};
use jiff::Zoned;
use jiff::civil::Date;
use model::money::Micros;

const MINUTE: Duration = Duration::from_secs(60);

/// What was promised and not kept; empty is good. At most a hundred are told.
#[derive(Debug, Default)]
pub struct Checks {
    /// Each with its time.
    pub breaches: Vec<String>,
    /// Breaches in all.
    pub count: u64,
    dialled: VecDeque<Duration>,
    unanswered: BTreeMap<u32, Vec<Duration>>,
    spent: BTreeMap<Date, Micros>,
}

impl Checks {
    pub(crate) fn breach(&mut self, now: Duration, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.breaches.len() < 100 {
            self.breaches
                .push(format!("{:.3} s: {}", now.as_secs_f64(), what()));
        }
    }

    /// Promise 5: a call to a terminal that may be called now, on a line that is free.
    pub(crate) fn may_be_called(
        &mut self,
        now: Duration,
        local: &Zoned,
        terminal: u32,
        conditions: &Conditions,
    ) {
        if !conditions.until_open(local).is_zero() {
            self.breach(now, || {
                format!("t{terminal} called outside its hours, at {local}")
            });
        }
    }

    /// Promise 6, and the rule of redials.
    pub(crate) fn dialled(
        &mut self,
        now: Duration,
        terminal: u32,
        under_way: u32,
        storm: StormRules,
        redials: &RedialRules,
    ) {
        while self.dialled.front().is_some_and(|at| *at + MINUTE < now) {
            self.dialled.pop_front();
        }
        self.dialled.push_back(now);
        let most = storm.calls_per_minute + storm.burst;
        if self.dialled.len() > usize::try_from(most).unwrap_or(usize::MAX) {
            self.breach(now, || format!("more than {most} calls in a minute"));
        }
        if under_way > storm.calls_at_once {
            self.breach(now, || format!("{under_way} calls at once"));
        }
        let calls = self.unanswered.entry(terminal).or_default();
        if calls.last().is_some_and(|last| *last + redials.rest <= now) {
            calls.clear();
        }
        let within = calls
            .iter()
            .filter(|at| now < **at + redials.within)
            .count();
        let in_all = calls.len();
        calls.push(now);
        if within > 2 {
            self.breach(now, || {
                format!("t{terminal} redialled {within} times in three minutes")
            });
        }
        if in_all > usize::from(redials.in_all) {
            self.breach(now, || format!("t{terminal} redialled {in_all} times"));
        }
    }

    pub(crate) fn not_dialled(&mut self, terminal: u32) {
        if let Some(calls) = self.unanswered.get_mut(&terminal) {
            calls.pop();
        }
    }

    pub(crate) fn answered(&mut self, terminal: u32) {
        self.unanswered.remove(&terminal);
    }

    /// The calls that a server that starts anew is told of.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = (u32, Duration)> {
        self.unanswered
            .iter()
            .flat_map(|(terminal, calls)| calls.iter().map(|at| (*terminal, *at)))
    }

    pub(crate) fn restarted(&mut self) {
        self.dialled.clear();
    }

    /// Promise 4: what is reserved and spent in a day stays within the day's budget.
    pub(crate) fn reserved(
        &mut self,
        now: Duration,
        day: Date,
        amount: Micros,
        limit: Option<Micros>,
    ) {
        let spent = self.spent.entry(day).or_default();
        *spent = *spent + amount;
        let spent = *spent;
        if limit.is_some_and(|limit| spent > limit) {
            self.breach(now, || format!("{spent} spent on {day}"));
        }
    }

    /// Promise 4: the ledger is never below the bill, nor a call above what was reserved for it.
    pub(crate) fn settled(
        &mut self,
        now: Duration,
        day: Date,
        reserved: Micros,
        settled: Micros,
        bill: Option<Micros>,
    ) {
        if let Some(spent) = self.spent.get_mut(&day) {
            *spent = *spent - reserved + settled;
        }
        if settled > reserved {
            self.breach(now, || {
                format!("a call cost {settled} with {reserved} reserved")
            });
        }
        if let Some(bill) = bill.filter(|bill| *bill > settled) {
            self.breach(now, || {
                format!("a call is {settled} in the ledger and {bill} on the bill")
            });
        }
    }
}
