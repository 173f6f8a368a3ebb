use bytes::Bytes;
use delivery::{ContentType, Digest, MessageHead, MessageId, TerminalId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::directory::{Connection, Provider, Terminal, TokenHash, TrustedBy};
use crate::outward::OutwardError;
use crate::store::{Handling, NewMessage};

fn owner() -> TerminalId {
    TerminalId::from_octets([1; 8])
}

fn webhook(url: &str, may_be_private: bool) -> Webhook {
    Webhook { url: url.parse().unwrap(), secret: WebhookSecret::from_octets([7; 32]), may_be_private }
}

/// A store whose provider has this webhook, and a message that waits.
async fn store_with(folder: &tempfile::TempDir, webhook: Webhook) -> (Store, MessageId) {
    let store = Store::open(folder.path()).unwrap();
    let (id, name, connection) = (owner(), "owner".parse().unwrap(), Connection::Down);
    store
        .add_terminal(Terminal { id, name, number: None, address: None, trusted_by: TrustedBy::default(), connection })
        .await
        .unwrap();
    let provider = Provider { name: "vending".parse().unwrap(), number: None, may_send: vec![] };
    store.add_provider_with(provider.clone(), TokenHash::of("x"), Some(webhook), None).await.unwrap();
    let content = Bytes::from_static(b"x");
    let id = MessageId::now();
    let head = MessageHead { id, content_type: ContentType::octets(), digest: Digest::of(&content), size: 1 };
    let (provider, handling, terminals) = (provider.name, Handling::default(), vec![owner()]);
    store
        .accept(NewMessage { head, provider, content: content.into(), terminals, subscribers: None, handling })
        .await
        .unwrap();
    (store, id)
}

async fn due(store: &Store) -> Vec<Telling> {
    store.due_tellings("vending".into(), BTreeSet::new(), 10, Timestamp::now()).await.unwrap()
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
            let length = field(head, "content-length").unwrap().parse::<usize>().unwrap();
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
        store.delivered(message, owner(), call).await.unwrap();
        message
    };
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.webhook_providers(), ["vending"]);
    let telling = due(&store).await.remove(0);
    let id = event_id(&telling);
    let (post, metrics) = (Post::default(), Metrics::default());
    let tried = try_once(&store, &post, &metrics, "vending", telling);
    let ((), (head, body)) = tokio::join!(tried, answer_one(&listener, "HTTP/1.1 204 No Content\r\n\r\n"));
    assert!(head.starts_with("POST /verdicts?a=b HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "webhook-id"), Some(id.clone()));
    let at = Timestamp::from_second(field(&head, "webhook-timestamp").unwrap().parse().unwrap()).unwrap();
    let expected = WebhookSecret::from_octets([7; 32]).sign(&id, at, &body);
    assert_eq!(field(&head, "webhook-signature"), Some(expected));
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&told["verdict"], &told["terminal"]), (&json!("delivered"), &json!("owner")));
    assert_eq!(told["message"], message.to_string());
    assert_eq!(told["evidence"], json!({ "call": call.to_string(), "deliveries": 1 }));
    assert!(due(&store).await.is_empty());
}

#[tokio::test]
async fn an_answer_that_is_no_yes_is_tried_again_later_and_a_redirect_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, url) = listen().await;
    let (elsewhere, other) = listen().await;
    let (store, message) = store_with(&folder, webhook(&url, true)).await;
    store.cancel(message, None, "cancelled").await.unwrap();
    let telling = due(&store).await.remove(0);
    let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {other}\r\ncontent-length: 0\r\n\r\n");
    let (post, metrics) = (Post::default(), Metrics::default());
    let tried = try_once(&store, &post, &metrics, "vending", telling.clone());
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
    let again = store.due_tellings("vending".into(), BTreeSet::new(), 10, later).await.unwrap();
    assert_eq!((again.len(), again[0].failed), (1, 1));
    // After three days it is given up.
    let old = Telling { since: Timestamp::now() - GIVE_UP_AFTER, ..telling };
    let tried = try_once(&store, &post, &metrics, "vending", old);
    tokio::join!(tried, answer_one(&listener, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"));
    assert!(store.due_tellings("vending".into(), BTreeSet::new(), 10, Timestamp::MAX).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_address_of_this_network_is_not_spoken_to_unless_the_provider_may() {
    let (listener, url) = listen().await;
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("http://{host}:{port}/");
        let Ok(url) = url.parse::<HttpUrl>() else { continue };
        let webhook = Webhook { url, ..webhook("http://x/", false) };
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
    let (sent, _) = tokio::join!(sent, answer_one(&listener, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    sent.unwrap();
}

#[tokio::test]
async fn what_a_hostile_webhook_answers_costs_no_more_than_its_head() {
    let (listener, url) = listen().await;
    let webhook = webhook(&url, true);
    let endless = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let no_http = "\0\u{1}\u{2}".repeat(1000);
    for answer in
        [endless.as_str(), &no_http, "", "HTTP/1.1 999 x\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"]
    {
        let post = Post::default();
        let sent = post.send(&webhook, "id", Timestamp::now(), "{}".into());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut some = [0; 64];
            let _ = stream.read(&mut some).await;
            let _ = stream.write_all(answer.as_bytes()).await; // it may have hung up on it
        };
        let (sent, ()) = tokio::join!(sent, server);
        assert!(sent.is_err(), "{:?} was taken", &answer[..answer.len().min(40)]);
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
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        octets.truncate(count);
        octets
    };
    let (sent, octets) = tokio::join!(sent, server);
    assert!(matches!(sent, Err(PostError::Outward(OutwardError::Tls(_)))), "{sent:?}");
    assert!(!String::from_utf8_lossy(&octets).contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_says_nothing_is_left_alone_after_a_while() {
    let (listener, url) = listen().await;
    let sent = Post::default();
    let webhook = webhook(&url, true);
    let sent = sent.send(&webhook, "id", Timestamp::now(), "{}".into()).await;
    assert!(matches!(sent, Err(PostError::TooLong)), "{sent:?}");
    drop(listener);
}

#[test]
fn pauses_grow_and_end_before_the_three_days_do() {
    assert!((0..20).all(|failed| pause(failed) <= pause(failed + 1) && pause(failed) < GIVE_UP_AFTER));
    assert_eq!(pause(0), PAUSES[0]);
    assert_eq!(pause(u32::MAX), PAUSES[8]);
}
