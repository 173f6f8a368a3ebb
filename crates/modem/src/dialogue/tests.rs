use super::*;

#[allow(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
fn start() -> Instant {
    Instant::now()
}

/// Feeds an input and gives what was sent and what happened, as text.
fn feed(dialogue: &mut Dialogue, input: Input<'_>, now: Instant) -> Vec<String> {
    dialogue.handle(input, now);
    let mut seen = Vec::new();
    loop {
        match dialogue.poll_output() {
            Output::Transmit(octets) => seen.push(format!(
                "> {}",
                String::from_utf8(octets).unwrap().trim_end()
            )),
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
    let setup = Setup {
        profile: Profile::GENERIC,
        added: vec!["ATS153=6".parse().unwrap()],
    };
    let mut dialogue = Dialogue::new(setup, Signals::OctetsOnly, start());
    let mut said = feed(&mut dialogue, Input::Deadline, start());
    while dialogue.state != State::Ready {
        said.extend(hear(&mut dialogue, b"AT\r\r\nOK\r\n"));
    }
    let profile = [
        "> ATZ",
        "> ATE0Q0V1",
        "> ATX4",
        "> ATS0=0",
        "> AT&C1&D2",
        "> AT&K3",
        "> AT+VCID=1",
        "> AT#CID=1",
    ];
    let last = ["> ATS153=6", "> ATS12=5", "> ATS0=0", "Ready"];
    assert_eq!(said, [profile.as_slice(), &last].concat());
    assert!(dialogue.has_short_guard());
}

#[test]
fn error_is_taken_where_a_modem_may_lack_the_command_and_nowhere_else() {
    let mut dialogue = generic();
    hear(&mut dialogue, b"ERROR\rOK\rERROR\rOK\r");
    assert_eq!(
        hear(&mut dialogue, b"ERROR\rERROR\rERROR\rERROR\rOK\r")
            .last()
            .unwrap(),
        "Ready"
    );

    let mut dialogue = generic();
    hear(&mut dialogue, b"OK\rOK\rOK\r");
    assert_eq!(
        hear(&mut dialogue, b"ERROR\r"),
        [r#"Fault(Refused { command: "ATS0=0" })"#]
    );
}

/// What is said to a modem that answers as `answer` says, until it is ready or dead, and how long that took.
fn converse(
    answer: impl Fn(&str, usize) -> Option<(Duration, &'static [u8])>,
) -> (Vec<String>, Duration) {
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
    let expected = [
        "ATZ",
        "ATZ",
        "ATZ",
        "ATE0Q0V1",
        "+++",
        "ATH",
        "ATZ",
        "ATE0Q0V1",
        r#"Fault(Silent { command: "ATZ" })"#,
    ];
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
        Some((
            if said == "ATZ" {
                Duration::from_secs(7)
            } else {
                Duration::from_millis(10)
            },
            OK,
        ))
    });
    assert_eq!(said.last().unwrap(), "Ready", "{said:?}");
}

#[test]
fn a_modem_that_was_told_to_be_quiet_is_told_to_speak() {
    let (said, took) =
        converse(|said, before| (before >= 3 && said != "ATZ").then_some((Duration::ZERO, OK)));
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
    assert_eq!(
        feed(&mut dialogue, Input::Octets(b"\r\nRING\r\n"), later),
        ["Ring(Plain)"]
    );
    // A message in hex that looks like a caller's number.
    assert!(
        feed(
            &mut dialogue,
            Input::Octets(b"+CMT: ,5\r\n0203323031\r\n"),
            later
        )
        .is_empty()
    );
    // While a call is set up its end is not missed: one line is text.
    let number = N.parse().unwrap();
    feed(
        &mut dialogue,
        Input::Dial {
            number: &number,
            timeout: TEN_SECONDS,
        },
        later,
    );
    let heard = feed(
        &mut dialogue,
        Input::Octets(b"+CMT: ,5\r\nNO CARRIER\r\nBUSY\r\n"),
        later,
    );
    assert_eq!(heard, ["NoCall(Busy)"]);
}

#[test]
fn the_line_that_rings_may_name_the_caller() {
    for said in [
        "RING;08912345;08765\r",
        "RING 08912345*01\r",
        "FM:08912345 TO:08765\r",
    ] {
        assert_eq!(
            hear(&mut ready(), said.as_bytes()),
            ["CallerId(Digits(..345))", "Ring(Plain)"],
            "{said}"
        );
    }
}

#[test]
fn a_ring_and_its_caller_are_told_and_nothing_is_said() {
    let said = b"\r\nRING\r\n\r\nDATE = 1015\r\nTIME = 1310\r\nNMBR = 0661234567\r\n\r\nRING\r\n";
    let heard = hear(&mut ready(), said);
    assert_eq!(
        heard,
        [
            "Ring(Plain)",
            "CallerIdBegins",
            "CallerIdBegins",
            "CallerId(Digits(..567))",
            "Ring(Plain)"
        ]
    );
}

#[test]
fn octets_behind_connect_belong_to_the_call() {
    let mut dialogue = ready();
    let number = "201".parse().unwrap();
    let dial = Input::Dial {
        number: &number,
        timeout: Duration::from_secs(60),
    };
    assert_eq!(feed(&mut dialogue, dial, start()), ["> ATDT201"]);
    dialogue.handle(Input::Octets(b"\r\nCONNECT 33600\r\n~\xff\x03"), start());
    let Output::Event(Event::Connected { rate, octets }) = dialogue.poll_output() else {
        panic!("not connected")
    };
    assert_eq!(
        (rate, octets.as_slice()),
        (Some(33600), b"~\xff\x03".as_slice())
    );
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
        dialogue.handle(
            Input::Dial {
                number: &number,
                timeout: Duration::from_secs(60),
            },
            start(),
        );
        let heard = hear(
            &mut dialogue,
            format!("\r\nRING\r\nRINGING\r\n{said}\r\n").as_bytes(),
        );
        assert_eq!(heard, ["> ATDT201".into(), format!("NoCall({failure})")]);
        assert_eq!(dialogue.state, State::Ready);
    }
}

#[test]
fn a_dial_without_any_result_is_given_up_in_time() {
    let mut dialogue = ready();
    let number = "201".parse().unwrap();
    let now = start();
    dialogue.handle(
        Input::Dial {
            number: &number,
            timeout: Duration::from_secs(60),
        },
        now,
    );
    let end = feed(
        &mut dialogue,
        Input::Deadline,
        now + Duration::from_secs(60),
    );
    assert_eq!(end, ["> ATDT201", "> "]);
    assert_eq!(
        hear(&mut dialogue, b"\r\nNO CARRIER\r\n"),
        ["NoCall(NoAnswer)"]
    );
}

#[test]
fn a_modem_that_says_nothing_of_a_call_and_nothing_of_its_end_is_faulty() {
    let mut dialogue = ready();
    let number = "201".parse().unwrap();
    let now = start();
    dialogue.handle(
        Input::Dial {
            number: &number,
            timeout: TEN_SECONDS,
        },
        now,
    );
    feed(&mut dialogue, Input::Deadline, now + TEN_SECONDS);
    assert_eq!(
        feed(
            &mut dialogue,
            Input::Deadline,
            now + TEN_SECONDS + REPLY_TIMEOUT
        ),
        ["> "]
    );
    let end = feed(
        &mut dialogue,
        Input::Deadline,
        now + TEN_SECONDS + 2 * REPLY_TIMEOUT,
    );
    assert_eq!(end, [r#"Fault(Silent { command: "ATD" })"#]);
}

#[test]
fn answering_is_refused_while_a_call_is_set_up() {
    let mut dialogue = ready();
    hear(&mut dialogue, b"RING\r");
    assert_eq!(feed(&mut dialogue, Input::Answer, start()), ["> ATA"]);
    assert_eq!(
        feed(&mut dialogue, Input::Answer, start()),
        ["NoCall(NotReady)"]
    );
}

const N: &str = "201";
const TEN_SECONDS: Duration = Duration::from_secs(10);

fn ring_only(dialogue: &mut Dialogue, now: Instant) -> Vec<String> {
    let number = N.parse().unwrap();
    feed(
        dialogue,
        Input::RingOnly {
            number: &number,
            duration: TEN_SECONDS,
        },
        now,
    )
}

#[test]
fn a_number_is_let_ring_and_the_call_ended_before_anybody_pays() {
    let now = start();
    for (profile, dialled, ended) in [
        ("generic", "> ATDT201", "> "),
        ("gsm", "> ATD201;", "> AT+CHUP"),
    ] {
        let mut dialogue = initialised(profile.parse().unwrap());
        assert_eq!(ring_only(&mut dialogue, now), [dialled]);
        assert!(
            hear(&mut dialogue, b"\r\nOK\r\n").is_empty(),
            "{profile}: it rings"
        );
        assert!(feed(&mut dialogue, Input::Deadline, now + TEN_SECONDS / 2).is_empty());
        assert_eq!(
            feed(&mut dialogue, Input::Deadline, now + TEN_SECONDS),
            [ended],
            "{profile}"
        );
        assert_eq!(hear(&mut dialogue, b"\r\nOK\r\n"), ["Rung"], "{profile}");
    }
}

#[test]
fn a_ring_that_has_done_its_work_is_ended_at_once() {
    let now = start();
    let mut dialogue = initialised("gsm".parse().unwrap());
    assert!(
        feed(&mut dialogue, Input::StopRinging, now).is_empty(),
        "nothing rings"
    );
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
    assert_eq!(
        hear(&mut dialogue, b"\r\n+CRING: VOICE\r\n"),
        ["Ring(Voice)"]
    );
    assert_eq!(feed(&mut dialogue, Input::Answer, start()), ["> ATA"]);
    assert_eq!(
        hear(&mut dialogue, b"\r\nOK\r\n"),
        ["> AT+CHUP", "NoCall(NotData)"]
    );
}

#[test]
fn a_ring_is_refused_by_a_command_where_the_line_has_one_and_by_silence_elsewhere() {
    let refuse = |profile: &str| {
        feed(
            &mut initialised(profile.parse().unwrap()),
            Input::Refuse,
            start(),
        )
    };
    assert_eq!(refuse("gsm"), ["> AT+CHUP"]);
    assert_eq!(refuse("isdn"), ["> ATH"]);
    assert!(refuse("generic").is_empty());
}

#[test]
fn a_probe_finds_a_modem_that_is_there_and_one_that_is_not_after_two_tries() {
    let now = start();
    let mut dialogue = ready();
    assert_eq!(feed(&mut dialogue, Input::Probe, now), ["> AT"]);
    assert_eq!(
        hear(&mut dialogue, b"\r\nRING\r\n\r\nOK\r\n"),
        ["Ring(Plain)", "Healthy"]
    );
    feed(&mut dialogue, Input::Probe, now);
    assert_eq!(
        feed(&mut dialogue, Input::Deadline, now + REPLY_TIMEOUT),
        ["> AT"]
    );
    let end = feed(&mut dialogue, Input::Deadline, now + 2 * REPLY_TIMEOUT);
    assert_eq!(end, [r#"Fault(Silent { command: "AT" })"#]);
}

#[test]
fn the_lines_rate_counts_and_not_the_ports_where_the_modem_says_both() {
    let mut dialogue = ready();
    feed(&mut dialogue, Input::Answer, start());
    let said = b"CARRIER 31200\r\nPROTOCOL: LAPM\r\nCOMPRESSION: V.42BIS\r\nCONNECT 115200\r\n";
    dialogue.handle(Input::Octets(said), start());
    assert!(matches!(
        dialogue.poll_output(),
        Output::Event(Event::Connected {
            rate: Some(31_200),
            ..
        })
    ));
}

#[test]
fn a_call_that_comes_up_while_it_is_given_up_is_a_call() {
    let (number, timeout) = ("301".parse().unwrap(), Duration::from_secs(5));
    for input in [
        Input::Dial {
            number: &number,
            timeout,
        },
        Input::RingOnly {
            number: &number,
            duration: timeout,
        },
    ] {
        let mut dialogue = ready();
        feed(&mut dialogue, input, start());
        feed(&mut dialogue, Input::Deadline, start() + timeout);
        assert!(matches!(dialogue.state, State::Aborting { .. }));
        assert_eq!(
            hear(&mut dialogue, b"\r\nCONNECT 9600\r\n~"),
            ["Connected { rate: Some(9600), octets: [126] }"]
        );
        assert_eq!(dialogue.state, State::Online);
    }
}
