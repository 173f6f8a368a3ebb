//! Pure. A modem behind a terminal server: telnet (RFC 854) with the COM port control option (RFC 2217), as its client.
//!
//! ```text
//!   WILL COM-PORT, binary both ways ──►  ◄── DO COM-PORT     speed, 8N1, RTS/CTS, DTR on ──►
//!                                        ◄── NOTIFY-MODEMSTATE, whenever DCD changes
//!   SET-CONTROL DTR off ──►                                  the modem hangs up (&D2)
//! ```

/// RFC 854.
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

/// RFC 856, RFC 858, RFC 2217.
const BINARY: u8 = 0;
const SUPPRESS_GO_AHEAD: u8 = 3;
const COM_PORT: u8 = 44;

/// RFC 2217 §3, from client to server; the server's answers are 100 higher.
const SET_BAUDRATE: u8 = 1;
const SET_DATASIZE: u8 = 2;
const SET_PARITY: u8 = 3;
const SET_STOPSIZE: u8 = 4;
const SET_CONTROL: u8 = 5;
const SET_MODEMSTATE_MASK: u8 = 11;
const PURGE_DATA: u8 = 12;
const NOTIFY_MODEMSTATE: u8 = 107;

/// Values of SET-CONTROL: flow by RTS/CTS, and DTR.
const FLOW_HARDWARE: u8 = 3;
const DTR_ON: u8 = 8;
const DTR_OFF: u8 = 9;
/// DCD in the modem's state, and a change of it.
const CARRIER: u8 = 0x80;
const CARRIER_CHANGED: u8 = 0x08;

/// Longest subnegotiation kept: a signature; ours have five octets.
const SUBNEGOTIATION_OCTETS_MAX: usize = 64;
/// Longest answer that waits: a server that asks without end is not answered without end.
const REPLIES_OCTETS_MAX: usize = 4096;

/// The client's side of one connection.
#[derive(Debug, Default)]
pub(crate) struct Telnet {
    state: State,
    /// Options that are on at our side, and at the server's.
    ours: Vec<u8>,
    theirs: Vec<u8>,
    control: Control,
    carrier: Option<bool>,
    replies: Vec<u8>,
}

/// Whether the server controls a port for us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Control {
    #[default]
    Asked,
    Granted,
    /// It is a telnet server and no more: no DTR, no DCD.
    Refused,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Data,
    Command,
    Option(u8),
    Subnegotiation(Vec<u8>),
    SubnegotiationCommand(Vec<u8>),
}

impl Telnet {
    /// A connection, and what is said first.
    pub(crate) fn new() -> Self {
        let mut telnet = Self::default();
        for option in [COM_PORT, BINARY, SUPPRESS_GO_AHEAD] {
            telnet.ours.push(option);
            telnet.replies.extend_from_slice(&[IAC, WILL, option]);
        }
        for option in [BINARY, SUPPRESS_GO_AHEAD] {
            telnet.theirs.push(option);
            telnet.replies.extend_from_slice(&[IAC, DO, option]);
        }
        telnet
    }

    /// Whether the server controls a port for us.
    pub(crate) fn control(&self) -> Control {
        self.control
    }

    /// Whether the modem has a carrier, once the server has said so.
    pub(crate) fn carrier(&self) -> Option<bool> {
        self.carrier
    }

    /// What is to be sent besides data.
    pub(crate) fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.replies)
    }

    /// Sets the port up: `speed_bps`, eight bits, no parity, one stop bit, RTS/CTS, DTR on, nothing left of before.
    pub(crate) fn set_up(&mut self, speed_bps: u32) {
        self.say(SET_BAUDRATE, &speed_bps.to_be_bytes());
        for (command, value) in [
            (SET_DATASIZE, 8),
            (SET_PARITY, 1),
            (SET_STOPSIZE, 1),
            (SET_CONTROL, FLOW_HARDWARE),
            (SET_MODEMSTATE_MASK, CARRIER | CARRIER_CHANGED),
            (PURGE_DATA, 3),
            (SET_CONTROL, DTR_ON),
        ] {
            self.say(command, &[value]);
        }
    }

    /// Lets DTR drop.
    pub(crate) fn drop_dtr(&mut self) {
        self.say(SET_CONTROL, &[DTR_OFF]);
    }

    fn say(&mut self, command: u8, value: &[u8]) {
        self.replies
            .extend_from_slice(&[IAC, SB, COM_PORT, command]);
        encode(value, &mut self.replies);
        self.replies.extend_from_slice(&[IAC, SE]);
    }

    /// Takes what came; appends what of it is data.
    pub(crate) fn hear(&mut self, octets: &[u8], data: &mut Vec<u8>) {
        for &octet in octets {
            self.state = match (std::mem::take(&mut self.state), octet) {
                (State::Data, IAC) => State::Command,
                (State::Data, _) => {
                    data.push(octet);
                    State::Data
                }
                (State::Command, IAC) => {
                    data.push(IAC);
                    State::Data
                }
                (State::Command, DO | DONT | WILL | WONT) => State::Option(octet),
                (State::Command, SB) => State::Subnegotiation(Vec::new()),
                // NOP, GA and the like.
                (State::Command, _) => State::Data,
                (State::Option(verb), _) => {
                    self.option(verb, octet);
                    State::Data
                }
                (State::Subnegotiation(text), IAC) => State::SubnegotiationCommand(text),
                (State::Subnegotiation(text), _) => State::Subnegotiation(kept(text, octet)),
                (State::SubnegotiationCommand(text), SE) => {
                    self.told(&text);
                    State::Data
                }
                (State::SubnegotiationCommand(text), IAC) => State::Subnegotiation(kept(text, IAC)),
                // RFC 855: nothing else may stand there; what follows is anybody's guess.
                (State::SubnegotiationCommand(_), _) => State::Data,
            };
        }
    }

    /// RFC 854: an option is answered only when it changes, or two polite ends would never stop.
    fn option(&mut self, verb: u8, option: u8) {
        let (side, is_wanted, yes, no) = match verb {
            DO | DONT => (&mut self.ours, verb == DO, WILL, WONT),
            _ => (&mut self.theirs, verb == WILL, DO, DONT),
        };
        let is_on = side.contains(&option);
        let is_ours =
            matches!(option, BINARY | SUPPRESS_GO_AHEAD) || (option == COM_PORT && yes == WILL);
        if option == COM_PORT && yes == WILL {
            self.control = if is_wanted {
                Control::Granted
            } else {
                Control::Refused
            };
        }
        let reply = match (is_wanted, is_on) {
            (true, false) if is_ours => {
                side.push(option);
                yes
            }
            (true, false) => no,
            (false, true) => {
                side.retain(|on| *on != option);
                no
            }
            _ => return,
        };
        if self.replies.len() < REPLIES_OCTETS_MAX {
            self.replies.extend_from_slice(&[IAC, reply, option]);
        }
    }

    fn told(&mut self, text: &[u8]) {
        if let [COM_PORT, NOTIFY_MODEMSTATE, state, ..] = *text {
            self.carrier = Some(state & CARRIER != 0);
        }
    }
}

fn kept(mut text: Vec<u8>, octet: u8) -> Vec<u8> {
    if text.len() < SUBNEGOTIATION_OCTETS_MAX {
        text.push(octet);
    }
    text
}

/// Data as it crosses a telnet connection: IAC twice.
pub(crate) fn encode(data: &[u8], telnet: &mut Vec<u8>) {
    for &octet in data {
        telnet.push(octet);
        if octet == IAC {
            telnet.push(IAC);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(telnet: &mut Telnet, octets: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        telnet.hear(octets, &mut data);
        data
    }

    fn opened() -> Telnet {
        let mut telnet = Telnet::new();
        telnet.take_replies();
        telnet
    }

    #[test]
    fn a_server_that_controls_the_port_is_told_how_it_is_to_be() {
        let mut telnet = Telnet::new();
        assert!(telnet.take_replies().starts_with(&[IAC, WILL, COM_PORT]));
        hear(
            &mut telnet,
            &[IAC, DO, COM_PORT, IAC, DO, BINARY, IAC, WILL, BINARY],
        );
        assert_eq!(
            (telnet.control(), telnet.take_replies()),
            (Control::Granted, vec![])
        );
        telnet.set_up(115_200);
        let said = telnet.take_replies();
        assert!(said.starts_with(&[IAC, SB, COM_PORT, SET_BAUDRATE, 0, 1, 0xc2, 0, IAC, SE]));
        assert!(said.ends_with(&[IAC, SB, COM_PORT, SET_CONTROL, DTR_ON, IAC, SE]));
    }

    #[test]
    fn a_plain_telnet_server_refuses_and_is_known_by_it() {
        let mut telnet = opened();
        hear(&mut telnet, &[IAC, DONT, COM_PORT]);
        assert_eq!(
            (telnet.control(), telnet.take_replies()),
            (Control::Refused, vec![IAC, WONT, COM_PORT])
        );
    }

    #[test]
    fn the_carrier_is_what_the_server_last_said() {
        let mut telnet = opened();
        assert_eq!(telnet.carrier(), None);
        for (state, carrier) in [(0x88, true), (0x08, false), (0xff, true)] {
            let mut said = vec![IAC, SB, COM_PORT, NOTIFY_MODEMSTATE];
            encode(&[state], &mut said);
            said.extend_from_slice(&[IAC, SE]);
            for octet in said {
                assert!(hear(&mut telnet, &[octet]).is_empty());
            }
            assert_eq!(telnet.carrier(), Some(carrier));
        }
    }

    #[test]
    fn every_octet_crosses_both_ways_in_any_pieces() {
        let all: Vec<u8> = (0..=255).chain([255, 255, 240]).collect();
        let mut line = Vec::new();
        encode(&all, &mut line);
        let mut telnet = opened();
        let heard: Vec<u8> = line
            .chunks(3)
            .flat_map(|piece| hear(&mut telnet, piece))
            .collect();
        assert_eq!(heard, all);
    }

    #[test]
    fn an_option_is_answered_once_however_often_it_is_asked_for() {
        let mut telnet = opened();
        const ECHO: u8 = 1;
        hear(&mut telnet, &[IAC, WILL, ECHO]);
        assert_eq!(telnet.take_replies(), [IAC, DONT, ECHO]);
        hear(&mut telnet, &[IAC, DO, BINARY].repeat(1000));
        assert!(telnet.take_replies().is_empty());
        hear(&mut telnet, &[IAC, WILL, ECHO].repeat(100_000));
        assert!(telnet.take_replies().len() <= REPLIES_OCTETS_MAX + 3);
    }

    #[test]
    fn an_endless_subnegotiation_costs_nothing_and_is_no_data() {
        let mut telnet = opened();
        assert!(hear(&mut telnet, &[IAC, SB, COM_PORT]).is_empty());
        assert!(hear(&mut telnet, &vec![7; 1_000_000]).is_empty());
        assert_eq!(hear(&mut telnet, &[IAC, SE, b'x']), b"x");
    }
}
