//! Notices a peer that has gone silent (RFC 1661 §5.8).

use std::time::Instant;

use crate::config::Keepalive;

/// Counts silence while LCP is open.
#[derive(Debug)]
pub(crate) struct Echo {
    keepalive: Keepalive,
    /// When the line will have been silent for one interval.
    due_at: Instant,
    unanswered: u8,
}

/// What silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Ask.
    Ask,
    /// Asked often enough: the peer is gone.
    Gone,
}

impl Echo {
    pub(crate) fn new(keepalive: Keepalive, now: Instant) -> Echo {
        Echo {
            keepalive,
            due_at: now + keepalive.interval,
            unanswered: 0,
        }
    }

    pub(crate) fn due_at(&self) -> Instant {
        self.due_at
    }

    /// A good frame came in. Whatever it was, the peer lives.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.unanswered = 0;
        self.due_at = now + self.keepalive.interval;
    }

    pub(crate) fn deadline(&mut self, now: Instant) -> Option<Silence> {
        if now < self.due_at {
            return None;
        }
        if self.unanswered >= self.keepalive.losses_max {
            return Some(Silence::Gone);
        }
        self.unanswered += 1;
        self.due_at = now + self.keepalive.interval;
        Some(Silence::Ask)
    }
}
