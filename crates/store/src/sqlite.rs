//! SQLite: how a database is opened, and what its errors mean. Constraint names are read from its texts here, and nowhere else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection as Database, Error, ErrorCode, OpenFlags, ffi};

use super::error::{Cause, Constraint, Obstacle, StoreError};

pub(super) fn prepare(db: &Database) -> Result<(), StoreError> {
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

pub(super) fn open_to_read(path: &Path) -> Result<Database, StoreError> {
    let reader = Database::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    reader.busy_timeout(Duration::from_secs(5))?;
    reader.set_prepared_statement_cache_capacity(64);
    Ok(reader)
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let obstacle = match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => {
                return Self::Conflict {
                    constraint: constraint(&error),
                };
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                let what =
                    "the database (`ringup store check` shows where, and a backup brings it back)";
                return Self::Damaged {
                    what,
                    source: Some(Arc::new(error)),
                };
            }
            Some(ErrorCode::DiskFull) => {
                return Self::Full {
                    operation: "write to the database",
                    source: Arc::new(error),
                };
            }
            Some(ErrorCode::ReadOnly) => Obstacle::ReadOnly,
            Some(ErrorCode::CannotOpen) => Obstacle::NotOpened,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Obstacle::Locked,
            Some(ErrorCode::SystemIoFailure) => Obstacle::Disk,
            Some(ErrorCode::OperationInterrupted | ErrorCode::OperationAborted) => Obstacle::Undone,
            _ => return Self::Refused(Arc::new(error) as Cause),
        };
        Self::Unavailable {
            obstacle,
            source: Arc::new(error),
        }
    }
}

/// SQLite says which by a code of its own, and names columns only in its text: `UNIQUE constraint failed: terminals.number`.
fn constraint(error: &Error) -> Constraint {
    let (code, text) = match error {
        Error::SqliteFailure(failure, text) => {
            (failure.extended_code, text.as_deref().unwrap_or_default())
        }
        _ => (0, ""),
    };
    match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => Constraint::Unique(
            text.rsplit_once(": ")
                .map_or(text, |(_, columns)| columns)
                .to_owned(),
        ),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Constraint::Reference,
        _ => Constraint::Rule(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn a_constraint_is_named_whatever_kind_it_has() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "PRAGMA foreign_keys = ON;
             CREATE TABLE a (id TEXT PRIMARY KEY, number TEXT UNIQUE, size INTEGER CHECK (size > 0)) STRICT;
             CREATE TABLE b (a TEXT REFERENCES a (id)) STRICT;
             CREATE TRIGGER t BEFORE DELETE ON a BEGIN SELECT raise(ABORT, 'it stays'); END;
             INSERT INTO a VALUES ('x', '201', 1);",
        )
        .unwrap();
        let refused = |sql: &str| match StoreError::from(db.execute(sql, []).unwrap_err()) {
            StoreError::Conflict { constraint } => constraint,
            error => panic!("{error:?}"),
        };
        assert_eq!(
            refused("INSERT INTO a VALUES ('x', '202', 1)"),
            Constraint::Unique("a.id".to_owned())
        );
        assert_eq!(
            refused("INSERT INTO a VALUES ('y', '201', 1)"),
            Constraint::Unique("a.number".to_owned())
        );
        assert_eq!(refused("INSERT INTO b VALUES ('z')"), Constraint::Reference);
        assert_eq!(
            refused("DELETE FROM a"),
            Constraint::Rule("it stays".to_owned())
        );
        let check = refused("INSERT INTO a VALUES ('z', '203', 0)");
        assert_eq!(
            check,
            Constraint::Rule("CHECK constraint failed: size > 0".to_owned())
        );
        assert!(matches!(
            StoreError::from(db.execute("nonsense", []).unwrap_err()),
            StoreError::Refused(_)
        ));
    }
}
