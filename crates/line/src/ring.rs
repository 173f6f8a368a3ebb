//! Pure. An incoming call that is not yet answered: rings and a caller ID put together.
//!
//! ```text
//!             RING ┌──────────┐ NMBR            -> Ring { caller }
//!   Quiet ────────►│ Ringing  │ second RING     -> Ring { Absent }     ──► Settled ──quiet for QUIET_AFTER──► Quiet
//!         ◄────────│          │ CALLER_ID_WAIT  -> Ring { Absent }           │  RING, the same NMBR: the same call
//!    quiet: the    └──────────┘                                              │
//!    caller gave up     ▲  NMBR before the first RING (UK) waits for RING    │  NMBR: another caller, a new ring
//!                       └────────────────────────────────────────────────────┘
//! ```
//!
//! RINGs that follow each other within [`RING_APART`] are one: two bursts (Australia, New Zealand, Ireland, India, the
//! United Kingdom), or a modem that says it in two ways (`+CRING: REL ASYNC` and `RING`).

use std::fmt;
use std::time::{Duration, Instant};

use modem::{CallerId, RingKind};

use crate::number::Number;
use crate::numbering::Home;

/// How long after the first sign of a call its caller ID may take; later counts as none. (In the US and in Europe it
/// comes within 4 s, before the second RING.)
pub const CALLER_ID_WAIT: Duration = Duration::from_secs(8);

/// Silence after the last RING that means the caller has given up: the longest cadence in use is 6 s (US: 2 s on, 4 s off).
pub const QUIET_AFTER: Duration = Duration::from_secs(8);

/// RINGs that are less apart are one: no cadence pauses for less between two rings, and the bursts of one ring are at
/// most 0.6 s apart.
pub const RING_APART: Duration = Duration::from_secs(2);

/// Who is calling, as far as the exchange told.
#[derive(Clone, PartialEq, Eq)]
pub enum Caller {
    /// The number presented. It may be forged.
    Number(Number),
    /// The caller asked not to be shown.
    Withheld,
    /// No caller ID came, or none that is a number.
    Absent,
}

/// As it stands in logs: the last three digits, or why there are none.
impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => fmt::Debug::fmt(number, f),
            Self::Withheld => f.write_str("withheld"),
            Self::Absent => f.write_str("absent"),
        }
    }
}

impl From<&CallerId> for Caller {
    fn from(id: &CallerId) -> Self {
        match id {
            // A network may put its `+` before any form: `+00496612345670`.
            CallerId::Digits(digits) => {
                let national = || {
                    digits
                        .strip_prefix('+')
                        .filter(|digits| digits.starts_with('0'))?
                        .parse()
                        .ok()
                };
                digits
                    .parse()
                    .ok()
                    .or_else(national)
                    .map_or(Self::Absent, Self::Number)
            }
            CallerId::Withheld => Self::Withheld,
            CallerId::Unavailable | CallerId::PayPhone | CallerId::ServiceConflict => Self::Absent,
        }
    }
}

/// An incoming call: nothing answered, nothing paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// Who is calling.
    pub caller: Caller,
    /// The other numbers that the presented one may be a spelling of: see [`Home::spelt`].
    pub others: Vec<Number>,
    /// The modem says that it is no data call: there is nothing to answer, but it may be a signal.
    pub is_no_data: bool,
}

impl Ring {
    /// A ring as the exchange presents it.
    pub fn new(caller: Caller, is_no_data: bool) -> Self {
        Self {
            caller,
            others: Vec::new(),
            is_no_data,
        }
    }

    /// The same ring, with the caller's number as it is meant in a country.
    #[must_use]
    pub fn at(self, home: Option<Home>) -> Self {
        let (Caller::Number(number), Some(home)) = (&self.caller, home) else {
            return self;
        };
        let mut spelt = home.spelt(number).into_iter();
        let caller = Caller::Number(spelt.next().unwrap_or_else(|| number.clone()));
        Self {
            caller,
            others: spelt.collect(),
            is_no_data: self.is_no_data,
        }
    }

    /// The numbers that may be calling, the likeliest first.
    pub fn numbers(&self) -> impl Iterator<Item = &Number> {
        let first = match &self.caller {
            Caller::Number(number) => Some(number),
            Caller::Withheld | Caller::Absent => None,
        };
        first.into_iter().chain(&self.others)
    }
}

/// One input of a [`RingWatch`].
#[derive(Debug)]
pub enum RingInput<'a> {
    /// The modem said RING, or what it says in its place.
    Ring(RingKind),
    /// The modem reported the caller.
    CallerId(&'a CallerId),
    /// The instant of [`RingWatch::deadline`] has come.
    Deadline,
}

/// Puts the RINGs and the caller ID of one line together. Gives every incoming call out once, as soon as its caller is
/// known or it is clear that nobody will say.
#[derive(Debug, Default)]
pub struct RingWatch {
    state: State,
    is_no_data: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum State {
    #[default]
    Quiet,
    Ringing {
        since: Instant,
        rings: u8,
        last_ring: Instant,
        caller: Option<Caller>,
    },
    Settled {
        last_ring: Instant,
        caller: Caller,
    },
}

impl State {
    fn ringing(rings: u8, caller: Option<Caller>, now: Instant) -> Self {
        Self::Ringing {
            since: now,
            rings,
            last_ring: now,
            caller,
        }
    }
}

impl RingWatch {
    /// Takes one input; gives a call out when it is known who is calling.
    pub fn handle(&mut self, input: &RingInput<'_>, now: Instant) -> Option<Ring> {
        if self.deadline().is_some_and(|at| now >= at) {
            match self.state {
                State::Ringing { rings, .. } if rings > 0 => {
                    return self.settle(Caller::Absent, now);
                }
                _ => self.state = State::Quiet,
            }
        }
        if self.state == State::Quiet {
            self.is_no_data = false;
        }
        if let RingInput::Ring(RingKind::Voice | RingKind::Fax | RingKind::SbdAlert) = input {
            self.is_no_data = true;
        }
        match (&mut self.state, input) {
            (_, RingInput::Deadline) => None,
            (State::Quiet, RingInput::Ring(_)) => {
                self.state = State::ringing(1, None, now);
                None
            }
            (State::Quiet, RingInput::CallerId(id)) => {
                self.state = State::ringing(0, Some(Caller::from(*id)), now);
                None
            }
            (
                State::Ringing {
                    rings,
                    last_ring,
                    caller,
                    ..
                },
                RingInput::Ring(_),
            ) => {
                let is_same_ring =
                    *rings > 0 && now.saturating_duration_since(*last_ring) < RING_APART;
                *last_ring = now;
                *rings += u8::from(!is_same_ring);
                let caller = caller.take();
                // The second RING without a number: it would have come between the two.
                if caller.is_some() || *rings > 1 {
                    self.settle(caller.unwrap_or(Caller::Absent), now)
                } else {
                    None
                }
            }
            (
                State::Ringing {
                    rings: 0, caller, ..
                },
                RingInput::CallerId(id),
            ) => {
                *caller = Some(Caller::from(*id));
                None
            }
            // Some lines tell the number with each RING.
            (State::Settled { last_ring, caller }, RingInput::CallerId(id))
                if Caller::from(*id) == *caller =>
            {
                *last_ring = now;
                None
            }
            (State::Ringing { .. } | State::Settled { .. }, RingInput::CallerId(id)) => {
                let caller = Caller::from(*id);
                self.settle(caller, now)
            }
            (State::Settled { last_ring, .. }, RingInput::Ring(_)) => {
                *last_ring = now;
                None
            }
        }
    }

    /// When to feed [`RingInput::Deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Quiet => None,
            State::Ringing { since, .. } => Some(*since + CALLER_ID_WAIT),
            State::Settled { last_ring, .. } => Some(*last_ring + QUIET_AFTER),
        }
    }

    fn settle(&mut self, caller: Caller, now: Instant) -> Option<Ring> {
        self.state = State::Settled {
            last_ring: now,
            caller: caller.clone(),
        };
        Some(Ring::new(caller, self.is_no_data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digits: &str) -> CallerId {
        CallerId::Digits(digits.into())
    }

    fn number(digits: &str) -> Option<Ring> {
        Some(Ring::new(Caller::Number(digits.parse().unwrap()), false))
    }

    const ABSENT: Option<Ring> = Some(Ring {
        caller: Caller::Absent,
        others: Vec::new(),
        is_no_data: false,
    });
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_number_between_the_first_and_the_second_ring_is_told_at_once_and_once() {
        let (mut watch, now) = (RingWatch::default(), Instant::now());
        assert_eq!(watch.handle(&RingInput::Ring(RingKind::Plain), now), None);
        assert_eq!(
            watch.handle(&RingInput::CallerId(&id("201")), now + SECOND),
            number("201")
        );
        assert_eq!(
            watch.handle(&RingInput::Ring(RingKind::Plain), now + 6 * SECOND),
            None
        );
        assert_eq!(
            watch.handle(&RingInput::Ring(RingKind::Plain), now + 12 * SECOND),
            None
        );
    }

    #[test]
    fn a_call_that_is_said_to_be_no_data_is_told_as_one_and_the_next_is_looked_at_anew() {
        let (mut watch, now) = (RingWatch::default(), Instant::now());
        for (kind, is_no_data) in [
            (RingKind::Voice, true),
            (RingKind::Data, false),
            (RingKind::Fax, true),
        ] {
            watch.handle(&RingInput::Ring(kind), now);
            let ring = watch.handle(&RingInput::CallerId(&id("201")), now).unwrap();
            assert_eq!(ring.is_no_data, is_no_data, "{kind:?}");
            watch.handle(&RingInput::Deadline, now + QUIET_AFTER);
        }
    }

    #[test]
    fn a_number_before_the_first_ring_waits_for_it() {
        let (mut watch, now) = (RingWatch::default(), Instant::now());
        assert_eq!(watch.handle(&RingInput::CallerId(&id("201")), now), None);
        assert_eq!(
            watch.handle(&RingInput::Ring(RingKind::Plain), now + SECOND),
            number("201")
        );
    }

    #[test]
    fn a_number_before_a_ring_that_never_comes_is_forgotten() {
        let (mut watch, now) = (RingWatch::default(), Instant::now());
        watch.handle(&RingInput::CallerId(&id("201")), now);
        assert_eq!(
            watch.handle(&RingInput::Deadline, now + CALLER_ID_WAIT),
            None
        );
        assert_eq!(
            watch.handle(&RingInput::Ring(RingKind::Plain), now + CALLER_ID_WAIT),
            None
        );
        assert_eq!(
            watch.handle(
                &RingInput::Ring(RingKind::Plain),
                now + CALLER_ID_WAIT + 3 * SECOND
            ),
            ABSENT
        );
    }

    #[test]
    fn no_number_by_the_second_ring_or_in_time_means_none() {
        let (mut watch, now) = (RingWatch::default(), Instant::now());
        watch.handle(&RingInput::Ring(RingKind::Plain), now);
        assert_eq!(
            watch.handle(&RingInput::Ring(RingKind::Plain), now + 6 * SECOND),
            ABSENT
        );

        let mut watch = RingWatch::default();
        watch.handle(&RingInput::Ring(RingKind::Plain), now);
        assert_eq!(
            watch.handle(&RingInput::Deadline, now + CALLER_ID_WAIT),
            ABSENT
        );
    }

    #[test]
    fn rings_less_than_two_seconds_apart_are_one() {
        for gaps_ms in [&[600][..], &[0], &[600, 600], &[1999]] {
            let (mut watch, mut now) = (RingWatch::default(), Instant::now());
            assert_eq!(watch.handle(&RingInput::Ring(RingKind::Plain), now), None);
            for gap in gaps_ms {
                now += Duration::from_millis(*gap);
                assert_eq!(
                    watch.handle(&RingInput::Ring(RingKind::Plain), now),
                    None,
                    "{gaps_ms:?}"
                );
            }
            assert_eq!(
                watch.handle(&RingInput::CallerId(&id("201")), now + SECOND),
                number("201"),
                "{gaps_ms:?}"
            );
        }
        let (mut watch, now) = (RingWatch::default(), Instant::now());
        watch.handle(&RingInput::Ring(RingKind::Plain), now);
        assert_eq!(
            watch.handle(&RingInput::Ring(RingKind::Plain), now + RING_APART),
            ABSENT
        );
    }

    #[test]
    fn a_ring_that_never_pauses_is_settled_in_time() {
        let (mut watch, start) = (RingWatch::default(), Instant::now());
        let mut settled = None;
        for passed_s in 0..20 {
            let ring = watch.handle(&RingInput::Ring(RingKind::Plain), start + passed_s * SECOND);
            settled = settled.or(ring.map(|ring| (passed_s, ring)));
        }
        assert_eq!(settled, Some((8, ABSENT.unwrap())));
    }

    #[test]
    fn a_number_that_is_told_with_each_ring_is_one_call() {
        let (mut watch, mut now) = (RingWatch::default(), Instant::now());
        let mut rings = Vec::new();
        for _ in 0..5 {
            rings.extend(watch.handle(&RingInput::CallerId(&id("201")), now));
            rings.extend(watch.handle(&RingInput::Ring(RingKind::Plain), now));
            now += 3 * SECOND;
        }
        assert_eq!(rings, [number("201").unwrap()]);
    }

    #[test]
    fn another_number_while_the_last_caller_still_rings_is_a_new_ring() {
        let (mut watch, now) = (RingWatch::default(), Instant::now());
        watch.handle(&RingInput::Ring(RingKind::Plain), now);
        assert_eq!(
            watch.handle(&RingInput::CallerId(&id("666")), now),
            number("666")
        );
        assert_eq!(
            watch.handle(&RingInput::Ring(RingKind::Plain), now + 3 * SECOND),
            None
        );
        assert_eq!(
            watch.handle(&RingInput::CallerId(&id("201")), now + 4 * SECOND),
            number("201")
        );
    }

    #[test]
    fn after_the_line_was_quiet_a_ring_is_a_new_call() {
        let (mut watch, now) = (RingWatch::default(), Instant::now());
        watch.handle(&RingInput::Ring(RingKind::Plain), now);
        watch.handle(&RingInput::CallerId(&id("666")), now);
        watch.handle(&RingInput::Ring(RingKind::Plain), now + QUIET_AFTER);
        assert_eq!(
            watch.handle(&RingInput::CallerId(&id("201")), now + QUIET_AFTER),
            number("201")
        );
    }

    #[test]
    fn digits_that_are_no_number_are_no_caller() {
        assert_eq!(Caller::from(&id(&"1".repeat(30))), Caller::Absent);
        assert_eq!(
            Caller::from(&id("+00496612345670")),
            Caller::Number("00496612345670".parse().unwrap())
        );
        assert_eq!(
            Caller::from(&id("+49")),
            Caller::Absent,
            "nobody's number, and not extension 49"
        );
        assert_eq!(Caller::from(&CallerId::Withheld), Caller::Withheld);
        let shown = [
            Caller::Number("0661234567".parse().unwrap()),
            Caller::Withheld,
            Caller::Absent,
        ];
        assert_eq!(
            shown.map(|caller| format!("{caller:?}")),
            ["..567", "withheld", "absent"]
        );
    }
}
