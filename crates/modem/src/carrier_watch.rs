//! Carrier loss where no signal wire tells of it: the modem writes `NO CARRIER` into the octets of the call.
//!
//! The same text may be part of what is being transferred, so it counts only where the data cannot continue:
//!
//! ```text
//!            "\r\nNO CARRIER\r\n" right behind a flag (0x7e)              -> lost, at once
//!            "\r\nNO CARRIER\r\n", then silence for CARRIER_SILENCE       -> lost
//!            "\r\nNO CARRIER\r\n", then no flag for as long as a frame    -> lost
//!            "\r\nNO CARRIER\r\n", more octets and a flag                -> content
//! ```
//!
//! A cause may stand between the words and the line's end (`NO CARRIER/E3411`).
//!
//! Right behind a flag a frame would have to begin with 0x0d 0x0a, which no assigned PPP protocol does; inside a frame
//! at least two octets of FCS and a flag follow without a pause. What follows without a flag is the modem's: it takes what
//! we go on sending for commands, and answers each with ERROR.

use std::time::{Duration, Instant};

const TEXT: &[u8] = b"\r\nNO CARRIER";

/// Octets of a cause behind the text, up to the line's end.
const CAUSE_OCTETS_MAX: usize = 32;

/// How long nothing may follow the text inside an unfinished frame until it counts.
pub const CARRIER_SILENCE: Duration = Duration::from_millis(250);

/// RFC 1662 §3.1.
const FLAG: u8 = 0x7e;

/// Bits on the wire of the longest frame: 1500 octets and the few around them, all escaped.
const FRAME_BITS: f64 = 10.0 * 2.0 * 1508.0;

/// Watches the octets of one call. Feed every chunk, ask [`CarrierWatch::is_lost`], wake at [`CarrierWatch::deadline`].
#[derive(Debug)]
pub struct CarrierWatch {
    /// How long the longest frame is on the line.
    frame: Duration,
    /// How much of the text, with a cause and the line's end, the last octets match.
    matched: Matched,
    /// Whether the octet before the match was a flag.
    is_behind_flag: bool,
    previous: u8,
    complete_at: Option<Instant>,
    /// When the text came that no flag has followed yet.
    suspected_at: Option<Instant>,
    is_lost: bool,
}

#[derive(Debug, Clone, Copy)]
enum Matched {
    Text(usize),
    Cause(usize),
    LineEnd,
}

impl CarrierWatch {
    /// A watch on a call at this rate, in bit/s.
    pub fn new(rate_bps: u32) -> Self {
        let frame =
            CARRIER_SILENCE + Duration::from_secs_f64(FRAME_BITS / f64::from(rate_bps.max(1)));
        Self {
            frame,
            matched: Matched::Text(0),
            is_behind_flag: false,
            previous: 0,
            complete_at: None,
            suspected_at: None,
            is_lost: false,
        }
    }

    /// Looks at octets of the call, in order.
    pub fn handle(&mut self, octets: &[u8], now: Instant) {
        for &octet in octets {
            self.complete_at = None;
            if octet == FLAG {
                self.suspected_at = None;
            }
            if self.matches(octet) {
                self.is_lost |= self.is_behind_flag;
                self.complete_at = Some(now);
                self.suspected_at.get_or_insert(now);
            }
            self.previous = octet;
        }
    }

    /// Whether the text, perhaps with a cause, ends with this octet.
    fn matches(&mut self, octet: u8) -> bool {
        // The modem's own text, and no flag.
        let is_cause = |at: usize| match at {
            0 => octet.is_ascii_graphic() && !octet.is_ascii_alphabetic() || octet == b' ',
            CAUSE_OCTETS_MAX.. => false,
            _ => octet.is_ascii_graphic() || octet == b' ',
        };
        self.matched = match self.matched {
            Matched::Text(at) if octet == TEXT[at] && at + 1 == TEXT.len() => Matched::Cause(0),
            Matched::Text(at) if octet == TEXT[at] && at > 0 => Matched::Text(at + 1),
            Matched::Cause(_) | Matched::LineEnd if octet == b'\r' => Matched::LineEnd,
            Matched::Cause(at) if octet != FLAG && is_cause(at) => Matched::Cause(at + 1),
            Matched::LineEnd if octet == b'\n' => {
                self.matched = Matched::Text(0);
                return true;
            }
            // Only the first octet of the text is a CR followed by LF: no shorter overlap to try.
            _ if octet == TEXT[0] => {
                self.is_behind_flag = self.previous == FLAG;
                Matched::Text(1)
            }
            _ => Matched::Text(0),
        };
        false
    }

    /// Whether the carrier is gone.
    pub fn is_lost(&self, now: Instant) -> bool {
        self.is_lost || self.deadline().is_some_and(|at| now >= at)
    }

    /// When to ask again, once the text has come.
    pub fn deadline(&self) -> Option<Instant> {
        let silent = self.complete_at.map(|at| at + CARRIER_SILENCE);
        let unfinished = self.suspected_at.map(|at| at + self.frame);
        silent.into_iter().chain(unfinished).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(
        clippy::disallowed_methods,
        reason = "a test needs some instant to start from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_text_behind_a_flag_is_carrier_loss_at_once() {
        let now = start();
        let mut watch = CarrierWatch::new(33_600);
        watch.handle(b"\x7e\xff\x03data\x7e", now);
        watch.handle(b"\r\nNO CAR", now);
        assert!(!watch.is_lost(now));
        watch.handle(b"RIER\r\n", now);
        assert!(watch.is_lost(now));
    }

    #[test]
    fn the_text_inside_a_frame_counts_only_when_nothing_follows() {
        let now = start();
        let mut watch = CarrierWatch::new(33_600);
        watch.handle(b"\x7e\xff\x03see \r\nNO CARRIER\r\n", now);
        assert!(!watch.is_lost(now));
        watch.handle(b"is what it says\x7e", now + CARRIER_SILENCE / 2);
        assert!(!watch.is_lost(now + CARRIER_SILENCE * 10));
        watch.handle(b"\xff\x03cut sh\r\r\nNO CARRIER\r\n", now);
        assert!(watch.is_lost(now + CARRIER_SILENCE));
    }

    #[test]
    fn a_cause_may_stand_behind_the_text_and_nothing_else() {
        let now = start();
        for (said, is_lost) in [
            (&b"\x7e\r\nNO CARRIER/E3411\r\n"[..], true),
            (b"\x7e\r\nNO CARRIER (E3411)\r\n", true),
            (b"\x7e\r\nNO CARRIER\r\r\n", true),
            (b"\x7e\r\r\nNO CARRIER\r\n", false),
            (b"\x7e\r\nNO CARRIERS\r\n", false),
            (b"\x7e\r\nNO CARRIER\x7e\r\n", false),
            (
                b"\x7e\r\nNO CARRIER, said the long text that a stranger has sent\r\n",
                false,
            ),
        ] {
            let mut watch = CarrierWatch::new(33_600);
            watch.handle(said, now);
            assert_eq!(watch.is_lost(now), is_lost, "{}", said.escape_ascii());
        }
    }

    /// Our own frames go on for a while, and the modem takes them for commands.
    #[test]
    fn what_a_modem_answers_behind_the_text_does_not_keep_a_lost_carrier_alive() {
        let now = start();
        for (rate, patience_ms) in [(33_600, 1_200), (1_000_000, 300)] {
            let mut watch = CarrierWatch::new(rate);
            watch.handle(b"\x7e\xff\x03half a fra\r\nNO CARRIER\r\n", now);
            let mut passed = Duration::ZERO;
            while !watch.is_lost(now + passed) && passed < Duration::from_secs(10) {
                passed += CARRIER_SILENCE / 2;
                watch.handle(b"\r\nERROR\r\n", now + passed);
            }
            assert!(
                passed.as_millis() <= patience_ms + 125,
                "{rate}: {passed:?}"
            );
        }
    }
}
