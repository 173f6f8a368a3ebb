//! Registered data types: who has registered for a topic gets what comes under it, and is called as it said.

use crate::village::{Plan, Village};

#[test]
fn what_a_terminal_is_registered_for_reaches_it_and_one_copy_is_kept() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    village.run(&[
        "subscription",
        "add",
        "owner",
        "news/+",
        "--config",
        "server.toml",
    ]);
    let message = village.send("topic:news/weather", &village.write("report", "rain"));
    village.wait_delivered(&message);
    assert_eq!(village.received(&message), b"rain");
    let shown = village.ask(&["message", "show", &message]);
    assert_eq!(
        (&shown["topic"], &shown["envelope_count"]),
        (&"news/weather".into(), &1.into())
    );

    // No terminal is registered for it: it is accepted and settled.
    let message = village.send("topic:sport", &village.write("report", "2:1"));
    assert_eq!(
        village.ask(&["message", "show", &message])["envelope_count"],
        0
    );

    let token = std::fs::read_to_string(village.path("token")).unwrap();
    let event = format!(
        "POST /v1/messages HTTP/1.1\nAuthorization: Bearer {token}\nce-specversion: 1.0\nce-id: 17\nce-source: /gauge\n\
         ce-type: news/level\nContent-Type: text/plain\nContent-Length: 4"
    );
    let [first, again] = [(); 2].map(|()| village.submission(&event, b"high"));
    assert_eq!((first.status, again.status), (202, 202));
    let [first, again] = [first, again].map(|answer| answer.body["id"].clone());
    assert_eq!(first, again, "one event is one message");
    village.wait_delivered(first.as_str().unwrap());

    village.run(&[
        "subscription",
        "remove",
        "owner",
        "news/+",
        "--config",
        "server.toml",
    ]);
    let message = village.send("topic:news/weather", &village.write("report", "sun"));
    assert_eq!(
        village.ask(&["message", "show", &message])["envelope_count"],
        0
    );
}

#[test]
fn what_falls_outside_a_subscription_causes_no_call_and_rides_on_the_next() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    // Its first call, on which it enrols.
    village.wait_delivered(&village.send("tel:301", &village.write("report", "hello")));
    village.chronicle.wait("server", "call ended");
    let placed = || village.chronicle.said("server", "calling").len();
    let before = placed();
    let more = [
        "--urgency",
        "normal",
        "--max-size",
        "10",
        "--config",
        "server.toml",
    ];
    let added = village.run(&[&["subscription", "add", "owner", "news/#"][..], &more].concat());
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let listed = village.ask(&["subscription", "list", "owner"]);
    assert_eq!(
        (&listed[0]["filter"], &listed[0]["size_max"]),
        (&"news/#".into(), &10.into())
    );
    let long = village.send(
        "topic:news/weather",
        &village.write("report", "rain, then sun, then rain again"),
    );
    let told = village
        .run(&["message", "explain", &long, "--config", "server.toml"])
        .stdout;
    assert!(
        told.contains("not to be called for it") && told.contains("sent on the next call"),
        "{told}"
    );
    assert_eq!(placed(), before);
    let short = village.send("topic:news/weather", &village.write("report", "rain"));
    village.wait_delivered(&short);
    village.wait_delivered(&long);
    let of = |message| village.ask(&["message", "show", message])["envelopes"][0]["call"].clone();
    assert!(of(&short).is_string() && of(&long) == of(&short));
}

#[test]
fn a_filter_that_is_none_is_refused_and_names_its_field() {
    let village = Village::found(Plan::default());
    for (arguments, says) in [
        (&["owner", "news/#/x"][..], "filter: \"news/#/x\""),
        (&["nobody", "news"], "no terminal is named nobody"),
        (&["owner", "news", "--hours", "06:00"], "hours: \"06:00\""),
        (
            &["owner", "news", "--max-size", "big"],
            "such as 5000, 50k or 2M",
        ),
    ] {
        let refused = village.run(
            &[
                &["subscription", "add", "--config", "server.toml"],
                arguments,
            ]
            .concat(),
        );
        assert!(
            refused.code != Some(0) && refused.stderr.contains(says),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
}
