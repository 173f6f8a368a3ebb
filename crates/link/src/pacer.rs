//! Pure. When the line is free to take the next packet.

use std::time::{Duration, Instant};

/// How far ahead of the line packets are made: covers the scheduling of a busy machine, adds nothing to speak of to the
/// waiting time of an urgent packet.
const AHEAD: Duration = Duration::from_millis(20);

/// Follows, from the line's rate and what was written, when everything written will have been sent.
#[derive(Debug)]
pub(crate) struct Pacer {
    rate_bps: u32,
    busy_until: Instant,
}

impl Pacer {
    pub(crate) fn new(rate_bps: u32, now: Instant) -> Self {
        Self {
            rate_bps: rate_bps.max(1),
            busy_until: now,
        }
    }

    /// Octets were handed to the line.
    pub(crate) fn wrote(&mut self, octets: usize, now: Instant) {
        // 10 bits an octet: start, eight of data, stop.
        let nanos = octets as u64 * 10 * 1_000_000_000 / u64::from(self.rate_bps);
        self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanos);
    }

    /// When the next packet may be made; not later than `now` means now.
    pub(crate) fn free_at(&self) -> Instant {
        self.busy_until
            .checked_sub(AHEAD)
            .unwrap_or(self.busy_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_free_again_when_what_was_written_is_nearly_sent() {
        let now = Instant::now();
        let mut pacer = Pacer::new(33_600, now);
        assert!(pacer.free_at() <= now);
        pacer.wrote(3360, now);
        assert_eq!(pacer.free_at(), now + Duration::from_secs(1) - AHEAD);
        pacer.wrote(3360, now);
        assert_eq!(pacer.free_at(), now + Duration::from_secs(2) - AHEAD);
    }

    #[test]
    fn an_idle_line_saves_nothing_up() {
        let now = Instant::now();
        let mut pacer = Pacer::new(33_600, now);
        pacer.wrote(336, now + Duration::from_secs(60));
        assert_eq!(pacer.free_at(), now + Duration::from_millis(60_100) - AHEAD);
    }
}
