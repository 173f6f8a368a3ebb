//! `ringup provider`: who submits.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use hyper::Method;
use jiff::{Span, SpanRelativeTo};
use serde_json::{Value, json};
use server::directory::Name;

use super::{Desk, confirm, read_secret, text};
use crate::secret::close_stdout;

/// Providers: the machines and people that submit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup provider add vending-7 --number 401    prints a token, once
  ringup provider add gauge --may-send terminal:owner --may-send 'topic:level/#'
  ringup provider new-token vending-7           its token has leaked: it stops at once, and another is printed
  ringup provider new-token vending-7 --overlap 1h    both work for an hour
  ringup provider remove vending-7 --cancel     and what waits of it is cancelled
  ringup provider list")]
pub(crate) struct ProviderVerbs {
    #[command(flatten)]
    desk: Desk,
    #[command(subcommand)]
    verb: ProviderVerb,
}

#[derive(Debug, Subcommand)]
enum ProviderVerb {
    /// Add a provider; prints its token, which is not kept and cannot be shown again
    Add {
        /// Its name: a-z 0-9 - _ .
        name: Name,
        /// The number it dials in from
        #[arg(long)]
        number: Option<String>,
        /// Whom it may send to: *, tel: (all with a number), terminal:NAME, tel:NUMBER, ip:ADDRESS; and under which topics:
        /// topic:FILTER. May be given more than once [default: *]
        #[arg(long, value_name = "RIGHT")]
        may_send: Vec<String>,
        /// Where the verdicts of its messages are told: http:// or https://
        #[arg(long, value_name = "URL")]
        webhook: Option<String>,
        /// The webhook may be an address that only this machine or its network reaches
        #[arg(long, requires = "webhook")]
        webhook_allow_private: bool,
        /// It dials in with software that is not ours, such as pppd, and has to pass CHAP; its secret is shown once
        #[arg(long, requires = "number")]
        chap: bool,
        /// Holds the secret for CHAP [default: one is made]
        #[arg(long, value_name = "FILE", requires = "chap")]
        chap_secret_file: Option<PathBuf>,
    },
    /// Give a provider another token, and print it; the one it has stops at once, or after --overlap
    NewToken {
        /// Its name
        name: Name,
        /// How long the token it has works beside the new one
        #[arg(long, value_name = "TIME")]
        overlap: Option<Span>,
    },
    /// Remove a provider: its token stops at once, its number is free; what waits of it is delivered all the same
    Remove {
        /// Its name
        name: Name,
        /// Cancel what waits of it
        #[arg(long)]
        cancel: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List all providers
    List,
}

impl ProviderVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let desk = self.desk;
        match self.verb {
            ProviderVerb::Add { name, number, may_send, webhook, webhook_allow_private, chap, chap_secret_file } => {
                let chap_secret = chap_secret_file.as_deref().map(read_secret).transpose()?;
                let body = json!({
                    "name": name.to_string(),
                    "number": number,
                    "may_send": may_send,
                    "webhook": webhook,
                    "webhook_allow_private": webhook_allow_private,
                    "chap": chap,
                    "chap_secret": chap_secret,
                });
                let added = desk.ask(Method::POST, "/providers", Some(&body))?;
                let note = close_stdout();
                if desk.json {
                    desk.print(&added);
                } else {
                    println!("{}", text(&added["token"]));
                    eprintln!(
                        "this is {name}'s token; it is shown only now: put it into a file that only {name} can read"
                    );
                    if !added["chap_secret"].is_null() {
                        println!("{}", text(&added["chap_secret"]));
                        eprintln!("and this is its secret for CHAP; it is shown only now, too");
                    }
                    if !added["webhook_secret"].is_null() {
                        println!("{}", text(&added["webhook_secret"]));
                        eprintln!("and this is what its webhooks are signed with; it is shown only now, too");
                    }
                    note.iter().for_each(|note| eprintln!("{note}"));
                }
                Ok(ExitCode::SUCCESS)
            }
            ProviderVerb::NewToken { name, overlap } => new_token(&desk, &name, overlap),
            ProviderVerb::Remove { name, cancel, yes } => remove_provider(&desk, &name, cancel, yes),
            ProviderVerb::List => desk.list(
                "/providers",
                &[("NAME", "name"), ("NUMBER", "number"), ("MAY SEND TO", "may_send")],
                "no providers; add one: ringup provider add NAME",
            ),
        }
    }
}

fn new_token(desk: &Desk, name: &Name, overlap: Option<Span>) -> anyhow::Result<ExitCode> {
    let seconds = match overlap {
        Some(overlap) => overlap.to_duration(SpanRelativeTo::days_are_24_hours())?.as_secs(),
        None => 0,
    };
    anyhow::ensure!((0..=30 * 86_400).contains(&seconds), "--overlap must be from 1s to 30d");
    let body = json!({ "overlap_seconds": seconds });
    let renewed = desk.ask(Method::POST, &format!("/providers/{name}/token"), Some(&body))?;
    let note = close_stdout();
    if desk.json {
        desk.print(&renewed);
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", text(&renewed["token"]));
    let former = match &renewed["former_token_until"] {
        Value::Null => "the former one has stopped".to_owned(),
        until => format!("the former one stops at {}", text(until)),
    };
    eprintln!("this is {name}'s token from now on, shown once: store it where only {name} can read it; {former}");
    note.iter().for_each(|note| eprintln!("{note}"));
    Ok(ExitCode::SUCCESS)
}

fn remove_provider(desk: &Desk, name: &Name, cancel: bool, yes: bool) -> anyhow::Result<ExitCode> {
    let path = format!("/providers/{name}");
    if !yes {
        let waiting = text(&desk.ask(Method::DELETE, &format!("{path}?dry=true"), None)?["waiting"]);
        let and = if cancel { "cancel" } else { "still deliver" };
        if !confirm(&format!("remove {name}, and {and} its {waiting} waiting messages?"))? {
            bail!("nothing was removed");
        }
    }
    let removed = desk.ask(Method::DELETE, &format!("{path}?cancel={cancel}"), None)?;
    if desk.json {
        desk.print(&removed);
    } else if cancel {
        eprintln!("{name} is removed, its token has stopped; cancelled envelopes: {}", text(&removed["cancelled"]));
    } else {
        let waiting = text(&removed["waiting"]);
        eprintln!("{name} is removed, its token has stopped; its waiting messages are delivered still: {waiting}");
    }
    Ok(ExitCode::SUCCESS)
}
