//! The shell around `calling`: what it is told, and what it wants of the store and of the lines.

use std::time::Duration;

use ::calling::{Action, Event as Fact, Job, Known, Order, Recovered};
use ::server::jobs;
use line::{CallId, Number};
use model::outcome::Outcome;

use super::names::{line_name, terminal_number};
use super::server::Placed;
use super::{Event, LINES, OctetWorld, SECOND, STORM, moment};
use crate::people::name;

impl OctetWorld {
    /// Tells the server's state something, and does what it wants then.
    pub(super) fn feed(&mut self, fact: Fact) {
        self.calling.handle(fact, moment(self.start, self.now));
        loop {
            let answer = match self.calling.poll_action() {
                Action::Wait { until } => return self.calling_at = until,
                Action::Store(job) => self.perform(job),
                Action::Dial(order) => {
                    self.dial(*order);
                    None
                }
                Action::NotPlaced { terminal, why, .. } => {
                    self.note(&format!("not placed {why}"));
                    if why == Outcome::LoopBroken {
                        self.later(24 * 3600 * SECOND, Event::Resume(self.index_of(terminal)));
                    }
                    None
                }
                Action::Deliver(terminal) => {
                    self.ride_along(terminal);
                    None
                }
                // Sessions of this world deliver in the order of the plan; alarms are for eyes.
                Action::DeliverLast { .. } | Action::Unproved { .. } => None,
                Action::Raise { .. } | Action::Clear { .. } | Action::Keep { .. } => None,
            };
            if let Some(answer) = answer {
                self.calling.handle(answer, moment(self.start, self.now));
            }
        }
    }

    /// The store does a job as the server has it done; now and then the disk fails.
    fn perform(&mut self, job: Job) -> Option<Fact> {
        if self.plan.has_faults && self.chance.one_in(300) {
            self.note("the disk fails");
            return Some(Fact::StoreFailed {
                job,
                why: "the disk".to_owned(),
            });
        }
        let answer = self.runtime.block_on(jobs::perform(self.store(), job));
        match answer {
            Some(Fact::StoreFailed { job, why }) => {
                self.breach(format!("{job:?}: {why}"));
                None
            }
            // The same seed, the same ids.
            Some(Fact::Chosen {
                terminal,
                candidate,
                ..
            }) => {
                let call = CallId::from_octets(self.octets());
                Some(Fact::Chosen {
                    terminal,
                    candidate,
                    call,
                })
            }
            answer => {
                self.learn_verdicts();
                answer
            }
        }
    }

    pub(super) fn start_server(&mut self, unanswered: Vec<(Number, Duration)>) {
        let terminals = self
            .terminals
            .iter()
            .zip(0..)
            .map(|(terminal, index)| Known {
                terminal: terminal.id,
                name: name(&format!("t{index}")),
                number: terminal_number(index).parse().ok(),
                silent_for: Duration::ZERO,
            });
        let terminals = terminals.collect();
        let loops = self
            .runtime
            .block_on(self.store().dial_loops())
            .expect("the disk works");
        self.feed(Fact::Recovered(Box::new(Recovered {
            loops,
            terminals,
            unanswered,
            ..Recovered::default()
        })));
    }

    fn dial(&mut self, order: Order) {
        let Order {
            terminal,
            line,
            number,
            record,
            ..
        } = order;
        let (terminal, index) = (terminal.id, self.index_of(terminal.id));
        let line = (0..LINES)
            .find(|index| line_name(*index) == line)
            .expect("a line of the world");
        if self.lines[line].placed.is_some() || !self.lines[line].is_ready {
            self.breach(format!("a second call on line {line}"));
        }
        if self.lines.iter().any(|line| {
            line.placed
                .as_ref()
                .is_some_and(|placed| placed.terminal == terminal)
        }) {
            self.breach(format!("a second call to t{index}"));
        }
        self.lines[line].placed = Some(Placed::new(terminal, record, self.now));
        self.lines[line].is_ready = false;
        self.report.calls += 1;
        let under_way = self
            .lines
            .iter()
            .filter(|line| line.placed.is_some())
            .count();
        let at = self.now.duration_since(self.start);
        let under_way = u32::try_from(under_way).expect("few");
        let redials = &self.policy.rules.retry.redials;
        self.report.checks.dialled(
            at,
            u32::try_from(index).expect("few"),
            under_way,
            STORM,
            redials,
        );
        self.note(&format!("place {line} t{index}"));
        let now = self.now;
        self.lines[line].wire.dial(&number, now);
    }
}
