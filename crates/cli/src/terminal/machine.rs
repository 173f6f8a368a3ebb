//! What a machine at the end of a line runs: `wait`, `answer`, `dial-in`; and `send`, over a network.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::Args;
use client::answer::{AnswerExit, Heard, answer};
use client::budget::Budget;
use client::connector::{self, ReceiveConfig, dial_in};
use client::identity::Identity;
use client::outbox::{Outbox, OutboxEntry};
use client::sender;
use client::session::{LinkSettings, SILENCE_MAX, receive_online};
use client::starter::{self, StarterConfig};
use client::submission::{Accepted, Handling, Submission, submit};
use delivery::proof::{BUNDLE_OCTETS_MAX, Bundle};
use delivery::{ContentType, Outgoing, Reason, Said, Urgency};
use jiff::{SignedDuration, Timestamp};
use line::{Port, PortAddress};
use link::Capture;
use modem::{Command, Profile, Setup};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::config::{self, WrongArgument};
use crate::signals::outlive_file_limits;

/// Waits for calls on a modem and starts `ringup answer` when it rings.
///
/// `ringup-wait` is the same code as a small program of its own, for small machines.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ringup wait --line /dev/serial/by-id/usb-MODEM --config /etc/ringup/terminal.toml")]
pub(crate) struct Wait {
    /// The modem: a device, or tcp://HOST:PORT
    #[arg(long, value_name = "PORT")]
    line: PortAddress,
    /// The modem's profile: generic, usr, conexant, rockwell, multitech, gsm, isdn, iridium [default: as in the config]
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,
    /// An AT command for this modem, sent after the profile's; may be given more than once [default: as in the config]
    #[arg(long = "init", value_name = "COMMAND")]
    added: Vec<Command>,
    /// The terminal's config, handed to `ringup answer`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Socket by which `ringup outbox send` borrows the line (outbox.starter in the terminal's config)
    #[arg(long, value_name = "SOCKET")]
    lend: Option<PathBuf>,
}

impl Wait {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let program = std::env::current_exe().context("could not find this program's own file")?;
        let arguments = vec![
            OsString::from("answer"),
            OsString::from("--config"),
            self.config.into_os_string(),
        ];
        let is_said = self.profile.is_some() || !self.added.is_empty();
        let setup = is_said.then(|| Setup {
            profile: self.profile.unwrap_or_default(),
            added: self.added,
        });
        starter::run(&StarterConfig {
            port: self.line,
            setup,
            answer: (program, arguments),
            lend: self.lend,
        })
    }
}

/// Screens one ring, and answers it if the caller is registered. Run by the starter, with the line as standard input.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 the call was completed, or called back; 10 to 17 not answered: number not registered, withheld, not
presented, registered to be refused, out of hours, rings too often, not proved on earlier calls, no data call;
1 the call failed; 2 wrong arguments or configuration.")]
pub(crate) struct Answer {
    /// The terminal's config
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What the starter has read of this ring, in hex
    #[arg(long, value_name = "HEX", default_value = "")]
    heard: String,
    /// The modem has taken ATS12=5: it hangs up behind a short silence
    #[arg(long, hide = true)]
    short_guard: bool,
    /// Only check the config: exit 0 if calls can be answered by it, and print its modem settings
    #[arg(long)]
    check: bool,
    /// Record what crosses the link in a new file, for Wireshark and tcpdump: content and PAP passwords, too. A file
    /// that is there already is refused
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

impl Answer {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let machine = config::terminal::read(&self.config)?;
        if self.check {
            machine
                .terminal
                .context("the config has no [terminal]: this machine is not one that is called")?;
            print!("{}", starter::setup_to_lines(&machine.setup));
            return Ok(ExitCode::SUCCESS);
        }
        let mut terminal = machine
            .terminal
            .context("the config has no [terminal]: this machine is not one that is called")?;
        terminal.link.capture = self.capture.as_deref().map(Capture::create).transpose()?;
        let heard = starter::from_hex(&self.heard).context("--heard is not hex")?;
        let port = Port::from_stdin()
            .context("standard input must be the line that rings; `ringup wait` starts this")?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let heard = Heard {
            octets: &heard,
            has_short_guard: self.short_guard,
        };
        let end = runtime.block_on(async {
            outlive_file_limits()?;
            anyhow::Ok(answer(&terminal, port, heard).await?)
        })?;
        Ok(ExitCode::from(AnswerExit::code(end)))
    }
}

/// What is submitted, and for whom.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// Recipient: tel:NUMBER, ip:ADDRESS, terminal:NAME or topic:TOPIC; may be given more than once
    #[arg(long, value_name = "DESTINATION")]
    to: Vec<String>,
    /// The media type of the content
    #[arg(long, value_name = "TYPE", default_value = "application/octet-stream")]
    content_type: ContentType,
    /// Priority: urgent, normal or bulk
    #[arg(long, value_name = "WORD", default_value_t)]
    urgency: Urgency,
    /// Expiry: a time from now such as 90s or 2h, or an instant such as 2026-12-24T18:00:00Z
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<String>,
    /// Replace your waiting message with the same key, for the same terminal
    #[arg(long, value_name = "KEY")]
    replace: Option<String>,
    /// The data type it belongs to, such as news/weather
    #[arg(long)]
    topic: Option<String>,
    /// A submission that is repeated with the same key is accepted once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// The content; - is standard input
    file: Option<PathBuf>,
}

/// A time from now in seconds, or an instant, as the server takes them.
fn expiry(text: &str) -> Result<String, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant.to_string());
    }
    match text.parse::<SignedDuration>() {
        Ok(time) if time.as_secs() > 0 => Ok(time.as_secs().to_string()),
        _ => Err("give a time from now of at least a second, such as 90s or 2h, or one such as 2026-12-24T18:00:00Z"
            .to_owned()),
    }
}

/// Nothing is sent: it would be wrong again.
fn wrong<T>(why: impl Into<String>) -> anyhow::Result<T> {
    Err(WrongArgument(why.into()).into())
}

impl What {
    /// The content, if there is one.
    fn content(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(file) = &self.file else {
            return if self.to.is_empty() {
                Ok(None)
            } else {
                wrong("--to is given, but no file to send there")
            };
        };
        if self.to.is_empty() {
            return wrong("no recipient: name one, such as --to tel:301");
        }
        if file.as_os_str() != "-" {
            let read = std::fs::read(file).map(Some);
            return read
                .or_else(|error| wrong(format!("could not read {}: {error}", file.display())));
        }
        let mut content = Vec::new();
        io::stdin().lock().read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// What goes into the outbox, if there is anything.
    pub(crate) fn outgoing(self) -> anyhow::Result<Option<(Said, Vec<u8>)>> {
        let Some(content) = self.content()? else {
            return Ok(None);
        };
        if self.idempotency_key.is_some() {
            bail!("an item in the outbox is taken once in any case: leave out --idempotency-key");
        }
        let expires_at = self.expires.map(|text| match text.parse::<i64>() {
            Ok(seconds) => Timestamp::now().checked_add(SignedDuration::from_secs(seconds)),
            Err(_) => text.parse(),
        });
        let outgoing = Outgoing {
            to: self.to,
            content_type: self.content_type,
            urgency: self.urgency,
            expires_at: expires_at
                .transpose()
                .context("--expires is too far away")?,
            topic: self
                .topic
                .map(|topic| topic.parse())
                .transpose()
                .context("--topic is no topic")?,
            replace_key: self.replace,
        };
        Ok(Some((Said::Message(outgoing), content)))
    }

    /// The submission, if there is one.
    fn read(self, token_file: Option<&Path>) -> anyhow::Result<Option<Submission>> {
        let Some(content) = self.content()? else {
            return Ok(None);
        };
        let Some(token_file) = token_file else {
            return wrong("a token is needed to submit; `ringup provider add` prints one");
        };
        let token = std::fs::read_to_string(token_file).or_else(|error| {
            wrong(format!(
                "could not read the token in {}: {error}",
                token_file.display()
            ))
        })?;
        Ok(Some(Submission {
            token: token.trim().to_owned(),
            destinations: self.to,
            content_type: self.content_type,
            content: Bytes::from(content),
            handling: Handling {
                urgency: self.urgency,
                expires: self.expires,
                replace_key: self.replace,
                topic: self.topic,
                idempotency_key: self.idempotency_key,
            },
        }))
    }
}

/// The exit code for what is refused now and whenever it comes again: 1 would have scripts try for ever.
const REFUSED_FOR_GOOD: u8 = 3;

/// Submits a message to a server over the network, in clear: docs/guides/messages.md.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup send --token-file token --to tel:301 note.txt
  ringup send --token-file token --to tel:301 --replace level --expires 2h level.json
  mosquitto_sub -t alarm -C 1 | ringup send --token-file token --to terminal:owner -

Exit codes: 0 the message is on the server's disk; 1 outcome unknown, retry with the same --idempotency-key; 2 wrong
arguments; 3 the server refused it and would refuse it again, the message says why.")]
pub(crate) struct Send {
    /// The server's submission port
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7480",
        env = "RINGUP_SERVER"
    )]
    server: String,
    /// The file that holds the provider's token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    #[command(flatten)]
    what: What,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Send {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let server = host_and_port(&self.server)?;
        let Some(submission) = self.what.read(Some(&self.token_file))? else {
            return wrong("no file to send; - is standard input");
        };
        Runtime::new()?.block_on(async {
            let stream = TcpStream::connect(server).await;
            let stream = stream.with_context(|| {
                format!("no server answers at {server}; is `ringup serve` running?")
            })?;
            match submit(stream, server, submission).await {
                Ok(accepted) => print_accepted(&accepted, self.json)?,
                Err(error) if error.is_for_good() => {
                    eprintln!("ringup: {error}");
                    return Ok(ExitCode::from(REFUSED_FOR_GOOD));
                }
                Err(error) => return Err(error.into()),
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// `HOST:PORT` of what was given as a server; `http://` in front of it is taken, too.
fn host_and_port(server: &str) -> anyhow::Result<&str> {
    if server.starts_with("https://") {
        return wrong(
            "ringup send speaks no TLS yet: --server is HOST:PORT of the submission port, in clear; use a tunnel to reach it safely",
        );
    }
    let address = server
        .strip_prefix("http://")
        .unwrap_or(server)
        .trim_end_matches('/');
    match address.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() =>
        {
            Ok(address)
        }
        _ => wrong(format!(
            "--server {server:?} is not HOST:PORT, such as 127.0.0.1:7480"
        )),
    }
}

/// Calls the server: submits a file over the line, receives waiting messages, hangs up. The call costs money.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup dial-in --config vending-machine.toml --to ip:10.77.0.2 fault.json
  ringup dial-in --config terminal.toml                     receive waiting messages, and send the outbox

A [provider] submits with its token. A [terminal] without one submits from its outbox, on the session that its key proves.")]
pub(crate) struct DialIn {
    /// The machine's config
    #[arg(long, value_name = "FILE", default_value_os_t = crate::config::default_path("terminal.toml"))]
    config: PathBuf,
    #[command(flatten)]
    what: What,
    /// How long to stay connected when the queue is empty, such as 30s [default: as in the config]
    #[arg(long, value_name = "TIME")]
    linger: Option<SignedDuration>,
    /// Record what crosses the link in a new file, for Wireshark and tcpdump: content, tokens and PAP passwords, too. A
    /// file that is there already is refused
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl DialIn {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let machine = config::terminal::read(&self.config)?;
        // A terminal without a token says what it has to say on its own session, from its outbox.
        let (submissions, said) = match &machine.terminal {
            Some(_) if machine.token_file.is_none() => (None, self.what.outgoing()?),
            _ => (self.what.read(machine.token_file.as_deref())?, None),
        };
        let linger = self
            .linger
            .map(Duration::try_from)
            .transpose()
            .context("--linger cannot be negative")?;
        if linger.is_some_and(|linger| linger >= SILENCE_MAX) {
            bail!(
                "--linger must be less than {} s: a line on which nothing comes is then hung up",
                SILENCE_MAX.as_secs()
            );
        }
        let receive = machine.terminal.map(|terminal| ReceiveConfig {
            linger: linger.unwrap_or(terminal.linger),
            ..terminal.receive()
        });
        let outbox = Outbox::new(&machine.state);
        if submissions.is_none() && receive.is_none() {
            bail!(
                "nothing to do on this call: no file to submit, and the config has no [terminal] to receive for"
            );
        }
        let capture = self.capture.as_deref().map(Capture::create).transpose()?;
        let port = machine
            .port
            .context("the config has no line.port: name the modem there")?;
        let number = machine
            .server
            .context("the config has no server.number: name the number to call there")?;
        let said = said
            .map(|(said, content)| outbox.add(&said, &content))
            .transpose()?;
        let job = connector::DialIn {
            number,
            budget: Budget::new(&machine.state, machine.limits),
            link: LinkSettings {
                capture,
                ..machine.link
            },
            submissions: submissions.into_iter().collect(),
            receive,
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            outlive_file_limits()?;
            // A starter that holds the modem lends it.
            let _line = sender::borrow(machine.sender.starter.as_deref()).await?;
            anyhow::Ok(dial_in(&port, machine.setup, job).await?)
        });
        if let Some(id) = said {
            match (outbox.entry(id), &ended) {
                (None, _) if self.json => {
                    println!("{}", serde_json::json!({ "id": id.to_string() }));
                }
                (None, _) => println!("submitted as {id}"),
                (
                    Some(OutboxEntry {
                        note: Some(note), ..
                    }),
                    _,
                ) => {
                    bail!(
                        "the server did not take {id} ({}): {}; see: ringup outbox list",
                        note.status,
                        note.reason
                    )
                }
                (Some(_), Ok(_)) => {
                    bail!("the server did not ask for {id}; it is kept in the outbox")
                }
                (Some(_), Err(_)) => {
                    eprintln!("{id} stays in the outbox and is sent on the next call");
                }
            }
        }
        let accepted = ended?;
        if self.json && said.is_none() && accepted.is_empty() {
            println!("{}", serde_json::json!({ "completed": true }));
        }
        for accepted in accepted {
            print_accepted(&accepted, self.json)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes this machine a terminal of a server, with the bundle that the server's operator made for it.
///
/// The terminal makes its own key, which never leaves it. In the next session the bundle's one-time secret registers the key at
/// the server, and is void after that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup enrol owner.bundle --config /etc/ringup/terminal.toml
  sudo -u ringup ringup enrol - --config /etc/ringup/terminal.toml < owner.bundle

If the config does not exist, it is written with the callers that the bundle names.
To make a bundle, at the server: ringup terminal invite owner --caller 201 -o owner.bundle")]
pub(crate) struct Enrol {
    /// The bundle; - is standard input
    bundle: PathBuf,
    /// The terminal's config
    #[arg(long, value_name = "FILE", default_value_os_t = crate::config::default_path("terminal.toml"))]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Enrol {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let text = if self.bundle.as_os_str() == "-" {
            io::read_to_string(io::stdin().lock().take(BUNDLE_OCTETS_MAX as u64 + 1))
        } else {
            File::open(&self.bundle)
                .and_then(|file| io::read_to_string(file.take(BUNDLE_OCTETS_MAX as u64 + 1)))
        };
        let text = text.with_context(|| unread(&self.bundle))?;
        let bundle: Bundle = text
            .parse()
            .with_context(|| format!("{} cannot be used", self.bundle.display()))?;
        let is_new = !self.config.exists();
        if is_new {
            config::terminal::write_first(&self.config, &bundle)
                .with_context(|| format!("could not write {}", self.config.display()))?;
        }
        let machine = config::terminal::read(&self.config)?;
        if machine.terminal.is_none() {
            bail!(
                "{} has no [terminal]: this machine is not one that is called",
                self.config.display()
            );
        }
        let identity = Identity::enrol(&machine.state, &bundle, Timestamp::now())?;
        if self.json {
            println!(
                "{}",
                serde_json::json!({ "terminal": identity.id().to_string(), "key": identity.key().to_string() })
            );
        } else {
            let written = if is_new {
                format!("wrote {}; ", self.config.display())
            } else {
                String::new()
            };
            println!(
                "{written}enrolled as {} ({}), key {}",
                bundle.name,
                identity.id(),
                identity.key()
            );
            let bundle = if self.bundle.as_os_str() == "-" {
                "the bundle".into()
            } else {
                self.bundle.display().to_string()
            };
            println!(
                "the server registers the key in the next session; {bundle} is void after that"
            );
            machine
                .remarks()
                .iter()
                .for_each(|remark| eprintln!("warning: {remark}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Why a bundle was not read, and what to do where it is another user's, as with sudo.
fn unread(bundle: &Path) -> String {
    let reason = format!("could not read {}", bundle.display());
    match File::open(bundle) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            format!(
                "{reason}, which is another user's; give it on standard input: ringup enrol - < {}",
                bundle.display()
            )
        }
        _ => reason,
    }
}

/// Connects to the server over this machine's own Internet access and receives waiting messages. Places no call.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  ringup connect --config terminal.toml         with [server] address = \"ringup.example.com:7411\"")]
pub(crate) struct Connect {
    /// The terminal's config
    #[arg(long, value_name = "FILE", default_value_os_t = crate::config::default_path("terminal.toml"))]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Connect {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let machine = config::terminal::read(&self.config)?;
        let terminal = machine
            .terminal
            .context("the config has no [terminal]: this machine is not one that is called")?;
        let address = machine
            .server_address
            .context("the config has no server.address, which says where the server is")?;
        let receiving = terminal.receive().open()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            outlive_file_limits()?;
            anyhow::Ok(
                receive_online(&address, Reason::Online, receiving)
                    .await
                    .result?,
            )
        })?;
        if self.json {
            println!(
                "{}",
                serde_json::json!({ "server": address, "completed": true })
            );
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_accepted(accepted: &Accepted, json: bool) -> anyhow::Result<()> {
    let Accepted { id, envelopes } = accepted;
    if json {
        println!(
            "{}",
            serde_json::json!({ "id": id, "envelopes": envelopes })
        );
    } else {
        let terminals = if *envelopes == 1 {
            "terminal"
        } else {
            "terminals"
        };
        println!("accepted as {id} for {envelopes} {terminals} (see: ringup message explain {id})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port_and_what_else_people_write_is_taken_or_named() {
        assert_eq!(host_and_port("127.0.0.1:7480").unwrap(), "127.0.0.1:7480");
        assert_eq!(
            host_and_port("http://centre.example:7480/").unwrap(),
            "centre.example:7480"
        );
        assert_eq!(host_and_port("[::1]:7480").unwrap(), "[::1]:7480");
        for (text, says) in [
            ("https://centre.example", "no TLS"),
            ("centre.example", "HOST:PORT"),
            ("http://a/b:1", "HOST:PORT"),
        ] {
            let error = host_and_port(text).unwrap_err();
            assert!(
                error.is::<WrongArgument>() && error.to_string().contains(says),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn an_expiry_is_a_time_from_now_or_an_instant() {
        assert_eq!(expiry("2h"), Ok("7200".to_owned()));
        assert_eq!(
            expiry("2026-12-24T18:00:00+01:00"),
            Ok("2026-12-24T17:00:00Z".to_owned())
        );
        for text in ["", "0s", "-1h", "500ms", "7200", "tomorrow"] {
            assert!(expiry(text).is_err(), "{text:?}");
        }
    }
}
