//! One direction of a call: a small modem buffer, a line of an exact rate, and a delay.
//!
//! ```text
//!  offer ─► waiting (modem buffer) ─► sending (one chunk) ─► in flight ─► arrived
//!            bounded                   rate                  delay
//! ```
//!
//! The time a chunk leaves is counted from the start of an unbroken stretch of sending, not from the chunk before it,
//! so rounding does not add up and 100,000 octets take what the rate says however late the exchange is woken.

use crate::noise::Noise;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Start bit, eight data bits, stop bit.
const BITS_PER_OCTET: u128 = 10;
/// How much line time one chunk may take: latency is right to within this.
const CHUNK_TIME: Duration = Duration::from_millis(20);

/// One of the two ends of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Side {
    Caller,
    Called,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Caller => Self::Called,
            Self::Called => Self::Caller,
        }
    }
}

/// What comes out at the far end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Octets(Vec<u8>),
    /// The sender has hung up; nothing comes after this.
    CarrierLoss,
}

/// What one direction of a line is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineShape {
    /// In bit/s.
    pub(crate) rate: u32,
    pub(crate) delay: Duration,
    /// What is added to the delay of a chunk at most.
    pub(crate) jitter: Duration,
    pub(crate) bit_error_rate: f64,
    /// Octets are echoed to the sender.
    pub(crate) has_echo: bool,
    /// What the sending modem holds.
    pub(crate) buffer_octets_max: usize,
    pub(crate) seed: u64,
}

#[derive(Debug)]
pub(crate) struct Circuit {
    shape: LineShape,
    chunk_octets_max: usize,
    noise: Noise,
    waiting: VecDeque<u8>,
    sending: Option<Chunk>,
    in_flight: VecDeque<(Instant, Arrival)>,
    /// On the way back to the sender.
    echoes: VecDeque<(Instant, Vec<u8>)>,
    /// Octets put on the line since the call connected, with the chunk being sent.
    carried: u64,
}

/// The chunk on its way out; its octets are already at the end of `in_flight`.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    stretch_start: Instant,
    /// Octets of the stretch before this chunk and with it.
    octets_before: u64,
    octets_after: u64,
    end: Instant,
}

impl Circuit {
    pub(crate) fn new(shape: LineShape) -> Self {
        let chunk_octets =
            u128::from(shape.rate) * CHUNK_TIME.as_nanos() / (BITS_PER_OCTET * 1_000_000_000);
        Self {
            shape,
            chunk_octets_max: usize::try_from(chunk_octets).unwrap_or(usize::MAX).max(1),
            noise: Noise::new(shape.seed, shape.bit_error_rate),
            waiting: VecDeque::new(),
            sending: None,
            in_flight: VecDeque::new(),
            echoes: VecDeque::new(),
            carried: 0,
        }
    }

    pub(crate) fn rate(&self) -> u32 {
        self.shape.rate
    }

    pub(crate) fn has_echo(&self) -> bool {
        self.shape.has_echo
    }

    /// Octets that [`Circuit::offer`] will take now.
    pub(crate) fn room(&self) -> usize {
        self.shape.buffer_octets_max - self.waiting.len()
    }

    /// Puts octets into the modem's buffer at `now`; returns how many it took.
    pub(crate) fn offer(&mut self, octets: &[u8], now: Instant) -> usize {
        // Nothing waited, so the line has been idle since its last chunk, whether or not someone has looked since.
        if self.waiting.is_empty() && self.sending.is_some_and(|chunk| chunk.end <= now) {
            self.sending = None;
        }
        let taken = octets.len().min(self.room());
        self.waiting.extend(&octets[..taken]);
        taken
    }

    /// Starts the next chunk if the line is free at `now`; `is_held` is the receiver's flow control, which a modem
    /// with error correction passes back to the sender (here without delay). Returns whether room was made.
    pub(crate) fn send(&mut self, is_held: bool, now: Instant) -> bool {
        let mut has_sent = false;
        while self.send_chunk(is_held, now) {
            has_sent = true;
        }
        has_sent
    }

    fn send_chunk(&mut self, is_held: bool, now: Instant) -> bool {
        let unbroken = match self.sending {
            Some(chunk) if chunk.end > now => return false,
            // Woken late, the line still goes on from where the last chunk ended.
            Some(chunk) => Some(chunk),
            None => None,
        };
        if is_held || self.waiting.is_empty() {
            self.sending = None;
            return false;
        }
        let mut octets: Vec<u8> = self
            .waiting
            .drain(..self.waiting.len().min(self.chunk_octets_max))
            .collect();
        let (stretch_start, octets_before) =
            unbroken.map_or((now, 0), |chunk| (chunk.stretch_start, chunk.octets_after));
        let octets_after = octets_before + octets.len() as u64;
        let end = stretch_start + self.line_time(octets_after);
        self.carried += octets.len() as u64;
        if self.shape.has_echo {
            self.echoes
                .push_back((end + self.shape.delay * 2, octets.clone()));
        }
        self.noise.disturb(&mut octets);
        let at = end + self.shape.delay + self.noise.up_to(self.shape.jitter);
        let at = self
            .in_flight
            .back()
            .map_or(at, |(before, _)| at.max(*before));
        self.in_flight.push_back((at, Arrival::Octets(octets)));
        self.sending = Some(Chunk {
            stretch_start,
            octets_before,
            octets_after,
            end,
        });
        true
    }

    /// Takes what has arrived by `now`.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<Arrival> {
        let (at, _) = self.in_flight.front()?;
        if *at > now {
            return None;
        }
        self.in_flight.pop_front().map(|(_, arrival)| arrival)
    }

    /// Takes what has come back to the sender by `now`.
    pub(crate) fn echoed(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.echoes
            .pop_front_if(|(at, _)| *at <= now)
            .map(|(_, octets)| octets)
    }

    /// When [`Circuit::send`] or [`Circuit::arrived`] will next have something to do. A chunk that has left can wait a
    /// little for another's arrival: one wake serves both, and being late costs no line time.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        let grace = if self.in_flight.len() > 1 {
            CHUNK_TIME
        } else {
            Duration::ZERO
        };
        let leaves = self.sending.map(|chunk| chunk.end + grace);
        let arrives = self.in_flight.front().map(|(at, _)| *at);
        let echoes = self.echoes.front().map(|(at, _)| *at);
        leaves.into_iter().chain(arrives).chain(echoes).min()
    }

    /// The sender hangs up: whole octets that have left it will arrive, then the loss of the carrier; what was still
    /// in its buffer is lost.
    pub(crate) fn lose_carrier(&mut self, now: Instant) {
        self.waiting.clear();
        self.echoes.clear();
        if let Some(chunk) = self.sending.take().filter(|chunk| chunk.end > now) {
            let gone = (self.octets_by(now.saturating_duration_since(chunk.stretch_start)))
                .clamp(chunk.octets_before, chunk.octets_after);
            self.carried -= chunk.octets_after - gone;
            if let Some((at, Arrival::Octets(octets))) = self.in_flight.back_mut() {
                octets.truncate(usize::try_from(gone - chunk.octets_before).unwrap_or(usize::MAX));
                *at = now + self.shape.delay;
            }
        }
        self.in_flight
            .push_back((now + self.shape.delay, Arrival::CarrierLoss));
    }

    /// Nothing is on the line or on its way to it.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.waiting.is_empty()
            && self.in_flight.is_empty()
            && self.sending.is_none_or(|chunk| chunk.end <= now)
    }

    pub(crate) fn carried(&self) -> u64 {
        self.carried
    }

    fn line_time(&self, octets: u64) -> Duration {
        let nanos =
            u128::from(octets) * BITS_PER_OCTET * 1_000_000_000 / u128::from(self.shape.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn octets_by(&self, elapsed: Duration) -> u64 {
        let octets =
            elapsed.as_nanos() * u128::from(self.shape.rate) / (BITS_PER_OCTET * 1_000_000_000);
        u64::try_from(octets).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit(rate: u32, delay: Duration, buffer_octets_max: usize) -> Circuit {
        let (jitter, bit_error_rate, has_echo, seed) = (Duration::ZERO, 0.0, false, 0);
        Circuit::new(LineShape {
            rate,
            delay,
            jitter,
            bit_error_rate,
            has_echo,
            buffer_octets_max,
            seed,
        })
    }

    fn all_arrived(circuit: &mut Circuit) -> Vec<(Instant, Arrival)> {
        let mut arrivals = Vec::new();
        while let Some(now) = circuit.next_at() {
            circuit.send(false, now);
            while let Some(arrival) = circuit.arrived(now) {
                arrivals.push((now, arrival));
            }
        }
        arrivals
    }

    #[test]
    fn one_octet_takes_ten_bits_of_line_time_and_the_delay() {
        let start = Instant::now();
        let mut circuit = circuit(10_000, Duration::from_millis(60), 512);
        assert_eq!(circuit.offer(b"x", start), 1);
        circuit.send(false, start);
        let arrivals = all_arrived(&mut circuit);
        assert_eq!(
            arrivals,
            [(
                start + Duration::from_millis(61),
                Arrival::Octets(b"x".to_vec())
            )]
        );
    }

    #[test]
    fn the_buffer_takes_no_more_than_it_holds() {
        let start = Instant::now();
        let mut circuit = circuit(300, Duration::ZERO, 16);
        assert_eq!(circuit.offer(&[0; 20], start), 16);
        assert_eq!((circuit.room(), circuit.offer(b"x", start)), (0, 0));
        circuit.send(false, start);
        assert_eq!(circuit.room(), 1, "at 300 bit/s a chunk is one octet");
    }

    #[test]
    fn a_hang_up_in_the_middle_of_a_chunk_loses_only_what_had_not_left() {
        let start = Instant::now();
        let mut circuit = circuit(10_000, Duration::from_millis(60), 512);
        circuit.offer(b"0123456789abcdef", start);
        circuit.send(false, start);
        // 1 ms for each octet: at 4.5 ms four have left and the fifth is broken off.
        let cut = start + Duration::from_micros(4500);
        circuit.lose_carrier(cut);
        let at = cut + Duration::from_millis(60);
        assert_eq!(
            all_arrived(&mut circuit),
            [
                (at, Arrival::Octets(b"0123".to_vec())),
                (at, Arrival::CarrierLoss)
            ]
        );
        assert_eq!(circuit.carried(), 4);
    }

    #[test]
    fn a_late_wake_costs_no_line_time() {
        let start = Instant::now();
        let mut circuit = circuit(10_000, Duration::ZERO, 512);
        circuit.offer(&[0; 40], start);
        circuit.send(false, start);
        circuit.send(false, start + Duration::from_millis(23));
        assert_eq!(
            circuit.next_at(),
            Some(start + Duration::from_millis(20)),
            "the first chunk is due"
        );
        assert!(circuit.arrived(start + Duration::from_millis(20)).is_some());
        assert_eq!(circuit.next_at(), Some(start + Duration::from_millis(40)));
    }

    #[test]
    fn what_is_offered_after_the_line_fell_idle_leaves_no_earlier_than_it_was_offered() {
        let start = Instant::now();
        let mut circuit = circuit(10_000, Duration::from_millis(60), 512);
        circuit.offer(&[0; 40], start);
        circuit.send(false, start);
        let idle = start + Duration::from_millis(45);
        circuit.send(false, start + Duration::from_millis(20));
        circuit.offer(b"x", idle);
        circuit.send(false, idle);
        let last = all_arrived(&mut circuit).pop();
        assert_eq!(
            last.map(|(at, _)| at - start),
            Some(Duration::from_millis(45 + 1 + 60))
        );
    }

    #[test]
    fn a_held_receiver_stops_the_line_and_a_new_stretch_starts_when_it_is_ready() {
        let start = Instant::now();
        let mut circuit = circuit(10_000, Duration::ZERO, 512);
        circuit.offer(&[0; 10], start);
        assert!(!circuit.send(true, start));
        assert_eq!(circuit.next_at(), None);
        let later = start + Duration::from_secs(5);
        assert!(circuit.send(false, later));
        assert_eq!(circuit.next_at(), Some(later + Duration::from_millis(10)));
    }
}
