//! What the resident starter takes while it waits for a call: for months, on small machines.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::machine::field;
use crate::workspace::Workspace;

const PSS_WANTED_KIB: u64 = 1024;

/// How long nothing may happen.
const IDLE: Duration = Duration::from_secs(10);

/// Opening a port and initialising a modem takes a second or two.
const READY_WAIT: Duration = Duration::from_secs(15);

const EXCHANGE: &str = "[[station]]\nnumber = \"301\"\npty = \"line\"\n";

pub(super) fn measure(workspace: &Workspace) -> anyhow::Result<String> {
    let mut table = format!(
        "### starter\n\nResident and waiting for calls, over {} s without one. PSS divides what others map too among them (the C library; \
for `ringup wait` also the exchange, which is the same file); RSS is what it would be if nobody else did.\n
| program | PSS wanted | PSS | RSS | private | threads | wake-ups wanted | wake-ups | file |\n|---|---|---|---|---|---|---|---|---|\n",
        IDLE.as_secs()
    );
    for (name, arguments) in [("ringup-wait", [].as_slice()), ("ringup", &["wait"])] {
        let Resident { pss, rss, private, threads, wakes } = Resident::measure(workspace, name, arguments)?;
        let size = fs::metadata(workspace.release_program(name)?)?.len() / 1024;
        let command = [&[name], arguments].concat().join(" ");
        let (wanted, mark) = match arguments {
            [] => {
                (format!("under {PSS_WANTED_KIB} KiB"), if pss < PSS_WANTED_KIB { " (met)" } else { " (**missed**)" })
            }
            _ => ("none".to_owned(), ""),
        };
        writeln!(
            table,
            "| `{command}` | {wanted} | {pss} KiB{mark} | {rss} KiB | {private} KiB | {threads} | 0 | {wakes} | {size} KiB |"
        )?;
    }
    Ok(table)
}

/// A process that waits.
#[derive(Debug)]
struct Resident {
    pss: u64,
    rss: u64,
    private: u64,
    threads: u64,
    /// Voluntary context switches of all its threads while it was idle.
    wakes: u64,
}

impl Resident {
    fn measure(workspace: &Workspace, name: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("exchange.toml"), EXCHANGE)?;
        let exchange = workspace.release_program("ringup")?;
        let _exchange = Running::start(&exchange, folder.path(), &["exchange"], "exchange ready")?;
        let wait = [arguments, &["--line", "line", "--config", "terminal.toml"]].concat();
        let starter = Running::start(&workspace.release_program(name)?, folder.path(), &wait, "waiting for calls")?;
        let id = starter.child.id();
        eprintln!("== {name} is waiting for calls; measuring for {} s", IDLE.as_secs());
        // A starter that has just said that it waits may still be on its way into the kernel.
        thread::sleep(Duration::from_secs(1));
        let before = wakes(id)?;
        thread::sleep(IDLE);
        let wakes = wakes(id)? - before;
        let rollup = format!("/proc/{id}/smaps_rollup");
        let kib = |name: &str| {
            let text = field(&rollup, name).with_context(|| format!("{rollup} has no {name}"))?;
            text.trim_end_matches("kB").trim().parse::<u64>().with_context(|| format!("{rollup}: {name}"))
        };
        Ok(Self {
            pss: kib("Pss")?,
            rss: kib("Rss")?,
            private: kib("Private_Clean")? + kib("Private_Dirty")?,
            threads: tasks(id)?.len() as u64,
            wakes,
        })
    }
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

/// A process of ours; dropping it ends it.
struct Running {
    child: Child,
    /// What it logs, so that its pipe is never full.
    _log: Receiver<String>,
}

impl Running {
    /// Starts it, and waits until it has logged `awaited`.
    fn start(program: &Path, folder: &Path, arguments: &[&str], awaited: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).env("RINGUP_LOG", "info").env_remove("RINGUP_LOG_FORMAT");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("could not start {}", program.display()))?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let log = read_lines(stderr);
        let running = Self { child, _log: log };
        let mut said = Vec::new();
        while let Ok(line) = running._log.recv_timeout(READY_WAIT) {
            if line.contains(awaited) {
                return Ok(running);
            }
            said.push(line);
        }
        bail!("{} {} did not say {awaited:?}: {}", program.display(), arguments.join(" "), said.join("; "))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already is as good
        let _ = self.child.wait();
    }
}

fn read_lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line); // nobody listens any more, but the pipe must be drained
        }
    });
    receiver
}
