//! What has happened to a store since it was opened, counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::StoreError;

/// The counts, while they count.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    pub(super) accepted: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) over_quota: AtomicU64,
    pub(super) quota_warnings: AtomicU64,
    pub(super) disk_full: AtomicU64,
    pub(super) damaged: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) commit_nanos: AtomicU64,
    /// The last write failed.
    pub(super) is_failing: AtomicBool,
}

impl Vitals {
    /// Notes how a write ended.
    pub(super) fn note<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Ok(_) => self.is_failing.store(false, Ordering::Relaxed),
            Err(StoreError::Full { .. }) => {
                self.disk_full.fetch_add(1, Ordering::Relaxed);
                self.is_failing.store(true, Ordering::Relaxed);
            }
            Err(
                StoreError::Unavailable { .. }
                | StoreError::Removed(_)
                | StoreError::Content { .. },
            ) => {
                self.is_failing.store(true, Ordering::Relaxed);
            }
            Err(_) => {} // the store is well, and said no
        }
    }
}
