//! Who is told where names are resolved.

use std::net::Ipv4Addr;
use std::time::Duration;

use ringup_ppp::{Config, LocalAddress, NameServers};

use crate::call::{Call, SERVER, TERMINAL, TERMINAL_ADDRESS, line, server, terminal};

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 53);
const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// What the terminal learns, and when its network is up in ms, on a line that only has 100 ms of delay.
fn learned(gives: NameServers, asks: NameServers) -> ([Option<Ipv4Addr>; 2], u128) {
    let line = line(1_000_000_000, 100);
    let server = Config {
        name_servers: gives,
        ..server(line)
    };
    let terminal = Config {
        name_servers: asks,
        local: LocalAddress::Ask(Some(TERMINAL_ADDRESS)),
        ..terminal(line)
    };
    let mut call = Call::new(line, server, terminal);
    call.run(Duration::from_secs(60));
    assert!(call.ends.iter().all(|end| end.network().is_some()));
    assert_eq!(call.ends[SERVER].session.name_servers(), [None; 2]);
    let up = call.ends[TERMINAL]
        .up_after()
        .map_or(0, |up| up.as_millis());
    (call.ends[TERMINAL].session.name_servers(), up)
}

#[test]
fn a_terminal_that_asks_is_told_and_one_that_knew_saves_the_round_trip() {
    let gives = NameServers::Give {
        first: FIRST,
        second: Some(SECOND),
    };
    let both = [Some(FIRST), Some(SECOND)];
    assert_eq!(learned(gives, NameServers::Ask([None; 2])), (both, 600));
    assert_eq!(learned(gives, NameServers::Ask(both)), (both, 400));
    assert_eq!(
        learned(gives, NameServers::Ask([Some(SECOND), Some(SECOND)])),
        (both, 600)
    );
}

#[test]
fn a_server_with_one_name_server_or_none_rejects_what_it_lacks() {
    let ask = NameServers::Ask([None; 2]);
    // The first Reject, then the Nak.
    assert_eq!(
        learned(
            NameServers::Give {
                first: FIRST,
                second: None
            },
            ask
        ),
        ([Some(FIRST), None], 800)
    );
    assert_eq!(learned(NameServers::Nothing, ask), ([None; 2], 600));
    assert_eq!(
        learned(
            NameServers::Give {
                first: UNSPECIFIED,
                second: Some(UNSPECIFIED)
            },
            ask
        ),
        ([None; 2], 600)
    );
}

#[test]
fn a_terminal_that_does_not_ask_learns_nothing_and_waits_for_nothing() {
    let gives = NameServers::Give {
        first: FIRST,
        second: Some(SECOND),
    };
    assert_eq!(learned(gives, NameServers::Nothing), ([None; 2], 400));
}

#[test]
fn two_ends_that_both_ask_tell_each_other_nothing_and_are_up() {
    assert_eq!(
        learned(
            NameServers::Ask([None; 2]),
            NameServers::Ask([Some(FIRST), None])
        ),
        ([None; 2], 600)
    );
}
