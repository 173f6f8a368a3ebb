//! When a call is worth it for what waits in the outbox, and who of several processes places it.
//!
//! Each program that adds an item starts a sender. It calls if a call is worth it now, waits if one will be later, and ends if
//! another waits already or nothing is left. At rest, with nothing in the outbox, there is no sender and no timer.
//!
//! ```text
//!   nothing waits ──► end       worth it now ──► (alone) line from the starter ──► call ──► again from the beginning
//!   worth it later, or the call failed ──► (alone) sleep ──► again from the beginning
//! ```

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use delivery::private_folder;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::budget::BudgetError;
use crate::connector::DialInError;
use crate::outbox::{Outbox, OutboxError, Pace};

/// After a call that came to nothing; twice as long after each more.
const PAUSE_FIRST: Duration = Duration::from_secs(60);
const PAUSE_LONGEST: Duration = Duration::from_secs(3600);

/// How often a wait by the wall clock is looked at again: that may be set.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);

/// Longest use of the starter's line before a warning: twice the longest call.
const LINE_WAIT: Duration = Duration::from_secs(3 * 3600);

/// What a sender needs to know.
#[derive(Debug, Clone)]
pub struct SenderConfig {
    /// Where the outbox is.
    pub state: PathBuf,
    /// When a call is worth it.
    pub pace: Pace,
    /// Where the starter lends its line, if one holds it.
    pub starter: Option<PathBuf>,
}

/// Why a sender gave up. What waits, waits.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The locks beside it.
    #[error("could not use {path}")]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The starter does not lend its line.
    #[error("the starter at {path} does not give its line")]
    Line {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The call.
    #[error(transparent)]
    Call(#[from] DialInError),
}

/// Calls when it is worth it until nothing waits, or another sender is at it. `call` places one call.
///
/// # Errors
/// [`SenderError`], except of calls, which are tried again.
pub async fn send_when_due<F>(
    config: &SenderConfig,
    call: impl Fn() -> F,
) -> Result<(), SenderError>
where
    F: Future<Output = Result<(), DialInError>>,
{
    let outbox = Outbox::new(&config.state);
    let mut pause = PAUSE_FIRST;
    loop {
        let Some(at) = outbox.calls_at(config.pace, Timestamp::now())? else {
            return Ok(());
        };
        let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        let (wait, waiting) = if wait.is_zero() {
            match send_alone(config, &outbox, &call).await? {
                None => continue, // by us or by another
                Some(failed) => {
                    let wait = failed.retry_in.unwrap_or(pause).max(PAUSE_FIRST);
                    pause = (pause * 2).min(PAUSE_LONGEST);
                    tracing::warn!(why = failed.why, retry_in = ?wait, "not sent");
                    (wait, "outbox-retries.lock")
                }
            }
        } else {
            (wait.min(LOOK_INTERVAL), "outbox-waits.lock")
        };
        // One of each waits: it looks at everything again when its time has come.
        let Some(_alone) = lock(config, waiting, FlockOperation::NonBlockingLockExclusive).await?
        else {
            return Ok(());
        };
        tracing::debug!(?wait, "waiting");
        sleep(wait).await;
    }
}

/// Calls now, whatever waits.
///
/// # Errors
/// [`SenderError`].
pub async fn send_now<F>(config: &SenderConfig, call: impl Fn() -> F) -> Result<(), SenderError>
where
    F: Future<Output = Result<(), DialInError>>,
{
    let _alone = lock(config, "outbox.lock", FlockOperation::LockExclusive).await?;
    let _line = borrow(config.starter.as_deref()).await?;
    Ok(call().await?)
}

/// A call that came to nothing.
struct Failed {
    why: String,
    /// When it makes sense again, if that is known.
    retry_in: Option<Duration>,
}

/// Calls, unless another sender has meanwhile. Gives what went wrong with the call.
async fn send_alone<F>(
    config: &SenderConfig,
    outbox: &Outbox,
    call: &impl Fn() -> F,
) -> Result<Option<Failed>, SenderError>
where
    F: Future<Output = Result<(), DialInError>>,
{
    let is_due = || {
        let now = Timestamp::now();
        Ok::<_, SenderError>(
            outbox
                .calls_at(config.pace, now)?
                .is_some_and(|at| at <= now),
        )
    };
    let _alone = lock(config, "outbox.lock", FlockOperation::LockExclusive).await?;
    if !is_due()? {
        return Ok(None);
    }
    let _line = borrow(config.starter.as_deref()).await?;
    // What rang meanwhile may have taken it along.
    if !is_due()? {
        return Ok(None);
    }
    Ok(match call().await {
        Ok(()) if is_due()? => {
            // Without a pause this would place call after call to a server that reads nothing.
            Some(Failed {
                why: "the server did not ask for what waits here".to_owned(),
                retry_in: None,
            })
        }
        Ok(()) => None,
        Err(error) => {
            let retry_in = match &error {
                DialInError::Budget(
                    BudgetError::Calls { next, .. } | BudgetError::Minutes { next, .. },
                ) => Duration::try_from(next.duration_since(Timestamp::now())).ok(),
                _ => None,
            };
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            Some(Failed {
                why: format!("{error}{}", source.unwrap_or_default()),
                retry_in,
            })
        }
    })
}

/// Waits for a lock; `None`: another process has it.
async fn lock(
    config: &SenderConfig,
    name: &str,
    operation: FlockOperation,
) -> Result<Option<File>, SenderError> {
    let path = config.state.join(name);
    let failed = |source| SenderError::Lock {
        path: path.clone(),
        source,
    };
    private_folder(&config.state).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    let locked = tokio::task::spawn_blocking(move || flock(&file, operation).map(|()| file)).await;
    match locked.map_err(|error| failed(io::Error::other(error)))? {
        Ok(file) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed(errno.into())),
    }
}

/// Asks the starter for its line, which is back when what is returned is dropped. `None`: no starter runs.
///
/// # Errors
/// [`SenderError::Line`].
pub async fn borrow(starter: Option<&Path>) -> Result<Option<UnixStream>, SenderError> {
    let Some(path) = starter else { return Ok(None) };
    let failed = |source| SenderError::Line {
        path: path.to_owned(),
        source,
    };
    let mut stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let lent = timeout(LINE_WAIT, stream.read_u8()).await;
    lent.unwrap_or(Err(ErrorKind::TimedOut.into()))
        .map_err(failed)?;
    Ok(Some(stream))
}
