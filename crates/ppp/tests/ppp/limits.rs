//! Peers that never come to an end, and the limits that end them.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use ringup_ppp::{
    CloseReason, Config, ControlProtocol, Decoder, Encoder, Event, Input, Keepalive, LineProfile,
    MAX_FAILURE, Output, Session,
};

use crate::call::{Call, line, origin, server, terminal};

const LCP: u16 = 0xc021;
const IPCP: u16 = 0x8021;
const REQUEST: u8 = 1;
const ACK: u8 = 2;
const NAK: u8 = 3;
const REJECT: u8 = 4;
const CODE_REJECT: u8 = 7;
const PROTOCOL_REJECT: u8 = 8;

type Packet = (u16, u8, u8, Vec<u8>);

/// A session and the peer that torments it.
struct Torment {
    session: Session,
    now: Instant,
    wake: Option<Instant>,
    encoder: Encoder,
    decoder: Decoder,
    events: Vec<Event>,
}

impl Torment {
    fn new(config: Config) -> (Torment, Vec<Packet>) {
        let now = origin();
        let mut decoder = Decoder::new();
        decoder.set_accm(0);
        let session = Session::new(config, 1, now);
        let mut torment = Torment {
            session,
            now,
            wake: None,
            encoder: Encoder::new(),
            decoder,
            events: Vec::new(),
        };
        let first = torment.drain();
        (torment, first)
    }

    /// Brings LCP up; the answer ends with our first IPCP request.
    fn with_open_link(config: Config) -> (Torment, Vec<Packet>) {
        let (mut torment, first) = Torment::new(config);
        torment.acknowledge(&first);
        let said = torment.say(LCP, REQUEST, 1, &[]);
        assert!(
            torment
                .events
                .iter()
                .any(|event| matches!(event, Event::LinkOpen(_)))
        );
        (torment, said)
    }

    fn say(&mut self, protocol: u16, code: u8, id: u8, data: &[u8]) -> Vec<Packet> {
        let length = u16::try_from(data.len() + 4).expect("short").to_be_bytes();
        let mut octets = BytesMut::new();
        self.encoder
            .encode(&mut octets, protocol, &[&[code, id], &length, data]);
        self.session.handle(Input::Bytes(&octets), self.now);
        self.drain()
    }

    /// Acknowledges every request among these packets.
    fn acknowledge(&mut self, packets: &[Packet]) -> Vec<Packet> {
        let requests = packets.iter().filter(|(_, code, ..)| *code == REQUEST);
        requests
            .flat_map(|(protocol, _, id, data)| self.say(*protocol, ACK, *id, data))
            .collect()
    }

    /// Waits for the next deadline, if there is one.
    fn wait(&mut self) -> Vec<Packet> {
        if let Some(at) = self.wake {
            self.now = at;
            self.session.handle(Input::Deadline, at);
        }
        self.drain()
    }

    /// Waits until the link has ended.
    fn outcome(mut self) -> CloseReason {
        for _ in 0..10 {
            self.wait();
        }
        match self.events.last() {
            Some(Event::Closed(reason)) => *reason,
            other => panic!("not closed but {other:?}"),
        }
    }

    fn drain(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            match self.session.poll_output() {
                Output::Transmit(octets) => {
                    let mut octets = &octets[..];
                    while let Some(frame) = self.decoder.next_frame(&mut octets) {
                        let [code, id, _, _, data @ ..] = frame.information else {
                            panic!("a packet without a header")
                        };
                        packets.push((frame.protocol, *code, *id, data.to_vec()));
                    }
                }
                Output::Event(event) => self.events.push(event),
                Output::Packet(_) => {}
                Output::Timeout { at, .. } => {
                    self.wake = at;
                    return packets;
                }
            }
        }
    }
}

#[test]
fn a_protocol_is_rejected_three_times_and_sixteen_protocols_are() {
    let (mut torment, _) = Torment::with_open_link(server(line(33_600, 60)));
    let rejects = (0..10)
        .flat_map(|id| torment.say(0x80fd, REQUEST, id, &[]))
        .collect::<Vec<_>>();
    assert_eq!(rejects.len(), 3);
    assert!(
        rejects
            .iter()
            .all(|(protocol, code, ..)| (*protocol, *code) == (LCP, PROTOCOL_REJECT))
    );
    let others = (0..50)
        .flat_map(|n| torment.say(0x8203 + 2 * n, REQUEST, 1, &[]))
        .count();
    assert_eq!(others, 15);
    assert_eq!(torment.session.statistics().unknown_protocols, 60);
}

#[test]
fn a_rejected_packet_is_not_sent_back_in_full() {
    let (mut torment, _) = Torment::with_open_link(server(line(33_600, 60)));
    let rejects = torment.say(0x0057, 0x60, 0, &[0x55; 1400]);
    assert_eq!(rejects[0].3.len(), 2 + 96);
}

#[test]
fn a_peer_that_agrees_to_all_and_never_asks_is_given_up_after_thirty_requests() {
    let (mut torment, mut said) = Torment::new(server(line(33_600, 60)));
    let mut requests = 0;
    while torment.events.is_empty() && requests < 100 {
        requests += said.iter().filter(|(_, code, ..)| *code == REQUEST).count();
        torment.acknowledge(&said);
        said = torment.wait();
    }
    assert_eq!(requests, 30);
    assert_eq!(
        torment.outcome(),
        CloseReason::NotConverged {
            protocol: ControlProtocol::Lcp
        }
    );
}

#[test]
fn an_option_that_is_asked_again_and_again_is_rejected_ten_times_at_most() {
    let (mut torment, _) = Torment::with_open_link(server(line(33_600, 60)));
    let netbios = [130, 6, 0, 0, 0, 0];
    let answers: Vec<_> = (0..50)
        .flat_map(|id| torment.say(IPCP, REQUEST, id, &netbios))
        .collect();
    let rejects = answers
        .iter()
        .filter(|(protocol, code, ..)| (*protocol, *code) == (IPCP, REJECT))
        .count();
    assert_eq!(rejects, 2 * usize::from(MAX_FAILURE));
    assert_eq!(
        torment.outcome(),
        CloseReason::NotConverged {
            protocol: ControlProtocol::Ipcp
        }
    );
}

#[test]
fn a_value_that_would_do_is_named_five_times_and_then_the_option_is_rejected() {
    let (mut torment, _) = Torment::new(server(line(33_600, 60)));
    let mru_of_64 = [1, 4, 0, 64];
    let codes: Vec<u8> = (0..8)
        .flat_map(|id| torment.say(LCP, REQUEST, id, &mru_of_64))
        .map(|(_, code, ..)| code)
        .collect();
    assert_eq!(codes, [NAK, NAK, NAK, NAK, NAK, REJECT, REJECT, REJECT]);
}

#[test]
fn a_wrong_address_is_corrected_five_times_and_then_the_link_ends() {
    let (mut torment, _) = Torment::with_open_link(server(line(33_600, 60)));
    let wrong = [3, 6, 192, 168, 1, 9];
    let answers: Vec<_> = (0..50)
        .flat_map(|id| torment.say(IPCP, REQUEST, id, &wrong))
        .collect();
    let naks = answers
        .iter()
        .filter(|(protocol, code, ..)| (*protocol, *code) == (IPCP, NAK))
        .count();
    assert_eq!(naks, usize::from(MAX_FAILURE));
    assert!(
        answers
            .iter()
            .all(|(protocol, code, ..)| (*protocol, *code) != (IPCP, REJECT))
    );
    assert_eq!(
        torment.outcome(),
        CloseReason::NotConverged {
            protocol: ControlProtocol::Ipcp
        }
    );
}

#[test]
fn a_peer_that_will_not_have_our_address_is_asked_six_times_and_left() {
    let (mut torment, mut said) = Torment::with_open_link(server(line(33_600, 60)));
    let mut requests = 0;
    while let Some((_, _, id, _)) = said
        .iter()
        .find(|(protocol, code, ..)| (*protocol, *code) == (IPCP, REQUEST))
    {
        requests += 1;
        assert!(requests < 50);
        said = torment.say(IPCP, NAK, *id, &[3, 6, 192, 168, 1, 9]);
    }
    assert_eq!(requests, 1 + usize::from(MAX_FAILURE));
    assert_eq!(
        torment.outcome(),
        CloseReason::NotConverged {
            protocol: ControlProtocol::Ipcp
        }
    );
}

#[test]
fn a_peer_that_starts_again_and_again_gets_ten_links() {
    let (mut torment, _) = Torment::with_open_link(server(line(33_600, 60)));
    for id in 2..100 {
        let said = torment.say(LCP, REQUEST, id, &[]);
        torment.acknowledge(&said);
    }
    let opened = torment
        .events
        .iter()
        .filter(|event| matches!(event, Event::LinkOpen(_)))
        .count();
    assert_eq!(opened, 10);
    assert_eq!(
        torment.outcome(),
        CloseReason::NotConverged {
            protocol: ControlProtocol::Lcp
        }
    );
}

#[test]
fn a_request_repeated_more_than_three_times_brings_a_new_negotiation() {
    let (mut torment, _) = Torment::with_open_link(server(line(33_600, 60)));
    let codes = |packets: Vec<Packet>| {
        packets
            .iter()
            .map(|(_, code, ..)| *code)
            .collect::<Vec<_>>()
    };
    for _ in 0..3 {
        assert_eq!(codes(torment.say(LCP, REQUEST, 1, &[])), [ACK]);
    }
    assert_eq!(codes(torment.say(LCP, REQUEST, 1, &[])), [REQUEST, ACK]);
}

#[test]
fn an_ipv4_packet_before_ipcp_is_open_is_dropped_and_counted() {
    let (mut torment, _) = Torment::with_open_link(server(line(33_600, 60)));
    torment.say(0x0021, 0x45, 0, &[0; 16]);
    assert_eq!(torment.session.statistics().packets_received_early, 1);
    assert_eq!(torment.session.statistics().packets_received, 0);
}

#[test]
fn a_peer_that_knows_no_echo_is_not_lost_for_its_silence() {
    let keepalive = Some(Keepalive {
        interval: Duration::from_secs(10),
        losses_max: 2,
    });
    let (mut torment, said) = Torment::with_open_link(Config {
        keepalive,
        ..server(line(33_600, 60))
    });
    torment.acknowledge(&said);
    torment.say(IPCP, REQUEST, 1, &[3, 6, 10, 0, 0, 2]);
    let echo = torment.wait();
    let (_, code, id, _) = &echo[0];
    assert_eq!(*code, 9);
    torment.say(LCP, CODE_REJECT, 1, &[9, *id, 0, 8]);
    assert_eq!(torment.wake, None);
    assert!(matches!(
        torment.events.last(),
        Some(Event::NetworkUp { .. })
    ));
}

#[test]
fn a_measured_round_trip_makes_the_restart_timer_shorter_or_longer() {
    // The configuration knows nothing of the line: 3 s, until LCP has been answered.
    for (delay_ms, up_s) in [(100, 1..2), (1200, 10..13)] {
        let mut writes = 0;
        let lose = Box::new(move |octets| {
            writes += 1;
            // Two requests, two Acks, and then the server's request of IPCP.
            if writes == 5 { vec![] } else { vec![octets] }
        });
        let (unknown, line) = (LineProfile::UNKNOWN, line(1_000_000_000, delay_ms));
        let mut call = Call::impaired(line, server(unknown), terminal(unknown), lose);
        call.run(Duration::from_secs(60));
        let up = call
            .ends
            .each_ref()
            .map(|end| end.up_after().expect("it comes up").as_secs());
        assert!(
            up_s.contains(up.iter().max().expect("two ends")),
            "{delay_ms} ms: {up:?}"
        );
    }
}

#[test]
fn a_request_that_was_repeated_measures_nothing() {
    let (mut torment, said) = Torment::new(server(LineProfile::UNKNOWN));
    torment.wait();
    torment.acknowledge(&said);
    let open = torment.now;
    torment.say(LCP, REQUEST, 1, &[]);
    assert_eq!(torment.wake, Some(open + Duration::from_secs(3)));
}

#[test]
fn another_kind_of_compression_is_answered_with_van_jacobsons() {
    let (mut torment, _) = Torment::with_open_link(server(line(33_600, 60)));
    // RFC 2509, and the number an old draft had.
    for kind in [0x61, 0x37] {
        let answer = torment.say(IPCP, REQUEST, 1, &[2, 4, 0, kind]);
        assert_eq!(answer, [(IPCP, NAK, 1, vec![2, 6, 0, 0x2d, 15, 1])]);
    }
    let none = Config {
        header_compression: None,
        ..server(line(33_600, 60))
    };
    let (mut torment, _) = Torment::with_open_link(none);
    assert_eq!(
        torment.say(IPCP, REQUEST, 1, &[2, 4, 0, 0x61]),
        [(IPCP, REJECT, 1, vec![2, 4, 0, 0x61])]
    );
}
