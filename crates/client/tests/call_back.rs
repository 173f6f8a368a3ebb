//! A ring that is a message: it is not answered, and the registered number is called.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ringing;

use std::path::Path;
use std::time::Duration;

use delivery::proof::PublicKey;
use exchange::Outcome;
use jiff::Timestamp;
use line::{Action, Rule};
use ringup_client::answer::{AnswerEnd, Heard, TerminalConfig, answer};
use ringup_client::budget::Budget;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use ringing::{hear, ringing};

fn terminal(folder: &Path, per_hour: Option<u32>) -> TerminalConfig {
    let rule = Rule {
        action: Action::CallBack,
        per_hour,
        ..Rule::default()
    };
    ringing::terminal(folder, PublicKey::from_octets([1; 32]), rule)
}

/// The caller rings until the terminal in `folder` has noted it, and hangs up.
async fn ring_until_noted(folder: &Path, caller: &mut DuplexStream) {
    while !folder.join("state/budget.json").exists() {
        tokio::task::yield_now().await;
    }
    // A key ends the call; one that comes right behind the command is still part of that.
    let mut key = tokio::time::interval(Duration::from_millis(200));
    let (mut reader, mut writer) = tokio::io::split(caller);
    tokio::select! {
        () = hear(&mut reader, "NO CARRIER\r\n") => {}
        never = async {
            loop {
                key.tick().await;
                writer.write_all(b"\r").await.unwrap();
            }
        } => never,
    }
}

#[tokio::test]
async fn a_ring_is_left_unanswered_and_the_registered_number_is_called_when_the_line_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let (exchange, mut caller, port) = ringing(folder.path()).await;
    let mut records = exchange.records();
    let config = terminal(folder.path(), None);
    let call_back = answer(&config, port, Heard::default());
    let caller = async {
        ring_until_noted(folder.path(), &mut caller).await;
        hear(&mut caller, "NMBR = 301\r\n").await;
        let record = records.recv().await.unwrap();
        assert_ne!(
            record.outcome,
            Outcome::Completed,
            "the first ring must not be answered"
        );
    };
    tokio::select! {
        end = call_back => panic!("ended before anybody was called: {end:?}"),
        () = caller => {}
    }
    // The call is under way, so its price is on the disk.
    let spent = std::fs::read_to_string(folder.path().join("state/budget.json")).unwrap();
    assert!(
        spent.contains("\"seconds\":5400") && spent.contains("\"number\":\"201\""),
        "{spent}"
    );
    exchange.stop().await.unwrap();
}

#[tokio::test]
async fn a_number_that_rings_too_often_makes_us_do_nothing_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (exchange, _caller, port) = ringing(folder.path()).await;
    let config = terminal(folder.path(), Some(1));
    let budget = Budget::new(&config.state, config.limits);
    budget
        .note_ring(&"201".parse().unwrap(), Timestamp::now())
        .unwrap();
    let end = answer(&config, port, Heard::default()).await.unwrap();
    assert_eq!(end, AnswerEnd::Refused(line::RefusalReason::TooOften));
    exchange.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_back_that_brings_nothing_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (exchange, mut caller, port) = ringing(folder.path()).await;
    let config = terminal(folder.path(), None);
    let forger = async {
        ring_until_noted(folder.path(), &mut caller).await;
        // It is called back, answers, and leaves: that was paid for.
        hear(&mut caller, "NMBR = 301\r\n").await;
        caller.write_all(b"ATA\r").await.unwrap();
        hear(&mut caller, "CONNECT").await;
        drop(caller);
    };
    let (ended, ()) = tokio::join!(answer(&config, port, Heard::default()), forger);
    assert!(ended.is_err(), "{ended:?}");
    let budget = Budget::new(&config.state, config.limits);
    let number = "201".parse().unwrap();
    assert_eq!(
        budget.note_unproved(&number, Timestamp::now()).unwrap(),
        2,
        "this is the second"
    );
    budget.note_unproved(&number, Timestamp::now()).unwrap();
    exchange.stop().await.unwrap();
    let (exchange, _caller, port) = ringing(folder.path()).await;
    let end = answer(&config, port, Heard::default()).await.unwrap();
    assert_eq!(
        end,
        AnswerEnd::Refused(line::RefusalReason::Unproved),
        "the fourth within the hour"
    );
    exchange.stop().await.unwrap();
}
