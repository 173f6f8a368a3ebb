//! Pure. Whose octets go next, and how many: HTTP/2 as we have it knows no priorities, so content is handed out in portions, and
//! none while a more urgent message has octets left or the last portion has not reached TCP.

use std::collections::BTreeSet;

use super::Due;

/// Octets of frames around a portion, about: small messages must not slip past the bound by their number.
const FRAMING_OCTETS: usize = 40;

/// The messages that have octets left, and what has been handed out.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Octets that may be on their way to TCP.
    portion: usize,
    /// Nothing has been handed out yet: TCP is empty, and the first portion may have its share, too.
    is_fresh: bool,
    left: BTreeSet<Due>,
    /// Handed out, and still with HTTP/2.
    queued: usize,
    /// Taken from HTTP/2, and not all with TCP yet.
    unflushed: usize,
}

impl Turns {
    pub(crate) fn new(portion: usize) -> Self {
        Self {
            portion,
            is_fresh: true,
            left: BTreeSet::new(),
            queued: 0,
            unflushed: 0,
        }
    }

    /// A message has octets to send.
    pub(crate) fn enter(&mut self, due: Due) {
        self.left.insert(due);
    }

    /// It has none left, or was given up.
    pub(crate) fn leave(&mut self, due: Due) {
        self.left.remove(&due);
    }

    /// Whose turn it is.
    pub(crate) fn first(&self) -> Option<Due> {
        self.left.first().copied()
    }

    /// How many of the `left` octets of a message are handed out now; `None`: it has to wait. What is handed out counts as
    /// [`Turns::cost`] until [`Turns::passed`] and [`Turns::flushed`].
    pub(crate) fn take(&mut self, due: Due, left: usize) -> Option<usize> {
        if self.first() != Some(due) {
            return None;
        }
        let octets = left.min(if self.is_fresh {
            2 * self.portion
        } else {
            self.portion
        });
        let on_their_way = self.queued + self.unflushed;
        if on_their_way > 0 && on_their_way + Self::cost(octets) > self.portion {
            return None;
        }
        self.is_fresh = false;
        self.queued += Self::cost(octets);
        Some(octets)
    }

    /// Weight of a portion of this size in octets.
    pub(crate) fn cost(octets: usize) -> usize {
        octets + FRAMING_OCTETS
    }

    /// HTTP/2 has written a portion of this weight.
    pub(crate) fn passed(&mut self, cost: usize) {
        self.queued = self.queued.saturating_sub(cost);
        self.unflushed += cost;
    }

    /// TCP has everything that was written.
    pub(crate) fn flushed(&mut self) {
        self.unflushed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MessageId, Urgency};

    fn due(urgency: Urgency) -> Due {
        Due {
            urgency,
            id: MessageId::now(),
            size: 5000,
        }
    }

    /// One that has handed out its first portion.
    fn begun() -> Turns {
        let (mut turns, first) = (Turns::new(1000), due(Urgency::Normal));
        turns.enter(first);
        assert_eq!(turns.take(first, 1), Some(1));
        turns.leave(first);
        turns.passed(Turns::cost(1));
        turns.flushed();
        turns
    }

    #[test]
    fn the_first_portion_of_a_session_is_twice_as_long() {
        let (mut turns, only) = (Turns::new(1000), due(Urgency::Normal));
        turns.enter(only);
        assert_eq!(turns.take(only, 5000), Some(2000));
        turns.passed(Turns::cost(2000));
        assert_eq!(turns.take(only, 3000), None);
        turns.flushed();
        assert_eq!(turns.take(only, 3000), Some(1000));
    }

    #[test]
    fn a_portion_waits_until_the_last_one_is_with_tcp() {
        let (mut turns, only) = (begun(), due(Urgency::Normal));
        turns.enter(only);
        assert_eq!(turns.take(only, 5000), Some(1000));
        assert_eq!(turns.take(only, 4000), None);
        turns.flushed();
        assert_eq!(turns.take(only, 4000), None, "HTTP/2 still has it");
        turns.passed(Turns::cost(1000));
        assert_eq!(turns.take(only, 4000), None, "TLS still has it");
        turns.flushed();
        assert_eq!(turns.take(only, 4000), Some(1000));
    }

    #[test]
    fn no_portion_is_handed_out_while_something_more_urgent_has_octets_left() {
        let (mut turns, bulk, urgent) = (begun(), due(Urgency::Bulk), due(Urgency::Urgent));
        turns.enter(bulk);
        turns.enter(urgent);
        assert_eq!(turns.take(bulk, 5000), None);
        assert_eq!(turns.take(urgent, 300), Some(300));
        turns.leave(urgent);
        assert_eq!(
            turns.take(bulk, 5000),
            None,
            "the portion would be too much"
        );
        turns.passed(Turns::cost(300));
        turns.flushed();
        assert_eq!(turns.take(bulk, 5000), Some(1000));
    }

    #[test]
    fn small_messages_share_a_portion_and_their_frames_count() {
        let mut turns = begun();
        let taken = (0..20).take_while(|_| {
            let small = due(Urgency::Normal);
            turns.enter(small);
            let taken = turns.take(small, 100).is_some();
            turns.leave(small);
            taken
        });
        assert_eq!(taken.count(), 7);
    }
}
