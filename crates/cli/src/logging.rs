//! Logs: to standard error, as text for people or JSON for programs.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging as the environment says: `RINGUP_LOG` (default `info`), `RINGUP_LOG_FORMAT` (`text` or `json`).
pub(crate) fn start() {
    let asked = std::env::var("RINGUP_LOG").ok().filter(|asked| !asked.is_empty());
    let parsed = asked.as_deref().map(str::parse::<Targets>);
    let is_understood = !matches!(parsed, Some(Err(_)));
    let targets = parsed.and_then(Result::ok).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(targets);
    if std::env::var("RINGUP_LOG_FORMAT").is_ok_and(|format| format == "json") {
        registry.with(lines.json().flatten_event(true)).init();
    } else {
        registry.with(lines.with_ansi(std::io::stderr().is_terminal())).init();
    }
    if !is_understood {
        tracing::warn!("RINGUP_LOG is not understood, and info is logged: say debug, or ringup_link=trace,info");
    }
}
