//! Pure. A codec of telnet (RFC 854): data, option negotiation, subnegotiation; nothing of what the options mean.

/// Interpret as command.
const IAC: u8 = 255;
const SUBNEGOTIATION: u8 = 250;
const SUBNEGOTIATION_END: u8 = 240;
/// Longest subnegotiation that is kept; RFC 2217 needs 5 octets, a signature some dozens. A longer one is dropped.
const SUBNEGOTIATION_OCTETS_MAX: usize = 128;

/// What one end asks of the other about an option (RFC 855).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Will,
    Wont,
    Do,
    Dont,
}

impl Verb {
    fn octet(self) -> u8 {
        match self {
            Self::Will => 251,
            Self::Wont => 252,
            Self::Do => 253,
            Self::Dont => 254,
        }
    }

    fn from_octet(octet: u8) -> Option<Self> {
        [Self::Will, Self::Wont, Self::Do, Self::Dont]
            .into_iter()
            .find(|verb| verb.octet() == octet)
    }
}

/// What has been heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Data(Vec<u8>),
    Negotiation(Verb, u8),
    Subnegotiation { option: u8, body: Vec<u8> },
}

/// Reads what comes, in whatever pieces.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Data,
    Command,
    Option(Verb),
    Sub(Vec<u8>),
    SubCommand(Vec<u8>),
}

impl Decoder {
    pub(crate) fn feed(&mut self, octets: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        for octet in octets {
            self.state = match (std::mem::take(&mut self.state), *octet) {
                (State::Data, IAC) => State::Command,
                (State::Data, octet) | (State::Command, octet @ IAC) => {
                    match heard.last_mut() {
                        Some(Heard::Data(data)) => data.push(octet),
                        _ => heard.push(Heard::Data(vec![octet])),
                    }
                    State::Data
                }
                (State::Command, SUBNEGOTIATION) => State::Sub(Vec::new()),
                // The other commands (no operation, break, are you there) ask nothing of a modem.
                (State::Command, octet) => {
                    Verb::from_octet(octet).map_or(State::Data, State::Option)
                }
                (State::Option(verb), option) => {
                    heard.push(Heard::Negotiation(verb, option));
                    State::Data
                }
                (State::Sub(body), IAC) => State::SubCommand(body),
                (State::Sub(body), octet) | (State::SubCommand(body), octet @ IAC) => {
                    State::Sub(kept(body, octet))
                }
                (State::SubCommand(body), end) => {
                    if let Some((option, body)) = body.split_first().filter(|_| {
                        end == SUBNEGOTIATION_END && body.len() <= SUBNEGOTIATION_OCTETS_MAX
                    }) {
                        heard.push(Heard::Subnegotiation {
                            option: *option,
                            body: body.to_vec(),
                        });
                    }
                    State::Data
                }
            };
        }
        heard
    }
}

/// One octet more than the most marks what is too long.
fn kept(mut body: Vec<u8>, octet: u8) -> Vec<u8> {
    if body.len() <= SUBNEGOTIATION_OCTETS_MAX {
        body.push(octet);
    }
    body
}

/// Writes data.
pub(crate) fn write_data(data: &[u8], into: &mut Vec<u8>) {
    for octet in data {
        into.push(*octet);
        if *octet == IAC {
            into.push(IAC);
        }
    }
}

pub(crate) fn write_negotiation(verb: Verb, option: u8, into: &mut Vec<u8>) {
    into.extend_from_slice(&[IAC, verb.octet(), option]);
}

pub(crate) fn write_subnegotiation(option: u8, body: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&[IAC, SUBNEGOTIATION, option]);
    write_data(body, into);
    into.extend_from_slice(&[IAC, SUBNEGOTIATION_END]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn commands_are_taken_out_of_the_data_they_stand_in() {
        let heard = Decoder::default()
            .feed(b"a\xff\xff\xff\xfd\x2cb\xff\xf1\xff\xfa\x2c\x01\xff\xff\x02\xff\xf0c");
        let wanted = [
            Heard::Data(b"a\xff".to_vec()),
            Heard::Negotiation(Verb::Do, 44),
            Heard::Data(b"b".to_vec()),
            Heard::Subnegotiation {
                option: 44,
                body: vec![1, 255, 2],
            },
            Heard::Data(b"c".to_vec()),
        ];
        assert_eq!(heard, wanted);
    }

    #[test]
    fn a_subnegotiation_without_end_is_not_kept_without_end_and_not_obeyed() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.feed(&[IAC, SUBNEGOTIATION]), []);
        assert_eq!(decoder.feed(&[44; 1_000_000]), []);
        let State::Sub(body) = &decoder.state else {
            panic!("it has not ended")
        };
        assert_eq!(body.len(), SUBNEGOTIATION_OCTETS_MAX + 1);
        assert_eq!(
            decoder.feed(&[IAC, SUBNEGOTIATION_END, b'x']),
            [Heard::Data(b"x".to_vec())]
        );
    }

    fn merged(all: Vec<Heard>) -> Vec<Heard> {
        let mut merged: Vec<Heard> = Vec::new();
        for heard in all {
            match (merged.last_mut(), heard) {
                (Some(Heard::Data(before)), Heard::Data(data)) => before.extend(data),
                (_, heard) => merged.push(heard),
            }
        }
        merged
    }

    proptest! {
        #[test]
        fn what_is_written_is_heard_in_pieces_of_any_size(
            data in prop::collection::vec(any::<u8>(), 1..300),
            body in prop::collection::vec(any::<u8>(), 0..SUBNEGOTIATION_OCTETS_MAX),
            piece in 1_usize..9,
        ) {
            let mut written = Vec::new();
            write_data(&data, &mut written);
            write_subnegotiation(44, &body, &mut written);
            write_negotiation(Verb::Wont, 255, &mut written);
            write_data(&data, &mut written);
            let mut decoder = Decoder::default();
            let heard = merged(written.chunks(piece).flat_map(|piece| decoder.feed(piece)).collect());
            let wanted = vec![
                Heard::Data(data.clone()),
                Heard::Subnegotiation { option: 44, body },
                Heard::Negotiation(Verb::Wont, 255),
                Heard::Data(data),
            ];
            prop_assert_eq!(heard, wanted);
        }

        #[test]
        fn arbitrary_octets_are_heard_alike_in_pieces_of_any_size(
            octets in prop::collection::vec(prop_oneof![Just(IAC), 240_u8..=255, any::<u8>()], 0..300),
            piece in 1_usize..9,
        ) {
            let (mut whole, mut pieces) = (Decoder::default(), Decoder::default());
            let in_pieces = merged(octets.chunks(piece).flat_map(|piece| pieces.feed(piece)).collect());
            prop_assert_eq!(merged(whole.feed(&octets)), in_pieces);
        }
    }
}
