//! Verdicts that no receipt brings: expired, cancelled, failed. Each is written where none stands, and once.

use std::sync::atomic::Ordering;
use std::time::Instant;

use delivery::{MessageId, TerminalId};
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, ToSql, params};

use super::cleaning::{BATCH, BATCH_TIME};
use super::rows::read_count;
use super::{Store, StoreError, now, run_blocking};
use crate::directory::Name;
use crate::verdict::Verdict;

/// What came of cancelling a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cancelled {
    /// Envelopes that are cancelled now.
    pub cancelled: u64,
    /// Envelopes that are being delivered just now, or that the terminal may have: they are cancelled when the call is over, or
    /// the terminal has been asked, unless it has them.
    pub under_way: u64,
    /// Envelopes that had their verdict.
    pub settled: u64,
}

impl Store {
    /// Cancels a message for every terminal for which it waits; where it is on a line, or the terminal may have it, that is
    /// pending. `None`: there is no such message (of this provider, if one is given).
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
                let cancelled = give(db, Verdict::Cancelled, Some(reason), now(), "message = ?4", &[&seq])?;
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

    /// Gives an envelope its verdict, or keeps it pending where the terminal may have the message. `false`: it has one, it is
    /// pending, or there is no such envelope.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle(
        &self,
        id: MessageId,
        terminal: TerminalId,
        verdict: Verdict,
        reason: String,
    ) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                let of = "message = (SELECT seq FROM messages WHERE id = ?4) AND terminal = ?5";
                let settled = give(db, verdict, Some(&reason), now(), of, &[&id.to_string(), &terminal.to_string()])?;
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
                let at: Option<i64> = db.prepare_cached(NEXT_EXPIRY)?.query_row([], |row| row.get(0)).optional()?;
                Ok(at.and_then(|at| Timestamp::from_millisecond(at).ok()))
            })
            .await
    }

    /// Waits until a message has come that expires: [`Store::next_expiry`] may be another one now.
    pub(crate) async fn expiring(&self) {
        self.expiring.notified().await;
    }

    /// Gives every envelope whose time is over by `now` its verdict; tells how many. Where the message is on a line, or the
    /// terminal may have it, that is pending.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn expire(&self, now: Timestamp) -> Result<usize, StoreError> {
        let (mut expired, mut after) = (0, Some(Expiring::default()));
        // In batches: a message for a hundred thousand terminals keeps no submission waiting until all of it has expired.
        while let Some(from) = after {
            let batch = self.writer.run(move |db| expire_some(db, now.as_millisecond(), from)).await?;
            (expired, after) = (expired + batch.0, batch.1);
        }
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

/// One whose time is over, and whose verdict is pending, needs no look.
pub(super) const NEXT_EXPIRY: &str =
    "SELECT expires_at FROM messages m WHERE expires_at IS NOT NULL AND waiting > 0 AND EXISTS
    (SELECT 1 FROM envelopes WHERE message = m.seq AND verdict IS NULL AND pending_verdict IS NULL)
    ORDER BY expires_at LIMIT 1";

/// How far expiring has come: those before this have their verdict, or it is pending.
#[derive(Debug, Clone, Default)]
struct Expiring {
    at: i64,
    seq: i64,
    /// Of that message, the last terminal.
    terminal: String,
}

/// Messages that have expired, from one on.
pub(super) const EXPIRED: &str = "SELECT expires_at, seq FROM messages
    WHERE expires_at IS NOT NULL AND waiting > 0 AND expires_at <= ?1 AND (expires_at, seq) >= (?2, ?3)
    ORDER BY expires_at, seq LIMIT ?4";

/// Of a message, those that can expire, after one; and whether the terminal may have it.
pub(super) const EXPIRED_ENVELOPES: &str =
    "SELECT terminal, under_way IS NOT NULL OR in_doubt_since IS NOT NULL FROM envelopes
    WHERE message = ?1 AND terminal > ?2 AND verdict IS NULL AND pending_verdict IS NULL ORDER BY terminal LIMIT ?3";

/// Gives some envelopes their verdict; how many, and how far that came, if it did not come to the end.
fn expire_some(db: &Database, now: i64, mut from: Expiring) -> Result<(usize, Option<Expiring>), StoreError> {
    let began = Instant::now();
    let mut messages = db.prepare_cached(EXPIRED)?;
    let mut envelopes = db.prepare_cached(EXPIRED_ENVELOPES)?;
    let mut update = db.prepare_cached(
        "UPDATE envelopes SET verdict = 'expired', verdict_at = ?3 WHERE message = ?1 AND terminal = ?2",
    )?;
    let mut pend = db.prepare_cached(
        "UPDATE envelopes SET pending_verdict = 'expired', pending_reason = NULL WHERE message = ?1 AND terminal = ?2",
    )?;
    let mut expired = 0;
    loop {
        let found = messages.query_map(params![now, from.at, from.seq, BATCH], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found = found.collect::<Result<Vec<(i64, i64)>, _>>()?;
        for (at, seq) in &found {
            let mut terminal = if *seq == from.seq { std::mem::take(&mut from.terminal) } else { String::new() };
            loop {
                let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?));
                let terminals = envelopes.query_map(params![seq, terminal, BATCH], read)?;
                let terminals = terminals.collect::<Result<Vec<_>, _>>()?;
                for (terminal, may_have_it) in &terminals {
                    if *may_have_it {
                        pend.execute(params![seq, terminal])?;
                    } else {
                        expired += update.execute(params![seq, terminal, now])?;
                    }
                }
                let is_last = terminals.len() < BATCH as usize;
                terminal = terminals.into_iter().last().map_or(terminal, |(last, _)| last);
                if began.elapsed() >= BATCH_TIME {
                    return Ok((expired, Some(Expiring { at: *at, seq: *seq, terminal })));
                }
                if is_last {
                    break;
                }
            }
            from = Expiring { at: *at, seq: *seq, terminal };
        }
        if found.len() < BATCH as usize {
            return Ok((expired, None));
        }
    }
}

fn fail(db: &Database, seq: i64, reason: &str) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE messages SET kept = 'damaged' WHERE seq = ?1")?.execute([seq])?;
    give(db, Verdict::Failed, Some(reason), now(), "message = ?4", &[&seq])?;
    Ok(())
}

/// Gives a verdict other than delivered to the waiting envelopes that `of` names, whose values are ?4 and on; tells to how many.
/// Where the message is on a line, or the terminal may have it, the verdict is pending: it is given, by [`give_pending`], when
/// neither is so any more and no receipt has come. The first pending verdict stays.
pub(super) fn give(
    db: &Database,
    verdict: Verdict,
    reason: Option<&str>,
    now: i64,
    of: &str,
    values: &[&dyn ToSql],
) -> Result<usize, StoreError> {
    let verdict = verdict.as_str();
    let head: [&dyn ToSql; 3] = [&verdict, &reason, &now];
    let values: Vec<&dyn ToSql> = head.into_iter().chain(values.iter().copied()).collect();
    db.prepare_cached(&format!(
        "UPDATE envelopes SET pending_verdict = ?1, pending_reason = ?2
         WHERE verdict IS NULL AND pending_verdict IS NULL AND (under_way IS NOT NULL OR in_doubt_since IS NOT NULL) AND {of}"
    ))?
    .execute(&values[..])?;
    Ok(db
        .prepare_cached(&format!(
            "UPDATE envelopes SET verdict = ?1, verdict_reason = ?2, verdict_at = ?3
             WHERE verdict IS NULL AND under_way IS NULL AND in_doubt_since IS NULL AND {of}"
        ))?
        .execute(&values[..])?)
}

/// Gives an envelope its pending verdict, if it has one and nothing speaks against it any more.
pub(super) fn give_pending(db: &Database, seq: i64, terminal: &str, now: i64) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE envelopes SET verdict = pending_verdict, verdict_reason = pending_reason, verdict_at = ?3
         WHERE message = ?1 AND terminal = ?2 AND verdict IS NULL AND pending_verdict IS NOT NULL
           AND under_way IS NULL AND in_doubt_since IS NULL",
    )?
    .execute(params![seq, terminal, now])?;
    Ok(())
}
