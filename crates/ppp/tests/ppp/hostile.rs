//! A peer that says anything at any time.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use proptest::prelude::*;
use ringup_ppp::{Config, Encoder, Event, Input, Keepalive, Output, Session};

use crate::call::{line, origin};
use crate::proving::both;

/// How far the two ends had come when one of them was replaced.
const EXCHANGES_MAX: usize = 8;

/// Two sessions after some rounds of talking; the first one is what the test torments.
fn after_exchanges(exchanges: usize, now: Instant) -> Session {
    let line = line(9600, 0);
    let keepalive = Some(Keepalive {
        interval: Duration::from_secs(5),
        losses_max: 2,
    });
    let [server, terminal] = both(line);
    let mut ends = [
        Session::new(
            Config {
                keepalive,
                ..server
            },
            1,
            now,
        ),
        Session::new(terminal, 2, now),
    ];
    for _ in 0..exchanges {
        for (from, to) in [(0, 1), (1, 0)] {
            let said = drain(&mut ends[from]).transmitted;
            ends[to].handle(Input::Bytes(&said), now);
        }
    }
    drain(&mut ends[0]);
    let [session, _] = ends;
    session
}

#[derive(Default)]
struct Drained {
    transmitted: Vec<u8>,
    events: Vec<Event>,
    at: Option<Instant>,
}

fn drain(session: &mut Session) -> Drained {
    let mut drained = Drained::default();
    loop {
        match session.poll_output() {
            Output::Transmit(octets) => drained.transmitted.extend_from_slice(&octets),
            Output::Event(event) => drained.events.push(event),
            Output::Packet(_) => {}
            Output::Timeout { at, .. } => {
                drained.at = at;
                return drained;
            }
        }
    }
}

/// Something a peer may put on the line.
#[derive(Clone, Debug)]
enum Said {
    Octets(Vec<u8>),
    Packet {
        protocol: u16,
        code: u8,
        id: u8,
        data: Vec<u8>,
    },
    Options {
        protocol: u16,
        code: u8,
        id: u8,
        options: Vec<(u8, Vec<u8>)>,
    },
    /// Nothing, until our next deadline.
    Nothing,
}

fn protocol() -> impl Strategy<Value = u16> {
    prop_oneof![
        4 => Just(0xc021u16),
        4 => Just(0x8021),
        2 => Just(0x002d),
        1 => Just(0x002f),
        2 => Just(0xc223),
        1 => Just(0xc023),
        1 => Just(0x0021),
        1 => any::<u16>(),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let id = prop_oneof![any::<u8>(), 0u8..4];
    let option = (
        prop_oneof![0u8..16, 128u8..134],
        prop::collection::vec(any::<u8>(), 0..8),
    );
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Said::Octets),
        3 => (protocol(), 0u8..16, id.clone(), prop::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(protocol, code, id, data)| Said::Packet { protocol, code, id, data }),
        5 => (protocol(), 1u8..5, id, prop::collection::vec(option, 0..12))
            .prop_map(|(protocol, code, id, options)| Said::Options { protocol, code, id, options }),
        1 => Just(Said::Nothing),
    ]
}

fn on_the_line(said: &Said, encoder: &mut Encoder) -> BytesMut {
    let mut line = BytesMut::new();
    let mut packet = |protocol, code: u8, id: u8, data: &[u8]| {
        let length = u16::try_from(data.len() + 4)
            .expect("scripts are short")
            .to_be_bytes();
        encoder.encode(&mut line, protocol, &[&[code, id], &length, data]);
    };
    match said {
        Said::Nothing => {}
        Said::Octets(octets) => line.extend_from_slice(octets),
        Said::Packet {
            protocol,
            code,
            id,
            data,
        } => packet(*protocol, *code, *id, data),
        Said::Options {
            protocol,
            code,
            id,
            options,
        } => {
            let options: Vec<u8> = options
                .iter()
                .flat_map(|(kind, data)| {
                    [
                        &[
                            *kind,
                            u8::try_from(data.len() + 2).expect("scripts are short"),
                        ][..],
                        data,
                    ]
                    .concat()
                })
                .collect();
            packet(*protocol, *code, *id, &options);
        }
    }
    line
}

proptest! {
    // More than proptest's own number, unless a soak asks for more still.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(1000)))]

    #[test]
    fn nothing_a_peer_says_panics_or_is_answered_with_much_more(
        exchanges in 0..EXCHANGES_MAX,
        script in prop::collection::vec(said(), 0..60),
        chunk in 1usize..100,
    ) {
        let mut now = origin();
        let mut session = after_exchanges(exchanges, now);
        let mut encoder = Encoder::new();
        let mut closed = 0;
        for said in &script {
            let line = on_the_line(said, &mut encoder);
            let mut transmitted = 0;
            for piece in line.chunks(chunk) {
                session.handle(Input::Bytes(piece), now);
                let drained = drain(&mut session);
                transmitted += drained.transmitted.len();
                closed += drained.events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
            }
            // An answer repeats what it answers, every octet escaped at worst, and a layer may begin anew.
            prop_assert!(transmitted <= 6 * line.len() + 400, "{} for {}", transmitted, line.len());
            if let (Said::Nothing, Some(at)) = (said, drain(&mut session).at) {
                prop_assert!(at > now);
                now = at;
                session.handle(Input::Deadline, now);
                closed += drain(&mut session).events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
            }
        }
        // Whatever was said: left alone, it still ends when it is told to.
        session.handle(Input::Close, now);
        for _ in 0..100 {
            let drained = drain(&mut session);
            closed += drained.events.iter().filter(|event| matches!(event, Event::Closed(_))).count();
            let Some(at) = drained.at else { break };
            session.handle(Input::Deadline, at);
        }
        prop_assert_eq!(closed, 1);
    }

    #[test]
    fn noise_is_counted_and_hardly_answered(seed: u64) {
        let now = origin();
        let mut session = after_exchanges(EXCHANGES_MAX, now);
        let mut state = seed | 1;
        let noise: Vec<u8> = (0..4096).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        }).collect();
        session.handle(Input::Bytes(&noise), now);
        let statistics = session.statistics().received;
        let ended = statistics.frames + statistics.bad_fcs + statistics.runts + statistics.too_long + statistics.aborts;
        let flags = noise.iter().filter(|&&octet| octet == 0x7e).count() as u64;
        // Every flag ends at most one thing, and every thing is counted once. Nine frames opened the link.
        prop_assert!(ended <= flags + 10, "{} for {} flags", ended, flags);
        prop_assert!(drain(&mut session).transmitted.len() < 4096);
    }
}
