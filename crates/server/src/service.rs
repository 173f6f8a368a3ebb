//! The server as a whole: opens its rooms, and runs the one loop in which calls are decided.

mod config;
mod questions;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use delivery::proof::KeyFileError;
use delivery::{StateFolderError, TerminalId};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::bounces::{self, BounceConfig};
use crate::descriptors::Descriptors;
use crate::dialer::{Dialer, moment};
use crate::dialup::{DialUp, LinkSettings, Report, Rooms};
use crate::ingest::feeds::{self, Feeds};
use crate::ingest::http::Submissions;
use crate::ingest::mail;
use crate::intake::Intake;
use crate::jobs;
use crate::keys::{ServerKeys, ServerKeysError};
use crate::metrics::Metrics;
use crate::operator;
use crate::outward::post::Post;
use crate::plan::Question;
use crate::scrape;
use crate::trunk::information::{self, Pop};
use crate::upkeep;
use crate::webhooks;
use calling::dispatch::{LineTerms, Rules};
use calling::{Calling, Event, Policy, Recovered};
pub use config::Config;
use model::alarm::AlarmKind;
use model::directory::Name;
use store::{CallAway, Store, StoreError};

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
    #[error("could not listen on {at} ({key} in the config); another program, or another server, may have it")]
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
pub async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), ServeError> {
    let store = Store::open(&config.state, Timestamp::now())
        .map_err(|source| ServeError::Store { path: config.state.clone(), source })?;
    let store = store.with_quotas(config.quotas).with_refusals(config.refusals);
    let keys = ServerKeys::open(&config.state, store.clone())?;
    let named_in_config = config.providers();
    // What the store has open is not free.
    let descriptors = Descriptors::of_process(config.lines.len());
    let listeners = [config.submission_listen, config.mail.as_ref().map(|mail| mail.listen), config.metrics_listen];
    let others = listeners.iter().chain([&config.trunk_listen]).flatten().count();
    // Terminals stay, all others come and go.
    let shares = others + 2 * usize::from(config.delivery_listen.is_some());
    let (seats, terminal_seats) = (descriptors.share(shares), 2 * descriptors.share(shares));
    let (due_sender, due) = mpsc::channel(EVENTS_MAX);
    let (report_sender, reports) = mpsc::channel(EVENTS_MAX);
    let mut tasks = JoinSet::new();
    let metrics = Metrics::default();
    let alarms = Alarms::start(store.clone(), config.alarm, metrics.clone(), shutdown.clone(), &mut tasks).await;
    let alarms = alarms.map_err(|source| ServeError::Store { path: config.state.clone(), source })?;
    let away = config.dialup_servers.iter().flat_map(|server| &server.lines);
    let line_names: BTreeSet<_> =
        config.lines.iter().map(|line| &line.name).chain(away.map(|line| &line.global)).map(Name::to_string).collect();
    alarms.keep(AlarmKind::LineOutOfOrder, line_names.clone()).await;
    // What made a line suspect is not known any more: if it still does, it will again.
    alarms.keep(AlarmKind::LineSuspect, BTreeSet::new()).await;
    tasks.spawn(upkeep::look_at_start(store.clone(), alarms.clone(), shutdown.clone()));
    tasks.spawn(upkeep::keep(store.clone(), config.retention, due_sender.clone(), shutdown.clone()));
    let intake = Intake::new(store.clone(), due_sender, alarms.clone(), config.submission_size_max, config.home);
    let (reader, keeper, teller) = (intake.clone(), store.clone(), alarms.clone());
    let feeds = Feeds::new(config.feeds);
    alarms.keep(AlarmKind::Feed, feeds.all().map(|feed| feed.url.to_string()).collect()).await;
    tasks.spawn(feeds::read(feeds.clone(), reader, keeper, teller, metrics.clone(), shutdown.clone()));
    if config.mail.is_none() {
        alarms.keep(AlarmKind::MailProvider, BTreeSet::new()).await;
    }
    if let Some(mail) = config.mail {
        if let Some(relay) = mail.relay.clone() {
            let domain = mail.domains.first().cloned().unwrap_or_else(|| mail.hostname.clone());
            let bounces = BounceConfig { relay, hostname: mail.hostname.clone(), domain };
            tasks.spawn(bounces::tell(store.clone(), bounces, alarms.clone(), metrics.clone(), shutdown.clone()));
        }
        let (listener, address) = bind(mail.listen, "mail.listen").await?;
        tracing::info!(%address, "taking mail");
        tasks.spawn(mail::serve(
            listener,
            seats,
            mail,
            intake.clone(),
            store.clone(),
            metrics.clone(),
            shutdown.clone(),
        ));
    }
    let submissions = Submissions::new(intake.clone(), store.clone(), metrics.clone());
    let post = Post::default();
    tasks.spawn(webhooks::tell(store.clone(), post, alarms.clone(), metrics.clone(), shutdown.clone()));

    if let Some(address) = config.submission_listen {
        let (listener, address) = bind(address, "submission.listen").await?;
        tracing::info!(%address, "taking submissions");
        let (submissions, shutdown) = (submissions.clone(), shutdown.clone());
        tasks.spawn(async move { submissions.listen(listener, seats, shutdown).await });
    }
    let settings = LinkSettings {
        address: config.link_address,
        pool: config.link_pool,
        home: config.home,
        capture: config.capture,
        tun: config.tun,
        number_only: config.number_only,
    };
    let own = config.lines.iter().map(|line| (&line.name, line.tariff.as_ref(), line.ring_only.is_some()));
    let away = config.dialup_servers.iter().flat_map(|server| &server.lines);
    let all_lines = own.chain(away.map(|line| (&line.global, line.tariff.as_ref(), line.is_ring_only)));
    let line_terms = all_lines.map(|(name, tariff, is_ring_only)| LineTerms {
        name: name.clone(),
        tariff: tariff.and_then(|tariff| config.money.tariffs.get(tariff)).cloned(),
        is_ring_only,
    });
    let rules = Rules {
        storm: config.storm,
        reserve: config.reserve,
        lines: line_terms.collect(),
        zone: TimeZone::system(),
        ..Rules::new(config.retry)
    };
    let watches_silence = config.conditions.iter().any(|conditions| conditions.silent_after.is_some());
    let policy = Policy {
        rules,
        conditions: config.conditions,
        money: config.money,
        home: config.home,
        dial_prefixes: config.lines.iter().map(|line| (line.name.clone(), line.dial_prefix.clone())).collect(),
        believes_numbers: config.number_only,
    };
    let (alarms_room, metrics_room) = (alarms.clone(), metrics.clone());
    let rooms = Rooms { store: store.clone(), keys, submissions, intake, alarms: alarms_room, metrics: metrics_room };
    let (pops, errands): (Vec<_>, Vec<_>) = config.dialup_servers.into_iter().map(Pop::new).unzip();
    let server_names: BTreeSet<_> = pops.iter().map(|pop| pop.server.name.to_string()).collect();
    alarms.keep(AlarmKind::DialupServerLost, server_names.clone()).await;
    alarms.keep(AlarmKind::DialupServerLies, server_names).await;
    let dialup =
        DialUp::start(config.lines, &pops, settings, rooms.clone(), report_sender, shutdown.clone(), &mut tasks);
    let calls_away = recall_away(&store, &pops, &mut tasks, &shutdown).await;
    let calls_away = calls_away.map_err(|source| ServeError::Store { path: config.state.clone(), source })?;
    for (pop, errands) in pops.iter().zip(errands) {
        tasks.spawn(pop.clone().run(errands, shutdown.clone()));
    }
    if let Some(address) = config.trunk_listen {
        let (listener, address) = bind(address, "information.listen").await?;
        tracing::info!(%address, "taking dial-up servers");
        tasks.spawn(information::serve(listener, seats, pops, shutdown.clone()));
    }
    if let Some(address) = config.delivery_listen {
        let (listener, address) = bind(address, "delivery.listen").await?;
        tracing::info!(%address, "taking terminals");
        tasks.spawn(dialup.clone().serve_online(listener, terminal_seats));
    }
    if let Some(address) = config.metrics_listen {
        let (listener, address) = bind(address, "metrics.listen").await?;
        tracing::info!(%address, "telling metrics");
        let router = scrape::router(metrics.clone(), store.clone(), dialup.clone());
        tasks.spawn(scrape::listen(listener, router, seats, shutdown.clone()));
    }
    let socket = operator_socket(&config.state);
    let listener = bind_operator(&socket)?;
    let (question_sender, questions) = mpsc::channel(1);
    let router = operator::router(rooms, dialup.clone(), config.home, feeds, question_sender, named_in_config);
    let (seats, shutdown_operator) = (descriptors.operator(), shutdown.clone());
    tasks.spawn(operator::listen(listener, router, seats, shutdown_operator));
    let line_names: Vec<_> = line_names.into_iter().collect();
    tracing::info!(lines = line_names.join(" "), "server ready");

    let seed = u64::from_le_bytes(*uuid::Uuid::now_v7().as_bytes().last_chunk().expect("a UUID has 16 octets"));
    let recovered = jobs::recover(&store, watches_silence, calls_away, &Zoned::now()).await;
    let recovered = recovered.map_err(|source| ServeError::Store { path: config.state.clone(), source })?;
    let calling = Calling::new(policy, seed, moment());
    let dialer = Dialer::new(store.clone(), dialup, alarms, metrics.clone());
    let mut server = Server { store, metrics, dialer, calling, due, reports, questions };
    shutdown.run_until_cancelled(server.run(recovered)).await;
    // The lines report their last calls while they end: the queue must not be full, nor gone.
    drop(server);
    while tasks.join_next().await.is_some() {}
    let _ = std::fs::remove_file(&socket); // gone already is as good
    tracing::info!("server stopped");
    Ok(())
}

/// The calls at dial-up servers whose end the last process did not learn: each is asked for before a trunk can come.
async fn recall_away(
    store: &Store,
    pops: &[Arc<Pop>],
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Result<Vec<CallAway>, StoreError> {
    let mut recalled = Vec::new();
    for call in store.calls_away().await? {
        match pops.iter().find_map(|pop| pop.clone().recall(call.clone())) {
            Some(asking) => {
                let shutdown = shutdown.clone();
                tasks.spawn(async move { shutdown.run_until_cancelled(asking).await.unwrap_or_default() });
                recalled.push(call);
            }
            // Its dial-up server is not in the config any more: nobody can say.
            None => store.forget_away(call.record.id).await?,
        }
    }
    Ok(recalled)
}

/// A listener of the host, and where it is: port 0 is any.
async fn bind(address: SocketAddr, key: &'static str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { at: address.to_string(), key, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

pub(crate) fn bind_operator(socket: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { at: socket.display().to_string(), key: "state", source };
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
    async fn run(&mut self, recovered: Recovered) {
        let mut wake_at = self.handle(Event::Recovered(Box::new(recovered))).await;
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
            Report::Connected { admitted, call, via } => {
                let terminal = admitted.terminal();
                self.dialer.proved(terminal).await;
                Event::Connected { terminal, call, via }
            }
            Report::Unproved { terminal, why } => {
                self.dialer.unproved(terminal, &why).await;
                Event::Deadline
            }
            Report::Ended { terminal, outcome, record, lasted } => {
                self.metrics.call(&record, &outcome, lasted);
                match terminal {
                    Some(terminal) => Event::Ended { terminal, outcome, record, lasted },
                    None => Event::Deadline,
                }
            }
        };
        self.handle(event).await
    }
}
