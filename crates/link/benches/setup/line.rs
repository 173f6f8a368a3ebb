//! One way across a line: so many bits a second, ten an octet, and a delay.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What a line does to octets.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) rate_bps: u32,
    pub(crate) delay: Duration,
}

/// Octets on their way: when each arrives, and what was noted of it.
pub(crate) struct Way<T> {
    line: Line,
    queue: VecDeque<(Instant, u8, T)>,
    busy_until: Instant,
}

impl<T: Copy> Way<T> {
    pub(crate) fn new(line: Line, now: Instant) -> Self {
        Self {
            line,
            queue: VecDeque::new(),
            busy_until: now,
        }
    }

    pub(crate) fn take(&mut self, octets: &[u8], note: T, now: Instant) {
        let octet_time = Duration::from_secs(10) / self.line.rate_bps;
        self.busy_until = self.busy_until.max(now);
        for &octet in octets {
            self.busy_until += octet_time;
            self.queue
                .push_back((self.busy_until + self.line.delay, octet, note));
        }
    }

    /// When the next octet arrives.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.front().map(|&(at, ..)| at)
    }

    /// The next octet, if it has arrived by now.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<(Instant, u8, T)> {
        self.queue.pop_front_if(|(at, ..)| *at <= now)
    }
}
