//! Terminals that have not been reached for longer than their class allows: one alarm each, raised and cleared.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use delivery::TerminalId;

use super::by_terminal::ByTerminal;

/// The terminals that are watched. The set has one instant for each: at the earliest then it may be silent too long; it
/// is put right when it comes, so that reaching a terminal costs one write.
#[derive(Debug, Default)]
pub(super) struct Silence {
    watched: ByTerminal<Watch>,
    look_at: BTreeSet<(Instant, TerminalId)>,
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    reached: Instant,
    /// A whole number keeps a million of these small.
    after_seconds: u32,
    is_raised: bool,
}

impl Watch {
    fn due(&self) -> Instant {
        self.reached + Duration::from_secs(self.after_seconds.into())
    }
}

impl Silence {
    /// Watches a terminal that was last reached then.
    pub(super) fn watch(&mut self, terminal: TerminalId, after: Duration, reached: Instant) {
        let after_seconds = u32::try_from(after.as_secs()).unwrap_or(u32::MAX);
        let watch = Watch {
            reached,
            after_seconds,
            is_raised: false,
        };
        self.watched.insert(terminal, watch);
        self.look_at.insert((watch.due(), terminal));
    }

    pub(super) fn forget(&mut self, terminal: TerminalId) {
        // Its instant is passed over when it comes.
        self.watched.remove(&terminal);
    }

    /// Notes that a terminal was reached. Whether an alarm is cleared by it.
    pub(super) fn reached(&mut self, terminal: TerminalId, now: Instant) -> bool {
        let Some(watch) = self.watched.get_mut(&terminal) else {
            return false;
        };
        watch.reached = now;
        if !std::mem::take(&mut watch.is_raised) {
            return false;
        }
        self.look_at.insert((watch.due(), terminal));
        true
    }

    /// The terminals whose alarm is raised now.
    pub(super) fn raised(&mut self, now: Instant) -> Vec<TerminalId> {
        let mut raised = Vec::new();
        while let Some(&(at, terminal)) = self.look_at.first()
            && at <= now
        {
            self.look_at.pop_first();
            let Some(watch) = self.watched.get_mut(&terminal) else {
                continue;
            };
            if watch.due() > now {
                self.look_at.insert((watch.due(), terminal));
            } else if !std::mem::replace(&mut watch.is_raised, true) {
                raised.push(terminal);
            }
        }
        raised
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.look_at.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_raises_one_alarm_and_being_reached_clears_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (terminal, mut silence) = (TerminalId::from_octets([1; 8]), Silence::default());
        silence.watch(terminal, Duration::from_secs(100), start);
        assert!(!silence.reached(terminal, at(60)));
        assert_eq!(silence.raised(at(100)), [], "reached since");
        assert_eq!(silence.next(), Some(at(160)));
        assert_eq!(silence.raised(at(160)), [terminal]);
        assert_eq!(silence.raised(at(1000)), [], "once");
        assert!(silence.reached(terminal, at(1001)));
        assert_eq!(silence.raised(at(1101)), [terminal]);
    }
}
