//! Recognises `+++` between two silences, which takes a modem from data to commands without hanging up.
//!
//! ```text
//!            guard              guard
//!  ...data ◄───────► + + + ◄───────────► OK
//! ```

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Escape {
    last_octet_at: Instant,
    escapes_seen: usize,
}

/// How many escape characters make the sequence.
const ESCAPES: usize = 3;

impl Escape {
    /// Starts watching; the guard time also counts from here.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            last_octet_at: now,
            escapes_seen: 0,
        }
    }

    /// Looks at octets on their way to the line. Returns when the sequence will be complete if no octet follows.
    pub(crate) fn observe(
        &mut self,
        octets: &[u8],
        character: u8,
        guard: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let silence = now.saturating_duration_since(self.last_octet_at);
        self.last_octet_at = now;
        let is_escape = octets.len() <= ESCAPES && octets.iter().all(|octet| *octet == character);
        self.escapes_seen = match (is_escape, silence >= guard) {
            (false, _) => 0,
            (true, true) => octets.len(),
            // The characters may be typed one by one, but only after a first one that broke a silence.
            (true, false) if self.escapes_seen > 0 => self.escapes_seen + octets.len(),
            (true, false) => 0,
        };
        (self.escapes_seen == ESCAPES).then(|| now + guard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Duration = Duration::from_secs(1);

    /// Feeds (milliseconds since connect, text) and says whether the last of them completes the sequence.
    fn escapes(typed: &[(u64, &str)]) -> bool {
        let start = Instant::now();
        let mut escape = Escape::new(start);
        let mut deadline = None;
        for (at, text) in typed {
            deadline = escape.observe(
                text.as_bytes(),
                b'+',
                GUARD,
                start + Duration::from_millis(*at),
            );
        }
        deadline.is_some()
    }

    #[test]
    fn three_pluses_escape_only_after_a_silence_and_with_nothing_else() {
        assert!(escapes(&[(1000, "+++")]));
        assert!(escapes(&[(1000, "+"), (1200, "++")]));
        assert!(!escapes(&[(999, "+++")]));
        assert!(!escapes(&[(1000, "data+++")]));
        assert!(!escapes(&[(1000, "++++")]));
        assert!(!escapes(&[(1000, "+++"), (1100, "+")]));
        assert!(!escapes(&[(1000, "++")]));
        assert!(!escapes(&[(1000, "x"), (1100, "+++")]));
    }
}
