//! What waits for a terminal, and what came of each time that it was brought: the evidence.

use std::sync::atomic::Ordering;

use delivery::{Due, MessageId, TerminalId, Urgency};
use jiff::Timestamp;
use line::CallId;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::doubts::OF_FORMER;
use super::fan_out::UNFINISHED;
use super::keys::can_be_proved;
use super::pauses::is_paused;
use super::rows::{parse, read_count, read_urgency};
use super::stated::NOT_TAKEN;
use super::verdicts::give_pending;
use super::{Owner, Store, StoreError};
use model::attempt::AttemptKind;
use model::verdict::Verdict;

/// Envelopes that one look gives. A terminal for which more waits is brought these first; more than memory cares for.
const DUE_MAX: u32 = 4096;

/// Of envelopes `e`: those that are to be sent at the time ?2. One that its terminal has refused rests first.
const IS_DUE: &str = "e.verdict IS NULL AND e.pending_verdict IS NULL AND (e.rests_until IS NULL OR e.rests_until <= ?2)";

/// Of those: they may cause a call at the time ?2.
const MAY_CALL: &str =
    "e.verdict IS NULL AND e.pending_verdict IS NULL AND (e.rests_until IS NULL OR e.rests_until <= ?2)
    AND (e.calls_at IS NULL OR e.calls_at <= ?2)";

/// How an attempt ended that no receipt ended.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// For programs.
    pub kind: AttemptKind,
    /// For people.
    pub words: String,
    /// What it says of whether the terminal has the message.
    pub doubt: Doubt,
}

impl AttemptEnd {
    /// Neither receipt nor refusal came.
    pub fn broken(words: impl Into<String>, doubt: Doubt) -> Self {
        Self {
            kind: AttemptKind::Broken,
            words: words.into(),
            doubt,
        }
    }

    /// The terminal refused the message.
    pub fn refused(words: impl Into<String>, doubt: Doubt) -> Self {
        Self {
            kind: AttemptKind::Refused,
            words: words.into(),
            doubt,
        }
    }

    /// The message is not taken for now.
    pub fn put_off(words: impl Into<String>, doubt: Doubt) -> Self {
        Self {
            kind: AttemptKind::PutOff,
            words: words.into(),
            doubt,
        }
    }
}

/// What waits for a terminal, as far as it matters for when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostUrgent {
    /// The terminal.
    pub terminal: TerminalId,
    /// That of the most urgent message.
    pub urgency: Urgency,
    /// When the first of them is worth nothing any more.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// The messages that wait for a terminal, in the order in which they are to be delivered: the most urgent first, then
    /// the oldest; at most 4096.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn due(&self, terminal: TerminalId, now: Timestamp) -> Result<Vec<Due>, StoreError> {
        let at = now.as_millisecond();
        let (mut due, damaged) = self
            .reader
            .run(move |db| {
                let mut select = db.prepare_cached(&format!(
                    "SELECT m.id, e.urgency, e.message, m.size FROM envelopes e LEFT JOIN messages m ON m.seq = e.message
                     WHERE e.terminal = ?1 AND {IS_DUE} AND coalesce(m.waiting, 1) > 0 AND NOT {NOT_TAKEN}
                     ORDER BY e.urgency, e.message LIMIT ?3"
                ))?;
                let mut rows = select.query(params![terminal.to_string(), at, DUE_MAX])?;
                let (mut due, mut damaged) = (Vec::new(), Vec::new());
                while let Some(row) = rows.next()? {
                    let id = row.get::<_, Option<String>>(0)?.unwrap_or_default();
                    match (id.parse::<MessageId>(), read_urgency(row.get(1)?)) {
                        (Ok(id), Ok(urgency)) => due.push(Due { urgency, id, size: read_count(row, 3)? }),
                        _ => damaged.push(row.get::<_, i64>(2)?),
                    }
                }
                Ok((due, damaged))
            })
            .await?;
        for seq in damaged {
            self.quarantine_row(seq, now).await?;
        }
        // Ids sort by time; their base64url text, which the database would sort, does not.
        due.sort_unstable();
        Ok(due)
    }

    /// The most urgent of what waits and may cause a call, for each terminal for which there is any.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn urgencies(&self, now: Timestamp) -> Result<Vec<MostUrgent>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .survey(move |db| {
                let mut select = db.prepare_cached(&first_urgencies())?;
                let mut rows = select.query([now])?;
                let mut all = Vec::new();
                while let Some(row) = rows.next()? {
                    let Some(urgency) = row.get::<_, Option<i64>>(1)? else {
                        continue;
                    };
                    let (id, urgency) = (row.get::<_, String>(0)?, read_urgency(urgency)?);
                    let (terminal, expires_at) = (
                        parse(&id, "an envelope")?,
                        first_deadline(db, &id, urgency, now)?,
                    );
                    all.push(MostUrgent {
                        terminal,
                        urgency,
                        expires_at,
                    });
                }
                Ok(all)
            })
            .await
    }

    /// The same for one terminal. Asked with every submission: it looks at one envelope, and at one more of bulk, of which alone
    /// the expiry matters.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn urgency(
        &self,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<Option<MostUrgent>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| most_urgent(db, terminal, now))
            .await
    }

    /// The same, and whether the terminal may be called for it: it is not paused, and it can be proved.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn demand(
        &self,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<Option<(MostUrgent, bool)>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| {
                let Some(found) = most_urgent(db, terminal, now)? else {
                    return Ok(None);
                };
                Ok(Some((found, may_be_called(db, terminal, now)?)))
            })
            .await
    }

    /// Whether a terminal may be called: it is not paused, and it can be proved.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn may_be_called(
        &self,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| may_be_called(db, terminal, now))
            .await
    }

    /// How many messages wait for a terminal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting(&self, terminal: TerminalId) -> Result<u64, StoreError> {
        self.reader
            .run(move |db| {
                let mut select =
                    db.prepare_cached("SELECT messages FROM queues WHERE terminal = ?1")?;
                let messages = select
                    .query_row([terminal.to_string()], |row| read_count(row, 0))
                    .optional()?;
                Ok(messages.unwrap_or_default())
            })
            .await
    }

    /// Notes that a delivery came to nothing, and why; the message waits on, or gets the verdict that waited for this.
    ///
    /// # Errors
    /// [`StoreError`]: it is noted when the call ends.
    pub async fn end_delivery(
        &self,
        id: MessageId,
        terminal: TerminalId,
        call: CallId,
        how: AttemptEnd,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run(move |db| {
                let seq = db
                    .prepare_cached("SELECT seq FROM messages WHERE id = ?1")?
                    .query_row([id.to_string()], |row| row.get::<_, i64>(0))
                    .optional()?;
                let Some(seq) = seq else { return Ok(()) };
                end(db, seq, &terminal.to_string(), &call.to_string(), &how, now)
            })
            .await
    }

    /// Frees what a call has under way on which the far end was not proved: nothing of it was read there.
    ///
    /// # Errors
    /// [`StoreError`]: it is freed, and in doubt, when the call ends.
    pub async fn unproved(&self, call: CallId, now: Timestamp) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        let how = AttemptEnd::broken("the terminal was not proved", Doubt::Unchanged);
        self.writer
            .run(move |db| release(db, call, &how, now))
            .await
    }

    /// Writes the verdict of an envelope: delivered to a terminal that has proved its key, with the call as evidence. An
    /// envelope that has one keeps it; `Some`: it is another one, and what the provider was told is false.
    ///
    /// # Errors
    /// [`StoreError`]: the message will be delivered again.
    pub async fn delivered(
        &self,
        id: MessageId,
        terminal: TerminalId,
        call: CallId,
        now: Timestamp,
    ) -> Result<Option<Verdict>, StoreError> {
        self.write_delivered(id, terminal, call, None, now).await
    }

    /// The same, for a terminal without a key: `evidence` says what its word is worth.
    ///
    /// # Errors
    /// [`StoreError`]: the message will be delivered again.
    pub async fn delivered_by(
        &self,
        id: MessageId,
        terminal: TerminalId,
        call: CallId,
        evidence: &'static str,
        now: Timestamp,
    ) -> Result<Option<Verdict>, StoreError> {
        self.write_delivered(id, terminal, call, Some(evidence), now)
            .await
    }

    async fn write_delivered(
        &self,
        id: MessageId,
        terminal: TerminalId,
        call: CallId,
        evidence: Option<&'static str>,
        now: Timestamp,
    ) -> Result<Option<Verdict>, StoreError> {
        let now = now.as_millisecond();
        let other = self
            .writer
            .run(move |db| {
                let (terminal, call) = (terminal.to_string(), call.to_string());
                let found = db
                    .prepare_cached("SELECT seq, size FROM messages WHERE id = ?1")?
                    .query_row([id.to_string()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
                    .optional()?;
                let Some((seq, size)) = found else { return Ok(None) };
                let given = db
                    .prepare_cached(
                        "UPDATE envelopes SET verdict = 'delivered', under_way = NULL, verdict_call = ?3, verdict_at = ?4,
                           verdict_reason = ?5
                         WHERE message = ?1 AND terminal = ?2 AND verdict IS NULL",
                    )?
                    .execute(params![seq, terminal, call, now, evidence])?;
                let stands: Option<String> = match given {
                    1 => None,
                    _ => db
                        .prepare_cached("SELECT verdict FROM envelopes WHERE message = ?1 AND terminal = ?2")?
                        .query_row(params![seq, terminal], |row| row.get(0))
                        .optional()?
                        .flatten(),
                };
                let other = stands.map(|verdict| parse::<Verdict>(&verdict, "a verdict")).transpose()?;
                let other = other.filter(|verdict| *verdict != Verdict::Delivered);
                let outcome = other.map_or_else(
                    || "delivered".to_owned(),
                    |verdict| format!("delivered, in spite of the verdict {verdict}"),
                );
                let ended = db
                    .prepare_cached(
                        "UPDATE deliveries SET ended_at = ?4, outcome = ?6, octets = ?5, kind = 'delivered'
                         WHERE message = ?1 AND terminal = ?2 AND call = ?3 AND ended_at IS NULL",
                    )?
                    .execute(params![seq, terminal, call, now, size, outcome])?;
                if ended == 0 && (given == 1 || other.is_some()) {
                    db.prepare_cached("INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?4, ?6, ?5, 'delivered')")?
                        .execute(params![seq, terminal, call, now, size, outcome])?;
                }
                Ok(other)
            })
            .await?;
        if let Some(verdict) = other {
            self.vitals.conflicts.fetch_add(1, Ordering::Relaxed);
            tracing::error!(message_id = %id, %terminal, %call, %verdict, "the terminal has a message whose verdict says otherwise");
        }
        Ok(other)
    }
}

/// The urgency of the most urgent envelope of a terminal that may cause a call at `?2`, out of the index alone. Messages that are not
/// accepted yet have an index of their own, which is nearly always empty.
pub(super) fn first_urgency(terminal: &str) -> String {
    format!(
        "SELECT e.urgency FROM envelopes e
         WHERE e.terminal = {terminal} AND {MAY_CALL} AND e.message NOT IN ({UNFINISHED}) AND NOT {NOT_TAKEN}
         ORDER BY e.urgency, e.message LIMIT 1"
    )
}

/// The provider of that envelope's message: who pays for the call.
pub(super) fn first_provider() -> String {
    format!(
        "SELECT provider FROM messages WHERE seq = (SELECT e.message FROM envelopes e
         WHERE e.terminal = ?1 AND {MAY_CALL} AND e.message NOT IN ({UNFINISHED}) AND NOT {NOT_TAKEN}
         ORDER BY e.urgency, e.message LIMIT 1)"
    )
}

/// Of each terminal for which anything waits, at `?1`: one look for each, however much that is.
pub(super) fn first_urgencies() -> String {
    let first = first_urgency("q.terminal").replace("?2", "?1");
    format!("SELECT q.terminal, ({first}) FROM queues q WHERE q.messages > 0")
}

fn may_be_called(db: &Database, terminal: TerminalId, now: i64) -> Result<bool, StoreError> {
    Ok(!is_paused(db, terminal)? && can_be_proved(db, terminal, now)?)
}

fn most_urgent(
    db: &Database,
    terminal: TerminalId,
    now: i64,
) -> Result<Option<MostUrgent>, StoreError> {
    let id = terminal.to_string();
    let mut select = db.prepare_cached(&first_urgency("?1"))?;
    let first: Option<i64> = select
        .query_row(params![id, now], |row| row.get(0))
        .optional()?;
    let Some(urgency) = first.map(read_urgency).transpose()? else {
        return Ok(None);
    };
    Ok(Some(MostUrgent {
        terminal,
        urgency,
        expires_at: first_deadline(db, &id, urgency, now)?,
    }))
}

/// When the first message expires that waits for a terminal for which nothing is more urgent than bulk.
pub(super) fn first_deadline_sql() -> String {
    format!(
        "SELECT e.deadline FROM envelopes e WHERE e.terminal = ?1 AND e.deadline IS NOT NULL AND {MAY_CALL}
           AND e.message NOT IN ({UNFINISHED}) AND NOT {NOT_TAKEN}
         ORDER BY e.deadline LIMIT 1"
    )
}

fn first_deadline(
    db: &Database,
    terminal: &str,
    urgency: Urgency,
    now: i64,
) -> Result<Option<Timestamp>, StoreError> {
    if urgency != Urgency::Bulk {
        return Ok(None);
    }
    let at: Option<i64> = db
        .prepare_cached(&first_deadline_sql())?
        .query_row(params![terminal, now], |row| row.get(0))
        .optional()?;
    Ok(at.and_then(|at| Timestamp::from_millisecond(at).ok()))
}

/// What the end of an attempt says of whether the terminal has the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Not all of it has left: the terminal cannot have it by this attempt.
    Unchanged,
    /// The last octet may have left, and there is no receipt. The doubt is another one than any before.
    Raised,
    /// The terminal has said that it does not have it.
    Dispelled,
}

/// Ends what is under way on a call that is over, and every attempt that was made on it: one may have lost its message to a late
/// receipt of another call.
pub(super) fn release(
    db: &Database,
    call: CallId,
    how: &AttemptEnd,
    now: i64,
) -> Result<(), StoreError> {
    let call = call.to_string();
    let mut select =
        db.prepare_cached("SELECT message, terminal FROM envelopes WHERE under_way = ?1")?;
    let under_way = select.query_map([&call], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let under_way = under_way.collect::<Result<Vec<_>, _>>()?;
    under_way
        .iter()
        .try_for_each(|(seq, terminal)| end(db, *seq, terminal, &call, how, now))?;
    db.prepare_cached(END_ATTEMPTS)?
        .execute(params![call, now, how.words, how.kind.as_str()])?;
    Ok(())
}

/// The attempts on a call that nothing has ended.
pub(super) const END_ATTEMPTS: &str = "UPDATE deliveries SET ended_at = ?2, outcome = ?3, kind = ?4 WHERE call = ?1 AND ended_at IS NULL";

/// Ends what is under way of an earlier start of a server: no call survives the process, and how much of a message has left is not known.
pub(super) fn release_all(
    db: &Database,
    owner: &Owner,
    outcome: &str,
    now: i64,
) -> Result<(), StoreError> {
    let mut select = db.prepare(
        "SELECT under_way FROM envelopes WHERE under_way IS NOT NULL AND owner = ?1 AND epoch < ?2
         UNION SELECT id FROM calls WHERE ended_at IS NULL AND owner = ?1 AND epoch < ?2",
    )?;
    let calls = select
        .query_map(params![owner.id, owner.epoch], |row| {
            row.get::<_, String>(0)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for call in calls {
        release(
            db,
            parse(&call, "the id of a call")?,
            &AttemptEnd::broken(outcome, Doubt::Raised),
            now,
        )?;
    }
    Ok(())
}

/// Ends an attempt on this call; the envelope is free, in doubt or settled afterwards.
pub(super) fn end(
    db: &Database,
    seq: i64,
    terminal: &str,
    call: &str,
    how: &AttemptEnd,
    now: i64,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE deliveries SET ended_at = ?4, outcome = ?5, kind = ?6
         WHERE message = ?1 AND terminal = ?2 AND call = ?3 AND ended_at IS NULL",
    )?
    .execute(params![
        seq,
        terminal,
        call,
        now,
        how.words,
        how.kind.as_str()
    ])?;
    let doubt = match how.doubt {
        Doubt::Unchanged => "unchanged",
        Doubt::Raised => "raised",
        Doubt::Dispelled => "dispelled",
    };
    // What was begun before the terminal's key was enrolled went to the machine that had the name then.
    let free = format!(
        "UPDATE envelopes SET under_way = NULL, in_doubt_since =
           CASE
             WHEN ?4 = 'unchanged' OR {OF_FORMER} THEN in_doubt_since
             WHEN ?4 = 'dispelled' THEN NULL
             WHEN in_doubt_since >= ?5 THEN in_doubt_since + 1
             ELSE coalesce(
               (SELECT max(k.enrolled_at) - 1 FROM deliveries d JOIN terminal_keys k ON k.terminal = d.terminal
                WHERE d.message = ?1 AND d.terminal = ?2 AND d.call = ?3 AND d.began_at < k.enrolled_at), ?5) END
         WHERE message = ?1 AND terminal = ?2 AND under_way = ?3"
    );
    let freed = db
        .prepare_cached(&free)?
        .execute(params![seq, terminal, call, doubt, now])?;
    if freed == 1 {
        give_pending(db, seq, terminal, now)?;
    }
    Ok(())
}
