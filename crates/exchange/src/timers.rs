//! The deadlines of the whole exchange: at most one for each key, earliest first.

use crate::{circuit::Side, record::CallId, station::StationId};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Instant,
};

/// What a deadline is for. Deadlines at the same instant fire in the order of this enum, so that the same inputs give
/// the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// A chunk has left one modem or reaches the other. First, so that what arrives together with a hang-up arrives.
    Circuit(CallId, Side),
    /// The modems of an answered call have trained.
    Trained(CallId),
    /// The line is cut under the call, as its settings say.
    Cut(CallId),
    /// S10 of a modem whose carrier has gone has run out.
    CarrierLost(StationId),
    /// The pauses in a dial string are over.
    Pause(StationId),
    /// The caller ID is due.
    CallerId(CallId),
    /// A ring falls silent.
    RingEnd(StationId),
    /// S7 of a modem that waits for a carrier has run out.
    Carrier(StationId),
    /// The exchange has rung for long enough.
    NoAnswer(CallId),
    /// The next ring is due at the called station. After those that end the ringing.
    Ring(CallId),
    /// A ring that does not count: it asks for the terminal that takes the number (Japan).
    OddRing(CallId),
    /// The silence after `+++` was long enough.
    Escape(StationId),
}

/// Setting a key again replaces its deadline. What has been replaced or cancelled stays in the heap until its time, or
/// until there is more of that than of deadlines: so both are bounded by the stations and calls there are.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BinaryHeap<Reverse<(Instant, Timer)>>,
    deadlines: HashMap<Timer, Instant>,
}

/// Below this, what is out of date is not worth clearing.
const HEAP_MIN: usize = 64;

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        if self.deadlines.insert(timer, at) == Some(at) {
            return;
        }
        self.order.push(Reverse((at, timer)));
        if self.order.len() > 2 * self.deadlines.len() + HEAP_MIN {
            self.order = self
                .deadlines
                .iter()
                .map(|(timer, at)| Reverse((*at, *timer)))
                .collect();
        }
    }

    pub(crate) fn cancel(&mut self, timer: Timer) {
        self.deadlines.remove(&timer);
    }

    pub(crate) fn next_at(&mut self) -> Option<Instant> {
        loop {
            let Reverse((at, timer)) = *self.order.peek()?;
            if self.deadlines.get(&timer) == Some(&at) {
                return Some(at);
            }
            self.order.pop();
        }
    }

    /// Takes the earliest deadline that has passed by `now`, with the instant it was for.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Instant, Timer)> {
        let at = self.next_at().filter(|at| *at <= now)?;
        let Reverse((_, timer)) = self.order.pop()?;
        self.deadlines.remove(&timer);
        Some((at, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_deadline_set_again_fires_once_and_at_the_later_time() {
        let start = Instant::now();
        let (ring, escape) = (Timer::Ring(CallId(1)), Timer::Escape(StationId(0)));
        let mut timers = Timers::default();
        timers.set(ring, start + Duration::from_secs(1));
        timers.set(escape, start + Duration::from_secs(2));
        timers.set(ring, start + Duration::from_secs(3));
        let late = start + Duration::from_secs(9);
        assert_eq!(timers.take_due(start + Duration::from_secs(1)), None);
        assert_eq!(
            timers.take_due(late),
            Some((start + Duration::from_secs(2), escape))
        );
        assert_eq!(
            timers.take_due(late),
            Some((start + Duration::from_secs(3), ring))
        );
        assert_eq!((timers.take_due(late), timers.next_at()), (None, None));
    }

    #[test]
    fn deadlines_that_are_set_over_and_over_take_no_more_room() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for round in 0..10_000 {
            timers.set(
                Timer::Escape(StationId(round % 2)),
                start + Duration::from_millis(round.into()),
            );
            timers.cancel(Timer::Escape(StationId(2)));
        }
        assert!(
            timers.order.len() <= 2 * 2 + HEAP_MIN,
            "{}",
            timers.order.len()
        );
        assert_eq!(timers.next_at(), Some(start + Duration::from_millis(9998)));
    }
}
