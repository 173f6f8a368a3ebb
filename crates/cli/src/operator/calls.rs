//! `ringup line` and `ringup call`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use line::CallId;
use serde_json::{Value, json};

use super::{List, OperatorSocket, Wanted, plain};

/// Lines: the server's modems.
#[derive(Debug, Args)]
pub(crate) struct LineVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: LineVerb,
}

#[derive(Debug, Subcommand)]
enum LineVerb {
    /// List all lines and what they are doing
    List,
}

impl LineVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let LineVerb::List = self.verb;
        let columns = [
            ("NAME", "name"),
            ("PORT", "port"),
            ("STATE", "state"),
            ("REFUSED", "rings_refused"),
            ("FAULT", "fault"),
        ];
        self.operator.list(
            "/lines",
            &columns,
            "no lines; add [[line]] to the server's config",
        )
    }
}

/// Calls, one record for each.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup call list
  ringup call list --all --json
  ringup call end ID             hangs up; it counts as no failure of the terminal")]
pub(crate) struct CallVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: CallVerb,
}

#[derive(Debug, Subcommand)]
enum CallVerb {
    /// List calls, newest first
    List(Wanted),
    /// Hang up a call in any state, or end a session over the Internet; undelivered messages stay due
    End {
        /// Its id
        id: CallId,
    },
}

const CALL_LIST: List<'_> = List {
    entry: |row| plain(&row["id"]),
    columns: &[
        ("ID", "id"),
        ("DIRECTION", "direction"),
        ("LINE", "line"),
        ("NUMBER", "number"),
        ("PARTY", "party"),
        ("CONNECTED", "connected_at"),
        ("ENDED", "ended_at"),
        ("OUT", "octets_out"),
        ("IN", "octets_in"),
        ("COST", "amount"),
        ("OUTCOME", "outcome"),
    ],
    when_empty: "no calls yet",
    words: |row| {
        let cost = &row["cost"];
        row["amount"] = match (&cost["reserved"], &cost["spent"]) {
            (Value::Null, _) => Value::Null,
            (reserved, Value::Null) => format!("at most {}", plain(reserved)).into(),
            (_, spent) => spent.clone(),
        };
    },
};

impl CallVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            CallVerb::List(wanted) => self.operator.show_pages("/calls", &wanted, &CALL_LIST),
            CallVerb::End { id } => {
                self.operator
                    .ask(Method::POST, &format!("/calls/{id}/end"), None)?;
                let done = json!({ "id": id.to_string(), "ended": true });
                self.operator.report(
                    &done,
                    format_args!(
                        "call {id} is hung up; its record follows (see: ringup call list)"
                    ),
                );
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
