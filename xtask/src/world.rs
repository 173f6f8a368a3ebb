//! The world in virtual time: one seed again, or many.

use clap::{Args, ValueEnum};

use crate::step::Step;
use crate::workspace::Workspace;

/// Runs `tests/world` in virtual time, with every promise checked at every event: the server's decisions, or whole calls
/// octet by octet. The same seed gives the same events and the same digest of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask world --seed 7
  cargo xtask world --seed 1 --terminals 10000 --days 365
  cargo xtask world --seed 1 --seeds 100 --terminals 150 --days 45
  cargo xtask world --level octets --seed 7 --messages 2000

Fails if a promise was broken; the breaches are printed with their times.")]
pub(crate) struct World {
    /// What is simulated
    #[arg(long, value_enum, default_value_t = Level::Plan)]
    level: Level,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 1)]
    seeds: u64,
    /// Terminals: of the plan, 1000 by default, each with a message a day; of octets, 8
    #[arg(long, value_name = "N")]
    terminals: Option<u32>,
    /// Days, of the plan
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u32,
    /// Messages, of octets
    #[arg(long, value_name = "N", default_value_t = 1000)]
    messages: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Decisions; a call is an outcome and a duration
    Plan,
    /// Modems, PPP, TCP, and the store on the disk
    Octets,
}

impl World {
    /// # Errors
    /// If a promise was broken.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let Self {
            level,
            seed,
            seeds,
            terminals,
            days,
            messages,
        } = self;
        match level {
            Level::Plan => {
                step("world", *seed, *seeds, terminals.unwrap_or(1000), *days).run(workspace)
            }
            Level::Octets => {
                octets("world", *seed, *seeds, terminals.unwrap_or(8), *messages).run(workspace)
            }
        }
    }
}

/// Seeds of a world of this size.
pub(crate) fn step(name: &'static str, seed: u64, seeds: u64, terminals: u32, days: u32) -> Step {
    run(
        name,
        "run",
        &[
            ("--seed", seed),
            ("--seeds", seeds),
            ("--terminals", terminals.into()),
            ("--days", days.into()),
        ],
    )
}

/// The same for the octet level.
pub(crate) fn octets(
    name: &'static str,
    seed: u64,
    seeds: u64,
    terminals: u32,
    messages: u32,
) -> Step {
    let messages = ("--messages", messages.into());
    run(
        name,
        "octets",
        &[
            ("--seed", seed),
            ("--seeds", seeds),
            ("--terminals", terminals.into()),
            messages,
        ],
    )
}

fn run(name: &'static str, command: &str, numbers: &[(&str, u64)]) -> Step {
    let program = [
        "run",
        "--release",
        "--locked",
        "--quiet",
        "--package",
        "ringup-world",
        "--",
        command,
    ];
    let numbers: Vec<String> = numbers
        .iter()
        .flat_map(|(key, number)| [(*key).to_owned(), number.to_string()])
        .collect();
    Step::cargo(name, &program).arguments(&numbers)
}
