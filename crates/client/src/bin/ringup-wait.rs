//! The terminal's resident starter, alone: no async runtime, no TLS, no HTTP, no config parser. `ringup wait` is the same
//! code inside the big binary.

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt as _};
use line::PortAddress;
use modem::{Setup, shown};
use ringup_client::starter::{StarterConfig, run};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

const HELP: &str = "\
Waits for calls on a modem and starts `ringup answer` when it rings.

  ringup-wait --line /dev/serial/by-id/usb-MODEM --config /etc/ringup/terminal.toml

Options:
  --line PORT       the modem: a device, or tcp://HOST:PORT
  --profile NAME    the modem's profile: generic, usr, conexant, rockwell, multitech, gsm, isdn, iridium
  --init COMMAND    an AT command for this modem, sent after the profile's; may be given more than once
                    Without both: [line] profile and init of the config
  --config FILE     the terminal's config, handed to `ringup answer`
  --answer PROGRAM  the program to start [default: ringup beside this program, else in PATH]
  --lend SOCKET     socket by which `ringup outbox send` borrows the line ([outbox] starter in the config)
  -h, --help        this text
  -V, --version     the version

It runs until it is ended. It answers no call by itself. /dev/serial/by-id names a modem by its serial number: /dev/ttyUSB0 may be
another one after a restart. Logs go to standard error, as JSON lines with RINGUP_LOG_FORMAT=json.
";

fn main() -> ExitCode {
    match configure() {
        Ok(Some(config)) => {
            let format = Format::from_environment();
            if tracing::subscriber::set_global_default(Log(format)).is_err() {
                unreachable!("nothing else sets a subscriber");
            }
            run(&config)
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringup-wait: {error}\nTry: ringup-wait --help");
            ExitCode::from(2)
        }
    }
}

/// Reads the command line. `None`: it only asked for a text, which is printed.
fn configure() -> Result<Option<StarterConfig>, lexopt::Error> {
    let (mut port, mut config, mut answer, mut lend) = (None, None, None, None);
    let mut setup: Option<Setup> = None;
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("line") => port = Some(parser.value()?.parse::<PortAddress>()?),
            Arg::Long("profile") => {
                setup.get_or_insert_default().profile = parser.value()?.parse()?;
            }
            Arg::Long("init") => setup
                .get_or_insert_default()
                .added
                .push(parser.value()?.parse()?),
            Arg::Long("config") => config = Some(PathBuf::from(parser.value()?)),
            Arg::Long("answer") => answer = Some(PathBuf::from(parser.value()?)),
            Arg::Long("lend") => lend = Some(PathBuf::from(parser.value()?)),
            Arg::Short('h') | Arg::Long("help") => {
                say(HELP);
                return Ok(None);
            }
            Arg::Short('V') | Arg::Long("version") => {
                say(concat!("ringup-wait ", env!("CARGO_PKG_VERSION"), "\n"));
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    let config = config
        .ok_or("--config is missing: the terminal's config, such as /etc/ringup/terminal.toml")?;
    let arguments = vec![
        OsString::from("answer"),
        OsString::from("--config"),
        config.into_os_string(),
    ];
    Ok(Some(StarterConfig {
        port: port
            .ok_or("--line is missing: the modem's device, such as /dev/serial/by-id/usb-MODEM")?,
        setup,
        answer: (answer.unwrap_or_else(beside_this_program), arguments),
        lend,
    }))
}

/// On standard output; a reader that has gone has had enough.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn beside_this_program() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .map(|program| program.with_file_name("ringup"));
    beside
        .filter(|program| program.exists())
        .unwrap_or_else(|| PathBuf::from("ringup"))
}

/// How a line of the log is written, as `ringup` has it.
#[derive(Clone, Copy)]
enum Format {
    Text,
    Json,
}

impl Format {
    fn from_environment() -> Self {
        let is_json = std::env::var("RINGUP_LOG_FORMAT").is_ok_and(|format| format == "json");
        if is_json { Self::Json } else { Self::Text }
    }
}

/// One line an event on standard error: enough for a program with a handful of events, and nothing to allocate at rest.
struct Log(Format);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let level = event.metadata().level();
        let text = match self.0 {
            Format::Text => {
                let mut line = TextLine(format!("{level} ringup-wait:"));
                event.record(&mut line);
                format!("{}\n", shown::line(&line.0))
            }
            Format::Json => {
                let now = jiff::Timestamp::now();
                let mut line = JsonLine(format!(
                    "{{\"timestamp\":\"{now:.6}\",\"level\":\"{level}\""
                ));
                event.record(&mut line);
                format!("{}}}\n", line.0)
            }
        };
        let _ = std::io::stderr().write_all(text.as_bytes()); // nowhere left to complain
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct TextLine(String);

impl Visit for TextLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &match field.name() {
            "message" => format!(" {value:?}"),
            name => format!(" {name}={value:?}"),
        };
    }
}

/// An object that is not closed yet.
struct JsonLine(String);

impl JsonLine {
    fn put(&mut self, field: &Field, value: impl fmt::Display) {
        self.0 += &format!(",\"{}\":{value}", field.name());
    }

    /// What is harmful in a line of text gets an escape that JSON has, too.
    fn put_text(&mut self, field: &Field, text: &str) {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        self.put(field, format_args!("\"{}\"", shown::line(&text)));
    }
}

impl Visit for JsonLine {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, &format!("{value:?}"));
    }
}
