//! The lines that a terminal is not called on for a while, though they are on its route.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use delivery::TerminalId;

use super::by_terminal::ByTerminal;
use super::lines::LineIndex;

/// How long a ring that no session followed keeps a terminal from being rung again instead of called, doubled with each.
const WAKE_MEMORY: Duration = Duration::from_secs(3600);
const WAKE_MEMORY_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why a line is not used for a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Avoidance {
    /// Its modem would not dial the number: for a fault of its own, unless no other does.
    Refused,
    /// Its modem may not dial the number yet.
    NotYet,
    /// It rang there, and the terminal did not come, or has not yet.
    Rung,
}

/// A line that one terminal avoids.
#[derive(Debug, Clone, Copy)]
struct Entry {
    line: LineIndex,
    why: Avoidance,
    until: Instant,
}

/// What is avoided, and until when.
#[derive(Debug, Default)]
pub(super) struct Avoided {
    of: ByTerminal<Vec<Entry>>,
    ends: BTreeSet<(Instant, TerminalId, LineIndex)>,
    /// Rings in a row that no session followed.
    vain_rings: ByTerminal<u32>,
}

impl Avoided {
    /// Leaves a line out for a terminal until then.
    pub(super) fn avoid(
        &mut self,
        terminal: TerminalId,
        line: LineIndex,
        why: Avoidance,
        until: Instant,
    ) {
        self.forget(terminal, |entry| entry.line == line);
        self.of
            .entry(terminal)
            .or_default()
            .push(Entry { line, why, until });
        self.ends.insert((until, terminal, line));
    }

    /// The terminal was rung on a line, and has until then to come.
    pub(super) fn rung(&mut self, terminal: TerminalId, line: LineIndex, comes_until: Instant) {
        let vain = self.vain_rings.get(&terminal).copied().unwrap_or_default();
        let memory = WAKE_MEMORY
            .saturating_mul(1 << vain.min(10))
            .min(WAKE_MEMORY_MAX);
        self.avoid(terminal, line, Avoidance::Rung, comes_until + memory);
    }

    /// It did not come.
    pub(super) fn rung_in_vain(&mut self, terminal: TerminalId) {
        *self.vain_rings.entry(terminal).or_default() += 1;
    }

    /// A ring makes it come: it is there over its own Internet access.
    pub(super) fn wakes(&mut self, terminal: TerminalId) {
        self.vain_rings.remove(&terminal);
        self.forget(terminal, |entry| entry.why == Avoidance::Rung);
    }

    /// Whether a line is left out for a terminal.
    pub(super) fn is_avoided(&self, terminal: TerminalId, line: LineIndex) -> bool {
        self.of
            .get(&terminal)
            .is_some_and(|lines| lines.iter().any(|entry| entry.line == line))
    }

    /// Whether any line is.
    pub(super) fn has_any(&self, terminal: TerminalId) -> bool {
        self.of.contains_key(&terminal)
    }

    /// The lines whose modems would not dial the terminal's number, which are forgotten.
    pub(super) fn take_refusals(&mut self, terminal: TerminalId) -> Vec<LineIndex> {
        self.forget(terminal, |entry| entry.why == Avoidance::Refused)
    }

    /// All are tried again.
    pub(super) fn forget_all(&mut self, terminal: TerminalId) {
        self.forget(terminal, |_| true);
    }

    /// When the first line is used again for a terminal.
    pub(super) fn first_end(&self, terminal: TerminalId) -> Option<Instant> {
        let entries = self.of.get(&terminal)?;
        entries.iter().map(|entry| entry.until).min()
    }

    /// Ends what is over.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(&(until, terminal, line)) = self.ends.first()
            && until <= now
        {
            self.forget(terminal, |entry| entry.line == line);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.ends.first().map(|(until, ..)| *until)
    }

    /// Forgets entries of a terminal; returns their lines.
    fn forget(&mut self, terminal: TerminalId, which: impl Fn(&Entry) -> bool) -> Vec<LineIndex> {
        let Some(entries) = self.of.get_mut(&terminal) else {
            return Vec::new();
        };
        let gone: Vec<_> = entries.extract_if(.., |entry| which(entry)).collect();
        if entries.is_empty() {
            self.of.remove(&terminal);
        }
        for entry in &gone {
            self.ends.remove(&(entry.until, terminal, entry.line));
        }
        gone.into_iter().map(|entry| entry.line).collect()
    }
}
