//! One process of a village: started in a group of its own, listened to, and ended with all it has started.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::chronicle::Chronicle;

#[derive(Debug)]
pub(crate) struct Process {
    who: String,
    child: Child,
    chronicle: Arc<Chronicle>,
    /// Reads standard output to its end.
    stdout: Option<JoinHandle<String>>,
    is_reaped: bool,
}

/// A process that has ended by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None`: killed by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// What it wrote for people on standard error; log events are in the chronicle.
    pub(crate) stderr: String,
}

impl Process {
    /// Starts `command`; `chronicle` knows it as `who`, which nobody else may be.
    pub(crate) fn start(who: &str, mut command: Command, chronicle: &Arc<Chronicle>) -> Self {
        command
            .env("RINGUP_LOG_FORMAT", "json")
            .env("RINGUP_LOG", "info")
            .env_remove("RINGUP_SOCKET");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("could not start {command:?}: {error}"));
        let mut stdout = child.stdout.take().expect("it is piped");
        let stdout = spawn(move || {
            let mut octets = Vec::new();
            let _ = stdout.read_to_end(&mut octets); // what came is what there is
            String::from_utf8_lossy(&octets).into_owned()
        });
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (name, listener) = (who.to_owned(), chronicle.clone());
        // Ends with the last who holds the pipe; nobody outlives the group.
        spawn(move || {
            stderr
                .lines()
                .map_while(Result::ok)
                .for_each(|line| listener.write(&name, line));
            listener.write_end(&name);
        });
        Self {
            who: who.to_owned(),
            child,
            chronicle: chronicle.clone(),
            stdout: Some(stdout),
            is_reaped: false,
        }
    }

    /// Waits until it has ended by itself.
    pub(crate) fn finish(mut self) -> Finished {
        self.chronicle.wait_end(&self.who);
        let code = self.child.wait().expect("it is our child").code();
        self.is_reaped = true;
        let stdout = self
            .stdout
            .take()
            .expect("taken here only")
            .join()
            .expect("the reader does not panic");
        Finished {
            code,
            stdout,
            stderr: self.chronicle.plain_text(&self.who),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is running, or not yet reaped");
    }

    /// `kill -9` for it and all it has started.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processes it has started and that are still there.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let pid = self.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children
            .split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect()
    }

    /// The most memory that it ever had, in octets.
    pub(crate) fn memory_peak(&self) -> usize {
        1024 * self
            .status("VmHWM:")
            .trim_end_matches(" kB")
            .parse::<usize>()
            .unwrap()
    }

    /// How often it has waited for something, so far.
    pub(crate) fn waits(&self) -> u64 {
        self.status("voluntary_ctxt_switches:").parse().unwrap()
    }

    /// What Linux says of it.
    fn status(&self, name: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("Linux says it")
            .trim()
            .to_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Until it is reaped its id, which is the group's, cannot be reused by another process.
        if !self.is_reaped {
            let _ = kill_process_group(self.pid(), Signal::KILL); // it may have ended
            let _ = self.child.wait();
        }
    }
}
