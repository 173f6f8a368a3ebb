//! What terminals have said that they take for now.

use delivery::{Conditions, TerminalId};
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::rows::{read_count, read_urgency, time, urgency_rank};
use super::{Store, StoreError};

/// Of an envelope `e`: outside of what its terminal takes at `?2`.
pub(super) const NOT_TAKEN: &str =
    "EXISTS (SELECT 1 FROM stated s WHERE s.terminal = e.terminal AND s.until > ?2
    AND (e.urgency > s.urgency OR e.size > s.size_max))";

/// A terminal takes something else from now on than when it refused messages: none of them rests for that any more.
pub(super) fn end_rests(db: &Database, terminal: &str) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE envelopes SET rests_until = NULL WHERE terminal = ?1 AND rests_until IS NOT NULL AND verdict IS NULL",
    )?
    .execute([terminal])?;
    Ok(())
}

impl Store {
    /// Keeps what a terminal takes for now, in place of what it said before.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn state(
        &self,
        terminal: TerminalId,
        conditions: Conditions,
    ) -> Result<(), StoreError> {
        let Conditions {
            urgency,
            size_max,
            until,
            reason,
        } = conditions;
        self.writer
            .run(move |db| {
                let size_max = size_max.map_or(i64::MAX, |max| i64::try_from(max).unwrap_or(i64::MAX));
                // What is over by now is kept until it is released: a message may wait for that.
                db.prepare_cached(
                    "INSERT INTO stated VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (terminal) DO UPDATE
                     SET urgency = excluded.urgency, size_max = excluded.size_max, until = excluded.until, reason = excluded.reason",
                )?
                .execute(params![
                    terminal.to_string(),
                    urgency_rank(urgency),
                    size_max,
                    until.as_millisecond(),
                    reason
                ])?;
                end_rests(db, &terminal.to_string())?;
                Ok(())
            })
            .await?;
        self.expiring.notify_one();
        Ok(())
    }

    /// What a terminal takes for now, if it has said anything that still holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn stated(
        &self,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<Option<Conditions>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT urgency, size_max, until, reason FROM stated WHERE terminal = ?1 AND until > ?2",
                )?;
                let read = |row: &rusqlite::Row<'_>| {
                    Ok((read_urgency(row.get(0)?), read_count(row, 1)?, row.get::<_, i64>(2)?, row.get(3)?))
                };
                let found = select.query_row(params![terminal.to_string(), now], read).optional()?;
                found
                    .map(|(urgency, size_max, until, reason)| {
                        let until: Timestamp = time(until, "what a terminal has said")?;
                        Ok(Conditions { urgency: urgency?, size_max: Some(size_max), until, reason })
                    })
                    .transpose()
            })
            .await
    }
}
