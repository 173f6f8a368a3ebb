//! The programs that run until they are ended: `serve`, `exchange`; and `check-config`, which starts nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use link::Capture;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::config::server::Kind;

/// Runs a server: directory, store, dispatch, and its lines; or, with a section dialup in the config, lines alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup serve --config examples/server.toml
  ringup serve --config examples/dialup.toml     lines for a server elsewhere
  RINGUP_LOG=debug ringup serve --config server.toml
  ringup serve --config server.toml --capture links.pcap

Ends on SIGINT or SIGTERM: calls in progress are hung up, what was not delivered stays due.")]
pub(crate) struct Serve {
    /// The server's config
    #[arg(long, value_name = "FILE", default_value = "server.toml")]
    config: PathBuf,
    /// Record what crosses all links in a new file, for Wireshark and tcpdump: content, tokens and PAP passwords, too. A
    /// file that is there already is refused
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let config = config::server::read_any(&self.config)?;
        let capture = self.capture.as_deref().map(Capture::create).transpose()?;
        Runtime::new()?.block_on(async {
            match config {
                Kind::Information(mut config) => {
                    config.capture = capture;
                    if config.lines.is_empty() && config.dialup_servers.is_empty() {
                        tracing::warn!("no [[line]] and no [[dialup_server]]: nobody can be called");
                    }
                    server::serve(*config, until_signal()?).await?;
                }
                Kind::Dialup(mut config) => {
                    config.capture = capture;
                    server::serve_dialup(*config, until_signal()?).await?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

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
            exchange::run(config, until_signal()?).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

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
    Server,
    Terminal,
    Exchange,
}

impl CheckConfig {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.kind {
            ConfigKind::Server => {
                if matches!(config::server::read_any(&self.file)?, Kind::Information(config) if config.number_only) {
                    eprintln!(
                        "warning: stock.number_only: whoever answers the number of a terminal with trust number-only is given what is for it"
                    );
                }
            }
            ConfigKind::Terminal => drop(config::terminal::read(&self.file)?),
            ConfigKind::Exchange => drop(config::exchange::read(&self.file)?),
        }
        println!("{} is good", self.file.display());
        Ok(ExitCode::SUCCESS)
    }
}

/// A token that is cancelled by SIGINT, SIGTERM, or the end of the terminal it was started from.
pub(crate) fn until_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let cancelled = token.clone();
    // Lives as long as the runtime, which ends with the program.
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(token)
}
