//! Calls on which PPP never comes up.

use crate::village::{CENTRE, OWNER, Plan, VENDING, Village};

/// What comes on a line before, or instead of, PPP.
const GARBAGE: &[u8] = b"\r\nLinux 2.4 ttyS0\r\n\r\nlogin: \x7e\x7e\xff\x03\xc0\x21\x01\x01\xff\xff\x7e\x00\x7d\x7e{{{";

/// A configure request as of any PPP peer, and then no more.
const HALF_OF_PPP: &[u8] = b"\x7e\xff\x7d\x23\xc0\x21\x7d\x21\x7d\x21\x7d\x20\x7d\x24";

#[test]
fn a_caller_that_hangs_up_in_mid_ppp_leaves_the_terminal_waiting_and_the_next_call_succeeds() {
    let strangers = &[("666", "presents = \"201\"")];
    let village = Village::found(Plan {
        strangers,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    for (count, words) in [(1, GARBAGE), (2, HALF_OF_PPP), (3, b"")] {
        let mut typist = village.typist("666");
        assert!(typist.dial(OWNER).starts_with("CONNECT"));
        typist.say(words);
        village.chronicle.wait_nth("owner", "answered", count);
        drop(typist);
        village
            .chronicle
            .wait_nth("owner", "waiting for calls", count + 1);
    }
    let ends = village.chronicle.said("owner", "waiting again");
    assert_eq!(
        ends.iter()
            .map(|end| end.field("outcome"))
            .collect::<Vec<_>>(),
        ["call failed"; 3]
    );
    assert_eq!(village.inbox(), [""; 0]);

    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(village.received(&message), b"coin box full");
}

#[test]
fn a_provider_that_hangs_up_in_mid_ppp_leaves_the_servers_line_ready_for_the_next_call() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    for (count, words) in [(1, GARBAGE), (2, HALF_OF_PPP)] {
        let mut typist = village.typist(VENDING);
        assert!(typist.dial(CENTRE).starts_with("CONNECT"));
        typist.say(words);
        village
            .chronicle
            .wait_nth("server", "call connected", count);
        drop(typist);
        village
            .chronicle
            .wait_nth("server", "line ready", count + 1);
    }
    for call in village.server_calls(2) {
        assert!(
            call["outcome"].as_str().unwrap().starts_with("link failed"),
            "{call}"
        );
    }
    let message = village.dial_in("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(village.received(&message), b"coin box full");
}
