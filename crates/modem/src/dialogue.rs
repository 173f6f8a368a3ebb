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
const SILENT: Step<'_> = Step {
    command: "ATS0=0",
    is_required: true,
};
/// Said where no wire hangs up: shortens the silence that the escape sequence needs.
const SHORT_GUARD: Step<'_> = Step {
    command: "ATS12=5",
    is_required: false,
};

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
    /// Answers that may still come to a command that was repeated; they do not answer the next.
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
        let mut dialogue = Self {
            setup,
            signals,
            ..Self::attached(Profile::GENERIC, false)
        };
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
                self.begin_call(
                    &command,
                    State::Dialling {
                        deadline: now + timeout,
                        is_ring_only: false,
                    },
                );
            }
            Input::RingOnly { number, duration } => {
                let command = format!(
                    "{}{}{}\r",
                    profile.dial(),
                    number.as_str(),
                    profile.ring_suffix()
                );
                self.begin_call(
                    &command,
                    State::Dialling {
                        deadline: now + duration,
                        is_ring_only: true,
                    },
                );
            }
            Input::StopRinging => {
                if let State::Dialling {
                    is_ring_only: true, ..
                } = self.state
                {
                    self.give_up("ATD", Event::Rung, 1, now);
                }
            }
            Input::Answer => {
                self.begin_call(
                    "ATA\r",
                    State::Answering {
                        deadline: now + profile.answer_timeout(),
                    },
                );
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
            | State::Probing { deadline, .. } => Output::Timeout {
                at: Some(deadline),
                what: Wake::Reply,
            },
            State::Dialling { deadline, .. } | State::Answering { deadline } => Output::Timeout {
                at: Some(deadline),
                what: Wake::CallProgress,
            },
            State::Ready | State::Online | State::Dead => Output::Timeout {
                at: None,
                what: Wake::Nothing,
            },
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
            let Some(line) = self.reader.next_line(&mut octets) else {
                return;
            };
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
            } else if BODY_HEADERS
                .iter()
                .any(|header| line.trim_start().starts_with(header))
            {
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
            State::Settling {
                next,
                owed,
                latency,
                deadline,
            } if matches!(code, ResultCode::Ok | ResultCode::Error) => {
                if owed > 1 {
                    self.state = State::Settling {
                        next,
                        owed: owed - 1,
                        latency,
                        deadline,
                    };
                } else {
                    // All answers came, each late: it is slow, and no command was lost.
                    self.reply_timeout = (2 * latency).clamp(REPLY_TIMEOUT, SLOW_REPLY_TIMEOUT);
                    self.say_init(next, now);
                }
            }
            State::Aborting { ref end, .. } => {
                let end = end.clone();
                match code {
                    // It came up at the same moment: it is a call, and costs money.
                    ResultCode::Connect { .. } => {
                        self.hear_progress(code, end == Event::Rung, octets);
                    }
                    _ => self.end_call(end),
                }
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
            State::Settling { .. }
            | State::Escaping { .. }
            | State::Ready
            | State::Online
            | State::Dead => {}
        }
    }

    fn hear_reply(&mut self, step: usize, code: &ResultCode, now: Instant) {
        let Some(Step {
            command,
            is_required,
        }) = self.init_step(step)
        else {
            return;
        };
        match code {
            ResultCode::Ok => self.has_short_guard |= command == SHORT_GUARD.command,
            ResultCode::Error if is_required => {
                return self.die(Fault::Refused {
                    command: command.to_owned(),
                });
            }
            ResultCode::Error => tracing::debug!(command, "modem does not take it"),
            _ => return, // a late word about the call before
        }
        self.has_answered = true;
        match self.state {
            State::Initialising {
                attempt,
                first_said,
                last_said,
                ..
            } if attempt > 1 => {
                let latency = now.saturating_duration_since(first_said);
                let deadline = last_said + latency + REPLY_JITTER;
                self.state = State::Settling {
                    next: step + 1,
                    owed: attempt - 1,
                    latency,
                    deadline,
                };
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
                return self.tell(Event::Connected {
                    rate,
                    octets: octets.to_vec(),
                });
            }
            // To `ATD...;` a GSM modem says at once that it is ringing.
            ResultCode::Ok if is_ring_only => return,
            // A voice call: it is up, and costs money.
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
            State::Initialising {
                step,
                attempt,
                first_said,
                deadline,
                ..
            } if now >= deadline => {
                self.no_reply(step, attempt, first_said, now);
            }
            State::Settling { next, deadline, .. } if now >= deadline => self.say_init(next, now),
            State::Escaping { deadline } if now >= deadline => self.escape(now),
            State::Probing { attempt, deadline } if now >= deadline => {
                if attempt < PROBES_MAX {
                    self.probe(attempt + 1, now);
                } else {
                    self.die(Fault::Silent {
                        command: "AT".to_owned(),
                    });
                }
            }
            State::Dialling {
                deadline,
                is_ring_only,
            } if now >= deadline => {
                let end = if is_ring_only {
                    Event::Rung
                } else {
                    Event::NoCall(Failure::NoAnswer)
                };
                self.give_up("ATD", end, 1, now);
            }
            State::Answering { deadline } if now >= deadline => {
                self.give_up("ATA", Event::NoCall(Failure::NoCarrier), 1, now);
            }
            State::Aborting {
                command,
                ref end,
                attempt,
                deadline,
            } if now >= deadline => {
                // V.250 §5.6.1: a character right behind the command does not abort it.
                if attempt < ABORTS_MAX {
                    let end = end.clone();
                    self.give_up(command, end, attempt + 1, now);
                } else {
                    self.die(Fault::Silent {
                        command: command.to_owned(),
                    });
                }
            }
            _ => {}
        }
    }

    fn give_up(&mut self, command: &'static str, end: Event, attempt: u8, now: Instant) {
        self.abort();
        self.state = State::Aborting {
            command,
            end,
            attempt,
            deadline: now + REPLY_TIMEOUT,
        };
    }

    /// Nothing has come of a command in time.
    fn no_reply(&mut self, step: usize, attempt: u8, first_said: Instant, now: Instant) {
        let is_first_reset = step == 0 && self.hang_up.is_none();
        let attempts = if self.has_answered || is_first_reset {
            ATTEMPTS_MAX
        } else {
            1
        };
        if attempt < attempts {
            return self.repeat_init(step, attempt + 1, first_said, now);
        }
        let silent = |step| {
            self.init_step(step)
                .map_or_else(String::new, |step| step.command.to_owned())
        };
        match step {
            _ if self.has_answered => self.die(Fault::Silent {
                command: silent(step),
            }),
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
                Some(HangUpStep::Transmit(octets)) => {
                    self.output.push_back(Output::Transmit(octets.to_vec()));
                }
                Some(HangUpStep::Wait(deadline)) => {
                    return self.state = State::Escaping { deadline };
                }
                Some(HangUpStep::Done { .. }) | None => return self.say_init(0, now),
            }
        }
    }

    /// The ladder: the profile's steps, the operator's, and what must be said last whatever stood there.
    fn init_step(&self, step: usize) -> Option<Step<'_>> {
        let Setup { profile, added } = &self.setup;
        let added = added.iter().map(|command| Step {
            command: command.as_str(),
            is_required: false,
        });
        let guard = (self.signals == Signals::OctetsOnly).then_some(SHORT_GUARD);
        profile
            .init()
            .iter()
            .copied()
            .chain(added)
            .chain(guard)
            .chain([SILENT])
            .nth(step)
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
        let patience = if is_last {
            LAST_REPLY_TIMEOUT
        } else {
            REPLY_TIMEOUT
        };
        let deadline = now + patience.max(self.reply_timeout);
        self.state = State::Initialising {
            step,
            attempt,
            first_said,
            last_said: now,
            deadline,
        };
    }

    fn probe(&mut self, attempt: u8, now: Instant) {
        self.transmit("AT\r");
        self.state = State::Probing {
            attempt,
            deadline: now + REPLY_TIMEOUT,
        };
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
        self.output
            .push_back(Output::Transmit(text.as_bytes().to_vec()));
    }

    fn tell(&mut self, event: Event) {
        self.output.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests;
