//! The threads that own the connections to SQLite: one writes, one reads.
//!
//! The writer takes whatever is waiting into one transaction (group commit) and answers each job after COMMIT has
//! returned, that is, after the log is on the disk (`synchronous=FULL`). A job that fails is undone alone.

use std::sync::Arc;
use std::thread;

use rusqlite::{Connection, ffi};
use tokio::sync::oneshot;

use super::StoreError;

/// Jobs taken into one transaction. Bounds how long the first of them waits.
const GROUP_MAX: usize = 256;

/// Jobs that may wait before `submit` blocks its caller's turn: backpressure, not memory.
const QUEUE_MAX: usize = 4096;

/// Answers a job's caller, once it is known whether the transaction is on the disk.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs on the connection, unless there is a reason not to.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Answer + Send>;

/// A thread with a connection. It ends when the last handle is gone and its queue is empty.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    jobs: Arc<tokio::sync::mpsc::Sender<Job>>,
}

impl Worker {
    pub(super) fn start(name: &str, connection: Connection, is_writer: bool) -> Result<Self, StoreError> {
        let (jobs, queue) = tokio::sync::mpsc::channel(QUEUE_MAX);
        let work = move || if is_writer { write(&connection, queue) } else { read(&connection, queue) };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(|error| StoreError::Thread(Arc::new(error)))?;
        Ok(Self { jobs: Arc::new(jobs) })
    }

    /// Runs `work` on the connection and gives its result, for a writer after the commit.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = connection.and_then(|connection| in_savepoint(connection, work));
            Box::new(move |committed| {
                let _ = sender.send(committed.and(result)); // the caller may have gone away
            })
        });
        self.jobs.send(job).await.map_err(|_| StoreError::Stopped)?;
        receiver.await.map_err(|_| StoreError::Stopped)?
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.execute_batch("SAVEPOINT job")?;
    let result = work(connection);
    if result.is_err() {
        connection.execute_batch("ROLLBACK TO job")?;
    }
    connection.execute_batch("RELEASE job")?;
    result
}

fn write(connection: &Connection, mut queue: tokio::sync::mpsc::Receiver<Job>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while let Some(first) = queue.blocking_recv() {
        group.push(first);
        while group.len() < GROUP_MAX
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
        let mut failed = connection.execute_batch("BEGIN IMMEDIATE").err().map(Arc::new);
        let mut answers = Vec::with_capacity(group.len());
        for job in group.drain(..) {
            let usable = match &failed {
                Some(error) => Err(StoreError::Commit(error.clone())),
                None => Ok(connection),
            };
            answers.push(job(usable));
            // A full disk ends the whole transaction under a job (SQLITE_FULL): what follows must not commit by itself.
            if failed.is_none() && connection.is_autocommit() {
                let code = ffi::Error::new(ffi::SQLITE_ABORT_ROLLBACK);
                failed = Some(Arc::new(rusqlite::Error::SqliteFailure(code, None)));
            }
        }
        if failed.is_none() {
            failed = connection.execute_batch("COMMIT").err().map(Arc::new);
        }
        if let Some(error) = &failed {
            tracing::error!(%error, "store could not commit");
            let _ = connection.execute_batch("ROLLBACK"); // rolled back already, or the next BEGIN will say so
        }
        for answer in answers {
            answer(failed.clone().map_or(Ok(()), |error| Err(StoreError::Commit(error))));
        }
    }
}

fn read(connection: &Connection, mut queue: tokio::sync::mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        job(Ok(connection))(Ok(()));
    }
}
