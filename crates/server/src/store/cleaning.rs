//! Removing what nobody waits for: contents some time after their last verdict, rows some time after that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use delivery::Digest;
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::{Store, StoreError, run_blocking};

/// Messages that one transaction cleans away: others want to write, too.
const BATCH: u32 = 500;

/// How long is kept what has all its verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The content, after the last verdict.
    pub contents: Duration,
    /// The rows: what became of the message, and its idempotency key.
    pub rows: Duration,
    /// The question whether a terminal has a message that is to have another verdict; then it fails as unknown.
    pub doubts: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { contents: DAY, rows: 90 * DAY, doubts: 30 * DAY }
    }
}

/// What a cleaning has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Contents dropped.
    pub contents: u64,
    /// Content files removed.
    pub files: u64,
    /// Messages of which nothing is left.
    pub messages: u64,
}

impl Store {
    /// Drops what is older than `retention` says by `now`. Nothing for which an envelope waits is touched.
    ///
    /// # Errors
    /// [`StoreError`]: what was not removed is, next time.
    pub async fn clean(&self, now: Timestamp, retention: Retention) -> Result<Cleaned, StoreError> {
        let before = |age: Duration| {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            now.as_millisecond().saturating_sub(age)
        };
        let (contents_before, rows_before) = (before(retention.contents), before(retention.rows));
        let mut cleaned = Cleaned::default();
        loop {
            let dropped = self.writer.run(move |db| drop_contents(db, contents_before)).await?;
            cleaned.contents += dropped;
            if dropped < u64::from(BATCH) {
                break;
            }
        }
        loop {
            let removed = self.writer.run(move |db| remove_rows(db, rows_before)).await?;
            cleaned.messages += removed;
            if removed < u64::from(BATCH) {
                break;
            }
        }
        cleaned.files = self.sweep().await?;
        Ok(cleaned)
    }

    /// Removes the content files that no message needs: those dropped just now, and those whose submission came to nothing.
    async fn sweep(&self) -> Result<u64, StoreError> {
        let contents = self.contents.clone();
        let files = run_blocking("list", move || contents.list()).await?;
        let mut removed = 0;
        for files in files.chunks(BATCH as usize) {
            let (contents, files) = (self.contents.clone(), files.to_vec());
            // On the writer's thread: whoever names a file has named it before this, or has it pinned.
            let swept = self.writer.run(move |db| {
                let mut removed = 0;
                for digest in files {
                    removed += u64::from(contents.remove_unless(digest, || is_named(db, digest))?);
                }
                Ok(removed)
            });
            removed += swept.await?;
        }
        Ok(removed)
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Content { operation: "remove", source: Arc::new(error) }
    }
}

fn is_named(db: &Database, digest: Digest) -> Result<bool, StoreError> {
    let found = db
        .prepare_cached("SELECT 1 FROM messages WHERE digest = ?1 AND kept = 'file' LIMIT 1")?
        .query_row([digest.to_string()], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

fn drop_contents(db: &Database, before: i64) -> Result<u64, StoreError> {
    let mut select = db.prepare_cached(
        "SELECT seq FROM messages WHERE settled_at IS NOT NULL AND settled_at <= ?1 AND kept IN ('row', 'file') LIMIT ?2",
    )?;
    let settled = select.query_map(params![before, BATCH], |row| row.get::<_, i64>(0))?;
    let settled = settled.collect::<Result<Vec<_>, _>>()?;
    let mut delete = db.prepare_cached("DELETE FROM contents WHERE message = ?1")?;
    let mut mark = db.prepare_cached("UPDATE messages SET kept = 'dropped' WHERE seq = ?1")?;
    for seq in &settled {
        delete.execute([seq])?;
        mark.execute([seq])?;
    }
    Ok(settled.len() as u64)
}

fn remove_rows(db: &Database, before: i64) -> Result<u64, StoreError> {
    let mut select =
        db.prepare_cached("SELECT seq FROM messages WHERE settled_at IS NOT NULL AND settled_at <= ?1 LIMIT ?2")?;
    let settled = select.query_map(params![before, BATCH], |row| row.get::<_, i64>(0))?;
    let settled = settled.collect::<Result<Vec<_>, _>>()?;
    for sql in [
        "DELETE FROM contents WHERE message = ?1",
        "DELETE FROM deliveries WHERE message = ?1",
        "DELETE FROM envelopes WHERE message = ?1",
        "DELETE FROM messages WHERE seq = ?1",
    ] {
        let mut delete = db.prepare_cached(sql)?;
        for seq in &settled {
            delete.execute([seq])?;
        }
    }
    Ok(settled.len() as u64)
}
