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

All faults of the file are printed, each with its key. Exit code 0: the file is good; 2: it is not.")]
pub(crate) struct CheckConfig {
    /// Whose config it is
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
        warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        println!("{} is good", self.file.display());
        Ok(ExitCode::SUCCESS)
    }

    /// Reads the file; gives what is allowed, and likely not meant.
    fn check(&self) -> Result<Vec<String>, config::ConfigError> {
        Ok(match self.kind {
            #[cfg(feature = "serve")]
            ConfigKind::Server => {
                use config::server::Kind;
                let Kind::Information(config) = config::server::read_any(&self.file)? else { return Ok(Vec::new()) };
                let is_without_postmaster = config.mail.is_some_and(|mail| mail.postmaster.is_none());
                let warnings = [
                    (
                        config.number_only,
                        "stock.number_only: whoever answers the number of a terminal with trust number-only is given what is for it",
                    ),
                    (
                        is_without_postmaster,
                        "mail.postmaster names no terminal: mail to postmaster is refused, which RFC 5321 does not allow",
                    ),
                ];
                warnings.into_iter().filter(|(is_so, _)| *is_so).map(|(_, warning)| warning.to_owned()).collect()
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
