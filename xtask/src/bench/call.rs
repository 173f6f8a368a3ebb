//! What a message costs on the line: from CONNECT of the server's call to the terminal's disk and on hook.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use super::Extent;
use crate::workspace::{Workspace, shown};

/// One message over one kind of line.
struct Case {
    octets: usize,
    rate_bps: u32,
    delay: &'static str,
}

const CASES: &[Case] = &[
    Case {
        octets: 1_000,
        rate_bps: 33_600,
        delay: "60ms",
    },
    Case {
        octets: 1_000,
        rate_bps: 9_600,
        delay: "300ms",
    },
    Case {
        octets: 1_000,
        rate_bps: 2_400,
        delay: "600ms",
    },
    Case {
        octets: 100_000,
        rate_bps: 33_600,
        delay: "60ms",
    },
];

/// Messages of each case: the first call enrols the terminal, the second remembers PPP and resumes TLS.
const CALLS: [&str; 2] = ["very first, enrols", "next, within a day"];

/// What `ringup demo --json` prints.
#[derive(Debug, Deserialize)]
struct Summary {
    on_disk_seconds: f64,
    on_hook_seconds: f64,
    floor_seconds: f64,
    line_share: f64,
    ppp: Phase,
    tcp: Phase,
    delivery: Phase,
}

#[derive(Debug, Deserialize)]
struct Phase {
    millis: u64,
    octets: u64,
    flights: u64,
}

pub(super) fn measure(workspace: &Workspace, extent: Extent) -> anyhow::Result<String> {
    let mut table = "### call\n
From CONNECT of the server's call to the first hang-up, both ends proved, content encrypted, on the exchange in software, one run each; content is random octets. A phase is: \
time, octets on the line both ways, flights (changes of direction). Share: how much of the time on line the content alone would take.\n
| content, line | call | line's floor | on the terminal's disk | on hook | share | PPP | TCP | delivery |\n|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for (case, call, summary) in measured(workspace, extent)? {
        let Summary {
            on_disk_seconds,
            on_hook_seconds,
            floor_seconds,
            line_share,
            ppp,
            tcp,
            delivery,
        } = summary;
        let [ppp, tcp, delivery] = [ppp, tcp, delivery].map(
            |Phase {
                 millis,
                 octets,
                 flights,
             }| {
                format!(
                    "{:.2} s, {octets} octets, {flights} flights",
                    millis as f64 / 1000.0
                )
            },
        );
        writeln!(
            table,
            "| {} octets, {} bit/s, {} | {call} | {floor_seconds:.2} s | {on_disk_seconds:.2} s | {on_hook_seconds:.2} s | {:.1} % | {ppp} | {tcp} | {delivery} |",
            case.octets,
            case.rate_bps,
            case.delay,
            100.0 * line_share
        )?;
    }
    Ok(table)
}

fn measured(
    workspace: &Workspace,
    extent: Extent,
) -> anyhow::Result<Vec<(&'static Case, &'static str, Summary)>> {
    let mut all = Vec::new();
    for case in &CASES[..extent.of(CASES.len(), 1)] {
        let summaries = case.measure(&extent.program(workspace, "ringup")?)?;
        all.extend(
            CALLS
                .into_iter()
                .zip(summaries)
                .map(|(call, summary)| (case, call, summary)),
        );
    }
    Ok(all)
}

impl Case {
    /// One summary for each call.
    fn measure(&self, ringup: &Path) -> anyhow::Result<Vec<Summary>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("content");
        fs::write(&file, random_octets(self.octets))?;
        let mut demo = Command::new(ringup);
        demo.args([
            "demo",
            "--messages",
            &CALLS.len().to_string(),
            "--json",
            "--delay",
            self.delay,
            "--rate",
            &self.rate_bps.to_string(),
        ]);
        demo.arg("--file")
            .arg(&file)
            .arg("--folder")
            .arg(folder.path().join("demo"));
        demo.stdin(Stdio::null()).stderr(Stdio::inherit());
        eprintln!("== {}", shown(&demo));
        let output = demo.output().context("could not start the demo")?;
        if !output.status.success() {
            bail!(
                "the demo with {} octets at {} bit/s failed",
                self.octets,
                self.rate_bps
            );
        }
        let summaries = serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter()
            .collect::<Result<Vec<_>, _>>();
        let summaries = summaries.context("could not read the summaries of the demo")?;
        if summaries.len() != CALLS.len() {
            bail!(
                "the demo told of {} calls, not of {}",
                summaries.len(),
                CALLS.len()
            );
        }
        Ok(summaries)
    }
}

/// The same in every run, and nothing that a compressor could make smaller (xorshift64, Marsaglia 2003).
fn random_octets(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_in_every_run_and_evenly_spread() {
        let octets = random_octets(100_000);
        assert_eq!(octets, random_octets(100_000));
        let mut counts = [0; 256];
        octets
            .iter()
            .for_each(|octet| counts[usize::from(*octet)] += 1);
        assert!(
            counts.iter().all(|count| (250..550).contains(count)),
            "{counts:?}"
        );
    }
}
