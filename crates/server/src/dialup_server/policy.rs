//! Who is asked about the lines' calls at a dial-up server: the information server, over the trunk.

use std::sync::Arc;
use std::time::Duration;

use delivery::TerminalId;
use jiff::Timestamp;
use line::{CallId, Caller, Home, Ring};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::DialupConfig;
use super::calls::Calls;
use super::relay::Relay;
use crate::dialup::line_link::Meter;
use crate::dialup::line_task::{Attempt, CallPolicy, Order, SessionResult};
use crate::dialup::{Allowance, LineConfig, LineState};
use crate::trunk::words::{Ended, FarEnd};
use model::call::{CallRecord, Direction};
use model::causes::with_causes;
use model::directory::Name;
use model::outcome::Outcome;

/// Longest incoming call, whatever the information server says: nobody pays for it here, but it keeps a line.
const INCOMING_LONGEST: Duration = Duration::from_secs(4 * 3600);

pub(super) struct LineHandle {
    pub(super) orders: mpsc::Sender<Order<FarEnd>>,
    pub(super) dial_prefix: String,
}

pub(super) struct TrunkPolicy {
    pub(super) calls: Arc<Calls>,
    pub(super) config: Arc<DialupConfig>,
}

impl CallPolicy for TrunkPolicy {
    type Peer = FarEnd;

    fn home(&self) -> Option<Home> {
        self.config.home
    }

    async fn line_is(&self, line: &LineConfig, state: LineState, fault: Option<String>) {
        if let Some(fault) = &fault {
            tracing::warn!(line = %line.name, port = %line.port, fault, "line out of order");
        }
        self.calls.line(&line.name, state, fault);
    }

    async fn screen(&self, line: &LineConfig, ring: &Ring) -> Option<(CallRecord, FarEnd)> {
        let call = CallId::now();
        let Some(far_end) = self.calls.ask(call, &line.name, ring).await else {
            self.calls.ring_refused(&line.name);
            tracing::warn!(line = %line.name, caller = ?ring.caller, "ring not answered");
            return None;
        };
        let number = match &ring.caller {
            Caller::Number(number) => Some(number.clone()),
            Caller::Withheld | Caller::Absent => None,
        };
        let party = far_end.party.parse().ok()?;
        match self.calls.begin(call, INCOMING_LONGEST, None) {
            Ok(true) => {}
            Ok(false) => return None, // an id that was just made is known to nobody
            Err(error) => {
                tracing::error!(line = %line.name, error = with_causes(&error), "ring not answered");
                return None;
            }
        }
        let mut record = CallRecord::begin(
            CallId::now(),
            Timestamp::now(),
            Direction::Incoming,
            line.name.clone(),
            number,
            party,
        );
        record.id = call;
        self.calls.record(&record);
        Some((record, far_end))
    }

    fn hang_up(&self, call: CallId) -> CancellationToken {
        self.calls.hang_up(call)
    }

    fn hung_up(&self, call: CallId) -> Outcome {
        self.calls.hung_up(call)
    }

    async fn session(
        &self,
        line: &LineConfig,
        call: line::Call,
        peer: FarEnd,
        attempt: &mut Attempt,
        allowance: Option<Allowance>,
    ) -> SessionResult {
        let allowance = allowance.unwrap_or(Allowance {
            longest: INCOMING_LONGEST,
            octets: u64::MAX,
            linger: None,
        });
        self.calls.record(&attempt.record);
        let relay = Relay {
            calls: self.calls.clone(),
            config: self.config.clone(),
            line: line.name.clone(),
            delay: line.delay,
            record: attempt.record.clone(),
            far_end: peer,
            meter: Meter {
                began: attempt.began,
                allowance: Some(allowance),
            },
        };
        relay.run(call).await
    }

    /// Terminals connect to the information server, which hangs up the ring when one has come.
    async fn has_come(&self, _: Option<TerminalId>) {
        std::future::pending::<()>().await;
    }

    async fn ended(&self, attempt: Attempt, outcome: Outcome, lasted: Duration) {
        self.calls.record(&attempt.record);
        let (how, why) = Ended::words(&outcome);
        let ended_at = attempt.record.moment(lasted);
        let CallRecord {
            id,
            connected_at,
            octets_out,
            octets_in,
            ..
        } = attempt.record;
        let lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        self.calls.ended(
            id,
            Ended {
                how,
                why,
                connected_at,
                ended_at,
                lasted_ms,
                octets_out,
                octets_in,
            },
        );
    }
}

/// The record of a call that is to be placed for the information server.
pub(super) fn outgoing(call: CallId, line: Name, number: line::Number, party: Name) -> CallRecord {
    CallRecord::begin(
        call,
        Timestamp::now(),
        Direction::Outgoing,
        line,
        Some(number),
        party,
    )
}
