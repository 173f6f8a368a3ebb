//! How a link comes up, what that costs, and what crosses it.

use std::time::Duration;

use ringup_ppp::{
    ACCM_DEFAULT, Config, Decoder, Direction, Event, Input, LocalAddress, Mru, Output, PeerAddress,
    Phase, Session,
};

use crate::call::{
    Call, SERVER, SERVER_ADDRESS, TERMINAL, TERMINAL_ADDRESS, line, origin, server, terminal,
};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_server_assigns_the_address_and_both_ends_agree() {
    let line = line(33_600, 60);
    let mut call = Call::new(line, server(line), terminal(line));
    call.run(MINUTE);
    assert_eq!(
        call.ends[SERVER].network(),
        Some((SERVER_ADDRESS, Some(TERMINAL_ADDRESS), 1500))
    );
    assert_eq!(
        call.ends[TERMINAL].network(),
        Some((TERMINAL_ADDRESS, Some(SERVER_ADDRESS), 1500))
    );
    let [a, b] = [SERVER, TERMINAL].map(|end| call.ends[end].link().unwrap());
    assert_eq!((a.sending, a.receiving), (b.receiving, b.sending));
    assert_eq!(
        a.sending,
        Direction {
            mru: Mru::DEFAULT,
            accm: 0,
            protocol_compression: true,
            address_compression: true
        }
    );
    assert_eq!(call.ends[SERVER].session.phase(), Phase::Network);
}

#[test]
fn a_terminal_that_knows_its_address_is_up_after_two_round_trips_and_two_writes_a_phase() {
    // So fast that only the delay counts.
    let line = line(1_000_000_000, 100);
    let mut call = Call::new(
        line,
        server(line),
        Config::terminal(line, Some(TERMINAL_ADDRESS)),
    );
    call.run(MINUTE);
    for end in &call.ends {
        assert_eq!(end.up_after().unwrap().as_millis(), 400);
        // Request; Ack; request; Ack. LCP Ack and IPCP request cannot share a write here: both ends ask at once.
        assert_eq!(end.writes, 4);
        assert!(
            end.session.statistics().sent.octets <= 140,
            "{:?}",
            end.session.statistics().sent
        );
    }
}

#[test]
fn the_last_lcp_ack_and_the_first_ipcp_request_leave_in_one_write() {
    let now = origin();
    let line = line(33_600, 60);
    let mut server = Session::new(server(line), 1, now);
    let mut terminal = Session::new(terminal(line), 2, now);
    let (server_request, terminal_request) = (write(&mut server), write(&mut terminal));
    terminal.handle(Input::Bytes(&server_request), now);
    let terminal_ack = write(&mut terminal);
    // The terminal's Ack overtakes its request, as when the first copy of the request was lost.
    server.handle(Input::Bytes(&terminal_ack), now);
    server.handle(Input::Bytes(&terminal_request), now);
    let octets = write(&mut server);

    let mut decoder = Decoder::new();
    decoder.set_accm(0);
    let mut octets = &octets[..];
    let mut seen = Vec::new();
    while let Some(frame) = decoder.next_frame(&mut octets) {
        seen.push((frame.protocol, frame.information[0]));
    }
    assert_eq!(seen, [(0xc021, 2), (0x8021, 1)]);
}

/// The one write that waits to be made.
fn write(session: &mut Session) -> Vec<u8> {
    match session.poll_output() {
        Output::Transmit(octets) => octets.to_vec(),
        other => panic!("no write but {other:?}"),
    }
}

#[test]
fn a_terminal_that_asks_for_the_wrong_address_is_corrected() {
    let line = line(33_600, 60);
    let mut call = Call::new(
        line,
        server(line),
        Config::terminal(line, Some([192, 168, 1, 9].into())),
    );
    call.run(MINUTE);
    assert_eq!(
        call.ends[TERMINAL].network(),
        Some((TERMINAL_ADDRESS, Some(SERVER_ADDRESS), 1500))
    );
}

#[test]
fn two_ends_with_their_own_addresses_take_each_others() {
    let line = line(33_600, 60);
    let own = |address| Config {
        local: LocalAddress::Own(address),
        peer: PeerAddress::Any,
        ..terminal(line)
    };
    let mut call = Call::new(line, own(SERVER_ADDRESS), own(TERMINAL_ADDRESS));
    call.run(MINUTE);
    assert_eq!(
        call.ends[SERVER].network(),
        Some((SERVER_ADDRESS, Some(TERMINAL_ADDRESS), 1500))
    );
    assert_eq!(
        call.ends[TERMINAL].network(),
        Some((TERMINAL_ADDRESS, Some(SERVER_ADDRESS), 1500))
    );
}

/// A cellular module's PPP, or any stack that ends IPCP where its address is rejected.
#[test]
fn a_peer_that_asks_for_an_address_where_none_is_configured_is_given_one() {
    let line = line(33_600, 60);
    for (own, given) in [
        (SERVER_ADDRESS, [10, 64, 64, 64]),
        ([10, 64, 64, 64].into(), [10, 64, 64, 65]),
    ] {
        let config = Config {
            local: LocalAddress::Own(own),
            peer: PeerAddress::Any,
            ..server(line)
        };
        let mut call = Call::new(line, config, Config::terminal(line, None));
        call.run(MINUTE);
        assert_eq!(
            call.ends[TERMINAL].network(),
            Some((given.into(), Some(own), 1500))
        );
        assert_eq!(
            call.ends[SERVER].network(),
            Some((own, Some(given.into()), 1500))
        );
    }
}

#[test]
fn mru_and_accm_asked_by_one_end_bind_the_other() {
    let line = line(2400, 60);
    let asking = Config {
        mru: Mru::new(296).unwrap(),
        accm: 0x000a_0000,
        ..server(line)
    };
    let mut call = Call::new(line, asking, terminal(line));
    call.run(MINUTE);
    let sending = call.ends[TERMINAL].link().unwrap().sending;
    assert_eq!((sending.mru.octets(), sending.accm), (296, 0x000a_0000));
    assert_eq!(call.ends[TERMINAL].network().unwrap().2, 296);
    assert_eq!(call.ends[SERVER].network().unwrap().2, 1500);

    call.handle(TERMINAL, Input::Packet(&[0x11; 296]));
    call.handle(TERMINAL, Input::Packet(&[0x45; 297]));
    call.run(2 * MINUTE);
    assert_eq!(call.ends[SERVER].packets, [vec![0x11; 296]]);
    assert_eq!(call.ends[TERMINAL].session.statistics().packets_refused, 1);
}

#[test]
fn an_end_that_wants_everything_escaped_gets_it() {
    let line = line(33_600, 60);
    let mut call = Call::new(
        line,
        Config {
            accm: ACCM_DEFAULT,
            ..server(line)
        },
        terminal(line),
    );
    call.run(MINUTE);
    assert_eq!(
        call.ends[TERMINAL].link().unwrap().sending.accm,
        ACCM_DEFAULT
    );
    let before = call.ends[TERMINAL].session.statistics().sent.octets;
    call.handle(TERMINAL, Input::Packet(&[0; 100]));
    // Two octets for each zero, two flags, one of protocol, two of FCS that may be escaped.
    let sent = call.ends[TERMINAL].session.statistics().sent.octets - before;
    assert!((205..=208).contains(&sent), "{sent}");
}

#[test]
fn packets_cross_unchanged_both_ways_and_in_order() {
    let line = line(33_600, 60);
    let mut call = Call::new(line, server(line), terminal(line));
    call.run(MINUTE);
    // Those of version 6 are another network's.
    let octets = (0..=255u8).filter(|octet| octet >> 4 != 6);
    let packets: Vec<Vec<u8>> = octets
        .map(|octet| vec![octet; 20 + usize::from(octet)])
        .collect();
    for packet in &packets {
        call.handle(SERVER, Input::Packet(packet));
        call.handle(TERMINAL, Input::Packet(packet));
    }
    call.run(10 * MINUTE);
    assert_eq!(call.ends[SERVER].packets, packets);
    assert_eq!(call.ends[TERMINAL].packets, packets);
    assert_eq!(call.ends[SERVER].session.statistics().packets_received, 240);
}

#[test]
fn a_packet_before_the_network_is_up_is_refused_and_counted() {
    let line = line(33_600, 60);
    let mut call = Call::new(line, server(line), terminal(line));
    call.handle(SERVER, Input::Packet(&[0x45; 20]));
    call.run(MINUTE);
    assert_eq!(call.ends[SERVER].session.statistics().packets_refused, 1);
    assert!(call.ends[TERMINAL].packets.is_empty());
}

#[test]
fn an_empty_packet_is_refused_and_not_sent_as_a_broken_frame() {
    let line = line(33_600, 60);
    let mut call = Call::new(line, server(line), terminal(line));
    call.run(MINUTE);
    call.handle(SERVER, Input::Packet(&[]));
    call.run(2 * MINUTE);
    assert_eq!(call.ends[SERVER].session.statistics().packets_refused, 1);
    assert_eq!(call.ends[TERMINAL].session.statistics().received.runts, 0);
}

#[test]
fn a_lost_ack_is_healed_without_taking_anything_down() {
    let line = line(33_600, 60);
    for lost in 1..=8 {
        let mut writes = 0;
        let lose = Box::new(move |octets| {
            writes += 1;
            if writes == lost { vec![] } else { vec![octets] }
        });
        let mut call = Call::impaired(line, server(line), terminal(line), lose);
        call.run(MINUTE);
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
                "write {lost} lost"
            );
        }
    }
}
