//! Pure. What a server says next in a delivery session.
//!
//! ```text
//!             add              step: Deliver            settled
//!   (nothing) ───► waiting ──────────────► under way ──────────────► done
//!                     ▲                        │ refused: not again in this session
//!                     └── next session ◄───────┘
//!   step, with nothing waiting and nothing under way: NothingMore, once for each time that becomes true; the terminal
//!   hangs up, or lingers and receives what arrives meanwhile.
//! ```
//!
//! Several messages are under way at once, so that none waits for the receipt of the one before: the most urgent begin
//! first, and their octets go first ([`Turns`]). Before the far end is proved there is one. Suspects, with which earlier
//! sessions broke, go last and alone, so that the next break tells which it was; only what is more urgent goes beside one.

mod turns;

use std::collections::{BTreeMap, BTreeSet};

use crate::message::{MessageId, Urgency};

pub(crate) use turns::Turns;

/// Messages under way at once; a terminal takes as many.
pub(crate) const UNDER_WAY_MAX: u16 = 64;

/// Places among them that only more urgent messages get, for each step of urgency.
const RESERVED: usize = 8;

/// Octets of content under way at once among messages as urgent as the next, or more: what memory is for. One message may
/// have more when it is the only one.
const HELD_OCTETS_MAX: u64 = 256 * 1024;

/// A message that waits for a terminal. They sort as they are delivered: the most urgent first, then in the order of their
/// ids, which is that of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// How soon it must be there.
    pub urgency: Urgency,
    /// Which.
    pub id: MessageId,
    /// Octets of content.
    pub size: u64,
}

/// A message's place in the order: suspects behind all others, in the order in which they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    suspicion: Option<usize>,
    due: Due,
}

/// The order of a session's messages, and its end.
#[derive(Debug, Default)]
pub struct Plan {
    suspects: BTreeMap<MessageId, usize>,
    waiting: BTreeSet<Place>,
    under_way: BTreeMap<MessageId, Place>,
    /// What this session has seen: a message that was refused or received is not offered twice on one call.
    seen: BTreeSet<MessageId>,
    is_proved: bool,
    has_said_nothing_more: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this message.
    Deliver(Due),
    /// Say that there is nothing more; the terminal may hang up.
    NothingMore,
    /// Wait: for a receipt, for the terminal to hang up, or for more to become due.
    Wait,
}

impl Plan {
    /// A plan in which `suspects` come last, the least suspicious first.
    pub fn new(suspects: impl IntoIterator<Item = MessageId>) -> Self {
        let suspects = suspects
            .into_iter()
            .enumerate()
            .map(|(rank, id)| (id, rank))
            .collect();
        Self {
            suspects,
            ..Self::default()
        }
    }

    /// The far end has proved itself: more than one message may be under way.
    pub fn proved(&mut self) {
        self.is_proved = true;
    }

    /// Adds messages that are due; those that this session has seen are passed over.
    pub fn add(&mut self, due: impl IntoIterator<Item = Due>) {
        for due in due {
            if !self.seen.contains(&due.id) {
                self.waiting.insert(Place {
                    suspicion: self.suspects.get(&due.id).copied(),
                    due,
                });
            }
        }
    }

    /// Whether there is a message to be sent.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether no message waits or is under way.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// The next thing to do; asked again until it is to wait.
    pub fn step(&mut self) -> Step {
        if let Some(place) = self.waiting.first().copied() {
            if !self.may_begin(place) {
                return Step::Wait;
            }
            self.waiting.pop_first();
            self.under_way.insert(place.due.id, place);
            self.seen.insert(place.due.id);
            self.has_said_nothing_more = false;
            return Step::Deliver(place.due);
        }
        if !self.under_way.is_empty() || std::mem::replace(&mut self.has_said_nothing_more, true) {
            return Step::Wait;
        }
        Step::NothingMore
    }

    fn may_begin(&self, place: Place) -> bool {
        if self.under_way.is_empty() {
            return true;
        }
        let urgency = place.due.urgency;
        let is_beside_suspect = self
            .under_way
            .values()
            .any(|other| other.suspicion.is_some() && other.due.urgency <= urgency);
        if !self.is_proved || place.suspicion.is_some() || is_beside_suspect {
            return false;
        }
        let reserved = RESERVED
            * Urgency::ALL
                .iter()
                .filter(|other| **other < urgency)
                .count();
        let as_urgent = || {
            self.under_way
                .values()
                .filter(|other| other.due.urgency <= urgency)
        };
        let held = as_urgent().fold(0, |held: u64, other| held.saturating_add(other.due.size));
        let is_held =
            held.saturating_add(place.due.size) > HELD_OCTETS_MAX && as_urgent().next().is_some();
        self.under_way.len() < usize::from(UNDER_WAY_MAX) - reserved && !is_held
    }

    /// The session has gone on by something else than a message: what was said of its end has to be said anew.
    pub fn go_on(&mut self) {
        self.has_said_nothing_more = false;
    }

    /// A message under way was received or refused.
    pub fn settled(&mut self, id: MessageId) {
        self.under_way.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(urgency: Urgency, size: u64) -> Due {
        Due {
            urgency,
            id: MessageId::now(),
            size,
        }
    }

    fn normal(id: MessageId) -> Due {
        Due {
            urgency: Urgency::Normal,
            id,
            size: 100,
        }
    }

    fn proved(due: impl IntoIterator<Item = Due>) -> Plan {
        let mut plan = Plan::default();
        plan.proved();
        plan.add(due);
        plan
    }

    /// All that begins now.
    fn begun(plan: &mut Plan) -> Vec<Due> {
        std::iter::from_fn(|| match plan.step() {
            Step::Deliver(due) => Some(due),
            Step::NothingMore | Step::Wait => None,
        })
        .collect()
    }

    #[test]
    fn what_is_urgent_goes_before_what_was_accepted_before_it_and_bulk_goes_last() {
        let dues = [
            Urgency::Bulk,
            Urgency::Normal,
            Urgency::Urgent,
            Urgency::Normal,
            Urgency::Urgent,
        ]
        .map(|urgency| due(urgency, 1));
        let mut plan = proved(dues);
        assert_eq!(
            begun(&mut plan),
            [2, 4, 1, 3, 0].map(|index: usize| dues[index])
        );
        assert_eq!(plan.step(), Step::Wait);
        dues.iter().for_each(|due| plan.settled(due.id));
        assert_eq!(plan.step(), Step::NothingMore);
    }

    #[test]
    fn before_the_proof_there_is_one_and_afterwards_there_are_many() {
        let dues = [
            due(Urgency::Normal, 1),
            due(Urgency::Normal, 1),
            due(Urgency::Normal, 1),
        ];
        let mut plan = Plan::default();
        plan.add(dues);
        assert_eq!(begun(&mut plan), dues[..1]);
        plan.proved();
        assert_eq!(begun(&mut plan), dues[1..]);
    }

    #[test]
    fn a_place_is_kept_for_what_is_more_urgent_however_much_waits() {
        let mut plan = proved((0..200).map(|_| due(Urgency::Bulk, 1)));
        assert_eq!(begun(&mut plan).len(), 48);
        plan.add((0..200).map(|_| due(Urgency::Normal, 1)));
        assert_eq!(begun(&mut plan).len(), 8);
        plan.add((0..200).map(|_| due(Urgency::Urgent, 1)));
        assert_eq!(begun(&mut plan).len(), 8);
    }

    #[test]
    fn one_large_content_of_an_urgency_is_held_and_what_is_more_urgent_does_not_wait_for_it() {
        let mega = 1 << 20;
        let bulk = [due(Urgency::Bulk, mega), due(Urgency::Bulk, mega)];
        let mut plan = proved(bulk);
        assert_eq!(begun(&mut plan), bulk[..1]);
        let urgent = due(Urgency::Urgent, mega);
        plan.add([urgent]);
        assert_eq!(begun(&mut plan), [urgent]);
        plan.settled(urgent.id);
        assert_eq!(begun(&mut plan), [], "the other large one still waits");
        plan.settled(bulk[0].id);
        assert_eq!(begun(&mut plan), bulk[1..]);
    }

    #[test]
    fn suspects_go_last_and_alone_the_least_suspicious_first() {
        let dues = [
            due(Urgency::Urgent, 1),
            due(Urgency::Urgent, 1),
            due(Urgency::Bulk, 1),
        ];
        let mut plan = Plan::new([dues[1].id, dues[0].id]);
        plan.proved();
        plan.add(dues);
        for expected in [2, 1, 0] {
            assert_eq!(begun(&mut plan), [dues[expected]]);
            plan.settled(dues[expected].id);
        }
    }

    #[test]
    fn beside_a_suspect_goes_only_what_is_more_urgent() {
        let suspect = due(Urgency::Normal, 1);
        let mut plan = Plan::new([suspect.id]);
        plan.proved();
        plan.add([suspect]);
        assert_eq!(begun(&mut plan), [suspect]);
        plan.add([due(Urgency::Normal, 1)]);
        assert_eq!(begun(&mut plan), []);
        let urgent = due(Urgency::Urgent, 1);
        plan.add([urgent]);
        assert_eq!(begun(&mut plan), [urgent]);
    }

    #[test]
    fn a_message_that_comes_while_one_is_under_way_rides_along() {
        let [first, second] = [MessageId::now(), MessageId::now()].map(normal);
        let mut plan = proved([first]);
        assert_eq!(begun(&mut plan), [first]);
        plan.add([first, second]);
        assert_eq!(begun(&mut plan), [second]);
    }

    #[test]
    fn a_refused_message_is_not_offered_again_in_the_same_session() {
        let only = normal(MessageId::now());
        let mut plan = proved([only]);
        plan.step();
        plan.settled(only.id);
        plan.add([only]);
        assert_eq!(plan.step(), Step::NothingMore);
    }

    #[test]
    fn a_terminal_that_lingers_is_brought_what_comes_and_told_the_end_again() {
        let late = normal(MessageId::now());
        let mut plan = Plan::default();
        assert_eq!(plan.step(), Step::NothingMore);
        assert_eq!(plan.step(), Step::Wait);
        plan.add([late]);
        assert_eq!(plan.step(), Step::Deliver(late));
        plan.settled(late.id);
        assert!(plan.is_done());
        assert_eq!(plan.step(), Step::NothingMore);
    }
}
