//! The decision about a ring, from the caller's number, before anything costs money. Pure.

use std::collections::BTreeSet;
use std::fmt;

use crate::number::Number;
use crate::ring::{Caller, Ring};

/// The registered numbers: who may make us answer. An empty list answers nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screening {
    registered: BTreeSet<Number>,
}

/// What to do with a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Answer: this registered number is calling.
    Answer(Number),
    /// Stay silent: on an analogue line the only refusal that costs the caller nothing.
    Refuse(RefusalReason),
}

/// Why a ring is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalReason {
    /// The number is not registered.
    NotRegistered,
    /// The caller withheld the number.
    Withheld,
    /// The exchange told none.
    Absent,
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRegistered => "not registered",
            Self::Withheld => "withheld",
            Self::Absent => "no caller id",
        })
    }
}

impl Screening {
    /// Screening by `registered` numbers.
    pub fn new(registered: impl IntoIterator<Item = Number>) -> Self {
        Self { registered: registered.into_iter().collect() }
    }

    /// Decides about a ring. The whole number must be equal: no prefix, no suffix, no wildcard.
    pub fn decide(&self, ring: &Ring) -> Decision {
        match &ring.caller {
            Caller::Number(number) if self.registered.contains(number) => Decision::Answer(number.clone()),
            Caller::Number(_) => Decision::Refuse(RefusalReason::NotRegistered),
            Caller::Withheld => Decision::Refuse(RefusalReason::Withheld),
            Caller::Absent => Decision::Refuse(RefusalReason::Absent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(registered: &[&str], caller: Caller) -> Decision {
        Screening::new(registered.iter().map(|number| number.parse().unwrap())).decide(&Ring { caller })
    }

    fn number(text: &str) -> Caller {
        Caller::Number(text.parse().unwrap())
    }

    #[test]
    fn only_the_very_same_number_is_answered() {
        let registered = ["0661234567", "+49661234567"];
        assert_eq!(decide(&registered, number("0661234567")), Decision::Answer("0661234567".parse().unwrap()));
        for look_alike in ["10661234567", "06612345678", "661234567", "066123456", "49661234567", "+4966123456"] {
            assert_eq!(decide(&registered, number(look_alike)), Decision::Refuse(RefusalReason::NotRegistered));
        }
    }

    #[test]
    fn nobody_is_answered_when_nobody_is_registered() {
        assert_eq!(decide(&[], number("201")), Decision::Refuse(RefusalReason::NotRegistered));
    }

    #[test]
    fn withheld_and_absent_numbers_are_refused_with_their_reason() {
        assert_eq!(decide(&["201"], Caller::Withheld), Decision::Refuse(RefusalReason::Withheld));
        assert_eq!(decide(&["201"], Caller::Absent), Decision::Refuse(RefusalReason::Absent));
    }
}
