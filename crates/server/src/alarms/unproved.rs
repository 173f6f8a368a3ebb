//! Whoever speaks for a terminal and cannot prove it: three times in an hour are an alarm. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use delivery::TerminalId;

/// So many sessions that were not proved,
const SESSIONS: usize = 3;

/// in any stretch of this length.
const WITHIN: Duration = Duration::from_secs(3600);

/// The terminals for which somebody spoke lately without proof. Only terminals of the directory are noted here: it has no
/// more entries than that.
#[derive(Debug, Default)]
pub(crate) struct Unproved {
    lately: BTreeMap<TerminalId, Vec<Instant>>,
}

impl Unproved {
    /// Notes a session that was not proved. Whether that makes it an alarm.
    pub(crate) fn note(&mut self, terminal: TerminalId, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < WITHIN;
        self.lately.retain(|other, times| {
            times.retain(is_recent);
            *other == terminal || !times.is_empty()
        });
        let times = self.lately.entry(terminal).or_default();
        if times.len() >= SESSIONS {
            times.remove(0);
        }
        times.push(now);
        times.len() >= SESSIONS
    }

    /// Notes that the terminal has proved itself.
    pub(crate) fn proved(&mut self, terminal: TerminalId) {
        self.lately.remove(&terminal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_unproved_sessions_in_an_hour_are_an_alarm_and_a_proof_begins_anew() {
        let start = Instant::now();
        let minutes = |count: u64| start + Duration::from_secs(60 * count);
        let [one, other] = [1, 2].map(|octet| TerminalId::from_octets([octet; 8]));
        let mut unproved = Unproved::default();
        assert!(!unproved.note(one, minutes(0)));
        assert!(!unproved.note(one, minutes(10)));
        assert!(!unproved.note(other, minutes(11)), "each terminal counts by itself");
        assert!(!unproved.note(one, minutes(60)), "the first is an hour ago");
        assert!(unproved.note(one, minutes(69)));
        assert!(unproved.note(one, minutes(69)), "and on");
        unproved.proved(one);
        assert!(!unproved.note(one, minutes(69)));
        unproved.note(other, minutes(1000));
        assert_eq!(unproved.lately.len(), 1, "what is over is forgotten");
    }
}
