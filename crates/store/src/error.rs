//! Why the store did not do what it was asked.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use delivery::{StateFolderError, TerminalId};
use jiff::Timestamp;

use super::quotas::OverQuota;
use model::account::Account;

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
    /// The engine refused an operation for none of the reasons above: a mistake of ours, or a table that was changed by hand.
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
    pub(super) fn damaged(what: &'static str) -> Self {
        Self::Damaged { what, source: None }
    }

    /// What an operation on a content file that failed means.
    pub(super) fn content(operation: &'static str, source: io::Error) -> Self {
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
    pub(super) fn for_others(self) -> Self {
        match self {
            Self::Full { .. } | Self::Unavailable { .. } | Self::Removed(_) => self,
            error => Self::Unavailable {
                obstacle: Obstacle::Undone,
                source: Arc::new(error),
            },
        }
    }
}
