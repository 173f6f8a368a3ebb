//! One call between two stations, from the last digit to the last octet.
//!
//! ```text
//!            answer            trained
//!  Ringing ─────────► Training ───────► Connected
//!     │                   │                 │
//!     │ hang-up           │ first hang-up   │ first hang-up: the record is written here
//!     ▼                   ▼                 ▼
//!    gone             Releasing ◄───────────┘
//!                         │ the loss of the carrier arrives, or the second hang-up
//!                         ▼
//!                        gone
//! ```

use crate::{
    caller_id::CallerId,
    circuit::{Circuit, Side},
    config::RingPattern,
    record::{CallId, CallRecord, EndedBy, Outcome, billed_seconds},
    station::StationId,
};
use jiff::Timestamp;
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: StationId,
    pub(crate) called: StationId,
    /// What the exchange presents of the caller; its date and time are those of the call.
    pub(crate) presented: Option<CallerId>,
    /// The number was an alias with a ring of its own.
    pub(crate) pattern: Option<RingPattern>,
    /// What was dialled.
    pub(crate) dialled: String,
    /// Dialled with `;`: the caller's modem sends no carrier.
    pub(crate) is_voice: bool,
    pub(crate) placed: Instant,
    pub(crate) answered: Option<Instant>,
    pub(crate) connected: Option<Instant>,
    pub(crate) rings: u32,
    /// Short rings before the first that counts.
    pub(crate) odd_rings: u32,
    pub(crate) arrived: Arrived,
    /// The line is cut when that many have.
    pub(crate) cut_after_octets: Option<u64>,
    pub(crate) phase: Phase,
}

/// What has come through a call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrived {
    /// Both ways together.
    pub(crate) octets: u64,
    /// Where those of the last flight came from.
    from: Option<Side>,
    /// Octets that arrive from one end begin a flight if the last one was the other end's and nothing of that is under way.
    pub(crate) flights: u64,
}

impl Arrived {
    /// `is_alone`: the other direction is idle.
    pub(crate) fn add(&mut self, from: Side, octets: usize, is_alone: bool) {
        self.octets += octets as u64;
        if self.from.is_none() || (is_alone && self.from != Some(from)) {
            self.flights += 1;
            self.from = Some(from);
        }
    }
}

#[derive(Debug)]
pub(crate) enum Phase {
    Ringing,
    Training,
    Connected(Box<Circuits>),
    /// One side has hung up; `circuit` brings the other what was in flight, then the news.
    Releasing {
        to: Side,
        circuit: Box<Circuit>,
    },
}

/// Both directions of a connected call.
#[derive(Debug)]
pub(crate) struct Circuits {
    from_caller: Circuit,
    from_called: Circuit,
}

impl Circuits {
    pub(crate) fn new(circuit: impl Fn(Side) -> Circuit) -> Self {
        Self {
            from_caller: circuit(Side::Caller),
            from_called: circuit(Side::Called),
        }
    }

    /// The direction that leaves from `side`.
    pub(crate) fn leaving(&mut self, side: Side) -> &mut Circuit {
        match side {
            Side::Caller => &mut self.from_caller,
            Side::Called => &mut self.from_called,
        }
    }

    /// In bit/s.
    pub(crate) fn rate_from(&self, side: Side) -> u32 {
        match side {
            Side::Caller => self.from_caller.rate(),
            Side::Called => self.from_called.rate(),
        }
    }

    pub(crate) fn room(&self, from: Side) -> usize {
        match from {
            Side::Caller => self.from_caller.room(),
            Side::Called => self.from_called.room(),
        }
    }

    /// Octets put on the line, from the caller and from the called.
    pub(crate) fn carried(&self) -> (u64, u64) {
        (self.from_caller.carried(), self.from_called.carried())
    }

    /// Both directions stop at `now`; returns the octets carried from the caller and from the called, and the
    /// direction from `side`.
    fn hang_up(mut self, side: Side, now: Instant) -> ((u64, u64), Circuit) {
        self.from_caller.lose_carrier(now);
        self.from_called.lose_carrier(now);
        let carried = self.carried();
        let circuit = match side {
            Side::Caller => self.from_caller,
            Side::Called => self.from_called,
        };
        (carried, circuit)
    }
}

impl Call {
    pub(crate) fn side(&self, station: StationId) -> Side {
        if station == self.caller {
            Side::Caller
        } else {
            Side::Called
        }
    }

    pub(crate) fn station(&self, side: Side) -> StationId {
        match side {
            Side::Caller => self.caller,
            Side::Called => self.called,
        }
    }

    /// The direction that leaves from `side`, if it carries anything.
    pub(crate) fn circuit_from(&mut self, side: Side) -> Option<&mut Circuit> {
        match &mut self.phase {
            Phase::Connected(circuits) => Some(circuits.leaving(side)),
            Phase::Releasing { to, circuit } if *to == side.other() => Some(circuit),
            Phase::Ringing | Phase::Training | Phase::Releasing { .. } => None,
        }
    }

    /// `side` is the first to hang up an answered call; `idle` are the circuits that bring the news if the modems
    /// had not connected. Returns what the call carried each way.
    pub(crate) fn release(&mut self, side: Side, now: Instant, idle: Circuits) -> (u64, u64) {
        let circuits = match std::mem::replace(&mut self.phase, Phase::Ringing) {
            Phase::Connected(circuits) => *circuits,
            Phase::Ringing | Phase::Training | Phase::Releasing { .. } => idle,
        };
        let (carried, circuit) = circuits.hang_up(side, now);
        self.phase = Phase::Releasing {
            to: side.other(),
            circuit: Box::new(circuit),
        };
        carried
    }
}

/// How a call ended, for its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) ended_by: EndedBy,
    pub(crate) at: Instant,
    /// Octets from the caller and from the called.
    pub(crate) carried: (u64, u64),
}

impl Call {
    /// The record of a call that has just ended; `wall` tells the time of day.
    pub(crate) fn record(
        &self,
        id: CallId,
        caller: String,
        ending: Ending,
        wall: impl Fn(Instant) -> Timestamp,
    ) -> CallRecord {
        let answered_for = self
            .answered
            .map(|answered| ending.at.saturating_duration_since(answered));
        CallRecord {
            id,
            caller,
            called: self.dialled.clone(),
            presented: self
                .presented
                .as_ref()
                .map(|presented| presented.number.shown().to_owned()),
            placed: wall(self.placed),
            answered: self.answered.map(&wall),
            connected: self.connected.map(&wall),
            ended: wall(ending.at),
            rings: self.rings,
            outcome: ending.outcome,
            ended_by: ending.ended_by,
            octets_from_caller: ending.carried.0,
            octets_from_called: ending.carried.1,
            flights: self.arrived.flights,
            billed_seconds: answered_for.map_or(0, billed_seconds),
            bill: None,
        }
    }
}
