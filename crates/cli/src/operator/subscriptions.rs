//! `ringup subscription`: the topics that terminals subscribe to.

use std::process::ExitCode;

use api::{NewSubscription, OldSubscription};
use clap::{Args, Subcommand};
use hyper::Method;
use model::directory::Name;
use serde_json::json;

use super::{ByName, List, OperatorSocket, Wanted, plain};
use crate::size::size;

/// Subscriptions: the topics that terminals subscribe to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup subscription add owner 'news/#'
  ringup subscription add owner 'news/#' --urgency normal --max-size 50k --hours 06:00-22:00
  ringup subscription list
  ringup subscription list owner
  ringup subscription remove owner 'news/#'
  ringup send --token-file token --to topic:news/weather today.txt      reaches all subscribers")]
pub(crate) struct SubscriptionVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: SubscriptionVerb,
}

#[derive(Debug, Subcommand)]
enum SubscriptionVerb {
    /// Subscribe a terminal to topics; the same filter again changes the conditions
    Add {
        /// The terminal's name
        terminal: Name,
        /// Which topics: + is a whole level, # all that follow (MQTT)
        filter: String,
        /// The least urgent messages that cause a call; others are sent on the next call
        #[arg(long, value_name = "URGENCY", default_value = "bulk", value_parser = ["urgent", "normal", "bulk"])]
        urgency: String,
        /// The largest message that causes a call, such as 50k; larger ones are sent on the next call
        #[arg(long, value_name = "SIZE", value_parser = size)]
        max_size: Option<u64>,
        /// When they cause a call, such as '06:00-22:00' or 'mon-fri 08:00-18:00, sat 09:00-12:00' [default: always]
        #[arg(
            long,
            value_name = "HOURS",
            default_value = "",
            hide_default_value = true
        )]
        hours: String,
    },
    /// Cancel a subscription; messages that wait already are still delivered
    Remove {
        /// The terminal's name
        terminal: Name,
        /// The filter, as `subscription list` shows it
        filter: String,
    },
    /// List subscriptions, by terminal and filter
    List {
        /// Only those of this terminal
        terminal: Option<Name>,
        #[command(flatten)]
        part: ByName,
    },
}

const SUBSCRIPTION_LIST: List<'_> = List {
    entry: |row| format!("{}:{}", plain(&row["terminal"]), plain(&row["filter"])),
    columns: &[
        ("TERMINAL", "terminal"),
        ("FILTER", "filter"),
        ("CALLED FOR", "urgency"),
        ("UP TO", "size_max"),
        ("HOURS", "hours"),
        ("BY", "by"),
        ("SINCE", "at"),
    ],
    when_empty: "no subscriptions; add one: ringup subscription add TERMINAL FILTER",
    words: |_| {},
};

impl SubscriptionVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let path = |terminal: &Name| format!("/terminals/{terminal}/subscriptions");
        match self.verb {
            SubscriptionVerb::Add {
                terminal,
                filter,
                urgency,
                max_size,
                hours,
            } => {
                let body = NewSubscription {
                    filter: filter.clone(),
                    urgency: Some(urgency),
                    size_max: max_size,
                    hours,
                };
                self.operator.tell(Method::PUT, &path(&terminal), &body)?;
                let done = json!({ "terminal": terminal.to_string(), "filter": filter, "subscribed": true });
                self.operator
                    .report(&done, format_args!("{terminal} subscribes to {filter}"));
            }
            SubscriptionVerb::Remove { terminal, filter } => {
                let body = OldSubscription {
                    filter: filter.clone(),
                };
                self.operator
                    .tell(Method::DELETE, &path(&terminal), &body)?;
                let done = json!({ "terminal": terminal.to_string(), "filter": filter, "subscribed": false });
                let says = format!(
                    "{terminal} does not subscribe to {filter} any more; waiting messages are still delivered"
                );
                self.operator.report(&done, says);
            }
            SubscriptionVerb::List {
                terminal: Some(terminal),
                ..
            } => {
                let when_empty = format!(
                    "{terminal} has no subscriptions; add one: ringup subscription add {terminal} 'news/#'"
                );
                return self.operator.list(
                    &path(&terminal),
                    SUBSCRIPTION_LIST.columns,
                    &when_empty,
                );
            }
            SubscriptionVerb::List {
                terminal: None,
                part:
                    ByName {
                        limit,
                        after,
                        all: _,
                    },
            } => {
                let wanted = Wanted::all_unless(limit, after);
                return self
                    .operator
                    .show_pages("/subscriptions", &wanted, &SUBSCRIPTION_LIST);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
