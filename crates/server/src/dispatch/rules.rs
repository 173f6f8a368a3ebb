//! What dispatch goes by: the operator's settings.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::{TerminalId, Urgency};
use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};
use line::{Hours, WeekMinute};

use crate::directory::Name;
use crate::ledger::Tariff;

/// One moment, on the clock that never jumps and on the wall clock where the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For pauses and deadlines.
    pub at: Instant,
    /// For hours and prices.
    pub local: DateTime,
}

/// When a call that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRules {
    /// After the first failure; doubled with each one that follows.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// How soon and how often a number that does not answer is called again.
    pub redials: RedialRules,
    /// How long a terminal that was rung may take to come over its own Internet access.
    pub session_wait: Duration,
}

/// The strictest rule known (Japan's for terminals): two redials within three minutes, 15 in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedialRules {
    /// At most three calls, the first and [`REDIALS_MAX`](super::REDIALS_MAX) more, in any stretch of this length.
    pub within: Duration,
    /// So many redials at most,
    pub in_all: u8,
    /// until the number has been left alone for so long.
    pub rest: Duration,
    /// How long a number is left alone that the modem itself would not dial.
    pub modem_pause: Duration,
}

impl Default for RedialRules {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(3 * 60),
            in_all: 15,
            rest: Duration::from_secs(24 * 3600),
            modem_pause: Duration::from_secs(10 * 60),
        }
    }
}

/// What keeps calls from coming all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StormRules {
    /// Calls in a minute, in the long run; at least 1.
    pub calls_per_minute: u32,
    /// Calls in a row before that counts; at least 1.
    pub burst: u32,
    /// Calls at once.
    pub calls_at_once: u32,
}

impl Default for StormRules {
    fn default() -> Self {
        Self { calls_per_minute: 600, burst: 20, calls_at_once: u32::MAX }
    }
}

/// Lines that are kept free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserve {
    /// For urgent messages.
    pub urgent: u32,
    /// For calls that come in.
    pub incoming: u32,
}

/// A line, as far as it matters for who gets it.
#[derive(Debug, Clone)]
pub struct LineTerms {
    /// Its name.
    pub name: Name,
    /// What its calls are charged by, if anything.
    pub tariff: Option<Arc<Tariff>>,
    /// It only rings: for terminals whose route names it, and no others.
    pub is_ring_only: bool,
}

/// Everything dispatch is told once.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Retries.
    pub retry: RetryRules,
    /// No storm.
    pub storm: StormRules,
    /// Lines kept free.
    pub reserve: Reserve,
    /// A message with which so many calls broke is left out, if others got through on those calls.
    pub breaks_max: u8,
    /// A bulk message waits no longer than this for a cheap window.
    pub bulk_wait: Duration,
    /// The lines.
    pub lines: Vec<LineTerms>,
    /// The lines of each [`Route`], from 1 on.
    pub routes: Vec<BTreeSet<Name>>,
}

impl Rules {
    /// The defaults, without a line.
    pub fn new(retry: RetryRules) -> Self {
        Self {
            retry,
            storm: StormRules::default(),
            reserve: Reserve::default(),
            breaks_max: 3,
            bulk_wait: Duration::from_secs(24 * 3600),
            lines: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// The lines that reach a terminal: a place in [`Rules::routes`], counted from 1, or all lines that do more than ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route(pub u16);

impl Route {
    /// Every line that does more than ring.
    pub const ALL: Self = Self(0);
}

/// When and how a terminal may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Hours of the week.
    pub hours: Hours,
    /// Days on which it is not called at all.
    pub closed: BTreeSet<Date>,
    /// The lines that reach it.
    pub route: Route,
}

impl Conditions {
    /// How long until it may be called: nothing if it may be now.
    pub fn until_open(&self, local: DateTime) -> Duration {
        let mut day = local;
        // More closed days in a row than that: look again then.
        for _ in 0..14 {
            if self.closed.contains(&day.date()) {
                match day.date().tomorrow() {
                    Ok(tomorrow) => day = tomorrow.at(0, 0, 0, 0),
                    Err(_) => break,
                }
                continue;
            }
            let minutes = self.hours.minutes_until(week_minute(day));
            if minutes == 0 {
                break;
            }
            let opens = start_of_minute(day).saturating_add(SignedDuration::from_mins(i64::from(minutes)));
            if opens.date() == day.date() || !self.closed.contains(&opens.date()) {
                day = opens;
                break;
            }
            day = opens;
        }
        Duration::try_from(local.duration_until(day)).unwrap_or_default()
    }
}

/// The minute of the week that it is.
pub(crate) fn week_minute(local: DateTime) -> WeekMinute {
    let unsigned = |part: i8| u8::try_from(part).unwrap_or_default();
    WeekMinute::new(unsigned(local.weekday().to_monday_zero_offset()), unsigned(local.hour()), unsigned(local.minute()))
}

fn start_of_minute(local: DateTime) -> DateTime {
    local.date().at(local.hour(), local.minute(), 0, 0)
}

/// Something that waits for a terminal.
#[derive(Debug, Clone)]
pub struct Demand {
    /// The terminal.
    pub terminal: TerminalId,
    /// When and how it may be called; `None`: it has no number.
    pub conditions: Option<Arc<Conditions>>,
    /// That of the most urgent message.
    pub urgency: Urgency,
    /// When the first of them is worth nothing any more.
    pub deadline: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(hours: &[&str], closed: &[&str], local: &str) -> Duration {
        let hours = Hours(hours.iter().map(|window| window.parse().unwrap()).collect());
        let closed = closed.iter().map(|date| date.parse().unwrap()).collect();
        let conditions = Conditions { hours, closed, route: Route::ALL };
        conditions.until_open(local.parse().unwrap())
    }

    const HOUR: u64 = 3600;

    #[test]
    fn a_terminal_waits_for_its_hours_and_over_its_closed_days() {
        let office = &["mon-fri 08:00-18:00"][..];
        // 2026-11-24 is a Tuesday.
        assert_eq!(wait(office, &[], "2026-11-24T08:00:00"), Duration::ZERO);
        assert_eq!(wait(office, &[], "2026-11-24T07:59:30"), Duration::from_secs(30));
        assert_eq!(wait(office, &["2026-11-24"], "2026-11-24T12:00:00"), Duration::from_secs(20 * HOUR));
        assert_eq!(wait(office, &["2026-11-25"], "2026-11-24T18:00:00"), Duration::from_secs((6 + 24 + 8) * HOUR));
        assert_eq!(wait(&[], &["2026-11-24"], "2026-11-24T23:00:00"), Duration::from_secs(HOUR));
        assert_eq!(wait(office, &["2026-11-30"], "2026-11-27T18:00:00"), Duration::from_secs((6 + 3 * 24 + 8) * HOUR));
    }

    #[test]
    fn what_is_waited_for_is_open() {
        let texts: &[&[&str]] = &[&["mon-fri 08:00-18:00"], &["fri 22:00-06:00"], &[]];
        for windows in texts {
            let hours = Hours(windows.iter().map(|window| window.parse().unwrap()).collect());
            let closed = ["2026-11-24", "2026-11-27", "2026-11-28"].map(|date| date.parse().unwrap());
            let conditions = Conditions { hours, closed: closed.into(), route: Route::ALL };
            let mut local: DateTime = "2026-11-20T00:00:17".parse().unwrap();
            for _ in 0..400 {
                let wait = SignedDuration::try_from(conditions.until_open(local)).unwrap();
                assert_eq!(conditions.until_open(local.saturating_add(wait)), Duration::ZERO, "{windows:?} {local}");
                local = local.saturating_add(SignedDuration::from_mins(37));
            }
        }
    }
}
