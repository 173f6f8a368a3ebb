//! Handing what has come to this machine's applications: a folder, a Maildir, a program, a local URL.
//!
//! ```text
//!   published ──try──► taken (on the disk, exit 0, 2xx) ──► done, on the disk
//!       ▲                │ not taken, or a crash before "done"
//!       └────────────────┘ again, with the same id: at least once
//! ```
//!
//! It runs in a process of its own (`ringup inbox hand-over`), which the first message of a session starts: a slow application
//! keeps no line busy. One process an inbox does so; what comes meanwhile is shown to it by a mark, not by another that waits.
//!
//! ```text
//!   INBOX/.hand-over.lock   held by the process that hands over
//!   INBOX/.hand-over.again  something came since that last looked
//! ```

mod command;
mod file;
mod url;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use delivery::MessageId;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::inbox::{Entry, Handover, Rules, clean};
pub use url::{LocalUrl, LocalUrlError};

/// How fast messages are handed over.
#[derive(Debug, Clone, Copy)]
pub struct Pace<'a> {
    /// Pause before another try of what was not taken; after that it waits for the next session or for `ringup inbox hand-over`.
    pub pauses: &'a [Duration],
    /// How long a message has its turn: then the next one is handed over beside it.
    pub turn: Duration,
}

/// As `ringup inbox hand-over` does it.
pub const PACE: Pace<'_> = Pace {
    pauses: &[
        Duration::from_secs(2),
        Duration::from_secs(10),
        Duration::from_secs(60),
    ],
    turn: Duration::from_secs(30),
};

/// Messages that are handed over at once, all of them beyond their turn but the last: a small machine runs their programs.
const AT_ONCE_MAX: usize = 4;

/// How often the mark is looked for during a pause.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The disk.
    #[error("could not {operation}")]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The program did not start.
    #[error("{program} could not be started")]
    Start {
        /// Which.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The program says no.
    #[error("{program} ended with {status}")]
    Exit {
        /// Which.
        program: String,
        /// How.
        status: std::process::ExitStatus,
    },
    /// The program or the application took too long.
    #[error("no answer after {} s", .0.as_secs())]
    TooLong(Duration),
    /// The application cannot be reached, or broke off.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The application says no.
    #[error("{url} answered {status}")]
    Status {
        /// Where.
        url: String,
        /// What it said.
        status: http::StatusCode,
    },
}

/// What came of handing over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Handed {
    /// Messages that were taken.
    pub taken: usize,
    /// Messages that no application took.
    pub left: usize,
    /// Messages removed, since their time was over.
    pub removed: usize,
    /// Another process hands over, and was shown that there may be more: this one did nothing.
    pub is_with_another: bool,
}

/// Hands over what is not done with, and removes what has been done with long enough. What is not taken is tried again after each of
/// the pauses. Returns at once if another process is at it.
///
/// # Errors
/// If the inbox cannot be read or locked.
pub async fn hand_over(inbox: &Path, rules: &Rules, pace: Pace<'_>) -> io::Result<Handed> {
    let mut handed = Handed {
        is_with_another: true,
        ..Handed::default()
    };
    mark(inbox)?;
    // A mark that is set while the lock is held is the holder's to look at, after the lock, too.
    while is_marked(inbox)
        && let Some(alone) = Alone::take(inbox)?
    {
        let Handed {
            taken,
            left,
            removed,
            ..
        } = Round::new(inbox, rules, pace).run().await?;
        drop(alone);
        handed = Handed {
            taken: handed.taken + taken,
            left,
            removed: handed.removed + removed,
            is_with_another: false,
        };
    }
    Ok(handed)
}

/// The lock of an inbox's handing over.
struct Alone {
    _lock: File,
}

impl Alone {
    /// `None`: another process has it.
    fn take(inbox: &Path) -> io::Result<Option<Self>> {
        let lock = private_file(&inbox.join(".hand-over.lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _lock: lock })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
}

fn mark_of(inbox: &Path) -> PathBuf {
    inbox.join(".hand-over.again")
}

/// Shows the process that hands over that there may be more.
fn mark(inbox: &Path) -> io::Result<()> {
    private_file(&mark_of(inbox)).map(drop)
}

fn is_marked(inbox: &Path) -> bool {
    mark_of(inbox).exists()
}

/// Whether there was a mark; there is none any more.
///
/// # Errors
/// The mark cannot be removed. It must not be waited for: it would never go.
fn take_mark(inbox: &Path) -> io::Result<bool> {
    let mark = mark_of(inbox);
    match fs::remove_file(&mark) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("{} cannot be removed: {error}", mark.display()),
        )),
    }
}

/// All that waits, until it is taken or has been tried often enough.
struct Round<'a> {
    inbox: &'a Path,
    rules: &'a Rules,
    pace: Pace<'a>,
    /// By tries that failed, then by age, and when the next one may be. What never failed has its turn first.
    waiting: BTreeMap<(usize, MessageId), Instant>,
    /// Since when each is being handed over.
    running: BTreeMap<MessageId, (usize, Instant)>,
    tasks: JoinSet<(Entry, Result<(), HandoverError>)>,
    /// Tried often enough.
    left: BTreeSet<MessageId>,
    taken: usize,
}

impl<'a> Round<'a> {
    fn new(inbox: &'a Path, rules: &'a Rules, pace: Pace<'a>) -> Self {
        Self {
            inbox,
            rules,
            pace,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            left: BTreeSet::new(),
            taken: 0,
        }
    }

    async fn run(mut self) -> io::Result<Handed> {
        loop {
            match take_mark(self.inbox) {
                Ok(true) => self.look()?,
                Ok(false) => {}
                // What is being handed over is not broken off for it.
                Err(error) if self.tasks.is_empty() => return Err(error),
                Err(_) => {}
            }
            self.start();
            if self.tasks.is_empty() && self.waiting.is_empty() {
                let removed = clean(self.inbox, self.rules, Timestamp::now())?;
                if is_marked(self.inbox) {
                    continue;
                }
                if !self.left.is_empty() {
                    tracing::error!(
                        messages = self.left.len(),
                        "not handed over; tried again on the next session, or by: ringup inbox hand-over"
                    );
                }
                return Ok(Handed {
                    taken: self.taken,
                    left: self.left.len(),
                    removed,
                    is_with_another: false,
                });
            }
            let wake = self.wake();
            if self.tasks.is_empty() {
                sleep_until(wake).await;
            } else if let Ok(Some(ended)) = timeout_at(wake, self.tasks.join_next()).await {
                let (entry, result) = ended.map_err(io::Error::other)?;
                self.note(&entry, result)?;
            }
        }
    }

    /// Adds what has come.
    fn look(&mut self) -> io::Result<()> {
        let known: BTreeSet<_> = self.waiting.keys().map(|(_, id)| *id).collect();
        for entry in Entry::list(self.inbox)? {
            let is_known = known.contains(&entry.id)
                || self.running.contains_key(&entry.id)
                || self.left.contains(&entry.id);
            if entry.done_at.is_none() && !is_known && self.handover(&entry).is_some() {
                self.waiting.insert((0, entry.id), Instant::now());
            }
        }
        Ok(())
    }

    fn handover(&self, entry: &Entry) -> Option<&'a Handover> {
        self.rules.of(entry).and_then(|rule| rule.handover.as_ref())
    }

    /// Starts the next, if it is its turn.
    fn start(&mut self) {
        while self.has_turn() {
            let now = Instant::now();
            let next = self
                .waiting
                .iter()
                .find(|(_, at)| **at <= now)
                .map(|(key, _)| *key);
            let Some(key @ (failed, id)) = next else {
                return;
            };
            self.waiting.remove(&key);
            // It may have been acknowledged, or removed, meanwhile.
            let Some(entry) = Entry::find(self.inbox, id).filter(|entry| entry.done_at.is_none())
            else {
                continue;
            };
            let Some(handover) = self.handover(&entry).cloned() else {
                continue;
            };
            self.running.insert(id, (failed, now));
            self.tasks.spawn(async move {
                let result = give(&handover, &entry).await;
                (entry, result)
            });
        }
    }

    /// Whether another may be handed over: none is, or those that are have had their turn.
    fn has_turn(&self) -> bool {
        let now = Instant::now();
        self.running.len() < AT_ONCE_MAX
            && self
                .running
                .values()
                .all(|(_, began)| now >= *began + self.pace.turn)
    }

    /// When to look again: a pause or a turn is over then, or there may be a mark.
    fn wake(&self) -> Instant {
        let look = Instant::now() + LOOK_INTERVAL;
        if self.running.len() >= AT_ONCE_MAX {
            return look; // or when one of them has ended
        }
        let turn = self
            .running
            .values()
            .map(|(_, began)| *began + self.pace.turn)
            .max();
        let due = self
            .waiting
            .values()
            .min()
            .map(|at| turn.map_or(*at, |turn| turn.max(*at)));
        due.map_or(look, |due| due.min(look))
    }

    fn note(&mut self, entry: &Entry, result: Result<(), HandoverError>) -> io::Result<()> {
        let failed = self
            .running
            .remove(&entry.id)
            .map_or(0, |(failed, _)| failed);
        match result {
            Ok(()) => {
                entry.done()?;
                self.taken += 1;
                tracing::info!(message_id = %entry.id, "handed over");
            }
            Err(error) => {
                let reason = std::error::Error::source(&error)
                    .map(|source| format!(": {source}"))
                    .unwrap_or_default();
                tracing::warn!(message_id = %entry.id, "not handed over: {error}{reason}");
                match self.pace.pauses.get(failed) {
                    Some(pause) => {
                        self.waiting
                            .insert((failed + 1, entry.id), Instant::now() + *pause);
                    }
                    None => {
                        self.left.insert(entry.id);
                    }
                }
            }
        }
        Ok(())
    }
}

async fn give(handover: &Handover, entry: &Entry) -> Result<(), HandoverError> {
    match handover {
        Handover::Directory(folder) => file::put(folder, entry),
        Handover::Maildir(folder) => file::put_mail(folder, entry),
        Handover::Command(words) => command::run(words, entry).await,
        Handover::Url(url) => url::post(url, entry).await,
    }
}

/// Starts the process that hands over, while a session goes on: one at a time, which is shown what comes meanwhile.
#[derive(Debug)]
pub struct HandoverStart {
    /// The program and its arguments.
    words: Arc<[OsString]>,
    inbox: Arc<Path>,
    /// Whether a process of this session's runs.
    is_running: Arc<Mutex<bool>>,
}

impl HandoverStart {
    /// `words`: a program and its arguments, which hands over what is in `inbox` and ends.
    pub fn new(words: Vec<OsString>, inbox: &Path) -> Self {
        Self {
            words: words.into(),
            inbox: inbox.into(),
            is_running: Arc::default(),
        }
    }

    /// Something was published.
    pub(crate) fn published(&self) {
        if let Err(error) = mark(&self.inbox) {
            tracing::error!(%error, "the process that hands over cannot be shown what has come");
        }
        let mut is_running = self
            .is_running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *is_running, true) {
            return; // it looks for the mark when it has done the rest
        }
        let (words, inbox, is_running) = (
            self.words.clone(),
            self.inbox.clone(),
            self.is_running.clone(),
        );
        // It waits for the process, and goes with the session, which the process does not.
        std::thread::spawn(move || {
            loop {
                let ended = start(&words).and_then(|mut child| child.wait().ok());
                let mut is_running = is_running.lock().unwrap_or_else(PoisonError::into_inner);
                // 1: something was not taken. Any other code, and none, is of one that cannot hand over.
                let cannot = ended
                    .and_then(|status| status.code())
                    .is_none_or(|code| code > 1);
                // One that has found another at it leaves the mark to that. One that could not take the mark would be
                // started again and again: the next one sets its own.
                if cannot || !is_free(&inbox) || !matches!(take_mark(&inbox), Ok(true)) {
                    *is_running = false;
                    return;
                }
            }
        });
    }
}

/// Whether no process is handing over.
fn is_free(inbox: &Path) -> bool {
    Alone::take(inbox).is_ok_and(|alone| alone.is_some())
}

fn start(words: &[OsString]) -> Option<Child> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    // Not of our group: it continues after the call, and a signal to our group does not end it.
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0);
    command
        .spawn()
        .inspect_err(|error| tracing::error!(%error, "handing over could not be started"))
        .ok()
}

impl Drop for HandoverStart {
    /// The session is over. What was left by sessions before is tried by this process, unless one is at it.
    fn drop(&mut self) {
        start(&self.words);
    }
}

/// A path of a rule, made if it is not there.
fn make(folder: &Path) -> Result<PathBuf, HandoverError> {
    let disk = |source| HandoverError::Disk {
        operation: "make the folder to hand over to",
        source,
    };
    fs::create_dir_all(folder).map_err(disk)?;
    Ok(folder.to_owned())
}
