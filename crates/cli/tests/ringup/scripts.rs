//! What a script is given: JSON of every command that changes or lists something, and lists of any length.

use serde_json::{Value, json};

use crate::village::{Plan, Village};

#[test]
fn every_command_says_in_json_what_it_has_changed() {
    let village = Village::found(Plan::default());
    let added = village.ask(&["terminal", "add", "meter", "--number", "303"]);
    assert_eq!(added["name"], "meter");
    village.ask(&["provider", "add", "gauges"]);
    let key = village.ask(&["server-key", "public"])["keys"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let certificates = village.ask(&["server-key", "certificate"]);
    assert!(
        certificates["certificates"][0]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    let changed: &[(&[&str], Value)] = &[
        (
            &["terminal", "register", "meter", "--key", &key],
            json!({ "name": "meter", "key": key, "trust": "enrolled" }),
        ),
        (
            &["terminal", "sends-as", "meter", "gauges"],
            json!({ "name": "meter", "sends_as": "gauges" }),
        ),
        (
            &["terminal", "sends-as", "meter"],
            json!({ "name": "meter", "sends_as": null }),
        ),
        (
            &["subscription", "add", "meter", "news/#"],
            json!({ "terminal": "meter", "filter": "news/#", "subscribed": true }),
        ),
        (
            &["subscription", "remove", "meter", "news/#"],
            json!({ "terminal": "meter", "filter": "news/#", "subscribed": false }),
        ),
        (
            &["terminal", "shut-out", "meter", "--yes"],
            json!({ "name": "meter", "trust": "shut out" }),
        ),
        (
            &["terminal", "remove", "meter", "--yes"],
            json!({ "name": "meter", "cancelled": 0 }),
        ),
    ];
    for (verb, says) in changed {
        assert_eq!(village.ask(verb), *says, "{verb:?}");
    }
}

#[test]
fn a_bundle_goes_into_its_file_with_json_too() {
    let village = Village::found(Plan::default());
    let file = village.path("again.bundle");
    let invited = village.ask(&[
        "terminal",
        "invite",
        "owner",
        "--caller",
        "201",
        "-o",
        file.to_str().unwrap(),
    ]);
    assert_eq!(
        (&invited["file"], &invited["bundle"]),
        (&json!(file), &Value::Null),
        "the secret is in the file only"
    );
    assert!(std::fs::read_to_string(&file).unwrap().contains("owner"));
}

#[test]
fn the_plan_says_in_json_who_is_not_called_and_why() {
    let village = Village::found(Plan::default());
    village.ask(&["terminal", "pause", "owner"]);
    village.send("tel:301", &village.write("report", "first"));
    let plan = village.ask(&["plan"]);
    assert_eq!((&plan["entries"], &plan["more"]), (&json!([]), &json!(0)));
    assert_eq!(
        plan["not_called"],
        json!([{ "terminals": 1, "why": "paused", "messages": 1 }]),
        "{plan}"
    );
}

/// The entries of a list, two at a time, each page begun as the page before says.
fn by_twos(village: &Village, list: &[&str]) -> Vec<Value> {
    let (mut entries, mut after) = (Vec::new(), None::<String>);
    loop {
        let from: Vec<&str> = after.iter().flat_map(|after| ["--after", after]).collect();
        let page = village.run(
            &[
                list,
                &["--json", "--limit", "2", "--config", "server.toml"],
                &from,
            ]
            .concat(),
        );
        assert_eq!(page.code, Some(0), "{list:?} {from:?}: {}", page.stderr);
        let rows: Vec<Value> = serde_json::from_str(&page.stdout).unwrap();
        assert!(rows.len() <= 2, "{rows:?}");
        entries.extend(rows);
        let next = page
            .stderr
            .split("--after '")
            .nth(1)
            .and_then(|rest| rest.split('\'').next());
        match next {
            Some(next) => after = Some(next.to_owned()),
            None => return entries,
        }
    }
}

#[test]
fn alarms_providers_and_subscriptions_are_listed_a_page_at_a_time() {
    let line = |name: &str| format!("[[line]]\nname = \"{name}\"\nport = \"nowhere/{name}\"\n");
    let lines: &str = Box::leak(
        ["line-a", "line-b", "line-c"]
            .map(line)
            .concat()
            .into_boxed_str(),
    );
    let village = Village::found(Plan {
        server_more: lines,
        ..Plan::default()
    });
    for provider in ["a", "b", "c", "d"] {
        village.ask(&["provider", "add", provider]);
    }
    let names = |rows: &[Value], key: &str| {
        rows.iter()
            .map(|row| row[key].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&by_twos(&village, &["provider", "list"]), "name"),
        ["a", "b", "c", "d", "vending"]
    );

    village.ask(&["terminal", "add", "gauge", "--number", "302"]);
    for (terminal, filter) in [
        ("owner", "#"),
        ("owner", "news/+/a & b"),
        ("gauge", "level/#"),
        ("gauge", "x"),
        ("owner", "y"),
    ] {
        village.ask(&["subscription", "add", terminal, filter]);
    }
    let all = village.ask(&["subscription", "list"]);
    let all = all.as_array().unwrap();
    assert_eq!(
        names(all, "terminal"),
        ["gauge", "gauge", "owner", "owner", "owner"]
    );
    assert_eq!(
        names(all, "filter"),
        ["level/#", "x", "#", "news/+/a & b", "y"]
    );
    assert_eq!(by_twos(&village, &["subscription", "list"]), *all);
    assert_eq!(
        village
            .ask(&["subscription", "list", "gauge"])
            .as_array()
            .unwrap()[..],
        all[..2]
    );

    let alarms = village.ask_until(&["alarm", "list"], |alarms| {
        alarms.as_array().unwrap().len() == 3
    });
    assert_eq!(
        by_twos(&village, &["alarm", "list"]),
        *alarms.as_array().unwrap()
    );
    assert_eq!(
        village.ask(&["alarm", "clear", "line-out-of-order", "line-a"])["cleared"],
        true
    );
    // The store notes it soon after; the line is tried again by and by, and raises another alarm, which is newer.
    let is_cleared =
        |alarm: &Value| alarm["subject"] == "line-a" && alarm["cleared_at"].is_string();
    let cleared = village.ask_until(&["alarm", "list", "--cleared"], |alarms| {
        alarms.as_array().unwrap().iter().any(is_cleared)
    });
    let cleared = cleared.as_array().unwrap();
    assert!(cleared.len() >= 3, "{cleared:?}");
    assert!(by_twos(&village, &["alarm", "list", "--cleared"]).ends_with(cleared));
    let none = village.run(&[
        "alarm",
        "clear",
        "line-out-of-order",
        "line-x",
        "--config",
        "server.toml",
    ]);
    assert!(
        none.stderr
            .contains("no active alarm line-out-of-order has this subject"),
        "{}",
        none.stderr
    );
}
