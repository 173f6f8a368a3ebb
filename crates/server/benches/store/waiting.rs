//! A start with many different messages waiting: when the first submission is taken, and when the first call is placed.

use std::time::{Duration, Instant};

use bytes::Bytes;
use delivery::{Digest, Urgency};
use jiff::{SignedDuration, Timestamp};
use model::directory::{Stock, StockTrust, Terminal, TrustedBy};
use model::provider::{Provider, Token, TokenHash};
use modem::{Profile, Setup};
use ringup_server::dialup::LineConfig;
use store::{NewMessage, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::load::{config, message, terminal};
use crate::table::{extent, target};

fn waiting() -> u32 {
    extent(600_000, 3000)
}

/// Of how many terminals: few with much, and many with little.
fn terminals() -> [u32; 2] {
    extent([1000, 100_000], [10, 1000])
}

pub(crate) async fn measure() {
    for terminals in terminals() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = fill(folder.path(), terminals).await;
        let (submitted, called) = start(folder.path(), &token).await;
        for (what, seconds) in [("submission accepted", submitted), ("dial command", called)] {
            let waiting = waiting();
            let what = format!(
                "a start with {waiting} different messages waiting for {terminals} terminals: first {what}"
            );
            target(what, "under 1 s", format!("{seconds:.2} s"), seconds < 1.0);
        }
    }
}

/// A terminal that may be called.
fn callable(number: u32) -> Terminal {
    let inbox = "http://:8080/inbox".parse().expect("an inbox");
    Terminal {
        number: Some(format!("+4930{number:07}").parse().expect("a number")),
        trusted_by: TrustedBy::Stock(Stock {
            trust: StockTrust::NumberOnly,
            inbox,
        }),
        ..terminal(number)
    }
}

/// Urgent, normal and bulk; some expire.
fn different(number: u32, terminals: u32) -> NewMessage {
    let content = Bytes::from(format!("{number:>200}"));
    let mut new = message(vec![terminal(number % terminals).id]);
    (new.head.digest, new.head.size) = (Digest::of(&content), 200);
    new.content = content.into();
    // A third of the terminals has nothing but bulk.
    new.handling.urgency = match (number % terminals % 3, number % 2) {
        (0, _) => Urgency::Bulk,
        (_, 0) => Urgency::Normal,
        _ => Urgency::Urgent,
    };
    new.handling.expires_at = (!number.is_multiple_of(5))
        .then(|| Timestamp::now() + SignedDuration::from_hours(24 + i64::from(number % 1000)));
    new
}

async fn fill(folder: &std::path::Path, terminals: u32) -> Token {
    let store = Store::open(folder, Timestamp::now()).expect("a store");
    let token = Token::from_octets([7; 32]);
    let provider = Provider {
        name: "vending".parse().expect("a name"),
        number: None,
        may_send: Vec::new(),
        is_disabled: false,
    };
    store
        .add_provider(provider, TokenHash::of(token.reveal()))
        .await
        .expect("it is new");
    let all: Vec<u32> = (0..terminals).collect();
    for some in all.chunks(1000) {
        let mut adding = JoinSet::new();
        for number in some.iter().copied() {
            let store = store.clone();
            adding.spawn(async move {
                store
                    .add_terminal(callable(number))
                    .await
                    .expect("it is new");
            });
        }
        adding.join_all().await;
    }
    let all: Vec<u32> = (0..waiting()).collect();
    for some in all.chunks(2000) {
        let mut accepting = JoinSet::new();
        for number in some.iter().copied() {
            let store = store.clone();
            accepting.spawn(async move {
                store
                    .accept(different(number, terminals), Timestamp::now())
                    .await
                    .expect("a disk")
            });
        }
        accepting.join_all().await;
    }
    token
}

/// Seconds from the start to the first 202, and to the first dial command.
async fn start(folder: &std::path::Path, token: &Token) -> (f64, f64) {
    let modem = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = format!("tcp://{}", modem.local_addr().expect("an address"))
        .parse()
        .expect("a port");
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .and_then(|port| port.local_addr())
        .expect("a port");
    let mut config = config(folder, address);
    config.number_only = true;
    config.lines = vec![LineConfig {
        name: "line-1".parse().expect("a name"),
        port,
        setup: Setup::from(Profile::GENERIC),
        dial_prefix: String::new(),
        ring_only: None,
        delay: Duration::ZERO,
        tariff: None,
    }];
    let shutdown = CancellationToken::new();
    let began = Instant::now();
    let server = tokio::spawn(ringup_server::serve(config, shutdown.clone()));
    let called = tokio::spawn(async move { answer_until_dialled(modem, began).await });
    let mut stream = loop {
        match TcpStream::connect(address).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    };
    let request = format!(
        "POST /v1/messages?to=terminal:t1 HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ncontent-length: 1\r\n\r\nx",
        token.reveal()
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a server");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 202");
    let submitted = began.elapsed().as_secs_f64();
    let called = called.await.expect("a call");
    shutdown.cancel();
    server.await.expect("it does not panic").expect("it stops");
    (submitted, called)
}

/// A modem that says OK to everything, until it is to dial.
async fn answer_until_dialled(listener: TcpListener, began: Instant) -> f64 {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let (mut line, mut octet) = (Vec::new(), [0; 1]);
        while let Ok(1) = stream.read(&mut octet).await {
            match octet[0] {
                b'\r' => {
                    let said = String::from_utf8_lossy(&line).to_uppercase();
                    if said.contains("ATD") {
                        return began.elapsed().as_secs_f64();
                    }
                    line.clear();
                    if stream.write_all(b"\r\nOK\r\n").await.is_err() {
                        break;
                    }
                }
                octet => line.push(octet),
            }
        }
    }
}
