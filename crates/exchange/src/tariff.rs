//! Pure. What a call costs. A tariff is data, a call is figures, money is whole millionths of the currency's unit.
//!
//! `units = ceil(time / unit)`, each at the price and of the length that the window has in which it begins. Octets are
//! rounded up to whole quanta. What was not answered costs the fee on failure, which is nothing unless it is set.

mod file;
mod month;

use jiff::{
    SignedDuration, Zoned,
    civil::{Date, Time, Weekday},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

pub(crate) use file::read;
pub use month::MonthlyBill;
pub(crate) use month::{MonthTerms, Months};

/// An amount in millionths of the currency's unit (yen, credits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

/// How calls from a line are charged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    /// For each call that is answered.
    setup_fee: Micros,
    /// What an answered call costs at least, the setup fee included.
    minimum: Micros,
    /// For each call that is not answered.
    failure_fee: Micros,
    payer: Payer,
    holidays: BTreeSet<Date>,
    /// The first that fits counts; time in none of them is free.
    windows: Vec<Window>,
    octets: Option<OctetPrice>,
    /// Calls that another tariff is for; the first that fits counts.
    classes: Vec<Class>,
    month: MonthTerms,
}

/// Destinations, or kinds of calls, that cost something else.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Class {
    /// What is dialled begins so.
    prefix: String,
    /// The call is no faster than this, bit/s.
    rate_max: Option<u32>,
    tariff: String,
}

/// Who pays for a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    /// As usual.
    #[default]
    Caller,
    /// Reverse charge, toll-free numbers.
    Called,
}

/// A price of time, and when it is the price.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    days: BTreeSet<Day>,
    from: Time,
    /// Not included; midnight is the end of the day. A window over midnight is two.
    to: Option<Time>,
    unit: Duration,
    price: Micros,
}

/// A holiday is not also the day of the week it falls on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Day {
    Week(i8),
    Holiday,
}

impl Day {
    fn week(weekday: Weekday) -> Self {
        Self::Week(weekday.to_monday_zero_offset())
    }
}

/// A price of octets, both ways together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OctetPrice {
    quantum: u64,
    price: Micros,
    /// What an answered call is taken to have carried at least.
    minimum: u64,
    /// Above `slow_after`, a call is taken to have carried this for each second of all its time at least.
    per_second: u64,
    slow_after: Duration,
}

/// What a call was, as far as it matters for its price.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    /// From answer to the first hang-up, and when it began; `None` if it was not answered.
    pub(crate) answered: Option<(Zoned, Duration)>,
    pub(crate) octets: u64,
}

impl Tariff {
    pub(crate) fn payer(&self) -> Payer {
        self.payer
    }

    /// Terms of its months.
    pub(crate) fn month(&self) -> MonthTerms {
        self.month
    }

    /// The name of the tariff that a call to this number, at this rate, is charged by instead.
    pub(crate) fn class_of(&self, dialled: &str, rate_bps: u32) -> Option<&str> {
        let fits = |class: &&Class| {
            dialled.starts_with(&class.prefix)
                && class.rate_max.is_none_or(|rate_max| rate_bps <= rate_max)
        };
        self.classes
            .iter()
            .find(fits)
            .map(|class| class.tariff.as_str())
    }

    /// The names of the tariffs that its classes refer to.
    pub(crate) fn class_tariffs(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.tariff.as_str())
    }

    /// Price of a call that was answered at that time and lasted that long (`None`: it was not answered), with its octets, both
    /// ways together.
    pub fn price(&self, answered: Option<(Zoned, Duration)>, octets: u64) -> Micros {
        self.charge(&Used { answered, octets })
    }

    /// What a call costs.
    pub(crate) fn charge(&self, used: &Used) -> Micros {
        let Some((began, time)) = &used.answered else {
            return self.failure_fee;
        };
        let sum = [
            self.setup_fee,
            self.charge_time(began, *time),
            self.charge_octets(used.octets, *time),
        ]
        .into_iter()
        .fold(0_i64, |sum, part| sum.saturating_add(part.0));
        Micros(sum).max(self.minimum)
    }

    /// Goes from one change of price to the next, so that its work grows with the days of a call, not with its units.
    fn charge_time(&self, began: &Zoned, time: Duration) -> Micros {
        let mut sum = 0_i64;
        let mut passed = Duration::ZERO;
        while passed < time {
            let Ok(now) = SignedDuration::try_from(passed)
                .map_err(drop)
                .and_then(|passed| began.checked_add(passed).map_err(drop))
            else {
                break;
            };
            let stretch = self.to_next_change(&now).min(time - passed);
            let Some(window) = self.window(&now) else {
                passed += stretch;
                continue;
            };
            let units = stretch.as_nanos().div_ceil(window.unit.as_nanos());
            let units_sum = i64::try_from(units)
                .unwrap_or(i64::MAX)
                .saturating_mul(window.price.0);
            sum = sum.saturating_add(units_sum);
            passed = passed.saturating_add(
                window
                    .unit
                    .saturating_mul(u32::try_from(units).unwrap_or(u32::MAX)),
            );
        }
        Micros(sum)
    }

    fn window(&self, now: &Zoned) -> Option<&Window> {
        let day = if self.holidays.contains(&now.date()) {
            Day::Holiday
        } else {
            Day::week(now.weekday())
        };
        let time = now.time();
        self.windows.iter().find(|window| {
            window.days.contains(&day)
                && window.from <= time
                && window.to.is_none_or(|to| time < to)
        })
    }

    /// Until another window may begin: the next time of day that any window names, midnight, or the moment at which the clock is set. More
    /// than nothing.
    fn to_next_change(&self, now: &Zoned) -> Duration {
        let time = now.time();
        let named = self
            .windows
            .iter()
            .flat_map(|window| std::iter::once(window.from).chain(window.to));
        let next = named.filter(|named| *named > time).min();
        let until = next.map(|next| time.duration_until(next));
        let until = until.unwrap_or_else(|| {
            SignedDuration::from_hours(24) - time.duration_since(Time::midnight())
        });
        let set = now.time_zone().following(now.timestamp()).next();
        let until = set.map_or(until, |set| {
            until.min(set.timestamp().duration_since(now.timestamp()))
        });
        Duration::try_from(until)
            .ok()
            .filter(|until| !until.is_zero())
            .unwrap_or(Duration::from_secs(1))
    }

    fn charge_octets(&self, octets: u64, time: Duration) -> Micros {
        let Some(price) = &self.octets else {
            return Micros::default();
        };
        let mut charged = octets.max(price.minimum);
        if time > price.slow_after {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            charged = charged.max(price.per_second.saturating_mul(seconds));
        }
        let quanta = i64::try_from(charged.div_ceil(price.quantum)).unwrap_or(i64::MAX);
        Micros(quanta.saturating_mul(price.price.0))
    }
}

#[cfg(test)]
mod tests;
