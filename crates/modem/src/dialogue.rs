//! The dialogue with one modem, from power-up to the octets of a call.
//!
//! ```text
//!   new ──► Initialising ──last step──► Ready ──Dial, RingOnly──► Dialling ──CONNECT──► Online
//!               │  RING, caller ID       │ │ │                      │
//!               │  are told, too         │ │ └──Answer──────► Answering ──CONNECT──► Online
//!               │                        │ │                      │
//!               │             Probe ◄────┘ ▼ RING, NMBR           ▼ BUSY, NO ANSWER, NO CARRIER ... / deadline
//!               │            OK │ silence  Event::Ring ...      Ready (Event::NoCall, Event::Rung)
//!               ▼ silence, ERROR▼
//!             Dead (Event::Fault)
//! ```
//!
//! Initialising: what does not answer the reset may have been told to be quiet, so `Q0` is said; what does not answer that
//! may be in a call that a program has left, so it is escaped from once; then it is dead. A call that is given up ends
//! with the modem's own word: one that says nothing even to that has not dialled.
//!
//! `Online` is the end: what follows the CONNECT line belongs to the call and is handed out with it. After a call the
//! port is closed and opened again (that is how the modem is hung up) and a new dialogue begins.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::caller_id::{CallerId, CallerIdField};
use crate::dial_string::DialString;
use crate::hang_up::{HangUp, HangUpStep};
use crate::profile::{Profile, Step};
use crate::reader::Reader;
use crate::result_code::{ResultCode, RingKind, line_rate};
use crate::setup::Setup;

/// How long a modem may take to answer a command.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// The same, after the last try: some take 7 s to reset.
const LAST_REPLY_TIMEOUT: Duration = Duration::from_secs(4);
/// The same, of one that has been seen to be slow, at most.
const SLOW_REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much later than the first the answer to a repeated command may come.
const REPLY_JITTER: Duration = Duration::from_millis(500);
/// How often an initialising command is said before the modem counts as dead.
const ATTEMPTS_MAX: u8 = 3;
/// How often a modem at rest is asked whether it is still there before it counts as dead.
const PROBES_MAX: u8 = 2;
/// How often a modem is told to end a call before it counts as dead.
const ABORTS_MAX: u8 = 2;

/// How long the lines of a message's text follow its header.
const BODY_TIME: Duration = Duration::from_secs(1);
/// Lines behind which a text follows that is not the modem's (TS 27.005 §3.4.1, §4).
const BODY_HEADERS: [&str; 5] = ["+CMT:", "+CDS:", "+CBM:", "+CMGR:", "+CMGL:"];

/// Said last, whatever the profile and the operator said before.
const SILENT: Step<'_> = Step { command: "ATS0=0", is_required: true };
/// Said where no wire hangs up: shortens the silence that the escape sequence needs.
const SHORT_GUARD: Step<'_> = Step { command: "ATS12=5", is_required: false };

/// One input of a [`Dialogue`].
#[derive(Debug)]
pub enum Input<'a> {
    /// Octets from the modem.
    Octets(&'a [u8]),
    /// The instant of the last [`Output::Timeout`] has come.
    Deadline,
    /// Dial, and give up after `timeout`. Only in `Ready`; elsewhere it fails at once with [`Failure::NotReady`].
    Dial {
        /// What is dialled.
        number: &'a DialString,
        /// From the command to CONNECT.
        timeout: Duration,
    },
    /// Let a number ring and hang up before anybody pays: the ring is the message. Only in `Ready`, as [`Input::Dial`].
    RingOnly {
        /// What is dialled.
        number: &'a DialString,
        /// From the command to hanging up.
        duration: Duration,
    },
    /// What [`Input::RingOnly`] was for has happened: stop ringing. Nothing where nothing rings.
    StopRinging,
    /// Answer the call that is ringing. Only in `Ready`, as [`Input::Dial`].
    Answer,
    /// Refuse the call that is ringing, where the line has a way to say so; else silence is the refusal.
    Refuse,
    /// Ask whether the modem is still there: [`Event::Healthy`] or [`Event::Fault`]. Nothing outside `Ready`.
    Probe,
}

/// What a [`Dialogue`] wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Octets for the modem.
    Transmit(Vec<u8>),
    /// Something happened.
    Event(Event),
    /// Nothing more now. Feed the next input, at the latest a [`Input::Deadline`] at `at`.
    Timeout {
        /// When to wake; `None`: only input wakes.
        at: Option<Instant>,
        /// What is waited for.
        what: Wake,
    },
}

/// Why a [`Dialogue`] will wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Nothing is due.
    Nothing,
    /// The modem owes an answer to a command.
    Reply,
    /// A call is being set up.
    CallProgress,
}

/// What tells a modem to hang up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// Wires: DTR.
    Wires,
    /// The end of the port: a program at the other side of a pseudo-terminal sees that.
    Closing,
    /// Nothing but octets for sure: what is behind a TCP connection may go on without it.
    OctetsOnly,
}

/// What a modem reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Initialised, on hook, able to dial and to answer.
    Ready,
    /// An incoming call rings (once an event for every RING).
    Ring(RingKind),
    /// A caller-ID block has begun: a call is coming even if no RING was heard yet.
    CallerIdBegins,
    /// The caller's number, or the word that there is none.
    CallerId(CallerId),
    /// The call is up.
    Connected {
        /// bit/s of the line, if the modem said it before CONNECT; else as CONNECT said it, which may be the port's.
        rate: Option<u32>,
        /// Octets of the call that came in the same read as the CONNECT line.
        octets: Vec<u8>,
    },
    /// The number has rung as long as it should, and nobody took the call.
    Rung,
    /// There is no call; the modem is ready again.
    NoCall(Failure),
    /// The modem is still there.
    Healthy,
    /// The modem is unusable until its port was closed and opened again.
    Fault(Fault),
}

/// How an attempt to dial or answer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The called side is in a call. Retry later.
    #[error("busy")]
    Busy,
    /// It rang and nobody answered.
    #[error("no answer")]
    NoAnswer,
    /// No such number, out of service, or the modems did not understand each other.
    #[error("no carrier")]
    NoCarrier,
    /// Our own line is dead.
    #[error("no dial tone")]
    NoDialTone,
    /// Our own line did not take the call: another telephone has it, or the exchange did not hear the number.
    #[error("line in use")]
    LineInUse,
    /// The modem refuses to redial so soon (`DELAYED`). Another modem may.
    #[error("the modem's redial limit")]
    RedialLimit,
    /// The modem refuses this number, or all (`BLACKLISTED`, `BLACKLIST FULL`), for longer. Another modem may.
    #[error("blacklisted by the modem's redial limit")]
    Blacklisted,
    /// The modem said ERROR.
    #[error("the modem refused the command")]
    Refused,
    /// The call came up, and it is no data call.
    #[error("not a data call")]
    NotData,
    /// A bug of ours or a race: the dialogue was not `Ready`.
    #[error("the modem was not ready")]
    NotReady,
}

/// Why a modem is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No answer to a command, in as many tries as it is given.
    #[error("the modem does not answer {command}")]
    Silent {
        /// The command.
        command: String,
    },
    /// ERROR to a command that must work.
    #[error("the modem answers ERROR to {command}")]
    Refused {
        /// The command.
        command: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Initialising {
        step: usize,
        attempt: u8,
        first_said: Instant,
        last_said: Instant,
        deadline: Instant,
    },
    /// A command was answered that was said more than once: so many more answers may come, and are none to the next.
    Settling {
        next: usize,
        owed: u8,
        latency: Duration,
        deadline: Instant,
    },
    /// Leaving a call that the modem may be in: see [`Dialogue::hang_up`].
    Escaping {
        deadline: Instant,
    },
    Ready,
    Probing {
        attempt: u8,
        deadline: Instant,
    },
    Dialling {
        deadline: Instant,
        is_ring_only: bool,
    },
    Answering {
        deadline: Instant,
    },
    /// The call was given up. The modem is to say so.
    Aborting {
        command: &'static str,
        end: Event,
        attempt: u8,
        deadline: Instant,
    },
    Online,
    Dead,
}

/// The dialogue with one modem. Feed one input, drain [`Dialogue::poll_output`] to [`Output::Timeout`], then feed the next.
#[derive(Debug)]
pub struct Dialogue {
    setup: Setup,
    signals: Signals,
    state: State,
    /// What the modem said of the line's rate, of the call that is being set up.
    line_rate: Option<u32>,
    has_short_guard: bool,
    /// Whether it has answered any command since the reset.
    has_answered: bool,
    /// How long it may take to.
    reply_timeout: Duration,
    /// The escape from a call, begun once at most.
    hang_up: Option<HangUp>,
    /// Until then lines are the text of a message; whether one at least still is, whatever the modem is doing.
    body_until: Option<Instant>,
    is_body_next: bool,
    reader: Reader,
    output: VecDeque<Output>,
}

impl Dialogue {
    /// A modem in unknown condition: it is reset and initialised first.
    pub fn new(setup: Setup, signals: Signals, now: Instant) -> Self {
        let mut dialogue = Self { setup, signals, ..Self::attached(Profile::GENERIC, false) };
        dialogue.say_init(0, now);
        dialogue
    }

    /// A modem that another process has initialised and that is on hook, perhaps ringing. `has_short_guard`: it has taken
    /// `ATS12=5` there.
    pub fn attached(profile: Profile, has_short_guard: bool) -> Self {
        Self {
            setup: Setup::from(profile),
            signals: Signals::Wires,
            state: State::Ready,
            line_rate: None,
            has_short_guard,
            has_answered: false,
            reply_timeout: REPLY_TIMEOUT,
            hang_up: None,
            body_until: None,
            is_body_next: false,
            reader: Reader::default(),
            output: VecDeque::new(),
        }
    }

    /// Whether the modem needs only a short silence around the escape sequence: see [`HangUp`](crate::HangUp).
    pub fn has_short_guard(&self) -> bool {
        self.has_short_guard
    }

    /// Whether the answer to a probe is still to come: what is begun before it would be refused.
    pub fn is_probing(&self) -> bool {
        matches!(self.state, State::Probing { .. })
    }

    /// Whether a line of the modem's has begun that has not ended.
    pub fn is_within_line(&self) -> bool {
        self.reader.is_within_line()
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        let profile = self.setup.profile;
        match input {
            Input::Octets(octets) => self.hear(octets, now),
            Input::Deadline => self.wake(now),
            Input::Dial { number, timeout } => {
                let command = format!("{}{}\r", profile.dial(), number.as_str());
                self.begin_call(&command, State::Dialling { deadline: now + timeout, is_ring_only: false });
            }
            Input::RingOnly { number, duration } => {
                let command = format!("{}{}{}\r", profile.dial(), number.as_str(), profile.ring_suffix());
                self.begin_call(&command, State::Dialling { deadline: now + duration, is_ring_only: true });
            }
            Input::StopRinging => {
                if let State::Dialling { is_ring_only: true, .. } = self.state {
                    self.give_up("ATD", Event::Rung, 1, now);
                }
            }
            Input::Answer => {
                self.begin_call("ATA\r", State::Answering { deadline: now + profile.answer_timeout() });
            }
            Input::Refuse => {
                if let (State::Ready, Some(refuse)) = (&self.state, profile.refuse()) {
                    self.transmit(&format!("{refuse}\r"));
                }
            }
            Input::Probe => {
                if self.state == State::Ready {
                    self.probe(1, now);
                }
            }
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Output {
        self.output.pop_front().unwrap_or(match self.state {
            State::Initialising { deadline, .. }
            | State::Settling { deadline, .. }
            | State::Escaping { deadline }
            | State::Aborting { deadline, .. }
            | State::Probing { deadline, .. } => Output::Timeout { at: Some(deadline), what: Wake::Reply },
            State::Dialling { deadline, .. } | State::Answering { deadline } => {
                Output::Timeout { at: Some(deadline), what: Wake::CallProgress }
            }
            State::Ready | State::Online | State::Dead => Output::Timeout { at: None, what: Wake::Nothing },
        })
    }

    fn begin_call(&mut self, command: &str, next: State) {
        if self.state != State::Ready {
            return self.tell(Event::NoCall(Failure::NotReady));
        }
        self.line_rate = None;
        self.transmit(command);
        self.state = next;
    }

    fn hear(&mut self, mut octets: &[u8], now: Instant) {
        if let (State::Escaping { .. }, Some(hang_up)) = (&self.state, &mut self.hang_up) {
            hang_up.hear(octets, now);
            return self.escape(now);
        }
        while !matches!(self.state, State::Online | State::Dead) {
            let Some(line) = self.reader.next_line(&mut octets) else { return };
            tracing::trace!(%line, "modem says");
            if self.is_body(now) {
                continue;
            }
            if let Some(code) = ResultCode::parse(&line).or_else(|| ResultCode::glued(&line)) {
                self.hear_code(&code, &mut octets, now);
            } else if let Some(field) = CallerIdField::parse(&line) {
                self.hear_caller(field);
            } else if let Some(rate) = line_rate(&line) {
                self.line_rate = Some(rate);
            } else if BODY_HEADERS.iter().any(|header| line.trim_start().starts_with(header)) {
                self.body_until = Some(now + BODY_TIME);
                self.is_body_next = true;
            }
        }
    }

    /// Whether a line is the text of a message. It may have any number of lines, and look like anything: while nothing
    /// else is waited for, all that comes right behind the header is text.
    fn is_body(&mut self, now: Instant) -> bool {
        let is_in_time = self.body_until.is_some_and(|until| now < until);
        let is_next = std::mem::take(&mut self.is_body_next);
        is_in_time && (is_next || matches!(self.state, State::Ready | State::Probing { .. }))
    }

    fn hear_caller(&mut self, field: CallerIdField) {
        match field {
            CallerIdField::Caller(caller) => self.tell(Event::CallerId(caller)),
            CallerIdField::RingingCaller(caller) => {
                self.tell(Event::CallerId(caller));
                self.tell_ring(RingKind::Plain);
            }
            CallerIdField::Other => self.tell(Event::CallerIdBegins),
        }
    }

    /// While a call of ours is being set up, RING is an echo of the line or glare: the modem decides, not we.
    fn tell_ring(&mut self, kind: RingKind) {
        if !matches!(
            self.state,
            State::Dialling { .. } | State::Answering { .. } | State::Aborting { .. } | State::Dead
        ) {
            self.tell(Event::Ring(kind));
        }
    }

    fn hear_code(&mut self, code: &ResultCode, octets: &mut &[u8], now: Instant) {
        if let ResultCode::Ring(kind) = code {
            return self.tell_ring(*kind);
        }
        match self.state {
            State::Initialising { step, .. } => self.hear_reply(step, code, now),
            State::Settling { next, owed, latency, deadline } if matches!(code, ResultCode::Ok | ResultCode::Error) => {
                if owed > 1 {
                    self.state = State::Settling { next, owed: owed - 1, latency, deadline };
                } else {
                    // All answers came, each late: it is slow, and no command was lost.
                    self.reply_timeout = (2 * latency).clamp(REPLY_TIMEOUT, SLOW_REPLY_TIMEOUT);
                    self.say_init(next, now);
                }
            }
            State::Aborting { ref end, .. } => {
                let end = end.clone();
                self.end_call(end);
            }
            State::Probing { .. } => {
                // ERROR is a sign of life as well.
                if matches!(code, ResultCode::Ok | ResultCode::Error) {
                    self.state = State::Ready;
                    self.tell(Event::Healthy);
                }
            }
            State::Dialling { is_ring_only, .. } => self.hear_progress(code, is_ring_only, octets),
            State::Answering { .. } => self.hear_progress(code, false, octets),
            State::Settling { .. } | State::Escaping { .. } | State::Ready | State::Online | State::Dead => {}
        }
    }

    fn hear_reply(&mut self, step: usize, code: &ResultCode, now: Instant) {
        let Some(Step { command, is_required }) = self.init_step(step) else { return };
        match code {
            ResultCode::Ok => self.has_short_guard |= command == SHORT_GUARD.command,
            ResultCode::Error if is_required => return self.die(Fault::Refused { command: command.to_owned() }),
            ResultCode::Error => tracing::debug!(command, "modem does not take it"),
            _ => return, // a late word about the call before
        }
        self.has_answered = true;
        match self.state {
            State::Initialising { attempt, first_said, last_said, .. } if attempt > 1 => {
                let latency = now.saturating_duration_since(first_said);
                let deadline = last_said + latency + REPLY_JITTER;
                self.state = State::Settling { next: step + 1, owed: attempt - 1, latency, deadline };
            }
            _ => self.say_init(step + 1, now),
        }
    }

    fn hear_progress(&mut self, code: &ResultCode, is_ring_only: bool, octets: &mut &[u8]) {
        let failure = match code {
            ResultCode::Connect { rate } => {
                self.reader.skip_line_feed(octets);
                self.state = State::Online;
                let rate = self.line_rate.or(*rate);
                return self.tell(Event::Connected { rate, octets: octets.to_vec() });
            }
            // To `ATD...;` a GSM modem says at once that it is ringing.
            ResultCode::Ok if is_ring_only => return,
            // A voice call: it is up, and somebody pays.
            ResultCode::Ok if !self.setup.profile.ring_suffix().is_empty() => {
                self.abort();
                Failure::NotData
            }
            ResultCode::Ok | ResultCode::Ring(_) => return,
            ResultCode::Busy => Failure::Busy,
            ResultCode::NoAnswer => Failure::NoAnswer,
            ResultCode::NoCarrier => Failure::NoCarrier,
            ResultCode::NoDialTone => Failure::NoDialTone,
            ResultCode::LineInUse => Failure::LineInUse,
            ResultCode::NotData => Failure::NotData,
            ResultCode::Delayed => Failure::RedialLimit,
            ResultCode::Blacklisted => Failure::Blacklisted,
            ResultCode::Error => Failure::Refused,
        };
        self.end_call(Event::NoCall(failure));
    }

    fn wake(&mut self, now: Instant) {
        match self.state {
            State::Initialising { step, attempt, first_said, deadline, .. } if now >= deadline => {
                self.no_reply(step, attempt, first_said, now);
            }
            State::Settling { next, deadline, .. } if now >= deadline => self.say_init(next, now),
            State::Escaping { deadline } if now >= deadline => self.escape(now),
            State::Probing { attempt, deadline } if now >= deadline => {
                if attempt < PROBES_MAX {
                    self.probe(attempt + 1, now);
                } else {
                    self.die(Fault::Silent { command: "AT".to_owned() });
                }
            }
            State::Dialling { deadline, is_ring_only } if now >= deadline => {
                let end = if is_ring_only { Event::Rung } else { Event::NoCall(Failure::NoAnswer) };
                self.give_up("ATD", end, 1, now);
            }
            State::Answering { deadline } if now >= deadline => {
                self.give_up("ATA", Event::NoCall(Failure::NoCarrier), 1, now);
            }
            State::Aborting { command, ref end, attempt, deadline } if now >= deadline => {
                // V.250 §5.6.1: a character right behind the command does not abort it.
                if attempt < ABORTS_MAX {
                    let end = end.clone();
                    self.give_up(command, end, attempt + 1, now);
                } else {
                    self.die(Fault::Silent { command: command.to_owned() });
                }
            }
            _ => {}
        }
    }

    fn give_up(&mut self, command: &'static str, end: Event, attempt: u8, now: Instant) {
        self.abort();
        self.state = State::Aborting { command, end, attempt, deadline: now + REPLY_TIMEOUT };
    }

    /// Nothing has come of a command in time.
    fn no_reply(&mut self, step: usize, attempt: u8, first_said: Instant, now: Instant) {
        let is_first_reset = step == 0 && self.hang_up.is_none();
        let attempts = if self.has_answered || is_first_reset { ATTEMPTS_MAX } else { 1 };
        if attempt < attempts {
            return self.repeat_init(step, attempt + 1, first_said, now);
        }
        let silent = |step| self.init_step(step).map_or_else(String::new, |step| step.command.to_owned());
        match step {
            _ if self.has_answered => self.die(Fault::Silent { command: silent(step) }),
            // Its stored profile may say Q1.
            0 => self.say_init(1, now),
            _ if self.hang_up.is_none() => {
                self.hang_up = Some(HangUp::new(false, now));
                self.escape(now);
            }
            _ => self.die(Fault::Silent { command: silent(0) }),
        }
    }

    /// Goes on with leaving the call that the modem may be in.
    fn escape(&mut self, now: Instant) {
        loop {
            match self.hang_up.as_mut().map(|hang_up| hang_up.step(now)) {
                Some(HangUpStep::Transmit(octets)) => self.output.push_back(Output::Transmit(octets.to_vec())),
                Some(HangUpStep::Wait(deadline)) => return self.state = State::Escaping { deadline },
                Some(HangUpStep::Done { .. }) | None => return self.say_init(0, now),
            }
        }
    }

    /// The ladder: the profile's steps, the operator's, and what must be said last whatever stood there.
    fn init_step(&self, step: usize) -> Option<Step<'_>> {
        let Setup { profile, added } = &self.setup;
        let added = added.iter().map(|command| Step { command: command.as_str(), is_required: false });
        let guard = (self.signals == Signals::OctetsOnly).then_some(SHORT_GUARD);
        profile.init().iter().copied().chain(added).chain(guard).chain([SILENT]).nth(step)
    }

    fn say_init(&mut self, step: usize, now: Instant) {
        self.repeat_init(step, 1, now, now);
    }

    fn repeat_init(&mut self, step: usize, attempt: u8, first_said: Instant, now: Instant) {
        let Some(Step { command, .. }) = self.init_step(step) else {
            self.state = State::Ready;
            return self.tell(Event::Ready);
        };
        let command = format!("{command}\r");
        self.transmit(&command);
        let is_last = attempt == ATTEMPTS_MAX || (step == 0 && self.hang_up.is_some());
        let patience = if is_last { LAST_REPLY_TIMEOUT } else { REPLY_TIMEOUT };
        let deadline = now + patience.max(self.reply_timeout);
        self.state = State::Initialising { step, attempt, first_said, last_said: now, deadline };
    }

    fn probe(&mut self, attempt: u8, now: Instant) {
        self.transmit("AT\r");
        self.state = State::Probing { attempt, deadline: now + REPLY_TIMEOUT };
    }

    /// Ends what is being set up. Where no command does, any character does (V.250 §6.3.1).
    fn abort(&mut self) {
        let command = format!("{}\r", self.setup.profile.abort());
        self.transmit(&command);
    }

    fn end_call(&mut self, event: Event) {
        self.state = State::Ready;
        self.tell(event);
    }

    fn die(&mut self, fault: Fault) {
        self.state = State::Dead;
        self.tell(Event::Fault(fault));
    }

    fn transmit(&mut self, text: &str) {
        self.output.push_back(Output::Transmit(text.as_bytes().to_vec()));
    }

    fn tell(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn start() -> Instant {
        Instant::now()
    }

    /// Feeds an input and gives what was sent and what happened, as text.
    fn feed(dialogue: &mut Dialogue, input: Input<'_>, now: Instant) -> Vec<String> {
        dialogue.handle(input, now);
        let mut seen = Vec::new();
        loop {
            match dialogue.poll_output() {
                Output::Transmit(octets) => seen.push(format!("> {}", String::from_utf8(octets).unwrap().trim_end())),
                Output::Event(event) => seen.push(format!("{event:?}")),
                Output::Timeout { .. } => return seen,
            }
        }
    }

    fn hear(dialogue: &mut Dialogue, octets: &[u8]) -> Vec<String> {
        feed(dialogue, Input::Octets(octets), start())
    }

    fn generic() -> Dialogue {
        Dialogue::new(Setup::default(), Signals::Wires, start())
    }

    fn ready() -> Dialogue {
        initialised(Profile::GENERIC)
    }

    fn initialised(profile: Profile) -> Dialogue {
        let mut dialogue = Dialogue::new(profile.into(), Signals::Wires, start());
        while dialogue.state != State::Ready {
            hear(&mut dialogue, b"\r\nOK\r\n");
        }
        dialogue
    }

    #[test]
    fn initialising_turns_automatic_answer_off_and_caller_id_on_after_the_reset() {
        let setup = Setup { profile: Profile::GENERIC, added: vec!["ATS153=6".parse().unwrap()] };
        let mut dialogue = Dialogue::new(setup, Signals::OctetsOnly, start());
        let mut said = feed(&mut dialogue, Input::Deadline, start());
        while dialogue.state != State::Ready {
            said.extend(hear(&mut dialogue, b"AT\r\r\nOK\r\n"));
        }
        let profile =
            ["> ATZ", "> ATE0Q0V1", "> ATX4", "> ATS0=0", "> AT&C1&D2", "> AT&K3", "> AT+VCID=1", "> AT#CID=1"];
        let last = ["> ATS153=6", "> ATS12=5", "> ATS0=0", "Ready"];
        assert_eq!(said, [profile.as_slice(), &last].concat());
        assert!(dialogue.has_short_guard());
    }

    #[test]
    fn error_is_taken_where_a_modem_may_lack_the_command_and_nowhere_else() {
        let mut dialogue = generic();
        hear(&mut dialogue, b"ERROR\rOK\rERROR\rOK\r");
        assert_eq!(hear(&mut dialogue, b"ERROR\rERROR\rERROR\rERROR\rOK\r").last().unwrap(), "Ready");

        let mut dialogue = generic();
        hear(&mut dialogue, b"OK\rOK\rOK\r");
        assert_eq!(hear(&mut dialogue, b"ERROR\r"), [r#"Fault(Refused { command: "ATS0=0" })"#]);
    }

    /// What is said to a modem that answers as `answer` says, until it is ready or dead, and how long that took.
    fn converse(answer: impl Fn(&str, usize) -> Option<(Duration, &'static [u8])>) -> (Vec<String>, Duration) {
        let began = start();
        let (mut now, mut said, mut answers) = (began, Vec::new(), VecDeque::new());
        let mut dialogue = Dialogue::new(Setup::default(), Signals::Wires, now);
        loop {
            match dialogue.poll_output() {
                Output::Transmit(octets) => {
                    let command = String::from_utf8(octets).unwrap().trim_end().to_owned();
                    if let Some((late, octets)) = answer(&command, said.len()) {
                        answers.push_back((now + late, octets));
                    }
                    said.push(command);
                }
                Output::Event(event) => {
                    said.push(format!("{event:?}"));
                    return (said, now - began);
                }
                Output::Timeout { at, .. } => match answers.front() {
                    Some((due, octets)) if at.is_none_or(|at| *due <= at) => {
                        (now, _) = (*due, answers.len());
                        let octets = *octets;
                        answers.pop_front();
                        dialogue.handle(Input::Octets(octets), now);
                    }
                    _ => {
                        now = at.expect("it waits for something");
                        dialogue.handle(Input::Deadline, now);
                    }
                },
            }
        }
    }

    const OK: &[u8] = b"\r\nOK\r\n";

    #[test]
    fn a_silent_modem_is_asked_escaped_from_once_and_then_dead_within_half_a_minute() {
        let (said, took) = converse(|_, _| None);
        let expected =
            ["ATZ", "ATZ", "ATZ", "ATE0Q0V1", "+++", "ATH", "ATZ", "ATE0Q0V1", r#"Fault(Silent { command: "ATZ" })"#];
        assert_eq!(said, expected);
        assert!(took < Duration::from_secs(30), "{took:?}");
    }

    #[test]
    fn a_modem_that_takes_its_time_is_ready_late_and_no_answer_counts_twice() {
        for late_ms in [1500, 2200, 2500, 3900] {
            let late = Duration::from_millis(late_ms);
            let (said, took) = converse(|said, _| {
                let is_refused = ["AT&K3", "AT+VCID=1", "AT#CID=1"].contains(&said);
                Some((late, if is_refused { b"\r\nERROR\r\n" } else { OK }))
            });
            assert_eq!(said.last().unwrap(), "Ready", "{said:?}");
            assert!(took < 12 * late, "{late_ms}: {took:?}");
        }
        let (said, _) = converse(|said, _| {
            Some((if said == "ATZ" { Duration::from_secs(7) } else { Duration::from_millis(10) }, OK))
        });
        assert_eq!(said.last().unwrap(), "Ready", "{said:?}");
    }

    #[test]
    fn a_modem_that_was_told_to_be_quiet_is_told_to_speak() {
        let (said, took) = converse(|said, before| (before >= 3 && said != "ATZ").then_some((Duration::ZERO, OK)));
        assert_eq!(said.last().unwrap(), "Ready", "{said:?}");
        assert!(took < Duration::from_secs(15), "{took:?}");
    }

    #[test]
    fn a_modem_that_was_left_in_a_call_is_escaped_from() {
        let (said, _) = converse(|_, before| (before > 4).then_some((Duration::ZERO, OK)));
        assert_eq!(said[3..6], ["ATE0Q0V1", "+++", "ATH"]);
        assert_eq!(said.last().unwrap(), "Ready", "{said:?}");
    }

    #[test]
    fn a_message_of_a_strangers_is_not_the_modems_word() {
        let body = b"\r\n+CMT: \"+491234\",,\"26/11/30,12:00:00+04\"\r\nhello\n+CLIP: \"+491234\",145\nRING\r\n";
        let now = start();
        let mut dialogue = initialised("gsm".parse().unwrap());
        assert!(hear(&mut dialogue, body).is_empty());
        let later = now + 2 * BODY_TIME;
        assert_eq!(feed(&mut dialogue, Input::Octets(b"\r\nRING\r\n"), later), ["Ring(Plain)"]);
        // A message in hex that looks like a caller's number.
        assert!(feed(&mut dialogue, Input::Octets(b"+CMT: ,5\r\n0203323031\r\n"), later).is_empty());
        // While a call is set up its end is not missed: one line is text.
        let number = N.parse().unwrap();
        feed(&mut dialogue, Input::Dial { number: &number, timeout: TEN_SECONDS }, later);
        let heard = feed(&mut dialogue, Input::Octets(b"+CMT: ,5\r\nNO CARRIER\r\nBUSY\r\n"), later);
        assert_eq!(heard, ["NoCall(Busy)"]);
    }

    #[test]
    fn the_line_that_rings_may_name_the_caller() {
        for said in ["RING;08912345;08765\r", "RING 08912345*01\r", "FM:08912345 TO:08765\r"] {
            assert_eq!(hear(&mut ready(), said.as_bytes()), ["CallerId(Digits(..345))", "Ring(Plain)"], "{said}");
        }
    }

    #[test]
    fn a_ring_and_its_caller_are_told_and_nothing_is_said() {
        let said = b"\r\nRING\r\n\r\nDATE = 1015\r\nTIME = 1310\r\nNMBR = 0661234567\r\n\r\nRING\r\n";
        let heard = hear(&mut ready(), said);
        assert_eq!(
            heard,
            ["Ring(Plain)", "CallerIdBegins", "CallerIdBegins", "CallerId(Digits(..567))", "Ring(Plain)"]
        );
    }

    #[test]
    fn octets_behind_connect_belong_to_the_call() {
        let mut dialogue = ready();
        let number = "201".parse().unwrap();
        let dial = Input::Dial { number: &number, timeout: Duration::from_secs(60) };
        assert_eq!(feed(&mut dialogue, dial, start()), ["> ATDT201"]);
        dialogue.handle(Input::Octets(b"\r\nCONNECT 33600\r\n~\xff\x03"), start());
        let Output::Event(Event::Connected { rate, octets }) = dialogue.poll_output() else { panic!("not connected") };
        assert_eq!((rate, octets.as_slice()), (Some(33600), b"~\xff\x03".as_slice()));
    }

    #[test]
    fn every_failure_of_a_dial_leaves_the_dialogue_ready() {
        let number: DialString = "201".parse().unwrap();
        for (said, failure) in [
            ("BUSY", "Busy"),
            ("NO ANSWER", "NoAnswer"),
            ("NO CARRIER", "NoCarrier"),
            ("NO DIAL TONE", "NoDialTone"),
            ("DELAYED 00:05:00", "RedialLimit"),
            ("BLACKLIST FULL", "Blacklisted"),
            ("LINE IN USE", "LineInUse"),
            ("VOICE", "NotData"),
            ("ERROR", "Refused"),
            ("^RSSI: 17NO CARRIER", "NoCarrier"),
            ("\0BUSY", "Busy"),
        ] {
            let mut dialogue = ready();
            dialogue.handle(Input::Dial { number: &number, timeout: Duration::from_secs(60) }, start());
            let heard = hear(&mut dialogue, format!("\r\nRING\r\nRINGING\r\n{said}\r\n").as_bytes());
            assert_eq!(heard, ["> ATDT201".into(), format!("NoCall({failure})")]);
            assert_eq!(dialogue.state, State::Ready);
        }
    }

    #[test]
    fn a_dial_without_any_result_is_given_up_in_time() {
        let mut dialogue = ready();
        let number = "201".parse().unwrap();
        let now = start();
        dialogue.handle(Input::Dial { number: &number, timeout: Duration::from_secs(60) }, now);
        let end = feed(&mut dialogue, Input::Deadline, now + Duration::from_secs(60));
        assert_eq!(end, ["> ATDT201", "> "]);
        assert_eq!(hear(&mut dialogue, b"\r\nNO CARRIER\r\n"), ["NoCall(NoAnswer)"]);
    }

    #[test]
    fn a_modem_that_says_nothing_of_a_call_and_nothing_of_its_end_is_faulty() {
        let mut dialogue = ready();
        let number = "201".parse().unwrap();
        let now = start();
        dialogue.handle(Input::Dial { number: &number, timeout: TEN_SECONDS }, now);
        feed(&mut dialogue, Input::Deadline, now + TEN_SECONDS);
        assert_eq!(feed(&mut dialogue, Input::Deadline, now + TEN_SECONDS + REPLY_TIMEOUT), ["> "]);
        let end = feed(&mut dialogue, Input::Deadline, now + TEN_SECONDS + 2 * REPLY_TIMEOUT);
        assert_eq!(end, [r#"Fault(Silent { command: "ATD" })"#]);
    }

    #[test]
    fn answering_is_refused_while_a_call_is_set_up() {
        let mut dialogue = ready();
        hear(&mut dialogue, b"RING\r");
        assert_eq!(feed(&mut dialogue, Input::Answer, start()), ["> ATA"]);
        assert_eq!(feed(&mut dialogue, Input::Answer, start()), ["NoCall(NotReady)"]);
    }

    const N: &str = "201";
    const TEN_SECONDS: Duration = Duration::from_secs(10);

    fn ring_only(dialogue: &mut Dialogue, now: Instant) -> Vec<String> {
        let number = N.parse().unwrap();
        feed(dialogue, Input::RingOnly { number: &number, duration: TEN_SECONDS }, now)
    }

    #[test]
    fn a_number_is_let_ring_and_the_call_ended_before_anybody_pays() {
        let now = start();
        for (profile, dialled, ended) in [("generic", "> ATDT201", "> "), ("gsm", "> ATD201;", "> AT+CHUP")] {
            let mut dialogue = initialised(profile.parse().unwrap());
            assert_eq!(ring_only(&mut dialogue, now), [dialled]);
            assert!(hear(&mut dialogue, b"\r\nOK\r\n").is_empty(), "{profile}: it rings");
            assert!(feed(&mut dialogue, Input::Deadline, now + TEN_SECONDS / 2).is_empty());
            assert_eq!(feed(&mut dialogue, Input::Deadline, now + TEN_SECONDS), [ended], "{profile}");
            assert_eq!(hear(&mut dialogue, b"\r\nOK\r\n"), ["Rung"], "{profile}");
        }
    }

    #[test]
    fn a_ring_that_has_done_its_work_is_ended_at_once() {
        let now = start();
        let mut dialogue = initialised("gsm".parse().unwrap());
        assert!(feed(&mut dialogue, Input::StopRinging, now).is_empty(), "nothing rings");
        ring_only(&mut dialogue, now);
        assert_eq!(feed(&mut dialogue, Input::StopRinging, now), ["> AT+CHUP"]);
        assert_eq!(hear(&mut dialogue, b"\r\nOK\r\n"), ["Rung"]);
    }

    #[test]
    fn a_ring_that_finds_the_number_busy_has_not_rung() {
        let mut dialogue = initialised("gsm".parse().unwrap());
        ring_only(&mut dialogue, start());
        assert_eq!(hear(&mut dialogue, b"\r\nBUSY\r\n"), ["NoCall(Busy)"]);
    }

    #[test]
    fn a_voice_call_answered_by_mistake_is_hung_up_at_once() {
        let mut dialogue = initialised("gsm".parse().unwrap());
        assert_eq!(hear(&mut dialogue, b"\r\n+CRING: VOICE\r\n"), ["Ring(Voice)"]);
        assert_eq!(feed(&mut dialogue, Input::Answer, start()), ["> ATA"]);
        assert_eq!(hear(&mut dialogue, b"\r\nOK\r\n"), ["> AT+CHUP", "NoCall(NotData)"]);
    }

    #[test]
    fn a_ring_is_refused_by_a_command_where_the_line_has_one_and_by_silence_elsewhere() {
        let refuse = |profile: &str| feed(&mut initialised(profile.parse().unwrap()), Input::Refuse, start());
        assert_eq!(refuse("gsm"), ["> AT+CHUP"]);
        assert_eq!(refuse("isdn"), ["> ATH"]);
        assert!(refuse("generic").is_empty());
    }

    #[test]
    fn a_probe_finds_a_modem_that_is_there_and_one_that_is_not_after_two_tries() {
        let now = start();
        let mut dialogue = ready();
        assert_eq!(feed(&mut dialogue, Input::Probe, now), ["> AT"]);
        assert_eq!(hear(&mut dialogue, b"\r\nRING\r\n\r\nOK\r\n"), ["Ring(Plain)", "Healthy"]);
        feed(&mut dialogue, Input::Probe, now);
        assert_eq!(feed(&mut dialogue, Input::Deadline, now + REPLY_TIMEOUT), ["> AT"]);
        let end = feed(&mut dialogue, Input::Deadline, now + 2 * REPLY_TIMEOUT);
        assert_eq!(end, [r#"Fault(Silent { command: "AT" })"#]);
    }

    #[test]
    fn the_lines_rate_counts_and_not_the_ports_where_the_modem_says_both() {
        let mut dialogue = ready();
        feed(&mut dialogue, Input::Answer, start());
        let said = b"CARRIER 31200\r\nPROTOCOL: LAPM\r\nCOMPRESSION: V.42BIS\r\nCONNECT 115200\r\n";
        dialogue.handle(Input::Octets(said), start());
        assert!(matches!(dialogue.poll_output(), Output::Event(Event::Connected { rate: Some(31_200), .. })));
    }
}
