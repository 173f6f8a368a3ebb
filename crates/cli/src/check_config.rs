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
        match self.kind {
            #[cfg(feature = "serve")]
            ConfigKind::Server => {
                use config::server::Kind;
                if let Kind::Information(config) = config::server::read_any(&self.file)? {
                    if config.number_only {
                        eprintln!(
                            "warning: stock.number_only: whoever answers the number of a terminal with trust number-only is given what is for it"
                        );
                    }
                    if config.mail.is_some_and(|mail| mail.postmaster.is_none()) {
                        eprintln!(
                            "warning: mail.postmaster names no terminal: mail to postmaster is refused, which RFC 5321 does not allow"
                        );
                    }
                }
            }
            #[cfg(feature = "answer")]
            ConfigKind::Terminal => drop(config::terminal::read(&self.file)?),
            #[cfg(feature = "exchange")]
            ConfigKind::Exchange => drop(config::exchange::read(&self.file)?),
        }
        println!("{} is good", self.file.display());
        Ok(ExitCode::SUCCESS)
    }
}
