//! Mails of which a sender is to be told that they did not arrive.

use delivery::{MessageId, TerminalId};
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::rows::{parse, read_count, time};
use super::{Store, StoreError};
use model::verdict::Verdict;

/// Where a mail came from, and under which address each terminal was written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnPath {
    /// The reverse-path of SMTP; never empty: who gave none wants to be told nothing.
    pub sender: String,
    /// The recipients' addresses.
    pub recipients: Vec<(TerminalId, String)>,
}

/// A notification that is to be sent.
#[derive(Debug, Clone)]
pub struct Bounce {
    /// Its key in the store.
    pub id: i64,
    /// Tries that failed.
    pub failed: u32,
    /// When it came into the outbox.
    pub since: Timestamp,
    /// The mail.
    pub message: MessageId,
    /// When the mail was accepted.
    pub accepted_at: Timestamp,
    /// The address of the mail's sender: the notification goes there.
    pub sender: String,
    /// The address of the mail's recipient.
    pub recipient: String,
    /// How the mail ended for this recipient.
    pub verdict: Verdict,
    /// Why, in words.
    pub reason: Option<String>,
}

impl Store {
    /// The sender of a mail; `None`: it has none, or is no mail.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mail_sender(&self, id: MessageId) -> Result<Option<String>, StoreError> {
        self.reader
            .run(move |db| {
                let select = "SELECT s.sender FROM mails s JOIN messages m ON m.seq = s.message WHERE m.id = ?1";
                Ok(db.prepare_cached(select)?.query_row([id.to_string()], |row| row.get(0)).optional()?)
            })
            .await
    }

    /// Notifications that are due by then.
    pub async fn due_bounces(&self, now: Timestamp, most: u32) -> Result<Vec<Bounce>, StoreError> {
        const WHAT: &str = "a notification that is to be sent";
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(DUE)?;
                let mut rows = select.query(params![now.as_millisecond(), most])?;
                let mut due = Vec::new();
                while let Some(row) = rows.next()? {
                    due.push(Bounce {
                        id: row.get(0)?,
                        failed: u32::try_from(read_count(row, 1)?).unwrap_or(u32::MAX),
                        since: time(row.get(2)?, WHAT)?,
                        message: parse(&row.get::<_, String>(3)?, WHAT)?,
                        accepted_at: time(row.get(4)?, WHAT)?,
                        sender: row.get(5)?,
                        recipient: row.get(6)?,
                        verdict: parse(&row.get::<_, String>(7)?, WHAT)?,
                        reason: row.get(8)?,
                    });
                }
                Ok(due)
            })
            .await
    }

    /// Since when the oldest notification waits to be sent.
    pub async fn oldest_bounce(&self) -> Result<Option<Timestamp>, StoreError> {
        self.reader
            .run(move |db| {
                let since: Option<i64> =
                    db.prepare_cached(OLDEST)?.query_row([], |row| row.get(0))?;
                since
                    .map(|since| time(since, "a notification that is to be sent"))
                    .transpose()
            })
            .await
    }

    /// Notes that a notification was sent, or was given up.
    pub async fn bounce_done(&self, id: i64) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached("DELETE FROM bounces WHERE id = ?1")?
                    .execute([id])?;
                Ok(())
            })
            .await
    }

    /// Notes that a notification could not be sent, and when to try again.
    pub async fn bounce_failed(&self, id: i64, next_at: Timestamp) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "UPDATE bounces SET failed = failed + 1, next_at = ?2 WHERE id = ?1",
                )?
                .execute(params![id, next_at.as_millisecond()])?;
                Ok(())
            })
            .await
    }
}

pub(super) const OLDEST: &str = "SELECT min(since) FROM bounces";

pub(super) const DUE: &str =
    "SELECT b.id, b.failed, b.since, m.id, m.accepted_at, s.sender, r.address, e.verdict, e.verdict_reason
     FROM bounces b JOIN messages m ON m.seq = b.message JOIN mails s ON s.message = b.message
       JOIN mail_recipients r ON r.message = b.message AND r.terminal = b.terminal
       JOIN envelopes e ON e.message = b.message AND e.terminal = b.terminal
     WHERE b.next_at <= ?1 ORDER BY b.next_at, b.id LIMIT ?2";

/// Keeps where a mail came from.
pub(super) fn insert(db: &Database, seq: i64, path: &ReturnPath) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO mails VALUES (?1, ?2)")?
        .execute(params![seq, path.sender])?;
    let mut insert = db
        .prepare_cached("INSERT INTO mail_recipients VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
    for (terminal, address) in &path.recipients {
        insert.execute(params![seq, terminal.to_string(), address])?;
    }
    Ok(())
}
