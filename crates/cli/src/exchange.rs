//! `ringup exchange`: a telephone exchange in software, until it is ended.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Runtime;

use crate::config;
use crate::signals::until_signal;

/// For the whole program's help.
pub(crate) const EXAMPLES: &str = "
  ringup exchange --config exchange.toml         virtual modems that can call each other";

/// Runs a telephone exchange in software: virtual modems that can call each other. A simulation, for trying and testing.
#[derive(Debug, Args)]
#[command(after_help = r#"Example:
  ringup exchange --config examples/exchange.toml
  ringup exchange --control exchange.sock
  echo '{"do":"set","station":"301","settings":{"busy":true}}' | socat - UNIX-CONNECT:exchange.sock

The modem of each station is a pseudo-terminal at the path its config gives; any program that knows modems can use it."#)]
pub(crate) struct Exchange {
    /// The exchange's config
    #[arg(long, value_name = "FILE", default_value = "exchange.toml")]
    config: PathBuf,
    /// Opens a control socket here: JSON lines to change stations, cut lines, list calls and follow records
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

impl Exchange {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut config = config::exchange::read(&self.config)?;
        if let Some(path) = self.control {
            config = config.with_control(path);
        }
        Runtime::new()?.block_on(async {
            ::exchange::run(config, until_signal()?).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
