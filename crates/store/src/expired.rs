//! How far the looks for what has expired have come.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Until when all that has expired is dealt with: it has its verdict, or that is pending and comes by itself.
#[derive(Debug, Clone)]
pub(super) struct Expired(Arc<Mutex<DealtWith>>);

/// Changed on the writer's thread: nothing that is committed before a look ends is passed over.
#[derive(Debug)]
struct DealtWith {
    until: i64,
    /// The first expiry of what has come since the look began that goes on.
    came: i64,
}

impl Default for Expired {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(DealtWith {
            until: i64::MIN,
            came: i64::MAX,
        })))
    }
}

impl Expired {
    fn dealt_with(&self) -> MutexGuard<'_, DealtWith> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn until(&self) -> i64 {
        self.dealt_with().until
    }

    /// A look begins.
    pub(super) fn look(&self) {
        self.dealt_with().came = i64::MAX;
    }

    /// It has come to its end, which was then.
    pub(super) fn looked(&self, end: i64) {
        let mut dealt_with = self.dealt_with();
        dealt_with.until = dealt_with
            .until
            .max(end.min(dealt_with.came.saturating_sub(1)));
    }

    /// A message has come that expires then, or a look did not come to its end.
    pub(super) fn comes(&self, at: i64) {
        let mut dealt_with = self.dealt_with();
        dealt_with.until = dealt_with.until.min(at.saturating_sub(1));
        dealt_with.came = dealt_with.came.min(at);
    }
}
