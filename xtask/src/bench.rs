//! Figures, as Markdown on standard output, beside what they were measured on.

mod build;
mod call;
mod exchange;
mod machine;
mod mail;
mod medium;
mod rows;
mod running;
mod starter;
mod table;
mod world;

use std::path::PathBuf;
use std::process::Command;

use clap::{Args, ValueEnum};

use crate::peers;
use crate::step::Step;
use crate::workspace::Workspace;

/// Measures, and prints the figures as Markdown: for docs/performance.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                 all figures, about thirty-five minutes
  cargo xtask bench ppp             frames made and read, memory of a session
  cargo xtask bench link            TCP over a link; a thousand links
  cargo xtask bench setup           link set-up beside pppd on the same line (fetches pppd, see: cargo xtask peers)
  cargo xtask bench call            messages over lines at 33600 and 9600 bit/s, simulated
  cargo xtask bench peers           the same messages by UUCP, and by pppd and an HTTP POST, on the same lines (fetches them)
  cargo xtask bench starter         memory and wake-ups of the resident starter beside mgetty; 10,000 rings (Linux only)
  cargo xtask bench exchange        2,000 calls at once through the exchange in software
  cargo xtask bench store           submissions on the disk a second, beside SQLite and the disk; a start with a million envelopes
  cargo xtask bench scale           submissions beside a cleaning and a backup, a start with 600,000 different messages, webhooks
  cargo xtask bench mail            mails a second that Postfix's smtp-source gets rid of at our listener (fetches it)
  cargo xtask bench doors           thousands of strangers at each listener: memory, and how soon the operator is answered
  cargo xtask bench medium          the terminal's programs and the recording medium: sizes, time to install, memory on a call
  cargo xtask bench isp             an information service: accepted to durable, a thousand calls at once, 50 lines kept busy
  cargo xtask bench dispatch        a million terminals: decisions in a second, memory of each
  cargo xtask bench cost            a week of a hundred machines, called, polled, always connected
  cargo xtask bench build           a release build from nothing
  cargo xtask bench --shortest      only that benches run

The tables go to standard output, what is happening to standard error. Other work on the machine
falsifies the figures: the load before the measurement is printed with them.")]
pub(crate) struct Bench {
    /// What to measure [default: all]
    figure: Option<Figure>,
    /// Only that every bench runs: a build without optimisation, the least of each. Leaves out `build`, `medium` and the starter's static build: they have no short form
    #[arg(long)]
    shortest: bool,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What docs/performance.md shows: a release build.
    Full,
    /// The least that runs every line of a bench, without optimisation: that it runs, and nothing of how fast.
    Shortest,
}

impl Extent {
    /// `full`, or `least` of the shortest.
    pub(crate) fn of<T>(self, full: T, least: T) -> T {
        match self {
            Self::Full => full,
            Self::Shortest => least,
        }
    }

    /// A cargo command whose program measures this much.
    fn cargo(self, workspace: &Workspace, verb: &str, arguments: &[&str]) -> Command {
        let mut command = workspace.cargo(&[verb]);
        let usual = if verb == "bench" { "bench" } else { "release" };
        command
            .args(["--locked", "--profile", self.of(usual, "dev")])
            .args(arguments);
        if self == Self::Shortest {
            command.env(table::SHORTEST, "1");
        }
        command
    }

    /// What of the workspace cargo is to see. The shortest sees all of it, as `cargo test --workspace` does: alone, each package has its
    /// dependencies built with features of its own, which nothing else can use.
    fn scope(self, package: &'static str) -> Vec<&'static str> {
        self.of(vec!["--package", package], vec!["--workspace"])
    }

    /// Where one of our programs is, as it was built for this.
    fn program(self, workspace: &Workspace, name: &str) -> anyhow::Result<PathBuf> {
        let folder = workspace.target()?.join(self.of("release", "debug"));
        Ok(folder
            .join(name)
            .with_extension(std::env::consts::EXE_EXTENSION))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    Ppp,
    Link,
    Setup,
    Call,
    Peers,
    Starter,
    Exchange,
    Store,
    Scale,
    Mail,
    Doors,
    Medium,
    Isp,
    Dispatch,
    Cost,
    Build,
}

impl Bench {
    /// Every bench, the least of each.
    pub(crate) fn shortest() -> Self {
        Self {
            figure: None,
            shortest: true,
        }
    }

    /// # Errors
    /// If something that is to be measured fails: then it has no figure.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let extent = if self.shortest {
            Extent::Shortest
        } else {
            Extent::Full
        };
        let is_left_out =
            |figure| self.shortest && matches!(figure, Figure::Build | Figure::Medium);
        let is_wanted =
            |figure| self.figure.is_none_or(|wanted| wanted == figure) && !is_left_out(figure);
        println!("{}\n", machine::describe(workspace)?);
        let programs: &[&str] = if self.shortest {
            &["--workspace", "--bins", "--benches"]
        } else {
            &[
                "--release",
                "--package",
                "ringup",
                "--package",
                "ringup-client",
            ]
        };
        if self.shortest
            || [Figure::Call, Figure::Starter, Figure::Mail]
                .into_iter()
                .any(is_wanted)
        {
            Step::cargo("build", &[&["build", "--locked"], programs].concat()).run(workspace)?;
        }
        if is_wanted(Figure::Build) {
            println!("{}", build::measure(workspace)?);
        }
        if is_wanted(Figure::Ppp) {
            println!("{}", rows::PPP.measure(workspace, extent)?);
        }
        if is_wanted(Figure::Link) {
            println!("{}", rows::LINK.measure(workspace, extent)?);
        }
        if is_wanted(Figure::Setup) {
            peers::fetch(workspace)?;
            println!("{}", rows::SETUP.measure(workspace, extent)?);
        }
        if is_wanted(Figure::Call) {
            println!("{}", call::measure(workspace, extent)?);
        }
        if is_wanted(Figure::Peers) {
            peers::fetch(workspace)?;
            println!("{}", rows::PEERS.measure(workspace, extent)?);
        }
        if is_wanted(Figure::Starter) {
            println!("{}", starter::measure(workspace, extent)?);
        }
        if is_wanted(Figure::Store) {
            println!("{}", rows::STORE.measure(workspace, extent)?);
        }
        if is_wanted(Figure::Scale) {
            println!("{}", rows::SCALE.measure(workspace, extent)?);
        }
        if is_wanted(Figure::Doors) {
            println!("{}", rows::DOORS.measure(workspace, extent)?);
        }
        if is_wanted(Figure::Mail) {
            peers::fetch(workspace)?;
            println!("{}", mail::measure(workspace, extent)?);
        }
        if is_wanted(Figure::Medium) {
            peers::fetch(workspace)?;
            println!("{}", medium::measure(workspace)?);
        }
        if is_wanted(Figure::Isp) {
            println!("{}", rows::ISP.measure(workspace, extent)?);
        }
        if is_wanted(Figure::Dispatch) {
            println!("{}", world::dispatch(workspace, extent)?);
        }
        if is_wanted(Figure::Cost) {
            println!("{}", world::cost(workspace, extent)?);
        }
        if is_wanted(Figure::Exchange) {
            println!("{}", exchange::measure(workspace, extent)?);
        }
        Ok(())
    }
}
