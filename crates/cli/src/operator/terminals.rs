//! `ringup terminal`: the machines that are called.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use api::{Invitation, Invited, NewKey, NewSender, NewTerminal, TerminalChange};
use clap::{Args, Subcommand};
use delivery::proof::write_secret;
use hyper::Method;
use jiff::{Span, SpanRelativeTo};
use model::directory::Name;
use serde_json::{Value, json};

use super::{ByName, List, OperatorSocket, Wanted, changed, confirm, counted, plain, read_secret};
use crate::secret::close_stdout;
use crate::table::text;

/// Terminals: the machines that are called.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup terminal add owner --number 301 --address 10.77.0.2
  ringup terminal add gauge --number 302 --trust chap --deliver http://:8080/inbox     it runs pppd and a web server
  ringup terminal invite owner --caller 201 -o owner.bundle
  ringup terminal register meter --key KEY       for software that takes no bundle: docs/protocol.md
  ringup terminal sends-as gauge gauges          it submits as the provider gauges
  ringup terminal list
  ringup terminal show owner --json
  ringup terminal set owner --number 305         it has another number from now on
  ringup terminal pause owner                    not called until: ringup terminal resume owner
  ringup terminal shut-out owner                 its key was stolen: ends its sessions, forgets the key")]
pub(crate) struct TerminalVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: TerminalVerb,
}

#[derive(Debug, Subcommand)]
enum TerminalVerb {
    /// Add a terminal; then invite it: without a key it receives nothing
    Add(Add),
    /// Change a terminal: what is not named stays as it is
    Set(Set),
    /// Make the bundle that enrols a terminal: this server's key and a one-time secret that registers the terminal's own key
    Invite(Invite),
    /// Register the key of a terminal that cannot use a bundle, replacing any existing key
    Register {
        /// Its name
        name: Name,
        /// Its public key: 43 base64url characters, of which the first may be a hyphen
        #[arg(long, allow_hyphen_values = true)]
        key: String,
    },
    /// Let a terminal submit as a provider, with the rights and quotas of that provider
    SendsAs {
        /// Its name
        name: Name,
        /// The provider; without one the terminal may not submit any more
        provider: Option<Name>,
    },
    /// End all sessions of a terminal at once and forget its key; its messages wait until it has enrolled again
    ShutOut {
        /// Its name
        name: Name,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Show one terminal
    Show {
        /// Its name
        name: Name,
    },
    /// List all terminals, by name
    List(ByName),
    /// Place no calls to a terminal until it is resumed; it keeps its key and its messages, and its own calls are served
    Pause {
        /// Its name
        name: Name,
    },
    /// Call a terminal again that was paused, or whose calls failed for days
    Resume {
        /// Its name
        name: Name,
    },
    /// Remove a terminal and cancel its waiting messages
    Remove {
        /// Its name
        name: Name,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// Its name, of the characters a-z 0-9 . - _
    name: Name,
    /// The number it is called on
    #[arg(long)]
    number: Option<String>,
    /// Its IPv4 address on the link
    #[arg(long)]
    address: Option<String>,
    /// Topics that it may subscribe to by itself, as an MQTT filter; may be given more than once [default: all topics]
    #[arg(long, value_name = "FILTER")]
    may_subscribe: Vec<String>,
    /// How it proves itself: key; certificate, for TLS software without raw public keys; or, for a machine that runs no Ringup,
    /// chap or number-only (no proof at all; the server's config must allow it)
    #[arg(long, value_name = "TRUST", default_value = "key")]
    trust: String,
    /// Where a machine that runs no Ringup receives messages, at its own address: http://:PORT/PATH (POST) or smtp://:PORT/MAILBOX
    #[arg(long, value_name = "URL")]
    deliver: Option<String>,
    /// File with its CHAP secret [default: one is made and shown once]
    #[arg(long, value_name = "FILE")]
    chap_secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Set {
    /// Its name
    name: Name,
    /// The number it is called on
    #[arg(long)]
    number: Option<String>,
    /// It has no number any more: it is not called
    #[arg(long, conflicts_with = "number")]
    no_number: bool,
    /// Its IPv4 address on the link
    #[arg(long)]
    address: Option<String>,
    /// It has no address of its own any more
    #[arg(long, conflicts_with = "address")]
    no_address: bool,
    /// Topics that it may subscribe to by itself, as an MQTT filter, in place of all it has; '#' for all topics; may be given more
    /// than once. Subscriptions that it has stay
    #[arg(long, value_name = "FILTER")]
    may_subscribe: Vec<String>,
}

#[derive(Debug, Args)]
struct Invite {
    /// Its name
    name: Name,
    /// A number that this server calls from; may be given more than once
    #[arg(long = "caller", value_name = "NUMBER")]
    callers: Vec<String>,
    /// Name no number: the terminal answers no call, it connects by itself
    #[arg(long, conflicts_with = "callers")]
    no_caller: bool,
    /// How long the bundle is good
    #[arg(long, value_name = "TIME", default_value = "14d")]
    expires: Span,
    /// Where to write it, for you alone (0600) [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const TERMINAL_LIST: List<'_> = List {
    entry: |row| plain(&row["name"]),
    columns: &[
        ("NAME", "name"),
        ("ID", "id"),
        ("NUMBER", "number"),
        ("ADDRESS", "address"),
        ("STATE", "state"),
        ("WAITING", "waiting"),
        ("CONNECTION", "connection"),
    ],
    when_empty: "no terminals; add one: ringup terminal add NAME --number N",
    words: |row| {
        let paused = if row["paused_at"].is_null() {
            ""
        } else {
            ", paused"
        };
        row["state"] = format!("{}{paused}", text(&row["trust"])).into();
    },
};

impl TerminalVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.operator;
        match self.verb {
            TerminalVerb::Add(add) => add.run(&operator)?,

            TerminalVerb::Set(set) => set.run(&operator)?,

            TerminalVerb::Invite(invite) => invite.run(&operator)?,

            TerminalVerb::Register { name, key } => {
                let body = NewKey { key: key.clone() };
                operator.tell(Method::POST, &format!("/terminals/{name}/key"), &body)?;
                let done = json!({ "name": name.to_string(), "key": key, "trust": "enrolled" });
                let says = format!(
                    "{name} is enrolled with this key; its waiting messages are due now (see: ringup plan)"
                );
                operator.report(&done, says);
            }
            TerminalVerb::SendsAs { name, provider } => {
                let body = NewSender {
                    provider: provider.as_ref().map(ToString::to_string),
                };
                operator.tell(Method::PUT, &format!("/terminals/{name}/sender"), &body)?;
                let done = json!({ "name": name.to_string(), "sends_as": provider.as_ref().map(ToString::to_string) });
                let says = match provider {
                    Some(provider) => {
                        format!("{name} sends as {provider}, with its rights and quotas")
                    }
                    None => format!("{name} may not send any more"),
                };
                operator.report(&done, says);
            }
            TerminalVerb::ShutOut { name, yes } => {
                if !yes
                    && !confirm(&format!(
                        "shut out {name} and forget its key? It must enrol again to come back"
                    ))?
                {
                    bail!("nothing was changed");
                }
                operator.ask(Method::POST, &format!("/terminals/{name}/shut-out"), None)?;
                let done = json!({ "name": name.to_string(), "trust": "shut out" });
                let back =
                    format!("ringup terminal invite {name} --caller NUMBER -o {name}.bundle");
                operator.report(
                    &done,
                    format_args!("{name} is shut out; to take it back: {back}, and enrol it there"),
                );
            }
            TerminalVerb::Show { name } => return operator.show(&format!("/terminals/{name}")),
            TerminalVerb::List(ByName {
                limit,
                after,
                all: _,
            }) => {
                return operator.show_pages(
                    "/terminals",
                    &Wanted::all_unless(limit, after),
                    &TERMINAL_LIST,
                );
            }
            TerminalVerb::Pause { name } => {
                let paused =
                    operator.ask(Method::POST, &format!("/terminals/{name}/pause"), None)?;
                operator.report(&paused, after_pausing(&name, &paused));
            }
            TerminalVerb::Resume { name } => {
                let resumed =
                    operator.ask(Method::POST, &format!("/terminals/{name}/resume"), None)?;
                operator.report(&resumed, after_resuming(&name, &resumed));
            }
            TerminalVerb::Remove { name, yes } => {
                let path = format!("/terminals/{name}");
                let waiting = operator.ask(Method::GET, &path, None)?["waiting"].take();
                let messages = counted(&waiting, "waiting message");
                if !yes && !confirm(&format!("remove {name}, and cancel {messages}?"))? {
                    bail!("nothing was removed");
                }
                operator.ask(Method::DELETE, &path, None)?;
                let done = json!({ "name": name.to_string(), "cancelled": waiting });
                operator.report(
                    &done,
                    format_args!("{name} is removed; {messages} cancelled"),
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    fn run(self, operator: &OperatorSocket) -> anyhow::Result<()> {
        let Self {
            name,
            number,
            address,
            may_subscribe,
            trust,
            deliver,
            chap_secret_file,
        } = self;
        let chap_secret = chap_secret_file.as_deref().map(read_secret).transpose()?;
        let body = NewTerminal {
            name: name.to_string(),
            number,
            address,
            may_subscribe: may_subscribe.clone(),
            trust: Some(trust.clone()),
            deliver,
            chap_secret,
        };
        let added = operator.tell(Method::POST, "/terminals", &body)?;
        let note = if added["chap_secret"].is_null() {
            None
        } else {
            close_stdout()
        };
        operator.print(&added);
        if !operator.json {
            note.iter().for_each(|note| eprintln!("{note}"));
            eprintln!(
                "{}",
                after_adding(&name, &trust, !added["chap_secret"].is_null())
            );
            open_registration(&name, &trust, &may_subscribe)
                .iter()
                .for_each(|open| eprintln!("{open}"));
        }
        Ok(())
    }
}

impl Set {
    fn run(self, operator: &OperatorSocket) -> anyhow::Result<()> {
        let Self {
            name,
            number,
            no_number,
            address,
            no_address,
            may_subscribe,
        } = self;
        let change = TerminalChange {
            number: changed(number, no_number),
            address: changed(address, no_address),
            may_subscribe: (!may_subscribe.is_empty()).then_some(may_subscribe),
        };
        let after = operator.change(&format!("/terminals/{name}"), &change)?;
        let says = |field: &str| text(&after[field]);
        let sentence = format!(
            "{name}: number {}, address {}, may subscribe to {}",
            says("number"),
            says("address"),
            says("may_subscribe")
        );
        operator.report(&after, sentence);
        Ok(())
    }
}

impl Invite {
    fn run(self, operator: &OperatorSocket) -> anyhow::Result<()> {
        let Self {
            name,
            callers,
            no_caller,
            expires,
            output,
        } = self;
        let made = invite(operator, &name, &callers, no_caller, expires)?;
        let bundle = &made.bundle;
        match output {
            Some(path) => {
                write_secret(&path, bundle.as_bytes())
                    .with_context(|| format!("could not write {}", path.display()))?;
                let file = path.display().to_string();
                let written = json!({ "name": name.to_string(), "file": file, "expires_at": made.expires_at });
                operator.report(
                    &written,
                    format_args!("take {file} to {name}; there: ringup enrol {file}"),
                );
            }
            None if operator.json => {
                close_stdout();
                operator.print(&serde_json::to_value(&made)?);
            }
            None => {
                let note = close_stdout();
                print!("{bundle}");
                eprintln!(
                    "keep it secret: until it is used or expires, anyone who has it can enrol as {name}, once"
                );
                note.iter().for_each(|note| eprintln!("{note}"));
                eprintln!("-o FILE writes it to a file that only you can read");
            }
        }
        Ok(())
    }
}

/// Has the server make a bundle for a terminal.
pub(super) fn invite(
    operator: &OperatorSocket,
    name: &Name,
    callers: &[String],
    no_callers: bool,
    expires: Span,
) -> anyhow::Result<Invited> {
    let seconds = expires
        .to_duration(SpanRelativeTo::days_are_24_hours())?
        .as_secs();
    anyhow::ensure!(
        (60..=366 * 86_400).contains(&seconds),
        "--expires must be from 1m to 366d"
    );
    let body = Invitation {
        callers: callers.to_vec(),
        seconds: u32::try_from(seconds)?,
        no_callers,
    };
    let path = format!("/terminals/{name}/invitation");
    let made = operator.tell(Method::POST, &path, &body)?;
    serde_json::from_value(made).context("the server did not answer with a bundle")
}

/// What to do with a terminal that was just added.
fn after_adding(name: &Name, trust: &str, is_secret_new: bool) -> String {
    match trust {
        "chap" if is_secret_new => format!(
            "chap_secret is shown only now; for pppd there: `name {name}` in its options, and in chap-secrets: {name} * SECRET *"
        ),
        "chap" => format!(
            "for pppd there: `name {name}` in its options, and in chap-secrets: {name} * SECRET *"
        ),
        "certificate" => format!(
            "now register its key: ringup terminal register {name} --key KEY (or make a bundle, if its software takes one: ringup terminal invite {name} --caller NUMBER -o {name}.bundle)"
        ),
        "number-only" => {
            format!("warning: any machine that answers the number of {name} receives its messages")
        }
        _ => format!(
            "make a bundle for it now: ringup terminal invite {name} --caller NUMBER -o {name}.bundle"
        ),
    }
}

/// The rights of a terminal without limits.
fn open_registration(name: &Name, trust: &str, may_subscribe: &[String]) -> Option<String> {
    let has_key = matches!(trust, "key" | "certificate");
    (has_key && may_subscribe.is_empty()).then(|| {
        format!("{name} may register for every topic, and so read what is sent to all of them; --may-subscribe FILTER, when it is added, limits that")
    })
}

/// What a pause means.
fn after_pausing(name: &Name, paused: &Value) -> String {
    let waiting = text(&paused["waiting"]);
    let mut told = format!(
        "{name} is paused: it is not called, and keeps its key and its messages ({waiting} waiting); its own calls are served. \
         To end the pause: ringup terminal resume {name}"
    );
    if !paused["call"].is_null() {
        let call = text(&paused["call"]);
        told += &format!(
            "\na call with it is under way and goes on; to hang up: ringup call end {call}"
        );
    }
    told
}

/// Whether a resumed terminal is called, and if not, what is missing.
fn after_resuming(name: &Name, resumed: &Value) -> String {
    match resumed["trust"].as_str() {
        Some("not enrolled") => format!(
            "{name} is resumed, and still not called: it is not enrolled (ringup terminal invite {name} --caller NUMBER -o {name}.bundle)"
        ),
        _ if resumed["has_number"] == false => {
            format!(
                "{name} is resumed, and still not called: it has no number; it is served when it connects"
            )
        }
        _ if resumed["waiting"] == 0 => format!("{name} is resumed; it has no waiting messages"),
        _ => format!("{name} is called again (see: ringup plan)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_may_read_every_topic_is_pointed_out_when_it_is_added() {
        let name = "owner".parse().unwrap();
        for trust in ["key", "certificate"] {
            assert!(
                open_registration(&name, trust, &[])
                    .unwrap()
                    .contains("--may-subscribe")
            );
        }
        assert_eq!(
            open_registration(&name, "key", &["news/#".to_owned()]),
            None
        );
        assert_eq!(
            open_registration(&name, "chap", &[]),
            None,
            "it cannot register by itself"
        );
    }
}
