//! Terminals that come over their own Internet access: by themselves, or after a ring alone.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use delivery::proof::SecretKey;

use crate::chronicle::PATIENCE;
use crate::village::{CENTRE, OWNER, Plan, Village, awkward_content};

/// The owner's config, with the server's address on the Internet and a rule for the server's ring.
pub(crate) fn write_config(village: &Village, rule: &str) {
    let address = village.delivery_address();
    let text = fs::read_to_string(village.path("owner.toml")).unwrap();
    let text = text.replace("[server]", &format!("[server]\naddress = \"{address}\""));
    let text = text.replace(&format!("callers = [\"{CENTRE}\"]"), "callers = []");
    village.write(
        "owner.toml",
        format!("{text}[[terminal.caller]]\nnumber = \"{CENTRE}\"\n{rule}\n"),
    );
}

#[test]
fn a_terminal_that_connects_by_itself_gets_what_waits_without_a_call() {
    let village = Village::found(Plan {
        no_answer_after: "30s",
        ..Plan::default()
    });
    write_config(&village, "");
    for (content, resumed) in [("first", "false"), ("second", "true")] {
        let message = village.send("tel:301", &village.write("report", content));
        let visit = village
            .start(content, &["connect", "--config", "owner.toml"])
            .finish();
        assert_eq!(visit.code, Some(0), "{}", visit.stderr);
        assert_eq!(
            village
                .chronicle
                .wait(content, "server proved")
                .field("resumed"),
            resumed
        );
        village.wait_delivered(&message);
        assert_eq!(village.received(&message), content.as_bytes());
    }
    let calls = village.ask_until(&["call", "list"], |calls| {
        calls
            .as_array()
            .unwrap()
            .iter()
            .filter(|call| call["line"] == "internet" && !call["outcome"].is_null())
            .count()
            == 2
    });
    let online = calls
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["line"] == "internet")
        .unwrap();
    assert_eq!(
        (&online["outcome"], &online["number"]),
        (&"completed".into(), &OWNER.into())
    );
    let octets = |way: &str| online[way].as_u64().unwrap();
    assert!(
        octets("octets_out") > 100 && octets("octets_in") > 100,
        "a handshake has more: {online:#}"
    );
}

#[test]
fn a_large_content_is_never_whole_in_the_servers_memory() {
    let village = Village::found(Plan {
        size_max: 60_000_000,
        no_answer_after: "30s",
        ..Plan::default()
    });
    write_config(&village, "");
    village.ask(&["terminal", "add", "archive", "--address", "10.77.0.9"]);
    village.ask(&[
        "provider",
        "add",
        "owners",
        "--may-send",
        "terminal:archive",
    ]);
    let may = village.run(&[
        "terminal",
        "sends-as",
        "owner",
        "owners",
        "--config",
        "server.toml",
    ]);
    assert_eq!(may.code, Some(0), "{}", may.stderr);
    let content = awkward_content(60_000_000);
    let large = village.write("large", &content);
    let before = village.server_memory_peak();

    let message = village.send("tel:301", &large);
    let outbox_add = [
        "outbox",
        "add",
        "--keep",
        "--to",
        "terminal:archive",
        "--config",
        "owner.toml",
        "large",
    ];
    assert_eq!(village.run(&outbox_add).code, Some(0));
    let visit = village
        .start("owner", &["connect", "--config", "owner.toml"])
        .finish();
    assert_eq!(visit.code, Some(0), "{}", visit.stderr);
    village.wait_delivered(&message);
    assert!(village.received(&message) == content);
    let taken = village.ask_until(&["message", "list"], |taken| {
        taken.as_array().unwrap().len() == 2
    });
    assert_eq!(taken[0]["size"], 60_000_000, "{taken:#}");

    // Packing it is tried, which takes some 20 MB.
    let more = village.server_memory_peak() - before;
    assert!(more < content.len() / 2, "{more} octets more");
}

#[test]
fn a_ring_that_says_connect_is_not_answered_and_the_message_comes_over_the_internet() {
    let village = Village::found(Plan {
        no_answer_after: "30s",
        ..Plan::default()
    });
    write_config(&village, "action = \"connect\"");
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(village.received(&message), b"coin box full");
    let notice = village
        .chronicle
        .wait_field("server", "connected notice", "reason", "rung");
    assert_eq!(notice.field("terminal"), "owner");
    // No answer, so no cost.
    assert!(
        village
            .exchange_calls_so_far()
            .iter()
            .all(|call| call["outcome"] != "completed")
    );
}

const RUNG_OWNER: &str = "[[conditions]]\nterminals = [\"owner\"]\nlines = [\"line-1\"]";

#[test]
fn a_line_that_only_rings_brings_the_terminal_over_the_internet_and_nobody_pays() {
    let village = Village::found(Plan {
        line_more: "ring_only = \"2s\"",
        server_more: RUNG_OWNER,
        no_answer_after: "30s",
        ..Plan::default()
    });
    write_config(&village, "action = \"connect\"");
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(village.received(&message), b"coin box full");
    let calls = village.ask_until(&["call", "list"], |calls| {
        calls
            .as_array()
            .unwrap()
            .iter()
            .filter(|call| !call["outcome"].is_null())
            .count()
            == 2
    });
    let outcome = |line: &str| {
        calls
            .as_array()
            .unwrap()
            .iter()
            .find(|call| call["line"] == line)
            .map(|call| call["outcome"].clone())
    };
    assert_eq!(
        (outcome("line-1"), outcome("internet")),
        (Some("rung".into()), Some("completed".into()))
    );
    assert!(village.exchange_calls(1)[0]["outcome"] != "completed");
}

#[test]
fn a_line_at_a_dial_up_server_that_only_rings_brings_the_terminal_over_the_internet_and_nobody_pays()
 {
    let village = Village::found(Plan {
        line_more: "ring_only = \"2m\"",
        line_away: ", ring_only = true",
        server_more: "[[conditions]]\nterminals = [\"owner\"]\nlines = [\"pop-1.line-1\"]",
        no_answer_after: "5m",
        ..Plan::at(&[CENTRE])
    });
    write_config(&village, "action = \"connect\"");
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(village.received(&message), b"coin box full");
    let calls = village.server_calls(2);
    let outcome = |line: &str| {
        calls
            .iter()
            .find(|call| call["line"] == line)
            .map(|call| call["outcome"].clone())
    };
    assert_eq!(
        (outcome("pop-1.line-1"), outcome("internet")),
        (Some("rung".into()), Some("completed".into()))
    );
    let rung = &village.exchange_calls(1)[0];
    assert_eq!(
        (rung["outcome"].as_str(), rung["billed_seconds"].as_u64()),
        (Some("abandoned"), Some(0)),
        "{rung}"
    );
}

#[test]
fn a_terminal_that_does_not_come_after_a_ring_is_rung_again_and_the_record_says_so() {
    let line_more = "ring_only = \"1s\"";
    let village = Village::found(Plan {
        line_more,
        server_more: RUNG_OWNER,
        session_wait: "300ms",
        ..Plan::default()
    });
    village.send("tel:301", &village.write("report", "coin box full"));
    village.chronicle.wait("server", "rung, no session");
    village.chronicle.wait_nth("server", "calling", 2);
    let calls = village.ask(&["call", "list"]);
    assert_eq!(
        calls.as_array().unwrap().last().unwrap()["outcome"],
        "rung, no session"
    );
}

#[test]
fn whoever_knocks_at_the_delivery_port_without_a_key_is_told_nothing_and_changes_nothing() {
    let village = Village::found(Plan::default());
    let id = village.ask(&["terminal", "show", "owner"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let tls_garbage = format!("ringup/1 {id} online\n\u{16}\u{3}\u{1}not a handshake");
    let stranger = "ringup/1 AAAAAAAAAAA online\n";
    for said in [
        "GET / HTTP/1.1\r\n\r\n",
        "ringup/2 AAAAAAAAAAA online\n",
        stranger,
        &tls_garbage,
    ] {
        let mut stream = TcpStream::connect(village.delivery_address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard); // closed, or reset with what we said unread
        // To whoever names a terminal the server begins to prove itself; to anybody else it says nothing at all.
        let is_hello = heard.first() == Some(&0x16) && said.contains(&id);
        assert!(heard.is_empty() || is_hello, "{said:?}: {heard:?}");
    }
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["connection"],
        "down"
    );
    assert_eq!(
        village.ask(&["call", "list"]).as_array().unwrap().len(),
        0,
        "no record for strangers"
    );
}

#[test]
fn whoever_fails_three_times_to_be_a_terminal_raises_an_alarm_and_does_not_keep_the_terminal_out() {
    let village = Village::found(Plan::default());
    write_config(&village, "");
    assert_eq!(
        village
            .start("owner enrols", &["connect", "--config", "owner.toml"])
            .finish()
            .code,
        Some(0)
    );
    let id = village.ask(&["terminal", "show", "owner"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let try_it = || {
        let mut stream = TcpStream::connect(village.delivery_address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(format!("ringup/1 {id} online\n\u{16}\u{3}\u{1}not a handshake").as_bytes())
            .unwrap();
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard); // closed, or reset with what we said unread
        heard.len()
    };
    for nth in 1..=3 {
        try_it();
        village.chronicle.wait_nth("server", "not admitted", nth);
    }
    assert_eq!(
        village.chronicle.said("server", "nothing more").len(),
        1,
        "it was said to the terminal alone"
    );
    let notices = village.chronicle.said("server", "connected notice");
    assert_eq!(
        notices.len(),
        1,
        "strangers have nothing logged but warnings, which are limited: {notices:?}"
    );
    let alarms = village.ask_until(&["alarm", "list"], |alarms| {
        !alarms.as_array().unwrap().is_empty()
    });
    assert_eq!(alarms[0]["kind"], "unproved-callers", "{alarms:#}");
    assert!(
        try_it() > 0,
        "it is spaced, and heard for a moment: it may be the terminal"
    );
    let visit = village
        .start("owner", &["connect", "--config", "owner.toml"])
        .finish();
    assert_eq!(visit.code, Some(0), "{}", visit.stderr);
    village.ask_until(&["alarm", "list"], |alarms| {
        alarms.as_array().unwrap().is_empty()
    });
}

#[test]
fn an_operator_who_takes_trust_away_ends_the_session_that_is_open() {
    let key = SecretKey::generate().unwrap().public().to_string();
    let register = [
        "terminal",
        "register",
        "owner",
        "--key",
        &key,
        "--config",
        "server.toml",
    ];
    for (verb, why) in [
        (
            &[
                "terminal",
                "shut-out",
                "owner",
                "--yes",
                "--config",
                "server.toml",
            ][..],
            "shut out",
        ),
        (&register, "its key was replaced"),
        (
            &[
                "terminal",
                "remove",
                "owner",
                "--yes",
                "--config",
                "server.toml",
            ],
            "removed",
        ),
    ] {
        let village = Village::found(Plan {
            linger: "59s",
            ..Plan::default()
        });
        write_config(&village, "");
        let visit = village.start("owner", &["connect", "--config", "owner.toml"]);
        village.chronicle.wait("server", "nothing more");
        let done = village.run(verb);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let ended = village.chronicle.wait("server", "session ended");
        assert_eq!(
            ended.field("outcome"),
            format!("ended by the operator: {why}")
        );
        visit.finish();
        if why != "removed" {
            village.send(
                "tel:301",
                &village.write("report", "for nobody who was there"),
            );
            assert_ne!(
                village.ask(&["terminal", "show", "owner"])["connection"],
                "connected"
            );
        }
        assert!(village.inbox().is_empty());
    }
}

#[test]
fn a_terminal_that_connects_anew_replaces_its_old_connection() {
    let village = Village::found(Plan {
        linger: "59s",
        ..Plan::default()
    });
    write_config(&village, "");
    let old = village.start("old", &["connect", "--config", "owner.toml"]);
    village.chronicle.wait("server", "nothing more");
    let new = village.start("new", &["connect", "--config", "owner.toml"]);
    let ended = village.chronicle.wait("server", "session ended");
    assert_eq!(ended.field("outcome"), "replaced by another connection");
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert!(
        village.exchange_calls_so_far().is_empty(),
        "connected, so nobody called"
    );
    old.kill();
    new.kill();
}
