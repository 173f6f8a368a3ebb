//! Messages with which sessions break: the one that always does is left out, and keeps no other waiting.
//!
//! A bad line breaks sessions, too, and must not cost a message: what counts is a break on a call on which other messages
//! had got through. A message that is alone has no such witness and gets more tries.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use delivery::{MessageId, TerminalId};

use crate::outcome::UnderWay;

/// Tries of a message that has no witness, for each try of one that has.
const UNWITNESSED: u8 = 4;

/// How often a session broke with a message.
#[derive(Debug, Clone, Copy, Default)]
struct Breaks {
    in_all: u8,
    witnessed: u8,
}

/// The messages under suspicion.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<(TerminalId, MessageId), Breaks>);

impl Suspects {
    /// Notes a session that broke. Whether the message is now to be left out.
    pub(super) fn broke(&mut self, terminal: TerminalId, under_way: UnderWay, breaks_max: u8) -> bool {
        let key = (terminal, under_way.message);
        let breaks = self.0.entry(key).or_default();
        breaks.in_all = breaks.in_all.saturating_add(1);
        breaks.witnessed = breaks.witnessed.saturating_add(u8::from(under_way.received_before > 0));
        let is_guilty = breaks.witnessed >= breaks_max || breaks.in_all >= breaks_max.saturating_mul(UNWITNESSED);
        if is_guilty {
            self.0.remove(&key);
        }
        is_guilty
    }

    /// A session with this terminal came to its end: nobody is under suspicion.
    pub(super) fn cleared(&mut self, terminal: TerminalId) {
        let of_terminal: Vec<_> = self.0.range(all_of(terminal)).map(|(key, _)| *key).collect();
        for key in of_terminal {
            self.0.remove(&key);
        }
    }

    /// The suspects of a terminal: they are delivered last.
    pub(super) fn of(&self, terminal: TerminalId) -> Vec<MessageId> {
        self.0.range(all_of(terminal)).map(|((_, message), _)| *message).collect()
    }
}

fn all_of(terminal: TerminalId) -> RangeInclusive<(TerminalId, MessageId)> {
    (terminal, MessageId::from_octets([0; 16]))..=(terminal, MessageId::from_octets([0xff; 16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: TerminalId = TerminalId::from_octets([1; 8]);

    fn tries(received_before: u32) -> usize {
        let mut suspects = Suspects::default();
        let under_way = UnderWay { message: MessageId::from_octets([2; 16]), received_before };
        (1..).find(|_| suspects.broke(TERMINAL, under_way, 3)).unwrap()
    }

    #[test]
    fn a_message_is_left_out_sooner_when_others_got_through() {
        assert_eq!((tries(1), tries(0)), (3, 12));
    }

    #[test]
    fn suspicion_is_of_one_terminal_and_ends_with_a_session_that_ends_well() {
        let mut suspects = Suspects::default();
        let message = MessageId::from_octets([2; 16]);
        let other = TerminalId::from_octets([2; 8]);
        for terminal in [TERMINAL, other] {
            suspects.broke(terminal, UnderWay { message, received_before: 0 }, 3);
        }
        suspects.cleared(TERMINAL);
        assert_eq!((suspects.of(TERMINAL), suspects.of(other)), (vec![], vec![message]));
    }
}
