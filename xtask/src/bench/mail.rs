//! How many mails a second the listener takes, each on the disk before its 250, from Postfix's smtp-source.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::Extent;
use super::running::Running;
use super::table::verdict;
use crate::peers;
use crate::workspace::{Workspace, shown};

const WANTED_PER_SECOND: f64 = 2000.0;

/// In a round. Each has a server of its own: what waits for the terminal already would be measured with it.
const MAILS: u32 = 2000;
const OCTETS: u32 = 1000;
const ROUNDS: usize = 5;

/// As many as one address may have.
const CONNECTIONS: u32 = 20;

const CONFIG: &str = r#"state = "server"
[submission]
listen = "127.0.0.1:0"
[mail]
listen = "127.0.0.1:0"
domains = ["mail.example"]
provider = "mail"
"#;

pub(super) fn measure(workspace: &Workspace, extent: Extent) -> anyhow::Result<String> {
    let ringup = extent.program(workspace, "ringup")?;
    let (rounds, mails) = (extent.of(ROUNDS, 1), extent.of(MAILS, 50));
    let root = workspace.target()?.join("peers/root");
    let mut rates = (0..rounds)
        .map(|_| round(workspace, &ringup, &root, mails))
        .collect::<anyhow::Result<Vec<_>>>()?;
    rates.sort_by(f64::total_cmp);
    let [slowest, median, fastest] = [rates[0], rates[rounds / 2], rates[rounds - 1]];
    let verdict = verdict(median >= WANTED_PER_SECOND);
    Ok(format!(
        "### mail\n\nPostfix's smtp-source, {mails} mails of {OCTETS} octets for one terminal over {CONNECTIONS} connections that stay, one mail after another on each, to a new server: every 250 \
follows a sync of the disk. The median of {rounds} rounds; client and server share the machine.\n
| figure | wanted | measured | |\n|---|---|---|---|\n\
| mails accepted | at least {WANTED_PER_SECOND:.0}/s | {median:.0}/s ({slowest:.0} to {fastest:.0}) | {verdict} |\n"
    ))
}

/// Mails a second.
fn round(workspace: &Workspace, ringup: &Path, root: &Path, mails: u32) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("server.toml"), CONFIG)?;
    let server = Running::start(ringup, folder.path(), &["serve"], "server ready")?;
    let mut said = server
        .said
        .iter()
        .filter(|line| line.contains("taking mail"));
    let address = said
        .find_map(|line| line.split_once("address="))
        .context("the server names no address")?
        .1
        .trim();
    for verb in [
        &["provider", "add", "mail"][..],
        &["terminal", "add", "owner", "--address", "10.77.0.2"],
    ] {
        let mut command = Command::new(ringup);
        command.args(verb);
        workspace.output_in(command, folder.path())?;
    }
    let mut source = peers::command(root, peers::SMTP_SOURCE);
    source.args([
        "-d",
        "-s",
        &CONNECTIONS.to_string(),
        "-m",
        &mails.to_string(),
        "-l",
        &OCTETS.to_string(),
    ]);
    source.args([
        "-M",
        "gauge.example",
        "-f",
        "gauge@far.example",
        "-t",
        "owner@mail.example",
        address,
    ]);
    eprintln!("== {}", shown(&source));
    let began = Instant::now();
    // It ends with an error at the first answer that is not a success.
    let output = source.output().context("could not start smtp-source")?;
    let elapsed = began.elapsed();
    if !output.status.success() {
        bail!(
            "smtp-source could not send all: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(f64::from(mails) / elapsed.as_secs_f64())
}
