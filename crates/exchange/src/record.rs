//! One record for each call: who called whom, how it ended, what it would cost.

use crate::tariff::{Micros, Payer};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Names a call; unique within one run of the exchange, and ascending in the order the calls were placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub(crate) u64);

impl fmt::Display for CallId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Answered, and the modems connected.
    Completed,
    /// Answered, but hung up before the modems connected.
    NoCarrier,
    /// The called station was off hook or already ringing.
    Busy,
    /// The called station refused it while it rang (ISDN, GSM); the caller hears busy.
    Refused,
    /// It rang until the caller's modem or the exchange gave up.
    NoAnswer,
    /// The caller hung up, or pressed a key, while it rang.
    Abandoned,
    /// No station has the number.
    UnknownNumber,
    /// The called station is out of service.
    OutOfService,
    /// The line was cut under the call by [`Input::Cut`](crate::Input::Cut).
    Cut,
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Completed => "completed",
            Self::NoCarrier => "no_carrier",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::NoAnswer => "no_answer",
            Self::Abandoned => "abandoned",
            Self::UnknownNumber => "unknown_number",
            Self::OutOfService => "out_of_service",
            Self::Cut => "cut",
        })
    }
}

/// Who ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The station that placed the call, or its modem's timer.
    Caller,
    /// The station that was called, or its modem's timer.
    Called,
    /// The exchange: a call that could not be put through, was not answered in time, or was cut.
    Exchange,
}

impl fmt::Display for EndedBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Caller => "caller",
            Self::Called => "called",
            Self::Exchange => "exchange",
        })
    }
}

/// The one record of a call; as JSON, one object with the times in RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Which call.
    pub id: CallId,
    /// The number of the station that placed the call.
    pub caller: String,
    /// The digits that were dialled.
    pub called: String,
    /// The number that was presented to the called station; `P` if withheld, `O` if unavailable, absent if the line
    /// presents none.
    pub presented: Option<String>,
    /// When the last digit was dialled.
    pub placed: Timestamp,
    /// When the called station went off hook.
    pub answered: Option<Timestamp>,
    /// When the modems had trained; absent if they never did.
    #[serde(default)]
    pub connected: Option<Timestamp>,
    /// When the first of the two hung up.
    pub ended: Timestamp,
    /// How many times it rang.
    pub rings: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// Who ended it.
    pub ended_by: EndedBy,
    /// Octets the caller's modem put on the line.
    pub octets_from_caller: u64,
    /// Octets the called modem put on the line.
    pub octets_from_called: u64,
    /// How often the direction changed in which octets arrive, and the first; what comes beside the other direction's is of its flight.
    #[serde(default)]
    pub flights: u64,
    /// Whole seconds from answer to the first hang-up, rounded up; 0 if never answered.
    pub billed_seconds: u64,
    /// What it costs, if the caller's station has a tariff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
}

/// What a call costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// By which tariff.
    pub tariff: String,
    /// Who pays.
    pub payer: Payer,
    /// How much, in millionths of the tariff's unit.
    pub micros: Micros,
}

/// Seconds begun are seconds billed.
pub(crate) fn billed_seconds(answered_for: Duration) -> u64 {
    answered_for.as_secs() + u64::from(answered_for.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_begun_is_a_second_billed() {
        for (nanos, billed) in [
            (0, 0),
            (1, 1),
            (1_000_000_000, 1),
            (1_000_000_001, 2),
            (59_999_000_000, 60),
        ] {
            assert_eq!(
                billed_seconds(Duration::from_nanos(nanos)),
                billed,
                "{nanos}"
            );
        }
    }

    #[test]
    fn a_record_is_one_json_line_with_rfc_3339_times_and_reads_back_the_same() {
        let record = CallRecord {
            id: CallId(7),
            caller: "201".into(),
            called: "202".into(),
            presented: Some("P".into()),
            placed: "2026-11-22T19:30:00Z".parse().unwrap(),
            answered: None,
            connected: None,
            ended: "2026-11-22T19:30:05.25Z".parse().unwrap(),
            rings: 1,
            outcome: Outcome::NoAnswer,
            ended_by: EndedBy::Exchange,
            octets_from_caller: 0,
            octets_from_called: 0,
            flights: 0,
            billed_seconds: 0,
            bill: None,
        };
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.contains('\n'));
        assert!(
            line.contains(r#""ended":"2026-11-22T19:30:05.25Z""#),
            "{line}"
        );
        assert!(line.contains(r#""outcome":"no_answer""#), "{line}");
        assert_eq!(serde_json::from_str::<CallRecord>(&line).unwrap(), record);
    }
}
