//! One Hayes modem: commands from the DTE and results to it. It knows nothing of other stations; what it wants of the
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
//!  DTR off: Command from anywhere (&D2, &D3), OnlineCommand from Data (&D1), or nothing (&D0).
//! ```

use crate::{
    caller_id::CallerId,
    command::{CallerIdForm, Command, CommandBody, DialString, Reset, Switch},
    command_line::{CommandLine, Typed},
    config::RingPattern,
    escape::Escape,
    profile::Profile,
    settings::Flavour,
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
    pub(crate) flavour: Flavour,
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
    Data { escape: Escape, rates: Rates },
    OnlineCommand { rates: Rates },
}

/// The rates of a connection in bit/s, as this end sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) receive: u32,
    pub(crate) transmit: u32,
}

/// What the modem asks of the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Dial(DialString),
    Answer,
    HangUp,
    OffHook,
}

/// Result of a call, as reported to the DTE (V.250 §6.3, Hayes for the numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultCode {
    Ok,
    Connect(Rates),
    Ring(Option<RingPattern>),
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
    pub(crate) fn new(flavour: Flavour) -> Self {
        Self {
            profile: Profile::default(),
            flavour,
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
        match self
            .typed
            .type_octet(octet, self.profile.line_end(), self.profile.erase())
        {
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
            let command = match body.next_command(self.flavour) {
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
            Command::CarrierDetect(is_true) => self.profile.is_dcd_true = is_true,
            Command::DtrOff(action) => self.profile.dtr_off = action,
            Command::CallerId(form) => self.profile.caller_id = form,
            Command::ShowCallerId(prefix) => {
                let form = match self.profile.caller_id {
                    CallerIdForm::Off => 0,
                    CallerIdForm::Formatted => 1,
                    CallerIdForm::Unformatted => 2,
                };
                self.show(&format!("{prefix}{form}"));
            }
            Command::Switch(switch, on) => self.profile.switch(switch, on),
            Command::ShowSwitch(switch) => {
                let on = u8::from(self.profile.is_on(switch));
                // 3GPP 27.007 §7.6: the second says that the network offers it.
                let provisioned = if switch == Switch::Clip { ",1" } else { "" };
                self.show(&format!("{}: {on}{provisioned}", switch.name()));
            }
            Command::Keep(name, ref value) => self.profile.keep(name, value.clone()),
            Command::ShowKept(name) => self.show(&format!("{name}: {}", self.profile.kept(name))),
            Command::Show("") => {}
            Command::Show(text) => self.show(text),
            Command::ShowProfile => {
                for line in self.profile.shown() {
                    self.show(&line);
                }
            }
            Command::SetRegister(register, value) => {
                return self.profile.set_register(register, value);
            }
            Command::ShowRegister(register) => {
                let Some(value) = self.profile.register(register) else {
                    return false;
                };
                self.show(&format!("{value:03}"));
            }
            _ => {}
        }
        true
    }

    fn go_online(&mut self, now: Instant) {
        let Mode::OnlineCommand { rates } = self.mode else {
            return self.report(ResultCode::NoCarrier);
        };
        self.connect(rates, now);
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
    pub(crate) fn connect(&mut self, rates: Rates, now: Instant) {
        let Rates { receive, transmit } = rates;
        let reports = [
            (Switch::ModulationReport, "+MCR: V34".to_owned()),
            (
                Switch::ModulationReport,
                format!("+MRR: {transmit},{receive}"),
            ),
            (Switch::ErrorControlReport, "+ER: LAPM".to_owned()),
            (Switch::CompressionReport, "+DR: NONE".to_owned()),
        ];
        for (switch, text) in reports {
            if self.profile.is_on(switch) && !self.profile.quiet {
                self.show(&text);
            }
        }
        self.report(ResultCode::Connect(rates));
        self.mode = Mode::Data {
            escape: Escape::new(now),
            rates,
        };
    }

    /// Circuit 109 but for `&C0`: whether there is a carrier.
    pub(crate) fn has_carrier(&self) -> bool {
        matches!(self.mode, Mode::Data { .. } | Mode::OnlineCommand { .. })
    }

    /// A voice call has been answered or is being dialled: no carrier will come, commands go on.
    pub(crate) fn talk(&mut self) {
        self.mode = Mode::Command;
        self.report(ResultCode::Ok);
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

    /// The DTE has closed its port. The profile stays: the modem is still powered.
    pub(crate) fn lose_dte(&mut self) {
        self.typed.clear();
        self.body = None;
        self.to_dte.clear();
    }

    /// It rings; `call` is what a mobile telephone says of it.
    pub(crate) fn ring(&mut self, pattern: Option<RingPattern>, call: &str) {
        if self.is_congested() {
            return;
        }
        if self.flavour == Flavour::Gsm && self.profile.is_on(Switch::RingKind) {
            self.show(&format!("+CRING: {call}"));
        } else {
            self.report(ResultCode::Ring(pattern));
        }
    }

    /// The caller's number has come over the line.
    pub(crate) fn present_caller(&mut self, caller: &CallerId, is_tight: bool) {
        if self.is_congested() {
            return;
        }
        match self.profile.caller_id {
            _ if self.flavour == Flavour::Gsm => {
                if self.profile.is_on(Switch::Clip) {
                    self.show(&caller.clip());
                }
            }
            CallerIdForm::Off => {}
            CallerIdForm::Formatted => caller
                .formatted(is_tight)
                .iter()
                .for_each(|line| self.show(line)),
            CallerIdForm::Unformatted => self.show(&caller.unformatted()),
        }
    }

    /// Looks at data on its way to the line; returns when an escape will be complete if nothing follows.
    pub(crate) fn observe_data(&mut self, octets: &[u8], now: Instant) -> Option<Instant> {
        let (character, guard) = (self.profile.escape_character(), self.profile.escape_guard());
        let Mode::Data { escape, .. } = &mut self.mode else {
            return None;
        };
        escape.observe(octets, character?, guard, now)
    }

    /// The silence after the escape sequence was long enough.
    pub(crate) fn escape(&mut self) {
        let Mode::Data { rates, .. } = self.mode else {
            return;
        };
        self.mode = Mode::OnlineCommand { rates };
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

    /// Whether the queue to the DTE is too full to accept commands.
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
            ResultCode::NoDialtone if !self.profile.hears_dial_tone() => ResultCode::NoCarrier,
            other => other,
        };
        if !self.profile.verbose {
            let code = match result {
                ResultCode::Ok => 0,
                // Numbers above 35 for CONNECT with a rate differ from maker to maker; V.250 knows only this one.
                ResultCode::Connect(_) => 1,
                ResultCode::Ring(_) => 2,
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
            // What a V.250 modem shows is what it receives at; what it sends at is in `+MRR`.
            ResultCode::Connect(rates) => self.show(&format!("CONNECT {}", rates.receive)),
            ResultCode::Ring(None) => self.show("RING"),
            ResultCode::Ring(Some(pattern)) => self.show(&format!("RING {pattern:?}")),
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
