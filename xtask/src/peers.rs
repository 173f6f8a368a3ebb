//! The strangers' programs that ours are tested with, as Debian has them, unpacked under `target/peers/root`; and
//! pyserial, from PyPI.
//!
//! Nothing is installed and no root is needed: apt works in folders of its own, with the sources that the machine has,
//! and `dpkg-deb` unpacks. `crates/link/tests/pppd` and `crates/cli/tests/peers` boot or run what is there.

mod python;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// Packages, and the program of each that has to be there in the end: a Linux kernel that is a program (User-Mode
/// Linux); pppd with chat; a shell and web server that need no library; a reader of captures; a getty for modems; a
/// server of serial lines; a modem that hears caller ID as audio; a clock that runs faster; a witness of what programs do to
/// their files; a mail client for awkward mails (a Perl script, and Debian has Perl); many mails at once, and a server that
/// takes what it is sent; a whole mail server; a broker of MQTT, and its clients.
const PACKAGES: [(&str, &str); 14] = [
    ("user-mode-linux", "usr/bin/linux.uml"),
    ("ppp", "usr/sbin/pppd"),
    ("busybox-static", "bin/busybox"),
    ("tcpdump", "usr/bin/tcpdump"),
    ("mgetty", "sbin/mgetty"),
    ("ser2net", "usr/sbin/ser2net"),
    ("minimodem", "usr/bin/minimodem"),
    ("libfaketime", FAKETIME),
    ("strace", "usr/bin/strace"),
    ("swaks", "usr/bin/swaks"),
    ("postfix", SMTP_SOURCE),
    ("exim4-daemon-light", "usr/sbin/exim4"),
    ("mosquitto", "usr/sbin/mosquitto"),
    ("mosquitto-clients", "usr/bin/mosquitto_sub"),
];

/// The library that is put before a program's own.
pub(crate) const FAKETIME: &str = "usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Sends many mails over many connections. Its libraries are its package's own, in `usr/lib/postfix`.
pub(crate) const SMTP_SOURCE: &str = "usr/sbin/smtp-source";

/// Fetches the peers unless they are there.
///
/// # Errors
/// If they cannot be had: the tests that need them would fail.
pub(crate) fn fetch(workspace: &Workspace) -> anyhow::Result<()> {
    let folder = workspace.target()?.join("peers");
    python::fetch(workspace, &folder)?;
    let root = folder.join("root");
    if missing(&root).is_none() {
        return Ok(());
    }
    let packages = PACKAGES.map(|(package, _)| package).join(", ");
    eprintln!("== peers: fetching {packages} and their libraries, about 75 MB, once");
    crate::step::timed("peers", || fetch_into(workspace, &folder, &root))
        .context("the test peers could not be fetched (it takes apt-get and dpkg-deb, as Debian has them)")
}

fn fetch_into(workspace: &Workspace, folder: &Path, root: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    // In a folder of its own: another run may be doing the same.
    let scratch = tempfile::tempdir_in(folder)?;
    let apt = Apt::new(workspace, scratch.path())?;
    // One source that does not answer does not matter if the others have what is wanted.
    let updated = workspace.output(apt.command("apt-get", &["update", "--error-on=any"]));
    if let Err(error) = apt.download() {
        return Err(updated.err().unwrap_or(error));
    }
    let unpacked = scratch.path().join("root");
    for package in fs::read_dir(&apt.packages)? {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(package?.path()).arg(&unpacked);
        workspace.output(unpack)?;
    }
    if let Some(missing) = missing(&unpacked) {
        bail!("the packages of this machine's sources have no {missing}");
    }
    if root.is_dir() && missing(root).is_some() {
        // From before this list had all that it has: out of the way, and gone with the scratch folder.
        let _ = fs::rename(root, scratch.path().join("old"));
    }
    match fs::rename(&unpacked, root) {
        Err(_) if missing(root).is_none() => Ok(()), // the other run was quicker
        renamed => renamed.context("could not move what was unpacked to its place"),
    }
}

/// The first program of [`PACKAGES`] that is not in `root`.
fn missing(root: &Path) -> Option<&'static str> {
    PACKAGES.into_iter().map(|(_, program)| program).find(|program| !root.join(program).exists())
}

/// apt with lists and state of its own.
struct Apt<'a> {
    workspace: &'a Workspace,
    options: Vec<String>,
    /// Where packages are downloaded to.
    packages: PathBuf,
}

impl<'a> Apt<'a> {
    fn new(workspace: &'a Workspace, scratch: &Path) -> anyhow::Result<Self> {
        let [state, cache, packages] = ["state", "cache", "packages"].map(|name| scratch.join(name));
        for folder in [state.join("lists/partial"), cache.join("archives/partial"), packages.clone()] {
            fs::create_dir_all(folder)?;
        }
        let status = state.join("status");
        fs::write(&status, "")?;
        let options = [
            format!("Dir::State={}", state.display()),
            format!("Dir::State::status={}", status.display()),
            format!("Dir::Cache={}", cache.display()),
            "Debug::NoLocking=1".to_owned(),
            // Run by root, apt would become a user that may not write here.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        Ok(Self { workspace, options: options.to_vec(), packages })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").arg("-q");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.args(arguments);
        command
    }

    fn download(&self) -> anyhow::Result<()> {
        let mut command = self.command("apt-get", &["download"]);
        command.args(self.with_libraries()?);
        self.workspace.output_in(command, &self.packages)?;
        Ok(())
    }

    /// [`PACKAGES`] with the libraries they need, and those these need. What else a package wants besides (a package
    /// manager, a password dialogue) is for one that is installed.
    fn with_libraries(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        let mut new = BTreeSet::from(PACKAGES.map(|(package, _)| package.to_owned()));
        while !new.is_empty() {
            let mut command = self.command("apt-cache", &["depends", "--important"]);
            command.args(&new);
            let depends = self.workspace.output(command)?;
            all.append(&mut new);
            new = libraries(&depends).filter(|library| !all.contains(*library)).map(str::to_owned).collect();
        }
        Ok(all)
    }
}

/// The libraries in what `apt-cache depends` prints; of alternatives the first.
fn libraries(depends: &str) -> impl Iterator<Item = &str> {
    let mut is_alternative = false;
    depends.lines().filter_map(move |line| {
        let (is_first, has_more) = (!is_alternative, line.starts_with(" |"));
        is_alternative = has_more;
        let (kind, package) = line.trim_start_matches([' ', '|']).split_once(": ")?;
        let is_needed = matches!(kind, "Depends" | "PreDepends") && package.starts_with("lib");
        (is_first && is_needed).then_some(package)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_are_followed_and_of_alternatives_the_first() {
        let text = "ppp\n  PreDepends: dpkg\n  PreDepends: libpam0g\n |Depends: libssl3\n  Depends: libssl1\n  \
                    Depends: <libvirtual>\n  Depends: procps\n  Depends: libc6\n";
        assert_eq!(libraries(text).collect::<Vec<_>>(), ["libpam0g", "libssl3", "libc6"]);
    }
}
