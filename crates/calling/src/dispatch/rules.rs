//! The settings of dispatch, as the operator made them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::{TerminalId, Urgency};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use line::Hours;

use crate::ledger::Tariff;
use model::directory::Name;

/// One moment, on the clock that never jumps and on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For pauses and deadlines.
    pub at: Instant,
    /// For hours and prices, by the calendar of [`Rules::zone`].
    pub wall: Timestamp,
}

/// Retry pauses after failed calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRules {
    /// Retry pause after the first failure; doubled with each further failure, at most `longest`.
    pub first: Duration,
    /// Longest retry pause.
    pub longest: Duration,
    /// Redial limits for a number that does not answer.
    pub redials: RedialRules,
    /// Time in which a terminal that was rung must connect over its own Internet access.
    pub session_wait: Duration,
}

/// The strictest rule known (Japan's for terminals): two redials within three minutes, 15 in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedialRules {
    /// At most three calls, the first and [`REDIALS_MAX`](super::REDIALS_MAX) more, in any stretch of this length.
    pub within: Duration,
    /// Maximum number of redials
    pub in_all: u8,
    /// until no call was made to the number for this long.
    pub rest: Duration,
    /// Pause for a number that the modem refused to dial.
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

/// Limits that keep calls from coming all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StormRules {
    /// Sustained calls per minute; at least 1.
    pub calls_per_minute: u32,
    /// Burst of calls above the sustained rate; at least 1.
    pub burst: u32,
    /// Concurrent calls.
    pub calls_at_once: u32,
}

impl Default for StormRules {
    fn default() -> Self {
        Self {
            calls_per_minute: 600,
            burst: 20,
            calls_at_once: u32::MAX,
        }
    }
}

/// Reserved lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserve {
    /// For urgent messages.
    pub urgent: u32,
    /// For incoming calls.
    pub incoming: u32,
}

/// A line, with what its selection depends on.
#[derive(Debug, Clone)]
pub struct LineTerms {
    /// Its name.
    pub name: Name,
    /// The tariff of its calls, if any.
    pub tariff: Option<Arc<Tariff>>,
    /// Ring-only: serves only terminals whose route names it.
    pub is_ring_only: bool,
}

/// All settings of dispatch.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Retries.
    pub retry: RetryRules,
    /// Limits against a storm of calls.
    pub storm: StormRules,
    /// Reserved lines.
    pub reserve: Reserve,
    /// Calls that break with a message, while others got through on them, before it is quarantined.
    pub breaks_max: u8,
    /// Longest wait of a bulk message for a cheap window.
    pub bulk_wait: Duration,
    /// Time zone of the lines: hours and prices follow it.
    pub zone: TimeZone,
    /// The lines.
    pub lines: Vec<LineTerms>,
    /// The lines of each [`Route`], counted from 1.
    pub routes: Vec<BTreeSet<Name>>,
}

impl Rules {
    /// The defaults: no line, UTC.
    pub fn new(retry: RetryRules) -> Self {
        Self {
            retry,
            storm: StormRules::default(),
            reserve: Reserve::default(),
            breaks_max: 3,
            bulk_wait: Duration::from_secs(24 * 3600),
            zone: TimeZone::UTC,
            lines: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// The lines that reach a terminal: an index into [`Rules::routes`], counted from 1, or all lines that are not
/// ring-only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route(pub u16);

impl Route {
    /// Every line that is not ring-only.
    pub const ALL: Self = Self(0);
}

/// When and how a terminal may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Hours of the week.
    pub hours: Hours,
    /// Days without calls.
    pub closed: BTreeSet<Date>,
    /// The lines that reach it.
    pub route: Route,
}

impl Conditions {
    /// Whether it may be called at any time.
    pub(super) fn are_always(&self) -> bool {
        self.hours.0.is_empty() && self.closed.is_empty()
    }

    /// Time until it may be called; zero if it may be called now.
    pub fn until_open(&self, now: &Zoned) -> Duration {
        let opens = self
            .hours
            .next_open(now, |date| self.closed.contains(&date));
        Duration::try_from(opens.timestamp().duration_since(now.timestamp())).unwrap_or_default()
    }
}

/// A terminal with waiting messages.
#[derive(Debug, Clone)]
pub struct Demand {
    /// The terminal.
    pub terminal: TerminalId,
    /// When and how it may be called; `None`: it has no number.
    pub conditions: Option<Arc<Conditions>>,
    /// Urgency of the most urgent message.
    pub urgency: Urgency,
    /// Earliest expiry of them.
    pub deadline: Option<Timestamp>,
}
