//! Pure. RFC 2217: a serial port over telnet, seen from the access server. Octets in, octets and orders out.
//!
//! The line settings are remembered and told back, as a port of a modem that adapts to any of them does.

use crate::{
    station::Signals,
    telnet::{Decoder, Heard, Verb, write_data, write_negotiation, write_subnegotiation},
};
use std::collections::BTreeMap;

const BINARY: u8 = 0;
const SUPPRESS_GO_AHEAD: u8 = 3;
const COM_PORT: u8 = 44;
const OPTIONS: [u8; 3] = [BINARY, SUPPRESS_GO_AHEAD, COM_PORT];
/// What the server answers with is 100 above what the client has sent.
const FROM_SERVER: u8 = 100;
const NOTIFY_LINESTATE: u8 = 6;
const NOTIFY_MODEMSTATE: u8 = 7;
const DCD: u8 = 0x80;
const RI: u8 = 0x40;
const DSR: u8 = 0x20;
const CTS: u8 = 0x10;
const DCD_CHANGED: u8 = 0x08;
const RI_ENDED: u8 = 0x04;
/// Transmitter and holding register empty: what the client sends is taken when it comes.
const LINE_IS_EMPTY: u8 = 0x60;
const SIGNATURE: &[u8] = b"ringup exchange";

/// What a client wants of the port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// For the modem.
    Data(Vec<u8>),
    Dtr(bool),
    /// RTS, or flow control of the client: whether it takes data.
    Ready(bool),
    /// What waits for the client is not wanted.
    PurgeReceived,
    /// What waits for the modem is not to be sent.
    PurgeSent,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct ComPort {
    decoder: Decoder,
    /// Our side and the client's side of each option.
    ours: BTreeMap<u8, Side>,
    theirs: BTreeMap<u8, Side>,
    baud_rate: u32,
    /// Data bits, parity and stop bits by their command numbers.
    frame: [u8; 3],
    outbound_flow: u8,
    inbound_flow: u8,
    is_break: bool,
    is_dtr_on: bool,
    is_rts_on: bool,
    is_suspended: bool,
    modem_mask: u8,
    line_mask: u8,
    signals: Signals,
    /// For the client.
    answers: Vec<u8>,
}

/// One side of an option.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    is_on: bool,
    is_asked: bool,
}

impl ComPort {
    /// A new connection; it asks for what it needs at once. DTR and RTS are on.
    pub(crate) fn new(signals: Signals) -> Self {
        let mut port = Self {
            decoder: Decoder::default(),
            ours: BTreeMap::new(),
            theirs: BTreeMap::new(),
            baud_rate: 115_200,
            frame: [8, 1, 1],
            outbound_flow: 3,
            inbound_flow: 16,
            is_break: false,
            is_dtr_on: true,
            is_rts_on: true,
            is_suspended: false,
            modem_mask: u8::MAX,
            line_mask: 0,
            signals,
            answers: Vec::new(),
        };
        for option in [BINARY, SUPPRESS_GO_AHEAD] {
            port.ask(Verb::Will, option);
        }
        // Not for the port itself: pyserial takes a request that crosses its own for the answer, and then sends none.
        port.ask(Verb::Do, BINARY);
        port
    }

    fn ask(&mut self, verb: Verb, option: u8) {
        let sides = if verb == Verb::Will {
            &mut self.ours
        } else {
            &mut self.theirs
        };
        sides.entry(option).or_default().is_asked = true;
        write_negotiation(verb, option, &mut self.answers);
    }

    /// Takes what the client has sent.
    pub(crate) fn receive(&mut self, octets: &[u8]) -> Vec<Order> {
        let mut orders = Vec::new();
        for heard in self.decoder.feed(octets) {
            match heard {
                Heard::Data(data) => orders.push(Order::Data(data)),
                Heard::Negotiation(verb, option) => self.negotiate(verb, option),
                Heard::Subnegotiation {
                    option: COM_PORT,
                    body,
                } => self.command(&body, &mut orders),
                Heard::Subnegotiation { .. } => {}
            }
        }
        orders
    }

    /// Writes what is for the client but data: before any data that comes later.
    pub(crate) fn take_answers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answers)
    }

    /// Data for the client, as it goes over the connection.
    pub(crate) fn encode(data: &[u8]) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(data.len());
        write_data(data, &mut encoded);
        encoded
    }

    /// The circuits changed; the client is notified if it asked for that.
    pub(crate) fn show(&mut self, signals: Signals) {
        let before = std::mem::replace(&mut self.signals, signals);
        let mut changes = 0;
        if before.carrier != signals.carrier {
            changes |= DCD_CHANGED | DCD;
        }
        if before.ring != signals.ring {
            changes |= RI | if before.ring { RI_ENDED } else { 0 };
        }
        // RFC 2217 §3: the mask says which of the bits is worth a message.
        if changes & self.modem_mask != 0 {
            self.notify(changes & (DCD_CHANGED | RI_ENDED));
        }
    }

    fn notify(&mut self, changes: u8) {
        if self.theirs.get(&COM_PORT).is_some_and(|side| side.is_on) {
            let state = self.modem_state() | changes;
            self.answer(NOTIFY_MODEMSTATE, &[state & self.modem_mask]);
        }
    }

    fn modem_state(&self) -> u8 {
        let bit = |is_on, bit| if is_on { bit } else { 0 };
        DSR | CTS | bit(self.signals.carrier, DCD) | bit(self.signals.ring, RI)
    }

    /// Answers only what changes something, so that two ends never answer each other's answers.
    fn negotiate(&mut self, verb: Verb, option: u8) {
        let (sides, yes, no, is_on) = match verb {
            Verb::Will => (&mut self.theirs, Verb::Do, Verb::Dont, true),
            Verb::Wont => (&mut self.theirs, Verb::Do, Verb::Dont, false),
            Verb::Do => (&mut self.ours, Verb::Will, Verb::Wont, true),
            Verb::Dont => (&mut self.ours, Verb::Will, Verb::Wont, false),
        };
        if !OPTIONS.contains(&option) {
            if is_on {
                write_negotiation(no, option, &mut self.answers);
            }
            return;
        }
        let side = sides.entry(option).or_default();
        let was_asked = std::mem::take(&mut side.is_asked);
        if std::mem::replace(&mut side.is_on, is_on) == is_on {
            return;
        }
        if !is_on {
            write_negotiation(no, option, &mut self.answers);
        } else if !was_asked {
            write_negotiation(yes, option, &mut self.answers);
        }
        if option == COM_PORT && verb == Verb::Will {
            self.notify(0);
        }
    }

    fn answer(&mut self, command: u8, value: &[u8]) {
        let body: Vec<_> = std::iter::once(command + FROM_SERVER)
            .chain(value.iter().copied())
            .collect();
        write_subnegotiation(COM_PORT, &body, &mut self.answers);
    }

    fn command(&mut self, body: &[u8], orders: &mut Vec<Order>) {
        match *body {
            [0] => self.answer(0, SIGNATURE),
            // A signature of the client's: nothing to say to that.
            [0, ..] => {}
            [1, a, b, c, d] => {
                let wanted = u32::from_be_bytes([a, b, c, d]);
                if wanted != 0 {
                    self.baud_rate = wanted;
                }
                self.answer(1, &self.baud_rate.to_be_bytes());
            }
            [command @ 2..=4, wanted] => {
                let (place, most) = match command {
                    2 => (0, 8),
                    3 => (1, 5),
                    _ => (2, 3),
                };
                let least = if command == 2 { 5 } else { 1 };
                if (least..=most).contains(&wanted) {
                    self.frame[place] = wanted;
                }
                self.answer(command, &[self.frame[place]]);
            }
            [5, wanted] => self.control(wanted, orders),
            // Not in the RFC, but pyserial polls so.
            [NOTIFY_LINESTATE] => self.answer(NOTIFY_LINESTATE, &[LINE_IS_EMPTY]),
            [NOTIFY_MODEMSTATE] => self.notify(0),
            [8] | [9] => {
                self.is_suspended = body == [8];
                orders.push(Order::Ready(self.is_ready()));
            }
            [10, mask] => {
                self.line_mask = mask;
                self.answer(10, &[mask]);
                if mask & LINE_IS_EMPTY != 0 {
                    self.answer(NOTIFY_LINESTATE, &[LINE_IS_EMPTY & mask]);
                }
            }
            [11, mask] => {
                self.modem_mask = mask;
                self.answer(11, &[mask]);
                self.notify(0);
            }
            [12, what @ 1..=3] => {
                if what & 1 != 0 {
                    orders.push(Order::PurgeReceived);
                }
                if what & 2 != 0 {
                    orders.push(Order::PurgeSent);
                }
                self.answer(12, &[what]);
            }
            // Not a command of a client's, or not of the length it has.
            _ => {}
        }
    }

    fn control(&mut self, wanted: u8, orders: &mut Vec<Order>) {
        let on_or_off = |is_on, on: u8| if is_on { on } else { on + 1 };
        let now = match wanted {
            0..=3 => {
                if wanted > 0 {
                    self.outbound_flow = wanted;
                }
                self.outbound_flow
            }
            4..=6 => {
                self.is_break = if wanted == 4 {
                    self.is_break
                } else {
                    wanted == 5
                };
                on_or_off(self.is_break, 5)
            }
            7..=9 => {
                if wanted > 7 {
                    self.is_dtr_on = wanted == 8;
                    orders.push(Order::Dtr(self.is_dtr_on));
                }
                on_or_off(self.is_dtr_on, 8)
            }
            10..=12 => {
                if wanted > 10 {
                    self.is_rts_on = wanted == 11;
                    orders.push(Order::Ready(self.is_ready()));
                }
                on_or_off(self.is_rts_on, 11)
            }
            13..=16 => {
                if wanted > 13 {
                    self.inbound_flow = wanted;
                }
                self.inbound_flow
            }
            // Flow control by DCD, DTR or DSR: what there is stays.
            17..=19 => self.inbound_flow,
            _ => return,
        };
        self.answer(5, &[now]);
    }

    fn is_ready(&self) -> bool {
        self.is_rts_on && !self.is_suspended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFF: Signals = Signals {
        carrier: false,
        ring: false,
    };

    /// A connection on which both have agreed on everything, and whose answers so far are forgotten.
    fn agreed() -> ComPort {
        let mut port = ComPort::new(OFF);
        for option in [BINARY, COM_PORT, SUPPRESS_GO_AHEAD] {
            port.negotiate(Verb::Will, option);
            port.negotiate(Verb::Do, option);
        }
        port.take_answers();
        port
    }

    fn ask(port: &mut ComPort, body: &[u8]) -> (Vec<Order>, Vec<Heard>) {
        let mut sent = Vec::new();
        write_subnegotiation(COM_PORT, body, &mut sent);
        let orders = port.receive(&sent);
        (orders, Decoder::default().feed(&port.take_answers()))
    }

    fn answer(body: &[u8]) -> Vec<Heard> {
        vec![Heard::Subnegotiation {
            option: COM_PORT,
            body: body.to_vec(),
        }]
    }

    #[test]
    fn settings_are_answered_with_what_is_set_and_a_question_changes_nothing() {
        let mut port = agreed();
        for (asked, answered) in [
            (&[1, 0, 0, 0x25, 0x80][..], &[101, 0, 0, 0x25, 0x80][..]),
            (&[1, 0, 0, 0, 0], &[101, 0, 0, 0x25, 0x80]),
            (&[2, 7], &[102, 7]),
            (&[2, 0], &[102, 7]),
            (&[2, 9], &[102, 7]),
            (&[3, 3], &[103, 3]),
            (&[4, 2], &[104, 2]),
            (&[5, 0], &[105, 3]),
            (&[5, 1], &[105, 1]),
            (&[5, 7], &[105, 8]),
            (&[5, 10], &[105, 11]),
            (&[5, 5], &[105, 5]),
            (&[5, 4], &[105, 5]),
            (&[5, 17], &[105, 16]),
            (&[11, 255], &[111, 255]),
        ] {
            let (orders, heard) = ask(&mut port, asked);
            assert_eq!(
                (orders, &heard[..1]),
                (vec![], &answer(answered)[..]),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn dtr_rts_and_flow_control_are_orders() {
        let mut port = agreed();
        assert_eq!(
            ask(&mut port, &[5, 9]),
            (vec![Order::Dtr(false)], answer(&[105, 9]))
        );
        assert_eq!(
            ask(&mut port, &[5, 8]),
            (vec![Order::Dtr(true)], answer(&[105, 8]))
        );
        assert_eq!(ask(&mut port, &[8]), (vec![Order::Ready(false)], vec![]));
        assert_eq!(ask(&mut port, &[5, 12]).0, [Order::Ready(false)]);
        assert_eq!(
            ask(&mut port, &[9]),
            (vec![Order::Ready(false)], vec![]),
            "RTS is still off"
        );
        assert_eq!(ask(&mut port, &[5, 11]).0, [Order::Ready(true)]);
        assert_eq!(
            ask(&mut port, &[12, 3]),
            (
                vec![Order::PurgeReceived, Order::PurgeSent],
                answer(&[112, 3])
            )
        );
    }

    #[test]
    fn changes_of_dcd_and_ri_are_told_as_far_as_the_mask_says() {
        let mut port = agreed();
        let told = |port: &mut ComPort, carrier, ring| {
            port.show(Signals { carrier, ring });
            Decoder::default().feed(&port.take_answers())
        };
        assert_eq!(told(&mut port, false, true), answer(&[107, RI | DSR | CTS]));
        assert_eq!(told(&mut port, false, true), []);
        assert_eq!(
            told(&mut port, false, false),
            answer(&[107, RI_ENDED | DSR | CTS])
        );
        assert_eq!(
            told(&mut port, true, false),
            answer(&[107, DCD | DCD_CHANGED | DSR | CTS])
        );
        ask(&mut port, &[11, RI]);
        assert_eq!(told(&mut port, false, false), []);
        assert_eq!(told(&mut port, false, true), answer(&[107, RI]));
    }

    #[test]
    fn nothing_is_told_to_a_client_that_has_not_agreed_to_hear_it() {
        let mut port = ComPort::new(OFF);
        port.take_answers();
        port.show(Signals {
            carrier: true,
            ring: false,
        });
        assert!(port.take_answers().is_empty());
    }

    #[test]
    fn an_option_is_agreed_on_once_and_another_is_refused() {
        let mut port = ComPort::new(OFF);
        port.take_answers();
        port.negotiate(Verb::Do, BINARY);
        port.negotiate(Verb::Will, BINARY);
        assert!(port.take_answers().is_empty(), "it had asked for these");
        port.negotiate(Verb::Do, COM_PORT);
        port.negotiate(Verb::Do, COM_PORT);
        port.negotiate(Verb::Do, 1);
        port.negotiate(Verb::Dont, 1);
        let wanted = [
            Heard::Negotiation(Verb::Will, COM_PORT),
            Heard::Negotiation(Verb::Wont, 1),
        ];
        assert_eq!(Decoder::default().feed(&port.take_answers()), wanted);
    }

    proptest! {
        #[test]
        fn an_arbitrary_client_gets_no_more_than_a_small_multiple_of_what_it_sends(
            octets in prop::collection::vec(prop_oneof![Just(255), Just(250), Just(240), Just(44), any::<u8>()], 0..500),
        ) {
            let mut port = agreed();
            let data: usize = port.receive(&octets).iter().map(|order| match order {
                Order::Data(data) => data.len(),
                _ => 0,
            }).sum();
            prop_assert!(data <= octets.len());
            prop_assert!(port.take_answers().len() <= octets.len() * 4);
        }
    }
}
