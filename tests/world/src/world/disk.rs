//! The disk's side of `calling`: it does what it is asked for, late and now and then not at all.

use std::time::Duration;

use calling::{Candidate, Found, Job, Waits};
use delivery::TerminalId;
use jiff::SignedDuration;
use line::CallId;
use model::account::Reservation;
use model::money::Micros;

use super::{Cost, Event, SECOND, World, index, of};
use crate::mail::Verdict;
use crate::people::name;
use crate::plan_server::{Waiting, zoned};

impl World {
    /// The disk is asked for something: now and then it is late.
    pub(super) fn ask(&mut self, job: Job) {
        let is_late = self.plan.has_faults
            && (self.server.disk.bad_until > self.now || self.chance.one_in(100));
        let takes = if is_late {
            self.chance.exponential(2 * SECOND)
        } else {
            Duration::ZERO
        };
        let done_at = self.server.disk.done_at(self.now, takes);
        if done_at > self.now {
            let number = self.server.disk.wait(Waiting::Job(job));
            return self.later(done_at - self.now, Event::Disk(number));
        }
        if let Some(answer) = self.perform(job) {
            self.feed(answer);
        }
    }

    pub(super) fn disk(&mut self, number: u64) {
        match self.server.disk.take(number) {
            Some(Waiting::Job(job)) => {
                let Some(answer) = self.perform(job) else {
                    return;
                };
                let number = self.server.disk.wait(Waiting::Answer(answer));
                let takes = self.chance.exponential(SECOND);
                self.later(takes, Event::Disk(number));
            }
            Some(Waiting::Answer(answer)) => self.feed(answer),
            None => {} // a crash came before
        }
    }

    /// The disk does something, or fails to.
    fn perform(&mut self, job: Job) -> Option<calling::Event> {
        let fails = if self.server.disk.bad_until > self.now {
            2
        } else {
            1000
        };
        if self.plan.has_faults && self.chance.one_in(fails) {
            self.server.disk.failed_at = Some(self.now);
            return Some(calling::Event::StoreFailed {
                job,
                why: "the disk".to_owned(),
            });
        }
        match job {
            Job::Look(terminal) => {
                return Some(calling::Event::Looked {
                    terminal,
                    found: Some(self.found(terminal)),
                });
            }
            Job::LookAtAll => {
                let all = self
                    .mail
                    .terminals_due()
                    .into_iter()
                    .map(|terminal| self.found(terminal));
                return Some(calling::Event::LookedAtAll(all.collect()));
            }
            Job::Choose(terminal) => {
                let first = self
                    .mail
                    .due(terminal)
                    .first()
                    .and_then(|first| self.mail.get(*first));
                let provider = first.map(|message| name(&format!("p{}", message.provider)));
                let candidate = Candidate {
                    found: self.found(terminal),
                    provider,
                    is_invited: false,
                };
                let call = self.call_id();
                return Some(calling::Event::Chosen {
                    terminal,
                    candidate: Some(Box::new(candidate)),
                    call,
                });
            }
            Job::Begin(beginning) => {
                let terminal = beginning.terminal;
                let reservation = self
                    .server
                    .disk
                    .begin(*beginning)
                    .expect("every line of the world has a tariff");
                let limit = self.server.policy().money.budget.server;
                let Reservation {
                    call, day, amount, ..
                } = reservation;
                self.report.checks.reserved(self.now, day, amount, limit);
                let is_clock_right = self.jumped.is_zero();
                self.costs.insert(
                    call,
                    Cost {
                        day,
                        reserved: amount,
                        bill: Micros::ZERO,
                        is_clock_right,
                    },
                );
                return Some(calling::Event::Begun(terminal));
            }
            Job::Settle { call, amount } => {
                self.server.disk.settle(call, amount);
                self.settled(call, amount);
            }
            Job::KeepLoop { number, dial_loop } => self.server.disk.keep_loop(number, dial_loop),
            Job::Quarantine { terminal, message } => {
                self.mail.wish(message, terminal, Verdict::Failed, self.now);
                self.log("left out", &message.to_string());
            }
            // Nothing of the world is made of these.
            Job::Connect { .. } | Job::Disconnect { .. } | Job::Close(_) | Job::NoSession(_) => {}
        }
        None
    }

    /// What the store says of a terminal.
    fn found(&self, terminal: TerminalId) -> Found {
        let waiting = self.mail.due(terminal);
        let waiting: Vec<_> = waiting
            .iter()
            .filter_map(|message| self.mail.get(*message))
            .collect();
        let deadline = waiting
            .iter()
            .filter_map(|message| message.expires)
            .min()
            .map(|deadline| {
                let left =
                    SignedDuration::try_from(deadline.saturating_sub(self.now)).unwrap_or_default();
                zoned(self.local()).timestamp() + left
            });
        let urgency = waiting.iter().map(|message| message.urgency).min();
        let waits = urgency.map(|urgency| Waits {
            urgency,
            deadline,
            may_be_called: true,
        });
        Found {
            terminal: self.people[index(of(terminal))].terminal.clone(),
            waits,
        }
    }

    /// The disk knows what a call came to.
    pub(super) fn settled(&mut self, call: CallId, settled: Micros) {
        let Some(Cost {
            day,
            reserved,
            bill,
            is_clock_right,
        }) = self.costs.remove(&call)
        else {
            return;
        };
        self.report.ledger = self.report.ledger + settled;
        self.report.bill = self.report.bill + bill;
        self.report.checks.settled(
            self.now,
            day,
            reserved,
            settled,
            is_clock_right.then_some(bill),
        );
    }
}
