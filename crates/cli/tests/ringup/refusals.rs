//! Refused rings, which cost nothing.

use serde_json::Value;

use crate::village::{CENTRE, OWNER, Plan, VENDING, Village};

/// Number, what else the exchange says of it, the reason for which it is refused. The one without caller ID comes first:
/// its RINGs could not be told from those of a call just refused.
const STRANGERS: [(&str, &str, &str); 6] = [
    ("600", "caller_id = false", "no caller id"),
    ("601", "withheld = true", "withheld"),
    ("602", "", "not registered"),
    ("603", "presents = \"2012\"", "not registered"),
    ("604", "presents = \"1201\"", "not registered"),
    ("605", "presents = \"20\"", "not registered"),
];

const STATIONS: &[(&str, &str)] = &[
    (STRANGERS[0].0, STRANGERS[0].1),
    (STRANGERS[1].0, STRANGERS[1].1),
    (STRANGERS[2].0, STRANGERS[2].1),
    (STRANGERS[3].0, STRANGERS[3].1),
    (STRANGERS[4].0, STRANGERS[4].1),
    (STRANGERS[5].0, STRANGERS[5].1),
];

fn assert_cost_nothing(call: &Value) {
    assert_eq!(call["outcome"], "no_answer", "{call}");
    assert_eq!(
        (&call["answered"], &call["billed_seconds"]),
        (&Value::Null, &0.into()),
        "{call}"
    );
}

#[test]
fn the_terminal_stays_on_hook_for_everybody_but_the_very_number_that_is_registered() {
    let village = Village::found(Plan {
        no_answer_after: "1s",
        strangers: STATIONS,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    for (count, (number, _, reason)) in STRANGERS
        .iter()
        .enumerate()
        .map(|(index, stranger)| (index + 1, stranger))
    {
        assert_eq!(village.typist(number).dial(OWNER), "NO ANSWER", "{number}");
        let refused = village
            .chronicle
            .wait_nth("owner", "ring not answered", count);
        assert_eq!(
            (refused.field("reason").as_str(), refused.field("refused")),
            (*reason, count.to_string()),
            "{number}"
        );
        village
            .chronicle
            .wait_nth("owner", "waiting for calls", count + 1);
    }
    assert!(village.chronicle.said("exchange", "answered").is_empty());
    village
        .exchange_calls(STRANGERS.len())
        .iter()
        .for_each(assert_cost_nothing);

    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(
        village.chronicle.said("owner", "ring not answered").len(),
        STRANGERS.len(),
        "one line for each"
    );
}

#[test]
fn the_number_of_a_refused_caller_can_be_seen_at_the_terminal() {
    let strangers = &[("602", "presents = \"+49301234567\"")];
    let village = Village::found(Plan {
        no_answer_after: "1s",
        strangers,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    assert_eq!(village.typist("602").dial(OWNER), "NO ANSWER");
    let refused = village.chronicle.wait("owner", "ring refused");
    assert_eq!(
        (
            refused.field("caller").as_str(),
            refused.field("reason").as_str()
        ),
        ("+49301234567", "not registered")
    );
    let listed = village.run(&["refused", "--config", "owner.toml", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(
        (&listed[0]["caller"], &listed[0]["reason"]),
        (&"+49301234567".into(), &"not registered".into())
    );
}

#[test]
fn the_server_stays_on_hook_for_everybody_but_those_in_its_directory() {
    let village = Village::found(Plan {
        no_answer_after: "1s",
        strangers: STATIONS,
        ..Plan::default()
    });
    for (count, (number, _, reason)) in STRANGERS
        .iter()
        .enumerate()
        .map(|(index, stranger)| (index + 1, stranger))
    {
        assert_eq!(village.typist(number).dial(CENTRE), "NO ANSWER", "{number}");
        let refused = village
            .chronicle
            .wait_nth("server", "ring not answered", count);
        assert_eq!(refused.field("reason"), *reason, "{number}");
        assert_eq!(
            village.ask(&["line", "list"])[0]["rings_refused"],
            count,
            "{number}"
        );
    }
    assert!(village.chronicle.said("exchange", "answered").is_empty());
    village
        .exchange_calls(STRANGERS.len())
        .iter()
        .for_each(assert_cost_nothing);
    village.server_calls(0);

    let _owner = village.start_owner();
    let message = village.dial_in("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(
        village.chronicle.said("server", "ring not answered").len(),
        STRANGERS.len(),
        "one line for each"
    );
}

#[test]
fn a_spoofed_number_gets_a_link_at_most_and_the_real_server_gets_through_afterwards() {
    let strangers = &[("666", "presents = \"201\"")];
    let village = Village::found(Plan {
        strangers,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let config = std::fs::read_to_string(village.path("vending.toml")).unwrap();
    village.write(
        "spoofer.toml",
        config.replace(VENDING, "666").replace(CENTRE, OWNER),
    );
    let file = village.write("report", "you have won");
    let spoofer = [
        "dial-in",
        "--config",
        "spoofer.toml",
        "--to",
        "tel:301",
        file.to_str().unwrap(),
    ];
    assert_eq!(village.run(&spoofer).code, Some(1));
    village.chronicle.wait_nth("owner", "waiting for calls", 2);
    assert_eq!(village.inbox(), [""; 0]);
    assert_eq!(village.exchange_calls(1)[0]["presented"], CENTRE);

    let message = village.send("tel:301", &village.write("report", "coin box full"));
    village.wait_delivered(&message);
    assert_eq!(village.inbox(), [message.as_str()]);
    assert_eq!(village.received(&message), b"coin box full");
}
