//! Verdicts told to webhooks that answer at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use model::provider::{Provider, TokenHash};
use model::webhook::{Webhook, WebhookSecret};
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::load::{config, message, terminal};
use crate::table::{extent, target};

/// Verdicts of one provider, or shared by several.
fn verdicts() -> usize {
    extent(10_000, 200)
}

const PROVIDERS: [usize; 2] = [1, 10];

/// Nothing is measured for longer.
const LONGEST: Duration = Duration::from_secs(60);

pub(crate) async fn measure() {
    for providers in PROVIDERS {
        let folder = tempfile::tempdir().expect("a folder");
        let (told, hook) = (
            Arc::new(AtomicUsize::new(0)),
            TcpListener::bind("127.0.0.1:0").await.expect("a port"),
        );
        fill(
            folder.path(),
            providers,
            &format!("http://{}/", hook.local_addr().expect("an address")),
        )
        .await;
        let address = TcpListener::bind("127.0.0.1:0")
            .await
            .and_then(|port| port.local_addr())
            .expect("a port");
        let (shutdown, began) = (CancellationToken::new(), Instant::now());
        let serving = tokio::spawn(take_all(hook, told.clone()));
        let server = tokio::spawn(ringup_server::serve(
            config(folder.path(), address),
            shutdown.clone(),
        ));
        while told.load(Ordering::Relaxed) < verdicts() && began.elapsed() < LONGEST {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (told, seconds) = (told.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
        shutdown.cancel();
        server.await.expect("it does not panic").expect("it stops");
        serving.abort();
        let rate = told as f64 / seconds;
        let what =
            format!("{told} verdicts of {providers} providers told to a webhook on loopback");
        target(what, "500/s", format!("{rate:.0}/s"), rate >= 500.0);
    }
}

async fn fill(folder: &std::path::Path, providers: usize, url: &str) {
    let store = Store::open(folder, Timestamp::now()).expect("a store");
    store.add_terminal(terminal(1)).await.expect("it is new");
    for number in 0..providers {
        let secret = WebhookSecret::from_octets([7; 32]);
        let hook = Webhook {
            url: url.parse().expect("a URL"),
            secret,
            may_be_private: true,
        };
        let provider = Provider {
            name: format!("p{number}").parse().expect("a name"),
            number: None,
            may_send: Vec::new(),
            is_disabled: false,
        };
        store
            .add_provider_with(
                provider,
                TokenHash::of(&number.to_string()),
                Some(hook),
                None,
            )
            .await
            .expect("it is new");
    }
    let mut settling = JoinSet::new();
    for number in 0..verdicts() {
        let store = store.clone();
        settling.spawn(async move {
            let mut new = message(vec![terminal(1).id]);
            new.provider = format!("p{}", number % providers).parse().expect("a name");
            let id = new.head.id;
            store.accept(new, Timestamp::now()).await.expect("a disk");
            store
                .cancel(id, None, "over", Timestamp::now())
                .await
                .expect("a disk");
        });
    }
    settling.join_all().await;
}

/// Answers every request with 204.
async fn take_all(listener: TcpListener, told: Arc<AtomicUsize>) {
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        open.spawn(take(stream, told.clone()));
        while open.try_join_next().is_some() {}
    }
}

async fn take(mut stream: TcpStream, told: Arc<AtomicUsize>) {
    let (mut octets, mut more) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut more).await {
        octets.extend(&more[..read]);
        // Head and body of JSON, which ends with a brace; one request at a time.
        while octets.windows(4).any(|four| four == b"\r\n\r\n") && octets.ends_with(b"}") {
            octets.clear();
            told.fetch_add(1, Ordering::Relaxed);
            if stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .is_err()
            {
                return;
            }
        }
    }
}
