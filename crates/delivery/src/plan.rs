//! What a server says next in a delivery session. Pure.
//!
//! ```text
//!             add              next: Deliver            received
//!   (nothing) ───► waiting ──────────────► under way ──────────────► done
//!                     ▲                        │ refused: not again in this session
//!                     └── next session ◄───────┘
//!   next, with nothing waiting and nothing under way: NothingMore, once; the session is over.
//! ```

use std::collections::BTreeSet;

use crate::message::MessageId;

/// The order of a session's messages, and its end. Messages go in the order of their ids, which is that of acceptance.
#[derive(Debug, Default)]
pub struct Plan {
    waiting: BTreeSet<MessageId>,
    under_way: Option<MessageId>,
    /// What this session has seen: a message that was refused or received is not offered twice on one call.
    seen: BTreeSet<MessageId>,
    is_over: bool,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send this message.
    Deliver(MessageId),
    /// A message is under way: wait for its receipt.
    Wait,
    /// Say that there is nothing more; the terminal hangs up.
    NothingMore,
}

impl Plan {
    /// Adds messages that are due. `false`: the session is over and they need another.
    pub fn add(&mut self, due: impl IntoIterator<Item = MessageId>) -> bool {
        if !self.is_over {
            self.waiting.extend(due.into_iter().filter(|id| !self.seen.contains(id)));
        }
        !self.is_over
    }

    /// The next thing to do.
    pub fn step(&mut self) -> Step {
        if self.under_way.is_some() {
            return Step::Wait;
        }
        match self.waiting.pop_first() {
            Some(id) => {
                self.under_way = Some(id);
                self.seen.insert(id);
                Step::Deliver(id)
            }
            None => {
                self.is_over = true;
                Step::NothingMore
            }
        }
    }

    /// The message under way was received or refused.
    pub fn settled(&mut self) {
        self.under_way = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_one_by_one_in_the_order_of_acceptance() {
        let [first, second] = [MessageId::now(), MessageId::now()];
        let mut plan = Plan::default();
        plan.add([second, first]);
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
        plan.add([first]);
        assert_eq!(plan.step(), Step::Deliver(first));
        assert!(plan.add([first, second]));
        plan.settled();
        assert_eq!(plan.step(), Step::Deliver(second));
    }

    #[test]
    fn a_refused_message_is_not_offered_again_in_the_same_session() {
        let id = MessageId::now();
        let mut plan = Plan::default();
        plan.add([id]);
        plan.step();
        plan.settled();
        plan.add([id]);
        assert_eq!(plan.step(), Step::NothingMore);
    }

    #[test]
    fn what_comes_after_the_end_needs_another_session() {
        let mut plan = Plan::default();
        assert_eq!(plan.step(), Step::NothingMore);
        assert!(!plan.add([MessageId::now()]));
    }
}
