//! Memory of a server for each of its own lines in use: what fifty calls at once add to a server that has had calls before.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::calls_at_once::rss_kib;
use crate::service::{DELAY, Service, line_name, line_sections};
use crate::subscribers;
use crate::table::{extent, target};

const CALLS: u32 = 50;
const CALLS_SHORTEST: u32 = 2;

/// A modem's line and a fast one, and contents that take them half a minute and more.
const LINES: [(u32, usize); 2] = [(33_600, 120_000), (1_000_000, 4_000_000)];
const LINES_SHORTEST: [(u32, usize); 2] = [(33_600, 10_000), (1_000_000, 100_000)];

/// All are up for this long before they are counted: their buffers are full.
const SETTLED: Duration = Duration::from_secs(8);
const SETTLED_SHORTEST: Duration = Duration::from_millis(500);

const WANTED_KIB: f64 = 150.0;

pub(crate) async fn measure() {
    for (rate_bps, octets) in extent(LINES, LINES_SHORTEST) {
        measure_at(rate_bps, octets).await;
    }
}

async fn measure_at(rate_bps: u32, octets: usize) {
    let count = extent(CALLS, CALLS_SHORTEST);
    let pace = format!(
        "rate = {rate_bps}\nring_cycle = \"2s\"\ncaller_id_delay = \"100ms\"\ntraining = \"500ms\""
    );
    let service = Service::found(&pace, count, count).await;
    let storm = format!(
        "[dispatch]\ncalls_per_minute = {}\nburst = {count}\n",
        60 * count
    );
    let config = format!(
        "state = \"state\"\n[submission]\nlisten = \"127.0.0.1:0\"\n{storm}{}",
        line_sections(count)
    );
    service.write("server.toml", &config);
    let (_terminals, counted) =
        subscribers::start(service.folder.path(), count, &service.exchange, DELAY);
    let server = service.start("server", &["serve", "--config", "server.toml"]);
    for line in 0..count {
        service
            .chronicle
            .wait_field("server", "line ready", "line", &line_name(line));
    }
    let all = count as usize;
    // A round before, of the same size: what a server has once, a window to pack contents with, it has then.
    service.publish(octets);
    until(|| counted.completed.load(Ordering::Relaxed) >= all).await;
    sleep(extent(SETTLED, SETTLED_SHORTEST)).await;
    let before = rss_kib(server.id());
    service.publish_again(octets);
    until(|| counted.up.load(Ordering::Relaxed) >= all).await;
    sleep(extent(SETTLED, SETTLED_SHORTEST)).await;
    let (after, up) = (rss_kib(server.id()), counted.up.load(Ordering::Relaxed));
    let each = (after - before) / f64::from(count);
    let what = format!(
        "memory of a server for each of {count} lines of its own in a call at {rate_bps} bit/s, a message of {octets} octets under way (RSS, {before:.0} KiB before and {after:.0} KiB with {up} calls up)"
    );
    let is_met = each <= WANTED_KIB && up == all;
    target(
        what,
        format!("at most {WANTED_KIB:.0} KiB"),
        format!("{each:.1} KiB"),
        is_met,
    );
}

/// Waits for it, for two minutes at most.
async fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() && began.elapsed() < Duration::from_secs(120) {
        sleep(Duration::from_millis(50)).await;
    }
}
