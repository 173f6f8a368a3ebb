//! Two ends that know each other, and between them a line of 33600 bit/s under virtual time whose octets are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringup_delivery::TerminalId;
use ringup_delivery::proof::{CourierCredentials, Pin, SecretKey, Secured, TerminalCredentials};
use tokio::io::{
    AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split,
};
use tokio::time::interval;

pub(crate) const RATE_BPS: u32 = 33_600;

/// What a second of the line carries.
pub(crate) const SECOND_OCTETS: u64 = 3_360;

/// What `link` holds in TCP that is not on its way yet, at this rate (`link::stack`).
const TCP_OCTETS: usize = 1_512;

/// How often the line takes octets.
const TICK: Duration = Duration::from_millis(10);

/// What has crossed the line.
#[derive(Debug, Default)]
pub(crate) struct Crossed {
    to_terminal: AtomicU64,
    to_server: AtomicU64,
    idle_ticks: AtomicU64,
}

impl Crossed {
    pub(crate) fn to_terminal(&self) -> u64 {
        self.to_terminal.load(Ordering::Relaxed)
    }

    /// Waits until this many octets have crossed to the terminal.
    pub(crate) async fn wait_for(&self, octets: u64) {
        let mut ticks = interval(TICK);
        while self.to_terminal() < octets {
            ticks.tick().await;
        }
    }

    pub(crate) fn to_server(&self) -> u64 {
        self.to_server.load(Ordering::Relaxed)
    }

    /// Ticks, of 33 octets, in which nothing waited to go to the terminal.
    pub(crate) fn idle_ticks(&self) -> u64 {
        self.idle_ticks.load(Ordering::Relaxed)
    }
}

/// The server's end, the terminal's, and the count.
pub(crate) fn line() -> (Secured<DuplexStream>, Secured<DuplexStream>, Arc<Crossed>) {
    let (server, terminal) = (
        SecretKey::generate().unwrap(),
        SecretKey::generate().unwrap(),
    );
    let ((near, at_near), (far, at_far)) = (duplex(TCP_OCTETS), duplex(TCP_OCTETS));
    let ((from_near, to_near), (from_far, to_far)) = (split(at_near), split(at_far));
    let crossed = Arc::new(Crossed::default());
    let [down, up] = [crossed.clone(), crossed.clone()];
    tokio::spawn(
        async move { carry(from_near, to_far, &down.to_terminal, &down.idle_ticks).await },
    );
    tokio::spawn(async move { carry(from_far, to_near, &up.to_server, &AtomicU64::new(0)).await });
    let pin = Pin::Keys(vec![terminal.public()]);
    let courier = CourierCredentials::new(&server).unwrap();
    let near = courier
        .secure(near, TerminalId::from_octets([1; 8]), pin, RATE_BPS)
        .unwrap();
    let far = TerminalCredentials::new(&terminal, vec![server.public()], None)
        .unwrap()
        .secure(far, RATE_BPS)
        .unwrap();
    (near, far, crossed)
}

/// One direction: a fixed number of octets each tick, until one end is closed.
async fn carry(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    count: &AtomicU64,
    idle: &AtomicU64,
) {
    let mut ticks = interval(TICK);
    let mut octets = [0; RATE_BPS as usize / 10 / 100];
    loop {
        ticks.tick().await;
        let read = tokio::select! {
            biased;
            read = from.read(&mut octets) => read,
            () = std::future::ready(()) => {
                idle.fetch_add(1, Ordering::Relaxed);
                continue;
            }
        };
        let Ok(read @ 1..) = read else { return };
        count.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&octets[..read]).await.is_err() {
            return;
        }
    }
}
