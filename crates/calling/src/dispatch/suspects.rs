//! Messages with which sessions break: the one that always does is quarantined, and delays no other.
//!
//! A bad line breaks sessions, too, and must not cost a message: what counts is a break on a call on which other messages
//! had got through. A message that is alone has no such witness and gets more tries.
//!
//! Of several that were under way any may have been it: all are suspects, which the next call brings one at a time, behind all
//! others, those with the fewest breaks first. Only a message that was under way alone is found guilty. Among equals those go
//! first that were sent last: the terminal takes messages in the order in which they are sent, and receipts come in that order,
//! so the first without a receipt is the likeliest. So every other message waits for one broken session at most.
//!
//! A message of which the terminal holds more than at the break before is no suspect for that: each try has advanced, and it is
//! never given up while each does. The break counts as its first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use delivery::{MessageId, TerminalId};

use model::outcome::UnderWay;

/// Factor of the tries for a message without a witness.
const UNWITNESSED: u8 = 4;

/// Maximum number of suspects of one terminal. Further messages are not noted, and are delivered as usual.
const SUSPECTS_MAX: usize = 1024;

/// Number of sessions that broke with a message.
#[derive(Debug, Clone, Copy, Default)]
struct Breaks {
    in_all: u8,
    witnessed: u8,
    /// Octets of it that the terminal held at the last query.
    held: u64,
    /// Its place in the sending order of the last broken call.
    place: usize,
}

/// The suspects.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<(TerminalId, MessageId), Breaks>);

impl Suspects {
    /// Notes a broken session. Returns the message to quarantine, if any.
    pub(super) fn broke(
        &mut self,
        terminal: TerminalId,
        under_way: &UnderWay,
        breaks_max: u8,
    ) -> Option<MessageId> {
        for (place, message) in under_way.messages.iter().enumerate() {
            let key = (terminal, *message);
            if !self.0.contains_key(&key) && self.0.range(all_of(terminal)).count() >= SUSPECTS_MAX
            {
                continue;
            }
            let breaks = self.0.entry(key).or_default();
            breaks.place = place;
            if let Some(held) = under_way
                .held
                .get(message)
                .filter(|held| **held > breaks.held)
            {
                *breaks = Breaks {
                    held: *held,
                    place,
                    ..Breaks::default()
                };
            }
            breaks.in_all = breaks.in_all.saturating_add(1);
            breaks.witnessed = breaks
                .witnessed
                .saturating_add(u8::from(under_way.received_before > 0));
        }
        let [alone] = under_way.messages[..] else {
            return None;
        };
        let breaks = self.0.get(&(terminal, alone))?;
        let is_guilty = breaks.witnessed >= breaks_max
            || breaks.in_all >= breaks_max.saturating_mul(UNWITNESSED);
        is_guilty.then(|| {
            self.0.remove(&(terminal, alone));
            alone
        })
    }

    /// Whether messages got through before a session broke, or the terminal holds more of one than at the break before.
    pub(super) fn has_advanced(&self, terminal: TerminalId, under_way: &UnderWay) -> bool {
        let held_before = |message| {
            self.0
                .get(&(terminal, message))
                .map_or(0, |breaks| breaks.held)
        };
        under_way.received_before > 0
            || under_way
                .held
                .iter()
                .any(|(message, held)| *held > held_before(*message))
    }

    /// A session with this terminal ended normally: clears its suspects.
    pub(super) fn cleared(&mut self, terminal: TerminalId) {
        let of_terminal: Vec<_> = self
            .0
            .range(all_of(terminal))
            .map(|(key, _)| *key)
            .collect();
        for key in of_terminal {
            self.0.remove(&key);
        }
    }

    /// The suspects of a terminal, least suspicious first: they are delivered last.
    pub(super) fn of(&self, terminal: TerminalId) -> Vec<MessageId> {
        let mut suspects: Vec<_> = self.0.range(all_of(terminal)).collect();
        suspects.sort_by_key(|(_, breaks)| (breaks.in_all, Reverse(breaks.place)));
        suspects
            .into_iter()
            .map(|((_, message), _)| *message)
            .collect()
    }
}

fn all_of(terminal: TerminalId) -> RangeInclusive<(TerminalId, MessageId)> {
    (terminal, MessageId::from_octets([0; 16]))..=(terminal, MessageId::from_octets([0xff; 16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: TerminalId = TerminalId::from_octets([1; 8]);

    fn message(number: u16) -> MessageId {
        let [high, low] = number.to_be_bytes();
        MessageId::from_octets([2, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    fn under_way(numbers: impl IntoIterator<Item = u16>, received_before: u32) -> UnderWay {
        UnderWay {
            messages: numbers.into_iter().map(message).collect(),
            received_before,
            ..UnderWay::default()
        }
    }

    fn tries(received_before: u32) -> usize {
        let mut suspects = Suspects::default();
        (1..)
            .find(|_| {
                suspects
                    .broke(TERMINAL, &under_way([2], received_before), 3)
                    .is_some()
            })
            .unwrap()
    }

    #[test]
    fn a_message_is_left_out_sooner_when_others_got_through() {
        assert_eq!((tries(1), tries(0)), (3, 12));
    }

    #[test]
    fn suspicion_is_of_one_terminal_and_ends_with_a_session_that_ends_well() {
        let mut suspects = Suspects::default();
        let other = TerminalId::from_octets([2; 8]);
        for terminal in [TERMINAL, other] {
            suspects.broke(terminal, &under_way([2], 0), 3);
        }
        suspects.cleared(TERMINAL);
        assert_eq!(
            (suspects.of(TERMINAL), suspects.of(other)),
            (vec![], vec![message(2)])
        );
    }

    #[test]
    fn of_several_under_way_none_is_guilty_until_it_breaks_a_session_alone() {
        let mut suspects = Suspects::default();
        for _ in 0..20 {
            assert_eq!(suspects.broke(TERMINAL, &under_way([1, 2, 3], 1), 3), None);
        }
        assert_eq!(suspects.of(TERMINAL), [3, 2, 1].map(message));
        assert_eq!(
            suspects.broke(TERMINAL, &under_way([1], 1), 3),
            Some(message(1))
        );
        assert_eq!(suspects.of(TERMINAL), [3, 2].map(message));
    }

    #[test]
    fn a_message_that_advances_with_each_try_is_never_given_up() {
        let mut suspects = Suspects::default();
        for call in 0..200 {
            let mut broke = under_way([2], 1);
            broke.held.insert(message(2), 80_000 * call);
            assert_eq!(suspects.broke(TERMINAL, &broke, 3), None, "call {call}");
        }
        let mut stuck = under_way([2], 1);
        stuck.held.insert(message(2), 80_000 * 199);
        let tries = (1..).find(|_| suspects.broke(TERMINAL, &stuck, 3).is_some());
        assert_eq!(tries, Some(2), "the break that advanced was its first");
    }

    #[test]
    fn what_was_under_way_with_a_bad_message_waits_for_one_broken_session() {
        let mut suspects = Suspects::default();
        // The terminal takes them in this order and fails at the first: the receipts of the earlier ones have come.
        suspects.broke(TERMINAL, &under_way([7, 8, 9], 2), 3);
        assert_eq!(
            suspects.of(TERMINAL),
            [9, 8, 7].map(message),
            "all others go before it on the next call"
        );
        suspects.broke(TERMINAL, &under_way([7], 2), 3);
        suspects.broke(TERMINAL, &under_way([10, 11], 0), 3);
        assert_eq!(
            suspects.of(TERMINAL),
            [9, 8, 11, 10, 7].map(message),
            "it stays behind all"
        );
    }

    #[test]
    fn a_terminal_has_so_many_suspects_and_no_more() {
        let mut suspects = Suspects::default();
        suspects.broke(TERMINAL, &under_way(0..2000, 0), 3);
        assert_eq!(suspects.of(TERMINAL).len(), SUSPECTS_MAX);
        let known = (1..).find(|_| suspects.broke(TERMINAL, &under_way([7], 0), 3).is_some());
        assert_eq!(known, Some(11), "one that is known still counts");
    }
}
