//! The state of each line, for the operator and the metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use model::directory::Name;

/// State of a line, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineEntry {
    /// Its name.
    pub name: String,
    /// Where its modem is.
    pub port: String,
    /// One of `initialising`, `idle`, `calling`, `in a call`, `out of order`.
    pub state: LineState,
    /// The fault, if it is out of order.
    pub fault: Option<String>,
    /// Rings that were not answered since the server started.
    pub rings_refused: u64,
}

/// See [`LineEntry::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineState {
    /// The modem is being initialised.
    Initialising,
    /// On hook, waiting.
    Idle,
    /// Dialling, or answering.
    Calling,
    /// Connected.
    InACall,
    /// The port or the modem does not work; retried every 30 seconds.
    OutOfOrder,
}

impl LineState {
    /// All states.
    pub const ALL: [Self; 5] = [
        Self::Initialising,
        Self::Idle,
        Self::Calling,
        Self::InACall,
        Self::OutOfOrder,
    ];

    /// The name of the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialising => "initialising",
            Self::Idle => "idle",
            Self::Calling => "calling",
            Self::InACall => "in-a-call",
            Self::OutOfOrder => "out-of-order",
        }
    }
}

impl LineEntry {
    fn new(name: &Name, port: String) -> Self {
        Self {
            name: name.to_string(),
            port,
            state: LineState::Initialising,
            fault: None,
            rings_refused: 0,
        }
    }
}

/// The states of all lines, by name.
#[derive(Debug, Default)]
pub(crate) struct LineStates(Mutex<BTreeMap<Name, LineEntry>>);

impl LineStates {
    /// Registers a line and its location.
    pub(super) fn know(&self, line: &Name, place: String) {
        self.lock()
            .insert(line.clone(), LineEntry::new(line, place));
    }

    pub(crate) fn set(&self, line: &Name, state: LineState, fault: Option<String>) {
        if let Some(entry) = self.lock().get_mut(line) {
            (entry.state, entry.fault) = (state, fault);
        }
    }

    /// Counts a ring that is not answered.
    pub(super) fn ring_refused(&self, line: &Name) {
        if let Some(entry) = self.lock().get_mut(line) {
            entry.rings_refused += 1;
        }
    }

    pub(super) fn all(&self) -> Vec<LineEntry> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, LineEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
