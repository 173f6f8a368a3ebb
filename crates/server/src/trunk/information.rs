//! The information server's end of its trunks: who is let in, what the dial-up servers tell, which calls are at them.
//!
//! ```text
//!   accept ──► greeting ──known──► proof ──► events: everything, "all told", changes
//!                 └──anybody else: closed     │ a call that was asked for and is not told of was never placed
//!                                             └ lost: its lines are out of service, its calls keep waiting for their fate
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use delivery::proof::PublicKey;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use line::{CallId, Ring};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::away::{self, Away};
use super::proxy::ProxyHeader;
use super::tunnel::{Tunnel, WayOut, way_out};
use super::words::{CallState, Event, WORDS_OCTETS_MAX};
use super::{
    CONNECTION_WINDOW_OCTETS, KEEP_ALIVE, KEEP_ALIVE_WAIT, PROOF_WAIT, RATE_BPS,
    STREAM_WINDOW_OCTETS, pin_id, read_greeting,
};
use crate::dialup::{DialOrder, LineState, RemoteLine, Report, Shared};
use crate::door::{Door, Place};
use crate::listener::{self, Guest, Limits};
use model::alarm::AlarmKind;
use model::call::Via;
use model::directory::Name;
use store::CallAway;

/// Requests that always wait for a far end's connection.
const ACCEPTORS: usize = 16;

/// Connections that are not proved: of all, and of one address.
const UNPROVED_MAX: usize = 64;
const UNPROVED_OF_ONE_MAX: usize = 8;

/// The time that dial-up servers have to come after a start before their absence is an alarm: twice their longest pause.
const START_GRACE: Duration = Duration::from_secs(60);

/// Without a lie in this time an alarm about them is cleared; until then only an operator clears it.
const CLEAN: Duration = Duration::from_secs(24 * 3600);

/// How long a far end's connection may take to say of which call it is.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// Calls at one dial-up server from which on rings are not answered, and orders that may wait.
const CALLS_MAX: usize = 4096;

/// A dial-up server that works for this information server.
#[derive(Debug, Clone)]
pub struct DialupServer {
    /// Its name.
    pub name: Name,
    /// What proves it.
    pub key: PublicKey,
    /// Its lines.
    pub lines: Vec<LineAway>,
}

/// A line of a dial-up server.
#[derive(Debug, Clone)]
pub struct LineAway {
    /// The dial-up server's name for it.
    pub name: Name,
    /// Ours: `SERVER.LINE`.
    pub global: Name,
    /// Ringing is all it does.
    pub is_ring_only: bool,
    /// What its calls are charged by, by name.
    pub tariff: Option<String>,
}

/// What is sent: a request, or a far end's connection.
type Body = BoxBody<Bytes, io::Error>;

/// One dial-up server, as far as it is known.
pub(crate) struct Pop {
    pub(crate) server: DialupServer,
    /// The rooms that its calls go to.
    shared: Arc<Shared>,
    /// What can be asked of it; `None`: there is no trunk.
    requests: watch::Sender<Option<SendRequest<Body>>>,
    /// How many trunks there have been.
    trunks: AtomicU64,
    calls: Mutex<BTreeMap<CallId, Away>>,
    /// When it violated last, or the server started.
    lies: watch::Sender<Instant>,
    pub(crate) orders: mpsc::Sender<TrunkCommand>,
}

/// What a dial-up server's task is to see to.
pub(crate) enum TrunkCommand {
    /// A call that is to be placed.
    Place(Box<DialOrder>),
    /// A ring that is to be decided.
    Ring(CallId, LineAway, Ring),
    /// A trunk that is proved.
    Trunk(Trunk),
}

/// A proved connection, and the task that works it.
pub(crate) struct Trunk {
    requests: SendRequest<Body>,
    driver: JoinSet<hyper::Result<()>>,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDone {
    #[error("there is no trunk to dial-up server {0}")]
    NoTrunk(Name),
    #[error("the trunk was lost")]
    Lost(#[source] hyper::Error),
    #[error("the dial-up server refused: {0}: {1}")]
    Refused(StatusCode, String),
}

impl RemoteLine for Pop {
    fn place(&self) -> String {
        format!("dial-up server {}", self.server.name)
    }

    fn dial(&self, order: DialOrder) -> bool {
        self.is_there()
            && self
                .orders
                .try_send(TrunkCommand::Place(Box::new(order)))
                .is_ok()
    }
}

impl Pop {
    /// A dial-up server that has not come yet, and what its task is to be given.
    pub(crate) fn new(
        server: DialupServer,
        shared: Arc<Shared>,
    ) -> (Arc<Self>, mpsc::Receiver<TrunkCommand>) {
        let (orders, errands) = mpsc::channel(CALLS_MAX);
        let pop = Self {
            server,
            shared,
            requests: watch::Sender::new(None),
            trunks: AtomicU64::new(0),
            calls: Mutex::default(),
            lies: watch::Sender::new(Instant::now()),
            orders,
        };
        (Arc::new(pop), errands)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn calls(&self) -> MutexGuard<'_, BTreeMap<CallId, Away>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the trunk there is, or was last.
    pub(super) fn trunk(&self) -> u64 {
        self.trunks.load(Ordering::Relaxed)
    }

    /// A call of the last process, to be asked for before a trunk can come.
    pub(crate) fn recall(
        self: Arc<Self>,
        call: CallAway,
    ) -> Option<impl Future<Output = ()> + Send> {
        let line = self.line_named(&call.record.via)?.clone();
        let (away, course) = Away::new(line, 0, None);
        self.calls().insert(call.record.id, away);
        Some(away::recall(self, call, course))
    }

    pub(super) fn line(&self, name: &str) -> Option<&LineAway> {
        self.server
            .lines
            .iter()
            .find(|line| line.name.to_string() == name)
    }

    pub(super) fn line_named(&self, via: &Via) -> Option<&LineAway> {
        self.server
            .lines
            .iter()
            .find(|line| via.line() == Some(&line.global))
    }

    /// Whether there is a trunk.
    pub(crate) fn is_there(&self) -> bool {
        self.requests.borrow().is_some()
    }

    /// Waits until there is one.
    pub(super) async fn there(&self) {
        let _ = self.requests.subscribe().wait_for(Option::is_some).await; // the sender lives in self
    }

    /// The dial-up server violated the protocol: counted, and raised as an alarm.
    pub(super) async fn violated(&self, what: String) {
        tracing::warn!(dialup_server = %self.server.name, what, "refused");
        self.shared().metrics.trunk_refused();
        self.lies.send_replace(Instant::now());
        self.shared()
            .alarms
            .raise(AlarmKind::DialupServerLies, &self.server.name, what)
            .await;
    }

    /// A request of a few words; gives nothing but whether it was done.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        words: Option<serde_json::Value>,
    ) -> Result<(), NotDone> {
        let body = words.map(|words| words.to_string()).unwrap_or_default();
        let body = Full::new(Bytes::from(body))
            .map_err(|never| match never {})
            .boxed();
        self.send(method, path, body).await.map(drop)
    }

    /// A connection to a far end's port.
    pub(super) async fn open(&self, path: &str) -> Result<Tunnel, NotDone> {
        let (entrance, way_out) = way_out();
        let response = self.send(Method::POST, path, way_out.boxed()).await?;
        Ok(Tunnel::new(entrance, response.into_body()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Incoming>, NotDone> {
        let requests = self.requests.borrow().clone();
        let mut requests = requests.ok_or_else(|| NotDone::NoTrunk(self.server.name.clone()))?;
        send(&mut requests, method, path, body).await
    }

    /// Sees to this dial-up server until the server stops.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut errands: mpsc::Receiver<TrunkCommand>,
        shutdown: CancellationToken,
    ) {
        let (mut calls, mut trunk) = (JoinSet::new(), JoinSet::new());
        self.out_of_service().await;
        let mut grace = std::pin::pin!(sleep(START_GRACE));
        let mut is_graced = true;
        let mut honest = std::pin::pin!(self.honest_for(CLEAN));
        loop {
            let errand = tokio::select! {
                () = shutdown.cancelled() => return,
                () = &mut grace, if is_graced => {
                    is_graced = false;
                    if !self.is_there() {
                        self.alarm_lost().await;
                    }
                    continue;
                }
                () = &mut honest => {
                    self.shared().alarms.clear(AlarmKind::DialupServerLies, &self.server.name).await;
                    self.lies.send_replace(Instant::now());
                    honest.set(self.honest_for(CLEAN));
                    continue;
                }
                Some(_) = calls.join_next() => continue,
                Some(_) = trunk.join_next() => {
                    self.lost().await;
                    continue;
                }
                Some(errand) = errands.recv() => errand,
            };
            match errand {
                TrunkCommand::Place(order) => drop(calls.spawn(away::place(self.clone(), *order))),
                TrunkCommand::Ring(call, line, ring) if calls.len() < CALLS_MAX => {
                    calls.spawn(away::screen(self.clone(), call, line, ring));
                }
                TrunkCommand::Ring(call, ..) => {
                    tracing::warn!(%call, "ring not answered: too many calls at the dial-up server");
                }
                TrunkCommand::Trunk(come) => {
                    // The dial-up server has come anew: it knows that the old one is over before we do.
                    trunk.shutdown().await;
                    self.lost().await;
                    trunk.spawn(follow(self.clone(), come));
                }
            }
        }
    }

    async fn lost(&self) {
        if self.requests.send_replace(None).is_none() {
            return;
        }
        tracing::warn!(dialup_server = %self.server.name, "trunk lost");
        for away in self.calls().values() {
            away.trunk_lost();
        }
        self.alarm_lost().await;
        self.out_of_service().await;
    }

    async fn alarm_lost(&self) {
        let detail = "no connection; its lines are out of service. Check it and the network; it reports its calls when it is back";
        self.shared()
            .alarms
            .raise(
                AlarmKind::DialupServerLost,
                &self.server.name,
                detail.to_owned(),
            )
            .await;
    }

    /// Returns after this time without a lie.
    async fn honest_for(&self, time: Duration) {
        let mut lies = self.lies.subscribe();
        loop {
            let until = *lies.borrow_and_update() + time;
            tokio::select! {
                () = sleep_until(until) => return,
                Ok(()) = lies.changed() => {}
            }
        }
    }

    /// No call can be placed on its lines.
    async fn out_of_service(&self) {
        for line in &self.server.lines {
            let why = Some("no connection to the dial-up server".to_owned());
            self.shared()
                .line_states
                .set(&line.global, LineState::OutOfOrder, why);
            self.shared()
                .report(Report::LineTaken(line.global.clone()))
                .await;
        }
    }

    /// A dial-up server's word about a call.
    async fn note_call(self: &Arc<Self>, call: CallId, state: CallState, trunk: u64) {
        let known = self.calls().get(&call).map(|away| away.note(&state, trunk));
        match known {
            Some(Ok(())) => {}
            Some(Err(lie)) => self.violated(format!("call {call}: {lie}")).await,
            None => self.hang_up_unknown(call, &state).await,
        }
    }

    /// A connection of a call that is not up. Of one that has just ended it may still come; of any other it is a lie.
    async fn refuse_connection(&self, call: CallId) {
        match self.shared().store.call(call).await {
            Ok(Some(record)) if self.line_named(&record.via).is_some() => {
                self.shared().metrics.trunk_refused();
                tracing::warn!(%call, dialup_server = %self.server.name, "a connection of a call that is over: refused");
            }
            Ok(_) => {
                self.violated(format!(
                    "a connection of call {call}, which was not given to it"
                ))
                .await;
            }
            Err(error) => tracing::error!(%call, %error, "the calls cannot be read"),
        }
    }

    /// A call that is not waited for: settled before the trunk was lost, or none of ours.
    async fn hang_up_unknown(self: &Arc<Self>, call: CallId, state: &CallState) {
        let recorded = self.shared().store.call(call).await;
        match recorded {
            Ok(Some(record)) if self.line_named(&record.via).is_some() => {}
            Ok(_) => {
                self.violated(format!("call {call} is none that was given to it"))
                    .await;
            }
            Err(error) => return tracing::error!(%call, %error, "the calls cannot be read"),
        }
        // Asked again at the next trunk, if this is lost.
        let _ = match state {
            CallState::Ended(_) => {
                self.ask(Method::POST, &format!("/calls/{call}/settled"), None)
                    .await
            }
            _ => {
                self.ask(Method::DELETE, &format!("/calls/{call}"), None)
                    .await
            }
        };
    }
}

/// One trunk, until it ends.
async fn follow(pop: Arc<Pop>, trunk: Trunk) {
    let Trunk {
        mut requests,
        mut driver,
    } = trunk;
    let number = pop.trunks.fetch_add(1, Ordering::Relaxed) + 1;
    let work = async {
        let events = send(&mut requests, Method::GET, "/events", empty()).await;
        let events = match events {
            Ok(events) => events.into_body(),
            Err(error) => return tracing::warn!(%error, "no events"),
        };
        let mut acceptors = JoinSet::new();
        (0..ACCEPTORS).for_each(|_| drop(acceptors.spawn(accept(pop.clone(), requests.clone()))));
        pop.requests.send_replace(Some(requests));
        tracing::info!(dialup_server = %pop.server.name, "trunk up");
        tokio::select! {
            () = note_events(&pop, events, number) => {}
            _ = acceptors.join_next() => {}
        }
    };
    tokio::select! {
        () = work => {}
        _ = driver.join_next() => {}
    }
}

/// Takes note of events until they end.
async fn note_events(pop: &Arc<Pop>, mut events: Incoming, trunk: u64) {
    let (mut line, mut is_all_told): (Vec<u8>, _) = (Vec::new(), false);
    while let Some(Ok(frame)) = events.frame().await {
        for octet in frame.into_data().unwrap_or_default() {
            if octet != b'\n' {
                line.push(octet);
                if line.len() > WORDS_OCTETS_MAX {
                    return pop
                        .violated(format!("an event of more than {WORDS_OCTETS_MAX} octets"))
                        .await;
                }
                continue;
            }
            let event = serde_json::from_slice(&line);
            line.clear();
            match event {
                // What it clears it clears once.
                Ok(Event::AllTold) if std::mem::replace(&mut is_all_told, true) => {
                    pop.violated("everything told twice on one trunk".to_owned())
                        .await;
                }
                Ok(event) => note(pop, event, trunk).await,
                Err(error) => {
                    return pop
                        .violated(format!("an event that is none: {error}"))
                        .await;
                }
            }
        }
    }
}

async fn note(pop: &Arc<Pop>, event: Event, trunk: u64) {
    match event {
        Event::Line { line, state, fault } => match pop.line(&line) {
            Some(line) => {
                let fault = fault.map(|fault| fault.chars().take(200).collect());
                let port = format!("dial-up server {}", pop.server.name);
                pop.shared()
                    .line_is(&line.global, &port, state, fault)
                    .await;
            }
            // One that it has for others, or that the config does not name yet.
            None => {
                tracing::debug!(dialup_server = %pop.server.name, line, "a line that is not in the config");
            }
        },
        Event::Call { call, state } => match call.parse() {
            Ok(call) => pop.note_call(call, state, trunk).await,
            Err(_) => pop.violated("a call without an id".to_owned()).await,
        },
        Event::Ring { call, line, ring } => {
            let (Ok(call), Some(line)) = (call.parse(), pop.line(&line)) else {
                return pop
                    .violated("a ring without an id, or on a line that it does not have".to_owned())
                    .await;
            };
            // The call outlives the trunk: its task is the dial-up server's, not the trunk's.
            let _ = pop
                .orders
                .send(TrunkCommand::Ring(call, line.clone(), ring.ring()))
                .await; // the server is stopping
        }
        Event::AllTold => {
            pop.calls().values().for_each(|away| away.all_told(trunk));
            pop.shared()
                .alarms
                .clear(AlarmKind::DialupServerLost, &pop.server.name)
                .await;
            tracing::info!(dialup_server = %pop.server.name, "dial-up server in service");
        }
    }
}

/// Waits for far ends' connections, one after the other.
async fn accept(pop: Arc<Pop>, mut requests: SendRequest<Body>) {
    loop {
        let (entrance, way_out): (_, WayOut) = way_out();
        let response = match send(&mut requests, Method::POST, "/accept", way_out.boxed()).await {
            Ok(response) => response,
            Err(NotDone::Refused(..)) => {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(_) => return,
        };
        let mut tunnel = Tunnel::new(entrance, response.into_body());
        let header = match timeout(HEADER_WAIT, ProxyHeader::read(&mut tunnel)).await {
            Ok(Ok(header)) => header,
            Ok(Err(error)) => {
                pop.violated(error.to_string()).await;
                continue;
            }
            Err(_) => {
                pop.violated("a connection that does not say of which call it is".to_owned())
                    .await;
                continue;
            }
        };
        let call = header.call;
        tracing::info!(%call, dialup_server = %pop.server.name, port = header.to.port(), from = %header.from, "completion report");
        let is_taken = match pop.calls().get(&call) {
            Some(away) => away.take(header, tunnel),
            None => false,
        };
        if !is_taken {
            pop.refuse_connection(call).await;
        }
    }
}

/// Accepts trunks until the server stops; anyone on the network may try.
pub(crate) async fn serve(
    listener: TcpListener,
    seats: usize,
    pops: Vec<Arc<Pop>>,
    shutdown: CancellationToken,
) {
    let seats = seats.min(UNPROVED_MAX);
    let door = Door::shared(seats, UNPROVED_OF_ONE_MAX);
    let limits = Limits {
        name: "trunks",
        seats,
        door,
        refusal: None,
        grace: Duration::ZERO,
    };
    let handle = move |guest: Guest<TcpStream>| prove(guest.stream, guest.place, pops.clone());
    listener::serve(listener, limits, shutdown, handle).await;
}

/// One connection, from the greeting to the proof.
async fn prove(mut stream: TcpStream, place: Place, pops: Vec<Arc<Pop>>) {
    let _ = stream.set_nodelay(true); // slower without, not wrong
    let from = place.from;
    let greeted = timeout(PROOF_WAIT, read_greeting(&mut stream)).await;
    let Ok(Some(name)) = greeted else {
        return tracing::debug!(%from, "no greeting");
    };
    let Some(pop) = pops.into_iter().find(|pop| pop.server.name == name) else {
        return tracing::warn!(%from, says = %name, "greeting of a dial-up server that is not in the config");
    };
    let secured =
        pop.shared()
            .keys
            .secure_dialup_server(stream, pin_id(&name), pop.server.key, RATE_BPS);
    let stream = match secured {
        Ok(stream) => stream,
        Err(error) => return tracing::error!(%error, "no trunk"),
    };
    let mut proof = stream.proof();
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_WAIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_OCTETS)
        .initial_connection_window_size(CONNECTION_WINDOW_OCTETS)
        .handshake(TokioIo::new(stream));
    let Ok((requests, connection)) = handshake.await else {
        return tracing::debug!(%from, "trunk not begun");
    };
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    // HTTP/2's own first words wait for the proof; nothing else is said before it.
    if !matches!(timeout(PROOF_WAIT, proof.wait()).await, Ok(Some(_))) {
        tracing::warn!(%from, says = %name, "did not prove to be the dial-up server");
        pop.shared().metrics.trunk_refused();
        let detail =
            format!("a connection from {from} claimed to be it and failed the proof of its key");
        // Anyone may claim that: it is no word of the dial-up server's.
        return pop
            .shared()
            .alarms
            .raise(AlarmKind::UnprovedCallers, &name, detail)
            .await;
    }
    pop.shared()
        .alarms
        .clear(AlarmKind::UnprovedCallers, &name)
        .await;
    let _ = pop
        .orders
        .send(TrunkCommand::Trunk(Trunk { requests, driver }))
        .await; // the server is stopping
}

async fn send(
    requests: &mut SendRequest<Body>,
    method: Method,
    path: &str,
    body: Body,
) -> Result<Response<Incoming>, NotDone> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://dialup{path}"))
        .body(body);
    let request = request.expect("method and path are well formed");
    let response = requests
        .send_request(request)
        .await
        .map_err(NotDone::Lost)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let why = Limited::new(response.into_body(), WORDS_OCTETS_MAX)
        .collect()
        .await;
    let why = why
        .map(|why| String::from_utf8_lossy(&why.to_bytes()).into_owned())
        .unwrap_or_default();
    let why = why.chars().take(200).collect();
    Err(NotDone::Refused(status, why))
}

fn empty() -> Body {
    Full::new(Bytes::new())
        .map_err(|never| match never {})
        .boxed()
}
