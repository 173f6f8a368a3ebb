//! The server as a whole: opens its rooms, and runs the one loop in which calls are decided.

mod config;
mod opening;
mod questions;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use delivery::proof::KeyFileError;
use delivery::{StateFolderError, TerminalId};
use jiff::Zoned;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::dialer::{Dialer, moment};
use crate::dialup::{Report, Rooms, Shared};
use crate::jobs;
use crate::keys::{ServerKeys, ServerKeysError};
use crate::metrics::Metrics;
use crate::operator;
use crate::plan::Question;
use crate::upkeep;
use calling::{Calling, Event};
pub use config::Config;
use opening::Opening;
pub(crate) use opening::bind_operator;
use store::{Store, StoreError};

/// Events that may wait for the loop. It only notes them: more waiting means the disk is slow, and then so are we.
const EVENTS_MAX: usize = 1024;

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store.
    #[error("could not open the store in {path}")]
    Store {
        /// Its folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateFolderError),
    /// Its key.
    #[error("the server has no usable key")]
    Keys(#[from] ServerKeysError),
    /// A dial-up server's key.
    #[error("the dial-up server has no usable key")]
    DialupKey(#[source] KeyFileError),
    /// A dial-up server's calls.
    #[error("could not read the calls in {path}")]
    Calls {
        /// Their folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A listener.
    #[error(
        "could not listen on {at} ({key} in the config); another program, or another server, may have it"
    )]
    Listen {
        /// Where.
        at: String,
        /// The key that says so.
        key: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where a server's operator socket is.
pub fn operator_socket(state: &Path) -> PathBuf {
    state.join("operator.sock")
}

/// Runs a server until `shutdown`. Calls in progress are hung up then; what was not delivered stays due.
///
/// # Errors
/// [`ServeError`] if it cannot start.
pub async fn serve(mut config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    let state = config.state.clone();
    let failed = |source| ServeError::Store {
        path: state.clone(),
        source,
    };
    let named_in_config = config.providers();
    let line_names = config.line_names();
    let mut opening = Opening::begin(&config, shutdown.clone()).await?;
    let keys = ServerKeys::open(&config.state, opening.store.clone())?;
    let (due_sender, due) = mpsc::channel(EVENTS_MAX);
    let (report_sender, reports) = mpsc::channel(EVENTS_MAX);
    let (question_sender, questions) = mpsc::channel(1);
    let intake = opening.intake(&config, due_sender);
    let feeds = opening
        .feeds(std::mem::take(&mut config.feeds), &intake)
        .await;
    opening.mail(config.mail.take(), &intake).await?;
    let submissions = opening.submissions(&config, &intake).await?;
    let policy = config.policy();
    let watches_silence = config
        .conditions
        .iter()
        .any(|conditions| conditions.silent_after.is_some());
    let rooms = Rooms {
        store: opening.store.clone(),
        keys,
        submissions,
        intake,
        alarms: opening.alarms.clone(),
        metrics: opening.metrics.clone(),
    };
    let shared = Shared::new(
        config.link_settings(),
        rooms.clone(),
        report_sender,
        shutdown.clone(),
    );
    let (dialup, calls_away) = opening.lines(&mut config, shared).await?;
    opening.doors(&config, &dialup).await?;
    let router = operator::router(
        rooms,
        dialup.clone(),
        config.home,
        feeds,
        question_sender,
        named_in_config,
    );
    let socket = opening.operator(&state, router)?;
    tracing::info!(
        lines = line_names.into_iter().collect::<Vec<_>>().join(" "),
        "server ready"
    );

    let seed = u64::from_le_bytes(
        *uuid::Uuid::now_v7()
            .as_bytes()
            .last_chunk()
            .expect("a UUID has 16 octets"),
    );
    let Opening {
        store,
        alarms,
        metrics,
        mut tasks,
        ..
    } = opening;
    let recovered = jobs::recover(&store, watches_silence, calls_away, &Zoned::now())
        .await
        .map_err(failed)?;
    let calling = Calling::new(policy, seed, moment());
    let dialer = Dialer::new(store.clone(), dialup, alarms.clone(), metrics.clone());
    let look = upkeep::look_at_start(store.clone(), alarms, shutdown.clone());
    let mut server = Server {
        store,
        metrics,
        dialer,
        calling,
        due,
        reports,
        questions,
    };
    let work = async {
        let wake_at = server.handle(Event::Recovered(Box::new(recovered))).await;
        // It reads the whole database: only when all that is due has been read, or the first call would wait for it.
        tasks.spawn(look);
        server.run(wake_at).await;
    };
    shutdown.run_until_cancelled(work).await;
    // The lines report their last calls while they end: the queue must not be full, nor gone.
    drop(server);
    while tasks.join_next().await.is_some() {}
    let _ = std::fs::remove_file(&socket); // gone already is as good
    tracing::info!("server stopped");
    Ok(())
}

struct Server {
    store: Store,
    metrics: Metrics,
    dialer: Dialer,
    calling: Calling,
    due: mpsc::Receiver<Vec<TerminalId>>,
    reports: mpsc::Receiver<Report>,
    questions: mpsc::Receiver<Question>,
}

impl Server {
    /// The loop in which calls are decided.
    async fn run(&mut self, mut wake_at: Option<Instant>) {
        let mut came = Vec::new();
        loop {
            let wake = async {
                match wake_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            wake_at = tokio::select! {
                1.. = self.due.recv_many(&mut came, EVENTS_MAX) => {
                    self.handle(Event::Due(came.drain(..).flatten().collect())).await
                }
                Some(report) = self.reports.recv() => self.reported(report).await,
                Some(question) = self.questions.recv() => self.asked(question).await.or(wake_at),
                () = wake => self.handle(Event::Deadline).await,
            };
        }
    }

    async fn handle(&mut self, event: Event) -> Option<Instant> {
        self.dialer.handle(&mut self.calling, event).await
    }

    async fn reported(&mut self, report: Report) -> Option<Instant> {
        let event = match report {
            Report::LineFree(line) => Event::LineFree(line),
            Report::LineTaken(line) => Event::LineTaken(line),
            Report::Connected {
                admitted,
                call,
                via,
            } => {
                let terminal = admitted.terminal();
                self.dialer.proved(terminal).await;
                Event::Connected {
                    terminal,
                    call,
                    via,
                }
            }
            Report::Unproved { terminal, why } => {
                self.dialer.unproved(terminal, &why).await;
                Event::Deadline
            }
            Report::Ended {
                terminal,
                outcome,
                record,
                lasted,
            } => {
                self.metrics.call(&record, &outcome, lasted);
                match terminal {
                    Some(terminal) => Event::Ended {
                        terminal,
                        outcome,
                        record,
                        lasted,
                    },
                    None => Event::Deadline,
                }
            }
        };
        self.handle(event).await
    }
}
