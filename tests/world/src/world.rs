//! The world and its events.

mod calls;
mod disk;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use calling::dispatch::{
    LineTerms, RedialRules, Reserve, Rest, RetryRules, Rules, StormRules, Why,
};
use calling::ledger::{BreakerRules, Budget};
use calling::{Action, Known, Money, Policy, Recovered};
use delivery::{MessageId, TerminalId, Urgency};
use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};
use line::CallId;
use model::alarm::AlarmKind;
use model::call::{CallRecord, Direction};
use model::directory::Destination;
use model::money::Micros;
use model::outcome::Outcome;
use server::routing::route;
use sha2::{Digest as _, Sha256};

use crate::chance::Chance;
use crate::checks::Checks;
use crate::mail::{Mail, Tally, Verdict};
use crate::people::{Person, SILENT_AFTER, charges, conditions, id, lines, number, people};
use crate::plan_server::{Server, zone};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A Monday's midnight.
const BEGIN: DateTime = DateTime::constant(2026, 11, 23, 0, 0, 0, 0);

/// Between the moment a call is cut and what it was allowed.
const CUT_BEFORE: Duration = Duration::from_secs(3);

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Everything that chance decides comes from it.
    pub seed: u64,
    /// Terminals; each gets a message a day.
    pub terminals: u32,
    /// Days.
    pub days: u32,
    /// Whether calls fail, lines break, terminals go off, the server crashes and its clock jumps.
    pub has_faults: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Of every event.
    pub digest: String,
    /// Events.
    pub events: u64,
    /// Envelopes.
    pub tally: Tally,
    /// Envelopes that still wait.
    pub open: u64,
    /// Calls that were dialled.
    pub dialled: u64,
    /// Calls that were answered and delivered what was due.
    pub completed: u64,
    /// Calls that came in.
    pub incoming: u64,
    /// Crashes of the server.
    pub crashes: u64,
    /// In the ledger, settled.
    pub ledger: Micros,
    /// On the bill.
    pub bill: Micros,
    /// Alarms of silence that were raised.
    pub alarms: u64,
    /// Terminals that were left to the operator.
    pub paused: u64,
    /// What was promised and not kept.
    pub checks: Checks,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Message,
    Expires(MessageId, TerminalId),
    Connects(usize, u64),
    Ends(usize, u64),
    TerminalCalls,
    TerminalGoesOff,
    LineBreaks,
    LineRepaired(usize),
    Crash,
    Jump,
    JumpsBack,
    Resume(u32),
    Inspect,
    /// The disk does something that it was asked for, or answers.
    Disk(u64),
    DiskFails,
}

/// A call that is under way on a line.
#[derive(Debug)]
struct Ongoing {
    number: u64,
    record: Box<CallRecord>,
    terminal: u32,
    began: Duration,
    answered: Option<Duration>,
    /// At the latest then it is cut.
    cut_at: Option<Duration>,
    outcome: Outcome,
    /// What the terminal publishes on it, and when.
    delivers: Vec<(MessageId, Duration)>,
    /// What was on the line when it broke; and whether the terminal has it all the same.
    breaks: Option<(MessageId, bool)>,
}

/// What a call of ours costs; until the disk knows, it counts as what was reserved.
#[derive(Debug)]
struct Cost {
    day: Date,
    reserved: Micros,
    /// On the bill.
    bill: Micros,
    /// With a wrong clock the cost of a call is unknown.
    is_clock_right: bool,
}

#[derive(Debug, Default)]
struct Line {
    call: Option<Ongoing>,
    is_broken: bool,
}

/// See [`World::run`].
#[derive(Debug)]
pub struct World {
    plan: Plan,
    chance: Chance,
    now: Duration,
    jumped: SignedDuration,
    events: BTreeMap<(Duration, u64), Event>,
    next_number: u64,
    wake: Option<Instant>,
    server: Server,
    people: Vec<Person>,
    terms: Vec<LineTerms>,
    /// What the exchange charges, by line.
    charges: Vec<exchange::Tariff>,
    lines: Vec<Line>,
    /// Of calls that are not settled on the disk.
    costs: BTreeMap<CallId, Cost>,
    mail: Mail,
    log: Sha256,
    report: Report,
}

impl World {
    /// Runs a plan to its end.
    pub fn run(plan: Plan) -> Report {
        let count = 3 + plan.terminals / 500;
        let terms = lines(count);
        // So narrow that rates, redials and lines are what calls wait for now and then.
        let rules = Rules {
            storm: StormRules {
                calls_per_minute: 2 + plan.terminals / 500,
                burst: 3,
                calls_at_once: count,
            },
            reserve: Reserve {
                urgent: 1,
                incoming: 0,
            },
            zone: zone(),
            lines: terms.clone(),
            ..Rules::new(RetryRules {
                first: 20 * SECOND,
                longest: HOUR,
                redials: RedialRules::default(),
                session_wait: HOUR,
            })
        };
        let budget = Budget {
            server: Some(Micros(i64::from(plan.terminals) * 40_000_000 + 200_000_000)),
            terminal: Some(Micros(300_000_000)),
            ..Budget::default()
        };
        let conditions = conditions(plan.terminals, &terms);
        let policy = Policy {
            rules,
            conditions: conditions.clone(),
            money: Money {
                budget,
                longest_call: HOUR,
                breaker: BreakerRules { calls: 12, days: 3 },
                ..Money::default()
            },
            home: None,
            dial_prefixes: BTreeMap::new(),
            believes_numbers: false,
        };
        let start = Instant::now() + 100 * DAY;
        let mut world = Self {
            chance: Chance::new(plan.seed),
            now: Duration::ZERO,
            jumped: SignedDuration::ZERO,
            events: BTreeMap::new(),
            next_number: 0,
            wake: None,
            server: Server::new(policy, start, BEGIN, plan.seed),
            people: people(plan.terminals, &conditions),
            lines: terms.iter().map(|_| Line::default()).collect(),
            charges: charges(count),
            terms,
            costs: BTreeMap::new(),
            mail: Mail::default(),
            log: Sha256::new(),
            report: Report::new(),
            plan,
        };
        world.begin();
        world.live();
        world.end()
    }

    fn begin(&mut self) {
        self.start_server();
        self.later(DAY, Event::Inspect);
        self.next_of(self.per_day(1), Event::Message);
        self.next_of(self.per_day(20), Event::TerminalCalls);
        if self.plan.has_faults {
            self.next_of(self.per_day(60), Event::TerminalGoesOff);
            self.next_of(DAY, Event::LineBreaks);
            self.next_of(20 * DAY, Event::Crash);
            self.next_of(30 * DAY, Event::Jump);
            self.next_of(2 * DAY, Event::DiskFails);
        }
    }

    fn live(&mut self) {
        let end = DAY * self.plan.days;
        loop {
            self.act();
            let wake = self
                .wake
                .map(|wake| wake.saturating_duration_since(self.server.instant(Duration::ZERO)));
            let next = self.events.first_key_value().map(|((at, _), _)| *at);
            let Some(at) = [wake, next]
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at < end)
            else {
                return;
            };
            self.now = self.now.max(at);
            self.report.events += 1;
            if next == Some(at) {
                let (_, event) = self.events.pop_first().expect("it was just looked at");
                self.happens(event);
            } else {
                self.feed(calling::Event::Deadline);
            }
        }
    }

    fn end(mut self) -> Report {
        self.report.open = self.mail.open();
        self.report.tally = self.mail.tally;
        let Tally {
            accepted,
            delivered,
            expired,
            failed,
            failed_wrongly,
            ..
        } = self.report.tally;
        let now = self.now;
        if accepted != delivered + expired + failed + self.report.open {
            self.report
                .checks
                .breach(now, || "envelopes and verdicts do not add up".to_owned());
        }
        let untrue = self.report.tally.untrue;
        if untrue > 0 {
            self.report.checks.breach(now, || {
                format!("{untrue} messages were published and have another verdict")
            });
        }
        if failed_wrongly > 0 {
            self.report.checks.breach(now, || {
                format!("{failed_wrongly} messages left out that broke nothing")
            });
        }
        self.report.digest = self
            .log
            .finalize()
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        self.report
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Message => {
                self.message();
                self.next_of(self.per_day(1), Event::Message);
            }
            Event::Expires(message, terminal) => {
                if self
                    .mail
                    .wish(message, terminal, Verdict::Expired, self.now)
                {
                    self.log("expired", &message.to_string());
                }
            }
            Event::Connects(line, number) => self.connects(line, number),
            Event::Ends(line, number) => self.ends(line, number),
            Event::TerminalCalls => {
                self.terminal_calls();
                self.next_of(self.per_day(20), Event::TerminalCalls);
            }
            Event::TerminalGoesOff => {
                let terminal = self.anybody();
                // Most for hours, some for a week.
                let mean = if self.chance.one_in(5) {
                    7 * DAY
                } else {
                    4 * HOUR
                };
                let until = self.now + self.chance.exponential(mean);
                let person = &mut self.people[index(terminal)];
                person.off_until = person.off_until.max(until);
                self.next_of(self.per_day(60), Event::TerminalGoesOff);
            }
            Event::LineBreaks => {
                let line = index(
                    u32::try_from(self.chance.below(self.lines.len() as u64)).unwrap_or_default(),
                );
                if !self.lines[line].is_broken && self.lines[line].call.is_none() {
                    self.lines[line].is_broken = true;
                    self.feed(calling::Event::LineTaken(self.terms[line].name.clone()));
                    let repaired = self.chance.exponential(2 * HOUR);
                    self.later(repaired, Event::LineRepaired(line));
                }
                self.next_of(DAY, Event::LineBreaks);
            }
            Event::LineRepaired(line) => {
                self.lines[line].is_broken = false;
                self.feed(calling::Event::LineFree(self.terms[line].name.clone()));
            }
            Event::Crash => {
                self.crash();
                self.next_of(20 * DAY, Event::Crash);
            }
            Event::Jump => {
                let hours = i64::try_from(self.chance.below(9)).unwrap_or_default() - 4;
                self.jumped = SignedDuration::from_hours(hours);
                self.log("jump", &hours.to_string());
                self.later(5 * HOUR, Event::JumpsBack);
            }
            Event::JumpsBack => {
                self.jumped = SignedDuration::ZERO;
                self.next_of(30 * DAY, Event::Jump);
            }
            Event::Resume(terminal) => {
                let name = self.people[index(terminal)].terminal.name.clone();
                let number = Some(number(terminal));
                self.feed(calling::Event::Resumed {
                    terminal: id(terminal),
                    name,
                    number,
                });
            }
            Event::Inspect => {
                // What the disk has not done yet cannot be known.
                let is_calm = self.server.disk.is_calm(self.now);
                if is_calm {
                    self.inspect();
                }
                self.later(if is_calm { DAY } else { HOUR / 10 }, Event::Inspect);
            }
            Event::Disk(number) => self.disk(number),
            Event::DiskFails => {
                let lasts = self.chance.exponential(120 * SECOND);
                self.server.disk.bad_until = self.now + lasts;
                self.next_of(2 * DAY, Event::DiskFails);
            }
        }
    }

    /// Does what the server wants.
    fn act(&mut self) {
        loop {
            match self.server.calling.poll_action() {
                Action::Wait { until } => return self.wake = until,
                Action::Store(job) => self.ask(job),
                Action::Dial(order) => self.dial(*order),
                Action::NotPlaced { terminal, why, .. } => {
                    self.log("not placed", &why.to_string());
                    if why == Outcome::LoopBroken {
                        self.report.paused += 1;
                        self.later(DAY, Event::Resume(of(terminal)));
                    }
                }
                Action::DeliverLast { terminal, messages } => {
                    self.people[index(of(terminal))].last = messages;
                }
                Action::Raise {
                    kind: AlarmKind::TerminalSilent,
                    subject,
                    ..
                } => self.alarm(&subject, true),
                Action::Clear {
                    kind: AlarmKind::TerminalSilent,
                    subject,
                } => self.alarm(&subject, false),
                // A call delivers what is there when it ends; the other alarms are for eyes.
                Action::Deliver(_) | Action::Unproved { .. } => {}
                Action::Raise { .. } | Action::Clear { .. } | Action::Keep { .. } => {}
            }
        }
    }

    fn alarm(&mut self, name: &str, is_raised: bool) {
        let found = self
            .people
            .iter_mut()
            .find(|person| person.terminal.name.to_string() == name);
        let person = found.expect("of the directory");
        self.report.alarms += u64::from(is_raised && !person.has_alarm);
        person.has_alarm = is_raised;
    }

    fn message(&mut self) {
        let urgency = match self.chance.below(20) {
            0 => Urgency::Urgent,
            1..5 => Urgency::Bulk,
            _ => Urgency::Normal,
        };
        let mut expires = self.chance.one_in(4).then(|| self.now + 3 * DAY);
        if self.plan.has_faults && self.chance.one_in(10) {
            // While it is on a line, most likely.
            expires =
                Some(self.now + SECOND * u32::try_from(20 + self.chance.below(60)).unwrap_or(20));
        }
        let mut message = Mail::message(urgency, self.now, expires);
        message.provider = u8::try_from(self.chance.below(10)).unwrap_or_default();
        message.is_poison = self.plan.has_faults && self.chance.one_in(5000);
        let count = if self.chance.one_in(10) { 2 } else { 1 };
        let named: Vec<u32> = (0..count).map(|_| self.anybody()).collect();
        // One in a hundred is for an unassigned number.
        let stranger = self.chance.one_in(100).then_some(self.plan.terminals);
        let destinations = named.iter().copied().chain(stranger).map(|terminal| {
            let found = self
                .people
                .get(index(terminal))
                .map(|person| person.terminal.clone());
            (Destination::Number(number(terminal)), found)
        });
        let Ok(terminals) = route(destinations.collect::<Vec<_>>()) else {
            return;
        };
        let message = self.mail.accept(message, &terminals);
        self.log("accepted", &message.to_string());
        for &terminal in &terminals {
            if let Some(expires) = expires {
                self.later(expires - self.now, Event::Expires(message, terminal));
            }
        }
        self.feed(calling::Event::Due(terminals.into_iter().collect()));
    }

    fn start_server(&mut self) {
        let now = self.now;
        let terminals = self.people.iter().map(|person| Known {
            terminal: person.terminal.id,
            name: person.terminal.name.clone(),
            number: person.terminal.number.clone(),
            silent_for: now - person.reached,
        });
        let recovered = Recovered {
            spent: self.server.disk.spent_on(self.local().date()),
            loops: self.server.disk.loops(),
            terminals: terminals.collect(),
            unanswered: self
                .report
                .checks
                .unanswered()
                .map(|(terminal, at)| (number(terminal), now - at))
                .collect(),
            ..Recovered::default()
        };
        self.feed(calling::Event::Recovered(Box::new(recovered)));
        for line in 0..self.lines.len() {
            if !self.lines[line].is_broken {
                self.feed(calling::Event::LineFree(self.terms[line].name.clone()));
            }
        }
    }

    /// Calls are cut; what was reserved for them is spent.
    fn crash(&mut self) {
        self.report.crashes += 1;
        self.log("crash", "");
        self.act();
        for line in 0..self.lines.len() {
            let Some(call) = self.lines[line].call.take() else {
                continue;
            };
            // The number of octets sent is unknown: all that was on the line is in doubt.
            let (terminal, now) = (id(call.terminal), self.now);
            for (message, at) in &call.delivers {
                if *at <= now {
                    self.mail.publish(*message, terminal);
                }
                self.mail.lose(*message, terminal, true, now);
            }
            if let Some((message, _)) = call.breaks {
                self.mail.lose(message, terminal, true, now);
            }
            if call.record.direction == Direction::Outgoing {
                self.bill_for(line, &call);
            }
        }
        // What is not settled by now never will be.
        let calls: Vec<_> = self
            .costs
            .iter()
            .map(|(call, cost)| (*call, cost.reserved))
            .collect();
        calls
            .into_iter()
            .for_each(|(call, reserved)| self.settled(call, reserved));
        let local = self.local();
        self.server.restart(self.now, local);
        self.report.checks.restarted();
        for person in &mut self.people {
            person.last.clear();
        }
        self.start_server();
    }

    /// Promises 8 and 9: every why-not-yet has an answer, and silence is noticed.
    fn inspect(&mut self) {
        self.act();
        let (now, moment) = (self.now, self.server.moment(self.now, self.local()));
        for terminal in self.mail.terminals_due() {
            let waiting = self.server.calling.dispatch().explain(terminal, moment);
            let is_late = waiting.next.is_some_and(|next| next + HOUR < moment.at);
            let is_named =
                matches!(waiting.why, Why::Rest(Rest::BackingOff)) && waiting.next.is_none();
            if waiting.why == Why::Nothing || is_late || is_named {
                self.report.checks.breach(now, || {
                    format!("{terminal} waits and nobody knows why: {waiting:?}")
                });
            }
        }
        for (terminal, person) in self.people.iter().enumerate() {
            let is_silent = now - person.reached > SILENT_AFTER;
            if is_silent != person.has_alarm {
                self.report.checks.breach(now, || {
                    format!(
                        "t{terminal}: silent {is_silent}, alarm {}",
                        person.has_alarm
                    )
                });
            }
        }
    }

    fn feed(&mut self, event: calling::Event) {
        let now = self.server.moment(self.now, self.local());
        self.server.calling.handle(event, now);
    }

    /// The id of a new call.
    fn call_id(&mut self) -> CallId {
        let mut octets = [0; 16];
        octets[8..].copy_from_slice(&self.number().to_be_bytes());
        CallId::from_octets(octets)
    }

    /// What the server's clock shows.
    fn local(&self) -> DateTime {
        at(self.now).saturating_add(self.jumped)
    }

    fn anybody(&mut self) -> u32 {
        u32::try_from(self.chance.below(self.plan.terminals.into())).unwrap_or_default()
    }

    /// The mean time between events of which each terminal has one in so many days.
    fn per_day(&self, days: u32) -> Duration {
        DAY * days / self.plan.terminals.max(1)
    }

    fn next_of(&mut self, mean: Duration, event: Event) {
        let wait = self.chance.exponential(mean);
        self.later(wait, event);
    }

    fn later(&mut self, wait: Duration, event: Event) {
        let number = self.number();
        self.events.insert((self.now + wait, number), event);
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn log(&mut self, what: &str, about: &str) {
        self.log.update(self.now.as_nanos().to_be_bytes());
        self.log.update(what);
        self.log.update([0]);
        self.log.update(about);
        self.log.update([0]);
    }
}

impl Report {
    fn new() -> Self {
        Self {
            digest: String::new(),
            events: 0,
            tally: Tally::default(),
            open: 0,
            dialled: 0,
            completed: 0,
            incoming: 0,
            crashes: 0,
            ledger: Micros::ZERO,
            bill: Micros::ZERO,
            alarms: 0,
            paused: 0,
            checks: Checks::default(),
        }
    }
}

fn at(now: Duration) -> DateTime {
    BEGIN.saturating_add(SignedDuration::try_from(now).unwrap_or_default())
}

/// The world's ids are made of their numbers.
fn of(terminal: TerminalId) -> u32 {
    let octets = terminal.octets();
    u32::from_be_bytes([octets[4], octets[5], octets[6], octets[7]])
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
