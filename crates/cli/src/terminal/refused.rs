//! `ringup refused`: who rang in vain.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use client::refused::RefusedRings;
use serde_json::{Value, json};

use crate::config;
use crate::table::print_table;

/// Lists the last rings that this terminal did not answer, with their numbers.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ringup refused --config /etc/ringup/terminal.toml

To have a caller answered, add its number to callers of [terminal], as it is shown here. The last 32 rings are kept.")]
pub(crate) struct Refused {
    /// The terminal's config
    #[arg(long, value_name = "FILE", default_value_os_t = crate::config::default_path("terminal.toml"))]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Refused {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let machine = config::terminal::read(&self.config)?;
        let rings = RefusedRings::new(&machine.state).list();
        let rows: Vec<_> = rings
            .iter()
            .map(|ring| json!({ "at": ring.at, "caller": ring.caller, "reason": ring.reason }))
            .collect();
        if self.json {
            println!("{:#}", Value::Array(rows));
        } else if rows.is_empty() {
            eprintln!("no refused rings");
        } else {
            print_table(
                &[("AT", "at"), ("CALLER", "caller"), ("REASON", "reason")],
                &rows,
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}
