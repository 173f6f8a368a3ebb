//! What is said on a trunk, as JSON: requests, and events, one a line.

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;
use line::{Caller, Ring};
use serde::{Deserialize, Serialize};

use crate::dialup::LineState;
use model::outcome::{Kind, Outcome};

/// Octets of a request, and of an event's line.
pub(crate) const WORDS_OCTETS_MAX: usize = 4096;

/// Octets kept of a reason.
const REASON_OCTETS_MAX: usize = 500;

/// Whom a call is with, as far as PPP needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FarEnd {
    /// Its name in the directory, for the log, and its user name for CHAP.
    pub(crate) party: String,
    /// Its address; `None`: one of the dial-up server's pool.
    pub(crate) address: Option<Ipv4Addr>,
    /// The secret with which it has to pass CHAP, if it is a stock terminal with one.
    pub(crate) chap: Option<String>,
}

/// `PUT /calls/ID`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceCall {
    /// The dial-up server's name for the line.
    pub(crate) line: String,
    pub(crate) number: String,
    pub(crate) far_end: FarEnd,
    /// From the dial command to CONNECT.
    pub(crate) timeout_ms: u64,
    /// Longest time from the dial command until it is on hook again.
    pub(crate) longest_ms: u64,
    /// Octets that it may carry, both ways; `None`: any number.
    pub(crate) octets: Option<u64>,
}

/// One line of `GET /events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A line does this.
    Line {
        line: String,
        state: LineState,
        fault: Option<String>,
    },
    /// It rings. Unless it is answered soon nobody picks up.
    Ring {
        call: String,
        line: String,
        ring: RingSeen,
    },
    /// A call is here.
    Call { call: String, state: CallState },
    /// Everything that is so has been told; from here on, what changes.
    AllTold,
}

/// A ring, as [`Ring`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RingSeen {
    caller: CallerSeen,
    /// See [`Ring::others`].
    #[serde(default)]
    others: Vec<String>,
    is_no_data: bool,
}

/// Other numbers that a caller's may be a spelling of: a numbering plan gives half as many.
const OTHERS_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum CallerSeen {
    Number(String),
    Withheld,
    Absent,
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CallState {
    /// It is being dialled or answered.
    Begun,
    /// IP is up.
    Up(LinkUp),
    /// It is over.
    Ended(Ended),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkUp {
    pub(crate) rate_bps: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) octets_out: u64,
    pub(crate) octets_in: u64,
    pub(crate) flights: u64,
}

/// The record of a call that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// The word of a [`Kind`], or [`CLOSED`].
    pub(crate) how: String,
    pub(crate) why: String,
    /// When CONNECT came.
    pub(crate) connected_at: Option<Timestamp>,
    pub(crate) ended_at: Timestamp,
    /// From the dial command, or the answer, to on hook.
    pub(crate) lasted_ms: u64,
    pub(crate) octets_out: u64,
    pub(crate) octets_in: u64,
}

/// What stands for a kind where a link ended in order.
const CLOSED: &str = "closed";

impl Ended {
    /// The words for an outcome that a dial-up server can have.
    pub(crate) fn words(outcome: &Outcome) -> (String, String) {
        let why = match outcome {
            Outcome::LineFailed(why)
            | Outcome::LinkFailed(why)
            | Outcome::NotProved(why)
            | Outcome::OurFault(why) => why.clone(),
            Outcome::SessionLost { why, .. } => why.clone(),
            Outcome::Idle(why) => (*why).to_owned(),
            Outcome::Completed => "closed in order".to_owned(),
            _ => String::new(),
        };
        let how = if *outcome == Outcome::Completed {
            CLOSED
        } else {
            outcome.kind().as_str()
        };
        (
            how.to_owned(),
            why.chars().take(REASON_OCTETS_MAX / 4).collect(),
        )
    }

    /// The outcome, if no session of ours says it better.
    pub(crate) fn outcome(&self) -> Outcome {
        let plain = [
            Outcome::Busy,
            Outcome::NoAnswer,
            Outcome::Rung,
            Outcome::NoCarrier,
            Outcome::NotData,
            Outcome::NoDialTone,
            Outcome::LineInUse,
            Outcome::RedialLimited,
            Outcome::Blacklisted,
            Outcome::DialRefused,
            Outcome::LineTaken,
            Outcome::AllowanceSpent,
            Outcome::EndedByOperator,
        ];
        let kind = self.how.parse::<Kind>().ok();
        if let Some(found) = plain
            .into_iter()
            .find(|outcome| Some(outcome.kind()) == kind)
        {
            return found;
        }
        // The words are the dial-up server's: bounded here, and escaped where they are shown.
        let why: String = self.why.chars().take(REASON_OCTETS_MAX).collect();
        match kind {
            Some(Kind::LineFailed) => Outcome::LineFailed(why),
            Some(Kind::LinkFailed) => Outcome::LinkFailed(why),
            Some(Kind::NotProved) => Outcome::NotProved(why),
            Some(Kind::Idle) => Outcome::Idle("the far end fell silent"),
            Some(Kind::SessionLost) => Outcome::SessionLost {
                why: format!("link ended: {why}"),
                delivering: None,
            },
            _ if self.is_orderly() => Outcome::SessionLost {
                why: format!("link ended: {why}"),
                delivering: None,
            },
            _ => Outcome::OurFault(format!("dial-up server: {why}")),
        }
    }

    /// Whether PPP ended it, by whichever end.
    pub(crate) fn is_orderly(&self) -> bool {
        self.how == CLOSED
    }

    /// Whether its carrier was lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.how.parse() == Ok(Kind::SessionLost)
    }

    /// Whether it ended as the far end would have it: not by a fault of the dial-up server's, nor before there was a call.
    pub(crate) fn is_about_caller(&self) -> bool {
        self.connected_at.is_some()
            && !matches!(
                self.outcome(),
                Outcome::OurFault(_) | Outcome::AllowanceSpent
            )
    }

    pub(crate) fn lasted(&self) -> Duration {
        Duration::from_millis(self.lasted_ms)
    }
}

impl From<&Ring> for RingSeen {
    fn from(ring: &Ring) -> Self {
        let caller = match &ring.caller {
            Caller::Number(number) => CallerSeen::Number(number.to_string()),
            Caller::Withheld => CallerSeen::Withheld,
            Caller::Absent => CallerSeen::Absent,
        };
        let others = ring
            .others
            .iter()
            .map(line::Number::to_string)
            .take(OTHERS_MAX)
            .collect();
        Self {
            caller,
            others,
            is_no_data: ring.is_no_data,
        }
    }
}

impl RingSeen {
    /// What is no number counts as none.
    pub(crate) fn ring(&self) -> Ring {
        let caller = match &self.caller {
            CallerSeen::Number(number) => number.parse().map_or(Caller::Absent, Caller::Number),
            CallerSeen::Withheld => Caller::Withheld,
            CallerSeen::Absent => Caller::Absent,
        };
        let others = self
            .others
            .iter()
            .take(OTHERS_MAX)
            .filter_map(|number| number.parse().ok())
            .collect();
        Ring {
            caller,
            others,
            is_no_data: self.is_no_data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: &Outcome) -> Ended {
        let (how, why) = Ended::words(outcome);
        let ended_at = Timestamp::UNIX_EPOCH;
        Ended {
            how,
            why,
            connected_at: None,
            ended_at,
            lasted_ms: 1,
            octets_out: 0,
            octets_in: 0,
        }
    }

    #[test]
    fn an_outcome_of_a_line_is_the_same_on_the_other_side_of_a_trunk() {
        for outcome in [
            Outcome::Busy,
            Outcome::NoCarrier,
            Outcome::LineTaken,
            Outcome::Rung,
            Outcome::AllowanceSpent,
            Outcome::EndedByOperator,
            Outcome::LineFailed("gone".into()),
            Outcome::LinkFailed("no answer".into()),
            Outcome::NotProved("chap".into()),
        ] {
            assert_eq!(ended(&outcome).outcome(), outcome);
        }
        assert!(ended(&Outcome::Completed).is_orderly());
    }

    #[test]
    fn a_ring_is_the_same_on_the_other_side_of_a_trunk() {
        let caller = Caller::Number("6612345670".parse().unwrap());
        let ring = Ring::new(caller, false).at(Some("DE".parse().unwrap()));
        assert!(!ring.others.is_empty());
        let said = serde_json::to_string(&RingSeen::from(&ring)).unwrap();
        assert_eq!(
            serde_json::from_str::<RingSeen>(&said).unwrap().ring(),
            ring
        );
        let before: RingSeen =
            serde_json::from_str(r#"{"caller":"withheld","is_no_data":false}"#).unwrap();
        assert_eq!(before.ring(), Ring::new(Caller::Withheld, false));
    }

    #[test]
    fn words_that_are_not_known_are_nobodys_success() {
        let absurd = Ended {
            how: "completed".into(),
            why: "a\nb".repeat(1000),
            ..ended(&Outcome::Busy)
        };
        let Outcome::OurFault(why) = absurd.outcome() else {
            panic!("{:?}", absurd.outcome())
        };
        assert!(why.len() < 600);
    }
}
