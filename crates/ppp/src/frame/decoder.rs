//! Frames from the line: any chunks, any noise.
//!
//! ```text
//!             flag                 any octet                   7d
//!   Hunting ───────► Collecting ◄───────────► Collecting ◄──────────► Escaped
//!   (noise counted)      │ ▲                      │                      │
//!                        │ └──── flag: frame ─────┤                      │ flag: abort
//!              too long  ▼                        │                      ▼
//!                    Dropping ──── flag ──────────┴───────────────► Collecting
//! ```
//!
//! Every flag begins a frame, whatever came before it: that is why one bad octet costs one frame at most, or two
//! if it was the flag they shared.

use super::{
    ACCM_DEFAULT, ADDRESS_AND_CONTROL, ESCAPE, ESCAPE_BIT, FCS_GOOD, FLAG, FRAME_OCTETS_MAX, fcs,
    is_mapped,
};

/// RFC 1662 §4.3 calls anything shorter an invalid frame: a protocol of two octets and the FCS.
const FRAME_OCTETS_MIN: usize = 4;

/// Finds frames in what the line delivers.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Escapes undone, FCS still at the end. Never grows past [`FRAME_OCTETS_MAX`].
    frame: Vec<u8>,
    /// The frame in `frame` was given out and goes when the next call begins.
    is_given_out: bool,
    accm: u32,
    statistics: DecoderStatistics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No flag seen yet: modem chatter and login banners pass by.
    Hunting,
    Collecting,
    Escaped,
    /// The frame became too long; its rest is thrown away.
    Dropping,
}

/// A good frame, without its wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The PPP protocol number, in its full form.
    pub protocol: u16,
    /// The information field, padding included; at most [`INFORMATION_OCTETS_MAX`](super::INFORMATION_OCTETS_MAX)
    /// octets and three more when the header was compressed.
    pub information: &'a [u8],
}

/// What came from the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderStatistics {
    /// All octets.
    pub octets: u64,
    /// Good frames.
    pub frames: u64,
    /// Frames with a wrong FCS.
    pub bad_fcs: u64,
    /// Frames dropped because they were longer than any we may be sent.
    pub too_long: u64,
    /// Frames of fewer than four octets (RFC 1662 §4.3).
    pub runts: u64,
    /// Frames the sender gave up (`7d 7e`).
    pub aborts: u64,
    /// Frames with a good FCS and no protocol number that RFC 1661 §2 allows.
    pub bad_protocol: u64,
    /// Octets before the first flag.
    pub noise_octets: u64,
}

impl DecoderStatistics {
    /// Frames that were lost, whatever the reason.
    pub(crate) fn lost(&self) -> u64 {
        self.bad_fcs + self.too_long + self.runts + self.aborts + self.bad_protocol
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder for a fresh call.
    pub fn new() -> Decoder {
        Decoder {
            state: State::Hunting,
            frame: Vec::with_capacity(FRAME_OCTETS_MAX),
            is_given_out: false,
            accm: ACCM_DEFAULT,
            statistics: DecoderStatistics::default(),
        }
    }

    /// The characters the peer was asked to escape; such a character that comes in plain was put in by the line
    /// and is dropped (RFC 1662 §7.1).
    pub fn set_accm(&mut self, accm: u32) {
        self.accm = accm;
    }

    /// Takes octets from the front of `line` until a good frame is complete or none are left.
    ///
    /// Call it again with what remains until it returns `None`; then `line` is empty.
    pub fn next_frame(&mut self, line: &mut &[u8]) -> Option<Frame<'_>> {
        if self.finds_frame(line) {
            strip(&self.frame)
        } else {
            None
        }
    }

    /// The same, and how many frames the line has lost before it.
    pub(crate) fn next_frame_and_losses(&mut self, line: &mut &[u8]) -> Option<(Frame<'_>, u64)> {
        if self.finds_frame(line) {
            Some((strip(&self.frame)?, self.statistics.lost()))
        } else {
            None
        }
    }

    fn finds_frame(&mut self, line: &mut &[u8]) -> bool {
        if std::mem::take(&mut self.is_given_out) {
            self.frame.clear();
        }
        loop {
            let (run, rest) = line.split_at(self.run_octets(line));
            self.take_run(run);
            let Some((&octet, rest)) = rest.split_first() else {
                *line = rest;
                return false;
            };
            *line = rest;
            self.statistics.octets += 1;
            if octet == FLAG {
                if self.is_good_frame_at_flag() {
                    self.is_given_out = true;
                    return true;
                }
                self.frame.clear();
            } else {
                self.take(octet);
            }
        }
    }

    /// What came from the line so far.
    pub fn statistics(&self) -> DecoderStatistics {
        self.statistics
    }

    /// How many octets from here on mean nothing special in this state.
    fn run_octets(&self, line: &[u8]) -> usize {
        let end = match self.state {
            State::Escaped => Some(0),
            State::Hunting | State::Dropping => line.iter().position(|&octet| octet == FLAG),
            State::Collecting => line
                .iter()
                .position(|&octet| octet == FLAG || octet == ESCAPE || is_mapped(self.accm, octet)),
        };
        end.unwrap_or(line.len())
    }

    fn take_run(&mut self, run: &[u8]) {
        self.statistics.octets += run.len() as u64;
        match self.state {
            State::Hunting => self.statistics.noise_octets += run.len() as u64,
            State::Collecting => self.keep(run),
            State::Dropping | State::Escaped => {}
        }
    }

    /// Takes an octet that ended a run and is no flag.
    fn take(&mut self, octet: u8) {
        match self.state {
            // The run has just made the frame too long.
            State::Dropping | State::Hunting => {}
            // Also right after an escape: the line may put an XON anywhere.
            State::Collecting | State::Escaped if is_mapped(self.accm, octet) => {}
            State::Collecting => self.state = State::Escaped,
            State::Escaped => {
                self.state = State::Collecting;
                self.keep(&[octet ^ ESCAPE_BIT]);
            }
        }
    }

    fn keep(&mut self, run: &[u8]) {
        if self.frame.len() + run.len() > FRAME_OCTETS_MAX {
            self.statistics.too_long += 1;
            self.state = State::Dropping;
        } else {
            self.frame.extend_from_slice(run);
        }
    }

    /// Judges and counts what a flag has just ended.
    fn is_good_frame_at_flag(&mut self) -> bool {
        let ended = std::mem::replace(&mut self.state, State::Collecting);
        match ended {
            State::Hunting | State::Dropping => return false,
            State::Escaped => {
                self.statistics.aborts += 1;
                return false;
            }
            State::Collecting => {}
        }
        // Two flags in a row are no frame at all (RFC 1662 §3.1).
        if self.frame.is_empty() {
            return false;
        }
        if self.frame.len() < FRAME_OCTETS_MIN {
            self.statistics.runts += 1;
            return false;
        }
        if fcs(&self.frame) != FCS_GOOD {
            self.statistics.bad_fcs += 1;
            return false;
        }
        let is_good = strip(&self.frame).is_some();
        if is_good {
            self.statistics.frames += 1;
        } else {
            self.statistics.bad_protocol += 1;
        }
        is_good
    }
}

/// Takes the wrapping off. Compressed forms are understood whether they were agreed or not: RFC 1661 §6.5 and §6.6
/// chose the numbers so that they cannot be mistaken.
fn strip(frame: &[u8]) -> Option<Frame<'_>> {
    let (frame, _fcs) = frame.split_at(frame.len().checked_sub(2)?);
    let frame = frame.strip_prefix(&ADDRESS_AND_CONTROL).unwrap_or(frame);
    match *frame {
        [low, ref information @ ..] if low & 1 == 1 => Some(Frame {
            protocol: u16::from(low),
            information,
        }),
        // RFC 1661 §2: the low bit of the low octet is 1, of the high octet 0.
        [high, low, ref information @ ..] if low & 1 == 1 => Some(Frame {
            protocol: u16::from_be_bytes([high, low]),
            information,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::Encoder;

    fn decode(decoder: &mut Decoder, mut line: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame(&mut line) {
            frames.push((frame.protocol, frame.information.to_vec()));
        }
        assert!(line.is_empty());
        frames
    }

    fn encoded(frames: &[&[u8]]) -> BytesMut {
        let mut line = BytesMut::new();
        let mut encoder = Encoder::new();
        for frame in frames {
            encoder.encode(&mut line, 0x0021, &[frame]);
        }
        line
    }

    #[test]
    fn a_login_banner_before_the_first_flag_is_skipped_and_counted() {
        let mut decoder = Decoder::new();
        let mut line = b"\r\n**EMSI_REQA77E\r\nlogin: ".to_vec();
        line.extend_from_slice(&encoded(&[b"hello"]));
        assert_eq!(decode(&mut decoder, &line), [(0x0021, b"hello".to_vec())]);
        assert_eq!(decoder.statistics().noise_octets, 25);
        assert_eq!(decoder.statistics().bad_fcs, 0);
    }

    #[test]
    fn one_bad_octet_costs_its_frame_and_not_the_next() {
        let mut line = encoded(&[b"first", b"second", b"third"]);
        let at = line
            .iter()
            .position(|&octet| octet == b'e')
            .unwrap_or_default();
        let at = at
            + line[at + 1..]
                .iter()
                .position(|&octet| octet == b'e')
                .unwrap_or_default()
            + 1;
        line[at] ^= 0x08;
        let mut decoder = Decoder::new();
        let frames = decode(&mut decoder, &line);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1].1, b"third");
        assert_eq!(
            (decoder.statistics().frames, decoder.statistics().bad_fcs),
            (2, 1)
        );
    }

    #[test]
    fn a_frame_of_1500_octets_passes_and_one_more_uncompressed_does_not() {
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &encoded(&[&[0x55; 1500]])).len(), 1);
        assert_eq!(
            decode(&mut decoder, &encoded(&[&[0x55; 1501], b"next"])),
            [(0x0021, b"next".to_vec())]
        );
        assert_eq!(decoder.statistics().too_long, 1);
    }

    #[test]
    fn an_endless_frame_keeps_no_more_than_the_longest_one() {
        let mut decoder = Decoder::new();
        decode(&mut decoder, &[FLAG]);
        for _ in 0..100 {
            decode(&mut decoder, &[0x55; 1000]);
        }
        assert!(decoder.frame.capacity() < 2 * FRAME_OCTETS_MAX);
        assert_eq!(decoder.statistics().too_long, 1);
    }

    #[test]
    fn a_frame_that_an_escape_follows_when_it_is_too_long_is_counted_once() {
        let mut decoder = Decoder::new();
        decoder.set_accm(0);
        let line = [
            &[FLAG][..],
            &[0x55; FRAME_OCTETS_MAX + 1],
            &[ESCAPE, FLAG],
            &encoded(&[b"next"]),
        ]
        .concat();
        assert_eq!(decode(&mut decoder, &line), [(0x0021, b"next".to_vec())]);
        assert_eq!(
            (decoder.statistics().too_long, decoder.statistics().aborts),
            (1, 0)
        );
    }

    #[test]
    fn an_abort_throws_the_frame_away_and_the_flag_begins_the_next() {
        let mut line = encoded(&[b"given up"]);
        let end = line.len() - 1;
        line[end - 1] = ESCAPE;
        line.extend_from_slice(&encoded(&[b"kept"]));
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &line), [(0x0021, b"kept".to_vec())]);
        assert_eq!(decoder.statistics().aborts, 1);
    }

    #[test]
    fn flags_alone_are_nothing_and_three_octets_are_a_runt() {
        let mut decoder = Decoder::new();
        assert!(decode(&mut decoder, &[FLAG, FLAG, FLAG, b'a', b'b', b'c', FLAG]).is_empty());
        assert_eq!(
            decoder.statistics(),
            DecoderStatistics {
                octets: 7,
                runts: 1,
                ..DecoderStatistics::default()
            }
        );
    }

    #[test]
    fn compressed_headers_are_read_without_having_been_agreed() {
        for header in [
            &[0xff, 0x03, 0x00, 0x21][..],
            &[0xff, 0x03, 0x21],
            &[0x00, 0x21],
            &[0x21],
        ] {
            let mut frame = header.to_vec();
            frame.extend_from_slice(b"data");
            let fcs = !fcs(&frame);
            frame.extend_from_slice(&fcs.to_le_bytes());
            frame.insert(0, FLAG);
            frame.push(FLAG);
            let mut decoder = Decoder::new();
            decoder.set_accm(0);
            assert_eq!(
                decode(&mut decoder, &frame),
                [(0x0021, b"data".to_vec())],
                "{header:02x?}"
            );
        }
    }

    #[test]
    fn an_xon_put_in_by_the_line_is_dropped_when_we_asked_for_it_to_be_escaped() {
        let mut line = encoded(&[b"a}b"]).to_vec();
        let escape = line
            .iter()
            .rposition(|&octet| octet == ESCAPE)
            .unwrap_or_default();
        line.insert(escape + 1, 0x11);
        line.insert(3, 0x11);
        let mut decoder = Decoder::new();
        decoder.set_accm(0x000a_0000);
        assert_eq!(decode(&mut decoder, &line), [(0x0021, b"a}b".to_vec())]);
        decoder.set_accm(0);
        assert!(decode(&mut decoder, &line).is_empty());
    }

    #[test]
    fn a_protocol_number_with_an_even_low_octet_is_no_protocol() {
        let mut line = BytesMut::new();
        Encoder::new().encode(&mut line, 0x0020, &[b"data"]);
        let mut decoder = Decoder::new();
        assert!(decode(&mut decoder, &line).is_empty());
        assert_eq!(decoder.statistics().bad_protocol, 1);
    }

    proptest! {
        #[test]
        fn every_frame_after_a_flag_survives_any_noise_between_frames(
            script in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 2..200)), 1..8),
            cut in 1usize..50,
        ) {
            let mut line = BytesMut::new();
            let mut encoder = Encoder::new();
            for (noise, information) in &script {
                line.extend_from_slice(noise);
                // Each frame is its own write, as after a pause, so it brings its own flag.
                let mut write = BytesMut::new();
                encoder.encode(&mut write, 0x8021, &[information]);
                line.extend_from_slice(&write);
            }
            let mut decoder = Decoder::new();
            let found: Vec<_> = line.chunks(cut).flat_map(|chunk| decode(&mut decoder, chunk)).collect();
            // Noise that happens to be a good frame is one chance in 65536 and harmless: what was sent must be there.
            let mut found = found.into_iter();
            for (_, information) in &script {
                prop_assert!(found.any(|frame| frame == (0x8021, information.clone())));
            }
            prop_assert_eq!(decoder.statistics().octets, line.len() as u64);
        }
    }
}
