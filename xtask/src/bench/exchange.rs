//! Whether the exchange in software keeps its rate under many calls at once.

use anyhow::Context as _;
use serde::Deserialize;

use super::Extent;
use super::table::verdict;
use crate::workspace::Workspace;

/// How far from its rate no call may be.
const WANTED_SHARE: f64 = 0.01;

/// What the exchange's bench prints.
#[derive(Debug, Deserialize)]
struct Summary {
    calls: u32,
    rate_bps: f64,
    slowest_bps: f64,
    mean_bps: f64,
    fastest_bps: f64,
    processor_share: f64,
}

pub(super) fn measure(workspace: &Workspace, extent: Extent) -> anyhow::Result<String> {
    let mut table = "### exchange\n
Calls that carry data both ways without a pause for 10 s, through ports in memory, on two threads; both ends of every call are in the \
same process, and processor time is of all of it. Rates are those of one direction of one call, from its first octets to its last.\n
| calls | wanted | slowest | mean | fastest | processors | |\n|---|---|---|---|---|---|---|\n"
        .to_owned();
    for calls in extent.of(["200", "2000"].as_slice(), &["20"]) {
        let mut bench = extent.scope("ringup-exchange");
        bench.extend(["--quiet", "--bench", "calls", "--", calls]);
        eprintln!("== {calls} calls");
        let line = workspace.output(extent.cargo(workspace, "bench", &bench))?;
        let Summary {
            calls,
            rate_bps,
            slowest_bps,
            mean_bps,
            fastest_bps,
            processor_share,
        } = serde_json::from_str(&line).context("could not read what the bench says")?;
        let is_met = [slowest_bps, fastest_bps]
            .iter()
            .all(|bps| (bps / rate_bps - 1.0).abs() <= WANTED_SHARE);
        let word = verdict(is_met);
        table += &format!(
            "| {calls} | {rate_bps:.0} bit/s within 1 % | {slowest_bps:.0} | {mean_bps:.0} | {fastest_bps:.0} | {processor_share:.2} | {word} |\n"
        );
    }
    Ok(table)
}
