//! Logs: to standard error, as text for people or JSON for programs.
//!
//! What stands in a field may come from outside: it is escaped here, at the way out, and so is the way out's own rate
//! ([`rate`]).

mod rate;

use std::io::{self, IsTerminal as _};

use modem::shown;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts logging as the environment says: `RINGUP_LOG` (default `info`), `RINGUP_LOG_FORMAT` (`text` or `json`).
pub(crate) fn start() {
    let asked = std::env::var("RINGUP_LOG")
        .ok()
        .filter(|asked| !asked.is_empty());
    let parsed = asked.as_deref().map(str::parse::<Targets>);
    let is_understood = !matches!(parsed, Some(Err(_)));
    let targets = parsed
        .and_then(Result::ok)
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let registry = tracing_subscriber::registry()
        .with(targets)
        .with(rate::RateLimit::default());
    if std::env::var("RINGUP_LOG_FORMAT").is_ok_and(|format| format == "json") {
        registry
            .with(
                lines
                    .with_writer(|| JsonLine(io::stderr()))
                    .json()
                    .flatten_event(true),
            )
            .init();
    } else {
        let lines = lines
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal());
        registry.with(lines.fmt_fields(PlainFields)).init();
    }
    if !is_understood {
        tracing::warn!(
            "RINGUP_LOG is not understood, and info is logged: say debug, or ringup_link=trace,info"
        );
    }
}

/// Fields as the library writes them, without colours of their own, and escaped.
struct PlainFields;

impl<'writer> FormatFields<'writer> for PlainFields {
    fn format_fields<R: RecordFields>(
        &self,
        writer: Writer<'writer>,
        fields: R,
    ) -> std::fmt::Result {
        let mut escaping = shown::Line(writer);
        DefaultFields::new().format_fields(Writer::new(&mut escaping), fields)
    }
}

/// A line of JSON: the library escapes control characters, and leaves direction marks.
struct JsonLine<W>(W);

impl<W: io::Write> io::Write for JsonLine<W> {
    /// The library writes a line at once.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(octets) {
            Ok(text) => self.0.write_all(shown::lines(text).as_bytes())?,
            Err(_) => self.0.write_all(octets)?,
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    const FORGED: &str = "</rss>\n2026-11-30T17:00:00.000000Z  INFO message accepted message_id=FORGED\x1b[0m \u{202e}gpj \u{9b}2J";

    fn log_it() {
        let span = tracing::info_span!("call", party = %FORGED);
        let _inside = span.enter();
        tracing::warn!(error = %FORGED, text = FORGED, debug = ?FORGED, "{FORGED}");
    }

    #[test]
    fn a_text_from_outside_forges_no_line_and_speaks_no_terminal() {
        let [text, json] = [Written::default(), Written::default()];
        let (out, json_out) = (text.clone(), json.clone());
        let lines = tracing_subscriber::fmt::layer()
            .with_target(false)
            .with_ansi(false);
        let registry = tracing_subscriber::registry();
        tracing::subscriber::with_default(
            registry.with(
                lines
                    .with_writer(move || out.clone())
                    .fmt_fields(PlainFields),
            ),
            log_it,
        );
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
        let registry = tracing_subscriber::registry();
        tracing::subscriber::with_default(
            registry.with(lines.with_writer(move || JsonLine(json_out.clone()))),
            log_it,
        );
        for written in [text.text(), json.text()] {
            let line = written.strip_suffix('\n').unwrap();
            assert!(!line.contains(shown::is_harmful), "{line:?}");
            assert!(line.contains("\\u202egpj"), "{line}");
        }
        assert!(
            text.text().contains("error=</rss>\\n2026-11-30"),
            "{}",
            text.text()
        );
        let _: serde_json::Value = serde_json::from_str(&json.text()).unwrap();
    }
}
