//! A server replaces its key, and its terminals go on knowing it.

use std::fs;

use crate::village::{Plan, Village};

/// Delivers one message to the owner; gives the log entry of the owner about the proof: by which key, and whether resumed.
fn deliver(village: &Village, nth: usize) -> (String, String) {
    let message = village.send(
        "tel:301",
        &village.write("report", format!("message {nth}")),
    );
    village.wait_delivered(&message);
    let proved = village.chronicle.wait_nth("owner", "server proved", nth);
    village.chronicle.wait_nth("owner", "waiting again", nth);
    (proved.field("server"), proved.field("resumed"))
}

fn retire(village: &Village, more: &[&str]) -> crate::process::Finished {
    village.run(
        &[
            &["server-key", "retire", "--yes", "--config", "server.toml"],
            more,
        ]
        .concat(),
    )
}

fn key(village: &Village, index: usize, state: &str) -> String {
    let keys = village.ask(&["server-key", "list"]);
    assert_eq!(keys[index]["state"], state, "{keys:#}");
    keys[index]["key"].as_str().unwrap().to_owned()
}

#[test]
fn a_new_server_key_takes_over_terminal_by_terminal_and_the_old_one_retires_when_all_know_it() {
    let mut village = Village::found(Plan::default());
    let _owner = village.start_owner();
    let old = key(&village, 0, "in use");
    assert_eq!(deliver(&village, 1), (old.clone(), "false".to_owned()));

    village.ask(&["server-key", "rotate"]);
    let new = key(&village, 1, "new");
    let refused = village.run(&["server-key", "rotate", "--config", "server.toml"]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("retire the old one first"),
        "{}",
        refused.stderr
    );
    let refused = retire(&village, &[]);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("owner would not know"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        village.ask(&["terminal", "show", "owner"])["server_keys"],
        serde_json::Value::Null
    );

    // Who has not been told knows the old one, and resumes its session; it is told on the way.
    assert_eq!(deliver(&village, 2), (old.clone(), "true".to_owned()));
    let told = village.ask(&["terminal", "show", "owner"])["server_keys"].clone();
    assert_eq!(told, serde_json::json!([old, new]));
    assert_eq!(deliver(&village, 3), (new.clone(), "false".to_owned()));
    assert_eq!(deliver(&village, 4), (new.clone(), "true".to_owned()));
    assert_eq!(
        village
            .chronicle
            .said("server", "told the server's keys")
            .len(),
        1,
        "once"
    );

    let retired = retire(&village, &[]);
    assert_eq!(retired.code, Some(0), "{}", retired.stderr);
    assert_eq!(
        (key(&village, 0, "in use"), key(&village, 1, "retired")),
        (new.clone(), old.clone())
    );
    assert_eq!(deliver(&village, 5).0, new);
    let kept = fs::read_to_string(village.path("state/enrolment.toml")).unwrap();
    assert!(
        kept.contains(&new) && !kept.contains(&old),
        "what is retired is not trusted any more: {kept}"
    );
    village.kill_server();
    village.start_server("again");
    assert_eq!(key(&village, 0, "in use"), new, "over a restart, too");
}

#[test]
fn a_terminal_that_never_heard_of_the_new_key_is_lost_by_force_only_and_comes_back_by_an_invitation()
 {
    let village = Village::found(Plan::default());
    let owner = village.start_owner();
    deliver(&village, 1);
    village.ask(&["server-key", "rotate"]);
    let retired = retire(&village, &["--force"]);
    assert!(
        retired.code == Some(0) && retired.stderr.contains("invited again: owner"),
        "{}",
        retired.stderr
    );
    let message = village.send("tel:301", &village.write("report", "by a key nobody knows"));
    village.chronicle.wait_nth("owner", "waiting again", 2);
    assert_eq!(village.inbox().len(), 1, "it takes nothing from a stranger");
    owner.kill();
    village.invite("owner.toml");
    let _owner = village.start_owner_again("owner, again");
    village.wait_delivered(&message);
}
