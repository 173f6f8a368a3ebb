//! Pure. How a call ended: whose fault it was, what follows for the retry, and the words for the call record.

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
    /// The session ended normally: "nothing more" was sent, or the far end got what it asked for.
    Completed,
    /// As `Completed`, but the terminal refused some messages, or this server could not read them. That is the
    /// messages' fault: each rests by itself, and the call counts as good.
    MessagesRefused {
        /// Messages delivered.
        delivered: u32,
        /// Messages refused.
        refused: u32,
        /// Messages that this server could not read.
        unreadable: u32,
    },
    /// The terminal proved itself and asked for a pause.
    PutOff {
        /// Its reason, in its own words.
        why: String,
        /// Minimum pause.
        wait: Duration,
    },
    /// The called side is busy.
    Busy,
    /// It rang without an answer.
    NoAnswer,
    /// It rang, as intended: the terminal is to connect over its own Internet access.
    Rung,
    /// It rang, and the terminal did not connect.
    NoSession,
    /// No such number, or the modems did not train. The call may have been answered.
    NoCarrier,
    /// The call was answered, and is no data call.
    NotData,
    /// The line has no dial tone.
    NoDialTone,
    /// Another telephone uses the line, or the exchange did not take the number.
    LineInUse,
    /// The modem refuses to redial so soon (`DELAYED`).
    RedialLimited,
    /// The modem refuses this number, or every number, for now (`BLACKLISTED`, `BLACKLIST FULL`).
    Blacklisted,
    /// The modem answered the dial command with ERROR: it is faulty, or cannot dial this number.
    DialRefused,
    /// The line failed: port or modem.
    LineFailed(String),
    /// The line could not take the order; nothing was dialled.
    LineTaken,
    /// The call was up, but no link.
    LinkFailed(String),
    /// The far end did not prove to be the called terminal.
    NotProved(String),
    /// The link, or its session, was lost.
    SessionLost {
        /// The cause.
        why: String,
        /// The messages under way.
        delivering: Option<UnderWay>,
    },
    /// The far end kept the line and was silent.
    Idle(&'static str),
    /// The terminal has connected anew, and is served there.
    Replaced,
    /// Ended by this server: the far end lost its trust or a right while it was connected.
    Revoked(&'static str),
    /// Hung up before it cost more than was reserved.
    AllowanceSpent,
    /// Not placed: no message waits for the terminal any more.
    NothingWaits,
    /// Not placed: before the call was on the disk, the terminal connected by itself or was paused.
    Withdrawn,
    /// Not placed: the store failed.
    NotRecorded(String),
    /// Not placed: the directory has no number for the terminal, or a forbidden one.
    NotDialled(String),
    /// Not placed: a budget is spent.
    BudgetSpent {
        /// Which.
        budget: String,
        /// Time until the next budget.
        wait: Duration,
    },
    /// Not placed: calls to the number failed for days. The operator must resume it.
    LoopBroken,
    /// Hung up by the operator, during dialling or later.
    EndedByOperator,
    /// An invited terminal was reached and did not enrol.
    NotEnrolled(String),
    /// A failure of this server: store, address pool.
    OurFault(String),
}

/// Messages under way when a session was lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// The messages, in sending order: sent at least in part, without a receipt. At least one.
    pub messages: Vec<MessageId>,
    /// Number of other messages with a receipt on this call: the link was good for them.
    pub received_before: u32,
    /// Octets that the terminal reported to hold of some of them before this call sent them.
    pub held: BTreeMap<MessageId, u64>,
}

/// The party at fault for how a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None: the call went well, or the order came too late.
    Nobody,
    /// The terminal: switched off, out of reach, busy, or not authenticated.
    Terminal,
    /// Our line.
    Line,
    /// The path between the two: noise, a lost carrier.
    Between,
    /// This server, or its operator.
    Ours,
}

/// How far a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// Nothing was dialled.
    Nothing,
    /// The number was dialled, without an answer.
    Ringing,
    /// The number was, or may have been, dialled, and may have been answered: a modem that cannot train says NO
    /// CARRIER as it does for a number that does not exist, and a line that failed does not tell how far the call
    /// came.
    Unknown,
    /// The called side answered.
    Answered,
}

/// What follows for the retry. Dispatch has the pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// No retry.
    None,
    /// A retry if the terminal does not connect in time.
    AwaitSession,
    /// At once, on another line.
    OtherLine,
    /// At once on another line; this one rests.
    LineRests,
    /// After the first pause; not counted as a failure.
    Pause,
    /// After a long pause, doubled each time up to a day: each such call costs money and can only enrol the terminal.
    OnceADay,
    /// After the usual pause, doubled with each failure.
    BackOff,
    /// After a long pause, doubled each time: the next call is likely to end the same way.
    BackOffLong,
    /// As a failure, and not before this time has passed.
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
            Self::Replaced => Kind::Replaced,
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
            Self::Replaced => f.write_str("replaced by another connection"),
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
