//! Whether the store takes what it is given, and what it has counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::rows::{parse, read_count};
use super::vitals::Vitals;
use super::{Store, StoreError};
use model::verdict::Verdict;

/// Whether a submission could be accepted now.
#[derive(Debug, Clone)]
pub enum Health {
    /// It could.
    Ready,
    /// The disk is full. What was accepted is safe.
    Full,
    /// The disk or the database fails otherwise.
    Failing(StoreError),
}

/// What has happened since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages accepted.
    pub accepted: u64,
    /// Submissions told again what they were told the first time.
    pub repeated: u64,
    /// Submissions refused because as much waited as may.
    pub over_quota: u64,
    /// Quotas that came to four fifths.
    pub quota_warnings: u64,
    /// Writes refused because the disk was full.
    pub disk_full: u64,
    /// Messages whose content or row was found damaged.
    pub damaged: u64,
    /// Envelopes that expired.
    pub expired: u64,
    /// Receipts for messages whose verdict says otherwise.
    pub conflicts: u64,
    /// Transactions of the writer.
    pub commits: u64,
    /// Nanoseconds that they took.
    pub commit_nanos: u64,
}

impl Store {
    /// Whether a submission could be accepted now. While writes fail it tries one: recovery needs no restart.
    pub async fn health(&self, now: Timestamp) -> Health {
        let now = now.as_millisecond();
        if !self.vitals.is_failing.load(Ordering::Relaxed) {
            return Health::Ready;
        }
        let probed = self
            .writer
            .run(move |db| {
                Ok(db
                    .prepare_cached("UPDATE probe SET at = ?1")?
                    .execute([now])?)
            })
            .await;
        match probed {
            Ok(_) => Health::Ready,
            Err(StoreError::Full { .. }) => Health::Full,
            Err(error) => Health::Failing(error),
        }
    }

    /// What has happened since the store was opened.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Vitals {
            accepted,
            repeated,
            over_quota,
            quota_warnings,
            disk_full,
            damaged,
            expired,
            ..
        } = &*self.vitals;
        let Vitals {
            conflicts,
            commits,
            commit_nanos,
            ..
        } = &*self.vitals;
        Counts {
            accepted: read(accepted),
            repeated: read(repeated),
            over_quota: read(over_quota),
            quota_warnings: read(quota_warnings),
            disk_full: read(disk_full),
            damaged: read(damaged),
            expired: read(expired),
            conflicts: read(conflicts),
            commits: read(commits),
            commit_nanos: read(commit_nanos),
        }
    }

    /// How many envelopes have each verdict, since the first start.
    pub async fn verdict_counts(&self) -> Result<BTreeMap<Verdict, u64>, StoreError> {
        self.reader
            .run(|db| {
                let mut select =
                    db.prepare_cached("SELECT verdict, envelopes FROM verdict_counts")?;
                let mut rows = select.query([])?;
                let mut counts = BTreeMap::new();
                while let Some(row) = rows.next()? {
                    counts.insert(
                        parse(&row.get::<_, String>(0)?, "a count of verdicts")?,
                        read_count(row, 1)?,
                    );
                }
                Ok(counts)
            })
            .await
    }

    /// How many messages have an envelope that waits.
    pub async fn waiting_in_all(&self) -> Result<u64, StoreError> {
        self.reader
            .run(|db| {
                let mut select =
                    db.prepare_cached("SELECT coalesce(sum(waiting_messages), 0) FROM providers")?;
                Ok(select.query_row([], |row| read_count(row, 0))?)
            })
            .await
    }
}
