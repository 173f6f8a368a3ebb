//! Pure. How a call ended: whose fault it was, what it means for the next try, and the words for it in the call record.

mod kind;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use delivery::MessageId;
use modem::Failure;

pub use kind::{Kind, KindError};

/// How a call, or an attempt, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The far end was told that there is nothing more, or was served as it wished.
    Completed,
    /// It was, but some messages it did not take, or they could not be read here. That is the messages' fault: each of them rests
    /// by itself, and the call was a good one.
    MessagesRefused {
        /// Messages that it took.
        delivered: u32,
        /// Messages that it refused.
        refused: u32,
        /// Messages that could not be read here.
        unreadable: u32,
    },
    /// It was reached and proved, and asked to be left alone for so long at least.
    PutOff {
        /// Its words.
        why: String,
        /// How long.
        wait: Duration,
    },
    /// The called side is in a call.
    Busy,
    /// It rang and nobody answered.
    NoAnswer,
    /// It rang, which was all that was wanted: the terminal is to come over its own Internet access.
    Rung,
    /// It rang, and the terminal did not come.
    NoSession,
    /// No such number, or the modems did not understand each other. Somebody may have answered.
    NoCarrier,
    /// Somebody answered, and it was no data call.
    NotData,
    /// The line has no dial tone.
    NoDialTone,
    /// Another telephone has the line, or the exchange did not take the number.
    LineInUse,
    /// The modem may not dial the number so soon (`DELAYED`).
    RedialLimited,
    /// The modem dials this number, or any, no more for now (`BLACKLISTED`, `BLACKLIST FULL`).
    Blacklisted,
    /// The modem took the dial command for an error: it is faulty, or the number is nothing it can dial.
    DialRefused,
    /// The line failed: port or modem.
    LineFailed(String),
    /// The order came to a line that could not take it; nothing was dialled.
    LineTaken,
    /// No link came up over the call.
    LinkFailed(String),
    /// The far end did not prove, or did not say, that it is the one that was called.
    NotProved(String),
    /// The link, or the session on it, was lost.
    SessionLost {
        /// What ended it.
        why: String,
        /// The messages that were under way.
        delivering: Option<UnderWay>,
    },
    /// The far end kept the line and said nothing.
    Idle(&'static str),
    /// It was ended here: the far end lost its trust or a right while it was connected.
    Revoked(&'static str),
    /// It was hung up before it would have cost more than was reserved.
    AllowanceSpent,
    /// Not placed: nothing waits for the terminal any more.
    NothingWaits,
    /// Not placed: when the disk had the call, the terminal had come by itself, or was not to be called any more.
    Withdrawn,
    /// Not placed: the store failed.
    NotRecorded(String),
    /// Not placed: the directory has no number for it, or one that is never dialled.
    NotDialled(String),
    /// Not placed: a budget is spent.
    BudgetSpent {
        /// Which.
        budget: String,
        /// Until there is a new one.
        wait: Duration,
    },
    /// Not placed: calls to the number failed for days. The operator has to resume it.
    LoopBroken,
    /// The operator hung it up, while it was dialled or later.
    EndedByOperator,
    /// An invited terminal was reached and is not enrolled after it.
    NotEnrolled(String),
    /// Something of ours failed: store, address pool.
    OurFault(String),
}

/// Messages that were being delivered when a session was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// The messages: sent, at least in part, and not received, in the order in which they were sent. One at least.
    pub messages: Vec<MessageId>,
    /// How many others had been received on this call: the link was good for them.
    pub received_before: u32,
    /// Octets that the terminal held of some of them when this call began to send them, by its own word.
    pub held: BTreeMap<MessageId, u64>,
}

/// Whose fault it was that a call ended as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody's: it went as it should, or the order came too late.
    Nobody,
    /// The terminal's: switched off, out of reach, in another call, not who it should be.
    Terminal,
    /// Our line's.
    Line,
    /// Something between the two: noise, a lost carrier.
    Between,
    /// Ours, or our operator's.
    Ours,
}

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// Nothing was dialled.
    Nothing,
    /// The number was dialled, and nobody answered.
    Ringing,
    /// The number was, or may have been, dialled, and somebody may have answered: a modem that cannot train says NO CARRIER as much as
    /// one whose number does not exist; a line that failed says nothing of how far the call was.
    Unknown,
    /// The called side answered.
    Answered,
}

/// What a call's end means for the next try. The pauses are the dispatch's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// None is needed.
    None,
    /// When the terminal has not come in time.
    AwaitSession,
    /// At once, on another line.
    OtherLine,
    /// At once on another line; this one rests.
    LineRests,
    /// After the first pause: it counts as no failure.
    Pause,
    /// After a long pause, doubled up to a day: each such call is paid for, and can do no more than enrol the terminal.
    OnceADay,
    /// After the usual pause, doubled with each failure.
    BackOff,
    /// After a long pause, doubled: the next call will likely end the same way.
    BackOffLong,
    /// As a failure, and not before so long.
    NotBefore(Duration),
    /// At once on another line; if there is none, when the modem's own lock has run out.
    RedialLimit,
    /// At once on another line; if none takes the number, as [`Retry::BackOffLong`].
    LineRefuses,
    /// When there is a new budget.
    NextBudget(Duration),
    /// When the operator says so.
    Never,
}

impl Outcome {
    /// Its kind: all that is decided by, but for what was under way and how long to wait.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Completed => Kind::Completed,
            Self::MessagesRefused { .. } => Kind::MessagesRefused,
            Self::PutOff { .. } => Kind::PutOff,
            Self::Busy => Kind::Busy,
            Self::NoAnswer => Kind::NoAnswer,
            Self::Rung => Kind::Rung,
            Self::NoSession => Kind::NoSession,
            Self::NoCarrier => Kind::NoCarrier,
            Self::NotData => Kind::NotData,
            Self::NoDialTone => Kind::NoDialTone,
            Self::LineInUse => Kind::LineInUse,
            Self::RedialLimited => Kind::RedialLimited,
            Self::Blacklisted => Kind::Blacklisted,
            Self::DialRefused => Kind::DialRefused,
            Self::LineFailed(_) => Kind::LineFailed,
            Self::LineTaken => Kind::LineTaken,
            Self::LinkFailed(_) => Kind::LinkFailed,
            Self::NotProved(_) => Kind::NotProved,
            Self::SessionLost { .. } => Kind::SessionLost,
            Self::Idle(_) => Kind::Idle,
            Self::Revoked(_) => Kind::Revoked,
            Self::AllowanceSpent => Kind::AllowanceSpent,
            Self::NothingWaits => Kind::NothingWaits,
            Self::Withdrawn => Kind::Withdrawn,
            Self::NotRecorded(_) => Kind::NotRecorded,
            Self::NotDialled(_) => Kind::NotDialled,
            Self::BudgetSpent { .. } => Kind::BudgetSpent,
            Self::LoopBroken => Kind::LoopBroken,
            Self::EndedByOperator => Kind::EndedByOperator,
            Self::NotEnrolled(_) => Kind::NotEnrolled,
            Self::OurFault(_) => Kind::OurFault,
        }
    }

    /// Whose fault it was.
    pub fn fault(&self) -> Fault {
        self.kind().fault()
    }

    /// What it means for the next try.
    pub fn retry(&self) -> Retry {
        match self {
            Self::PutOff { wait, .. } => Retry::NotBefore(*wait),
            Self::BudgetSpent { wait, .. } => Retry::NextBudget(*wait),
            other => other.kind().retry(),
        }
    }

    /// Whether the number was, or may have been, dialled: such an attempt counts for the redial rules.
    pub fn was_dialled(&self) -> bool {
        self.kind().reached() > Reached::Nothing
    }

    /// Whether a session came to its end: what is at the far end is well, and so is the way there.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Completed | Self::MessagesRefused { .. })
    }

    /// Whether the called side is known to have answered: it is no redial to call it again.
    pub fn was_answered(&self) -> bool {
        self.kind().reached() == Reached::Answered
    }

    /// Whether the called side may have answered: then the call may be on the bill.
    pub fn may_be_charged(&self) -> bool {
        self.kind().reached() >= Reached::Unknown
    }

    /// The messages that were under way when the session was lost.
    pub fn delivering(&self) -> Option<&UnderWay> {
        match self {
            Self::SessionLost { delivering, .. } => delivering.as_ref(),
            _ => None,
        }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Busy => Self::Busy,
            Failure::NoAnswer => Self::NoAnswer,
            Failure::NoCarrier => Self::NoCarrier,
            Failure::NoDialTone => Self::NoDialTone,
            Failure::LineInUse => Self::LineInUse,
            Failure::RedialLimit => Self::RedialLimited,
            Failure::Blacklisted => Self::Blacklisted,
            Failure::Refused => Self::DialRefused,
            Failure::NotData => Self::NotData,
            Failure::NotReady => Self::LineTaken,
        }
    }
}

/// The words in the call record.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::MessagesRefused {
                delivered,
                refused,
                unreadable,
            } => {
                write!(f, "{delivered} delivered")?;
                let others = [(refused, "refused"), (unreadable, "unreadable here")];
                others
                    .into_iter()
                    .filter(|(count, _)| **count > 0)
                    .try_for_each(|(count, what)| write!(f, ", {count} {what}"))
            }
            Self::PutOff { why, .. } => write!(f, "put off {why}"),
            Self::Busy => f.write_str("busy"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::Rung => f.write_str("rung"),
            Self::NoSession => f.write_str("rung, no session"),
            Self::NoCarrier => f.write_str("no carrier"),
            Self::NotData => f.write_str("not a data call"),
            Self::NoDialTone => f.write_str("no dial tone"),
            Self::LineInUse => f.write_str("line in use"),
            Self::RedialLimited => f.write_str("the modem's redial limit"),
            Self::Blacklisted => f.write_str("blacklisted by the modem's redial limit"),
            Self::DialRefused => f.write_str("the modem refused the command"),
            Self::LineFailed(why) => write!(f, "line failed: {why}"),
            Self::LineTaken => f.write_str("line taken"),
            Self::LinkFailed(why) => write!(f, "link failed: {why}"),
            Self::NotProved(why) => write!(f, "not proved: {why}"),
            Self::SessionLost { why, .. } => f.write_str(why),
            Self::Idle(what) => f.write_str(what),
            Self::Revoked(why) => write!(f, "ended by the operator: {why}"),
            Self::AllowanceSpent => f.write_str("hung up: what was reserved is spent"),
            Self::NothingWaits => f.write_str("nothing waits"),
            Self::Withdrawn => f.write_str("withdrawn before it was dialled"),
            Self::NotRecorded(why) => write!(f, "could not be recorded: {why}"),
            Self::NotDialled(why) => write!(f, "not dialled: {why}"),
            Self::BudgetSpent { budget, .. } => {
                write!(f, "not dialled: the budget of {budget} is spent")
            }
            Self::LoopBroken => f.write_str("not dialled: calls failed for days"),
            Self::EndedByOperator => f.write_str("ended by the operator"),
            Self::NotEnrolled(why) => write!(f, "not enrolled: {why}"),
            Self::OurFault(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_is_no_fault_of_the_terminal_and_the_record_says_what_happened_to_each() {
        let outcome = |delivered, refused, unreadable| Outcome::MessagesRefused {
            delivered,
            refused,
            unreadable,
        };
        for (outcome, words) in [
            (outcome(3, 1, 0), "3 delivered, 1 refused"),
            (outcome(0, 2, 0), "0 delivered, 2 refused"),
            (outcome(1, 0, 1), "1 delivered, 1 unreadable here"),
            (
                outcome(1, 2, 3),
                "1 delivered, 2 refused, 3 unreadable here",
            ),
        ] {
            assert_eq!(outcome.to_string(), words);
            assert_eq!(
                (outcome.retry(), outcome.fault(), outcome.is_good()),
                (Retry::None, Fault::Nobody, true)
            );
        }
    }

    #[test]
    fn what_the_modem_says_keeps_its_words_in_the_call_record() {
        for failure in [
            Failure::Busy,
            Failure::NoAnswer,
            Failure::NoCarrier,
            Failure::NoDialTone,
            Failure::RedialLimit,
        ] {
            assert_eq!(Outcome::from(failure).to_string(), failure.to_string());
        }
    }
}
