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
    /// Verdicts other than delivered of what its terminal had published.
    pub untrue: u64,
    /// Verdicts that waited for a receipt, the end of a call, or the terminal's word.
    pub pending: u64,
    /// All the time that delivered ones waited, in seconds.
    pub waited_seconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    Expired,
    Failed,
}

/// What keeps an envelope from any verdict but delivered, and the one that waits for it.
#[derive(Debug, Clone, Copy)]
enum Kept {
    OnLine(Option<Verdict>),
    InDoubt(Option<Verdict>),
}

/// What waits. An envelope leaves it with its verdict: one that is asked for again has none to get.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    kept: BTreeMap<(TerminalId, MessageId), Kept>,
    /// What lies in the terminals' inboxes.
    published: BTreeSet<(TerminalId, MessageId)>,
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

    pub(crate) fn message(
        urgency: Urgency,
        accepted: Duration,
        expires: Option<Duration>,
    ) -> Message {
        Message {
            urgency,
            accepted,
            expires,
            provider: 0,
            is_poison: false,
            open: 0,
        }
    }

    /// What is to be sent: not what another verdict waits for.
    pub(crate) fn due(&self, terminal: TerminalId) -> Vec<MessageId> {
        let is_pending = |message: &MessageId| {
            matches!(
                self.kept.get(&(terminal, *message)),
                Some(Kept::OnLine(Some(_)) | Kept::InDoubt(Some(_)))
            )
        };
        self.due
            .get(&terminal)
            .into_iter()
            .flatten()
            .copied()
            .filter(|message| !is_pending(message))
            .collect()
    }

    /// The first octet is about to leave.
    pub(crate) fn begin(&mut self, id: MessageId, terminal: TerminalId) {
        self.kept.insert((terminal, id), Kept::OnLine(None));
    }

    /// The terminal has it.
    pub(crate) fn publish(&mut self, id: MessageId, terminal: TerminalId) {
        self.published.insert((terminal, id));
    }

    /// The call is over, and there is no receipt: the last octet may have left, or not.
    pub(crate) fn lose(
        &mut self,
        id: MessageId,
        terminal: TerminalId,
        is_whole: bool,
        now: Duration,
    ) {
        let Some(Kept::OnLine(pending)) = self.kept.remove(&(terminal, id)) else {
            return;
        };
        if is_whole {
            self.kept.insert((terminal, id), Kept::InDoubt(pending));
        } else if let Some(verdict) = pending {
            self.verdict(id, terminal, verdict, now);
        }
    }

    /// The terminal is asked what it has of all that it may have.
    pub(crate) fn ask(&mut self, terminal: TerminalId, now: Duration) {
        let all = (terminal, MessageId::from_octets([0; 16]))
            ..=(terminal, MessageId::from_octets([0xff; 16]));
        let doubts: Vec<_> = self
            .kept
            .range(all)
            .map(|((_, message), kept)| (*message, *kept))
            .collect();
        for (message, kept) in doubts {
            let Kept::InDoubt(pending) = kept else {
                continue;
            };
            if self.published.contains(&(terminal, message)) {
                self.verdict(message, terminal, Verdict::Delivered, now);
            } else if let Some(verdict) = pending {
                self.verdict(message, terminal, verdict, now);
            } else {
                self.kept.remove(&(terminal, message));
            }
        }
    }

    /// Gives an envelope a verdict other than delivered, unless its terminal may have the message: then it is pending. `false`: it
    /// has one, or it is pending.
    pub(crate) fn wish(
        &mut self,
        id: MessageId,
        terminal: TerminalId,
        verdict: Verdict,
        now: Duration,
    ) -> bool {
        match self.kept.get_mut(&(terminal, id)) {
            Some(Kept::OnLine(pending) | Kept::InDoubt(pending)) => {
                self.tally.pending += u64::from(pending.is_none());
                pending.get_or_insert(verdict);
                false
            }
            None => self.verdict(id, terminal, verdict, now),
        }
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(&id)
    }

    pub(crate) fn terminals_due(&self) -> Vec<TerminalId> {
        self.due
            .keys()
            .copied()
            .filter(|terminal| !self.due(*terminal).is_empty())
            .collect()
    }

    pub(crate) fn open(&self) -> u64 {
        self.due
            .values()
            .map(|due| u64::try_from(due.len()).unwrap_or(u64::MAX))
            .sum()
    }

    /// Gives an envelope its verdict. `false`: it has one.
    pub(crate) fn verdict(
        &mut self,
        id: MessageId,
        terminal: TerminalId,
        verdict: Verdict,
        now: Duration,
    ) -> bool {
        let Some(due) = self.due.get_mut(&terminal) else {
            return false;
        };
        if !due.remove(&id) {
            return false;
        }
        if due.is_empty() {
            self.due.remove(&terminal);
        }
        self.kept.remove(&(terminal, id));
        let Some(message) = self.messages.get_mut(&id) else {
            return false;
        };
        // Promise 3: the one verdict is true.
        self.tally.untrue +=
            u64::from(verdict != Verdict::Delivered && self.published.contains(&(terminal, id)));
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
