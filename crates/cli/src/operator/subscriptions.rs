//! Subscriptions: the topics that terminals are registered for.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;
use server::directory::Name;

use super::Desk;
use crate::size::size;

/// Subscriptions: the topics that terminals are registered for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup subscription add owner 'news/#'
  ringup subscription add owner 'news/#' --urgency normal --max-size 50k --hours 06:00-22:00
  ringup subscription list owner
  ringup subscription remove owner 'news/#'
  ringup send --token-file token --to topic:news/weather today.txt      reaches all that are registered")]
pub(crate) struct SubscriptionVerbs {
    #[command(flatten)]
    desk: Desk,
    #[command(subcommand)]
    verb: SubscriptionVerb,
}

#[derive(Debug, Subcommand)]
enum SubscriptionVerb {
    /// Register a terminal for a topic; the same filter again changes the conditions
    Add {
        /// The terminal's name
        terminal: Name,
        /// Which topics: + is a whole level, # all that follow (MQTT)
        filter: String,
        /// The least urgent messages that it is called for; others ride on the next call
        #[arg(long, value_name = "URGENCY", default_value = "bulk", value_parser = ["urgent", "normal", "bulk"])]
        urgency: String,
        /// The largest message that it is called for, such as 50k; larger ones ride on the next call
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
        /// When it is called for them, such as '06:00-22:00' or 'mon-fri 08:00-18:00, sat 09:00-12:00' [default: always]
        #[arg(long, value_name = "HOURS", default_value = "", hide_default_value = true)]
        hours: String,
    },
    /// Take a terminal off a filter
    Remove {
        /// The terminal's name
        terminal: Name,
        /// The filter, as it was registered
        filter: String,
    },
    /// List what a terminal is registered for
    List {
        /// The terminal's name
        terminal: Name,
    },
}

impl SubscriptionVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let path = |terminal: &Name| format!("/terminals/{terminal}/subscriptions");
        match self.verb {
            SubscriptionVerb::Add { terminal, filter, urgency, max_size, hours } => {
                let body = json!({ "filter": filter, "urgency": urgency, "size_max": max_size, "hours": hours });
                self.desk.ask(Method::PUT, &path(&terminal), Some(&body))?;
                eprintln!("{terminal} is registered for {filter}");
            }
            SubscriptionVerb::Remove { terminal, filter } => {
                self.desk.ask(Method::DELETE, &path(&terminal), Some(&json!({ "filter": filter })))?;
                eprintln!("{terminal} is not registered for {filter} any more; what waits for it is delivered still");
            }
            SubscriptionVerb::List { terminal } => {
                let columns = [
                    ("FILTER", "filter"),
                    ("CALLED FOR", "urgency"),
                    ("UP TO", "size_max"),
                    ("HOURS", "hours"),
                    ("BY", "by"),
                    ("SINCE", "at"),
                ];
                let when_empty = format!("nothing; register it: ringup subscription add {terminal} 'news/#'");
                return self.desk.list(&path(&terminal), &columns, &when_empty);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
