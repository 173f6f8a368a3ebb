//! The server's part of a call, from CONNECT to its record.

use ::calling::Event as Fact;
use ::model::outcome::Outcome;
use ::store::{AttemptEnd, Claim, Doubt, Refusal};
use jiff::Timestamp;
use line::{CallId, DTR_LOW};

use super::names::line_name;
use super::server::{Ask, LineEnd, Placed};
use super::talk::Word;
use super::wire::Happened;
use super::{Event, OctetWorld, SECOND};

impl OctetWorld {
    pub(super) fn ride_along(&mut self, terminal: delivery::TerminalId) {
        let due = self
            .runtime
            .block_on(self.store().due(terminal, Timestamp::now()))
            .expect("the disk works");
        let lines = self.lines.iter();
        let found = lines.enumerate().find(|(_, line)| {
            line.placed
                .as_ref()
                .is_some_and(|placed| placed.terminal == terminal && placed.is_connected)
        });
        let Some((index, _)) = found else { return };
        if let Some(placed) = &mut self.lines[index].placed {
            placed.plan.add(due);
        }
        self.go_on(index);
    }

    pub(super) fn on_line(&mut self, line: usize, what: Happened) {
        match what {
            Happened::Ready => {
                self.lines[line].is_ready = true;
                self.feed(Fact::LineFree(line_name(line)));
            }
            Happened::Connected => {
                let now = self.now;
                if let Some(placed) = &mut self.lines[line].placed {
                    placed.answered(now);
                }
                let terminal = self.index_on(line);
                self.report.checks.answered(terminal);
            }
            Happened::Heard(octets) => {
                if let Some(placed) = &mut self.lines[line].placed {
                    placed.heard.extend(octets);
                }
                self.go_on(line);
            }
            Happened::NoCall(failure) => self.ended(line, Outcome::from(failure)),
            Happened::Fault(why) => self.ended(line, Outcome::LineFailed(why)),
            Happened::Over(why) => {
                let outcome = self.lines[line]
                    .placed
                    .as_mut()
                    .map(|placed| placed.end(&why));
                if let Some(outcome) = outcome {
                    self.ended(line, outcome);
                }
            }
            Happened::LinkUp | Happened::Ring | Happened::CallerId(_) => {}
        }
    }

    fn index_on(&self, line: usize) -> u32 {
        let terminal = self.lines[line]
            .placed
            .as_ref()
            .map(|placed| placed.terminal);
        let index = self
            .terminals
            .iter()
            .position(|end| Some(end.id) == terminal);
        index
            .and_then(|index| u32::try_from(index).ok())
            .unwrap_or(u32::MAX)
    }

    /// Works on what was heard, then says what is next.
    fn go_on(&mut self, line: usize) {
        loop {
            let Some(placed) = &mut self.lines[line].placed else {
                return;
            };
            let (terminal, call) = (placed.terminal, placed.record.id);
            let ask = match placed.take(self.now) {
                Ok(Some(ask)) => Some(ask),
                Ok(None) if placed.is_connected && !placed.is_waiting() => {
                    let LineEnd {
                        placed: Some(placed),
                        wire,
                        ..
                    } = &mut self.lines[line]
                    else {
                        return;
                    };
                    placed.next(wire)
                }
                Ok(None) => None,
                Err(outcome) => {
                    placed.outcome.get_or_insert(outcome);
                    let now = self.now;
                    return self.lines[line].wire.carrier_lost(now);
                }
            };
            let Some(ask) = ask else { return };
            match ask {
                Ask::Connected => self.connected(line, terminal, call),
                Ask::Bring(id) => {
                    let begin = self.store().begin(id, terminal, call, Timestamp::now());
                    let claim = self.runtime.block_on(begin).expect("the disk works");
                    let content = match claim {
                        Claim::Begun(begun) => Some(begun.content.read().expect("it is kept")),
                        _ => None,
                    };
                    let Some(placed) = &mut self.lines[line].placed else {
                        return;
                    };
                    match content {
                        None => placed.plan.settled(id),
                        Some(content) => {
                            placed.under_way = Some(id);
                            let word = Word::Message {
                                id,
                                content: content.to_vec(),
                            };
                            self.lines[line].wire.say(&word.to_octets());
                        }
                    }
                }
                Ask::Delivered(id) => {
                    if self.plan.has_faults && self.chance.one_in(300) {
                        return self.crash(2);
                    }
                    let delivered = self.store().delivered(id, terminal, call, Timestamp::now());
                    if let Some(other) = self.runtime.block_on(delivered).expect("the disk works") {
                        self.breach(format!("{id} was received, and its verdict is {other}"));
                    }
                    self.learn_verdicts();
                    if self.plan.has_faults && self.chance.one_in(300) {
                        return self.crash(3);
                    }
                    let Some(placed) = &mut self.lines[line].placed else {
                        return;
                    };
                    placed.under_way = None;
                    placed.received += 1;
                    placed.plan.settled(id);
                }
                Ask::Refused(id) => {
                    let how = AttemptEnd::refused("refused", Doubt::Dispelled);
                    let end = self.store().refused(
                        id,
                        terminal,
                        call,
                        how,
                        Refusal::Again,
                        Timestamp::now(),
                    );
                    self.runtime.block_on(end).expect("the disk works");
                    self.learn_verdicts();
                    self.later(300 * SECOND, Event::Release);
                    let Some(placed) = &mut self.lines[line].placed else {
                        return;
                    };
                    placed.under_way = None;
                    placed.refused += 1;
                    placed.plan.settled(id);
                }
                Ask::Answer { doubt, is_there } => {
                    let id = doubt.id;
                    self.note(&format!("{id} is there: {is_there}"));
                    if is_there {
                        let there = self
                            .store()
                            .found_there(id, terminal, call, Timestamp::now());
                        if let Some(other) = self.runtime.block_on(there).expect("the disk works") {
                            self.breach(format!("{id} was there, and its verdict is {other}"));
                        }
                    } else {
                        let not_there = self.store().not_there(doubt, terminal, Timestamp::now());
                        self.runtime.block_on(not_there).expect("the disk works");
                    }
                    self.learn_verdicts();
                    let Some(placed) = &mut self.lines[line].placed else {
                        return;
                    };
                    placed.asked = None;
                }
            }
        }
    }

    fn connected(&mut self, line: usize, terminal: delivery::TerminalId, call: CallId) {
        let (store, runtime) = (self.store(), &self.runtime);
        let due = runtime
            .block_on(store.due(terminal, Timestamp::now()))
            .expect("the disk works");
        let doubts = runtime
            .block_on(store.doubts(terminal))
            .expect("the disk works");
        if let Some(placed) = &mut self.lines[line].placed {
            placed.plan.add(due);
            placed
                .questions
                .extend(doubts.into_iter().filter(|doubt| doubt.is_pending));
        }
        self.feed(Fact::Connected {
            terminal,
            call,
            via: line_name(line).into(),
        });
    }

    /// The call on a line, or the attempt, is over: its record, then dispatch, then the line anew.
    pub(super) fn ended(&mut self, line: usize, outcome: Outcome) {
        let opens_at = self.now + DTR_LOW;
        let placed = self.lines[line].placed.take();
        self.lines[line].close(opens_at);
        self.feed_exchange(exchange::Input::Dtr {
            station: self.lines[line].wire.station,
            on: false,
        });
        let Some(Placed {
            terminal,
            mut record,
            began,
            ..
        }) = placed
        else {
            return self.feed(Fact::LineTaken(line_name(line)));
        };
        let word = outcome.to_string();
        record.ended_at = Some(Timestamp::now());
        record.outcome = Some(word.clone());
        let (store, runtime) = (self.store(), &self.runtime);
        runtime
            .block_on(store.record_call(record.clone(), Timestamp::now()))
            .expect("the disk works");
        self.learn_verdicts();
        let kind: String = word
            .chars()
            .take_while(|char| !matches!(char, ':' | ',' | '('))
            .collect();
        *self.report.outcomes.entry(kind).or_default() += 1;
        self.note(&format!("ended {line} {word}"));
        if !outcome.was_dialled() {
            let index = self
                .terminals
                .iter()
                .position(|end| end.id == terminal)
                .expect("of the directory");
            self.report
                .checks
                .not_dialled(u32::try_from(index).expect("few"));
        }
        self.feed(Fact::LineTaken(line_name(line)));
        let (record, lasted) = (Box::new(record), self.now - began);
        self.feed(Fact::Ended {
            terminal,
            outcome,
            record,
            lasted,
        });
    }
}
