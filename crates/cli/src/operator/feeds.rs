//! `ringup feed`: what is read of the Web.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::Desk;

/// Feeds: what is read of the Web (`[[feed]]` in the server's config).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup feed list
  ringup feed read https://example.org/feed.xml     now, whenever it would be read next; what came of it is in the log")]
pub(crate) struct FeedVerbs {
    #[command(flatten)]
    desk: Desk,
    #[command(subcommand)]
    verb: FeedVerb,
}

#[derive(Debug, Subcommand)]
enum FeedVerb {
    /// List the feeds, how often in a row each has failed, and when it is read next
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
                self.desk.list("/feeds", &columns, "no feeds; they are [[feed]] sections of the server's config")
            }
            FeedVerb::Read { url } => {
                self.desk.ask(Method::POST, "/feeds/read", Some(&json!({ "url": url })))?;
                if !self.desk.json {
                    eprintln!("{url} is being read (see: ringup feed list, ringup alarm list)");
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
