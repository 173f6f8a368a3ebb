//! One terminal that is not idle.

use std::sync::Arc;
use std::time::Instant;

use delivery::Urgency;
use jiff::Timestamp;

use super::lines::LineIndex;
use super::rules::{Conditions, Demand, Route};

/// What a terminal that is not idle is doing, and what waits for it.
#[derive(Debug)]
pub(super) struct Terminal {
    pub(super) state: State,
    /// `None`: it has no number, or nothing waited for it yet.
    pub(super) conditions: Option<Arc<Conditions>>,
    pub(super) urgency: Urgency,
    pub(super) deadline: Option<Timestamp>,
    /// Its number in the queue: who was not served keeps it.
    pub(super) number: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// In the queue for a line.
    Due,
    /// Backing off, or waiting for its hours, a price, a budget.
    Resting { until: Instant, why: Rest },
    /// Being called.
    Calling { line: LineIndex },
    /// Its connected notice has come on `line`, or over its own Internet access; a call of ours to it may still be ending on
    /// another (glare).
    Connected {
        line: Option<LineIndex>,
        calling: Option<LineIndex>,
    },
    /// Not called until the operator says so.
    Paused,
}

/// Why a terminal that is due is not in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Calls failed.
    BackingOff,
    /// The number was dialled as often as it may be for now.
    Redials,
    /// The modem itself would not dial.
    ModemLimit,
    /// Its last call has just ended: a ring before its modem is on hook and initialised would be lost.
    HangingUp,
    /// It is not called at this hour, or on this day.
    Hours,
    /// It will soon be cheaper, and nothing is in a hurry.
    Price,
    /// A budget is spent.
    Budget,
    /// It was rung, and is to come by itself.
    Session,
}

impl Terminal {
    pub(super) fn new(state: State, number: u64) -> Self {
        Self {
            state,
            conditions: None,
            urgency: Urgency::Bulk,
            deadline: None,
            number,
        }
    }

    pub(super) fn route(&self) -> Route {
        self.conditions
            .as_ref()
            .map_or(Route::ALL, |conditions| conditions.route)
    }

    /// Takes in what more waits for it.
    pub(super) fn wants(&mut self, demand: Demand) {
        if demand.conditions.is_some() {
            self.conditions = demand.conditions;
        }
        self.urgency = self.urgency.min(demand.urgency);
        self.deadline = [self.deadline, demand.deadline].into_iter().flatten().min();
    }
}
