//! Ends that prove who they are.

use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;
use ringup_ppp::{
    Authentication, CloseReason, Config, ControlProtocol, Credentials, Decoder, Demand, Encoder,
    Event, Fault, Input, LineProfile, Name, Output, Secret, Secrets, Session, Willing,
};

use crate::call::{Call, SERVER, TERMINAL, line, origin, server, terminal};

const MINUTE: Duration = Duration::from_secs(60);
const NOT_PROVED: CloseReason = CloseReason::PeerNotProved {
    protocol: ControlProtocol::Chap,
};

pub(crate) fn credentials(name: &str, secret: &str) -> Credentials {
    Credentials {
        name: Name::new(name).expect("1 to 255 octets"),
        secret: Secret::new(secret).expect("1 to 255 octets"),
    }
}

pub(crate) fn peers(known: &[(&str, &str)]) -> Secrets {
    known
        .iter()
        .map(|(name, secret)| {
            (
                Name::new(name).expect("1 to 255 octets"),
                Secret::new(secret).expect("1 to 255 octets"),
            )
        })
        .collect()
}

/// A server that demands this of `t-17`.
pub(crate) fn demanding(line: LineProfile, demand: Demand) -> Config {
    let peers = peers(&[("t-17", "opensesame")]);
    Config {
        authentication: Authentication {
            demand,
            peers,
            ..Authentication::default()
        },
        ..server(line)
    }
}

/// `t-17`, with a secret.
pub(crate) fn proving(line: LineProfile, secret: &str, willing: Willing) -> Config {
    let own = Some(credentials("t-17", secret));
    Config {
        authentication: Authentication {
            own,
            willing,
            ..Authentication::default()
        },
        ..terminal(line)
    }
}

/// Both demand CHAP of each other.
pub(crate) fn both(line: LineProfile) -> [Config; 2] {
    let mut server = demanding(line, Demand::Chap);
    server.authentication.own = Some(credentials("server", "the server's own"));
    let mut terminal = proving(line, "opensesame", Willing::Chap);
    terminal.authentication.demand = Demand::Chap;
    terminal.authentication.peers = peers(&[("server", "the server's own")]);
    [server, terminal]
}

fn run(server: Config, terminal: Config) -> Call {
    let mut call = Call::new(line(33_600, 60), server, terminal);
    call.run(10 * MINUTE);
    call
}

fn reasons(call: &Call) -> [Option<CloseReason>; 2] {
    [SERVER, TERMINAL].map(|end| call.ends[end].closed())
}

#[test]
fn the_right_secret_opens_the_link_and_names_the_peer() {
    let line = line(33_600, 60);
    for (demand, willing) in [
        (Demand::Chap, Willing::Chap),
        (Demand::Chap, Willing::ChapOrPap),
        (Demand::ChapThenPap, Willing::Chap),
        (Demand::Pap, Willing::ChapOrPap),
    ] {
        let call = run(
            demanding(line, demand),
            proving(line, "opensesame", willing),
        );
        assert!(
            call.ends.iter().all(|end| end.network().is_some()),
            "{demand:?}, {willing:?}"
        );
        assert_eq!(
            call.ends[SERVER].session.peer_name(),
            Some(&Name::new("t-17").unwrap())
        );
        assert_eq!(call.ends[TERMINAL].session.peer_name(), None);
    }
}

#[test]
fn both_ends_may_demand_a_proof_at_once() {
    let [server, terminal] = both(line(33_600, 60));
    let call = run(server, terminal);
    assert!(call.ends.iter().all(|end| end.network().is_some()));
    let names = call
        .ends
        .each_ref()
        .map(|end| end.session.peer_name().map(ToString::to_string));
    assert_eq!(names, [Some("t-17".to_owned()), Some("server".to_owned())]);
}

#[test]
fn a_wrong_secret_ends_the_link_and_both_ends_know_why() {
    let line = line(33_600, 60);
    for (demand, protocol) in [
        (Demand::Chap, ControlProtocol::Chap),
        (Demand::Pap, ControlProtocol::Pap),
    ] {
        let call = run(
            demanding(line, demand),
            proving(line, "opensesam", Willing::ChapOrPap),
        );
        let expected = [
            CloseReason::PeerNotProved { protocol },
            CloseReason::NotBelieved { protocol },
        ];
        assert_eq!(reasons(&call), expected.map(Some));
        assert_eq!(expected.map(|reason| reason.fault()), [Fault::Peer; 2]);
        assert!(call.ends.iter().all(|end| end.up_after().is_none()));
    }
}

#[test]
fn a_name_nobody_knows_has_no_proof() {
    let line = line(33_600, 60);
    let mut stranger = proving(line, "nobody", Willing::Chap);
    stranger.authentication.own = Some(credentials("t-18", "nobody"));
    assert_eq!(
        reasons(&run(demanding(line, Demand::Chap), stranger))[SERVER],
        Some(NOT_PROVED)
    );
}

#[test]
fn a_peer_that_uses_our_own_name_is_not_believed_even_with_our_secret() {
    let line = line(33_600, 60);
    let mut server = demanding(line, Demand::Chap);
    server.authentication.own = Some(credentials("t-17", "opensesame"));
    let call = run(server, proving(line, "opensesame", Willing::Chap));
    assert_eq!(reasons(&call)[SERVER], Some(NOT_PROVED));
}

#[test]
fn a_peer_that_will_not_prove_itself_gets_no_link() {
    let line = line(33_600, 60);
    let refused = Some(CloseReason::PeerNotProved {
        protocol: ControlProtocol::Lcp,
    });
    // It has nothing to prove; it wants CHAP where we insist on PAP.
    assert_eq!(
        reasons(&run(demanding(line, Demand::Chap), terminal(line)))[SERVER],
        refused
    );
    let call = run(
        demanding(line, Demand::Pap),
        proving(line, "opensesame", Willing::Chap),
    );
    assert!(
        call.ends
            .iter()
            .all(|end| end.up_after().is_none() && end.closed().is_some())
    );
    assert_eq!(reasons(&call)[SERVER], refused);
}

#[test]
fn the_secret_never_crosses_the_line_with_chap_and_does_with_pap() {
    let line = line(33_600, 60);
    for (demand, is_seen) in [(Demand::Chap, false), (Demand::Pap, true)] {
        let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let tap = seen.clone();
        let wire = Box::new(move |octets: Vec<u8>| {
            tap.borrow_mut().extend_from_slice(&octets);
            vec![octets]
        });
        let terminal = proving(line, "opensesame", Willing::ChapOrPap);
        let mut call = Call::impaired(line, demanding(line, demand), terminal, wire);
        call.run(MINUTE);
        assert!(call.ends[SERVER].network().is_some());
        assert_eq!(
            seen.borrow()
                .windows(10)
                .any(|octets| octets == b"opensesame"),
            is_seen
        );
    }
}

#[test]
fn a_proof_costs_one_and_a_half_round_trips_and_no_write_of_its_own_for_success() {
    let line = line(1_000_000_000, 100);
    let mut terminal = proving(line, "opensesame", Willing::Chap);
    terminal.local = ringup_ppp::LocalAddress::Ask(Some(crate::call::TERMINAL_ADDRESS));
    let mut call = Call::new(line, demanding(line, Demand::Chap), terminal);
    call.run(MINUTE);
    // LCP 200 ms; Challenge, Response, Success with IPCP's request, 300 ms; the terminal's own IPCP 200 ms more.
    let up = call
        .ends
        .each_ref()
        .map(|end| end.up_after().unwrap().as_millis());
    assert_eq!(up, [600, 700]);
    // Request; Ack; Challenge; Success and request; Ack.
    assert_eq!(call.ends.each_ref().map(|end| end.writes), [5, 4]);
}

/// A session and somebody who plays its peer by hand.
struct Hand {
    session: Session,
    now: std::time::Instant,
    encoder: Encoder,
    decoder: Decoder,
    events: Vec<Event>,
}

type Packet = (u16, u8, u8, Vec<u8>);

impl Hand {
    /// LCP is open; gives what was said last. The peer grants every demand, and demands `option`.
    fn new(config: Config, option: &[u8]) -> (Hand, Vec<Packet>) {
        let now = origin();
        let mut decoder = Decoder::new();
        decoder.set_accm(0);
        let session = Session::new(config, 1, now);
        let mut hand = Hand {
            session,
            now,
            encoder: Encoder::new(),
            decoder,
            events: Vec::new(),
        };
        let first = hand.drain();
        let (_, _, id, data) = &first[0];
        hand.say(0xc021, 2, *id, data);
        let said = hand.say(0xc021, 1, 1, option);
        (hand, said)
    }

    fn say(&mut self, protocol: u16, code: u8, id: u8, data: &[u8]) -> Vec<Packet> {
        let length = u16::try_from(data.len() + 4).expect("short").to_be_bytes();
        let mut octets = BytesMut::new();
        self.encoder
            .encode(&mut octets, protocol, &[&[code, id], &length, data]);
        self.session.handle(Input::Bytes(&octets), self.now);
        self.drain()
    }

    fn wait(&mut self) -> Vec<Packet> {
        if let Output::Timeout { at: Some(at), .. } = self.session.poll_output() {
            self.now = at;
            self.session.handle(Input::Deadline, at);
        }
        self.drain()
    }

    fn drain(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            match self.session.poll_output() {
                Output::Transmit(octets) => {
                    let mut octets = &octets[..];
                    while let Some(frame) = self.decoder.next_frame(&mut octets) {
                        let [code, id, _, _, data @ ..] = frame.information else {
                            panic!("no header")
                        };
                        packets.push((frame.protocol, *code, *id, data.to_vec()));
                    }
                }
                Output::Event(event) => self.events.push(event),
                Output::Packet(_) => {}
                Output::Timeout { .. } => return packets,
            }
        }
    }
}

const CHAP: u16 = 0xc223;
const PAP: u16 = 0xc023;

#[test]
fn the_challenge_leaves_with_the_last_lcp_ack_and_is_repeated_unchanged_ten_times() {
    let (mut hand, said) = Hand::new(demanding(line(33_600, 60), Demand::Chap), &[]);
    let [(0xc021, 2, 1, _), challenge] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(
        (challenge.0, challenge.1, challenge.3.len(), challenge.3[0]),
        (CHAP, 1, 17 + 6, 16)
    );
    for _ in 1..10 {
        assert_eq!(&hand.wait(), std::slice::from_ref(challenge));
    }
    hand.wait();
    for _ in 0..3 {
        hand.wait();
    }
    let silent = CloseReason::NoAnswer {
        protocol: ControlProtocol::Chap,
    };
    assert_eq!(hand.events.last(), Some(&Event::Closed(silent)));
}

#[test]
fn another_seed_gives_another_challenge() {
    let challenges = [3, 4].map(|seed| {
        let now = origin();
        let line = line(33_600, 60);
        let mut ends = [
            Session::new(demanding(line, Demand::Chap), seed, now),
            Session::new(proving(line, "opensesame", Willing::Chap), 9, now),
        ];
        let mut seen = Vec::new();
        let mut decoder = Decoder::new();
        decoder.set_accm(0);
        for (from, to) in [(0, 1), (1, 0), (0, 1), (1, 0), (0, 1)] {
            let mut said = Vec::new();
            loop {
                match ends[from].poll_output() {
                    Output::Transmit(octets) => said.extend_from_slice(&octets),
                    Output::Timeout { .. } => break,
                    _ => {}
                }
            }
            ends[to].handle(Input::Bytes(&said), now);
            let mut octets = &said[..];
            while let Some(frame) = decoder.next_frame(&mut octets) {
                if frame.protocol == CHAP && frame.information[0] == 1 {
                    seen.push(frame.information[5..21].to_vec());
                }
            }
        }
        seen.remove(0)
    });
    assert_ne!(challenges[0], challenges[1]);
}

#[test]
fn nothing_but_the_proof_is_heard_before_it_is_given() {
    let (mut hand, _) = Hand::new(demanding(line(33_600, 60), Demand::Chap), &[]);
    assert!(hand.say(0x8021, 1, 1, &[3, 6, 10, 0, 0, 2]).is_empty());
    assert!(hand.say(0x0021, 0x45, 0, &[0; 16]).is_empty());
    // A Success of its own making, PAP, and a Challenge, none of which were agreed.
    for (protocol, code) in [(CHAP, 3), (PAP, 2), (PAP, 1), (CHAP, 1)] {
        assert!(hand.say(protocol, code, 1, &[1, b'x', 1, b'y']).is_empty());
    }
    assert!(
        !hand
            .events
            .iter()
            .any(|event| matches!(event, Event::NetworkUp { .. } | Event::Closed(_)))
    );
}

#[test]
fn an_empty_name_or_a_short_response_proves_nothing() {
    for data in [&[16; 17][..], &[0], &[0, b't'], &[15; 20], &[255; 30]] {
        let (mut hand, said) = Hand::new(demanding(line(33_600, 60), Demand::Chap), &[]);
        let answer = hand.say(CHAP, 2, said[1].2, data);
        // Failure and Terminate-Request in one write.
        assert_eq!((answer[0].0, answer[0].1), (CHAP, 4), "{data:?}");
        assert_eq!((answer[1].0, answer[1].1), (0xc021, 5));
    }
    for data in [&[0, 0][..], &[4, b't', b'-', b'1', b'7', 0], &[0, 1, b'x']] {
        let (mut hand, _) = Hand::new(demanding(line(33_600, 60), Demand::Pap), &[]);
        assert_eq!(hand.say(PAP, 1, 1, data)[0].1, 3, "{data:?}");
    }
}

#[test]
fn a_proof_whose_answer_was_lost_is_answered_the_same_way_again() {
    let (mut hand, _) = Hand::new(demanding(line(33_600, 60), Demand::Pap), &[]);
    let request = b"\x04t-17\x0aopensesame";
    let first = hand.say(PAP, 1, 5, request);
    assert_eq!(first[0], (PAP, 2, 5, vec![0]));
    assert_eq!((first[1].0, first[1].1), (0x8021, 1));
    assert_eq!(hand.say(PAP, 1, 6, request), [(PAP, 2, 6, vec![0])]);
    // Another secret now changes nothing: it tells neither right nor wrong (RFC 1334 §2.2.1).
    assert_eq!(
        hand.say(PAP, 1, 7, b"\x04t-17\x01x"),
        [(PAP, 2, 7, vec![0])]
    );
}

#[test]
fn a_response_is_repeated_until_it_is_answered_and_a_later_challenge_is_answered_too() {
    let config = proving(line(33_600, 60), "opensesame", Willing::Chap);
    let (mut hand, said) = Hand::new(config, &[3, 5, 0xc2, 0x23, 5]);
    assert_eq!(said.len(), 1, "nothing but the Ack: {said:?}");
    let response = hand.say(CHAP, 1, 9, b"\x03abcpppd");
    // MD5(09 "opensesame" "abc"), by another program.
    let value = [
        0x10, 0xef, 0x9f, 0x35, 0x1e, 0xdd, 0x16, 0x65, 0xd4, 0x67, 0x28, 0xde, 0xf0, 0x32, 0x81,
        0x50, 0xf9,
    ];
    assert_eq!(response, [(CHAP, 2, 9, [&value[..], b"t-17"].concat())]);
    assert_eq!(hand.wait(), response);
    assert!(
        hand.say(CHAP, 3, 8, b"").is_empty(),
        "a Success for something else"
    );
    assert_eq!(hand.say(CHAP, 3, 9, b"Welcome")[0].0, 0x8021);
    let again = hand.say(CHAP, 1, 10, b"\x03defpppd");
    assert_eq!((again[0].0, again[0].1, again[0].2), (CHAP, 2, 10));
    assert!(hand.say(CHAP, 3, 10, b"").is_empty());
    assert!(
        !hand
            .events
            .iter()
            .any(|event| matches!(event, Event::Closed(_)))
    );
    hand.say(CHAP, 1, 11, b"\x03defpppd");
    let closing = hand.say(CHAP, 4, 11, b"no longer");
    assert_eq!((closing[0].0, closing[0].1), (0xc021, 5));
}

#[test]
fn an_empty_challenge_is_not_answered() {
    let config = proving(line(33_600, 60), "opensesame", Willing::Chap);
    let (mut hand, _) = Hand::new(config, &[3, 5, 0xc2, 0x23, 5]);
    for data in [&b""[..], b"\x00pppd", b"\x09short"] {
        assert!(hand.say(CHAP, 1, 9, data).is_empty());
    }
    assert_eq!(hand.session.statistics().malformed, 3);
}

#[test]
fn our_own_challenge_sent_back_is_not_answered() {
    let [server, _] = both(line(33_600, 60));
    let (mut hand, said) = Hand::new(server, &[3, 5, 0xc2, 0x23, 5]);
    let (_, _, id, challenge) = said
        .iter()
        .find(|(protocol, ..)| *protocol == CHAP)
        .unwrap()
        .clone();
    assert!(hand.say(CHAP, 1, id, &challenge).is_empty());
    assert_eq!(hand.say(CHAP, 1, id, b"\x03abcpppd").len(), 1);
}

#[test]
fn a_peer_that_rejects_the_protocol_it_agreed_to_is_left() {
    let (mut hand, said) = Hand::new(demanding(line(33_600, 60), Demand::Chap), &[]);
    hand.say(0xc021, 8, 1, &[0xc2, 0x23, 1, said[1].2, 0, 4]);
    for _ in 0..3 {
        hand.wait();
    }
    let rejected = CloseReason::PeerRejected {
        protocol: ControlProtocol::Chap,
    };
    assert_eq!(hand.events.last(), Some(&Event::Closed(rejected)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_words_of_a_stranger_are_a_proof(
        demand in prop::sample::select(vec![Demand::Chap, Demand::Pap, Demand::ChapThenPap]),
        script in prop::collection::vec(
            (prop::sample::select(vec![CHAP, PAP, 0x8021, 0x0021]), 0u8..6, any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)),
            1..30),
    ) {
        let (mut hand, said) = Hand::new(demanding(line(33_600, 60), demand), &[]);
        let asked = said.last().map_or(0, |(_, _, id, _)| *id);
        for (protocol, code, id, data) in script {
            hand.say(protocol, code, if id & 1 == 0 { asked } else { id }, &data);
        }
        let is_up = hand.events.iter().any(|event| matches!(event, Event::NetworkUp { .. }));
        prop_assert!(!is_up);
        prop_assert_eq!(hand.session.peer_name(), None);
    }

    #[test]
    fn with_proofs_both_ways_a_few_losses_never_prevent_a_link(losses in prop::collection::vec(any::<bool>(), 0..12)) {
        let line = line(9600, 200);
        let mut losses = losses.into_iter();
        let lose = Box::new(move |octets| if losses.next() == Some(true) { vec![] } else { vec![octets] });
        let [server, terminal] = both(line);
        let mut call = Call::impaired(line, server, terminal, lose);
        call.run(10 * MINUTE);
        for end in &call.ends {
            prop_assert!(end.network().is_some(), "{:?}", end.events);
        }
    }
}
