//! Flow B of the design, section 2: an information server and separate dial-up servers, as processes of their own.

use crate::village::{Plan, Village, awkward_content};

const ONE: Plan = Plan::at(&["201"]);
const TWO: Plan = Plan::at(&["201", "202"]);

#[test]
fn what_a_provider_submits_reaches_a_terminal_that_a_separate_dial_up_server_calls() {
    let village = Village::found(ONE);
    let _owner = village.start_owner();
    let content = awkward_content(200_000);
    let file = village.write("photo", &content);
    let id = village.send("terminal:owner", &file);
    village.wait_delivered(&id);
    assert_eq!(village.received(&id), content);
    let report = village.chronicle.wait("server", "completion report");
    assert_eq!(report.field("port"), "7411");
    let calls = village.server_calls(1);
    assert_eq!((calls[0]["line"].as_str(), calls[0]["outcome"].as_str()), (Some("pop-1.line-1"), Some("completed")));
    assert!(calls[0]["octets_out"].as_u64().unwrap() > 200_000, "{calls:#?}");
    assert_eq!(village.exchange_calls(1)[0]["outcome"], "completed");
    // What a dial-up server keeps: its key, and no call that is settled.
    village.chronicle.wait("pop-1", "call ended");
    let kept: Vec<_> =
        std::fs::read_dir(village.path("pop-1")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
}
