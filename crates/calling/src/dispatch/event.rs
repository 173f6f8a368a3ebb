//! What dispatch is told, and what it wants.

use std::time::{Duration, Instant};

use delivery::{MessageId, TerminalId};

use super::Demand;
use model::call::Via;
use model::directory::Name;
use model::outcome::Outcome;

/// One input of [`Dispatch`].
#[derive(Debug, Clone)]
pub enum Input {
    /// This line can place a call.
    LineFree(Name),
    /// This line cannot: an incoming call has it, or it is out of order.
    LineTaken(Name),
    /// Something waits for a terminal.
    Due(Demand),
    /// The call to this terminal that was wanted last is dialled.
    Dialled(TerminalId),
    /// A terminal's connected notice has come, over the call on a line, whoever placed it, or without one.
    Connected {
        /// The terminal.
        terminal: TerminalId,
        /// What it came over.
        via: Via,
    },
    /// A terminal's call, or the attempt, on a line is over, or its session without one.
    Ended {
        /// The terminal.
        terminal: TerminalId,
        /// What it went over.
        via: Via,
        /// How.
        outcome: Outcome,
    },
    /// The operator has a terminal called again.
    Resume(TerminalId),
    /// The operator has a terminal called no more. What waits for it goes on waiting; a call that is under way goes on.
    Pause(TerminalId),
    /// The cause of a terminal's failures may be gone: a pause after one is over now. All else that it waits for stays.
    Mended(TerminalId),
    /// An alarm is wanted when a terminal is not reached for so long.
    Watch {
        /// The terminal.
        terminal: TerminalId,
        /// How long; `None`: no alarm.
        after: Option<Duration>,
        /// How long it has not been reached already.
        silent_for: Duration,
    },
    /// A call from before the start, so long ago, that was not answered: it counts for the redial rules.
    CalledBefore {
        /// The terminal.
        terminal: TerminalId,
        /// Since it was placed.
        ago: Duration,
    },
    /// A call from before the start, whose end was not seen, may still be ending at the terminal: it is left alone for so long.
    HungUp {
        /// The terminal.
        terminal: TerminalId,
        /// How long.
        guard: Duration,
    },
    /// The instant of the last [`Output::Timeout`] has come.
    Deadline,
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
    /// This terminal was rung and did not come in time.
    NoSession(TerminalId),
    /// Leave this message out: the sessions with this terminal break with it.
    Quarantine {
        /// The terminal.
        terminal: TerminalId,
        /// The message.
        message: MessageId,
    },
    /// Calls on this line fail for a fault of its own, or do so no longer.
    LineSuspect {
        /// The line.
        line: Name,
        /// Why it has become suspect; `None`: a call on it was good.
        why: Option<String>,
    },
    /// This terminal has been silent for too long, or is not any more.
    Silent {
        /// The terminal.
        terminal: TerminalId,
        /// Raised, or cleared.
        is_raised: bool,
    },
    /// Nothing more now. Feed the next input, at the latest a [`Input::Deadline`] at `at`.
    Timeout {
        /// When to wake; `None`: only input wakes.
        at: Option<Instant>,
    },
}
