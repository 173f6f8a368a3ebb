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

/// The call by whose price moments are compared.
const USUAL_CALL: Duration = Duration::from_secs(60);

/// How calls are charged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tariff {
    /// The operator's name for it.
    pub name: String,
    /// For each call that is answered.
    pub setup_fee: Micros,
    /// An answered call costs at least so much.
    pub minimum: Micros,
    /// An answered call that carried nothing costs at least so much.
    pub empty_fee: Micros,
    /// For each call that is not answered.
    pub failure_fee: Micros,
    /// Who pays.
    pub payer: Payer,
    /// Days that are not the weekday they fall on.
    pub holidays: BTreeSet<Date>,
    /// The first that fits counts.
    pub windows: Vec<Window>,
    /// What octets cost, both ways together.
    pub octets: Option<OctetPrice>,
    /// What is done with the sum of a month.
    pub month: Month,
    /// Numbers that another tariff is for: the longest prefix counts.
    pub destinations: Vec<DestinationClass>,
}

/// Who pays for a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Payer {
    /// We, who call.
    #[default]
    Caller,
    /// The called side: reverse charge, toll-free numbers.
    Called,
}

/// A unit of time, its price, and when that is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Days on which it is open.
    pub days: BTreeSet<Day>,
    /// From when.
    pub from: Time,
    /// To when, which is not in it; `None`: the end of the day.
    pub to: Option<Time>,
    /// More than nothing.
    pub unit: Duration,
    /// For each unit that is begun.
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
    /// What is counted in; more than nothing.
    pub quantum: u64,
    /// For each quantum that is begun.
    pub price: Micros,
    /// So many are paid at least.
    pub minimum: u64,
    /// In a call longer than `slow_after`, so many are paid at least for each second of it.
    pub per_second: u64,
    /// See `per_second`.
    pub slow_after: Duration,
}

/// What is done with the sum of a month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Month {
    /// So much is paid in any case.
    pub floor: Micros,
    /// More is not paid.
    pub cap: Option<Micros>,
    /// So much is paid for already.
    pub bucket: Micros,
}

/// Numbers, and the tariff that they are called at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationClass {
    /// How the numbers begin.
    pub prefixes: Vec<String>,
    /// The tariff's name.
    pub tariff: String,
}

impl Tariff {
    /// What a call costs us that was answered when it began.
    pub fn price(&self, began: &Zoned, lasted: Duration, octets: u64) -> Micros {
        if self.payer == Payer::Called {
            return Micros::ZERO;
        }
        self.with_fees(self.walk(began, lasted).0, lasted, octets)
    }

    /// The most that a call costs us that was over so long after it was dialled, and was answered at any moment between:
    /// where the units begin is then not known, so that each window is counted as if one began with it.
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

    /// What a call costs us that was not answered.
    pub fn price_of_failure(&self) -> Micros {
        if self.payer == Payer::Called {
            Micros::ZERO
        } else {
            self.failure_fee
        }
    }

    /// The longest that a call may last from the moment it is dialled so that it costs no more than `amount`, answered or
    /// not; `None` if any call costs more.
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
        // The price never falls with time: halve the stretch between a time that fits and one that does not.
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

    /// What a call can cost at most that lasts so long and carries so much, or less, or is not answered at all.
    pub fn reserve(&self, dialled: &Zoned, longest: Duration, octets: u64) -> Micros {
        // One that carries nothing may cost more than one that carries a little.
        let answered = self
            .most(dialled, longest, octets)
            .max(self.most(dialled, longest, 0));
        answered.max(self.price_of_failure())
    }

    /// Up to when a call that has lasted so long is paid for, counted from its beginning.
    pub fn paid_until(&self, began: &Zoned, lasted: Duration) -> Duration {
        self.walk(began, lasted).1
    }

    /// What the sum of a month's calls comes to on the bill.
    pub fn bill(&self, sum: Micros) -> Micros {
        let Month { floor, cap, bucket } = self.month;
        let rest = (sum - bucket).max(Micros::ZERO);
        rest.min(cap.unwrap_or(Micros::MAX)).max(floor)
    }

    /// What a call of a minute costs that begins then. It compares moments and lines; it is on no bill.
    pub fn usual_price(&self, at: &Zoned) -> Micros {
        self.price(at, USUAL_CALL, 1)
    }

    /// How long until a call of a minute costs as little as it ever does within a week; `None`: it always costs the same.
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

    /// When the price may change next: never later than the end of the day.
    pub fn next_change(&self, at: &Zoned) -> Timestamp {
        let stretch =
            SignedDuration::try_from(self.to_next_boundary(at)).unwrap_or(SignedDuration::MAX);
        at.timestamp()
            .checked_add(stretch)
            .unwrap_or(Timestamp::MAX)
    }

    /// The price of the time, and how long is paid for by it.
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

    /// Until the next moment at which another window may begin: never longer than the rest of the day, never nothing, and never past
    /// the moment at which the clock is set forward or back.
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
    /// The length of the longest prefix that the number has.
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
