//! What is wished of messages, which verdicts they get, and whether these are true.

use delivery::MessageId;
use jiff::Timestamp;
use model::directory::{Connection, Destination};
use model::outcome::Outcome;
use model::verdict::Verdict;
use sha2::Digest as _;
use store::Last;

use super::online::Online;
use super::{LINES, OctetReport, OctetWorld, SECOND};
use crate::people::name;

impl OctetWorld {
    /// Looks which messages have their verdict by now, and for which one is pending.
    pub(super) fn learn_verdicts(&mut self) {
        for message in self.open.clone() {
            let found = self
                .runtime
                .block_on(self.store().message(message))
                .expect("the disk works");
            let Some(envelope) = found.and_then(|mut found| found.envelopes.pop()) else {
                continue;
            };
            match envelope.verdict {
                Some(verdict) => self.verdict(message, verdict),
                // On a line its call is still to end.
                None if envelope.pending.is_some() && envelope.under_way.is_none() => {
                    self.report.pending += u64::from(self.pending.insert(message));
                }
                None => self.report.pending += u64::from(envelope.pending.is_some()),
            }
        }
    }

    /// A provider does not want a message any more, or the time of one is over: most likely one that is on a line just now.
    pub(super) fn wish(&mut self) {
        if self.chance.one_in(3) {
            self.expired = self.expiring.min(self.expired + 1);
            let at = self.opened + jiff::SignedDuration::from_hours(self.expired);
            self.note(&format!("expire {}", self.expired));
            self.runtime
                .block_on(self.store().expire(at))
                .expect("the disk works");
        } else {
            let on_lines = self
                .lines
                .iter()
                .filter_map(|line| line.placed.as_ref().and_then(|placed| placed.under_way));
            let on_lines: Vec<_> = on_lines
                .chain(self.online.as_ref().and_then(Online::under_way))
                .collect();
            let all: Vec<_> = if on_lines.is_empty() {
                self.open.iter().copied().collect()
            } else {
                on_lines
            };
            if all.is_empty() {
                return;
            }
            let which = usize::try_from(self.chance.below(all.len() as u64)).expect("few");
            self.note(&format!("cancel {}", all[which]));
            self.runtime
                .block_on(self.store().cancel(
                    all[which],
                    None,
                    "not wanted any more",
                    Timestamp::now(),
                ))
                .expect("the disk works");
        }
        self.learn_verdicts();
    }

    pub(super) fn verdict(&mut self, message: MessageId, verdict: Verdict) {
        self.note(&format!("verdict {message} {verdict}"));
        if let Some(before) = self.verdicts.insert(message, verdict) {
            self.breach(format!(
                "{message} has two verdicts: {before} and {verdict}"
            ));
        }
        self.open.remove(&message);
        self.pending.remove(&message);
        // Promise 3: the one verdict is true.
        if verdict != Verdict::Delivered
            && self
                .terminals
                .iter()
                .any(|end| end.inbox.contains_key(&message))
        {
            self.breach(format!("{message} is {verdict} and was published"));
        }
        match verdict {
            Verdict::Delivered => {
                self.report.delivered += 1;
                let content = &self.contents[&message];
                if !self
                    .terminals
                    .iter()
                    .any(|end| end.inbox.get(&message) == Some(content))
                {
                    self.breach(format!("{message} is delivered and in no inbox"));
                }
            }
            Verdict::Failed => self.report.failed += 1,
            Verdict::Cancelled | Verdict::Replaced | Verdict::Expired => self.report.withdrawn += 1,
        }
    }

    /// Everything has its verdict: what the store says of all of it.
    pub(super) fn end(mut self) -> OctetReport {
        for line in 0..LINES {
            if self.lines[line].placed.is_some() {
                self.ended(line, Outcome::Completed);
            }
        }
        if self.online.is_some() {
            self.go_online();
        }
        if self.online.is_some() {
            self.go_online();
        }
        // Terminals that were never heard of again: unknown, and nothing else may hide a publication.
        let (late, month) = (
            Timestamp::now() + jiff::SignedDuration::from_hours(31 * 24),
            30 * 24 * 3600 * SECOND,
        );
        let forgotten = self
            .runtime
            .block_on(self.store().forget_doubts(late, month))
            .expect("the disk works");
        self.report.unknown = forgotten as u64;
        for message in std::mem::take(&mut self.open) {
            self.verdicts.insert(message, Verdict::Failed);
        }
        let messages = self
            .runtime
            .block_on(self.store().messages(Last(u32::MAX)))
            .expect("the disk works");
        if messages.len() as u64 != self.report.accepted {
            self.breach(format!("{} messages in the store", messages.len()));
        }
        for message in messages {
            let id = message.head.id;
            let verdicts: Vec<_> = message
                .envelopes
                .iter()
                .map(|envelope| envelope.verdict)
                .collect();
            if verdicts != [self.verdicts.get(&id).copied()] {
                self.breach(format!("{id} has {verdicts:?} in the store"));
            }
        }
        let calls = self
            .runtime
            .block_on(self.store().calls(Last(u32::MAX)))
            .expect("the disk works");
        let without = calls.iter().filter(|call| call.outcome.is_none()).count();
        if calls.len() as u64 != self.report.calls + self.online_calls || without > 0 {
            self.breach(format!(
                "{} records of {} calls, {without} without an end",
                calls.len(),
                self.report.calls
            ));
        }
        let terminal = Destination::Name(name("t0"));
        let found = self
            .runtime
            .block_on(self.store().find_terminal(terminal))
            .expect("the disk works");
        if found.is_none_or(|found| found.connection != Connection::Down) {
            self.breach("t0 is not down in the end".to_owned());
        }
        self.report.took = self.now.duration_since(self.start);
        self.report.digest = self
            .log
            .finalize()
            .iter()
            .take(8)
            .map(|octet| format!("{octet:02x}"))
            .collect();
        self.report
    }
}
