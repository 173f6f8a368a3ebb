//! How fast submissions are on the disk, over HTTP and without, beside bare SQLite and beside the disk itself; how long a
//! start takes with a million envelopes waiting; how long a message to a hundred thousand terminals. Prints rows of a
//! Markdown table: `cargo xtask bench store` puts them under their head.
//!
//! With `scale` it measures what others wait for instead: submissions beside a backup and a cleaning, a start with 600,000
//! different messages, webhooks. `cargo xtask bench scale` does that.
//!
//! Client and server share the process and its two cores.

mod bare;
mod beside;
mod crowd;
mod hooks;
mod load;
#[path = "../../../../xtask/src/bench/table.rs"]
mod table;
mod waiting;

use std::time::Duration;

use tokio::runtime::Builder;

use table::{extent, figure, target};

/// Octets of a content.
const CONTENT_OCTETS: usize = 1000;

/// Connections, or accepts in flight.
const CROWD: usize = 64;

/// How long each figure is measured in a round.
fn measured() -> Duration {
    extent(Duration::from_secs(3), Duration::from_millis(100))
}

/// Of these rounds the median counts; the figures of a round follow each other on the same disk.
fn round_count() -> usize {
    extent(5, 1)
}

/// What a round measures, in accepts a second.
#[derive(Debug, Clone, Copy)]
struct Round {
    syncs: f64,
    bare_single: f64,
    bare_batch: f64,
    store_single: f64,
    store_crowd: f64,
    http_single: load::Load,
    http_crowd: load::Load,
}

fn main() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // `http`, `start`: only this, for a profiler.
    let has = |word| std::env::args().any(|argument| argument == word);
    let is_profiled = has("http");
    runtime.block_on(async {
        if has("start") {
            return waiting::measure().await;
        }
        if has("scale") {
            hooks::measure().await;
            waiting::measure().await;
            return beside::measure().await;
        }
        if is_profiled {
            return eprintln!(
                "{:?} {:?}",
                load::over_http(1).await,
                load::over_http(CROWD).await
            );
        }
        let mut rounds = Vec::new();
        for _ in 0..round_count() {
            rounds.push(round().await);
        }
        print(&rounds);
        crowd::measure().await;
    });
}

async fn round() -> Round {
    let round = Round {
        syncs: bare::syncs(),
        bare_single: bare::accepts(1),
        store_single: load::of_store(1).await,
        http_single: load::over_http(1).await,
        bare_batch: bare::accepts(CROWD),
        store_crowd: load::of_store(CROWD).await,
        http_crowd: load::over_http(CROWD).await,
    };
    eprintln!("{round:?}");
    round
}

fn print(rounds: &[Round]) {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let (syncs, bare_single, bare_batch) = (
        of(|round| round.syncs),
        of(|round| round.bare_single),
        of(|round| round.bare_batch),
    );
    let (store_single, store_crowd) = (
        of(|round| round.store_single),
        of(|round| round.store_crowd),
    );
    let http_single = of(|round| round.http_single.rate);
    let http_crowd = of(|round| round.http_crowd.rate);
    let rate = |what: &str, rate: f64| figure(what, format!("{rate:.0}/s"));
    rate(
        "the disk: 4096 octets written and `fdatasync`, one after another",
        syncs,
    );
    rate("bare SQLite, a commit each", bare_single);
    rate(&format!("bare SQLite, {CROWD} a commit"), bare_batch);
    rate("store without HTTP, one at a time", store_single);
    rate(&format!("store without HTTP, {CROWD} at once"), store_crowd);
    let p99 = |figure: fn(&Round) -> f64| 1000.0 * median(rounds.iter().map(figure));
    let (single_p99, crowd_p99) = (
        p99(|round| round.http_single.p99),
        p99(|round| round.http_crowd.p99),
    );
    // Of each round by itself: disks and neighbours have their moods.
    let single_share = of(|round| round.http_single.rate / round.bare_single);
    let crowd_share = of(|round| round.http_crowd.rate / round.bare_batch);
    row(
        "HTTP, one connection, one at a time",
        80.0,
        0.0,
        http_single,
        single_share,
        single_p99,
    );
    row(
        &format!("HTTP, {CROWD} connections"),
        60.0,
        10_000.0,
        http_crowd,
        crowd_share,
        crowd_p99,
    );
}

fn row(what: &str, percent_wanted: f64, rate_wanted: f64, rate: f64, share: f64, p99_millis: f64) {
    let percent = 100.0 * share;
    let is_met = percent >= percent_wanted && rate >= rate_wanted;
    let wanted = match rate_wanted {
        0.0 => String::new(),
        rate => format!(", {rate:.0}/s"),
    };
    let wanted = format!("at least {percent_wanted:.0} % of bare SQLite{wanted}");
    target(
        what,
        wanted,
        format!("{rate:.0}/s, {percent:.0} %; p99 {p99_millis:.1} ms"),
        is_met,
    );
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
