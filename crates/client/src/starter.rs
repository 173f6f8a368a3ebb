//! The resident starter: waits for a ring, starts the decision program, and hands it the open line.
//!
//! ```text
//!   Opening ──► Initialising ──► Waiting ──ring──► `answer` runs (line is its stdin) ──► DTR low ──► Opening
//!      ▲  port or modem fails: again soon, later     │ RING of a call just refused: ignored
//!      │  at most once a minute                       │
//!      └─────────────────────────────────────────────┘
//!                                    └──a program asks for the line──► closed until it is gone ──► DTR low ──► Opening
//! ```
//!
//! While it waits it sleeps in one `poll`, from which it wakes once in many minutes (the watchdog's half time, at least
//! 60 s) to ask the modem whether it is still there. It never answers: it does not even know the registered
//! numbers. Its own copy of the line is closed as soon as `answer` has one, so that the end of `answer`, whatever ends
//! it, hangs up.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use line::{DTR_LOW, Port, PortAddress, PortError, QUIET_AFTER, Woken};
use modem::{Dialogue, Event, Fault, Input, Output, RingKind, Setup};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::answer::AnswerExit;
use crate::service_manager::ServiceManager;

/// Between two attempts to get a port or modem to work: a USB modem that is plugged in again is there after two seconds or
/// so. Doubled up to a minute.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long the decision program may take to look at its config.
const CHECK_TIME: Duration = Duration::from_secs(30);
const CHECK_LOOKS: Duration = Duration::from_millis(20);

/// Octets read of what it says of the modem.
const CHECK_OCTETS_MAX: u64 = 4096;

/// Added to the decision program's arguments: it looks at its config, says what that says of the modem, and ends.
pub const CHECK: &str = "--check";

/// Octets heard since the ring began that are handed on: RING and a caller-ID block have about 80.
const HEARD_OCTETS_MAX: usize = 1024;

/// What the starter needs to know.
#[derive(Debug, Clone)]
pub struct StarterConfig {
    /// Where the modem is.
    pub port: PortAddress,
    /// What it is, and is told; `None`: as the decision program's config says.
    pub setup: Option<Setup>,
    /// The program that decides, and its arguments; `--heard HEX`, perhaps `--short-guard`, is added.
    pub answer: (PathBuf, Vec<OsString>),
    /// Where other programs of this machine ask for the line, to dial.
    pub lend: Option<PathBuf>,
}

/// What ends the waiting.
enum Sign {
    /// A call: what was heard of it, and whether the modem takes a short silence around the escape sequence.
    Ring(Vec<u8>, bool),
    /// A local program asks for the line, and has it until it disconnects.
    Borrower(UnixStream),
}

/// Why the starter went back to the beginning.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("the port failed")]
    Io(#[from] io::Error),
    #[error("the port was closed from the other side")]
    Closed,
    #[error(transparent)]
    Modem(Fault),
    #[error("the line cannot be lent")]
    Lend(#[source] io::Error),
    #[error("could not start {program}")]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Waits for calls for ever.
pub fn run(config: &StarterConfig) -> ! {
    let manager = ServiceManager::from_environment();
    let lender = config.lend.as_ref().and_then(|path| {
        let bound = bind_lender(path);
        bound
            .inspect_err(
                |error| tracing::error!(path = %path.display(), %error, "the line is not lent"),
            )
            .ok()
    });
    let checked = check(&config.answer);
    let setup = config.setup.clone().or(checked).unwrap_or_default();
    let mut starter = Starter {
        config,
        setup,
        manager,
        lender,
        pause: RETRY_PAUSE,
        refused_at: None,
        refused: 0,
    };
    loop {
        match starter.serve_one() {
            Ok(()) => sleep(DTR_LOW),
            Err(error) => {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                let again_in = starter.pause;
                tracing::error!(port = %config.port, %error, source, ?again_in, "line not usable");
                sleep(again_in);
                starter.pause = (2 * again_in).min(RETRY_PAUSE_MAX);
            }
        }
    }
}

/// A socket at `path`. One that is there already is left from before, as the line is ours alone; anything else stays.
fn bind_lender(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something that is no socket",
            ));
        }
        Err(_) => {} // none, or binding says why not
    }
    UnixListener::bind(path)
}

/// Has the decision program look at its config: a fault in it would have every call unanswered, and nothing would say so
/// before the first. Gives what the config says of the modem.
fn check((program, arguments): &(PathBuf, Vec<OsString>)) -> Option<Setup> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(CHECK)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let checked = command.spawn().and_then(|mut child| {
        let began = Instant::now();
        while child.try_wait()?.is_none() && began.elapsed() < CHECK_TIME {
            sleep(CHECK_LOOKS);
        }
        child.kill()?; // nothing, if it has ended
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(CHECK_OCTETS_MAX).read_to_string(&mut said)?;
        }
        Ok((child.wait()?, said))
    });
    match checked {
        Ok((status, said)) if status.success() => setup_from_lines(&said),
        Ok((status, _)) => {
            let program = program.display();
            tracing::error!(%program, code = status.code(), "calls will not be answered: the config is faulty, see above");
            None
        }
        Err(error) => {
            tracing::error!(program = %program.display(), %error, "calls will not be answered: no decision program");
            None
        }
    }
}

/// What [`CHECK`] has the decision program say: the profile, then each command of the operator's, a line each.
pub fn setup_to_lines(setup: &Setup) -> String {
    let added = setup
        .added
        .iter()
        .map(|command| format!("init {}\n", command.as_str()));
    format!("profile {}\n{}", setup.profile, added.collect::<String>())
}

/// Reads what [`setup_to_lines`] wrote. `None`: it is not that.
fn setup_from_lines(text: &str) -> Option<Setup> {
    let mut lines = text.lines();
    let profile = lines.next()?.strip_prefix("profile ")?.parse().ok()?;
    let added = lines
        .map(|line| line.strip_prefix("init ")?.parse().ok())
        .collect::<Option<_>>()?;
    Some(Setup { profile, added })
}

struct Starter<'a> {
    config: &'a StarterConfig,
    setup: Setup,
    manager: ServiceManager,
    lender: Option<UnixListener>,
    /// Before the next attempt, if this one fails.
    pause: Duration,
    /// When the call that was refused last rang last: until the line was quiet, RING alone is still that call.
    refused_at: Option<Instant>,
    refused: u64,
}

impl Starter<'_> {
    /// From a closed port to a closed port: one ring.
    fn serve_one(&mut self) -> Result<(), Interruption> {
        let port = Port::open(&self.config.port)?;
        let (heard, has_short_guard) = match self.wait(&port)? {
            Sign::Ring(heard, has_short_guard) => (heard, has_short_guard),
            Sign::Borrower(borrower) => return self.lend(port, borrower),
        };
        tracing::info!("ringing: starting the decision program");
        let exit = self.start(port, &heard, has_short_guard)?;
        let (outcome, refusal) = AnswerExit::read(exit.code());
        if refusal {
            self.refused += 1;
            self.refused_at = Some(Instant::now());
            tracing::warn!(
                reason = outcome.as_str(),
                refused = self.refused,
                "ring not answered"
            );
        } else {
            tracing::info!(
                outcome = outcome.as_str(),
                code = exit.code(),
                "waiting again"
            );
        }
        Ok(())
    }

    /// Initialises the modem and waits for the first sign of a call, or for a local program that wants to dial.
    fn wait(&mut self, port: &Port) -> Result<Sign, Interruption> {
        let mut is_ready = false;
        let mut dialogue = Dialogue::new(self.setup.clone(), port.signals(), Instant::now());
        let mut buffer = [0; 256];
        let mut heard = Vec::new();
        loop {
            let deadline = match dialogue.poll_output() {
                Output::Transmit(octets) => {
                    port.write_all(&octets)?;
                    continue;
                }
                Output::Event(Event::Fault(fault)) => return Err(Interruption::Modem(fault)),
                Output::Event(Event::Ready) => {
                    tracing::info!(port = %self.config.port, "waiting for calls");
                    is_ready = true;
                    self.pause = RETRY_PAUSE;
                    self.manager.ready();
                    self.manager.alive();
                    continue;
                }
                Output::Event(
                    Event::Connected { .. }
                    | Event::NoCall(_)
                    | Event::Rung
                    | Event::Ring(RingKind::SbdAlert),
                ) => continue,
                Output::Event(Event::Ring(_)) => {
                    if self.is_refused_call() {
                        heard.clear();
                        continue;
                    }
                    return Ok(Sign::Ring(heard, dialogue.has_short_guard()));
                }
                // The number is reported once per call, so this is not the call that was refused.
                Output::Event(Event::CallerIdBegins | Event::CallerId(_)) => {
                    return Ok(Sign::Ring(heard, dialogue.has_short_guard()));
                }
                Output::Event(Event::Healthy) => {
                    self.manager.alive();
                    continue;
                }
                Output::Timeout { at, .. } => at,
            };
            // Nothing of it was a sign of a call. What may be one is the line that has not ended.
            let ended = if dialogue.is_within_line() {
                let is_end = |octet: &u8| matches!(octet, b'\r' | b'\n');
                heard.iter().rposition(is_end).map_or(0, |end| end + 1)
            } else {
                heard.len()
            };
            heard.drain(..ended);
            let probe_at = deadline
                .is_none()
                .then(|| Instant::now() + self.manager.interval());
            // Not in the middle of a ring: that has the line.
            let lender = self
                .lender
                .as_ref()
                .filter(|_| is_ready && deadline.is_none());
            match port.read_or(&mut buffer, deadline.or(probe_at), lender.map(AsFd::as_fd))? {
                Woken::Octets(0) => return Err(Interruption::Closed),
                Woken::Beside => {
                    let accepted = lender
                        .map(UnixListener::accept)
                        .transpose()
                        .map_err(Interruption::Lend)?;
                    if let Some((borrower, _)) = accepted {
                        return Ok(Sign::Borrower(borrower));
                    }
                }
                Woken::Octets(count) => {
                    let octets = &buffer[..count];
                    if heard.len() + count > HEARD_OCTETS_MAX {
                        heard.clear();
                    }
                    heard.extend_from_slice(octets);
                    dialogue.handle(Input::Octets(octets), Instant::now());
                }
                Woken::Deadline if probe_at.is_some() => {
                    dialogue.handle(Input::Probe, Instant::now());
                }
                Woken::Deadline => dialogue.handle(Input::Deadline, Instant::now()),
            }
        }
    }

    /// Whether a RING belongs to the call that was refused last.
    fn is_refused_call(&mut self) -> bool {
        let now = Instant::now();
        let is_same = self
            .refused_at
            .is_some_and(|at| now.duration_since(at) < QUIET_AFTER);
        self.refused_at = is_same.then_some(now);
        is_same
    }

    /// Runs the decision program on the line, to its end.
    fn start(
        &self,
        port: Port,
        heard: &[u8],
        has_short_guard: bool,
    ) -> Result<ExitStatus, Interruption> {
        let (program, arguments) = &self.config.answer;
        let failed = |source| Interruption::Start {
            program: program.clone(),
            source,
        };
        // What locks the device stays here until the program has ended.
        let (fd, _lock) = port.into_fd();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg("--heard")
            .arg(to_hex(heard))
            .stdin(Stdio::from(fd));
        if has_short_guard {
            command.arg("--short-guard");
        }
        let mut child = command.spawn().map_err(failed)?;
        drop(command); // it holds our copy of the line; from here on the line is the child's alone
        self.watch_child(&child);
        child.wait().map_err(failed)
    }

    /// Gives the line away until the borrower is gone, however that comes.
    fn lend(&self, port: Port, mut borrower: UnixStream) -> Result<(), Interruption> {
        drop(port);
        sleep(DTR_LOW); // the modem must have seen that the port was closed before another opens it
        tracing::info!("line lent");
        if borrower.write_all(b"\n").is_ok() {
            self.watch(&borrower);
        }
        tracing::info!("line back, waiting again");
        Ok(())
    }

    /// Until the program has ended, says that we are there: a call may take longer than a watchdog's time.
    fn watch_child(&self, child: &Child) {
        let pidfd = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let Some(Ok(pidfd)) = pidfd.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            return;
        };
        // It is readable when the program has ended (pidfd_open(2)).
        self.watch(&pidfd);
    }

    /// Says that we are there until there is something to read.
    fn watch(&self, other: &impl AsFd) {
        let interval = Timespec::try_from(self.manager.interval()).ok();
        while let Ok(0) | Err(Errno::INTR) =
            poll(&mut [PollFd::new(other, PollFlags::IN)], interval.as_ref())
        {
            self.manager.alive();
        }
    }
}

/// What `--heard` takes.
pub fn to_hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}"); // writing to a String cannot fail
        text
    })
}

/// Reads what [`to_hex`] wrote. `None`: it is not that.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_is_taken_for_one_that_is_left_from_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lend");
        drop(bind_lender(&path).unwrap());
        drop(bind_lender(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(bind_lender(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(bind_lender(&link).is_err() && link.is_symlink());
    }

    #[test]
    fn what_the_config_says_of_the_modem_survives_the_way_to_the_starter() {
        let setup = Setup {
            profile: "gsm".parse().unwrap(),
            added: vec!["ATS153=6".parse().unwrap()],
        };
        assert_eq!(setup_from_lines(&setup_to_lines(&setup)), Some(setup));
        assert_eq!(
            setup_from_lines(&setup_to_lines(&Setup::default())),
            Some(Setup::default())
        );
        for text in [
            "",
            "anything",
            "profile x\n",
            "profile gsm\ninit ATD112\n",
            "profile gsm\nmore\n",
        ] {
            assert_eq!(setup_from_lines(text), None, "{text}");
        }
    }

    #[test]
    fn what_was_heard_survives_the_command_line() {
        let heard = b"\r\nRING\r\n\x00\xff";
        assert_eq!(from_hex(&to_hex(heard)).unwrap(), heard);
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("zz"), None);
    }
}
