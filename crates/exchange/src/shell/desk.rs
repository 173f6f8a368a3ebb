//! The task that owns the [`Exchange`]: feeds it what the ports say and carries out what it wants.

use super::{
    control::{Action, Asked},
    port::{FromPort, ToPort, WRITTEN_OCTETS_MIN},
};
use crate::{
    config::Config,
    number::Number,
    record::CallRecord,
    station::StationId,
    switchboard::{Event, Exchange, Input, Output},
};
use jiff::Zoned;
use std::{fs::File, io::Write};
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Octets given to a port and not yet taken by its DTE beyond which the DTE counts as not ready.
const UNWRITTEN_MAX: usize = 2048;
/// Events of ports that are taken before the next look at the clock.
const PORT_EVENTS_MAX: usize = 256;
/// Room is granted in pieces of at least this, but to a port that has none left.
const GRANT_OCTETS_MIN: usize = 128;
/// Below this it is ready again.
const UNWRITTEN_READY: usize = WRITTEN_OCTETS_MIN;

/// One port, as the desk sees it.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) number: Number,
    pub(super) orders: mpsc::UnboundedSender<ToPort>,
    /// Octets the port may still read from its DTE.
    granted: usize,
    unwritten: usize,
    is_open: bool,
    is_ready: bool,
}

impl Counter {
    pub(super) fn new(number: Number, orders: mpsc::UnboundedSender<ToPort>) -> Self {
        Self {
            number,
            orders,
            granted: 0,
            unwritten: 0,
            is_open: false,
            is_ready: true,
        }
    }

    /// A port that is no longer there is about to be missed by the one who started it.
    fn order(&self, order: ToPort) {
        let _ = self.orders.send(order);
    }
}

/// What wakes the desk.
#[derive(Debug)]
enum Woken {
    Port(StationId, FromPort),
    Cut(StationId),
    Asked(Asked),
    Deadline,
    Shutdown,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) exchange: Exchange,
    /// In the order of the stations.
    pub(super) counters: Vec<Counter>,
    pub(super) events: mpsc::Receiver<(StationId, FromPort)>,
    pub(super) cuts: mpsc::UnboundedReceiver<StationId>,
    pub(super) asked: mpsc::Receiver<Asked>,
    pub(super) records: broadcast::Sender<CallRecord>,
    pub(super) records_file: Option<File>,
    /// Stations whose DTE has just become not ready.
    pub(super) congested: Vec<StationId>,
}

impl Desk {
    pub(super) fn exchange(config: &Config) -> Exchange {
        Exchange::new(config, Instant::now().into_std(), Zoned::now())
    }

    /// Works until `shutdown`; then every call is ended, so that each has its record.
    pub(super) async fn work(mut self, shutdown: CancellationToken) {
        let mut wake = self.carry_out();
        loop {
            let woken = self.next(wake, &shutdown).await;
            let now = Instant::now().into_std();
            match woken {
                Woken::Port(station, event) => self.take(station, event, now),
                Woken::Cut(station) => self.exchange.handle(Input::Cut { station }, now),
                Woken::Asked(asked) => self.answer(asked, now),
                Woken::Deadline => self.exchange.handle(Input::Deadline, now),
                Woken::Shutdown => break,
            }
            wake = self.carry_out();
            // A line that is busy without a pause must not keep the ports waiting.
            for _ in 0..PORT_EVENTS_MAX {
                let Ok((station, event)) = self.events.try_recv() else {
                    break;
                };
                self.take(station, event, Instant::now().into_std());
                wake = self.carry_out();
            }
        }
        let now = Instant::now().into_std();
        for counter in &self.counters {
            if let Some(station) = self.exchange.station(counter.number.as_str()) {
                self.exchange.handle(Input::Cut { station }, now);
            }
        }
        self.carry_out();
    }

    async fn next(&mut self, wake: Option<Instant>, shutdown: &CancellationToken) -> Woken {
        let deadline = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Woken::Shutdown,
            // Before the ports: a busy DTE must not make the line late.
            () = deadline => Woken::Deadline,
            Some((station, event)) = self.events.recv() => Woken::Port(station, event),
            Some(station) = self.cuts.recv() => Woken::Cut(station),
            Some(asked) = self.asked.recv() => Woken::Asked(asked),
            else => Woken::Shutdown,
        }
    }

    fn answer(&mut self, asked: Asked, now: std::time::Instant) {
        let (action, answer) = asked.request.decide(&self.exchange);
        match action {
            Action::Nothing => {}
            Action::Set(station, settings) => {
                let settings = &*settings;
                tracing::info!(number = %self.counters[station.index()].number, "station changed");
                self.exchange.handle(Input::Set { station, settings }, now);
            }
            Action::Cut(station) => self.exchange.handle(Input::Cut { station }, now),
        }
        // Who asked may be gone.
        let _ = asked.reply.send(answer);
    }

    fn take(&mut self, station: StationId, event: FromPort, now: std::time::Instant) {
        let counter = &mut self.counters[station.index()];
        match event {
            FromPort::Opened => {
                counter.is_open = true;
                counter.order(ToPort::Signals(self.exchange.signals(station)));
                self.exchange.handle(Input::Dtr { station, on: true }, now);
            }
            FromPort::Dtr(on) => self.exchange.handle(Input::DtrSignal { station, on }, now),
            FromPort::Octets(octets) => {
                counter.granted = counter.granted.saturating_sub(octets.len());
                self.exchange.handle(
                    Input::Octets {
                        station,
                        octets: &octets,
                    },
                    now,
                );
            }
            FromPort::Written(count) => {
                counter.unwritten = counter.unwritten.saturating_sub(count);
                if !counter.is_ready && counter.unwritten <= UNWRITTEN_READY {
                    counter.is_ready = true;
                    self.exchange
                        .handle(Input::Ready { station, on: true }, now);
                }
            }
            FromPort::Closed => {
                counter.is_open = false;
                counter.is_ready = true;
                (counter.granted, counter.unwritten) = (0, 0);
                counter.order(ToPort::Closed);
                self.exchange.handle(Input::Dtr { station, on: false }, now);
            }
        }
    }

    /// Carries out what the exchange wants; returns when it wants to be woken.
    fn carry_out(&mut self) -> Option<Instant> {
        loop {
            let wake = self.drain();
            if self.congested.is_empty() {
                return wake;
            }
            for station in std::mem::take(&mut self.congested) {
                self.exchange.handle(
                    Input::Ready { station, on: false },
                    Instant::now().into_std(),
                );
            }
        }
    }

    fn drain(&mut self) -> Option<Instant> {
        loop {
            match self.exchange.poll_output() {
                Output::Octets { station, octets } => self.give(station, octets),
                Output::Room { station } => self.grant(station),
                Output::Signals { station, signals } => {
                    let counter = &self.counters[station.index()];
                    if counter.is_open {
                        counter.order(ToPort::Signals(signals));
                    }
                }
                Output::Record(record) => self.file(record),
                Output::Event(event) => self.log(&event),
                Output::Timeout { at } => return at.map(Instant::from_std),
            }
        }
    }

    fn give(&mut self, station: StationId, octets: Vec<u8>) {
        let counter = &mut self.counters[station.index()];
        counter.unwritten += octets.len();
        counter.order(ToPort::Octets(octets));
        if counter.is_ready && counter.unwritten > UNWRITTEN_MAX {
            counter.is_ready = false;
            self.congested.push(station);
        }
    }

    fn grant(&mut self, station: StationId) {
        let counter = &mut self.counters[station.index()];
        let more = self.exchange.room(station).saturating_sub(counter.granted);
        if counter.is_open && (more >= GRANT_OCTETS_MIN || (more > 0 && counter.granted == 0)) {
            counter.granted += more;
            counter.order(ToPort::Grant(more));
        }
    }

    fn file(&mut self, record: CallRecord) {
        tracing::info!(
            call = %record.id,
            caller = record.caller,
            called = record.called,
            outcome = %record.outcome,
            ended_by = %record.ended_by,
            rings = record.rings,
            octets_from_caller = record.octets_from_caller,
            octets_from_called = record.octets_from_called,
            billed_seconds = record.billed_seconds,
            "call ended"
        );
        if let Some(file) = &mut self.records_file {
            // One write for a line, so that a reader never sees half of one.
            let written = serde_json::to_vec(&record)
                .map_err(std::io::Error::from)
                .and_then(|mut line| {
                    line.push(b'\n');
                    file.write_all(&line)
                });
            if let Err(error) = written {
                tracing::error!(call = %record.id, %error, "call record not written");
            }
        }
        // A missing listener is not an error.
        let _ = self.records.send(record);
    }

    fn log(&self, event: &Event) {
        match event {
            Event::Ringing {
                call,
                caller,
                called,
            } => tracing::info!(%call, %caller, %called, "ringing"),
            Event::Answered { call } => tracing::info!(%call, "answered"),
            Event::Connected { call } => tracing::info!(%call, "connected"),
            Event::Overrun { station, octets } => {
                let number = &self.counters[station.index()].number;
                tracing::warn!(%number, octets, "octets lost before the modem");
            }
        }
    }
}
