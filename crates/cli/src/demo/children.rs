//! The demo's processes: started, listened to, ended.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Who is speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Demo,
    Exchange,
    Server,
    Owner,
    Vending,
    /// Of an information service: its servers and subscribers.
    Information,
    Berlin,
    Munich,
    Anna,
    Bert,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Demo => "demo",
            Self::Exchange => "exchange",
            Self::Server => "centre",
            Self::Owner => "owner",
            Self::Vending => "vending",
            Self::Information => "service",
            Self::Berlin => "berlin",
            Self::Munich => "munich",
            Self::Anna => "anna",
            Self::Bert => "bert",
        })
    }
}

/// What a process does that others may notice.
#[derive(Debug)]
pub(super) enum Event {
    /// It logged something.
    Log {
        who: Who,
        message: String,
        fields: Map<String, Value>,
    },
    /// It printed a line on standard output.
    Said { who: Who, line: String },
    /// It ended; `None` is by a signal.
    Exited { who: Who, code: Option<i32> },
}

/// Events that may wait: a story teller who cannot follow holds the log writers back.
const EVENTS_MAX: usize = 1000;

/// How long a process may take to end when asked.
const STOP_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Children {
    program: PathBuf,
    folder: PathBuf,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    /// Newest last: they are ended in the opposite order.
    groups: Vec<Pid>,
    watchers: JoinSet<()>,
    /// The last line of plain text each wrote: the reason, if it ended.
    last_words: BTreeMap<Who, String>,
}

impl Children {
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("could not find this program's own file")?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let folder = folder.to_owned();
        Ok(Self {
            program,
            folder,
            events,
            sender,
            groups: vec![],
            watchers: JoinSet::new(),
            last_words: BTreeMap::new(),
        })
    }

    /// A command of this program, in the demo's folder.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// One `ringup NOUN VERB --json`, to its end. A database that has the entry from an earlier demo is no error to hide.
    pub(super) async fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self
            .command(&[arguments, &["--json"]].concat())
            .output()
            .await?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!(
                "ringup {} failed: {}; use a new --folder",
                arguments.join(" "),
                reason.trim()
            );
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Starts a process and listens to it from now on.
    pub(super) fn start(&mut self, who: Who, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = self.command(arguments);
        // A group of its own: ctrl-c is for the demo, which ends its processes in order, with what they have started.
        command
            .env("RINGUP_LOG_FORMAT", "json")
            .env("RINGUP_LOG", "info")
            .process_group(0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("could not start ringup {}", arguments.join(" ")))?;
        self.groups
            .extend(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        self.watchers.spawn(watch(who, child, self.sender.clone()));
        Ok(())
    }

    /// The next thing that happens. May be dropped and called again.
    pub(super) async fn event(&mut self) -> anyhow::Result<Event> {
        let event = self.events.recv().await.context("no process is left")?;
        if let Event::Said { who, line } = &event {
            self.last_words.insert(*who, line.clone());
        }
        Ok(event)
    }

    pub(super) fn last_words(&self, who: Who) -> &str {
        self.last_words
            .get(&who)
            .map_or("it gave no reason", String::as_str)
    }

    /// Ends all, the last first, and waits for them.
    pub(super) async fn stop(mut self) {
        self.events.close();
        for group in self.groups.iter().rev() {
            let _ = kill_process_group(*group, Signal::TERM); // ended already is as good
        }
        let ended = async { while self.watchers.join_next().await.is_some() {} };
        let _ = timeout(STOP_WAIT, ended).await; // what does not end is killed when its watcher is dropped
    }
}

/// Passes on what a process says until it ends.
async fn watch(who: Who, mut child: Child, events: mpsc::Sender<Event>) {
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return;
    };
    let mut said = BufReader::new(stdout).lines();
    let mut logged = BufReader::new(stderr).lines();
    let (mut has_said_all, mut has_logged_all) = (false, false);
    while !(has_said_all && has_logged_all) {
        let event = tokio::select! {
            line = said.next_line(), if !has_said_all => match line {
                Ok(Some(line)) => Event::Said { who, line },
                _ => { has_said_all = true; continue }
            },
            line = logged.next_line(), if !has_logged_all => match line {
                Ok(Some(line)) => read_log(who, line),
                _ => { has_logged_all = true; continue }
            },
        };
        let _ = events.send(event).await; // the demo is stopping: the pipe must be drained all the same
    }
    let code = child.wait().await.ok().and_then(|status| status.code());
    let _ = events.send(Event::Exited { who, code }).await;
}

fn read_log(who: Who, line: String) -> Event {
    match serde_json::from_str::<Map<String, Value>>(&line) {
        Ok(mut fields) => match fields.remove("message") {
            Some(Value::String(message)) => Event::Log {
                who,
                message,
                fields,
            },
            _ => Event::Said { who, line },
        },
        Err(_) => Event::Said { who, line },
    }
}
