//! Pure. What [`Calling`](crate::Calling) wants done.

use std::collections::BTreeSet;
use std::time::Instant;

use delivery::{MessageId, TerminalId};
use line::{CallId, Number};
use modem::DialString;

use crate::money::Allowance;
use model::account::Reservation;
use model::alarm::AlarmKind;
use model::call::CallRecord;
use model::dial_loop::Loop;
use model::directory::{Connection, Name, Terminal};
use model::money::Micros;
use model::outcome::Outcome;

/// One action.
#[derive(Debug)]
pub enum Action {
    /// Have the store do this. What it reads comes back as the event that the job names; what fails, as
    /// [`Event::StoreFailed`](crate::Event::StoreFailed).
    Store(Job),
    /// Dial. The line refuses with [`Event::NotTaken`](crate::Event::NotTaken).
    Dial(Box<Order>),
    /// A call was not placed: for the log.
    NotPlaced {
        /// The terminal.
        terminal: TerminalId,
        /// The line.
        line: Name,
        /// Why.
        why: Outcome,
    },
    /// Deliver what waits for this terminal, if it is connected.
    Deliver(TerminalId),
    /// Deliver these messages of a terminal after all others.
    DeliverLast {
        /// The terminal.
        terminal: TerminalId,
        /// The messages.
        messages: Vec<MessageId>,
    },
    /// A call of ours reached something that did not prove to be this terminal.
    Unproved {
        /// The terminal.
        terminal: TerminalId,
        /// What was wrong.
        why: String,
    },
    /// Raise an alarm, unless it stands already.
    Raise {
        /// Its kind.
        kind: AlarmKind,
        /// What it is about.
        subject: String,
        /// What has happened, and what to do.
        detail: String,
    },
    /// Clear an alarm, if it stands.
    Clear {
        /// Its kind.
        kind: AlarmKind,
        /// What it is about.
        subject: String,
    },
    /// Clear all alarms of a kind but those about these.
    Keep {
        /// The kind.
        kind: AlarmKind,
        /// What they may be about.
        subjects: BTreeSet<String>,
    },
    /// Nothing more now. The next event comes at this instant at the latest, if there is one.
    Wait {
        /// When to wake; `None`: only other events wake.
        until: Option<Instant>,
    },
}

/// A call to be dialled; its record and its reservation are on the disk.
#[derive(Debug)]
pub struct Order {
    /// Whom to call.
    pub terminal: Terminal,
    /// The line.
    pub line: Name,
    /// What is dialled.
    pub number: DialString,
    /// Its record so far.
    pub record: CallRecord,
    /// What it may use.
    pub allowance: Allowance,
}

/// What the store is to do. Each is done whole or not at all, and may be done again.
#[derive(Debug, Clone)]
pub enum Job {
    /// Read a terminal and what waits for it: [`Event::Looked`](crate::Event::Looked).
    Look(TerminalId),
    /// Read all for which something waits: [`Event::LookedAtAll`](crate::Event::LookedAtAll).
    LookAtAll,
    /// Read what a call to this terminal needs: [`Event::Chosen`](crate::Event::Chosen).
    Choose(TerminalId),
    /// Write what must be on the disk before a call is dialled: [`Event::Begun`](crate::Event::Begun).
    Begin(Box<Beginning>),
    /// Write the state of a terminal's connection.
    Connect {
        /// The terminal.
        terminal: TerminalId,
        /// Its state.
        connection: Connection,
    },
    /// Write that a terminal's connection is down, if it is about this call.
    Disconnect {
        /// The terminal.
        terminal: TerminalId,
        /// The call.
        call: CallId,
    },
    /// Write what a call came to. Until then it counts as what was reserved.
    Settle {
        /// The call.
        call: CallId,
        /// What it cost.
        amount: Micros,
    },
    /// Write how often a number's calls failed; `None`: the last did not.
    KeepLoop {
        /// The number.
        number: Number,
        /// Since when, and how often.
        dial_loop: Option<Loop>,
    },
    /// Write the record of a call that was not dialled.
    Close(Box<CallRecord>),
    /// Write that a message has failed, for this [reason](crate::QUARANTINE_REASON): [`Event::Quarantined`](crate::Event::Quarantined), if the directory has
    /// the terminal.
    Quarantine {
        /// The terminal.
        terminal: TerminalId,
        /// The message.
        message: MessageId,
    },
    /// Write that a terminal did not come that was rung by this call.
    NoSession(CallId),
}

/// What is on the disk before a call is dialled.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// The terminal.
    pub terminal: TerminalId,
    /// The call's record so far.
    pub record: CallRecord,
    /// What it may cost; `None`: nothing.
    pub reservation: Option<Reservation>,
}
