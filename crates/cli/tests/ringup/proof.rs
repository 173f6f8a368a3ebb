//! Admission: keys, enrolment, and peers that have neither.

use std::fs;
use std::time::Duration;

use delivery::proof::{SecretKey, TerminalCredentials};
use line::{ModemLine, PortAddress};
use link::{Link, LinkConfig, LocalAddress, PeerAddress};
use modem::Profile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::village::{CENTRE, OWNER, Plan, Village};

#[test]
fn the_first_call_enrols_the_terminal_and_the_next_resumes_its_session() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["trust"],
        "invited"
    );
    let secret = |text: String| text.contains("secret");
    assert!(secret(
        fs::read_to_string(village.path("state/enrolment.toml")).unwrap()
    ));
    for (nth, resumed) in [(1, "false"), (2, "true")] {
        let message = village.send("tel:301", &village.write("report", "coin box full"));
        village.wait_delivered(&message);
        let proved = village.chronicle.wait_nth("owner", "server proved", nth);
        assert_eq!(proved.field("resumed"), resumed);
        village.chronicle.wait_nth("owner", "waiting again", nth);
    }
    let shown = village.ask(&["terminal", "show", "owner"]);
    assert_eq!(
        (&shown["trust"], shown["keys"].as_array().unwrap().len()),
        (&"enrolled".into(), 1)
    );
    assert_eq!(village.chronicle.said("server", "enrolled").len(), 1);
    assert!(
        !secret(fs::read_to_string(village.path("state/enrolment.toml")).unwrap()),
        "the secret is burnt"
    );
}

#[test]
fn a_bundle_that_was_used_lets_no_other_machine_in() {
    let village = Village::found(Plan::default());
    let owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&first);
    village.chronicle.wait("owner", "waiting again");
    owner.kill();
    // A copy of the bundle, on a machine that has got hold of the owner's line.
    let config = fs::read_to_string(village.path("owner.toml")).unwrap();
    village.write(
        "thief.toml",
        format!(
            "state = \"thief\"\n{}",
            config.replace("\"inbox\"", "\"loot\"")
        ),
    );
    assert_eq!(
        village
            .run(&["enrol", "owner.bundle", "--config", "thief.toml"])
            .code,
        Some(0)
    );
    let thief = village.start(
        "thief",
        &[
            "wait",
            "--line",
            &format!("lines/{OWNER}"),
            "--config",
            "thief.toml",
        ],
    );
    village.chronicle.wait("thief", "waiting for calls");
    let second = village.send("tel:301", &village.write("report", "second"));
    village
        .chronicle
        .wait("server", "the terminal did not prove itself");
    village.chronicle.wait("thief", "waiting again");
    thief.kill();
    let said = village.chronicle.plain_text("thief");
    assert!(said.contains("the server did not prove itself"), "{said}");
    let outcome = village.server_calls(2)[0]["outcome"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(outcome.starts_with("not proved"), "{outcome}");
    assert_eq!(
        village.ask(&["message", "show", &second])["envelopes"][0]["state"],
        "waiting"
    );
    assert!(!fs::read_dir(village.path("loot")).unwrap().any(|entry| {
        !entry
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .starts_with('.')
    }));
    let _owner = village.start_owner();
    village.wait_delivered(&second);
}

#[test]
fn a_server_with_another_key_delivers_nothing_though_it_calls_from_the_right_number() {
    let mut village = Village::found(Plan::default());
    let owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&first);
    village.chronicle.wait("owner", "waiting again");
    village.kill_server();
    fs::remove_file(village.path("server/server.key")).unwrap();
    village.start_server("forger");
    let address = village
        .chronicle
        .wait("forger", "taking submissions")
        .field("address");
    village.write("report", "forged");
    let sent = village.run(&[
        "send",
        "--server",
        &address,
        "--token-file",
        "token",
        "--to",
        "tel:301",
        "report",
    ]);
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    village
        .chronicle
        .wait_field("owner", "waiting again", "outcome", "call failed");
    owner.kill();
    // The terminal hangs up at once: to its server that is a session that was lost.
    village
        .chronicle
        .wait_field("forger", "call ended", "outcome", "the session was lost");
    let calls = village.ask(&["call", "list"]);
    assert!(
        calls
            .as_array()
            .unwrap()
            .iter()
            .any(|call| call["outcome"] == "the session was lost"),
        "{calls:#}"
    );
    assert_eq!(
        village.inbox(),
        [first],
        "nothing but what the real server brought"
    );
    let said = village.chronicle.plain_text("owner");
    assert!(said.contains("is not the one that was enrolled"), "{said}");
}

#[test]
fn a_terminal_that_is_shut_out_gets_nothing_until_it_is_invited_again() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&first);
    village.chronicle.wait("owner", "waiting again");
    assert_eq!(
        village
            .run(&["terminal", "shut-out", "owner", "--config", "server.toml"])
            .code,
        Some(1),
        "it asks"
    );
    let shut_out = village.run(&[
        "terminal",
        "shut-out",
        "owner",
        "--yes",
        "--config",
        "server.toml",
    ]);
    assert_eq!(shut_out.code, Some(0), "{}", shut_out.stderr);
    let second = village.send("tel:301", &village.write("report", "second"));
    village
        .chronicle
        .wait_nth("server", "connection state checked", 2);
    let told = village
        .run(&["message", "explain", &second, "--config", "server.toml"])
        .stdout;
    assert!(told.contains("the terminal is shut out"), "{told}");
    assert_eq!(village.server_calls(1).len(), 1, "it is not even called");
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["trust"],
        "shut out"
    );
    village.invite("owner.toml");
    village.wait_delivered(&second);
}

#[test]
fn a_terminal_that_was_never_enrolled_does_not_answer() {
    let village = Village::found(Plan {
        no_answer_after: "1s",
        ..Plan::default()
    });
    fs::remove_file(village.path("state/enrolment.toml")).unwrap();
    let _owner = village.start_owner();
    village.send("tel:301", &village.write("report", "first"));
    village
        .chronicle
        .wait_field("exchange", "call ended", "outcome", "no_answer");
    let said = village.chronicle.plain_text("owner");
    assert!(said.contains("ringup enrol BUNDLE"), "{said}");
}

/// Calls the centre, and says over the link to be somebody. Whether that was answered.
async fn pretend(village: &Village, station: &str) -> bool {
    let port = PortAddress::Device(village.path("lines").join(station));
    let line = ModemLine::open(&port, Profile::GENERIC.into())
        .await
        .unwrap();
    let Ok(call) = line
        .dial(&CENTRE.parse().unwrap(), Duration::from_secs(60))
        .await
    else {
        return false;
    };
    let local = LocalAddress::Ask(None);
    let config = LinkConfig::new(
        local,
        PeerAddress::Any,
        call.rate_bps(),
        Duration::from_millis(1),
    );
    let link = Link::establish(call, config).await.unwrap();
    let mut stream = link
        .connect(link.peer().unwrap(), delivery::PORT)
        .await
        .unwrap();
    stream
        .write_all(b"ringup/1 AAAAAAAAAAA dialled-in\n")
        .await
        .unwrap();
    assert_eq!(
        stream.read(&mut [0]).await.unwrap_or_default(),
        0,
        "nothing is said to it"
    );
    link.closed().await;
    true
}

/// Calls the centre, says to be the owner, proves a key of its own, and never shows the secret of the invitation.
pub(crate) fn stranger_with_a_key(village: &Village, station: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let owner = village.ask(&["terminal", "show", "owner"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = village
        .run(&["server-key", "public", "--config", "server.toml"])
        .stdout;
    let server = shown
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .expect("a key");
    let key = SecretKey::generate().unwrap();
    let port = PortAddress::Device(village.path("lines").join(station));
    runtime.block_on(async {
        let line = ModemLine::open(&port, Profile::GENERIC.into())
            .await
            .unwrap();
        let call = line
            .dial(&CENTRE.parse().unwrap(), Duration::from_secs(60))
            .await
            .unwrap();
        let config = LinkConfig::new(
            LocalAddress::Ask(None),
            PeerAddress::Any,
            call.rate_bps(),
            Duration::from_millis(1),
        );
        let link = Link::establish(call, config).await.unwrap();
        let mut stream = link
            .connect(link.peer().unwrap(), delivery::PORT)
            .await
            .unwrap();
        stream
            .write_all(format!("ringup/1 {owner} dialled-in\n").as_bytes())
            .await
            .unwrap();
        let mut stream = TerminalCredentials::new(&key, vec![server], None)
            .unwrap()
            .secure(stream, 33_600)
            .unwrap();
        let proof = stream.proof();
        let mut octets = [0; 1000];
        while matches!(stream.read(&mut octets).await, Ok(read) if read > 0) {}
        assert!(proof.has_come(), "both ends have proved their keys");
        link.closed().await;
    });
}

#[test]
fn a_number_whose_callers_proved_nothing_three_times_is_heard_for_a_moment_and_its_owner_gets_through()
 {
    let forged = &[("601", "presents = \"301\"")];
    let village = Village::found(Plan {
        strangers: forged,
        ..Plan::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for nth in 1..=3 {
        assert!(runtime.block_on(pretend(&village, "601")), "call {nth}");
        village.chronicle.wait_nth("server", "line ready", nth + 1);
    }
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["connection"],
        "down"
    );
    let alarms = village.ask_until(&["alarm", "list"], |alarms| {
        !alarms.as_array().unwrap().is_empty()
    });
    assert_eq!(alarms[0]["kind"], "unproved-callers", "{alarms:#}");
    // The terminal has this very number.
    let dialled = village.run(&["dial-in", "--config", "owner.toml"]);
    assert_eq!(dialled.code, Some(0), "{}", dialled.stderr);
    village.ask_until(&["alarm", "list"], |alarms| {
        alarms.as_array().unwrap().is_empty()
    });
    assert!(
        village
            .chronicle
            .said("server", "ring not answered")
            .is_empty()
    );
}

#[test]
fn a_terminal_on_a_call_that_is_shut_out_is_hung_up() {
    let village = Village::found(Plan {
        linger: "59s",
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&first);
    village.chronicle.wait("server", "nothing more");
    let shut_out = village.run(&[
        "terminal",
        "shut-out",
        "owner",
        "--yes",
        "--config",
        "server.toml",
    ]);
    assert_eq!(shut_out.code, Some(0), "{}", shut_out.stderr);
    village.send("tel:301", &village.write("report", "second"));
    let ended = village.chronicle.wait("server", "call ended");
    assert_eq!(ended.field("outcome"), "ended by the operator: shut out");
    village.exchange_calls(1);
    assert_eq!(village.inbox(), [first]);
}

#[test]
fn enrolling_writes_a_first_config_that_is_good() {
    let village = Village::found(Plan::default());
    let enrolled = village.run(&["enrol", "owner.bundle", "--config", "new.toml"]);
    assert!(
        enrolled
            .stdout
            .contains("wrote new.toml; enrolled as owner"),
        "{}",
        enrolled.stdout
    );
    let checked = village.run(&["check-config", "terminal", "new.toml"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    for (name, content) in [("empty", ""), ("text", "hello"), ("binary", "\u{1}\u{2}")] {
        village.write(name, content);
        let refused = village.run(&["enrol", name, "--config", "other.toml"]);
        assert!(
            refused.code == Some(1) && refused.stderr.contains("not an enrolment bundle"),
            "{}",
            refused.stderr
        );
        assert!(!village.path("other.toml").exists());
    }
}
