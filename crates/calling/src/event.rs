//! Pure. What [`Calling`](crate::Calling) is told.

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
    /// The server starts: what the store knows. The first event.
    Recovered(Box<Recovered>),
    /// Messages were accepted for these terminals, or what waits for them may cause a call again.
    Due(BTreeSet<TerminalId>),
    /// This line can place a call.
    LineFree(Name),
    /// This line cannot: an incoming call has it, or it is out of order.
    LineTaken(Name),
    /// A terminal has proved itself on this call, whoever placed it, or on a session without one.
    Connected {
        /// The terminal.
        terminal: TerminalId,
        /// The call, or the session.
        call: CallId,
        /// What it goes over.
        via: Via,
    },
    /// A call with a terminal, or the attempt, is over, or its session without one.
    Ended {
        /// The terminal.
        terminal: TerminalId,
        /// How.
        outcome: Outcome,
        /// The complete record.
        record: Box<CallRecord>,
        /// From the dial command, or the answer, to on hook.
        lasted: Duration,
    },
    /// The line of an [`Action::Dial`](crate::Action::Dial) took no order.
    NotTaken {
        /// The terminal.
        terminal: TerminalId,
        /// The record of the call that is not made.
        record: Box<CallRecord>,
    },
    /// The directory has this terminal now.
    Added {
        /// The terminal.
        terminal: TerminalId,
        /// Its name.
        name: Name,
    },
    /// The directory has this terminal no more.
    Removed(TerminalId),
    /// The operator has a terminal called no more. What waits for it goes on waiting; a call that is under way goes on.
    Paused(TerminalId),
    /// The operator has a terminal called again that was paused, or whose calls failed for days.
    Resumed {
        /// The terminal.
        terminal: TerminalId,
        /// Its name.
        name: Name,
        /// The number that is called again.
        number: Option<Number>,
    },
    /// What a terminal may prove itself with is another now.
    TrustChanged(TerminalId),
    /// Answer to [`Job::Look`]; `None`: the directory has no such terminal.
    Looked {
        /// The terminal.
        terminal: TerminalId,
        /// What was found.
        found: Option<Found>,
    },
    /// Answer to [`Job::LookAtAll`]: every terminal for which something waits that may cause a call.
    LookedAtAll(Vec<Found>),
    /// Answer to [`Job::Choose`]; `None`: the directory has no such terminal.
    Chosen {
        /// The terminal.
        terminal: TerminalId,
        /// What a call to it needs.
        candidate: Option<Box<Candidate>>,
        /// A new id, for the call.
        call: CallId,
    },
    /// Answer to [`Job::Begin`]: it is on the disk.
    Begun(TerminalId),
    /// Answer to [`Job::Quarantine`]: the message has failed for this terminal.
    Quarantined {
        /// The message.
        message: MessageId,
        /// The terminal's name.
        name: Name,
    },
    /// The store did not do a job. Nothing of it was written.
    StoreFailed {
        /// The job.
        job: Job,
        /// Why.
        why: String,
    },
    /// The instant of the last [`Action::Wait`](crate::Action::Wait) has come.
    Deadline,
}

/// A terminal, and what waits for it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The terminal.
    pub terminal: Terminal,
    /// `None`: nothing that may cause a call.
    pub waits: Option<Waits>,
}

/// What waits for a terminal, as far as it matters for when it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// That of the most urgent message.
    pub urgency: Urgency,
    /// When the first of them is worth nothing any more.
    pub deadline: Option<Timestamp>,
    /// The terminal is not paused, and it can prove itself.
    pub may_be_called: bool,
}

/// A terminal that is about to be called.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The terminal, and what waits for it.
    pub found: Found,
    /// The provider of the most urgent message: the call is for that one.
    pub provider: Option<Name>,
    /// It is invited, and has not enrolled yet.
    pub is_invited: bool,
}

/// What a server that starts finds in its store.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// What today's calls have cost, or may have: each with whom it counts for.
    pub spent: Vec<(Vec<Account>, Micros)>,
    /// All numbers whose last call failed.
    pub loops: Vec<(Number, Loop)>,
    /// All terminals.
    pub terminals: Vec<Known>,
    /// Calls that were not answered, oldest first: the number, and how long ago it was dialled.
    pub unanswered: Vec<(Number, Duration)>,
    /// Who had a call that ended a moment ago, by name.
    pub just_ended: Vec<Name>,
    /// Calls that go on at dial-up servers.
    pub calls: Vec<Recalled>,
}

/// A terminal of the directory, at a start.
#[derive(Debug, Clone)]
pub struct Known {
    /// The terminal.
    pub terminal: TerminalId,
    /// Its name.
    pub name: Name,
    /// Its number.
    pub number: Option<Number>,
    /// How long it has not been reached.
    pub silent_for: Duration,
}

/// A call that goes on at a dial-up server, of before the start. What it may cost counts as spent.
#[derive(Debug, Clone)]
pub struct Recalled {
    /// The terminal.
    pub terminal: TerminalId,
    /// The call.
    pub call: CallId,
    /// What it goes over.
    pub via: Via,
    /// The terminal is invited, and has not enrolled yet.
    pub is_invited: bool,
}
