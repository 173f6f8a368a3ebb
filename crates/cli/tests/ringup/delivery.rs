//! A message's whole way.

use rustix::process::Signal;
use serde_json::Value;

use crate::village::{
    CENTRE, FOR_EVER, OWNER, OWNER_ADDRESS, Plan, VENDING, Village, awkward_content,
};

/// Sends `content` from the vending machine to the owner, and follows it through the records of both calls.
fn follow(to: &str, content: &[u8]) -> Village {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    let message = village.dial_in(to, &village.write("report", content));
    let call = village.wait_delivered(&message).field("call");

    assert!(
        village.received(&message) == content,
        "the content has changed on the way"
    );
    assert_eq!(village.inbox(), [message.as_str()]);
    let shown = village.ask(&["message", "show", &message]);
    let envelopes = shown["envelopes"].as_array().unwrap();
    assert_eq!(envelopes.len(), 1);
    assert_eq!(envelopes[0]["state"], "delivered");
    assert_eq!(
        envelopes[0]["call"],
        call.as_str(),
        "the call is the evidence"
    );
    assert_eq!(shown["provider"], "vending");

    let exchange_calls = village.exchange_calls(2);
    let parties = exchange_calls
        .iter()
        .map(|call| (call["caller"].as_str(), call["called"].as_str()));
    assert_eq!(
        parties.collect::<Vec<_>>(),
        [(Some(VENDING), Some(CENTRE)), (Some(CENTRE), Some(OWNER))]
    );
    for call in &exchange_calls {
        assert_eq!(call["outcome"], "completed");
        assert!(call["billed_seconds"].as_u64() > Some(0), "{call}");
    }
    let server_calls = village.server_calls(2);
    let [to_owner, from_vending] = &server_calls[..] else {
        unreachable!("two were asked for")
    };
    assert_eq!(
        (&to_owner["direction"], &to_owner["party"]),
        (&"outgoing".into(), &"owner".into())
    );
    assert_eq!(
        (&from_vending["direction"], &from_vending["party"]),
        (&"incoming".into(), &"vending".into())
    );
    assert_eq!(to_owner["id"], call.as_str());
    for call in &server_calls {
        assert_eq!(call["outcome"], "completed", "{call}");
        assert!(
            call["octets_in"].as_u64() > Some(0) && call["octets_out"].as_u64() > Some(0),
            "{call}"
        );
    }
    let (sent, received) = (
        octets(to_owner, "octets_out"),
        octets(from_vending, "octets_in"),
    );
    assert!(
        sent >= content.len() as u64 && received >= content.len() as u64,
        "{sent} sent, {received} received"
    );
    // The terminal hung up: the server's side of the story has ended well, and the line is free for the next.
    village.chronicle.wait_nth("owner", "waiting for calls", 2);
    village.ask_until(&["line", "list"], |lines| lines[0]["state"] == "idle");
    village
}

fn octets(call: &Value, field: &str) -> u64 {
    call[field].as_u64().unwrap()
}

#[test]
fn a_report_sent_to_an_address_arrives_byte_for_byte_over_two_calls() {
    follow(&format!("ip:{OWNER_ADDRESS}"), &awkward_content(5000));
}

#[test]
fn a_large_file_sent_to_a_number_is_kept_in_a_file_and_arrives_byte_for_byte() {
    let content = awkward_content(100_000);
    let village = follow(&format!("tel:{OWNER}"), &content);
    let kept: Vec<_> = std::fs::read_dir(village.path("server/contents"))
        .unwrap()
        .map(|file| file.unwrap())
        .collect();
    assert_eq!(kept.len(), 1);
    assert!(std::fs::read(kept[0].path()).unwrap() == content);
}

#[test]
fn an_empty_message_arrives_too() {
    follow("terminal:owner", b"");
}

#[test]
fn the_directory_says_down_then_calling_then_connected_then_down() {
    let village = Village::found(Plan {
        linger: FOR_EVER,
        no_answer_after: "60s",
        ..Plan::default()
    });
    let show = ["terminal", "show", "owner"];
    assert_eq!(village.ask(&show)["connection"], "down");
    let owner = village.start_owner();
    owner.signal(Signal::STOP);
    let message = village.send("terminal:owner", &village.write("report", "coin box full"));
    village.chronicle.wait("exchange", "ringing");
    let call = village.chronicle.wait("server", "calling").field("call");
    let shown = village.ask(&show);
    assert_eq!(
        (shown["connection"].as_str(), shown["call"].as_str()),
        (Some("calling"), Some(call.as_str()))
    );
    assert_eq!(shown["waiting"], 1);

    owner.signal(Signal::CONT);
    village.wait_delivered(&message);
    let shown = village.ask_until(&show, |shown| shown["connection"] == "connected");
    assert_eq!(
        (shown["call"].as_str(), shown["waiting"].as_u64()),
        (Some(call.as_str()), Some(0))
    );

    owner.kill(); // and with it the program that lingers
    let shown = village.ask_until(&show, |shown| shown["connection"] == "down");
    assert!(shown["call"].is_null());
}
