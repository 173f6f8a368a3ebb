//! What is to be told waits by the wall clock, for a day at most. A row that waits for longer was written while the clock was ahead, which
//! has been set back since: it is told now.

use jiff::{SignedDuration, Timestamp};
use rusqlite::params;

use super::worker::BATCH;
use super::{Store, StoreError};

/// More than the longest pause between two tries to tell anything.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// Verdicts, mails that did not arrive, alarms; each in the order of its index.
pub(super) const AHEAD: [&str; 3] = [
    "UPDATE webhook_outbox SET next_at = ?1, since = CASE WHEN since < ?1 THEN since ELSE ?1 END WHERE id IN
      (SELECT o.id FROM webhooks w JOIN webhook_outbox o ON o.provider = w.provider AND o.next_at > ?2 LIMIT ?3)",
    "UPDATE bounces SET next_at = ?1, since = CASE WHEN since < ?1 THEN since ELSE ?1 END WHERE id IN (SELECT id FROM bounces WHERE next_at > ?2 LIMIT ?3)",
    "UPDATE alarm_notices SET next_at = ?1 WHERE id IN (SELECT id FROM alarm_notices
      WHERE channel IN ('command', 'webhook') AND next_at > ?2 LIMIT ?3)",
];

impl Store {
    /// Has told now what waits for longer than anything does.
    ///
    /// # Errors
    /// [`StoreError`]: the next time.
    pub async fn heed_clock(&self, now: Timestamp) -> Result<(), StoreError> {
        let latest = now
            .saturating_add(LONGEST)
            .map_or(i64::MAX, Timestamp::as_millisecond);
        for sql in AHEAD {
            let work = move |db: &rusqlite::Connection| {
                Ok(db
                    .prepare_cached(sql)?
                    .execute(params![now.as_millisecond(), latest, BATCH])?)
            };
            while self.writer.run(work).await? == BATCH as usize {}
        }
        Ok(())
    }
}
