//! What a terminal has to say: from its disk to the server's, on the session that its key proves.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Finished, Process};
use crate::village::{CENTRE, Plan, Village};

const GAUGE: &str = "501";

/// A village in which a water gauge is a terminal, too, which may send as the provider `gauges`.
struct Waterworks {
    village: Village,
}

impl Waterworks {
    /// `config` is appended to the gauge's config.
    fn found(plan: Plan, config: &str) -> Self {
        let village = Village::found(Plan {
            strangers: &[(GAUGE, "")],
            no_answer_after: "1s",
            ..plan
        });
        village.ask(&[
            "terminal",
            "add",
            "gauge",
            "--number",
            GAUGE,
            "--may-subscribe",
            "news/#",
        ]);
        let made = village.ask(&["terminal", "invite", "gauge", "--caller", CENTRE]);
        village.write("gauge.bundle", made["bundle"].as_str().unwrap());
        let text = format!(
            r#"state = "gauge"
[line]
port = "lines/{GAUGE}"
delay = "1ms"
[server]
number = "{CENTRE}"
[terminal]
callers = ["{CENTRE}"]
inbox = "gauge-inbox"
{config}
"#
        );
        village.write("gauge.toml", text);
        let enrolled = village.run(&["enrol", "gauge.bundle", "--config", "gauge.toml"]);
        assert_eq!(enrolled.code, Some(0), "{}", enrolled.stderr);
        // Without a number: it is never called, so the server's line is free for the gauge.
        village.ask(&["terminal", "add", "archive", "--address", "10.77.0.9"]);
        village.ask(&[
            "provider",
            "add",
            "gauges",
            "--may-send",
            "terminal:owner",
            "--may-send",
            "terminal:archive",
        ]);
        let waterworks = Self { village };
        waterworks.operate(&["terminal", "sends-as", "gauge", "gauges"]);
        waterworks
    }

    fn operate(&self, verb: &[&str]) {
        let done = self
            .village
            .run(&[verb, &["--config", "server.toml"]].concat());
        assert_eq!(done.code, Some(0), "{verb:?}: {}", done.stderr);
    }

    /// Puts a message in and starts nothing that calls; gives its id.
    fn add(&self, more: &[&str], content: &str) -> String {
        self.village.write("reading", content);
        let add = [
            "outbox",
            "add",
            "--keep",
            "--json",
            "--config",
            "gauge.toml",
            "reading",
        ];
        let added = self.village.run(&[&add[..], more].concat());
        assert_eq!(added.code, Some(0), "{}", added.stderr);
        let added: Value = serde_json::from_str(&added.stdout).unwrap();
        added["id"].as_str().unwrap().to_owned()
    }

    /// Calls the server with what waits: again if its one modem is just being initialised.
    fn send(&self) {
        self.until_connected(&["outbox", "send", "--config", "gauge.toml"], |sent| {
            sent.code == Some(0)
        });
    }

    fn until_connected(&self, verb: &[&str], is_so: impl Fn(&Finished) -> bool) {
        let mut tried = Vec::new();
        let is_done = (0..20).any(|_| {
            let done = self.village.run(verb);
            let is_so = is_so(&done);
            tried.push(done.stderr);
            is_so
        });
        assert!(is_done, "{verb:?}: {tried:?}");
    }

    fn listed(&self) -> Vec<Value> {
        let listed = self
            .village
            .run(&["outbox", "list", "--json", "--config", "gauge.toml"]);
        serde_json::from_str(&listed.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", listed.stderr))
    }

    fn states(&self) -> Vec<String> {
        self.listed()
            .iter()
            .map(|item| item["state"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The messages that the server has taken, newest first.
    fn taken(&self) -> Vec<Value> {
        self.village
            .ask(&["message", "list"])
            .as_array()
            .unwrap()
            .clone()
    }

    fn start_gauge(&self, more: &[&str]) -> Process {
        let wait = ["wait", "--line", "lines/501", "--config", "gauge.toml"];
        let gauge = self.village.start("gauge", &[&wait[..], more].concat());
        self.village.chronicle.wait("gauge", "waiting for calls");
        gauge
    }

    fn delivered_to_owner(&self, contents: &[&str]) {
        let village = &self.village;
        village.ask_until(&["message", "list"], |_| {
            village.inbox().len() == contents.len()
        });
        let mut received: Vec<_> = village
            .inbox()
            .iter()
            .map(|id| village.received(id))
            .collect();
        received.sort();
        assert_eq!(
            received,
            contents
                .iter()
                .map(|content| content.as_bytes())
                .collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_a_terminal_puts_in_while_offline_reaches_another_terminal() {
    let mut waterworks = Waterworks::found(Plan::default(), "");
    waterworks.village.kill_server();
    waterworks.add(
        &[
            "--to",
            "tel:301",
            "--content-type",
            "text/plain",
            "--topic",
            "level",
        ],
        "1 level 3.20 m",
    );
    waterworks.add(
        &["--to", "terminal:owner", "--urgency", "urgent"],
        "2 level 4.80 m",
    );
    assert_eq!(waterworks.states(), ["waits", "waits"]);
    waterworks.village.start_server("server 2");
    // Its rights are about the terminal, not about topics.
    waterworks.send();
    assert_eq!(waterworks.states(), ["refused"]);
    let _owner = waterworks.village.start_owner();
    waterworks.delivered_to_owner(&["2 level 4.80 m"]);
}

#[test]
fn a_starter_that_lends_its_line_sleeps_as_long_as_it_does_not_ring_and_nobody_wants_the_line() {
    let waterworks = Waterworks::found(Plan::default(), "");
    let gauge = waterworks.start_gauge(&["--lend", "lend"]);
    // It may still be on its way into its wait.
    let asleep = || waterworks.taken();
    let before = std::iter::repeat_with(|| {
        let waits = gauge.waits();
        asleep();
        (waits == gauge.waits()).then_some(waits)
    });
    let before = before
        .take(100)
        .flatten()
        .next()
        .expect("it waits some day");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        asleep();
    }
    assert_eq!(gauge.waits(), before);
}

#[test]
fn an_item_that_the_server_refuses_is_kept_with_its_reason_and_not_sent_again() {
    let waterworks = Waterworks::found(
        Plan {
            size_max: 1000,
            ..Plan::default()
        },
        "",
    );
    let large = waterworks.add(
        &["--to", "tel:301", "--urgency", "urgent"],
        &"x".repeat(1001),
    );
    let nobody = waterworks.add(&["--to", "tel:999"], "to nobody");
    let malformed = waterworks.add(&["--to", "owner"], "to whom?");
    let good = waterworks.add(
        &["--to", "terminal:archive", "--urgency", "bulk"],
        "level 3.20 m",
    );
    waterworks.send();
    let listed = waterworks.listed();
    let of = |id: &str| {
        listed
            .iter()
            .find(|item| item["id"] == id)
            .map(|item| item["status"].as_u64().unwrap())
    };
    assert_eq!(
        [&large, &nobody, &malformed, &good].map(|id| of(id)),
        [Some(413), Some(403), Some(400), None]
    );
    assert!(
        listed[0]["reason"]
            .as_str()
            .unwrap()
            .contains("submission.size_max"),
        "{}",
        listed[0]
    );
    assert_eq!(
        waterworks.taken().len(),
        1,
        "what stood behind the large one was taken"
    );
    waterworks.send();
    waterworks
        .village
        .chronicle
        .wait_nth("server", "item refused", 3);
    assert_eq!(
        (waterworks.states().len(), waterworks.taken().len()),
        (3, 1)
    );
    for id in [large, nobody, malformed] {
        assert_eq!(
            waterworks
                .village
                .run(&["outbox", "remove", &id, "--config", "gauge.toml"])
                .code,
            Some(0)
        );
    }
    assert_eq!(waterworks.states().len(), 0);
    // Nobody may send who was not given to.
    waterworks.operate(&["terminal", "sends-as", "gauge"]);
    waterworks.add(&["--to", "tel:301"], "level 3.20 m");
    waterworks.send();
    assert!(
        waterworks.listed()[0]["reason"]
            .as_str()
            .unwrap()
            .contains("may not send")
    );
}

#[test]
fn what_is_urgent_calls_at_once_with_the_line_that_the_starter_lends_and_the_starter_waits_again() {
    let waterworks = Waterworks::found(Plan::default(), "[outbox]\nstarter = \"gauge.sock\"");
    let _gauge = waterworks.start_gauge(&["--lend", "gauge.sock"]);
    waterworks.village.write("alarm", "level 6.10 m");
    let add = [
        "outbox",
        "add",
        "--config",
        "gauge.toml",
        "--to",
        "tel:301",
        "--urgency",
        "urgent",
        "alarm",
    ];
    assert_eq!(waterworks.village.run(&add).code, Some(0));
    waterworks.village.chronicle.wait("gauge", "line lent");
    waterworks.village.chronicle.wait("server", "outbox read");
    waterworks
        .village
        .chronicle
        .wait_nth("gauge", "waiting for calls", 2);
    assert_eq!(waterworks.taken().len(), 1);
    // It can be called again.
    let message = waterworks.village.send(
        "terminal:gauge",
        &waterworks.village.write("order", "open the sluice"),
    );
    waterworks.village.wait_delivered(&message);
}

#[test]
fn what_is_not_urgent_rides_along_on_the_servers_call() {
    let waterworks = Waterworks::found(Plan::default(), "");
    waterworks.add(&["--to", "tel:301"], "level 3.20 m");
    let _gauge = waterworks.start_gauge(&[]);
    let message = waterworks.village.send(
        "terminal:gauge",
        &waterworks.village.write("order", "open the sluice"),
    );
    waterworks.village.wait_delivered(&message);
    waterworks.village.chronicle.wait("server", "outbox read");
    let _owner = waterworks.village.start_owner();
    waterworks.delivered_to_owner(&["level 3.20 m"]);
    assert_eq!(waterworks.states().len(), 0);
    let calls = waterworks.village.ask(&["call", "list"]);
    assert!(
        calls
            .as_array()
            .unwrap()
            .iter()
            .all(|call| call["direction"] == "outgoing"),
        "{calls:#}"
    );
}

#[test]
fn what_is_much_is_worth_a_call_and_what_is_little_waits() {
    let waterworks = Waterworks::found(Plan::default(), "[outbox]\nbytes = 1000");
    waterworks.add(&["--to", "terminal:archive"], "little");
    let waiting = waterworks.village.start(
        "sender 1",
        &["outbox", "send", "--due", "--config", "gauge.toml"],
    );
    waterworks.add(&["--to", "terminal:archive"], &"much ".repeat(200));
    let sent = waterworks
        .village
        .run(&["outbox", "send", "--due", "--config", "gauge.toml"]);
    assert_eq!(
        (sent.code, waterworks.taken().len()),
        (Some(0), 2),
        "{}",
        sent.stderr
    );
    drop(waiting);
}

#[test]
fn what_the_budget_does_not_reach_for_stays() {
    let waterworks = Waterworks::found(Plan::default(), "[budget]\ncalls_a_day = 1");
    waterworks.add(&["--to", "terminal:archive"], "level 3.20 m");
    waterworks.send();
    waterworks.add(
        &["--to", "terminal:archive", "--urgency", "urgent"],
        "level 6.10 m",
    );
    let refused = waterworks
        .village
        .run(&["outbox", "send", "--config", "gauge.toml"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("1 calls in 24 hours"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        (waterworks.states(), waterworks.taken().len()),
        (vec!["waits".to_owned()], 1)
    );
}

#[test]
fn a_terminal_that_dials_in_submits_on_its_own_session() {
    let waterworks = Waterworks::found(Plan::default(), "");
    waterworks.village.write("reading", "level 3.20 m");
    let dial_in = ["dial-in", "--config", "gauge.toml", "reading", "--to"];
    let sent = waterworks
        .village
        .run(&[&dial_in[..], &["terminal:archive"]].concat());
    assert_eq!(
        (sent.code, waterworks.taken().len()),
        (Some(0), 1),
        "{}",
        sent.stderr
    );
    let is_refused = |refused: &Finished| {
        refused.code == Some(1) && refused.stderr.contains("may not send to tel:401")
    };
    waterworks.until_connected(&[&dial_in[..], &["tel:401"]].concat(), is_refused);
}

#[test]
fn what_was_put_in_is_taken_once_however_often_both_ends_are_killed() {
    // A call without a recorded end counts as long as it might have been.
    let mut waterworks = Waterworks::found(
        Plan::default(),
        "[budget]\ncalls_a_day = 1000\nminutes_a_day = 100000",
    );
    // Each of another size, so that the server's list tells them apart.
    let sizes: Vec<_> = (0..12).map(|n| 20_000 + n).collect();
    for (round, sizes) in sizes.chunks(2).enumerate() {
        for size in sizes {
            waterworks.add(&["--to", "terminal:archive"], &"x".repeat(*size));
        }
        let sender = (0..20).find_map(|attempt| {
            let who = format!("sender {round}.{attempt}");
            let sender = waterworks
                .village
                .start(&who, &["outbox", "send", "--config", "gauge.toml"]);
            let words = ["server proved", "(ended)"];
            (waterworks.village.chronicle.wait_any(&who, &words).message == words[0])
                .then_some(sender)
        });
        // Somewhere else each time: before, between and after commit, acknowledgement and removal.
        waterworks
            .village
            .chronicle
            .wait_lines(2 * round, Duration::from_millis(100));
        if round % 2 == 1 {
            waterworks.village.kill_server();
            drop(sender);
            waterworks.village.start_server(&format!("server {round}"));
        } else {
            drop(sender);
        }
    }
    waterworks.send();
    assert_eq!(waterworks.states().len(), 0);
    let mut taken: Vec<_> = waterworks
        .taken()
        .iter()
        .map(|message| usize::try_from(message["size"].as_u64().unwrap()).unwrap())
        .collect();
    taken.sort_unstable();
    assert_eq!(taken, sizes);
}

#[test]
fn a_terminal_registers_by_itself_and_what_falls_outside_of_what_it_said_causes_no_call() {
    let waterworks = Waterworks::found(Plan::default(), "");
    let village = &waterworks.village;
    let subscribe =
        |more: &[&str]| village.run(&[&["subscribe", "--config", "gauge.toml"], more].concat());
    let told = subscribe(&["news/#", "--urgency", "normal", "--max-size", "10"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert_eq!(
        village.ask(&["subscription", "list", "gauge"]),
        Value::Array(vec![]),
        "on the next call"
    );
    let refused = subscribe(&["mail/#", "--now"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("may not register for mail/#"),
        "{}",
        refused.stderr
    );
    village.chronicle.wait_nth("server", "line ready", 2);
    let listed = village.ask(&["subscription", "list", "gauge"]);
    assert_eq!(
        (&listed[0]["filter"], &listed[0]["by"]),
        (&"news/#".into(), &"terminal".into())
    );
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(waterworks.listed()[0]["what"], "subscribe mail/#");

    let _gauge = waterworks.start_gauge(&[]);
    let long = village.send(
        "topic:news/weather",
        &village.write("report", "rain, then sun, then rain again"),
    );
    let told = village
        .run(&["message", "explain", &long, "--config", "server.toml"])
        .stdout;
    assert!(told.contains("not to be called for it"), "{told}");
    let short = village.send("topic:news/weather", &village.write("report", "rain"));
    village.wait_delivered(&short);
    village.wait_delivered(&long);
    let of = |message| village.ask(&["message", "show", message])["envelopes"][0]["call"].clone();
    assert_eq!(of(&long), of(&short));

    let told = village.run(&["unsubscribe", "news/#", "--config", "gauge.toml"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let short = village.send("topic:news/weather", &village.write("report", "sun"));
    village.wait_delivered(&short);
    village.ask_until(&["subscription", "list", "gauge"], |listed| {
        listed.as_array().unwrap().is_empty()
    });
}

#[test]
fn what_a_terminal_does_not_take_now_is_not_brought_causes_no_call_and_is_explained_with_its_reason()
 {
    let waterworks = Waterworks::found(Plan::default(), "[outbox]\nstarter = \"gauge.sock\"");
    let village = &waterworks.village;
    let conditions = |more: &[&str]| {
        let told = village.run(&[&["conditions", "--config", "gauge.toml"], more].concat());
        assert_eq!(told.code, Some(0), "{}", told.stderr);
    };
    // The server has not heard of it yet: the terminal says so when the message comes, and in general when it has been brought.
    conditions(&["--urgency", "urgent", "--for", "1h", "--reason", "roaming"]);
    let _gauge = waterworks.start_gauge(&["--lend", "gauge.sock"]);
    let first = village.send("terminal:gauge", &village.write("order", "first"));
    let refused = village
        .chronicle
        .wait_field("server", "refused", "message_id", &first);
    assert_eq!(refused.field("reason"), "not now: roaming");
    village.chronicle.wait("server", "takes less for now");
    village.chronicle.wait("server", "call ended");
    let calls = village.ask(&["call", "list"]).as_array().unwrap().len();
    let second = village.send("terminal:gauge", &village.write("order", "second"));
    for message in [&first, &second] {
        let is_told = |told: &Value| {
            told["envelopes"][0]["waiting"]["reason"]
                .as_str()
                .is_some_and(|why| why.contains("roaming"))
        };
        let told = village.ask_until(&["message", "explain", message], is_told);
        assert!(
            !told["envelopes"][0]["waiting"]["next_at"].is_null(),
            "{told:#}"
        );
    }
    assert_eq!(
        village.ask(&["call", "list"]).as_array().unwrap().len(),
        calls,
        "it caused no call"
    );
    // What is urgent is called for, and nothing else is sent on that call.
    village.chronicle.wait_nth("gauge", "waiting for calls", 2);
    let urgent = village.write("order", "urgent");
    let send = [
        "send",
        "--json",
        "--server",
        &village.submission_address(),
        "--token-file",
        "token",
        "--urgency",
        "urgent",
    ];
    let sent = village.run(
        &[
            &send[..],
            &["--to", "terminal:gauge", urgent.to_str().unwrap()],
        ]
        .concat(),
    );
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    village.chronicle.wait("server", "delivered");
    village.chronicle.wait_nth("gauge", "waiting for calls", 3);
    let said = |what| village.chronicle.said("server", what).len();
    assert_eq!(
        (said("delivered"), said("refused")),
        (1, 1),
        "what it does not take was not brought again"
    );
    // It takes everything again, and gets it.
    conditions(&["--everything"]);
    waterworks.send();
    village.wait_delivered(&first);
    village.wait_delivered(&second);
}

#[test]
fn what_the_config_says_is_taken_holds_until_a_command_says_something_else() {
    let config = "[outbox]\nstarter = \"gauge.sock\"\n[conditions]\nurgency = \"urgent\"\nreason = \"metered\"";
    let waterworks = Waterworks::found(Plan::default(), config);
    let village = &waterworks.village;
    let gauge = waterworks.start_gauge(&["--lend", "gauge.sock"]);
    let message = village.send("terminal:gauge", &village.write("order", "open the sluice"));
    let refused = village
        .chronicle
        .wait_field("server", "refused", "message_id", &message);
    assert_eq!(refused.field("reason"), "not now: metered");
    assert_eq!(
        village
            .chronicle
            .wait("server", "takes less for now")
            .field("reason"),
        "metered"
    );
    village.ask_until(&["message", "explain", &message], |told| {
        told["envelopes"][0]["waiting"]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("metered"))
    });
    gauge.kill();
    let everything = village.run(&["conditions", "--for", "1h", "--config", "gauge.toml"]);
    assert_eq!(everything.code, Some(0), "{}", everything.stderr);
    let _gauge = waterworks.start_gauge(&["--lend", "gauge.sock"]);
    waterworks.send();
    village.wait_delivered(&message);
}
