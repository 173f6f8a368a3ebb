//! The guests' kernel: a Linux that is a program (User-Mode Linux), of a version that boots on this machine's processor.
//!
//! Debian 12 and 13 have kernels that panic on a processor with AMX: its registers are larger than they expect. So the kernel
//! of the machine's own release is tried, and if it does not boot, the one of Debian's newer suites, from the same mirror.
//! That one needs a newer C library than the machine has. It stands beside it, and the kernel is told where: it starts
//! itself again, so it can't be started by a loader.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::apt::{self, Set};
use crate::workspace::Workspace;

/// Where the kernel that boots is, in the peers' root. Its modules are the only ones in [`MODULES`].
const KERNEL: &str = "usr/bin/linux.uml";

const MODULES: &str = "usr/lib/uml/modules";

/// Suites with newer kernels, in the order in which they are tried.
const NEWER: [&str; 2] = ["unstable", "testing"];

/// A kernel of another suite, with the C library that it needs.
const NEWER_SET: [(&str, &str); 2] = [("user-mode-linux", KERNEL), ("libc6", LOADER)];

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

const LOADER: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// A boot takes 1 to 2 s; a machine with other work takes longer.
const BOOT_TIME_MAX: Duration = Duration::from_secs(60);

/// What the guest of a trial runs: it leaves a file behind, and ends.
const INIT: &str = "#!/bin/busybox sh\n/bin/busybox uname -r >/booted\n/bin/busybox poweroff -f\n";

/// Sees to it that the kernel in `peers/root` boots on this machine.
///
/// # Errors
/// If there is none that does: every test with a guest would fail.
pub(super) fn settle(workspace: &Workspace, peers: &Path) -> anyhow::Result<()> {
    let root = peers.join("root");
    let Err(own) = boot(&root.join(KERNEL), &root) else {
        return Ok(());
    };
    eprintln!("== kernel: this machine's own does not boot on this processor: {own:#}");
    let mut failures = vec![format!("its own release's: {own:#}")];
    for suite in NEWER {
        let set = Set {
            packages: &NEWER_SET,
            foreign: None,
            suite: Some(suite),
            is_followed: |_| false,
        };
        let folder = peers.join("kernels").join(suite);
        let tried = apt::unpack(
            workspace,
            &format!("the kernel of Debian's {suite}"),
            &set,
            &folder,
        )
        .and_then(|()| lead_to_library(workspace, &root, &folder))
        .and_then(|kernel| boot(&kernel, &root).map(|()| kernel));
        match tried {
            Ok(kernel) => return take(&kernel, &folder, &root),
            Err(error) => failures.push(format!("{suite}'s: {error:#}")),
        }
    }
    bail!(
        "no User-Mode Linux boots on this machine, and every test with a guest needs one: {}",
        failures.join("; ")
    )
}

/// A copy of the kernel in `folder` that finds its C library there.
fn lead_to_library(workspace: &Workspace, root: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let kernel = folder.join("linux.uml");
    fs::copy(folder.join(KERNEL), &kernel)?;
    let mut patchelf = super::command(root, "usr/bin/patchelf");
    patchelf
        .arg("--set-interpreter")
        .arg(folder.join(LOADER))
        .arg("--set-rpath")
        .arg(folder.join(LIBRARIES));
    workspace.output({
        patchelf.arg(&kernel);
        patchelf
    })?;
    Ok(kernel)
}

/// Puts a kernel that boots, and its modules, in place of those in `root`.
fn take(kernel: &Path, folder: &Path, root: &Path) -> anyhow::Result<()> {
    fs::remove_dir_all(root.join(MODULES))
        .context("could not remove the modules of a kernel that does not boot")?;
    copy(&folder.join(MODULES), &root.join(MODULES))?;
    fs::remove_file(root.join(KERNEL))?;
    fs::copy(kernel, root.join(KERNEL)).context("could not put a kernel to its place")?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Boots a kernel once, on a folder with nothing but busybox.
fn boot(kernel: &Path, root: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk");
    fs::create_dir_all(disk.join("bin"))?;
    fs::copy(root.join("bin/busybox"), disk.join("bin/busybox"))?;
    let init = disk.join("init");
    fs::write(&init, INIT)?;
    let mut executable = Command::new("chmod");
    executable.arg("+x").arg(&init).status()?;
    // One pipe for both: what the kernel says before it has a console goes to standard error.
    let (mut console, console_out) = std::io::pipe()?;
    let mut command = Command::new(kernel);
    command
        .args([
            "mem=96M",
            "quiet",
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
            "umid=trial",
        ])
        .args(["root=/dev/root", "rootfstype=hostfs", "rw", "init=/init"])
        .arg(format!("rootflags={}", disk.display()))
        .arg(format!("uml_dir={}", folder.path().display()))
        .stdin(Stdio::null())
        .stdout(console_out.try_clone()?)
        .stderr(console_out);
    let mut linux = command
        .spawn()
        .with_context(|| format!("could not start {}", kernel.display()))?;
    drop(command); // its copies of the console's far end
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = console.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let deadline = Instant::now() + BOOT_TIME_MAX;
    while linux.try_wait()?.is_none() {
        if Instant::now() > deadline {
            linux.kill()?;
            linux.wait()?;
            bail!("it did not boot within {BOOT_TIME_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(50)); // std has no wait with a time limit
    }
    if disk.join("booted").exists() {
        return Ok(());
    }
    bail!("{}", why(&reader.join().unwrap_or_default()))
}

/// The lines in which a kernel says why it gave up.
fn why(said: &str) -> String {
    let lines = said
        .lines()
        .filter(|line| line.contains("Kernel panic") || line.contains("errno = "));
    let why = lines.map(str::trim).collect::<Vec<_>>().join("; ");
    if why.is_empty() {
        "it ended without a word".to_owned()
    } else {
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_gives_up_says_why_in_one_line() {
        let said = "Core dump limits :\n\tsoft - 0\nptrace set fp regs failed, errno = 14\n\
                    Kernel panic - not syncing: Segfault with no mm\nCPU: 0 PID: 1\n";
        assert_eq!(
            why(said),
            "ptrace set fp regs failed, errno = 14; Kernel panic - not syncing: Segfault with no mm"
        );
        assert_eq!(why(""), "it ended without a word");
    }
}
