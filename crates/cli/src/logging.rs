//! Logs: to standard error, as text for people or JSON for programs.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging as the environment says: `RINGUP_LOG` (default `info`), `RINGUP_LOG_FORMAT` (`text` or `json`).
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("RINGUP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if std::env::var("RINGUP_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
