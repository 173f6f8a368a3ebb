//! Many links at once in one process.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep};

use crate::table::{extent, figure};
use crate::{MODEM, connection, establish, runtime};

/// Pairs of ends. Each end is a link.
const PAIRS: usize = 500;
const WATCHED: Duration = Duration::from_secs(5);

/// Links that are up and idle, then with a connection each, then with a little to say.
pub(crate) fn measure() {
    let (pairs, watched) = extent((PAIRS, WATCHED), (10, Duration::from_millis(500)));
    let runtime = runtime(false);
    let mut links = Vec::new();
    let idle = allocation_counter::measure(|| {
        runtime.block_on(async {
            for _ in 0..pairs {
                let (near, far) = duplex(PIPE_OCTETS);
                links.push(establish(near, far, MODEM).await);
            }
        });
    });
    let links_count = 2 * pairs;
    let each = |octets: i64| octets as f64 / links_count as f64 / 1024.0;
    let what =
        format!("{links_count} links, idle: heap of each, {PIPE_OCTETS} octets of pipe included");
    figure(what, format!("{:.1} KiB", each(idle.bytes_current)));
    let cpu = runtime.block_on(cpu_while(async { sleep(watched).await }));
    figure(
        format!("{links_count} links, idle: processor"),
        format!("{cpu:.2} % of one"),
    );
    let mut streams = Vec::new();
    let connected = allocation_counter::measure(|| {
        runtime.block_on(async {
            for (server, terminal) in &links {
                streams.push(connection(server, terminal).await);
            }
        });
    });
    let what = format!("{links_count} links: heap of each for a TCP connection");
    figure(
        what,
        format!("{:.1} KiB more", each(connected.bytes_current)),
    );
    let cpu = runtime.block_on(async {
        let mut chats = JoinSet::new();
        for (index, (mut from, mut to)) in streams.into_iter().enumerate() {
            // Not all in the same millisecond.
            let first = Instant::now() + Duration::from_millis(2 * index as u64);
            chats.spawn(async move {
                let mut ticks = interval_at(first, Duration::from_secs(1));
                let mut heard = [0; 100];
                loop {
                    ticks.tick().await;
                    from.write_all(&[0x55; 100]).await.unwrap();
                    to.read_exact(&mut heard).await.unwrap();
                }
            });
        }
        cpu_while(async { sleep(watched).await }).await
    });
    let what = format!("{links_count} links, each pair moving 100 octets a second: processor");
    figure(what, format!("{cpu:.1} % of one"));
}

const PIPE_OCTETS: usize = 4096;

/// Per cent of a processor that this thread has used meanwhile (Linux).
async fn cpu_while(work: impl Future<Output = ()>) -> f64 {
    let (began, before) = (Instant::now(), cpu_seconds());
    work.await;
    100.0 * (cpu_seconds() - before) / began.elapsed().as_secs_f64()
}

fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}
