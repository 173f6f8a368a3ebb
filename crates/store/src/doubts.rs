//! Doubts: messages whose last octet left without a receipt. The terminal knows whether it has them, and is asked in its next
//! session, whatever that is for; no call is placed for the question alone.

use std::time::Duration;

use delivery::{MessageId, TerminalId};
use jiff::{SignedDuration, Timestamp};
use line::CallId;
use rusqlite::{OptionalExtension as _, params};

use super::rows::{parse, time};
use super::verdicts::give_pending;
use super::worker::BATCH;
use super::{Store, StoreError};
use model::verdict::Verdict;

/// Doubts of one terminal that a session asks about; the next session asks about more.
const DOUBTS_MAX: u32 = 1000;

/// The reason of a verdict about a message that may have been published.
pub(crate) const UNKNOWN: &str =
    "unknown: all of it was sent, and the terminal was not heard of again";

/// The evidence of a receipt that was asked for.
const ASKED: &str = "the terminal had it when it was asked";

/// A message that a terminal may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubtful {
    /// Which.
    pub id: MessageId,
    /// A verdict other than `delivered` waits for the answer; the message itself is not sent again.
    pub is_pending: bool,
    /// Since when: an answer is about this doubt, and not about one that another session has raised meanwhile.
    pub since: Timestamp,
}

/// The doubt is about a machine whose key is forgotten: what the machine that has the terminal's name now says is no answer.
pub(super) const OF_FORMER: &str = "EXISTS (SELECT 1 FROM terminal_keys k
    WHERE k.terminal = envelopes.terminal AND k.enrolled_at > envelopes.in_doubt_since)";

const FORGET: &str = "UPDATE envelopes SET verdict = 'failed', verdict_reason = ?1, verdict_at = ?2
    WHERE (message, terminal) IN (SELECT message, terminal FROM envelopes
      WHERE in_doubt_since IS NOT NULL AND verdict IS NULL AND in_doubt_since <= ?3
        AND pending_verdict IS NOT NULL AND under_way IS NULL LIMIT ?4)";

impl Store {
    /// The messages that this terminal may have, and that are not under way; those with a pending verdict first, at most 1000.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn doubts(&self, terminal: TerminalId) -> Result<Vec<Doubtful>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT m.id, e.pending_verdict IS NOT NULL, e.in_doubt_since FROM envelopes e JOIN messages m ON m.seq = e.message
                     WHERE e.terminal = ?1 AND e.in_doubt_since IS NOT NULL AND e.verdict IS NULL AND e.under_way IS NULL
                     ORDER BY e.pending_verdict IS NULL, e.message LIMIT ?2",
                )?;
                let mut rows = select.query(params![terminal.to_string(), DOUBTS_MAX])?;
                let mut doubts = Vec::new();
                while let Some(row) = rows.next()? {
                    let id = parse(&row.get::<_, String>(0)?, "the id of a message")?;
                    doubts.push(Doubtful { id, is_pending: row.get(1)?, since: time(row.get(2)?, "a doubt")? });
                }
                Ok(doubts)
            })
            .await
    }

    /// The terminal has said, when it was asked, that a message is published there: it is delivered. `Some`: a verdict that
    /// says otherwise stands.
    ///
    /// # Errors
    /// [`StoreError`]: it is asked again.
    pub async fn found_there(
        &self,
        id: MessageId,
        terminal: TerminalId,
        call: CallId,
        now: Timestamp,
    ) -> Result<Option<Verdict>, StoreError> {
        self.delivered_by(id, terminal, call, ASKED, now).await
    }

    /// The terminal has said, when it was asked, that a message is not published there: it is free again, and gets the verdict
    /// that waited for that. If another session has sent it since, it stays in doubt: the answer may be older than that. And if the
    /// terminal was enrolled anew since: another machine may have it.
    ///
    /// # Errors
    /// [`StoreError`]: it is asked again.
    pub async fn not_there(
        &self,
        doubt: Doubtful,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        let Doubtful { id, since, .. } = doubt;
        self.writer
            .run(move |db| {
                let terminal = terminal.to_string();
                let free = format!(
                    "UPDATE envelopes SET in_doubt_since = NULL
                     WHERE message = (SELECT seq FROM messages WHERE id = ?1) AND terminal = ?2 AND verdict IS NULL
                       AND under_way IS NULL AND in_doubt_since = ?3 AND NOT {OF_FORMER}
                     RETURNING message"
                );
                let seq: Option<i64> = db
                    .prepare_cached(&free)?
                    .query_row(params![id.to_string(), terminal, since.as_millisecond()], |row| row.get(0))
                    .optional()?;
                seq.map_or(Ok(()), |seq| give_pending(db, seq, &terminal, now))
            })
            .await
    }

    /// Fails what has been in doubt for longer than `longest` by `now` and has a verdict pending: it is unknown whether it was
    /// published. Gives how many. A message without a pending verdict waits on, and is sent again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_doubts(
        &self,
        now: Timestamp,
        longest: Duration,
    ) -> Result<usize, StoreError> {
        let before =
            now.saturating_sub(SignedDuration::try_from(longest).unwrap_or(SignedDuration::MAX));
        let before = before.map_or(i64::MIN, Timestamp::as_millisecond);
        let mut forgotten = 0;
        loop {
            let some = self.writer.run(move |db| {
                Ok(db.prepare_cached(FORGET)?.execute(params![
                    UNKNOWN,
                    now.as_millisecond(),
                    before,
                    BATCH
                ])?)
            });
            let some = some.await?;
            forgotten += some;
            if some < BATCH as usize {
                return Ok(forgotten);
            }
        }
    }
}
