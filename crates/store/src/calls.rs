//! Call records.

use std::sync::PoisonError;

use delivery::TerminalId;
use jiff::Timestamp;
use line::CallId;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::deliveries::{AttemptEnd, Doubt, release};
use super::ledger::reserve;
use super::rows::read_call;
use super::{Last, Owner, Store, StoreError};
use model::account::Reservation;
use model::call::{CallRecord, Direction};
use model::directory::{Connection, Name};
use model::outcome::{Kind, Outcome};

/// Records of calls that are over which wait for a disk that takes them.
const UNWRITTEN_MAX: usize = 10_000;

impl Store {
    /// Writes a call record: new when the call begins (before anything is dialled), over it as the call goes on.
    ///
    /// # Errors
    /// [`StoreError`]. The record of a call that is over is kept, and written when the disk takes it.
    pub async fn record_call(&self, record: CallRecord, now: Timestamp) -> Result<(), StoreError> {
        let written = self.write_call(record.clone(), now).await;
        if written.is_err() && record.ended_at.is_some() {
            let mut unwritten = self
                .unwritten
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if unwritten.len() < UNWRITTEN_MAX {
                unwritten.push(record);
            }
        }
        written
    }

    /// Writes the records of calls that are over and that the disk has not taken: until then what was under way on them stays so,
    /// and is sent on no other call.
    ///
    /// # Errors
    /// [`StoreError`]: they are kept on.
    pub async fn record_again(&self, now: Timestamp) -> Result<(), StoreError> {
        let records = std::mem::take(
            &mut *self
                .unwritten
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut all = Ok(());
        for record in records {
            if let Err(error) = self.record_call(record, now).await {
                all = Err(error);
            }
        }
        all
    }

    /// Begins a call to a terminal, in one transaction: what it may cost is reserved, its record is there, and the directory says that
    /// the terminal is being called, unless it is connected. On return it is on the disk, and the call may be dialled: a crash
    /// leaves the record of a call that was never made, never a call without its record.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of it was written, and the call must not be dialled. [`StoreError::BudgetSpent`]: another server may have
    /// spent what was left. [`StoreError::HeldBy`]: another server calls the terminal, or has it connected.
    pub async fn begin_call(
        &self,
        record: CallRecord,
        terminal: TerminalId,
        reservation: Option<Reservation>,
    ) -> Result<(), StoreError> {
        let owner = self.owner.clone();
        let begun = self
            .writer
            .run(move |db| {
                owner.check(db)?;
                claim(db, &owner, terminal, Connection::Calling(record.id))?;
                if let Some(reservation) = reservation {
                    reserve(db, &owner, reservation)?;
                }
                write(db, &owner, &record)
            })
            .await;
        self.known.forget_terminal(terminal);
        begun
    }

    /// Takes a terminal's connection for this server: its session is up, or it is being called by an order of before the start.
    ///
    /// # Errors
    /// [`StoreError`]. [`StoreError::HeldBy`]: another server has it.
    pub async fn claim_connection(
        &self,
        terminal: TerminalId,
        connection: Connection,
    ) -> Result<(), StoreError> {
        let owner = self.owner.clone();
        let work = move |db: &Database| {
            owner
                .check(db)
                .and_then(|()| claim(db, &owner, terminal, connection))
        };
        let claimed = self.writer.run(work).await;
        self.known.forget_terminal(terminal);
        claimed
    }

    /// The call that a terminal's connection state is about is over. Nothing changes if it is about another one by now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_connection(
        &self,
        terminal: TerminalId,
        call: CallId,
    ) -> Result<(), StoreError> {
        let ended = self
            .writer
            .run(move |db| {
                db.prepare_cached(
                    "UPDATE terminals SET connection = 'down', connection_call = NULL
                     WHERE id = ?1 AND connection_call = ?2",
                )?
                .execute(params![terminal.to_string(), call.to_string()])?;
                Ok(())
            })
            .await;
        self.known.forget_terminal(terminal);
        ended
    }

    async fn write_call(&self, record: CallRecord, now: Timestamp) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        let owner = self.owner.clone();
        self.writer
            .run(move |db| {
                write(db, &owner, &record)?;
                // Whatever ended it, nothing is under way on a call that is over. What its session has not ended may have left.
                if record.ended_at.is_some() {
                    release(
                        db,
                        record.id,
                        &AttemptEnd::broken("the call ended", Doubt::Raised),
                        now,
                    )?;
                }
                Ok(())
            })
            .await
    }

    /// A terminal that was rung by this call has not come in time: the outcome of the ring is that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_no_session(&self, call: CallId) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "UPDATE calls SET outcome = ?2, kind = ?4 WHERE id = ?1 AND kind = ?3",
                )?
                .execute(params![
                    call.to_string(),
                    Outcome::NoSession.to_string(),
                    Kind::Rung.as_str(),
                    Kind::NoSession.as_str()
                ])?;
                Ok(())
            })
            .await
    }

    /// Who had a call that ended then or later, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ended_since(&self, since: Timestamp) -> Result<Vec<Name>, StoreError> {
        self.reader
            .run(move |db| {
                // By the index on `placed_at`; no call lasts longer than a day.
                let mut select = db.prepare_cached(
                    "SELECT DISTINCT party FROM calls WHERE placed_at >= ?1 - 86400000 AND ended_at >= ?1",
                )?;
                let parties = select.query_map(params![since.as_millisecond()], |row| row.get::<_, String>(0))?;
                // What is no name is nobody's.
                Ok(parties.filter_map(|party| party.ok()?.parse().ok()).collect())
            })
            .await
    }

    /// The last calls, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn calls(&self, last: Last) -> Result<Vec<CallRecord>, StoreError> {
        self.calls_after(last, None).await
    }

    /// So many calls, newest first, from the first that is older than `after` on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn calls_after(
        &self,
        last: Last,
        after: Option<CallId>,
    ) -> Result<Vec<CallRecord>, StoreError> {
        self.reader
            .survey(move |db| {
                let from = match after {
                    None => "",
                    Some(_) => {
                        "WHERE (placed_at, id) < (SELECT placed_at, id FROM calls WHERE id = ?2)"
                    }
                };
                let sql =
                    format!("SELECT * FROM calls {from} ORDER BY placed_at DESC, id DESC LIMIT ?1");
                let mut select = db.prepare_cached(&sql)?;
                let mut rows = match after {
                    None => select.query(params![last.0])?,
                    Some(after) => select.query(params![last.0, after.to_string()])?,
                };
                let mut calls = Vec::new();
                while let Some(row) = rows.next()? {
                    calls.push(read_call(row)?);
                }
                Ok(calls)
            })
            .await
    }

    /// The calls with a party (a terminal or provider, by name) since then, oldest first, at most a hundred.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn calls_with(
        &self,
        party: Name,
        since: Timestamp,
    ) -> Result<Vec<CallRecord>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT * FROM calls WHERE party = ?1 AND placed_at >= ?2 ORDER BY placed_at DESC, id DESC LIMIT 100",
                )?;
                let mut rows = select.query(params![party.to_string(), since.as_millisecond()])?;
                let mut calls = Vec::new();
                while let Some(row) = rows.next()? {
                    calls.push(read_call(row)?);
                }
                calls.reverse();
                Ok(calls)
            })
            .await
    }
}

/// Writes a record, over an earlier one of the same call, unless another server has that.
fn write(db: &Database, owner: &Owner, record: &CallRecord) -> Result<(), StoreError> {
    let direction = match record.direction {
        Direction::Outgoing => "outgoing",
        Direction::Incoming => "incoming",
    };
    let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let written = db.prepare_cached(
        "INSERT INTO calls (id, direction, line, number, party, placed_at, connected_at, ended_at, outcome, octets_out, octets_in,
           kind, owner, epoch)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (id) DO UPDATE SET direction = excluded.direction, line = excluded.line, number = excluded.number,
           party = excluded.party, placed_at = excluded.placed_at, connected_at = excluded.connected_at,
           ended_at = excluded.ended_at, outcome = excluded.outcome, octets_out = excluded.octets_out,
           octets_in = excluded.octets_in, kind = excluded.kind, owner = excluded.owner, epoch = excluded.epoch
         WHERE calls.owner IS NULL OR (calls.owner = excluded.owner AND calls.epoch <= excluded.epoch)",
    )?
        .execute(params![
            record.id.to_string(),
            direction,
            // None where there was no line: any text may be a line's name.
            record.via.line().map_or_else(String::new, Name::to_string),
            record.number.as_ref().map_or("", line::Number::as_str),
            record.party.to_string(),
            record.placed_at.as_millisecond(),
            millis(record.connected_at),
            millis(record.ended_at),
            record.outcome,
            i64::try_from(record.octets_out).unwrap_or(i64::MAX),
            i64::try_from(record.octets_in).unwrap_or(i64::MAX),
            record.kind.map(Kind::as_str),
            owner.id,
            owner.epoch,
        ])?;
    if written == 0 {
        owner.check(db)?;
        let by = "SELECT owner FROM calls WHERE id = ?1";
        let by = db
            .prepare_cached(by)?
            .query_row([record.id.to_string()], |row| row.get(0))?;
        return Err(StoreError::HeldBy { by });
    }
    Ok(())
}

/// Takes a terminal's connection for this server: it is being called, unless it is connected already, or it is connected.
fn claim(
    db: &Database,
    owner: &Owner,
    terminal: TerminalId,
    connection: Connection,
) -> Result<(), StoreError> {
    let (terminal, call) = (
        terminal.to_string(),
        connection.call().map(|call| call.to_string()),
    );
    let claimed = db
        .prepare_cached(
            "UPDATE terminals SET connection = ?2, connection_call = ?3, owner = ?4, epoch = ?5
             WHERE id = ?1 AND (connection = 'down' OR owner = ?4) AND (connection <> 'connected' OR ?2 = 'connected')",
        )?
        .execute(params![terminal, connection.as_str(), call, owner.id, owner.epoch])?;
    if claimed == 0 {
        let other =
            "SELECT owner FROM terminals WHERE id = ?1 AND connection <> 'down' AND owner <> ?2";
        let other = db
            .prepare_cached(other)?
            .query_row(params![terminal, owner.id], |row| row.get(0))
            .optional()?;
        // Otherwise it is connected to this server, or the directory has it no more.
        return other.map_or(Ok(()), |by| Err(StoreError::HeldBy { by }));
    }
    Ok(())
}
