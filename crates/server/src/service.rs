//! The server as a whole: opens its rooms, and runs the one loop in which calls are decided.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use delivery::TerminalId;
use line::{CallId, Home};
use link::{Capture, OpenPorts};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::dialer::{Dialer, NotPlaced};
use crate::dialup::{AddressPool, DialUp, LineConfig, LinkSettings, Report, Rooms};
use crate::directory::{Connection, Name, Terminal};
use crate::dispatch::{Dispatch, End, Input, Output, RetryRules};
use crate::ingest::http::{Submissions, serve_host};
use crate::intake::Intake;
use crate::keys::{ServerKeys, ServerKeysError};
use crate::operator;
use crate::store::{Quotas, Retention, Store, StoreError};
use crate::upkeep;

/// Events that may wait for the loop. It only notes them: more waiting means the disk is slow, and then so are we.
const EVENTS_MAX: usize = 1024;

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the database, contents and the operator's socket.
    pub state: PathBuf,
    /// Where submissions are taken on the host; `None`: only over links.
    pub submission_listen: Option<SocketAddr>,
    /// Where terminals with Internet access of their own connect; `None`: nowhere.
    pub delivery_listen: Option<SocketAddr>,
    /// Largest content taken, in octets.
    pub submission_size_max: u64,
    /// How much may wait.
    pub quotas: Quotas,
    /// How long is kept what has all its verdicts.
    pub retention: Retention,
    /// Our address on every link.
    pub link_address: Ipv4Addr,
    /// Addresses for callers that have none in the directory.
    pub link_pool: AddressPool,
    /// Where everything that crosses a link is recorded, if anywhere.
    pub capture: Option<Capture>,
    /// The ports that networks behind this host get of links, if any; takes a build with the feature `tun`.
    pub tun: Option<OpenPorts>,
    /// The country in which the lines are, and whose numbers are written without a country code.
    pub home: Option<Home>,
    /// When failed calls are tried again.
    pub retry: RetryRules,
    /// The lines.
    pub lines: Vec<LineConfig>,
}

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
    /// Its key.
    #[error("the server has no usable key")]
    Keys(#[from] ServerKeysError),
    /// A listener.
    #[error("could not listen on {at}")]
    Listen {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where a server's operator socket is.
pub fn operator_socket(state: &Path) -> PathBuf {
    state.join("operator.sock")
}

/// One thing that happens to the server.
enum Event {
    /// Something was accepted for these terminals.
    Due(Vec<TerminalId>),
    /// A line reports.
    Report(Report),
    /// Dispatch wanted to be woken.
    Deadline,
}

/// Runs a server until `shutdown`. Calls in progress are hung up then; what was not delivered stays due.
///
/// # Errors
/// [`ServeError`] if it cannot start.
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    let store =
        Store::open(&config.state).map_err(|source| ServeError::Store { path: config.state.clone(), source })?;
    let store = store.with_quotas(config.quotas);
    let keys = ServerKeys::open(&config.state, store.clone())?;
    let (due_sender, due) = mpsc::channel(EVENTS_MAX);
    let (report_sender, reports) = mpsc::channel(EVENTS_MAX);
    let intake = Intake::new(store.clone(), due_sender, config.submission_size_max, config.home);
    let submissions = Submissions::new(intake, store.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(upkeep::keep(store.clone(), config.retention, shutdown.clone()));

    if let Some(address) = config.submission_listen {
        let failed = |source| ServeError::Listen { at: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "taking submissions");
        let (router, shutdown) = (submissions.router(), shutdown.clone());
        tasks.spawn(async move { log_end("submissions", serve_host(listener, router, shutdown).await) });
    }
    let settings = LinkSettings {
        address: config.link_address,
        pool: config.link_pool,
        home: config.home,
        capture: config.capture,
        tun: config.tun,
    };
    let line_names: Vec<_> = config.lines.iter().map(|line| line.name.to_string()).collect();
    let rooms = Rooms { store: store.clone(), keys: keys.clone(), submissions };
    let dialup = DialUp::start(config.lines, settings, rooms, report_sender, shutdown.clone(), &mut tasks);
    if let Some(address) = config.delivery_listen {
        let failed = |source| ServeError::Listen { at: address.to_string(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "taking terminals");
        tasks.spawn(dialup.clone().serve_online(listener));
    }
    let socket = operator_socket(&config.state);
    let listener = bind_operator(&socket)?;
    let router = operator::router(store.clone(), dialup.clone(), keys, config.home);
    let operator_shutdown = shutdown.clone();
    tasks.spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(operator_shutdown.cancelled_owned()).await;
        log_end("operator", served);
    });
    tracing::info!(lines = ?line_names, "server ready");

    let seed = u64::from_le_bytes(*uuid::Uuid::now_v7().as_bytes().last_chunk().expect("a UUID has 16 octets"));
    let dispatch = Dispatch::new(config.retry, seed);
    let dialer = Dialer::new(store.clone(), dialup.clone());
    let mut server = Server { store, dialup, dialer, dispatch, due, reports };
    shutdown.run_until_cancelled(server.run()).await;
    // The lines report their last calls while they end: the queue must not be full, nor gone.
    drop(server);
    while tasks.join_next().await.is_some() {}
    let _ = std::fs::remove_file(&socket); // gone already is as good
    tracing::info!("server stopped");
    Ok(())
}

fn bind_operator(socket: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { at: socket.display().to_string(), source };
    // A socket that nobody answers is left from a crash; one that is answered belongs to a running server.
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => {
            return Err(failed(io::Error::new(io::ErrorKind::AddrInUse, "a server is running on this state folder")));
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(socket).map_err(failed)?;
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(socket).map_err(failed)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

fn log_end(what: &str, ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::error!(what, %error, "listener failed");
    }
}

struct Server {
    store: Store,
    dialup: DialUp,
    dialer: Dialer,
    dispatch: Dispatch,
    due: mpsc::Receiver<Vec<TerminalId>>,
    reports: mpsc::Receiver<Report>,
}

impl Server {
    async fn run(&mut self) {
        // What waited when the last process ended is due now.
        match self.store.terminals_due().await {
            Ok(terminals) => {
                for terminal in terminals {
                    self.feed(due(&terminal));
                }
            }
            Err(error) => tracing::error!(%error, "cannot read what is due"),
        }
        loop {
            let wake_at = self.act().await;
            let wake = async {
                match wake_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                Some(terminals) = self.due.recv() => Event::Due(terminals),
                Some(report) = self.reports.recv() => Event::Report(report),
                () = wake => Event::Deadline,
            };
            self.note(event).await;
        }
    }

    /// Does what dispatch wants, until it wants nothing; gives its wake-up.
    async fn act(&mut self) -> Option<Instant> {
        loop {
            match self.dispatch.poll_output() {
                Output::Timeout { at } => return at,
                Output::Deliver(terminal) => self.dialup.deliver(terminal),
                Output::PlaceCall { terminal, line } => {
                    let end = match self.place_call(terminal, &line).await {
                        Ok(true) => continue, // its end will be reported
                        Ok(false) => End::Done,
                        Err(error) => {
                            tracing::error!(%terminal, %line, %error, "call not placed");
                            End::Failed
                        }
                    };
                    self.feed(Input::Ended(terminal, end));
                    self.feed(Input::LineFree(line));
                }
            }
        }
    }

    /// Has a terminal called. `false`: it has been removed, or nothing waits for it any more.
    async fn place_call(&self, id: TerminalId, line: &Name) -> Result<bool, NotPlaced> {
        let Some(terminal) = self.waiting(id).await? else { return Ok(false) };
        self.dialer.place(terminal, line).await?;
        Ok(true)
    }

    /// The terminal, if something waits for it.
    async fn waiting(&self, id: TerminalId) -> Result<Option<Terminal>, StoreError> {
        if self.store.due(id).await?.is_empty() {
            return Ok(None);
        }
        self.store.terminal(id).await
    }

    async fn note(&mut self, event: Event) {
        match event {
            Event::Deadline => self.feed(Input::Deadline),
            Event::Due(terminals) => {
                for id in terminals {
                    match self.store.terminal(id).await {
                        Ok(Some(terminal)) => {
                            let state = terminal.connection.as_str();
                            tracing::info!(terminal = %terminal.name, state, "connection state checked");
                            self.feed(due(&terminal));
                        }
                        Ok(None) => {} // removed since
                        Err(error) => tracing::error!(%error, "cannot read the directory"),
                    }
                }
            }
            Event::Report(Report::LineFree(line)) => self.feed(Input::LineFree(line)),
            Event::Report(Report::LineTaken(line)) => self.feed(Input::LineTaken(line)),
            Event::Report(Report::Connected { terminal, call }) => {
                self.set_connection(terminal, Connection::Connected(call)).await;
                self.feed(Input::Connected(terminal));
            }
            Event::Report(Report::Ended { terminal: None, .. }) => {}
            Event::Report(Report::Ended { terminal: Some(terminal), end, record }) => {
                if self.is_about(terminal, record.id).await {
                    self.set_connection(terminal, Connection::Down).await;
                    self.feed(Input::Ended(terminal, end));
                }
                // What came too late for this call is due for the next.
                if end == End::Done
                    && let Ok(Some(found)) = self.waiting(terminal).await
                {
                    self.feed(due(&found));
                }
            }
        }
    }

    /// Whether a terminal's state is that of this call. It is not when the terminal has meanwhile called by itself (our
    /// call then ends busy), nor for an incoming call that never came to a connected notice.
    async fn is_about(&self, terminal: TerminalId, call: CallId) -> bool {
        match self.store.terminal(terminal).await {
            Ok(Some(found)) => found.connection.call() == Some(call),
            Ok(None) | Err(_) => true, // removed since: dispatch must forget it
        }
    }

    async fn set_connection(&self, terminal: TerminalId, connection: Connection) {
        if let Err(error) = self.store.set_connection(terminal, connection).await {
            tracing::error!(%terminal, %error, "connection state not stored");
        }
    }

    fn feed(&mut self, input: Input) {
        tracing::debug!(?input, "dispatch");
        self.dispatch.handle(input, Instant::now());
    }
}

fn due(terminal: &Terminal) -> Input {
    Input::Due { terminal: terminal.id, is_callable: terminal.number.is_some() }
}
