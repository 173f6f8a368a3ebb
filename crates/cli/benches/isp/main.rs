//! The figures of an information service: how long what comes in takes to a terminal, whether lines stay busy, and what a
//! call costs in memory. Rows of Markdown tables; `cargo xtask bench isp` puts them together.
//!
//! The servers are real processes. Where there are hundreds of terminals and more, they are tasks of this one: the
//! session is the terminal's, and only the ring is answered more simply.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot go on has no figure"
)]

#[path = "../../tests/ringup/chronicle.rs"]
#[allow(dead_code, reason = "the village's own tests ask more of a chronicle")]
mod chronicle;
#[path = "../../tests/ringup/http.rs"]
#[allow(dead_code, reason = "for the village")]
mod http;
#[path = "../../tests/ringup/process.rs"]
#[allow(dead_code, reason = "the village's own tests ask more of a process")]
mod process;
#[path = "../../tests/ringup/trunks.rs"]
#[allow(dead_code, reason = "for the village")]
mod trunks;
#[path = "../../tests/ringup/typist.rs"]
#[allow(dead_code, reason = "for the village")]
mod typist;
#[path = "../../tests/ringup/village.rs"]
#[allow(dead_code, reason = "its own tests ask more of a village")]
mod village;
#[path = "../../tests/ringup/web_page.rs"]
mod web_page;

mod calls_at_once;
mod fan_out;
mod latency;
mod own_lines;
mod service;
mod subscribers;
#[path = "../../../../xtask/src/bench/table.rs"]
mod table;

use std::time::Duration;

/// Every line is at work from the first second; what is said of the first minutes is true of the rest.
const FAN_OUT_MINUTES: u64 = 5;

fn main() {
    // `cargo bench` adds --bench.
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let figure = words.first().map(String::as_str);
    if figure.is_none_or(|figure| figure == "latency") {
        latency::measure();
    }
    if figure.is_none_or(|figure| figure == "calls-at-once") {
        run(calls_at_once::measure());
    }
    if figure.is_none_or(|figure| figure == "own-lines") {
        run(own_lines::measure());
    }
    if figure.is_none_or(|figure| figure == "fan-out") {
        // A second word: for so many minutes.
        let minutes = words
            .get(1)
            .map_or(FAN_OUT_MINUTES, |minutes| minutes.parse().unwrap());
        run(fan_out::measure(table::extent(
            Duration::from_secs(60 * minutes),
            Duration::from_secs(20),
        )));
    }
}

fn run(measurement: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(measurement);
}

fn millis(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}
