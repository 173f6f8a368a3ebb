//! From a ring with a known caller to `ATA`: what of it is our own time.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bench::running::READY_WAIT;
use crate::bench::table::verdict;

pub(in crate::bench) const RINGS: usize = 21;
const WANTED: Duration = Duration::from_millis(20);

/// Ring and number in one write, as a modem gives them that reports the number first.
const RING: &[u8] = b"\r\nNMBR = 0661234567\r\n\r\nRING\r\n";

const TERMINAL: &str = "[terminal]\ncallers = [\"0661234567\"]\n";

/// Enrols the terminal at a server that it never meets: without a key of its own it answers no call.
const BUNDLE: &str = "bundle = 1\nterminal = \"AAAAAAAAAAA\"\nname = \"bench\"\ncallers = []\n\
    server_keys = [\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"]\n\
    secret = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\nexpires_at = \"9999-01-01T00:00:00Z\"\n";

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // ended already is as good
        let _ = self.0.wait();
    }
}

pub(in crate::bench) fn measure(
    ringup_wait: &Path,
    ringup: &Path,
    rings: usize,
) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("terminal.toml");
    fs::write(&config, TERMINAL)?;
    let bundle = folder.path().join("bundle");
    fs::write(&bundle, BUNDLE)?;
    let enrolled = Command::new(ringup)
        .arg("enrol")
        .arg(&bundle)
        .arg("--config")
        .arg(&config)
        .output()?;
    if !enrolled.status.success() {
        bail!(
            "ringup enrol failed: {}",
            String::from_utf8_lossy(&enrolled.stderr).trim()
        );
    }
    let modem = TcpListener::bind("127.0.0.1:0")?;
    let mut command = Command::new(ringup_wait);
    command
        .arg("--line")
        .arg(format!("tcp://{}", modem.local_addr()?))
        .arg("--config")
        .arg(&config);
    command
        .arg("--answer")
        .arg(ringup)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _starter = Running(command.spawn().context("could not start ringup-wait")?);
    eprintln!("== ringup-wait and ringup answer {rings} rings");
    let mut taken = (0..rings)
        .map(|_| one_ring(&modem))
        .collect::<anyhow::Result<Vec<_>>>()?;
    taken.sort();
    let (median, worst) = (taken[rings / 2], taken[rings - 1]);
    let verdict = verdict(median < WANTED);
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    Ok(format!(
        "From a ring with a registered number to `ATA` on the wire (the starter wakes, `ringup answer` is started, reads its \
config, decides, opens its key and the inbox), {rings} rings:\n
| figure | wanted | median | worst | |\n|---|---|---|---|---|
| ring to `ATA` | under {} ms | {:.1} ms | {:.1} ms | {verdict} |\n",
        WANTED.as_millis(),
        millis(median),
        millis(worst)
    ))
}

/// Plays the modem from the opening of the port to `ATA`.
fn one_ring(modem: &TcpListener) -> anyhow::Result<Duration> {
    let (mut line, _) = modem.accept()?;
    line.set_nodelay(true)?;
    line.set_read_timeout(Some(READY_WAIT))?;
    // `ATS0=0` is the first of the ladder's and its last; the starter waits behind the second.
    for _ in 0..2 {
        hear(&mut line, "ATS0=0\r")?;
    }
    let rang = Instant::now();
    line.write_all(RING)?;
    hear(&mut line, "ATA\r")?;
    Ok(rang.elapsed())
}

/// Says OK to every command up to the one that is wanted.
fn hear(line: &mut TcpStream, wanted: &str) -> anyhow::Result<()> {
    let mut command = String::new();
    let mut octet = [0];
    while line.read(&mut octet)? == 1 {
        command.push(char::from(octet[0]));
        if octet[0] == b'\r' {
            if command == wanted && wanted == "ATA\r" {
                return Ok(());
            }
            line.write_all(b"\r\nOK\r\n")?;
            if std::mem::take(&mut command) == wanted {
                return Ok(());
            }
        }
    }
    bail!("the line was closed before {wanted:?}")
}
