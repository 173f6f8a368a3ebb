//! An exchange under virtual time: the bench steps from deadline to deadline and records each station's output with its time.
#![allow(dead_code, reason = "each test program uses its own part of the bench")]

use ringup_exchange::{CallRecord, Config, Event, Exchange, Input, Output, Signals, StationId};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub(crate) struct Bench {
    pub(crate) exchange: Exchange,
    start: Instant,
    now: Instant,
    wake: Option<Instant>,
    heard: BTreeMap<StationId, Vec<(Duration, Vec<u8>)>>,
    signals: BTreeMap<StationId, Vec<(Duration, Signals)>>,
    pub(crate) records: Vec<CallRecord>,
    pub(crate) events: Vec<Event>,
}

/// Two stations on a line of round figures: 1 ms for an octet, 50 ms one way.
pub(crate) const PAIR: &str = r#"
    rate = 10000
    delay = "50ms"
    [[station]]
    number = "201"
    memory = true
    [[station]]
    number = "202"
    memory = true
"#;

impl Bench {
    /// The exchange that `config` describes at 22 November, 19:30 UTC, with every DTE open.
    pub(crate) fn new(config: &str) -> Self {
        let config: Config = config
            .parse()
            .expect("the configuration of the test is right");
        let start = Instant::now();
        let clock = "2026-11-22T19:30:00+00:00[UTC]".parse().expect("a time");
        let mut bench = Self {
            exchange: Exchange::new(&config, start, clock),
            start,
            now: start,
            wake: None,
            heard: BTreeMap::new(),
            signals: BTreeMap::new(),
            records: Vec::new(),
            events: Vec::new(),
        };
        for station in config.stations() {
            bench.dtr(station.number.as_str(), true);
        }
        bench
    }

    /// As [`Bench::new`], with every modem set up and its answers forgotten.
    pub(crate) fn set_up(config: &str, line: &str) -> Self {
        let mut bench = Self::new(config);
        let parsed: Config = config
            .parse()
            .expect("the configuration of the test is right");
        for station in parsed.stations() {
            bench.write(station.number.as_str(), &format!("{line}\r"));
        }
        bench.heard.clear();
        bench
    }

    pub(crate) fn id(&self, number: &str) -> StationId {
        self.exchange
            .station(number)
            .expect("a station of the test")
    }

    pub(crate) fn handle(&mut self, input: Input<'_>) {
        self.exchange.handle(input, self.now);
        loop {
            match self.exchange.poll_output() {
                Output::Octets { station, octets } => {
                    let at = self.now.duration_since(self.start);
                    self.heard.entry(station).or_default().push((at, octets));
                }
                Output::Record(record) => self.records.push(record),
                Output::Event(event) => self.events.push(event),
                Output::Room { .. } => {}
                Output::Signals { station, signals } => {
                    let at = self.now.duration_since(self.start);
                    self.signals.entry(station).or_default().push((at, signals));
                }
                Output::Timeout { at } => {
                    assert!(
                        at.is_none_or(|at| at > self.now),
                        "a deadline that has passed was not served"
                    );
                    self.wake = at;
                    return;
                }
            }
        }
    }

    pub(crate) fn dtr(&mut self, number: &str, on: bool) {
        self.handle(Input::Dtr {
            station: self.id(number),
            on,
        });
    }

    pub(crate) fn dtr_signal(&mut self, number: &str, on: bool) {
        self.handle(Input::DtrSignal {
            station: self.id(number),
            on,
        });
    }

    /// Changes a station while the exchange runs, in the words of its file.
    pub(crate) fn set(&mut self, number: &str, changes: &str) {
        let station = self.id(number);
        let table = changes.parse().expect("the change of the test is TOML");
        let settings = self
            .exchange
            .settings(station)
            .changed(table)
            .expect("the change of the test is right");
        self.handle(Input::Set {
            station,
            settings: &settings,
        });
    }

    /// What the circuits of a port have shown since it was last asked: milliseconds, `D` for DCD, `R` for RI.
    pub(crate) fn shown_at(&mut self, number: &str) -> Vec<(u128, &'static str)> {
        let shown = self.signals.remove(&self.id(number)).unwrap_or_default();
        let letters = |signals: Signals| match (signals.carrier, signals.ring) {
            (false, false) => "",
            (true, false) => "D",
            (false, true) => "R",
            (true, true) => "DR",
        };
        shown
            .into_iter()
            .map(|(at, signals)| (at.as_millis(), letters(signals)))
            .collect()
    }

    pub(crate) fn ready(&mut self, number: &str, on: bool) {
        self.handle(Input::Ready {
            station: self.id(number),
            on,
        });
    }

    pub(crate) fn cut(&mut self, number: &str) {
        self.handle(Input::Cut {
            station: self.id(number),
        });
    }

    pub(crate) fn write(&mut self, number: &str, text: &str) {
        self.write_octets(number, text.as_bytes());
    }

    pub(crate) fn write_octets(&mut self, number: &str, octets: &[u8]) {
        self.handle(Input::Octets {
            station: self.id(number),
            octets,
        });
    }

    /// Serves the next deadline if it is not after `until`; otherwise waits until then and returns `false`.
    pub(crate) fn step(&mut self, until: Duration) -> bool {
        let until = self.start + until;
        match self.wake.filter(|wake| *wake <= until) {
            Some(wake) => {
                self.now = wake;
                self.handle(Input::Deadline);
                true
            }
            None => {
                self.now = self.now.max(until);
                false
            }
        }
    }

    /// Lets `milliseconds` go by.
    pub(crate) fn wait(&mut self, milliseconds: u64) {
        let until = self.now() + Duration::from_millis(milliseconds);
        while self.step(until) {}
    }

    pub(crate) fn now(&self) -> Duration {
        self.now.duration_since(self.start)
    }

    /// The next deadline is this far away.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.wake.map(|wake| wake.duration_since(self.start))
    }

    /// What a DTE has been told since it was last asked, in pieces with the milliseconds since the start.
    pub(crate) fn heard_at(&mut self, number: &str) -> Vec<(u128, String)> {
        let heard = self.heard.remove(&self.id(number)).unwrap_or_default();
        heard
            .into_iter()
            .map(|(at, octets)| {
                (
                    at.as_millis(),
                    String::from_utf8_lossy(&octets).into_owned(),
                )
            })
            .collect()
    }

    pub(crate) fn heard_octets(&mut self, number: &str) -> Vec<u8> {
        let heard = self.heard.remove(&self.id(number)).unwrap_or_default();
        heard.into_iter().flat_map(|(_, octets)| octets).collect()
    }

    pub(crate) fn heard(&mut self, number: &str) -> String {
        String::from_utf8_lossy(&self.heard_octets(number)).into_owned()
    }

    /// When a DTE was given its last octet since it was last asked, and how many there were.
    pub(crate) fn last_heard(&mut self, number: &str) -> (Duration, usize) {
        let heard = self.heard.remove(&self.id(number)).unwrap_or_default();
        let last = heard.last().map(|(at, _)| *at).unwrap_or_default();
        (last, heard.iter().map(|(_, octets)| octets.len()).sum())
    }

    /// 201 calls 202, which answers at the first ring; both have been told CONNECT.
    pub(crate) fn connect(&mut self) {
        self.write("201", "ATDT202\r");
        self.wait(500);
        self.write("202", "ATA\r");
        self.wait(1000);
        for number in ["201", "202"] {
            let heard = self.heard(number);
            assert!(
                heard.ends_with("\r\nCONNECT 10000\r\n"),
                "{number}: {heard:?}"
            );
        }
    }
}
