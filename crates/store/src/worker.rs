//! The threads that own the connections to SQLite: one writes, a few read.
//!
//! The writer takes whatever is waiting into one transaction (group commit) and answers each job after COMMIT has
//! returned, that is, after the log is on the disk (`synchronous=FULL`). A job that fails is undone alone; for that it has a
//! savepoint, whose price is a copy of every page it touches. A job that asks before it writes does without.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, ffi};
use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;
use super::files::DatabaseFile;
use super::stopwatch::Stopwatch;
use super::vitals::Vitals;
use model::causes::with_causes;

/// Jobs taken into one transaction. Bounds how long the first of them waits.
const GROUP_MAX: usize = 256;

/// Jobs that may wait before `submit` blocks its caller's turn: backpressure, not memory.
const QUEUE_MAX: usize = 4096;

/// How long the writer stays awake after a commit.
const ALERT_TIME: Duration = Duration::from_micros(200);

/// Connections that read, each with a thread.
const READERS: usize = 3;

/// Commits after which the log is copied into the database beside the writer.
const CHECKPOINT_COMMITS: u32 = 64;

/// Answers a job's caller, once it is known whether the transaction is on the disk.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs on the connection, unless there is a reason not to.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Done + Send>;

/// A job that has run.
struct Done {
    answer: Answer,
    /// It goes on in the next transaction; if this one fails, it learns that.
    rest: Option<Job>,
    /// Why it failed, if it did.
    failed: Option<StoreError>,
}

/// Rows that are looked for at once.
pub(super) const BATCH: u32 = 64;

/// A batch ends after this: what others submit meanwhile waits no longer.
pub(super) const BATCH_TIME: Duration = Duration::from_millis(2);

/// A step of a long job ends after this.
pub(super) const STEP_TIME: Duration = Duration::from_millis(5);

/// What came of a part of a long job.
pub(super) enum Step<T> {
    /// There is more to do, in a transaction of its own.
    More,
    /// That was the last.
    Done(T),
}

/// A thread with a connection. It ends when its queue is empty and the last handle is dropped, which waits for that.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    /// `None`: no more come.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // A job may hold the last handle.
        let thread = self
            .thread
            .take()
            .filter(|thread| thread.thread().id() != thread::current().id());
        let _ = thread.map(JoinHandle::join); // what it has said of a panic of ours is in the log
    }
}

impl Worker {
    /// `beside` is a second connection, for the copying of the log into the database: it would keep submissions waiting.
    pub(super) fn start_writer(
        connection: Connection,
        beside: Connection,
        file: DatabaseFile,
        vitals: Arc<Vitals>,
    ) -> Result<Self, StoreError> {
        let (grown, has_grown) = std::sync::mpsc::sync_channel(1);
        let copying = thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || checkpoint(&beside, &has_grown))
            .map_err(|error| StoreError::Thread(Arc::new(error)))?;
        Self::start("store-writer", move |queue| {
            write(&connection, queue, &file, &vitals, &grown);
            drop(grown);
            let _ = copying.join(); // what it has said of a panic of ours is in the log
            // All of the log into the database: who copies that file alone has everything.
            if let Err(error) =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            {
                tracing::warn!(%error, "the database's log stays beside it, and must be copied with it");
            }
        })
    }

    fn start_reader(connection: Connection) -> Result<Self, StoreError> {
        Self::start("store-reader", move |queue| read(&connection, queue))
    }

    fn start(
        name: &str,
        work: impl FnOnce(mpsc::Receiver<Job>) + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(queue))
            .map_err(|error| StoreError::Thread(Arc::new(error)))?;
        Ok(Self {
            running: Arc::new(Running {
                jobs: Some(jobs),
                thread: Some(thread),
            }),
        })
    }

    /// Runs `work` on the connection and gives its result, for a writer after the commit.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.submit(move |connection| in_savepoint(connection, work))
            .await
    }

    /// The same for work that fails before it has written anything. Should it fail later all the same, which takes a fault of
    /// the disk, its whole group is undone: the others are told that nothing of theirs counts.
    pub(super) async fn run_without_savepoint<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let all_or_nothing = move |connection: &Connection| {
            let before = connection.total_changes();
            let result = work(connection);
            if result.is_err()
                && connection.total_changes() != before
                && !connection.is_autocommit()
            {
                connection.execute_batch("ROLLBACK")?;
            }
            result
        };
        self.submit(all_or_nothing).await
    }

    /// Runs `work` again and again, each time in another transaction with what others have to write, and gives its result after
    /// the last. It goes on to the end even if nobody waits for that any more; a crash may end it after any of them.
    pub(super) async fn run_steps<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<Step<T>, StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let jobs = self.running.jobs.as_ref().ok_or(StoreError::Stopped)?;
        jobs.send(step(work, sender))
            .await
            .map_err(|_| StoreError::Stopped)?;
        receiver.await.map_err(|_| StoreError::Stopped)?
    }

    async fn submit<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = connection.and_then(work);
            let failed = result.as_ref().err().cloned();
            let answer: Answer = Box::new(move |committed| {
                let _ = sender.send(committed.and(result)); // the caller may have gone away
            });
            Done {
                answer,
                rest: None,
                failed,
            }
        });
        let jobs = self.running.jobs.as_ref().ok_or(StoreError::Stopped)?;
        jobs.send(job).await.map_err(|_| StoreError::Stopped)?;
        receiver.await.map_err(|_| StoreError::Stopped)?
    }
}

/// The connections that read. One is never given a look at everything: a short question does not wait for a long one.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    readers: Arc<[Reader]>,
}

#[derive(Debug)]
struct Reader {
    worker: Worker,
    /// Jobs that it has and has not done.
    pending: Arc<AtomicUsize>,
}

impl Readers {
    pub(super) fn start(
        open: impl Fn() -> Result<Connection, StoreError>,
    ) -> Result<Self, StoreError> {
        let start = |_| {
            Ok(Reader {
                worker: Worker::start_reader(open()?)?,
                pending: Arc::default(),
            })
        };
        Ok(Self {
            readers: (0..READERS).map(start).collect::<Result<_, StoreError>>()?,
        })
    }

    /// Runs a short question.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        run_on(&self.readers, work).await
    }

    /// Runs a look at a table as a whole.
    pub(super) async fn survey<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        run_on(&self.readers[1..], work).await
    }
}

/// Runs on the first that is idle, or on the one with the fewest jobs.
async fn run_on<T, F>(readers: &[Reader], work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
{
    let fewest = readers
        .iter()
        .min_by_key(|reader| reader.pending.load(Ordering::Relaxed));
    let reader = fewest.expect("there are some");
    let pending = Pending::note(reader.pending.clone());
    let work = move |connection: &Connection| {
        let _pending = pending;
        work(connection)
    };
    reader.worker.submit(work).await
}

/// While it lives, its reader has this job.
struct Pending(Arc<AtomicUsize>);

impl Pending {
    fn note(jobs: Arc<AtomicUsize>) -> Self {
        jobs.fetch_add(1, Ordering::Relaxed);
        Self(jobs)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One step of a long job, and then the next.
fn step<T, F>(mut work: F, sender: oneshot::Sender<Result<T, StoreError>>) -> Job
where
    T: Send + 'static,
    F: FnMut(&Connection) -> Result<Step<T>, StoreError> + Send + 'static,
{
    Box::new(move |connection| {
        let result = connection.and_then(|connection| in_savepoint(connection, &mut work));
        let failed = result.as_ref().err().cloned();
        let over = match result {
            Ok(Step::More) => {
                return Done {
                    answer: Box::new(|_| ()),
                    rest: Some(step(work, sender)),
                    failed,
                };
            }
            Ok(Step::Done(value)) => Ok(value),
            Err(error) => Err(error),
        };
        let answer: Answer = Box::new(move |committed| {
            let _ = sender.send(committed.and(over)); // the caller may have gone away
        });
        Done {
            answer,
            rest: None,
            failed,
        }
    })
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let result = work(connection);
    if result.is_err() && !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    if !connection.is_autocommit() {
        connection.prepare_cached("RELEASE job")?.execute([])?;
    }
    result
}

fn write(
    connection: &Connection,
    mut queue: mpsc::Receiver<Job>,
    file: &DatabaseFile,
    vitals: &Vitals,
    grown: &std::sync::mpsc::SyncSender<()>,
) {
    let mut commits = 0_u32;
    let mut group = Vec::with_capacity(GROUP_MAX);
    // Long jobs between two steps: each has one in a transaction.
    let mut long = Vec::new();
    loop {
        group.append(&mut long);
        if group.is_empty() {
            let Some(first) = next(&mut queue) else {
                return;
            };
            group.push(first);
        }
        while group.len() < GROUP_MAX
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
        let began = Stopwatch::start();
        let began_one = connection.execute_batch("BEGIN IMMEDIATE");
        let mut failed = began_one
            .err()
            .map(|error| StoreError::from(error).for_others());
        let mut answers = Vec::with_capacity(group.len());
        for job in group.drain(..) {
            let usable = match &failed {
                Some(error) => Err(error.clone()),
                None => Ok(connection),
            };
            let mut done = job(usable);
            answers.push(done.answer);
            long.extend(done.rest.take());
            // A full disk ends the whole transaction under a job (SQLITE_FULL), or the job has: what follows must not commit
            // by itself.
            if failed.is_none() && connection.is_autocommit() {
                let code = ffi::Error::new(ffi::SQLITE_ABORT_ROLLBACK);
                let aborted = || rusqlite::Error::SqliteFailure(code, None).into();
                failed = Some(done.failed.unwrap_or_else(aborted).for_others());
            }
        }
        // Into a file without a name it would be lost with the process.
        if failed.is_none() && !file.is_here() {
            failed = Some(StoreError::Removed(file.path().to_owned()));
        }
        if failed.is_none() {
            failed = connection
                .execute_batch("COMMIT")
                .err()
                .map(|error| StoreError::from(error).for_others());
        }
        if let Some(error) = &failed {
            tracing::error!(error = with_causes(error), "store could not commit");
            let _ = connection.execute_batch("ROLLBACK"); // rolled back already, or the next BEGIN will say so
        }
        let committed = failed.map_or(Ok(()), Err);
        vitals.note(&committed);
        vitals.commits.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        vitals.commit_nanos.fetch_add(nanos, Ordering::Relaxed);
        commits += 1;
        if commits.is_multiple_of(CHECKPOINT_COMMITS) {
            let _ = grown.try_send(()); // told already: it is at it
        }
        for answer in answers {
            answer(committed.clone());
        }
        if let Err(error) = &committed {
            for job in long.drain(..) {
                (job(Err(error.clone())).answer)(Err(error.clone()));
            }
        }
    }
}

/// The next job. Whoever submits one after another sends the next soon after an answer: for that long the thread does not
/// sleep, as being woken would take as long as a small disk's sync.
fn next(queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
    let began = Stopwatch::start();
    while began.elapsed() < ALERT_TIME {
        match queue.try_recv() {
            Ok(job) => return Some(job),
            Err(mpsc::error::TryRecvError::Disconnected) => return None,
            Err(mpsc::error::TryRecvError::Empty) => thread::yield_now(),
        }
    }
    queue.blocking_recv()
}

/// Copies the log into the database beside the writer, whenever that says that it has grown; ends with it.
fn checkpoint(connection: &Connection, grown: &std::sync::mpsc::Receiver<()>) {
    while grown.recv().is_ok() {
        let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = copied {
            tracing::debug!(%error, "checkpoint put off"); // the writer makes its own when the log is long
        }
    }
}

fn read(connection: &Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        let done = job(Ok(connection));
        (done.answer)(Ok(()));
    }
}
