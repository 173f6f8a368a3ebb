//! Pure. What calls cost. A tariff is data.
//!
//! A call's time is cut into units. Each has the length and the price of the window in which it begins; the last is paid
//! whole. A moment in no window is free up to the next window's beginning. Octets are paid in whole quanta.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::{SignedDuration, Timestamp, Zoned};
use line::Number;

use model::money::Micros;

/// Length of the call by which prices of moments are compared.
const USUAL_CALL: Duration = Duration::from_secs(60);

/// How calls are charged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tariff {
    /// The operator's name for it.
    pub name: String,
    /// Price of setting up an answered call.
    pub setup_fee: Micros,
    /// Minimum price of an answered call.
    pub minimum: Micros,
    /// Minimum price of an answered call that carried no octets.
    pub empty_fee: Micros,
    /// Price of an unanswered call.
    pub failure_fee: Micros,
    /// Who pays.
    pub payer: Payer,
    /// Days that count as another kind of day than their weekday.
    pub holidays: BTreeSet<Date>,
    /// The first window that matches applies.
    pub windows: Vec<Window>,
    /// Price of octets, both directions together.
    pub octets: Option<OctetPrice>,
    /// Adjustments of a month's total.
    pub month: Month,
    /// Numbers with a tariff of their own: the longest matching prefix applies.
    pub destinations: Vec<DestinationClass>,
}

/// Who pays for a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Payer {
    /// The calling side: this server.
    #[default]
    Caller,
    /// The called side: reverse charge, toll-free numbers.
    Called,
}

/// A unit of time, its price, and when they apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Kinds of day on which the window applies.
    pub days: BTreeSet<Day>,
    /// Begin.
    pub from: Time,
    /// End, exclusive; `None`: the end of the day.
    pub to: Option<Time>,
    /// Length of a unit; above zero.
    pub unit: Duration,
    /// Price of each unit begun.
    pub price: Micros,
}

/// A kind of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Day {
    /// Days from Monday, 0.
    Week(i8),
    /// One of the tariff's holidays.
    Holiday,
}

/// A price of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OctetPrice {
    /// Octets in a quantum; above zero.
    pub quantum: u64,
    /// Price of each quantum begun.
    pub price: Micros,
    /// Minimum billed octets.
    pub minimum: u64,
    /// Minimum billed octets for each second of a call longer than `slow_after`.
    pub per_second: u64,
    /// See `per_second`.
    pub slow_after: Duration,
}

/// Adjustments of a month's total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Month {
    /// Minimum of the month.
    pub floor: Micros,
    /// Maximum of the month.
    pub cap: Option<Micros>,
    /// Amount already paid for in advance.
    pub bucket: Micros,
}

/// Numbers, and the name of their tariff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationClass {
    /// Prefix of the numbers.
    pub prefixes: Vec<String>,
    /// The tariff's name.
    pub tariff: String,
}

impl Tariff {
    /// Our cost of a call that was answered when it began.
    pub fn price(&self, began: &Zoned, lasted: Duration, octets: u64) -> Micros {
        if self.payer == Payer::Called {
            return Micros::ZERO;
        }
        self.with_fees(self.walk(began, lasted).0, lasted, octets)
    }

    /// Upper bound on our cost of a call that took `lasted` from dialling to its end and was answered at an unknown
    /// moment. The unit boundaries are then unknown, so each window counts as if a unit began with it.
    pub fn most(&self, dialled: &Zoned, lasted: Duration, octets: u64) -> Micros {
        if self.payer == Payer::Called {
            return Micros::ZERO;
        }
        self.with_fees(self.most_for_time(dialled, lasted), lasted, octets)
    }

    fn with_fees(&self, time: Micros, lasted: Duration, octets: u64) -> Micros {
        let sum = self.setup_fee + time + self.price_of_octets(octets, lasted);
        let least = if octets == 0 {
            self.minimum.max(self.empty_fee)
        } else {
            self.minimum
        };
        sum.max(least)
    }

    /// Our cost of an unanswered call.
    pub fn price_of_failure(&self) -> Micros {
        if self.payer == Payer::Called {
            Micros::ZERO
        } else {
            self.failure_fee
        }
    }

    /// Longest call, measured from dialling, that costs at most `amount`, answered or not; `None` if every call costs
    /// more.
    pub fn longest_for(
        &self,
        amount: Micros,
        dialled: &Zoned,
        longest: Duration,
        octets: u64,
    ) -> Option<Duration> {
        let fits = |millis: u64| {
            let lasted = Duration::from_millis(millis);
            self.reserve(dialled, lasted, octets) <= amount
        };
        if !fits(0) {
            return None;
        }
        // The price never falls with time: bisect between a length that fits and one that does not.
        let (mut good, mut bad) = (
            0,
            u64::try_from(longest.as_millis())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
        );
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Some(Duration::from_millis(good))
    }

    /// Upper bound on our cost of a call of at most this length and volume, answered or not.
    pub fn reserve(&self, dialled: &Zoned, longest: Duration, octets: u64) -> Micros {
        // A call without octets may cost more than one with a few.
        let answered = self
            .most(dialled, longest, octets)
            .max(self.most(dialled, longest, 0));
        answered.max(self.price_of_failure())
    }

    /// Time, counted from the start of the call, that the units begun so far have paid for.
    pub fn paid_until(&self, began: &Zoned, lasted: Duration) -> Duration {
        self.walk(began, lasted).1
    }

    /// The billed amount for the total of a month's calls.
    pub fn bill(&self, sum: Micros) -> Micros {
        let Month { floor, cap, bucket } = self.month;
        let rest = (sum - bucket).max(Micros::ZERO);
        rest.min(cap.unwrap_or(Micros::MAX)).max(floor)
    }

    /// Cost of a one-minute call that begins then. It serves to compare moments and lines, and is on no bill.
    pub fn usual_price(&self, at: &Zoned) -> Micros {
        self.price(at, USUAL_CALL, 1)
    }

    /// Time until a one-minute call has the lowest price of the next week; `None`: the price is constant.
    pub fn until_cheapest(&self, at: &Zoned) -> Option<Duration> {
        const WEEK: SignedDuration = SignedDuration::from_hours(8 * 24);
        let now = self.usual_price(at);
        let (mut best, mut wait, mut is_flat) = (now, SignedDuration::ZERO, true);
        let mut ahead = SignedDuration::ZERO;
        while let Ok(then) = at.checked_add(ahead)
            && ahead < WEEK
        {
            let price = self.usual_price(&then);
            is_flat &= price == now;
            if price < best {
                (best, wait) = (price, ahead);
            }
            let stretch = SignedDuration::try_from(self.to_next_boundary(&then)).unwrap_or(WEEK);
            ahead = ahead.saturating_add(stretch);
        }
        (!is_flat).then(|| Duration::try_from(wait).unwrap_or_default())
    }

    /// Earliest moment at which the price may change; at most the end of the day.
    pub fn next_change(&self, at: &Zoned) -> Timestamp {
        let stretch =
            SignedDuration::try_from(self.to_next_boundary(at)).unwrap_or(SignedDuration::MAX);
        at.timestamp()
            .checked_add(stretch)
            .unwrap_or(Timestamp::MAX)
    }

    /// Price of the time, and the length that it pays for.
    fn walk(&self, began: &Zoned, lasted: Duration) -> (Micros, Duration) {
        let (mut sum, mut paid) = (Micros::ZERO, Duration::ZERO);
        while paid < lasted {
            let ahead = SignedDuration::try_from(paid).unwrap_or(SignedDuration::MAX);
            let Ok(now) = began.checked_add(ahead) else {
                return (Micros::MAX, lasted);
            };
            let stretch = self.to_next_boundary(&now).min(lasted - paid);
            match self.window(now.datetime()) {
                None => paid += stretch,
                Some(window) => {
                    let units = window.units(stretch);
                    sum = sum + window.price * units;
                    let length = window
                        .unit
                        .saturating_mul(u32::try_from(units).unwrap_or(u32::MAX));
                    paid = paid.saturating_add(length);
                }
            }
        }
        (sum, paid)
    }

    fn most_for_time(&self, dialled: &Zoned, lasted: Duration) -> Micros {
        let (mut sum, mut passed) = (Micros::ZERO, Duration::ZERO);
        let mut running: Option<(&Window, Duration)> = None;
        while passed < lasted {
            let ahead = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
            let Ok(now) = dialled.checked_add(ahead) else {
                return Micros::MAX;
            };
            let stretch = self.to_next_boundary(&now).min(lasted - passed);
            let window = self.window(now.datetime());
            running = match (running, window) {
                (Some((same, length)), Some(window)) if std::ptr::eq(same, window) => {
                    Some((same, length + stretch))
                }
                (before, window) => {
                    sum = sum + before.map_or(Micros::ZERO, Window::price_of);
                    window.map(|window| (window, stretch))
                }
            };
            passed += stretch;
        }
        sum + running.map_or(Micros::ZERO, Window::price_of)
    }

    fn window(&self, at: DateTime) -> Option<&Window> {
        let day = if self.holidays.contains(&at.date()) {
            Day::Holiday
        } else {
            Day::of(at.weekday())
        };
        self.windows
            .iter()
            .find(|window| window.contains(day, at.time()))
    }

    /// Time until the next moment at which a window may begin: above zero, at most the rest of the day, and at most
    /// until the next daylight-saving change.
    fn to_next_boundary(&self, at: &Zoned) -> Duration {
        let time = at.time();
        let boundaries = self
            .windows
            .iter()
            .flat_map(|window| [Some(window.from), window.to])
            .flatten();
        let until = match boundaries.filter(|boundary| *boundary > time).min() {
            Some(boundary) => time.duration_until(boundary),
            None => SignedDuration::from_hours(24) - Time::midnight().duration_until(time),
        };
        let set = at.time_zone().following(at.timestamp()).next();
        let set = set.map_or(until, |set| set.timestamp().duration_since(at.timestamp()));
        Duration::try_from(until.min(set))
            .unwrap_or_default()
            .max(Duration::from_millis(1))
    }

    fn price_of_octets(&self, octets: u64, lasted: Duration) -> Micros {
        let Some(price) = self.octets else {
            return Micros::ZERO;
        };
        let seconds = lasted.as_secs() + u64::from(lasted.subsec_nanos() > 0);
        let by_time = if lasted > price.slow_after {
            price.per_second.saturating_mul(seconds)
        } else {
            0
        };
        price.price
            * octets
                .max(price.minimum)
                .max(by_time)
                .div_ceil(price.quantum.max(1))
    }
}

impl Day {
    fn of(weekday: Weekday) -> Self {
        Self::Week(weekday.to_monday_zero_offset())
    }
}

impl Window {
    fn units(&self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos().div_ceil(self.unit.as_nanos().max(1))).unwrap_or(u64::MAX)
    }

    fn price_of((window, time): (&Self, Duration)) -> Micros {
        window.price * window.units(time)
    }

    fn contains(&self, day: Day, time: Time) -> bool {
        self.days.contains(&day) && self.from <= time && self.to.is_none_or(|to| time < to)
    }
}

impl DestinationClass {
    /// Length of the longest matching prefix.
    pub(super) fn fits(&self, number: &Number) -> Option<usize> {
        let fitting = self
            .prefixes
            .iter()
            .filter(|prefix| number.as_str().starts_with(prefix.as_str()));
        fitting.map(String::len).max()
    }
}

#[cfg(test)]
mod tests;
