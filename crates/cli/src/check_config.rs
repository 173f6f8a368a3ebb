//! `ringup check-config`, which starts nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::config;

/// Checks a config file and starts nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ringup check-config server examples/server.toml

Prints all faults of the file, each with its line and key. Exit codes: 0 the file is good; 2 it is not.")]
pub(crate) struct CheckConfig {
    /// Which program the config is for
    kind: ConfigKind,
    /// The file
    file: PathBuf,
    /// Print JSON: whether it is good, the faults with their keys, the warnings
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ConfigKind {
    #[cfg(feature = "serve")]
    Server,
    #[cfg(feature = "answer")]
    Terminal,
    #[cfg(feature = "exchange")]
    Exchange,
}

impl CheckConfig {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let warnings = match self.check() {
            Ok(warnings) => warnings,
            Err(error) if self.json => {
                println!("{}", error.json());
                return Ok(ExitCode::from(2));
            }
            Err(error) => return Err(error.into()),
        };
        if self.json {
            println!("{}", config::good_json(&self.file, &warnings));
            return Ok(ExitCode::SUCCESS);
        }
        warnings
            .iter()
            .for_each(|warning| eprintln!("warning: {warning}"));
        println!("{} is good", self.file.display());
        Ok(ExitCode::SUCCESS)
    }

    /// Reads the file; gives what is allowed, and likely not meant.
    fn check(&self) -> Result<Vec<String>, config::ConfigError> {
        Ok(match self.kind {
            #[cfg(feature = "serve")]
            ConfigKind::Server => {
                use config::server::Kind;
                let Kind::Information(config) = config::server::read_any(&self.file)? else {
                    return Ok(Vec::new());
                };
                let is_open = config
                    .submission_listen
                    .is_some_and(|at| !at.ip().is_loopback());
                let is_without_postmaster =
                    config.mail.is_some_and(|mail| mail.postmaster.is_none());
                let warnings = [
                    (
                        is_open,
                        "submission.listen is not a loopback address: tokens and contents cross the network in clear; see docs/guides/messages.md",
                    ),
                    (
                        config.number_only,
                        "stock.number_only: any machine that answers the number of a number-only terminal receives its messages",
                    ),
                    (
                        is_without_postmaster,
                        "mail.postmaster names no terminal: mail to postmaster is refused, which RFC 5321 does not allow",
                    ),
                ];
                warnings
                    .into_iter()
                    .filter(|(is_so, _)| *is_so)
                    .map(|(_, warning)| warning.to_owned())
                    .collect()
            }
            #[cfg(feature = "answer")]
            ConfigKind::Terminal => config::terminal::read(&self.file)?.remarks(),
            #[cfg(feature = "exchange")]
            ConfigKind::Exchange => {
                drop(config::exchange::read(&self.file)?);
                Vec::new()
            }
        })
    }
}
