//! Long runs.

mod fuzz;

use std::time::{Duration, Instant};

use clap::Args;

use crate::step::{Step, timed};
use crate::workspace::Workspace;
use crate::world;

/// Runs the property tests of `ppp` and `exchange` with far more cases than `test` does, seeds of the world, `kill -9` and
/// power cuts of whole programs, a long message over a line that drops, and the fuzz targets, each round with new seeds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask soak
  cargo xtask soak --minutes 60 --cases 1000000 --fuzz-seconds 300
  cargo xtask soak --fuzz-seconds 0           property tests only

A seed that breaks a promise is printed: `cargo xtask world` runs it again. A case that fails is printed shrunk, and kept
in a file of regressions; what makes a fuzz target fail is kept in fuzz/artifacts. Give it a test of
its own, with a name. What the fuzz targets find worth keeping is in target/fuzz.")]
pub(crate) struct Soak {
    /// Begin no new round after so many minutes; one round is always run
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Cases for each property in a round
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Seconds for each fuzz target in a round; 0: none, and cargo-fuzz is not needed
    #[arg(long, value_name = "N", default_value_t = 60)]
    fuzz_seconds: u32,
    /// Seeds of the world in a round: 300 terminals and 90 days each, and 1000 messages octet by octet
    #[arg(long, value_name = "N", default_value_t = 50)]
    seeds: u64,
    /// Kills of server, terminal or answering program in a round, about one a second; 0: none, and no power cuts
    #[arg(long, value_name = "N", default_value_t = 200)]
    kills: u32,
}

impl Soak {
    /// # Errors
    /// The first failure.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let tests = [
            "test",
            "--release",
            "--locked",
            "--package",
            "ringup-ppp",
            "--package",
            "ringup-exchange",
        ];
        let properties = Step::cargo("soak", &tests).env("PROPTEST_CASES", self.cases.to_string());
        // Before the first round: a missing tool is reported at once, not after ten minutes.
        let fuzzing = if self.fuzz_seconds > 0 {
            fuzz::steps(workspace, self.fuzz_seconds)?
        } else {
            vec![]
        };
        let began = Instant::now();
        for round in 1_u64.. {
            timed(&format!("soak round {round}"), || {
                properties.run(workspace)?;
                if self.seeds > 0 {
                    // Beyond those of `test`.
                    let first = 1000 + (round - 1) * self.seeds;
                    world::step("world", first, self.seeds, 300, 90).run(workspace)?;
                    world::octets("world", first, self.seeds, 8, 1000).run(workspace)?;
                }
                if self.kills > 0 {
                    crashes("kills::", self.kills, round).run(workspace)?;
                    (0..CUT_SEEDS).try_for_each(|seed| {
                        crashes("power_cut::", self.kills, 1000 + round * CUT_SEEDS + seed)
                            .run(workspace)
                    })?;
                }
                long_message().run(workspace)?;
                fuzzing.iter().try_for_each(|step| step.run(workspace))
            })?;
            if began.elapsed() >= Duration::from_secs(self.minutes * 60) {
                break;
            }
        }
        Ok(())
    }
}

/// 5 MiB over a line that drops.
fn long_message() -> Step {
    let tests = [
        "test",
        "--locked",
        "--package",
        "ringup",
        "--test",
        "ringup",
        "a_long_message_arrives",
    ];
    Step::cargo("long message", &tests).env("RINGUP_LONG_OCTETS", (5 << 20).to_string())
}

/// Traced runs a round, each cut hundreds of times.
const CUT_SEEDS: u64 = 4;

/// The tests of `crates/cli/tests/ringup` with this in their names, with a seed that `test` does not use.
fn crashes(filter: &str, kills: u32, seed: u64) -> Step {
    let tests = [
        "test",
        "--locked",
        "--package",
        "ringup",
        "--test",
        "ringup",
        filter,
        "--",
        "--nocapture",
    ];
    Step::cargo("crashes", &tests)
        .env("RINGUP_KILLS", kills.to_string())
        .env("RINGUP_SEED", (1 + seed).to_string())
}
