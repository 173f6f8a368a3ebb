//! Two sessions, a line between them, and one clock that jumps from event to event.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use ringup_ppp::{
    CloseReason, Config, Event, Input, LineProfile, LinkOptions, Output, Session, Wake,
};

pub(crate) const SERVER: usize = 0;
pub(crate) const TERMINAL: usize = 1;
pub(crate) const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const TERMINAL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// What the line does to one write: the writes that arrive instead.
pub(crate) type Impairment = Box<dyn FnMut(Vec<u8>) -> Vec<Vec<u8>>>;

/// A point in time to count from; which one does not matter.
#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other source; all else is computed from this one"
)]
pub(crate) fn origin() -> Instant {
    Instant::now()
}

pub(crate) fn line(rate_bps: u32, delay_ms: u64) -> LineProfile {
    LineProfile {
        rate_bps: Some(rate_bps),
        delay: Duration::from_millis(delay_ms),
    }
}

pub(crate) fn server(line: LineProfile) -> Config {
    Config::server(line, SERVER_ADDRESS, TERMINAL_ADDRESS)
}

pub(crate) fn terminal(line: LineProfile) -> Config {
    Config::terminal(line, None)
}

pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) events: Vec<(Duration, Event)>,
    pub(crate) packets: Vec<Vec<u8>>,
    pub(crate) writes: usize,
    wake: Option<Instant>,
    /// When the last octet written so far has left.
    free_at: Instant,
}

impl End {
    fn new(config: Config, seed: u64, now: Instant) -> End {
        let session = Session::new(config, seed, now);
        End {
            session,
            events: Vec::new(),
            packets: Vec::new(),
            writes: 0,
            wake: None,
            free_at: now,
        }
    }

    pub(crate) fn network(&self) -> Option<(Ipv4Addr, Option<Ipv4Addr>, u16)> {
        self.events
            .iter()
            .rev()
            .find_map(|(_, event)| match *event {
                Event::NetworkUp { local, peer, mtu } => Some(Some((local, peer, mtu))),
                Event::NetworkDown | Event::Closed(_) => Some(None),
                _ => None,
            })?
    }

    pub(crate) fn link(&self) -> Option<LinkOptions> {
        self.events
            .iter()
            .rev()
            .find_map(|(_, event)| match *event {
                Event::LinkOpen(options) => Some(options),
                _ => None,
            })
    }

    pub(crate) fn closed(&self) -> Option<CloseReason> {
        self.events.iter().find_map(|(_, event)| match *event {
            Event::Closed(reason) => Some(reason),
            _ => None,
        })
    }

    /// When the network came up first.
    pub(crate) fn up_after(&self) -> Option<Duration> {
        self.events
            .iter()
            .find_map(|(at, event)| matches!(event, Event::NetworkUp { .. }).then_some(*at))
    }
}

enum Arrival {
    Octets(Vec<u8>),
    /// The other end has hung up.
    NoCarrier,
}

pub(crate) struct Call {
    began: Instant,
    pub(crate) now: Instant,
    pub(crate) ends: [End; 2],
    line: LineProfile,
    impairment: Impairment,
    in_flight: Vec<(Instant, usize, Arrival)>,
}

impl Call {
    pub(crate) fn new(line: LineProfile, server: Config, terminal: Config) -> Call {
        Call::impaired(line, server, terminal, Box::new(|octets| vec![octets]))
    }

    pub(crate) fn impaired(
        line: LineProfile,
        server: Config,
        terminal: Config,
        impairment: Impairment,
    ) -> Call {
        let now = origin();
        let ends = [End::new(server, 11, now), End::new(terminal, 22, now)];
        let mut call = Call {
            began: now,
            now,
            ends,
            line,
            impairment,
            in_flight: Vec::new(),
        };
        call.drain(SERVER);
        call.drain(TERMINAL);
        call
    }

    pub(crate) fn handle(&mut self, end: usize, input: Input<'_>) {
        self.ends[end].session.handle(input, self.now);
        self.drain(end);
    }

    /// Goes on until nothing is on its way and nobody waits for anything, or the time is over.
    pub(crate) fn run(&mut self, limit: Duration) {
        while self.step(self.began + limit) {}
    }

    fn step(&mut self, until: Instant) -> bool {
        let arrival = (0..self.in_flight.len()).min_by_key(|&index| self.in_flight[index].0);
        let arrives_at = arrival.map(|index| self.in_flight[index].0);
        let waker = [SERVER, TERMINAL]
            .into_iter()
            .filter(|&end| self.ends[end].wake.is_some());
        let waker = waker.min_by_key(|&end| self.ends[end].wake);
        let wakes_at = waker.and_then(|end| self.ends[end].wake);
        let Some(next) = arrives_at
            .into_iter()
            .chain(wakes_at)
            .min()
            .filter(|next| *next <= until)
        else {
            return false;
        };
        self.now = self.now.max(next);
        match (arrival, waker) {
            (Some(index), _) if arrives_at == Some(next) => {
                let (_, to, what) = self.in_flight.remove(index);
                match what {
                    Arrival::Octets(octets) => self.handle(to, Input::Bytes(&octets)),
                    Arrival::NoCarrier => self.handle(to, Input::CarrierLost),
                }
            }
            (_, Some(end)) => self.handle(end, Input::Deadline),
            _ => unreachable!("the next moment is one of the two"),
        }
        true
    }

    fn drain(&mut self, from: usize) {
        let end = &mut self.ends[from];
        loop {
            match end.session.poll_output() {
                Output::Transmit(octets) => {
                    end.writes += 1;
                    let bits = 10 * octets.len() as u64;
                    let on_the_wire = self.line.rate_bps.map_or(Duration::ZERO, |rate| {
                        Duration::from_micros(bits * 1_000_000 / u64::from(rate))
                    });
                    end.free_at = end.free_at.max(self.now) + on_the_wire;
                    for arriving in (self.impairment)(octets.to_vec()) {
                        self.in_flight.push((
                            end.free_at + self.line.delay,
                            1 - from,
                            Arrival::Octets(arriving),
                        ));
                    }
                }
                Output::Packet(packet) => end.packets.push(packet.to_vec()),
                Output::Event(event) => {
                    assert_eq!(end.closed(), None, "an event after Closed: {event:?}");
                    end.events.push((self.now - self.began, event));
                    if matches!(event, Event::Closed(_)) {
                        self.in_flight.push((
                            self.now + self.line.delay,
                            1 - from,
                            Arrival::NoCarrier,
                        ));
                    }
                }
                Output::Timeout { at, what } => {
                    assert_eq!(at.is_none(), what == Wake::Nothing);
                    assert!(
                        at.is_none_or(|at| at >= self.now),
                        "a deadline that is already over: {what:?}"
                    );
                    end.wake = at;
                    return;
                }
            }
        }
    }
}
