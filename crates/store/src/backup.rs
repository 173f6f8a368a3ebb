//! A copy of everything, made while the server works: a folder that a server can be started on.
//!
//! The database is copied with SQLite's own backup, out of one read transaction: what is accepted meanwhile is not in it, and
//! does not make it begin anew. Then the content files that this copy names; none is removed while that goes on. And the server's
//! key: whoever has the backup is the server.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use delivery::proof::write_secret;
use delivery::{Digest, private_folder};
use rusqlite::Connection as Database;
use rusqlite::backup::StepResult;

use super::content::{Contents, sync_folder, write_synced};
use super::files::KEY_FILE;
use super::files::{DATABASE, DatabaseFile};
use super::sqlite::open_to_read;
use super::stopwatch::Stopwatch;
use super::{Store, StoreError};

/// Pages copied in one step: 1 MB, which is on the disk before the next. A disk that has to take hundreds of megabytes at once keeps
/// every commit waiting that long.
const STEP_PAGES: i32 = 256;

/// After each step the disk belongs to others for as long as the step took, at most this.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// A backup that is being made. Dropping it stops it, and leaves what is there so far.
#[derive(Debug)]
pub struct Backup {
    counters: Arc<Counters>,
    work: tokio::task::JoinHandle<Result<(), BackupError>>,
}

#[derive(Debug, Default)]
struct Counters {
    pages_done: AtomicU64,
    pages: AtomicU64,
    files_done: AtomicU64,
    files: AtomicU64,
    is_stopped: AtomicBool,
}

/// How far a backup is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct BackupProgress {
    /// Pages of the database copied.
    pub pages_done: u64,
    /// Of so many.
    pub pages: u64,
    /// Content files copied.
    pub files_done: u64,
    /// Of so many.
    pub files: u64,
}

/// In the head of a database: it is a copy, and the server has gone on since.
const IS_BACKUP: i32 = 0x5249_4e47;

/// Of a database that is a backup: what waits in it may have been delivered since. It is in doubt, so that no terminal has what gets
/// another verdict. Gives of how many messages that is so.
pub(super) fn doubt_all(db: &Database, now: i64) -> Result<usize, StoreError> {
    let mark: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if mark != IS_BACKUP {
        return Ok(0);
    }
    db.pragma_update(None, "application_id", 0)?;
    let doubt =
        "UPDATE envelopes SET in_doubt_since = ?1 WHERE verdict IS NULL AND in_doubt_since IS NULL";
    Ok(db.execute(doubt, [now])?)
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder is there already.
    #[error("{0} is there already; a backup is made in a new folder")]
    Exists(PathBuf),
    /// The folder cannot be made, or written to.
    #[error("could not write to {path}")]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A content that a message waits with is not what was accepted.
    #[error("the content {0} is damaged; `ringup store check` shows more")]
    Damaged(Digest),
    /// The database.
    #[error("the database could not be copied")]
    Store(#[from] StoreError),
    /// It was stopped.
    #[error("the backup was stopped")]
    Stopped,
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Begins a backup into a new folder.
    pub fn backup(&self, folder: PathBuf) -> Backup {
        let counters = Arc::new(Counters::default());
        let (database, contents, told) = (
            self.database.clone(),
            self.contents.clone(),
            counters.clone(),
        );
        let work = tokio::task::spawn_blocking(move || copy(&database, &contents, &folder, &told));
        Backup { counters, work }
    }
}

impl Backup {
    /// How far it is.
    pub fn progress(&self) -> BackupProgress {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counters {
            pages_done,
            pages,
            files_done,
            files,
            ..
        } = &*self.counters;
        BackupProgress {
            pages_done: read(pages_done),
            pages: read(pages),
            files_done: read(files_done),
            files: read(files),
        }
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// [`BackupError`]: what is in the folder is no backup.
    pub async fn done(&mut self) -> Result<BackupProgress, BackupError> {
        (&mut self.work).await.map_err(|_| BackupError::Stopped)??;
        Ok(self.progress())
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        self.counters.is_stopped.store(true, Ordering::Relaxed);
    }
}

fn copy(
    database: &Path,
    contents: &Contents,
    folder: &Path,
    counters: &Counters,
) -> Result<(), BackupError> {
    let write = |path: &Path, source| BackupError::Write {
        path: path.to_owned(),
        source,
    };
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(folder.to_owned()),
            _ => write(folder, error),
        })?;
    let into = folder.join("contents");
    private_folder(&into).map_err(|error| write(&into, error))?;
    let _hold = contents.hold(); // before the database is looked at: what it names stays
    // Under a name that no server opens, until it is whole.
    let (part, whole) = (folder.join("ringup.db.part"), folder.join(DATABASE));
    let digests = {
        DatabaseFile::prepare(part.clone()).map_err(|error| write(&part, error))?;
        let source = open_to_read(database)?;
        let mut target = Database::open(&part)?;
        // Synced step by step, and named when all of it is on the disk: SQLite need not see to that.
        target.pragma_update(None, "journal_mode", "OFF")?;
        target.pragma_update(None, "synchronous", "OFF")?;
        let file = fs::File::open(&part).map_err(|error| write(&part, error))?;
        copy_database(&source, &mut target, counters, || {
            file.sync_data().map_err(|error| write(&part, error))
        })?;
        target.pragma_update(None, "application_id", IS_BACKUP)?;
        // One file, without a log beside it.
        target.pragma_update(None, "journal_mode", "DELETE")?;
        named_files(&target)?
    };
    counters
        .files
        .store(digests.len() as u64, Ordering::Relaxed);
    for digest in digests {
        if counters.is_stopped.load(Ordering::Relaxed) {
            return Err(BackupError::Stopped);
        }
        let began = Stopwatch::start();
        let content = contents
            .get(digest)
            .ok()
            .flatten()
            .ok_or(BackupError::Damaged(digest))?;
        let path = into.join(digest.to_string());
        write_synced(&path, &content).map_err(|error| write(&path, error))?;
        counters.files_done.fetch_add(1, Ordering::Relaxed);
        pause_after(began);
    }
    sync_folder(&into).map_err(|error| write(&into, error))?;
    // Terminals pinned the key: a server without it is nobody to them.
    if let Some(key) = database.parent().map(|state| state.join(KEY_FILE))
        && key.exists()
    {
        let copy = folder.join(KEY_FILE);
        fs::read(&key)
            .and_then(|octets| write_secret(&copy, &octets))
            .map_err(|error| write(&copy, error))?;
    }
    fs::File::open(&part)
        .and_then(|file| file.sync_all())
        .map_err(|error| write(&part, error))?;
    fs::rename(&part, &whole).map_err(|error| write(&whole, error))?;
    sync_folder(folder).map_err(|error| write(folder, error))
}

/// Leaves the disk to others for a while.
fn pause_after(began: Stopwatch) {
    thread::sleep(began.elapsed().min(PAUSE_MAX));
}

fn copy_database(
    source: &Database,
    target: &mut Database,
    counters: &Counters,
    sync: impl Fn() -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    // One look for all steps.
    let look = source.unchecked_transaction()?;
    let _: i64 = look.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let backup = rusqlite::backup::Backup::new(source, target)?;
    loop {
        if counters.is_stopped.load(Ordering::Relaxed) {
            return Err(BackupError::Stopped);
        }
        let began = Stopwatch::start();
        let step = backup.step(STEP_PAGES)?;
        sync()?;
        let progress = backup.progress();
        let [pages, remaining] =
            [progress.pagecount, progress.remaining].map(|count| u64::try_from(count).unwrap_or(0));
        counters.pages.store(pages, Ordering::Relaxed);
        counters
            .pages_done
            .store(pages.saturating_sub(remaining), Ordering::Relaxed);
        if step == StepResult::Done {
            return Ok(());
        }
        pause_after(began);
    }
}

fn named_files(db: &Database) -> Result<Vec<Digest>, BackupError> {
    let mut select = db.prepare("SELECT DISTINCT digest FROM messages WHERE kept = 'file'")?;
    let digests = select.query_map([], |row| row.get::<_, String>(0))?;
    let digests = digests.collect::<Result<Vec<_>, _>>()?;
    Ok(digests
        .iter()
        .filter_map(|digest| digest.parse().ok())
        .collect())
}
