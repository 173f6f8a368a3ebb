//! What has crossed a link.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// What has crossed a link so far, counted at the call: every octet of PPP framing included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Octets sent.
    pub octets_out: u64,
    /// Octets received.
    pub octets_in: u64,
    /// How often the direction has changed, seen from here: two flights cost about one round trip.
    pub flights: u64,
    /// Octets received that were no part of a frame: a login banner, noise.
    pub noise_octets: u64,
    /// Frames received that were damaged, cut or not PPP; each was dropped alone.
    pub bad_frames: u64,
    /// Packets from the far end that passed the gate to TUN.
    pub tun_packets_in: u64,
    /// Packets from TUN that passed the gate to the far end.
    pub tun_packets_out: u64,
    /// Packets of both directions that did not: refused by the gate, or too many.
    pub tun_packets_dropped: u64,
}

/// The same, shared between the link's task and whoever asks.
#[derive(Debug, Default)]
pub(crate) struct SharedCounters {
    octets_out: AtomicU64,
    octets_in: AtomicU64,
    flights: AtomicU64,
    noise_octets: AtomicU64,
    bad_frames: AtomicU64,
    tun_packets_in: AtomicU64,
    tun_packets_out: AtomicU64,
    tun_packets_dropped: AtomicU64,
    last: AtomicU8,
}

/// Values of [`SharedCounters::last`]; 0 before anything crossed.
const OUT: u8 = 1;
const IN: u8 = 2;

impl SharedCounters {
    pub(crate) fn sent(&self, octets: usize) {
        self.octets_out.fetch_add(octets as u64, Relaxed);
        self.turn(OUT);
    }

    pub(crate) fn received(&self, octets: usize) {
        self.octets_in.fetch_add(octets as u64, Relaxed);
        self.turn(IN);
    }

    /// What PPP has made of what was received.
    pub(crate) fn note(&self, seen: &ppp::DecoderStatistics) {
        self.noise_octets.store(seen.noise_octets, Relaxed);
        let bad_frames =
            seen.bad_fcs + seen.too_long + seen.runts + seen.aborts + seen.bad_protocol;
        self.bad_frames.store(bad_frames, Relaxed);
    }

    pub(crate) fn tun_passed_in(&self) {
        self.tun_packets_in.fetch_add(1, Relaxed);
    }

    pub(crate) fn tun_passed_out(&self) {
        self.tun_packets_out.fetch_add(1, Relaxed);
    }

    pub(crate) fn tun_dropped(&self) {
        self.tun_packets_dropped.fetch_add(1, Relaxed);
    }

    // Only the link's task writes: no update can come between.
    fn turn(&self, direction: u8) {
        if self.last.swap(direction, Relaxed) != direction {
            self.flights.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Counters {
        Counters {
            octets_out: self.octets_out.load(Relaxed),
            octets_in: self.octets_in.load(Relaxed),
            flights: self.flights.load(Relaxed),
            noise_octets: self.noise_octets.load(Relaxed),
            bad_frames: self.bad_frames.load(Relaxed),
            tun_packets_in: self.tun_packets_in.load(Relaxed),
            tun_packets_out: self.tun_packets_out.load(Relaxed),
            tun_packets_dropped: self.tun_packets_dropped.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_is_a_change_of_direction() {
        let counters = SharedCounters::default();
        counters.sent(10);
        counters.sent(10);
        counters.received(5);
        counters.sent(1);
        assert_eq!(
            counters.read(),
            Counters {
                octets_out: 21,
                octets_in: 5,
                flights: 3,
                ..Counters::default()
            }
        );
    }
}
