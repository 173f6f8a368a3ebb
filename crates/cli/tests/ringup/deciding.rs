//! What a provider says of its message, and what the operator does with it: rights, keys, verdicts, the store itself.

use serde_json::Value;

use crate::village::{Plan, Village, awkward_content};

/// Sends with more arguments; gives what was printed.
fn send(village: &Village, more: &[&str]) -> crate::process::Finished {
    let address = village.submission_address();
    let send = [
        "send",
        "--json",
        "--server",
        &address,
        "--token-file",
        "token",
        "--to",
        "tel:301",
    ];
    village.run(&[&send, more, &["report"]].concat())
}

fn id(finished: &crate::process::Finished) -> String {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let accepted: Value = serde_json::from_str(&finished.stdout).unwrap();
    accepted["id"].as_str().unwrap().to_owned()
}

fn state(village: &Village, message: &str) -> Value {
    village.ask(&["message", "show", message])["envelopes"][0]["state"].clone()
}

#[test]
fn what_is_urgent_arrives_first_what_is_replaced_or_cancelled_never_and_each_has_its_verdict() {
    let village = Village::found(Plan {
        no_answer_after: "1s",
        ..Plan::default()
    });
    // Several portions each: short ones go together, and are received as the terminal's disk has it.
    village.write("report", awkward_content(50_000));
    // No starter runs at the terminal's modem yet.
    let bulk = id(&send(&village, &["--urgency", "bulk"]));
    let older = id(&send(&village, &["--replace", "level"]));
    let newer = id(&send(&village, &["--replace", "level", "--expires", "2h"]));
    let once = id(&send(&village, &["--idempotency-key", "sale 17"]));
    let again = id(&send(&village, &["--idempotency-key", "sale 17"]));
    let urgent = id(&send(&village, &["--urgency", "urgent"]));
    let unwanted = id(&send(&village, &[]));
    assert_eq!(once, again);
    let other = send(
        &village,
        &["--idempotency-key", "sale 17", "--urgency", "urgent"],
    );
    assert_eq!(other.code, Some(3));
    assert!(
        other
            .stderr
            .contains("422 Unprocessable Entity): idempotency-key"),
        "{}",
        other.stderr
    );
    village.chronicle.wait("server", "calling");
    assert_eq!(
        village
            .run(&["message", "cancel", &unwanted, "--config", "server.toml"])
            .code,
        Some(1),
        "not unasked"
    );
    village.ask(&["message", "cancel", &unwanted, "--yes"]);
    assert_eq!(
        village
            .run(&[
                "message",
                "cancel",
                &unwanted,
                "--yes",
                "--config",
                "server.toml"
            ])
            .code,
        Some(1)
    );

    let told = village.run(&["message", "explain", &bulk, "--config", "server.toml"]);
    assert!(told.stdout.contains("waits: "), "{}", told.stdout);

    let _owner = village.start_owner();
    village.wait_delivered(&bulk);
    let order: Vec<_> = village
        .chronicle
        .said("server", "delivered")
        .iter()
        .map(|entry| entry.field("message_id"))
        .collect();
    assert_eq!(order, [&urgent, &newer, &once, &bulk].map(String::clone));
    assert_eq!(state(&village, &older), "replaced");
    assert_eq!(state(&village, &unwanted), "cancelled");
    assert_eq!(village.inbox().len(), 4);

    let told = village
        .run(&["message", "explain", &bulk, "--config", "server.toml"])
        .stdout;
    for says in [
        "accepted ",
        " from vending",
        "for owner:",
        "NO ANSWER",
        "delivered, 50000 octets",
        "delivered\n",
    ] {
        assert!(
            told.to_lowercase().contains(&says.to_lowercase()),
            "{told:?} does not say {says:?}"
        );
    }
}

#[test]
fn a_message_expires_while_nobody_answers() {
    let village = Village::found(Plan::default());
    village.write("report", "coin box full");
    let message = id(&send(&village, &["--expires", "1s"]));
    village.chronicle.wait("server", "expired");
    assert_eq!(state(&village, &message), "expired");
    let told = village
        .run(&["message", "explain", &message, "--config", "server.toml"])
        .stdout;
    assert!(told.contains("expired"), "{told}");
}

#[test]
fn a_provider_with_limits_sends_to_nobody_else() {
    let village = Village::found(Plan::default());
    village.write("report", "coin box full");
    let gauge = village.ask(&[
        "provider",
        "add",
        "gauge",
        "--may-send",
        "tel:302",
        "--may-send",
        "topic:level/#",
    ]);
    assert_eq!(
        gauge["may_send"],
        serde_json::json!(["tel:302", "topic:level/#"])
    );
    village.write("token", gauge["token"].as_str().unwrap());
    let refused = send(&village, &[]);
    assert_eq!(refused.code, Some(3));
    assert!(
        refused
            .stderr
            .contains("403 Forbidden): to: this provider may not send to tel:301"),
        "{}",
        refused.stderr
    );
    let wrong = village.run(&[
        "provider",
        "add",
        "x",
        "--may-send",
        "everything",
        "--config",
        "server.toml",
    ]);
    assert!(
        wrong.stderr.contains("--may-send: \"everything\""),
        "{}",
        wrong.stderr
    );
}

#[test]
fn a_backup_of_a_working_server_is_one_that_a_server_starts_on() {
    let mut village = Village::found(Plan {
        no_answer_after: "1s",
        ..Plan::default()
    });
    let (small, large) = (awkward_content(500), awkward_content(100_000));
    let messages = [
        village.send("tel:301", &village.write("report", &small)),
        village.send("tel:301", &village.write("report", &large)),
    ];
    let findings = village.ask(&["store", "check"]);
    assert_eq!(
        (&findings["messages"], &findings["faults"]),
        (&2.into(), &serde_json::json!([]))
    );
    assert_eq!(village.ask(&["store", "show"])["health"], "ready");
    village.ask(&["store", "backup", "copy"]);
    let again = village.run(&["store", "backup", "copy", "--config", "server.toml"]);
    assert!(
        again.stderr.contains("is there already"),
        "{}",
        again.stderr
    );

    village.kill_server();
    let config = std::fs::read_to_string(village.path("server.toml")).unwrap();
    village.write(
        "server.toml",
        config.replace("state = \"server\"", "state = \"copy\""),
    );
    village.start_server("server on the copy");
    let _owner = village.start_owner();
    for (message, content) in messages.iter().zip([small, large]) {
        village
            .chronicle
            .wait_field("server on the copy", "delivered", "message_id", message);
        assert!(village.received(message) == content);
    }
}

#[test]
fn a_damaged_content_fails_alone_and_the_call_brings_the_others() {
    let village = Village::found(Plan {
        no_answer_after: "1s",
        ..Plan::default()
    });
    let damaged = village.send(
        "tel:301",
        &village.write("report", awkward_content(100_000)),
    );
    let sound = village.send("tel:301", &village.write("report", "coin box full"));
    let digest = village.ask(&["message", "show", &damaged])["sha256"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = village.path("server/contents").join(&digest);
    std::fs::write(&path, awkward_content(99_999)).unwrap();
    let check = village.run(&["store", "check", "--config", "server.toml"]);
    assert_eq!(check.code, Some(1));
    assert!(
        check
            .stdout
            .contains(&format!("message {damaged}: its content is damaged")),
        "{}",
        check.stdout
    );

    let _owner = village.start_owner();
    village.wait_delivered(&sound);
    assert_eq!(state(&village, &damaged), "failed");
    assert_eq!(village.inbox(), [sound.as_str()]);
    assert!(
        !path.exists()
            && village
                .path("server/contents/damaged")
                .join(&digest)
                .exists()
    );
}
