//! The exchange itself: who calls whom, what rings, and when. No clock, no file, no socket.

mod course;
mod dte;
mod ending;

use crate::{
    call::{Call, Phase},
    circuit::Side,
    config::{Config, RingPattern},
    number::Number,
    record::{CallId, CallRecord, EndedBy},
    settings::Settings,
    station::{Hook, Signals, Station, StationId},
    tariff::{MonthlyBill, Months, Tariff},
    timers::{Timer, Timers},
    virtual_modem::Intake,
};
use jiff::Zoned;
use serde::Serialize;
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
    tariffs: BTreeMap<String, Tariff>,
    months: Months,
    stations: Vec<Station>,
    directory: BTreeMap<Number, Entry>,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
    timers: Timers,
    outputs: VecDeque<Output>,
    started: Instant,
    /// The time of day at `started`.
    clock: Zoned,
}

/// What a number leads to.
#[derive(Clone, Copy, Debug)]
struct Entry {
    station: StationId,
    /// An alias rings in its own way.
    pattern: Option<RingPattern>,
}

/// What is the same for all lines of an exchange.
#[derive(Clone, Debug)]
struct LineModel {
    delay: Duration,
    ring_cycle: Duration,
    ring_time: Duration,
    caller_id_delay: Duration,
    no_answer_after: Duration,
    modem_buffer_octets: usize,
    seed: u64,
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
    /// Someone opens (`on`) or closes the DTE side of a station, and raises or drops DTR with it. It is closed at the
    /// start.
    Dtr {
        /// Whose DTE.
        station: StationId,
        /// Open or closed.
        on: bool,
    },
    /// A DTE that stays open raises or drops DTR, circuit 108; what that does says `&D`.
    DtrSignal {
        /// Whose DTE.
        station: StationId,
        /// Raised or dropped.
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
    /// A station is another from now on.
    Set {
        /// Which.
        station: StationId,
        /// How it behaves now.
        settings: &'a Settings,
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
    /// The circuits at the port of a station show something else than before; at the start all are off.
    Signals {
        /// Whose modem.
        station: StationId,
        /// What they show.
        signals: Signals,
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

/// What a station is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationStatus {
    /// Its number.
    pub number: Number,
    /// What its line is doing.
    pub state: StationState,
    /// Whether someone has its port open.
    pub is_open: bool,
    /// Circuit 108.
    pub is_dtr_on: bool,
    /// What its modem shows.
    pub signals: Signals,
}

/// What the line of a station is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StationState {
    /// Free.
    OnHook,
    /// Off hook without a call.
    OffHook,
    /// Off hook, and its call is not placed yet.
    Dialling,
    /// Being called.
    Ringing,
    /// Calling, training or connected.
    InCall,
}

/// A call that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallStatus {
    /// Which call.
    pub id: CallId,
    /// The number of the station that placed it.
    pub caller: Number,
    /// What was dialled.
    pub called: String,
    /// How far it is.
    pub state: CallState,
    /// How many times it has rung.
    pub rings: u32,
    /// Octets the caller's modem has put on the line.
    pub octets_from_caller: u64,
    /// Octets the called modem has put on the line.
    pub octets_from_called: u64,
    /// How often the direction changed in which octets arrive, and the first; what comes beside the other direction's is of its flight.
    pub flights: u64,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Not yet answered.
    Ringing,
    /// Answered; the modems train, or it is a voice call.
    Training,
    /// The modems have connected.
    Connected,
    /// One side has hung up, and the other does not know it yet.
    Releasing,
}

impl Exchange {
    /// An exchange with every DTE closed; `clock` is the time of day at `now`, for caller ID and records.
    pub fn new(config: &Config, now: Instant, clock: Zoned) -> Self {
        let entries = (0..)
            .map(StationId)
            .zip(&config.stations)
            .flat_map(|(station, config)| {
                let own = (
                    config.number.clone(),
                    Entry {
                        station,
                        pattern: None,
                    },
                );
                let aliases = config.aliases.iter().map(move |(number, pattern)| {
                    (
                        number.clone(),
                        Entry {
                            station,
                            pattern: Some(*pattern),
                        },
                    )
                });
                std::iter::once(own).chain(aliases)
            });
        Self {
            line: LineModel {
                delay: config.delay,
                ring_cycle: config.ring_cycle,
                ring_time: config.ring_time,
                caller_id_delay: config.caller_id_delay,
                no_answer_after: config.no_answer_after,
                modem_buffer_octets: config.modem_buffer_octets,
                seed: config.seed,
            },
            tariffs: config.tariffs.clone(),
            months: Months::default(),
            stations: config.stations.iter().map(Station::new).collect(),
            directory: entries.collect(),
            calls: BTreeMap::new(),
            next_call: 1,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            started: now,
            clock,
        }
    }

    /// The station with a number, or with an alias.
    pub fn station(&self, number: &str) -> Option<StationId> {
        self.directory.get(number).map(|entry| entry.station)
    }

    /// How a station behaves.
    pub fn settings(&self, station: StationId) -> &Settings {
        &self.stations[station.index()].settings
    }

    /// Whether there is a tariff of this name for [`Settings::tariff`]; calls by one that there is not have no bill.
    pub fn has_tariff(&self, name: &str) -> bool {
        self.tariffs.contains_key(name)
    }

    /// What the months have come to so far, of every station that pays for calls.
    pub fn bills(&self) -> Vec<MonthlyBill> {
        self.months.bills()
    }

    /// What the circuits at the port of a station show.
    pub fn signals(&self, station: StationId) -> Signals {
        self.stations[station.index()].signals
    }

    /// All stations, in the order of the configuration.
    pub fn stations(&self) -> impl Iterator<Item = StationStatus> {
        self.stations.iter().map(|station| StationStatus {
            number: station.number.clone(),
            state: match station.hook {
                Hook::On => StationState::OnHook,
                Hook::Off | Hook::Lost => StationState::OffHook,
                Hook::Pausing { .. } => StationState::Dialling,
                Hook::Ringing(_) => StationState::Ringing,
                Hook::InCall(_) => StationState::InCall,
            },
            is_open: station.has_dte,
            is_dtr_on: station.is_dtr_on,
            signals: station.signals,
        })
    }

    /// The calls that are placed and not yet over, in the order they were placed.
    pub fn calls(&self) -> impl Iterator<Item = CallStatus> {
        self.calls.iter().map(|(id, call)| {
            let (octets_from_caller, octets_from_called) = match &call.phase {
                Phase::Connected(circuits) => circuits.carried(),
                Phase::Ringing | Phase::Training | Phase::Releasing { .. } => (0, 0),
            };
            CallStatus {
                id: *id,
                caller: self.stations[call.caller.index()].number.clone(),
                called: call.dialled.clone(),
                state: match call.phase {
                    Phase::Ringing => CallState::Ringing,
                    Phase::Training => CallState::Training,
                    Phase::Connected(_) => CallState::Connected,
                    Phase::Releasing { .. } => CallState::Releasing,
                },
                rings: call.rings,
                octets_from_caller,
                octets_from_called,
                flights: call.arrived.flights,
            }
        })
    }

    /// How many octets the modem of a station takes now from its DTE: what its buffer has free while it sends data,
    /// none while its DTE does not read the answers to its commands.
    pub fn room(&self, station: StationId) -> usize {
        let Station { modem, hook, .. } = &self.stations[station.index()];
        match (modem.intake(), hook) {
            (Intake::Commands, _) if modem.is_congested() => 0,
            (Intake::Data, Hook::InCall(call)) => match self.calls.get(call) {
                Some(Call {
                    phase: Phase::Connected(circuits),
                    caller,
                    ..
                }) => circuits.room(if *caller == station {
                    Side::Caller
                } else {
                    Side::Called
                }),
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
            Input::Dtr { station, on } => self.set_port(station, on, now),
            Input::DtrSignal { station, on } => self.set_dtr(station, on, now),
            Input::Ready { station, on } => self.set_ready(station, on, now),
            Input::Cut { station } => self.cut(station, now),
            Input::Set { station, settings } => {
                let place = &mut self.stations[station.index()];
                place.settings = settings.clone();
                place.modem.flavour = settings.flavour;
            }
            Input::Deadline => {}
        }
        // Times can be set to nothing, such as S12.
        self.fire_due(now);
    }

    /// The next thing to do; [`Output::Timeout`] when there is nothing else.
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout {
            at: self.timers.next_at(),
        })
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
            Timer::OddRing(call) => self.odd_ring(call, at),
            Timer::RingEnd(station) => self.end_ring(station),
            Timer::CallerId(call) => self.present_caller(call),
            Timer::Cut(call) => self.cut_call(call, at),
            Timer::CarrierLost(station) => self.give_up_carrier(station),
            Timer::Carrier(station) => self.give_up_waiting(station, at),
            Timer::NoAnswer(call) => self.give_up_ringing(call, EndedBy::Exchange, at),
            Timer::Escape(station) => {
                self.stations[station.index()].modem.escape();
                self.flush(station);
            }
        }
    }
}
