//! Hanging up from within the call, where no wire does it: silence, `+++`, silence, `ATH`.
//!
//! ```text
//!   Guard ──guard──► "+++" ──► Escaping ──OK, or guard again──► "ATH" ──► Ending ──OK, NO CARRIER, ERROR──► Done
//!     │                          │                                          │ nothing in time
//!     └────── NO CARRIER ────────┴─────────────────────────────────────────►┴──────────────────────────────► Done
//! ```
//!
//! The guard is register S12, which V.250 leaves to the vendors: 50 units of 20 ms is what all have. What the modem still
//! delivers of the call meanwhile is passed over.

use std::time::{Duration, Instant};

use crate::reader::Reader;
use crate::result_code::ResultCode;

/// Silence before and behind `+++`: S12's default of 1 s, and a fifth for clocks that differ.
const GUARD: Duration = Duration::from_millis(1200);
/// After `ATS12=5`: 100 ms, and as much again.
const SHORT_GUARD: Duration = Duration::from_millis(200);
/// For the modem to leave the call and say so.
const REPLY: Duration = Duration::from_secs(3);

/// What hanging up wants done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUpStep {
    /// Write this to the modem, and feed nothing else meanwhile.
    Transmit(&'static [u8]),
    /// Say nothing; hear until then.
    Wait(Instant),
    /// It is over. `is_confirmed`: the modem has said so.
    Done {
        /// Whether the modem has said that the call is over.
        is_confirmed: bool,
    },
}

/// Hanging up by the escape sequence. Begin with [`HangUp::new`], do what [`HangUp::step`] says, feed what is heard.
#[derive(Debug)]
pub struct HangUp {
    state: State,
    guard: Duration,
    reader: Reader,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Guard { until: Instant },
    Escape { at: Instant },
    Escaping { until: Instant },
    End { at: Instant },
    Ending { until: Instant },
    Done { is_confirmed: bool },
}

impl HangUp {
    /// Nothing has been written since `now`. `has_short_guard`: the modem has taken `ATS12=5`.
    pub fn new(has_short_guard: bool, now: Instant) -> Self {
        let guard = if has_short_guard { SHORT_GUARD } else { GUARD };
        Self {
            state: State::Guard { until: now + guard },
            guard,
            reader: Reader::default(),
        }
    }

    /// What to do now.
    pub fn step(&mut self, now: Instant) -> HangUpStep {
        loop {
            self.state = match self.state {
                State::Guard { until } if now >= until => State::Escape { at: now },
                State::Escape { at } => {
                    self.state = State::Escaping {
                        until: at + self.guard.max(SHORT_GUARD) + REPLY / 3,
                    };
                    return HangUpStep::Transmit(b"+++");
                }
                State::Escaping { until } if now >= until => State::End { at: now },
                State::End { at } => {
                    self.state = State::Ending { until: at + REPLY };
                    return HangUpStep::Transmit(b"ATH\r");
                }
                State::Ending { until } if now >= until => State::Done {
                    is_confirmed: false,
                },
                State::Guard { until } | State::Escaping { until } | State::Ending { until } => {
                    return HangUpStep::Wait(until);
                }
                State::Done { is_confirmed } => return HangUpStep::Done { is_confirmed },
            };
        }
    }

    /// What came from the line.
    pub fn hear(&mut self, mut octets: &[u8], now: Instant) {
        while let Some(line) = self.reader.next_line(&mut octets) {
            // Behind data without a line's end the word may stand at the end of a long line.
            let is_last_word = |word: &str| line.trim_end().ends_with(word);
            self.state = match self.state {
                State::Done { .. } => return,
                _ if is_last_word("NO CARRIER") => State::Done { is_confirmed: true },
                State::Escaping { .. } if ResultCode::parse(&line) == Some(ResultCode::Ok) => {
                    State::End { at: now }
                }
                State::Ending { .. } => match ResultCode::parse(&line) {
                    Some(ResultCode::Ok | ResultCode::NoCarrier) => {
                        State::Done { is_confirmed: true }
                    }
                    // It is in command mode and has nothing to hang up.
                    Some(ResultCode::Error) => State::Done { is_confirmed: true },
                    _ => continue,
                },
                _ => continue,
            };
        }
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
    fn a_modem_that_does_as_told_is_hung_up_behind_the_guard() {
        let now = start();
        let mut hang_up = HangUp::new(false, now);
        assert_eq!(hang_up.step(now), HangUpStep::Wait(now + GUARD));
        let now = now + GUARD;
        assert_eq!(hang_up.step(now), HangUpStep::Transmit(b"+++"));
        assert!(matches!(hang_up.step(now), HangUpStep::Wait(until) if until >= now + GUARD));
        hang_up.hear(b"last octets of the call~\r\nOK\r\n", now);
        assert_eq!(hang_up.step(now), HangUpStep::Transmit(b"ATH\r"));
        hang_up.hear(b"\r\nOK\r\n", now);
        assert_eq!(hang_up.step(now), HangUpStep::Done { is_confirmed: true });
    }

    #[test]
    fn a_deaf_modem_costs_less_than_eight_seconds() {
        let began = start();
        let mut now = began;
        let mut hang_up = HangUp::new(false, now);
        let mut said = Vec::new();
        let is_confirmed = loop {
            match hang_up.step(now) {
                HangUpStep::Transmit(octets) => said.push(octets),
                HangUpStep::Wait(until) => now = until,
                HangUpStep::Done { is_confirmed } => break is_confirmed,
            }
        };
        assert_eq!((said, is_confirmed), (vec![&b"+++"[..], b"ATH\r"], false));
        assert!(now - began < Duration::from_secs(8), "{:?}", now - began);
    }

    #[test]
    fn a_carrier_that_goes_by_itself_ends_it_at_once() {
        let now = start();
        let mut hang_up = HangUp::new(true, now);
        hang_up.hear(b"\x7e\xff\x7d\r\nNO CARRIER\r\n", now);
        assert_eq!(hang_up.step(now), HangUpStep::Done { is_confirmed: true });
    }
}
