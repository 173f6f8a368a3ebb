//! 1,000 calls at once through one dial-up server, a message under way on each: what a call takes of either server's memory.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::service::{DELAY, Service, line_name, line_sections};
use crate::subscribers;
use crate::table::{extent, figure, target};

const CALLS: u32 = 1000;
const CALLS_SHORTEST: u32 = 10;

/// At 9600 bit/s nearly two minutes: the first terminal still receives when the last link is up.
const ITEM_OCTETS: usize = 100_000;
const PACE: &str =
    "rate = 9600\nring_cycle = \"2s\"\ncaller_id_delay = \"100ms\"\ntraining = \"1s\"";

/// Time for which all links are up before memory is measured: by then their buffers are full.
const SETTLED: Duration = Duration::from_secs(10);

/// By then they have come up, or will not.
const COMING_UP_MAX: Duration = Duration::from_secs(90);

pub(crate) async fn measure() {
    let count = extent(CALLS, CALLS_SHORTEST);
    let service = Service::found(PACE, count, count).await;
    let (first, last) = subscribers::pool(count);
    let storm = format!(
        "[dispatch]\ncalls_per_minute = {}\nburst = {count}\n",
        60 * count
    );
    let head = format!(
        "state = \"state\"\n[submission]\nlisten = \"127.0.0.1:0\"\n[information]\nlisten = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n{storm}"
    );
    service.write("server.toml", &head);
    service.write("pop.toml", "state = \"pop\"\n[dialup]\nname = \"pop\"\n");
    let key = |config| {
        service
            .run(&["server-key", "public", "--config", config])
            .stdout
            .trim()
            .to_owned()
    };
    let (ours, theirs) = (key("server.toml"), key("pop.toml"));
    let lines: Vec<_> = (0..count)
        .map(|line| format!("{{ name = \"{}\" }}", line_name(line)))
        .collect();
    let away = format!(
        "[[dialup_server]]\nname = \"pop\"\nkey = \"{theirs}\"\nlines = [{}]\n",
        lines.join(", ")
    );
    service.write("server.toml", &(head + &away));
    let server = service.start("server", &["serve", "--config", "server.toml"]);
    let trunks = service
        .chronicle
        .wait("server", "taking dial-up servers")
        .field("address");
    let pop = format!(
        "state = \"pop\"\n[dialup]\nname = \"pop\"\ninformation = \"{trunks}\"\nkeys = [\"{ours}\"]\n[link]\npool_first = \"{first}\"\npool_last = \"{last}\"\n{}",
        line_sections(count)
    );
    service.write("pop.toml", &pop);
    let (_terminals, counted) =
        subscribers::start(service.folder.path(), count, &service.exchange, DELAY);
    let pop = service.start("pop", &["serve", "--config", "pop.toml"]);
    for line in 0..count {
        service
            .chronicle
            .wait_field("pop", "line ready", "line", &line_name(line));
    }
    service
        .chronicle
        .wait("server", "dial-up server in service");
    let metrics = service
        .chronicle
        .wait("server", "telling metrics")
        .field("address");
    let before = [rss_kib(pop.id()), rss_kib(server.id())];
    service.publish(ITEM_OCTETS);
    eprintln!("== {count} calls come up");
    let began = Instant::now();
    let all = count as usize;
    while counted.up.load(Ordering::Relaxed) < all && began.elapsed() < COMING_UP_MAX {
        sleep(Duration::from_millis(100)).await;
    }
    let coming_up = began.elapsed();
    sleep(SETTLED).await;
    let after = [rss_kib(pop.id()), rss_kib(server.id())];
    let told = service.metrics(&metrics);
    let of_lines = told
        .get("ringup_lines{state=\"in-a-call\"}")
        .copied()
        .unwrap_or_default();
    let connected = told
        .get("ringup_terminals_connected")
        .copied()
        .unwrap_or_default();
    let (up, completed) = (
        counted.up.load(Ordering::Relaxed),
        counted.completed.load(Ordering::Relaxed),
    );
    let is_met = up == all
        && completed == 0
        && of_lines == f64::from(count)
        && connected == f64::from(count);
    target(
        format!(
            "calls up at once through one dial-up server, a message of {ITEM_OCTETS} octets under way on each: links at the terminals; lines in a call, as the dial-up server tells; terminals connected, as the information server tells; messages done"
        ),
        format!("{count}, {count}, {count}, 0"),
        format!("{up}, {of_lines:.0}, {connected:.0}, {completed}"),
        is_met,
    );
    figure(
        "until the last of them was up",
        format!("{:.1} s", coming_up.as_secs_f64()),
    );
    for (who, before, after) in [
        ("dial-up server", before[0], after[0]),
        ("information server", before[1], after[1]),
    ] {
        let each = (after - before) / f64::from(count);
        let what = format!(
            "memory of the {who} for each call (RSS, {before:.0} KiB without and {after:.0} KiB with all)"
        );
        figure(what, format!("{each:.1} KiB"));
    }
    while counted.completed.load(Ordering::Relaxed) < all && began.elapsed() < 3 * COMING_UP_MAX {
        sleep(Duration::from_millis(100)).await;
    }
    let (completed, failed) = (
        counted.completed.load(Ordering::Relaxed),
        counted.failed.load(Ordering::Relaxed),
    );
    let (wanted, measured) = (format!("{count}, 0"), format!("{completed}, {failed}"));
    target(
        "of them: sessions complete in the end, failed",
        wanted,
        measured,
        completed == all && failed == 0,
    );
}

/// Resident memory of a process, in KiB.
pub(crate) fn rss_kib(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
