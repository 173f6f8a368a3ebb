//! The recording medium: what it holds, how long it takes to install, and what the terminal's program takes on a call.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use super::machine::field;
use super::running::Running;
use super::starter::ring;
use super::table::verdict;
use crate::peers;
use crate::programs::{self, Arch};
use crate::step::Step;
use crate::workspace::Workspace;

const MIB: f64 = 1024.0 * 1024.0;
const PROGRAMS_WANTED_MIB: f64 = 6.0;
const MEDIUM_WANTED_MIB: f64 = 16.0;
const WAITING_WANTED: Duration = Duration::from_secs(10);

/// Of the message that is brought while memory is looked at: several seconds of line.
const OCTETS: usize = 100_000;

const EXCHANGE: &str = "rate = 115_200\ndelay = \"30ms\"\n\
    [[station]]\nnumber = \"201\"\npty = \"lines/201\"\n[[station]]\nnumber = \"301\"\npty = \"lines/301\"\n";

const SERVER: &str = "state = \"server\"\n[submission]\nlisten = \"127.0.0.1:0\"\n\
    [[line]]\nname = \"line-1\"\nport = \"lines/201\"\n";

pub(super) fn measure(workspace: &Workspace) -> anyhow::Result<String> {
    let installed = programs::build(workspace, Arch::X86_64)?;
    // Exchange, server and operator are not what is measured.
    Step::cargo("build", &["build", "--locked", "--package", "ringup"]).run(workspace)?;
    let bench = Bench {
        workspace,
        ringup: workspace.target()?.join("debug/ringup"),
        peers: workspace.target()?.join("peers/root"),
        folder: tempfile::tempdir()?,
    };
    let mut text = String::from(
        "### medium\n\nThe programs of `cargo xtask programs` (profile `medium`: `opt-level = \"z\"`, fat LTO, one unit, no unwinding), linked statically with \
glibc and stripped.\n\n| architecture | `ringup` | `ringup-wait` | together | wanted |\n|---|---|---|---|---|\n",
    );
    let folder = installed
        .parent()
        .context("a folder for each architecture")?;
    let mut architectures = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    architectures.retain(|path| path.is_dir()); // licences of what is in them may be there, too
    architectures.sort();
    for programs in architectures {
        let size = |name| Ok::<_, anyhow::Error>(fs::metadata(programs.join(name))?.len());
        let (ringup, wait) = (size("ringup")?, size("ringup-wait")?);
        let together = mib(ringup + wait);
        writeln!(
            text,
            "| {} | {ringup} | {wait} | {together:.2} MiB | under {PROGRAMS_WANTED_MIB} MiB: {} |",
            programs.file_name().unwrap_or_default().display(),
            verdict(together < PROGRAMS_WANTED_MIB)
        )?;
    }
    let medium = bench.run(&installed)?;
    writeln!(
        text,
        "\nA medium with the programs for x86_64, installed into an empty root with dash and coreutils, its starter on a line of the exchange; then the first \
call: it enrols, and brings {OCTETS} octets at 115,200 bit/s.\n\n| figure | wanted | measured | |\n|---|---|---|---|"
    )?;
    let size = mib(medium.octets);
    writeln!(
        text,
        "| medium for one architecture | under {MEDIUM_WANTED_MIB} MiB | {size:.2} MiB | {} |",
        verdict(size < MEDIUM_WANTED_MIB)
    )?;
    writeln!(
        text,
        "| from starting `install.sh` to \"waiting for calls\" | under {} s | {:.2} s | {} |",
        WAITING_WANTED.as_secs(),
        medium.waiting.as_secs_f64(),
        verdict(medium.waiting < WAITING_WANTED)
    )?;
    writeln!(
        text,
        "| `ringup answer` on the call: most memory at once | | {} KiB, {} of it not of its file | |",
        medium.peak_kib, medium.anonymous_kib
    )?;
    let ring = ring::measure(
        &installed.join("ringup-wait"),
        &installed.join("ringup"),
        ring::RINGS,
    )?;
    Ok(format!("{text}\n{ring}"))
}

#[allow(clippy::cast_precision_loss, reason = "sizes of files, for people")]
fn mib(octets: u64) -> f64 {
    octets as f64 / MIB
}

struct Bench<'a> {
    workspace: &'a Workspace,
    /// A debug build.
    ringup: PathBuf,
    peers: PathBuf,
    folder: tempfile::TempDir,
}

struct Measured {
    octets: u64,
    waiting: Duration,
    peak_kib: u64,
    anonymous_kib: u64,
}

impl Bench<'_> {
    fn run(&self, programs: &Path) -> anyhow::Result<Measured> {
        let folder = self.folder.path();
        fs::write(folder.join("exchange.toml"), EXCHANGE)?;
        fs::write(folder.join("server.toml"), SERVER)?;
        fs::create_dir(folder.join("lines"))?;
        let _exchange = Running::start(&self.ringup, folder, &["exchange"], "exchange ready")?;
        let server = Running::start(&self.ringup, folder, &["serve"], "line ready")?;
        let mut said = server
            .said
            .iter()
            .filter(|line| line.contains("taking submissions"));
        let address = said
            .find_map(|line| line.split_once("address="))
            .context("the server names no address")?
            .1
            .trim();
        self.ask(&["terminal", "add", "gauge", "--number", "301"])?;
        fs::write(
            folder.join("token"),
            self.ask(&["provider", "add", "bench"])?,
        )?;
        let octets = self.create(programs)?;

        let (root, medium) = (folder.join("root"), folder.join("medium"));
        fs::create_dir(&root)?;
        let began = Instant::now();
        let mut install = Command::new("sh");
        install
            .arg(medium.join("install.sh"))
            .arg("--root")
            .arg(&root)
            .args(["--init", "none"]);
        self.workspace.output(install)?;
        let starter = self.start(&root)?;
        let waiting = began.elapsed();

        fs::write(
            folder.join("readings"),
            vec![0x5a; OCTETS]
                .iter()
                .zip(0_u32..)
                .map(noise)
                .collect::<Vec<u8>>(),
        )?;
        self.ask(&[
            "send",
            "--server",
            address,
            "--token-file",
            "token",
            "--to",
            "terminal:gauge",
            "readings",
        ])?;
        let (peak_kib, anonymous_kib) = on_the_call(starter.child.id())?;
        let arrived = fs::read_dir(root.join("var/lib/ringup/inbox"))?.count();
        ensure!(arrived > 0, "nothing has arrived: {:?}", server.said);
        Ok(Measured {
            octets,
            waiting,
            peak_kib,
            anonymous_kib,
        })
    }

    /// Writes the image, and lays out what is on it; gives its octets.
    fn create(&self, programs: &Path) -> anyhow::Result<u64> {
        let folder = self.folder.path();
        let xorriso = peers::command(&self.peers, "usr/bin/xorriso");
        let words = std::iter::once(xorriso.get_program()).chain(xorriso.get_args());
        let words = words
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ");
        let script = folder.join("xorriso");
        fs::write(&script, format!("#!/bin/sh\nexec {words} \"$@\"\n"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let (programs, script) = (
            format!("x86_64={}", programs.display()),
            script.display().to_string(),
        );
        let create = [
            "medium",
            "create",
            "--terminal",
            "gauge",
            "--caller",
            "201",
            "--programs",
            &programs,
        ];
        self.ask(&[&create[..], &["--xorriso", &script, "-o", "gauge.iso"]].concat())?;
        fs::create_dir(folder.join("medium"))?;
        let mut unpack = peers::command(&self.peers, "usr/bin/bsdtar");
        unpack
            .arg("-xf")
            .arg(folder.join("gauge.iso"))
            .arg("-C")
            .arg(folder.join("medium"));
        self.workspace.output(unpack)?;
        Ok(fs::metadata(folder.join("gauge.iso"))?.len())
    }

    /// As the service does, but in the root, where the config does not know that it is.
    fn start(&self, root: &Path) -> anyhow::Result<Running> {
        let config = root.join("etc/ringup/terminal.toml");
        let text = fs::read_to_string(&config)?
            .replace("/var/lib", &root.join("var/lib").to_string_lossy());
        fs::write(&config, text)?;
        let config = config.display().to_string();
        let arguments = ["--line", "lines/301", "--config", &config];
        Running::start(
            &root.join("usr/bin/ringup-wait"),
            self.folder.path(),
            &arguments,
            "waiting for calls",
        )
    }

    fn ask(&self, verb: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.ringup);
        command.args(verb);
        self.workspace.output_in(command, self.folder.path())
    }
}

/// What does not become shorter when it is packed.
fn noise((octet, index): (&u8, u32)) -> u8 {
    octet ^ index.wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ index.to_le_bytes()[1]
}

/// The most that `ringup answer` took, in KiB, from its start to its end: all, and what no file backs.
fn on_the_call(starter: u32) -> anyhow::Result<(u64, u64)> {
    let children = format!("/proc/{starter}/task/{starter}/children");
    let began = Instant::now();
    let answer = loop {
        if let Some(answer) = fs::read_to_string(&children)?.split_whitespace().next() {
            break answer.to_owned();
        }
        if began.elapsed() > Duration::from_secs(60) {
            bail!("nobody has called");
        }
        thread::sleep(Duration::from_millis(5));
    };
    let (mut peak, mut anonymous) = (0, 0);
    let kib = |name: &str| {
        field(&format!("/proc/{answer}/status"), name)?
            .trim_end_matches(" kB")
            .parse::<u64>()
            .ok()
    };
    // Between its end and its parent's asking for it, it has no memory any more.
    while let (Some(most), Some(now)) = (kib("VmHWM"), kib("RssAnon")) {
        peak = peak.max(most);
        anonymous = anonymous.max(now);
        thread::sleep(Duration::from_millis(5));
    }
    Ok((peak, anonymous))
}
