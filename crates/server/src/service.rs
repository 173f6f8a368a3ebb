//! The server as a whole: opens its rooms, and runs the one loop in which calls are decided.

mod calendar;
mod config;
mod questions;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::proof::KeyFileError;
use delivery::{MessageId, StateFolderError, TerminalId};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use line::CallId;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::alarms::{Alarms, Unproved};
use crate::bounces::{self, BounceConfig};
use crate::descriptors::Descriptors;
use crate::dialer::{Dialer, NotPlaced};
use crate::dialup::{DialUp, LinkSettings, Report, Rooms};
use crate::ingest::feeds::{self, Feeds};
use crate::ingest::http::Submissions;
use crate::ingest::mail;
use crate::intake::Intake;
use crate::keys::{ServerKeys, ServerKeysError};
use crate::metrics::Metrics;
use crate::operator;
use crate::outward::post::Post;
use crate::plan::{Question, wall};
use crate::scrape;
use crate::trunk::information::{self, Pop};
use crate::upkeep;
use crate::waiting::Decided;
use crate::webhooks;
use calendar::Calendar;
use calling::dispatch::{Demand, Dispatch, Input, LineTerms, Moment, Output, Rules};
pub use config::{Config, TerminalConditions};
use model::alarm::AlarmKind;
use model::call::{CallRecord, Direction};
use model::causes::with_causes;
use model::directory::{Connection, Name, StockTrust, Terminal};
use model::outcome::Outcome;
use model::verdict::Verdict;
use store::{CallAway, MostUrgent, Standing, Store, StoreError};

/// Events that may wait for the loop. It only notes them: more waiting means the disk is slow, and then so are we.
const EVENTS_MAX: usize = 1024;

/// Terminals for which something came: of more than that the directory is read as a whole.
const LOOKED_AT_ONE_BY_ONE: usize = 1000;

/// The reason of a verdict about a message that the terminal's sessions do not survive.
const POISON: &str = "sessions with the terminal broke, time and again, while this message was under way";

/// Calls in a row that reached an invited terminal and did not enrol it, from which on it is an alarm.
const NOT_ENROLLED_CALLS: u32 = 3;

/// A call whose end the last process did not see may go on at the terminal: it hangs up, and its starter initialises the
/// modem. A ring before that would be lost, with its number.
const UNKNOWN_END_GUARD: Duration = Duration::from_secs(5);

/// Calls that were not answered are remembered over a restart for so long: a series of redials is longer than its rest.
const SERIES_MEMORY: SignedDuration = SignedDuration::from_hours(14 * 24);

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

/// One thing that happens to the server.
enum Event {
    /// Something was accepted for these terminals.
    Due(BTreeSet<TerminalId>),
    /// A line reports.
    Report(Report),
    /// The operator wants something.
    Question(Question),
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
    let tariffs: BTreeMap<_, _> = all_lines
        .clone()
        .filter_map(|(name, tariff, _)| Some((name.clone(), config.money.tariffs.get(tariff?)?.clone())))
        .collect();
    let line_terms = all_lines.map(|(name, _, is_ring_only)| LineTerms {
        name: name.clone(),
        tariff: tariffs.get(name).cloned(),
        is_ring_only,
    });
    let rules = Rules {
        storm: config.storm,
        reserve: config.reserve,
        lines: line_terms.collect(),
        routes: config.conditions.iter().map(|conditions| conditions.lines.clone()).collect(),
        zone: TimeZone::system(),
        ..Rules::new(config.retry)
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
    let dispatch = Dispatch::new(rules, seed);
    let dialer =
        Dialer::open(store.clone(), dialup.clone(), config.money, tariffs, alarms.clone(), metrics.clone()).await;
    let dialer = dialer.map_err(|source| ServeError::Store { path: config.state.clone(), source })?;
    let calendar = Calendar::new(config.conditions);
    let unproved = Unproved::default();
    let mut server = Server {
        store,
        alarms,
        metrics,
        dialup,
        dialer,
        dispatch,
        calendar,
        unproved,
        rung: BTreeMap::new(),
        not_enrolled: BTreeMap::new(),
        due,
        reports,
        questions,
    };
    for CallAway { record, terminal, .. } in calls_away {
        // Not called again before it is known what became of that call.
        if let Some(terminal) = terminal {
            server.set_connection(terminal, Connection::Calling(record.id)).await;
            server.feed(Input::Connected { terminal, via: record.via });
        }
    }
    shutdown.run_until_cancelled(server.run()).await;
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
    alarms: Alarms,
    metrics: Metrics,
    dialup: DialUp,
    dialer: Dialer,
    dispatch: Dispatch,
    calendar: Calendar,
    unproved: Unproved<TerminalId>,
    /// Calls in a row that did not enrol an invited terminal.
    not_enrolled: BTreeMap<TerminalId, u32>,
    /// The calls that only rang, of terminals that are to come by themselves.
    rung: BTreeMap<TerminalId, CallId>,
    due: mpsc::Receiver<Vec<TerminalId>>,
    reports: mpsc::Receiver<Report>,
    questions: mpsc::Receiver<Question>,
}

impl Server {
    async fn run(&mut self) {
        if let Err(error) = self.recall().await {
            tracing::error!(%error, "cannot read what is due");
        }
        let mut came = Vec::new();
        loop {
            let wake_at = self.act().await;
            let wake = async {
                match wake_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                1.. = self.due.recv_many(&mut came, EVENTS_MAX) => Event::Due(came.drain(..).flatten().collect()),
                Some(report) = self.reports.recv() => Event::Report(report),
                Some(question) = self.questions.recv() => Event::Question(question),
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
                Output::NoSession(terminal) => self.no_session(terminal).await,
                Output::Quarantine { terminal, message } => self.leave_out(terminal, message).await,
                Output::Silent { terminal, is_raised } => self.silent(terminal, is_raised).await,
                Output::LineSuspect { line, why: Some(why) } => {
                    let detail = format!(
                        "{why}; other lines are used first, if there are any, and this one is tried now and then. Check its modem and number"
                    );
                    self.alarms.raise(AlarmKind::LineSuspect, &line, detail).await;
                }
                Output::LineSuspect { line, why: None } => self.alarms.clear(AlarmKind::LineSuspect, &line).await,
                Output::PlaceCall { terminal, line } => {
                    let outcome = match self.place_call(terminal, &line).await {
                        Ok(true) => continue, // its end will be reported
                        Ok(false) => Outcome::NothingWaits,
                        Err(error) => {
                            tracing::error!(%terminal, %line, error = %with_causes(&error), "call not placed");
                            error.outcome()
                        }
                    };
                    // A line that is not there says itself when it is.
                    let is_there = outcome != Outcome::LineTaken;
                    self.feed(Input::Ended { terminal, via: line.clone().into(), outcome });
                    if is_there {
                        self.feed(Input::LineFree(line));
                    }
                }
            }
        }
    }

    /// Sessions break with this message: it has failed.
    async fn leave_out(&self, id: TerminalId, message: MessageId) {
        if let Err(error) = self.store.settle(message, id, Verdict::Failed, POISON.to_owned()).await {
            tracing::error!(terminal = %id, message_id = %message, %error, "not left out");
        }
        if let Ok(Some(terminal)) = self.store.terminal(id).await {
            let detail =
                format!("{POISON}; it has failed, other messages are delivered. See: ringup message explain {message}");
            self.alarms.raise(AlarmKind::MessageLeftOut, format!("{message} for {}", terminal.name), detail).await;
        }
    }

    async fn silent(&self, id: TerminalId, is_raised: bool) {
        let Ok(Some(terminal)) = self.store.terminal(id).await else { return }; // removed since
        if !is_raised {
            return self.alarms.clear(AlarmKind::TerminalSilent, &terminal.name).await;
        }
        let (_, after) = self.calendar.of(&terminal.name);
        let after = SignedDuration::try_from(after.unwrap_or_default()).unwrap_or_default();
        let detail = format!("not reached for {after:#}. See: ringup call list, ringup plan");
        self.alarms.raise(AlarmKind::TerminalSilent, &terminal.name, detail).await;
    }

    /// Somebody spoke for a terminal and did not prove to be it.
    async fn unproved(&mut self, id: TerminalId, why: &str) {
        self.metrics.unproved();
        if !self.unproved.note(&id, Instant::now()) {
            return;
        }
        if let Ok(Some(terminal)) = self.store.terminal(id).await {
            let detail =
                format!("three sessions in an hour failed the proof, the last: {why}. Nothing was sent on them");
            self.alarms.raise(AlarmKind::UnprovedCallers, &terminal.name, detail).await;
        }
    }

    /// A call of ours that reached an invited terminal and did not enrol it is a matter between operator and terminal: it is
    /// repeated once a day at last, and three in a row are an alarm.
    async fn seen_with_trust(&mut self, id: TerminalId, record: &CallRecord, outcome: Outcome) -> Outcome {
        let (Outcome::NotProved(why), Direction::Outgoing) = (&outcome, record.direction) else { return outcome };
        if !matches!(self.store.standing(id).await, Ok(Some(Standing::Invited))) {
            return outcome;
        }
        let calls = self.not_enrolled.entry(id).or_default();
        *calls = calls.saturating_add(1);
        if *calls >= NOT_ENROLLED_CALLS {
            let detail = format!(
                "{calls} calls reached it and it is not enrolled, the last: {why}. Enrol it there with its bundle: ringup enrol BUNDLE; \
                 or make a new one: ringup terminal invite {} --caller NUMBER",
                record.party
            );
            self.alarms.raise(AlarmKind::NotEnrolled, &record.party, detail).await;
        }
        Outcome::NotEnrolled(why.clone())
    }

    /// Has a terminal called. `false`: it has been removed, or nothing waits for it any more.
    async fn place_call(&mut self, id: TerminalId, line: &Name) -> Result<bool, NotPlaced> {
        let Some(terminal) = self.waiting(id).await? else { return Ok(false) };
        if !self.is_believed(&terminal) || !self.store.may_be_called(terminal.id).await? {
            return Ok(false); // since it was due: paused, shut out, or its invitation is over
        }
        let provider = self.store.first_provider(id).await?;
        self.dialer.place(terminal, line, provider).await?;
        Ok(true)
    }

    /// What was so when the last process ended: what waits is due now, and what was dialled counts.
    async fn recall(&mut self) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let since = |at: Option<&Timestamp>| at.map_or(SignedDuration::ZERO, |at| now.duration_since(*at));
        let unanswered = self.store.unanswered_since(now - SERIES_MEMORY).await?;
        let guard = SignedDuration::try_from(UNKNOWN_END_GUARD).unwrap_or_default();
        let ended = self.store.ended_since(now - guard).await?;
        if self.calendar.watches() || !unanswered.is_empty() || !ended.is_empty() {
            let (reached, terminals) = tokio::try_join!(self.store.last_connected(), self.store.terminals())?;
            let (mut by_number, mut by_name) = (BTreeMap::new(), BTreeMap::new());
            let mut watched = BTreeSet::new();
            for terminal in terminals {
                let (_, after) = self.calendar.of(&terminal.name);
                if after.is_some() {
                    watched.insert(terminal.name.to_string());
                    let silent_for = Duration::try_from(since(reached.get(&terminal.name))).unwrap_or_default();
                    self.feed(Input::Watch { terminal: terminal.id, after, silent_for });
                }
                by_name.insert(terminal.name.clone(), terminal.id);
                by_number.extend(terminal.number.map(|number| (number, terminal.id)));
            }
            self.alarms.keep(AlarmKind::TerminalSilent, watched).await;
            for party in ended {
                if let Some(terminal) = by_name.get(&party) {
                    self.feed(Input::HungUp { terminal: *terminal, guard: UNKNOWN_END_GUARD });
                }
            }
            for (number, at) in unanswered {
                if let (Some(terminal), Ok(ago)) = (by_number.get(&number), Duration::try_from(now.duration_since(at)))
                {
                    self.feed(Input::CalledBefore { terminal: *terminal, ago });
                }
            }
        } else {
            self.alarms.keep(AlarmKind::TerminalSilent, BTreeSet::new()).await;
        }
        self.feed_all().await
    }

    /// Tells dispatch what waits for any terminal.
    async fn feed_all(&mut self) -> Result<(), StoreError> {
        let store = &self.store;
        // Each by a thread of its own.
        let (urgencies, (mut nobody, terminals)) = tokio::try_join!(store.urgencies(), async {
            Ok((store.due_to_nobody().await?, store.terminals_due().await?))
        })?;
        let paused = self.store.paused().await?;
        let urgencies: BTreeMap<_, _> = urgencies.into_iter().map(|found| (found.terminal, found)).collect();
        for terminal in terminals {
            if let Some(waits) = urgencies.get(&terminal.id) {
                let is_called =
                    !nobody.remove(&terminal.id) && !paused.contains(&terminal.id) && self.is_believed(&terminal);
                self.feed_demand(&terminal, waits, is_called);
            }
        }
        Ok(())
    }

    /// A terminal that was rung has not come: the record of that ring says so.
    async fn no_session(&mut self, id: TerminalId) {
        let Some(call) = self.rung.remove(&id) else { return };
        tracing::warn!(terminal = %id, %call, "rung, no session");
        if let Err(error) = self.store.note_no_session(call).await {
            tracing::error!(terminal = %id, %error, "outcome of a ring not stored");
        }
    }

    /// The terminal, if something waits for it that may cause a call.
    async fn waiting(&self, id: TerminalId) -> Result<Option<Terminal>, StoreError> {
        if self.store.urgency(id).await?.is_none() {
            return Ok(None);
        }
        self.store.terminal(id).await
    }

    async fn note(&mut self, event: Event) {
        match event {
            Event::Deadline => self.feed(Input::Deadline),
            Event::Question(Question::Plan { after, limit, answer }) => {
                let _ = answer.send(self.plan(after, limit).await); // who asked may have gone
            }
            Event::Question(Question::Paused(id, answer)) => {
                if let Ok(Some(terminal)) = self.store.terminal(id).await {
                    self.feed(Input::Pause(id));
                    self.feed_due(&terminal).await;
                }
                let _ = answer.send(());
            }
            Event::Question(Question::Resume(id, answer)) => {
                self.resume(id).await;
                let _ = answer.send(());
            }
            Event::Question(Question::Explain(id, answer)) => {
                let terminal = self.store.terminal(id).await.ok().flatten();
                let conditions = terminal.map(|terminal| self.calendar.of(&terminal.name).0.clone());
                let _ = answer.send(Decided::of(&self.dispatch, id, conditions.as_deref(), moment(), wall));
            }
            Event::Question(Question::Added(id)) => {
                if let Ok(Some(terminal)) = self.store.terminal(id).await {
                    let (_, after) = self.calendar.of(&terminal.name);
                    self.feed(Input::Watch { terminal: id, after, silent_for: Duration::ZERO });
                }
            }
            Event::Question(Question::TrustChanged(id)) => {
                if let Ok(Some(terminal)) = self.store.terminal(id).await {
                    self.feed(Input::Mended(id));
                    self.feed_due(&terminal).await;
                }
            }
            Event::Question(Question::Removed(terminal)) => {
                self.not_enrolled.remove(&terminal);
                self.feed(Input::Watch { terminal, after: None, silent_for: Duration::ZERO });
            }
            Event::Due(terminals) if terminals.len() > LOOKED_AT_ONE_BY_ONE => {
                // A topic of many subscribers: two looks at all are cheaper than two at each.
                tracing::info!(terminals = terminals.len(), "connection states checked");
                if let Err(error) = self.feed_all().await {
                    tracing::error!(%error, "cannot read what is due");
                }
                terminals.into_iter().for_each(|id| self.dialup.deliver(id));
            }
            Event::Due(terminals) => {
                for id in terminals {
                    match self.store.terminal(id).await {
                        Ok(Some(terminal)) => {
                            let state = terminal.connection.as_str();
                            tracing::info!(terminal = %terminal.name, state, "connection state checked");
                            self.feed_due(&terminal).await;
                            // What causes no call rides on the one there is.
                            self.dialup.deliver(id);
                        }
                        Ok(None) => {} // removed since
                        Err(error) => tracing::error!(%error, "cannot read the directory"),
                    }
                }
            }
            Event::Report(Report::LineFree(line)) => self.feed(Input::LineFree(line)),
            Event::Report(Report::LineTaken(line)) => self.feed(Input::LineTaken(line)),
            Event::Report(Report::Connected { admitted, call, via }) => {
                let terminal = admitted.terminal();
                self.set_connection(terminal, Connection::Connected(call)).await;
                self.unproved.proved(&terminal);
                if let Ok(Some(found)) = self.store.terminal(terminal).await {
                    self.alarms.clear(AlarmKind::UnprovedCallers, &found.name).await;
                }
                self.rung.remove(&terminal);
                self.feed(Input::Connected { terminal, via });
            }
            Event::Report(Report::Unproved { terminal, why }) => self.unproved(terminal, &why).await,
            Event::Report(Report::Ended { terminal: None, outcome, record, lasted }) => {
                self.metrics.call(&record, &outcome, lasted);
            }
            Event::Report(Report::Ended { terminal: Some(terminal), outcome, record, lasted }) => {
                self.metrics.call(&record, &outcome, lasted);
                let outcome = self.seen_with_trust(terminal, &record, outcome).await;
                self.dialer.ended(&record, &outcome, lasted).await;
                // Of a call that came in this was reported by itself.
                if let (Outcome::NotProved(why), Direction::Outgoing) = (&outcome, record.direction) {
                    self.unproved(terminal, why).await;
                }
                if matches!(outcome, Outcome::Completed | Outcome::MessagesRefused { .. }) {
                    self.not_enrolled.remove(&terminal);
                    self.alarms.clear(AlarmKind::NotEnrolled, &record.party).await;
                }
                if self.is_about(terminal, record.id).await {
                    self.set_connection(terminal, Connection::Down).await;
                }
                if outcome == Outcome::Rung {
                    self.rung.insert(terminal, record.id);
                }
                self.feed(Input::Ended { terminal, via: record.via, outcome });
                self.dialup.set_suspects(terminal, self.dispatch.suspects(terminal));
                // What came too late for this call, or was not brought by it, is due for the next.
                if let Ok(Some(found)) = self.waiting(terminal).await {
                    self.feed_due(&found).await;
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
        self.dispatch.handle(input, moment());
    }

    /// Tells dispatch what waits for a terminal, if anything does.
    async fn feed_due(&mut self, terminal: &Terminal) {
        match self.store.demand(terminal.id).await {
            Ok(Some((found, may_be_called))) => {
                self.feed_demand(terminal, &found, may_be_called && self.is_believed(terminal));
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "cannot read what is due"),
        }
    }

    /// A stock terminal that nothing but its number proves is believed only if the config says so.
    fn is_believed(&self, terminal: &Terminal) -> bool {
        let trust = terminal.trusted_by.stock().map(|stock| &stock.trust);
        self.dialup.believes_numbers() || trust != Some(&StockTrust::NumberOnly)
    }

    fn feed_demand(&mut self, terminal: &Terminal, waits: &MostUrgent, is_called: bool) {
        let (conditions, _) = self.calendar.of(&terminal.name);
        // Terminals without a number, paused or without a proof are not called: what waits, waits until that has changed.
        let conditions = (terminal.number.is_some() && is_called).then(|| conditions.clone());
        let demand = Demand { terminal: terminal.id, conditions, urgency: waits.urgency, deadline: waits.expires_at };
        self.feed(Input::Due(demand));
    }
}

fn moment() -> Moment {
    Moment { at: Instant::now(), wall: Timestamp::now() }
}
