//! Everything that is kept: directory, messages, envelopes, call records. SQL stands nowhere else.
//!
//! A method that writes returns after the write is on the disk. Readers see what was committed.

mod content;
mod ledger;
mod migration;
mod rows;
mod worker;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::{Digest, MessageHead, MessageId, TerminalId};
use jiff::Timestamp;
use line::{CallId, Number};
use rusqlite::{Connection as Database, OpenFlags, OptionalExtension as _, params};

use crate::directory::{CallRecord, Connection, Destination, Direction, Name, Provider, Terminal, TokenHash};
use content::{Contents, INLINE_OCTETS_MAX};
pub use ledger::Spent;
use rows::{parse, read_call, read_head, select_messages, select_providers, select_terminals};
use worker::Worker;

/// The store of one server. Cheap to clone: the work is done by its threads.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Worker,
    reader: Worker,
    contents: Contents,
}

/// Why the store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The folder cannot be made or used.
    #[error("could not use the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The database was written by a later version of this program.
    #[error("the database has schema version {found}; this program knows versions up to {known}")]
    Version {
        /// What was found.
        found: i64,
        /// What this program works with.
        known: i64,
    },
    /// Another entry has this value already.
    #[error("{field} is taken by another entry")]
    Taken {
        /// Which field.
        field: &'static str,
    },
    /// A row that cannot have been written by us: damage.
    #[error("the row of {what} is damaged")]
    Damaged {
        /// Of what.
        what: &'static str,
    },
    /// SQLite said no.
    #[error("the database failed")]
    Database(#[source] Arc<rusqlite::Error>),
    /// The transaction did not reach the disk: nothing of it counts.
    #[error("the database could not commit")]
    Commit(#[source] Arc<rusqlite::Error>),
    /// A content file could not be written or read.
    #[error("could not {operation} a content file")]
    Content {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// No thread could be started.
    #[error("could not start a store thread")]
    Thread(#[source] Arc<io::Error>),
    /// The store is shutting down.
    #[error("the store has stopped")]
    Stopped,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// A message about to be stored.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Name, type, digest, size.
    pub head: MessageHead,
    /// Who submitted it.
    pub provider: Name,
    /// The content.
    pub content: Bytes,
    /// The terminals it is for; at least one.
    pub terminals: Vec<TerminalId>,
}

/// A message as the operator and its provider see it.
#[derive(Debug, Clone)]
pub struct MessageEntry {
    /// Name, type, digest, size.
    pub head: MessageHead,
    /// Who submitted it.
    pub provider: Name,
    /// When it was accepted: it has been on the disk since.
    pub accepted_at: Timestamp,
    /// One for each terminal.
    pub envelopes: Vec<EnvelopeEntry>,
}

/// One message for one terminal.
#[derive(Debug, Clone)]
pub struct EnvelopeEntry {
    /// The terminal's name, or its id if it has been removed.
    pub terminal: String,
    /// How it ended; `None` while it waits.
    pub verdict: Option<&'static str>,
    /// The call that is the evidence.
    pub call: Option<String>,
    /// When the verdict was written.
    pub at: Option<Timestamp>,
}

/// Which calls to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last(pub u32);

impl Store {
    /// Opens the store in `folder`, making it if need be. Every terminal's connection is down afterwards: calls do not
    /// survive the process.
    ///
    /// # Errors
    /// [`StoreError`]: the folder, the database, or a database of a later version.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Folder { path: folder.to_owned(), source: Arc::new(source) };
        // Messages and token hashes are nobody else's business.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let contents = Contents::open(folder.join("contents")).map_err(failed)?;
        let path = folder.join("ringup.db");
        let writer = Database::open(&path)?;
        prepare(&writer)?;
        migration::migrate(&writer)?;
        writer.execute("UPDATE terminals SET connection = 'down', connection_call = NULL", [])?;
        let now = Timestamp::now().as_millisecond();
        writer.execute(
            "UPDATE calls SET ended_at = ?1, outcome = 'server stopped' WHERE ended_at IS NULL",
            params![now],
        )?;
        let reader =
            Database::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        reader.busy_timeout(Duration::from_secs(5))?;
        Ok(Self {
            writer: Worker::start("store-writer", writer, true)?,
            reader: Worker::start("store-reader", reader, false)?,
            contents,
        })
    }

    /// Adds a terminal.
    ///
    /// # Errors
    /// [`StoreError::Taken`] names the field that another terminal has.
    pub async fn add_terminal(&self, terminal: Terminal) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let address = terminal.address.map(|address| address.to_string());
                let number = terminal.number.as_ref().map(Number::as_str);
                db.prepare_cached("INSERT INTO terminals (id, name, number, address) VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![terminal.id.to_string(), terminal.name.to_string(), number, address])
                    .map_err(taken)?;
                Ok(())
            })
            .await
    }

    /// Removes a terminal; what still waits for it is cancelled. `false`: there was none of this name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_terminal(&self, name: Name) -> Result<bool, StoreError> {
        self.writer
            .run(move |db| {
                let id: Option<String> = db
                    .query_row("DELETE FROM terminals WHERE name = ?1 RETURNING id", [name.to_string()], |row| row.get(0))
                    .optional()?;
                let Some(id) = id else { return Ok(false) };
                db.execute(
                    "UPDATE envelopes SET verdict = 'cancelled', verdict_at = ?2 WHERE terminal = ?1 AND verdict IS NULL",
                    params![id, now()],
                )?;
                Ok(true)
            })
            .await
    }

    /// All terminals, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn terminals(&self) -> Result<Vec<Terminal>, StoreError> {
        self.reader.run(|db| select_terminals(db, "ORDER BY name", params![])).await
    }

    /// The terminal that a destination names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_terminal(&self, destination: Destination) -> Result<Option<Terminal>, StoreError> {
        let (condition, value) = match &destination {
            Destination::Number(number) => ("WHERE number = ?1", number.to_string()),
            Destination::Address(address) => ("WHERE address = ?1", address.to_string()),
            Destination::Name(name) => ("WHERE name = ?1", name.to_string()),
        };
        self.reader.run(move |db| Ok(select_terminals(db, condition, params![value])?.pop())).await
    }

    /// The terminal with this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn terminal(&self, id: TerminalId) -> Result<Option<Terminal>, StoreError> {
        self.reader.run(move |db| Ok(select_terminals(db, "WHERE id = ?1", params![id.to_string()])?.pop())).await
    }

    /// Notes the state of a terminal's line.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_connection(&self, id: TerminalId, connection: Connection) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let call = connection.call().map(|call| call.to_string());
                db.prepare_cached("UPDATE terminals SET connection = ?2, connection_call = ?3 WHERE id = ?1")?
                    .execute(params![id.to_string(), connection.as_str(), call])?;
                Ok(())
            })
            .await
    }

    /// Adds a provider.
    ///
    /// # Errors
    /// [`StoreError::Taken`] names the field that another provider has.
    pub async fn add_provider(&self, provider: Provider, token: TokenHash) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let number = provider.number.as_ref().map(Number::as_str);
                db.execute(
                    "INSERT INTO providers (name, number, token_hash) VALUES (?1, ?2, ?3)",
                    params![provider.name.to_string(), number, token.octets()],
                )
                .map_err(taken)?;
                Ok(())
            })
            .await
    }

    /// All providers, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn providers(&self) -> Result<Vec<Provider>, StoreError> {
        self.reader.run(|db| select_providers(db, "ORDER BY name", params![])).await
    }

    /// The provider that a token belongs to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn provider_with_token(&self, token: TokenHash) -> Result<Option<Provider>, StoreError> {
        self.reader
            .run(move |db| Ok(select_providers(db, "WHERE token_hash = ?1", params![token.octets()])?.pop()))
            .await
    }

    /// Stores a message and its envelopes. On return they are on the disk: the provider may be told.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of it is stored (a content file that nobody names may be left behind).
    pub async fn accept(&self, message: NewMessage) -> Result<(), StoreError> {
        let is_inline = message.content.len() <= INLINE_OCTETS_MAX;
        if !is_inline {
            let (contents, digest, content) = (self.contents.clone(), message.head.digest, message.content.clone());
            run_blocking("write", move || contents.put(digest, &content)).await?;
        }
        self.writer
            .run(move |db| {
                let NewMessage { head, provider, content, terminals } = message;
                let id = head.id.to_string();
                let content = is_inline.then_some(&content[..]);
                let size = i64::try_from(head.size).map_err(|_| StoreError::Damaged { what: "a message" })?;
                db.prepare_cached(
                    "INSERT INTO messages (id, provider, content_type, digest, size, content, accepted_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    id,
                    provider.to_string(),
                    head.content_type.as_str(),
                    head.digest.to_string(),
                    size,
                    content,
                    now()
                ])?;
                let mut insert = db.prepare_cached("INSERT INTO envelopes (message, terminal) VALUES (?1, ?2)")?;
                for terminal in terminals {
                    insert.execute(params![id, terminal.to_string()])?;
                }
                Ok(())
            })
            .await
    }

    /// The messages that wait for a terminal, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn due(&self, terminal: TerminalId) -> Result<Vec<MessageId>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select =
                    db.prepare_cached("SELECT message FROM envelopes WHERE terminal = ?1 AND verdict IS NULL")?;
                let ids = select.query_map([terminal.to_string()], |row| row.get::<_, String>(0))?;
                let mut ids =
                    ids.map(|id| parse(&id?, "an envelope")).collect::<Result<Vec<MessageId>, StoreError>>()?;
                // Ids sort by time; their base64url text, which the database would sort, does not.
                ids.sort_unstable();
                Ok(ids)
            })
            .await
    }

    /// The terminals for which something waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn terminals_due(&self) -> Result<Vec<Terminal>, StoreError> {
        let condition = "WHERE id IN (SELECT DISTINCT terminal FROM envelopes WHERE verdict IS NULL) ORDER BY id";
        self.reader.run(move |db| select_terminals(db, condition, params![])).await
    }

    /// A message with its content.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the content is not the one that was accepted: it is never delivered.
    pub async fn content(&self, id: MessageId) -> Result<(MessageHead, Bytes), StoreError> {
        let (head, inline) = self
            .reader
            .run(move |db| {
                let row = db
                    .prepare_cached("SELECT id, content_type, digest, size, content FROM messages WHERE id = ?1")?
                    .query_row([id.to_string()], |row| Ok((read_head(row), row.get::<_, Option<Vec<u8>>>(4)?)))?;
                Ok((row.0?, row.1))
            })
            .await?;
        let content = match inline {
            Some(content) => Bytes::from(content),
            None => {
                let (contents, digest) = (self.contents.clone(), head.digest);
                run_blocking("read", move || contents.get(digest)).await?
            }
        };
        if Digest::of(&content) != head.digest {
            return Err(StoreError::Damaged { what: "a content" });
        }
        Ok((head, content))
    }

    /// Writes the verdict of an envelope: delivered, with the call as evidence. An envelope that has one keeps it.
    ///
    /// # Errors
    /// [`StoreError`]: the message will be delivered again.
    pub async fn delivered(&self, id: MessageId, terminal: TerminalId, call: CallId) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                db.prepare_cached(
                    "UPDATE envelopes SET verdict = 'delivered', verdict_call = ?3, verdict_at = ?4
                     WHERE message = ?1 AND terminal = ?2 AND verdict IS NULL",
                )?
                .execute(params![id.to_string(), terminal.to_string(), call.to_string(), now()])?;
                Ok(())
            })
            .await
    }

    /// The last messages, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn messages(&self, last: Last) -> Result<Vec<MessageEntry>, StoreError> {
        self.reader.run(move |db| select_messages(db, "ORDER BY rowid DESC LIMIT ?1", params![last.0])).await
    }

    /// One message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn message(&self, id: MessageId) -> Result<Option<MessageEntry>, StoreError> {
        self.reader.run(move |db| Ok(select_messages(db, "WHERE id = ?1", params![id.to_string()])?.pop())).await
    }

    /// Writes a call record: new when the call begins (before anything is dialled), over it as the call goes on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn record_call(&self, record: CallRecord) -> Result<(), StoreError> {
        self.writer
            .run(move |db| {
                let direction = match record.direction {
                    Direction::Outgoing => "outgoing",
                    Direction::Incoming => "incoming",
                };
                let millis = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
                db.prepare_cached(
                    "INSERT OR REPLACE INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                )?
                .execute(params![
                    record.id.to_string(),
                    direction,
                    record.line.to_string(),
                    record.number.as_str(),
                    record.party.to_string(),
                    record.placed_at.as_millisecond(),
                    millis(record.connected_at),
                    millis(record.ended_at),
                    record.outcome,
                    i64::try_from(record.octets_out).unwrap_or(i64::MAX),
                    i64::try_from(record.octets_in).unwrap_or(i64::MAX),
                ])?;
                Ok(())
            })
            .await
    }

    /// The last calls, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn calls(&self, last: Last) -> Result<Vec<CallRecord>, StoreError> {
        self.reader
            .run(move |db| {
                let mut select =
                    db.prepare_cached("SELECT * FROM calls ORDER BY placed_at DESC, rowid DESC LIMIT ?1")?;
                let mut rows = select.query(params![last.0])?;
                let mut calls = Vec::new();
                while let Some(row) = rows.next()? {
                    calls.push(read_call(row)?);
                }
                Ok(calls)
            })
            .await
    }
}

fn prepare(db: &Database) -> Result<(), StoreError> {
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Accepted means on disk: NORMAL would lose the last commits with the power.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

async fn run_blocking<T, F>(operation: &'static str, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)?;
    done.map_err(|source| StoreError::Content { operation, source: Arc::new(source) })
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Which field a unique constraint is about: SQLite names it in the message.
fn taken(error: rusqlite::Error) -> StoreError {
    let text = error.to_string();
    let field = ["number", "address", "name"].into_iter().find(|field| text.contains(&format!(".{field}")));
    match field {
        Some(field) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
            StoreError::Taken { field }
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests;
