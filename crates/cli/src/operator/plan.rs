//! `ringup plan`: the dry run.

use std::process::ExitCode;

use clap::Args;

use super::Desk;

/// Shows who would be called when, on which line, at what price, as things stand. Calls nobody.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup plan
  ringup plan --json

AT is the earliest moment, in UTC; without one the terminal waits for something that has no time. PRICE is that of a call
of one minute at that moment, in the tariff's currency.")]
pub(crate) struct Plan {
    #[command(flatten)]
    desk: Desk,
}

const COLUMNS: &[(&str, &str)] = &[
    ("TERMINAL", "terminal"),
    ("MESSAGES", "messages"),
    ("URGENCY", "urgency"),
    ("AT", "at"),
    ("LINE", "line"),
    ("PRICE", "price"),
    ("FAILED", "failures"),
    ("WHY", "why"),
];

impl Plan {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        self.desk.list("/plan", COLUMNS, "nobody is to be called")
    }
}
