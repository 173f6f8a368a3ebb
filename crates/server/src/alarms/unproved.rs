//! Pure. Whoever speaks for a terminal and cannot prove it: three times in an hour are an alarm, and space what is said to it from
//! there. A spaced one is heard for a moment all the same: a number can be forged, and its owner can still prove himself.
//! A lost carrier is the line's fault: it is counted by itself, and spaces nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use delivery::TerminalId;
use line::Number;

/// So many sessions that were not proved,
const SESSIONS: usize = 3;

/// in any stretch of this length.
const WITHIN: Duration = Duration::from_secs(3600);

/// Interval between two tries of a peer that is spaced.
const SPACING: Duration = Duration::from_secs(600);

/// So long in all may those who are spaced take to prove themselves, in any stretch of [`WITHIN`].
const HEARING: Duration = Duration::from_secs(60);

/// Of these at most is remembered; with more, whoever came first is forgotten first.
const ENTRIES_MAX: usize = 4096;

/// Origin of a peer that failed to prove to be a terminal.
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
    /// What those who are spaced have been given of [`HEARING`], and when.
    heard: VecDeque<(Instant, Duration)>,
    /// Calls whose carrier was lost before anything was proved.
    lost: VecDeque<Instant>,
}

impl<Who> Default for Unproved<Who> {
    fn default() -> Self {
        Self {
            lately: BTreeMap::new(),
            heard: VecDeque::new(),
            lost: VecDeque::new(),
        }
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
            let oldest = self
                .lately
                .iter()
                .min_by_key(|(_, times)| times.last().copied());
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
    pub(crate) fn is_backed_off(&self, who: &Who, now: Instant) -> bool {
        let Some(times) = self.lately.get(who) else {
            return false;
        };
        let since = |at: &Instant| now.saturating_duration_since(*at);
        times.iter().filter(|at| since(at) < WITHIN).count() >= SESSIONS
            && times.last().is_some_and(|at| since(at) < SPACING)
    }

    /// What is left of the time that those who are spaced have.
    pub(crate) fn hearing_left(&self, now: Instant) -> Duration {
        let recent = self
            .heard
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) < WITHIN);
        HEARING.saturating_sub(recent.map(|(_, given)| *given).sum())
    }

    /// Gives one who is spaced so much of that time as it wants and is left; it counts whole, however little is used.
    pub(crate) fn hear(&mut self, wanted: Duration, now: Instant) -> Duration {
        while self
            .heard
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WITHIN)
        {
            self.heard.pop_front();
        }
        let given = wanted.min(self.hearing_left(now));
        if !given.is_zero() {
            self.heard.push_back((now, given));
        }
        given
    }

    /// Notes a call whose carrier was lost before anything was proved; gives how many there were in the last hour.
    pub(crate) fn note_lost(&mut self, now: Instant) -> usize {
        self.lost.push_back(now);
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= WITHIN;
        while self.lost.len() > ENTRIES_MAX || self.lost.front().is_some_and(is_old) {
            self.lost.pop_front();
        }
        self.lost.len()
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
        assert!(
            !unproved.note(&other, minutes(11)),
            "each terminal counts by itself"
        );
        assert!(
            !unproved.note(&one, minutes(60)),
            "the first is an hour ago"
        );
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
            assert!(!unproved.is_backed_off(&one, minutes(minute)));
            unproved.note(&one, minutes(minute));
        }
        assert!(
            unproved.is_backed_off(&one, minutes(11))
                && !unproved.is_backed_off(&other, minutes(11))
        );
        assert!(!unproved.is_backed_off(&one, minutes(12)));
        unproved.note(&one, minutes(12));
        assert!(
            unproved.is_backed_off(&one, minutes(21)),
            "the next try, too, costs ten minutes"
        );
        assert!(!unproved.is_backed_off(&one, minutes(62)));
        unproved.forget(|who| *who == "601");
        assert!(!unproved.is_backed_off(&one, minutes(13)));
    }

    #[test]
    fn who_is_spaced_is_heard_for_a_minute_an_hour_in_all_and_not_a_second_more() {
        let start = Instant::now();
        let seconds = |count: u64| start + Duration::from_secs(count);
        let mut unproved: Unproved<&str> = Unproved::default();
        let wanted = Duration::from_secs(7);
        let given: Vec<_> = (0..12)
            .map(|nth| unproved.hear(wanted, seconds(nth)).as_secs())
            .collect();
        assert_eq!(given, [7, 7, 7, 7, 7, 7, 7, 7, 4, 0, 0, 0]);
        assert_eq!(unproved.hearing_left(seconds(3599)), Duration::ZERO);
        assert_eq!(
            unproved.hear(wanted, seconds(3600)),
            wanted,
            "the first is an hour ago"
        );
        assert!(unproved.heard.len() <= 9);
    }

    #[test]
    fn lost_carriers_are_counted_for_an_hour_and_space_nothing() {
        let start = Instant::now();
        let mut unproved = Unproved::default();
        for minute in 0..70 {
            let now = start + Duration::from_secs(60 * minute);
            let expected = usize::try_from(minute + 1).unwrap().min(60);
            assert_eq!(unproved.note_lost(now), expected);
            assert!(!unproved.is_backed_off(&"601", now));
        }
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
