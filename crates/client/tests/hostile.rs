//! A server that has proved its key and means no good: what it can do to a terminal's inbox and memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::proof::{CourierCredentials, Pin, SecretKey, Secured, TerminalCredentials};
use delivery::{MessageId, ReceiveError, TerminalId, receive};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ringup_client::inbox::{Entry, Inbox};
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinSet;

struct Attack {
    inbox: TempDir,
    stream: Option<Secured<DuplexStream>>,
    terminal: JoinSet<Result<(), ReceiveError>>,
    connection: JoinSet<()>,
}

impl Attack {
    /// The hostile end of a session with a terminal that knows its key.
    fn begin() -> Self {
        let inbox = TempDir::new().unwrap();
        let (server, terminal) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let (near, far) = duplex(64 * 1024);
        let pin = Pin::Keys(vec![terminal.public()]);
        let courier = CourierCredentials::new(&server).unwrap();
        let near = courier
            .secure(near, TerminalId::from_octets([1; 8]), pin, 1_000_000)
            .unwrap();
        let credentials = TerminalCredentials::new(&terminal, vec![server.public()], None).unwrap();
        let far = credentials.secure(far, 1_000_000).unwrap();
        let kept = Arc::new(Inbox::open(inbox.path()).unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(far, kept, None, Duration::ZERO));
        Self {
            inbox,
            stream: Some(near),
            terminal: tasks,
            connection: JoinSet::new(),
        }
    }

    async fn requests(&mut self) -> SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.stream.take().unwrap());
        let (requests, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        self.connection.spawn(async move {
            let _ = connection.await; // how an attack ends is its own business
        });
        requests
    }

    /// The ids of what was published.
    fn published(&self) -> Vec<MessageId> {
        Entry::list(self.inbox.path())
            .unwrap()
            .iter()
            .map(|entry| entry.id)
            .collect()
    }

    /// What lies in the inbox's folder and its parent beside the inbox's own.
    fn strays(&self) -> Vec<String> {
        let names = fs::read_dir(self.inbox.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| !name.starts_with('.') && name.parse::<MessageId>().is_err())
            .collect()
    }
}

fn put(path: &str, fields: &[(&str, &str)], content: &'static [u8]) -> Request<Full<Bytes>> {
    let mut request = Request::put(format!("http://terminal{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request
        .body(Full::new(Bytes::from_static(content)))
        .unwrap()
}

async fn words(response: Response<Incoming>) -> (StatusCode, String) {
    let status = response.status();
    (
        status,
        String::from_utf8(
            response
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .to_vec(),
        )
        .unwrap(),
    )
}

#[tokio::test]
async fn no_path_and_no_field_gets_a_file_to_anywhere_but_its_place() {
    let mut attack = Attack::begin();
    let mut requests = attack.requests().await;
    let id = MessageId::now();
    for path in [
        "/m/..",
        "/m/../../etc/passwd",
        "/m/%2e%2e%2fstolen",
        "/m/",
        "/m/.incoming",
        "/stolen",
        &format!("/m/{id}/../x"),
    ] {
        let (status, _) = words(requests.send_request(put(path, &[], b"x")).await.unwrap()).await;
        assert!(status.is_client_error(), "{path}: {status}");
    }
    for (field, value) in [
        ("content-type", "no type"),
        ("topic", "a/#"),
        ("expires", "@soon"),
        ("urgency", "at once"),
        ("content-digest", "md5=:AAAA:"),
        ("content-encoding", "gzip"),
    ] {
        let request = put(&format!("/m/{id}"), &[(field, value)], b"x");
        let (status, said) = words(requests.send_request(request).await.unwrap()).await;
        // What is not understood of how it is to be treated is passed over; what it is must be understood.
        assert!(
            status.is_client_error() || ["urgency", "expires", "topic"].contains(&field),
            "{field}: {status} {said}"
        );
    }
    assert!(attack.strays().is_empty(), "{:?}", attack.strays());
}

#[tokio::test]
async fn an_id_that_was_published_is_not_taken_for_other_content() {
    let mut attack = Attack::begin();
    let mut requests = attack.requests().await;
    let path = format!("/m/{}", MessageId::now());
    for (content, status) in [(b"first", 201), (b"first", 200), (b"other", 409)] {
        let (found, said) = words(
            requests
                .send_request(put(&path, &[], content))
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(found, status, "{said}");
    }
    let [id] = attack.published()[..] else {
        panic!("one message")
    };
    assert_eq!(
        fs::read(Inbox::content_path(attack.inbox.path(), &id.to_string())).unwrap(),
        b"first"
    );
}

#[tokio::test]
async fn an_offset_that_is_not_there_is_a_conflict_and_one_beyond_the_end_no_request() {
    let mut attack = Attack::begin();
    let mut requests = attack.requests().await;
    for (offset, whole, complete, status) in [
        ("7", "8", "?1", 409),
        ("9", "8", "?1", 400),
        ("7", "9", "?1", 400),
        ("7", "8", "?0", 400),
        ("-1", "0", "?1", 400),
        ("18446744073709551615", "0", "?1", 400),
    ] {
        let mut request = put(
            &format!("/m/{}", MessageId::now()),
            &[
                ("upload-offset", offset),
                ("upload-length", whole),
                ("upload-complete", complete),
                (
                    "content-digest",
                    "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
                ),
            ],
            b"x",
        );
        *request.method_mut() = http::Method::PATCH;
        let (found, said) = words(requests.send_request(request).await.unwrap()).await;
        assert_eq!(found, status, "{offset} of {whole}: {said}");
    }
    assert!(attack.published().is_empty());
}

#[tokio::test]
async fn fields_that_are_too_long_are_refused_and_those_without_end_end_the_session() {
    let mut attack = Attack::begin();
    let mut requests = attack.requests().await;
    let path = || format!("/m/{}", MessageId::now());
    let (long, endless) = ("x".repeat(6_000), "x".repeat(100_000));
    let (status, _) = words(
        requests
            .send_request(put(&path(), &[("topic", &long)], b"x"))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(
        requests
            .send_request(put(&path(), &[], b"x"))
            .await
            .unwrap()
            .status(),
        StatusCode::CREATED
    );
    assert!(
        requests
            .send_request(put(&path(), &[("topic", &endless)], b"x"))
            .await
            .is_err()
    );
    let ended = attack.terminal.join_next().await.unwrap().unwrap();
    assert!(matches!(ended, Err(ReceiveError::Lost(_))), "{ended:?}");
    assert_eq!(attack.published().len(), 1);
}

#[tokio::test]
async fn a_flood_of_streams_ends_its_session_or_is_answered_and_nothing_is_published_twice() {
    let mut attack = Attack::begin();
    let mut requests = attack.requests().await;
    let path = format!("/m/{}", MessageId::now());
    let mut answers = JoinSet::new();
    for _ in 0..2000 {
        if requests.ready().await.is_err() {
            break;
        }
        let answer = requests.send_request(put(&path, &[], b"flood"));
        answers.spawn(async move { answer.await.map(|response| response.status()) });
    }
    let mut created = 0;
    while let Some(answer) = answers.join_next().await {
        created += usize::from(matches!(answer, Ok(Ok(StatusCode::CREATED))));
    }
    assert!(created <= 1, "{created} receipts say that it is new");
    assert!(attack.published().len() <= 1);
}

#[tokio::test]
async fn what_is_no_http_ends_the_session_with_an_error() {
    let mut attack = Attack::begin();
    let mut stream = attack.stream.take().unwrap();
    stream.write_all(&[0; 20_000]).await.unwrap();
    let _ = stream.flush().await; // it may have hung up by then
    let ended = attack.terminal.join_next().await.unwrap().unwrap();
    assert!(matches!(ended, Err(ReceiveError::Lost(_))), "{ended:?}");
    assert!(attack.published().is_empty());
}
