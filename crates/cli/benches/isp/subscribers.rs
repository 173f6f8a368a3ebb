//! Terminals that are tasks of this process, each on a line of its own: the modem is spoken to in four words, the rest is
//! the terminal's own session, with its key and its inbox on the disk.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::connector::ReceiveConfig;
use client::identity::Identity;
use client::inbox::{InboxConfig, Rules};
use client::session;
use delivery::proof::{Bundle, EnrolmentSecret};
use delivery::{Reason, TerminalId, Urgency};
use exchange::Running;
use jiff::Timestamp;
use line::Hours;
use link::{Link, LinkConfig, LocalAddress, PeerAddress};
use model::directory::{Connection, Terminal, TrustedBy};
use model::subscription::{RegisteredBy, Subscription};
use store::Store;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinSet;

pub(crate) const TOPIC: &str = "news/bench";

/// Number of concurrent file writers.
const AT_ONCE: u32 = 64;

/// What all of them have done so far.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Initialised, and waiting for a first call.
    pub(crate) waiting: AtomicUsize,
    /// On a link now.
    pub(crate) up: AtomicUsize,
    /// Sessions that ended with all that was due on the disk.
    pub(crate) completed: AtomicUsize,
    /// Those that did not.
    pub(crate) failed: AtomicUsize,
}

/// The number of the line of a terminal.
pub(crate) fn number(index: u32) -> String {
    (300_000 + index).to_string()
}

/// Adds `count` terminals, with a number, a key and a subscription, to the store of a server that does not run yet.
pub(crate) async fn enrol(folder: &Path, count: u32) {
    let state = folder.join("state");
    let servers = server::keys::server_public_keys(&state).unwrap();
    let store = Store::open(&state, Timestamp::now()).unwrap();
    for first in (0..count).step_by(AT_ONCE as usize) {
        let mut enrolling = JoinSet::new();
        for index in first..count.min(first + AT_ONCE) {
            let bundle = Bundle {
                terminal: id(index),
                name: format!("t{index}"),
                servers: servers.clone(),
                callers: vec![],
                number: None,
                address: None,
                secret: Some(EnrolmentSecret::from_octets([7; 32])),
                expires_at: Timestamp::MAX,
            };
            let (store, own) = (store.clone(), state_of(folder, index));
            enrolling.spawn(async move {
                let enrolled = tokio::task::spawn_blocking(move || {
                    let identity = Identity::enrol(&own, &bundle, Timestamp::UNIX_EPOCH).unwrap();
                    identity.burn_secret().unwrap(); // the operator registers the key
                    identity.key()
                });
                let key = enrolled.await.unwrap();
                let terminal = Terminal {
                    id: id(index),
                    name: format!("t{index}").parse().unwrap(),
                    number: Some(number(index).parse().unwrap()),
                    address: None,
                    connection: Connection::Down,
                    trusted_by: TrustedBy::default(),
                };
                store.add_terminal(terminal).await.unwrap();
                store
                    .register(id(index), key, Timestamp::now())
                    .await
                    .unwrap();
                let subscription = Subscription {
                    filter: TOPIC.parse().unwrap(),
                    urgency: Urgency::Normal,
                    size_max: None,
                    hours: Hours::default(),
                };
                store
                    .subscribe(
                        id(index),
                        subscription,
                        RegisteredBy::Operator,
                        Timestamp::now(),
                    )
                    .await
                    .unwrap();
            });
        }
        enrolling.join_all().await;
    }
}

/// Has all of them wait for calls until the set is dropped.
pub(crate) fn start(
    folder: &Path,
    count: u32,
    exchange: &Arc<Running>,
    delay: Duration,
) -> (JoinSet<()>, Arc<Counted>) {
    let counted = Arc::<Counted>::default();
    let mut tasks = JoinSet::new();
    for index in 0..count {
        let (exchange, counted, own) = (exchange.clone(), counted.clone(), state_of(folder, index));
        let receive = ReceiveConfig {
            inbox: InboxConfig {
                folder: own.join("inbox"),
                rules: Rules::default(),
                hand_over: vec![],
            },
            state: own,
            linger: Duration::ZERO,
            standing: None,
        };
        tasks.spawn(async move {
            let dte = exchange.station_stream(&number(index)).unwrap();
            counted.waiting.fetch_add(1, Ordering::Relaxed);
            let mut next = Some(dte);
            while let Some(dte) = next {
                take_call(dte, &receive, delay, &counted).await;
                next = exchange.station_stream(&number(index));
            }
        });
    }
    (tasks, counted)
}

/// From an initialised modem to on hook.
async fn take_call(
    mut dte: DuplexStream,
    receive: &ReceiveConfig,
    delay: Duration,
    counted: &Counted,
) {
    dte.write_all(b"ATE0+VCID=1\r").await.unwrap();
    // The number comes after the first ring; without it a terminal answers no call.
    if line_with(&mut dte, "NMBR").await.is_none() {
        return;
    }
    let receiving = receive.open().unwrap();
    dte.write_all(b"ATA\r").await.unwrap();
    let Some(connect) = line_with(&mut dte, "CONNECT").await else {
        return;
    };
    let rate_bps = connect
        .split(' ')
        .nth(1)
        .and_then(|rate| rate.parse().ok())
        .unwrap();
    let config = LinkConfig::new(LocalAddress::Ask(None), PeerAddress::Any, rate_bps, delay);
    let Ok(link) = Link::establish(dte, config).await else {
        counted.failed.fetch_add(1, Ordering::Relaxed);
        return;
    };
    counted.up.fetch_add(1, Ordering::Relaxed);
    let received = session::receive(&link, Reason::Called, delay, None, receiving)
        .await
        .result;
    counted.up.fetch_sub(1, Ordering::Relaxed);
    link.close();
    link.closed().await;
    match received {
        Ok(()) => counted.completed.fetch_add(1, Ordering::Relaxed),
        Err(error) => {
            eprintln!("a terminal's session failed: {error}");
            counted.failed.fetch_add(1, Ordering::Relaxed)
        }
    };
}

/// Reads up to the end of the line that begins so, and not an octet more; `None`: the caller gave up.
async fn line_with(dte: &mut DuplexStream, beginning: &str) -> Option<String> {
    let mut line = String::new();
    loop {
        match dte.read_u8().await.unwrap() {
            b'\n' if line.starts_with(beginning) => return Some(line),
            b'\n' if line.starts_with("NO CARRIER") => return None,
            b'\n' => line.clear(),
            b'\r' => {}
            octet => line.push(octet.into()),
        }
    }
}

fn id(index: u32) -> TerminalId {
    let mut octets = [0; 8];
    octets[4..].copy_from_slice(&index.to_be_bytes());
    TerminalId::from_octets(octets)
}

fn state_of(folder: &Path, index: u32) -> PathBuf {
    folder.join(format!("terminals/{index}"))
}

/// The first address of the server's pool, and the last of so many.
pub(crate) fn pool(count: u32) -> (Ipv4Addr, Ipv4Addr) {
    let first = Ipv4Addr::new(10, 78, 0, 1);
    (first, Ipv4Addr::from_bits(first.to_bits() + count))
}
