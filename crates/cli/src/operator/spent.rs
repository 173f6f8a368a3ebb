//! `ringup spent`: what calls have cost.

use std::process::ExitCode;

use anyhow::Context as _;
use api::Payer;
use clap::Args;
use hyper::Method;
use jiff::civil::Date;

use super::OperatorSocket;
use crate::table::print_table;

/// What calls have cost, by provider, terminal or line; what is not settled yet counts as what was reserved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup spent --by terminal                     today
  ringup spent --by provider --since 2026-11-01
  ringup spent --by line --since 2026-11-01 --json
What single calls cost: ringup call list")]
pub(crate) struct Spent {
    #[command(flatten)]
    operator: OperatorSocket,
    /// By whom: provider, terminal or line
    #[arg(long, value_name = "WHOM")]
    by: Payer,
    /// The first day that counts, as YEAR-MONTH-DAY [default: today, by the server's clock]
    #[arg(long, value_name = "DAY")]
    since: Option<Date>,
}

impl Spent {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            operator,
            by,
            since,
        } = self;
        let since = since
            .map(|since| format!("&since={since}"))
            .unwrap_or_default();
        let answer = operator.ask(
            Method::GET,
            &format!("/spent?by={}{since}", by.as_str()),
            None,
        )?;
        if operator.json {
            operator.print(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        let rows = answer["entries"].as_array().cloned().unwrap_or_default();
        let spent: api::Spent =
            serde_json::from_value(answer).context("the server did not answer with amounts")?;
        if rows.is_empty() {
            eprintln!("nothing spent since {}", spent.since);
            return Ok(ExitCode::SUCCESS);
        }
        print_table(
            &[
                (&by.as_str().to_uppercase(), "name"),
                ("CALLS", "calls"),
                ("AMOUNT", "amount"),
            ],
            &rows,
        );
        eprintln!("since {}: {} in all", spent.since, spent.amount);
        Ok(ExitCode::SUCCESS)
    }
}
