//! The exchange itself: who calls whom, what rings, and when. No clock, no file, no socket.

use crate::{
    call::{Call, Circuits, Ending, Phase},
    circuit::{Arrival, Circuit, Side},
    command::DialString,
    config::Config,
    number::Number,
    record::{CallId, CallRecord, EndedBy, Outcome},
    station::{Hook, Station, StationId},
    timers::{Timer, Timers},
    virtual_modem::{Intake, Request, ResultCode},
};
use jiff::{SignedDuration, Timestamp, Zoned};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// A telephone exchange with its stations' modems.
///
/// Feed one [`Input`], drain [`Exchange::poll_output`] to [`Output::Timeout`], then feed the next; `now` never goes
/// back. The same inputs at the same times give the same outputs. Work for one input grows with the logarithm of the
/// number of stations, never with the number.
#[derive(Debug)]
pub struct Exchange {
    line: LineModel,
    stations: Vec<Station>,
    directory: BTreeMap<Number, StationId>,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
    timers: Timers,
    outputs: VecDeque<Output>,
    started: Instant,
    /// The time of day at `started`.
    clock: Zoned,
}

/// What is the same for all lines of an exchange.
#[derive(Clone, Debug)]
struct LineModel {
    rate: u32,
    delay: Duration,
    ring_cycle: Duration,
    caller_id_delay: Duration,
    no_answer_after: Duration,
    modem_buffer_octets: usize,
}

impl LineModel {
    fn circuit(&self) -> Circuit {
        Circuit::new(self.rate, self.delay, self.modem_buffer_octets)
    }
}

/// What can happen to an exchange.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The DTE of a station writes; at most [`Exchange::room`] octets, more may be lost as on a line without flow
    /// control.
    Octets {
        /// Whose DTE.
        station: StationId,
        /// What it writes.
        octets: &'a [u8],
    },
    /// Someone opens (`on`) or closes the DTE side of a station: circuit 108, DTR. It is off at the start.
    Dtr {
        /// Whose DTE.
        station: StationId,
        /// Open or closed.
        on: bool,
    },
    /// The DTE of a station can take octets or not: circuit 133, RTS. It is on at the start and after DTR goes on.
    Ready {
        /// Whose DTE.
        station: StationId,
        /// Whether it takes octets.
        on: bool,
    },
    /// The line of a station is cut under its call; both modems lose the carrier at once.
    Cut {
        /// Whose line.
        station: StationId,
    },
    /// The time of the last [`Output::Timeout`] has come.
    Deadline,
}

/// What an exchange wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Give these to the DTE of a station. There are none while its DTR or its readiness is off.
    Octets {
        /// Whose DTE.
        station: StationId,
        /// What it reads.
        octets: Vec<u8>,
    },
    /// What [`Exchange::room`] says of this station may have grown.
    Room {
        /// Whose modem.
        station: StationId,
    },
    /// A call has ended.
    Record(CallRecord),
    /// Something for the log.
    Event(Event),
    /// There is nothing more to do before `at`, or before the next input if there is none.
    Timeout {
        /// When to come back with [`Input::Deadline`].
        at: Option<Instant>,
    },
}

/// What a call goes through, for the log. Its end is the [`CallRecord`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The called station has begun to ring.
    Ringing {
        /// Which call.
        call: CallId,
        /// The number of the station that placed the call.
        caller: Number,
        /// The number of the station that rings.
        called: Number,
    },
    /// The called station has gone off hook; the call costs from here.
    Answered {
        /// Which call.
        call: CallId,
    },
    /// The modems have trained.
    Connected {
        /// Which call.
        call: CallId,
    },
    /// A DTE has written more than its modem had room for.
    Overrun {
        /// Whose DTE.
        station: StationId,
        /// How many octets were lost.
        octets: usize,
    },
}

impl Exchange {
    /// An exchange with every DTE closed; `clock` is the time of day at `now`, for caller ID and records.
    pub fn new(config: &Config, now: Instant, clock: Zoned) -> Self {
        let ids = (0..).map(StationId);
        Self {
            line: LineModel {
                rate: config.rate,
                delay: config.delay,
                ring_cycle: config.ring_cycle,
                caller_id_delay: config.caller_id_delay,
                no_answer_after: config.no_answer_after,
                modem_buffer_octets: config.modem_buffer_octets,
            },
            stations: config.stations.iter().map(Station::new).collect(),
            directory: config.stations.iter().map(|station| station.number.clone()).zip(ids).collect(),
            calls: BTreeMap::new(),
            next_call: 1,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            started: now,
            clock,
        }
    }

    /// The station with a number.
    pub fn station(&self, number: &str) -> Option<StationId> {
        self.directory.get(number).copied()
    }

    /// How many octets the modem of a station takes now from its DTE: what its buffer has free while it sends data,
    /// none while its DTE does not read the answers to its commands.
    pub fn room(&self, station: StationId) -> usize {
        let Station { modem, hook, .. } = &self.stations[station.index()];
        match (modem.intake(), hook) {
            (Intake::Commands, _) if modem.is_congested() => 0,
            (Intake::Data, Hook::InCall(call)) => match self.calls.get(call) {
                Some(Call { phase: Phase::Connected(circuits), caller, .. }) => {
                    circuits.room(if *caller == station { Side::Caller } else { Side::Called })
                }
                _ => self.line.modem_buffer_octets,
            },
            _ => self.line.modem_buffer_octets,
        }
    }

    /// Takes one input. What was due before it happens first, at the time it was due, so a late caller loses nothing
    /// but promptness.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        self.fire_due(now);
        match input {
            Input::Octets { station, octets } => self.take_octets(station, octets, now),
            Input::Dtr { station, on } => self.set_dtr(station, on, now),
            Input::Ready { station, on } => self.set_ready(station, on, now),
            Input::Cut { station } => self.cut(station, now),
            Input::Deadline => {}
        }
        // Times can be set to nothing, such as S12.
        self.fire_due(now);
    }

    /// The next thing to do; [`Output::Timeout`] when there is nothing else.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout { at: self.timers.next_at() })
    }

    fn fire_due(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.take_due(now) {
            self.fire(timer, at);
        }
    }

    fn fire(&mut self, timer: Timer, at: Instant) {
        match timer {
            Timer::Circuit(call, from) => self.run_circuit(call, from, at),
            Timer::Trained(call) => self.connect(call, at),
            Timer::Pause(station) => self.end_pause(station, at),
            Timer::Ring(call) => self.ring(call, at),
            Timer::CallerId(call) => self.present_caller(call, at),
            Timer::Carrier(station) => self.give_up_waiting(station, at),
            Timer::NoAnswer(call) => self.give_up_ringing(call, EndedBy::Exchange, at),
            Timer::Escape(station) => {
                self.stations[station.index()].modem.escape();
                self.flush(station);
            }
        }
    }
}

/// What a DTE does.
impl Exchange {
    fn take_octets(&mut self, station: StationId, octets: &[u8], now: Instant) {
        if !self.stations[station.index()].has_dte {
            return;
        }
        let mut rest = octets;
        while let Some((first, others)) = rest.split_first() {
            let modem = &mut self.stations[station.index()].modem;
            match modem.intake() {
                Intake::Commands if modem.is_congested() => {
                    self.flush(station);
                    if self.stations[station.index()].modem.is_congested() {
                        self.outputs.push_back(Output::Event(Event::Overrun { station, octets: rest.len() }));
                        break;
                    }
                    continue;
                }
                Intake::Commands => {
                    modem.type_octet(*first);
                    while let Some(request) = self.stations[station.index()].modem.next_request(now) {
                        self.perform(station, request, now);
                    }
                }
                Intake::Keys => {
                    if modem.is_aborted_by_key(now) {
                        self.hang_up(station, now);
                        self.end_at(station, ResultCode::NoCarrier);
                    }
                }
                Intake::Data => {
                    self.take_data(station, rest, now);
                    break;
                }
            }
            rest = others;
        }
        // ATO opens the gate for what the far modem had to hold back.
        self.wake_sender_to(station, now);
        self.flush(station);
        self.outputs.push_back(Output::Room { station });
    }

    fn take_data(&mut self, station: StationId, octets: &[u8], now: Instant) {
        match self.stations[station.index()].modem.observe_data(octets, now) {
            Some(at) => self.timers.set(Timer::Escape(station), at),
            None => self.timers.cancel(Timer::Escape(station)),
        }
        let Hook::InCall(id) = self.stations[station.index()].hook else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let from = call.side(station);
        // Once the other side has hung up, what is sent goes nowhere until the news is here.
        let Phase::Connected(circuits) = &mut call.phase else { return };
        let taken = circuits.leaving(from).offer(octets);
        if taken < octets.len() {
            self.outputs.push_back(Output::Event(Event::Overrun { station, octets: octets.len() - taken }));
        }
        self.run_circuit(id, from, now);
    }

    fn set_dtr(&mut self, station: StationId, on: bool, now: Instant) {
        let place = &mut self.stations[station.index()];
        if place.has_dte == on {
            return;
        }
        place.has_dte = on;
        place.is_dte_ready = true;
        if on {
            self.outputs.push_back(Output::Room { station });
            return;
        }
        place.modem.lose_dte();
        // An unanswered ring goes on: the line does not know who has the port open.
        if !matches!(place.hook, Hook::Ringing(_)) {
            self.hang_up(station, now);
        }
    }

    fn set_ready(&mut self, station: StationId, on: bool, now: Instant) {
        self.stations[station.index()].is_dte_ready = on;
        if on {
            self.flush(station);
            self.wake_sender_to(station, now);
            self.outputs.push_back(Output::Room { station });
        }
    }

    fn perform(&mut self, station: StationId, request: Request, now: Instant) {
        let place = &mut self.stations[station.index()];
        match (request, &place.hook) {
            (Request::Dial(_), Hook::InCall(_) | Hook::Pausing { .. }) => place.modem.report(ResultCode::Error),
            // A real modem would take the call that comes in, and hear no dial tone either.
            (Request::Dial(_), Hook::Ringing(_)) => place.modem.report(ResultCode::NoDialtone),
            (Request::Dial(_), _) if place.is_out_of_service => place.modem.report(ResultCode::NoDialtone),
            (Request::Dial(dial), Hook::On | Hook::Off) => self.dial(station, dial, now),
            (Request::Answer, Hook::Ringing(call)) => {
                let call = *call;
                self.answer(call, now);
            }
            (Request::Answer, Hook::InCall(_)) => place.modem.report(ResultCode::Error),
            (Request::Answer, _) => place.modem.report(ResultCode::NoCarrier),
            (Request::HangUp, Hook::Ringing(_)) => {}
            (Request::HangUp, _) => self.hang_up(station, now),
            (Request::OffHook, Hook::On) => place.hook = Hook::Off,
            (Request::OffHook, _) => {}
        }
    }

    fn dial(&mut self, station: StationId, dial: DialString, now: Instant) {
        let Station { modem, hook, .. } = &mut self.stations[station.index()];
        if let Some(wait) = modem.profile.carrier_wait().filter(|_| !dial.is_voice) {
            self.timers.set(Timer::Carrier(station), now + wait);
        }
        if !dial.is_voice {
            modem.wait(now);
        }
        if dial.pauses == 0 {
            return self.place(station, &dial.digits, dial.is_voice, now);
        }
        self.timers.set(Timer::Pause(station), now + modem.profile.pause() * dial.pauses);
        *hook = Hook::Pausing { digits: dial.digits, is_voice: dial.is_voice };
    }

    fn end_pause(&mut self, station: StationId, now: Instant) {
        let hook = &mut self.stations[station.index()].hook;
        let Hook::Pausing { digits, is_voice } = std::mem::replace(hook, Hook::Off) else { return };
        self.place(station, &digits, is_voice, now);
        self.flush(station);
    }
}

/// What a call goes through.
impl Exchange {
    fn place(&mut self, caller: StationId, digits: &str, is_voice: bool, now: Instant) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        let called = self.station(digits);
        let refused = match called.map(|called| &self.stations[called.index()]) {
            None => Some(Outcome::UnknownNumber),
            Some(station) if station.is_out_of_service => Some(Outcome::OutOfService),
            // Also when it calls itself: it is off hook.
            Some(station) if station.hook != Hook::On || called == Some(caller) => Some(Outcome::Busy),
            Some(_) => None,
        };
        let call = Call {
            caller,
            called: called.unwrap_or(caller),
            presented: self.stations[caller.index()].presented(),
            is_voice,
            placed: now,
            answered: None,
            rings: 0,
            phase: Phase::Ringing,
        };
        if let Some(outcome) = refused {
            let ending = Ending { outcome, ended_by: EndedBy::Exchange, at: now, carried: (0, 0) };
            self.record(id, &call, digits.to_owned(), ending);
            self.put_on_hook(caller);
            let result = if outcome == Outcome::Busy { ResultCode::Busy } else { ResultCode::NoCarrier };
            return self.stations[caller.index()].modem.end(result);
        }
        if is_voice {
            self.stations[caller.index()].modem.report(ResultCode::Ok);
        }
        self.outputs.push_back(Output::Event(Event::Ringing {
            call: id,
            caller: self.stations[caller.index()].number.clone(),
            called: self.stations[call.called.index()].number.clone(),
        }));
        self.stations[caller.index()].hook = Hook::InCall(id);
        self.stations[call.called.index()].hook = Hook::Ringing(id);
        self.calls.insert(id, call);
        self.timers.set(Timer::NoAnswer(id), now + self.line.no_answer_after);
        self.ring(id, now);
    }

    fn ring(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.rings += 1;
        let (called, rings) = (call.called, call.rings);
        if rings == 1 {
            self.timers.set(Timer::CallerId(id), now + self.line.caller_id_delay);
        }
        self.timers.set(Timer::Ring(id), now + self.line.ring_cycle);
        let station = &mut self.stations[called.index()];
        station.modem.ring();
        let is_answered = station.has_dte && station.modem.profile.rings_to_answer().is_some_and(|wait| rings >= wait);
        self.flush(called);
        if is_answered {
            self.answer(id, now);
        }
    }

    fn present_caller(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(presented) = &call.presented else { return };
        let (date, time) = (self.wall(now).strftime("%m%d").to_string(), self.wall(now).strftime("%H%M").to_string());
        self.stations[call.called.index()].modem.present_caller(&date, &time, presented);
        self.flush(call.called);
    }

    fn answer(&mut self, id: CallId, now: Instant) {
        self.stop_ringing(id);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.answered = Some(now);
        call.phase = Phase::Training;
        let station = &mut self.stations[call.called.index()];
        station.hook = Hook::InCall(id);
        station.modem.wait(now);
        if let Some(wait) = station.modem.profile.carrier_wait() {
            self.timers.set(Timer::Carrier(call.called), now + wait);
        }
        // Nothing answers the carrier of a call that was dialled for a voice: S7 ends it.
        if !call.is_voice {
            self.timers.set(Timer::Trained(id), now + station.training);
        }
        self.outputs.push_back(Output::Event(Event::Answered { call: id }));
    }

    fn connect(&mut self, id: CallId, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.phase = Phase::Connected(Circuits::new(|| self.line.circuit()));
        self.outputs.push_back(Output::Event(Event::Connected { call: id }));
        for station in [call.caller, call.called] {
            self.timers.cancel(Timer::Carrier(station));
            self.stations[station.index()].modem.connect(self.line.rate, now);
            self.flush(station);
            self.outputs.push_back(Output::Room { station });
        }
    }

    /// Moves one direction of a call on: the next chunk leaves, what has arrived is handed over.
    fn run_circuit(&mut self, id: CallId, from: Side, now: Instant) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (sender, receiver) = (call.station(from), call.station(from.other()));
        let station = &self.stations[receiver.index()];
        let is_held = !station.is_dte_ready || station.modem.is_holding_data();
        let Some(circuit) = call.circuit_from(from) else { return };
        if circuit.send(is_held, now) {
            self.outputs.push_back(Output::Room { station: sender });
        }
        let mut has_lost_carrier = false;
        while let Some(arrival) = circuit.arrived(now) {
            match arrival {
                Arrival::Octets(octets) => self.stations[receiver.index()].modem.receive(&octets),
                Arrival::CarrierLoss => has_lost_carrier = true,
            }
        }
        match circuit.next_at() {
            Some(at) => self.timers.set(Timer::Circuit(id, from), at),
            None => self.timers.cancel(Timer::Circuit(id, from)),
        }
        if has_lost_carrier {
            self.forget(id);
            self.put_on_hook(receiver);
            self.stations[receiver.index()].modem.end(ResultCode::NoCarrier);
        }
        self.flush(receiver);
    }

    /// The DTE of a station takes octets again, so the modem at the other end may send.
    fn wake_sender_to(&mut self, station: StationId, now: Instant) {
        let Hook::InCall(id) = self.stations[station.index()].hook else { return };
        let Some(call) = self.calls.get(&id) else { return };
        self.run_circuit(id, call.side(station).other(), now);
    }
}

/// How a call ends.
impl Exchange {
    /// A station goes on hook, whatever it was doing.
    fn hang_up(&mut self, station: StationId, now: Instant) {
        let hook = self.stations[station.index()].hook.clone();
        self.put_on_hook(station);
        let Hook::InCall(id) = hook else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let side = call.side(station);
        match call.phase {
            Phase::Ringing => self.end_ringing(id, Outcome::Abandoned, EndedBy::Caller, now),
            Phase::Training | Phase::Connected(_) => self.release(id, side, now),
            Phase::Releasing { .. } => drop(self.forget(id)),
        }
    }

    /// The first hang-up of an answered call; the other side will hear of it.
    fn release(&mut self, id: CallId, side: Side, now: Instant) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        let outcome = match call.phase {
            Phase::Connected(_) => Outcome::Completed,
            Phase::Ringing | Phase::Training | Phase::Releasing { .. } => Outcome::NoCarrier,
        };
        let ended_by = match side {
            Side::Caller => EndedBy::Caller,
            Side::Called => EndedBy::Called,
        };
        let carried = call.release(side, now, || self.line.circuit());
        let called = self.stations[call.called.index()].number.to_string();
        self.record(id, &call, called, Ending { outcome, ended_by, at: now, carried });
        self.timers.cancel(Timer::Trained(id));
        self.timers.cancel(Timer::Circuit(id, side.other()));
        self.calls.insert(id, call);
        self.run_circuit(id, side, now);
    }

    /// S7 has run out: nobody answered, or no carrier came.
    fn give_up_waiting(&mut self, station: StationId, now: Instant) {
        let Hook::InCall(id) = self.stations[station.index()].hook else {
            // Still in the pauses of its dial string.
            self.put_on_hook(station);
            return self.end_at(station, ResultCode::NoCarrier);
        };
        if self.calls.get(&id).is_some_and(|call| matches!(call.phase, Phase::Ringing)) {
            return self.give_up_ringing(id, EndedBy::Caller, now);
        }
        self.hang_up(station, now);
        self.end_at(station, ResultCode::NoCarrier);
    }

    fn give_up_ringing(&mut self, id: CallId, ended_by: EndedBy, now: Instant) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
        self.end_ringing(id, Outcome::NoAnswer, ended_by, now);
        self.put_on_hook(caller);
        self.end_at(caller, ResultCode::NoAnswer);
    }

    fn end_ringing(&mut self, id: CallId, outcome: Outcome, ended_by: EndedBy, now: Instant) {
        self.stop_ringing(id);
        let Some(call) = self.calls.remove(&id) else { return };
        self.stations[call.called.index()].hook = Hook::On;
        let called = self.stations[call.called.index()].number.to_string();
        self.record(id, &call, called, Ending { outcome, ended_by, at: now, carried: (0, 0) });
    }

    fn cut(&mut self, station: StationId, now: Instant) {
        let (Hook::InCall(id) | Hook::Ringing(id)) = self.stations[station.index()].hook else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (caller, called) = (call.caller, call.called);
        match call.phase {
            Phase::Ringing => {
                self.end_ringing(id, Outcome::Cut, EndedBy::Exchange, now);
                self.put_on_hook(caller);
                self.end_at(caller, ResultCode::NoCarrier);
            }
            Phase::Training | Phase::Connected(_) => {
                let carried = call.release(Side::Caller, now, || self.line.circuit());
                let Some(call) = self.forget(id) else { return };
                let number = self.stations[called.index()].number.to_string();
                let ending = Ending { outcome: Outcome::Cut, ended_by: EndedBy::Exchange, at: now, carried };
                self.record(id, &call, number, ending);
                for station in [caller, called] {
                    self.put_on_hook(station);
                    self.end_at(station, ResultCode::NoCarrier);
                }
            }
            // It is over already; only the news is still on its way.
            Phase::Releasing { .. } => {}
        }
    }

    fn stop_ringing(&mut self, id: CallId) {
        for timer in [Timer::Ring(id), Timer::CallerId(id), Timer::NoAnswer(id)] {
            self.timers.cancel(timer);
        }
    }

    fn forget(&mut self, id: CallId) -> Option<Call> {
        for timer in [Timer::Trained(id), Timer::Circuit(id, Side::Caller), Timer::Circuit(id, Side::Called)] {
            self.timers.cancel(timer);
        }
        self.calls.remove(&id)
    }

    fn put_on_hook(&mut self, station: StationId) {
        for timer in [Timer::Pause(station), Timer::Carrier(station), Timer::Escape(station)] {
            self.timers.cancel(timer);
        }
        self.stations[station.index()].hook = Hook::On;
    }

    fn end_at(&mut self, station: StationId, result: ResultCode) {
        self.stations[station.index()].modem.end(result);
        self.flush(station);
        self.outputs.push_back(Output::Room { station });
    }

    fn record(&mut self, id: CallId, call: &Call, called: String, ending: Ending) {
        let caller = self.stations[call.caller.index()].number.to_string();
        let record = call.record(id, caller, called, ending, |at| self.wall_to_the_millisecond(at));
        self.outputs.push_back(Output::Record(record));
    }

    fn wall(&self, at: Instant) -> Zoned {
        let elapsed = SignedDuration::try_from(at.saturating_duration_since(self.started)).unwrap_or_default();
        self.clock.checked_add(elapsed).unwrap_or_else(|_| self.clock.clone())
    }

    fn wall_to_the_millisecond(&self, at: Instant) -> Timestamp {
        let exact = self.wall(at).timestamp();
        Timestamp::from_millisecond(exact.as_millisecond()).unwrap_or(exact)
    }

    /// Hands the DTE what its modem has for it, or keeps it until the DTE is ready.
    fn flush(&mut self, station: StationId) {
        let place = &mut self.stations[station.index()];
        if place.has_dte && !place.is_dte_ready {
            return;
        }
        let octets = place.modem.take_for_dte();
        if place.has_dte && !octets.is_empty() {
            self.outputs.push_back(Output::Octets { station, octets });
        }
    }
}
