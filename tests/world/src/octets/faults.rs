//! What goes wrong: lines, modems, terminals, strangers, and the server itself.

use std::time::Duration;

use ::calling::{Calling, Event as Fact};
use exchange::{Settings, StationId};
use jiff::Timestamp;

use super::names::terminal_number;
use super::wire::Happened;
use super::{Event, LINES, OctetWorld, SECOND, open};
use crate::people::name;

impl OctetWorld {
    pub(super) fn on_stranger(&mut self, what: Happened) {
        match what {
            Happened::Ready => {
                if let Some(terminal) = self.stranger_calls.take() {
                    self.report.strangers += 1;
                    let now = self.now;
                    self.stranger
                        .dial(&terminal_number(terminal).parse().expect("digits"), now);
                }
            }
            Happened::NoCall(_) | Happened::Fault(_) | Happened::Over(_) => {
                self.later(Duration::ZERO, Event::StrangerHangsUp);
            }
            _ => {}
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Message => {
                self.submit();
                if self.submitted < self.plan.messages {
                    self.after(4 * SECOND, Event::Message);
                }
            }
            Event::Fault => {
                self.fault();
                self.after(20 * SECOND, Event::Fault);
            }
            Event::Mend(station) => {
                let settings = self.usual[station].clone();
                self.set(station, &settings);
                if station >= LINES {
                    self.terminals[station - LINES].is_disk_full = false;
                }
            }
            Event::Crash => {
                self.crash(0);
                self.after(600 * SECOND, Event::Crash);
            }
            Event::Stranger => {
                if !self.stranger.is_open() {
                    let victim = self.chance.below(self.terminals.len() as u64);
                    self.stranger_calls = u32::try_from(victim).ok();
                    let (seed, now) = (self.chance.next(), self.now);
                    self.stranger.open(seed, now);
                    self.feed_exchange(exchange::Input::Dtr {
                        station: self.stranger.station,
                        on: true,
                    });
                }
                self.after(60 * SECOND, Event::Stranger);
            }
            Event::Wish => {
                self.wish();
                self.after(15 * SECOND, Event::Wish);
            }
            Event::Release => {
                let late = Timestamp::now() + jiff::SignedDuration::from_hours(48);
                let released = self
                    .runtime
                    .block_on(self.store().release(late))
                    .expect("the disk works");
                released
                    .into_iter()
                    .for_each(|terminal| self.feed_due(terminal));
            }
            Event::Online => self.go_online(),
            Event::Resume(terminal) => {
                let number = u32::try_from(terminal)
                    .ok()
                    .and_then(|index| terminal_number(index).parse().ok());
                let (id, name) = (self.terminals[terminal].id, name(&format!("t{terminal}")));
                self.feed(Fact::Resumed {
                    terminal: id,
                    name,
                    number,
                });
            }
            Event::StrangerHangsUp => {
                self.stranger.close();
                self.feed_exchange(exchange::Input::Dtr {
                    station: self.stranger.station,
                    on: false,
                });
            }
        }
    }

    /// One of what can go wrong with a line or a terminal.
    fn fault(&mut self) {
        let station =
            usize::try_from(self.chance.below((LINES + self.terminals.len()) as u64)).expect("few");
        let kind = self.chance.below(9);
        let mut settings = self.usual[station].clone();
        let lasts = self.chance.exponential(40 * SECOND);
        self.note(&format!("fault {kind} {station}"));
        match kind {
            0 => settings.bit_errors_to = 0.000_2,
            1 => settings.bit_errors_from = 0.000_2,
            2 => settings.cut_after_octets = Some(1 + self.chance.below(4000)),
            3 => settings.is_busy = true,
            4 => settings.is_training_lost = true,
            5 => settings.has_no_dial_tone = true,
            6 => {
                let station = self.station(station);
                return self.feed_exchange(exchange::Input::Cut { station });
            }
            7 if station >= LINES => {
                self.report.terminal_crashes[0] += 1;
                return self.close_terminal(station - LINES, lasts);
            }
            // A RING without a call: twice, or long after the call.
            8 => {
                let (station, now) = (self.station(station), self.now);
                return self.wire(station).hear(b"\r\nRING\r\n", now);
            }
            _ => {
                if let Some(terminal) = station.checked_sub(LINES) {
                    self.terminals[terminal].is_disk_full = true;
                }
            }
        }
        self.set(station, &settings);
        self.later(lasts, Event::Mend(station));
    }

    pub(super) fn close_terminal(&mut self, terminal: usize, pause: Duration) {
        let opens_at = self.now + pause;
        self.terminals[terminal].close(opens_at);
        let station = self.terminals[terminal].wire.station;
        self.feed_exchange(exchange::Input::Dtr { station, on: false });
    }

    fn station(&self, index: usize) -> StationId {
        *self
            .stations
            .iter()
            .find(|(_, found)| **found == index)
            .expect("a station of the world")
            .0
    }

    fn set(&mut self, index: usize, settings: &Settings) {
        let station = self.station(index);
        self.feed_exchange(exchange::Input::Set { station, settings });
    }

    /// The server is gone in this moment: calls, dispatch, everything but the store's folder.
    pub(super) fn crash(&mut self, kind: usize) {
        self.note(&format!("crash {kind}"));
        self.report.crashes[kind] += 1;
        let opens_at = self.now + 2 * SECOND;
        for line in 0..LINES {
            if self.lines[line].placed.is_some() {
                *self
                    .report
                    .outcomes
                    .entry("server stopped".to_owned())
                    .or_default() += 1;
            }
            self.lines[line].close(opens_at);
            self.feed_exchange(exchange::Input::Dtr {
                station: self.lines[line].wire.station,
                on: false,
            });
        }
        if self.online.take().is_some() {
            self.after(30 * SECOND, Event::Online);
        }
        self.store = None;
        self.store = Some(open(&self.folder));
        let seed = self.chance.next();
        self.calling = Calling::new(
            self.policy.clone(),
            seed,
            super::moment(self.start, self.now),
        );
        self.calling_at = None;
        let at = self.now.duration_since(self.start);
        self.report.checks.restarted();
        let number = |terminal| terminal_number(terminal).parse().expect("a number");
        let before = self
            .report
            .checks
            .unanswered()
            .map(|(terminal, placed)| (number(terminal), at - placed))
            .collect();
        self.start_server(before);
        self.learn_verdicts();
        for message in self.open.clone() {
            let found = self
                .runtime
                .block_on(self.store().message(message))
                .expect("the disk works");
            let waits = found.is_some_and(|entry| {
                entry.envelopes.len() == 1 && entry.envelopes[0].verdict.is_none()
            });
            if !waits {
                self.breach(format!(
                    "{message} was accepted and does not wait after a crash"
                ));
            }
        }
    }
}
