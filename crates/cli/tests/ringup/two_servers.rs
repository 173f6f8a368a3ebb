//! Flow B of the design, section 2: an information server and separate dial-up servers, as processes of their own.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::liar::Liar;
use crate::proof::stranger_with_a_key;
use crate::village::{OWNER, Plan, Village, awkward_content};

const ONE: Plan = Plan::at(&["201"]);
const TWO: Plan = Plan::at(&["201", "202"]);

#[test]
fn what_a_provider_submits_reaches_a_terminal_that_a_separate_dial_up_server_calls() {
    let village = Village::found(ONE);
    let _owner = village.start_owner();
    let content = awkward_content(200_000);
    let file = village.write("photo", &content);
    let id = village.send("terminal:owner", &file);
    village.wait_delivered(&id);
    assert_eq!(village.received(&id), content);
    let report = village.chronicle.wait("server", "completion report");
    assert_eq!(report.field("port"), "7411");
    let calls = village.server_calls(1);
    assert_eq!(
        (calls[0]["line"].as_str(), calls[0]["outcome"].as_str()),
        (Some("pop-1.line-1"), Some("completed"))
    );
    assert!(
        calls[0]["octets_out"].as_u64().unwrap() > 200_000,
        "{calls:#?}"
    );
    assert_eq!(village.exchange_calls(1)[0]["outcome"], "completed");
    // What a dial-up server keeps: its key, the lock of the folder, its operator's socket, and no call that is settled.
    village.chronicle.wait("pop-1", "call ended");
    let kept: Vec<_> = std::fs::read_dir(village.path("pop-1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(kept.len(), 4, "{kept:?}");
}

#[test]
fn a_provider_dials_in_at_one_dial_up_server_and_its_message_goes_out_through_any() {
    let village = Village::found(TWO);
    let _owner = village.start_owner();
    let file = village.write("report", "coin box full");
    let id = village.dial_in("tel:301", &file);
    village.wait_delivered(&id);
    assert_eq!(village.received(&id), b"coin box full");
    let calls = village.server_calls(2);
    let came_in = calls
        .iter()
        .find(|call| call["direction"] == "incoming")
        .expect("the vending machine's");
    assert_eq!(
        (came_in["line"].as_str(), came_in["party"].as_str()),
        (Some("pop-1.line-1"), Some("vending"))
    );
    assert_eq!(came_in["outcome"], "completed");
    village.exchange_calls(2);
}

#[test]
fn a_stranger_is_not_answered_by_a_dial_up_server() {
    let village = Village::found(Plan {
        strangers: &[("666", "")],
        ..ONE
    });
    let mut stranger = village.typist("666");
    let dialled = stranger.dial("201");
    assert!(dialled.contains("NO "), "{dialled}");
    let refused = village.chronicle.wait("server", "ring not answered");
    assert_eq!(refused.field("line"), "pop-1.line-1");
    village.chronicle.wait("pop-1", "ring not answered");
    assert_eq!(village.exchange_calls(1)[0]["outcome"], "no_answer");
}

#[test]
fn a_dial_up_server_that_is_gone_is_one_alarm_and_calls_go_through_the_other() {
    let mut village = Village::found(TWO);
    let _owner = village.start_owner();
    village.kill_pop(0);
    village
        .chronicle
        .wait_field("server", "alarm raised", "subject", "pop-1");
    let file = village.write("report", "coin box full");
    let id = village.send("terminal:owner", &file);
    village.wait_delivered(&id);
    assert_eq!(village.server_calls(1)[0]["line"], "pop-2.line-1");
    village.start_pop(0, "pop-1 again");
    village.ask_until(&["alarm", "list"], |alarms| {
        alarms.as_array().unwrap().is_empty()
    });
}

#[test]
fn who_speaks_for_a_dial_up_server_without_its_key_gets_no_trunk_and_raises_an_alarm() {
    let village = Village::found(ONE);
    let _owner = village.start_owner();
    let text = std::fs::read_to_string(village.path("pop-1.toml")).unwrap();
    village.write(
        "liar.toml",
        text.replacen("state = \"pop-1\"", "state = \"liar\"", 1)
            .replace("201", "401"),
    );
    let _liar = village.start("liar", &["serve", "--config", "liar.toml"]);
    let alarm = village
        .chronicle
        .wait_field("server", "alarm raised", "kind", "unproved-callers");
    assert_eq!(alarm.field("subject"), "pop-1");
    assert!(village.chronicle.said("liar", "trunk up").is_empty());
    let alarms = village.ask(&["alarm", "list"]);
    assert!(
        !alarms.to_string().contains("dialup-server-lies"),
        "the real one has said nothing wrong: {alarms}"
    );
    let id = village.send("terminal:owner", &village.write("report", "coin box full"));
    village.wait_delivered(&id);
    assert_eq!(
        village.server_calls(1)[0]["line"],
        "pop-1.line-1",
        "the real one goes on"
    );
}

#[test]
fn a_dial_up_server_that_lies_about_a_call_settles_no_message_and_another_delivers_it() {
    let mut village = Village::found(TWO);
    let _owner = village.start_owner();
    village.kill_pop(0);
    village.kill_pop(1);
    for pop in ["pop-1", "pop-2"] {
        village
            .chronicle
            .wait_field("server", "alarm raised", "subject", pop);
    }
    let mut liar = Liar::replace(&village, "pop-1");
    let id = village.send("terminal:owner", &village.write("report", "coin box full"));
    let call = liar.asked("PUT", "");
    let up = json!({"up": {"rate_bps": 33600, "address": "10.77.0.2", "octets_out": 200, "octets_in": 200, "flights": 4}});
    let ended = |lasted_ms: u32| {
        json!({"ended": {
            "how": "closed", "why": "all is well", "connected_at": "2026-11-23T00:00:00Z", "ended_at": "2026-11-23T00:00:01Z",
            "lasted_ms": lasted_ms, "octets_out": 5000, "octets_in": 5000,
        }})
    };
    // Up, ended in order, and ended otherwise.
    let lies =
        [json!("begun"), up, ended(1000), ended(999)].map(|state| Liar::of_call(&call, state));
    liar.say(&lies);
    let alarm =
        village
            .chronicle
            .wait_field("server", "alarm raised", "kind", "dialup-server-lies");
    assert_eq!(alarm.field("subject"), "pop-1");
    assert_eq!(liar.asked("POST", "/settled"), call);
    let shown = village.ask(&["message", "show", &id]);
    assert!(shown["envelopes"][0]["verdict"].is_null(), "{shown}");
    drop(liar);
    village.start_pop(1, "pop-2 again");
    village.wait_delivered(&id);
    assert_eq!(village.received(&id), b"coin box full");
    let calls = village.ask_until(&["call", "list"], |calls| calls[0]["outcome"].is_string());
    let calls = calls.as_array().unwrap();
    assert_eq!(
        (calls[0]["line"].as_str(), calls[0]["outcome"].as_str()),
        (Some("pop-2.line-1"), Some("completed"))
    );
    let lied = calls.last().unwrap();
    assert_eq!(lied["line"], "pop-1.line-1");
    assert!(
        lied["outcome"]
            .as_str()
            .unwrap()
            .starts_with("link ended: "),
        "{lied}"
    );
    assert_eq!(
        village.exchange_calls(1)[0]["caller"],
        "202",
        "the liar has dialled nobody"
    );
}

#[test]
fn a_dial_up_server_sees_neither_content_nor_key() {
    let mut village = Village::found(ONE);
    let _owner = village.start_owner();
    village.kill_pop(0);
    village.start_pop_with(0, "pop-1 again", &["--capture", "links.pcap"]);
    let content = b"nobody between the two ends reads this".repeat(20);
    let id = village.send("terminal:owner", &village.write("secret", &content));
    village.wait_delivered(&id);
    village.exchange_calls(1);
    let captured = std::fs::read(village.path("links.pcap")).unwrap();
    let has = |octets: &[u8]| {
        captured
            .windows(octets.len())
            .any(|window| window == octets)
    };
    assert!(has(b"ringup/1 "), "the connected notice is in clear");
    assert!(!has(&content[..38]));
}

#[test]
fn a_forged_proxy_header_on_the_delivery_port_is_no_connected_notice() {
    let village = Village::found(ONE);
    // Signature, version, family, length and addresses; a call id; and a notice that would be good without them.
    let mut forged = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x25".to_vec();
    forged.extend([10, 77, 0, 2, 10, 77, 0, 1, 0, 0, 0x1c, 0xf3, 0xe0, 0, 22]);
    forged.extend(b"AZ2uAAAAcAAAgAAAAAAAAA");
    let owner = village.ask(&["terminal", "show", "owner"]);
    forged.extend(format!("ringup/1 {} called\n", owner["id"].as_str().unwrap()).bytes());
    let mut stream = TcpStream::connect(village.delivery_address()).unwrap();
    stream.write_all(&forged).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // closed, or reset for what was not read
    assert_eq!(answer, b"");
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["connection"],
        owner["connection"]
    );
    assert_eq!(
        village.chronicle.said("server", "completion report").len(),
        0
    );
    assert_eq!(owner["number"], OWNER);
}

#[test]
fn a_call_that_is_up_when_either_server_is_killed_is_hung_up_and_what_it_carried_comes_on_the_next()
{
    let mut village = Village::found(Plan {
        linger: crate::village::FOR_EVER,
        ..ONE
    });
    let _owner = village.start_owner();
    let first = village.send("terminal:owner", &village.write("first", "first"));
    village.wait_delivered(&first);
    // The terminal lingers: the call is up.
    village.kill_pop(0);
    village.start_pop(0, "pop-1 again");
    village.ask_until(&["call", "list"], |calls| calls[0]["outcome"].is_string());
    let second = village.send("terminal:owner", &village.write("second", "second"));
    village.wait_delivered(&second);
    village.kill_server();
    village.chronicle.wait("pop-1 again", "trunk lost");
    village.start_server("server again");
    // The record that the new process asked for, not what it would say of a call that nobody knows.
    let calls = village.ask_until(&["call", "list"], |calls| {
        let outcome = calls[0]["outcome"].as_str().unwrap_or("server stopped");
        outcome != "server stopped"
    });
    let said = calls[0]["outcome"].as_str().unwrap();
    assert!(said.starts_with("link ended: "), "{said}");
    assert!(calls[0]["octets_out"].as_u64().unwrap() > 0, "{calls:#}");
    // The terminal may have been called while it was hanging up: each call of the exchange's is one of the server's.
    let recorded = calls
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["outcome"] != "line taken")
        .count();
    village.exchange_calls(recorded);
}

#[test]
fn a_stranger_on_a_line_of_a_dial_up_server_is_no_terminal_while_an_invitation_is_out() {
    let village = Village::found(Plan {
        strangers: &[("601", "presents = \"301\"")],
        ..ONE
    });
    stranger_with_a_key(&village, "601");
    let ended = village.chronicle.wait("server", "call ended");
    assert_eq!(ended.field("outcome"), "not proved: no proof in time");
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["connection"],
        "down"
    );
    // Its failure is not the terminal's, and what it was is not remembered for it: the terminal comes, and is enrolled.
    let _owner = village.start_owner();
    let id = village.send("terminal:owner", &village.write("report", "coin box full"));
    village.wait_delivered(&id);
    assert_eq!(village.received(&id), b"coin box full");
}

#[test]
fn a_terminal_on_a_line_of_a_dial_up_server_is_hung_up_when_it_is_shut_out_or_removed() {
    for verb in ["shut-out", "remove"] {
        let village = Village::found(Plan {
            linger: crate::village::FOR_EVER,
            ..ONE
        });
        let _owner = village.start_owner();
        let first = village.send("terminal:owner", &village.write("report", "first"));
        village.wait_delivered(&first);
        village.chronicle.wait("server", "nothing more");
        let done = village.run(&[
            "terminal",
            verb,
            "owner",
            "--yes",
            "--config",
            "server.toml",
        ]);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let ended = village.chronicle.wait("server", "call ended");
        let why = if verb == "remove" {
            "removed"
        } else {
            "shut out"
        };
        assert_eq!(
            ended.field("outcome"),
            format!("ended by the operator: {why}")
        );
        village.exchange_calls(1);
        assert_eq!(village.inbox(), [first]);
    }
}
