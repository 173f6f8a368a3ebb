//! The world in virtual time: one seed again, or many.

use clap::Args;

use crate::step::Step;
use crate::workspace::Workspace;

/// Runs `tests/world`: the server's decisions in virtual time, with every promise checked at every event. The same seed
/// gives the same events and the same digest of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask world --seed 7
  cargo xtask world --seed 1 --terminals 10000 --days 365
  cargo xtask world --seed 1 --seeds 100 --terminals 150 --days 45

Fails if a promise was broken; the breaches are printed with their times.")]
pub(crate) struct World {
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// Terminals, each with a message a day
    #[arg(long, value_name = "N", default_value_t = 1000)]
    terminals: u32,
    /// Days
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u32,
}

impl World {
    /// # Errors
    /// If a promise was broken.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let Self { seed, seeds, terminals, days } = self;
        step("world", *seed, *seeds, *terminals, *days).run(workspace)
    }
}

/// Seeds of a world of this size.
pub(crate) fn step(name: &'static str, seed: u64, seeds: u64, terminals: u32, days: u32) -> Step {
    let program = ["run", "--release", "--locked", "--quiet", "--package", "ringup-world", "--", "run"];
    let numbers = [("--seed", seed), ("--seeds", seeds), ("--terminals", terminals.into()), ("--days", days.into())];
    let numbers: Vec<String> =
        numbers.iter().flat_map(|(key, number)| [(*key).to_owned(), number.to_string()]).collect();
    Step::cargo(name, &program).arguments(&numbers)
}
