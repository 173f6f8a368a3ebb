//! What a server says next in a delivery session. Pure.
//!
//! ```text
//!             add              step: Deliver            settled
//!   (nothing) ───► waiting ──────────────► under way ──────────────► done
//!                     ▲                        │ refused: not again in this session
//!                     └── next session ◄───────┘
//!   step, with nothing waiting and nothing under way: NothingMore, once for each time that becomes true; the terminal
//!   hangs up, or lingers and may be brought what comes meanwhile.
//! ```

use std::collections::BTreeSet;

use crate::message::{MessageId, Urgency};

/// A message that waits for a terminal. They sort as they are delivered: the most urgent first, then in the order of their
/// ids, which is that of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// How soon it must be there.
    pub urgency: Urgency,
    /// Which.
    pub id: MessageId,
}

/// The order of a session's messages, and its end.
#[derive(Debug, Default)]
pub struct Plan {
    waiting: BTreeSet<Due>,
    under_way: Option<MessageId>,
    /// What this session has seen: a message that was refused or received is not offered twice on one call.
    seen: BTreeSet<MessageId>,
    has_said_nothing_more: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this message.
    Deliver(MessageId),
    /// Say that there is nothing more; the terminal may hang up.
    NothingMore,
    /// Wait: for a receipt, for the terminal to hang up, or for more to become due.
    Wait,
}

impl Plan {
    /// Adds messages that are due; those that this session has seen are passed over.
    pub fn add(&mut self, due: impl IntoIterator<Item = Due>) {
        self.waiting.extend(due.into_iter().filter(|due| !self.seen.contains(&due.id)));
    }

    /// Whether there is a message to be sent.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next thing to do.
    pub fn step(&mut self) -> Step {
        if self.under_way.is_some() {
            return Step::Wait;
        }
        if let Some(Due { id, .. }) = self.waiting.pop_first() {
            self.under_way = Some(id);
            self.seen.insert(id);
            self.has_said_nothing_more = false;
            return Step::Deliver(id);
        }
        if std::mem::replace(&mut self.has_said_nothing_more, true) { Step::Wait } else { Step::NothingMore }
    }

    /// The message under way was received or refused.
    pub fn settled(&mut self) {
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(id: MessageId) -> Due {
        Due { urgency: Urgency::Normal, id }
    }

    #[test]
    fn what_is_urgent_goes_before_what_was_accepted_before_it_and_bulk_goes_last() {
        let ids: [MessageId; 5] = std::array::from_fn(|_| MessageId::now());
        let urgencies = [Urgency::Bulk, Urgency::Normal, Urgency::Urgent, Urgency::Normal, Urgency::Urgent];
        let mut plan = Plan::default();
        plan.add(urgencies.into_iter().zip(ids).map(|(urgency, id)| Due { urgency, id }));
        for expected in [2, 4, 1, 3, 0] {
            assert_eq!(plan.step(), Step::Deliver(ids[expected]));
            plan.settled();
        }
        assert_eq!(plan.step(), Step::NothingMore);
    }

    #[test]
    fn messages_go_one_by_one_in_the_order_of_acceptance() {
        let [first, second] = [MessageId::now(), MessageId::now()];
        let mut plan = Plan::default();
        plan.add([second, first].map(normal));
        assert_eq!(plan.step(), Step::Deliver(first));
        assert_eq!(plan.step(), Step::Wait);
        plan.settled();
        assert_eq!(plan.step(), Step::Deliver(second));
        plan.settled();
        assert_eq!(plan.step(), Step::NothingMore);
    }

    #[test]
    fn a_message_that_comes_while_one_is_under_way_rides_along() {
        let [first, second] = [MessageId::now(), MessageId::now()];
        let mut plan = Plan::default();
        plan.add([normal(first)]);
        assert_eq!(plan.step(), Step::Deliver(first));
        plan.add([first, second].map(normal));
        plan.settled();
        assert_eq!(plan.step(), Step::Deliver(second));
    }

    #[test]
    fn a_refused_message_is_not_offered_again_in_the_same_session() {
        let id = MessageId::now();
        let mut plan = Plan::default();
        plan.add([normal(id)]);
        plan.step();
        plan.settled();
        plan.add([normal(id)]);
        assert_eq!(plan.step(), Step::NothingMore);
    }

    #[test]
    fn a_terminal_that_lingers_is_brought_what_comes_and_told_the_end_again() {
        let id = MessageId::now();
        let mut plan = Plan::default();
        assert_eq!(plan.step(), Step::NothingMore);
        assert_eq!(plan.step(), Step::Wait);
        plan.add([normal(id)]);
        assert_eq!(plan.step(), Step::Deliver(id));
        plan.settled();
        assert_eq!(plan.step(), Step::NothingMore);
    }
}
