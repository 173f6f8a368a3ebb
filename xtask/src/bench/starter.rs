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

use super::Extent;
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

pub(super) fn measure(workspace: &Workspace, extent: Extent) -> anyhow::Result<String> {
    let scene = Scene {
        ringup: extent.program(workspace, "ringup")?,
        idle: extent.of(IDLE, Duration::from_secs(1)),
    };
    let ringup_wait = extent.program(workspace, "ringup-wait")?;
    // A build of all that it depends on, for one row: the shortest measures the usual program in its place.
    let linked_statically = match extent {
        Extent::Full => build_statically(workspace)?,
        Extent::Shortest => ringup_wait.clone(),
    };
    let mut table = format!(
        "### starter\n\nResident and waiting for calls on a pseudo-terminal, over {} s without one. PSS divides what others map too among \
them (the C library; for `ringup wait` also the exchange, which is the same file); RSS is what it would be if nobody else did; \
anonymous is what no file backs. mgetty is Debian's, on this machine's C library, in a mount namespace with an /etc of its own.\n
| program | PSS | RSS | private | anonymous | threads | wake-ups | file | wanted |\n|---|---|---|---|---|---|---|---|---|\n",
        scene.idle.as_secs()
    );
    let mut row = |name: &str,
                   file: &Path,
                   resident: &Resident,
                   wanted: &str|
     -> anyhow::Result<()> {
        let Resident {
            memory:
                Memory {
                    pss,
                    rss,
                    private,
                    anonymous,
                },
            threads,
            wakes,
        } = resident;
        let size = fs::metadata(file)?.len() / 1024;
        Ok(writeln!(
            table,
            "| {name} | {pss} KiB | {rss} KiB | {private} KiB | {anonymous} KiB | {threads} | {wakes} | {size} KiB | {wanted} |"
        )?)
    };
    let dynamic = scene.ours(&ringup_wait, &WAIT)?;
    let wanted = verdict("PSS", dynamic.memory.pss, PSS_WANTED_KIB);
    row("`ringup-wait`", &ringup_wait, &dynamic, &wanted)?;
    let lends = scene.ours(
        &ringup_wait,
        &[WAIT.as_slice(), &["--lend", "lend"]].concat(),
    )?;
    row(
        "`ringup-wait --lend`",
        &ringup_wait,
        &lends,
        &verdict("PSS", lends.memory.pss, PSS_WANTED_KIB),
    )?;
    let resident = scene.ours(&linked_statically, &WAIT)?;
    let wanted = verdict(
        "anonymous",
        resident.memory.anonymous,
        STATIC_ANONYMOUS_WANTED_KIB,
    );
    row(
        "`ringup-wait`, linked statically",
        &linked_statically,
        &resident,
        &wanted,
    )?;
    row(
        "`ringup wait`",
        &scene.ringup,
        &scene.ours(&scene.ringup, &[&["wait"], WAIT.as_slice()].concat())?,
        "",
    )?;
    let mgetty = mgetty::program(workspace)?;
    row(
        "`mgetty`",
        &mgetty,
        &scene.mgetty(&mgetty)?,
        "for comparison",
    )?;
    let ring = ring::measure(&ringup_wait, &scene.ringup, extent.of(ring::RINGS, 3))?;
    Ok(format!(
        "{table}\n{ring}\n{}",
        rings::measure(workspace, &ringup_wait, extent)?
    ))
}

fn verdict(what: &str, kib: u64, wanted_kib: u64) -> String {
    let word = super::table::verdict(kib < wanted_kib);
    format!("{what} under {wanted_kib} KiB: {word}; 0 wake-ups")
}

/// The same program with the C library in it; gives where it is.
fn build_statically(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg("-vV");
    let about = workspace.output(rustc)?;
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc -vV names no host")?;
    // With --target the flag is not for build scripts and procedural macros, which cannot be static.
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "ringup-client",
        "--target",
        host,
    ];
    Step::cargo("static build", &build)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .run(workspace)?;
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
            text.trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .with_context(|| format!("{rollup}: {name}"))
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

/// Where residents wait, and how long they are watched.
struct Scene {
    ringup: PathBuf,
    idle: Duration,
}

impl Scene {
    fn ours(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<Resident> {
        let folder = tempfile::tempdir()?;
        let _exchange = self.exchange(folder.path())?;
        let starter = Running::start(program, folder.path(), arguments, "waiting for calls")?;
        self.measure(
            &program.file_name().unwrap_or_default().to_string_lossy(),
            starter.child.id(),
        )
    }

    fn mgetty(&self, program: &Path) -> anyhow::Result<Resident> {
        let folder = tempfile::tempdir()?;
        let _exchange = self.exchange(folder.path())?;
        let waiting = mgetty::Waiting::start(program, folder.path(), &folder.path().join("line"))?;
        self.measure("mgetty", waiting.id())
    }

    fn measure(&self, name: &str, id: u32) -> anyhow::Result<Resident> {
        eprintln!(
            "== {name} is waiting for calls; measuring for {} s",
            self.idle.as_secs()
        );
        // A starter that has just said that it waits may still be on its way into the kernel.
        thread::sleep(Duration::from_secs(1));
        let before = wakes(id)?;
        thread::sleep(self.idle);
        let wakes = wakes(id)? - before;
        Ok(Resident {
            memory: Memory::of(id)?,
            threads: tasks(id)?.len() as u64,
            wakes,
        })
    }

    fn exchange(&self, folder: &Path) -> anyhow::Result<Running> {
        fs::write(folder.join("exchange.toml"), EXCHANGE)?;
        Running::start(&self.ringup, folder, &["exchange"], "exchange ready")
    }
}

fn tasks(id: u32) -> anyhow::Result<Vec<String>> {
    let folder = format!("/proc/{id}/task");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("could not read {folder}: has it ended?"))?;
    entries
        .map(|entry| Ok(entry?.path().join("status").to_string_lossy().into_owned()))
        .collect()
}

fn wakes(id: u32) -> anyhow::Result<u64> {
    tasks(id)?.iter().try_fold(0, |sum, status| {
        let text = field(status, "voluntary_ctxt_switches")
            .with_context(|| format!("{status} has no switches"))?;
        Ok(sum + text.parse::<u64>()?)
    })
}
