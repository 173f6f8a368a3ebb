//! IPv6 beside IPv4 (RFC 5072).

use std::time::Duration;

use ringup_ppp::{Config, Event, Input, InterfaceIdentifier, Ipv6, Phase};

use crate::call::{Call, SERVER, TERMINAL, line, server, terminal};

const MINUTE: Duration = Duration::from_secs(60);

fn with(config: Config, local: u64, peer: u64) -> Config {
    let ipv6 = Ipv6 {
        local: InterfaceIdentifier::new(local),
        peer: InterfaceIdentifier::new(peer),
    };
    Config {
        ipv6: Some(ipv6),
        ..config
    }
}

fn call(
    server_end: impl FnOnce(Config) -> Config,
    terminal_end: impl FnOnce(Config) -> Config,
) -> Call {
    let line = line(33_600, 60);
    let mut call = Call::new(line, server_end(server(line)), terminal_end(terminal(line)));
    call.run(MINUTE);
    call
}

/// Its own identifier and the peer's, as one end believes.
fn believed(call: &Call, end: usize) -> Option<(u64, u64)> {
    call.ends[end]
        .events
        .iter()
        .rev()
        .find_map(|(_, event)| match event {
            Event::Ipv6Up { local, peer } => Some((local.number(), peer.number())),
            _ => None,
        })
}

#[test]
fn both_ends_keep_their_identifiers_where_they_differ() {
    let call = call(|server| with(server, 1, 0), |terminal| with(terminal, 2, 0));
    assert_eq!(
        (believed(&call, SERVER), believed(&call, TERMINAL)),
        (Some((1, 2)), Some((2, 1)))
    );
    let second = InterfaceIdentifier::new(2).unwrap();
    assert_eq!(second.link_local().to_string(), "fe80::2");
}

#[test]
fn the_end_that_asks_is_told_by_either_role() {
    let told = call(|server| with(server, 1, 7), |terminal| with(terminal, 0, 0));
    assert_eq!(
        (believed(&told, SERVER), believed(&told, TERMINAL)),
        (Some((1, 7)), Some((7, 1)))
    );
    let told = call(|server| with(server, 0, 0), |terminal| with(terminal, 9, 0));
    let (own, peer) = believed(&told, SERVER).unwrap();
    assert_eq!((peer, believed(&told, TERMINAL)), (9, Some((9, own))));
}

#[test]
fn two_ends_with_the_same_identifier_come_to_different_ones() {
    let call = call(|server| with(server, 5, 0), |terminal| with(terminal, 5, 0));
    let (a, b) = (
        believed(&call, SERVER).unwrap(),
        believed(&call, TERMINAL).unwrap(),
    );
    assert_eq!(a, (b.1, b.0));
    assert_ne!(a.0, a.1);
}

#[test]
fn two_ends_that_both_ask_have_no_ipv6_and_all_the_rest() {
    let call = call(|server| with(server, 0, 0), |terminal| with(terminal, 0, 0));
    for end in &call.ends {
        assert!(
            end.network().is_some() && end.closed().is_none(),
            "{:?}",
            end.events
        );
        assert!(
            !end.events
                .iter()
                .any(|(_, event)| matches!(event, Event::Ipv6Up { .. })),
            "{:?}",
            end.events
        );
    }
}

#[test]
fn a_peer_without_ipv6_costs_one_request_and_one_reject() {
    let mut call = call(|server| with(server, 1, 2), |terminal| terminal);
    assert_eq!(believed(&call, SERVER), None);
    assert_eq!(
        call.ends[TERMINAL].session.statistics().unknown_protocols,
        1
    );
    assert_eq!(call.ends[SERVER].session.phase(), Phase::Network);
    call.handle(SERVER, Input::Packet(&[0x45; 40]));
    call.run(2 * MINUTE);
    assert_eq!(call.ends[TERMINAL].packets, [[0x45; 40]]);
}

#[test]
fn packets_of_version_6_cross_only_when_both_ends_have_agreed() {
    let mut agreed = call(|server| with(server, 1, 0), |terminal| with(terminal, 2, 0));
    agreed.handle(TERMINAL, Input::Packet(&[0x60; 48]));
    agreed.run(2 * MINUTE);
    assert_eq!(agreed.ends[SERVER].packets, [[0x60; 48]]);

    let mut not = call(|server| server, |terminal| with(terminal, 2, 0));
    not.handle(TERMINAL, Input::Packet(&[0x60; 48]));
    not.run(2 * MINUTE);
    assert_eq!(not.ends[TERMINAL].session.statistics().packets_refused, 1);
    assert!(not.ends[SERVER].packets.is_empty());
}

#[test]
fn a_link_that_ends_says_that_ipv6_is_down_first() {
    let mut call = call(|server| with(server, 1, 0), |terminal| with(terminal, 2, 0));
    call.handle(TERMINAL, Input::Close);
    call.run(2 * MINUTE);
    for end in &call.ends {
        let place =
            |wanted: fn(&Event) -> bool| end.events.iter().position(|(_, event)| wanted(event));
        let (down, closed) = (
            place(|event| matches!(event, Event::Ipv6Down)).unwrap(),
            place(|event| matches!(event, Event::Closed(_))).unwrap(),
        );
        assert!(down < closed, "{:?}", end.events);
    }
}
