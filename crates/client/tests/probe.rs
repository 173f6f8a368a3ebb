//! An idle modem that is asked whether it is there.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use line::{DialFailure, LineError, ModemLine, PortAddress};
use modem::{Failure, Fault, Setup};
use ringup_client::budget::{Budget, Limits};
use ringup_client::connector::{DialIn, DialInError, dial};
use ringup_client::session::LinkSettings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(10);

/// A line to a modem that says OK until it is asked by a bare `AT`; gives both ends then.
async fn probed() -> (ModemLine, TcpStream) {
    let modem = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port: PortAddress = format!("tcp://{}", modem.local_addr().unwrap())
        .parse()
        .unwrap();
    let stub = async {
        let (mut stream, _) = modem.accept().await.unwrap();
        let mut silent = 0;
        while silent < 2 {
            let command = command(&mut stream).await;
            silent += usize::from(command == "ATS0=0");
            stream.write_all(b"\r\nOK\r\n").await.unwrap();
        }
        stream
    };
    let (line, stream) = tokio::join!(ModemLine::open(&port, Setup::default()), stub);
    (line.unwrap().probed(SOON), stream)
}

async fn command(stream: &mut TcpStream) -> String {
    let mut command = String::new();
    loop {
        match timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap() {
            b'\r' => return command,
            octet => command.push(char::from(octet)),
        }
    }
}

#[tokio::test]
async fn a_modem_that_does_not_answer_twice_fails_the_line() {
    let (mut line, mut modem) = probed().await;
    let stub = async {
        assert_eq!(command(&mut modem).await, "AT");
        modem.write_all(b"\r\nOK\r\n").await.unwrap();
        assert_eq!(command(&mut modem).await, "AT");
        assert_eq!(command(&mut modem).await, "AT");
    };
    let (ring, ()) = tokio::join!(line.ring(), stub);
    assert!(
        matches!(ring, Err(LineError::Modem(Fault::Silent { .. }))),
        "{ring:?}"
    );
}

#[tokio::test]
async fn an_order_that_comes_while_the_modem_is_asked_waits_for_its_answer() {
    let (mut line, mut modem) = probed().await;
    tokio::select! {
        ring = line.ring() => panic!("nobody rings: {ring:?}"),
        command = command(&mut modem) => assert_eq!(command, "AT"),
    }
    let number = "201".parse().unwrap();
    let stub = async {
        modem.write_all(b"\r\nOK\r\n").await.unwrap();
        assert_eq!(command(&mut modem).await, "ATDT201");
        modem.write_all(b"\r\nBUSY\r\n").await.unwrap();
    };
    let (dialled, ()) = tokio::join!(line.dial(&number, PATIENCE), stub);
    assert!(
        matches!(dialled, Err(DialFailure::NoCall(Failure::Busy))),
        "{dialled:?}"
    );
}

#[tokio::test]
async fn a_modem_that_has_fallen_silent_is_found_before_anything_is_dialled() {
    let number = "201".parse().unwrap();
    let (line, mut modem) = probed().await;
    let stub = async {
        assert_eq!(command(&mut modem).await, "AT");
        modem.write_all(b"\r\nOK\r\n").await.unwrap();
        assert_eq!(command(&mut modem).await, "ATDT201");
        modem.write_all(b"\r\nBUSY\r\n").await.unwrap();
    };
    let (dialled, ()) = tokio::join!(line.probed(Duration::ZERO).dial(&number, PATIENCE), stub);
    assert!(
        matches!(dialled, Err(DialFailure::NoCall(Failure::Busy))),
        "{dialled:?}"
    );

    for is_ring in [false, true] {
        let (line, mut modem) = probed().await;
        let line = line.probed(Duration::ZERO);
        let stub = async {
            for _ in 0..2 {
                assert_eq!(command(&mut modem).await, "AT");
            }
        };
        let called = async {
            match is_ring {
                true => {
                    line.ring_only(&number, PATIENCE, std::future::pending())
                        .await
                }
                false => line.dial(&number, PATIENCE).await.map(drop),
            }
        };
        let (called, ()) = tokio::join!(called, stub);
        assert!(
            matches!(
                called,
                Err(DialFailure::NotDialled(LineError::Modem(
                    Fault::Silent { .. }
                )))
            ),
            "{called:?}"
        );
    }
}

#[tokio::test]
async fn a_call_that_may_have_been_answered_counts_in_the_minutes_of_the_day() {
    let folder = tempfile::tempdir().unwrap();
    for (word, counts) in [
        ("BUSY", false),
        ("NO ANSWER", false),
        ("VOICE", true),
        ("NO CARRIER", true),
    ] {
        let state = folder.path().join(word);
        let (line, mut modem) = probed().await;
        let job = DialIn {
            number: "201".parse().unwrap(),
            budget: Budget::new(&state, Limits::default()),
            link: LinkSettings::default(),
            submissions: Vec::new(),
            receive: None,
        };
        let stub = async {
            while !command(&mut modem).await.starts_with("ATD") {
                modem.write_all(b"\r\nOK\r\n").await.unwrap();
            }
            modem
                .write_all(format!("\r\n{word}\r\n").as_bytes())
                .await
                .unwrap();
        };
        let (dialled, ()) = tokio::join!(dial(line, job), stub);
        assert!(
            matches!(dialled, Err(DialInError::NotConnected(_))),
            "{dialled:?}"
        );
        let spent: serde_json::Value =
            serde_json::from_slice(&std::fs::read(state.join("budget.json")).unwrap()).unwrap();
        let seconds = spent["calls"][0]["seconds"].as_u64().unwrap();
        assert_eq!(seconds > 0, counts, "{word}: {spent}");
    }
}
