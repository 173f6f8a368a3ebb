//! One end of one PPP link.

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::authentication::Name;
use crate::config::Config;
use crate::event::{Output, Phase, Statistics};
use crate::frame::Decoder;
use crate::link::Link;
use crate::prediction::Agreement;

/// One end of one PPP link, from CONNECT to the end of the call.
///
/// The rule: feed one input, drain [`poll_output`](Session::poll_output) until it says
/// [`Output::Timeout`], then feed the next. What is not drained is kept, so a caller that breaks the rule pays with
/// memory.
#[derive(Debug)]
pub struct Session {
    decoder: Decoder,
    link: Link,
}

/// What a session can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Octets from the line, in any pieces.
    Bytes(&'a [u8]),
    /// An IP packet to send, of version 6 if it begins so. Refused and counted when it is empty, and unless the peer takes that much and the network is up, or
    /// expected to come up ([`Config::expected`](crate::Config::expected)) and there is room for it among what goes early.
    Packet(&'a [u8]),
    /// The time of [`Output::Timeout`] has come. Too early does no harm.
    Deadline,
    /// End the link in order: Terminate-Request, at most twice.
    Close,
    /// The line is gone; nothing can be said any more.
    CarrierLost,
}

impl Session {
    /// Begins a link on a call that has just been connected. The first Configure-Request is due at once: the caller
    /// speaks first and keeps at it, since some peers wait to hear PPP before they speak it.
    ///
    /// Magic number, identifiers and Challenges are drawn from `seed`; two ends with the same seed look like a loop.
    /// Where CHAP is demanded the seed must be unpredictable and never the same twice (from the system's random
    /// source): who knows it knows the Challenge, and can have recorded the Response to it (RFC 1994 §2.3). What is
    /// seen on the line does not give it away.
    pub fn new(config: Config, seed: u64, now: Instant) -> Session {
        Session {
            decoder: Decoder::new(),
            link: Link::new(config, seed, now),
        }
    }

    /// Takes one input. After [`Event::Closed`](crate::Event::Closed) it does nothing.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Bytes(octets) => self.receive(octets, now),
            Input::Packet(packet) => self.link.send_packet(packet),
            Input::Deadline => self.link.deadline(now),
            Input::Close => self.link.close(now),
            Input::CarrierLost => self.link.carrier_lost(),
        }
    }

    /// Gives out one thing: first the octets for the line, then packets and events in their order, then the timeout.
    pub fn poll_output(&mut self) -> Output {
        self.link.poll_output()
    }

    /// Counters since the call began.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            received: self.decoder.statistics(),
            ..self.link.statistics()
        }
    }

    /// Who the peer is, when it has been asked and has proved it. `None` before, and when nothing is demanded.
    pub fn peer_name(&self) -> Option<&Name> {
        self.link.peer_name()
    }

    /// The name servers the peer has told us, first and second, once the network is up (RFC 1877).
    pub fn name_servers(&self) -> [Option<Ipv4Addr>; 2] {
        self.link.name_servers()
    }

    /// What to expect of this peer on the next call, while the network is up. `None` on a call on which the peer did
    /// not do what was expected of it.
    pub fn agreement(&self) -> Option<Agreement> {
        self.link.agreement()
    }

    /// Where the link stands.
    pub fn phase(&self) -> Phase {
        self.link.phase()
    }

    fn receive(&mut self, mut octets: &[u8], now: Instant) {
        while self.link.phase() != Phase::Dead {
            // Each frame may change what the next one means.
            self.decoder.set_accm(self.link.receive_accm());
            let Some((frame, lost)) = self.decoder.next_frame_and_losses(&mut octets) else {
                return;
            };
            self.link.frames_lost(lost);
            self.link.receive(frame, now);
        }
    }
}
