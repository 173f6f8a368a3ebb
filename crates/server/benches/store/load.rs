//! Accepts in flight, straight into the store or over HTTP into a whole server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use calling::Money;
use calling::dispatch::{RedialRules, Reserve, RetryRules, StormRules};
use delivery::{ContentType, Digest, MessageHead, MessageId, TerminalId};
use jiff::Timestamp;
use model::directory::{Connection, Terminal, TrustedBy};
use model::provider::{Provider, Token, TokenHash};
use ringup_server::Config;
use ringup_server::alarms::AlarmConfig;
use ringup_server::dialup::AddressPool;
use store::{Handling, NewMessage, Quotas, RefusalRules, Retention, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{CONTENT_OCTETS, measured};

/// Accepts a second, and the time that 99 of 100 stayed below, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rate: f64,
    pub(crate) p99: f64,
}

pub(crate) fn terminal(number: u32) -> Terminal {
    let mut octets = [0; 8];
    octets[4..].copy_from_slice(&number.to_be_bytes());
    // Random, as ids are.
    octets[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
    Terminal {
        id: TerminalId::from_octets(octets),
        name: format!("t{number}").parse().expect("a name"),
        number: None,
        address: None,
        connection: Connection::Down,
        trusted_by: TrustedBy::default(),
    }
}

pub(crate) fn message(terminals: Vec<TerminalId>) -> NewMessage {
    let content = Bytes::from_static(&[b'x'; CONTENT_OCTETS]);
    let head = MessageHead {
        id: MessageId::now(),
        content_type: ContentType::octets(),
        digest: Digest::of(&content),
        size: CONTENT_OCTETS as u64,
    };
    NewMessage {
        head,
        provider: "vending".parse().expect("a name"),
        content: content.into(),
        terminals,
        subscribers: None,
        handling: Handling::default(),
    }
}

async fn enrol(folder: &Path) -> (Store, Token) {
    let store = Store::open(folder, Timestamp::now()).expect("a store");
    store.add_terminal(terminal(1)).await.expect("it is new");
    let token = Token::from_octets([7; 32]);
    let provider = Provider {
        name: "vending".parse().expect("a name"),
        number: None,
        may_send: Vec::new(),
        is_disabled: false,
    };
    store
        .add_provider(provider, TokenHash::of(token.reveal()))
        .await
        .expect("it is new");
    (store, token)
}

/// Accepts a second by as many tasks, each waiting for one after another.
pub(crate) async fn of_store(tasks: usize) -> f64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    COUNT.store(0, Ordering::Relaxed);
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = enrol(folder.path()).await;
    let began = Instant::now();
    let mut accepting = JoinSet::new();
    for _ in 0..tasks {
        let store = store.clone();
        accepting.spawn(async move {
            while began.elapsed() < measured() {
                store
                    .accept(message(vec![terminal(1).id]), Timestamp::now())
                    .await
                    .expect("a disk");
                COUNT.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    accepting.join_all().await;
    COUNT.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

/// The same over so many connections, each kept alive, into a server without lines.
pub(crate) async fn over_http(connections: usize) -> Load {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, token) = enrol(folder.path()).await;
    drop(store);
    // A port that is free now.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .and_then(|port| port.local_addr())
        .expect("a port");
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(ringup_server::serve(
        config(folder.path(), address),
        shutdown.clone(),
    ));
    let mut streams = Vec::new();
    while streams.len() < connections {
        match TcpStream::connect(address).await {
            Ok(stream) => streams.push(stream),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    let head = format!(
        "POST /v1/messages?to=terminal:t1 HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n\
         content-type: text/plain\r\ncontent-length: {CONTENT_OCTETS}\r\n\r\n",
        token.reveal()
    );
    let request: Bytes = [head.as_bytes(), &[b'x'; CONTENT_OCTETS]].concat().into();
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for stream in streams {
        clients.spawn(submit(stream, request.clone(), began));
    }
    let mut times: Vec<f64> = clients.join_all().await.into_iter().flatten().collect();
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    shutdown.cancel();
    server.await.expect("it does not panic").expect("it stops");
    times.sort_by(f64::total_cmp);
    Load {
        rate,
        p99: times[times.len() * 99 / 100],
    }
}

async fn submit(mut stream: TcpStream, request: Bytes, began: Instant) -> Vec<f64> {
    stream.set_nodelay(true).expect("a socket");
    let mut times = Vec::new();
    let mut answer = [0; 1024];
    while began.elapsed() < measured() {
        let sent = Instant::now();
        stream.write_all(&request).await.expect("a server");
        let mut read = 0;
        // The body is one JSON object.
        while read == 0 || answer[read - 1] != b'}' {
            read += stream.read(&mut answer[read..]).await.expect("an answer");
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 202"),
            "{}",
            String::from_utf8_lossy(&answer[..read])
        );
        times.push(sent.elapsed().as_secs_f64());
    }
    times
}

pub(crate) fn config(state: &Path, address: SocketAddr) -> Config {
    let [own, first, last] =
        ["10.77.0.1", "10.77.255.1", "10.77.255.254"].map(|text| text.parse().expect("an address"));
    let second = std::time::Duration::from_secs(1);
    Config {
        state: state.to_owned(),
        submission_listen: Some(address),
        delivery_listen: None,
        feeds: Vec::new(),
        mail: None,
        submission_size_max: 1_000_000,
        quotas: Quotas::default(),
        retention: Retention::default(),
        refusals: RefusalRules::default(),
        link_address: own,
        link_pool: AddressPool::new(first, last).expect("a pool"),
        capture: None,
        tun: None,
        home: None,
        retry: RetryRules {
            first: second,
            longest: second,
            redials: RedialRules::default(),
            session_wait: second,
        },
        storm: StormRules::default(),
        reserve: Reserve::default(),
        conditions: Vec::new(),
        money: Money::default(),
        metrics_listen: None,
        number_only: false,
        alarm: AlarmConfig::default(),
        lines: Vec::new(),
        trunk_listen: None,
        dialup_servers: Vec::new(),
    }
}
