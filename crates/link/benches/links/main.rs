//! What TCP over a link carries, and what many links cost. Prints rows of a Markdown table: `cargo xtask bench link`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

mod crowd;
#[path = "../setup/line.rs"]
mod line;
mod noisy;
#[path = "../../../../xtask/src/bench/table.rs"]
mod table;

use std::net::Ipv4Addr;
use std::time::Duration;

use ringup_link::{Link, LinkConfig, LocalAddress, PeerAddress, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use line::Line;
use table::{extent, figure, target};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const TERMINAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PORT: u16 = 7411;

/// As fast as anything can be asked for: 10 bits an octet.
const UNLIMITED_BPS: u32 = u32::MAX;
const BULK_OCTETS: usize = 30_000_000;

const MODEM: Line = Line {
    rate_bps: 33_600,
    delay: Duration::from_millis(60),
};
const FILE_OCTETS: usize = 100_000;
const BIT_ERRORS: f64 = 1e-5;
const NOISY_RUNS: u64 = 5;

fn main() {
    // One thread for both ends, so that what it does in a second is what a core does.
    let (rounds, octets, noisy_runs) = extent((3, BULK_OCTETS, NOISY_RUNS), (1, 1_000_000, 1));
    let best = (0..rounds)
        .map(|_| runtime(false).block_on(bulk(octets)))
        .fold(0.0, f64::max);
    let what = "TCP over an unlimited line in memory, both ends on one core";
    target(
        what,
        "at least 300 Mbit/s",
        format!("{best:.0} Mbit/s"),
        best >= 300.0,
    );
    let share = runtime(true).block_on(file(0.0, 1));
    let what = "100 KB at 33600 bit/s, 60 ms: share of the line";
    target(
        what,
        "at least 95 %",
        format!("{:.1} %", 100.0 * share),
        share >= 0.95,
    );
    let shares: Vec<f64> = (1..=noisy_runs)
        .map(|seed| runtime(true).block_on(file(BIT_ERRORS, seed)))
        .collect();
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    let (least, most) = (
        shares.iter().copied().fold(1.0, f64::min),
        shares.iter().copied().fold(0.0, f64::max),
    );
    figure(
        format!("the same with one bit in 100,000 wrong, {noisy_runs} runs"),
        format!(
            "{:.1} % ({:.1} to {:.1})",
            100.0 * mean,
            100.0 * least,
            100.0 * most
        ),
    );
    crowd::measure();
}

fn runtime(is_paused: bool) -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(is_paused)
        .build()
        .unwrap()
}

fn config(local: LocalAddress, peer: PeerAddress, line: Line) -> LinkConfig {
    LinkConfig::new(local, peer, line.rate_bps, line.delay)
}

async fn establish(near: DuplexStream, far: DuplexStream, line: Line) -> (Link, Link) {
    let server = config(
        LocalAddress::Own(SERVER),
        PeerAddress::Assign(TERMINAL),
        line,
    );
    let terminal = config(LocalAddress::Ask(None), PeerAddress::Any, line);
    let (near, far) = tokio::join!(
        Link::establish(near, server),
        Link::establish(far, terminal)
    );
    (near.unwrap(), far.unwrap())
}

async fn connection(server: &Link, terminal: &Link) -> (Stream, Stream) {
    let mut listener = terminal.listen(PORT).unwrap();
    let (accepted, connected) = tokio::join!(listener.accept(), server.connect(TERMINAL, PORT));
    (connected.unwrap(), accepted.unwrap())
}

/// Sends so much from one end to the other, and says how long that took.
async fn send(from: &mut Stream, to: &mut Stream, octets: usize) -> Duration {
    let began = Instant::now();
    let speak = async {
        // Random, so that 2 of 256 are escaped; the same 64 KiB again and again.
        let content = random_octets(65_536);
        for offset in (0..octets).step_by(content.len()) {
            from.write_all(&content[..content.len().min(octets - offset)])
                .await
                .unwrap();
        }
    };
    let mut heard = 0;
    let mut buffer = vec![0; 65_536];
    let hear = async {
        while heard < octets {
            heard += to.read(&mut buffer).await.unwrap();
        }
    };
    tokio::join!(speak, hear);
    began.elapsed()
}

/// Megabits a second.
async fn bulk(octets: usize) -> f64 {
    let line = Line {
        rate_bps: UNLIMITED_BPS,
        delay: Duration::ZERO,
    };
    let (near, far) = duplex(1 << 20);
    let (server, terminal) = establish(near, far, line).await;
    let (mut from, mut to) = connection(&server, &terminal).await;
    let time = send(&mut from, &mut to, octets).await;
    octets as f64 * 8.0 / time.as_secs_f64() / 1e6
}

/// What part of the time the content alone would have taken, on a paused clock.
async fn file(bit_errors: f64, seed: u64) -> f64 {
    let (near, far) = noisy::line(MODEM, bit_errors, seed);
    let (server, terminal) = establish(near, far, MODEM).await;
    let (mut from, mut to) = connection(&server, &terminal).await;
    let time = send(&mut from, &mut to, FILE_OCTETS).await;
    FILE_OCTETS as f64 * 10.0 / f64::from(MODEM.rate_bps) / time.as_secs_f64()
}

/// The same in every run (xorshift64, Marsaglia 2003).
fn random_octets(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| noisy::next(&mut state).to_le_bytes()[7])
        .take(count)
        .collect()
}
