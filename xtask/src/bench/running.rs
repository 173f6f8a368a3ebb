//! A process of ours that runs while something is measured.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Opening a port and initialising a modem takes a second or two, mgetty somewhat more.
pub(super) const READY_WAIT: Duration = Duration::from_secs(15);

/// Dropping it ends the process.
pub(super) struct Running {
    pub(super) child: Child,
    /// What it has said up to the word that was awaited.
    pub(super) said: Vec<String>,
    /// What it logs, so that its pipe is never full.
    _log: Receiver<String>,
}

impl Running {
    /// Starts it, and waits until it has logged `awaited`.
    pub(super) fn start(
        program: &Path,
        folder: &Path,
        arguments: &[&str],
        awaited: &str,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(folder)
            .env("RINGUP_LOG", "info")
            .env_remove("RINGUP_LOG_FORMAT");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let log = read_lines(stderr);
        let mut running = Self {
            child,
            said: Vec::new(),
            _log: log,
        };
        while let Ok(line) = running._log.recv_timeout(READY_WAIT) {
            let is_ready = line.contains(awaited);
            running.said.push(line);
            if is_ready {
                return Ok(running);
            }
        }
        bail!(
            "{} {} did not say {awaited:?}: {}",
            program.display(),
            arguments.join(" "),
            running.said.join("; ")
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already is as good
        let _ = self.child.wait();
    }
}

fn read_lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line); // nobody listens any more, but the pipe must be drained
        }
    });
    receiver
}
