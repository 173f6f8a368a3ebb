//! The store of the world: messages, envelopes and their verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use delivery::{MessageId, TerminalId, Urgency};

/// One message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) urgency: Urgency,
    pub(crate) accepted: Duration,
    pub(crate) expires: Option<Duration>,
    pub(crate) provider: u8,
    /// Every session breaks with it.
    pub(crate) is_poison: bool,
    open: u8,
}

/// How envelopes ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Envelopes that were accepted.
    pub accepted: u64,
    /// Delivered.
    pub delivered: u64,
    /// Expired before they could be.
    pub expired: u64,
    /// Left out: sessions broke with them.
    pub failed: u64,
    /// Of those, messages that were nothing of the kind.
    pub failed_wrongly: u64,
    /// All the time that delivered ones waited, in seconds.
    pub waited_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    Expired,
    Failed,
}

/// What waits. An envelope leaves it with its verdict: one that is asked for again has none to get.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    messages: BTreeMap<MessageId, Message>,
    due: BTreeMap<TerminalId, BTreeSet<MessageId>>,
    pub(crate) tally: Tally,
    next: u64,
}

impl Mail {
    pub(crate) fn accept(&mut self, message: Message, terminals: &[TerminalId]) -> MessageId {
        self.next += 1;
        let mut octets = [0; 16];
        octets[8..].copy_from_slice(&self.next.to_be_bytes());
        let id = MessageId::from_octets(octets);
        let open = u8::try_from(terminals.len()).expect("few terminals");
        self.messages.insert(id, Message { open, ..message });
        for terminal in terminals {
            self.due.entry(*terminal).or_default().insert(id);
            self.tally.accepted += 1;
        }
        id
    }

    pub(crate) fn message(urgency: Urgency, accepted: Duration, expires: Option<Duration>) -> Message {
        Message { urgency, accepted, expires, provider: 0, is_poison: false, open: 0 }
    }

    pub(crate) fn due(&self, terminal: TerminalId) -> Vec<MessageId> {
        self.due.get(&terminal).into_iter().flatten().copied().collect()
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(&id)
    }

    pub(crate) fn terminals_due(&self) -> Vec<TerminalId> {
        self.due.keys().copied().collect()
    }

    pub(crate) fn open(&self) -> u64 {
        self.due.values().map(|due| u64::try_from(due.len()).unwrap_or(u64::MAX)).sum()
    }

    /// Gives an envelope its verdict. `false`: it has one.
    pub(crate) fn verdict(&mut self, id: MessageId, terminal: TerminalId, verdict: Verdict, now: Duration) -> bool {
        let Some(due) = self.due.get_mut(&terminal) else { return false };
        if !due.remove(&id) {
            return false;
        }
        if due.is_empty() {
            self.due.remove(&terminal);
        }
        let Some(message) = self.messages.get_mut(&id) else { return false };
        match verdict {
            Verdict::Delivered => {
                self.tally.delivered += 1;
                self.tally.waited_seconds += (now - message.accepted).as_secs();
            }
            Verdict::Expired => self.tally.expired += 1,
            Verdict::Failed => {
                self.tally.failed += 1;
                self.tally.failed_wrongly += u64::from(!message.is_poison);
            }
        }
        message.open -= 1;
        if message.open == 0 {
            self.messages.remove(&id);
        }
        true
    }
}
