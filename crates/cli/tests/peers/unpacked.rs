//! A stranger's program that runs on this machine as it was unpacked, with the libraries that came with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guests::peers;

/// Where Debian has libraries, and where minimodem's and Postfix's packages have their own.
const LIBRARIES: [&str; 4] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/pulseaudio",
    "usr/lib/postfix",
];

/// A command for the program at `path` in `target/peers/root`.
pub(crate) fn command(path: &str) -> Command {
    let peers = peers();
    let libraries = LIBRARIES.map(|folder| peers.join(folder).display().to_string());
    let mut command = Command::new(peers.join("lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(libraries.join(":"))
        .arg(program(path));
    command.env(
        "GENSIO_LIBRARY_PATH",
        gensio(&peers.join("usr/libexec/x86_64-linux-gnu/gensio")),
    );
    command
}

/// A command for the Perl script at `path` in `target/peers/root`, with the Perl that the machine has: Debian's always has.
pub(crate) fn perl(path: &str) -> Command {
    let script = program(path);
    let mut command = Command::new("perl");
    command.arg(script);
    command
}

fn program(path: &str) -> PathBuf {
    let program = peers().join(path);
    assert!(
        program.is_file(),
        "this test needs {path} of Debian, which is not here: run `cargo xtask peers`"
    );
    program
}

/// Where ser2net's plug-ins are: a folder named for their version.
fn gensio(folder: &Path) -> PathBuf {
    folder.read_dir().unwrap().next().unwrap().unwrap().path()
}
