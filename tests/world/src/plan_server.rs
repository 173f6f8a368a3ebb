//! The server of the plan level: the product's own `calling` state, and a disk.
//!
//! The disk does what the state asks of it late, one after the other, and now and then not at all; it is the only thing that a
//! crash leaves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use calling::dispatch::{LineTerms, Moment};
use calling::{Beginning, Calling, Event, Job, Policy};
use jiff::Zoned;
use jiff::civil::{Date, DateTime};
use jiff::tz::{self, TimeZone};
use line::{CallId, Number};
use model::account::{Account, Reservation};
use model::dial_loop::Loop;
use model::money::Micros;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) calling: Calling,
    pub(crate) disk: Disk,
    policy: Policy,
    start: Instant,
    seed: u64,
}

/// What is written of money.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Of the last days.
    reservations: BTreeMap<Date, BTreeMap<CallId, (Vec<Account>, Micros)>>,
    loops: BTreeMap<Number, Loop>,
    /// What the disk has not done yet, and what it has not answered yet.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// It does one after the other: the last will be done then.
    busy_until: Duration,
    /// Until then it fails half of the time.
    pub(crate) bad_until: Duration,
    /// It did not do something then.
    pub(crate) failed_at: Option<Duration>,
}

#[derive(Debug)]
pub(crate) enum Waiting {
    Job(Job),
    Answer(Event),
}

impl Server {
    pub(crate) fn new(policy: Policy, start: Instant, local: DateTime, seed: u64) -> Self {
        let now = Moment {
            at: start,
            wall: zoned(local).timestamp(),
        };
        let calling = Calling::new(policy.clone(), seed, now);
        Self {
            calling,
            disk: Disk::default(),
            policy,
            start,
            seed,
        }
    }

    /// A crash: what is not on the disk is gone, and what the disk was asked for.
    pub(crate) fn restart(&mut self, now: Duration, local: DateTime) {
        self.seed += 1;
        self.calling = Calling::new(self.policy.clone(), self.seed, self.moment(now, local));
        self.disk.waiting.clear();
        self.disk.busy_until = now;
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn instant(&self, now: Duration) -> Instant {
        self.start + now
    }

    pub(crate) fn moment(&self, now: Duration, local: DateTime) -> Moment {
        Moment {
            at: self.instant(now),
            wall: zoned(local).timestamp(),
        }
    }
}

impl Disk {
    /// Lets something wait; gives its number.
    pub(crate) fn wait(&mut self, what: Waiting) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, what);
        self.next
    }

    /// When a job will be done that takes this long, after those before it.
    pub(crate) fn done_at(&mut self, now: Duration, takes: Duration) -> Duration {
        self.busy_until = self.busy_until.max(now) + takes;
        self.busy_until
    }

    pub(crate) fn take(&mut self, number: u64) -> Option<Waiting> {
        self.waiting.remove(&number)
    }

    /// Whether all that was asked of it is done, and has been for a while.
    pub(crate) fn is_calm(&self, now: Duration) -> bool {
        const WHILE: Duration = Duration::from_secs(120);
        let has_failed = self.failed_at.is_some_and(|at| now < at + WHILE);
        self.waiting.is_empty() && self.bad_until < now && !has_failed
    }

    pub(crate) fn begin(&mut self, beginning: Beginning) -> Option<Reservation> {
        let reservation = beginning.reservation?;
        let day = self.reservations.entry(reservation.day).or_default();
        day.insert(
            reservation.call,
            (reservation.accounts.clone(), reservation.amount),
        );
        while self.reservations.len() > 3 {
            self.reservations.pop_first();
        }
        Some(reservation)
    }

    pub(crate) fn settle(&mut self, call: CallId, amount: Micros) {
        for day in self.reservations.values_mut() {
            if let Some((_, kept)) = day.get_mut(&call) {
                *kept = amount;
            }
        }
    }

    pub(crate) fn keep_loop(&mut self, number: Number, dial_loop: Option<Loop>) {
        match dial_loop {
            Some(found) => drop(self.loops.insert(number, found)),
            None => drop(self.loops.remove(&number)),
        }
    }

    pub(crate) fn loops(&self) -> Vec<(Number, Loop)> {
        self.loops
            .iter()
            .map(|(number, found)| (number.clone(), *found))
            .collect()
    }

    pub(crate) fn spent_on(&self, day: Date) -> Vec<(Vec<Account>, Micros)> {
        self.reservations
            .get(&day)
            .into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }
}

pub(crate) fn zoned(local: DateTime) -> Zoned {
    local.to_zoned(zone()).expect("a time of this century")
}

/// Where the lines are.
pub(crate) fn zone() -> TimeZone {
    TimeZone::fixed(tz::offset(9))
}

pub(crate) fn line(lines: &[LineTerms], name: &model::directory::Name) -> usize {
    lines
        .iter()
        .position(|line| line.name == *name)
        .expect("a line of the world")
}
