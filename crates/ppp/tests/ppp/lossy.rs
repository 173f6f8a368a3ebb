//! Two ends on a line that loses, repeats, cuts and bends what crosses it.

use std::time::Duration;

use proptest::prelude::*;
use ringup_ppp::{Config, Event, LineProfile};

use crate::call::{
    Call, Impairment, SERVER, SERVER_ADDRESS, TERMINAL, TERMINAL_ADDRESS, line, server, terminal,
};
use crate::prediction::remembered;

/// No negotiation here takes longer: 10 openings of 2 protocols, each of 30 requests 10 s apart.
const GIVEN_UP_BY: Duration = Duration::from_secs(2 * 10 * 30 * 10);

/// What happens to one write. Chosen by proptest, so a failure shrinks to the few that matter.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    None,
    Lost,
    Repeated,
    CutAt(usize),
    BitFlippedAt(usize),
    NoiseBefore(u8),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        4 => Just(Mishap::None),
        2 => Just(Mishap::Lost),
        1 => Just(Mishap::Repeated),
        1 => any::<usize>().prop_map(Mishap::CutAt),
        2 => any::<usize>().prop_map(Mishap::BitFlippedAt),
        1 => any::<u8>().prop_map(Mishap::NoiseBefore),
    ]
}

fn happen(mishap: Mishap, mut octets: Vec<u8>) -> Vec<Vec<u8>> {
    match mishap {
        Mishap::None => {}
        Mishap::Lost => return vec![],
        Mishap::Repeated => return vec![octets.clone(), octets],
        Mishap::CutAt(at) => octets.truncate(at % octets.len()),
        Mishap::BitFlippedAt(at) => {
            let bits = 8 * octets.len();
            octets[at % bits / 8] ^= 1 << (at % 8);
        }
        Mishap::NoiseBefore(octet) => octets.splice(0..0, [octet, !octet, 0x7d]).for_each(drop),
    }
    vec![octets]
}

/// The list over and over, or once and then a clean line.
fn mishaps(list: Vec<Mishap>, is_endless: bool) -> Impairment {
    let mut next = 0;
    Box::new(move |octets| {
        let mishap = if is_endless {
            list[next % list.len()]
        } else {
            *list.get(next).unwrap_or(&Mishap::None)
        };
        next += 1;
        happen(mishap, octets)
    })
}

/// Server and terminal, and which of them expects what an earlier call has agreed on.
fn ends(line: LineProfile, remembers: [bool; 2]) -> [Config; 2] {
    let ends = [server(line), terminal(line)];
    let agreed = remembered(ends[SERVER].clone(), ends[TERMINAL].clone());
    let [server, terminal] = ends;
    [
        Config {
            expected: agreed[SERVER].filter(|_| remembers[SERVER]),
            ..server
        },
        Config {
            expected: agreed[TERMINAL].filter(|_| remembers[TERMINAL]),
            ..terminal
        },
    ]
}

proptest! {
    #[test]
    fn both_ends_open_as_agreed_or_both_give_up(
        list in prop::collection::vec(mishap(), 1..40),
        is_endless: bool,
        rate_bps in prop::sample::select(vec![1200u32, 2400, 9600, 33_600]),
        delay_ms in 0u64..1500,
        remembers: [bool; 2],
    ) {
        let line = line(rate_bps, delay_ms);
        let [server, terminal] = ends(line, remembers);
        let mut call = Call::impaired(line, server, terminal, mishaps(list, is_endless));
        call.run(GIVEN_UP_BY);
        let [server, terminal] = &call.ends;
        match (server.network(), terminal.network()) {
            (Some(server_network), Some(terminal_network)) => {
                prop_assert_eq!(server_network, (SERVER_ADDRESS, Some(TERMINAL_ADDRESS), 1500));
                prop_assert_eq!(terminal_network, (TERMINAL_ADDRESS, Some(SERVER_ADDRESS), 1500));
                let (a, b) = (server.link().unwrap(), terminal.link().unwrap());
                prop_assert_eq!((a.sending, a.receiving), (b.receiving, b.sending));
            }
            (None, None) => prop_assert!(server.closed().is_some() && terminal.closed().is_some()),
            (server, terminal) => prop_assert!(false, "server {server:?}, terminal {terminal:?}"),
        }
    }

    #[test]
    fn ten_mishaps_on_a_line_that_is_clean_afterwards_never_prevent_a_link(
        list in prop::collection::vec(mishap(), 0..10),
        delay_ms in 0u64..1500,
        remembers: [bool; 2],
    ) {
        let line = line(9600, delay_ms);
        let [server, terminal] = ends(line, remembers);
        let mut call = Call::impaired(line, server, terminal, mishaps(list, false));
        call.run(GIVEN_UP_BY);
        for end in [SERVER, TERMINAL] {
            prop_assert!(call.ends[end].network().is_some(), "{:?}", call.ends[end].events);
        }
    }

    #[test]
    fn every_network_up_has_its_down_and_closed_comes_once_and_last(
        list in prop::collection::vec(mishap(), 1..40),
        delay_ms in 0u64..1500,
        remembers: [bool; 2],
    ) {
        let line = line(9600, delay_ms);
        let [server, terminal] = ends(line, remembers);
        let mut call = Call::impaired(line, server, terminal, mishaps(list, true));
        call.run(GIVEN_UP_BY);
        call.handle(SERVER, ringup_ppp::Input::Close);
        call.run(2 * GIVEN_UP_BY);
        for end in &call.ends {
            let ups = end.events.iter().filter(|(_, event)| matches!(event, Event::NetworkUp { .. })).count();
            let downs = end.events.iter().filter(|(_, event)| *event == Event::NetworkDown).count();
            prop_assert_eq!(ups, downs);
            prop_assert!(matches!(end.events.last(), Some((_, Event::Closed(_)))));
        }
    }
}
