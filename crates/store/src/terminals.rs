//! The directory's terminals.

use delivery::{TerminalId, TopicFilter};
use jiff::Timestamp;
use line::Number;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::doubts::UNKNOWN;
use super::rows::select_terminals;
use super::stopwatch::Stopwatch;
use super::verdicts::give;
use super::worker::{BATCH, STEP_TIME, Step};
use super::{Constraint, Store, StoreError};
use model::directory::{Destination, Name, StockTrust, Terminal};
use model::verdict::Verdict;

impl Store {
    /// Adds a terminal.
    ///
    /// # Errors
    /// [`StoreError::Taken`] names the field that another terminal has.
    pub async fn add_terminal(&self, terminal: Terminal) -> Result<(), StoreError> {
        self.add_terminal_with(terminal, Vec::new()).await
    }

    /// Adds a terminal that may register by itself for what these filters mean only; none: for everything.
    ///
    /// # Errors
    /// As [`Store::add_terminal`].
    pub async fn add_terminal_with(
        &self,
        terminal: Terminal,
        registrable: Vec<TopicFilter>,
    ) -> Result<(), StoreError> {
        let added = self
            .writer
            .run(move |db| {
                let address = terminal.address.map(|address| address.to_string());
                let number = terminal.number.as_ref().map(Number::as_str);
                let stock = terminal.trusted_by.stock();
                let secret = stock.and_then(|stock| match &stock.trust {
                    StockTrust::Chap(secret) => Some(secret.reveal()),
                    StockTrust::NumberOnly => None,
                });
                let inbox = stock.map(|stock| stock.inbox.to_string());
                let (id, name, trust) = (
                    terminal.id.to_string(),
                    terminal.name.to_string(),
                    terminal.trusted_by.as_str(),
                );
                db.prepare_cached(
                    "INSERT INTO terminals (id, name, number, address, trust, inbox, chap_secret)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![id, name, number, address, trust, inbox, secret])
                .map_err(|error| {
                    let values = [
                        ("number", number),
                        ("address", address.as_deref()),
                        ("name", Some(name.as_str())),
                    ];
                    taken(db, "terminals", &values, error.into())
                })?;
                let mut insert = db.prepare_cached(
                    "INSERT INTO registrable VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                )?;
                for filter in registrable {
                    insert.execute([&id, &filter.to_string()])?;
                }
                Ok(())
            })
            .await;
        self.known.forget_terminals();
        added
    }

    /// Removes a terminal; what still waits for it is cancelled, in steps. `false`: there was none of this name.
    ///
    /// # Errors
    /// [`StoreError`]: if it is gone already, the rest of what waited for it is settled with the next cleaning.
    pub async fn remove_terminal(&self, name: Name, now: Timestamp) -> Result<bool, StoreError> {
        let now = now.as_millisecond();
        let mut id: Option<String> = None;
        let removed = self
            .writer
            .run_steps(move |db| {
                if id.is_none() {
                    id = db
                        .query_row(
                            "DELETE FROM terminals WHERE name = ?1 RETURNING id",
                            [name.to_string()],
                            |row| row.get(0),
                        )
                        .optional()?;
                }
                let Some(id) = &id else {
                    return Ok(Step::Done(false));
                };
                Ok(if settle_removed(db, id, now)? {
                    Step::Done(true)
                } else {
                    Step::More
                })
            })
            .await;
        self.known.forget_terminals();
        removed
    }

    /// Settles what waits for terminals that are not in the directory any more: a crash has cut their removal short, or a message for
    /// many terminals was just coming when one of them was removed.
    ///
    /// # Errors
    /// [`StoreError`]: what is left is settled the next time.
    pub async fn settle_orphans(&self, now: Timestamp) -> Result<(), StoreError> {
        let now = now.as_millisecond();
        let orphans = self
            .reader
            .survey(|db| {
                let mut select = db.prepare_cached(
                    "SELECT q.terminal FROM queues q WHERE q.messages > 0
                       AND NOT EXISTS (SELECT 1 FROM terminals t WHERE t.id = q.terminal)",
                )?;
                let orphans = select.query_map([], |row| row.get::<_, String>(0))?;
                Ok(orphans.collect::<Result<Vec<_>, _>>()?)
            })
            .await?;
        for id in orphans {
            let settle = move |db: &Database| {
                Ok(if settle_removed(db, &id, now)? {
                    Step::Done(())
                } else {
                    Step::More
                })
            };
            self.writer.run_steps(settle).await?;
        }
        Ok(())
    }

    /// All terminals, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn terminals(&self) -> Result<Vec<Terminal>, StoreError> {
        self.reader
            .survey(|db| select_terminals(db, "ORDER BY name", params![]))
            .await
    }

    /// The terminal that a destination names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_terminal(
        &self,
        destination: Destination,
    ) -> Result<Option<Terminal>, StoreError> {
        let key = destination.to_string();
        if let Some(found) = self.known.named(&key) {
            return Ok(Some(found));
        }
        let before = self.known.generation();
        let (condition, value) = match &destination {
            Destination::Number(number) => ("WHERE number = ?1", number.to_string()),
            Destination::Address(address) => ("WHERE address = ?1", address.to_string()),
            Destination::Name(name) => ("WHERE name = ?1", name.to_string()),
        };
        let found = self
            .reader
            .run(move |db| Ok(select_terminals(db, condition, params![value])?.pop()))
            .await?;
        if let Some(terminal) = &found {
            self.known
                .learn_terminal(before, Some(key), terminal.clone());
        }
        Ok(found)
    }

    /// The terminals for which something waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn terminals_due(&self) -> Result<Vec<Terminal>, StoreError> {
        let condition = "WHERE id IN (SELECT terminal FROM queues WHERE messages > 0) ORDER BY id";
        self.reader
            .survey(move |db| select_terminals(db, condition, params![]))
            .await
    }

    /// The terminal with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn terminal(&self, id: TerminalId) -> Result<Option<Terminal>, StoreError> {
        if let Some(found) = self.known.terminal(id) {
            return Ok(Some(found));
        }
        let before = self.known.generation();
        let value = id.to_string();
        let found = self
            .reader
            .run(move |db| Ok(select_terminals(db, "WHERE id = ?1", params![value])?.pop()))
            .await?;
        if let Some(terminal) = &found {
            self.known.learn_terminal(before, None, terminal.clone());
        }
        Ok(found)
    }
}

/// What waits for a terminal that is gone, and is not dealt with.
pub(super) const LEFT_FOR: &str = "SELECT message FROM envelopes
    WHERE terminal = ?1 AND verdict IS NULL AND pending_verdict IS NULL LIMIT ?2";

/// What a terminal that is gone may have. The second bound on the doubt chooses the index.
pub(super) const NOBODY_TO_ASK: &str = "UPDATE envelopes SET verdict = 'failed', verdict_reason = ?3, verdict_at = ?2
    WHERE terminal = ?1 AND in_doubt_since IS NOT NULL AND in_doubt_since > 0 AND verdict IS NULL AND under_way IS NULL";

/// Gives some of what waits for a terminal that is gone its verdict. `true`: that was all.
fn settle_removed(db: &Database, id: &str, now: i64) -> Result<bool, StoreError> {
    let began = Stopwatch::start();
    // What it may have, nobody can ask it any more; what is on a line now has its verdict at the end of the call.
    db.prepare_cached(NOBODY_TO_ASK)?
        .execute(params![id, now, UNKNOWN])?;
    let mut select = db.prepare_cached(LEFT_FOR)?;
    loop {
        let some = select.query_map(params![id, BATCH], |row| row.get::<_, i64>(0))?;
        let some = some.collect::<Result<Vec<_>, _>>()?;
        for seq in &some {
            let (of, why) = ("message = ?4 AND terminal = ?5", "the terminal was removed");
            give(db, Verdict::Cancelled, Some(why), now, of, &[seq, &id])?;
        }
        if some.len() < BATCH as usize {
            db.prepare_cached("DELETE FROM queues WHERE terminal = ?1 AND messages = 0")?
                .execute([id])?;
            return Ok(true);
        }
        if began.elapsed() >= STEP_TIME {
            return Ok(false);
        }
    }
}

/// Which field of a table a unique constraint is about, and whose it is.
pub(super) fn taken(
    db: &Database,
    table: &'static str,
    values: &[(&'static str, Option<&str>)],
    error: StoreError,
) -> StoreError {
    let StoreError::Conflict {
        constraint: Constraint::Unique(columns),
    } = &error
    else {
        return error;
    };
    let Some((field, value)) = values
        .iter()
        .find(|(field, _)| *columns == format!("{table}.{field}"))
    else {
        return error;
    };
    let sql = format!("SELECT name FROM {table} WHERE {field} = ?1");
    let by = db.query_row(&sql, [value], |row| row.get::<_, String>(0));
    StoreError::Taken {
        field,
        by: by.unwrap_or_else(|_| "another entry".to_owned()),
    }
}
