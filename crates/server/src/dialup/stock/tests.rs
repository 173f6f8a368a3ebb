//! A stock terminal that is a script: what it answers, and what came of it in the store.

use std::sync::Mutex;

use bytes::Bytes;
use delivery::{ContentType, Digest, TerminalId};
use http_body_util::Full;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::alarms::AlarmConfig;
use crate::metrics::Metrics;
use model::call::{CallRecord, Direction};
use model::directory::{ChapSecret, Connection, StockTrust, TrustedBy};
use model::provider::{Provider, TokenHash};
use model::verdict::Verdict;
use store::{Handling, NewMessage, ReturnPath};

/// What the terminal answers, one after the other: a status, `retry-after`, a body.
type Script = Vec<(u16, Option<&'static str>, String)>;

#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<(http::request::Parts, Bytes)>>>);

/// A web server with a script. At a status of 0, and where the script has ended, it closes the connection without a word.
struct Scripted {
    script: Arc<Mutex<Script>>,
    heard: Heard,
    connections: Arc<Mutex<u32>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Reach for Scripted {
    type Stream = DuplexStream;

    async fn connect(&self, port: u16) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(1000);
        if port == 25 {
            let (script, heard) = (self.script.clone(), self.heard.clone());
            self.tasks
                .lock()
                .unwrap()
                .spawn(mail_server(far, script, heard));
            return Ok(near);
        }
        assert_eq!(port, 8080);
        *self.connections.lock().unwrap() += 1;
        let (script, heard) = (self.script.clone(), self.heard.clone());
        self.tasks.lock().unwrap().spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (script, heard) = (script.clone(), heard.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                    heard.0.lock().unwrap().push((head, body));
                    let mut script = script.lock().unwrap();
                    if script.is_empty() {
                        return Err(io::Error::other("no more words"));
                    }
                    let (status, retry_after, body) = script.remove(0);
                    if status == 0 {
                        return Err(io::Error::other("closed"));
                    }
                    let mut response = Response::builder().status(status);
                    if let Some(retry_after) = retry_after {
                        response = response.header(RETRY_AFTER, retry_after);
                    }
                    if (300..400).contains(&status) {
                        response = response.header("location", "http://192.0.2.1/elsewhere");
                    }
                    Ok(response.body(Full::new(Bytes::from(body))).unwrap())
                }
            });
            let _ = server::Builder::new()
                .serve_connection(TokioIo::new(far), service)
                .await; // as the script has it
        });
        Ok(near)
    }

    async fn gone(&self) {
        std::future::pending::<()>().await;
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 5)
    }

    fn rate_bps(&self) -> u32 {
        1_000_000
    }
}

/// A mail server that answers RCPT with the next status of the script, and keeps the mail as a request's body.
async fn mail_server(far: DuplexStream, script: Arc<Mutex<Script>>, heard: Heard) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    let mut stream = BufReader::new(far);
    stream.write_all(b"220 stock\r\n").await.unwrap();
    let (mut line, mut envelope, mut mail, mut is_content) =
        (String::new(), String::new(), String::new(), false);
    loop {
        line.clear();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let answer = match line.as_str() {
            ".\r\n" if is_content => {
                is_content = false;
                let head = Request::builder()
                    .uri("/")
                    .header("envelope", &envelope)
                    .body(())
                    .unwrap()
                    .into_parts()
                    .0;
                heard
                    .0
                    .lock()
                    .unwrap()
                    .push((head, Bytes::from(mail.clone())));
                "250 taken".to_owned()
            }
            text if is_content => {
                mail += text;
                continue;
            }
            text if text.starts_with("EHLO") => "250 stock".to_owned(),
            text if text.starts_with("DATA") => {
                is_content = true;
                "354 go".to_owned()
            }
            text => {
                envelope += &text.trim().replace("\r\n", "");
                envelope += ";";
                match text.starts_with("RCPT") {
                    true => format!("{} so it is", script.lock().unwrap().remove(0).0),
                    false => "250 ok".to_owned(),
                }
            }
        };
        if stream
            .write_all(format!("{answer}\r\n").as_bytes())
            .await
            .is_err()
        {
            return; // whoever has said goodbye waits for no answer
        }
    }
}

struct Scene {
    _folder: TempDir,
    store: Store,
    alarms: Alarms,
    _tasks: JoinSet<()>,
    terminal: Terminal,
    call: CallId,
    heard: Heard,
    connections: Arc<Mutex<u32>>,
}

impl Scene {
    async fn new(trust: StockTrust) -> Self {
        Self::with_inbox(trust, "http://:8080/cgi-bin/take").await
    }

    async fn with_inbox(trust: StockTrust, inbox: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let inbox = inbox.parse().unwrap();
        let terminal = Terminal {
            id: TerminalId::from_octets([5; 8]),
            name: "stock".parse().unwrap(),
            number: Some("501".parse().unwrap()),
            address: None,
            trusted_by: TrustedBy::Stock(Stock { trust, inbox }),
            connection: Connection::Down,
        };
        store.add_terminal(terminal.clone()).await.unwrap();
        assert_eq!(
            store.terminal(terminal.id).await.unwrap().as_ref(),
            Some(&terminal),
            "it survives the store"
        );
        let provider = Provider {
            name: "vending".parse().unwrap(),
            number: None,
            may_send: vec![],
            is_disabled: false,
        };
        store
            .add_provider(provider, TokenHash::of("x"))
            .await
            .unwrap();
        let line: Name = "line-1".parse().unwrap();
        let record = CallRecord::begin(
            CallId::now(),
            Timestamp::now(),
            Direction::Outgoing,
            line,
            terminal.number.clone(),
            terminal.name.clone(),
        );
        store
            .record_call(record.clone(), Timestamp::now())
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        let (config, shutdown) = (AlarmConfig::default(), CancellationToken::new());
        let alarms = Alarms::start(
            store.clone(),
            config,
            Metrics::default(),
            shutdown,
            &mut tasks,
        )
        .await
        .unwrap();
        let (heard, connections) = (Heard::default(), Arc::default());
        Self {
            _folder: folder,
            store,
            alarms,
            _tasks: tasks,
            terminal,
            call: record.id,
            heard,
            connections,
        }
    }

    async fn submit(&self, content: &'static [u8]) -> MessageId {
        self.submit_as("text/plain", None, content).await
    }

    async fn submit_as(
        &self,
        content_type: &str,
        sender: Option<&str>,
        content: &'static [u8],
    ) -> MessageId {
        let size = content.len() as u64;
        let head = MessageHead {
            id: MessageId::now(),
            content_type: content_type.parse::<ContentType>().unwrap(),
            digest: Digest::of(content),
            size,
        };
        let return_path = sender.map(|sender| ReturnPath {
            sender: sender.to_owned(),
            recipients: vec![],
        });
        let topic = Some("level/größe".parse().unwrap());
        let handling = Handling {
            topic,
            return_path,
            ..Handling::default()
        };
        let (id, provider) = (head.id, "vending".parse().unwrap());
        let (content, terminals) = (Bytes::from_static(content), vec![self.terminal.id]);
        self.store
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

    async fn deliver(&self, script: Script) -> Result<Tally, Broken> {
        let delivery = StockDelivery {
            terminal: self.terminal.clone(),
            stock: self.terminal.trusted_by.stock().unwrap().clone(),
            call: self.call,
            store: self.store.clone(),
            alarms: self.alarms.clone(),
            due: Arc::default(),
            suspects: vec![],
            wait_until: || None,
        };
        let far_end = Scripted {
            script: Arc::new(Mutex::new(script)),
            heard: self.heard.clone(),
            connections: self.connections.clone(),
            tasks: Mutex::default(),
        };
        deliver(delivery, far_end).await
    }

    /// The verdict of a message, its reason, and what came of the last time that it was brought.
    async fn story(&self, id: MessageId) -> (Option<Verdict>, Option<String>, Option<String>) {
        let envelope = self
            .store
            .message(id)
            .await
            .unwrap()
            .unwrap()
            .envelopes
            .remove(0);
        assert_eq!(envelope.under_way, None);
        (
            envelope.verdict,
            envelope.reason,
            envelope
                .deliveries
                .last()
                .and_then(|delivery| delivery.outcome.clone()),
        )
    }
}

fn chap() -> StockTrust {
    StockTrust::Chap(ChapSecret::from_octets([7; 24]))
}

fn says(status: u16) -> (u16, Option<&'static str>, String) {
    (status, None, String::new())
}

#[tokio::test]
async fn a_stock_terminal_is_posted_each_message_with_its_id_type_and_digest_and_its_verdict_says_the_trust()
 {
    for (trust, word) in [
        (chap(), "trust chap"),
        (StockTrust::NumberOnly, "trust number-only"),
    ] {
        let scene = Scene::new(trust).await;
        let ids = [scene.submit(b"first").await, scene.submit(b"second").await];
        let tally = scene.deliver(vec![says(201), says(204)]).await.unwrap();
        assert_eq!(
            tally,
            Tally {
                delivered: 2,
                hang_up: true,
                ..Tally::default()
            }
        );
        for id in ids {
            let (verdict, reason, outcome) = scene.story(id).await;
            assert_eq!(
                (verdict, outcome.as_deref()),
                (Some(Verdict::Delivered), Some("delivered"))
            );
            assert!(reason.unwrap().starts_with(word));
        }
        let heard = scene.heard.0.lock().unwrap();
        let (head, body) = &heard[0];
        assert_eq!(
            (head.method.as_str(), head.uri.to_string().as_str()),
            ("POST", "/cgi-bin/take")
        );
        for (field, value) in [
            ("host", "10.77.0.5:8080"),
            ("content-type", "text/plain"),
            ("content-length", "5"),
            ("idempotency-key", &format!("\"{}\"", ids[0])),
            ("content-digest", &Digest::of(b"first").to_header()),
            ("ringup-provider", "vending"),
            ("ringup-topic", "level/gr%C3%B6%C3%9Fe"),
        ] {
            assert_eq!(head.headers[field], value, "{field}");
        }
        assert_eq!(&body[..], b"first");
        assert_eq!(
            *scene.connections.lock().unwrap(),
            1,
            "a connection that stays open is used again"
        );
    }
}

#[tokio::test]
async fn every_2xx_is_a_receipt_and_nothing_else_is() {
    for status in (200..=599).filter(|status| status % 50 < 35) {
        let scene = Scene::new(chap()).await;
        let id = scene.submit(b"content").await;
        let result = scene.deliver(vec![says(status)]).await;
        let (verdict, _, outcome) = scene.story(id).await;
        let outcome = outcome.unwrap();
        match status {
            200..=299 => assert_eq!(verdict, Some(Verdict::Delivered), "{status}"),
            413 => {
                assert_eq!(
                    (result.unwrap().refused, verdict),
                    (1, Some(Verdict::Failed)),
                    "it is too large for good"
                );
            }
            429 | 503 => {
                assert!(
                    matches!(
                        result,
                        Err(Broken::PutOff {
                            wait: Duration::ZERO,
                            ..
                        })
                    ),
                    "{status}"
                );
                assert!(
                    verdict.is_none()
                        && outcome.starts_with(&format!("put off with status {status}"))
                );
            }
            408 | 409 | 425 | 500.. => {
                assert_eq!((result.unwrap().refused, verdict), (1, None), "{status}");
                assert!(
                    outcome.starts_with(&format!("put off with status {status}")),
                    "{outcome}"
                );
            }
            _ => {
                assert_eq!((result.unwrap().refused, verdict), (1, None), "{status}");
                assert!(
                    outcome.starts_with(&format!("refused with status {status}")),
                    "{outcome}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_is_refused_and_not_followed() {
    let scene = Scene::new(chap()).await;
    let id = scene.submit(b"content").await;
    assert_eq!(
        scene
            .deliver(vec![says(307), says(200)])
            .await
            .unwrap()
            .refused,
        1
    );
    assert_eq!(
        scene.story(id).await.2.unwrap(),
        "refused with status 307 (redirects are not followed)"
    );
    assert_eq!(scene.heard.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn one_message_that_is_refused_or_fails_there_keeps_no_other_waiting() {
    let scene = Scene::new(chap()).await;
    let [refused, failed, taken] = [
        scene.submit(b"a").await,
        scene.submit(b"b").await,
        scene.submit(b"c").await,
    ];
    let body = "no such\u{7} tray".to_owned();
    let tally = scene
        .deliver(vec![(422, None, body), says(500), says(200)])
        .await
        .unwrap();
    assert_eq!(
        tally,
        Tally {
            delivered: 1,
            refused: 2,
            hang_up: true,
            ..Tally::default()
        }
    );
    assert_eq!(
        scene.story(refused).await.2.unwrap(),
        "refused with status 422: no such\u{7} tray"
    );
    assert_eq!(
        scene.story(failed).await.2.unwrap(),
        "put off with status 500"
    );
    assert_eq!(scene.story(taken).await.0, Some(Verdict::Delivered));
}

#[tokio::test]
async fn a_terminal_that_asks_to_be_left_alone_gets_nothing_more_and_is_believed_for_a_day_at_most()
{
    for (status, retry_after, wait) in [
        (503, Some("120"), 120),
        (429, None, 0),
        (500, Some("7"), 7),
        (503, Some("99999999999"), 86_400),
        (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), 0),
        (503, Some("Wed, 31 Dec 2098 23:59:59 GMT"), 86_400),
        (503, Some("soon"), 0),
        (503, Some("-5"), 0),
    ] {
        let scene = Scene::new(chap()).await;
        let [first, second] = [scene.submit(b"a").await, scene.submit(b"b").await];
        let broken = scene
            .deliver(vec![(status, retry_after, String::new())])
            .await
            .unwrap_err();
        let Broken::PutOff { wait: told, .. } = broken else {
            panic!("{broken}")
        };
        assert_eq!(told, Duration::from_secs(wait), "{retry_after:?}");
        assert!(scene.story(first).await.2.unwrap().starts_with("put off"));
        assert_eq!(scene.story(second).await.2, None, "it was not brought");
    }
}

#[tokio::test]
async fn an_answer_without_end_costs_its_connection_and_no_memory_and_its_status_counts() {
    let scene = Scene::new(chap()).await;
    let [first, second] = [scene.submit(b"a").await, scene.submit(b"b").await];
    let endless = "x".repeat(1_000_000);
    scene
        .deliver(vec![(404, None, endless.clone()), (200, None, endless)])
        .await
        .unwrap();
    assert!(scene.story(first).await.2.unwrap().len() < 1100);
    assert_eq!(scene.story(second).await.0, Some(Verdict::Delivered));
    assert_eq!(*scene.connections.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_connection_without_an_answer_is_no_receipt() {
    let scene = Scene::new(chap()).await;
    let [first, second] = [scene.submit(b"a").await, scene.submit(b"b").await];
    let broken = scene.deliver(vec![says(200)]).await.unwrap_err();
    let Broken::Stock {
        under_way: Some(under_way),
        ..
    } = broken
    else {
        panic!("{broken}")
    };
    assert_eq!(
        under_way,
        UnderWay {
            messages: vec![second],
            received_before: 1,
            ..UnderWay::default()
        }
    );
    assert_eq!(scene.story(first).await.0, Some(Verdict::Delivered));
    assert!(
        scene
            .story(second)
            .await
            .2
            .unwrap()
            .starts_with("the terminal's server broke off")
    );
    // All of it was sent: whatever its provider wishes now, the terminal may have it.
    let cancelled = scene
        .store
        .cancel(second, None, "cancelled", Timestamp::now())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            cancelled.cancelled,
            cancelled.under_way,
            scene.story(second).await.0
        ),
        (0, 1, None)
    );
    // The kept connection was closed, which says nothing; so was a new one, which does.
    assert_eq!(*scene.connections.lock().unwrap(), 2);
}

#[tokio::test]
async fn what_left_whole_on_a_kept_connection_that_broke_is_in_doubt_whatever_the_next_try_is_answered()
 {
    for status in [503, 500, 409, 422, 413] {
        let scene = Scene::new(chap()).await;
        let [first, second] = [scene.submit(b"a").await, scene.submit(b"b").await];
        let _ = scene.deliver(vec![says(200), says(0), says(status)]).await;
        assert_eq!(
            (
                scene.heard.0.lock().unwrap().len(),
                *scene.connections.lock().unwrap()
            ),
            (3, 2)
        );
        assert_eq!(scene.story(first).await.0, Some(Verdict::Delivered));
        scene
            .store
            .cancel(second, None, "cancelled", Timestamp::now())
            .await
            .unwrap();
        assert_eq!(
            scene.story(second).await.0,
            None,
            "{status}: the terminal may have it"
        );
    }
}

#[tokio::test]
async fn a_refusal_says_nothing_of_what_left_whole_in_an_earlier_session() {
    for status in [500, 422] {
        let scene = Scene::new(chap()).await;
        let id = scene.submit(b"a").await;
        scene.deliver(vec![says(0)]).await.unwrap_err();
        scene.deliver(vec![says(status)]).await.unwrap();
        scene
            .store
            .cancel(id, None, "cancelled", Timestamp::now())
            .await
            .unwrap();
        assert_eq!(
            scene.story(id).await.0,
            None,
            "{status}: the terminal may have it from the first time"
        );
    }
}

/// Takes connections and says nothing.
struct Silent(Mutex<Vec<DuplexStream>>);

impl Reach for Silent {
    type Stream = DuplexStream;

    async fn connect(&self, _port: u16) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(1000);
        self.0.lock().unwrap().push(far);
        Ok(near)
    }

    async fn gone(&self) {
        std::future::pending::<()>().await;
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, 5)
    }

    fn rate_bps(&self) -> u32 {
        9600
    }
}

#[tokio::test(start_paused = true)]
async fn a_web_server_that_says_nothing_is_waited_for_a_minute_beyond_the_line() {
    let terminal = Scene::new(chap()).await;
    let stock = terminal.terminal.trusted_by.stock().unwrap();
    let mut inbox = Inbox {
        far_end: Silent(Mutex::default()),
        stock,
        open: None,
        departures: Vec::new(),
    };
    let (open, began) = (inbox.connect(8080).await.unwrap(), Instant::now());
    let answer = inbox
        .exchange(
            open,
            Request::post("/").body(Unread::default()).unwrap(),
            9600,
        )
        .await;
    assert!(matches!(answer, Err(StockError::TooLong)));
    assert_eq!(began.elapsed().as_secs(), 60 + 3 * 10);
}

#[tokio::test]
async fn a_mail_is_brought_to_the_terminals_own_mail_server_and_its_codes_decide() {
    const MAIL: &[u8] = b"Subject: level\r\n\r\n.high\r\n";
    let scene = Scene::with_inbox(chap(), "smtp://:25/owner@owner.example").await;
    let taken = scene
        .submit_as("message/rfc822", Some("gauge@far.example"), MAIL)
        .await;
    let later = scene.submit_as("message/rfc822", None, MAIL).await;
    let never = scene
        .submit_as("message/rfc822; charset=utf-8", None, MAIL)
        .await;
    let no_mail = scene.submit(b"rain").await;
    let tally = scene
        .deliver(vec![says(250), says(451), says(550)])
        .await
        .unwrap();
    assert_eq!((tally.delivered, tally.refused), (1, 3));
    assert_eq!(scene.story(taken).await.0, Some(Verdict::Delivered));
    for (id, expected, says) in [
        (later, None, "put off by its mail server: "),
        (never, None, "refused by its mail server: "),
        (
            no_mail,
            Some(Verdict::Failed),
            "refused here: its inbox takes mail, and this is text/plain",
        ),
    ] {
        let (verdict, _, outcome) = scene.story(id).await;
        assert!(
            verdict == expected && outcome.as_ref().unwrap().starts_with(says),
            "{outcome:?}"
        );
    }
    let heard = scene.heard.0.lock().unwrap();
    assert_eq!(
        heard[0].0.headers["envelope"],
        "MAIL FROM:<gauge@far.example>;RCPT TO:<owner@owner.example>;"
    );
    assert_eq!(
        &heard[0].1[..],
        b"Subject: level\r\n\r\n..high\r\n",
        "a dot is doubled on the wire"
    );
}
