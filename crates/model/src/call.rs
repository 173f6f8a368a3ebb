//! Calls: one record each.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use line::{CallId, Number};
use serde::{Serialize, Serializer};

use crate::directory::Name;
use crate::outcome::{Kind, Outcome};

/// Which way a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// We called.
    Outgoing,
    /// It came in.
    Incoming,
}

/// One call, for the operator. Exactly one for each [`CallId`].
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// The call.
    #[serde(serialize_with = "as_text")]
    pub id: CallId,
    /// Which way.
    pub direction: Direction,
    /// What it went over.
    #[serde(rename = "line", serialize_with = "as_text")]
    pub via: Via,
    /// The number dialled, or the number presented by the caller; of a session without a call the terminal's, if it has one.
    #[serde(serialize_with = "as_text_if_any")]
    pub number: Option<Number>,
    /// The terminal or provider that the number belonged to.
    #[serde(serialize_with = "as_text")]
    pub party: Name,
    /// When it was placed or came in.
    pub placed_at: Timestamp,
    /// When CONNECT came: from here on it is paid for.
    pub connected_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// How it ended, in words for people; `None` while it lasts.
    pub outcome: Option<String>,
    /// How it ended, for programs; `None` while it lasts, and in records of versions before there were kinds.
    pub kind: Option<Kind>,
    /// Octets we sent on the line.
    pub octets_out: u64,
    /// Octets we received on the line.
    pub octets_in: u64,
}

/// What a call, or a session without one, goes over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// A line of ours.
    Line(Name),
    /// The terminal's own Internet access: no line, no price.
    Internet,
}

impl Via {
    /// The line, if it is one.
    pub fn line(&self) -> Option<&Name> {
        match self {
            Self::Line(line) => Some(line),
            Self::Internet => None,
        }
    }
}

impl From<Name> for Via {
    fn from(line: Name) -> Self {
        Self::Line(line)
    }
}

/// For records, screens and metrics.
impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => line.fmt(f),
            Self::Internet => f.write_str("internet"),
        }
    }
}

impl CallRecord {
    /// The record of a call that begins at `placed_at`.
    pub fn begin(
        id: CallId,
        placed_at: Timestamp,
        direction: Direction,
        via: impl Into<Via>,
        number: Option<Number>,
        party: Name,
    ) -> Self {
        Self {
            id,
            direction,
            via: via.into(),
            number,
            party,
            placed_at,
            connected_at: None,
            ended_at: None,
            outcome: None,
            kind: None,
            octets_out: 0,
            octets_in: 0,
        }
    }

    /// The moment this time after it was placed. A wall clock that is set during the call makes no part of it negative.
    pub fn moment(&self, after: Duration) -> Timestamp {
        let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
        self.placed_at.checked_add(after).unwrap_or(Timestamp::MAX)
    }

    /// It is over, this time after it was placed.
    pub fn end(&mut self, outcome: &Outcome, lasted: Duration) {
        let ended_at = self.moment(lasted);
        self.connected_at = self
            .connected_at
            .map(|at| at.clamp(self.placed_at, ended_at));
        self.ended_at = Some(ended_at);
        self.outcome = Some(outcome.to_string());
        self.kind = Some(outcome.kind());
    }
}

fn as_text_if_any<S: Serializer>(value: &Option<Number>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(Number::as_str).serialize(serializer)
}

fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_no_negative_part_however_the_clock_was_set() {
        let name = || "owner".parse::<Name>().unwrap();
        let mut record = CallRecord::begin(
            CallId::now(),
            Timestamp::now(),
            Direction::Outgoing,
            name(),
            None,
            name(),
        );
        let placed_at = record.placed_at;
        // As a far end says it, or as it was when the clock was an hour ahead.
        for connected_at in [
            Timestamp::MIN,
            placed_at - SignedDuration::from_hours(1),
            Timestamp::MAX,
        ] {
            record.connected_at = Some(connected_at);
            record.end(&Outcome::Completed, Duration::from_secs(20));
            let (connected_at, ended_at) = (record.connected_at.unwrap(), record.ended_at.unwrap());
            assert!(
                placed_at <= connected_at && connected_at <= ended_at,
                "{connected_at}"
            );
            assert_eq!(ended_at.duration_since(placed_at).as_secs(), 20);
        }
    }
}
