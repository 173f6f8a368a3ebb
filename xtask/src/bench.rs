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
mod world;

use clap::{Args, ValueEnum};

use crate::peers;
use crate::step::Step;
use crate::workspace::Workspace;

/// Measures, and prints the figures as Markdown: for docs/performance.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                 all figures, about twenty-five minutes
  cargo xtask bench ppp             frames made and read, memory of a session
  cargo xtask bench link            TCP over a link; a thousand links
  cargo xtask bench setup           link set-up beside pppd on the same line (fetches pppd, see: cargo xtask peers)
  cargo xtask bench call            messages over lines at 33600 and 9600 bit/s, simulated
  cargo xtask bench peers           the same messages by UUCP, and by pppd and an HTTP POST, on the same lines (fetches them)
  cargo xtask bench starter         memory and wake-ups of the resident starter beside mgetty; 10,000 rings (Linux only)
  cargo xtask bench exchange        2,000 calls at once through the exchange in software
  cargo xtask bench store           submissions on the disk a second, beside SQLite and the disk; a start with a million envelopes
  cargo xtask bench mail            mails a second that Postfix's smtp-source gets rid of at our listener (fetches it)
  cargo xtask bench medium          the terminal's programs and the recording medium: sizes, time to install, memory on a call
  cargo xtask bench isp             an information service: accepted to durable, a thousand calls at once, 50 lines kept busy
  cargo xtask bench dispatch        a million terminals: decisions in a second, memory of each
  cargo xtask bench cost            a week of a hundred machines, called, polled, always connected
  cargo xtask bench build           a release build from nothing

The tables go to standard output, what is happening to standard error. Other work on the machine
falsifies the figures: the load before the measurement is printed with them.")]
pub(crate) struct Bench {
    /// What to measure [default: all]
    figure: Option<Figure>,
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
    Mail,
    Medium,
    Isp,
    Dispatch,
    Cost,
    Build,
}

impl Bench {
    /// # Errors
    /// If something that is to be measured fails: then it has no figure.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let is_wanted = |figure| self.figure.is_none_or(|wanted| wanted == figure);
        println!("{}\n", machine::describe(workspace)?);
        if is_wanted(Figure::Build) {
            println!("{}", build::measure(workspace)?);
        }
        if is_wanted(Figure::Ppp) {
            println!("{}", rows::PPP.measure(workspace)?);
        }
        if is_wanted(Figure::Link) {
            println!("{}", rows::LINK.measure(workspace)?);
        }
        if is_wanted(Figure::Setup) {
            peers::fetch(workspace)?;
            println!("{}", rows::SETUP.measure(workspace)?);
        }
        if is_wanted(Figure::Call) || is_wanted(Figure::Starter) || is_wanted(Figure::Mail) {
            let programs = ["build", "--release", "--locked", "--package", "ringup", "--package", "ringup-client"];
            Step::cargo("build", &programs).run(workspace)?;
        }
        if is_wanted(Figure::Call) {
            println!("{}", call::measure(workspace)?);
        }
        if is_wanted(Figure::Peers) {
            peers::fetch(workspace)?;
            println!("{}", rows::PEERS.measure(workspace)?);
        }
        if is_wanted(Figure::Starter) {
            println!("{}", starter::measure(workspace)?);
        }
        if is_wanted(Figure::Store) {
            println!("{}", rows::STORE.measure(workspace)?);
        }
        if is_wanted(Figure::Mail) {
            peers::fetch(workspace)?;
            println!("{}", mail::measure(workspace)?);
        }
        if is_wanted(Figure::Medium) {
            peers::fetch(workspace)?;
            println!("{}", medium::measure(workspace)?);
        }
        if is_wanted(Figure::Isp) {
            println!("{}", rows::ISP.measure(workspace)?);
        }
        if is_wanted(Figure::Dispatch) {
            println!("{}", world::dispatch(workspace)?);
        }
        if is_wanted(Figure::Cost) {
            println!("{}", world::cost(workspace)?);
        }
        if is_wanted(Figure::Exchange) {
            println!("{}", exchange::measure(workspace)?);
        }
        Ok(())
    }
}
