//! What is in a package, while it is put together in a folder.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// What is another text in a package's config than in the example: each has to be in the example.
type Changes = [(&'static str, &'static str)];

const SERVER_TOML: [(&str, &str); 4] = [
    ("--config server.toml", "--config /etc/ringup/server.toml"),
    (
        "state = \"state\"                   #",
        "state = \"/var/lib/ringup/server\"  #",
    ),
    (
        "[[line]]\nname = \"line-1\"\nport = \"lines/centre\"             #",
        "#[[line]]\n#name = \"line-1\"\n#port = \"/dev/serial/by-id/usb-MODEM\" #",
    ),
    ("# # profile", "# profile"),
];

pub(super) const TERMINAL_TOML: [(&str, &str); 4] = [
    (
        "ringup wait --line lines/owner --config terminal.toml",
        "/usr/bin/ringup-wait --line /dev/serial/by-id/usb-MODEM --config /etc/ringup/terminal.toml",
    ),
    (
        "# state = \"state\"                 #",
        "state = \"/var/lib/ringup/terminal\" #",
    ),
    (
        "port = \"lines/owner\" ",
        "port = \"/dev/serial/by-id/usb-MODEM\"",
    ),
    ("inbox = \"inbox\"", "inbox = \"/var/lib/ringup/inbox\""),
];

const EXCHANGE_TOML: [(&str, &str); 4] = [
    (
        "--config exchange.toml",
        "--config /etc/ringup/exchange.toml",
    ),
    (
        "records = \"calls.jsonl\"       #",
        "records = \"/run/ringup-exchange/calls.jsonl\" #",
    ),
    ("pty = \"lines/", "pty = \"/run/ringup-exchange/"),
    (
        "#control = \"control.sock\"     #",
        "control = \"/run/ringup-exchange/control.sock\" #",
    ),
];

/// The changes for a service's config.
pub(super) fn for_role(role: &str) -> &'static Changes {
    if role == "server" {
        &SERVER_TOML[..3]
    } else {
        &EXCHANGE_TOML
    }
}

/// A folder that becomes a package.
pub(super) struct Contents<'a> {
    workspace: &'a Workspace,
    folder: &'a Path,
    /// Programs, of which the libraries are asked for.
    pub(super) programs: Vec<PathBuf>,
    /// Configs: what is changed in them stays through upgrades.
    pub(super) configs: Vec<String>,
}

impl<'a> Contents<'a> {
    pub(super) fn new(workspace: &'a Workspace, folder: &'a Path) -> Self {
        Self {
            workspace,
            folder,
            programs: vec![],
            configs: vec![],
        }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder
    }

    /// A program, without what only debuggers read.
    pub(super) fn program(&mut self, from: &Path, to: &str) -> anyhow::Result<()> {
        let place = self.place(to)?;
        let mut strip = Command::new("strip");
        strip
            .args([
                "--strip-unneeded",
                "--remove-section=.comment",
                "--remove-section=.note",
                "-o",
            ])
            .arg(&place)
            .arg(from);
        self.workspace
            .output(strip)
            .context("strip is of the package binutils")?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        self.programs.push(place);
        Ok(())
    }

    /// A file of the workspace as it is.
    pub(super) fn file(&self, from: &str, to: &str) -> anyhow::Result<()> {
        self.write(
            to,
            fs::read_to_string(self.workspace.root().join(from))
                .with_context(|| from.to_owned())?
                .as_bytes(),
        )
    }

    /// An example that becomes the config of a service.
    pub(super) fn config(&mut self, example: &str, changes: &Changes) -> anyhow::Result<()> {
        let mut text = fs::read_to_string(self.workspace.root().join(example))
            .with_context(|| example.to_owned())?;
        for (old, new) in changes {
            if !text.contains(old) {
                bail!(
                    "{example} has no {old:?} any more, which is to become {new:?} in the package"
                );
            }
            text = text.replace(old, new);
        }
        let to = format!("etc/ringup/{}", example.trim_start_matches("examples/"));
        self.write(&to, text.as_bytes())?;
        self.configs.push(format!("/{to}"));
        Ok(())
    }

    pub(super) fn link(&self, to: &str, place: &str) -> anyhow::Result<()> {
        Ok(std::os::unix::fs::symlink(to, self.place(place)?)?)
    }

    /// A text, packed by gzip.
    pub(super) fn packed(&self, text: &str, to: &str) -> anyhow::Result<()> {
        let mut gzip = Command::new("gzip");
        let mut gzip = gzip
            .args(["-9", "-n"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = gzip.stdin.take().context("it has one")?;
        input.write_all(text.as_bytes())?; // shorter than what gzip reads before it writes
        drop(input);
        self.write(to, &gzip.wait_with_output()?.stdout)
    }

    /// The changelog, as Debian has it.
    pub(super) fn changes(&self, package: &str, version: &str) -> anyhow::Result<String> {
        let mut date = Command::new("git");
        date.args(["log", "-1", "--format=%aD"]);
        let date = self.workspace.output(date)?;
        Ok(format!(
            "{package} ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {}  {}\n",
            super::control::MAINTAINER,
            date.trim()
        ))
    }

    pub(super) fn write(&self, to: &str, content: &[u8]) -> anyhow::Result<()> {
        let place = self.place(to)?;
        fs::write(&place, content)?;
        Ok(fs::set_permissions(
            &place,
            fs::Permissions::from_mode(0o644),
        )?)
    }

    fn place(&self, to: &str) -> anyhow::Result<PathBuf> {
        let place = self.folder.join(to);
        let folder = place.parent().context("a file has a folder")?;
        fs::create_dir_all(folder)?;
        for folder in folder
            .ancestors()
            .take_while(|folder| folder.starts_with(self.folder))
        {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        Ok(place)
    }
}
