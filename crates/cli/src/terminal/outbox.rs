//! What a terminal has to say to its server: put in, listed, taken out, sent; and what it registers for.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use client::budget::Budget;
use client::connector::{self, DialInError, dial_in};
use client::outbox::{Outbox, OutboxEntry};
use client::sender::{send_now, send_when_due};
use client::session::receive_online;
use delivery::{Conditions, MessageId, Reason, Said, TopicFilter, Urgency};
use jiff::{SignedDuration, Timestamp};
use line::Hours;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::machine::What;
use crate::config;
use crate::config::terminal::Machine;
use crate::signals::outlive_file_limits;
use crate::size::size;
use crate::table::print_table;

/// Size in octets at which the senders' log is restarted.
const LOG_OCTETS_MAX: u64 = 64 * 1024;

/// Messages and requests that wait to go to the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup outbox add --to tel:301 sale.json                      sent on the next call, at the latest after [outbox] every
  ringup outbox add --to terminal:owner --urgency urgent -      calls now
  ringup outbox list
  ringup outbox send                                            calls now
  ringup outbox send --due                                      calls when [outbox] says so, until the outbox is empty

An item is on this machine's disk when `add` exits 0, and stays until it is on the server's. A refused item stays, with the
reason, until you remove it.")]
pub(crate) struct OutboxVerbs {
    #[command(flatten)]
    desk: Desk,
    #[command(subcommand)]
    verb: OutboxVerb,
}

#[derive(Debug, Args)]
struct Desk {
    /// The terminal's config
    #[arg(long, value_name = "FILE", default_value_os_t = crate::config::default_path("terminal.toml"), global = true)]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum OutboxVerb {
    /// Add a message
    Add {
        #[command(flatten)]
        what: What,
        /// Start no `ringup outbox send --due`: one runs already, or the next call comes soon enough
        #[arg(long)]
        keep: bool,
    },
    /// List waiting and refused items
    List,
    /// Remove items; one that is being sent may still reach the server
    Remove {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<MessageId>,
    },
    /// Call the server: send the items, receive messages. The call costs money
    Send {
        /// Wait until a call is due (`[outbox]` in the config); end when the outbox is empty or another process sends
        #[arg(long)]
        due: bool,
    },
}

impl OutboxVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let machine = self.desk.machine()?;
        let outbox = Outbox::new(&machine.state);
        match self.verb {
            OutboxVerb::Add { what, keep } => {
                let (said, content) = what
                    .outgoing()?
                    .context("no file to send; - is standard input")?;
                self.desk.kept(outbox.add(&said, &content)?);
                match machine.no_way() {
                    _ if keep => {}
                    None => start_sender(&self.desk.config, &machine.state)?,
                    // It is kept, and goes on the next call that comes in.
                    Some(why) => {
                        eprintln!("warning: kept, but not sent before the server calls: {why}");
                    }
                }
            }
            OutboxVerb::List => {
                self.desk.list(&outbox)?;
                if !outbox.list()?.is_empty() {
                    let failed = machine
                        .no_way()
                        .map(str::to_owned)
                        .or_else(|| last_failure(&machine.state));
                    failed
                        .iter()
                        .for_each(|why| eprintln!("not sent by itself: {why}"));
                }
            }
            OutboxVerb::Remove { ids } => {
                for id in &ids {
                    if !outbox.remove(*id)? {
                        bail!("no item {id} is in the outbox; see: ringup outbox list");
                    }
                }
                if self.desk.json {
                    println!(
                        "{}",
                        json!({ "removed": ids.iter().map(ToString::to_string).collect::<Vec<_>>() })
                    );
                }
            }
            OutboxVerb::Send { due } => {
                send(machine, due)?;
                if self.desk.json {
                    println!(
                        "{}",
                        json!({ "completed": true, "left": outbox.list()?.len() })
                    );
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Subscribes this terminal to a data type, on the next call.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup subscribe 'news/#' --urgency normal --max-size 50k --hours 06:00-22:00
  ringup subscribe mail --now                  calls the server at once

Messages outside these limits cause no call and arrive with the next one. The same filter again changes the limits. If the
server refuses the subscription, `ringup outbox list` shows why.")]
pub(crate) struct Subscribe {
    /// Which topics: + is a whole level, # all that follow (MQTT)
    filter: TopicFilter,
    /// The least urgent messages that cause a call: urgent, normal or bulk
    #[arg(long, value_name = "URGENCY", default_value = "bulk")]
    urgency: Urgency,
    /// The largest message that causes a call, such as 50k
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// When they cause a call, such as '06:00-22:00' or 'mon-fri 08:00-18:00', in the server's time zone [default: always]
    #[arg(
        long,
        value_name = "HOURS",
        default_value = "",
        hide_default_value = true
    )]
    hours: Hours,
    #[command(flatten)]
    telling: Telling,
}

/// Cancels a subscription of this terminal, on the next call.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ringup unsubscribe 'news/#'")]
pub(crate) struct Unsubscribe {
    /// The filter, as it was subscribed
    filter: TopicFilter,
    #[command(flatten)]
    telling: Telling,
}

/// Limits what this terminal accepts for now; anything else waits at the server and causes no call.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup conditions --urgency urgent --for 8h --reason roaming --now
  ringup conditions --max-size 5k --for 2d --reason 'battery low'
  ringup conditions --everything               ends the limits
  ringup conditions --for 8h                   accepts everything for 8 hours, whatever [conditions] in the config says

The server knows the limits from the next session on. Lasting limits belong into [conditions] of the config; these replace them
until --for is over. A message outside the limits is put off with the reason, which `ringup message explain` at the server shows.")]
pub(crate) struct StateConditions {
    /// The least urgent messages that are accepted: urgent, normal or bulk
    #[arg(long, value_name = "URGENCY", default_value = "bulk")]
    urgency: Urgency,
    /// The largest message that is accepted, such as 5k
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// For how long, 31 days at most
    #[arg(
        long = "for",
        value_name = "TIME",
        required_unless_present = "everything"
    )]
    hold: Option<SignedDuration>,
    /// Why, such as roaming
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Accept everything again
    #[arg(long, conflicts_with_all = ["urgency", "max_size", "hold", "reason"])]
    everything: bool,
    #[command(flatten)]
    telling: Telling,
}

impl StateConditions {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            urgency,
            max_size,
            hold,
            reason,
            everything: _,
            telling,
        } = self;
        let until = Timestamp::now()
            .checked_add(hold.unwrap_or_default())
            .context("--for is too long")?;
        let conditions = Conditions {
            urgency,
            size_max: max_size,
            until,
            reason,
        };
        telling.tell_by(|outbox| Ok(outbox.state(conditions)?))
    }
}

#[derive(Debug, Args)]
struct Telling {
    #[command(flatten)]
    desk: Desk,
    /// Call the server at once. The call costs money
    #[arg(long)]
    now: bool,
}

impl Subscribe {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            filter,
            urgency,
            max_size,
            hours,
            telling,
        } = self;
        telling.tell(&Said::Subscribe {
            filter,
            urgency,
            size_max: max_size,
            hours: hours.to_string(),
        })
    }
}

impl Unsubscribe {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        self.telling.tell(&Said::Unsubscribe {
            filter: self.filter,
        })
    }
}

impl Telling {
    fn tell(self, said: &Said) -> anyhow::Result<ExitCode> {
        self.tell_by(|outbox| Ok(outbox.add(said, &[])?))
    }

    fn tell_by(
        self,
        add: impl FnOnce(&Outbox) -> anyhow::Result<MessageId>,
    ) -> anyhow::Result<ExitCode> {
        let machine = self.desk.machine()?;
        let outbox = Outbox::new(&machine.state);
        let id = add(&outbox)?;
        self.desk.kept(id);
        if !self.now {
            return Ok(ExitCode::SUCCESS);
        }
        let sent = send(machine, false);
        if let Some(OutboxEntry {
            note: Some(note), ..
        }) = outbox.entry(id)
        {
            bail!(
                "the server did not take it ({}): {}",
                note.status,
                note.reason
            );
        }
        sent?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Desk {
    fn machine(&self) -> anyhow::Result<Machine> {
        let machine = config::terminal::read(&self.config)?;
        if machine.terminal.is_none() {
            bail!(
                "the config has no [terminal]: a machine without a key of its own submits with `ringup dial-in`"
            );
        }
        Ok(machine)
    }

    fn kept(&self, id: MessageId) {
        if self.json {
            println!("{}", json!({ "id": id.to_string() }));
        } else {
            println!("kept in the outbox as {id} (see: ringup outbox list)");
        }
    }

    fn list(&self, outbox: &Outbox) -> anyhow::Result<()> {
        let rows: Vec<_> = outbox.list()?.iter().map(entry_json).collect();
        if self.json {
            println!("{:#}", Value::Array(rows));
        } else if rows.is_empty() {
            eprintln!("the outbox is empty");
        } else {
            let columns = [
                ("ID", "id"),
                ("SINCE", "at"),
                ("WHAT", "what"),
                ("URGENCY", "urgency"),
                ("SIZE", "size"),
                ("STATE", "state"),
                ("WHY", "reason"),
            ];
            print_table(&columns, &rows);
        }
        Ok(())
    }
}

fn entry_json(entry: &OutboxEntry) -> Value {
    let what = match &entry.head.says {
        Ok(Said::Message(message)) => format!("to {}", message.to.join(" ")),
        Ok(Said::Subscribe { filter, .. }) => format!("subscribe {filter}"),
        Ok(Said::Unsubscribe { filter }) => format!("unsubscribe {filter}"),
        Ok(Said::Conditions(conditions)) => format!("conditions until {}", conditions.until),
        Err(why) => why.clone(),
    };
    let note = entry.note.as_ref();
    json!({
        "id": entry.head.id.to_string(),
        "at": entry.at(),
        "what": what,
        "urgency": entry.urgency().as_str(),
        "size": entry.head.size,
        "state": match note {
            None => "waits",
            Some(note) if note.is_for_later() => "put off",
            Some(_) => "refused",
        },
        "status": note.map(|note| note.status),
        "reason": note.map(|note| note.reason.as_str()),
    })
}

/// Starts what calls when it is worth it. It ends by itself, and holds no descriptor of ours that another process may wait on.
fn start_sender(config: &Path, state: &Path) -> anyhow::Result<()> {
    let path = state.join("outbox.log");
    let failed = || {
        format!(
            "the item is kept, but nothing that sends it could be started ({})",
            path.display()
        )
    };
    let is_long = path
        .metadata()
        .is_ok_and(|found| found.len() > LOG_OCTETS_MAX);
    let log = if is_long {
        File::create(&path)
    } else {
        OpenOptions::new().create(true).append(true).open(&path)
    };
    let program = std::env::current_exe().with_context(failed)?;
    Command::new(program)
        .args(["outbox", "send", "--due", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.with_context(failed)?)
        .process_group(0) // an interrupt of the program that put the item in is not about it
        .spawn()
        .with_context(failed)?;
    Ok(())
}

/// Octets of a sender's log that are looked at for its last failure.
const LOG_END_OCTETS: u64 = 4096;

/// What the last process said that was to send and ended with a failure, if it said so.
fn last_failure(state: &Path) -> Option<String> {
    let mut log = File::open(state.join("outbox.log")).ok()?;
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(LOG_END_OCTETS)))
        .ok()?;
    let mut end = Vec::new();
    log.read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    let last = end.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(format!(
        "the last try failed: {}",
        last.strip_prefix("ringup: ")?
    ))
}

/// Calls, now or when it is worth it; over the Internet if the config knows no number.
fn send(machine: Machine, is_due_only: bool) -> anyhow::Result<()> {
    if let Some(why) = machine.no_way() {
        bail!(why);
    }
    let Machine {
        port,
        setup,
        server,
        server_address,
        state,
        limits,
        link,
        sender,
        terminal,
        ..
    } = machine;
    let receive = terminal.context("the config has no [terminal]")?.receive();
    let way = match (server, port, server_address) {
        (Some(number), Some(port), _) => Way::Call { number, port },
        (_, _, Some(address)) => Way::Online(address),
        _ => bail!("the config does not say how the server is reached"), // asked above
    };
    let call = async || -> Result<(), DialInError> {
        match &way {
            Way::Call { number, port } => {
                let job = connector::DialIn {
                    number: number.clone(),
                    budget: Budget::new(&state, limits),
                    link: link.clone(),
                    submissions: Vec::new(),
                    receive: Some(receive.clone()),
                };
                dial_in(port, setup.clone(), job).await.map(drop)
            }
            Way::Online(address) => Ok(receive_online(address, Reason::Online, receive.open()?)
                .await
                .result?),
        }
    };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        outlive_file_limits()?;
        if is_due_only {
            send_when_due(&sender, call).await?;
        } else {
            send_now(&sender, call).await?;
        }
        anyhow::Ok(())
    })?;
    Ok(())
}

/// How the server is reached.
enum Way {
    Call {
        number: modem::DialString,
        port: line::PortAddress,
    },
    Online(String),
}
