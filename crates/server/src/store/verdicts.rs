//! Verdicts that no receipt brings: expired, cancelled, failed. Each is written where none stands, and once.

use std::sync::atomic::Ordering;

use delivery::{MessageId, TerminalId};
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::rows::read_count;
use super::{Store, StoreError, now, run_blocking};
use crate::directory::Name;
use crate::verdict::Verdict;

/// What came of cancelling a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Envelopes that are cancelled now.
    pub cancelled: u64,
    /// Envelopes that are being delivered just now, and stay.
    pub under_way: u64,
    /// Envelopes that had their verdict.
    pub settled: u64,
}

impl Store {
    /// Cancels a message for every terminal for which it waits and to which it is not being delivered just now. `None`:
    /// there is no such message (of this provider, if one is given).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cancel(
        &self,
        id: MessageId,
        of: Option<Name>,
        reason: &'static str,
    ) -> Result<Option<Cancelled>, StoreError> {
        self.writer
            .run(move |db| {
                let found = db
                    .prepare_cached("SELECT seq, provider FROM messages WHERE id = ?1")?
                    .query_row([id.to_string()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
                    .optional()?;
                let Some((seq, provider)) = found else { return Ok(None) };
                if of.is_some_and(|of| of.to_string() != provider) {
                    return Ok(None);
                }
                let cancelled = db
                    .prepare_cached(
                        "UPDATE envelopes SET verdict = 'cancelled', verdict_reason = ?2, verdict_at = ?3
                         WHERE message = ?1 AND verdict IS NULL AND under_way IS NULL",
                    )?
                    .execute(params![seq, reason, now()])?;
                let (all, under_way): (u64, u64) = db
                    .prepare_cached(
                        "SELECT count(*), count(*) FILTER (WHERE verdict IS NULL) FROM envelopes WHERE message = ?1",
                    )?
                    .query_row([seq], |row| Ok((read_count(row, 0)?, read_count(row, 1)?)))?;
                let cancelled = cancelled as u64;
                Ok(Some(Cancelled { cancelled, under_way, settled: all - cancelled - under_way }))
            })
            .await
    }

    /// Gives an envelope its verdict. `false`: it has one, or there is no such envelope.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle(
        &self,
        id: MessageId,
        terminal: TerminalId,
        verdict: Verdict,
        reason: String,
        call: Option<line::CallId>,
    ) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                let settled = db
                    .prepare_cached(
                        "UPDATE envelopes SET verdict = ?3, verdict_reason = ?4, verdict_call = ?5, verdict_at = ?6, under_way = NULL
                         WHERE message = (SELECT seq FROM messages WHERE id = ?1) AND terminal = ?2 AND verdict IS NULL",
                    )?
                    .execute(params![
                        id.to_string(),
                        terminal.to_string(),
                        verdict.as_str(),
                        reason,
                        call.map(|call| call.to_string()),
                        now()
                    ])?;
                Ok(settled == 1)
            })
            .await
    }

    /// When the next message that waits expires. Pure of the clock: ask again after each wake.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        self.reader
            .run(|db| {
                let at: Option<i64> = db
                    .prepare_cached(
                        "SELECT min(expires_at) FROM messages WHERE expires_at IS NOT NULL AND waiting > 0",
                    )?
                    .query_row([], |row| row.get(0))?;
                Ok(at.and_then(|at| Timestamp::from_millisecond(at).ok()))
            })
            .await
    }

    /// Waits until a message has come that expires: [`Store::next_expiry`] may be another one now.
    pub(crate) async fn expiring(&self) {
        self.expiring.notified().await;
    }

    /// Gives every envelope whose time is over by `now` its verdict, but for those that are being delivered just now; tells
    /// how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn expire(&self, now: Timestamp) -> Result<usize, StoreError> {
        let expired = self
            .writer
            .run(move |db| {
                Ok(db
                    .prepare_cached(
                        "UPDATE envelopes SET verdict = 'expired', verdict_at = ?1
                         WHERE verdict IS NULL AND under_way IS NULL AND message IN
                           (SELECT seq FROM messages WHERE expires_at IS NOT NULL AND waiting > 0 AND expires_at <= ?1)",
                    )?
                    .execute([now.as_millisecond()])?)
            })
            .await?;
        self.vitals.expired.fetch_add(expired as u64, Ordering::Relaxed);
        Ok(expired)
    }

    /// Puts a damaged message out of the way: its content is moved aside, and every envelope that waits has failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantine(&self, id: MessageId, reason: &'static str) -> Result<(), StoreError> {
        let in_file = self
            .writer
            .run(move |db| {
                let found = db
                    .prepare_cached("SELECT seq, digest, kept FROM messages WHERE id = ?1")?
                    .query_row([id.to_string()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))
                    .optional()?;
                let Some((seq, digest, kept)): Option<(i64, String, String)> = found else { return Ok(None) };
                fail(db, seq, reason)?;
                Ok((kept == "file").then_some(digest).and_then(|digest| digest.parse().ok()))
            })
            .await?;
        self.vitals.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(message_id = %id, reason, "damaged message quarantined");
        if let Some(digest) = in_file {
            let contents = self.contents.clone();
            // Sound again since it was looked at: a submission of the same content has mended it.
            run_blocking("move", move || match contents.get(digest) {
                Ok(Some(_)) => Ok(()),
                _ => contents.set_aside(digest),
            })
            .await?;
        }
        Ok(())
    }

    /// The same for a row that does not even have a readable id.
    pub(super) async fn quarantine_row(&self, seq: i64) -> Result<(), StoreError> {
        self.writer.run(move |db| fail(db, seq, "the message's row is damaged")).await?;
        self.vitals.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(seq, "damaged row quarantined");
        Ok(())
    }
}

fn fail(db: &Database, seq: i64, reason: &str) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE messages SET kept = 'damaged' WHERE seq = ?1")?.execute([seq])?;
    db.prepare_cached(
        "UPDATE envelopes SET verdict = 'failed', verdict_reason = ?2, verdict_at = ?3, under_way = NULL
         WHERE message = ?1 AND verdict IS NULL",
    )?
    .execute(params![seq, reason, now()])?;
    Ok(())
}
