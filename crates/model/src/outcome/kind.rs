//! Pure. Every kind of end that a call, or an attempt at one, can have: one table.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Fault, Reached, Retry};

/// The text is no [`Kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no kind of end that a call can have")]
pub struct KindError;

macro_rules! kinds {
    ($($kind:ident $word:literal $fault:ident $reached:ident $retry:expr;)*) => {
        /// How a call, or an attempt, ended, without the particulars. Its [word](Kind::as_str) stands in call records and metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "Outcome says what each is")]
        pub enum Kind { $($kind,)* }

        impl Kind {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its word, for programs.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word,)* }
            }

            /// Whose fault it was.
            pub fn fault(self) -> Fault {
                match self { $(Self::$kind => Fault::$fault,)* }
            }

            /// How far the call came.
            pub fn reached(self) -> Reached {
                match self { $(Self::$kind => Reached::$reached,)* }
            }

            /// What it means for the next try. A time that hangs on the outcome is zero here.
            pub fn retry(self) -> Retry {
                match self { $(Self::$kind => $retry,)* }
            }
        }
    };
}

// kind            word                 fault     reached     next try
kinds! {
    Completed       "completed"         Nobody    Answered    Retry::None;
    MessagesRefused "messages-refused"  Nobody    Answered    Retry::None;
    PutOff          "put-off"           Terminal  Answered    Retry::NotBefore(Duration::ZERO);
    Busy            "busy"              Terminal  Ringing     Retry::BackOff;
    NoAnswer        "no-answer"         Terminal  Ringing     Retry::BackOff;
    Rung            "rung"              Nobody    Ringing     Retry::AwaitSession;
    NoSession       "no-session"        Terminal  Ringing     Retry::BackOff;
    NoCarrier       "no-carrier"        Between   Unknown     Retry::BackOff;
    NotData         "not-data"          Terminal  Unknown     Retry::BackOffLong;
    NoDialTone      "no-dial-tone"      Line      Nothing     Retry::LineRests;
    LineInUse       "line-in-use"       Line      Nothing     Retry::LineRests;
    RedialLimited   "redial-limited"    Nobody    Nothing     Retry::RedialLimit;
    Blacklisted     "blacklisted"       Line      Nothing     Retry::RedialLimit;
    DialRefused     "dial-refused"      Line      Nothing     Retry::LineRefuses;
    LineFailed      "line-failed"       Line      Unknown     Retry::LineRests;
    LineTaken       "line-taken"        Nobody    Nothing     Retry::OtherLine;
    LinkFailed      "link-failed"       Between   Answered    Retry::BackOff;
    NotProved       "not-proved"        Terminal  Answered    Retry::BackOffLong;
    SessionLost     "session-lost"      Between   Answered    Retry::BackOff;
    Idle            "idle"              Terminal  Answered    Retry::BackOff;
    Replaced        "replaced"          Nobody    Answered    Retry::Pause;
    Revoked         "revoked"           Ours      Answered    Retry::None;
    AllowanceSpent  "allowance-spent"   Ours      Answered    Retry::BackOff;
    NothingWaits    "nothing-waits"     Nobody    Nothing     Retry::None;
    Withdrawn       "withdrawn"         Nobody    Nothing     Retry::None;
    NotRecorded     "not-recorded"      Ours      Nothing     Retry::BackOff;
    NotDialled      "not-dialled"       Ours      Nothing     Retry::BackOffLong;
    BudgetSpent     "budget-spent"      Ours      Nothing     Retry::NextBudget(Duration::ZERO);
    LoopBroken      "loop-broken"       Ours      Nothing     Retry::Never;
    EndedByOperator "ended-by-operator" Nobody    Unknown     Retry::Pause;
    NotEnrolled     "not-enrolled"      Terminal  Answered    Retry::OnceADay;
    OurFault        "our-fault"         Ours      Answered    Retry::BackOff;
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or(KindError)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_of_one_kind() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        assert_eq!("Busy".parse::<Kind>(), Err(KindError));
    }

    #[test]
    fn a_terminal_is_not_backed_off_from_for_a_fault_of_our_line() {
        let is_failure = |kind: &Kind| matches!(kind.retry(), Retry::BackOff | Retry::BackOffLong);
        for kind in Kind::ALL.iter().filter(|kind| is_failure(kind)) {
            assert_ne!(kind.fault(), Fault::Line, "{kind}");
        }
    }
}
