//! Removing what nobody waits for: contents some time after their last verdict, rows some time after that; calls when nothing that is
//! kept tells of them.

use std::io;
use std::time::Duration;

use delivery::Digest;
use jiff::{SignedDuration, Timestamp, Zoned};
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::fan_out::{is_unfinished, unfinished, unwind_some};
use super::stopwatch::Stopwatch;
use super::worker::{BATCH, BATCH_TIME};
use super::{Store, StoreError, run_blocking};

/// After a batch the disk belongs to others for this many times as long as the batch took, its commit included; at most
/// [`PAUSE_MAX`].
const PAUSE_FACTOR: u32 = 2;
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Content files that are looked up at once.
const FILES_BATCH: usize = 500;

/// How long is kept what has all its verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The content, after the last verdict.
    pub contents: Duration,
    /// The rows: what became of the message, and its idempotency key.
    pub rows: Duration,
    /// The question whether a terminal has a message that is to have another verdict; then it fails as unknown.
    pub doubts: Duration,
    /// The records of calls, and what they came to.
    pub calls: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self {
            contents: DAY,
            rows: 90 * DAY,
            doubts: 30 * DAY,
            calls: 400 * DAY,
        }
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

/// How far a batch has come.
struct Batch<T> {
    done: T,
    /// Nothing is left to do.
    is_last: bool,
}

impl Store {
    /// Drops what is older than `retention` says by `now`, in small batches with pauses: others write meanwhile. Nothing for which
    /// an envelope waits is touched.
    ///
    /// # Errors
    /// [`StoreError`]: what was not removed is, next time.
    pub async fn clean(&self, now: Timestamp, retention: Retention) -> Result<Cleaned, StoreError> {
        let before = |age: Duration| {
            let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            now.as_millisecond().saturating_sub(age)
        };
        // Rows go without their contents only.
        let (contents_before, rows_before) = (
            before(retention.contents.min(retention.rows)),
            before(retention.rows),
        );
        let mut cleaned = Cleaned::default();
        self.unwind_unfinished().await?;
        loop {
            let began = Stopwatch::start();
            let batch = self
                .writer
                .run(move |db| drop_contents(db, contents_before))
                .await?;
            let Dropped { contents, files } = batch.done;
            cleaned.contents += contents;
            // After the commit: a crash in between leaves a file that no row names, never a row without its file.
            cleaned.files += self.remove_files(files).await?;
            if batch.is_last {
                break;
            }
            pause_after(began).await;
        }
        loop {
            let began = Stopwatch::start();
            let batch = self
                .writer
                .run(move |db| remove_rows(db, rows_before))
                .await?;
            cleaned.messages += batch.done;
            if batch.is_last {
                return Ok(cleaned);
            }
            pause_after(began).await;
        }
    }

    /// Removes the records of calls that were placed longer ago than `longest` by `now`, and what they came to. Those stay that are
    /// evidence of a message that is kept, the last that came up with each terminal, and what was spent in this month. Gives how many.
    ///
    /// # Errors
    /// [`StoreError`]: what was not removed is, next time.
    pub async fn clean_calls(&self, now: &Zoned, longest: Duration) -> Result<u64, StoreError> {
        let longest = SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX);
        let before = now
            .timestamp()
            .checked_sub(longest)
            .unwrap_or(Timestamp::MIN);
        let day = before
            .to_zoned(now.time_zone().clone())
            .date()
            .min(now.date().first_of_month());
        let (mut removed, mut after) = (0, Some((i64::MIN, String::new())));
        while let Some(from) = after {
            let began = Stopwatch::start();
            let some = self
                .writer
                .run(move |db| remove_calls(db, before.as_millisecond(), from))
                .await?;
            (removed, after) = (removed + some.0, some.1);
            pause_after(began).await;
        }
        loop {
            let began = Stopwatch::start();
            let day = day.to_string();
            let removed = self.writer.run(move |db| {
                Ok(db
                    .prepare_cached(SPENT_BEFORE)?
                    .execute(params![day, BATCH])?)
            });
            if removed.await? < BATCH as usize {
                break;
            }
            pause_after(began).await;
        }
        let day = day.to_string();
        self.writer
            .run(move |db| Ok(db.execute("DELETE FROM spending WHERE day < ?1", [day])?))
            .await?;
        Ok(removed)
    }

    /// Removes what is left of messages that a disk that failed kept from being accepted.
    async fn unwind_unfinished(&self) -> Result<(), StoreError> {
        let unfinished = self.reader.run(unfinished).await?;
        for seq in unfinished
            .into_iter()
            .filter(|seq| !self.arriving.has(*seq))
        {
            let arriving = self.arriving.clone();
            // On the writer's thread: one that has been accepted since is left alone.
            let unwind = move |db: &Database| match !arriving.has(seq) && is_unfinished(db, seq)? {
                true => unwind_some(db, seq),
                false => Ok(true),
            };
            while !self.writer.run(unwind.clone()).await? {}
        }
        Ok(())
    }

    /// Removes the content files that no message needs: those of submissions that came to nothing, and of a cleaning that a crash cut
    /// short. It looks at all that there are.
    ///
    /// # Errors
    /// [`StoreError`]: what was not removed is, next time.
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        let contents = self.contents.clone();
        let files = run_blocking("list", move || contents.list()).await?;
        let mut removed = 0;
        for files in files.chunks(FILES_BATCH) {
            let began = Stopwatch::start();
            let files = files.to_vec();
            let unnamed = self.reader.survey(move |db| {
                let mut unnamed = Vec::new();
                for digest in files {
                    if !is_named(db, digest)? {
                        unnamed.push(digest);
                    }
                }
                Ok(unnamed)
            });
            removed += self.remove_files(unnamed.await?).await?;
            pause_after(began).await;
        }
        Ok(removed)
    }

    /// Removes those of these content files that no message needs.
    pub(super) async fn remove_files(&self, mut files: Vec<Digest>) -> Result<u64, StoreError> {
        let mut removed = 0;
        while !files.is_empty() {
            let contents = self.contents.clone();
            // On the writer's thread: whoever names a file has named it before this, or has it pinned.
            let swept = self.writer.run(move |db| {
                let began = Stopwatch::start();
                let mut removed = 0;
                while let Some(digest) = files.pop() {
                    removed += u64::from(contents.remove_unless(digest, || is_named(db, digest))?);
                    if began.elapsed() >= BATCH_TIME {
                        break;
                    }
                }
                Ok((removed, files))
            });
            let (some, rest) = swept.await?;
            (removed, files) = (removed + some, rest);
        }
        Ok(removed)
    }
}

/// Leaves the disk to others for a while.
async fn pause_after(began: Stopwatch) {
    tokio::time::sleep((began.elapsed() * PAUSE_FACTOR).min(PAUSE_MAX)).await;
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::content("remove", error)
    }
}

pub(super) const NAMED: &str = "SELECT 1 FROM messages WHERE digest = ?1 AND kept = 'file' LIMIT 1";

fn is_named(db: &Database, digest: Digest) -> Result<bool, StoreError> {
    let found = db
        .prepare_cached(NAMED)?
        .query_row([digest.to_string()], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

/// What a batch has dropped.
#[derive(Default)]
struct Dropped {
    contents: u64,
    /// The files that it may have been the last to name.
    files: Vec<Digest>,
}

/// Contents to drop; each that is dropped leaves the index.
pub(super) const WITH_CONTENT: &str = "SELECT seq, kept, digest FROM messages
    WHERE settled_at IS NOT NULL AND settled_at <= ?1 AND kept IN ('row', 'file') ORDER BY settled_at LIMIT ?2";

fn drop_contents(db: &Database, before: i64) -> Result<Batch<Dropped>, StoreError> {
    let began = Stopwatch::start();
    let mut done = Dropped::default();
    let mut select = db.prepare_cached(WITH_CONTENT)?;
    let mut delete = db.prepare_cached("DELETE FROM contents WHERE message = ?1")?;
    let mut mark = db.prepare_cached("UPDATE messages SET kept = 'dropped' WHERE seq = ?1")?;
    loop {
        let found = select.query_map(params![before, BATCH], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
            ))
        })?;
        let found = found.collect::<Result<Vec<_>, _>>()?;
        for (seq, kept, digest) in &found {
            if kept == "row" {
                delete.execute([seq])?;
            } else {
                done.files.extend(digest.parse::<Digest>());
            }
            mark.execute([seq])?;
            done.contents += 1;
        }
        let is_last = found.len() < BATCH as usize;
        if is_last || began.elapsed() >= BATCH_TIME {
            return Ok(Batch { done, is_last });
        }
    }
}

/// Calls that are over, the oldest first, from one on; and whether they are evidence, or the last that came up with a terminal.
pub(super) const CALLS_BEFORE: &str = "SELECT id, placed_at, ended_at IS NULL OR EXISTS (SELECT 1 FROM deliveries WHERE call = c.id)
      OR (connected_at IS NOT NULL AND EXISTS (SELECT 1 FROM terminals WHERE name = c.party) AND NOT EXISTS
        (SELECT 1 FROM calls later WHERE later.party = c.party AND later.placed_at > c.placed_at AND later.connected_at IS NOT NULL))
    FROM calls c WHERE placed_at <= ?1 AND (placed_at, id) > (?2, ?3) ORDER BY placed_at, id LIMIT ?4";

pub(super) const SPENT_BEFORE: &str = "DELETE FROM reservations WHERE call IN (SELECT call FROM reservations WHERE day < ?1 LIMIT ?2)";

/// Removes some calls; how many, and how far that came, if it did not come to the end.
fn remove_calls(
    db: &Database,
    before: i64,
    mut from: (i64, String),
) -> Result<(u64, Option<(i64, String)>), StoreError> {
    let began = Stopwatch::start();
    let mut select = db.prepare_cached(CALLS_BEFORE)?;
    let mut delete = db.prepare_cached("DELETE FROM calls WHERE id = ?1")?;
    let mut removed = 0;
    loop {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let some = select.query_map(params![before, from.0, from.1, BATCH], read)?;
        let some = some.collect::<Result<Vec<(String, i64, bool)>, _>>()?;
        let is_last = some.len() < BATCH as usize;
        for (id, placed_at, stays) in some {
            if !stays {
                removed += delete.execute([&id])? as u64;
            }
            from = (placed_at, id);
        }
        if is_last {
            return Ok((removed, None));
        }
        if began.elapsed() >= BATCH_TIME {
            return Ok((removed, Some(from)));
        }
    }
}

/// Messages of which nothing but rows is left.
pub(super) const WITHOUT_CONTENT: &str = "SELECT seq FROM messages
    WHERE settled_at IS NOT NULL AND settled_at <= ?1 AND kept IN ('dropped', 'damaged') ORDER BY settled_at LIMIT ?2";

/// Some of a message's envelopes.
pub(super) const ENVELOPES_OF: &str = "SELECT terminal FROM envelopes WHERE message = ?1 LIMIT ?2";

/// A message of many envelopes goes in several batches, its own row last.
fn remove_rows(db: &Database, before: i64) -> Result<Batch<u64>, StoreError> {
    let began = Stopwatch::start();
    let mut done = 0;
    let mut select = db.prepare_cached(WITHOUT_CONTENT)?;
    let mut select_envelopes = db.prepare_cached(ENVELOPES_OF)?;
    loop {
        let found = select.query_map(params![before, BATCH], |row| row.get::<_, i64>(0))?;
        let found = found.collect::<Result<Vec<_>, _>>()?;
        for seq in &found {
            loop {
                let terminals = select_envelopes
                    .query_map(params![seq, BATCH], |row| row.get::<_, String>(0))?;
                let terminals = terminals.collect::<Result<Vec<_>, _>>()?;
                for sql in [
                    "DELETE FROM deliveries WHERE message = ?1 AND terminal = ?2",
                    "DELETE FROM envelopes WHERE message = ?1 AND terminal = ?2",
                ] {
                    let mut delete = db.prepare_cached(sql)?;
                    for terminal in &terminals {
                        delete.execute(params![seq, terminal])?;
                    }
                }
                if began.elapsed() >= BATCH_TIME {
                    return Ok(Batch {
                        done,
                        is_last: false,
                    });
                }
                if terminals.len() < BATCH as usize {
                    break;
                }
            }
            for sql in [
                "DELETE FROM contents WHERE message = ?1",
                "DELETE FROM messages WHERE seq = ?1",
            ] {
                db.prepare_cached(sql)?.execute([seq])?;
            }
            done += 1;
        }
        if found.len() < BATCH as usize {
            return Ok(Batch {
                done,
                is_last: true,
            });
        }
    }
}
