//! One item for 10,000 subscribers over 50 lines: how much of the time the lines are off hook.
//!
//! The time counts from the first dial command until no terminal waits for a line any more, or until the measurement is over. A
//! line is off hook from the last digit that it dials to the first end that hangs up, as the exchange's records say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use exchange::{CallRecord, Outcome};
use jiff::Timestamp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout_at};

use crate::chronicle::Chronicle;
use crate::service::{DELAY, Service, line_name, line_number, line_sections};
use crate::table::{extent, figure, target};
use crate::{millis, subscribers};

const LINES: u32 = 50;
const SUBSCRIBERS: u32 = 10_000;
const SUBSCRIBERS_SHORTEST: u32 = 20;
const ITEM_OCTETS: usize = 1000;
const WANTED: f64 = 0.95;

/// The number comes half a second after the first ring; from the answer to CONNECT V.34 takes some twelve seconds.
const PACE: &str = "rate = 33_600\nring_cycle = \"5s\"\nring_time = \"1s\"\ncaller_id_delay = \"500ms\"\ntraining = \"12s\"";

/// Longer than any call.
const LAST_CALLS: Duration = Duration::from_secs(60);

pub(crate) async fn measure(at_most: Duration) {
    let count = extent(SUBSCRIBERS, SUBSCRIBERS_SHORTEST);
    let service = Service::found(PACE, LINES, count).await;
    let config = format!(
        "state = \"state\"\n[submission]\nlisten = \"127.0.0.1:0\"\n{}",
        line_sections(LINES)
    );
    service.write("server.toml", &config);
    let (_terminals, counted) =
        subscribers::start(service.folder.path(), count, &service.exchange, DELAY);
    let _server = service.start("server", &["serve", "--config", "server.toml"]);
    for line in 0..LINES {
        service
            .chronicle
            .wait_field("server", "line ready", "line", &line_name(line));
    }
    let records = service.exchange.records();
    service.publish(ITEM_OCTETS);
    eprintln!("== {LINES} lines call for {} s at most", at_most.as_secs());
    let calls = calls(records, count as usize, Instant::now() + at_most).await;
    let completed = calls
        .iter()
        .filter(|call| call.outcome == Outcome::Completed)
        .count();
    let first = calls.iter().map(|call| call.placed).min().unwrap();
    let is_whole = completed >= count as usize;
    let last = match is_whole {
        true => calls.iter().map(|call| call.placed).max().unwrap(),
        false => first + at_most,
    };
    let share = off_hook(&calls, first, last)
        / (last.duration_since(first).as_secs_f64() * f64::from(LINES));
    let of = if is_whole {
        "until all had it"
    } else {
        "measured from the first call on"
    };
    let minutes = last.duration_since(first).as_secs_f64() / 60.0;
    target(
        format!(
            "one item of {ITEM_OCTETS} octets for {count} terminals over {LINES} lines, {minutes:.1} minutes {of}: lines off hook"
        ),
        format!("at least {:.0} %", 100.0 * WANTED),
        format!("{:.1} %", 100.0 * share),
        share >= WANTED,
    );
    let lasted: Duration = calls.iter().map(|call| span(call.placed, call.ended)).sum();
    let of_them = u32::try_from(calls.len()).unwrap();
    let (failed, mean) = (
        counted.failed.load(Ordering::Relaxed),
        lasted.as_secs_f64() / f64::from(of_them),
    );
    figure(
        "of them: calls, those that came up, sessions that failed; a call off hook in the mean",
        format!("{of_them}, {completed}, {failed}; {mean:.1} s"),
    );
    let [seen, initialised, decided, dialled] = pauses(&calls, &service.chronicle).map(millis);
    figure(
        "between two calls of a line, in the mean: the end is seen; DTR is low and the modem set up; the next call is decided and on the disk; its last digit is dialled",
        format!("{seen:.0}, {initialised:.0}, {decided:.0}, {dialled:.0} ms"),
    );
}

/// The records of all calls that began by then, once they are over, or until everybody has been called.
async fn calls(
    mut records: Receiver<CallRecord>,
    wanted: usize,
    until: Instant,
) -> Vec<CallRecord> {
    let wall_until = Timestamp::now() + until.duration_since(Instant::now());
    let mut calls = Vec::new();
    let mut told = Instant::now();
    loop {
        match timeout_at(until + LAST_CALLS, records.recv()).await {
            Ok(Ok(record)) => calls.push(record),
            Ok(Err(RecvError::Lagged(missed))) => panic!("{missed} records were missed"),
            Ok(Err(RecvError::Closed)) => panic!("the exchange has ended"),
            Err(_) => break,
        }
        if calls.len() >= wanted {
            break;
        }
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            eprintln!("   {} calls", calls.len());
        }
    }
    calls.retain(|call: &CallRecord| call.placed < wall_until);
    // The sessions' own ends are behind the records.
    sleep(Duration::from_secs(1)).await;
    calls
}

/// Seconds of all lines together, from `first` to `last`.
fn off_hook(calls: &[CallRecord], first: Timestamp, last: Timestamp) -> f64 {
    calls
        .iter()
        .map(|call| span(call.placed.max(first), call.ended.min(last)).as_secs_f64())
        .sum()
}

fn span(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

/// The means of what a line does between the end of a call and the next: until the server has seen it, is ready, has decided,
/// has dialled.
fn pauses(calls: &[CallRecord], chronicle: &Arc<Chronicle>) -> [Duration; 4] {
    let mut by_line = BTreeMap::<String, [Vec<Timestamp>; 3]>::new();
    for (place, event) in ["call ended", "line ready", "calling"]
        .into_iter()
        .enumerate()
    {
        for entry in chronicle.said("server", event) {
            let at = entry.field("timestamp").parse().unwrap();
            by_line.entry(entry.field("line")).or_default()[place].push(at);
        }
    }
    let (mut sums, mut count) = ([Duration::ZERO; 4], 0_u32);
    for line in 0..LINES {
        let mut own: Vec<_> = calls
            .iter()
            .filter(|call| call.caller == line_number(line))
            .collect();
        own.sort_by_key(|call| call.placed);
        let Some(said) = by_line.get(&line_name(line)) else {
            continue;
        };
        for pair in own.windows(2) {
            let (ended, placed) = (pair[0].ended, pair[1].placed);
            let between = said
                .each_ref()
                .map(|times| times.iter().find(|at| ended <= **at && **at <= placed));
            let [Some(seen), Some(ready), Some(calling)] = between else {
                continue;
            };
            let parts = [
                span(ended, *seen),
                span(*seen, *ready),
                span(*ready, *calling),
                span(*calling, placed),
            ];
            sums.iter_mut()
                .zip(parts)
                .for_each(|(sum, part)| *sum += part);
            count += 1;
        }
    }
    sums.map(|sum| sum / count.max(1))
}
