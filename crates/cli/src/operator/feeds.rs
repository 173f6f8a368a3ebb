//! `ringup feed`: what is read of the Web.

use std::process::ExitCode;

use api::ReadFeed;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::OperatorSocket;

/// Feeds that the server reads from the Web (`[[feed]]` in its config).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup feed list
  ringup feed read https://example.org/feed.xml     reads it now; the result is in the log")]
pub(crate) struct FeedVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: FeedVerb,
}

#[derive(Debug, Subcommand)]
enum FeedVerb {
    /// List the feeds, with failures in a row and time of the next reading
    List,
    /// Read a feed now
    Read {
        /// Its URL, as in the config
        url: String,
    },
}

impl FeedVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            FeedVerb::List => {
                let columns = [
                    ("URL", "url"),
                    ("TOPIC", "topic"),
                    ("PROVIDER", "provider"),
                    ("FAILED", "failed"),
                    ("NEXT", "next_at"),
                ];
                self.operator.list(
                    "/feeds",
                    &columns,
                    "no feeds; they are [[feed]] sections of the server's config",
                )
            }
            FeedVerb::Read { url } => {
                let body = ReadFeed { url: url.clone() };
                self.operator.tell(Method::POST, "/feeds/read", &body)?;
                let says =
                    format!("{url} is being read (see: ringup feed list, ringup alarm list)");
                self.operator
                    .report(&json!({ "url": url, "reading": true }), says);
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
