//! One Hayes modem: what the DTE types and what it is told. It knows nothing of other stations; what it wants of the
//! line it asks the switchboard for with a [`Request`].
//!
//! ```text
//!            ATD, ATA                     connect
//!  Command ───────────► Waiting ─────────────────────► Data
//!   ▲  ▲                   │ key, no carrier, busy       │ ▲
//!   │  └───────────────────┘                         +++ │ │ ATO
//!   │        ATH, carrier loss                           ▼ │
//!   ├──────────────────────────────────────────── OnlineCommand
//!   └─────────── carrier loss ─────────────────────── Data
//!  DTR off: Command, from anywhere.
//! ```

use crate::{
    command::{CallerIdDialect, Command, CommandBody, DialString, Reset},
    command_line::{CommandLine, Typed},
    escape::Escape,
    profile::Profile,
};
use std::time::{Duration, Instant};

/// V.250 §5.6.1: characters within this time after the command line do not abort it, so that a DTE may end its lines
/// with CR LF.
const ABORT_GRACE: Duration = Duration::from_millis(125);
/// Text held for a DTE that is not ready beyond which the modem takes no more commands and reports no more rings.
const HELD_OCTETS_MAX: usize = 1024;

#[derive(Debug)]
pub(crate) struct VirtualModem {
    pub(crate) profile: Profile,
    mode: Mode,
    typed: CommandLine,
    last_line: Vec<u8>,
    /// What is left of the line being carried out.
    body: Option<CommandBody>,
    /// What the DTE has not been given yet.
    to_dte: Vec<u8>,
    /// Received from the line while the DTE was typing commands.
    from_line: Vec<u8>,
}

#[derive(Debug)]
enum Mode {
    Command,
    Waiting { since: Instant },
    Data { escape: Escape, rate: u32 },
    OnlineCommand { rate: u32 },
}

/// What the modem asks of the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Dial(DialString),
    Answer,
    HangUp,
    OffHook,
}

/// What a call comes to, as the DTE is told (V.250 §6.3, Hayes for the numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultCode {
    Ok,
    Connect(u32),
    Ring,
    NoCarrier,
    Error,
    NoDialtone,
    Busy,
    NoAnswer,
}

/// How the modem takes the next octets from its DTE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// One by one, with [`VirtualModem::type_octet`].
    Commands,
    /// Each is a key press that may abort the call.
    Keys,
    /// All that are left go to the line.
    Data,
}

impl VirtualModem {
    pub(crate) fn new() -> Self {
        Self {
            profile: Profile::default(),
            mode: Mode::Command,
            typed: CommandLine::default(),
            last_line: Vec::new(),
            body: None,
            to_dte: Vec::new(),
            from_line: Vec::new(),
        }
    }

    pub(crate) fn intake(&self) -> Intake {
        match self.mode {
            Mode::Command | Mode::OnlineCommand { .. } => Intake::Commands,
            Mode::Waiting { .. } => Intake::Keys,
            Mode::Data { .. } => Intake::Data,
        }
    }

    /// Takes a character in command mode; after a complete line, [`VirtualModem::next_request`] carries it out.
    pub(crate) fn type_octet(&mut self, octet: u8) {
        if self.profile.echo {
            self.to_dte.push(octet);
        }
        match self.typed.type_octet(octet, self.profile.line_end(), self.profile.erase()) {
            Typed::Unfinished => {}
            Typed::Line(line) => {
                self.last_line.clone_from(&line);
                self.carry_out(line);
            }
            Typed::Again => self.carry_out(self.last_line.clone()),
            Typed::TooLong => self.report(ResultCode::Error),
        }
    }

    fn carry_out(&mut self, line: Vec<u8>) {
        self.body = Some(CommandBody::new(line));
    }

    /// Carries out the line just typed, up to the next command that is the switchboard's; call until `None`.
    pub(crate) fn next_request(&mut self, now: Instant) -> Option<Request> {
        let mut body = self.body.take()?;
        loop {
            let command = match body.next_command() {
                Ok(Some(command)) => command,
                Ok(None) => {
                    self.report(ResultCode::Ok);
                    return None;
                }
                Err(_) => {
                    self.report(ResultCode::Error);
                    return None;
                }
            };
            match command {
                Command::Dial(dial) => return Some(Request::Dial(dial)),
                Command::Answer => return Some(Request::Answer),
                Command::Online => {
                    self.go_online(now);
                    return None;
                }
                Command::HangUp => {
                    self.hang_up();
                    self.body = Some(body);
                    return Some(Request::HangUp);
                }
                Command::OffHook => {
                    self.body = Some(body);
                    return Some(Request::OffHook);
                }
                Command::Reset(reset) => {
                    self.profile = Profile::default();
                    if reset == Reset::Rest {
                        // V.250 §6.1.1: `Z` also hangs up, and the rest of its line is ignored.
                        self.hang_up();
                        self.body = Some(CommandBody::default());
                        return Some(Request::HangUp);
                    }
                }
                setting => {
                    if !self.set(&setting) {
                        self.report(ResultCode::Error);
                        return None;
                    }
                }
            }
        }
    }

    /// Returns whether the setting is one this modem has.
    fn set(&mut self, setting: &Command) -> bool {
        match *setting {
            Command::Echo(on) => self.profile.echo = on,
            Command::Quiet(on) => self.profile.quiet = on,
            Command::Verbose(on) => self.profile.verbose = on,
            Command::Progress(level) => self.profile.progress = level,
            Command::CallerId(on) => self.profile.caller_id = on,
            Command::ShowCallerId(dialect) => {
                let name = match dialect {
                    CallerIdDialect::Vcid => "+VCID: ",
                    CallerIdDialect::Cid => "",
                };
                self.show(&format!("{name}{}", u8::from(self.profile.caller_id)));
            }
            Command::SetRegister(register, value) => return self.profile.set_register(register, value),
            Command::ShowRegister(register) => {
                let Some(value) = self.profile.register(register) else { return false };
                self.show(&format!("{value:03}"));
            }
            Command::Identify => self.show("VIRTUAL MODEM"),
            _ => {}
        }
        true
    }

    fn go_online(&mut self, now: Instant) {
        let Mode::OnlineCommand { rate } = self.mode else { return self.report(ResultCode::NoCarrier) };
        self.connect(rate, now);
        self.to_dte.append(&mut self.from_line);
    }

    /// The line is being dialled or answered: from now on a key press aborts.
    pub(crate) fn wait(&mut self, now: Instant) {
        self.mode = Mode::Waiting { since: now };
    }

    /// Whether a key pressed at `now` aborts the call (V.250 §6.3.1).
    pub(crate) fn is_aborted_by_key(&self, now: Instant) -> bool {
        matches!(self.mode, Mode::Waiting { since } if now.saturating_duration_since(since) >= ABORT_GRACE)
    }

    /// The far modem has answered this one's carrier.
    pub(crate) fn connect(&mut self, rate: u32, now: Instant) {
        self.report(ResultCode::Connect(rate));
        self.mode = Mode::Data { escape: Escape::new(now), rate };
    }

    /// The call has come to nothing, or to its end.
    pub(crate) fn end(&mut self, result: ResultCode) {
        self.mode = Mode::Command;
        self.from_line.clear();
        self.report(result);
    }

    /// The modem hangs up by its own DTE's will; no result of its own.
    pub(crate) fn hang_up(&mut self) {
        self.mode = Mode::Command;
        self.from_line.clear();
    }

    /// The DTE is gone (DTR off, as with `&D2`). The profile stays: the modem is still powered.
    pub(crate) fn lose_dte(&mut self) {
        self.hang_up();
        self.typed.clear();
        self.body = None;
        self.to_dte.clear();
    }

    /// It rings.
    pub(crate) fn ring(&mut self) {
        if self.to_dte.len() < HELD_OCTETS_MAX {
            self.report(ResultCode::Ring);
        }
    }

    /// The caller's number has come over the line: `date` as MMDD, `time` as HHMM, `number` or `P`.
    pub(crate) fn present_caller(&mut self, date: &str, time: &str, number: &str) {
        if self.profile.caller_id && self.to_dte.len() < HELD_OCTETS_MAX {
            self.show(&format!("DATE = {date}"));
            self.show(&format!("TIME = {time}"));
            self.show(&format!("NMBR = {number}"));
        }
    }

    /// Looks at data on its way to the line; returns when an escape will be complete if nothing follows.
    pub(crate) fn observe_data(&mut self, octets: &[u8], now: Instant) -> Option<Instant> {
        let (character, guard) = (self.profile.escape_character(), self.profile.escape_guard());
        let Mode::Data { escape, .. } = &mut self.mode else { return None };
        escape.observe(octets, character?, guard, now)
    }

    /// The silence after the escape sequence was long enough.
    pub(crate) fn escape(&mut self) {
        let Mode::Data { rate, .. } = self.mode else { return };
        self.mode = Mode::OnlineCommand { rate };
        self.report(ResultCode::Ok);
    }

    /// Takes data from the line.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        match self.mode {
            Mode::Data { .. } => self.to_dte.extend_from_slice(octets),
            Mode::OnlineCommand { .. } => self.from_line.extend_from_slice(octets),
            Mode::Command | Mode::Waiting { .. } => {}
        }
    }

    /// Whether data from the line has to wait until the DTE is back online.
    pub(crate) fn is_holding_data(&self) -> bool {
        matches!(self.mode, Mode::OnlineCommand { .. })
    }

    /// Whether so much waits for the DTE that no more commands are taken.
    pub(crate) fn is_congested(&self) -> bool {
        self.to_dte.len() >= HELD_OCTETS_MAX
    }

    /// Takes what is there for the DTE.
    pub(crate) fn take_for_dte(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_dte)
    }

    /// Reports a result in the form that V, Q and X ask for.
    pub(crate) fn report(&mut self, result: ResultCode) {
        if self.profile.quiet {
            return;
        }
        let progress = self.profile.progress;
        // V.250 §6.3.7: what the modem does not listen for, or may not say, it reports in its older words.
        let result = match result {
            ResultCode::Busy if progress < 3 => ResultCode::NoCarrier,
            ResultCode::NoDialtone if progress != 2 && progress != 4 => ResultCode::NoCarrier,
            other => other,
        };
        if !self.profile.verbose {
            let code = match result {
                ResultCode::Ok => 0,
                // Numbers above 35 for CONNECT with a rate differ from maker to maker; V.250 knows only this one.
                ResultCode::Connect(_) => 1,
                ResultCode::Ring => 2,
                ResultCode::NoCarrier => 3,
                ResultCode::Error => 4,
                ResultCode::NoDialtone => 6,
                ResultCode::Busy => 7,
                ResultCode::NoAnswer => 8,
            };
            self.to_dte.extend_from_slice(format!("{code}").as_bytes());
            return self.to_dte.push(self.profile.line_end());
        }
        match result {
            ResultCode::Ok => self.show("OK"),
            ResultCode::Connect(_) if progress == 0 => self.show("CONNECT"),
            ResultCode::Connect(rate) => self.show(&format!("CONNECT {rate}")),
            ResultCode::Ring => self.show("RING"),
            ResultCode::NoCarrier => self.show("NO CARRIER"),
            ResultCode::Error => self.show("ERROR"),
            ResultCode::NoDialtone => self.show("NO DIALTONE"),
            ResultCode::Busy => self.show("BUSY"),
            ResultCode::NoAnswer => self.show("NO ANSWER"),
        }
    }

    /// One line of text, framed as V.250 §5.7.1 says.
    fn show(&mut self, text: &str) {
        let frame = [self.profile.line_end(), self.profile.response_format()];
        if self.profile.verbose {
            self.to_dte.extend_from_slice(&frame);
        }
        self.to_dte.extend_from_slice(text.as_bytes());
        self.to_dte.extend_from_slice(&frame);
    }
}
