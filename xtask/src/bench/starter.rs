//! What the resident starter takes while it waits for a call: for months, on small machines. Beside mgetty.

mod mgetty;
pub(super) mod ring;
mod rings;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use super::machine::field;
use super::running::Running;
use crate::step::Step;
use crate::workspace::Workspace;

const PSS_WANTED_KIB: u64 = 1024;
const STATIC_ANONYMOUS_WANTED_KIB: u64 = 300;

/// How long nothing may happen.
const IDLE: Duration = Duration::from_secs(10);

const EXCHANGE: &str = "[[station]]\nnumber = \"301\"\npty = \"line\"\n";

/// What every starter gets.
const WAIT: [&str; 4] = ["--line", "line", "--config", "terminal.toml"];

pub(super) fn measure(workspace: &Workspace) -> anyhow::Result<String> {
    let release = |name| workspace.release_program(name);
    let linked_statically = build_statically(workspace)?;
    let mut table = format!(
        "### starter\n\nResident and waiting for calls on a pseudo-terminal, over {} s without one. PSS divides what others map too among \
them (the C library; for `ringup wait` also the exchange, which is the same file); RSS is what it would be if nobody else did; \
anonymous is what no file backs. mgetty is Debian's, on this machine's C library, in a mount namespace with an /etc of its own.\n
| program | PSS | RSS | private | anonymous | threads | wake-ups | file | wanted |\n|---|---|---|---|---|---|---|---|---|\n",
        IDLE.as_secs()
    );
    let mut row = |name: &str, file: &Path, resident: &Resident, wanted: &str| -> anyhow::Result<()> {
        let Resident { memory: Memory { pss, rss, private, anonymous }, threads, wakes } = resident;
        let size = fs::metadata(file)?.len() / 1024;
        Ok(writeln!(
            table,
            "| {name} | {pss} KiB | {rss} KiB | {private} KiB | {anonymous} KiB | {threads} | {wakes} | {size} KiB | {wanted} |"
        )?)
    };
    let ringup_wait = release("ringup-wait")?;
    let dynamic = Resident::of_ours(workspace, &ringup_wait, &WAIT)?;
    let wanted = verdict("PSS", dynamic.memory.pss, PSS_WANTED_KIB);
    row("`ringup-wait`", &ringup_wait, &dynamic, &wanted)?;
    let lends = Resident::of_ours(workspace, &ringup_wait, &[WAIT.as_slice(), &["--lend", "lend"]].concat())?;
    row("`ringup-wait --lend`", &ringup_wait, &lends, &verdict("PSS", lends.memory.pss, PSS_WANTED_KIB))?;
    let resident = Resident::of_ours(workspace, &linked_statically, &WAIT)?;
    let wanted = verdict("anonymous", resident.memory.anonymous, STATIC_ANONYMOUS_WANTED_KIB);
    row("`ringup-wait`, linked statically", &linked_statically, &resident, &wanted)?;
    let ringup = release("ringup")?;
    row("`ringup wait`", &ringup, &Resident::of_ours(workspace, &ringup, &[&["wait"], WAIT.as_slice()].concat())?, "")?;
    let mgetty = mgetty::program(workspace)?;
    row("`mgetty`", &mgetty, &Resident::of_mgetty(workspace, &mgetty)?, "for comparison")?;
    let ring = ring::measure(&ringup_wait, &ringup)?;
    Ok(format!("{table}\n{ring}\n{}", rings::measure(workspace, &ringup_wait)?))
}

fn verdict(what: &str, kib: u64, wanted_kib: u64) -> String {
    let word = if kib < wanted_kib { "met" } else { "**missed**" };
    format!("{what} under {wanted_kib} KiB: {word}; 0 wake-ups")
}

/// The same program with the C library in it; gives where it is.
fn build_statically(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg("-vV");
    let about = workspace.output(rustc)?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    // With --target the flag is not for build scripts and procedural macros, which cannot be static.
    let build = ["build", "--release", "--locked", "--package", "ringup-client", "--target", host];
    Step::cargo("static build", &build).env("RUSTFLAGS", "-C target-feature=+crt-static").run(workspace)?;
    Ok(workspace.target()?.join(host).join("release/ringup-wait"))
}

/// What a process takes, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    pss: u64,
    rss: u64,
    private: u64,
    anonymous: u64,
}

impl Memory {
    fn of(id: u32) -> anyhow::Result<Self> {
        let rollup = format!("/proc/{id}/smaps_rollup");
        let kib = |name: &str| {
            let text = field(&rollup, name).with_context(|| format!("{rollup} has no {name}"))?;
            text.trim_end_matches("kB").trim().parse::<u64>().with_context(|| format!("{rollup}: {name}"))
        };
        Ok(Self {
            pss: kib("Pss")?,
            rss: kib("Rss")?,
            private: kib("Private_Clean")? + kib("Private_Dirty")?,
            anonymous: kib("Anonymous")?,
        })
    }
}

/// A process that waits.
#[derive(Debug)]
struct Resident {
    memory: Memory,
    threads: u64,
    /// Voluntary context switches of all its threads while it was idle.
    wakes: u64,
}

impl Resident {
    fn of_ours(workspace: &Workspace, program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let _exchange = start_exchange(workspace, folder.path())?;
        let starter = Running::start(program, folder.path(), arguments, "waiting for calls")?;
        Self::measure(&program.file_name().unwrap_or_default().to_string_lossy(), starter.child.id())
    }

    fn of_mgetty(workspace: &Workspace, program: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let _exchange = start_exchange(workspace, folder.path())?;
        let waiting = mgetty::Waiting::start(program, folder.path(), &folder.path().join("line"))?;
        Self::measure("mgetty", waiting.id())
    }

    fn measure(name: &str, id: u32) -> anyhow::Result<Self> {
        eprintln!("== {name} is waiting for calls; measuring for {} s", IDLE.as_secs());
        // A starter that has just said that it waits may still be on its way into the kernel.
        thread::sleep(Duration::from_secs(1));
        let before = wakes(id)?;
        thread::sleep(IDLE);
        let wakes = wakes(id)? - before;
        Ok(Self { memory: Memory::of(id)?, threads: tasks(id)?.len() as u64, wakes })
    }
}

fn start_exchange(workspace: &Workspace, folder: &Path) -> anyhow::Result<Running> {
    fs::write(folder.join("exchange.toml"), EXCHANGE)?;
    Running::start(&workspace.release_program("ringup")?, folder, &["exchange"], "exchange ready")
}

fn tasks(id: u32) -> anyhow::Result<Vec<String>> {
    let folder = format!("/proc/{id}/task");
    let entries = fs::read_dir(&folder).with_context(|| format!("could not read {folder}: has it ended?"))?;
    entries.map(|entry| Ok(entry?.path().join("status").to_string_lossy().into_owned())).collect()
}

fn wakes(id: u32) -> anyhow::Result<u64> {
    tasks(id)?.iter().try_fold(0, |sum, status| {
        let text = field(status, "voluntary_ctxt_switches").with_context(|| format!("{status} has no switches"))?;
        Ok(sum + text.parse::<u64>()?)
    })
}
