//! Long runs.

use std::time::{Duration, Instant};

use clap::Args;

use crate::step::{Step, timed};
use crate::workspace::Workspace;

/// Runs the property tests of `ppp` and `exchange` with far more cases than `test` does, each round with new seeds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask soak
  cargo xtask soak --minutes 60 --cases 1000000

That is all of it so far: no soak of whole calls yet. A case that fails is printed shrunk, and kept
in a file of regressions; give it a test of its own, with a name.")]
pub(crate) struct Soak {
    /// Begin no new round after so many minutes; one round is always run
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Cases for each property in a round
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
}

impl Soak {
    /// # Errors
    /// The first failure.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let tests = ["test", "--release", "--locked", "--package", "ringup-ppp", "--package", "ringup-exchange"];
        let step = Step::cargo("soak", &tests).env("PROPTEST_CASES", self.cases.to_string());
        let began = Instant::now();
        for round in 1.. {
            timed(&format!("soak round {round}"), || step.run(workspace))?;
            if began.elapsed() >= Duration::from_secs(self.minutes * 60) {
                break;
            }
        }
        Ok(())
    }
}
