//! The rings that were not answered of late, each with the number that it presented: what an operator compares with `callers`.
//!
//! One line each in `STATE/refused`: `TIME CALLER REASON`. Losing it costs nothing.

use std::fs;
use std::path::{Path, PathBuf};

use delivery::proof::write_secret;
use jiff::Timestamp;
use line::{Caller, RefusalReason};

/// Rings remembered: the oldest goes first.
const RINGS_MAX: usize = 32;

/// A ring that was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRing {
    /// When.
    pub at: Timestamp,
    /// The number that it presented, in full; or `withheld`, or `none`.
    pub caller: String,
    /// Why, in words.
    pub reason: String,
}

/// The refused rings of one machine.
#[derive(Debug, Clone)]
pub struct RefusedRings {
    path: PathBuf,
}

impl RefusedRings {
    /// Those kept in `state`.
    pub fn new(state: &Path) -> Self {
        Self {
            path: state.join("refused"),
        }
    }

    /// Notes a ring. That it cannot be kept is no reason to do anything else.
    pub(crate) fn note(&self, caller: &Caller, reason: RefusalReason) {
        let caller = match caller {
            Caller::Number(number) => number.as_str().to_owned(),
            Caller::Withheld => "withheld".to_owned(),
            Caller::Absent => "none".to_owned(),
        };
        let at = Timestamp::now();
        // In full: the operator of this machine has to see which number is not among its callers.
        tracing::info!(caller, %reason, "ring refused");
        let mut all = self.list();
        all.push(RefusedRing {
            at,
            caller,
            reason: reason.to_string(),
        });
        let surplus = all.len().saturating_sub(RINGS_MAX);
        let line = |ring: &RefusedRing| format!("{} {} {}\n", ring.at, ring.caller, ring.reason);
        let text: String = all[surplus..].iter().map(line).collect();
        if let Err(error) = write_secret(&self.path, text.as_bytes()) {
            tracing::warn!(%error, "a refused ring is not kept");
        }
    }

    /// Those that are remembered, the oldest first. What cannot be read is not there.
    pub fn list(&self) -> Vec<RefusedRing> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let read = |line: &str| {
            let (at, rest) = line.split_once(' ')?;
            let (caller, reason) = rest.split_once(' ')?;
            Some(RefusedRing {
                at: at.parse().ok()?,
                caller: caller.to_owned(),
                reason: reason.to_owned(),
            })
        };
        text.lines().take(RINGS_MAX).filter_map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rings_are_remembered_with_the_whole_number_and_no_more_of_them_than_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let rings = RefusedRings::new(folder.path());
        for number in 0..40 {
            let caller = Caller::Number(format!("+493012345{number:02}").parse().unwrap());
            rings.note(&caller, RefusalReason::NotRegistered);
        }
        rings.note(&Caller::Withheld, RefusalReason::Withheld);
        let listed = rings.list();
        assert_eq!(listed.len(), RINGS_MAX);
        assert_eq!(
            (listed[30].caller.as_str(), listed[30].reason.as_str()),
            ("+49301234539", "not registered")
        );
        assert_eq!(listed[31].caller, "withheld");
    }
}
