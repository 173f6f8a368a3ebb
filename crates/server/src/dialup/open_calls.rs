//! The calls and sessions that are under way, so that an operator can end one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use line::CallId;
use tokio_util::sync::CancellationToken;

/// What hangs up each call that is under way.
#[derive(Debug, Default)]
pub(crate) struct OpenCalls {
    calls: Mutex<BTreeMap<CallId, CancellationToken>>,
}

impl OpenCalls {
    /// What hangs this call up; it is under way from here on until [`OpenCalls::over`].
    pub(crate) fn hang_up(&self, call: CallId) -> CancellationToken {
        self.lock().entry(call).or_default().clone()
    }

    /// Hangs a call up. `false`: it is not under way.
    pub(crate) fn end(&self, call: CallId) -> bool {
        self.lock()
            .get(&call)
            .inspect(|hang_up| hang_up.cancel())
            .is_some()
    }

    /// A call is over.
    pub(crate) fn over(&self, call: CallId) {
        self.lock().remove(&call);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<CallId, CancellationToken>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_can_be_ended_from_its_order_to_its_end_and_neither_sooner_nor_later() {
        let (calls, call) = (OpenCalls::default(), CallId::now());
        assert!(!calls.end(call));
        let hang_up = calls.hang_up(call);
        assert!(!hang_up.is_cancelled());
        assert!(calls.end(call) && hang_up.is_cancelled() && calls.hang_up(call).is_cancelled());
        calls.over(call);
        assert!(!calls.end(call) && !calls.hang_up(call).is_cancelled());
    }
}
