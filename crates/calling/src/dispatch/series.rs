//! The calls to a number that were not answered, one after the other: how often it failed, when it may be redialled.

use std::time::Instant;

use super::RedialRules;

/// Redials in a stretch of [`RedialRules::within`]; with the first call, three.
pub const REDIALS_MAX: usize = 2;

/// One number's calls since one was answered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Series {
    /// The last calls, newest first; one more than count, for when the newest was none.
    last: [Option<Instant>; REDIALS_MAX + 2],
    calls: u8,
    /// Calls that failed, answered or not, since one that did not.
    pub(super) failures: u8,
}

impl Series {
    /// When the number may be dialled.
    pub(super) fn allowed_at(&self, rules: &RedialRules, now: Instant) -> Instant {
        let mut allowed = now;
        if let Some(oldest) = self.last[REDIALS_MAX] {
            allowed = allowed.max(oldest + rules.within);
        }
        if self.calls > rules.in_all
            && let Some(last) = self.last[0]
        {
            allowed = allowed.max(last + rules.rest);
        }
        allowed
    }

    /// Notes a call that begins now.
    pub(super) fn begin(&mut self, rules: &RedialRules, now: Instant) {
        if self.last[0].is_some_and(|last| last + rules.rest <= now) {
            self.calls = 0;
        }
        self.last.rotate_right(1);
        self.last[0] = Some(now);
        self.calls = self.calls.saturating_add(1);
    }

    /// The call that was noted last is dialled only now.
    pub(super) fn dialled(&mut self, now: Instant) {
        if let Some(last) = &mut self.last[0] {
            *last = now;
        }
    }

    /// The call that was noted last was not dialled.
    pub(super) fn undo(&mut self) {
        self.last.rotate_left(1);
        self.last[REDIALS_MAX + 1] = None;
        self.calls = self.calls.saturating_sub(1);
    }

    /// The called side answered: what comes is no redial.
    pub(super) fn answered(&mut self) {
        *self = Self {
            failures: self.failures,
            ..Self::default()
        };
    }

    /// Whether there is nothing in it that still counts.
    pub(super) fn is_over(&self, rules: &RedialRules, now: Instant) -> bool {
        self.last[0].is_none_or(|last| last + rules.rest <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_than_three_calls_in_three_minutes_and_sixteen_until_the_rest() {
        let (rules, start) = (RedialRules::default(), Instant::now());
        let mut series = Series::default();
        let mut calls = vec![];
        let mut now = start;
        while calls.len() < 40 {
            now = series.allowed_at(&rules, now);
            series.begin(&rules, now);
            calls.push(now);
            now += Duration::from_secs(1);
        }
        for three in calls.windows(4) {
            assert!(three[3] - three[0] >= rules.within);
        }
        for more in calls.windows(17) {
            assert!(more.windows(2).any(|pair| pair[1] - pair[0] >= rules.rest));
        }
        assert!(
            calls[15] - start < Duration::from_secs(3600),
            "as often as may be"
        );
    }

    #[test]
    fn what_was_not_dialled_or_was_answered_does_not_count() {
        let (rules, now) = (RedialRules::default(), Instant::now());
        let mut series = Series::default();
        for _ in 0..3 {
            series.begin(&rules, now);
        }
        assert!(series.allowed_at(&rules, now) > now);
        series.undo();
        assert_eq!(series.allowed_at(&rules, now), now);
        series.begin(&rules, now);
        series.begin(&rules, now + Duration::from_secs(180));
        series.undo();
        assert!(
            series.allowed_at(&rules, now) > now,
            "what was there before the call that was none still counts"
        );
        series.answered();
        assert_eq!(series.allowed_at(&rules, now), now);
    }
}
