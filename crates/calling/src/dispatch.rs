//! Pure. Which terminal is called, on which line, when.
//!
//! ```text
//!                  a line, hours, storm
//!   idle ──Due──► due ─────────────────► calling ────────────► connected ◄── the terminal called by itself:
//!    ▲             ▲ │                     │ Ended               │   ▲         from any state
//!    │      rest   │ │ outside its hours,  │                     │   │ Due: Deliver, on this link, no call
//!    │      over   │ ▼ redialled too often │                     │   └──────┐
//!    │           resting ◄─────────────────┤ failed: backing off │          │
//!    │             ▲     bulk: a price     │                     ├──────────┘
//!    │             ├── a budget is spent ──┤                     │
//!    │             └── rung: awaits a session (none: backing off)│
//!    │           paused ◄─── loop broken ──┤   (Resume ──► due)  │
//!    └─────────────────────────────────────┴── completed ◄───────┘
//! ```
//!
//! At most one call for each terminal and for each line: a terminal that is calling or connected is not called, and a
//! line is taken until it reports that it is free. A terminal has one entry here, whatever the number of its messages.
//!
//! Hours also hold for urgent messages: no terminal is called outside them.

mod after;
mod avoided;
mod by_terminal;
mod event;
mod explain;
mod last_call;
mod lines;
mod queue;
mod rules;
mod series;
mod silence;
mod storm;
mod suspects;
mod terminal;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use delivery::{MessageId, TerminalId, Urgency};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

pub use event::{Input, Output};
pub use explain::{Waiting, Why};
pub use rules::{
    Conditions, Demand, LineTerms, Moment, RedialRules, Reserve, RetryRules, Route, Rules,
    StormRules,
};
pub use series::REDIALS_MAX;
pub use terminal::Rest;

use avoided::Avoided;
use by_terminal::ByTerminal;
use last_call::LastCall;
use lines::{Lines, Wish};
use model::call::Via;
use model::outcome::Outcome;
use queue::Queue;
use series::Series;
use silence::Silence;
use storm::Storm;
use suspects::Suspects;
use terminal::{State, Terminal};

/// Largest drift between wall clock and monotonic clock; more is a jump, after which hours are checked again.
const JUMP: SignedDuration = SignedDuration::from_secs(60);

/// Interval of clock comparisons while something waits by the wall clock; only a comparison finds a jump.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// A bulk message is called for at the latest this long before it expires.
const DEADLINE_MARGIN: Duration = Duration::from_secs(15 * 60);

/// Factor of the pauses after a failure that is likely to recur.
const LONG: u32 = 10;

/// Longest pause between two calls that only have to enrol an invited terminal.
const ONCE_A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Pause before the next call to a terminal after a call: its modem hangs up and is initialised.
const HANG_UP_GUARD: Duration = Duration::from_secs(2);

/// Interval at which numbers with elapsed redial counts are forgotten.
const SERIES_SWEEP: Duration = Duration::from_secs(3600);

/// The state of every terminal that is not idle, and of every line. Feed one input, drain [`Dispatch::poll_output`] to
/// [`Output::Timeout`], then feed the next.
#[derive(Debug)]
pub struct Dispatch {
    retry: RetryRules,
    reserve: Reserve,
    breaks_max: u8,
    bulk_wait: Duration,
    lines: Lines,
    terminals: ByTerminal<Terminal>,
    queue: Queue,
    /// The ends of all rests.
    rests: BTreeSet<(Instant, TerminalId)>,
    /// Rests until an hour, a price or a day; they depend on the wall clock.
    by_wall_clock: BTreeSet<TerminalId>,
    series: ByTerminal<Series>,
    swept: Option<Instant>,
    avoided: Avoided,
    last_calls: ByTerminal<LastCall>,
    suspects: Suspects,
    silence: Silence,
    storm: Storm,
    zone: TimeZone,
    /// A moment at which the two clocks had their present offset.
    anchor: Option<Moment>,
    at: Option<Instant>,
    random: u64,
    output: VecDeque<Output>,
}

impl Dispatch {
    /// `seed` makes the jitter of retries.
    pub fn new(rules: Rules, seed: u64) -> Self {
        let Rules {
            retry,
            storm,
            reserve,
            breaks_max,
            bulk_wait,
            zone,
            lines,
            routes,
        } = rules;
        Self {
            retry,
            reserve,
            breaks_max,
            bulk_wait,
            queue: Queue::new(routes.len() + 1),
            lines: Lines::new(lines, routes, zone.clone()),
            terminals: ByTerminal::default(),
            rests: BTreeSet::new(),
            by_wall_clock: BTreeSet::new(),
            series: ByTerminal::default(),
            swept: None,
            avoided: Avoided::default(),
            last_calls: ByTerminal::default(),
            suspects: Suspects::default(),
            silence: Silence::default(),
            storm: Storm::new(storm),
            zone,
            anchor: None,
            at: None,
            random: seed | 1,
            output: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Moment) {
        self.look_at_clocks(now);
        match input {
            Input::LineFree(line) => {
                let line = self.lines.index(&line);
                self.lines.freed(line);
            }
            Input::LineTaken(line) => {
                let line = self.lines.index(&line);
                self.lines.taken(line);
            }
            Input::Due(demand) => self.due(demand, now),
            Input::Dialled(terminal) => {
                if let Some(series) = self.series.get_mut(&terminal) {
                    series.dialled(now.at);
                }
            }
            Input::Connected { terminal, via } => self.connected(terminal, &via, now),
            Input::Ended {
                terminal,
                via,
                outcome,
            } => self.ended(terminal, &via, &outcome, now),
            Input::HungUp { terminal, guard } => {
                self.last_calls.entry(terminal).or_default().guard_until = Some(now.at + guard);
            }
            Input::Resume(terminal) => {
                if self.state(terminal) == Some(State::Paused) {
                    self.enqueue(terminal);
                }
            }
            Input::Pause(terminal) => self.pause_calls(terminal),
            Input::Mended(terminal) => {
                if let Some(series) = self.series.get_mut(&terminal) {
                    series.failures = 0;
                }
                if matches!(
                    self.state(terminal),
                    Some(State::Resting {
                        why: Rest::BackingOff,
                        ..
                    })
                ) {
                    self.enqueue(terminal);
                }
            }
            Input::Watch {
                terminal,
                after: Some(after),
                silent_for,
            } => {
                let reached = now.at.checked_sub(silent_for).unwrap_or(now.at);
                self.silence.watch(terminal, after, reached);
            }
            Input::Watch {
                terminal,
                after: None,
                ..
            } => self.silence.forget(terminal),
            Input::CalledBefore { terminal, ago } => {
                let at = now.at.checked_sub(ago).unwrap_or(now.at);
                self.series
                    .entry(terminal)
                    .or_default()
                    .begin(&self.retry.redials, at);
            }
            Input::Deadline => {}
        }
        self.wake(now);
        self.place_calls(now);
        for (line, why) in self.lines.take_changed() {
            let line = self.lines.name(line).clone();
            self.output.push_back(Output::LineSuspect { line, why });
        }
    }

    /// Returns the next output.
    pub fn poll_output(&mut self) -> Output {
        self.output.pop_front().unwrap_or_else(|| Output::Timeout {
            at: self.next_wake(),
        })
    }

    /// The messages of a terminal with which sessions broke recently: they are delivered after all others, one at a
    /// time, in this order.
    pub fn suspects(&self, terminal: TerminalId) -> Vec<MessageId> {
        self.suspects.of(terminal)
    }

    /// Whether a session that was lost brought messages further. To be asked before dispatch hears of its end.
    pub fn has_advanced(&self, terminal: TerminalId, outcome: &Outcome) -> bool {
        outcome
            .delivering()
            .is_some_and(|under_way| self.suspects.has_advanced(terminal, under_way))
    }

    /// How many terminals wait for a line.
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    fn due(&mut self, demand: Demand, now: Moment) {
        let id = demand.terminal;
        let Some(terminal) = self.terminals.get_mut(&id) else {
            if demand.conditions.is_none() {
                return; // without a number it waits until it connects by itself
            }
            let number = self.queue.number();
            let mut terminal = Terminal::new(State::Paused, number);
            terminal.wants(demand);
            let wait = self.wait_for_price(&terminal, now);
            self.terminals.insert(id, terminal);
            return if wait.is_zero() {
                self.enqueue(id);
            } else {
                self.rest(id, now.at + wait, Rest::Price);
            };
        };
        let (state, before) = (terminal.state, (terminal.urgency, terminal.number, id));
        let route = terminal.route();
        terminal.wants(demand);
        match state {
            State::Connected { .. } => self.output.push_back(Output::Deliver(id)),
            State::Due => {
                self.queue.remove(route, &before);
                self.enqueue(id);
            }
            State::Resting {
                why: Rest::Price,
                until,
            } => {
                let wait = self
                    .terminals
                    .get(&id)
                    .map_or(Duration::ZERO, |found| self.wait_for_price(found, now));
                if wait.is_zero() {
                    self.enqueue(id);
                } else {
                    // Earlier entries no longer wait for later ones.
                    self.rest(id, until.min(now.at + wait), Rest::Price);
                }
            }
            // It is sent on the call in progress; a pause has its reason, whatever the urgency.
            State::Calling { .. } | State::Resting { .. } | State::Paused => {}
        }
    }

    /// Removes a terminal from everything that leads to a call.
    fn pause_calls(&mut self, id: TerminalId) {
        self.leave_wait(id);
        let Some(terminal) = self.terminals.get_mut(&id) else {
            return;
        };
        terminal.conditions = None;
        if matches!(
            terminal.state,
            State::Due | State::Resting { .. } | State::Paused
        ) {
            self.terminals.remove(&id);
        }
    }

    fn connected(&mut self, id: TerminalId, via: &Via, now: Moment) {
        let line = via.line().map(|line| self.lines.index(line));
        let number = self.queue.number();
        self.leave_wait(id);
        let terminal = self
            .terminals
            .entry(id)
            .or_insert_with(|| Terminal::new(State::Paused, number));
        let calling = match terminal.state {
            State::Calling { line: other }
            | State::Connected {
                calling: Some(other),
                ..
            } if Some(other) != line => Some(other),
            _ => None,
        };
        terminal.state = State::Connected { line, calling };
        match line {
            Some(line) => self.last_calls.entry(id).or_default().line = Some(line),
            None => self.avoided.wakes(id),
        }
        if let Some(series) = self.series.get_mut(&id) {
            series.answered();
        }
        if self.silence.reached(id, now.at) {
            self.output.push_back(Output::Silent {
                terminal: id,
                is_raised: false,
            });
        }
        // The message came between the session's first look into the store and this input.
        self.output.push_back(Output::Deliver(id));
    }

    fn ended(&mut self, id: TerminalId, via: &Via, outcome: &Outcome, now: Moment) {
        let line = via.line().map(|line| self.lines.index(line));
        if line.is_some() && outcome.was_answered() {
            self.last_calls.entry(id).or_default().guard_until = Some(now.at + HANG_UP_GUARD);
        }
        if line.is_some_and(|line| self.lines.ended(line, id, outcome, now.at)) {
            self.storm.end();
            if outcome.was_dialled() {
                // The number can be dialled: the modems that refused it are at fault.
                self.avoided
                    .take_refusals(id)
                    .into_iter()
                    .for_each(|line| self.lines.convict(line, now.at));
            }
            if let Some(series) = self.series.get_mut(&id) {
                if !outcome.was_dialled() {
                    series.undo();
                } else if outcome.was_answered() {
                    series.answered();
                }
            }
        }
        let Some(terminal) = self.terminals.get_mut(&id) else {
            return;
        };
        let was_there = match terminal.state {
            State::Calling { line: called } if Some(called) == line => false,
            State::Connected {
                line: with,
                calling: None,
            } if with == line => true,
            // Its own call has ended, ours has not yet (glare).
            State::Connected {
                line: with,
                calling: Some(own),
            } if with == line => {
                terminal.state = State::Calling { line: own };
                return;
            }
            State::Connected {
                line: with,
                calling: Some(own),
            } if Some(own) == line => {
                terminal.state = State::Connected {
                    line: with,
                    calling: None,
                };
                return;
            }
            _ => return, // not the call that the terminal's state is about
        };
        if was_there && *outcome == Outcome::AllowanceSpent {
            // What the terminal has of a long message is resumed: no failure.
            return self.rest(id, now.at + self.retry.first, Rest::BackingOff);
        }
        if self.has_advanced(id, outcome)
            && let Some(series) = self.series.get_mut(&id)
        {
            series.failures = 0;
        }
        if let Some(under_way) = outcome.delivering()
            && let Some(message) = self.suspects.broke(id, under_way, self.breaks_max)
        {
            self.output.push_back(Output::Quarantine {
                terminal: id,
                message,
            });
        }
        self.after(id, line, outcome, now);
    }

    /// Whether a terminal has a line that it does not avoid.
    fn has_other_line(&self, id: TerminalId) -> bool {
        let Some(terminal) = self.terminals.get(&id) else {
            return false;
        };
        self.lines.has_other(terminal.route(), id, &self.avoided)
    }

    /// How long the waiting messages can wait for a lower price.
    fn wait_for_price(&self, terminal: &Terminal, now: Moment) -> Duration {
        if terminal.urgency != Urgency::Bulk {
            return Duration::ZERO;
        }
        let left = terminal.deadline.map(|deadline| {
            let left = Duration::try_from(deadline.duration_since(now.wall)).unwrap_or_default();
            left.saturating_sub(DEADLINE_MARGIN)
        });
        let longest = self.bulk_wait.min(left.unwrap_or(Duration::MAX));
        self.lines
            .until_cheap(terminal.route(), now.wall)
            .min(longest)
    }

    /// Why the terminal at the head of the queue is not called now, and until when.
    fn not_now(&self, id: TerminalId, terminal: &Terminal, now: Moment) -> Option<(Instant, Rest)> {
        let conditions = terminal.conditions.as_ref()?;
        let wait = if conditions.are_always() {
            Duration::ZERO
        } else {
            conditions.until_open(&self.zoned(now.wall))
        };
        if !wait.is_zero() {
            return Some((now.at + wait, Rest::Hours));
        }
        let guard = self.last_calls.get(&id).and_then(|last| last.guard_until);
        if let Some(until) = guard.filter(|until| *until > now.at) {
            return Some((until, Rest::HangingUp));
        }
        let allowed = self
            .series
            .get(&id)?
            .allowed_at(&self.retry.redials, now.at);
        (allowed > now.at).then_some((allowed, Rest::Redials))
    }

    fn place_calls(&mut self, now: Moment) {
        while self.lines.has_any_free() && self.storm.is_ready(now.at) {
            let (lines, reserve, avoided) = (&self.lines, self.reserve, &self.avoided);
            let has_line = |route, urgency| lines.has_free(route, urgency, reserve);
            let is_served = |route, terminal| lines.has_free_for(route, terminal, avoided);
            let Some(place) = self.queue.first(has_line, is_served) else {
                return;
            };
            let (urgency, _, id) = place;
            let Some(terminal) = self.terminals.get(&id) else {
                return;
            };
            let route = terminal.route();
            let not_now = if terminal.conditions.is_none() {
                // The call failed, and the terminal has no number: it is idle until it connects.
                self.queue.remove(route, &place);
                self.terminals.remove(&id);
                continue;
            } else {
                self.not_now(id, terminal, now)
            };
            if let Some((until, why)) = not_now {
                self.rest(id, until, why);
                continue;
            }
            let before = self.last_calls.get(&id).and_then(|last| last.line);
            let wish = Wish {
                route,
                urgency,
                reserve,
                before,
            };
            let Some(line) = self.lines.hand_out(wish, id, &self.avoided) else {
                return;
            };
            self.queue.remove(route, &place);
            if let Some(terminal) = self.terminals.get_mut(&id) {
                terminal.state = State::Calling { line };
            }
            self.storm.begin(now.at);
            self.series
                .entry(id)
                .or_default()
                .begin(&self.retry.redials, now.at);
            self.output.push_back(Output::PlaceCall {
                terminal: id,
                line: self.lines.name(line).clone(),
            });
        }
    }

    /// Puts a terminal into the queue, from any state.
    fn enqueue(&mut self, id: TerminalId) {
        self.leave_wait(id);
        if let Some(terminal) = self.terminals.get_mut(&id) {
            terminal.state = State::Due;
            self.queue
                .insert(terminal.route(), (terminal.urgency, terminal.number, id));
        }
    }

    fn rest(&mut self, id: TerminalId, until: Instant, why: Rest) {
        self.leave_wait(id);
        if let Some(terminal) = self.terminals.get_mut(&id) {
            terminal.state = State::Resting { until, why };
            self.rests.insert((until, id));
            if matches!(why, Rest::Hours | Rest::Price | Rest::Budget) {
                self.by_wall_clock.insert(id);
            }
        }
    }

    /// Removes a terminal from queue and rests.
    fn leave_wait(&mut self, id: TerminalId) {
        let Some(terminal) = self.terminals.get(&id) else {
            return;
        };
        match terminal.state {
            State::Due => self
                .queue
                .remove(terminal.route(), &(terminal.urgency, terminal.number, id)),
            State::Resting { until, .. } => {
                self.rests.remove(&(until, id));
                self.by_wall_clock.remove(&id);
            }
            State::Calling { .. } | State::Connected { .. } | State::Paused => {}
        }
    }

    fn state(&self, id: TerminalId) -> Option<State> {
        self.terminals.get(&id).map(|terminal| terminal.state)
    }

    fn wake(&mut self, now: Moment) {
        self.avoided.wake(now.at);
        while let Some(&(until, id)) = self.rests.first()
            && until <= now.at
        {
            if matches!(
                self.state(id),
                Some(State::Resting {
                    why: Rest::Session,
                    ..
                })
            ) {
                self.output.push_back(Output::NoSession(id));
                self.avoided.rung_in_vain(id);
                if self.has_other_line(id) {
                    self.enqueue(id);
                } else {
                    self.avoided.forget_all(id);
                    self.after(id, None, &Outcome::NoSession, now);
                }
            } else {
                self.enqueue(id);
            }
        }
        for terminal in self.silence.raised(now.at) {
            self.output.push_back(Output::Silent {
                terminal,
                is_raised: true,
            });
        }
        if self
            .swept
            .is_none_or(|swept| swept + SERIES_SWEEP <= now.at)
        {
            self.swept = Some(now.at);
            self.last_calls.retain(|_, last| {
                last.line.is_some() || last.guard_until.is_some_and(|until| until > now.at)
            });
            let (rules, terminals) = (self.retry.redials, &self.terminals);
            self.series
                .retain(|id, series| terminals.contains_key(id) || !series.is_over(&rules, now.at));
        }
    }

    /// Updates prices, and after a jump of the wall clock, in either direction, checks again all that waits by it.
    fn look_at_clocks(&mut self, now: Moment) {
        self.at = Some(now.at);
        self.lines.wake(now.at, now.wall);
        let anchor = *self.anchor.get_or_insert(now);
        let passed = SignedDuration::try_from(now.at.saturating_duration_since(anchor.at))
            .unwrap_or_default();
        if (now.wall.duration_since(anchor.wall) - passed).abs() <= JUMP {
            return;
        }
        self.anchor = Some(now);
        for id in std::mem::take(&mut self.by_wall_clock) {
            let wait = self.terminals.get(&id).map_or(Duration::ZERO, |terminal| {
                self.wait_for_price(terminal, now)
            });
            // Its hours and its budget are checked when its turn comes.
            if wait.is_zero() {
                self.enqueue(id);
            } else {
                self.rest(id, now.at + wait, Rest::Price);
            }
        }
    }

    /// A calendar time in the time zone of the lines.
    pub fn zoned(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.zone.clone())
    }

    fn next_wake(&self) -> Option<Instant> {
        let rest = self.rests.first().map(|(until, _)| *until);
        let look = self
            .at
            .filter(|_| !self.by_wall_clock.is_empty())
            .map(|now| now + LOOK_INTERVAL);
        let waits_for_storm = !self.queue.is_empty() && self.lines.has_any_free();
        let storm = self.at.filter(|_| waits_for_storm).and_then(|now| {
            // Only a wait for the storm limit needs a deadline: all else wakes by input.
            self.storm.ready_at(now).filter(|ready| *ready > now)
        });
        // A line that a terminal avoided is available to it again.
        let avoided = self.avoided.next().filter(|_| !self.queue.is_empty());
        [
            rest,
            look,
            storm,
            avoided,
            self.lines.next_wake(),
            self.silence.next(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// From 0 up to 1 (xorshift64, Marsaglia 2003): jitter needs no better.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u32::try_from(self.random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
