//! Senders are told once of what did not arrive, in a mail that mail programs understand.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use delivery::{Digest, MessageHead, MessageId, TerminalId};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use model::directory::{Connection, Terminal, TrustedBy};
use model::provider::{Provider, TokenHash};
use model::verdict::Verdict;
use store::{Handling, NewMessage, ReturnPath};

fn owner() -> TerminalId {
    TerminalId::from_octets([1; 8])
}

async fn open(folder: &TempDir) -> Store {
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    let (name, connection) = ("owner".parse().unwrap(), Connection::Down);
    let terminal = Terminal {
        id: owner(),
        name,
        number: None,
        address: None,
        trusted_by: TrustedBy::default(),
        connection,
    };
    store.add_terminal(terminal).await.unwrap();
    let provider = Provider {
        name: "mail".parse().unwrap(),
        number: None,
        may_send: vec![],
        is_disabled: false,
    };
    store
        .add_provider(provider, TokenHash::of("x"))
        .await
        .unwrap();
    store
}

async fn accept(store: &Store, return_path: Option<ReturnPath>) -> MessageId {
    let content = Bytes::from_static(b"Subject: level\r\nX-A: b\r\n\r\nhigh\r\n");
    let content_type = "message/rfc822".parse().unwrap();
    let head = MessageHead {
        id: MessageId::now(),
        content_type,
        digest: Digest::of(&content),
        size: content.len() as u64,
    };
    let (id, handling) = (
        head.id,
        Handling {
            return_path,
            ..Handling::default()
        },
    );
    let provider = "mail".parse().unwrap();
    store
        .accept(
            NewMessage {
                head,
                provider,
                content: content.into(),
                terminals: vec![owner()],
                subscribers: None,
                handling,
            },
            Timestamp::now(),
        )
        .await
        .unwrap();
    id
}

fn from(sender: &str) -> Option<ReturnPath> {
    Some(ReturnPath {
        sender: sender.to_owned(),
        recipients: vec![(owner(), "301@mail.example".to_owned())],
    })
}

/// A mail server that answers RCPT with these codes, one connection after the other; gives what it was told.
async fn relay(
    codes: &'static [&'static str],
) -> (BounceConfig, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = listener.local_addr().unwrap().to_string();
    let (told, mut serving) = (Arc::new(Mutex::new(Vec::new())), JoinSet::new());
    let said = told.clone();
    serving.spawn(async move {
        for code in codes {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            stream.write_all(b"220 relay\r\n").await.unwrap();
            let (mut line, mut is_content, mut all) = (String::new(), false, String::new());
            while {
                line.clear();
                stream.read_line(&mut line).await.unwrap_or(0) > 0
            } {
                all += &line;
                let answer = match &line.to_uppercase() {
                    text if is_content && text == ".\r\n" => {
                        is_content = false;
                        "250 taken"
                    }
                    _ if is_content => continue,
                    text if text.starts_with("EHLO") => "250 relay",
                    text if text.starts_with("RCPT") => code,
                    text if text.starts_with("DATA") => {
                        is_content = true;
                        "354 go"
                    }
                    text if text.starts_with("QUIT") => "221 bye",
                    _ => "250 ok",
                };
                stream
                    .write_all(format!("{answer}\r\n").as_bytes())
                    .await
                    .unwrap();
            }
            said.lock().unwrap().push(all);
        }
    });
    (
        BounceConfig {
            relay,
            hostname: "mx.mail.example".into(),
            domain: "mail.example".into(),
        },
        told,
        serving,
    )
}

fn later(minutes: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_mins(minutes)
}

#[tokio::test]
async fn a_sender_is_told_once_of_what_did_not_arrive_and_why() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let id = accept(&store, from("gauge@far.example")).await;
    let (config, told, mut serving) = relay(&["250 ok"]).await;
    send_due(&store, &config, &Metrics::default(), later(1))
        .await
        .unwrap();
    store
        .settle(
            id,
            owner(),
            Verdict::Failed,
            "the terminal\r\nsays \u{202e}no".into(),
            Timestamp::now(),
        )
        .await
        .unwrap();
    for _ in 0..2 {
        send_due(&store, &config, &Metrics::default(), later(1))
            .await
            .unwrap();
    }
    serving.join_next().await.unwrap().unwrap();
    let told = told.lock().unwrap();
    let [mail] = told.as_slice() else {
        panic!("{told:?}")
    };
    for line in [
        "MAIL FROM:<>",
        "RCPT TO:<gauge@far.example>",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Reporting-MTA: dns; mx.mail.example",
        "Final-Recipient: rfc822; 301@mail.example",
        "Action: failed",
        "Status: 5.0.0",
        "Diagnostic-Code: x-ringup; failed (the terminal\\r\\nsays \\u202eno)",
        "Auto-Submitted: auto-replied",
        "Subject: level",
    ] {
        assert!(mail.lines().any(|found| found == line), "{line}: {mail}");
    }
    assert!(!mail.contains("high"), "the content stays here");
}

#[tokio::test]
async fn nobody_is_told_of_what_arrived_of_a_bounce_or_of_what_is_no_mail() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let arrived = accept(&store, from("gauge@far.example")).await;
    store
        .settle(
            arrived,
            owner(),
            Verdict::Delivered,
            String::new(),
            Timestamp::now(),
        )
        .await
        .unwrap();
    let plain = accept(&store, None).await;
    store
        .settle(
            plain,
            owner(),
            Verdict::Expired,
            String::new(),
            Timestamp::now(),
        )
        .await
        .unwrap();
    assert!(store.due_bounces(later(1), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_the_relay_does_not_take_now_is_tried_again_and_what_it_never_takes_is_given_up() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    let id = accept(&store, from("gauge@far.example")).await;
    store
        .settle(
            id,
            owner(),
            Verdict::Expired,
            String::new(),
            Timestamp::now(),
        )
        .await
        .unwrap();
    let (config, told, mut serving) = relay(&["451 later", "550 nobody"]).await;
    for minutes in [1, 1, 10, 20] {
        send_due(&store, &config, &Metrics::default(), later(minutes))
            .await
            .unwrap();
    }
    serving.join_next().await.unwrap().unwrap();
    assert_eq!(told.lock().unwrap().len(), 2);
    assert!(
        store
            .due_bounces(later(100_000), 10)
            .await
            .unwrap()
            .is_empty()
    );
    // Nobody there, and after five days nothing more is tried.
    let id = accept(&store, from("gauge@far.example")).await;
    store
        .settle(
            id,
            owner(),
            Verdict::Cancelled,
            String::new(),
            Timestamp::now(),
        )
        .await
        .unwrap();
    for (minutes, waits) in [(1, 1), (3 * 24 * 60, 1), (6 * 24 * 60, 0)] {
        send_due(&store, &config, &Metrics::default(), later(minutes))
            .await
            .unwrap();
        assert_eq!(
            store.due_bounces(later(100_000), 10).await.unwrap().len(),
            waits,
            "after {minutes} minutes"
        );
    }
}

#[test]
fn a_header_goes_back_in_whole_lines_and_never_the_body() {
    assert_eq!(
        notice::header_of(b"A: b\r\nC: d\r\n\r\nbody", 100),
        "A: b\r\nC: d\r\n"
    );
    assert_eq!(
        notice::header_of(b"A: b\r\nC: d\r\n\r\nbody", 8),
        "A: b\r\n"
    );
    assert_eq!(notice::header_of(b"no header at all", 100), "");
}

#[tokio::test]
async fn a_relay_that_is_not_there_is_not_tried_with_all_that_waits_and_an_alarm_says_so() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    for _ in 0..20 {
        let id = accept(&store, from("gauge@far.example")).await;
        store
            .settle(id, owner(), Verdict::Failed, "no".into(), Timestamp::now())
            .await
            .unwrap();
    }
    // A port that nobody listens on.
    let relay = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let config = BounceConfig {
        relay: relay.clone(),
        hostname: "mx.mail.example".into(),
        domain: "mail.example".into(),
    };
    let round = send_due(&store, &config, &Metrics::default(), later(1))
        .await
        .unwrap();
    assert!(!round.is_reached);
    let untried = store.due_bounces(later(1), 100).await.unwrap();
    assert!(untried.len() >= 20 - AT_ONCE, "{}", untried.len());

    let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
    let alarms = Alarms::start(
        store.clone(),
        Default::default(),
        Metrics::default(),
        shutdown,
        &mut tasks,
    )
    .await
    .unwrap();
    let oldest = store.oldest_bounce().await.unwrap();
    say_whether_late(oldest, later(5), &relay, &alarms).await;
    assert_eq!(alarms.standing().await, []);
    say_whether_late(oldest, later(20), &relay, &alarms).await;
    let standing: Vec<_> = alarms
        .standing()
        .await
        .into_iter()
        .map(|alarm| (alarm.kind, alarm.subject))
        .collect();
    assert_eq!(standing, [(AlarmKind::BouncesLate, relay.clone())]);
    say_whether_late(None, later(20), &relay, &alarms).await;
    assert_eq!(alarms.standing().await, []);
}

#[tokio::test]
async fn more_than_one_look_gives_is_sent_without_waiting_for_the_next() {
    let folder = TempDir::new().unwrap();
    let store = open(&folder).await;
    for _ in 0..=READ_AT_ONCE {
        let id = accept(&store, from("gauge@far.example")).await;
        store
            .settle(id, owner(), Verdict::Failed, "no".into(), Timestamp::now())
            .await
            .unwrap();
    }
    let (config, told, _serving) = relay(&["250 ok"; READ_AT_ONCE as usize + 1]).await;
    for is_last in [false, true] {
        let round = send_due(&store, &config, &Metrics::default(), later(1))
            .await
            .unwrap();
        assert_eq!((round.is_reached, round.is_last), (true, is_last));
    }
    assert_eq!(store.due_bounces(later(1), 100).await.unwrap().len(), 0);
    drop(told);
}
