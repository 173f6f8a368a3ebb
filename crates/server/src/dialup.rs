//! The lines: owners, orders and reports.
//!
//! Each line is a task (`line_task`) that waits for rings and for orders. A call that connects becomes a link session (`session`), the
//! same in both directions.

mod addresses;
pub(crate) mod agreements;
mod attempt;
mod deliver;
mod entrance;
pub(crate) mod line_link;
mod line_states;
pub(crate) mod line_task;
mod metered;
mod online;
mod open_calls;
pub(crate) mod open_link;
mod outbox;
mod own_lines;
mod packing;
mod presence;
#[cfg(test)]
pub(crate) mod scene;
pub(crate) mod session;
mod stock;
mod terminal_notes;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use delivery::{MessageId, TerminalId};
use line::{CallId, Home, PortAddress};
use link::{Capture, OpenPorts};
use modem::{DialString, Setup};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::agreements::Agreements;
use self::line_states::LineStates;
use self::line_task::{Attempt, Order};
use self::open_calls::OpenCalls;
use self::own_lines::OwnLines;
use self::packing::Packing;
use self::presence::Presence;
use self::session::Peer;
use self::terminal_notes::TerminalNotes;
use crate::alarms::{Alarms, Stranger, Unproved};
use crate::ingest::http;
use crate::intake::Intake;
use crate::keys::{Admitted, ServerKeys};
use crate::metrics::Metrics;
pub use addresses::{AddressPool, AddressPoolError};
pub use calling::Allowance;
pub use line_states::{LineEntry, LineState};
use model::call::{CallRecord, Via};
use model::directory::{Name, Terminal};
use model::outcome::Outcome;
use store::Store;

/// One line of the dial-up server.
#[derive(Debug, Clone)]
pub struct LineConfig {
    /// The operator's name for it.
    pub name: Name,
    /// Where its modem is.
    pub port: PortAddress,
    /// The modem's type and settings.
    pub setup: Setup,
    /// Dialled before every number, such as `0,` for an outside line of a PBX.
    pub dial_prefix: String,
    /// Ring duration, for a line that only rings: no call is answered, and the terminal connects over its own Internet access.
    pub ring_only: Option<Duration>,
    /// One-way delay of the line, as an estimate: sets PPP's first restart timer.
    pub delay: Duration,
    /// The name of the tariff of its calls; `None`: they cost nothing.
    pub tariff: Option<String>,
}

/// Settings common to all lines.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// The server's address on every link.
    pub address: Ipv4Addr,
    /// Addresses for callers without one in the directory.
    pub pool: AddressPool,
    /// The country of the lines, if configured.
    pub home: Option<Home>,
    /// Where all traffic of the links is recorded, if anywhere.
    pub capture: Option<Capture>,
    /// Ports of links that are open to networks behind this host, if any; needs the feature `tun`.
    pub tun: Option<OpenPorts>,
    /// Whether stock terminals with no proof but their number are accepted.
    pub number_only: bool,
}

/// An order to place a call.
#[derive(Debug)]
pub struct DialOrder {
    /// The terminal to call.
    pub terminal: Terminal,
    /// The dial string.
    pub number: DialString,
    /// Longest time from the dial command to CONNECT.
    pub timeout: Duration,
    /// Its record so far, already durable.
    pub record: CallRecord,
    /// Its cost limit.
    pub allowance: Allowance,
}

/// A report of a line.
#[derive(Debug)]
pub enum Report {
    /// The line can place a call.
    LineFree(Name),
    /// The line cannot place a call.
    LineTaken(Name),
    /// A terminal is admitted on this call.
    Connected {
        /// The terminal.
        admitted: Admitted,
        /// The call.
        call: CallId,
        /// The transport.
        via: Via,
    },
    /// A peer claimed to be a terminal, over the Internet or from its number, and gave no valid proof.
    Unproved {
        /// The terminal.
        terminal: TerminalId,
        /// The reason.
        why: String,
    },
    /// A call or an attempt is over; its record is complete.
    Ended {
        /// The terminal, if the call was with one.
        terminal: Option<TerminalId>,
        /// How it ended.
        outcome: Outcome,
        /// The complete record.
        record: Box<CallRecord>,
        /// From the dial command, or the answer, to on hook.
        lasted: Duration,
    },
}

/// The lines. Cheap to clone.
#[derive(Clone)]
pub struct DialUp {
    lines: Arc<BTreeMap<Name, Line>>,
    shared: Arc<Shared>,
}

/// Where a line's orders go.
enum Line {
    /// A task of this process.
    Own(mpsc::Sender<Order<Peer>>),
    /// Another process.
    Remote(Arc<dyn RemoteLine>),
}

/// A line that another process operates.
pub(crate) trait RemoteLine: Send + Sync {
    /// Its location, for the operator.
    fn place(&self) -> String;

    /// Passes an order on. `false`: the process accepts none now.
    fn dial(&self, order: DialOrder) -> bool;
}

/// The server's modules that the lines use.
#[derive(Debug, Clone)]
pub struct Rooms {
    /// The store.
    pub store: Store,
    /// The keys that prove both ends.
    pub keys: ServerKeys,
    /// The submission listener, served on every link.
    pub submissions: http::Submissions,
    /// Intake, for submissions that terminals make on their sessions.
    pub intake: Intake,
    /// Receives the lines' faults.
    pub alarms: Alarms,
    /// The counters.
    pub metrics: Metrics,
}

/// State common to the lines' tasks.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) keys: ServerKeys,
    settings: LinkSettings,
    /// The submission listener, served on every link.
    submissions: http::Submissions,
    pub(crate) intake: Intake,
    pub(crate) alarms: Alarms,
    pub(crate) metrics: Metrics,
    reports: mpsc::Sender<Report>,
    pub(crate) line_states: LineStates,
    pub(crate) presence: Arc<Presence>,
    agreements: Agreements<TerminalId>,
    notes: TerminalNotes,
    packing: Arc<Packing>,
    /// Peers that recently failed to prove a terminal's identity.
    strangers: Mutex<Unproved<Stranger>>,
    pub(crate) open_calls: OpenCalls,
    shutdown: CancellationToken,
}

impl Shared {
    /// Creates the state for lines that are not started yet.
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
            line_states: LineStates::default(),
            presence: Arc::default(),
            agreements: Agreements::default(),
            notes: TerminalNotes::default(),
            packing: Arc::default(),
            strangers: Mutex::default(),
            open_calls: OpenCalls::default(),
            shutdown,
        })
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
    /// Starts the lines as tasks of `tasks`. They report, and end on shutdown with their calls. Lines in `away` only receive orders.
    pub(crate) fn start(
        shared: Arc<Shared>,
        lines: Vec<LineConfig>,
        away: Vec<(Name, Arc<dyn RemoteLine>)>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let mut handles = BTreeMap::new();
        for config in lines {
            // One order at a time: dispatch uses a line again only once it is free.
            let (orders, queue) = mpsc::channel(1);
            shared
                .line_states
                .know(&config.name, config.port.to_string());
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
            shared.line_states.know(&name, line.place());
            handles.insert(name, Line::Remote(line));
        }
        Self {
            lines: Arc::new(handles),
            shared,
        }
    }

    /// Accepts sessions of terminals over their own Internet access until the server stops; at most `seats` at once.
    pub(crate) async fn serve_online(self, listener: TcpListener, seats: usize) {
        online::serve(listener, seats, self.shared).await;
    }

    /// Whether stock terminals with no proof but their number are accepted.
    pub fn believes_numbers(&self) -> bool {
        self.shared.settings.number_only
    }

    /// Passes an order to a line. `false`: the line does not exist, or still has an order.
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

    /// Ends a call or an Internet session at any stage. `false`: none with this id is active.
    pub fn end_call(&self, call: CallId) -> bool {
        self.shared.open_calls.end(call)
    }

    /// Starts delivery of due messages to a connected terminal. No effect if its connection has just ended: the end is reported, and the
    /// messages are due again.
    pub fn deliver(&self, terminal: TerminalId) {
        self.shared.presence.deliver(terminal);
    }

    /// Puts these messages last in the terminal's deliveries, from its next call on.
    pub fn set_suspects(&self, terminal: TerminalId, messages: Vec<MessageId>) {
        self.shared.notes.set_suspects(terminal, messages);
    }

    /// Forgets failed proofs for this terminal, because its credentials have changed: a peer that failed may now succeed.
    pub fn forget_strangers(&self, terminal: TerminalId) {
        self.shared
            .strangers()
            .forget(|who| matches!(who, Stranger::Network(_, named) if *named == terminal));
    }

    /// How many terminals are connected.
    pub fn connected_count(&self) -> usize {
        self.shared.presence.count()
    }

    /// State of every line, by name.
    pub fn status(&self) -> Vec<LineEntry> {
        self.shared.line_states.all()
    }
}

impl Shared {
    fn strangers(&self) -> MutexGuard<'_, Unproved<Stranger>> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn report(&self, report: Report) {
        let _ = self.reports.send(report).await; // the server is stopping
    }
}

/// Logs one line for each ended call.
pub(crate) fn log_end(record: &CallRecord) {
    let seconds = record
        .connected_at
        .zip(record.ended_at)
        .map_or(0, |(at, ended)| ended.duration_since(at).as_secs());
    let outcome = record.outcome.as_deref().unwrap_or_default();
    tracing::info!(call = %record.id, line = %record.via, party = %record.party, outcome, seconds,
        octets_out = record.octets_out, octets_in = record.octets_in, "call ended");
}
