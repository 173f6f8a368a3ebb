//! Submissions as they come over a socket: what is answered, and what is stored.

use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;
use crate::alarms::{AlarmConfig, Alarms};
use crate::metrics::Metrics;
use model::directory::{Connection, Terminal, TrustedBy};
use model::provider::TokenHash;
use store::{AttemptEnd, Claim, Doubt, Last, Quota, Quotas};

const SIZE_MAX: u64 = 100_000;

/// A submission port of its own, with a terminal, and providers of which each has a name for a token.
struct Port {
    address: SocketAddr,
    store: Store,
    due: mpsc::Receiver<Vec<delivery::TerminalId>>,
    _serving: JoinSet<()>,
    folder: TempDir,
}

struct Answered {
    status: u16,
    retry_after: Option<String>,
    body: Value,
}

impl Port {
    async fn open(quotas: Quotas, providers: &[(&str, &[&str])]) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), Timestamp::now())
            .unwrap()
            .with_quotas(quotas);
        for (number, name) in [(1, "owner"), (2, "other")] {
            let number_text = format!("30{number}");
            let terminal = Terminal {
                id: delivery::TerminalId::from_octets([number; 8]),
                name: name.parse().unwrap(),
                number: Some(number_text.parse().unwrap()),
                address: None,
                connection: Connection::Down,
                trusted_by: TrustedBy::default(),
            };
            store.add_terminal(terminal).await.unwrap();
        }
        for (name, rights) in providers {
            let may_send = rights.iter().map(|right| right.parse().unwrap()).collect();
            let provider = Provider {
                name: name.parse().unwrap(),
                number: None,
                may_send,
                is_disabled: false,
            };
            store
                .add_provider(provider, TokenHash::of(name))
                .await
                .unwrap();
        }
        let (due_sender, due) = mpsc::channel(1000);
        let mut serving = JoinSet::new();
        let shutdown = CancellationToken::new();
        let alarms = Alarms::start(
            store.clone(),
            AlarmConfig::default(),
            Metrics::default(),
            shutdown.clone(),
            &mut serving,
        )
        .await
        .unwrap();
        let intake = Intake::new(store.clone(), due_sender, alarms, SIZE_MAX, None);
        let submissions = Submissions::new(intake, store.clone(), Metrics::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        serving.spawn(async move { submissions.listen(listener, 1000, shutdown).await });
        Self {
            address,
            store,
            due,
            _serving: serving,
            folder,
        }
    }

    /// One request on a connection of its own; `head` is its first line and more fields, divided by LF.
    async fn ask(&self, token: &str, head: &str, content: &[u8]) -> Answered {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (length, head) = (content.len(), head.replace('\n', "\r\n"));
        let head = format!(
            "{head}\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(content).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let retry_after = head
            .lines()
            .find_map(|line| line.strip_prefix("retry-after: "))
            .map(str::to_owned);
        // Of a chunked body the object is one line.
        let body = body
            .lines()
            .find_map(|line| serde_json::from_str(line).ok().filter(Value::is_object));
        Answered {
            status: answer[9..12].parse().unwrap(),
            retry_after,
            body: body.unwrap_or_default(),
        }
    }

    async fn submit(&self, token: &str, query: &str, content: &[u8]) -> Answered {
        self.ask(
            token,
            &format!("POST /v1/messages?{query} HTTP/1.1"),
            content,
        )
        .await
    }

    /// Files of contents, those that are coming in with them.
    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("contents"))
            .unwrap()
            .count()
    }

    /// A submission of which this much of the content has come, and not more.
    async fn begin(&self, token: &str, query: &str, octets: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "POST /v1/messages?{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 99999\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![7; octets]).await.unwrap();
        stream
    }

    async fn stored(&self) -> usize {
        self.store.messages(Last(100)).await.unwrap().len()
    }
}

fn id(answered: &Answered) -> String {
    assert_eq!(answered.status, 202, "{}", answered.body);
    answered.body["id"].as_str().unwrap().to_owned()
}

fn field(answered: &Answered) -> (u16, &str) {
    (
        answered.status,
        answered.body["field"].as_str().unwrap_or_default(),
    )
}

#[tokio::test]
async fn whatever_is_wrong_with_a_submission_is_a_problem_document_that_names_it_and_nothing_is_stored()
 {
    let port = Port::open(
        Quotas::default(),
        &[
            ("vending", &[]),
            ("gauge", &["terminal:owner", "topic:level/#"]),
        ],
    )
    .await;
    for (token, query, status, at) in [
        ("stranger", "to=tel:301", 401, "authorization"),
        ("vending", "", 400, "to"),
        ("vending", "to=301", 400, "to"),
        ("vending", "to=tel:999", 404, "to"),
        ("vending", "to=tel:301&to=tel:999", 404, "to"),
        ("vending", "to=tel:301&urgency=now", 400, "urgency"),
        ("vending", "to=tel:301&expires=0", 400, "expires"),
        (
            "vending",
            "to=tel:301&expires=2020-01-01T00:00:00Z",
            400,
            "expires",
        ),
        ("vending", "to=tel:301&replace=", 400, "replace"),
        ("vending", "to=tel:301&topic=a/%23/b", 400, "topic"),
        ("vending", "to=tel:301&priority=1", 400, "query"),
        ("vending", "to=tel:301&to", 400, "to"),
        ("gauge", "to=tel:302", 403, "to"),
        ("gauge", "to=tel:301&to=tel:302", 403, "to"),
        ("gauge", "to=tel:999", 403, "to"),
        ("gauge", "to=tel:301&topic=news", 403, "topic"),
    ] {
        let answered = port.submit(token, query, b"x").await;
        assert_eq!(
            field(&answered),
            (status, at),
            "{token} {query}: {}",
            answered.body
        );
        assert_eq!(answered.body["status"], status);
        assert_eq!(answered.retry_after, None, "{query}");
    }
    let many: Vec<_> = (0..=crate::intake::RECIPIENTS_MAX)
        .map(|number| format!("to=tel:{number}"))
        .collect();
    assert_eq!(
        field(&port.submit("vending", &many.join("&"), b"x").await),
        (400, "to")
    );
    let large = vec![b'x'; usize::try_from(SIZE_MAX).unwrap() + 1];
    assert_eq!(
        field(&port.submit("vending", "to=tel:301", &large).await),
        (413, "body")
    );
    for (request, status, at) in [
        ("PUT /v1/messages?to=tel:301 HTTP/1.1", 405, "method"),
        ("POST /v2/messages?to=tel:301 HTTP/1.1", 404, "path"),
        (
            "POST /v1/messages?to=tel:301 HTTP/1.1\ncontent-type: nonsense",
            400,
            "content-type",
        ),
        (
            "POST /v1/messages?to=tel:301 HTTP/1.1\nidempotency-key: a\nidempotency-key: b",
            400,
            "idempotency-key",
        ),
        (
            "POST /v1/messages?to=tel:301 HTTP/1.1\nttl: soon",
            400,
            "ttl",
        ),
        (
            "POST /v1/messages?to=tel:301&expires=2020-01-01T00:00:00Z HTTP/1.1\nidempotency-key: a",
            400,
            "expires",
        ),
        ("GET /v1/messages/x HTTP/1.1", 400, "id"),
        ("DELETE /v1/messages/%ff HTTP/1.1", 400, "id"),
        (
            "DELETE /v1/messages/AAAAAAAAAAAAAAAAAAAAAA HTTP/1.1",
            404,
            "id",
        ),
    ] {
        assert_eq!(
            field(&port.ask("vending", request, b"x").await),
            (status, at),
            "{request}"
        );
    }
    assert_eq!(port.stored().await, 0);
    assert_eq!(
        port.submit("gauge", "to=tel:301&topic=level/7", b"x")
            .await
            .status,
        202
    );
}

#[tokio::test]
async fn a_repeated_submission_is_answered_as_the_first_and_dispatch_is_told_once() {
    let mut port = Port::open(Quotas::default(), &[("vending", &[])]).await;
    let request =
        "POST /v1/messages?to=tel:301&to=terminal:owner HTTP/1.1\nidempotency-key: sale-17";
    let first = port.ask("vending", request, b"x").await;
    let again = port.ask("vending", request, b"x").await;
    assert_eq!(id(&first), id(&again));
    assert_eq!(first.body, again.body);
    let other = port.ask("vending", request, b"y").await;
    assert_eq!(field(&other), (422, "idempotency-key"));
    assert_eq!(port.stored().await, 1);
    assert_eq!(port.due.recv().await.unwrap().len(), 1);
    assert!(port.due.try_recv().is_err());
}

#[tokio::test]
async fn a_submission_over_a_quota_is_refused_for_a_while_and_says_whose_quota_it_is() {
    let quotas = Quotas {
        terminal: Quota {
            messages: 2,
            octets: u64::MAX,
        },
        provider: Quota {
            messages: 3,
            octets: u64::MAX,
        },
    };
    let port = Port::open(quotas, &[("vending", &[])]).await;
    let first = id(&port.submit("vending", "to=tel:301", b"x").await);
    port.submit("vending", "to=tel:301", b"x").await;
    let refused = port.submit("vending", "to=tel:302&to=tel:301", b"x").await;
    assert_eq!(field(&refused), (429, "to"));
    assert_eq!(refused.retry_after.as_deref(), Some("60"));
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("terminal owner"),
        "{}",
        refused.body
    );
    assert_eq!(port.submit("vending", "to=tel:302", b"x").await.status, 202);
    let refused = port.submit("vending", "to=tel:302", b"x").await;
    assert_eq!(field(&refused), (429, "provider"));
    assert_eq!(
        port.ask(
            "vending",
            &format!("DELETE /v1/messages/{first} HTTP/1.1"),
            b""
        )
        .await
        .status,
        200
    );
    assert_eq!(
        port.submit("vending", "to=tel:301", b"x").await.status,
        202,
        "there is room again"
    );
}

#[tokio::test]
async fn a_provider_sees_the_verdict_of_its_message_and_cancels_no_other_ones() {
    let port = Port::open(Quotas::default(), &[("vending", &[]), ("gauge", &[])]).await;
    let message = id(&port
        .submit(
            "vending",
            "to=tel:301&urgency=bulk&expires=3600&replace=level",
            b"x",
        )
        .await);
    let request = |method: &str| format!("{method} /v1/messages/{message} HTTP/1.1");
    let shown = port.ask("vending", &request("GET"), b"").await.body;
    assert_eq!(
        (&shown["urgency"], &shown["replace_key"]),
        (&"bulk".into(), &"level".into())
    );
    assert!(shown["expires_at"].is_string());
    assert_eq!(shown["envelopes"][0]["state"], "waiting");
    for method in ["GET", "DELETE"] {
        assert_eq!(
            field(&port.ask("gauge", &request(method), b"").await),
            (404, "id")
        );
        assert_eq!(
            field(&port.ask("stranger", &request(method), b"").await),
            (401, "authorization")
        );
    }
    assert_eq!(
        port.ask("vending", &request("DELETE"), b"").await.body["cancelled"],
        1
    );
    let shown = port.ask("vending", &request("GET"), b"").await.body;
    assert_eq!(shown["envelopes"][0]["state"], "cancelled");
    assert_eq!(shown["envelopes"][0]["reason"], "cancelled by its provider");
    let again = port.ask("vending", &request("DELETE"), b"").await;
    assert_eq!(
        (field(&again), again.retry_after.as_deref()),
        ((409, "id"), None)
    );
}

#[tokio::test]
async fn what_is_being_delivered_is_cancelled_when_the_call_is_over_without_a_receipt() {
    let port = Port::open(Quotas::default(), &[("vending", &[])]).await;
    let message = id(&port.submit("vending", "to=tel:301", b"x").await);
    let (terminal, call) = (
        delivery::TerminalId::from_octets([1; 8]),
        line::CallId::now(),
    );
    let key = delivery::proof::PublicKey::from_octets([1; 32]);
    port.store
        .register(terminal, key, Timestamp::now())
        .await
        .unwrap();
    let begun = port
        .store
        .begin(message.parse().unwrap(), terminal, call, Timestamp::now())
        .await;
    assert!(matches!(begun, Ok(Claim::Begun(_))), "{begun:?}");
    let answer = port
        .ask(
            "vending",
            &format!("DELETE /v1/messages/{message} HTTP/1.1"),
            b"",
        )
        .await;
    assert_eq!(
        (
            answer.status,
            &answer.body["cancelled"],
            &answer.body["under_way"]
        ),
        (202, &0.into(), &1.into())
    );
    let show = format!("GET /v1/messages/{message} HTTP/1.1");
    let shown = port.ask("vending", &show, b"").await.body;
    assert_eq!(
        (
            &shown["envelopes"][0]["state"],
            &shown["envelopes"][0]["pending"]
        ),
        (&"waiting".into(), &"cancelled".into())
    );
    let how = AttemptEnd::broken("the session was lost", Doubt::Unchanged);
    port.store
        .end_delivery(
            message.parse().unwrap(),
            terminal,
            call,
            how,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let shown = port.ask("vending", &show, b"").await.body;
    assert_eq!(shown["envelopes"][0]["state"], "cancelled");
}

#[tokio::test]
async fn on_a_full_disk_the_answer_is_507_and_nothing_is_half_stored() {
    let port = Port::open(Quotas::default(), &[("vending", &[])]).await;
    let content = vec![b'x'; 60_000];
    port.store.limit_pages(Some(2)).await;
    let refused = port.submit("vending", "to=tel:301", &content).await;
    assert_eq!(
        (field(&refused), refused.retry_after.as_deref()),
        ((507, "store"), Some("60"))
    );
    assert_eq!(port.stored().await, 0);
    port.store.limit_pages(None).await;
    assert_eq!(
        port.submit("vending", "to=tel:301", &content).await.status,
        202,
        "without a restart"
    );
    assert_eq!(
        port.store.check().await.unwrap().faults,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_token_that_is_taken_back_while_a_content_comes_is_good_for_nothing() {
    for is_removed in [false, true] {
        let port = Port::open(Quotas::default(), &[("vending", &[])]).await;
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let head = "POST /v1/messages?to=tel:301 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer vending\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // It asks for the content: it has recognised the token.
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        let name: model::directory::Name = "vending".parse().unwrap();
        if is_removed {
            port.store.remove_provider(name).await.unwrap();
        } else {
            port.store
                .renew_token(name, TokenHash::of("another"), None)
                .await
                .unwrap();
        }
        stream.write_all(b"ok").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert_eq!(port.stored().await, 0);
    }
}

#[tokio::test]
async fn a_provider_without_the_right_is_refused_before_its_content_is_read() {
    let port = Port::open(Quotas::default(), &[("gauge", &["topic:level/#"])]).await;
    for query in ["to=tel:301", "to=topic:news", "to=terminal:owner"] {
        let mut stream = port.begin("gauge", query, 0).await;
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 403", "{query}");
        assert_eq!(port.files(), 0);
    }
}

#[tokio::test]
async fn what_a_provider_has_begun_counts_in_its_quota_and_is_gone_with_the_connection() {
    let provider = Quota {
        messages: 100,
        octets: 250_000,
    };
    let port = Port::open(
        Quotas {
            provider,
            ..Quotas::default()
        },
        &[("vending", &[])],
    )
    .await;
    let mut begun = Vec::new();
    for count in 1..=3 {
        begun.push(port.begin("vending", "to=tel:301", 80_000).await);
        while port.files() < count {
            tokio::task::yield_now().await;
        }
    }
    let refused = port.submit("vending", "to=tel:301", &vec![7; 90_000]).await;
    assert_eq!(field(&refused), (429, "provider"));
    drop(begun.pop());
    while port.files() > 2 {
        tokio::task::yield_now().await;
    }
    let mut answered = port.submit("vending", "to=tel:301", &vec![7; 90_000]).await;
    while answered.status == 429 {
        answered = port.submit("vending", "to=tel:301", &vec![7; 90_000]).await; // its file goes before its share
    }
    assert_eq!(answered.status, 202, "{}", answered.body);
    drop(begun);
    while port.files() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(port.stored().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_content_that_stands_still_or_drips_is_given_up() {
    let pace = Pace {
        silence_max: Duration::from_secs(30),
        octets_per_second: 100,
    };
    let (_sender, silent) = http_body_util::channel::Channel::<Bytes>::new(1);
    let mut body = Body::new(silent);
    let status = |next: Result<_, Problem>| next.map(drop).unwrap_err().status;
    assert_eq!(
        status(pace.next(&mut body, Instant::now(), 0).await),
        StatusCode::REQUEST_TIMEOUT
    );
    let (mut sender, dripping) = http_body_util::channel::Channel::<Bytes>::new(1);
    let (mut body, began, mut octets) = (Body::new(dripping), Instant::now(), 0);
    let status = loop {
        tokio::time::advance(Duration::from_secs(1)).await;
        sender
            .send_data(Bytes::from_static(b"0123456789"))
            .await
            .unwrap();
        match pace.next(&mut body, began, octets).await {
            Ok(_) => octets += 10,
            Err(problem) => break problem.status,
        }
    };
    assert_eq!(
        (status, octets),
        (StatusCode::REQUEST_TIMEOUT, 660),
        "60 s, and what 100 octets a second are more"
    );
    let link = Pace {
        octets_per_second: 0,
        ..pace
    };
    assert!(
        link.next(&mut body, began, octets).await.is_ok(),
        "a link may be as slow as it is"
    );
}

#[tokio::test]
async fn what_is_accepted_says_where_it_is_and_who_has_no_token_what_is_asked_for() {
    let port = Port::open(Quotas::default(), &[("vending", &[])]).await;
    for (token, field) in [
        ("vending", "location: /v1/messages/"),
        ("nobody", "www-authenticate: Bearer"),
    ] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let head = format!(
            "POST /v1/messages?to=tel:301 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-length: 1\r\n\r\nx"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(field), "{answer}");
    }
}

#[tokio::test]
async fn an_event_in_structured_mode_and_a_ttl_of_0_are_told_what_is_known_here() {
    let port = Port::open(Quotas::default(), &[("vending", &[])]).await;
    let structured =
        "POST /v1/messages HTTP/1.1\ncontent-type: application/cloudevents+json; charset=utf-8";
    let refused = port.ask("vending", structured, b"{}").await;
    assert_eq!(field(&refused), (415, "content-type"));
    assert!(
        refused.body["detail"]
            .as_str()
            .unwrap()
            .contains("binary mode"),
        "{}",
        refused.body
    );
    let with_recipient = structured.replace("messages ", "messages?to=tel:301 ");
    assert_eq!(
        port.ask("vending", &with_recipient, b"{}").await.status,
        202,
        "any content may have that type"
    );
    let now_or_never = "POST /v1/messages?to=tel:301 HTTP/1.1\nttl: 0";
    assert_eq!(
        field(&port.ask("vending", now_or_never, b"x").await),
        (400, "ttl")
    );
}

#[tokio::test]
async fn a_topic_that_reads_differently_from_what_it_is_is_refused() {
    let port = Port::open(Quotas::default(), &[("vending", &[])]).await;
    for (query, said) in [
        ("to=topic:news/%E2%80%AEgpj", "to"),
        ("to=tel:301&topic=a%E2%81%A6b", "topic"),
        ("to=topic:%E2%80%A8", "to"),
    ] {
        assert_eq!(
            field(&port.submit("vending", query, b"x").await),
            (400, said),
            "{query}"
        );
    }
}
