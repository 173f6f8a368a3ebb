//! `ringup plan`: the dry run.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::{OperatorSocket, Wanted, counted, text};

/// Shows the planned calls: which terminal, when, on which line, at what price. Places no call.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup plan
  ringup plan --json
  ringup plan --limit 5000

AT is the earliest time, in UTC; without one the call waits for an event, such as a free line. PRICE is that of a call of
one minute at that time, in the tariff's currency.")]
pub(crate) struct Plan {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(flatten)]
    wanted: Wanted,
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

/// Entries that are asked for at once: the server decides no calls while it answers.
const PAGE_ENTRIES: u64 = 1000;

impl Plan {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            operator,
            wanted:
                Wanted {
                    limit,
                    mut after,
                    all,
                },
        } = self;
        let mut left = if all { u64::MAX } else { limit };
        let (mut entries, mut not_called, mut more) = (Vec::new(), Value::Null, 0);
        while left > 0 {
            let from = after
                .as_deref()
                .map(|after| format!("&after={after}"))
                .unwrap_or_default();
            let mut page = operator.ask(
                Method::GET,
                &format!("/plan?last={}{from}", left.min(PAGE_ENTRIES)),
                None,
            )?;
            let Value::Array(rows) = page["entries"].take() else {
                bail!("the server did not answer with a plan")
            };
            more = page["more"].as_u64().unwrap_or_default();
            not_called = page["not_called"].take();
            left = left.saturating_sub(rows.len() as u64);
            after = rows.last().map(|row| text(&row["terminal"])).or(after);
            let is_over = rows.is_empty() || more == 0;
            entries.extend(rows);
            if is_over {
                break;
            }
        }
        if operator.json {
            let after = after.filter(|_| more > 0);
            let plan = json!({ "entries": entries, "more": more, "after": after, "not_called": not_called });
            println!("{plan:#}");
            return Ok(ExitCode::SUCCESS);
        }
        operator.print_list(entries, COLUMNS, "no calls planned")?;
        if let Some(after) = after.filter(|_| more > 0) {
            eprintln!("there are {more} more: --after {after}, --limit N or --all");
        }
        for reason in not_called.as_array().into_iter().flatten() {
            let terminals = counted(&reason["terminals"], "terminal");
            let messages = counted(&reason["messages"], "waiting message");
            eprintln!(
                "not called: {terminals}, {}; {messages} (see: ringup terminal list)",
                text(&reason["why"])
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
