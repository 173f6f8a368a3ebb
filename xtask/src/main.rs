//! `cargo xtask`: what developers and CI run. Needs Rust and git; `test` and `ci` also apt and pip, for the peers.

mod apt;
mod bench;
mod ci;
mod packages;
mod peers;
mod programs;
mod soak;
mod step;
mod test;
mod third_party;
mod tidy;
mod workspace;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Tests, checks and measures Ringup.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  cargo xtask test                 every test
  cargo xtask test --core          those without programs of others: nothing is fetched
  cargo xtask tidy                 the rules that no compiler knows
  cargo xtask ci                   what CI runs: format, clippy, docs, tidy, tests
  cargo xtask world --seed 7       a month of a thousand terminals in virtual time, from one seed
  cargo xtask programs             the terminal's programs for a recording medium
  cargo xtask packages             Debian packages
  cargo xtask soak --minutes 30    property tests with far more cases
  cargo xtask bench call           the figures of a call, as a table

Exit codes: 0 all is well, 1 something is not (the message says what), 2 wrong arguments.";

#[derive(Debug, Subcommand)]
enum Command {
    Test(test::Test),
    Tidy(tidy::Tidy),
    /// Runs what CI runs: format, clippy, docs, tidy, then every test. Stops at the first failure
    Ci,
    /// Asks the RustSec database for advisories about what we depend on. Needs a way to GitHub, which `ci` does without
    Advisories,
    /// Fetches what `test` needs besides Rust: Debian's pppd, mgetty and more, a kernel for them, and PyPI's pyserial, into target/peers. Nothing is installed
    Peers,
    Programs(programs::Programs),
    Packages(packages::Packages),
    ThirdParty(third_party::ThirdParty),
    World(world::World),
    Soak(soak::Soak),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = Workspace::find().and_then(|workspace| match arguments.command {
        Command::Test(test) => test.run(&workspace),
        Command::Tidy(tidy) => tidy.run(&workspace),
        Command::Ci => ci::run(&workspace),
        Command::Advisories => ci::advisories(&workspace),
        Command::Peers => peers::fetch(&workspace),
        Command::Programs(programs) => programs.run(&workspace),
        Command::Packages(packages) => packages.run(&workspace),
        Command::ThirdParty(third_party) => third_party.run(&workspace),
        Command::World(world) => world.run(&workspace),
        Command::Soak(soak) => soak.run(&workspace),
        Command::Bench(bench) => bench.run(&workspace),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
