//! Pure. All that is decided about calls, as one state: events in, actions out.
//!
//! ```text
//!  PlaceCall of dispatch
//!     │ Choose                  Begin                 Dial
//!     ▼                          ▼                     ▼
//!  choosing ──Chosen──► beginning ──Begun──► on a line ──Ended──► settled, counted, looked at anew
//!     │ nothing waits,    │ not stored;        │ NotTaken
//!     │ no budget, …      │ withdrawn          │
//!     └──► not placed ◄───┴────────────────────┘   dispatch hears of it as of an end
//! ```
//!
//! **A failed store operation loses nothing.** What was to be read or written is asked for again after a pause ([`Unstored`]).
//! Only a call that could not begin is not tried again by itself: it was not dialled, and dispatch backs off as after a failure.
//!
//! **The store may be late.** A terminal, or a line, may have changed before an answer comes: what dispatch would take for the
//! placing's own doing waits until the placing is over ([`Placing`]).

mod ended;
mod placing;
mod recovery;
mod unstored;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::TerminalId;
use jiff::Timestamp;
use line::{CallId, Home, Number};

use crate::action::{Action, Job};
use crate::calendar::{Calendar, TerminalConditions};
use crate::dispatch::{Conditions, Demand, Dispatch, Input, Moment, Output, Rules};
use crate::event::{Event, Found, Waits};
use crate::ledger::{Breaker, Ledger, Tariff};
use crate::money::Money;
use model::account::Account;
use model::alarm::AlarmKind;
use model::directory::{Connection, Name, Terminal};
use model::money::Micros;
use model::outcome::Outcome;
use placing::Placing;
use unstored::Unstored;

/// Of more terminals than this the store is read as a whole.
const LOOKED_AT_ONE_BY_ONE: usize = 1000;

/// The reason of a verdict about a message that the terminal's sessions do not survive.
pub const QUARANTINE_REASON: &str =
    "sessions with the terminal broke, time and again, while this message was under way";

/// The operator's settings.
#[derive(Debug, Clone)]
pub struct Policy {
    /// When and on which line; the routes are those of the conditions.
    pub rules: Rules,
    /// When and how which terminal: the first that names one counts, and one without names is for all others.
    pub conditions: Vec<TerminalConditions>,
    /// At what price.
    pub money: Money,
    /// The country in which the lines are.
    pub home: Option<Home>,
    /// What is dialled before every number, by line.
    pub dial_prefixes: BTreeMap<Name, String>,
    /// Whether stock terminals are called that nothing but their number proves.
    pub believes_numbers: bool,
}

/// The state of every terminal, line and account, as far as it matters for calls. The first event is [`Event::Recovered`]. Feed one
/// event, take [`Calling::poll_action`] up to [`Action::Wait`], then feed the next.
#[derive(Debug)]
pub struct Calling {
    dispatch: Dispatch,
    ledger: Ledger,
    breaker: Breaker,
    calendar: Calendar,
    money: Money,
    tariffs: BTreeMap<Name, Arc<Tariff>>,
    home: Option<Home>,
    dial_prefixes: BTreeMap<Name, String>,
    believes_numbers: bool,
    /// The terminals whose silence is watched.
    watched: BTreeMap<TerminalId, Name>,
    /// Looks that the store has not answered; `true`: the terminal has changed since, and is to be looked at once more.
    looks: BTreeMap<TerminalId, bool>,
    /// The same of the look at all.
    look_at_all: Option<bool>,
    placings: BTreeMap<TerminalId, Placing>,
    /// Calls of ours that are on a line.
    on_line: BTreeMap<CallId, OnLine>,
    /// The call or session over which each terminal that is connected has proved itself.
    sessions: BTreeMap<TerminalId, CallId>,
    /// The calls that only rang, of terminals that are to come by themselves.
    rung: BTreeMap<TerminalId, CallId>,
    /// Calls in a row that did not enrol an invited terminal.
    not_enrolled: BTreeMap<TerminalId, u32>,
    unstored: Unstored,
    wake: Option<Instant>,
    actions: VecDeque<Action>,
}

/// A call of ours that is on a line.
#[derive(Debug, Clone, Copy, Default)]
struct OnLine {
    /// Its terminal was invited when it began, and not enrolled.
    is_invited: bool,
    /// From its reservation to the dial command.
    late: Duration,
}

impl Calling {
    /// A state of nothing spent and nothing due. `seed` makes the jitter of retries.
    pub fn new(policy: Policy, seed: u64, now: Moment) -> Self {
        let Policy {
            mut rules,
            conditions,
            money,
            home,
            dial_prefixes,
            believes_numbers,
        } = policy;
        rules.routes = conditions
            .iter()
            .map(|conditions| conditions.lines.clone())
            .collect();
        let tariffs = rules
            .lines
            .iter()
            .filter_map(|line| Some((line.name.clone(), line.tariff.clone()?)));
        let tariffs = tariffs.collect();
        let today = now.wall.to_zoned(rules.zone.clone()).date();
        Self {
            dispatch: Dispatch::new(rules, seed),
            ledger: Ledger::new(money.budget.clone(), today),
            breaker: Breaker::new(money.breaker, []),
            calendar: Calendar::new(conditions),
            money,
            tariffs,
            home,
            dial_prefixes,
            believes_numbers,
            watched: BTreeMap::new(),
            looks: BTreeMap::new(),
            look_at_all: None,
            placings: BTreeMap::new(),
            on_line: BTreeMap::new(),
            sessions: BTreeMap::new(),
            rung: BTreeMap::new(),
            not_enrolled: BTreeMap::new(),
            unstored: Unstored::default(),
            wake: None,
            actions: VecDeque::new(),
        }
    }

    /// Takes one event.
    pub fn handle(&mut self, event: Event, now: Moment) {
        match event {
            Event::Recovered(recovered) => self.recovered(*recovered, now),
            Event::Due(terminals) => self.due(terminals),
            Event::LineFree(line) => self.line_is(line, true, now),
            Event::LineTaken(line) => self.line_is(line, false, now),
            Event::Connected {
                terminal,
                call,
                via,
            } => {
                self.rung.remove(&terminal);
                self.sessions.insert(terminal, call);
                self.store(Job::Connect {
                    terminal,
                    connection: Connection::Connected(call),
                });
                if let Some(placing) = self.placings.get_mut(&terminal) {
                    placing.connected(&via);
                }
                self.feed(Input::Connected { terminal, via }, now);
            }
            Event::Ended {
                terminal,
                outcome,
                record,
                lasted,
            } => self.ended(terminal, outcome, &record, lasted, now),
            Event::NotTaken { terminal, record } => self.not_taken(terminal, *record, now),
            Event::Added { terminal, name } => self.watch(terminal, name, Duration::ZERO, now),
            Event::Removed(terminal) => {
                self.not_enrolled.remove(&terminal);
                self.watched.remove(&terminal);
                self.withdraw(terminal);
                let silent_for = Duration::ZERO;
                self.feed(
                    Input::Watch {
                        terminal,
                        after: None,
                        silent_for,
                    },
                    now,
                );
            }
            Event::Paused(terminal) => {
                self.withdraw(terminal);
                self.feed(Input::Pause(terminal), now);
                self.look(terminal);
            }
            Event::Resumed {
                terminal,
                name,
                number,
            } => {
                if let Some(number) = number {
                    self.breaker.forget(&number);
                    self.store(Job::KeepLoop {
                        number,
                        dial_loop: None,
                    });
                }
                self.clear(AlarmKind::DialLoop, &name);
                self.feed(Input::Resume(terminal), now);
                self.look(terminal);
            }
            Event::TrustChanged(terminal) => {
                self.feed(Input::Mended(terminal), now);
                self.look(terminal);
            }
            Event::Looked { terminal, found } => self.looked(terminal, found, now),
            Event::LookedAtAll(all) => self.looked_at_all(all, now),
            Event::Chosen {
                terminal,
                candidate,
                call,
            } => {
                self.unstored.works();
                self.chosen(terminal, candidate.map(|candidate| *candidate), call, now);
            }
            Event::Begun(terminal) => {
                self.unstored.works();
                self.begun(terminal, now);
            }
            Event::Quarantined { message, name } => {
                let detail = format!(
                    "{QUARANTINE_REASON}; it has failed, other messages are delivered. See: ringup message explain {message}"
                );
                self.raise(
                    AlarmKind::MessageLeftOut,
                    &format!("{message} for {name}"),
                    detail,
                );
            }
            Event::BudgetRefused { job, account } => self.budget_refused(job, account, now),
            Event::StoreFailed { job, why } => self.store_failed(job, why, now),
            Event::Deadline => self.feed(Input::Deadline, now),
        }
        self.ask_again(now);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Action {
        let until = [self.wake, self.unstored.again_at()]
            .into_iter()
            .flatten()
            .min();
        self.actions.pop_front().unwrap_or(Action::Wait { until })
    }

    /// Who waits for what.
    pub fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// When and how a terminal may be called.
    pub fn conditions(&self, terminal: &Name) -> &Arc<Conditions> {
        self.calendar.of(terminal).0
    }

    /// What is spent or reserved today, and what may be.
    pub fn spent(&self, account: &Account) -> (Micros, Option<Micros>) {
        (
            self.ledger.spent(account),
            self.ledger.budget().limit(account),
        )
    }

    /// What a call of a minute to a number costs then on a line, if it costs anything.
    pub fn usual_price(&self, line: &Name, number: &Number, at: Timestamp) -> Option<Micros> {
        let tariff = self
            .money
            .tariffs
            .for_number(self.tariffs.get(line)?, number);
        Some(tariff.usual_price(&self.dispatch.zoned(at)))
    }

    fn due(&mut self, terminals: BTreeSet<TerminalId>) {
        if terminals.len() > LOOKED_AT_ONE_BY_ONE {
            // A topic with many subscribers: two reads of everything are cheaper than two of each.
            self.look_at_all();
        } else {
            terminals.iter().for_each(|terminal| self.look(*terminal));
        }
        // What causes no call is delivered on the one that is up.
        self.actions
            .extend(terminals.into_iter().map(Action::Deliver));
    }

    fn look(&mut self, terminal: TerminalId) {
        let has_changed = self.looks.get(&terminal).map(|_| true);
        self.looks.insert(terminal, has_changed.unwrap_or_default());
        if has_changed.is_none() {
            self.store(Job::Look(terminal));
        }
    }

    fn look_at_all(&mut self) {
        let has_changed = self.look_at_all.map(|_| true);
        self.look_at_all = Some(has_changed.unwrap_or_default());
        if has_changed.is_none() {
            self.store(Job::LookAtAll);
        }
    }

    fn looked(&mut self, terminal: TerminalId, found: Option<Found>, now: Moment) {
        self.unstored.works();
        if self.looks.remove(&terminal) == Some(true) {
            self.look(terminal);
        }
        if let Some(Found {
            terminal,
            waits: Some(waits),
        }) = found
        {
            self.wants(&terminal, waits, now);
        }
    }

    fn looked_at_all(&mut self, all: Vec<Found>, now: Moment) {
        self.unstored.works();
        if self.look_at_all.take() == Some(true) {
            self.look_at_all();
        }
        for Found { terminal, waits } in all {
            if let Some(waits) = waits {
                self.wants(&terminal, waits, now);
            }
        }
    }

    /// Tells dispatch what waits for a terminal.
    fn wants(&mut self, terminal: &Terminal, waits: Waits, now: Moment) {
        let is_called =
            terminal.number.is_some() && waits.may_be_called && self.is_believed(terminal);
        // Terminals without a number, paused or without a proof are not called: what waits, waits until that has changed.
        let conditions = is_called.then(|| self.calendar.of(&terminal.name).0.clone());
        let demand = Demand {
            terminal: terminal.id,
            conditions,
            urgency: waits.urgency,
            deadline: waits.deadline,
        };
        self.feed(Input::Due(demand), now);
    }

    /// A stock terminal that nothing but its number proves is believed only if the config says so.
    fn is_believed(&self, terminal: &Terminal) -> bool {
        self.believes_numbers || !terminal.trusted_by.is_number_only()
    }

    /// Hands an input to dispatch, and takes what dispatch wants.
    fn feed(&mut self, input: Input, now: Moment) {
        self.dispatch.handle(input, now);
        let mut too_soon = Vec::new();
        loop {
            match self.dispatch.poll_output() {
                Output::Timeout { at } => {
                    self.wake = at;
                    break;
                }
                // The terminal has called meanwhile, and is to be called again, before the store has answered for the last call.
                Output::PlaceCall { terminal, line } if self.placings.contains_key(&terminal) => {
                    too_soon.push((terminal, line));
                }
                Output::PlaceCall { terminal, line } => {
                    self.placings.insert(terminal, Placing::new(line));
                    self.store(Job::Choose(terminal));
                }
                Output::Deliver(terminal) => self.actions.push_back(Action::Deliver(terminal)),
                Output::NoSession(terminal) => {
                    if let Some(call) = self.rung.remove(&terminal) {
                        self.store(Job::NoSession(call));
                    }
                }
                Output::Quarantine { terminal, message } => {
                    self.store(Job::Quarantine { terminal, message });
                }
                Output::LineSuspect {
                    line,
                    why: Some(why),
                } => {
                    let detail = format!(
                        "{why}; other lines are used first, if there are any, and this one is tried now and then. Check its modem and number"
                    );
                    self.raise(AlarmKind::LineSuspect, &line, detail);
                }
                Output::LineSuspect { line, why: None } => {
                    self.clear(AlarmKind::LineSuspect, &line);
                }
                Output::Silent {
                    terminal,
                    is_raised,
                } => self.silent(terminal, is_raised),
            }
        }
        for (terminal, line) in too_soon {
            let outcome =
                Outcome::NotRecorded("the store has not answered yet for the last call".to_owned());
            self.feed(
                Input::Ended {
                    terminal,
                    via: line.clone().into(),
                    outcome,
                },
                now,
            );
            self.feed(Input::LineFree(line), now);
        }
    }

    fn store(&mut self, job: Job) {
        self.actions.push_back(Action::Store(job));
    }

    fn raise(&mut self, kind: AlarmKind, subject: &impl ToString, detail: String) {
        self.actions.push_back(Action::Raise {
            kind,
            subject: subject.to_string(),
            detail,
        });
    }

    fn clear(&mut self, kind: AlarmKind, subject: &impl ToString) {
        self.actions.push_back(Action::Clear {
            kind,
            subject: subject.to_string(),
        });
    }
}

#[cfg(test)]
mod tests;
