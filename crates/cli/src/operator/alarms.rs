//! `ringup alarm`: what an operator has to know of.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;
use server::alarms::AlarmKind;

use super::Desk;

/// Alarms: what needs somebody to look at.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup alarm list                                 those that stand
  ringup alarm list --all                           the last hundred, those that are over, too
  ringup alarm clear message-left-out 'ID for owner'

Most are cleared by themselves when the cause is gone; a message that was left out stands until you have seen to it.")]
pub(crate) struct AlarmVerbs {
    #[command(flatten)]
    desk: Desk,
    #[command(subcommand)]
    verb: AlarmVerb,
}

#[derive(Debug, Subcommand)]
enum AlarmVerb {
    /// List the alarms that stand
    List {
        /// The last hundred, those that are over, too, newest first
        #[arg(long)]
        all: bool,
    },
    /// Clear an alarm that you have seen to; it is raised again when its cause comes again
    Clear {
        /// Its kind
        kind: AlarmKind,
        /// What it is about, as `alarm list` shows it
        subject: String,
    },
}

const COLUMNS: &[(&str, &str)] = &[
    ("RAISED", "raised_at"),
    ("CLEARED", "cleared_at"),
    ("KIND", "kind"),
    ("SUBJECT", "subject"),
    ("DETAIL", "detail"),
];

impl AlarmVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let desk = self.desk;
        match self.verb {
            AlarmVerb::List { all: true } => desk.list("/alarms?all", COLUMNS, "no alarms so far"),
            AlarmVerb::List { all: false } => desk.list("/alarms", COLUMNS, "no alarm stands"),
            AlarmVerb::Clear { kind, subject } => {
                let body = json!({ "kind": kind.as_str(), "subject": subject });
                desk.ask(Method::POST, "/alarms/clear", Some(&body))?;
                if !desk.json {
                    eprintln!("{kind} of {subject} is cleared (see: ringup alarm list --all)");
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
