//! Whether the starter is after ten thousand refused rings what it was after ten.
//!
//! Between two rings the starter leaves DTR low for half a second, so that this would take an hour and a half.
//! libfaketime lets its clock run a thousand times as fast; the program is the released one.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context as _, ensure};

use super::Memory;
use crate::bench::Extent;
use crate::bench::running::READY_WAIT;
use crate::bench::table::verdict;
use crate::peers;
use crate::workspace::Workspace;

const RINGS: usize = 10_000;
/// By then it has done everything once that it does with a ring.
const WARM: usize = 10;

const RING: &[u8] = b"\r\nRING\r\n\r\nNMBR = 0661234567\r\n";

pub(super) fn measure(
    workspace: &Workspace,
    ringup_wait: &Path,
    extent: Extent,
) -> anyhow::Result<String> {
    peers::fetch(workspace)?;
    let rings = extent.of(RINGS, 20);
    let peers = workspace.target()?.join("peers/root");
    let folder = tempfile::tempdir()?;
    // Its config is good, and it refuses: "not registered". This shell needs no library, and so none is put before it.
    let answer = folder.path().join("answer");
    let script = "case \"$*\" in *--check*) exit 0;; esac\nexit 10\n";
    fs::write(
        &answer,
        format!("#!{} sh\n{script}", peers.join("bin/busybox").display()),
    )?;
    fs::set_permissions(&answer, fs::Permissions::from_mode(0o700))?;
    let modem = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(ringup_wait);
    command
        .arg("--line")
        .arg(format!("tcp://{}", modem.local_addr()?));
    command
        .args(["--config", "terminal.toml", "--answer"])
        .arg(&answer);
    command
        .env("LD_PRELOAD", peers.join(peers::FAKETIME))
        .env("FAKETIME", "+0 x1000");
    let mut starter = Starter::start(command)?;
    let calls = connections(modem);
    eprintln!("== ringup-wait refuses {rings} rings");
    let mut warm = None;
    let mut refused = 0;
    loop {
        let call = calls
            .recv_timeout(READY_WAIT)
            .context("the starter does not open its line")?;
        refused += starter.wait("waiting for calls")?;
        if refused == WARM {
            warm = Some(Memory::of(starter.child.id())?);
        }
        if refused >= rings {
            break;
        }
        (&call).write_all(RING)?;
    }
    let (warm, last) = (
        warm.context("it was there")?,
        Memory::of(starter.child.id())?,
    );
    let verdict = verdict(warm.anonymous == last.anonymous && last.rss <= warm.rss);
    starter.child.kill()?;
    Ok(format!(
        "`ringup-wait` after {WARM} and after {refused} refused rings, its clock a thousand times as fast (libfaketime, which takes part of this):\n
| figure | wanted | after {WARM} | after {refused} | |\n|---|---|---|---|---|
| anonymous | the same | {} KiB | {} KiB | {verdict} |\n| RSS | no more | {} KiB | {} KiB | |\n",
        warm.anonymous, last.anonymous, warm.rss, last.rss
    ))
}

/// A modem at a TCP port that says OK to everything; gives each connection to it out, to ring on.
fn connections(modem: TcpListener) -> Receiver<TcpStream> {
    let (sender, calls) = mpsc::channel();
    thread::spawn(move || {
        // Ends with the starter, which is the only one to connect, and with the program at the latest.
        for stream in modem.incoming().map_while(Result::ok) {
            let Ok(call) = stream.set_nodelay(true).and_then(|()| stream.try_clone()) else {
                return;
            };
            if sender.send(call).is_err() {
                return;
            }
            thread::spawn(move || say_ok(stream));
        }
    });
    calls
}

fn say_ok(mut stream: TcpStream) {
    let mut typed = [0; 256];
    while let Ok(count @ 1..) = stream.read(&mut typed) {
        let commands = typed[..count]
            .iter()
            .filter(|octet| **octet == b'\r')
            .count();
        if stream.write_all(&b"\r\nOK\r\n".repeat(commands)).is_err() {
            return;
        }
    }
}

/// Ended when dropped.
struct Starter {
    child: Child,
    log: Receiver<String>,
}

impl Starter {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("could not start ringup-wait")?;
        let stderr = BufReader::new(child.stderr.take().context("standard error is piped")?);
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Ok(Self { child, log })
    }

    /// Waits until it has logged `awaited`; gives how many rings it has refused up to then.
    fn wait(&mut self, awaited: &str) -> anyhow::Result<usize> {
        let mut refused = 0;
        loop {
            let line = self
                .log
                .recv_timeout(READY_WAIT)
                .with_context(|| format!("it does not say {awaited:?}"))?;
            ensure!(!line.starts_with("ERROR"), "the starter says: {line}");
            refused += usize::from(line.contains("ring not answered"));
            if line.contains(awaited) {
                return Ok(refused);
            }
        }
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already is as good
        let _ = self.child.wait();
    }
}
