//! Terminals that the operator has paused: they are not called until they are resumed.

use std::collections::BTreeSet;

use delivery::TerminalId;
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::rows::{parse, time};
use super::{Store, StoreError};

impl Store {
    /// Pauses a terminal. `false`: it was paused already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pause(&self, terminal: TerminalId, now: Timestamp) -> Result<bool, StoreError> {
        let now = now.as_millisecond();
        self.writer
            .run(move |db| {
                // A terminal that was removed meanwhile cannot be paused.
                let paused = db
                    .prepare_cached(
                        "INSERT INTO paused SELECT id, ?2 FROM terminals WHERE id = ?1 ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![terminal.to_string(), now])?;
                Ok(paused == 1)
            })
            .await
    }

    /// Ends a terminal's pause. `false`: it was not paused.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_pause(&self, terminal: TerminalId) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                Ok(db.execute(
                    "DELETE FROM paused WHERE terminal = ?1",
                    [terminal.to_string()],
                )? == 1)
            })
            .await
    }

    /// Since when a terminal is paused; `None`: it is not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn paused_at(&self, terminal: TerminalId) -> Result<Option<Timestamp>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached("SELECT at FROM paused WHERE terminal = ?1")?;
                let at = select
                    .query_row([terminal.to_string()], |row| row.get::<_, i64>(0))
                    .optional()?;
                at.map(|at| time(at, "a pause")).transpose()
            })
            .await
    }

    /// All paused terminals.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn paused(&self) -> Result<BTreeSet<TerminalId>, StoreError> {
        self.reader
            .run(|db| {
                let mut select = db.prepare_cached("SELECT terminal FROM paused")?;
                let ids = select.query_map([], |row| row.get::<_, String>(0))?;
                ids.map(|id| parse(&id?, "a terminal")).collect()
            })
            .await
    }
}

pub(super) fn is_paused(db: &Database, terminal: TerminalId) -> Result<bool, StoreError> {
    let mut select =
        db.prepare_cached("SELECT EXISTS (SELECT 1 FROM paused WHERE terminal = ?1)")?;
    Ok(select.query_row([terminal.to_string()], |row| row.get(0))?)
}
