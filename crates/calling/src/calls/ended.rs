//! Pure. What the end of a call, or of a session, means: for the ledger, for the number's failures, for the operator, for the next
//! call.

use std::time::Duration;

use delivery::TerminalId;

use super::{Calling, OnLine};
use crate::action::{Action, Job};
use crate::dispatch::{Input, Moment};
use crate::ledger::Used;
use crate::money::UNSEEN;
use model::alarm::AlarmKind;
use model::call::{CallRecord, Direction};
use model::outcome::{Fault, Outcome, Retry};

/// Calls in a row that reached an invited terminal and did not enrol it, from which on it is an alarm.
const NOT_ENROLLED_CALLS: u32 = 3;

impl Calling {
    pub(super) fn ended(
        &mut self,
        terminal: TerminalId,
        outcome: Outcome,
        record: &CallRecord,
        lasted: Duration,
        now: Moment,
    ) {
        let OnLine { is_invited, late } = self.on_line.remove(&record.id).unwrap_or_default();
        let outcome = if is_invited {
            self.not_enrolled(terminal, record, outcome)
        } else {
            outcome
        };
        self.count(terminal, record, &outcome, now);
        if record.direction == Direction::Outgoing {
            self.settle(record, &outcome, lasted + late);
            // Of a call that came in this was reported by itself.
            if let Outcome::NotProved(why) = &outcome {
                self.actions.push_back(Action::Unproved {
                    terminal,
                    why: why.clone(),
                });
            }
        }
        if outcome.is_good() && self.not_enrolled.remove(&terminal).is_some() {
            self.clear(AlarmKind::NotEnrolled, &record.party);
        }
        if self.sessions.get(&terminal) == Some(&record.id) {
            self.sessions.remove(&terminal);
        }
        self.store(Job::Disconnect {
            terminal,
            call: record.id,
        });
        if outcome == Outcome::Rung {
            self.rung.insert(terminal, record.id);
        }
        self.feed(
            Input::Ended {
                terminal,
                via: record.via.clone(),
                outcome,
            },
            now,
        );
        let messages = self.dispatch.suspects(terminal);
        self.actions
            .push_back(Action::DeliverLast { terminal, messages });
        // What came too late for this call, or was not delivered by it, is due for the next.
        self.look(terminal);
    }

    /// A call of ours that reached an invited terminal and did not enrol it is a matter between operator and terminal: it is
    /// repeated once a day at last, and three in a row are an alarm.
    fn not_enrolled(
        &mut self,
        terminal: TerminalId,
        record: &CallRecord,
        outcome: Outcome,
    ) -> Outcome {
        let Outcome::NotProved(why) = &outcome else {
            return outcome;
        };
        let calls = self.not_enrolled.entry(terminal).or_default();
        *calls = calls.saturating_add(1);
        if *calls >= NOT_ENROLLED_CALLS {
            let detail = format!(
                "{calls} calls reached it and it is not enrolled, the last: {why}. Enrol it there with its bundle: ringup enrol BUNDLE; \
                 or make a new one: ringup terminal invite {} --caller NUMBER",
                record.party
            );
            self.raise(AlarmKind::NotEnrolled, &record.party, detail);
        }
        Outcome::NotEnrolled(why.clone())
    }

    /// Puts what a call of ours cost in the place of what was reserved. It counts from the moment it was reserved.
    fn settle(&mut self, record: &CallRecord, outcome: &Outcome, lasted: Duration) {
        let octets = record.octets_out.saturating_add(record.octets_in);
        let used = match outcome {
            _ if outcome.may_be_charged() => Used::Answered {
                lasted: lasted + UNSEEN,
                octets,
            },
            _ if outcome.was_dialled() => Used::NotAnswered,
            _ => Used::Nothing,
        };
        let call = record.id;
        if let Some(amount) = self.ledger.settle(call, used) {
            self.store(Job::Settle { call, amount });
        }
    }

    /// Counts failures of a number. A call on which something got through, in either direction, ends the loop; a call that this server
    /// ended for reasons of its own says nothing of the number.
    fn count(&mut self, terminal: TerminalId, record: &CallRecord, outcome: &Outcome, now: Moment) {
        let (Some(number), Some(_)) = (&record.number, record.via.line()) else {
            return;
        };
        let works = outcome.is_good() || self.dispatch.has_advanced(terminal, outcome);
        let dial_loop = match outcome.retry() {
            _ if works => {
                if !self.breaker.forget(number) {
                    return;
                }
                self.clear(AlarmKind::DialLoop, &record.party);
                None
            }
            _ if outcome.fault() == Fault::Ours || record.direction == Direction::Incoming => {
                return;
            }
            Retry::BackOff | Retry::BackOffLong | Retry::NotBefore(_) => {
                let was_broken = self.breaker.is_broken(number);
                let dial_loop = self.breaker.failed(number, now.wall);
                if dial_loop.is_broken && !was_broken {
                    let (name, failed, since) = (&record.party, dial_loop.failed, dial_loop.since);
                    let detail = format!(
                        "{failed} calls failed since {since}, the last: {outcome}; not called until: ringup terminal resume {name}"
                    );
                    self.raise(AlarmKind::DialLoop, name, detail);
                }
                Some(dial_loop)
            }
            _ => return,
        };
        self.store(Job::KeepLoop {
            number: number.clone(),
            dial_loop,
        });
    }
}
