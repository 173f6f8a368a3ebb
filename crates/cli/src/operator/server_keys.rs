//! `ringup server-key`: the keys by which terminals know the server.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use api::Retirement;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::{OperatorSocket, confirm, text};
use crate::config::server::public_keys;

/// Server keys: prove the server to terminals; how they are replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup server-key rotate                       make a second key: terminals learn it in their next sessions
  ringup server-key list                         how many terminals know it
  ringup server-key retire                       when all know it: use the new key alone
  ringup server-key public --config dialup.toml  for the config of the information server
  ringup server-key public --pem > server.pem    for openssl, which checks a recording medium with it
  ringup server-key certificate > server.pem     for a terminal added with --trust certificate")]
pub(crate) struct ServerKeyVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: ServerKeyVerb,
}

#[derive(Debug, Subcommand)]
enum ServerKeyVerb {
    /// List the keys, and how many terminals know each
    List,
    /// Make a second key; the old one stays in use until `retire`
    Rotate,
    /// Stop using the old key; refused while an enrolled terminal does not know the new one
    Retire {
        /// Retire it nevertheless: terminals without the new key must be invited again
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print the public keys in a config's state folder, for the config of the server at the other end of a trunk; a server
    /// need not run
    Public {
        /// As SubjectPublicKeyInfo in PEM
        #[arg(long, conflicts_with = "json")]
        pem: bool,
    },
    /// Print the keys that are in use as self-signed X.509 certificates (PEM)
    Certificate,
}

impl ServerKeyVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.operator;
        match self.verb {
            ServerKeyVerb::List => {
                let columns = [
                    ("KEY", "key"),
                    ("STATE", "state"),
                    ("TOLD", "told"),
                    ("TERMINALS", "terminals"),
                ];
                return operator.list("/server-keys", &columns, "no keys");
            }
            ServerKeyVerb::Rotate => {
                let made = operator.ask(Method::POST, "/server-keys", None)?;
                operator.print(&made);
                if !operator.json {
                    eprintln!(
                        "terminals learn it in their next sessions (see: ringup server-key list)"
                    );
                }
            }
            ServerKeyVerb::Retire { force, yes } => {
                let question = if force {
                    "retire the old key, and lose the terminals that do not know the new one?"
                } else {
                    "retire the old key?"
                };
                if !yes && !confirm(question)? {
                    bail!("nothing was changed");
                }
                retire(&operator, force)?;
            }
            ServerKeyVerb::Public { pem: true } => {
                public_keys(&operator.config)?
                    .iter()
                    .for_each(|key| print!("{}", key.to_pem()));
            }
            ServerKeyVerb::Public { pem: false } => {
                let keys: Vec<_> = public_keys(&operator.config)?
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                if operator.json {
                    println!("{:#}", json!({ "keys": keys }));
                } else {
                    keys.iter().for_each(|key| println!("{key}"));
                }
            }
            ServerKeyVerb::Certificate => {
                let keys = operator.ask(Method::GET, "/server-keys", None)?;
                let keys = keys
                    .as_array()
                    .context("the server did not answer with a list")?;
                let pems: Vec<_> = keys
                    .iter()
                    .filter_map(|key| key["certificate"].as_str())
                    .collect();
                if operator.json {
                    println!("{:#}", json!({ "certificates": pems }));
                } else {
                    pems.iter().for_each(|pem| print!("{pem}"));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn retire(operator: &OperatorSocket, force: bool) -> anyhow::Result<()> {
    let retired = operator.tell(Method::POST, "/server-keys/retire", &Retirement { force })?;
    operator.print(&retired);
    if operator.json {
        return Ok(());
    }
    eprintln!("bundles that were made before the new key are void: invite those terminals again");
    let lost = text(&retired["lost"]);
    if !lost.is_empty() {
        eprintln!("terminals that do not know the new key, to be invited again: {lost}");
    }
    Ok(())
}
