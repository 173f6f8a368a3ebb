//! What an operator takes back and ends, on the running server: tokens, providers, calls to a terminal, one call.

use crate::village::{FOR_EVER, Plan, Village};

fn submit(village: &Village, token: &str) -> u16 {
    let head = format!(
        "POST /v1/messages?to=tel:301 HTTP/1.1\nAuthorization: Bearer {token}\nContent-Length: 1"
    );
    village.submission(&head, b"x").status
}

#[test]
fn a_leaked_token_is_replaced_and_its_provider_removed() {
    let village = Village::found(Plan::default());
    let first = std::fs::read_to_string(village.path("token")).unwrap();
    assert_eq!(submit(&village, &first), 202);
    let renewed = village.ask(&["provider", "new-token", "vending", "--overlap", "1h"]);
    let second = renewed["token"].as_str().unwrap().to_owned();
    assert!(renewed["former_token_until"].is_string());
    assert_eq!(
        (submit(&village, &first), submit(&village, &second)),
        (202, 202)
    );
    let third = village.ask(&["provider", "new-token", "vending"])["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let statuses = [&first, &second, &third].map(|token| submit(&village, token));
    assert_eq!(statuses, [401, 401, 202]);

    let removed = village.ask(&["provider", "remove", "vending", "--cancel", "--yes"]);
    assert_eq!(
        (&removed["waiting"], &removed["cancelled"]),
        (&4.into(), &4.into())
    );
    assert_eq!(submit(&village, &third), 401);
    assert!(
        village
            .ask(&["provider", "list"])
            .as_array()
            .unwrap()
            .is_empty()
    );
    village.ask(&["provider", "add", "other", "--number", "401"]);
    let unknown = village.run(&[
        "provider",
        "remove",
        "vending",
        "--yes",
        "--config",
        "server.toml",
    ]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("no provider is named vending"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn a_disabled_provider_is_refused_keeps_its_token_and_is_taken_again() {
    let village = Village::found(Plan::default());
    let token = std::fs::read_to_string(village.path("token")).unwrap();
    assert_eq!(submit(&village, &token), 202);
    let disabled = village.ask(&["provider", "disable", "vending"]);
    assert_eq!(disabled["is_disabled"], true);
    assert_eq!(submit(&village, &token), 403);
    let list = village.run(&["provider", "list", "--config", "server.toml"]);
    assert!(list.stdout.contains("disabled"), "{}", list.stdout);
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["waiting"],
        1,
        "what was accepted waits"
    );
    village.ask(&["provider", "enable", "vending"]);
    assert_eq!(submit(&village, &token), 202);
}

#[test]
fn a_terminal_and_a_provider_are_changed_and_what_is_not_named_stays() {
    let village = Village::found(Plan::default());
    let before = village.ask(&["terminal", "show", "owner"]);
    let changed = village.ask(&[
        "terminal",
        "set",
        "owner",
        "--number",
        "999111",
        "--may-subscribe",
        "news/#",
    ]);
    assert_eq!(
        (&changed["number"], &changed["address"]),
        (&"999111".into(), &before["address"])
    );
    assert_eq!(changed["may_subscribe"], serde_json::json!(["news/#"]));
    let refused = village.run(&[
        "terminal",
        "set",
        "owner",
        "--number",
        "112",
        "--config",
        "server.toml",
    ]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("--number: 112 is never dialled"),
        "{}",
        refused.stderr
    );
    let nothing = village.run(&["terminal", "set", "owner", "--config", "server.toml"]);
    assert!(
        nothing.code != Some(0) && nothing.stderr.contains("nothing to change"),
        "{}",
        nothing.stderr
    );
    village.ask(&["terminal", "add", "other", "--number", "305"]);
    let taken = village.run(&[
        "terminal",
        "set",
        "owner",
        "--number",
        "305",
        "--config",
        "server.toml",
    ]);
    assert!(
        taken.code == Some(1) && taken.stderr.contains("other"),
        "{}",
        taken.stderr
    );

    let limited = village.ask(&["provider", "set", "vending", "--may-send", "terminal:other"]);
    assert_eq!(limited["may_send"], serde_json::json!(["terminal:other"]));
    let token = std::fs::read_to_string(village.path("token")).unwrap();
    assert_eq!(
        submit(&village, &token),
        403,
        "tel:301 is nobody's number, and it may not ask"
    );
    village.ask(&["provider", "set", "vending", "--may-send", "*"]);

    // It is called on the number that it has now.
    village.ask(&["terminal", "set", "owner", "--number", "301"]);
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
}

#[test]
fn a_provider_that_the_config_names_is_not_removed() {
    let mail = "[mail]\nlisten = \"127.0.0.1:0\"\nhostname = \"mx.centre.example\"\ndomains = [\"centre.example\"]\nprovider = \"vending\"";
    let village = Village::found(Plan {
        server_more: mail,
        ..Plan::default()
    });
    let refused = village.run(&[
        "provider",
        "remove",
        "vending",
        "--yes",
        "--config",
        "server.toml",
    ]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("mail.provider"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_paused_terminal_keeps_its_key_and_what_waits_is_not_called_and_is_served_on_its_own_call() {
    let mut village = Village::found(Plan::default());
    let paused = village.ask(&["terminal", "pause", "owner"]);
    assert_eq!(
        (&paused["was_paused"], &paused["call"]),
        (&false.into(), &serde_json::Value::Null)
    );
    let first = village.send("tel:301", &village.write("report", "first"));
    village.kill_server();
    village.start_server("server again");
    let story = village.ask(&["message", "explain", &first]);
    let waiting = &story["envelopes"][0]["waiting"];
    assert!(
        waiting["reason"]
            .as_str()
            .unwrap()
            .contains("paused by the operator"),
        "{waiting}"
    );
    assert!(
        waiting["next"]
            .as_str()
            .unwrap()
            .contains("ringup terminal resume owner"),
        "{waiting}"
    );
    assert!(
        village.ask(&["plan"])["entries"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let plan = village.run(&["plan", "--config", "server.toml"]);
    assert!(
        plan.stderr
            .contains("not called: 1 terminal, paused; 1 waiting message"),
        "{}",
        plan.stderr
    );
    assert!(village.ask(&["terminal", "show", "owner"])["paused_at"].is_string());
    assert!(village.ask(&["terminal", "list"])[0]["paused_at"].is_string());
    let list = village.run(&["terminal", "list", "--config", "server.toml"]);
    assert!(list.stdout.contains("invited, paused"), "{}", list.stdout);

    // Its own call it pays for itself.
    assert_eq!(
        village.run(&["dial-in", "--config", "owner.toml"]).code,
        Some(0)
    );
    assert_eq!(village.received(&first), b"first");
    assert_eq!(
        village.exchange_calls(1)[0]["caller"],
        "301",
        "nobody has called it"
    );

    let _owner = village.start_owner();
    let second = village.send_to(
        &village
            .chronicle
            .wait("server again", "taking submissions")
            .field("address"),
        "report",
    );
    let resumed = village.ask(&["terminal", "resume", "owner"]);
    assert_eq!(
        (&resumed["was_paused"], &resumed["trust"]),
        (&true.into(), &"enrolled".into())
    );
    village
        .chronicle
        .wait_field("server again", "delivered", "message_id", &second);
}

#[test]
fn a_shut_out_terminal_is_not_resumed_and_the_operator_is_told_what_to_do() {
    let village = Village::found(Plan::default());
    assert_eq!(
        village
            .run(&[
                "terminal",
                "shut-out",
                "owner",
                "--yes",
                "--config",
                "server.toml"
            ])
            .code,
        Some(0)
    );
    let refused = village.run(&["terminal", "resume", "owner", "--config", "server.toml"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("shut out")
            && refused.stderr.contains("ringup terminal invite owner"),
        "{}",
        refused.stderr
    );
}

#[test]
fn an_operator_hangs_up_a_call() {
    hangs_up_a_call(Plan {
        linger: FOR_EVER,
        ..Plan::default()
    });
}

#[test]
fn an_operator_hangs_up_a_call_at_a_dial_up_server() {
    hangs_up_a_call(Plan {
        linger: FOR_EVER,
        ..Plan::at(&["201"])
    });
}

fn hangs_up_a_call(plan: Plan) {
    let village = Village::found(plan);
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "first"));
    let call = village.wait_delivered(&message).field("call");
    village.ask(&["call", "end", &call]);
    let ended = village.server_calls(1).remove(0);
    assert_eq!(
        (&ended["id"], &ended["outcome"]),
        (&call.as_str().into(), &"ended by the operator".into())
    );
    village.exchange_calls(1);
    let again = village.run(&["call", "end", &call, "--config", "server.toml"]);
    assert_eq!(again.code, Some(1));
    assert!(
        again.stderr.contains("is over (ended by the operator)"),
        "{}",
        again.stderr
    );
    assert_eq!(
        village.ask(&["call", "list"])[0]["kind"],
        "ended-by-operator"
    );
}

#[test]
fn an_operator_hangs_up_a_call_that_still_rings() {
    still_rings(Plan {
        no_answer_after: "60s",
        ..Plan::default()
    });
}

#[test]
fn an_operator_hangs_up_a_call_that_still_rings_at_a_dial_up_server() {
    still_rings(Plan {
        no_answer_after: "60s",
        ..Plan::at(&["201"])
    });
}

/// No program runs at the terminal's modem.
fn still_rings(plan: Plan) {
    let village = Village::found(plan);
    village.send("tel:301", &village.write("report", "first"));
    village.chronicle.wait("exchange", "ringing");
    let calls = village.ask_until(&["call", "list"], |calls| {
        calls.as_array().is_some_and(|calls| !calls.is_empty())
    });
    let call = calls[0]["id"].as_str().unwrap().to_owned();
    village.ask(&["terminal", "pause", "owner"]);
    village.ask(&["call", "end", &call]);
    let ended = village.server_calls(1).remove(0);
    assert_eq!(ended["outcome"], "ended by the operator");
    assert_eq!(
        village.exchange_calls(1)[0]["answered"],
        serde_json::Value::Null
    );
}

#[test]
fn an_operator_ends_a_session_over_the_internet() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    let config = std::fs::read_to_string(village.path("owner.toml")).unwrap();
    let address = village.delivery_address();
    let linger = format!("linger = \"{FOR_EVER}\"");
    let config = config.replace("linger = \"0s\"", &linger).replace(
        "[server]\n",
        &format!("[server]\naddress = \"{address}\"\n"),
    );
    village.write("online.toml", config);
    let message = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&message);
    village.server_calls(1);
    let _session = village.start("online", &["connect", "--config", "online.toml"]);
    let connected = village.ask_until(&["terminal", "show", "owner"], |owner| {
        owner["connection"] == "connected"
    });
    let call = connected["call"].as_str().unwrap().to_owned();
    village.ask(&["call", "end", &call]);
    village.ask_until(&["call", "list"], |calls| {
        calls[0]["outcome"] == "ended by the operator"
    });
}

#[test]
fn an_invited_terminal_that_calls_do_not_enrol_is_an_alarm_of_its_own_until_it_has_proved_itself() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    let first = village.send("tel:301", &village.write("report", "first"));
    village.wait_delivered(&first);
    assert_eq!(
        village
            .run(&[
                "terminal",
                "shut-out",
                "owner",
                "--yes",
                "--config",
                "server.toml"
            ])
            .code,
        Some(0)
    );
    // The bundle stays here: the machine has its old key, which proves nothing any more.
    village.ask(&["terminal", "invite", "owner", "--caller", "201"]);
    let second = village.send("tel:301", &village.write("report", "second"));
    village
        .chronicle
        .wait_field("server", "alarm raised", "kind", "not-enrolled");
    // The alarm is raised before the call has ended.
    village.ask_until(&["message", "explain", &second], |story| {
        let reason = story["envelopes"][0]["waiting"]["reason"].as_str().unwrap();
        reason.contains("invited and has not enrolled yet") && reason.contains("not proved")
    });
    let alarms = village.ask(&["alarm", "list"]);
    assert_eq!(
        (&alarms[0]["kind"], &alarms[0]["subject"]),
        (&"not-enrolled".into(), &"owner".into()),
        "{alarms}"
    );
}

#[test]
fn a_hangup_signal_does_not_end_the_server() {
    let village = Village::found(Plan::default());
    village.signal_server(rustix::process::Signal::HUP);
    village.chronicle.wait(
        "server",
        "SIGHUP ignored: the config is read at the start only; check a changed one and restart the server",
    );
    assert_eq!(village.ask(&["terminal", "list"])[0]["name"], "owner");
}

#[test]
fn the_server_is_asked_while_its_config_is_half_edited() {
    let village = Village::found(Plan::default());
    for text in [
        "state = \"server\"\nretyr = 1\n",
        "state = \"server\"\n[retry]\nfirst = = 3\n",
        "state = \"server\"\n[[line",
    ] {
        village.write("edited.toml", text);
        let listed = village.run(&["terminal", "list", "--config", "edited.toml"]);
        assert_eq!(listed.code, Some(0), "{text:?}: {}", listed.stderr);
    }
    village.write("elsewhere.toml", "state = \"nowhere\"\n");
    let none = village.run(&["terminal", "list", "--config", "elsewhere.toml"]);
    assert_eq!(none.code, Some(1));
    assert!(
        none.stderr.contains("there is no operator socket"),
        "{}",
        none.stderr
    );
}

#[test]
fn what_is_wrong_with_a_new_terminal_is_told_at_once_each_with_its_flag_and_whose_a_number_is() {
    let village = Village::found(Plan::default());
    let run = |arguments: &[&str]| village.run(&[arguments, &["--config", "server.toml"]].concat());
    let wrong = run(&[
        "terminal",
        "add",
        "gauge",
        "--number",
        "x",
        "--address",
        "10.77",
        "--may-subscribe",
        "a/#/b",
    ]);
    assert_eq!(wrong.code, Some(1));
    for says in ["--number: ", "--address: ", "--may-subscribe: "] {
        assert!(
            wrong.stderr.contains(says),
            "{} does not say {says}",
            wrong.stderr
        );
    }
    let taken = run(&["terminal", "add", "gauge", "--number", "301"]);
    assert!(
        taken.stderr.contains("--number: number is taken by owner"),
        "{}",
        taken.stderr
    );
    let nobody = run(&["terminal", "invite", "owner"]);
    assert_eq!(nobody.code, Some(1));
    assert!(
        nobody.stderr.contains("--caller: ") && nobody.stderr.contains("--no-caller"),
        "{}",
        nobody.stderr
    );
    assert_eq!(
        run(&["terminal", "invite", "owner", "--no-caller"]).code,
        Some(0)
    );
}

#[test]
fn show_prints_all_that_is_in_an_array_and_what_a_terminal_has_said_itself() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    let stated = village.run(&[
        "conditions",
        "--urgency",
        "urgent",
        "--for",
        "8h",
        "--reason",
        "roaming",
        "--config",
        "owner.toml",
    ]);
    assert_eq!(stated.code, Some(0), "{}", stated.stderr);
    let message = village.send("tel:301", &village.write("report", "first"));
    village.chronicle.wait("server", "takes less for now");
    village.server_calls(1);
    let json = village.ask_until(&["terminal", "show", "owner"], |shown| {
        !shown["stated"].is_null()
    });
    let shown = village
        .run(&["terminal", "show", "owner", "--config", "server.toml"])
        .stdout;
    let key = json["keys"][0].as_str().unwrap();
    let first: Vec<_> = shown
        .lines()
        .filter_map(|line| line.split(' ').next())
        .take(2)
        .collect();
    assert_eq!(first, ["id", "name"], "{shown}");
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("keys ") && line.ends_with(key)),
        "{shown}"
    );
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("stated ") && line.contains("reason roaming")),
        "{shown}"
    );
    let shown = village
        .run(&["message", "show", &message, "--config", "server.toml"])
        .stdout;
    assert!(
        shown.contains("outcome refused with status 503") && !shown.contains('{'),
        "{shown}"
    );
}

#[test]
fn a_dial_up_server_tells_its_lines_calls_and_alarms_to_the_technician_beside_it() {
    let mut village = Village::found(Plan {
        no_answer_after: "60s",
        ..Plan::at(&["201"])
    });
    let run = |village: &Village, arguments: &[&str]| {
        village.run(&[arguments, &["--config", "pop-1.toml"]].concat())
    };
    let ask = |village: &Village, arguments: &[&str]| {
        let asked = run(village, &[arguments, &["--json"]].concat());
        assert_eq!(asked.code, Some(0), "{arguments:?}: {}", asked.stderr);
        serde_json::from_str::<serde_json::Value>(&asked.stdout).unwrap()
    };
    assert_eq!(ask(&village, &["line", "list"])[0]["state"], "idle");
    assert_eq!(ask(&village, &["alarm", "list"]), serde_json::json!([]));
    village.send("tel:301", &village.write("report", "first"));
    village.chronicle.wait("exchange", "ringing");
    let calls = ask(&village, &["call", "list"]);
    assert_eq!(
        (
            &calls[0]["direction"],
            &calls[0]["number"],
            &calls[0]["ended_at"]
        ),
        (&"outgoing".into(), &"301".into(), &serde_json::Value::Null)
    );
    village.ask(&["terminal", "pause", "owner"]);
    assert_eq!(
        run(&village, &["call", "end", calls[0]["id"].as_str().unwrap()]).code,
        Some(0)
    );
    village.server_calls(1);
    assert_eq!(
        ask(&village, &["call", "list"])[0]["outcome"],
        "ended by the operator"
    );
    let other = run(&village, &["terminal", "list"]);
    assert_eq!(other.code, Some(1));
    assert!(
        other.stderr.contains("this is a dial-up server"),
        "{}",
        other.stderr
    );
    village.kill_server();
    village.chronicle.wait("pop-1", "trunk lost");
    assert_eq!(
        ask(&village, &["alarm", "list"])[0]["kind"],
        "information-server-lost"
    );
}
