//! Everything that is kept: directory, messages, envelopes, call records. SQL stands nowhere else.
//!
//! A method that writes returns after the write is on the disk. Readers see what was committed.
//!
//! [`messages`](NewMessage) come in once; what happens to their envelopes is in `deliveries` and `verdicts`; `cleaning`
//! removes what nobody waits for. `backup` and `check` are the operator's.

mod alarms;
mod away;
mod backup;
mod bounces;
mod calls;
mod changes;
mod check;
mod claims;
mod cleaning;
mod clock;
mod content;
mod deliveries;
mod doubts;
mod draft;
mod entries;
mod fan_out;
#[cfg(any(test, feature = "faults"))]
mod faults;
mod feeds;
mod files;
mod health;
mod keys;
mod known;
mod ledger;
mod messages;
mod migration;
mod pauses;
mod providers;
mod quotas;
mod refusals;
mod rows;
mod spending;
mod sqlite;
mod standings;
mod stated;
mod stopwatch;
mod subscriptions;
mod terminals;
mod verdicts;
mod webhooks;
mod worker;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use delivery::{StateFolderError, StateLock, TerminalId};
use jiff::Timestamp;
use rusqlite::{Connection as Database, OpenFlags, params};
use tokio::sync::Notify;

pub use alarms::StoredNotice;
pub use away::CallAway;
pub use backup::{Backup, BackupError, BackupProgress};
pub use bounces::{Bounce, ReturnPath};
pub use changes::{ProviderUpdate, TerminalUpdate};
pub use check::{CheckError, Findings};
pub use claims::{Begun, Claim};
pub use cleaning::{Cleaned, Retention};
pub use deliveries::{AttemptEnd, Doubt, MostUrgent};
pub use doubts::Doubtful;
pub use draft::{Draft, FiledContent, NewContent};
pub use entries::{DeliveryEntry, EnvelopeEntry, MessageEntry};
pub use feeds::{FeedItem, FeedState};
pub use files::KEY_FILE;
pub use health::{Counts, Health};
pub use keys::Trust;
pub use ledger::Spent;
pub use messages::{Accepted, Handling, NewMessage};
pub use providers::ProviderRemoved;
pub use quotas::{Holder, NearQuota, OverQuota, Quota, Quotas};
pub use refusals::{Refusal, RefusalRules, Refused, Resting};
pub use spending::{CallCost, Spending, SpentBy};
pub use standings::{NotCalled, Standing, TerminalEntry};
pub use subscriptions::{RegisterError, SubscriptionEntry};
pub use verdicts::Cancelled;
pub use webhooks::Telling;

use content::Contents;
use draft::Drafts;
use fan_out::Arriving;
use files::{DATABASE, DatabaseFile};
use health::Vitals;
use known::Known;
use verdicts::Expired;
use worker::{Readers, Worker};

use model::account::Account;
use model::call::CallRecord;
use model::outcome::Kind;

/// The store of one server. Cheap to clone: the work is done by its threads.
#[derive(Debug, Clone)]
pub struct Store {
    // Ends before the writer, which then closes the database for good.
    reader: Readers,
    writer: Worker,
    contents: Contents,
    /// What every submission asks of the directory, without a way to the disk.
    known: Arc<Known>,
    vitals: Arc<Vitals>,
    quotas: Quotas,
    refusals: RefusalRules,
    /// Contents that are coming in.
    drafts: Arc<Drafts>,
    /// Told when a message came that expires, or that is held back.
    expiring: Arc<Notify>,
    database: Arc<Path>,
    /// Messages that are written in steps just now.
    arriving: Arriving,
    /// The providers with a webhook.
    webhooks: Arc<Mutex<BTreeSet<String>>>,
    /// Records of calls that are over which the disk has not taken.
    unwritten: Arc<Mutex<Vec<CallRecord>>>,
    /// Until when all that has expired has its verdict, or waits for it: no look goes over that again.
    expired: Expired,
    /// The server that this store works for.
    owner: Owner,
    /// Held until the threads have ended: fields are dropped in their order.
    _lock: Arc<StateLock>,
}

/// What an engine or the file system said.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Why the store did not do what it was asked, in words of no engine: what callers decide by, they match.
///
/// | whose fault | variants | later |
/// |---|---|---|
/// | the caller's | `Taken`, `NoTerminal`, `Quota`, `Expired`, `KeyReused`, `BudgetSpent`, `Conflict` | not without a change; `Quota` when something has been delivered |
/// | another server's | `HeldBy`, `Superseded` | `HeldBy`: when that server is done |
/// | the machine's | `Full`, `Unavailable`, `Content`, `Thread` | yes: the same operation may succeed |
/// | the operator's | `Folder`, `State`, `Removed`, `Version` | after they have acted |
/// | the disk's, or ours | `Damaged`, `Refused` | no |
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
    /// The state folder cannot be used, or is in use.
    #[error(transparent)]
    State(Arc<StateFolderError>),
    /// The database was removed, or another file has its place.
    #[error(
        "{0} was removed or replaced while the server was running, so nothing is accepted; end the server, and start it on what is to be its state"
    )]
    Removed(PathBuf),
    /// The database was written by a later version of this program.
    #[error("the database has schema version {found}; this program knows versions up to {known}")]
    Version {
        /// What was found.
        found: i64,
        /// What this program works with.
        known: i64,
    },
    /// Another entry has this value already.
    #[error("{field} is taken by {by}")]
    Taken {
        /// Which field.
        field: &'static str,
        /// Whose it is.
        by: String,
    },
    /// The directory has no such terminal (any more).
    #[error("no terminal has the id {0}")]
    NoTerminal(TerminalId),
    /// As much waits as may.
    #[error(transparent)]
    Quota(#[from] OverQuota),
    /// Its time was over before it came.
    #[error("it expired at {0}")]
    Expired(Timestamp),
    /// The provider has used this idempotency key for another submission.
    #[error(
        "this idempotency key was used for another submission; give each submission a key of its own"
    )]
    KeyReused,
    /// Another server has the terminal, or the call: nothing was written.
    #[error("the server {by} has it")]
    HeldBy {
        /// Its id.
        by: String,
    },
    /// This server has been started again elsewhere: what runs here writes nothing about calls any more.
    #[error("the server {0} has been started elsewhere; this process must end")]
    Superseded(String),
    /// What a call may cost does not fit into a budget: nothing was written.
    #[error("the budget of {0} for the day is spent")]
    BudgetSpent(Account),
    /// A constraint of the database forbids the change: nothing of it was written.
    #[error("the database refuses it: {constraint}")]
    Conflict {
        /// Which.
        constraint: Constraint,
    },
    /// A row or a content that cannot have been written by us, or a database that cannot be read: reading again does not help.
    #[error("{what} is damaged")]
    Damaged {
        /// What.
        what: &'static str,
        /// What the engine said, if it noticed.
        #[source]
        source: Option<Cause>,
    },
    /// The disk, or our share of it, is full.
    #[error("could not {operation}: the disk is full")]
    Full {
        /// What was tried.
        operation: &'static str,
        /// What said so.
        #[source]
        source: Cause,
    },
    /// The database does not take or give anything just now. Nothing of the transaction counts.
    #[error("the database cannot be used: {obstacle}")]
    Unavailable {
        /// Why not.
        obstacle: Obstacle,
        /// What the engine said.
        #[source]
        source: Cause,
    },
    /// The engine refused an operation for none of the reasons above: a mistake of ours, or a table that somebody has changed.
    #[error("the database failed")]
    Refused(#[source] Cause),
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

/// What a database keeps true, whoever writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// No two rows have the same value there: `table.column`.
    Unique(String),
    /// A row refers to one that there is.
    Reference,
    /// Anything else, in the schema's words: what a trigger or a check forbids.
    Rule(String),
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unique(columns) => write!(f, "another row has this {columns}"),
            Self::Reference => f.write_str("what it refers to is not there"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

/// Why a database cannot be used just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It may not be written.
    ReadOnly,
    /// Its files cannot be opened.
    NotOpened,
    /// Another process has it locked.
    Locked,
    /// The disk reports an error.
    Disk,
    /// What was asked was interrupted, or undone together with what failed beside it.
    Undone,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "it, or its folder, is read-only for this user",
            Self::NotOpened => {
                "its files cannot be opened; is its folder read-only, or of another user?"
            }
            Self::Locked => "another process has it locked",
            Self::Disk => "the disk failed",
            Self::Undone => "the transaction was undone",
        })
    }
}

impl StoreError {
    fn damaged(what: &'static str) -> Self {
        Self::Damaged { what, source: None }
    }

    /// What an operation on a content file that failed means.
    fn content(operation: &'static str, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, NotFound, QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full {
                operation,
                source: Arc::new(source),
            },
            // What a row names was there when it was written.
            NotFound if operation == "read" => Self::Damaged {
                what: "the content",
                source: Some(Arc::new(source)),
            },
            _ => Self::Content {
                operation,
                source: Arc::new(source),
            },
        }
    }

    /// What it is for those whose writes were undone with the one that failed so: theirs were not at fault.
    fn for_others(self) -> Self {
        match self {
            Self::Full { .. } | Self::Unavailable { .. } | Self::Removed(_) => self,
            error => Self::Unavailable {
                obstacle: Obstacle::Undone,
                source: Arc::new(error),
            },
        }
    }
}

/// The id of the one server that a store in a folder has.
const SERVER: &str = "server";

/// The server that a store works for, since a start. All that is under way names it.
#[derive(Debug, Clone)]
struct Owner {
    id: &'static str,
    epoch: i64,
}

impl Owner {
    /// Begins the next epoch of a server, and ends what an earlier one has left under way. That of other servers goes on.
    fn start(db: &Database, id: &'static str, now: i64) -> Result<Self, StoreError> {
        let next =
            "INSERT INTO servers (id, epoch) VALUES (?1, 1) ON CONFLICT (id) DO UPDATE SET epoch = servers.epoch + 1
                    RETURNING epoch";
        let owner = Self {
            id,
            epoch: db.query_row(next, [id], |row| row.get(0))?,
        };
        db.execute(
            "UPDATE terminals SET connection = 'down', connection_call = NULL
             WHERE connection <> 'down' AND owner = ?1 AND epoch < ?2",
            params![owner.id, owner.epoch],
        )?;
        deliveries::release_all(db, &owner, "server stopped", now)?;
        db.execute(
            "UPDATE calls SET ended_at = ?3, outcome = 'server stopped', kind = ?4, epoch = ?2
             WHERE ended_at IS NULL AND owner = ?1 AND epoch < ?2",
            params![owner.id, owner.epoch, now, Kind::OurFault.as_str()],
        )?;
        Ok(owner)
    }

    /// Asked in each transaction that marks anything: a process whose server has been started elsewhere must not.
    fn check(&self, db: &Database) -> Result<(), StoreError> {
        let is_newest = "SELECT EXISTS (SELECT 1 FROM servers WHERE id = ?1 AND epoch = ?2)";
        match db
            .prepare_cached(is_newest)?
            .query_row(params![self.id, self.epoch], |row| row.get(0))?
        {
            true => Ok(()),
            false => Err(StoreError::Superseded(self.id.to_owned())),
        }
    }
}

/// The lock of a server's state folder.
pub const SERVER_LOCK: &str = "server";

/// Which entries of a list that grows for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last(pub u32);

impl Store {
    /// Opens the store in `folder`, making it if need be, for this process alone, until the last clone is dropped. Every terminal's
    /// connection that this server
    /// had is down afterwards, and nothing of it is under way: calls do not survive the process. What was under way is in doubt.
    ///
    /// # Errors
    /// [`StoreError`]: the folder, which another process may be using, the database, or a database of a later version.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, StoreError> {
        // Before anything is read: what a running server knows and does is not ours to change.
        let lock = StateLock::alone(folder, SERVER_LOCK)
            .map_err(|error| StoreError::State(Arc::new(error)))?;
        let failed = |source| StoreError::Folder {
            path: folder.to_owned(),
            source: Arc::new(source),
        };
        let contents = Contents::open(folder.join("contents")).map_err(failed)?;
        let path = folder.join(DATABASE);
        let file = DatabaseFile::prepare(path.clone()).map_err(failed)?;
        let writer = Database::open(&path)?;
        prepare(&writer)?;
        migration::migrate(&writer)?;
        writer.execute_batch("BEGIN IMMEDIATE")?;
        fan_out::unwind_all(&writer)?;
        let now = now.as_millisecond();
        let owner = Owner::start(&writer, SERVER, now)?;
        let doubted = backup::doubt_all(&writer, now)?;
        writer.execute_batch("COMMIT")?;
        if doubted > 0 {
            tracing::warn!(
                messages = doubted,
                "this is a backup: terminals may have what waits in it, and are asked before any other verdict"
            );
        }
        let with_webhook = webhooks::providers(&writer)?;
        let beside = Database::open(&path)?;
        prepare(&beside)?;
        let vitals = Arc::new(Vitals::default());
        Ok(Self {
            reader: Readers::start(|| open_to_read(&path))?,
            writer: Worker::start_writer(writer, beside, file, vitals.clone())?,
            contents,
            known: Arc::default(),
            vitals,
            quotas: Quotas::default(),
            refusals: RefusalRules::default(),
            drafts: Arc::default(),
            expiring: Arc::default(),
            database: path.into(),
            arriving: Arriving::default(),
            webhooks: Arc::new(Mutex::new(with_webhook)),
            unwritten: Arc::default(),
            expired: Expired::default(),
            owner,
            _lock: Arc::new(lock),
        })
    }

    /// The same store, with limits to what may wait.
    #[must_use]
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        Self { quotas, ..self }
    }

    /// The same store, with rules for what terminals refuse.
    #[must_use]
    pub fn with_refusals(self, refusals: RefusalRules) -> Self {
        Self { refusals, ..self }
    }
}

fn prepare(db: &Database) -> Result<(), StoreError> {
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Accepted means on disk: NORMAL would lose the last commits with the power.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    // The writer copies its log into the database by itself only when the thread beside it lags: at some 64 MB of log.
    db.pragma_update(None, "wal_autocheckpoint", 16_000)?;
    db.pragma_update(None, "cache_size", -32_768)?;
    // What a job would undo alone is kept in memory, not in a file.
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn open_to_read(path: &Path) -> Result<Database, StoreError> {
    let reader = Database::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    reader.busy_timeout(Duration::from_secs(5))?;
    reader.set_prepared_statement_cache_capacity(64);
    Ok(reader)
}

async fn run_blocking<T, F>(operation: &'static str, work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Stopped)?;
    done.map_err(|source| StoreError::content(operation, source))
}

#[cfg(test)]
mod tests;
