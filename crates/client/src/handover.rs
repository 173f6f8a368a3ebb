//! Handing what has come to this machine's applications: a folder, a Maildir, a program, a local URL.
//!
//! ```text
//!   published ──try──► taken (on the disk, exit 0, 2xx) ──► done, on the disk
//!       ▲                │ not taken, or a crash before "done"
//!       └────────────────┘ again, with the same id: at least once
//! ```
//!
//! It runs in a process of its own (`ringup inbox hand-over`), which the first message of a session starts: a slow application
//! keeps no line busy.

mod command;
mod file;
mod url;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use crate::inbox::{Entry, Handover, Rules, clean};
pub use url::{LocalUrl, LocalUrlError};

/// Pauses before what was not taken is tried again; then it waits for the next session, or for somebody to ask.
pub const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

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
    /// Messages that nobody took.
    pub left: usize,
    /// Messages removed, since their time was over.
    pub removed: usize,
}

/// Hands over what is not done with, and removes what has been done with long enough. Only one process does so at a time; a
/// second waits for it, since more may have come. What is not taken is tried again after each of the pauses.
///
/// # Errors
/// If the inbox cannot be read or locked.
pub async fn hand_over(inbox: &Path, rules: &Rules, pauses: &[Duration]) -> io::Result<Handed> {
    let lock = File::open(inbox)?;
    let held = tokio::task::spawn_blocking(move || flock(&lock, FlockOperation::LockExclusive).map(|()| lock));
    let _lock = held.await.map_err(io::Error::other)??;
    let mut handed = Handed::default();
    let mut pauses = pauses.iter();
    loop {
        handed.left = pass(inbox, rules, &mut handed.taken).await?;
        match pauses.next() {
            Some(pause) if handed.left > 0 => tokio::time::sleep(*pause).await,
            _ => break,
        }
    }
    if handed.left > 0 {
        tracing::error!(
            messages = handed.left,
            "not handed over; tried again on the next session, or by: ringup inbox hand-over"
        );
    }
    handed.removed = clean(inbox, rules, Timestamp::now())?;
    Ok(handed)
}

/// Tries each message once, oldest first; one that is not taken holds up no other.
async fn pass(inbox: &Path, rules: &Rules, taken: &mut usize) -> io::Result<usize> {
    let mut left = 0;
    for entry in Entry::list(inbox)? {
        let Some(handover) = rules.of(&entry).and_then(|rule| rule.handover.as_ref()) else { continue };
        if entry.done_at.is_some() {
            continue;
        }
        match give(handover, &entry).await {
            Ok(()) => {
                entry.done()?;
                *taken += 1;
                tracing::info!(message_id = %entry.id, "handed over");
            }
            Err(error) => {
                left += 1;
                let reason = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
                tracing::warn!(message_id = %entry.id, "not handed over: {error}{reason}");
            }
        }
    }
    Ok(left)
}

async fn give(handover: &Handover, entry: &Entry) -> Result<(), HandoverError> {
    match handover {
        Handover::Directory(folder) => file::put(folder, entry),
        Handover::Maildir(folder) => file::put_mail(folder, entry),
        Handover::Command(words) => command::run(words, entry).await,
        Handover::Url(url) => url::post(url, entry).await,
    }
}

/// Starts the process that hands over, while a session goes on: one at a time, and one more for what came meanwhile.
#[derive(Debug)]
pub struct HandoverStart {
    /// The program and its arguments.
    words: Arc<[OsString]>,
    state: Arc<Mutex<Running>>,
}

/// Whether a process hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Running {
    No,
    Yes,
    /// And something was published since it began.
    Again,
}

impl HandoverStart {
    /// `words`: a program and its arguments, which hands over and ends.
    pub fn new(words: Vec<OsString>) -> Self {
        Self { words: words.into(), state: Arc::new(Mutex::new(Running::No)) }
    }

    /// Something was published.
    pub(crate) fn published(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != Running::No {
            *state = Running::Again;
            return;
        }
        *state = Running::Yes;
        let (words, state) = (self.words.clone(), self.state.clone());
        // It waits for the process, and goes with the session, which the process does not.
        std::thread::spawn(move || {
            loop {
                let ended = start(&words).map(|mut child| child.wait());
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if *state != Running::Again || ended.is_none() {
                    *state = Running::No;
                    return;
                }
                *state = Running::Yes;
            }
        });
    }
}

fn start(words: &[OsString]) -> Option<Child> {
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    // Not of our group: it goes on when the call is over, and whoever ends us does not end it.
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    command.spawn().inspect_err(|error| tracing::error!(%error, "handing over could not be started")).ok()
}

impl Drop for HandoverStart {
    /// The session is over. What came while the last process was at its end is handed over by this one, and so is what was left
    /// by sessions before.
    fn drop(&mut self) {
        start(&self.words);
    }
}

/// A path of a rule, made if it is not there.
fn make(folder: &Path) -> Result<PathBuf, HandoverError> {
    let disk = |source| HandoverError::Disk { operation: "make the folder to hand over to", source };
    std::fs::create_dir_all(folder).map_err(disk)?;
    Ok(folder.to_owned())
}
