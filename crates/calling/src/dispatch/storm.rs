//! No storm: how many calls may begin, however many terminals are due.

use std::time::{Duration, Instant};

use super::StormRules;

/// A bucket of calls that fills with time, and a count of those under way.
#[derive(Debug)]
pub(super) struct Storm {
    rules: StormRules,
    /// When the bucket will be full again (the generic cell rate algorithm of ATM: one instant is the whole state).
    full_at: Option<Instant>,
    under_way: u32,
}

impl Storm {
    pub(super) fn new(rules: StormRules) -> Self {
        Self {
            rules,
            full_at: None,
            under_way: 0,
        }
    }

    /// When the next call may begin; `None`: not before one is over.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        if self.under_way >= self.rules.calls_at_once {
            return None;
        }
        let depth = self.interval() * (self.rules.burst.max(1) - 1);
        let earliest = self.full_at.and_then(|full_at| full_at.checked_sub(depth));
        Some(earliest.map_or(now, |earliest| earliest.max(now)))
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.ready_at(now) == Some(now)
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.full_at = Some(self.full_at.map_or(now, |full_at| full_at.max(now)) + self.interval());
        self.under_way += 1;
    }

    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60) / self.rules.calls_per_minute.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_begin_at_the_rate_after_a_burst_and_never_more_at_once_than_may() {
        let start = Instant::now();
        let rules = StormRules {
            calls_per_minute: 60,
            burst: 3,
            calls_at_once: 5,
        };
        let mut storm = Storm::new(rules);
        let mut began = vec![];
        for millis in (0..10_000).step_by(100) {
            let now = start + Duration::from_millis(millis);
            while storm.is_ready(now) {
                storm.begin(now);
                began.push(millis);
            }
        }
        assert_eq!(began, [0, 0, 0, 1000, 2000]);
        storm.end();
        assert_eq!(
            storm.ready_at(start + Duration::from_secs(10)),
            Some(start + Duration::from_secs(10))
        );
    }
}
