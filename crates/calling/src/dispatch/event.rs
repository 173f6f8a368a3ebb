//! Inputs and outputs of dispatch.

use std::time::{Duration, Instant};

use delivery::{MessageId, TerminalId};

use super::Demand;
use model::call::Via;
use model::directory::Name;
use model::outcome::Outcome;

/// One input of [`Dispatch`](super::Dispatch).
#[derive(Debug, Clone)]
pub enum Input {
    /// The line can place a call.
    LineFree(Name),
    /// The line cannot place a call: it has an incoming call, or is out of order.
    LineTaken(Name),
    /// A message waits for a terminal.
    Due(Demand),
    /// The call to this terminal that was last requested is being dialled.
    Dialled(TerminalId),
    /// A terminal's connected notice came: over a call on a line, whichever end placed it, or over a session without a
    /// line.
    Connected {
        /// The terminal.
        terminal: TerminalId,
        /// The way it came.
        via: Via,
    },
    /// A terminal's call or call attempt on a line, or its session without a line, has ended.
    Ended {
        /// The terminal.
        terminal: TerminalId,
        /// The way it went.
        via: Via,
        /// How it ended.
        outcome: Outcome,
    },
    /// The operator resumed calls to a terminal.
    Resume(TerminalId),
    /// The operator paused calls to a terminal. Its messages stay; a call in progress goes on.
    Pause(TerminalId),
    /// The cause of a terminal's failures may be gone: ends its pause after a failure now. Its other waits stay.
    Mended(TerminalId),
    /// Sets the time without contact after which a terminal raises an alarm.
    Watch {
        /// The terminal.
        terminal: TerminalId,
        /// That time; `None`: no alarm.
        after: Option<Duration>,
        /// Time without contact so far.
        silent_for: Duration,
    },
    /// An unanswered call made before the restart; it counts for the redial rules.
    CalledBefore {
        /// The terminal.
        terminal: TerminalId,
        /// Age of the call.
        ago: Duration,
    },
    /// A call made before the restart, whose end was not seen, may still be ending at the terminal: places no call to
    /// it for a time.
    HungUp {
        /// The terminal.
        terminal: TerminalId,
        /// That time.
        guard: Duration,
    },
    /// The instant of the last [`Output::Timeout`] has come.
    Deadline,
}

/// Outputs of dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Call this terminal on this line.
    PlaceCall {
        /// The terminal.
        terminal: TerminalId,
        /// The line, which is now taken for this terminal.
        line: Name,
    },
    /// Deliver the waiting messages to this terminal, which is connected.
    Deliver(TerminalId),
    /// This terminal was rung and did not connect in time.
    NoSession(TerminalId),
    /// Quarantine this message: sessions with this terminal break with it.
    Quarantine {
        /// The terminal.
        terminal: TerminalId,
        /// The message.
        message: MessageId,
    },
    /// A line became suspect, because its calls fail for a fault of its own, or is no longer suspect.
    LineSuspect {
        /// The line.
        line: Name,
        /// Why it became suspect; `None`: a call on it was good.
        why: Option<String>,
    },
    /// This terminal has been silent for too long, or is no longer.
    Silent {
        /// The terminal.
        terminal: TerminalId,
        /// Raised, or cleared.
        is_raised: bool,
    },
    /// No output is left. Feed the next input, at the latest an [`Input::Deadline`] at `at`.
    Timeout {
        /// When to wake; `None`: only on input.
        at: Option<Instant>,
    },
}
