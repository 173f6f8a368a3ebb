//! Whoever speaks for a terminal and cannot prove it: three times in an hour are an alarm, and space what is said to it from
//! there. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use delivery::TerminalId;
use line::Number;

/// So many sessions that were not proved,
const SESSIONS: usize = 3;

/// in any stretch of this length.
const WITHIN: Duration = Duration::from_secs(3600);

/// Between two tries of somebody who is spaced.
const SPACING: Duration = Duration::from_secs(600);

/// Of these at most is remembered; with more, whoever came first is forgotten first.
const ENTRIES_MAX: usize = 4096;

/// Where somebody came from who could not prove to be a terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stranger {
    /// By telephone, presenting this number.
    Caller(Number),
    /// Over the Internet, from this network, naming this terminal: others behind the same address are not held up.
    Network(IpAddr, TerminalId),
}

/// Those who spoke lately without proof.
#[derive(Debug)]
pub(crate) struct Unproved<Who> {
    lately: BTreeMap<Who, Vec<Instant>>,
}

impl<Who> Default for Unproved<Who> {
    fn default() -> Self {
        Self { lately: BTreeMap::new() }
    }
}

impl<Who: Ord + Clone> Unproved<Who> {
    /// Notes a session that was not proved. Whether that makes it an alarm.
    pub(crate) fn note(&mut self, who: &Who, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < WITHIN;
        self.lately.retain(|other, times| {
            times.retain(is_recent);
            other == who || !times.is_empty()
        });
        if self.lately.len() >= ENTRIES_MAX && !self.lately.contains_key(who) {
            let oldest = self.lately.iter().min_by_key(|(_, times)| times.last().copied());
            if let Some(oldest) = oldest.map(|(other, _)| other.clone()) {
                self.lately.remove(&oldest);
            }
        }
        let times = self.lately.entry(who.clone()).or_default();
        if times.len() >= SESSIONS {
            times.remove(0);
        }
        times.push(now);
        times.len() >= SESSIONS
    }

    /// Whether nothing is said just now: three sessions of an hour were not proved, and the last was less than ten minutes ago.
    /// Never for good: whoever is meant may be there, too.
    pub(crate) fn is_spaced(&self, who: &Who, now: Instant) -> bool {
        let Some(times) = self.lately.get(who) else { return false };
        let since = |at: &Instant| now.saturating_duration_since(*at);
        times.iter().filter(|at| since(at) < WITHIN).count() >= SESSIONS
            && times.last().is_some_and(|at| since(at) < SPACING)
    }

    /// Notes that it has proved itself.
    pub(crate) fn proved(&mut self, who: &Who) {
        self.lately.remove(who);
    }

    /// Forgets some.
    pub(crate) fn forget(&mut self, is_meant: impl Fn(&Who) -> bool) {
        self.lately.retain(|who, _| !is_meant(who));
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
        assert!(!unproved.note(&one, minutes(0)));
        assert!(!unproved.note(&one, minutes(10)));
        assert!(!unproved.note(&other, minutes(11)), "each terminal counts by itself");
        assert!(!unproved.note(&one, minutes(60)), "the first is an hour ago");
        assert!(unproved.note(&one, minutes(69)));
        assert!(unproved.note(&one, minutes(69)), "and on");
        unproved.proved(&one);
        assert!(!unproved.note(&one, minutes(69)));
        unproved.note(&other, minutes(1000));
        assert_eq!(unproved.lately.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn who_is_spaced_gets_a_try_every_ten_minutes_and_none_is_held_up_for_another() {
        let start = Instant::now();
        let minutes = |count: u64| start + Duration::from_secs(60 * count);
        let (one, other) = ("601", "602");
        let mut unproved = Unproved::default();
        for minute in 0..3 {
            assert!(!unproved.is_spaced(&one, minutes(minute)));
            unproved.note(&one, minutes(minute));
        }
        assert!(unproved.is_spaced(&one, minutes(11)) && !unproved.is_spaced(&other, minutes(11)));
        assert!(!unproved.is_spaced(&one, minutes(12)));
        unproved.note(&one, minutes(12));
        assert!(unproved.is_spaced(&one, minutes(21)), "the next try, too, costs ten minutes");
        assert!(!unproved.is_spaced(&one, minutes(62)));
        unproved.forget(|who| *who == "601");
        assert!(!unproved.is_spaced(&one, minutes(13)));
    }

    #[test]
    fn no_number_of_strangers_fills_the_memory() {
        let (start, mut unproved) = (Instant::now(), Unproved::default());
        for who in 0..10_000 {
            unproved.note(&who, start + Duration::from_millis(who));
        }
        assert_eq!(unproved.lately.len(), ENTRIES_MAX);
        assert!(unproved.lately.contains_key(&9_999) && !unproved.lately.contains_key(&0));
    }
}
