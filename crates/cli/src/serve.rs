//! `ringup serve`: a server, until it is ended.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use link::Capture;
use tokio::runtime::Runtime;

use crate::config;
use crate::config::server::Kind;
use crate::signals::until_ended;

/// Runs a server: directory, store, dispatch, and its lines; or, with a section dialup in the config, lines alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup serve --config examples/server.toml
  ringup serve --config examples/dialup.toml     lines for a server elsewhere
  RINGUP_LOG=debug ringup serve --config server.toml
  ringup serve --config server.toml --capture links.pcap

Ends on SIGINT or SIGTERM: calls in progress are hung up, what was not delivered stays due. SIGHUP changes nothing: the config is
read at the start.")]
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
                        tracing::warn!(
                            "no [[line]] and no [[dialup_server]]: no terminal can be called"
                        );
                    }
                    server::serve(*config, until_ended()?).await?;
                }
                Kind::Dialup(mut config) => {
                    config.capture = capture;
                    server::serve_dialup(*config, until_ended()?).await?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
