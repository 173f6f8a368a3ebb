//! What dispatch goes by: the operator's settings.

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
        Self {
            calls_per_minute: 600,
            burst: 20,
            calls_at_once: u32::MAX,
        }
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
    /// Where the lines are: hours and prices are by its clocks.
    pub zone: TimeZone,
    /// The lines.
    pub lines: Vec<LineTerms>,
    /// The lines of each [`Route`], from 1 on.
    pub routes: Vec<BTreeSet<Name>>,
}

impl Rules {
    /// The defaults, without a line, by UTC.
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
    /// Whether it may be called at any time.
    pub(super) fn are_always(&self) -> bool {
        self.hours.0.is_empty() && self.closed.is_empty()
    }

    /// How long until it may be called: nothing if it may be now.
    pub fn until_open(&self, now: &Zoned) -> Duration {
        let opens = self
            .hours
            .next_open(now, |date| self.closed.contains(&date));
        Duration::try_from(opens.timestamp().duration_since(now.timestamp())).unwrap_or_default()
    }
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
    pub deadline: Option<Timestamp>,
}
