//! Feeds as web servers give them, well and badly.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::IntoResponse;
use delivery::TerminalId;
use delivery::proof::KeyForm;
use line::Hours;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::alarms::AlarmConfig;
use crate::outward::OutwardError;
use model::directory::{Connection, Terminal, TrustedBy};
use model::provider::{Provider, TokenHash};
use model::subscription::{RegisteredBy, Subscription};
use store::{Last, Quota, Quotas};

/// What a path answers: status, fields, content.
type Page = (u16, Vec<(&'static str, String)>, String);

/// A web server with pages that a test changes, and a reader of feeds.
struct Web {
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    asked: Arc<Mutex<Vec<HeaderMap>>>,
    address: String,
    reader: Reader,
    _due: mpsc::Receiver<Vec<TerminalId>>,
    _serving: JoinSet<()>,
    _folder: TempDir,
}

#[derive(Clone)]
struct Shelf(
    Arc<Mutex<BTreeMap<String, Page>>>,
    Arc<Mutex<Vec<HeaderMap>>>,
);

async fn serve_page(
    State(Shelf(pages, asked)): State<Shelf>,
    uri: Uri,
    headers: HeaderMap,
) -> impl IntoResponse {
    asked.lock().unwrap().push(headers.clone());
    let page = pages.lock().unwrap().get(uri.path()).cloned();
    let (status, fields, content) = page.unwrap_or((404, Vec::new(), String::new()));
    let etag = fields
        .iter()
        .find(|(name, _)| *name == "etag")
        .map(|(_, value)| value.clone());
    let is_known = etag.is_some()
        && headers
            .get("if-none-match")
            .and_then(|value| value.to_str().ok())
            == etag.as_deref();
    let (status, content) = if is_known {
        (304, String::new())
    } else {
        (status, content)
    };
    let mut answer = (StatusCode::from_u16(status).unwrap(), content).into_response();
    for (name, value) in fields {
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
}

use http::StatusCode;

impl Web {
    async fn open() -> Self {
        Self::with_quota(10_000).await
    }

    /// At most this number of messages of the provider may wait.
    async fn with_quota(messages: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let quota = Quota {
            messages,
            ..Quotas::default().provider
        };
        let store = store.with_quotas(Quotas {
            provider: quota,
            ..Quotas::default()
        });
        let provider = Provider {
            name: "feeds".parse().unwrap(),
            number: None,
            may_send: vec![],
            is_disabled: false,
        };
        store
            .add_provider(provider, TokenHash::of("token"))
            .await
            .unwrap();
        let (due_sender, due) = mpsc::channel(1000);
        let (mut serving, shutdown, metrics) =
            (JoinSet::new(), CancellationToken::new(), Metrics::default());
        let alarms = AlarmConfig::default();
        let alarms = Alarms::start(
            store.clone(),
            alarms,
            metrics.clone(),
            shutdown,
            &mut serving,
        )
        .await
        .unwrap();
        let intake = Intake::new(store.clone(), due_sender, alarms.clone(), 10_000, None);
        let shelf = Shelf(Arc::default(), Arc::default());
        let (pages, asked) = (shelf.0.clone(), shelf.1.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(serve_page).with_state(shelf);
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let reader = Reader::new(intake, store, alarms, metrics, Outward::default());
        Self {
            pages,
            asked,
            address,
            reader,
            _due: due,
            _serving: serving,
            _folder: folder,
        }
    }

    /// A terminal is registered for the topic: what is sent waits.
    async fn subscribe(&self) {
        let id = TerminalId::from_octets([1; 8]);
        let terminal = Terminal {
            id,
            name: "subscriber".parse().unwrap(),
            number: Some("301".parse().unwrap()),
            address: None,
            trusted_by: TrustedBy::Key(KeyForm::Raw),
            connection: Connection::Down,
        };
        self.reader.store.add_terminal(terminal).await.unwrap();
        let all = Subscription {
            filter: "#".parse().unwrap(),
            urgency: Urgency::Bulk,
            size_max: None,
            hours: Hours::default(),
        };
        self.reader
            .store
            .subscribe(id, all, RegisteredBy::Operator, Timestamp::now())
            .await
            .unwrap();
    }

    /// Nothing waits any more.
    async fn cancel_all(&self) {
        for message in self.reader.store.messages(Last(100)).await.unwrap() {
            self.reader
                .store
                .cancel(message.head.id, None, "cancelled", Timestamp::now())
                .await
                .unwrap();
        }
    }

    fn put(&self, path: &str, page: Page) {
        self.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    fn feed(&self, path: &str) -> FeedConfig {
        FeedConfig {
            url: format!("http://{}{path}", self.address).parse().unwrap(),
            topic: "news/example".parse().unwrap(),
            provider: "feeds".parse().unwrap(),
            every: SignedDuration::from_mins(15),
            urgency: Urgency::Normal,
            expires_after: None,
            from_the_first: true,
            allow_private: true,
        }
    }

    /// Reads the feed now, whenever it would be due; gives its state.
    async fn read(&self, feed: &FeedConfig) -> FeedState {
        let known = self.reader.store.feed(feed.url.to_string()).await.unwrap();
        let is_first = known.is_none();
        self.reader
            .read_once(feed, known.unwrap_or_default(), is_first)
            .await
    }

    /// The titles of the items that were submitted, oldest first.
    async fn sent(&self) -> Vec<String> {
        let mut titles = Vec::new();
        for message in self
            .reader
            .store
            .messages(Last(100))
            .await
            .unwrap()
            .iter()
            .rev()
        {
            let (_, content) = self.reader.store.content(message.head.id).await.unwrap();
            let json: serde_json::Value = serde_json::from_slice(&content).unwrap();
            titles.push(json["title"].as_str().unwrap_or_default().to_owned());
        }
        titles
    }
}

fn items(titles: &[&str]) -> String {
    let items = titles.iter().map(|title| {
        format!("{{\"id\":\"{title}\",\"title\":\"{title}\",\"content_text\":\"x\"}}")
    });
    let items = items.collect::<Vec<_>>().join(",");
    format!(
        "{{\"version\":\"https://jsonfeed.org/version/1.1\",\"title\":\"n\",\"items\":[{items}]}}"
    )
}

fn minutes_until(state: &FeedState) -> i64 {
    (state.next_at.duration_since(Timestamp::now()).as_secs() + 30) / 60
}

#[tokio::test]
async fn each_item_is_sent_once_and_an_unchanged_feed_costs_a_304() {
    let web = Web::open().await;
    web.put(
        "/feed",
        (200, vec![("etag", "\"1\"".into())], items(&["sun", "rain"])),
    );
    let feed = web.feed("/feed");
    let state = web.read(&feed).await;
    assert_eq!(
        (state.etag.as_deref(), state.failed, minutes_until(&state)),
        (Some("\"1\""), 0, 15)
    );
    assert_eq!(web.sent().await, ["rain", "sun"]);
    web.read(&feed).await;
    assert_eq!(web.asked.lock().unwrap()[1]["if-none-match"], "\"1\"");
    web.put(
        "/feed",
        (200, vec![("etag", "\"2\"".into())], items(&["snow", "sun"])),
    );
    web.read(&feed).await;
    assert_eq!(web.sent().await, ["rain", "sun", "snow"]);
    // What was sent and not noted as seen, as after a crash, is the same message.
    web.reader
        .read(&feed, &FeedState::default(), true)
        .await
        .state
        .unwrap();
    assert_eq!(web.sent().await.len(), 3);
}

#[tokio::test]
async fn a_new_feed_sends_what_comes_from_now_on_unless_it_is_told_otherwise() {
    let web = Web::open().await;
    let feed = FeedConfig {
        from_the_first: false,
        ..web.feed("/feed")
    };
    web.put("/feed", (200, vec![], items(&["old"])));
    web.read(&feed).await;
    web.put("/feed", (200, vec![], items(&["new", "old"])));
    web.read(&feed).await;
    assert_eq!(web.sent().await, ["new"]);
}

#[tokio::test]
async fn a_feed_that_fails_is_read_less_and_less_and_is_an_alarm() {
    let web = Web::open().await;
    let feed = web.feed("/feed");
    web.put(
        "/feed",
        (200, vec![("etag", "\"1\"".into())], items(&["rain"])),
    );
    web.read(&feed).await;
    let mut pauses = Vec::new();
    for page in [
        (500, vec![], String::new()),
        (200, vec![], "<html>".to_owned()),
        (
            503,
            vec![("retry-after", "36000".to_owned())],
            String::new(),
        ),
    ] {
        web.put("/feed", page);
        let state = web.read(&feed).await;
        assert_eq!(state.etag.as_deref(), Some("\"1\""), "what is known stays");
        pauses.push(minutes_until(&state));
    }
    assert_eq!(pauses, [30, 60, 600]);
    let standing = web.reader.alarms.standing().await;
    assert!(
        standing
            .iter()
            .any(|alarm| alarm.kind == AlarmKind::Feed && alarm.subject == feed.url.to_string())
    );
    web.put(
        "/feed",
        (
            200,
            vec![("cache-control", "public, max-age=7200".into())],
            items(&["rain", "sun"]),
        ),
    );
    assert_eq!(minutes_until(&web.read(&feed).await), 120);
    assert!(web.reader.alarms.standing().await.is_empty());
    assert_eq!(web.sent().await, ["rain", "sun"]);
}

#[tokio::test]
async fn a_feed_leads_nowhere_that_its_operator_has_not_allowed() {
    let web = Web::open().await;
    web.put("/feed", (200, vec![], items(&["secret"])));
    let refused = FeedConfig {
        allow_private: false,
        ..web.feed("/feed")
    };
    assert_eq!(web.read(&refused).await.failed, 1);
    assert!(web.asked.lock().unwrap().is_empty(), "not even asked");
    for to in [
        "http://169.254.169.254/latest",
        "ftp://x/",
        "/circle",
        "file:///etc/hostname",
        "",
    ] {
        web.put(
            "/circle",
            (302, vec![("location", to.to_owned())], String::new()),
        );
        let error = fetch(
            &Outward::default(),
            &web.feed("/circle"),
            &FeedState::default(),
        )
        .await
        .err()
        .unwrap();
        let is_refused = matches!(
            error,
            fetch::FetchError::Redirect(_)
                | fetch::FetchError::Outward(_)
                | fetch::FetchError::Status { .. }
        );
        assert!(is_refused || to.starts_with("http://169"), "{to}: {error}");
    }
    web.put(
        "/moved",
        (301, vec![("location", "/feed".into())], String::new()),
    );
    web.read(&web.feed("/moved")).await;
    assert_eq!(web.sent().await, ["secret"]);
}

#[tokio::test]
async fn a_feed_without_end_is_not_read_to_it_and_an_item_too_large_is_left_out() {
    let web = Web::open().await;
    web.put("/endless", (200, vec![], " ".repeat(9 * 1024 * 1024)));
    let error = fetch(
        &Outward::default(),
        &web.feed("/endless"),
        &FeedState::default(),
    )
    .await
    .err()
    .unwrap();
    assert!(matches!(error, fetch::FetchError::TooLarge), "{error}");
    let large = "y".repeat(20_000);
    web.put("/feed", (200, vec![], items(&["small", &large, "tiny"])));
    assert_eq!(web.read(&web.feed("/feed")).await.failed, 0);
    assert_eq!(web.sent().await, ["tiny", "small"]);
}

#[tokio::test]
async fn a_feed_of_the_internet_cannot_send_us_to_this_machine() {
    let (web, inside) = (Web::open().await, Web::open().await);
    inside.put("/secret", (200, vec![], items(&["secret"])));
    let outward = Outward::with_internet_at(web.address.parse().unwrap());
    let feed = FeedConfig {
        allow_private: false,
        ..web.feed("/feed")
    };
    let port = inside.address.rsplit_once(':').unwrap().1;
    for host in [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let to = format!("http://{host}:{port}/secret");
        web.put(
            "/feed",
            (302, vec![("location", to.clone())], String::new()),
        );
        let error = fetch(&outward, &feed, &FeedState::default())
            .await
            .err()
            .unwrap();
        assert!(
            matches!(
                error,
                fetch::FetchError::Outward(OutwardError::NotAllowed(_))
            ),
            "{to}: {error:?}"
        );
    }
    assert!(inside.asked.lock().unwrap().is_empty(), "not even asked");
    let allowed = FeedConfig {
        allow_private: true,
        ..feed
    };
    web.put(
        "/feed",
        (
            302,
            vec![("location", format!("http://127.0.0.1:{port}/secret"))],
            String::new(),
        ),
    );
    assert!(
        fetch(&outward, &allowed, &FeedState::default())
            .await
            .is_ok(),
        "its operator has said so"
    );
}

/// Asked for anything says `first`, and then `again` for ever.
async fn endless(first: &'static str, again: &'static str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap(); // an answer before the question is no HTTP
        stream.write_all(first.as_bytes()).await.unwrap();
        while stream.write_all(again.as_bytes()).await.is_ok() {}
    });
    address.to_string()
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_off() {
    let web = Web::open().await;
    let read = async |address: String| {
        let feed = FeedConfig {
            url: format!("http://{address}/feed").parse().unwrap(),
            ..web.feed("/feed")
        };
        fetch(&Outward::default(), &feed, &FeedState::default())
            .await
            .err()
            .unwrap()
    };
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let error = read(endless(chunked, "11\r\n<item>more</item>\r\n").await).await;
    assert!(matches!(error, fetch::FetchError::TooLarge), "{error}");
    for first in ["HTTP/1.1 200 OK\r\n", ""] {
        let error = read(endless(first, "x-more: and more\r\n").await).await;
        assert!(
            matches!(error, fetch::FetchError::Http(_)),
            "{first:?}: {error}"
        );
    }
}

/// An RSS item with a guid.
fn item(guid: &str, text: &str) -> String {
    format!("<item><guid isPermaLink='false'>{guid}</guid><title>{text}</title></item>")
}

fn rss(items: &[String]) -> Page {
    (
        200,
        vec![],
        format!(
            "<rss version=\"2.0\"><channel>{}</channel></rss>",
            items.concat()
        ),
    )
}

#[tokio::test]
async fn an_item_without_an_id_is_sent_once_however_often_it_is_read() {
    let web = Web::open().await;
    let level = |metres: u8| {
        format!("<item><description>{metres}</description><title>river {metres} m</title></item>")
    };
    web.put("/feed", rss(&[level(4), level(3)]));
    for _ in 0..3 {
        web.read(&web.feed("/feed")).await;
    }
    assert_eq!(web.sent().await, ["river 3 m", "river 4 m"]);
    let no_title =
        "{\"version\":\"https://jsonfeed.org/version/1\",\"items\":[{\"content_text\":\"storm\"}]}";
    web.put("/json", (200, vec![], no_title.to_owned()));
    for _ in 0..3 {
        web.read(&web.feed("/json")).await;
    }
    assert_eq!(web.sent().await.len(), 3);
}

#[tokio::test]
async fn twins_and_an_edited_item_never_stop_a_feed() {
    let web = Web::open().await;
    let feed = web.feed("/feed");
    web.put(
        "/feed",
        rss(&[item("h", "three"), item("g", "two"), item("g", "one")]),
    );
    assert_eq!(web.read(&feed).await.failed, 0);
    assert_eq!(web.sent().await, ["one", "two", "three"]);
    // Submitted and not noted as seen, as after a crash, and edited since: its key belongs to what it was.
    web.put("/other", rss(&[item("1", "as it was")]));
    let other = web.feed("/other");
    web.reader
        .read(&other, &FeedState::default(), true)
        .await
        .state
        .unwrap();
    web.put(
        "/other",
        rss(&[item("2", "behind it"), item("1", "edited")]),
    );
    assert_eq!(web.read(&other).await.failed, 0);
    assert_eq!(web.sent().await[3..], ["as it was", "behind it"]);
    let seen = web
        .reader
        .store
        .unseen(other.url.to_string(), vec![[0; 32]])
        .await
        .unwrap();
    assert_eq!(seen.len(), 1);
    web.put(
        "/other",
        rss(&[item("2", "behind it"), item("1", "edited again")]),
    );
    web.read(&other).await;
    assert_eq!(web.sent().await.len(), 5);
}

#[tokio::test]
async fn a_quota_ends_a_reading_and_the_next_goes_on_in_order_from_there() {
    let web = Web::with_quota(2).await;
    web.subscribe().await;
    let feed = web.feed("/feed");
    let all =
        |edited: &str| rss(&["e", "d", "c", "b", "a"].map(|id| item(id, &format!("{id}{edited}"))));
    web.put("/feed", all(""));
    let state = web.read(&feed).await;
    assert_eq!(
        (state.failed, minutes_until(&state)),
        (1, 15),
        "it is read again when it would be, not twice as late"
    );
    assert_eq!(web.sent().await, ["a", "b"]);
    web.cancel_all().await;
    web.put("/feed", all(", edited"));
    web.read(&feed).await;
    assert_eq!(web.sent().await, ["a", "b", "c, edited", "d, edited"]);
    web.cancel_all().await;
    assert_eq!(web.read(&feed).await.failed, 0);
    assert_eq!(web.sent().await.len(), 5);
    assert!(
        web.reader
            .alarms
            .standing()
            .await
            .iter()
            .all(|alarm| alarm.kind != AlarmKind::Feed)
    );
}

#[tokio::test]
async fn what_was_there_before_the_first_good_reading_is_not_sent_after_a_failed_one() {
    let web = Web::open().await;
    let feed = FeedConfig {
        from_the_first: false,
        ..web.feed("/feed")
    };
    assert_eq!(web.read(&feed).await.failed, 1);
    web.put("/feed", (200, vec![], items(&["old"])));
    web.read(&feed).await;
    web.put("/feed", (200, vec![], items(&["new", "old"])));
    web.read(&feed).await;
    assert_eq!(web.sent().await, ["new"]);
}

#[tokio::test]
async fn a_feed_in_an_unknown_format_or_compressed_is_an_alarm_with_the_reason() {
    let web = Web::open().await;
    let alarm = async |path: &str| {
        let feed = web.feed(path);
        web.reader
            .read_once(
                &feed,
                FeedState {
                    failed: FAILED_ALARM - 1,
                    ..FeedState::default()
                },
                false,
            )
            .await;
        let standing = web.reader.alarms.standing().await;
        standing
            .iter()
            .find(|alarm| alarm.subject == feed.url.to_string())
            .unwrap()
            .detail
            .clone()
    };
    web.put(
        "/cdf",
        (
            200,
            vec![],
            "<?xml version=\"1.0\"?><CHANNEL><ITEM HREF=\"x\"/></CHANNEL>".to_owned(),
        ),
    );
    assert!(alarm("/cdf").await.contains("begins with <CHANNEL>"));
    web.put(
        "/gzip",
        (
            200,
            vec![("content-encoding", "gzip".to_owned())],
            String::new(),
        ),
    );
    assert!(alarm("/gzip").await.contains("compressed (gzip)"));
}

#[tokio::test]
async fn a_feed_is_read_as_soon_as_its_provider_is_there_and_when_it_is_wanted() {
    let web = Web::open().await;
    web.put("/feed", (200, vec![], items(&["rain"])));
    let late = FeedConfig {
        provider: "late".parse().unwrap(),
        ..web.feed("/feed")
    };
    let (url, feeds) = (late.url.to_string(), Feeds::new(vec![late]));
    let (reader, store) = (web.reader.clone(), web.reader.store.clone());
    let (reading, other) = (feeds.clone(), feeds.clone());
    let mut readings = JoinSet::new();
    readings.spawn(async move { reader.keep_reading(&reading.0[0].0, &reading.0[0].1).await });
    tokio::task::yield_now().await;
    assert!(
        web.asked.lock().unwrap().is_empty(),
        "nothing is fetched before"
    );
    let provider = Provider {
        name: "late".parse().unwrap(),
        number: None,
        may_send: vec![],
        is_disabled: false,
    };
    store
        .add_provider(provider, TokenHash::of("late"))
        .await
        .unwrap();
    let until_asked = async |times: usize| {
        while web.asked.lock().unwrap().len() < times || web.sent().await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    until_asked(1).await;
    assert!(!other.read_now("http://other.example/"));
    assert!(other.read_now(&url), "long before it is due");
    until_asked(2).await;
}
