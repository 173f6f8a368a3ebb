//! `ringup provider`: who submits.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use api::{NewProvider, NewToken, Provider, ProviderChange};
use clap::{Args, Subcommand};
use hyper::Method;
use jiff::{Span, SpanRelativeTo};
use model::directory::Name;
use serde_json::Value;

use super::{
    ByName, List, OperatorSocket, Wanted, changed, confirm, counted, plain, read_secret, text,
};
use crate::secret::close_stdout;

/// Providers: the machines and people that submit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup provider add vending-7 --number 401    prints a token, once
  ringup provider add gauge --may-send terminal:owner --may-send 'topic:level/#'
  ringup provider new-token vending-7           its token has leaked: replace it at once
  ringup provider new-token vending-7 --overlap 1h    both work for an hour
  ringup provider set vending-7 --number 402     it dials in from another number
  ringup provider disable vending-7             its submissions are refused until: ringup provider enable vending-7
  ringup provider remove vending-7 --cancel     and cancel its waiting messages
  ringup provider list")]
pub(crate) struct ProviderVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: ProviderVerb,
}

#[derive(Debug, Subcommand)]
enum ProviderVerb {
    /// Add a provider; prints its token, which is not kept and cannot be shown again
    Add(Add),
    /// Change a provider: what is not named stays as it is
    Set {
        /// Its name
        name: Name,
        /// The number it dials in from
        #[arg(long)]
        number: Option<String>,
        /// It does not dial in any more
        #[arg(long, conflicts_with = "number")]
        no_number: bool,
        /// Permitted recipients and topics, in place of all it has; as for add
        #[arg(long, value_name = "RIGHT")]
        may_send: Vec<String>,
    },
    /// Refuse the submissions of a provider; its token, its rights and its waiting messages stay
    Disable {
        /// Its name
        name: Name,
    },
    /// Take the submissions of a provider again
    Enable {
        /// Its name
        name: Name,
    },
    /// Replace the token of a provider and print the new one; the old one stops at once, or after --overlap
    NewToken {
        /// Its name
        name: Name,
        /// How long the old token still works
        #[arg(long, value_name = "TIME")]
        overlap: Option<Span>,
    },
    /// Remove a provider: its token stops at once, its number is free; what waits of it is delivered all the same
    Remove {
        /// Its name
        name: Name,
        /// Cancel its waiting messages
        #[arg(long)]
        cancel: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List all providers
    List(ByName),
}

#[derive(Debug, Args)]
struct Add {
    /// Its name, of the characters a-z 0-9 . - _
    name: Name,
    /// The number it dials in from
    #[arg(long)]
    number: Option<String>,
    /// Permitted recipients: *, tel: (all with a number), terminal:NAME, tel:NUMBER, ip:ADDRESS; and under which topics:
    /// topic:FILTER. May be given more than once [default: *]
    #[arg(long, value_name = "RIGHT")]
    may_send: Vec<String>,
    /// Where to post the verdicts of its messages: http:// or https://
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// The webhook may be an address that only this machine or its network reaches
    #[arg(long, requires = "webhook")]
    webhook_allow_private: bool,
    /// It dials in with other software, such as pppd, and must pass CHAP; its secret is shown once
    #[arg(long, requires = "number")]
    chap: bool,
    /// File with its CHAP secret [default: one is made]
    #[arg(long, value_name = "FILE", requires = "chap")]
    chap_secret_file: Option<PathBuf>,
}

const PROVIDER_LIST: List<'_> = List {
    entry: |row| plain(&row["name"]),
    columns: &[
        ("NAME", "name"),
        ("NUMBER", "number"),
        ("STATE", "state"),
        ("MAY SEND TO", "may_send"),
    ],
    when_empty: "no providers; add one: ringup provider add NAME",
    words: |row| {
        row["state"] = if row["is_disabled"] == true {
            "disabled".into()
        } else {
            "-".into()
        }
    },
};

impl ProviderVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.operator;
        match self.verb {
            ProviderVerb::Add(add) => add.run(&operator),

            ProviderVerb::Set {
                name,
                number,
                no_number,
                may_send,
            } => {
                let number = changed(number, no_number);
                let may_send = (!may_send.is_empty()).then_some(may_send);
                change(
                    &operator,
                    &name,
                    &ProviderChange {
                        number,
                        may_send,
                        is_disabled: None,
                    },
                )
            }
            ProviderVerb::Disable { name } => change(
                &operator,
                &name,
                &ProviderChange {
                    is_disabled: Some(true),
                    ..ProviderChange::default()
                },
            ),
            ProviderVerb::Enable { name } => change(
                &operator,
                &name,
                &ProviderChange {
                    is_disabled: Some(false),
                    ..ProviderChange::default()
                },
            ),
            ProviderVerb::NewToken { name, overlap } => new_token(&operator, &name, overlap),
            ProviderVerb::Remove { name, cancel, yes } => {
                remove_provider(&operator, &name, cancel, yes)
            }
            ProviderVerb::List(ByName {
                limit,
                after,
                all: _,
            }) => operator.show_pages(
                "/providers",
                &Wanted::all_unless(limit, after),
                &PROVIDER_LIST,
            ),
        }
    }
}

impl Add {
    fn run(self, operator: &OperatorSocket) -> anyhow::Result<ExitCode> {
        let Self {
            name,
            number,
            may_send,
            webhook,
            webhook_allow_private,
            chap,
            chap_secret_file,
        } = self;
        let chap_secret = chap_secret_file.as_deref().map(read_secret).transpose()?;
        let body = NewProvider {
            name: name.to_string(),
            number,
            may_send: may_send.clone(),
            webhook,
            webhook_allow_private,
            chap,
            chap_secret,
        };
        let added = operator.tell(Method::POST, "/providers", &body)?;
        let note = close_stdout();
        if operator.json {
            operator.print(&added);
        } else {
            println!("{}", text(&added["token"]));
            eprintln!("this is {name}'s token, shown once: store it where only {name} can read it");
            if !added["chap_secret"].is_null() {
                println!("{}", text(&added["chap_secret"]));
                eprintln!("the line above is its CHAP secret, shown once");
            }
            if !added["webhook_secret"].is_null() {
                println!("{}", text(&added["webhook_secret"]));
                eprintln!("the line above is the secret that signs its webhooks, shown once");
            }
            open_rights(&name, &may_send)
                .iter()
                .for_each(|open| eprintln!("{open}"));
            note.iter().for_each(|note| eprintln!("{note}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn change(
    operator: &OperatorSocket,
    name: &Name,
    change: &ProviderChange,
) -> anyhow::Result<ExitCode> {
    let after = operator.change(&format!("/providers/{name}"), change)?;
    let provider: Provider = serde_json::from_value(after.clone())
        .context("the server did not answer with a provider")?;
    let number = provider.number.as_deref().unwrap_or("-");
    let state = if provider.is_disabled {
        "; its submissions are refused"
    } else {
        ""
    };
    operator.report(
        &after,
        format_args!(
            "{name}: number {number}, may send to {}{state}",
            provider.may_send.join(" ")
        ),
    );
    Ok(ExitCode::SUCCESS)
}

fn new_token(
    operator: &OperatorSocket,
    name: &Name,
    overlap: Option<Span>,
) -> anyhow::Result<ExitCode> {
    let seconds = match overlap {
        Some(overlap) => overlap
            .to_duration(SpanRelativeTo::days_are_24_hours())?
            .as_secs(),
        None => 0,
    };
    anyhow::ensure!(
        (0..=30 * 86_400).contains(&seconds),
        "--overlap must be from 1s to 30d"
    );
    let body = NewToken {
        overlap_seconds: u32::try_from(seconds)?,
    };
    let renewed = operator.tell(Method::POST, &format!("/providers/{name}/token"), &body)?;
    let note = close_stdout();
    if operator.json {
        operator.print(&renewed);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", text(&renewed["token"]));
    let former = match &renewed["former_token_until"] {
        Value::Null => "the former one has stopped".to_owned(),
        until => format!("the former one stops at {}", text(until)),
    };
    eprintln!(
        "this is {name}'s token from now on, shown once: store it where only {name} can read it; {former}"
    );
    note.iter().for_each(|note| eprintln!("{note}"));
    Ok(ExitCode::SUCCESS)
}

fn remove_provider(
    operator: &OperatorSocket,
    name: &Name,
    cancel: bool,
    yes: bool,
) -> anyhow::Result<ExitCode> {
    let path = format!("/providers/{name}");
    if !yes {
        let waiting =
            operator.ask(Method::DELETE, &format!("{path}?dry=true"), None)?["waiting"].take();
        let (and, waiting) = (
            if cancel { "cancel" } else { "still deliver" },
            counted(&waiting, "waiting message"),
        );
        if !confirm(&format!("remove {name}, and {and} its {waiting}?"))? {
            bail!("nothing was removed");
        }
    }
    let removed = operator.ask(Method::DELETE, &format!("{path}?cancel={cancel}"), None)?;
    let says = match cancel {
        true => {
            format!(
                "{name} is removed, its token has stopped; cancelled envelopes: {}",
                text(&removed["cancelled"])
            )
        }
        false => {
            let waiting = text(&removed["waiting"]);
            format!(
                "{name} is removed, its token has stopped; waiting messages, still delivered: {waiting}"
            )
        }
    };
    operator.report(&removed, says);
    Ok(ExitCode::SUCCESS)
}

/// The rights of a provider without limits.
fn open_rights(name: &Name, may_send: &[String]) -> Option<String> {
    let is_open = may_send.iter().all(|right| right == "*");
    is_open.then(|| format!("{name} may send everything to every terminal; --may-send, when it is added, limits that"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_may_send_everything_is_pointed_out_when_it_is_added() {
        let name = "vending".parse().unwrap();
        assert!(open_rights(&name, &[]).unwrap().contains("--may-send"));
        assert!(open_rights(&name, &["*".to_owned()]).is_some());
        assert_eq!(open_rights(&name, &["terminal:owner".to_owned()]), None);
    }
}
