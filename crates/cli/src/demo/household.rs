//! The demo's configuration files, as a user would write them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::children::Children;
use crate::simulate::Vending;

/// The owner's address on a link: what the vending machine sends to.
pub(super) const OWNER_ADDRESS: &str = "10.77.0.2";
/// The owner's modem.
pub(super) const OWNER_LINE: &str = "lines/owner";

const CENTRE: &str = "201";
const OWNER: &str = "301";
const VENDING: &str = "401";

/// A folder with everything the demo's programs need.
pub(super) struct Household {
    folder: PathBuf,
    delay: Duration,
}

impl Household {
    /// Writes the configs that can be written before the server has named its terminal and provider.
    pub(super) fn furnish(folder: &Path, rate: u32, delay: Duration) -> anyhow::Result<Self> {
        let folder = std::path::absolute(folder)?;
        fs::create_dir_all(folder.join("lines"))
            .with_context(|| format!("could not make {}", folder.display()))?;
        let household = Self { folder, delay };
        let delay = household.delay();
        household.write(
            "exchange.toml",
            &format!(
                r#"rate = {rate}
delay = {delay}
ring_cycle = "3s"
training = "1s"
records = "calls.jsonl"

[[station]]
number = "{CENTRE}"
pty = "lines/centre"

[[station]]
number = "{OWNER}"
pty = "{OWNER_LINE}"

[[station]]
number = "{VENDING}"
pty = "lines/vending"
"#
            ),
        )?;
        household.write(
            "server.toml",
            &format!(
                r#"state = "server"

[submission]
listen = "none"

[retry]
first = "10s"
longest = "30s"

[[line]]
name = "line-1"
port = "lines/centre"
delay = {delay}
"#
            ),
        )?;
        Ok(household)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn inbox(&self) -> PathBuf {
        self.folder.join("inbox")
    }

    /// Has the running server add the terminal and the provider, and writes their configs.
    pub(super) async fn enrol(&self, children: &Children) -> anyhow::Result<()> {
        children
            .ask(&[
                "terminal",
                "add",
                "owner",
                "--number",
                OWNER,
                "--address",
                OWNER_ADDRESS,
            ])
            .await?;
        let invitation = children
            .ask(&["terminal", "invite", "owner", "--caller", CENTRE])
            .await?;
        let provider = children
            .ask(&["provider", "add", "vending-1", "--number", VENDING])
            .await?;
        let bundle = invitation["bundle"]
            .as_str()
            .context("the server gave no bundle")?;
        let token = provider["token"]
            .as_str()
            .context("the server gave no token")?;
        let delay = self.delay();
        self.write(
            "owner.toml",
            &format!(
                r#"[line]
delay = {delay}
address = "{OWNER_ADDRESS}"

[terminal]
callers = ["{CENTRE}"]
inbox = "inbox"
"#
            ),
        )?;
        self.write("owner.bundle", bundle)?;
        let enrolled = children
            .command(&["enrol", "owner.bundle", "--config", "owner.toml"])
            .output()
            .await?;
        if !enrolled.status.success() {
            bail!(
                "ringup enrol failed: {}",
                String::from_utf8_lossy(&enrolled.stderr).trim()
            );
        }
        self.write("vending.token", token)?;
        self.write(
            "vending.toml",
            &format!(
                r#"[line]
port = "lines/vending"
delay = {delay}

[server]
number = "{CENTRE}"

[provider]
token_file = "vending.token"
"#
            ),
        )
    }

    /// What a vending machine has to say, one after the other. Gives the file and what it is.
    pub(super) fn make_up_report(&self, number: u32) -> anyhow::Result<(PathBuf, String)> {
        let report = Vending::nth_report(number);
        let path = self.folder.join("report.json");
        fs::write(&path, format!("{}\n", report.content))?;
        Ok((path, report.what))
    }

    fn delay(&self) -> String {
        format!("\"{}ms\"", self.delay.as_millis())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    }
}
