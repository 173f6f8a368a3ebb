//! What is remembered of feeds: how to ask for what is new, when, and which items were seen.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{OptionalExtension as _, params};

use super::rows::{read_count, time};
use super::{Store, StoreError};

/// An item that has been missing in its feed for this time is forgotten.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Names an item within its feed: SHA-256 of its id.
pub type FeedItem = [u8; 32];

/// What is known of a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedState {
    /// What to ask with whether it has changed (RFC 9110 §13.1.2).
    pub etag: Option<String>,
    /// The same by time (§13.1.3).
    pub last_modified: Option<String>,
    /// When it is to be read next.
    pub next_at: Timestamp,
    /// Readings that failed, one after the other.
    pub failed: u32,
}

impl Store {
    /// What is known of a feed; `None`: it was never read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn feed(&self, url: String) -> Result<Option<FeedState>, StoreError> {
        self.reader
            .run(move |db| {
                let found = db
                    .prepare_cached(
                        "SELECT etag, last_modified, next_at, failed FROM feeds WHERE url = ?1",
                    )?
                    .query_row([url], |row| {
                        Ok((
                            row.get(0)?,
                            row.get(1)?,
                            row.get::<_, i64>(2)?,
                            read_count(row, 3)?,
                        ))
                    })
                    .optional()?;
                found
                    .map(|(etag, last_modified, next_at, failed)| {
                        let failed = u32::try_from(failed).unwrap_or(u32::MAX);
                        Ok(FeedState {
                            etag,
                            last_modified,
                            next_at: time(next_at, "a feed")?,
                            failed,
                        })
                    })
                    .transpose()
            })
            .await
    }

    /// Those of these items that were not seen yet, in the same order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unseen(
        &self,
        url: String,
        items: Vec<FeedItem>,
    ) -> Result<BTreeSet<FeedItem>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select =
                    db.prepare_cached("SELECT 1 FROM feed_items WHERE feed = ?1 AND item = ?2")?;
                let mut unseen = BTreeSet::new();
                for item in items {
                    if !select.exists(params![url, item])? {
                        unseen.insert(item);
                    }
                }
                Ok(unseen)
            })
            .await
    }

    /// Notes what came of reading a feed: its state, and the items that it has and that need not be looked at again.
    ///
    /// # Errors
    /// [`StoreError`]: it is read again.
    pub async fn feed_read(
        &self,
        url: String,
        state: FeedState,
        seen: Vec<FeedItem>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run(move |db| {
                let FeedState { etag, last_modified, next_at, failed } = state;
                db.prepare_cached(
                    "INSERT INTO feeds VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (url) DO UPDATE SET etag = excluded.etag,
                       last_modified = excluded.last_modified, next_at = excluded.next_at, failed = excluded.failed",
                )?
                .execute(params![url, etag, last_modified, next_at.as_millisecond(), failed])?;
                let mut insert = db.prepare_cached(
                    "INSERT INTO feed_items VALUES (?1, ?2, ?3) ON CONFLICT (feed, item) DO UPDATE SET seen_at = excluded.seen_at",
                )?;
                for item in &seen {
                    insert.execute(params![url, item, now])?;
                }
                if !seen.is_empty() {
                    let before = now.saturating_sub(i64::try_from(REMEMBERED.as_millis()).unwrap_or(i64::MAX));
                    db.prepare_cached("DELETE FROM feed_items WHERE feed = ?1 AND seen_at < ?2")?
                        .execute(params![url, before])?;
                }
                Ok(())
            })
            .await
    }
}
