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

  ringup-wait --line /dev/ttyUSB0 --config /etc/ringup/terminal.toml

Options:
  --line PORT       the modem: a device, or tcp://HOST:PORT
  --profile NAME    what the modem is: generic, usr, conexant, rockwell, multitech, gsm, isdn, iridium
  --init COMMAND    an AT command for this modem, behind the profile's; may be given more than once
                    Without both: [line] profile and init of the config
  --config FILE     the terminal's config, handed to `ringup answer`
  --answer PROGRAM  the program to start [default: ringup beside this program, else in PATH]
  --lend SOCKET     where `ringup outbox send` asks for the line ([outbox] starter in the terminal's config)
  -h, --help        this text
  -V, --version     the version

It runs until it is ended. It answers nothing by itself.
";

fn main() -> ExitCode {
    match configure() {
        Ok(Some(config)) => {
            if tracing::subscriber::set_global_default(PlainLog).is_err() {
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
            Arg::Long("profile") => setup.get_or_insert_default().profile = parser.value()?.parse()?,
            Arg::Long("init") => setup.get_or_insert_default().added.push(parser.value()?.parse()?),
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
    let config = config.ok_or("--config is missing: the terminal's config, such as /etc/ringup/terminal.toml")?;
    let arguments = vec![OsString::from("answer"), OsString::from("--config"), config.into_os_string()];
    Ok(Some(StarterConfig {
        port: port.ok_or("--line is missing: the modem's device, such as /dev/ttyUSB0")?,
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
    let beside = std::env::current_exe().ok().map(|program| program.with_file_name("ringup"));
    beside.filter(|program| program.exists()).unwrap_or_else(|| PathBuf::from("ringup"))
}

/// One line an event on standard error: enough for a program with a handful of events, and nothing to allocate at rest.
struct PlainLog;

impl Subscriber for PlainLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} ringup-wait:", event.metadata().level()));
        event.record(&mut line);
        let text = format!("{}\n", shown::line(&line.0));
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

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
    }
}
