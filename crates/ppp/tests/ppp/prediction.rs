//! Set-up by what an earlier call agreed on, at both ends, at one, and against what has changed.

use std::time::Duration;

use ringup_ppp::{
    Agreement, Config, Decoder, Demand, Event, HELD_OCTETS_MAX, Input, LocalAddress, Mru, Output,
    PeerAddress, Session, Willing,
};

use crate::call::{
    Call, Impairment, SERVER, SERVER_ADDRESS, TERMINAL, TERMINAL_ADDRESS, line, origin, server,
    terminal,
};
use crate::proving::{demanding, proving};

const MINUTE: Duration = Duration::from_secs(60);
/// What an IPv4 packet looks like to PPP.
const PACKET: [u8; 44] = [0x45; 44];

/// So fast that only the delay counts: 100 ms.
fn far() -> ringup_ppp::LineProfile {
    line(1_000_000_000, 100)
}

/// What the two ends remember of their first call.
pub(crate) fn remembered(server: Config, terminal: Config) -> [Option<Agreement>; 2] {
    let mut call = Call::new(server.line, server, terminal);
    call.run(MINUTE);
    let remembered = [SERVER, TERMINAL].map(|end| call.ends[end].session.agreement());
    assert!(
        remembered.iter().all(Option::is_some),
        "the first call came up"
    );
    remembered
}

/// A call on which each end expects what it is given, and the terminal has a packet for the server at once.
fn second(
    server: Config,
    terminal: Config,
    expected: [Option<Agreement>; 2],
    impairment: Impairment,
) -> Call {
    let [at_server, at_terminal] = expected;
    let line = server.line;
    let server = Config {
        expected: at_server,
        ..server
    };
    let terminal = Config {
        expected: at_terminal,
        ..terminal
    };
    let mut call = Call::impaired(line, server, terminal, impairment);
    call.handle(TERMINAL, Input::Packet(&PACKET));
    call.run(MINUTE);
    call
}

fn untouched() -> Impairment {
    Box::new(|octets| vec![octets])
}

#[test]
fn two_ends_that_remember_each_other_are_up_after_one_round_trip() {
    let expected = remembered(server(far()), terminal(far()));
    let call = second(server(far()), terminal(far()), expected, untouched());
    for end in &call.ends {
        assert_eq!(end.up_after().unwrap().as_millis(), 200, "{:?}", end.events);
    }
    assert_eq!(call.ends[SERVER].packets, [PACKET]);
    assert_eq!(
        [SERVER, TERMINAL].map(|end| call.ends[end].session.agreement()),
        expected
    );
    assert_eq!(call.ends[TERMINAL].network().unwrap().0, TERMINAL_ADDRESS);
}

#[test]
fn the_first_packet_has_reached_the_server_when_half_a_round_trip_is_over() {
    let (line, now) = (line(33_600, 60), origin());
    let [_, at_terminal] = remembered(server(line), terminal(line));
    let mut session = Session::new(
        Config {
            expected: at_terminal,
            ..terminal(line)
        },
        3,
        now,
    );
    session.handle(Input::Packet(&PACKET), now);
    // One write, before anything was heard.
    let Output::Transmit(octets) = session.poll_output() else {
        panic!("no write")
    };
    let (mut decoder, mut octets, mut seen) = (Decoder::new(), &octets[..], Vec::new());
    while let Some(frame) = decoder.next_frame(&mut octets) {
        seen.push((frame.protocol, frame.information.to_vec()));
    }
    assert_eq!(
        seen.iter()
            .map(|(protocol, _)| *protocol)
            .collect::<Vec<_>>(),
        [0xc021, 0x8021, 0x0021]
    );
    assert_eq!(seen[2].1, PACKET);
}

#[test]
fn what_came_early_is_given_out_only_behind_a_proof_where_one_is_demanded() {
    let (server, terminal) = (
        demanding(far(), Demand::Chap),
        proving(far(), "opensesame", Willing::Chap),
    );
    let expected = remembered(server.clone(), terminal.clone());
    let call = second(server.clone(), terminal, expected, untouched());
    assert_eq!(call.ends[SERVER].packets, [PACKET]);
    // Challenge with the Ack, Response, Success: half a round trip each behind the first.
    assert_eq!(call.ends[SERVER].up_after().unwrap().as_millis(), 400);

    let impostor = proving(far(), "open barley", Willing::Chap);
    let call = second(server, impostor, expected, untouched());
    assert!(call.ends[SERVER].packets.is_empty() && call.ends[SERVER].network().is_none());
    assert!(call.ends[SERVER].closed().is_some());
}

#[test]
fn a_stranger_drops_what_came_early_and_it_is_sent_again() {
    let expected = remembered(server(far()), terminal(far()));
    for forgetful in [SERVER, TERMINAL] {
        let mut expected = expected;
        expected[forgetful] = None;
        let terminal = Config::terminal(far(), Some(TERMINAL_ADDRESS));
        let call = second(server(far()), terminal, expected, untouched());
        for end in &call.ends {
            assert_eq!(
                end.up_after().unwrap().as_millis(),
                400,
                "as cold: {:?}",
                end.events
            );
        }
        if forgetful == SERVER {
            assert_eq!(call.ends[SERVER].packets, [PACKET]);
            assert_eq!(
                call.ends[SERVER]
                    .session
                    .statistics()
                    .packets_received_early,
                1
            );
        }
        assert_eq!(
            call.ends[1 - forgetful].session.agreement(),
            None,
            "learned anew on the next call"
        );
        assert!(call.ends[forgetful].session.agreement().is_some());
    }
}

#[test]
fn a_peer_that_has_changed_is_forgotten_and_the_link_comes_up_all_the_same() {
    let expected = remembered(server(far()), terminal(far()));
    let asks_less = Config {
        mru: Mru::new(576).unwrap(),
        ..server(far())
    };
    let call = second(asks_less, terminal(far()), expected, untouched());
    assert_eq!(call.ends[TERMINAL].network().unwrap().2, 576);
    assert_eq!(call.ends[TERMINAL].session.agreement(), None);

    let another = [10, 0, 0, 77].into();
    let assigns_another = Config {
        peer: PeerAddress::Assign(another),
        ..server(far())
    };
    let call = second(assigns_another, terminal(far()), expected, untouched());
    assert_eq!(
        call.ends[TERMINAL].network(),
        Some((another, Some(SERVER_ADDRESS), 1500))
    );
    assert_eq!(
        [SERVER, TERMINAL].map(|end| call.ends[end].session.agreement()),
        [None, None]
    );

    let elsewhere = Config {
        local: LocalAddress::Own([10, 0, 0, 99].into()),
        ..server(far())
    };
    let call = second(elsewhere, terminal(far()), expected, untouched());
    assert_eq!(call.ends[TERMINAL].session.agreement(), None);
}

#[test]
fn any_one_write_may_be_lost_and_both_ends_are_up_in_the_end() {
    let expected = remembered(server(far()), terminal(far()));
    for lost in 1..=6 {
        let mut writes = 0;
        let lose = Box::new(move |octets| {
            writes += 1;
            if writes == lost { vec![] } else { vec![octets] }
        });
        let call = second(server(far()), terminal(far()), expected, lose);
        for end in &call.ends {
            assert!(
                end.network().is_some(),
                "write {lost} lost: {:?}",
                end.events
            );
            assert!(
                !end.events
                    .iter()
                    .any(|(_, event)| *event == Event::NetworkDown),
                "write {lost}: {:?}",
                end.events
            );
        }
    }
}

#[test]
fn a_predicted_link_that_is_closed_before_anybody_answers_waits_for_nothing_that_is_over() {
    let expected = remembered(server(far()), terminal(far()));
    let mut now = origin();
    let mut session = Session::new(
        Config {
            expected: expected[TERMINAL],
            ..terminal(far())
        },
        3,
        now,
    );
    let wake = |session: &mut Session| loop {
        if let Output::Timeout { at, .. } = session.poll_output() {
            break at;
        }
    };
    while let Some(at) = wake(&mut session) {
        // Now again would be for ever: a driver would spin.
        assert!(at > now, "{:?} ago", now - at);
        now = at;
        session.handle(Input::Deadline, now);
        session.handle(Input::Close, now);
    }
}

#[test]
fn octets_that_come_one_by_one_make_no_difference() {
    let expected = remembered(server(far()), terminal(far()));
    let call = second(
        server(far()),
        terminal(far()),
        expected,
        Box::new(|octets| octets.into_iter().map(|octet| vec![octet]).collect()),
    );
    assert_eq!(call.ends[SERVER].packets, [PACKET]);
    assert_eq!(call.ends[SERVER].up_after().unwrap().as_millis(), 200);
}

#[test]
fn no_more_is_sent_early_than_a_peer_holds_and_no_more_is_held() {
    let now = origin();
    let expected = remembered(server(far()), terminal(far()));
    let mut session = Session::new(
        Config {
            expected: expected[TERMINAL],
            ..terminal(far())
        },
        3,
        now,
    );
    for _ in 0..10 {
        session.handle(Input::Packet(&[0x45; 1000]), now);
    }
    session.handle(Input::Packet(&[0x45; 1501]), now);
    let statistics = session.statistics();
    assert_eq!(
        (statistics.packets_sent, statistics.packets_refused),
        (HELD_OCTETS_MAX as u64 / 1000, 7)
    );

    // A peer that sends more early than may be held: what is too much is dropped, and counted.
    let mut call = Call::new(
        far(),
        server(far()),
        Config {
            expected: expected[TERMINAL],
            ..terminal(far())
        },
    );
    let mut flood = ringup_ppp::Encoder::new();
    let mut octets = bytes::BytesMut::new();
    for _ in 0..10 {
        flood.encode(&mut octets, 0x0021, &[&[0x45; 1000]]);
    }
    call.handle(TERMINAL, Input::Bytes(&octets));
    assert_eq!(
        call.ends[TERMINAL]
            .session
            .statistics()
            .packets_received_early,
        6
    );
    call.run(MINUTE);
    assert_eq!(
        call.ends[TERMINAL].packets.len(),
        4,
        "held, and given out when the network was up"
    );
}
