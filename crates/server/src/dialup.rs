//! The lines: who has them, what they are told, what they report.
//!
//! Every line is a task of its own (`line_task`) that waits for rings and for orders. A call that comes up becomes a
//! link session (`session`), the same for both directions.

mod addresses;
mod attempt;
mod deliver;
mod entrance;
pub(crate) mod line_task;
mod metered;
mod online;
mod open_calls;
pub(crate) mod open_link;
mod outbox;
mod own_lines;
#[cfg(test)]
pub(crate) mod scene;
pub(crate) mod session;
mod stock;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delivery::{MessageId, TerminalId};
use line::{CallId, Home, PortAddress};
use link::{Agreement, Capture, Expected, OpenPorts};
use modem::{DialString, Setup};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::line_task::{Attempt, Order};
use self::open_calls::OpenCalls;
use self::own_lines::OwnLines;
use self::session::Peer;
use crate::alarms::{Alarms, Stranger, Unproved};
use crate::ingest::http;
use crate::intake::Intake;
use crate::keys::{Admitted, ServerKeys};
use crate::metrics::Metrics;
pub use addresses::{AddressPool, AddressPoolError};
pub use calling::Allowance;
use model::call::{CallRecord, Via};
use model::directory::{Name, Terminal};
use model::outcome::Outcome;
use store::Store;

/// Terminals whose agreements and encodings are remembered; the others' links come up, and contents go, as with anybody.
const AGREEMENTS_MAX: usize = 100_000;

/// One line of the dial-up server.
#[derive(Debug, Clone)]
pub struct LineConfig {
    /// The operator's name for it.
    pub name: Name,
    /// Where its modem is.
    pub port: PortAddress,
    /// What its modem is, and is told.
    pub setup: Setup,
    /// What is dialled before every number, such as `0,` to get out of a PBX.
    pub dial_prefix: String,
    /// How long it rings, if ringing is all it does: nobody is to answer, and the terminal comes over its own Internet access.
    pub ring_only: Option<Duration>,
    /// One-way delay of the line, as far as known: sets PPP's first restart timer.
    pub delay: Duration,
    /// The name of what its calls are charged by; `None`: they cost nothing.
    pub tariff: Option<String>,
}

/// What all lines share.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// The server's address on every link.
    pub address: Ipv4Addr,
    /// Addresses for callers that have none in the directory.
    pub pool: AddressPool,
    /// The country in which the lines are, if one is configured.
    pub home: Option<Home>,
    /// Where everything that crosses a link is recorded, if anywhere.
    pub capture: Option<Capture>,
    /// The ports that networks behind this host get of links, if any; takes a build with the feature `tun`.
    pub tun: Option<OpenPorts>,
    /// Whether stock terminals are believed that nothing but their number proves.
    pub number_only: bool,
}

/// A call to be made.
#[derive(Debug)]
pub struct DialOrder {
    /// Whom to call.
    pub terminal: Terminal,
    /// What is dialled.
    pub number: DialString,
    /// From the dial command to CONNECT.
    pub timeout: Duration,
    /// Its record so far, already on the disk.
    pub record: CallRecord,
    /// What it may cost.
    pub allowance: Allowance,
}

/// What a line reports.
#[derive(Debug)]
pub enum Report {
    /// It can place a call.
    LineFree(Name),
    /// It cannot.
    LineTaken(Name),
    /// A terminal is admitted on this call.
    Connected {
        /// The terminal.
        admitted: Admitted,
        /// The call.
        call: CallId,
        /// What it goes over.
        via: Via,
    },
    /// Somebody spoke for a terminal over the Internet, or called from its number, and did not prove to be it.
    Unproved {
        /// The terminal.
        terminal: TerminalId,
        /// What was wrong.
        why: String,
    },
    /// A call, or an attempt, is over; its record is complete.
    Ended {
        /// The terminal it was with, if with a terminal.
        terminal: Option<TerminalId>,
        /// How.
        outcome: Outcome,
        /// The complete record.
        record: Box<CallRecord>,
        /// From the dial command, or the answer, to on hook.
        lasted: Duration,
    },
}

/// What a line is doing, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineEntry {
    /// Its name.
    pub name: String,
    /// Where its modem is.
    pub port: String,
    /// In a word: `initialising`, `idle`, `calling`, `in a call`, `out of order`.
    pub state: LineState,
    /// Why, if it is out of order.
    pub fault: Option<String>,
    /// Rings that were not answered since the server started.
    pub rings_refused: u64,
}

/// See [`LineEntry::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineState {
    /// The modem is being initialised.
    Initialising,
    /// On hook, waiting.
    Idle,
    /// Dialling, or answering.
    Calling,
    /// Connected.
    InACall,
    /// The port or the modem does not work; tried again every half minute.
    OutOfOrder,
}

impl LineState {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Initialising,
        Self::Idle,
        Self::Calling,
        Self::InACall,
        Self::OutOfOrder,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialising => "initialising",
            Self::Idle => "idle",
            Self::Calling => "calling",
            Self::InACall => "in-a-call",
            Self::OutOfOrder => "out-of-order",
        }
    }
}

/// The lines. Cheap to clone.
#[derive(Clone)]
pub struct DialUp {
    lines: Arc<BTreeMap<Name, Line>>,
    shared: Arc<Shared>,
}

/// Where a line takes its orders.
enum Line {
    /// A task of this process.
    Own(mpsc::Sender<Order<Peer>>),
    /// Another process.
    Remote(Arc<dyn RemoteLine>),
}

/// A line that another process works.
pub(crate) trait RemoteLine: Send + Sync {
    /// Where it is, for the operator.
    fn place(&self) -> String;

    /// Hands an order over. `false`: that process takes none now.
    fn dial(&self, order: DialOrder) -> bool;
}

/// The rate for which records are made after a session that broke, if the line is not slower: 4000 octets each, of which a tenth of
/// a second is lost with a break at 400 kbit/s, and 1.5 % is framing.
const CAREFUL_RATE_BPS: u32 = 40_000;

/// The rooms that what comes over a line goes to.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// Where everything is kept.
    pub store: Store,
    /// What proves both ends.
    pub keys: ServerKeys,
    /// The submission door, served on every link.
    pub submissions: http::Submissions,
    /// The door behind it, for what terminals say on their sessions.
    pub intake: Intake,
    /// Where the lines' faults are told.
    pub alarms: Alarms,
    /// Where everything is counted.
    pub metrics: Metrics,
}

/// What the lines' tasks share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) keys: ServerKeys,
    settings: LinkSettings,
    /// The submission door, served on every link.
    submissions: http::Submissions,
    pub(crate) intake: Intake,
    pub(crate) alarms: Alarms,
    pub(crate) metrics: Metrics,
    reports: mpsc::Sender<Report>,
    status: Mutex<BTreeMap<Name, LineEntry>>,
    /// The terminals that are connected: notify one to have it brought what is due.
    connected: Mutex<BTreeMap<TerminalId, Connection>>,
    /// A terminal has connected.
    came: Notify,
    /// What PPP agreed on with terminals that have proved themselves, for their next call.
    agreements: Mutex<BTreeMap<TerminalId, Agreement>>,
    /// Terminals that were told of here, and whether they unpack zstd. One that says so does on its next call, too: the
    /// first message goes before it can say anything.
    takes_zstd: Mutex<BTreeMap<TerminalId, Arc<AtomicBool>>>,
    /// Whoever could not prove to be a terminal of late.
    strangers: Mutex<Unproved<Stranger>>,
    /// The messages that are to be delivered last.
    suspects: Mutex<BTreeMap<TerminalId, Vec<MessageId>>>,
    pub(crate) open_calls: OpenCalls,
    shutdown: CancellationToken,
}

impl Shared {
    /// What lines that are still to be started will share.
    pub(crate) fn new(
        settings: LinkSettings,
        rooms: Rooms,
        reports: mpsc::Sender<Report>,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let Rooms {
            store,
            keys,
            submissions,
            intake,
            alarms,
            metrics,
        } = rooms;
        Arc::new(Self {
            store,
            keys,
            settings,
            submissions,
            intake,
            alarms,
            metrics,
            reports,
            status: Mutex::default(),
            connected: Mutex::default(),
            came: Notify::new(),
            agreements: Mutex::default(),
            takes_zstd: Mutex::default(),
            strangers: Mutex::default(),
            suspects: Mutex::default(),
            open_calls: OpenCalls::default(),
            shutdown,
        })
    }

    /// There is this line, at this place.
    fn know(&self, line: &Name, place: String) {
        let entry = LineEntry::new(line, place);
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(line.clone(), entry);
    }
}

impl fmt::Debug for DialUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialUp")
            .field("lines", &self.lines.keys())
            .finish_non_exhaustive()
    }
}

impl DialUp {
    /// Starts the lines as tasks of `tasks`; they report, and end on shutdown, calls and all. Lines that are `away` are only given orders.
    pub(crate) fn start(
        shared: Arc<Shared>,
        lines: Vec<LineConfig>,
        away: Vec<(Name, Arc<dyn RemoteLine>)>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let mut handles = BTreeMap::new();
        for config in lines {
            // One order at a time: dispatch hands a line out once until it is free again.
            let (orders, queue) = mpsc::channel(1);
            shared.know(&config.name, config.port.to_string());
            handles.insert(config.name.clone(), Line::Own(orders));
            let policy = Arc::new(OwnLines(shared.clone()));
            tasks.spawn(line_task::run(
                config,
                queue,
                policy,
                shared.shutdown.clone(),
            ));
        }
        for (name, line) in away {
            shared.know(&name, line.place());
            handles.insert(name, Line::Remote(line));
        }
        Self {
            lines: Arc::new(handles),
            shared,
        }
    }

    /// Takes sessions of terminals that come over their own Internet access, until the server stops: so many at once.
    pub(crate) async fn serve_online(self, listener: TcpListener, seats: usize) {
        online::serve(listener, seats, self.shared).await;
    }

    /// Whether stock terminals are believed that nothing but their number proves.
    pub fn believes_numbers(&self) -> bool {
        self.shared.settings.number_only
    }

    /// Hands an order to a line. `false`: there is no such line, or it still has an order.
    #[must_use]
    pub fn dial(&self, line: &Name, order: DialOrder) -> bool {
        let orders = match self.lines.get(line) {
            Some(Line::Own(orders)) => orders,
            Some(Line::Remote(line)) => return line.dial(order),
            None => return false,
        };
        let DialOrder {
            terminal,
            number,
            timeout,
            record,
            allowance,
        } = order;
        let call = record.id;
        let attempt = Attempt {
            terminal: Some(terminal.id),
            record,
            began: tokio::time::Instant::now(),
        };
        let order = Order {
            attempt,
            peer: Peer::Terminal(terminal),
            number,
            timeout,
            allowance,
        };
        self.shared.open_calls.hang_up(call);
        let is_taken = orders.try_send(order).is_ok();
        if !is_taken {
            self.shared.open_calls.over(call);
        }
        is_taken
    }

    /// Hangs up a call, or a session over the Internet, at whichever stage it is. `false`: none with this id is under way.
    pub fn end_call(&self, call: CallId) -> bool {
        self.shared.open_calls.end(call)
    }

    /// Has a connected terminal brought what is due. Nothing happens if its connection has just ended: its end is
    /// reported, and what waits is due again.
    pub fn deliver(&self, terminal: TerminalId) {
        let connected = self
            .shared
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connected.get(&terminal) {
            connection.due.notify_one();
        }
    }

    /// Has these messages for a terminal delivered after all others, from its next call on.
    pub fn set_suspects(&self, terminal: TerminalId, messages: Vec<MessageId>) {
        let mut suspects = self
            .shared
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if messages.is_empty() {
            suspects.remove(&terminal);
        } else {
            suspects.insert(terminal, messages);
        }
    }

    /// What this terminal may prove itself with is another now: those who could not be it before may be it.
    pub fn forget_strangers(&self, terminal: TerminalId) {
        self.shared
            .strangers()
            .forget(|who| matches!(who, Stranger::Network(_, named) if *named == terminal));
    }

    /// How many terminals are connected.
    pub fn connected_count(&self) -> usize {
        self.shared
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// What every line is doing, by name.
    pub fn status(&self) -> Vec<LineEntry> {
        self.shared
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

impl LineEntry {
    fn new(name: &Name, port: String) -> Self {
        Self {
            name: name.to_string(),
            port,
            state: LineState::Initialising,
            fault: None,
            rings_refused: 0,
        }
    }
}

/// A connected terminal, as far as others may disturb it.
struct Connection {
    due: Arc<Notify>,
    /// The terminal has connected anew: this connection is over.
    replaced: CancellationToken,
}

impl Shared {
    fn note(&self, line: &Name, change: impl FnOnce(&mut LineEntry)) {
        if let Some(entry) = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(line)
        {
            change(entry);
        }
    }

    pub(crate) fn note_line(&self, line: &Name, state: LineState, fault: Option<String>) {
        self.note(line, |entry| {
            entry.state = state;
            entry.fault = fault;
        });
    }

    fn strangers(&self) -> MutexGuard<'_, Unproved<Stranger>> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The rate that decides how large records are in a session with a terminal: after one that broke they are smaller, for
    /// with the next break one is lost again.
    fn careful_rate(&self, terminal: TerminalId, rate_bps: u32) -> u32 {
        let has_broken = self
            .suspects
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(&terminal);
        if has_broken {
            rate_bps.min(CAREFUL_RATE_BPS)
        } else {
            rate_bps
        }
    }

    fn suspects(&self, terminal: TerminalId) -> Vec<MessageId> {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.get(&terminal).cloned().unwrap_or_default()
    }

    /// What is known of a terminal, for its session to note more.
    fn takes_zstd(&self, terminal: TerminalId) -> Arc<AtomicBool> {
        let mut known = self
            .takes_zstd
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= AGREEMENTS_MAX && !known.contains_key(&terminal) {
            return Arc::default();
        }
        known.entry(terminal).or_default().clone()
    }

    /// What to expect of a terminal's link, if it is to have this address.
    fn expected(&self, terminal: TerminalId, address: Ipv4Addr) -> Option<Expected> {
        let agreements = self
            .agreements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let agreement = agreements
            .get(&terminal)
            .filter(|agreement| agreement.peer == Some(address))?;
        Some(Expected {
            agreement: *agreement,
            connect: None,
        })
    }

    /// Notes it for the next call; `None`: nothing is to be expected.
    fn agreed(&self, terminal: TerminalId, agreement: Option<Agreement>) {
        let mut agreements = self
            .agreements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match agreement {
            Some(agreement) if agreements.len() < AGREEMENTS_MAX => {
                agreements.insert(terminal, agreement);
            }
            _ => drop(agreements.remove(&terminal)),
        }
    }

    pub(crate) async fn report(&self, report: Report) {
        let _ = self.reports.send(report).await; // the server is stopping
    }
}

/// One line in the log for each call that is over.
pub(crate) fn log_end(record: &CallRecord) {
    let seconds = record
        .connected_at
        .zip(record.ended_at)
        .map_or(0, |(at, ended)| ended.duration_since(at).as_secs());
    let outcome = record.outcome.as_deref().unwrap_or_default();
    tracing::info!(call = %record.id, line = %record.via, party = %record.party, outcome, seconds,
        octets_out = record.octets_out, octets_in = record.octets_in, "call ended");
}
