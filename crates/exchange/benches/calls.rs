//! Many calls at once on real time, both ways, through the same ports and tasks as in tests: whether the line keeps its
//! rate. Prints one JSON object; `cargo xtask bench exchange` makes a table of it.
//!
//! Both ends of every call are in this process too, so that its processor time is more than the exchange's own.

#[path = "../../../xtask/src/bench/table.rs"]
mod table;

use ringup_exchange::{Config, Running};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    task::JoinSet,
};

const RATE: u32 = 33_600;

fn main() {
    let calls = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(2000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(measure(calls));
}

async fn measure(calls: usize) {
    let mut text = format!("rate = {RATE}\ndelay = \"60ms\"\ncaller_id_delay = \"1ms\"\n");
    for station in 0..2 * calls {
        writeln!(text, "[[station]]\nnumber = \"{station}\"\nmemory = true").expect("text grows");
    }
    let config: Config = text.parse().expect("it is a configuration");
    let running = Running::start(config).await.expect("it starts");
    let mut ends = JoinSet::new();
    for call in 0..calls {
        let stream = |station: usize| {
            running
                .station_stream(&station.to_string())
                .expect("a station")
        };
        let (mut caller, mut called) = (stream(2 * call), stream(2 * call + 1));
        ends.spawn(async move {
            called.write_all(b"ATE0S0=1\r").await.expect("a port");
            hear(&mut called, b"OK\r\n").await;
            caller
                .write_all(format!("ATE0D{}\r", 2 * call + 1).as_bytes())
                .await
                .expect("a port");
            tokio::join!(
                hear(&mut caller, b"CONNECT 33600\r\n"),
                hear(&mut called, b"CONNECT 33600\r\n")
            );
            [caller, called]
        });
    }
    let connected = ends.join_all().await;
    let measured = table::extent(Duration::from_secs(10), Duration::from_secs(1));
    let processor_before = processor_seconds();
    let began = Instant::now();
    let mut carriers = JoinSet::new();
    let mut writers = JoinSet::new();
    for (reader, writer) in connected.into_iter().flatten().map(tokio::io::split) {
        writers.spawn(keep_writing(writer));
        carriers.spawn(receive(reader, began + measured));
    }
    let mut rates = carriers.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    let processor = processor_seconds() - processor_before;
    writers.shutdown().await;
    running.stop().await.expect("it stops");
    rates.sort_by(f64::total_cmp);
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    println!(
        "{{\"calls\":{calls},\"rate_bps\":{RATE},\"slowest_bps\":{:.1},\"mean_bps\":{mean:.1},\"fastest_bps\":{:.1},\
         \"processor_share\":{:.3}}}",
        rates[0],
        rates[rates.len() - 1],
        processor / seconds
    );
}

async fn hear(stream: &mut DuplexStream, wanted: &[u8]) {
    let mut heard = Vec::new();
    while !heard.ends_with(wanted) {
        heard.push(stream.read_u8().await.expect("the port is open"));
    }
}

async fn keep_writing(mut writer: WriteHalf<DuplexStream>) {
    // No `+`, so that no chance of an escape.
    while writer.write_all(&[b'x'; 336]).await.is_ok() {}
}

/// The rate in bit/s from the first octets to the last before `end`.
async fn receive(mut reader: ReadHalf<DuplexStream>, end: Instant) -> f64 {
    let mut buffer = [0; 1024];
    let (mut first, mut last, mut octets) = (None, Instant::now(), 0);
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        last = Instant::now();
        // What comes first marks the start, so it does not count.
        octets += if first.replace(first.unwrap_or(last)).is_some() {
            count
        } else {
            0
        };
        if last >= end {
            break;
        }
    }
    let seconds = first.map_or(0.0, |first| last.duration_since(first).as_secs_f64());
    octets as f64 * 10.0 / seconds
}

fn processor_seconds() -> f64 {
    let used = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields 14 and 15, after the name in brackets; in hundredths of a second on every Linux there is.
    let fields: Vec<f64> = used
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|field| field.parse().ok())
        .collect();
    fields.iter().skip(10).take(2).sum::<f64>() / 100.0
}
