//! Calls at dial-up servers: which of them are to be asked for after a restart.

use delivery::TerminalId;
use jiff::Timestamp;
use line::CallId;
use rusqlite::{OptionalExtension as _, params};

use super::rows::{parse, read_call, time};
use super::{Store, StoreError};
use model::call::CallRecord;

/// A call at a dial-up server whose end is not known.
#[derive(Debug, Clone)]
pub struct CallAway {
    /// Its record so far.
    pub record: CallRecord,
    /// The terminal it is with, if with a terminal.
    pub terminal: Option<TerminalId>,
    /// It is over by then, whatever is heard of it.
    pub over_at: Timestamp,
}

impl Store {
    /// Notes a call that a dial-up server is about to be given, record and all. On return that is on the disk.
    ///
    /// # Errors
    /// [`StoreError`]: it must not be given to anybody.
    pub async fn note_away(&self, away: CallAway, now: Timestamp) -> Result<(), StoreError> {
        self.record_call(away.record.clone(), now).await?;
        let owner = self.owner.clone();
        self.writer
            .run(move |db| {
                let terminal = away.terminal.map(|terminal| terminal.to_string());
                db.prepare_cached(
                    "INSERT INTO calls_away (call, terminal, over_at, owner, epoch) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (call) DO UPDATE SET terminal = excluded.terminal, over_at = excluded.over_at,
                       owner = excluded.owner, epoch = excluded.epoch",
                )?
                .execute(params![
                    away.record.id.to_string(),
                    terminal,
                    away.over_at.as_millisecond(),
                    owner.id,
                    owner.epoch
                ])?;
                Ok(())
            })
            .await
    }

    /// Its end is known.
    ///
    /// # Errors
    /// [`StoreError`]: it is asked for again after the next start.
    pub async fn forget_away(&self, call: CallId) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached("DELETE FROM calls_away WHERE call = ?1")?
                    .execute([call.to_string()])?;
                Ok(())
            })
            .await
    }

    /// The calls of this server whose end is not known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn calls_away(&self) -> Result<Vec<CallAway>, StoreError> {
        let owner = self.owner.clone();
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT calls.*, terminal, over_at FROM calls JOIN calls_away ON call = id
                     WHERE calls_away.owner = ?1 ORDER BY placed_at",
                )?;
                let mut rows = select.query([owner.id])?;
                let mut calls = Vec::new();
                while let Some(row) = rows.next()? {
                    let terminal: Option<String> = row.get("terminal")?;
                    let terminal = terminal
                        .map(|id| parse(&id, "a call at a dial-up server"))
                        .transpose()?;
                    let over_at = time(row.get("over_at")?, "a call at a dial-up server")?;
                    calls.push(CallAway {
                        record: read_call(row)?,
                        terminal,
                        over_at,
                    });
                }
                Ok(calls)
            })
            .await
    }

    /// The record of a call.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn call(&self, call: CallId) -> Result<Option<CallRecord>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached("SELECT * FROM calls WHERE id = ?1")?;
                let found = select
                    .query_row([call.to_string()], |row| Ok(read_call(row)))
                    .optional()?;
                found.transpose()
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use model::call::Direction;
    use model::directory::Name;

    #[tokio::test]
    async fn a_call_at_a_dial_up_server_is_asked_for_until_its_end_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let record = CallRecord::begin(
            CallId::now(),
            Timestamp::now(),
            Direction::Outgoing,
            "pop.line-1".parse::<Name>().unwrap(),
            None,
            "owner".parse().unwrap(),
        );
        let (call, terminal) = (record.id, Some(TerminalId::from_octets([1; 8])));
        let over_at = Timestamp::now() + Duration::from_secs(60);
        store
            .note_away(
                CallAway {
                    record,
                    terminal,
                    over_at,
                },
                Timestamp::now(),
            )
            .await
            .unwrap();
        drop(store);
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let away = store.calls_away().await.unwrap();
        assert_eq!(
            (away.len(), away[0].record.id, away[0].terminal),
            (1, call, terminal)
        );
        assert_eq!(
            store.call(call).await.unwrap().map(|record| record.id),
            Some(call)
        );
        assert!(store.call(CallId::now()).await.unwrap().is_none());
        store.forget_away(call).await.unwrap();
        assert!(store.calls_away().await.unwrap().is_empty());
    }
}
