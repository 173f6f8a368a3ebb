//! Calls: what becomes of each, and what it costs.

use std::time::Duration;

use calling::Order;
use model::call::{CallRecord, Direction};
use model::directory::Terminal;
use model::money::Micros;
use model::outcome::{Outcome, UnderWay};

use super::{CUT_BEFORE, Event, Line, Ongoing, SECOND, World, at, index, of};
use crate::bill::bill;
use crate::mail::Verdict;
use crate::people::id;
use crate::plan_server::{line, zoned};

impl World {
    /// A line gets the order to dial.
    pub(super) fn dial(&mut self, order: Order) {
        let (now, local) = (self.now, self.local());
        let Order {
            terminal,
            line: line_name,
            record,
            allowance,
            ..
        } = order;
        let terminal = of(terminal.id);
        let index_of_line = line(&self.terms, &line_name);
        let is_ours = |call: &Ongoing| call.record.direction == Direction::Outgoing;
        let on_line = &self.lines[index_of_line];
        if on_line.is_broken || on_line.call.as_ref().is_some_and(|call| !is_ours(call)) {
            // It was taken by a call that came in, or broke, in the very moment.
            return self.feed(calling::Event::NotTaken {
                terminal: id(terminal),
                record: Box::new(record),
            });
        }
        if on_line.call.is_some() {
            self.report
                .checks
                .breach(now, || format!("a second call on {line_name}"));
        }
        let person = &self.people[index(terminal)];
        self.report
            .checks
            .may_be_called(now, &zoned(local), terminal, &person.conditions);
        let own_call = self
            .lines
            .iter()
            .filter_map(|line| line.call.as_ref())
            .find(|call| call.terminal == terminal);
        if own_call.is_some_and(is_ours) {
            self.report
                .checks
                .breach(now, || format!("a second call to t{terminal}"));
        }
        let is_engaged = own_call.is_some();
        let under_way = self
            .lines
            .iter()
            .filter(|line| line.call.as_ref().is_some_and(is_ours))
            .count();
        let (storm, redials) = (
            self.server.policy().rules.storm,
            self.server.policy().rules.retry.redials,
        );
        let under_way = u32::try_from(under_way + 1).unwrap_or(u32::MAX);
        self.report
            .checks
            .dialled(now, terminal, under_way, storm, &redials);
        self.report.dialled += 1;
        self.log("dialled", &format!("{terminal} {line_name}"));

        let (outcome, after, is_answered) = self.fate(terminal, is_engaged);
        let is_connected = outcome == Outcome::Completed;
        let call_number = self.number();
        let call = Ongoing {
            number: call_number,
            record: Box::new(record),
            terminal,
            began: now,
            answered: is_answered.then(|| now + after / 2),
            cut_at: Some(now + allowance.longest.saturating_sub(CUT_BEFORE)),
            outcome,
            delivers: vec![],
            breaks: None,
        };
        self.lines[index_of_line].call = Some(call);
        let event = if is_connected {
            Event::Connects
        } else {
            Event::Ends
        };
        self.later(after, event(index_of_line, call_number));
    }

    /// How a call will end as far as it is known when it is dialled, when that or the link comes, whether it is answered.
    fn fate(&mut self, terminal: u32, is_engaged: bool) -> (Outcome, Duration, bool) {
        let after = |seconds| Duration::from_secs(seconds);
        if self.people[index(terminal)].off_until > self.now {
            return (Outcome::NoAnswer, after(60), false);
        }
        if is_engaged {
            return (Outcome::Busy, after(5), false);
        }
        if self.plan.has_faults {
            match self.chance.below(1000) {
                0..50 => return (Outcome::Busy, after(5), false),
                50..90 => return (Outcome::NoAnswer, after(60), false),
                90..110 => return (Outcome::NoCarrier, after(50), self.chance.one_in(2)),
                110..113 => return (Outcome::NoDialTone, after(3), false),
                113..115 => return (Outcome::RedialLimited, after(1), false),
                115..125 => return (Outcome::LinkFailed("noise".to_owned()), after(55), true),
                125..126 => {
                    return (
                        Outcome::NotProved("somebody else".to_owned()),
                        after(40),
                        true,
                    );
                }
                _ => {}
            }
        }
        (Outcome::Completed, after(20 + self.chance.below(16)), true)
    }

    pub(super) fn connects(&mut self, line: usize, number: u64) {
        let Some(call) = self.lines[line]
            .call
            .as_ref()
            .filter(|call| call.number == number)
        else {
            return;
        };
        let (terminal, cut_at) = (call.terminal, call.cut_at);
        let (call, via) = (call.record.id, call.record.via.clone());
        self.report.checks.answered(terminal);
        self.people[index(terminal)].reached = self.now;
        self.feed(calling::Event::Connected {
            terminal: id(terminal),
            call,
            via,
        });
        self.mail.ask(id(terminal), self.now);
        let suspects = self.people[index(terminal)].last.clone();
        let (last, mut order): (Vec<_>, Vec<_>) = self
            .mail
            .due(id(terminal))
            .into_iter()
            .partition(|message| suspects.contains(message));
        order.extend(last);
        let mut outcome = Outcome::Completed;
        let mut ends = self.now + 2 * SECOND;
        let (mut delivers, mut breaks) = (vec![], None);
        for message in order {
            let takes = SECOND * u32::try_from(2 + self.chance.below(9)).unwrap_or(2);
            let is_poison = self
                .mail
                .get(message)
                .is_some_and(|message| message.is_poison);
            let is_lost = self.plan.has_faults && self.chance.one_in(100);
            ends += takes;
            self.mail.begin(message, id(terminal));
            if is_poison || is_lost {
                // A lost receipt, or a lost message.
                let is_there = !is_poison && self.chance.one_in(2);
                breaks = Some((message, is_there));

                let received_before = u32::try_from(delivers.len()).unwrap_or(u32::MAX);
                let delivering = Some(UnderWay {
                    messages: vec![message],
                    received_before,
                    ..UnderWay::default()
                });
                outcome = Outcome::SessionLost {
                    why: "lost".to_owned(),
                    delivering,
                };
                break;
            }
            if cut_at.is_some_and(|cut_at| ends > cut_at) {
                outcome = Outcome::AllowanceSpent;
                self.mail.lose(message, id(terminal), false, self.now);
                break;
            }
            delivers.push((message, ends));
        }
        if let Some(cut_at) = cut_at {
            ends = ends.min(cut_at).max(self.now);
        }
        if let Some(call) = &mut self.lines[line].call {
            (call.outcome, call.delivers, call.breaks) = (outcome, delivers, breaks);
        }
        self.later(ends - self.now, Event::Ends(line, number));
    }

    pub(super) fn ends(&mut self, line: usize, number: u64) {
        if self.lines[line]
            .call
            .as_ref()
            .is_none_or(|call| call.number != number)
        {
            return;
        }
        let Some(call) = self.lines[line].call.take() else {
            return;
        };
        let terminal = id(call.terminal);
        let mut delivers: Vec<_> = call.delivers.iter().map(|(message, _)| *message).collect();
        if call.outcome == Outcome::Completed {
            // Messages that arrived meanwhile are sent on this call.
            let rode = self.mail.due(terminal).into_iter().filter(|message| {
                !delivers.contains(message)
                    && self
                        .mail
                        .get(*message)
                        .is_some_and(|message| !message.is_poison)
            });
            delivers.extend(rode.collect::<Vec<_>>());
            self.report.completed += 1;
        }
        if let Some((message, is_there)) = call.breaks {
            if is_there {
                self.mail.publish(message, terminal);
            }
            self.mail.lose(
                message,
                terminal,
                is_there || self.chance.one_in(2),
                self.now,
            );
        }
        for message in delivers {
            self.mail.publish(message, terminal);
            // What came meanwhile, and went on this call, too, may have its verdict.
            if self
                .mail
                .verdict(message, terminal, Verdict::Delivered, self.now)
            {
                self.log("delivered", &message.to_string());
            }
        }
        if call.record.direction == Direction::Outgoing {
            self.bill_for(line, &call);
            if !call.outcome.was_dialled() {
                self.report.checks.not_dialled(call.terminal);
            } else if call.outcome.was_answered() {
                self.report.checks.answered(call.terminal);
            }
        }
        self.log("ended", &call.outcome.to_string());
        let name = self.terms[line].name.clone();
        let Ongoing {
            record,
            outcome,
            began,
            ..
        } = call;
        self.feed(calling::Event::Ended {
            terminal,
            outcome,
            record,
            lasted: self.now - began,
        });
        self.feed(calling::Event::LineFree(name));
    }

    /// The bill of a call that is over, or cut by a crash.
    pub(super) fn bill_for(&mut self, line: usize, call: &Ongoing) {
        let bill = self.bill(line, call);
        let is_clock_right = self.jumped.is_zero();
        if let Some(cost) = self.costs.get_mut(&call.record.id) {
            cost.bill = bill;
            cost.is_clock_right &= is_clock_right;
        }
    }

    fn bill(&self, line: usize, call: &Ongoing) -> Micros {
        let Some(answered) = call.answered else {
            return Micros::ZERO;
        };
        // A crash may cut a call before it would have been answered.
        if answered > self.now {
            return Micros::ZERO;
        }
        bill(&self.charges[line], at(answered), self.now - answered)
    }

    /// A terminal calls by itself: it takes a free line, or finds them all engaged.
    pub(super) fn terminal_calls(&mut self) {
        let terminal = self.anybody();
        let is_off = self.people[index(terminal)].off_until > self.now;
        let is_own = |call: &Ongoing| {
            call.terminal == terminal && call.record.direction == Direction::Incoming
        };
        let has_call = |line: &Line| line.call.as_ref().is_some_and(is_own);
        if is_off || self.lines.iter().any(has_call) {
            return;
        }
        let Some(line) = self
            .lines
            .iter()
            .position(|line| line.call.is_none() && !line.is_broken)
        else {
            return;
        };
        self.report.incoming += 1;
        self.log("calls", &terminal.to_string());
        let (number, call) = (self.number(), self.call_id());
        let name = self.terms[line].name.clone();
        let Terminal {
            number: caller,
            name: party,
            ..
        } = self.people[index(terminal)].terminal.clone();
        let placed_at = zoned(self.local()).timestamp();
        let record = CallRecord::begin(
            call,
            placed_at,
            Direction::Incoming,
            name.clone(),
            caller,
            party,
        );
        self.lines[line].call = Some(Ongoing {
            number,
            record: Box::new(record),
            terminal,
            began: self.now,
            answered: Some(self.now),
            cut_at: None,
            outcome: Outcome::Completed,
            delivers: vec![],
            breaks: None,
        });
        self.feed(calling::Event::LineTaken(name));
        self.later(15 * SECOND, Event::Connects(line, number));
    }
}
