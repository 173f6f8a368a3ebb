use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use delivery::{ContentType, Digest, MessageHead, MessageId, TerminalId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::alarms::AlarmConfig;
use crate::outward::OutwardError;
use crate::outward::post::PostError;
use model::directory::{Connection, Terminal, TrustedBy};
use model::provider::{Provider, TokenHash};
use model::url::HttpUrl;
use model::webhook::{Webhook, WebhookSecret};
use store::{Handling, NewMessage};

fn owner() -> TerminalId {
    TerminalId::from_octets([1; 8])
}

fn webhook(url: &str, may_be_private: bool) -> Webhook {
    Webhook {
        url: url.parse().unwrap(),
        secret: WebhookSecret::from_octets([7; 32]),
        may_be_private,
    }
}

/// A store whose provider has this webhook, and a message that waits.
async fn store_with(folder: &tempfile::TempDir, webhook: Webhook) -> (Store, MessageId) {
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    let (id, name, connection) = (owner(), "owner".parse().unwrap(), Connection::Down);
    store
        .add_terminal(Terminal {
            id,
            name,
            number: None,
            address: None,
            trusted_by: TrustedBy::default(),
            connection,
        })
        .await
        .unwrap();
    let provider = Provider {
        name: "vending".parse().unwrap(),
        number: None,
        may_send: vec![],
        is_disabled: false,
    };
    store
        .add_provider_with(provider.clone(), TokenHash::of("x"), Some(webhook), None)
        .await
        .unwrap();
    let id = accept(&store, "vending").await;
    (store, id)
}

async fn accept(store: &Store, provider: &str) -> MessageId {
    let content = Bytes::from_static(b"x");
    let id = MessageId::now();
    let head = MessageHead {
        id,
        content_type: ContentType::octets(),
        digest: Digest::of(&content),
        size: 1,
    };
    let (provider, handling, terminals) = (
        provider.parse().unwrap(),
        Handling::default(),
        vec![owner()],
    );
    store
        .accept(
            NewMessage {
                head,
                provider,
                content: content.into(),
                terminals,
                subscribers: None,
                handling,
            },
            Timestamp::now(),
        )
        .await
        .unwrap();
    id
}

/// Tells one verdict, and notes what came of it.
async fn try_once(store: &Store, post: &Post, metrics: &Metrics, telling: Telling) {
    let tried = super::try_once(post, metrics, "vending".to_owned(), telling, None).await;
    store
        .tellings_ended(vec![(tried.id, tried.next_at)])
        .await
        .unwrap();
}

async fn due(store: &Store) -> Vec<Telling> {
    store
        .due_tellings("vending".into(), BTreeSet::new(), 10, Timestamp::now())
        .await
        .unwrap()
}

/// Takes one request, answers it, and gives it: head and body.
async fn answer_one(listener: &TcpListener, answer: &str) -> (String, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut octets = Vec::new();
    loop {
        let mut more = [0; 1024];
        let count = stream.read(&mut more).await.unwrap();
        octets.extend(&more[..count]);
        let text = String::from_utf8(octets.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = field(head, "content-length")
                .unwrap()
                .parse::<usize>()
                .unwrap();
            if body.len() == length {
                stream.write_all(answer.as_bytes()).await.unwrap();
                return (head.to_owned(), body.to_owned());
            }
        }
    }
}

fn field(head: &str, name: &str) -> Option<String> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/verdicts?a=b", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test]
async fn a_verdict_is_told_once_signed_with_its_evidence_even_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, url) = listen().await;
    let call = line::CallId::now();
    let message = {
        let (store, message) = store_with(&folder, webhook(&url, true)).await;
        assert!(due(&store).await.is_empty(), "no verdict yet");
        store
            .delivered(message, owner(), call, Timestamp::now())
            .await
            .unwrap();
        message
    };
    let store = Store::open(folder.path(), Timestamp::now()).unwrap();
    assert_eq!(store.webhook_providers(), ["vending"]);
    let telling = due(&store).await.remove(0);
    let id = event_id(&telling);
    let (post, metrics) = (Post::default(), Metrics::default());
    let tried = try_once(&store, &post, &metrics, telling);
    let ((), (head, body)) = tokio::join!(
        tried,
        answer_one(&listener, "HTTP/1.1 204 No Content\r\n\r\n")
    );
    assert!(
        head.starts_with("POST /verdicts?a=b HTTP/1.1\r\n"),
        "{head}"
    );
    assert_eq!(field(&head, "webhook-id"), Some(id.clone()));
    let at = Timestamp::from_second(field(&head, "webhook-timestamp").unwrap().parse().unwrap())
        .unwrap();
    let expected = crate::outward::sign(&[7; 32], &id, at, &body);
    assert_eq!(field(&head, "webhook-signature"), Some(expected));
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&told["verdict"], &told["terminal"]),
        (&json!("delivered"), &json!("owner"))
    );
    assert_eq!(told["message"], message.to_string());
    assert_eq!(
        told["evidence"],
        json!({ "call": call.to_string(), "deliveries": 1 })
    );
    assert!(due(&store).await.is_empty());
}

#[tokio::test]
async fn an_answer_that_is_no_yes_is_tried_again_later_and_a_redirect_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, url) = listen().await;
    let (elsewhere, other) = listen().await;
    let (store, message) = store_with(&folder, webhook(&url, true)).await;
    store
        .cancel(message, None, "cancelled", Timestamp::now())
        .await
        .unwrap();
    let telling = due(&store).await.remove(0);
    let answer = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: {other}\r\ncontent-length: 0\r\n\r\n"
    );
    let (post, metrics) = (Post::default(), Metrics::default());
    let tried = try_once(&store, &post, &metrics, telling.clone());
    let sent_elsewhere = async {
        tokio::select! {
            biased;
            _ = elsewhere.accept() => panic!("followed"),
            ((), _) = async { tokio::join!(tried, answer_one(&listener, &answer)) } => {}
        }
    };
    sent_elsewhere.await;
    assert!(due(&store).await.is_empty(), "not at once");
    let later = Timestamp::now() + PAUSES[0];
    let again = store
        .due_tellings("vending".into(), BTreeSet::new(), 10, later)
        .await
        .unwrap();
    assert_eq!((again.len(), again[0].failed), (1, 1));
    // After three days it is given up.
    let old = Telling {
        since: Timestamp::now() - GIVE_UP_AFTER,
        ..telling
    };
    let tried = try_once(&store, &post, &metrics, old);
    tokio::join!(
        tried,
        answer_one(&listener, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
    );
    assert!(
        store
            .due_tellings("vending".into(), BTreeSet::new(), 10, Timestamp::MAX)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_address_of_this_network_is_not_spoken_to_unless_the_provider_may() {
    let (listener, url) = listen().await;
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("http://{host}:{port}/");
        let Ok(url) = url.parse::<HttpUrl>() else {
            continue;
        };
        let webhook = Webhook {
            url,
            ..webhook("http://x/", false)
        };
        let post = Post::default();
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("spoken to as {host}"),
            sent = post.send(&webhook, "id", Timestamp::now(), "{}".into()) => {
                assert!(matches!(sent, Err(PostError::Outward(OutwardError::NotAllowed(_) | OutwardError::Resolve(_)))), "{host}: {sent:?}");
            }
        }
    }
    let webhook = webhook(&url, true);
    let sent = Post::default();
    let sent = sent.send(&webhook, "id", Timestamp::now(), "{}".into());
    let (sent, _) = tokio::join!(
        sent,
        answer_one(&listener, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    );
    sent.unwrap();
}

#[tokio::test]
async fn what_a_hostile_webhook_answers_costs_no_more_than_its_head() {
    let (listener, url) = listen().await;
    let webhook = webhook(&url, true);
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let no_http = "\0\u{1}\u{2}".repeat(1000);
    for answer in [
        endless.as_str(),
        &no_http,
        "",
        "HTTP/1.1 999 x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
    ] {
        let post = Post::default();
        let sent = post.send(&webhook, "id", Timestamp::now(), "{}".into());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 64];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(answer.as_bytes()).await; // it may have hung up on it
        };
        let (sent, ()) = tokio::join!(sent, server);
        assert!(
            sent.is_err(),
            "{:?} was taken",
            &answer[..answer.len().min(40)]
        );
    }
}

#[tokio::test]
async fn a_secure_webhook_that_does_not_prove_its_name_is_told_nothing() {
    let (listener, url) = listen().await;
    let webhook = webhook(&url.replace("http:", "https:"), true);
    let post = Post::default();
    let sent = post.send(&webhook, "id", Timestamp::now(), "{\"secret\":1}".into());
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut octets = vec![0; 10_000];
        let count = stream.read(&mut octets).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        octets.truncate(count);
        octets
    };
    let (sent, octets) = tokio::join!(sent, server);
    assert!(
        matches!(sent, Err(PostError::Outward(OutwardError::Tls(_)))),
        "{sent:?}"
    );
    assert!(!String::from_utf8_lossy(&octets).contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_says_nothing_is_left_alone_after_a_while() {
    let (listener, url) = listen().await;
    let sent = Post::default();
    let webhook = webhook(&url, true);
    let sent = sent
        .send(&webhook, "id", Timestamp::now(), "{}".into())
        .await;
    assert!(matches!(sent, Err(PostError::TooLong)), "{sent:?}");
    drop(listener);
}

#[test]
fn pauses_grow_and_end_before_the_three_days_do() {
    assert!(
        (0..20).all(|failed| pause(failed) <= pause(failed + 1) && pause(failed) < GIVE_UP_AFTER)
    );
    assert_eq!(pause(0), PAUSES[0]);
    assert_eq!(pause(u32::MAX), PAUSES[8]);
}

/// A webhook that answers everything at once, on connections that it keeps; counts what it was told, and the connections.
async fn serve_hook(
    answer: &'static str,
) -> (String, Arc<AtomicUsize>, Arc<AtomicUsize>, JoinSet<()>) {
    let (listener, url) = listen().await;
    let (told, connections, mut serving) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
        JoinSet::new(),
    );
    let (count, opened) = (told.clone(), connections.clone());
    serving.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            opened.fetch_add(1, Ordering::Relaxed);
            let count = count.clone();
            open.spawn(async move {
                let mut octets = Vec::new();
                loop {
                    while let Some((head, body)) =
                        std::str::from_utf8(&octets).unwrap().split_once("\r\n\r\n")
                    {
                        let length = field(head, "content-length")
                            .unwrap()
                            .parse::<usize>()
                            .unwrap();
                        if body.len() < length {
                            break;
                        }
                        octets.drain(..head.len() + 4 + length);
                        count.fetch_add(1, Ordering::Relaxed);
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                    let mut more = [0; 4096];
                    match stream.read(&mut more).await {
                        Ok(0) | Err(_) => return,
                        Ok(read) => octets.extend(&more[..read]),
                    }
                }
            });
        }
    });
    (url, told, connections, serving)
}

const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A room over a store, and what keeps it there.
async fn room(store: &Store) -> (Room, JoinSet<()>) {
    let (metrics, mut tasks) = (Metrics::default(), JoinSet::new());
    let (config, shutdown) = (AlarmConfig::default(), CancellationToken::new());
    let alarms = Alarms::start(store.clone(), config, metrics.clone(), shutdown, &mut tasks)
        .await
        .unwrap();
    (
        Room::new(store.clone(), Post::default(), alarms, metrics),
        tasks,
    )
}

impl Room {
    /// Goes on until the next end of something. `false`: nothing is under way, only a look at the clock would go on.
    async fn step(&mut self) -> bool {
        self.go_on().await.unwrap();
        tokio::select! {
            Some(tried) = self.tries.join_next() => self.tried(tried.unwrap()),
            Some(noted) = self.noting.join_next() => self.noted(noted.unwrap()),
            else => return false,
        }
        true
    }
}

/// Verdicts of a provider that are to be told.
async fn settle(store: &Store, provider: &str, count: usize) {
    for _ in 0..count {
        let message = accept(store, provider).await;
        store
            .delivered(message, owner(), line::CallId::now(), Timestamp::now())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_webhook_is_told_as_fast_as_it_answers_over_a_few_connections_that_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (url, told, connections, _serving) = serve_hook(TAKEN).await;
    let (store, _) = store_with(&folder, webhook(&url, true)).await;
    settle(&store, "vending", 300).await;
    let (mut room, _tasks) = room(&store).await;
    // One look at the clock, and no more.
    room.look().await;
    while room.step().await {}
    assert_eq!(told.load(Ordering::Relaxed), 300);
    assert!(
        connections.load(Ordering::Relaxed) <= pace::PLACES_MAX,
        "{connections:?}"
    );
    assert!(due(&store).await.is_empty());
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_keeps_no_other_provider_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (silent, silent_url) = listen().await;
    let (url, told, _, _serving) = serve_hook(TAKEN).await;
    let (store, _) = store_with(&folder, webhook(&silent_url, true)).await;
    // As many that are silent as there are places but for two.
    for number in 0..(TRIES_AT_ONCE - EXTRA_TRIES) / PLACES_FIRST - 1 {
        let name = format!("silent-{number}");
        let provider = Provider {
            name: name.parse().unwrap(),
            number: None,
            may_send: vec![],
            is_disabled: false,
        };
        let hook = Some(webhook(&silent_url, true));
        store
            .add_provider_with(provider, TokenHash::of(&name), hook, None)
            .await
            .unwrap();
        settle(&store, &name, 3).await;
    }
    let provider = Provider {
        name: "well".parse().unwrap(),
        number: None,
        may_send: vec![],
        is_disabled: false,
    };
    store
        .add_provider_with(
            provider,
            TokenHash::of("y"),
            Some(webhook(&url, true)),
            None,
        )
        .await
        .unwrap();
    settle(&store, "vending", 100).await;
    settle(&store, "well", 100).await;
    let (mut room, _tasks) = room(&store).await;
    room.look().await;
    while told.load(Ordering::Relaxed) < 100 {
        assert!(room.step().await, "stalled at {told:?}");
    }
    drop(silent);
}

#[tokio::test]
async fn a_webhook_that_is_not_well_is_not_tried_with_all_that_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (url, told, _, _serving) = serve_hook("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
    let (store, _) = store_with(&folder, webhook(&url, true)).await;
    settle(&store, "vending", 50).await;
    let (mut room, _tasks) = room(&store).await;
    room.look().await;
    while room.step().await {}
    assert_eq!(told.load(Ordering::Relaxed), PLACES_FIRST);
}

#[tokio::test]
async fn what_was_read_ahead_for_a_provider_that_is_removed_is_not_told() {
    let folder = tempfile::tempdir().unwrap();
    let (url, told, _, _serving) = serve_hook(TAKEN).await;
    let (store, _) = store_with(&folder, webhook(&url, true)).await;
    settle(&store, "vending", 50).await;
    let (mut room, _tasks) = room(&store).await;
    room.look().await;
    room.go_on().await.unwrap();
    store
        .remove_provider("vending".parse().unwrap())
        .await
        .unwrap();
    room.look().await;
    while room.step().await {}
    assert!(told.load(Ordering::Relaxed) <= PLACES_FIRST, "{told:?}");
    room.look().await;
    assert!(room.lanes.is_empty());
}

#[tokio::test]
async fn a_verdict_that_a_webhook_refuses_keeps_no_other_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (url, told, _, _serving) = serve_hook("HTTP/1.1 422 No\r\ncontent-length: 0\r\n\r\n").await;
    let (store, _) = store_with(&folder, webhook(&url, true)).await;
    settle(&store, "vending", 50).await;
    let (mut room, _tasks) = room(&store).await;
    room.look().await;
    while room.step().await {}
    assert_eq!(told.load(Ordering::Relaxed), 50);
    let later = Timestamp::now() + PAUSES[0];
    assert_eq!(
        store
            .due_tellings("vending".into(), BTreeSet::new(), 99, later)
            .await
            .unwrap()
            .len(),
        50
    );
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_meanwhile_costs_no_try() {
    let (listener, url) = listen().await;
    let webhook = webhook(&url, true);
    let (post, mut kept) = (Post::default(), None);
    for _ in 0..2 {
        // Closes after its answer, and does not say so.
        let sent = post.send_on(&mut kept, &webhook, "id", Timestamp::now(), "{}".into());
        let (sent, _) = tokio::join!(sent, answer_one(&listener, TAKEN));
        sent.unwrap();
    }
}

#[tokio::test]
async fn an_alarm_says_that_verdicts_wait_too_long_and_is_over_when_they_were_told() {
    let folder = tempfile::tempdir().unwrap();
    let (url, _, _, _serving) = serve_hook(TAKEN).await;
    let (store, _) = store_with(&folder, webhook(&url, true)).await;
    settle(&store, "vending", 1).await;
    let (mut room, _tasks) = room(&store).await;
    let now = Timestamp::now();
    let standing = async |room: &mut Room, now| {
        room.look_who_is_late(now).await;
        room.alarms
            .standing()
            .await
            .into_iter()
            .map(|alarm| (alarm.kind, alarm.subject))
            .collect::<Vec<_>>()
    };
    assert_eq!(standing(&mut room, now).await, []);
    let late = [(AlarmKind::WebhookLate, "vending".to_owned())];
    assert_eq!(
        standing(&mut room, now + LATE_AFTER + SignedDuration::from_secs(1)).await,
        late
    );
    assert_eq!(
        standing(
            &mut room,
            now + IN_TIME_AFTER + SignedDuration::from_secs(1)
        )
        .await,
        late,
        "no flutter"
    );
    room.look().await;
    while room.step().await {}
    assert_eq!(standing(&mut room, now + LATE_AFTER * 2).await, []);
}
