//! What is coming in: contents of which not everything is here, and messages that are accepted in steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use model::directory::Name;

/// Messages that have begun and are not accepted yet: of this process, so that no cleaning unwinds them.
#[derive(Debug, Clone, Default)]
pub(super) struct Arriving(Arc<Mutex<BTreeSet<i64>>>);

impl Arriving {
    pub(super) fn has(&self, seq: i64) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&seq)
    }
}

/// While it lives, its message arrives.
pub(super) struct Arrival {
    all: Arriving,
    pub(super) seq: i64,
}

impl Arrival {
    pub(super) fn note(all: Arriving, seq: i64) -> Self {
        all.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(seq);
        Self { all, seq }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.all
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.seq);
    }
}

/// The drafts in files, by provider.
pub(super) type Drafts = Mutex<BTreeMap<Name, Drafted>>;

#[derive(Debug, Default)]
pub(super) struct Drafted {
    pub(super) count: usize,
    pub(super) octets: u64,
}
