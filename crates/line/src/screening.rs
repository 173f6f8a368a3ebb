//! Pure. The decision about a ring from the caller's number, before it costs money.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::hours::{Hours, WeekMinute};
use crate::number::Number;
use crate::ring::{Caller, Ring};

/// The registered numbers and their rules. With an empty list no ring is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screening {
    rules: BTreeMap<Number, Rule>,
}

/// The rule of a registered number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// What a ring from it does.
    pub action: Action,
    /// Hours in which the rule holds; outside them the ring is refused.
    pub hours: Hours,
    /// Rings per hour that are acted on; `None`: the default of the action.
    pub per_hour: Option<u32>,
}

/// The action for a ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    /// Answer; the call carries the data.
    #[default]
    Answer,
    /// Never answer: an exception from a wider rule elsewhere, or for a time.
    Refuse,
    /// Refuse, and call the registered number: the ring alone is the message, and is free of charge.
    CallBack,
    /// Refuse, and connect to the configured server over the terminal's own Internet access.
    Connect,
}

impl Action {
    /// Rings per hour that are acted on if the rule does not say; `None`: all of them. The limit exists because each
    /// action costs something, and a caller with a forged number rings for free.
    pub fn usual_per_hour(self) -> Option<u32> {
        match self {
            Self::Answer | Self::Refuse => None,
            Self::CallBack => Some(20),
            Self::Connect => Some(60),
        }
    }
}

/// The text names no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no action; there are \"answer\", \"refuse\", \"call-back\" and \"connect\"")]
pub struct ActionError(String);

/// The decision about a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Answer: the caller is this registered number.
    Answer(Number),
    /// Refuse, and call this registered number. It is never a number that is only in the ring.
    CallBack(Number),
    /// Refuse, and connect to the configured server: this registered number rang.
    Connect(Number),
    /// Refuse.
    Refuse(RefusalReason),
}

/// Why a ring is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalReason {
    /// The number is not registered.
    NotRegistered,
    /// The caller withheld the number.
    Withheld,
    /// The exchange sent no number.
    Absent,
    /// The rule of the number is to refuse.
    Refused,
    /// Outside the hours of the rule.
    OutOfHours,
    /// The number exceeded its rings per hour.
    TooOften,
    /// Recent callers with this number failed to authenticate as the server.
    Unproved,
    /// A voice or fax call: answering it would cost money and bring no data.
    NoData,
}

impl RefusalReason {
    /// All reasons.
    pub const ALL: [RefusalReason; 8] = [
        Self::NotRegistered,
        Self::Withheld,
        Self::Absent,
        Self::Refused,
        Self::OutOfHours,
        Self::TooOften,
        Self::Unproved,
        Self::NoData,
    ];
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRegistered => "not registered",
            Self::Withheld => "withheld",
            Self::Absent => "no caller id",
            Self::Refused => "registered to be refused",
            Self::OutOfHours => "out of hours",
            Self::TooOften => "rings too often",
            Self::Unproved => "not proved on earlier calls",
            Self::NoData => "no data call",
        })
    }
}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        Ok(match text {
            "answer" => Self::Answer,
            "refuse" => Self::Refuse,
            "call-back" => Self::CallBack,
            "connect" => Self::Connect,
            _ => return Err(ActionError(text.to_owned())),
        })
    }
}

/// The period of [`Rule::per_hour`].
pub const RATE_PERIOD: Duration = Duration::from_secs(3600);

impl Screening {
    /// Screening with numbers that are answered at any time.
    pub fn new(registered: impl IntoIterator<Item = Number>) -> Self {
        Self {
            rules: registered
                .into_iter()
                .map(|number| (number, Rule::default()))
                .collect(),
        }
    }

    /// Registers a number. `false`: it is registered already and stays unchanged.
    pub fn register(&mut self, number: Number, rule: Rule) -> bool {
        let is_new = !self.rules.contains_key(&number);
        if is_new {
            self.rules.insert(number, rule);
        }
        is_new
    }

    /// The registered numbers and their rules, in order.
    pub fn rules(&self) -> impl Iterator<Item = (&Number, &Rule)> {
        self.rules.iter()
    }

    /// Decides about a ring at minute `at` of the week. `acted_on` counts the rings of a number that were acted on in
    /// the last [`RATE_PERIOD`]. The whole number must match, or the presented number must be a spelling of it at the
    /// line's place ([`Ring::at`]): no prefix, no suffix, no wildcard.
    pub fn decide(
        &self,
        ring: &Ring,
        at: WeekMinute,
        acted_on: impl FnOnce(&Number) -> u32,
    ) -> Decision {
        match &ring.caller {
            Caller::Number(_) => {}
            Caller::Withheld => return Decision::Refuse(RefusalReason::Withheld),
            Caller::Absent => return Decision::Refuse(RefusalReason::Absent),
        }
        let Some((number, rule)) = ring
            .numbers()
            .find_map(|number| self.rules.get_key_value(number))
        else {
            return Decision::Refuse(RefusalReason::NotRegistered);
        };
        if rule.action == Action::Refuse {
            return Decision::Refuse(RefusalReason::Refused);
        }
        if !rule.hours.contains(at) {
            return Decision::Refuse(RefusalReason::OutOfHours);
        }
        let limit = rule.per_hour.or(rule.action.usual_per_hour());
        if limit.is_some_and(|limit| acted_on(number) >= limit) {
            return Decision::Refuse(RefusalReason::TooOften);
        }
        match rule.action {
            Action::Answer if ring.is_no_data => Decision::Refuse(RefusalReason::NoData),
            Action::Answer => Decision::Answer(number.clone()),
            Action::CallBack => Decision::CallBack(number.clone()),
            Action::Connect => Decision::Connect(number.clone()),
            Action::Refuse => Decision::Refuse(RefusalReason::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY_NOON: WeekMinute = WeekMinute::from_monday(12 * 60);

    fn screening(registered: &[&str]) -> Screening {
        Screening::new(registered.iter().map(|number| number.parse().unwrap()))
    }

    fn decide(registered: &[&str], caller: Caller) -> Decision {
        screening(registered).decide(&Ring::new(caller, false), MONDAY_NOON, |_| 0)
    }

    fn number(text: &str) -> Caller {
        Caller::Number(text.parse().unwrap())
    }

    fn with(rule: Rule, acted_on: u32) -> Decision {
        let mut screening = Screening::default();
        assert!(screening.register("201".parse().unwrap(), rule));
        screening.decide(&Ring::new(number("201"), false), MONDAY_NOON, |_| acted_on)
    }

    #[test]
    fn a_voice_call_is_not_answered_but_may_be_a_signal() {
        let voice = Ring::new(number("201"), true);
        let decide = |action| {
            let mut screening = Screening::default();
            screening.register(
                "201".parse().unwrap(),
                Rule {
                    action,
                    ..Rule::default()
                },
            );
            screening.decide(&voice, MONDAY_NOON, |_| 0)
        };
        assert_eq!(
            decide(Action::Answer),
            Decision::Refuse(RefusalReason::NoData)
        );
        assert!(matches!(decide(Action::CallBack), Decision::CallBack(_)));
        assert!(matches!(decide(Action::Connect), Decision::Connect(_)));
    }

    #[test]
    fn only_the_very_same_number_is_answered() {
        let registered = ["0661234567", "+49661234567"];
        assert_eq!(
            decide(&registered, number("0661234567")),
            Decision::Answer("0661234567".parse().unwrap())
        );
        for look_alike in [
            "10661234567",
            "06612345678",
            "661234567",
            "066123456",
            "49661234567",
            "+4966123456",
        ] {
            assert_eq!(
                decide(&registered, number(look_alike)),
                Decision::Refuse(RefusalReason::NotRegistered)
            );
        }
    }

    #[test]
    fn nobody_is_answered_when_nobody_is_registered() {
        assert_eq!(
            decide(&[], number("201")),
            Decision::Refuse(RefusalReason::NotRegistered)
        );
    }

    #[test]
    fn withheld_and_absent_numbers_are_refused_with_their_reason() {
        assert_eq!(
            decide(&["201"], Caller::Withheld),
            Decision::Refuse(RefusalReason::Withheld)
        );
        assert_eq!(
            decide(&["201"], Caller::Absent),
            Decision::Refuse(RefusalReason::Absent)
        );
    }

    #[test]
    fn a_number_makes_us_do_what_it_is_registered_for() {
        let caller: Number = "201".parse().unwrap();
        let rule = |action| Rule {
            action,
            ..Rule::default()
        };
        assert_eq!(
            with(rule(Action::Answer), 9),
            Decision::Answer(caller.clone())
        );
        assert_eq!(
            with(rule(Action::CallBack), 9),
            Decision::CallBack(caller.clone())
        );
        assert_eq!(with(rule(Action::Connect), 9), Decision::Connect(caller));
        assert_eq!(
            with(rule(Action::Refuse), 0),
            Decision::Refuse(RefusalReason::Refused)
        );
    }

    #[test]
    fn a_ring_outside_the_hours_is_refused() {
        let hours = |window: &str| Rule {
            hours: Hours(vec![window.parse().unwrap()]),
            ..Rule::default()
        };
        assert!(matches!(
            with(hours("mon 12:00-12:01"), 0),
            Decision::Answer(_)
        ));
        assert_eq!(
            with(hours("mon 12:01-13:00"), 0),
            Decision::Refuse(RefusalReason::OutOfHours)
        );
    }

    #[test]
    fn a_number_that_rings_too_often_is_refused_until_the_hour_is_over() {
        let limited = || Rule {
            action: Action::CallBack,
            per_hour: Some(3),
            ..Rule::default()
        };
        assert!(matches!(with(limited(), 2), Decision::CallBack(_)));
        assert_eq!(
            with(limited(), 3),
            Decision::Refuse(RefusalReason::TooOften)
        );
    }

    #[test]
    fn what_a_ring_makes_us_pay_for_is_limited_where_no_rule_says_so() {
        let usual = |action| Rule {
            action,
            ..Rule::default()
        };
        assert!(matches!(
            with(usual(Action::Answer), u32::MAX),
            Decision::Answer(_)
        ));
        for (action, limit) in [(Action::CallBack, 20), (Action::Connect, 60)] {
            assert!(!matches!(
                with(usual(action), limit - 1),
                Decision::Refuse(_)
            ));
            assert_eq!(
                with(usual(action), limit),
                Decision::Refuse(RefusalReason::TooOften)
            );
            let wider = Rule {
                action,
                per_hour: Some(limit + 1),
                ..Rule::default()
            };
            assert!(!matches!(with(wider, limit), Decision::Refuse(_)));
        }
    }

    #[test]
    fn the_first_rule_of_a_number_counts() {
        let mut screening = screening(&["201"]);
        assert!(!screening.register(
            "201".parse().unwrap(),
            Rule {
                action: Action::Refuse,
                ..Rule::default()
            }
        ));
        assert_eq!(screening.rules().next().unwrap().1.action, Action::Answer);
    }
}
