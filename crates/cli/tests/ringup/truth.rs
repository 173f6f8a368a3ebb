//! What is wished of a message while it is on a line, and what its terminal refuses.

use std::time::Instant;
use std::{fs, thread};

use serde_json::Value;

use crate::chronicle::PATIENCE;
use crate::online::write_config;
use crate::village::{Plan, Village, awkward_content};

/// So slow that a long message is on the line for seconds.
const SLOW: &str = "rate = 100_000\ndelay = \"1ms\"\nring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\ntraining = \"10ms\"";

/// A village whose terminal has been reached once: its next sessions are resumed, and begin with a message in early data.
fn reached_once(plan: Plan) -> Village {
    let village = Village::found(plan);
    write_config(&village, "");
    let first = village.send("tel:301", &village.write("first", "first"));
    let visit = village
        .start("first visit", &["connect", "--config", "owner.toml"])
        .finish();
    assert_eq!(visit.code, Some(0), "{}", visit.stderr);
    village.wait_delivered(&first);
    village
}

/// Waits until this many octets of a message are at the terminal, which has not published it.
fn wait_on_the_line(village: &Village, message: &str, octets: u64) {
    let part = village
        .path("inbox/.incoming")
        .join(message)
        .join("content");
    let deadline = Instant::now() + PATIENCE;
    while !fs::metadata(&part).is_ok_and(|part| part.len() > octets) {
        assert!(Instant::now() < deadline, "it does not begin to come");
        thread::yield_now();
    }
}

fn envelope(village: &Village, message: &str) -> Value {
    village.ask(&["message", "show", message])["envelopes"][0].clone()
}

/// Submits a file, in whatever manner.
fn submitted(village: &Village, file: &str, manner: [&str; 2]) -> String {
    let server = village.submission_address();
    let to = [
        "send",
        "--json",
        "--server",
        &server,
        "--token-file",
        "token",
        "--to",
        "tel:301",
    ];
    let sent = village.run(&[&to[..], &manner, &[file]].concat());
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let accepted: Value = serde_json::from_str(&sent.stdout).unwrap();
    accepted["id"].as_str().unwrap().to_owned()
}

/// Submits under a replace key.
fn replaceable(village: &Village, file: &str) -> String {
    submitted(village, file, ["--replace", "level"])
}

/// Cancels a message that is on its way, and submits another in its stead: it arrives, and that is its verdict.
fn wish_in_vain(village: &Village, message: &str, content: &[u8]) {
    let cancelled = village.ask(&["message", "cancel", message, "--yes"]);
    assert_eq!(
        (&cancelled["cancelled"], &cancelled["under_way"]),
        (&0.into(), &1.into()),
        "{cancelled}"
    );
    let newer = replaceable(village, village.write("newer", "newer").to_str().unwrap());
    village.wait_delivered(message);
    assert!(village.received(message) == content);
    let shown = envelope(village, message);
    assert_eq!(
        (
            &shown["state"],
            &shown["deliveries"].as_array().unwrap().len()
        ),
        (&"delivered".into(), &1),
        "{shown}"
    );
    village.wait_delivered(&newer);
}

#[test]
fn on_a_resumed_call_what_is_wished_of_the_first_message_waits_for_its_receipt() {
    let village = reached_once(Plan {
        pace: SLOW,
        ..Plan::default()
    });
    let content = awkward_content(60_000);
    let _owner = village.start_owner();
    village.write("report", &content);
    let message = replaceable(&village, village.path("report").to_str().unwrap());
    wait_on_the_line(&village, &message, 1000);
    wish_in_vain(&village, &message, &content);
}

#[test]
fn over_the_internet_what_is_wished_of_the_first_message_waits_for_its_receipt() {
    let village = reached_once(Plan {
        size_max: 30_000_000,
        no_answer_after: "30s",
        ..Plan::default()
    });
    let content = awkward_content(25_000_000);
    village.write("report", &content);
    let message = replaceable(&village, village.path("report").to_str().unwrap());
    let visit = village.start("visit", &["connect", "--config", "owner.toml"]);
    wait_on_the_line(&village, &message, 1000);
    wish_in_vain(&village, &message, &content);
    assert_eq!(visit.finish().code, Some(0));
}

#[test]
fn a_server_killed_while_the_first_message_of_a_resumed_call_is_on_the_line_goes_on_where_it_was() {
    let mut village = reached_once(Plan {
        pace: SLOW,
        ..Plan::default()
    });
    let content = awkward_content(100_000);
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", &content));
    wait_on_the_line(&village, &message, 30_000);
    village.kill_server();
    village.start_server("server again");
    village
        .chronicle
        .wait_field("server again", "delivered", "message_id", &message);
    assert!(village.received(&message) == content);
    let offset = village
        .chronicle
        .wait_field("owner", "stored", "message_id", &message)
        .field("offset");
    assert!(
        offset.parse::<u64>().unwrap() >= 20_000,
        "begun anew at {offset}"
    );
    let shown = envelope(&village, &message);
    let tried = shown["deliveries"].as_array().unwrap();
    assert_eq!(
        (&tried[0]["outcome"], &tried.last().unwrap()["outcome"]),
        (&"server stopped".into(), &"delivered".into())
    );
}

#[test]
fn a_refused_message_keeps_no_other_waiting_and_its_call_is_a_good_one() {
    let village = Village::found(Plan::default());
    let config = fs::read_to_string(village.path("owner.toml")).unwrap();
    village.write(
        "owner.toml",
        format!("{config}[[inbox]]\ntopics = [\"small/#\"]\nquota = 1000\n"),
    );
    let _owner = village.start_owner();
    let send = |content: &[u8], topic: &str| {
        submitted(
            &village,
            village.write("report", content).to_str().unwrap(),
            ["--topic", topic],
        )
    };
    village.wait_delivered(&send(&awkward_content(600), "small/first"));
    let [no_room, too_large] =
        [600, 2000].map(|octets| send(&awkward_content(octets), "small/more"));
    for (message, status) in [(&no_room, "507"), (&too_large, "413")] {
        let refused = village
            .chronicle
            .wait_field("server", "refused", "message_id", message);
        assert!(refused.field("status").starts_with(status), "{refused:?}");
    }
    village.ask_until(&["message", "show", &too_large], |shown| {
        shown["envelopes"][0]["state"] == "failed"
    });
    let reason = envelope(&village, &too_large)["reason"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        reason.contains("413") && reason.contains("larger than the 1000 octets"),
        "{reason}"
    );
    let told = village.ask(&["message", "explain", &no_room]);
    let waiting = &told["envelopes"][0]["waiting"];
    assert!(
        waiting["reason"]
            .as_str()
            .unwrap()
            .contains("did not take it")
            && !waiting["next_at"].is_null(),
        "{told:#}"
    );
    // Another message goes at once, and the refused one causes no call by itself.
    let other = send(b"coin box full", "other");
    village.wait_delivered(&other);
    let calls = village.ask_until(&["call", "list"], |calls| {
        calls
            .as_array()
            .unwrap()
            .iter()
            .all(|call| !call["outcome"].is_null())
    });
    assert_eq!(calls[0]["outcome"], "1 delivered, 1 refused", "{calls:#}");
    let plan = village.ask(&["plan"]);
    assert!(
        plan["entries"][0]["why"]
            .as_str()
            .unwrap()
            .contains("refused what waits"),
        "{plan:#}"
    );
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["connection"],
        "down"
    );
}
