//! The dialogue with one modem, from power-up to the octets of a call.
//!
//! ```text
//!   new ──► Initialising ──last step──► Ready ──Dial────► Dialling ──CONNECT──► Online
//!               │  RING, caller ID        │ │                │
//!               │  are told, too          │ └─Answer─► Answering ──CONNECT──► Online
//!               │                         │                │
//!               ▼ no answer / ERROR       ▼ RING, NMBR     ▼ BUSY, NO ANSWER, NO CARRIER ... / deadline
//!             Dead (Event::Fault)       Event::Ring ...   Ready (Event::NoCall)
//! ```
//!
//! `Online` is the end: what follows the CONNECT line belongs to the call and is handed out with it. After a call the
//! port is closed and opened again (that is how the modem is hung up) and a new dialogue begins.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::caller_id::{CallerId, CallerIdField};
use crate::dial_string::DialString;
use crate::reader::Reader;
use crate::result_code::ResultCode;

/// How long a modem may take to answer a command.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an initialising command is said before the modem counts as dead.
const ATTEMPTS_MAX: u8 = 3;
/// From `ATA` to CONNECT: V.34 trains in 8 to 12 s, satellite modems take longer; V.250 S7 defaults to 50 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What is said to a generic V.250 modem to initialise it. Where `is_required` is false, ERROR is an answer, too.
const INIT: &[InitStep] = &[
    InitStep { command: "ATZ", is_required: true },
    InitStep { command: "ATE0Q0V1X4", is_required: true },
    // Never more than 0: an automatic answer comes before the caller's number is known (V.250 §6.3.8).
    InitStep { command: "ATS0=0", is_required: true },
    // Carrier shown by DCD, hang up when DTR drops, flow control by RTS/CTS.
    InitStep { command: "AT&C1&D2&K3", is_required: false },
    // Caller ID: Conexant, Agere, USR5637; then Rockwell. Forgotten by many modems at ATZ, hence after every reset.
    InitStep { command: "AT+VCID=1", is_required: false },
    InitStep { command: "AT#CID=1", is_required: false },
];

struct InitStep {
    command: &'static str,
    is_required: bool,
}

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
    /// Answer the call that is ringing. Only in `Ready`, as [`Input::Dial`].
    Answer,
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

/// What a modem reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Initialised, on hook, able to dial and to answer.
    Ready,
    /// An incoming call rings (once an event for every RING).
    Ring,
    /// A caller-ID block has begun: a call is coming even if no RING was heard yet.
    CallerIdBegins,
    /// The caller's number, or the word that there is none.
    CallerId(CallerId),
    /// The call is up.
    Connected {
        /// bit/s as the modem said it; it may be the rate of its port rather than of the line.
        rate: Option<u32>,
        /// Octets of the call that came in the same read as the CONNECT line.
        octets: Vec<u8>,
    },
    /// There is no call; the modem is ready again.
    NoCall(Failure),
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
    /// The modem refuses to redial so soon (`DELAYED`, `BLACKLISTED`). Not a fault of line or number.
    #[error("the modem's redial limit")]
    RedialLimit,
    /// The modem said ERROR.
    #[error("the modem refused the command")]
    Refused,
    /// A bug of ours or a race: the dialogue was not `Ready`.
    #[error("the modem was not ready")]
    NotReady,
}

/// Why a modem is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No answer to a command, three times.
    #[error("the modem does not answer {command}")]
    Silent {
        /// The command.
        command: &'static str,
    },
    /// ERROR to a command that must work.
    #[error("the modem answers ERROR to {command}")]
    Refused {
        /// The command.
        command: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Initialising { step: usize, attempt: u8, deadline: Instant },
    Ready,
    Dialling { deadline: Instant },
    Answering { deadline: Instant },
    Online,
    Dead,
}

/// The dialogue with one modem. Feed one input, drain [`Dialogue::poll_output`] to [`Output::Timeout`], then feed the next.
#[derive(Debug)]
pub struct Dialogue {
    state: State,
    reader: Reader,
    output: VecDeque<Output>,
}

impl Dialogue {
    /// A modem in unknown condition: it is reset and initialised first.
    pub fn new(now: Instant) -> Self {
        let mut dialogue = Self::attached();
        dialogue.say_init(0, 1, now);
        dialogue
    }

    /// A modem that another process has initialised and that is on hook, perhaps ringing.
    pub fn attached() -> Self {
        Self { state: State::Ready, reader: Reader::default(), output: VecDeque::new() }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Octets(octets) => self.hear(octets, now),
            Input::Deadline => self.wake(now),
            Input::Dial { number, timeout } => {
                let command = format!("ATDT{}\r", number.as_str());
                self.begin_call(&command, State::Dialling { deadline: now + timeout });
            }
            Input::Answer => self.begin_call("ATA\r", State::Answering { deadline: now + ANSWER_TIMEOUT }),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Output {
        self.output.pop_front().unwrap_or(match self.state {
            State::Initialising { deadline, .. } => Output::Timeout { at: Some(deadline), what: Wake::Reply },
            State::Dialling { deadline } | State::Answering { deadline } => {
                Output::Timeout { at: Some(deadline), what: Wake::CallProgress }
            }
            State::Ready | State::Online | State::Dead => Output::Timeout { at: None, what: Wake::Nothing },
        })
    }

    fn begin_call(&mut self, command: &str, next: State) {
        if self.state != State::Ready {
            return self.tell(Event::NoCall(Failure::NotReady));
        }
        self.transmit(command);
        self.state = next;
    }

    fn hear(&mut self, mut octets: &[u8], now: Instant) {
        while self.state != State::Online {
            let Some(line) = self.reader.next_line(&mut octets) else { return };
            tracing::trace!(%line, "modem says");
            if let Some(code) = ResultCode::parse(&line) {
                self.hear_code(&code, &mut octets, now);
            } else if let Some(field) = CallerIdField::parse(&line) {
                self.tell(match field {
                    CallerIdField::Caller(caller) => Event::CallerId(caller),
                    CallerIdField::Other => Event::CallerIdBegins,
                });
            }
        }
    }

    fn hear_code(&mut self, code: &ResultCode, octets: &mut &[u8], now: Instant) {
        if *code == ResultCode::Ring {
            // While a call of ours is being set up, RING is an echo of the line or glare: the modem decides, not we.
            if matches!(self.state, State::Initialising { .. } | State::Ready) {
                self.tell(Event::Ring);
            }
            return;
        }
        match self.state {
            State::Initialising { step, .. } => match code {
                ResultCode::Ok => self.say_init(step + 1, 1, now),
                ResultCode::Error if !INIT[step].is_required => self.say_init(step + 1, 1, now),
                ResultCode::Error => self.die(Fault::Refused { command: INIT[step].command }),
                _ => {} // a late word about the call before
            },
            State::Dialling { .. } | State::Answering { .. } => {
                let failure = match code {
                    ResultCode::Connect { rate } => {
                        self.reader.skip_line_feed(octets);
                        self.state = State::Online;
                        return self.tell(Event::Connected { rate: *rate, octets: octets.to_vec() });
                    }
                    ResultCode::Busy => Failure::Busy,
                    ResultCode::NoAnswer => Failure::NoAnswer,
                    ResultCode::NoCarrier => Failure::NoCarrier,
                    ResultCode::NoDialTone => Failure::NoDialTone,
                    ResultCode::Delayed | ResultCode::Blacklisted => Failure::RedialLimit,
                    ResultCode::Error => Failure::Refused,
                    ResultCode::Ok | ResultCode::Ring => return,
                };
                self.end_call(failure);
            }
            State::Ready | State::Online | State::Dead => {}
        }
    }

    fn wake(&mut self, now: Instant) {
        match self.state {
            State::Initialising { step, attempt, deadline } if now >= deadline => {
                if attempt < ATTEMPTS_MAX {
                    self.say_init(step, attempt + 1, now);
                } else {
                    self.die(Fault::Silent { command: INIT[step].command });
                }
            }
            State::Dialling { deadline } if now >= deadline => {
                self.transmit("\r"); // any character aborts a dial (V.250 §6.3.1)
                self.end_call(Failure::NoAnswer);
            }
            State::Answering { deadline } if now >= deadline => {
                self.transmit("\r");
                self.end_call(Failure::NoCarrier);
            }
            _ => {}
        }
    }

    fn say_init(&mut self, step: usize, attempt: u8, now: Instant) {
        let Some(init) = INIT.get(step) else {
            self.state = State::Ready;
            return self.tell(Event::Ready);
        };
        self.transmit(&format!("{}\r", init.command));
        self.state = State::Initialising { step, attempt, deadline: now + REPLY_TIMEOUT };
    }

    fn end_call(&mut self, failure: Failure) {
        self.state = State::Ready;
        self.tell(Event::NoCall(failure));
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

    fn ready() -> Dialogue {
        let mut dialogue = Dialogue::new(start());
        for _ in INIT {
            hear(&mut dialogue, b"\r\nOK\r\n");
        }
        assert_eq!(dialogue.state, State::Ready);
        dialogue
    }

    #[test]
    fn initialising_turns_automatic_answer_off_and_caller_id_on_after_the_reset() {
        let mut dialogue = Dialogue::new(start());
        let mut said = feed(&mut dialogue, Input::Deadline, start());
        for _ in INIT {
            said.extend(hear(&mut dialogue, b"AT\r\r\nOK\r\n"));
        }
        let expected = ["> ATZ", "> ATE0Q0V1X4", "> ATS0=0", "> AT&C1&D2&K3", "> AT+VCID=1", "> AT#CID=1", "Ready"]
            .map(String::from);
        assert_eq!(said, expected);
    }

    #[test]
    fn error_is_taken_where_a_modem_may_lack_the_command_and_nowhere_else() {
        let mut dialogue = Dialogue::new(start());
        hear(&mut dialogue, b"OK\rOK\rOK\r");
        assert_eq!(hear(&mut dialogue, b"ERROR\rERROR\rERROR\r").last().unwrap(), "Ready");

        let mut dialogue = Dialogue::new(start());
        hear(&mut dialogue, b"OK\rOK\r");
        assert_eq!(hear(&mut dialogue, b"ERROR\r"), [r#"Fault(Refused { command: "ATS0=0" })"#]);
    }

    #[test]
    fn a_silent_modem_is_asked_three_times_and_then_dead() {
        let now = start();
        let mut dialogue = Dialogue::new(now);
        hear(&mut dialogue, b"");
        assert_eq!(feed(&mut dialogue, Input::Deadline, now + REPLY_TIMEOUT), ["> ATZ"]);
        assert_eq!(feed(&mut dialogue, Input::Deadline, now + 2 * REPLY_TIMEOUT), ["> ATZ"]);
        let end = feed(&mut dialogue, Input::Deadline, now + 3 * REPLY_TIMEOUT);
        assert_eq!(end, [r#"Fault(Silent { command: "ATZ" })"#]);
    }

    #[test]
    fn a_ring_and_its_caller_are_told_and_nothing_is_said() {
        let said = b"\r\nRING\r\n\r\nDATE = 1015\r\nTIME = 1310\r\nNMBR = 0661234567\r\n\r\nRING\r\n";
        let heard = hear(&mut ready(), said);
        assert_eq!(heard, ["Ring", "CallerIdBegins", "CallerIdBegins", "CallerId(Digits(..567))", "Ring"]);
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
            ("DELAYED", "RedialLimit"),
            ("ERROR", "Refused"),
        ] {
            let mut dialogue = ready();
            dialogue.handle(Input::Dial { number: &number, timeout: Duration::from_secs(60) }, start());
            let heard = hear(&mut dialogue, format!("\r\nRING\r\n\r\n{said}\r\n").as_bytes());
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
        assert_eq!(end, ["> ATDT201", "> ", "NoCall(NoAnswer)"]);
    }

    #[test]
    fn answering_is_refused_while_a_call_is_set_up() {
        let mut dialogue = ready();
        hear(&mut dialogue, b"RING\r");
        assert_eq!(feed(&mut dialogue, Input::Answer, start()), ["> ATA"]);
        assert_eq!(feed(&mut dialogue, Input::Answer, start()), ["NoCall(NotReady)"]);
    }
}
