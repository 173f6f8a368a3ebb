//! What a call goes through: it is placed, rings, is answered, trains, carries octets.

use super::{Event, Exchange, Output};
use crate::{
    call::{Arrived, Call, Circuits, Ending, Phase},
    caller_id::CallerId,
    circuit::{Arrival, Circuit, LineShape, Side},
    record::{CallId, EndedBy, Outcome},
    settings::{CallerIdTiming, Flavour},
    station::{Hook, StationId},
    timers::Timer,
    virtual_modem::{Rates, ResultCode},
};
use std::time::{Duration, Instant};

/// From one short ring to the next, where they ask for the terminal that takes the number (Japan: 0.5 s on, 0.5 s off).
const ODD_RING_CYCLE: Duration = Duration::from_secs(1);

impl Exchange {
    pub(super) fn place(&mut self, caller: StationId, digits: &str, is_voice: bool, now: Instant) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        let entry = self.directory.get(digits).copied();
        let called = entry.map(|entry| entry.station);
        let refused = match called.map(|called| &self.stations[called.index()]) {
            None => Some(Outcome::UnknownNumber),
            Some(station) if station.settings.is_out_of_service => Some(Outcome::OutOfService),
            // Also when it calls itself: it is off hook.
            Some(station)
                if station.hook != Hook::On
                    || station.settings.is_busy
                    || called == Some(caller) =>
            {
                Some(Outcome::Busy)
            }
            Some(_) => None,
        };
        let call = Call {
            caller,
            called: called.unwrap_or(caller),
            presented: self.presented_by(caller, now),
            pattern: entry.and_then(|entry| entry.pattern),
            dialled: digits.to_owned(),
            is_voice,
            placed: now,
            answered: None,
            connected: None,
            rings: 0,
            odd_rings: 0,
            arrived: Arrived::default(),
            cut_after_octets: None,
            phase: Phase::Ringing,
        };
        if let Some(outcome) = refused {
            let ending = Ending {
                outcome,
                ended_by: EndedBy::Exchange,
                at: now,
                carried: (0, 0),
            };
            self.record(id, &call, ending);
            self.put_on_hook(caller);
            let result = if outcome == Outcome::Busy {
                ResultCode::Busy
            } else {
                ResultCode::NoCarrier
            };
            return self.stations[caller.index()].modem.end(result);
        }
        self.outputs.push_back(Output::Event(Event::Ringing {
            call: id,
            caller: self.stations[caller.index()].number.clone(),
            called: self.stations[call.called.index()].number.clone(),
        }));
        let called = call.called;
        self.stations[caller.index()].hook = Hook::InCall(id);
        self.stations[called.index()].hook = Hook::Ringing(id);
        self.calls.insert(id, call);
        self.timers
            .set(Timer::NoAnswer(id), now + self.line.no_answer_after);
        self.begin_ringing(id, called, now);
    }

    fn presented_by(&self, caller: StationId, now: Instant) -> Option<CallerId> {
        let station = &self.stations[caller.index()];
        let wall = self.wall(now);
        Some(CallerId {
            date: wall.strftime("%m%d").to_string(),
            time: wall.strftime("%H%M").to_string(),
            number: station.presented()?,
            name: station.settings.name.clone(),
        })
    }

    /// The number comes after the first ring, before it, or after short rings that do not count.
    fn begin_ringing(&mut self, id: CallId, called: StationId, now: Instant) {
        let settings = &self.stations[called.index()].settings;
        let delay = self.line.caller_id_delay;
        match (settings.flavour, settings.caller_id_timing) {
            (Flavour::Analogue, CallerIdTiming::BeforeFirstRing) => {
                self.timers.set(Timer::CallerId(id), now + delay);
                self.timers.set(Timer::Ring(id), now + delay * 2);
            }
            (Flavour::Analogue, CallerIdTiming::AfterOddRings) => self.odd_ring(id, now),
            (Flavour::Analogue, CallerIdTiming::AfterFirstRing) => {
                self.timers.set(Timer::CallerId(id), now + delay);
                self.ring(id, now);
            }
            // The number is in the set-up message: it comes with the ring.
            (Flavour::Isdn | Flavour::Gsm, _) => self.ring(id, now),
        }
    }

    /// A ring of the Japanese exchange to the terminal that takes the number.
    pub(super) fn odd_ring(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.odd_rings += 1;
        let (called, odd_rings) = (call.called, call.odd_rings);
        if odd_rings < self.stations[called.index()].settings.odd_rings {
            self.timers.set(Timer::OddRing(id), now + ODD_RING_CYCLE);
        } else {
            let number = now + self.line.caller_id_delay;
            self.timers.set(Timer::CallerId(id), number);
            self.timers.set(Timer::Ring(id), number + ODD_RING_CYCLE);
        }
        self.sound_ring(id, ODD_RING_CYCLE / 2, now);
    }

    pub(super) fn ring(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.rings += 1;
        let (called, rings) = (call.called, call.rings);
        self.timers.set(Timer::Ring(id), now + self.line.ring_cycle);
        self.stations[called.index()]
            .modem
            .profile
            .count_rings(rings);
        self.sound_ring(id, self.line.ring_time, now);
        let flavour = self.stations[called.index()].settings.flavour;
        // A mobile receives caller ID with every ring (3GPP 27.007 §7.6), a terminal adapter once.
        if flavour == Flavour::Gsm || (flavour == Flavour::Isdn && rings == 1) {
            self.present_caller(id);
        }
        if self.stations[called.index()].answers_by_itself(rings) {
            self.answer(id, now);
        }
    }

    fn sound_ring(&mut self, id: CallId, time: Duration, now: Instant) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let station = &mut self.stations[call.called.index()];
        station.is_ringing_now = true;
        station.modem.ring(
            call.pattern,
            if call.is_voice { "VOICE" } else { "REL ASYNC" },
        );
        self.timers.set(Timer::RingEnd(call.called), now + time);
        self.flush(call.called);
    }

    pub(super) fn end_ring(&mut self, station: StationId) {
        self.stations[station.index()].is_ringing_now = false;
        self.flush(station);
    }

    pub(super) fn present_caller(&mut self, id: CallId) {
        let Some(Call {
            called,
            presented: Some(presented),
            ..
        }) = self.calls.get(&id)
        else {
            return;
        };
        let station = &mut self.stations[called.index()];
        let is_tight = station.settings.is_caller_id_tight;
        station.modem.present_caller(presented, is_tight);
        self.flush(*called);
    }

    pub(super) fn answer(&mut self, id: CallId, now: Instant) {
        self.stop_ringing(id);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.answered = Some(now);
        call.phase = Phase::Training;
        let station = &mut self.stations[call.called.index()];
        station.hook = Hook::InCall(id);
        self.outputs
            .push_back(Output::Event(Event::Answered { call: id }));
        if call.is_voice && station.settings.flavour == Flavour::Gsm {
            return station.modem.talk();
        }
        station.modem.wait(now);
        if let Some(wait) = station.modem.profile.carrier_wait() {
            self.timers.set(Timer::Carrier(call.called), now + wait);
        }
        // Nothing answers the carrier of a call that was dialled for a voice: S7 ends it.
        if !call.is_voice && !station.settings.is_training_lost {
            self.timers
                .set(Timer::Trained(id), now + station.settings.training);
        }
    }

    pub(super) fn connect(&mut self, id: CallId, now: Instant) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        let circuits = Circuits::new(|from| self.circuit(id, &call, from));
        let ends =
            [call.caller, call.called].map(|station| (station, circuits.rates(call.side(station))));
        let settings = ends.map(|(station, _)| &self.stations[station.index()].settings);
        let cut_after = settings
            .iter()
            .filter_map(|settings| settings.cut_after)
            .min();
        call.cut_after_octets = settings
            .iter()
            .filter_map(|settings| settings.cut_after_octets)
            .min();
        call.phase = Phase::Connected(Box::new(circuits));
        call.connected = Some(now);
        self.calls.insert(id, call);
        self.outputs
            .push_back(Output::Event(Event::Connected { call: id }));
        if let Some(time) = cut_after {
            self.timers.set(Timer::Cut(id), now + time);
        }
        for (station, rates) in ends {
            self.timers.cancel(Timer::Carrier(station));
            self.stations[station.index()].modem.connect(rates, now);
            self.flush(station);
            self.outputs.push_back(Output::Room { station });
        }
    }

    /// The direction of a call that leaves from one side, as the lines of both stations make it.
    pub(super) fn circuit(&self, id: CallId, call: &Call, from: Side) -> Circuit {
        let [sender, receiver] =
            [from, from.other()].map(|side| &self.stations[call.station(side).index()].settings);
        Circuit::new(LineShape {
            rate: sender.rate_from.min(receiver.rate_to),
            delay: self.line.delay,
            jitter: sender.jitter + receiver.jitter,
            bit_error_rate: (sender.bit_errors_from + receiver.bit_errors_to).min(0.5),
            has_echo: sender.has_echo,
            buffer_octets_max: self.line.modem_buffer_octets,
            seed: self.line.seed ^ (id.0 << 1 | u64::from(from == Side::Called)),
        })
    }

    /// Moves one direction of a call on: the next chunk leaves, what has arrived is handed over.
    pub(super) fn run_circuit(&mut self, id: CallId, from: Side, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let (sender, receiver) = (call.station(from), call.station(from.other()));
        let [takes_echo, takes_octets] = [sender, receiver].map(|end| {
            let station = &self.stations[end.index()];
            station.is_dte_ready && !station.modem.is_holding_data()
        });
        let limit = call.cut_after_octets;
        let mut all_arrived = call.arrived;
        let is_alone = call
            .circuit_from(from.other())
            .is_none_or(|other| other.is_idle(now));
        let Some(circuit) = call.circuit_from(from) else {
            return;
        };
        if circuit.send(!takes_octets || (circuit.has_echo() && !takes_echo), now) {
            self.outputs.push_back(Output::Room { station: sender });
        }
        while let Some(octets) = circuit.echoed(now) {
            self.stations[sender.index()].modem.receive(&octets);
        }
        let (mut has_lost_carrier, mut is_cut) = (false, false);
        while let Some(arrival) = circuit.arrived(now).filter(|_| !is_cut) {
            match arrival {
                Arrival::Octets(mut octets) => {
                    all_arrived.add(from, octets.len(), is_alone);
                    if let Some(too_many) =
                        limit.and_then(|limit| all_arrived.octets.checked_sub(limit))
                    {
                        octets.truncate(
                            octets
                                .len()
                                .saturating_sub(usize::try_from(too_many).unwrap_or(usize::MAX)),
                        );
                        is_cut = true;
                    }
                    self.stations[receiver.index()].modem.receive(&octets);
                }
                Arrival::CarrierLoss => has_lost_carrier = true,
            }
        }
        match circuit.next_at() {
            Some(at) => self.timers.set(Timer::Circuit(id, from), at),
            None => self.timers.cancel(Timer::Circuit(id, from)),
        }
        let is_echoing = circuit.has_echo();
        call.arrived = all_arrived;
        if has_lost_carrier {
            self.forget(id);
            self.put_on_hook(receiver);
            self.stations[receiver.index()]
                .modem
                .end(ResultCode::NoCarrier);
        } else if is_cut {
            self.cut_call(id, now);
        }
        self.flush(receiver);
        if is_echoing {
            self.flush(sender);
        }
    }

    /// The DTE of a station takes octets again, so the modem at the other end may send.
    pub(super) fn wake_sender_to(&mut self, station: StationId, now: Instant) {
        let Hook::InCall(id) = self.stations[station.index()].hook else {
            return;
        };
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let side = call.side(station);
        self.run_circuit(id, side.other(), now);
        if self.stations[station.index()].settings.has_echo {
            self.run_circuit(id, side, now);
        }
    }
}

impl Circuits {
    /// The rates as one end sees them.
    fn rates(&self, side: Side) -> Rates {
        Rates {
            receive: self.rate_from(side.other()),
            transmit: self.rate_from(side),
        }
    }
}
