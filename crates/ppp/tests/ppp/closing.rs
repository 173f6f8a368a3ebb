//! How a link ends, and whose fault it was.

use std::time::Duration;

use ringup_ppp::{
    CloseReason, Config, ControlProtocol, Event, Fault, Input, Keepalive, LineProfile,
    LocalAddress, MAX_CONFIGURE, Output, PeerAddress, Phase, Session,
};

use crate::call::{
    Call, SERVER, SERVER_ADDRESS, TERMINAL, TERMINAL_ADDRESS, line, origin, server, terminal,
};

const MINUTE: Duration = Duration::from_secs(60);

fn open_call() -> Call {
    let line = line(33_600, 60);
    let mut call = Call::new(line, server(line), terminal(line));
    call.run(MINUTE);
    assert!(call.ends.iter().all(|end| end.network().is_some()));
    call
}

#[test]
fn an_orderly_close_ends_both_sides_within_a_round_trip_of_the_closer() {
    let mut call = open_call();
    let began = call.now;
    call.handle(SERVER, Input::Close);
    call.run(10 * MINUTE);
    assert_eq!(call.ends[SERVER].closed(), Some(CloseReason::ClosedHere));
    let terminated = CloseReason::PeerTerminated {
        protocol: ControlProtocol::Lcp,
    };
    assert_eq!(call.ends[TERMINAL].closed(), Some(terminated));
    assert_eq!(terminated.fault(), Fault::Nobody);
    assert!(
        call.now - began < Duration::from_millis(400),
        "{:?}",
        call.now - began
    );
    for end in &call.ends {
        let last: Vec<_> = end
            .events
            .iter()
            .rev()
            .take(2)
            .map(|(_, event)| *event)
            .collect();
        assert_eq!(last[1], Event::NetworkDown);
    }
}

#[test]
fn a_close_that_nobody_answers_takes_two_requests() {
    let (writes, waited, reason) = alone(server(line(33_600, 60)), &[Input::Close]);
    // One Configure-Request, two Terminate-Requests; the first two of them leave together.
    assert_eq!((writes, reason), (2, CloseReason::ClosedHere));
    assert_eq!(waited, Duration::from_secs(2));
}

#[test]
fn a_silent_peer_is_asked_ten_times_and_then_has_not_answered() {
    let (writes, waited, reason) = alone(server(LineProfile::UNKNOWN), &[]);
    assert_eq!(writes, usize::from(MAX_CONFIGURE));
    assert_eq!(waited, Duration::from_secs(30));
    assert_eq!(
        reason,
        CloseReason::NoAnswer {
            protocol: ControlProtocol::Lcp
        }
    );
    assert_eq!(reason.fault(), Fault::Peer);
}

#[test]
fn an_echoing_modem_is_recognised_and_is_the_lines_fault() {
    let now = origin();
    let mut session = Session::new(server(line(33_600, 60)), 1, now);
    let mut writes = 0;
    let reason = loop {
        match session.poll_output() {
            Output::Transmit(octets) => {
                writes += 1;
                assert!(writes < 20, "the loop is not seen");
                session.handle(Input::Bytes(&octets), now);
            }
            Output::Event(Event::Closed(reason)) => break reason,
            Output::Timeout { .. } => panic!("the loop falls silent"),
            _ => {}
        }
    };
    assert_eq!(
        (reason, reason.fault()),
        (CloseReason::Loopback, Fault::Line)
    );
}

#[test]
fn a_lost_carrier_ends_everything_at_once() {
    let mut call = open_call();
    call.handle(SERVER, Input::CarrierLost);
    assert_eq!(call.ends[SERVER].closed(), Some(CloseReason::CarrierLost));
    assert_eq!(call.ends[SERVER].session.phase(), Phase::Dead);
}

#[test]
fn a_carrier_lost_after_the_peer_terminated_is_still_the_peers_orderly_end() {
    let mut call = open_call();
    call.handle(TERMINAL, Input::Close);
    call.run(10 * MINUTE);
    assert_eq!(
        call.ends[SERVER].closed(),
        Some(CloseReason::PeerTerminated {
            protocol: ControlProtocol::Lcp
        })
    );
}

#[test]
fn a_terminal_that_insists_on_another_address_is_given_up() {
    let line = line(33_600, 60);
    let stubborn = Config {
        local: LocalAddress::Own([192, 168, 1, 9].into()),
        ..terminal(line)
    };
    let mut call = Call::new(line, server(line), stubborn);
    call.run(10 * MINUTE);
    for end in &call.ends {
        assert!(end.closed().is_some());
        assert_eq!(end.up_after(), None);
    }
    let reasons = [SERVER, TERMINAL].map(|end| call.ends[end].closed().unwrap());
    assert!(
        reasons.contains(&CloseReason::NotConverged {
            protocol: ControlProtocol::Ipcp
        }),
        "{reasons:?}"
    );
}

#[test]
fn two_ends_of_which_neither_has_an_address_give_up() {
    let line = line(33_600, 60);
    let mut call = Call::new(line, terminal(line), terminal(line));
    call.run(10 * MINUTE);
    let reasons = [SERVER, TERMINAL].map(|end| call.ends[end].closed().unwrap());
    assert!(
        reasons.contains(&CloseReason::NotConverged {
            protocol: ControlProtocol::Ipcp
        }),
        "{reasons:?}"
    );
}

#[test]
fn an_unspecified_address_in_the_configuration_is_a_question_not_an_address() {
    let line = line(33_600, 60);
    let asking = Config {
        local: LocalAddress::Own([0, 0, 0, 0].into()),
        peer: PeerAddress::Assign([0, 0, 0, 0].into()),
        ..terminal(line)
    };
    let mut call = Call::new(line, server(line), asking);
    call.run(MINUTE);
    assert_eq!(
        call.ends[TERMINAL].network(),
        Some((TERMINAL_ADDRESS, Some(SERVER_ADDRESS), 1500))
    );
}

#[test]
fn silence_is_noticed_after_the_allowed_losses_and_echoes_keep_a_quiet_link_up() {
    let line = line(33_600, 60);
    let keepalive = Some(Keepalive {
        interval: Duration::from_secs(10),
        losses_max: 3,
    });
    let (mut writes, cut_after) = (0, 60);
    let cut = Box::new(move |octets| {
        writes += 1;
        if writes > cut_after {
            vec![]
        } else {
            vec![octets]
        }
    });
    let mut call = Call::impaired(
        line,
        Config {
            keepalive,
            ..server(line)
        },
        terminal(line),
        cut,
    );
    call.run(4 * MINUTE);
    assert!(
        call.ends[SERVER].network().is_some(),
        "a quiet link stays up"
    );
    call.run(20 * MINUTE);
    assert_eq!(call.ends[SERVER].closed(), Some(CloseReason::EchoLost));
    assert_eq!(call.ends[TERMINAL].closed(), Some(CloseReason::CarrierLost));
}

#[test]
fn without_a_keepalive_an_open_link_wakes_nobody() {
    let mut call = open_call();
    for end in &mut call.ends {
        assert!(matches!(
            end.session.poll_output(),
            Output::Timeout { at: None, .. }
        ));
    }
}

#[test]
fn a_closed_session_says_nothing_whatever_it_is_told() {
    let now = origin();
    let mut session = Session::new(server(line(33_600, 60)), 1, now);
    session.handle(Input::CarrierLost, now);
    assert!(matches!(
        session.poll_output(),
        Output::Event(Event::Closed(CloseReason::CarrierLost))
    ));
    let later = now + MINUTE;
    for input in [
        Input::Deadline,
        Input::Close,
        Input::CarrierLost,
        Input::Packet(&[0x45; 20]),
    ] {
        session.handle(input, later);
    }
    assert!(matches!(
        session.poll_output(),
        Output::Timeout { at: None, .. }
    ));
}

/// Feeds these inputs, then nothing but deadlines. Writes, time and the end.
fn alone(config: Config, inputs: &[Input<'_>]) -> (usize, Duration, CloseReason) {
    let began = origin();
    let mut now = began;
    let mut session = Session::new(config, 1, now);
    for input in inputs {
        session.handle(*input, now);
    }
    let mut writes = 0;
    loop {
        match session.poll_output() {
            Output::Transmit(_) => writes += 1,
            Output::Event(Event::Closed(reason)) => return (writes, now - began, reason),
            Output::Timeout { at: Some(at), .. } => {
                now = at;
                session.handle(Input::Deadline, now);
            }
            Output::Timeout { at: None, .. } => panic!("it waits for ever"),
            _ => {}
        }
    }
}
