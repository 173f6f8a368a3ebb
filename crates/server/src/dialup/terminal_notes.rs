//! Notes on terminals: what earlier sessions taught, for the next one.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use delivery::{MessageId, TerminalId};

/// Rate that sets the record size after a broken session, unless the line is slower: records of 4000 octets, for a loss of a tenth of a
/// second per break at 400 kbit/s and 1.5 % framing.
const CAREFUL_RATE_BPS: u32 = 40_000;

/// Terminals whose encodings are kept in memory; to others the first message leaves unpacked.
const TERMINALS_MAX: usize = 100_000;

/// What earlier sessions taught of each terminal, for those that follow.
#[derive(Debug, Default)]
pub(super) struct TerminalNotes {
    /// Messages with which sessions broke: they are delivered last. Dispatch decides; a terminal may also connect by itself, and finds
    /// them here.
    suspects: Mutex<BTreeMap<TerminalId, Vec<MessageId>>>,
    /// Whether each known terminal unpacks zstd. The statement holds for its next call too: the first message leaves before the terminal
    /// can repeat it.
    takes_zstd: Mutex<BTreeMap<TerminalId, Arc<AtomicBool>>>,
}

impl TerminalNotes {
    pub(super) fn set_suspects(&self, terminal: TerminalId, messages: Vec<MessageId>) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.is_empty() {
            suspects.remove(&terminal);
        } else {
            suspects.insert(terminal, messages);
        }
    }

    pub(super) fn suspects(&self, terminal: TerminalId) -> Vec<MessageId> {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.get(&terminal).cloned().unwrap_or_default()
    }

    /// The rate that sets the record size in a session with a terminal. After a broken session records are smaller, because the next
    /// break loses one again.
    pub(super) fn careful_rate(&self, terminal: TerminalId, rate_bps: u32) -> u32 {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.contains_key(&terminal) {
            rate_bps.min(CAREFUL_RATE_BPS)
        } else {
            rate_bps
        }
    }

    /// The shared flag of a terminal, which its session updates.
    pub(super) fn takes_zstd(&self, terminal: TerminalId) -> Arc<AtomicBool> {
        let mut known = self
            .takes_zstd
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TERMINALS_MAX && !known.contains_key(&terminal) {
            return Arc::default();
        }
        known.entry(terminal).or_default().clone()
    }
}
