//! Pure. The inputs of [`Calling`](crate::Calling).

use std::collections::BTreeSet;
use std::time::Duration;

use delivery::{MessageId, TerminalId, Urgency};
use jiff::Timestamp;
use line::{CallId, Number};

use crate::action::Job;
use model::account::Account;
use model::call::{CallRecord, Via};
use model::dial_loop::Loop;
use model::directory::{Name, Terminal};
use model::money::Micros;
use model::outcome::Outcome;

/// One event.
#[derive(Debug)]
pub enum Event {
    /// The server starts: what the store knows. It is the first event.
    Recovered(Box<Recovered>),
    /// Messages were accepted for these terminals, or their waiting messages may cause a call again.
    Due(BTreeSet<TerminalId>),
    /// The line can place a call.
    LineFree(Name),
    /// The line cannot place a call: it has an incoming call, or is out of order.
    LineTaken(Name),
    /// A terminal has proved itself on this call, whichever end placed it, or on a session without a call.
    Connected {
        /// The terminal.
        terminal: TerminalId,
        /// The call, or the session.
        call: CallId,
        /// The way it came.
        via: Via,
    },
    /// A call or call attempt with a terminal, or its session without a call, has ended.
    Ended {
        /// The terminal.
        terminal: TerminalId,
        /// How it ended.
        outcome: Outcome,
        /// The complete record.
        record: Box<CallRecord>,
        /// From the dial command, or the answer, to on-hook.
        lasted: Duration,
    },
    /// The line of an [`Action::Dial`](crate::Action::Dial) did not take the order.
    NotTaken {
        /// The terminal.
        terminal: TerminalId,
        /// The record of the call that was not made.
        record: Box<CallRecord>,
    },
    /// The terminal was added to the directory.
    Added {
        /// The terminal.
        terminal: TerminalId,
        /// Its name.
        name: Name,
    },
    /// The terminal was removed from the directory.
    Removed(TerminalId),
    /// The operator paused calls to a terminal. Its messages stay; a call in progress goes on.
    Paused(TerminalId),
    /// The operator resumed calls to a terminal that was paused, or whose calls failed for days.
    Resumed {
        /// The terminal.
        terminal: TerminalId,
        /// Its name.
        name: Name,
        /// The number that may be called again.
        number: Option<Number>,
    },
    /// The credentials of a terminal have changed.
    TrustChanged(TerminalId),
    /// Answer to [`Job::Look`]; `None`: the directory has no such terminal.
    Looked {
        /// The terminal.
        terminal: TerminalId,
        /// What was found.
        found: Option<Found>,
    },
    /// Answer to [`Job::LookAtAll`]: every terminal with waiting messages that may cause a call.
    LookedAtAll(Vec<Found>),
    /// Answer to [`Job::Choose`]; `None`: the directory has no such terminal.
    Chosen {
        /// The terminal.
        terminal: TerminalId,
        /// The requirements of a call to it.
        candidate: Option<Box<Candidate>>,
        /// A new call id.
        call: CallId,
    },
    /// Answer to [`Job::Begin`]: the call is on the disk.
    Begun(TerminalId),
    /// Answer to [`Job::Quarantine`]: the message has failed for this terminal.
    Quarantined {
        /// The message.
        message: MessageId,
        /// The terminal's name.
        name: Name,
    },
    /// The store has not begun a call: with what it knows of this day the call would exceed the budget of an account.
    BudgetRefused {
        /// [`Job::Begin`].
        job: Job,
        /// The account.
        account: Account,
    },
    /// A job of the store failed. It wrote nothing.
    StoreFailed {
        /// The job.
        job: Job,
        /// Why.
        why: String,
    },
    /// The instant of the last [`Action::Wait`](crate::Action::Wait) has come.
    Deadline,
}

/// A terminal and its waiting messages.
#[derive(Debug, Clone)]
pub struct Found {
    /// The terminal.
    pub terminal: Terminal,
    /// `None`: nothing that may cause a call.
    pub waits: Option<Waits>,
}

/// The waiting messages of a terminal, with what the time of its call depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Urgency of the most urgent message.
    pub urgency: Urgency,
    /// Earliest expiry of them.
    pub deadline: Option<Timestamp>,
    /// The terminal is not paused and has a credential.
    pub may_be_called: bool,
}

/// A terminal that is about to be called.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The terminal and its waiting messages.
    pub found: Found,
    /// Provider of the most urgent message; the call is charged to it.
    pub provider: Option<Name>,
    /// Invited, and not enrolled yet.
    pub is_invited: bool,
}

/// The content of the store at the start of the server.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Costs of today's calls, certain or possible, each with the accounts that it counts for.
    pub spent: Vec<(Vec<Account>, Micros)>,
    /// All numbers whose last call failed.
    pub loops: Vec<(Number, Loop)>,
    /// All terminals.
    pub terminals: Vec<Known>,
    /// Unanswered calls, oldest first: the number, and the age of the call.
    pub unanswered: Vec<(Number, Duration)>,
    /// Names of the terminals whose calls ended just before the start.
    pub just_ended: Vec<Name>,
    /// Calls in progress at dial-up servers.
    pub calls: Vec<Recalled>,
}

/// A terminal of the directory at the start.
#[derive(Debug, Clone)]
pub struct Known {
    /// The terminal.
    pub terminal: TerminalId,
    /// Its name.
    pub name: Name,
    /// Its number.
    pub number: Option<Number>,
    /// Time since its last contact.
    pub silent_for: Duration,
}

/// A call in progress at a dial-up server, made before the start. Its possible cost counts as spent.
#[derive(Debug, Clone)]
pub struct Recalled {
    /// The terminal.
    pub terminal: TerminalId,
    /// The call.
    pub call: CallId,
    /// The way it goes.
    pub via: Via,
    /// Invited, and not enrolled yet.
    pub is_invited: bool,
}
