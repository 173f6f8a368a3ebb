//! By Ringup: the demo's two messages, the first on the call that enrols the terminal, the second on the next.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::Case;
use crate::observed::{Carried, Phase, records};

/// What `ringup demo --json` prints of a message.
#[derive(Debug, Deserialize)]
struct Summary {
    on_disk_seconds: f64,
    ppp: Part,
    tcp: Part,
    delivery: Part,
}

#[derive(Debug, Deserialize)]
struct Part {
    millis: u64,
    octets: u64,
    flights: u64,
}

/// On the very first call and on the next.
pub(crate) fn carry(case: Case) -> [Carried; 2] {
    let folder = tempfile::tempdir().unwrap();
    let (file, demo) = (folder.path().join("content"), folder.path().join("demo"));
    fs::write(&file, content(case.octets)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringup"));
    command.args([
        "demo",
        "--json",
        "--messages",
        "2",
        "--rate",
        &case.rate_bps.to_string(),
    ]);
    command
        .args(["--delay", &format!("{}ms", case.delay.as_millis())])
        .arg("--folder")
        .arg(&demo)
        .arg("--file")
        .arg(&file);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "the demo failed");
    let summaries = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Summary>();
    // Between two of the server's calls there is one of the vending machine's.
    let calls = records(&demo).into_iter().skip(1).step_by(2);
    let carried = summaries.zip(calls).map(|(summary, record)| {
        let Summary {
            on_disk_seconds,
            ppp,
            tcp,
            delivery,
        } = summary.unwrap();
        let phases = [("PPP", ppp), ("TCP", tcp), ("TLS and delivery", delivery)];
        let phases = phases.map(
            |(
                name,
                Part {
                    millis,
                    octets,
                    flights,
                },
            )| Phase {
                name,
                time: Duration::from_millis(millis),
                octets,
                flights,
            },
        );
        Carried {
            there: Duration::from_secs_f64(on_disk_seconds),
            record,
            phases: phases.into(),
        }
    });
    carried
        .collect::<Vec<_>>()
        .try_into()
        .expect("two messages on two calls")
}

/// Nothing that a compressor could make smaller.
pub(crate) fn content(octets: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64; // xorshift64 (Marsaglia 2003)
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(octets).collect()
}
