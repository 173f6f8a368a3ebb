//! Why an envelope waits, and what happens next. Pure.
//!
//! What the directory and the call records tell; when the next call is to be is known to dispatch alone.

use jiff::Timestamp;

use crate::directory::{CallRecord, Connection, Terminal};
use crate::store::EnvelopeEntry;

/// Why an envelope waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// In words.
    pub reason: String,
    /// When something happens next, if that is known.
    pub next_at: Option<Timestamp>,
}

impl Waiting {
    /// From the state of its terminal, and of the calls with it since the message was accepted, oldest first.
    pub fn of(envelope: &EnvelopeEntry, terminal: Option<&Terminal>, calls: &[CallRecord]) -> Self {
        let reason = match (terminal, &envelope.under_way) {
            (_, Some(call)) => format!("it is being delivered just now, on call {call}"),
            (None, None) => "its terminal is not in the directory".to_owned(),
            (Some(terminal), None) => match terminal.connection {
                Connection::Calling(call) => format!("the terminal is being called (call {call})"),
                Connection::Connected(call) => {
                    format!("the terminal is connected, and brought what waits in turn (call {call})")
                }
                Connection::Down if terminal.number.is_none() => {
                    "the terminal has no number: it must connect by itself".to_owned()
                }
                Connection::Down => match calls.last().and_then(|call| call.outcome.as_deref()) {
                    Some("completed") => {
                        "the terminal is to be called again: this was not delivered on the last call".to_owned()
                    }
                    Some(outcome) => {
                        format!("the last call with the terminal came to nothing ({outcome}); it is to be called again")
                    }
                    None => "the terminal is to be called, as soon as a line is free".to_owned(),
                },
            },
        };
        Self { reason, next_at: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Direction;

    fn waits(connection: Connection, number: Option<&str>, outcome: Option<&str>) -> String {
        let terminal = Terminal {
            id: delivery::TerminalId::from_octets([1; 8]),
            name: "owner".parse().unwrap(),
            number: number.map(|number| number.parse().unwrap()),
            address: None,
            connection,
        };
        let envelope = EnvelopeEntry {
            terminal: "owner".to_owned(),
            under_way: None,
            verdict: None,
            reason: None,
            call: None,
            at: None,
            deliveries: vec![],
        };
        let calls = outcome.map(|outcome| CallRecord {
            outcome: Some(outcome.to_owned()),
            ..CallRecord::begin(
                Direction::Outgoing,
                "a".parse().unwrap(),
                Some("301".parse().unwrap()),
                "owner".parse().unwrap(),
            )
        });
        Waiting::of(&envelope, Some(&terminal), calls.as_slice()).reason
    }

    #[test]
    fn each_state_of_a_terminal_has_a_reason_of_its_own() {
        let call = line::CallId::now();
        for (connection, number, outcome, says) in [
            (Connection::Down, Some("301"), None, "as soon as a line is free"),
            (Connection::Down, Some("301"), Some("busy"), "came to nothing (busy)"),
            (Connection::Down, Some("301"), Some("completed"), "not delivered on the last call"),
            (Connection::Down, None, None, "no number"),
            (Connection::Calling(call), Some("301"), Some("busy"), "being called"),
            (Connection::Connected(call), None, None, "is connected"),
        ] {
            let reason = waits(connection, number, outcome);
            assert!(reason.contains(says), "{reason:?} does not say {says:?}");
        }
    }
}
