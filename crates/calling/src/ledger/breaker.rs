//! Pure. The dial loop: a number whose calls failed for days is not called until the operator resumes it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use line::Number;
use model::dial_loop::Loop;

/// Limits after which a number is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRules {
    /// Minimum number of failed calls in a row,
    pub calls: u32,
    /// and the minimum number of days that they span.
    pub days: u16,
}

/// Every number whose last call failed.
#[derive(Debug)]
pub struct Breaker {
    rules: BreakerRules,
    loops: BTreeMap<Number, Loop>,
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self { calls: 20, days: 3 }
    }
}

impl Breaker {
    /// Restores the remembered numbers.
    pub fn new(rules: BreakerRules, loops: impl IntoIterator<Item = (Number, Loop)>) -> Self {
        Self {
            rules,
            loops: loops.into_iter().collect(),
        }
    }

    /// Whether the number is not to be called.
    pub fn is_broken(&self, number: &Number) -> bool {
        self.loops.get(number).is_some_and(|found| found.is_broken)
    }

    /// Failed calls of the number in a row; `None`: its last call did not fail.
    pub fn of(&self, number: &Number) -> Option<Loop> {
        self.loops.get(number).copied()
    }

    /// Notes a failed call, and returns the entry to store. Raise the alarm when [`Loop::is_broken`] holds for the
    /// first time.
    pub fn failed(&mut self, number: &Number, at: Timestamp) -> Loop {
        let found = self.loops.entry(number.clone()).or_insert(Loop {
            since: at,
            failed: 0,
            is_broken: false,
        });
        found.failed = found.failed.saturating_add(1);
        let lasted = at.duration_since(found.since);
        let is_long = lasted >= SignedDuration::from_hours(24 * i64::from(self.rules.days));
        found.is_broken |= is_long && found.failed >= self.rules.calls;
        *found
    }

    /// Notes a call that did not fail, or that the operator resumed calls to the number. Returns whether an entry was
    /// removed.
    pub fn forget(&mut self, number: &Number) -> bool {
        self.loops.remove(number).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(hours: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + hours * 3600).unwrap()
    }

    #[test]
    fn a_number_is_left_alone_after_so_many_failures_over_so_many_days_and_not_sooner() {
        let number: Number = "201".parse().unwrap();
        let rules = BreakerRules { calls: 3, days: 2 };
        let broken = |hours: &[i64]| {
            let mut breaker = Breaker::new(rules, []);
            hours
                .iter()
                .map(|hour| breaker.failed(&number, after(*hour)).is_broken)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            broken(&[0, 1, 2, 3, 47]),
            [false; 5],
            "many, but not over days"
        );
        assert_eq!(broken(&[0, 50]), [false; 2], "over days, but not many");
        assert_eq!(broken(&[0, 1, 48]), [false, false, true]);
        let mut breaker = Breaker::new(
            rules,
            [(
                number.clone(),
                Loop {
                    since: after(0),
                    failed: 2,
                    is_broken: false,
                },
            )],
        );
        assert!(
            breaker.failed(&number, after(48)).is_broken,
            "what is remembered counts"
        );
        assert!(breaker.forget(&number) && !breaker.is_broken(&number));
    }

    #[test]
    fn one_call_that_succeeds_ends_the_loop() {
        let number: Number = "201".parse().unwrap();
        let mut breaker = Breaker::new(BreakerRules { calls: 2, days: 1 }, []);
        breaker.failed(&number, after(0));
        breaker.forget(&number);
        assert!(!breaker.failed(&number, after(48)).is_broken);
    }
}
