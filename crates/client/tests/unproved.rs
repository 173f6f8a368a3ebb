//! Whoever is answered and proves nothing: counted in whatever way it is done, heard for a moment when it is spaced; and a line
//! that is lost, which counts as no party's failure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ringing;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use delivery::proof::{CourierCredentials, Pin, PublicKey, SecretKey};
use delivery::{Preamble, Reason};
use jiff::Timestamp;
use line::{Number, RefusalReason, Rule};
use link::{CloseReason, Link, LinkConfig, LocalAddress, PeerAddress};
use ringup_client::answer::{AnswerEnd, AnswerError, Heard, TerminalConfig, answer};
use ringup_client::budget::Budget;
use ringup_client::session::{Ended, SessionError, receive, receive_online};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use ringing::{hear, ringing};

const RATE: u32 = 33_600;

fn terminal(folder: &Path, server: PublicKey) -> TerminalConfig {
    ringing::terminal(folder, server, Rule::default())
}

fn stranger() -> PublicKey {
    SecretKey::generate().unwrap().public()
}

/// What the budget's file says of calls that proved nothing, and of those whose carrier was lost.
fn counted(config: &TerminalConfig) -> (usize, usize) {
    let text = std::fs::read(config.state.join("budget.json")).unwrap_or_default();
    let spent: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let count = |what: &str| spent[what].as_array().map_or(0, Vec::len);
    (count("unproved"), count("lost"))
}

#[tokio::test]
async fn a_caller_that_connects_and_says_nothing_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let config = terminal(folder.path(), stranger());
    let (exchange, mut caller, port) = ringing(folder.path()).await;
    let silent = async {
        hear(&mut caller, "CONNECT").await;
        while caller.read_u8().await.is_ok() {}
    };
    let ended = tokio::select! {
        ended = answer(&config, port, Heard::default()) => ended,
        () = silent => panic!("the caller stays"),
    };
    assert!(
        matches!(ended, Err(AnswerError::Session(SessionError::Link(_)))),
        "{ended:?}"
    );
    assert_eq!(counted(&config), (1, 0));
    exchange.stop().await.unwrap();
}

#[tokio::test]
async fn a_carrier_that_is_lost_before_the_link_is_up_is_the_lines_fault_and_counts_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let config = terminal(folder.path(), stranger());
    let (exchange, mut caller, port) = ringing(folder.path()).await;
    let leaves = async {
        hear(&mut caller, "CONNECT").await;
        drop(caller);
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = answer(&config, port, Heard::default()) => ended,
        () = leaves => unreachable!(),
    };
    assert!(
        matches!(&ended, Err(AnswerError::Session(error)) if error.is_lines_fault()),
        "{ended:?}"
    );
    assert_eq!(counted(&config), (0, 1));
    exchange.stop().await.unwrap();
}

#[tokio::test]
async fn a_number_that_is_spaced_is_answered_for_a_moment_and_not_when_its_minute_is_spent() {
    let folder = tempfile::tempdir().unwrap();
    let config = terminal(folder.path(), stranger());
    let (number, budget): (Number, _) = (
        "201".parse().unwrap(),
        Budget::new(&config.state, config.limits),
    );
    for _ in 0..3 {
        budget.note_unproved(&number, Timestamp::now()).unwrap();
    }
    let (exchange, mut caller, port) = ringing(folder.path()).await;
    let silent = async {
        hear(&mut caller, "CONNECT").await;
        let connected = Instant::now();
        let mut octets = [0; 100];
        while !matches!(caller.read(&mut octets).await, Ok(0) | Err(_)) {
            if octets.windows(10).any(|said| said == b"NO CARRIER") {
                break;
            }
        }
        connected.elapsed()
    };
    let (ended, lasted) = tokio::join!(answer(&config, port, Heard::default()), silent);
    assert!(
        matches!(
            ended,
            Err(AnswerError::Session(SessionError::NotProved(None)))
        ),
        "{ended:?}"
    );
    assert!(
        lasted < Duration::from_secs(11),
        "silence costs 12 s and more otherwise: {lasted:?}"
    );
    assert_eq!(counted(&config), (4, 0));
    exchange.stop().await.unwrap();

    let spent = budget
        .hear(Duration::from_secs(60), Timestamp::now())
        .unwrap();
    assert!(
        spent < Duration::from_secs(60),
        "what the call took of the minute is gone: {spent:?}"
    );
    let (exchange, _caller, port) = ringing(folder.path()).await;
    let end = answer(&config, port, Heard::default()).await.unwrap();
    assert_eq!(end, AnswerEnd::Refused(RefusalReason::Unproved));
    exchange.stop().await.unwrap();
}

/// A link with a server that takes the notice and then does this with its end of the connection, before the line goes.
async fn cut_during_the_proof(config: &TerminalConfig, server: &SecretKey, begins: bool) -> Ended {
    let (near, far) = duplex(64 * 1024);
    let (own, theirs) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2));
    let line = |local, peer| LinkConfig::new(local, peer, RATE, Duration::from_millis(10));
    let (near, far) = tokio::join!(
        Link::establish(
            near,
            line(LocalAddress::Own(own), PeerAddress::Assign(theirs))
        ),
        Link::establish(far, line(LocalAddress::Ask(None), PeerAddress::Any)),
    );
    let (near, far) = (near.unwrap(), far.unwrap());
    let courier = CourierCredentials::new(server).unwrap();
    let mut notices = near.listen(delivery::PORT).unwrap();
    let cut = async move {
        let mut stream = notices.accept().await.unwrap();
        let notice = Preamble::read(&mut stream).await.unwrap();
        if begins {
            let mut stream = courier
                .secure(stream, notice.terminal, Pin::Enrolling, RATE)
                .unwrap();
            stream.write_all(b"x").await.unwrap();
            let _ = timeout(Duration::from_millis(300), stream.flush()).await;
        }
        drop(near);
    };
    let receiving = config.receive().open().unwrap();
    let (ended, ()) = tokio::join!(
        receive(
            &far,
            Reason::Called,
            Duration::from_millis(10),
            None,
            receiving
        ),
        cut
    );
    ended
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_is_lost_during_the_proof_is_never_a_failed_proof() {
    let folder = tempfile::tempdir().unwrap();
    let server = SecretKey::generate().unwrap();
    let config = terminal(folder.path(), server.public());
    for begins in [false, true].into_iter().cycle().take(40) {
        let Ended {
            is_proved,
            brought,
            result,
        } = cut_during_the_proof(&config, &server, begins).await;
        assert!(
            matches!(
                result,
                Err(SessionError::LinkEnded(CloseReason::CarrierLost))
            ),
            "{result:?}"
        );
        assert!(!is_proved && brought == 0 && result.unwrap_err().is_lines_fault());
    }
}

#[tokio::test]
async fn a_terminal_that_is_told_later_comes_again_and_does_not_blame_the_servers_proof() {
    let folder = tempfile::tempdir().unwrap();
    let config = terminal(folder.path(), stranger());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = async {
        for answer in ["ringup/1 later 0\n", "ringup/1 later 0\n", ""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            Preamble::read(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    };
    let receiving = config.receive().open().unwrap();
    let (ended, ()) = tokio::join!(receive_online(&address, Reason::Online, receiving), server);
    assert!(
        matches!(ended.result, Err(SessionError::TurnedAway)),
        "{:?}",
        ended.result
    );
}
