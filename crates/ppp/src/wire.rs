//! Everything on its way to the line.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::config::{LineProfile, restart_after_round_trips_of};
use crate::frame::Encoder;
use crate::packet::HEADER_OCTETS;

/// Collects what arises from one input, so that it goes to the line in one write: on a line that charges by the
/// round trip, the Configure-Ack and the next phase's first request belong together.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) encoder: Encoder,
    line: LineProfile,
    /// The last round trip of a request and its answer, peer included.
    round_trip: Option<Duration>,
    pending: BytesMut,
}

impl Wire {
    pub(crate) fn new(line: LineProfile) -> Wire {
        Wire {
            encoder: Encoder::new(),
            line,
            round_trip: None,
            pending: BytesMut::new(),
        }
    }

    /// Sends a packet of a control protocol. Its data comes in two parts; either may be empty.
    pub(crate) fn send_control(&mut self, protocol: u16, code: u8, id: u8, data: [&[u8]; 2]) {
        let octets = HEADER_OCTETS + data[0].len() + data[1].len();
        let [high, low] = u16::try_from(octets)
            .expect("an answer is no longer than the frame it answers")
            .to_be_bytes();
        self.encoder.encode(
            &mut self.pending,
            protocol,
            &[&[code, id, high, low], data[0], data[1]],
        );
    }

    /// Sends a packet of a network protocol, in parts.
    pub(crate) fn send_packet(&mut self, protocol: u16, packet: &[&[u8]]) {
        self.encoder.encode(&mut self.pending, protocol, packet);
    }

    /// A request was answered this long after it was sent.
    pub(crate) fn measured(&mut self, round_trip: Duration) {
        self.round_trip = Some(round_trip);
    }

    /// When to repeat what has just been sent. Until a round trip was measured: all that leaves in this write has to
    /// cross the line first, and as much may come back.
    pub(crate) fn restart_at(&self, now: Instant) -> Instant {
        now + self.restart_after()
    }

    fn restart_after(&self) -> Duration {
        self.round_trip.map_or_else(
            || self.line.restart_timer(2 * self.pending.len()),
            restart_after_round_trips_of,
        )
    }

    /// What is to be written, if anything is.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        if self.pending.is_empty() {
            None
        } else {
            Some(self.pending.split().freeze())
        }
    }

    /// The line is gone.
    pub(crate) fn clear(&mut self) {
        self.pending.clear();
    }
}
