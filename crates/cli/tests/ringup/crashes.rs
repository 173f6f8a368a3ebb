//! What a `kill -9` costs.

use rustix::process::{Signal, kill_process};

use crate::chronicle::PATIENCE;
use crate::village::{FOR_EVER, Plan, Village, awkward_content};

#[test]
fn a_server_killed_between_accept_and_delivery_loses_nothing() {
    let mut village = Village::found(Plan {
        no_answer_after: "1s",
        ..Plan::default()
    });
    let (small, large) = (awkward_content(500), awkward_content(100_000));
    // No starter runs at the terminal's modem.
    let messages = [
        village.send("tel:301", &village.write("report", &small)),
        village.send("tel:301", &village.write("report", &large)),
    ];
    village.kill_server();
    village.start_server("server again");
    for message in &messages {
        assert_eq!(
            village.ask(&["message", "show", message])["envelopes"][0]["state"],
            "waiting"
        );
    }
    let _owner = village.start_owner();
    for (message, content) in messages.iter().zip([small, large]) {
        village
            .chronicle
            .wait_field("server again", "delivered", "message_id", message);
        assert!(village.received(message) == content);
        let shown = village.ask(&["message", "show", message]);
        let envelopes = shown["envelopes"].as_array().unwrap();
        assert_eq!(
            (envelopes.len(), &envelopes[0]["state"]),
            (1, &"delivered".into()),
            "exactly one verdict"
        );
    }
    assert_eq!(village.chronicle.said("server again", "delivered").len(), 2);
    assert_eq!(village.inbox().len(), 2);
}

#[test]
fn a_server_killed_in_mid_call_leaves_no_record_open_and_calls_again() {
    let mut village = Village::found(Plan {
        linger: FOR_EVER,
        ..Plan::default()
    });
    let owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&first);
    let [answer] = owner.children()[..] else {
        panic!("one program decides about one call")
    };
    kill_process(answer, Signal::STOP).unwrap(); // so that no receipt can come
    let second = village.send("tel:301", &village.write("report", "second"));
    village.kill_server();
    kill_process(answer, Signal::CONT).unwrap();

    village.start_server("server again");
    village
        .chronicle
        .wait_field("server again", "delivered", "message_id", &second);
    assert_eq!(village.received(&second), b"second");
    let calls = village.ask(&["call", "list"]);
    let outcomes = calls
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["outcome"].as_str())
        .collect::<Vec<_>>();
    assert_eq!(
        outcomes.last(),
        Some(&Some("server stopped")),
        "{outcomes:?}"
    );
    assert_eq!(village.inbox().len(), 2);
}

#[test]
fn a_modem_that_is_unplugged_and_plugged_in_again_is_back_in_service() {
    let mut village = Village::found(Plan::default());
    let owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&first);
    village.chronicle.wait_nth("server", "line ready", 2);
    owner.kill(); // udev ends the starter with its device, and starts it with the next
    village.replug("exchange again");
    village
        .chronicle
        .wait_field("server", "alarm cleared", "kind", "line-out-of-order");
    let _owner = village.start(
        "owner again",
        &["wait", "--line", "lines/301", "--config", "owner.toml"],
    );
    village.chronicle.wait("owner again", "waiting for calls");
    let second = village.send("tel:301", &village.write("report", "second"));
    village.wait_delivered(&second);
    assert_eq!(village.received(&second), b"second");
    assert_eq!(
        village.chronicle.said("server", "alarm raised").len(),
        1,
        "one alarm, however often it is tried"
    );
    assert_eq!(
        village.ask(&["alarm", "list"]).as_array().unwrap().len(),
        0,
        "and it is cleared"
    );
    let alarms = village.ask(&["alarm", "list", "--cleared"]);
    assert_eq!(
        (&alarms[0]["kind"], &alarms[0]["subject"]),
        (&"line-out-of-order".into(), &"line-1".into()),
        "{alarms:#}"
    );
}

/// The line has carried at most a quarter more than the content, over all calls.
fn assert_carried(village: &Village, content: usize) {
    let carried: u64 = village
        .exchange_calls_so_far()
        .iter()
        .map(|call| call["octets_from_caller"].as_u64().unwrap())
        .sum();
    let ratio = carried as f64 / content as f64;
    println!("carried {carried} octets for {content}: {ratio:.3}");
    assert!(ratio <= 1.25, "{carried} octets for {content}");
}

#[test]
fn a_message_that_advances_with_each_call_arrives_however_often_the_line_drops() {
    // More broken calls than a message is given that does not advance.
    let owner_line = "cut_after_octets = 30_000";
    let village = Village::found(Plan {
        owner_line,
        retry_more: "redials_within = \"0s\"",
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let content = awkward_content(420_000);
    let message = village.send("tel:301", &village.write("report", &content));
    let deadline = std::time::Instant::now() + 3 * PATIENCE;
    while village.chronicle.said("server", "delivered").is_empty() {
        assert!(std::time::Instant::now() < deadline, "it has not arrived");
        let known = village.chronicle.said("server", "call ended").len();
        village
            .chronicle
            .wait_nth("server", "call ended", known + 1);
    }
    assert!(village.received(&message) == content);
    assert!(
        village.chronicle.said("server", "resuming").len() > 12,
        "it was given up before"
    );
    assert_carried(&village, content.len());
}

#[test]
fn a_long_message_goes_on_where_the_line_was_cut() {
    let village = Village::found(Plan {
        owner_line: "cut_after_octets = 100_000",
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let content = awkward_content(500_000);
    let message = village.send("tel:301", &village.write("report", &content));
    village.wait_delivered(&message);
    assert!(village.received(&message) == content);
    let calls = village.ask_until(&["call", "list"], |calls| {
        calls
            .as_array()
            .unwrap()
            .iter()
            .all(|call| !call["outcome"].is_null())
    });
    // A call that comes while the starter still sees to its modem after the last one is not answered.
    let calls: Vec<_> = calls
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| !call["connected_at"].is_null())
        .collect();
    assert!((6..=8).contains(&calls.len()), "{calls:#?}");
    let sent: u64 = calls
        .iter()
        .map(|call| call["octets_out"].as_u64().unwrap())
        .sum();
    // What buffers hold at each cut never crosses the line: 40 KB at 1 Mbit/s.
    assert!(sent < 900_000, "{sent} octets for 500,000");
    assert_carried(&village, content.len());
    assert!(village.chronicle.said("server", "resuming").len() >= 4);
}

/// `RINGUP_LONG_OCTETS`: soak has 5 MiB, which take minutes.
#[test]
fn a_long_message_arrives_over_a_line_that_drops_every_100_kb() {
    let octets = std::env::var("RINGUP_LONG_OCTETS")
        .map_or(300_000, |octets| octets.parse().expect("octets"));
    let retry_more = "redials_within = \"0s\"";
    let owner_line = "cut_after_octets = 100_000";
    let village = Village::found(Plan {
        owner_line,
        retry_more,
        size_max: 6_000_000,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let content = awkward_content(octets);
    let message = village.send("tel:301", &village.write("report", &content));
    let deadline = std::time::Instant::now() + 20 * PATIENCE;
    while village.chronicle.said("server", "delivered").is_empty() {
        assert!(std::time::Instant::now() < deadline, "it has not arrived");
        let known = village.chronicle.said("server", "call ended").len();
        village
            .chronicle
            .wait_nth("server", "call ended", known + 1);
    }
    assert!(village.received(&message) == content);
    let is_over = |call: &serde_json::Value| !call["outcome"].is_null();
    village.ask_until(&["call", "list"], |calls| {
        calls.as_array().unwrap().iter().all(is_over)
    });
    assert_carried(&village, content.len());
}

#[test]
fn an_answer_program_killed_in_mid_call_leaves_the_starter_waiting_and_the_modem_usable() {
    let village = Village::found(Plan {
        linger: FOR_EVER,
        ..Plan::default()
    });
    let owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    let call = village.wait_delivered(&first).field("call");
    let [answer] = owner.children()[..] else {
        panic!("one program decides about one call")
    };
    kill_process(answer, Signal::STOP).unwrap(); // so that no receipt can come
    let content = awkward_content(100_000);
    let second = village.send("tel:301", &village.write("report", &content));
    kill_process(answer, Signal::KILL).unwrap();

    assert_eq!(
        village
            .chronicle
            .wait("owner", "waiting again")
            .field("outcome"),
        "killed"
    );
    village.chronicle.wait_nth("owner", "waiting for calls", 2);
    let next_call = village.wait_delivered(&second).field("call");
    assert_ne!(next_call, call);
    assert!(village.received(&second) == content);
    assert_eq!(village.inbox().len(), 2);
    // The first call is over at the exchange: it costs nothing more.
    village.chronicle.wait("exchange", "call ended");
}
