//! Verdicts that no receipt brings: expired, cancelled, failed. Each is written where none stands, and once. Those of a message of
//! many terminals are given in steps.

use std::sync::atomic::Ordering;

use delivery::{MessageId, TerminalId};
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, ToSql, params};

use super::stopwatch::Stopwatch;
use super::worker::{BATCH, BATCH_TIME, STEP_TIME, Step};
use super::{Store, StoreError, run_blocking};
use model::directory::Name;
use model::verdict::Verdict;

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
    /// pending. `None`: there is no such message (of this provider, if one is given). One of many terminals is cancelled in steps:
    /// a call that begins meanwhile may have it for a terminal whose turn has not come.
    ///
    /// # Errors
    /// [`StoreError`]: it may be cancelled for some; again cancels the rest.
    pub async fn cancel(
        &self,
        id: MessageId,
        of: Option<Name>,
        reason: &'static str,
        now: Timestamp,
    ) -> Result<Option<Cancelled>, StoreError> {
        let now = now.as_millisecond();
        let mut giving: Option<Giving> = None;
        self.writer
            .run_steps(move |db| {
                let mut going_on = match giving.take() {
                    Some(going_on) => going_on,
                    None => {
                        let found = db
                            .prepare_cached("SELECT seq, provider FROM messages WHERE id = ?1")?
                            .query_row([id.to_string()], |row| {
                                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
                            })
                            .optional()?;
                        let Some((seq, provider)) = found else {
                            return Ok(Step::Done(None));
                        };
                        if of.as_ref().is_some_and(|of| of.to_string() != provider) {
                            return Ok(Step::Done(None));
                        }
                        Giving::new(seq, Verdict::Cancelled, reason, now)
                    }
                };
                if going_on.step(db)? {
                    let Giving {
                        given,
                        pending,
                        settled,
                        ..
                    } = going_on;
                    return Ok(Step::Done(Some(Cancelled {
                        cancelled: given,
                        under_way: pending,
                        settled,
                    })));
                }
                giving = Some(going_on);
                Ok(Step::More)
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
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run(move |db| {
                let of = "message = (SELECT seq FROM messages WHERE id = ?4) AND terminal = ?5";
                let settled = give(
                    db,
                    verdict,
                    Some(&reason),
                    now,
                    of,
                    &[&id.to_string(), &terminal.to_string()],
                )?;
                Ok(settled == 1)
            })
            .await
    }

    /// When the next message that waits expires, of those that [`Store::expire`] has not dealt with. Pure of the clock: ask again
    /// after each wake.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        let after = self.expired.until();
        self.reader
            .run(move |db| {
                let at: Option<i64> = db
                    .prepare_cached(NEXT_EXPIRY)?
                    .query_row([after], |row| row.get(0))
                    .optional()?;
                Ok(at.and_then(|at| Timestamp::from_millisecond(at).ok()))
            })
            .await
    }

    /// Waits until a message has come that expires: [`Store::next_expiry`] may be another one now.
    pub async fn expiring(&self) {
        self.expiring.notified().await;
    }

    /// Gives every envelope whose time is over by `now` its verdict; tells how many. Where the message is on a line, or the
    /// terminal may have it, that is pending.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn expire(&self, now: Timestamp) -> Result<usize, StoreError> {
        let (mut expired, mut after) = (0, Some(None));
        // In batches: a message for a hundred thousand terminals keeps no submission waiting until all of it has expired.
        while let Some(from) = after {
            let dealt_with = self.expired.clone();
            let batch = self.writer.run(move |db| {
                let from = from.unwrap_or_else(|| {
                    dealt_with.look();
                    Expiring {
                        at: dealt_with.until().saturating_add(1),
                        ..Expiring::default()
                    }
                });
                let (expired, after) = expire_some(db, now.as_millisecond(), from)?;
                if after.is_none() {
                    dealt_with.looked(now.as_millisecond());
                }
                Ok((expired, after))
            });
            // What was not committed is looked at again, and all else with it.
            let batch = batch.await.inspect_err(|_| self.expired.comes(i64::MIN))?;
            (expired, after) = (expired + batch.0, batch.1.map(Some));
        }
        self.vitals
            .expired
            .fetch_add(expired as u64, Ordering::Relaxed);
        Ok(expired)
    }

    /// Puts a damaged message out of the way: its content is moved aside, and every envelope that waits has failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantine(
        &self,
        id: MessageId,
        reason: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        let found = self
            .reader
            .run(move |db| {
                let found = db
                    .prepare_cached("SELECT seq, digest, kept FROM messages WHERE id = ?1")?
                    .query_row([id.to_string()], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
                    .optional()?;
                Ok(found)
            })
            .await?;
        let in_file = match found {
            None => None,
            Some((seq, digest, kept)) => {
                let (digest, kept): (String, String) = (digest, kept);
                self.writer.run_steps(fail(seq, reason, now)).await?;
                (kept == "file")
                    .then_some(digest)
                    .and_then(|digest| digest.parse().ok())
            }
        };
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
    pub(super) async fn quarantine_row(&self, seq: i64, now: Timestamp) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run_steps(fail(seq, "the message's row is damaged", now))
            .await?;
        self.vitals.damaged.fetch_add(1, Ordering::Relaxed);
        tracing::error!(seq, "damaged row quarantined");
        Ok(())
    }
}

pub(super) const NEXT_EXPIRY: &str = "SELECT expires_at FROM messages
    WHERE expires_at IS NOT NULL AND waiting > 0 AND expires_at > ?1 ORDER BY expires_at LIMIT 1";

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
fn expire_some(
    db: &Database,
    now: i64,
    mut from: Expiring,
) -> Result<(usize, Option<Expiring>), StoreError> {
    let began = Stopwatch::start();
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
        let found = messages.query_map(params![now, from.at, from.seq, BATCH], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let found = found.collect::<Result<Vec<(i64, i64)>, _>>()?;
        for (at, seq) in &found {
            let mut terminal = if *seq == from.seq {
                std::mem::take(&mut from.terminal)
            } else {
                String::new()
            };
            loop {
                let read = |row: &rusqlite::Row<'_>| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
                };
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
                terminal = terminals
                    .into_iter()
                    .last()
                    .map_or(terminal, |(last, _)| last);
                if began.elapsed() >= BATCH_TIME {
                    return Ok((
                        expired,
                        Some(Expiring {
                            at: *at,
                            seq: *seq,
                            terminal,
                        }),
                    ));
                }
                if is_last {
                    break;
                }
            }
            from = Expiring {
                at: *at,
                seq: *seq,
                terminal,
            };
        }
        if found.len() < BATCH as usize {
            return Ok((expired, None));
        }
    }
}

/// Fails what waits of a message whose content is of no use, in steps.
fn fail(
    seq: i64,
    reason: &'static str,
    now: i64,
) -> impl FnMut(&Database) -> Result<Step<()>, StoreError> {
    let (mut is_marked, mut giving) = (false, Giving::new(seq, Verdict::Failed, reason, now));
    move |db| {
        if !is_marked {
            db.prepare_cached("UPDATE messages SET kept = 'damaged' WHERE seq = ?1")?
                .execute([seq])?;
            is_marked = true;
        }
        Ok(if giving.step(db)? {
            Step::Done(())
        } else {
            Step::More
        })
    }
}

/// A verdict that all the envelopes of a message get which have none, in steps of some milliseconds: others write in between.
pub(super) struct Giving {
    seq: i64,
    verdict: Verdict,
    reason: &'static str,
    /// When it is given.
    now: i64,
    /// The last terminal that was dealt with.
    after: String,
    /// Those that have it now.
    pub(super) given: u64,
    /// Those for which it is pending, or another one is.
    pending: u64,
    /// Those that had one.
    settled: u64,
}

/// The envelopes of a message behind a terminal, in order.
pub(super) const ENVELOPES_AFTER: &str = "SELECT terminal, verdict IS NOT NULL FROM envelopes
    WHERE message = ?1 AND terminal > ?2 ORDER BY terminal LIMIT ?3";

impl Giving {
    pub(super) fn new(seq: i64, verdict: Verdict, reason: &'static str, now: i64) -> Self {
        Self {
            seq,
            verdict,
            reason,
            now,
            after: String::new(),
            given: 0,
            pending: 0,
            settled: 0,
        }
    }

    /// Gives it to some. `true`: those were the last.
    pub(super) fn step(&mut self, db: &Database) -> Result<bool, StoreError> {
        let began = Stopwatch::start();
        let mut select = db.prepare_cached(ENVELOPES_AFTER)?;
        loop {
            let read =
                |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?));
            let some = select.query_map(params![self.seq, self.after, BATCH], read)?;
            let some = some.collect::<Result<Vec<_>, _>>()?;
            for (terminal, is_settled) in &some {
                let of = "message = ?4 AND terminal = ?5";
                let given = match is_settled {
                    true => 0,
                    false => give(
                        db,
                        self.verdict,
                        Some(self.reason),
                        self.now,
                        of,
                        &[&self.seq, terminal],
                    )?,
                };
                let count = match (is_settled, given) {
                    (true, _) => &mut self.settled,
                    (false, 0) => &mut self.pending,
                    (false, _) => &mut self.given,
                };
                *count += 1;
            }
            let is_last = some.len() < BATCH as usize;
            self.after = some
                .into_iter()
                .last()
                .map_or(std::mem::take(&mut self.after), |(last, _)| last);
            if is_last || began.elapsed() >= STEP_TIME {
                return Ok(is_last);
            }
        }
    }
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
pub(super) fn give_pending(
    db: &Database,
    seq: i64,
    terminal: &str,
    now: i64,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE envelopes SET verdict = pending_verdict, verdict_reason = pending_reason, verdict_at = ?3
         WHERE message = ?1 AND terminal = ?2 AND verdict IS NULL AND pending_verdict IS NOT NULL
           AND under_way IS NULL AND in_doubt_since IS NULL",
    )?
    .execute(params![seq, terminal, now])?;
    Ok(())
}
