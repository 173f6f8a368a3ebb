//! A start: the database is brought to its version, and what an earlier start has left is ended.

use std::path::Path;
use std::sync::{Arc, Mutex};

use delivery::StateLock;
use jiff::Timestamp;
use rusqlite::{Connection as Database, params};

use super::arriving::Arriving;
use super::content::Contents;
use super::expired::Expired;
use super::files::{DATABASE, DatabaseFile};
use super::sqlite::{open_to_read, prepare};
use super::vitals::Vitals;
use super::worker::{Readers, Worker};
use super::{
    Owner, Quotas, RefusalRules, SERVER_LOCK, Store, StoreError, backup, deliveries, fan_out,
    migration, webhooks,
};
use model::outcome::Kind;

/// The id of the one server that a store in a folder has.
pub(super) const SERVER: &str = "server";

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
        let owner = start(&writer, SERVER, now)?;
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
}

/// Begins the next epoch of a server, and ends what an earlier one has left under way. That of other servers goes on.
pub(super) fn start(db: &Database, id: &'static str, now: i64) -> Result<Owner, StoreError> {
    let next = "INSERT INTO servers (id, epoch) VALUES (?1, 1) ON CONFLICT (id) DO UPDATE SET epoch = servers.epoch + 1
                RETURNING epoch";
    let owner = Owner {
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
