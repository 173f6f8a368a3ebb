//! `ringup alarm`: listed, acknowledged.

use std::process::ExitCode;

use api::ClearAlarm;
use clap::{Args, Subcommand};
use hyper::Method;
use model::alarm::AlarmKind;
use serde_json::json;

use super::{List, OperatorSocket, Wanted, plain};

/// Alarms: what an operator must look at.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup alarm list                                 the active ones
  ringup alarm list --cleared                       the cleared ones, too, newest first
  ringup alarm clear message-left-out 'ID for owner'

Most alarms clear themselves when the cause is gone. Acknowledge the others by `alarm clear`: docs/guides/operating.md
lists the kinds.")]
pub(crate) struct AlarmVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: AlarmVerb,
}

#[derive(Debug, Subcommand)]
enum AlarmVerb {
    /// List the active alarms, oldest first
    List {
        /// Show cleared alarms, too, newest first
        #[arg(long)]
        cleared: bool,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Acknowledge an alarm and clear it; it is raised again when its cause comes again
    Clear {
        /// Its kind
        kind: AlarmKind,
        /// What it is about, as `alarm list` shows it
        subject: String,
    },
}

const ACTIVE: List<'_> = List {
    entry: |row| {
        ["raised_at", "kind", "subject"]
            .map(|key| plain(&row[key]))
            .join("/")
    },
    columns: &[
        ("RAISED", "raised_at"),
        ("KIND", "kind"),
        ("SUBJECT", "subject"),
        ("DETAIL", "detail"),
    ],
    when_empty: "no active alarms",
    words: |_| {},
};

const ALL: List<'_> = List {
    columns: &[
        ("RAISED", "raised_at"),
        ("CLEARED", "cleared_at"),
        ("KIND", "kind"),
        ("SUBJECT", "subject"),
        ("DETAIL", "detail"),
    ],
    when_empty: "no alarms so far",
    ..ACTIVE
};

impl AlarmVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.operator;
        match self.verb {
            AlarmVerb::List {
                cleared: true,
                wanted,
            } => operator.show_pages("/alarms?cleared=true", &wanted, &ALL),
            AlarmVerb::List {
                cleared: false,
                wanted,
            } => operator.show_pages("/alarms", &wanted, &ACTIVE),
            AlarmVerb::Clear { kind, subject } => {
                let body = ClearAlarm {
                    kind: kind.as_str().to_owned(),
                    subject: subject.clone(),
                };
                operator.tell(Method::POST, "/alarms/clear", &body)?;
                let done = json!({ "kind": kind.as_str(), "subject": subject, "cleared": true });
                operator.report(
                    &done,
                    format_args!(
                        "{kind} of {subject} is cleared (see: ringup alarm list --cleared)"
                    ),
                );
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
