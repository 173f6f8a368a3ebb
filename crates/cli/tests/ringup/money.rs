//! What calls cost is reserved, settled, and stops them.

use rustix::process::Signal;

use crate::village::{FOR_EVER, Plan, Village};

/// Ten for each three minutes, and ten a day for each terminal.
const TEN_A_DAY: &str = r#"
[budget]
terminal = "10"
longest_call = "3m"
[[tariff]]
name = "minutes"
[[tariff.window]]
unit_ms = 180000
price = "10"
"#;

#[test]
fn a_budget_that_is_spent_stops_calls_and_the_plan_says_so() {
    let plan = Plan {
        line_more: "tariff = \"minutes\"",
        server_more: TEN_A_DAY,
        ..Plan::default()
    };
    let mut village = Village::found(plan);
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("first", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(
        village
            .chronicle
            .wait("server", "call settled")
            .field("amount"),
        "10"
    );

    for (by, name) in [
        ("terminal", "owner"),
        ("provider", "vending"),
        ("line", "line-1"),
    ] {
        let spent = village.ask(&["spent", "--by", by]);
        let entry = &spent["entries"][0];
        assert_eq!(
            (&entry["name"], &entry["calls"], &entry["amount"]),
            (&name.into(), &1.into(), &"10".into())
        );
        assert_eq!(
            (&spent["amount"], spent["entries"].as_array().map(Vec::len)),
            (&"10".into(), Some(1)),
            "{spent}"
        );
    }
    assert!(
        village.ask(&["spent", "--by", "line", "--since", "2099-01-01"])["entries"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let call = village.ask(&["call", "list"]).as_array().unwrap()[0].clone();
    assert_eq!(
        call["cost"],
        serde_json::json!({ "reserved": "10", "spent": "10" }),
        "{call}"
    );

    village.send("tel:301", &village.write("second", "coin box emptied"));
    village.chronicle.wait("server", "call not placed");
    let plan = village.ask_until(&["plan"], |plan| {
        plan["entries"][0]["why"] == "the budget is spent"
    });
    assert_eq!(
        (
            plan["entries"][0]["terminal"].as_str(),
            plan["entries"][0]["messages"].as_u64()
        ),
        (Some("owner"), Some(1)),
        "{plan}"
    );
    assert_eq!(
        (
            plan["entries"][0]["line"].as_str(),
            plan["entries"][0]["price"].as_str()
        ),
        (Some("line-1"), Some("10")),
        "{plan}"
    );
    assert!(plan["entries"][0]["at"].is_string(), "{plan}");
    assert_eq!(
        village.server_calls(1).len(),
        1,
        "the second was not placed"
    );

    // What was spent before a crash is spent.
    village.kill_server();
    village.start_server("server again");
    village.chronicle.wait("server again", "call not placed");
    assert_eq!(village.exchange_calls_so_far().len(), 1);
}

#[test]
fn a_call_is_hung_up_before_it_costs_more_than_is_reserved() {
    let server_more = "[budget]\nlongest_call = \"10s\"";
    let village = Village::found(Plan {
        linger: FOR_EVER,
        server_more,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    let call = village.server_calls(1).remove(0);
    assert_eq!(
        call["outcome"], "hung up: what was reserved is spent",
        "{call}"
    );
    let billed = village.exchange_calls(1)[0]["billed_seconds"].as_u64();
    assert!(
        billed.is_some_and(|seconds| (1..=10).contains(&seconds)),
        "{billed:?}"
    );
}

#[test]
fn a_dial_up_server_hangs_up_before_an_unreserved_unit_though_its_information_server_says_nothing()
{
    let server_more = "[budget]\nlongest_call = \"10s\"";
    let village = Village::found(Plan {
        linger: FOR_EVER,
        server_more,
        ..Plan::at(&["201"])
    });
    let _owner = village.start_owner();
    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    village.signal_server(Signal::STOP); // its connection stays up
    let billed = village.exchange_calls(1)[0]["billed_seconds"].as_u64();
    village.signal_server(Signal::CONT);
    assert!(
        billed.is_some_and(|seconds| (1..=10).contains(&seconds)),
        "{billed:?}"
    );
    let call = village.server_calls(1).remove(0);
    assert_eq!(
        call["outcome"], "hung up: what was reserved is spent",
        "{call}"
    );
}

#[test]
fn a_dial_up_server_hangs_up_when_the_octets_that_were_reserved_are_used() {
    let server_more = r#"
[budget]
octets_max = 50_000
[[tariff]]
name = "octets"
[tariff.octets]
quantum = 1000
price = "1"
"#;
    let line_away = ", tariff = \"octets\"";
    let village = Village::found(Plan {
        server_more,
        line_away,
        size_max: 2_000_000,
        ..Plan::at(&["201"])
    });
    let _owner = village.start_owner();
    // At 1,000,000 bit/s more than ten seconds of line.
    let message = village.send(
        "tel:301",
        &village.write("photo", crate::village::awkward_content(1_500_000)),
    );
    let call = village.ask_until(&["call", "list"], |calls| calls[0]["outcome"].is_string());
    assert_eq!(
        call[0]["outcome"], "hung up: what was reserved is spent",
        "{call}"
    );
    let carried = village.exchange_calls_so_far()[0]["octets_from_caller"]
        .as_u64()
        .unwrap();
    assert!((50_000..1_000_000).contains(&carried), "{carried}");
    let shown = village.ask(&["message", "show", &message]);
    assert!(shown["envelopes"][0]["verdict"].is_null(), "{shown}");
}
