//! One end of a line: the dialogue with its modem, then PPP and TCP on the call.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use exchange::StationId;
use modem::{
    CallerId, DialString, Dialogue, Event as Said, Failure, Output as Do, Profile, Setup, Signals,
};
use ppp::{Config, Event as Linked, LineProfile, Output, Session};

use super::stack::Stack;

pub(super) const SERVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Packets are made only while fewer octets than this wait for the line.
const QUEUED_OCTETS: usize = 200;

/// What a wire has to tell.
#[derive(Debug)]
pub(super) enum Happened {
    Ready,
    Ring,
    CallerId(CallerId),
    NoCall(Failure),
    /// The modem does not do as told.
    Fault(String),
    Connected,
    LinkUp,
    Heard(Vec<u8>),
    /// The call is over.
    Over(String),
}

enum Phase {
    Closed,
    Modem(Box<Dialogue>),
    Online(Box<Online>),
}

struct Online {
    session: Session,
    stack: Option<Stack>,
    to_say: VecDeque<u8>,
    at: Option<Instant>,
    is_over: bool,
}

pub(super) struct Wire {
    pub(super) station: StationId,
    /// Its address on a link, if it is a terminal's.
    address: Option<Ipv4Addr>,
    seed: u64,
    phase: Phase,
    to_modem: VecDeque<u8>,
    at: Option<Instant>,
}

impl Wire {
    pub(super) fn new(station: StationId, address: Option<Ipv4Addr>) -> Self {
        Self {
            station,
            address,
            seed: 0,
            phase: Phase::Closed,
            to_modem: VecDeque::new(),
            at: None,
        }
    }

    pub(super) fn open(&mut self, seed: u64, now: Instant) {
        self.seed = seed;
        self.to_modem.clear();
        let setup = Setup::from(Profile::GENERIC);
        self.phase = Phase::Modem(Box::new(Dialogue::new(setup, Signals::Closing, now)));
    }

    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.to_modem.clear();
        self.at = None;
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Closed)
    }

    pub(super) fn dial(&mut self, number: &DialString, now: Instant) {
        if let Phase::Modem(dialogue) = &mut self.phase {
            dialogue.handle(
                modem::Input::Dial {
                    number,
                    timeout: Duration::from_secs(60),
                },
                now,
            );
        }
    }

    pub(super) fn answer(&mut self, now: Instant) {
        if let Phase::Modem(dialogue) = &mut self.phase {
            dialogue.handle(modem::Input::Answer, now);
        }
    }

    pub(super) fn say(&mut self, octets: &[u8]) {
        if let Phase::Online(online) = &mut self.phase {
            online.to_say.extend(octets);
        }
    }

    /// Ends the link in order.
    pub(super) fn hang_up(&mut self, now: Instant) {
        if let Phase::Online(online) = &mut self.phase {
            online.session.handle(ppp::Input::Close, now);
        }
    }

    pub(super) fn hear(&mut self, octets: &[u8], now: Instant) {
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Modem(dialogue) => dialogue.handle(modem::Input::Octets(octets), now),
            Phase::Online(online) => online.session.handle(ppp::Input::Bytes(octets), now),
        }
    }

    pub(super) fn carrier_lost(&mut self, now: Instant) {
        if let Phase::Online(online) = &mut self.phase {
            online.session.handle(ppp::Input::CarrierLost, now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn wake(&mut self, now: Instant) {
        if self.at.is_none_or(|at| at > now) {
            return;
        }
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Modem(dialogue) => dialogue.handle(modem::Input::Deadline, now),
            Phase::Online(online) if online.at.is_some_and(|at| at <= now) => {
                online.session.handle(ppp::Input::Deadline, now);
            }
            Phase::Online(_) => {}
        }
    }

    /// Octets for the modem, at most this many.
    pub(super) fn take(&mut self, room: usize) -> Vec<u8> {
        let count = self.to_modem.len().min(room);
        self.to_modem.drain(..count).collect()
    }

    /// Drains everything that is to be done now; what is left is told.
    pub(super) fn pump(&mut self, now: Instant) -> Vec<Happened> {
        let mut happened = Vec::new();
        if let Phase::Modem(dialogue) = &mut self.phase {
            let mut connected = None;
            loop {
                match dialogue.poll_output() {
                    Do::Transmit(octets) => self.to_modem.extend(octets),
                    Do::Timeout { at, .. } => {
                        self.at = at;
                        break;
                    }
                    Do::Event(Said::Connected { rate, octets }) => connected = Some((rate, octets)),
                    Do::Event(said) => happened.extend(tell(said)),
                }
            }
            if let Some((rate, octets)) = connected {
                happened.push(Happened::Connected);
                let line = LineProfile {
                    rate_bps: rate,
                    delay: Duration::from_millis(20),
                };
                let config = match self.address {
                    Some(address) => Config::terminal(line, Some(address)),
                    None => Config::server(line, SERVER_ADDRESS, Ipv4Addr::new(10, 77, 0, 200)),
                };
                let mut session = Session::new(config, self.seed, now);
                session.handle(ppp::Input::Bytes(&octets), now);
                self.to_modem.clear();
                self.phase = Phase::Online(Box::new(Online {
                    session,
                    stack: None,
                    to_say: VecDeque::new(),
                    at: None,
                    is_over: false,
                }));
            }
        }
        if let Phase::Online(online) = &mut self.phase {
            let seed = self.seed;
            let server = self.address.map(|_| SERVER_ADDRESS);
            self.at = online.pump(&mut self.to_modem, server, seed, &mut happened, now);
        }
        happened
    }
}

fn tell(said: Said) -> Option<Happened> {
    Some(match said {
        Said::Ready => Happened::Ready,
        Said::Ring(_) => Happened::Ring,
        Said::CallerId(id) => Happened::CallerId(id),
        Said::NoCall(failure) => Happened::NoCall(failure),
        Said::Fault(fault) => Happened::Fault(fault.to_string()),
        _ => return None,
    })
}

impl Online {
    /// Gives the time of the next wake.
    fn pump(
        &mut self,
        to_modem: &mut VecDeque<u8>,
        server: Option<Ipv4Addr>,
        seed: u64,
        happened: &mut Vec<Happened>,
        now: Instant,
    ) -> Option<Instant> {
        loop {
            self.drain(to_modem, server, seed, happened, now);
            let Some(stack) = &mut self.stack else {
                return self.at;
            };
            let (front, _) = self.to_say.as_slices();
            let said = stack.say(front);
            self.to_say.drain(..said);
            let room = usize::from(to_modem.len() < QUEUED_OCTETS);
            let packets = stack.poll(room, now);
            let mut heard = Vec::new();
            stack.hear(&mut heard);
            if !heard.is_empty() {
                happened.push(Happened::Heard(heard));
            }
            if packets.is_empty() && said == 0 {
                // While the line is full its room is waited for.
                let at = stack.poll_at(now).filter(|_| room > 0);
                return [self.at, at].into_iter().flatten().min();
            }
            for packet in packets {
                self.session.handle(ppp::Input::Packet(&packet), now);
            }
        }
    }

    fn drain(
        &mut self,
        to_modem: &mut VecDeque<u8>,
        server: Option<Ipv4Addr>,
        seed: u64,
        happened: &mut Vec<Happened>,
        now: Instant,
    ) {
        loop {
            match self.session.poll_output() {
                Output::Transmit(octets) => to_modem.extend(octets),
                Output::Packet(packet) => self
                    .stack
                    .iter_mut()
                    .for_each(|stack| stack.receive(packet.clone())),
                Output::Event(Linked::NetworkUp { local, mtu, .. }) => {
                    self.stack
                        .get_or_insert_with(|| Stack::new(local, server, mtu, seed, now));
                    happened.push(Happened::LinkUp);
                }
                Output::Event(Linked::Closed(reason)) if !self.is_over => {
                    self.is_over = true;
                    happened.push(Happened::Over(reason.to_string()));
                }
                Output::Event(_) => {}
                Output::Timeout { at, .. } => return self.at = at,
            }
        }
    }
}
