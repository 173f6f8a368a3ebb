//! Feeds as web servers give them, well and badly.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::IntoResponse;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::alarms::AlarmConfig;
use crate::directory::{Provider, TokenHash};
use crate::outward::OutwardError;
use crate::store::Last;

/// What a path answers: status, fields, content.
type Page = (u16, Vec<(&'static str, String)>, String);

/// A web server with pages that a test changes, and a reader of feeds.
struct Web {
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    asked: Arc<Mutex<Vec<HeaderMap>>>,
    address: String,
    reader: Reader,
    _due: mpsc::Receiver<Vec<delivery::TerminalId>>,
    _serving: JoinSet<()>,
    _folder: TempDir,
}

#[derive(Clone)]
struct Shelf(Arc<Mutex<BTreeMap<String, Page>>>, Arc<Mutex<Vec<HeaderMap>>>);

async fn serve_page(State(Shelf(pages, asked)): State<Shelf>, uri: Uri, headers: HeaderMap) -> impl IntoResponse {
    asked.lock().unwrap().push(headers.clone());
    let page = pages.lock().unwrap().get(uri.path()).cloned();
    let (status, fields, content) = page.unwrap_or((404, Vec::new(), String::new()));
    let etag = fields.iter().find(|(name, _)| *name == "etag").map(|(_, value)| value.clone());
    let is_known =
        etag.is_some() && headers.get("if-none-match").and_then(|value| value.to_str().ok()) == etag.as_deref();
    let (status, content) = if is_known { (304, String::new()) } else { (status, content) };
    let mut answer = (StatusCode::from_u16(status).unwrap(), content).into_response();
    for (name, value) in fields {
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    answer
}

use http::StatusCode;

impl Web {
    async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let provider = Provider { name: "feeds".parse().unwrap(), number: None, may_send: vec![] };
        store.add_provider(provider, TokenHash::of("token")).await.unwrap();
        let (due_sender, due) = mpsc::channel(1000);
        let (mut serving, shutdown, metrics) = (JoinSet::new(), CancellationToken::new(), Metrics::default());
        let alarms = AlarmConfig::default();
        let alarms = Alarms::start(store.clone(), alarms, metrics.clone(), shutdown, &mut serving).await.unwrap();
        let intake = Intake::new(store.clone(), due_sender, alarms.clone(), 10_000, None);
        let shelf = Shelf(Arc::default(), Arc::default());
        let (pages, asked) = (shelf.0.clone(), shelf.1.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().fallback(serve_page).with_state(shelf);
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let reader = Reader { intake, store, alarms, metrics, outward: Outward::default() };
        Self { pages, asked, address, reader, _due: due, _serving: serving, _folder: folder }
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
        let url = feed.url.to_string();
        self.reader.read_once(feed, self.reader.store.feed(url.clone()).await.unwrap()).await;
        self.reader.store.feed(url).await.unwrap().unwrap()
    }

    /// The titles of the items that were submitted, oldest first.
    async fn sent(&self) -> Vec<String> {
        let mut titles = Vec::new();
        for message in self.reader.store.messages(Last(100)).await.unwrap().iter().rev() {
            let (_, content) = self.reader.store.content(message.head.id).await.unwrap();
            let json: serde_json::Value = serde_json::from_slice(&content).unwrap();
            titles.push(json["title"].as_str().unwrap_or_default().to_owned());
        }
        titles
    }
}

fn items(titles: &[&str]) -> String {
    let items =
        titles.iter().map(|title| format!("{{\"id\":\"{title}\",\"title\":\"{title}\",\"content_text\":\"x\"}}"));
    let items = items.collect::<Vec<_>>().join(",");
    format!("{{\"version\":\"https://jsonfeed.org/version/1.1\",\"title\":\"n\",\"items\":[{items}]}}")
}

fn minutes_until(state: &FeedState) -> i64 {
    (state.next_at.duration_since(Timestamp::now()).as_secs() + 30) / 60
}

#[tokio::test]
async fn each_item_is_sent_once_and_an_unchanged_feed_costs_a_304() {
    let web = Web::open().await;
    web.put("/feed", (200, vec![("etag", "\"1\"".into())], items(&["sun", "rain"])));
    let feed = web.feed("/feed");
    let state = web.read(&feed).await;
    assert_eq!((state.etag.as_deref(), state.failed, minutes_until(&state)), (Some("\"1\""), 0, 15));
    assert_eq!(web.sent().await, ["rain", "sun"]);
    web.read(&feed).await;
    assert_eq!(web.asked.lock().unwrap()[1]["if-none-match"], "\"1\"");
    web.put("/feed", (200, vec![("etag", "\"2\"".into())], items(&["snow", "sun"])));
    web.read(&feed).await;
    assert_eq!(web.sent().await, ["rain", "sun", "snow"]);
    // What was sent and not noted as seen, as after a crash, is the same message.
    web.reader.read(&feed, &FeedState::default(), true).await.unwrap();
    assert_eq!(web.sent().await.len(), 3);
}

#[tokio::test]
async fn a_new_feed_sends_what_comes_from_now_on_unless_it_is_told_otherwise() {
    let web = Web::open().await;
    let feed = FeedConfig { from_the_first: false, ..web.feed("/feed") };
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
    web.put("/feed", (200, vec![("etag", "\"1\"".into())], items(&["rain"])));
    web.read(&feed).await;
    let mut pauses = Vec::new();
    for page in [
        (500, vec![], String::new()),
        (200, vec![], "<html>".to_owned()),
        (503, vec![("retry-after", "36000".to_owned())], String::new()),
    ] {
        web.put("/feed", page);
        let state = web.read(&feed).await;
        assert_eq!(state.etag.as_deref(), Some("\"1\""), "what is known stays");
        pauses.push(minutes_until(&state));
    }
    assert_eq!(pauses, [30, 60, 600]);
    let standing = web.reader.alarms.standing().await;
    assert!(standing.iter().any(|alarm| alarm.kind == AlarmKind::Feed && alarm.subject == feed.url.to_string()));
    web.put("/feed", (200, vec![("cache-control", "public, max-age=7200".into())], items(&["rain", "sun"])));
    assert_eq!(minutes_until(&web.read(&feed).await), 120);
    assert!(web.reader.alarms.standing().await.is_empty());
    assert_eq!(web.sent().await, ["rain", "sun"]);
}

#[tokio::test]
async fn a_feed_leads_nowhere_that_its_operator_has_not_allowed() {
    let web = Web::open().await;
    web.put("/feed", (200, vec![], items(&["secret"])));
    let refused = FeedConfig { allow_private: false, ..web.feed("/feed") };
    assert_eq!(web.read(&refused).await.failed, 1);
    assert!(web.asked.lock().unwrap().is_empty(), "not even asked");
    for to in ["http://169.254.169.254/latest", "ftp://x/", "/circle", "file:///etc/hostname", ""] {
        web.put("/circle", (302, vec![("location", to.to_owned())], String::new()));
        let error = fetch(&Outward::default(), &web.feed("/circle"), &FeedState::default()).await.err().unwrap();
        let is_refused = matches!(
            error,
            fetch::FetchError::Redirect(_) | fetch::FetchError::Outward(_) | fetch::FetchError::Status { .. }
        );
        assert!(is_refused || to.starts_with("http://169"), "{to}: {error}");
    }
    web.put("/moved", (301, vec![("location", "/feed".into())], String::new()));
    web.read(&web.feed("/moved")).await;
    assert_eq!(web.sent().await, ["secret"]);
}

#[tokio::test]
async fn a_feed_without_end_is_not_read_to_it_and_an_item_too_large_is_left_out() {
    let web = Web::open().await;
    web.put("/endless", (200, vec![], " ".repeat(9 * 1024 * 1024)));
    let error = fetch(&Outward::default(), &web.feed("/endless"), &FeedState::default()).await.err().unwrap();
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
    let feed = FeedConfig { allow_private: false, ..web.feed("/feed") };
    let port = inside.address.rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"] {
        let to = format!("http://{host}:{port}/secret");
        web.put("/feed", (302, vec![("location", to.clone())], String::new()));
        let error = fetch(&outward, &feed, &FeedState::default()).await.err().unwrap();
        assert!(matches!(error, fetch::FetchError::Outward(OutwardError::NotAllowed(_))), "{to}: {error:?}");
    }
    assert!(inside.asked.lock().unwrap().is_empty(), "not even asked");
    let allowed = FeedConfig { allow_private: true, ..feed };
    web.put("/feed", (302, vec![("location", format!("http://127.0.0.1:{port}/secret"))], String::new()));
    assert!(fetch(&outward, &allowed, &FeedState::default()).await.is_ok(), "its operator has said so");
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
        let feed = FeedConfig { url: format!("http://{address}/feed").parse().unwrap(), ..web.feed("/feed") };
        fetch(&Outward::default(), &feed, &FeedState::default()).await.err().unwrap()
    };
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let error = read(endless(chunked, "11\r\n<item>more</item>\r\n").await).await;
    assert!(matches!(error, fetch::FetchError::TooLarge), "{error}");
    for first in ["HTTP/1.1 200 OK\r\n", ""] {
        let error = read(endless(first, "x-more: and more\r\n").await).await;
        assert!(matches!(error, fetch::FetchError::Http(_)), "{first:?}: {error}");
    }
}
