//! A message for many terminals, accepted in steps: what others submit meanwhile waits for one step, not for a hundred thousand envelopes.
//!
//! ```text
//!   checks, row ──► envelopes, some in each step ──► the row counts them: accepted ──► those over quota fail
//!        │                     │                            └── the key was used meanwhile ──► unwound, answered as the first
//!        └── refused           └── crash, or a disk that fails ──► unwound at the next start or cleaning
//! ```
//!
//! Until its row counts them, nobody sees the message or its envelopes: nothing is due, and the provider has no answer. A message with a
//! replace key is not split: what it replaces goes with it or stays.

use std::collections::BTreeSet;

use bytes::Bytes;
use delivery::TerminalId;
use rusqlite::{Connection as Database, params};

use super::StoreError;
use super::arriving::{Arrival, Arriving};
use super::content::Pin;
use super::messages::{
    Accepted, Envelope, NewMessage, Queues, Row, answer_repeated, fail_over_quota, holder_of,
    insert_row, refuse_expired,
};
use super::quotas::{NearQuota, Quotas};
use super::stopwatch::Stopwatch;
use super::subscriptions::calls_at;
use super::worker::{BATCH, STEP_TIME, Step};
use model::subscription::Calls;

/// Messages for more terminals than this are written in steps.
pub(super) const WHOLE_MAX: usize = 1000;

/// Envelopes written between two looks at the clock.
const SOME: usize = 64;

/// What is still to be written of a message.
pub(super) struct FanOut {
    message: NewMessage,
    inline: Option<Bytes>,
    /// Keeps the content's file until the row names it.
    pin: Option<Pin>,
    quotas: Quotas,
    all: Arriving,
    /// When it came.
    now: i64,
    stage: Stage,
}

enum Stage {
    Beginning,
    Writing(Writing),
    /// It is accepted; these are failed.
    Failing(Writing),
    /// It has come twice: what was written of it goes.
    Unwinding(Arrival, Accepted),
    Over,
}

struct Writing {
    arrival: Arrival,
    /// Sorted against their order: each index is written from one end to the other.
    left: Vec<(TerminalId, Option<Calls>)>,
    over: Vec<Envelope>,
    written: u64,
    near: Vec<NearQuota>,
}

impl FanOut {
    pub(super) fn new(
        message: NewMessage,
        inline: Option<Bytes>,
        pin: Option<Pin>,
        quotas: Quotas,
        all: Arriving,
        now: i64,
    ) -> Self {
        Self {
            message,
            inline,
            pin,
            quotas,
            all,
            now,
            stage: Stage::Beginning,
        }
    }

    /// Writes some of it.
    pub(super) fn step(&mut self, db: &Database) -> Result<Step<Accepted>, StoreError> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Beginning => self.begin(db),
            Stage::Writing(writing) => self.write(db, writing),
            Stage::Failing(writing) => self.fail(db, writing),
            Stage::Unwinding(arrival, accepted) => match unwind_some(db, arrival.seq)? {
                true => Ok(Step::Done(accepted)),
                false => self.go_on(Stage::Unwinding(arrival, accepted)),
            },
            Stage::Over => Err(StoreError::Stopped), // nobody asks again
        }
    }

    fn go_on(&mut self, stage: Stage) -> Result<Step<Accepted>, StoreError> {
        self.stage = stage;
        Ok(Step::More)
    }

    /// Everything that can refuse it, and its row.
    fn begin(&mut self, db: &Database) -> Result<Step<Accepted>, StoreError> {
        let Self {
            message, quotas, ..
        } = self;
        if let Some(accepted) = answer_repeated(db, message)? {
            return Ok(Step::Done(accepted));
        }
        let now = self.now;
        refuse_expired(message, now)?;
        let mut near = Vec::new();
        let mut queues = Queues::prepare(db)?;
        queues.check_provider(message, *quotas, &mut near)?;
        for terminal in &message.terminals {
            queues.check_named(*terminal, message, *quotas, &mut near)?;
        }
        let named: BTreeSet<_> = message.terminals.iter().copied().collect();
        let registered = message
            .subscribers
            .iter()
            .flatten()
            .filter(|one| !named.contains(&one.terminal));
        let registered: Vec<_> = registered
            .map(|one| (one.terminal, Some(one.calls)))
            .collect();
        let mut left: Vec<_> = named
            .into_iter()
            .map(|terminal| (terminal, None))
            .chain(registered)
            .collect();
        left.sort_by_cached_key(|(terminal, _)| std::cmp::Reverse(terminal.to_string()));
        let row = Row {
            waiting: 0,
            settled_at: None,
            has_key: false,
        };
        let seq = insert_row(db, message, self.inline.as_ref(), now, &row)?;
        drop(self.pin.take());
        let arrival = Arrival::note(self.all.clone(), seq);
        self.go_on(Stage::Writing(Writing {
            arrival,
            left,
            over: Vec::new(),
            written: 0,
            near,
        }))
    }

    fn write(&mut self, db: &Database, mut writing: Writing) -> Result<Step<Accepted>, StoreError> {
        let began = Stopwatch::start();
        let Self {
            message, quotas, ..
        } = self;
        let mut queues = Queues::prepare(db)?;
        while !writing.left.is_empty() {
            let some = writing
                .left
                .split_off(writing.left.len().saturating_sub(SOME));
            let mut envelopes = Vec::with_capacity(some.len());
            for (terminal, calls) in some.into_iter().rev() {
                let id = terminal.to_string();
                let mut envelope = Envelope {
                    terminal: id,
                    calls_at: None,
                    over: None,
                };
                if let Some(calls) = calls {
                    // Removed since it was asked for.
                    let Some((name, waits)) = queues.of_terminal(&envelope.terminal)? else {
                        continue;
                    };
                    // A subscriber for whom too much waits does not keep the news from the others.
                    let holder = || holder_of(&name, message);
                    let checked =
                        quotas
                            .terminal
                            .check(waits, message.head.size, holder, &mut writing.near);
                    (envelope.calls_at, envelope.over) = (calls_at(calls), checked.err());
                }
                envelopes.push(envelope);
            }
            queues.add(writing.arrival.seq, message, &envelopes)?;
            writing.written += envelopes.len() as u64;
            writing.over.extend(
                envelopes
                    .into_iter()
                    .filter(|envelope| envelope.over.is_some()),
            );
            if began.elapsed() >= STEP_TIME {
                return self.go_on(Stage::Writing(writing));
            }
        }
        self.finish(db, writing)
    }

    /// From the commit of this step on it is accepted.
    fn finish(&mut self, db: &Database, writing: Writing) -> Result<Step<Accepted>, StoreError> {
        let Self { message, .. } = self;
        if let Some(accepted) = answer_repeated(db, message)? {
            return self.go_on(Stage::Unwinding(writing.arrival, accepted));
        }
        let seq = writing.arrival.seq;
        // Counted, not remembered: a terminal may have been removed in between.
        let waiting: i64 = db
            .prepare_cached(
                "SELECT count(*) FROM envelopes WHERE message = ?1 AND verdict IS NULL",
            )?
            .query_row([seq], |row| row.get(0))?;
        let key = message.handling.idempotency_key.as_ref();
        db.prepare_cached(
            "UPDATE messages SET waiting = ?2, settled_at = ?3, idempotency_key = ?4, fingerprint = ?5 WHERE seq = ?1",
        )?
        .execute(params![
            seq,
            waiting,
            (waiting == 0).then_some(self.now),
            key,
            key.map(|_| message.fingerprint())
        ])?;
        if waiting > 0 {
            Queues::prepare(db)?.count_message(message)?;
        }
        self.fail(db, writing)
    }

    fn fail(&mut self, db: &Database, mut writing: Writing) -> Result<Step<Accepted>, StoreError> {
        let began = Stopwatch::start();
        while !writing.over.is_empty() {
            if began.elapsed() >= STEP_TIME {
                return self.go_on(Stage::Failing(writing));
            }
            let some = writing
                .over
                .split_off(writing.over.len().saturating_sub(SOME));
            fail_over_quota(db, writing.arrival.seq, &some, self.now)?;
        }
        let Writing { written, near, .. } = writing;
        let id = self.message.head.id;
        Ok(Step::Done(Accepted {
            id,
            is_repeated: false,
            envelopes: written,
            replaced: 0,
            near,
        }))
    }
}

/// Messages that have begun, and were not accepted.
pub(super) const UNFINISHED: &str =
    "SELECT seq FROM messages WHERE waiting <= 0 AND settled_at IS NULL";

/// Removes what a crash has left of messages that were not accepted.
pub(super) fn unwind_all(db: &Database) -> Result<(), StoreError> {
    for seq in unfinished(db)? {
        while !unwind_some(db, seq)? {}
        tracing::warn!(
            seq,
            "a message that was not accepted yet when the server stopped is gone"
        );
    }
    Ok(())
}

pub(super) fn unfinished(db: &Database) -> Result<Vec<i64>, StoreError> {
    let mut select = db.prepare_cached(UNFINISHED)?;
    let found = select.query_map([], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn is_unfinished(db: &Database, seq: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM messages WHERE seq = ?1 AND waiting <= 0 AND settled_at IS NULL)";
    Ok(db.prepare_cached(sql)?.query_row([seq], |row| row.get(0))?)
}

/// Removes some of a message that was not accepted. `true`: nothing is left of it.
pub(super) fn unwind_some(db: &Database, seq: i64) -> Result<bool, StoreError> {
    let began = Stopwatch::start();
    let mut select = db.prepare_cached(
        "SELECT terminal, verdict IS NULL, size FROM envelopes WHERE message = ?1 LIMIT ?2",
    )?;
    let mut delete =
        db.prepare_cached("DELETE FROM envelopes WHERE message = ?1 AND terminal = ?2")?;
    let mut count = db.prepare_cached(
        "UPDATE queues SET messages = messages - 1, octets = octets - ?2 WHERE terminal = ?1",
    )?;
    loop {
        let some = select.query_map(params![seq, BATCH], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, bool>(1)?,
                row.get::<_, i64>(2)?,
            ))
        })?;
        let some = some.collect::<Result<Vec<_>, _>>()?;
        for (terminal, is_counted, size) in &some {
            delete.execute(params![seq, terminal])?;
            if *is_counted {
                count.execute(params![terminal, size])?;
            }
        }
        if some.len() < BATCH as usize {
            db.prepare_cached("DELETE FROM contents WHERE message = ?1")?
                .execute([seq])?;
            db.prepare_cached("DELETE FROM messages WHERE seq = ?1")?
                .execute([seq])?;
            return Ok(true);
        }
        if began.elapsed() >= STEP_TIME {
            return Ok(false);
        }
    }
}
