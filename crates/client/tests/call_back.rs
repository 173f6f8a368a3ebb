//! A ring that is a message: it is not answered, and the registered number is called.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::time::Duration;

use delivery::TerminalId;
use delivery::proof::{Bundle, EnrolmentSecret, PublicKey};
use exchange::{Config, Outcome, Running};
use jiff::Timestamp;
use line::{Action, ModemLine, Port, PortAddress, Rule, Screening};
use modem::{Profile, Setup};
use ringup_client::answer::{AnswerEnd, Heard, TerminalConfig, answer};
use ringup_client::budget::{Budget, Limits};
use ringup_client::identity::Identity;
use ringup_client::inbox::{InboxConfig, Rules};
use ringup_client::session::LinkSettings;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

/// Longer than the silence behind a ring and the guard together (13 s), on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);

fn terminal(folder: &Path, rule: Rule) -> TerminalConfig {
    let mut callers = Screening::default();
    assert!(callers.register("201".parse().unwrap(), rule));
    let bundle = Bundle {
        terminal: TerminalId::from_octets([1; 8]),
        name: "owner".into(),
        servers: vec![PublicKey::from_octets([1; 32])],
        callers: vec![],
        number: None,
        address: None,
        secret: Some(EnrolmentSecret::from_octets([1; 32])),
        expires_at: Timestamp::MAX,
    };
    Identity::enrol(&folder.join("state"), &bundle, Timestamp::now()).unwrap();
    TerminalConfig {
        callers,
        home: None,
        dial_prefix: String::new(),
        inbox: InboxConfig { folder: folder.join("inbox"), rules: Rules::default(), hand_over: Vec::new() },
        state: folder.join("state"),
        server: None,
        limits: Limits::default(),
        linger: Duration::ZERO,
        standing: None,
        profile: Profile::GENERIC,
        link: LinkSettings::default(),
    }
}

/// Reads until the text ends with `wanted`.
async fn hear(dte: &mut (impl AsyncRead + Unpin), wanted: &str) {
    let mut heard = Vec::new();
    let read = async {
        while !heard.ends_with(wanted.as_bytes()) {
            heard.push(dte.read_u8().await.unwrap());
        }
    };
    let in_time = timeout(PATIENCE, read).await.is_ok();
    assert!(in_time, "waited for {wanted:?}, heard {:?}", String::from_utf8_lossy(&heard));
}

/// An exchange with a caller at 201 who has just begun to ring 301, and the port of 301.
async fn ringing(folder: &Path) -> (Running, DuplexStream, Port) {
    let line = folder.join("line");
    let config: Config = format!(
        "ring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\ntraining = \"10ms\"\n\
         [[station]]\nnumber = \"201\"\nmemory = true\n[[station]]\nnumber = \"301\"\npty = {line:?}\n"
    )
    .parse()
    .unwrap();
    let exchange = Running::start(config).await.unwrap();
    let port = PortAddress::Device(line);
    // As the starter does before it hands the line over.
    drop(ModemLine::open(&port, Setup::default()).await.unwrap());
    let port = Port::open(&port).unwrap();
    port.write_all(b"ATE0+VCID=1\r").unwrap();
    let mut caller = exchange.station_stream("201").unwrap();
    caller.write_all(b"ATE0+VCID=1\r").await.unwrap();
    hear(&mut caller, "OK\r\n").await;
    caller.write_all(b"ATDT301\r").await.unwrap();
    (exchange, caller, port)
}

#[tokio::test]
async fn a_ring_is_left_unanswered_and_the_registered_number_is_called_when_the_line_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let (exchange, mut caller, port) = ringing(folder.path()).await;
    let mut records = exchange.records();
    let config = terminal(folder.path(), Rule { action: Action::CallBack, ..Rule::default() });
    let call_back = answer(&config, port, Heard::default());
    let caller = async {
        // It has rung long enough when the ring is noted.
        while !folder.path().join("state/budget.json").exists() {
            tokio::task::yield_now().await;
        }
        // A key ends the call; one that comes right behind the command is still part of that.
        let mut key = tokio::time::interval(Duration::from_millis(200));
        let (mut reader, mut writer) = tokio::io::split(&mut caller);
        tokio::select! {
            () = hear(&mut reader, "NO CARRIER\r\n") => {}
            never = async {
                loop {
                    key.tick().await;
                    writer.write_all(b"\r").await.unwrap();
                }
            } => never,
        }
        hear(&mut caller, "NMBR = 301\r\n").await;
        let record = records.recv().await.unwrap();
        assert_ne!(record.outcome, Outcome::Completed, "the first ring must not be answered");
    };
    tokio::select! {
        end = call_back => panic!("ended before anybody was called: {end:?}"),
        () = caller => {}
    }
    // The call is under way, so its price is on the disk.
    let spent = std::fs::read_to_string(folder.path().join("state/budget.json")).unwrap();
    assert!(spent.contains("\"seconds\":5400") && spent.contains("\"number\":\"201\""), "{spent}");
    exchange.stop().await.unwrap();
}

#[tokio::test]
async fn a_number_that_rings_too_often_makes_us_do_nothing_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (exchange, _caller, port) = ringing(folder.path()).await;
    let config = terminal(folder.path(), Rule { action: Action::CallBack, per_hour: Some(1), ..Rule::default() });
    let budget = Budget::new(&config.state, config.limits);
    budget.note_ring(&"201".parse().unwrap(), Timestamp::now()).unwrap();
    let end = answer(&config, port, Heard::default()).await.unwrap();
    assert_eq!(end, AnswerEnd::Refused(line::RefusalReason::TooOften));
    exchange.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_back_that_brings_nothing_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (exchange, mut caller, port) = ringing(folder.path()).await;
    let config = terminal(folder.path(), Rule { action: Action::CallBack, ..Rule::default() });
    let forger = async {
        while !folder.path().join("state/budget.json").exists() {
            tokio::task::yield_now().await;
        }
        let mut key = tokio::time::interval(Duration::from_millis(200));
        {
            let (mut reader, mut writer) = tokio::io::split(&mut caller);
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
    assert_eq!(budget.note_unproved(&number, Timestamp::now()).unwrap(), 2, "this is the second");
    budget.note_unproved(&number, Timestamp::now()).unwrap();
    exchange.stop().await.unwrap();
    let (exchange, _caller, port) = ringing(folder.path()).await;
    let end = answer(&config, port, Heard::default()).await.unwrap();
    assert_eq!(end, AnswerEnd::Refused(line::RefusalReason::Unproved), "the fourth within the hour");
    exchange.stop().await.unwrap();
}
