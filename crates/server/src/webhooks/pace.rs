//! Pure. How much a webhook is given at once.
//!
//! ```text
//!   2 places ──taken, taken──► one more, up to 16
//!      ▲                          │ no answer, or a 5xx
//!      │ taken                    ▼
//!   1 place ◄──rest is over── half, and a rest of 1 s, 2 s … 60 s
//! ```

use std::time::{Duration, Instant};

/// Tries at once for a webhook of which nothing is known yet.
pub(super) const PLACES_FIRST: usize = 2;

/// The most for one that answers well.
pub(super) const PLACES_MAX: usize = 16;

/// The first rest after a failure; each that follows is twice as long, up to the longest.
const REST_FIRST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);

/// What a webhook has shown that it takes.
#[derive(Debug)]
pub(super) struct Pace {
    places: usize,
    /// Taken since the last place was added.
    taken: usize,
    /// Failures one after the other.
    failures: u32,
    rests_until: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            places: PLACES_FIRST,
            taken: 0,
            failures: 0,
            rests_until: None,
        }
    }
}

impl Pace {
    /// Tries at once, by now; while it has failed, one shows whether it is well again.
    pub(super) fn places(&self, now: Instant) -> usize {
        match self.rests_until {
            Some(until) if now < until => 0,
            Some(_) => 1,
            None => self.places,
        }
    }

    /// It has answered, though maybe not with a yes.
    pub(super) fn answered(&mut self) {
        (self.failures, self.rests_until) = (0, None);
        self.taken += 1;
        if self.taken >= self.places {
            (self.places, self.taken) = ((self.places + 1).min(PLACES_MAX), 0);
        }
    }

    /// It did not answer, or is not well. What else was under way and fails while it rests says nothing new.
    pub(super) fn failed(&mut self, now: Instant) {
        if self.places(now) == 0 {
            return;
        }
        let rest = REST_FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(REST_MAX);
        self.rests_until = Some(now + rest);
        self.failures = self.failures.saturating_add(1);
        (self.places, self.taken) = ((self.places / 2).max(1), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_grow_while_it_answers_and_never_past_their_bound() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.places(now), PLACES_FIRST);
        for _ in 0..3 {
            pace.answered();
        }
        assert_eq!(pace.places(now), PLACES_FIRST + 1);
        for _ in 0..1000 {
            pace.answered();
        }
        assert_eq!(pace.places(now), PLACES_MAX);
    }

    #[test]
    fn one_that_fails_rests_longer_each_time_and_is_tried_by_one_until_it_answers() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..9 {
            pace.failed(now);
            pace.failed(now); // the other that was under way
            let began = now;
            while pace.places(now) == 0 {
                now += Duration::from_secs(1);
            }
            rests.push((now - began).as_secs());
            assert_eq!(pace.places(now), 1);
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        pace.answered();
        assert!(pace.places(now) >= 1);
        pace.failed(now);
        assert_eq!(pace.places(now + REST_FIRST), 1, "the rests begin anew");
    }
}
