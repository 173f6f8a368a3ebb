//! Which terminal is called, on which line, when. Pure.
//!
//! ```text
//!                  Due, line free                     Connected
//!   Idle ───────────────────────────► Calling ────────────────────► Connected ◄── the terminal called by itself:
//!    ▲  │ Due, no line free              │                            │   ▲         from any state
//!    │  └──────► Waiting ──LineFree──►───┘                            │   │ Due: Deliver, on this link, no call
//!    │                                   │ Ended(Failed)              │   └──────┐
//!    │                                   ▼                            │          │
//!    │ Ended(Done)                   BackingOff ──deadline──► as Due  ├──────────┘
//!    └───────────────────────────────────┴─ Ended(Failed) ◄───────────┘
//! ```
//!
//! At most one call for each terminal and for each line: a terminal in `Calling` or `Connected` is never called, a line
//! is handed out once until it is free again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use delivery::TerminalId;

use crate::directory::Name;

/// When a call that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryRules {
    /// After the first failure; doubled with each one that follows.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

/// One input of [`Dispatch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// This line can place a call.
    LineFree(Name),
    /// This line cannot: an incoming call has it, or it is out of order.
    LineTaken(Name),
    /// Something waits for this terminal, which can be called if it has a number.
    Due {
        /// The terminal.
        terminal: TerminalId,
        /// Whether it has a number.
        is_callable: bool,
    },
    /// This terminal's connected notice has come, whoever placed the call.
    Connected(TerminalId),
    /// This terminal's call, or connection, is over.
    Ended(TerminalId, End),
    /// The instant of the last [`Output::Timeout`] has come.
    Deadline,
}

/// How a call ended, as far as dispatch cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The terminal was told that there is nothing more.
    Done,
    /// It was not; what waits, waits for the next call.
    Failed,
    /// Not the terminal's doing: the line was taken or dead. No reason to back off from the terminal.
    NotPlaced,
}

/// What dispatch wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Call this terminal on this line.
    PlaceCall {
        /// The terminal.
        terminal: TerminalId,
        /// The line, which is handed out with it.
        line: Name,
    },
    /// Bring this terminal, which is connected, what waits for it.
    Deliver(TerminalId),
    /// Nothing more now. Feed the next input, at the latest a [`Input::Deadline`] at `at`.
    Timeout {
        /// When to wake; `None`: only input wakes.
        at: Option<Instant>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Calling,
    Connected,
    BackingOff { until: Instant },
}

/// The state of every terminal that is not idle, and of every line. Feed one input, drain [`Dispatch::poll_output`] to
/// [`Output::Timeout`], then feed the next.
#[derive(Debug)]
pub struct Dispatch {
    rules: RetryRules,
    terminals: BTreeMap<TerminalId, State>,
    /// Calls that failed since the last that did not.
    failures: BTreeMap<TerminalId, u32>,
    free_lines: BTreeSet<Name>,
    random: u64,
    output: VecDeque<Output>,
}

impl Dispatch {
    /// `seed` makes the jitter of retries.
    pub fn new(rules: RetryRules, seed: u64) -> Self {
        Self {
            rules,
            terminals: BTreeMap::new(),
            failures: BTreeMap::new(),
            free_lines: BTreeSet::new(),
            random: seed | 1,
            output: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::LineFree(line) => {
                self.free_lines.insert(line);
            }
            Input::LineTaken(line) => {
                self.free_lines.remove(&line);
            }
            Input::Due { terminal, is_callable } => match self.terminals.get(&terminal) {
                None if is_callable => {
                    self.terminals.insert(terminal, State::Waiting);
                }
                Some(State::Connected) => self.output.push_back(Output::Deliver(terminal)),
                // Without a number it waits for the terminal; else it rides on what is under way.
                None | Some(State::Waiting | State::Calling | State::BackingOff { .. }) => {}
            },
            Input::Connected(terminal) => {
                self.terminals.insert(terminal, State::Connected);
                // What came between the session's first look into the store and this: it was told here, not there.
                self.output.push_back(Output::Deliver(terminal));
            }
            Input::Ended(terminal, end) => self.end(terminal, end, now),
            Input::Deadline => {
                for state in self.terminals.values_mut() {
                    if matches!(state, State::BackingOff { until } if *until <= now) {
                        *state = State::Waiting;
                    }
                }
            }
        }
        self.place_calls();
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Output {
        self.output.pop_front().unwrap_or_else(|| Output::Timeout {
            at: self
                .terminals
                .values()
                .filter_map(|state| match state {
                    State::BackingOff { until } => Some(*until),
                    State::Waiting | State::Calling | State::Connected => None,
                })
                .min(),
        })
    }

    fn end(&mut self, terminal: TerminalId, end: End, now: Instant) {
        match end {
            End::Done => {
                self.failures.remove(&terminal);
                self.terminals.remove(&terminal);
            }
            End::NotPlaced => {
                self.terminals.insert(terminal, State::Waiting);
            }
            End::Failed => {
                let failures = self.failures.entry(terminal).or_default();
                *failures += 1;
                let doubled = self.rules.first.saturating_mul(1 << (*failures - 1).min(20));
                // Up to a fifth less, so that terminals that failed together are not called together.
                let pause = doubled.min(self.rules.longest);
                let until = now + pause - pause.mul_f64(0.2 * self.fraction());
                self.terminals.insert(terminal, State::BackingOff { until });
            }
        }
    }

    fn place_calls(&mut self) {
        if self.free_lines.is_empty() {
            return;
        }
        let waiting = self.terminals.iter_mut().filter(|(_, state)| **state == State::Waiting);
        for (terminal, state) in waiting {
            let Some(line) = self.free_lines.pop_first() else { return };
            *state = State::Calling;
            self.output.push_back(Output::PlaceCall { terminal: *terminal, line });
        }
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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RULES: RetryRules = RetryRules { first: Duration::from_secs(60), longest: Duration::from_secs(600) };

    fn terminal(number: u8) -> TerminalId {
        TerminalId::from_octets([number; 8])
    }

    fn line(name: &str) -> Name {
        name.parse().unwrap()
    }

    fn due(number: u8) -> Input {
        Input::Due { terminal: terminal(number), is_callable: true }
    }

    fn call(number: u8, name: &str) -> Output {
        Output::PlaceCall { terminal: terminal(number), line: line(name) }
    }

    /// Feeds an input; gives what is wanted, and when the next wake-up is.
    fn feed(dispatch: &mut Dispatch, input: Input, now: Instant) -> (Vec<Output>, Option<Instant>) {
        dispatch.handle(input, now);
        let mut wanted = Vec::new();
        loop {
            match dispatch.poll_output() {
                Output::Timeout { at } => return (wanted, at),
                output => wanted.push(output),
            }
        }
    }

    fn with_lines(names: &[&str], now: Instant) -> Dispatch {
        let mut dispatch = Dispatch::new(RULES, 1);
        for name in names {
            assert_eq!(feed(&mut dispatch, Input::LineFree(line(name)), now), (vec![], None));
        }
        dispatch
    }

    #[test]
    fn a_terminal_that_is_due_is_called_once() {
        let now = Instant::now();
        let mut dispatch = with_lines(&["a", "b"], now);
        assert_eq!(feed(&mut dispatch, due(1), now).0, [call(1, "a")]);
        assert_eq!(feed(&mut dispatch, due(1), now).0, []);
    }

    #[test]
    fn a_connected_terminal_is_delivered_to_and_not_called() {
        let now = Instant::now();
        let mut dispatch = with_lines(&["a"], now);
        feed(&mut dispatch, Input::Connected(terminal(1)), now);
        assert_eq!(feed(&mut dispatch, due(1), now).0, [Output::Deliver(terminal(1))]);
    }

    #[test]
    fn what_is_told_just_before_the_connected_notice_is_delivered_on_that_call() {
        let now = Instant::now();
        for mut dispatch in [with_lines(&["a"], now), with_lines(&[], now)] {
            feed(&mut dispatch, due(1), now);
            assert_eq!(feed(&mut dispatch, Input::Connected(terminal(1)), now).0, [Output::Deliver(terminal(1))]);
        }
    }

    #[test]
    fn terminals_wait_for_a_line_and_a_line_takes_one_call() {
        let now = Instant::now();
        let mut dispatch = with_lines(&["a"], now);
        assert_eq!(feed(&mut dispatch, due(1), now).0, [call(1, "a")]);
        assert_eq!(feed(&mut dispatch, due(2), now).0, []);
        assert_eq!(feed(&mut dispatch, Input::Ended(terminal(1), End::Done), now).0, []);
        assert_eq!(feed(&mut dispatch, Input::LineFree(line("a")), now).0, [call(2, "a")]);
    }

    #[test]
    fn a_line_that_was_taken_is_not_handed_out() {
        let now = Instant::now();
        let mut dispatch = with_lines(&["a"], now);
        feed(&mut dispatch, Input::LineTaken(line("a")), now);
        assert_eq!(feed(&mut dispatch, due(1), now).0, []);
    }

    #[test]
    fn a_failed_call_is_retried_after_a_pause_that_doubles_up_to_the_longest() {
        let mut now = Instant::now();
        let mut dispatch = with_lines(&["a"], now);
        feed(&mut dispatch, due(1), now);
        for longest in [60, 120, 240, 480, 600, 600] {
            feed(&mut dispatch, Input::LineFree(line("a")), now);
            let (wanted, at) = feed(&mut dispatch, Input::Ended(terminal(1), End::Failed), now);
            assert_eq!(wanted, []);
            let pause = at.unwrap() - now;
            assert!(pause <= longest * SECOND && pause >= longest * SECOND * 4 / 5, "{pause:?} for {longest}");
            assert_eq!(feed(&mut dispatch, due(1), now).0, [], "due again does not hurry a retry");
            now += pause;
            assert_eq!(feed(&mut dispatch, Input::Deadline, now).0, [call(1, "a")]);
        }
    }

    #[test]
    fn a_delivered_terminal_starts_from_the_first_pause_again() {
        let now = Instant::now();
        let mut dispatch = with_lines(&["a", "b", "c"], now);
        for end in [End::Failed, End::Failed, End::Done] {
            feed(&mut dispatch, Input::Ended(terminal(1), end), now);
        }
        let (_, at) = feed(&mut dispatch, Input::Ended(terminal(1), End::Failed), now);
        assert!(at.unwrap() <= now + RULES.first);
    }

    #[test]
    fn a_call_that_was_not_placed_goes_to_the_next_line_without_a_pause() {
        let now = Instant::now();
        let mut dispatch = with_lines(&["a", "b"], now);
        assert_eq!(feed(&mut dispatch, due(1), now).0, [call(1, "a")]);
        assert_eq!(feed(&mut dispatch, Input::Ended(terminal(1), End::NotPlaced), now).0, [call(1, "b")]);
    }

    #[test]
    fn a_terminal_without_a_number_waits_until_it_connects_by_itself() {
        let now = Instant::now();
        let mut dispatch = with_lines(&["a"], now);
        let input = Input::Due { terminal: terminal(1), is_callable: false };
        assert_eq!(feed(&mut dispatch, input, now), (vec![], None));
    }

    #[test]
    fn a_terminal_that_connects_while_backing_off_is_not_called() {
        let now = Instant::now();
        let mut dispatch = with_lines(&["a"], now);
        let (_, at) = feed(&mut dispatch, Input::Ended(terminal(1), End::Failed), now);
        feed(&mut dispatch, Input::Connected(terminal(1)), now);
        assert_eq!(feed(&mut dispatch, Input::Deadline, at.unwrap()), (vec![], None));
    }
}
