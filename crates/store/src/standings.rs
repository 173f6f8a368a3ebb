//! How terminals stand with the server, for lists and for the plan.

use delivery::TerminalId;
use jiff::Timestamp;
use rusqlite::{Connection as Database, OptionalExtension as _, params};

use super::rows::{read_count, select_terminals, time};
use super::{Last, Store, StoreError};
use model::directory::{Name, Terminal};

/// How a terminal stands: whether it is worth a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has a key.
    Enrolled,
    /// It has none, and a bundle for it is out.
    Invited,
    /// It has none, and no bundle for it is out.
    NotEnrolled,
    /// Nothing is said to it.
    ShutOut,
    /// It runs no Ringup: PPP has it pass CHAP.
    Chap,
    /// It runs no Ringup: nothing but its number proves it.
    NumberOnly,
}

impl Standing {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Invited => "invited",
            Self::NotEnrolled => "not enrolled",
            Self::ShutOut => "shut out",
            Self::Chap => "chap",
            Self::NumberOnly => "number-only",
        }
    }
}

/// A terminal in a list.
#[derive(Debug, Clone)]
pub struct TerminalEntry {
    /// It.
    pub terminal: Terminal,
    /// How it stands.
    pub standing: Standing,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Messages that wait for it.
    pub waiting: u64,
}

/// Terminals that are not called, for one reason, though messages wait for them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NotCalled {
    /// In words: `paused`, `shut out`, `not enrolled`, `no number`.
    pub why: String,
    /// How many terminals.
    pub terminals: u64,
    /// How many messages.
    pub messages: u64,
}

impl Store {
    /// How a terminal stands; `None`: it is not in the directory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn standing(
        &self,
        terminal: TerminalId,
        now: Timestamp,
    ) -> Result<Option<Standing>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| read_standing(db, &terminal.to_string(), now))
            .await
    }

    /// So many terminals by name, from the first after `after` on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn terminal_entries(
        &self,
        after: Option<Name>,
        last: Last,
        now: Timestamp,
    ) -> Result<Vec<TerminalEntry>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| {
                let after = after.map(|name| name.to_string()).unwrap_or_default();
                let terminals = select_terminals(
                    db,
                    "WHERE name > ?1 ORDER BY name LIMIT ?2",
                    params![after, last.0],
                )?;
                terminals
                    .into_iter()
                    .map(|terminal| read_entry(db, terminal, now))
                    .collect()
            })
            .await
    }

    /// The terminals for which something waits and that are not called, counted by the reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn not_called(&self, now: Timestamp) -> Result<Vec<NotCalled>, StoreError> {
        let now = now.as_millisecond();
        self.reader
            .run(move |db| {
                let mut select = db.prepare_cached(
                    "SELECT CASE
                       WHEN EXISTS (SELECT 1 FROM shut_out s WHERE s.terminal = t.id) THEN 'shut out'
                       WHEN EXISTS (SELECT 1 FROM paused p WHERE p.terminal = t.id) THEN 'paused'
                       WHEN t.trust IN ('key', 'certificate')
                         AND NOT EXISTS (SELECT 1 FROM terminal_keys k WHERE k.terminal = t.id)
                         AND NOT EXISTS (SELECT 1 FROM invitations i WHERE i.terminal = t.id AND i.expires_at > ?1)
                         THEN 'not enrolled'
                       WHEN t.number IS NULL THEN 'no number' END AS why,
                       count(*), sum(q.messages)
                     FROM queues q JOIN terminals t ON t.id = q.terminal WHERE q.messages > 0 GROUP BY why ORDER BY why",
                )?;
                let mut rows = select.query([now])?;
                let mut counted = Vec::new();
                while let Some(row) = rows.next()? {
                    let Some(why) = row.get::<_, Option<String>>(0)? else { continue };
                    counted.push(NotCalled { why, terminals: read_count(row, 1)?, messages: read_count(row, 2)? });
                }
                Ok(counted)
            })
            .await
    }
}

fn read_entry(db: &Database, terminal: Terminal, now: i64) -> Result<TerminalEntry, StoreError> {
    let id = terminal.id.to_string();
    let paused_at = db
        .prepare_cached("SELECT at FROM paused WHERE terminal = ?1")?
        .query_row([&id], |row| row.get::<_, i64>(0))
        .optional()?
        .map(|at| time(at, "a pause"))
        .transpose()?;
    let waiting = db
        .prepare_cached("SELECT messages FROM queues WHERE terminal = ?1")?
        .query_row([&id], |row| read_count(row, 0))
        .optional()?
        .unwrap_or_default();
    let standing = read_standing(db, &id, now)?.unwrap_or(Standing::NotEnrolled);
    Ok(TerminalEntry {
        terminal,
        standing,
        paused_at,
        waiting,
    })
}

fn read_standing(db: &Database, id: &str, now: i64) -> Result<Option<Standing>, StoreError> {
    let mut select = db.prepare_cached(
        "SELECT trust,
           EXISTS (SELECT 1 FROM shut_out WHERE terminal = t.id),
           EXISTS (SELECT 1 FROM terminal_keys WHERE terminal = t.id),
           EXISTS (SELECT 1 FROM invitations WHERE terminal = t.id AND expires_at > ?2)
         FROM terminals t WHERE id = ?1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, bool>(1)?,
            row.get::<_, bool>(2)?,
            row.get::<_, bool>(3)?,
        ))
    };
    let found = select.query_row(params![id, now], read).optional()?;
    Ok(found.map(
        |(trust, is_shut_out, has_key, is_invited)| match trust.as_str() {
            _ if is_shut_out => Standing::ShutOut,
            "chap" => Standing::Chap,
            "number-only" => Standing::NumberOnly,
            _ if has_key => Standing::Enrolled,
            _ if is_invited => Standing::Invited,
            _ => Standing::NotEnrolled,
        },
    ))
}
