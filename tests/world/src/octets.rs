//! The octet level: every call is rung, answered, trained and carried octet by octet, in virtual time.
//!
//! ```text
//!   `calling`, store (a folder) ── Dialogue, PPP, TCP ── exchange ── Dialogue, rings, screening, PPP, TCP ── inbox
//!        one line each ▲              wire                                  wire               ▲ one terminal each
//! ```
//!
//! Real: exchange, modem dialogue, ring watch, screening, PPP, smoltcp, `delivery::Plan`, `calling`, and the store with its
//! threads, on a disk. One thread drives all of it and waits for each answer of the store, so that the same seed gives the
//! same events at the same times. Not real: TLS, HTTP/2 (see [`talk`]), tokio, and the inbox's files.

mod calling;
mod faults;
mod names;
mod online;
mod server;
mod sessions;
mod stack;
mod talk;
mod terminal;
mod verdicts;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::calling::dispatch::{LineTerms, Moment, RedialRules, RetryRules, Rules, StormRules};
use ::calling::{Calling, Event as Fact, Money, Policy};
use ::model::directory::{Connection, Terminal, TrustedBy};
use ::model::verdict::Verdict;
use ::store::{Handling, NewMessage, RefusalRules, Store};
use delivery::proof::PublicKey;
use delivery::{ContentType, Digest, MessageHead, MessageId, Urgency};
use exchange::{Exchange, Settings, StationId};
use jiff::Timestamp;
use jiff::civil::DateTime;
use line::{DTR_LOW, Number, Screening};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use self::names::{line_name, line_number, terminal_number};
use self::online::Online;
use self::server::LineEnd;
use self::terminal::{Did, TerminalEnd};
use self::wire::Wire;
use crate::chance::Chance;
use crate::checks::Checks;
use crate::people::{id, name};
use crate::plan_server::{zone, zoned};

const BEGIN: DateTime = DateTime::constant(2026, 11, 23, 0, 0, 0, 0);
const LINES: usize = 3;
const SECOND: Duration = Duration::from_secs(1);
const STORM: StormRules = StormRules {
    calls_per_minute: 20,
    burst: 5,
    calls_at_once: 3,
};

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct OctetPlan {
    /// Everything that chance decides comes from it.
    pub seed: u64,
    /// Terminals, at most 200.
    pub terminals: u32,
    /// Messages that are submitted.
    pub messages: u32,
    /// Whether anything fails.
    pub has_faults: bool,
    /// Whether every event is printed.
    pub is_told: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct OctetReport {
    /// Of every event with its time.
    pub digest: String,
    /// Events.
    pub events: u64,
    /// Accepted, and told so.
    pub accepted: u64,
    /// Verdicts.
    pub delivered: u64,
    /// Verdicts: sessions broke with it.
    pub failed: u64,
    /// Verdicts: cancelled, replaced or expired.
    pub withdrawn: u64,
    /// Verdicts: failed, unknown, at the end of the world, for no session came that could have asked.
    pub unknown: u64,
    /// Wishes that came while their message was on a line, or may have been at its terminal.
    pub pending: u64,
    /// Messages that came again, and were known.
    pub repeated: u64,
    /// Calls that were dialled.
    pub calls: u64,
    /// How they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// Calls of strangers that rang at a terminal.
    pub strangers: u64,
    /// Crashes of the server: at any time; between commit and 202; before, and after, the commit of a receipt.
    pub crashes: [u64; 4],
    /// Crashes of terminals: at any time, and between publication and receipt.
    pub terminal_crashes: [u64; 2],
    /// Virtual time.
    pub took: Duration,
    /// What was promised and not kept.
    pub checks: Checks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Message,
    Fault,
    Mend(usize),
    Crash,
    Stranger,
    StrangerHangsUp,
    /// A provider cancels a message, or one expires.
    Wish,
    /// The operator has a terminal called again.
    Resume(usize),
    /// Rests after refusals are over.
    Release,
    /// The next step of a session over the Internet.
    Online,
}

/// See [`OctetWorld::run`].
pub struct OctetWorld {
    plan: OctetPlan,
    chance: Chance,
    start: Instant,
    now: Instant,
    exchange: Exchange,
    exchange_at: Option<Instant>,
    stations: BTreeMap<StationId, usize>,
    usual: Vec<Settings>,
    lines: Vec<LineEnd>,
    terminals: Vec<TerminalEnd>,
    stranger: Wire,
    stranger_calls: Option<u32>,
    online: Option<Online>,
    online_calls: u64,
    calling: Calling,
    calling_at: Option<Instant>,
    policy: Policy,
    runtime: Runtime,
    store: Option<Store>,
    folder: PathBuf,
    events: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    submitted: u32,
    /// Told with 202, and without a verdict.
    open: BTreeSet<MessageId>,
    /// Of those: the ones that may be at their terminal, and have another verdict pending. They cause no call.
    pending: BTreeSet<MessageId>,
    /// When the store was opened first: its times are of this clock. Messages expire at whole hours after it.
    opened: Timestamp,
    expiring: i64,
    expired: i64,
    contents: BTreeMap<MessageId, Vec<u8>>,
    verdicts: BTreeMap<MessageId, Verdict>,
    log: Sha256,
    report: OctetReport,
}

impl OctetWorld {
    /// Runs a plan to its end: until every message has its verdict. `folder` is empty, and the store's.
    pub fn run(plan: OctetPlan, folder: PathBuf) -> OctetReport {
        let mut world = Self::new(plan, folder);
        world.begin();
        world.live();
        world.end()
    }

    fn new(plan: OctetPlan, folder: PathBuf) -> Self {
        let terminals = plan.terminals.min(200);
        let mut text = format!(
            "rate = 100_000\ndelay = \"20ms\"\nring_cycle = \"3s\"\nno_answer_after = \"20s\"\nseed = {}\n",
            plan.seed % 1_000_000
        );
        let numbers = (0..LINES)
            .map(line_number)
            .chain((0..terminals).map(terminal_number))
            .chain(["999".to_owned()]);
        for number in numbers {
            text += &format!("[[station]]\nnumber = \"{number}\"\nmemory = true\n");
        }
        let config: exchange::Config = text.parse().expect("the world's exchange is one");
        let start = Instant::now();
        let clock = "2026-11-23T00:00:00+00:00[UTC]".parse().expect("a time");
        let exchange = Exchange::new(&config, start, clock);
        let station = |number: &str| exchange.station(number).expect("a station of the world");
        let lines: Vec<LineEnd> = (0..LINES)
            .map(|line| LineEnd {
                wire: Wire::new(station(&line_number(line)), None),
                is_ready: false,
                placed: None,
                opens_at: Some(start),
            })
            .collect();
        let callers: Vec<Number> = (0..LINES)
            .map(|line| line_number(line).parse().expect("a number"))
            .collect();
        let terminals: Vec<TerminalEnd> = (0..terminals)
            .map(|index| {
                let address =
                    Ipv4Addr::new(10, 77, 1, u8::try_from(index + 1).expect("at most 200"));
                let station = station(&terminal_number(index));
                let mut terminal =
                    TerminalEnd::new(id(index), station, address, Screening::new(callers.clone()));
                terminal.opens_at = Some(start);
                terminal
            })
            .collect();
        let stranger = Wire::new(station("999"), Some(Ipv4Addr::new(10, 77, 2, 1)));
        let all = lines
            .iter()
            .map(|line| line.wire.station)
            .chain(terminals.iter().map(|t| t.wire.station));
        let stations = all.chain([stranger.station]).zip(0..).collect();
        let usual = config
            .stations()
            .iter()
            .map(|station| station.settings.clone())
            .collect();
        let rules = Rules {
            zone: zone(),
            storm: STORM,
            lines: (0..LINES)
                .map(|line| LineTerms {
                    name: line_name(line),
                    tariff: None,
                    is_ring_only: false,
                })
                .collect(),
            ..Rules::new(RetryRules {
                first: 10 * SECOND,
                longest: 600 * SECOND,
                redials: RedialRules::default(),
                session_wait: 60 * SECOND,
            })
        };
        let policy = Policy {
            rules,
            conditions: Vec::new(),
            money: Money::default(),
            home: None,
            dial_prefixes: BTreeMap::new(),
            believes_numbers: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime can be built");
        Self {
            plan,
            chance: Chance::new(plan.seed),
            start,
            now: start,
            exchange,
            exchange_at: None,
            stations,
            usual,
            lines,
            terminals,
            stranger,
            stranger_calls: None,
            online: None,
            online_calls: 0,
            calling: Calling::new(policy.clone(), plan.seed, moment(start, start)),
            calling_at: None,
            policy,
            runtime,
            store: Some(open(&folder)),
            folder,
            events: BTreeMap::new(),
            next_event: 0,
            submitted: 0,
            open: BTreeSet::new(),
            pending: BTreeSet::new(),
            opened: Timestamp::now(),
            expiring: 0,
            expired: 0,
            contents: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            log: Sha256::new(),
            report: OctetReport::default(),
        }
    }

    fn store(&self) -> &Store {
        self.store
            .as_ref()
            .expect("it is gone only while it is opened again")
    }

    fn begin(&mut self) {
        for index in 0..self.terminals.len() {
            let number: Number = terminal_number(u32::try_from(index).expect("few"))
                .parse()
                .expect("a number");
            let terminal = Terminal {
                id: self.terminals[index].id,
                name: name(&format!("t{index}")),
                number: Some(number),
                address: None,
                connection: Connection::Down,
                trusted_by: TrustedBy::default(),
            };
            let (id, key) = (terminal.id, PublicKey::from_octets([1; 32]));
            self.runtime
                .block_on(self.store().add_terminal(terminal))
                .expect("the directory is empty");
            self.runtime
                .block_on(self.store().register(id, key, Timestamp::now()))
                .expect("the disk works");
        }
        self.start_server(Vec::new());
        self.later(SECOND, Event::Message);
        if self.plan.has_faults {
            self.later(20 * SECOND, Event::Fault);
            self.later(300 * SECOND, Event::Crash);
            self.later(10 * SECOND, Event::Wish);
            self.later(60 * SECOND, Event::Stranger);
            self.later(15 * SECOND, Event::Online);
        }
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.next_event += 1;
        self.events
            .insert((self.now + after, self.next_event), event);
    }

    fn after(&mut self, mean: Duration, event: Event) {
        let after = self.chance.exponential(mean).max(Duration::from_millis(1));
        self.later(after, event);
    }

    fn note(&mut self, what: &str) {
        let at = self.now.duration_since(self.start);
        if self.plan.is_told {
            println!("{:.6} {what}", at.as_secs_f64());
        }
        self.report.events += 1;
        self.log.update(at.as_nanos().to_le_bytes());
        self.log.update(what);
        self.log.update([0]);
    }

    fn breach(&mut self, what: String) {
        self.note(&format!("BREACH {what}"));
        let at = self.now.duration_since(self.start);
        self.report.checks.breach(at, || what);
    }

    fn live(&mut self) {
        // A message may rest for a day after many redials; more than this is a message that is forgotten.
        let end = self.start + Duration::from_secs(60 * 24 * 3600);
        self.settle();
        while self.submitted < self.plan.messages
            || self.open.iter().any(|id| !self.pending.contains(id))
        {
            let wakes = [self.exchange_at, self.calling_at, self.stranger.deadline()]
                .into_iter()
                .flatten();
            let wakes = wakes.chain(self.lines.iter().filter_map(LineEnd::deadline));
            let wakes = wakes.chain(self.terminals.iter().filter_map(TerminalEnd::deadline));
            let wakes = wakes.chain(self.events.first_key_value().map(|((at, _), _)| *at));
            let Some(at) = wakes.min().filter(|at| *at < end) else {
                let open = self.open.len();
                return self.breach(format!("{open} messages wait for nothing"));
            };
            self.now = self.now.max(at);
            self.wake();
            self.settle();
        }
    }

    fn wake(&mut self) {
        let now = self.now;
        if self.exchange_at.is_some_and(|at| at <= now) {
            self.exchange_at = None;
            self.feed_exchange(exchange::Input::Deadline);
        }
        for line in 0..self.lines.len() {
            self.lines[line].wake(now);
            if !self.lines[line].wire.is_open()
                && self.lines[line].opens_at.is_some_and(|at| at <= now)
            {
                let seed = self.chance.next();
                self.lines[line].wire.open(seed, now);
                self.feed_exchange(exchange::Input::Dtr {
                    station: self.lines[line].wire.station,
                    on: true,
                });
            }
        }
        for terminal in 0..self.terminals.len() {
            self.terminals[terminal].wake(now);
            let end = &mut self.terminals[terminal];
            if !end.wire.is_open() && end.opens_at.is_some_and(|at| at <= now) {
                end.wire.open(self.chance.next(), now);
                let station = end.wire.station;
                self.feed_exchange(exchange::Input::Dtr { station, on: true });
            }
        }
        self.stranger.wake(now);
        if self.calling_at.is_some_and(|at| at <= now) {
            self.calling_at = None;
            self.feed(Fact::Deadline);
        }
        while let Some(entry) = self
            .events
            .first_entry()
            .filter(|entry| entry.key().0 <= now)
        {
            let event = entry.remove();
            self.event(event);
        }
    }

    /// Until no party has work left at this instant.
    fn settle(&mut self) {
        let mut is_busy = true;
        while is_busy {
            is_busy = false;
            for line in 0..self.lines.len() {
                let happened = self.lines[line].wire.pump(self.now);
                is_busy |= !happened.is_empty();
                for what in happened {
                    self.on_line(line, what);
                }
                is_busy |= self.write(self.lines[line].wire.station);
            }
            for terminal in 0..self.terminals.len() {
                let happened = self.terminals[terminal].wire.pump(self.now);
                is_busy |= !happened.is_empty();
                for what in happened {
                    let did = self.terminals[terminal].happened(what, self.now);
                    did.into_iter()
                        .for_each(|did| self.on_terminal(terminal, did));
                }
                is_busy |= self.write(self.terminals[terminal].wire.station);
            }
            let happened = self.stranger.pump(self.now);
            is_busy |= !happened.is_empty();
            for what in happened {
                self.on_stranger(what);
            }
            is_busy |= self.write(self.stranger.station);
        }
    }

    fn wire(&mut self, station: StationId) -> &mut Wire {
        let index = self.stations[&station];
        let terminals = self.terminals.len();
        match index {
            _ if index < LINES => &mut self.lines[index].wire,
            _ if index < LINES + terminals => &mut self.terminals[index - LINES].wire,
            _ => &mut self.stranger,
        }
    }

    /// Gives the modem what it has room for.
    fn write(&mut self, station: StationId) -> bool {
        let room = self.exchange.room(station);
        let octets = self.wire(station).take(room);
        if octets.is_empty() {
            return false;
        }
        self.feed_exchange(exchange::Input::Octets {
            station,
            octets: &octets,
        });
        true
    }

    fn feed_exchange(&mut self, input: exchange::Input<'_>) {
        self.exchange.handle(input, self.now);
        loop {
            match self.exchange.poll_output() {
                exchange::Output::Octets { station, octets } => {
                    let now = self.now;
                    self.wire(station).hear(&octets, now);
                }
                exchange::Output::Signals { station, signals } if !signals.carrier => {
                    let now = self.now;
                    self.wire(station).carrier_lost(now);
                }
                exchange::Output::Record(record) => {
                    if record.caller.as_str() == "999" && record.answered.is_some() {
                        self.breach(format!("{:?} answered a stranger", record.called));
                    }
                    self.note(&format!(
                        "call {} {} {} {} {}",
                        record.caller,
                        record.called,
                        record.outcome,
                        record.billed_seconds,
                        record.octets_from_caller
                    ));
                }
                exchange::Output::Timeout { at } => return self.exchange_at = at,
                exchange::Output::Signals { .. }
                | exchange::Output::Room { .. }
                | exchange::Output::Event(_) => {}
            }
        }
    }

    fn index_of(&self, terminal: delivery::TerminalId) -> usize {
        self.terminals
            .iter()
            .position(|end| end.id == terminal)
            .expect("of the directory")
    }

    fn feed_due(&mut self, terminal: delivery::TerminalId) {
        self.feed(Fact::Due(BTreeSet::from([terminal])));
    }

    fn on_terminal(&mut self, terminal: usize, did: Did) {
        match did {
            Did::Published(message) => {
                self.note(&format!("published t{terminal} {message}"));
                let is_known =
                    self.contents.get(&message) == self.terminals[terminal].inbox.get(&message);
                if !is_known || self.verdicts.contains_key(&message) {
                    self.breach(format!("t{terminal} published {message}, which is not what was accepted, or settled"));
                }
                if self.plan.has_faults && self.chance.one_in(200) {
                    self.report.terminal_crashes[1] += 1;
                    self.close_terminal(terminal, 30 * SECOND);
                }
            }
            Did::Repeated(message) => {
                self.report.repeated += 1;
                self.note(&format!("again t{terminal} {message}"));
            }
            Did::Answered => self.note(&format!("answered t{terminal}")),
            Did::Refused => self.note(&format!("refused t{terminal}")),
            Did::Over(why) => {
                self.note(&format!("over t{terminal} {why}"));
                self.close_terminal(terminal, DTR_LOW);
            }
        }
    }

    fn octets(&mut self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(&self.chance.next().to_be_bytes());
        octets[8..].copy_from_slice(&self.chance.next().to_be_bytes());
        octets
    }

    fn submit(&mut self) {
        self.submitted += 1;
        let terminal =
            usize::try_from(self.chance.below(self.terminals.len() as u64)).expect("few");
        let size = if self.chance.one_in(20) {
            20_000
        } else {
            self.chance.below(1200)
        };
        let content: Vec<u8> = (0..size)
            .map(|_| self.chance.next().to_le_bytes()[0])
            .collect();
        let urgency =
            [Urgency::Urgent, Urgency::Normal][usize::try_from(self.chance.below(2)).expect("two")];
        let has_wishes = self.plan.has_faults;
        let replace_key = (has_wishes && self.chance.one_in(3)).then(|| format!("t{terminal}"));
        let expires_at = (has_wishes && self.chance.one_in(4)).then(|| {
            self.expiring += 1;
            self.opened + jiff::SignedDuration::from_hours(self.expiring)
        });
        let new = |id: MessageId, content: &[u8], terminal| NewMessage {
            head: MessageHead {
                id,
                content_type: ContentType::octets(),
                digest: Digest::of(content),
                size: content.len() as u64,
            },
            provider: name("vending"),
            content: content.to_vec().into(),
            terminals: vec![terminal],
            subscribers: None,
            handling: Handling {
                urgency,
                expires_at,
                replace_key: replace_key.clone(),
                idempotency_key: Some(format!("submission {id}")),
                ..Handling::default()
            },
        };
        let first = MessageId::from_octets(self.octets());
        let end = self.terminals[terminal].id;
        let message = new(first, &content, end);
        let key = message.handling.idempotency_key.clone();
        let accepted = self
            .runtime
            .block_on(self.store().accept(message, Timestamp::now()))
            .expect("the disk works");
        self.contents.insert(first, content.clone());
        if self.plan.has_faults && self.chance.one_in(100) {
            // Committed, but the answer is lost: the provider submits it again.
            self.crash(1);
            let mut again = new(MessageId::from_octets(self.octets()), &content, end);
            again.handling.idempotency_key = key;
            let repeated = self
                .runtime
                .block_on(self.store().accept(again, Timestamp::now()))
                .expect("the disk works");
            if (repeated.id, repeated.is_repeated) != (first, true) {
                self.breach(format!("{first} was accepted twice"));
            }
        }
        self.note(&format!("accepted {} t{terminal}", accepted.id));
        self.report.accepted += 1;
        if !self.verdicts.contains_key(&first) {
            self.open.insert(first);
        }
        self.learn_verdicts(); // it may have taken the place of others
        self.feed_due(end);
    }
}

/// Now, on both clocks of the world.
fn moment(start: Instant, now: Instant) -> Moment {
    let since = jiff::SignedDuration::try_from(now.duration_since(start)).expect("weeks");
    Moment {
        at: now,
        wall: zoned(BEGIN).timestamp() + since,
    }
}

/// What a terminal refuses rests until the world says otherwise: the store's clock is not the world's.
fn open(folder: &Path) -> Store {
    let rest = Duration::from_secs(24 * 3600);
    let rules = RefusalRules {
        tries_max: u32::MAX,
        first: rest,
        longest: rest,
    };
    Store::open(folder, Timestamp::now())
        .expect("the folder is the store's, and sound")
        .with_refusals(rules)
}
