//! Why a terminal is not called yet, what comes next, and when.

use std::fmt;
use std::time::{Duration, Instant};

use delivery::{TerminalId, Urgency};
use jiff::SignedDuration;

use super::Dispatch;
use super::rules::{Moment, Route};
use super::terminal::{Rest, State};
use model::directory::Name;

/// What a terminal waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No message is due, as far as dispatch knows.
    Nothing,
    /// A free line; the number of terminals before it in the queue.
    Line {
        /// Position in the queues.
        before: usize,
    },
    /// The storm limit: too many calls began recently, or are in progress.
    Storm,
    /// See [`Rest`].
    Rest(Rest),
    /// A call to it is in progress.
    Calling,
    /// It is connected: due messages are being delivered.
    Connected,
    /// The operator, who paused it.
    Paused,
}

/// Why a terminal is not called yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The reason.
    pub why: Why,
    /// Earliest time of the next call, if known.
    pub next: Option<Instant>,
    /// Failed calls in a row.
    pub failures: u8,
    /// Urgency of the most urgent message.
    pub urgency: Option<Urgency>,
    /// Today is a day without calls.
    pub is_closed_day: bool,
}

impl Dispatch {
    /// The reason why a terminal is not called yet, and the time at which that ends.
    pub fn explain(&self, terminal: TerminalId, now: Moment) -> Waiting {
        let series = self.series.get(&terminal);
        let failures = series.map_or(0, |series| series.failures);
        let Some(found) = self.terminals.get(&terminal) else {
            return Waiting {
                why: Why::Nothing,
                next: None,
                failures,
                urgency: None,
                is_closed_day: false,
            };
        };
        let (why, next) = match found.state {
            State::Calling { .. } => (Why::Calling, None),
            State::Connected { .. } => (Why::Connected, None),
            State::Paused => (Why::Paused, None),
            State::Resting { until, why } => {
                // A pause that ends outside the hours is followed by the wait for the hours.
                let ends = until.saturating_duration_since(now.at);
                let open = found
                    .conditions
                    .as_ref()
                    .map_or(Duration::ZERO, |conditions| {
                        let ends = SignedDuration::try_from(ends).unwrap_or_default();
                        let wall = now.wall.checked_add(ends).unwrap_or(now.wall);
                        conditions.until_open(&self.zoned(wall))
                    });
                (Why::Rest(why), Some(until + open))
            }
            State::Due => {
                if let Some(rest) = self.not_now(terminal, found, now) {
                    (Why::Rest(rest.1), Some(rest.0))
                } else if self
                    .lines
                    .has_free(found.route(), found.urgency, self.reserve)
                {
                    (Why::Storm, self.storm.ready_at(now.at))
                } else {
                    let place = (found.urgency, found.number, terminal);
                    let before = self.queue.places().partition_point(|other| *other < place);
                    (Why::Line { before }, None)
                }
            }
        };
        let today = self.zoned(now.wall).date();
        let is_closed_day = found
            .conditions
            .as_ref()
            .is_some_and(|conditions| conditions.closed.contains(&today));
        Waiting {
            why,
            next,
            failures,
            urgency: Some(found.urgency),
            is_closed_day,
        }
    }

    /// The lines that reach a due terminal.
    pub fn lines_to(&self, terminal: TerminalId) -> Vec<&Name> {
        self.terminals
            .get(&terminal)
            .map_or_else(Vec::new, |found| self.lines.on(found.route()))
    }

    /// The lines of a route.
    pub fn lines_on(&self, route: Route) -> Vec<&Name> {
        self.lines.on(route)
    }

    /// The line of a terminal's call, or of its next call.
    pub fn likely_line(&self, terminal: TerminalId) -> Option<&Name> {
        let found = self.terminals.get(&terminal)?;
        let line = match found.state {
            State::Calling { line }
            | State::Connected {
                line: Some(line), ..
            } => Some(line),
            State::Connected { line: None, .. } => None,
            _ => self.lines.likely(
                found.route(),
                self.last_calls.get(&terminal).and_then(|last| last.line),
            ),
        };
        line.map(|line| self.lines.name(line))
    }

    /// Every terminal that is not idle, in the order of their calls.
    pub fn agenda(&self) -> Vec<TerminalId> {
        let mut all: Vec<_> = self
            .terminals
            .iter()
            .map(|(terminal, found)| {
                let rank = match found.state {
                    State::Calling { .. } | State::Connected { .. } => (0, None),
                    State::Due => (1, None),
                    State::Resting { until, .. } => (2, Some(until)),
                    State::Paused => (3, None),
                };
                (rank, found.urgency, found.number, *terminal)
            })
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(.., terminal)| terminal).collect()
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is due"),
            Self::Line { before } => write!(f, "waiting for a line; ahead of it: {before}"),
            Self::Storm => f.write_str("the limit of calls is reached"),
            Self::Rest(rest) => write!(f, "{rest}"),
            Self::Calling => f.write_str("being called"),
            Self::Connected => f.write_str("connected"),
            Self::Paused => f.write_str("calls failed for days: resume it when the cause is found"),
        }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BackingOff => "backing off after a failed call",
            Self::Redials => "redial limit reached",
            Self::ModemLimit => "the modem may not redial yet",
            Self::HangingUp => "its last call has just ended",
            Self::Hours => "outside its hours",
            Self::Price => "waiting for a cheap hour or the next call",
            Self::Budget => "the budget is spent",
            Self::Session => "rung; expected to connect over its own Internet access",
        })
    }
}
