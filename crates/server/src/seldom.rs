//! Log lines that strangers cause: so many in a stretch of time, and then how many there were besides.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines,
const LINES: u32 = 20;

/// in any stretch of this length.
const WITHIN: Duration = Duration::from_secs(10);

/// One kind of line.
#[derive(Debug)]
pub(crate) struct Seldom(Mutex<Stretch>);

#[derive(Debug)]
struct Stretch {
    began: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Stretch { began: None, lines: 0, left_out: 0 }))
    }

    /// Whether a line is written now, and how many were left out since the last.
    pub(crate) fn next(&self, now: Instant) -> Option<u64> {
        let mut stretch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stretch.began.is_none_or(|began| now.saturating_duration_since(began) >= WITHIN) {
            (stretch.began, stretch.lines) = (Some(now), 0);
        }
        if stretch.lines == LINES {
            stretch.left_out += 1;
            return None;
        }
        stretch.lines += 1;
        Some(std::mem::take(&mut stretch.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_writes_twenty_lines_in_ten_seconds_and_says_how_many_there_were() {
        let (start, seldom) = (Instant::now(), Seldom::new());
        let written = (0..1500).filter(|nth| seldom.next(start + Duration::from_millis(*nth)).is_some()).count();
        assert_eq!(written, 20);
        assert_eq!(seldom.next(start + WITHIN), Some(1480));
        assert_eq!(seldom.next(start + WITHIN), Some(0));
    }
}
