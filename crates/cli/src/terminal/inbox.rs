//! What a terminal has received: listed, read, watched, acknowledged, handed over.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use client::handover::{PACE, hand_over};
use client::inbox::{Entry, InboxConfig};
use delivery::MessageId;
use modem::shown;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::config;
use crate::output;
use crate::signals::outlive_file_limits;
use crate::table::print_table;

/// Messages that this terminal has received.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup inbox list
  ringup inbox read AaIHE1Sgc2ypVgGTAI8zgw > level.json
  ringup inbox ack AaIHE1Sgc2ypVgGTAI8zgw        processed: [[inbox]] keep may remove it
  ringup inbox watch --json | while read -r line; do ...; done

A message is processed when it was handed over ([[inbox]] in the config) or acknowledged.")]
pub(crate) struct InboxVerbs {
    /// The terminal's config
    #[arg(long, value_name = "FILE", default_value_os_t = crate::config::default_path("terminal.toml"), global = true)]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: InboxVerb,
}

#[derive(Debug, Subcommand)]
enum InboxVerb {
    /// List the messages, oldest first
    List {
        /// Only unprocessed messages
        #[arg(long)]
        new: bool,
    },
    /// Write the content of a message to standard output
    Read {
        /// The message's id
        id: MessageId,
    },
    /// Mark messages as processed
    Ack {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<MessageId>,
    },
    /// Print a line for each unprocessed message and for each new one, until you end it
    Watch,
    /// Hand over unprocessed messages by the `[[inbox]]` rules, and remove those whose `keep` is over
    HandOver,
}

impl InboxVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let machine = config::terminal::read(&self.config)?;
        let terminal = machine
            .terminal
            .context("the config has no [terminal]: this machine has no inbox")?;
        let InboxConfig { folder, rules, .. } = terminal.inbox;
        if !folder.is_dir() && !matches!(self.verb, InboxVerb::Watch) {
            bail!(
                "there is no inbox at {} yet: nothing has come",
                folder.display()
            );
        }
        match self.verb {
            InboxVerb::List { new } => {
                let mut entries = list(&folder)?;
                entries.retain(|entry| !new || entry.done_at.is_none());
                print_entries(&entries, self.json);
            }
            InboxVerb::Read { id } => {
                let entry = find(&folder, id)?;
                let mut content = std::fs::File::open(entry.content())
                    .with_context(|| format!("the content of {id} is not there any more"))?;
                output::written(io::copy(&mut content, &mut io::stdout().lock()).map(drop))?;
            }
            InboxVerb::Ack { ids } => {
                for id in &ids {
                    find(&folder, *id)?
                        .done()
                        .with_context(|| format!("could not mark {id} as processed"))?;
                }
                if self.json {
                    println!(
                        "{}",
                        json!({ "processed": ids.iter().map(ToString::to_string).collect::<Vec<_>>() })
                    );
                }
            }
            InboxVerb::Watch => watch(&folder, self.json)?,
            InboxVerb::HandOver => {
                let handed = Builder::new_current_thread()
                    .enable_all()
                    .build()?
                    .block_on(async {
                        outlive_file_limits()?;
                        anyhow::Ok(hand_over(&folder, &rules, PACE).await?)
                    });
                let handed = handed
                    .with_context(|| format!("could not use the inbox {}", folder.display()))?;
                if self.json {
                    println!(
                        "{}",
                        json!({
                            "taken": handed.taken,
                            "left": handed.left,
                            "removed": handed.removed,
                            "is_with_another": handed.is_with_another,
                        })
                    );
                } else if handed.is_with_another {
                    eprintln!("another process is handing over, and looks again before it ends");
                }
                return Ok(ExitCode::from(u8::from(handed.left > 0)));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_entries(entries: &[Entry], as_json: bool) {
    let rows: Vec<_> = entries.iter().map(entry_json).collect();
    if as_json {
        println!("{:#}", Value::Array(rows));
    } else if rows.is_empty() {
        eprintln!("the inbox is empty");
    } else {
        let columns = [
            ("ID", "id"),
            ("RECEIVED", "received_at"),
            ("TYPE", "content_type"),
            ("TOPIC", "topic"),
            ("SIZE", "size"),
            ("DONE", "done_at"),
        ];
        print_table(&columns, &rows);
    }
}

fn list(folder: &Path) -> anyhow::Result<Vec<Entry>> {
    Entry::list(folder).with_context(|| format!("could not read the inbox {}", folder.display()))
}

fn find(folder: &Path, id: MessageId) -> anyhow::Result<Entry> {
    Entry::find(folder, id).with_context(|| {
        format!("no message {id} is here; `ringup inbox list` shows those there are")
    })
}

fn entry_json(entry: &Entry) -> Value {
    let note = &entry.note;
    json!({
        "id": note.id,
        "received_at": note.received_at,
        "content_type": note.content_type,
        "topic": note.topic,
        "size": note.size,
        "sha256": note.sha256,
        "content": entry.content(),
        "done_at": entry.done_at,
    })
}

/// Prints what is new, and what comes. A message appears by one rename, which the kernel tells.
fn watch(folder: &Path, json: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("could not make the inbox {}", folder.display()))?;
    let watch = inotify::init(CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, folder, WatchFlags::MOVED_TO | WatchFlags::ONLYDIR)
        .with_context(|| format!("could not watch {}", folder.display()))?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    // Watched first, then listed: what comes between is seen twice, and printed once.
    let mut listed: BTreeSet<MessageId> = BTreeSet::new();
    loop {
        for entry in list(folder)?.iter().filter(|entry| entry.done_at.is_none()) {
            if listed.insert(entry.id) {
                print_line(entry, json)?;
            }
        }
        loop {
            let event = events.next().context("could not watch the inbox")?;
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                break; // what came is not known: look at all
            }
            let id = event
                .file_name()
                .and_then(|name| name.to_str().ok()?.parse::<MessageId>().ok());
            if let Some(entry) = id
                .and_then(|id| Entry::find(folder, id))
                .filter(|entry| listed.insert(entry.id))
            {
                print_line(&entry, json)?;
            }
        }
    }
}

fn print_line(entry: &Entry, json: bool) -> anyhow::Result<()> {
    let line = if json {
        entry_json(entry).to_string()
    } else {
        entry.content().display().to_string()
    };
    let mut out = io::stdout().lock();
    output::written(writeln!(out, "{}", shown::line(&line)).and_then(|()| out.flush()))
}
