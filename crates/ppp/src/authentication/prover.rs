//! The end that is asked for a proof.
//!
//! ```text
//!   Idle ── LCP up, CHAP demanded ──► Waiting ── Challenge ──► Sent ── Success ──► Proved ── Challenge ──► Proved
//!     └──── LCP up, PAP demanded ─────────────────────────────► │ │                  │
//!                                                timer: again,  └─┘     Failure at any time: the link ends
//!                                                MAX_CONFIGURE times
//! ```

use std::time::Instant;

use super::{Authentication, Credentials, Proof, chap, digest, pap};
use crate::automaton::MAX_CONFIGURE;
use crate::event::CloseReason;
use crate::packet::Packet;
use crate::wire::Wire;

#[derive(Debug)]
pub(crate) struct Prover {
    own: Option<Credentials>,
    next_id: u8,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is demanded.
    Idle,
    /// For the first Challenge.
    Waiting {
        tries: u8,
        restart_at: Instant,
    },
    /// RFC 1994 §4.2: the answer to a Response may be lost, so the Response is repeated.
    Sent {
        message: Message,
        tries: u8,
        restart_at: Instant,
    },
    Proved {
        proof: Proof,
        id: u8,
    },
}

/// A Response or an Authenticate-Request.
struct Message {
    proof: Proof,
    id: u8,
    data: Vec<u8>,
}

/// Without what would let a secret be guessed.
impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Message({:?}, {}, ..)", self.proof, self.id)
    }
}

impl Prover {
    pub(crate) fn new(config: &Authentication, first_id: u8) -> Prover {
        Prover {
            own: config.own.clone(),
            next_id: first_id,
            state: State::Idle,
        }
    }

    /// LCP is open and has agreed on this.
    pub(crate) fn start(&mut self, proof: Option<Proof>, wire: &mut Wire, now: Instant) {
        match (proof, &self.own) {
            (Some(Proof::Chap), Some(_)) => {
                self.state = State::Waiting {
                    tries: 1,
                    restart_at: wire.restart_at(now),
                };
            }
            (Some(Proof::Pap), Some(own)) => {
                let mut data = Vec::new();
                for field in [&own.name.0, &own.secret.0] {
                    data.push(
                        u8::try_from(field.len()).expect("checked by Name::new and Secret::new"),
                    );
                    data.extend_from_slice(field);
                }
                let id = self.next_id;
                self.next_id = id.wrapping_add(1);
                self.send(
                    Message {
                        proof: Proof::Pap,
                        id,
                        data,
                    },
                    1,
                    wire,
                    now,
                );
            }
            // LCP grants no demand without credentials.
            _ => self.state = State::Idle,
        }
    }

    pub(crate) fn stop(&mut self) {
        self.state = State::Idle;
    }

    pub(crate) fn is_content(&self) -> bool {
        matches!(self.state, State::Idle | State::Proved { .. })
    }

    pub(crate) fn restart_at(&self) -> Option<(Instant, Proof)> {
        match &self.state {
            State::Waiting { restart_at, .. } => Some((*restart_at, Proof::Chap)),
            State::Sent {
                message,
                restart_at,
                ..
            } => Some((*restart_at, message.proof)),
            State::Idle | State::Proved { .. } => None,
        }
    }

    pub(crate) fn deadline(&mut self, wire: &mut Wire, now: Instant) -> Result<(), CloseReason> {
        let Some((_, proof)) = self.restart_at().filter(|(at, _)| *at <= now) else {
            return Ok(());
        };
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Waiting { tries, .. } if tries < MAX_CONFIGURE => {
                self.state = State::Waiting {
                    tries: tries + 1,
                    restart_at: wire.restart_at(now),
                };
            }
            State::Sent { message, tries, .. } if tries < MAX_CONFIGURE => {
                self.send(message, tries + 1, wire, now);
            }
            _ => {
                return Err(CloseReason::NoAnswer {
                    protocol: proof.protocol(),
                });
            }
        }
        Ok(())
    }

    /// One that comes after the first is answered too, at any time (RFC 1994 §2). `false`: it makes no sense.
    pub(crate) fn receive_challenge(
        &mut self,
        packet: Packet<'_>,
        wire: &mut Wire,
        now: Instant,
    ) -> bool {
        let is_proved = match &self.state {
            State::Waiting { .. }
            | State::Sent {
                message: Message {
                    proof: Proof::Chap, ..
                },
                ..
            } => false,
            State::Proved {
                proof: Proof::Chap, ..
            } => true,
            _ => return true,
        };
        let (Some((&size, rest)), Some(own)) = (packet.data.split_first(), &self.own) else {
            return false;
        };
        let Some((challenge, _name)) = rest.split_at_checked(usize::from(size)) else {
            return false;
        };
        // RFC 1994 §4.1: at least one octet.
        if challenge.is_empty() {
            return false;
        }
        let mut data = vec![16];
        data.extend_from_slice(&digest::response(packet.id, &own.secret.0, challenge));
        data.extend_from_slice(&own.name.0);
        let message = Message {
            proof: Proof::Chap,
            id: packet.id,
            data,
        };
        if is_proved {
            // The peer asks again if this is lost; the network goes on meanwhile.
            message.send(wire);
            self.state = State::Proved {
                proof: Proof::Chap,
                id: packet.id,
            };
        } else {
            self.send(message, 1, wire, now);
        }
        true
    }

    /// Success, Failure, Authenticate-Ack or -Nak.
    pub(crate) fn receive_answer(
        &mut self,
        proof: Proof,
        id: u8,
        is_success: bool,
    ) -> Result<(), CloseReason> {
        let (asked, asked_id) = match &self.state {
            State::Sent { message, .. } => (message.proof, message.id),
            State::Proved { proof, id } => (*proof, *id),
            State::Idle | State::Waiting { .. } => return Ok(()),
        };
        // An answer to something else means nothing.
        if (asked, asked_id) != (proof, id) {
            return Ok(());
        }
        if !is_success {
            return Err(CloseReason::NotBelieved {
                protocol: proof.protocol(),
            });
        }
        self.state = State::Proved { proof, id };
        Ok(())
    }

    fn send(&mut self, message: Message, tries: u8, wire: &mut Wire, now: Instant) {
        message.send(wire);
        self.state = State::Sent {
            message,
            tries,
            restart_at: wire.restart_at(now),
        };
    }
}

impl Message {
    fn send(&self, wire: &mut Wire) {
        let code = match self.proof {
            Proof::Chap => chap::RESPONSE,
            Proof::Pap => pap::REQUEST,
        };
        wire.send_control(
            self.proof.protocol().number(),
            code,
            self.id,
            [&self.data, &[]],
        );
    }
}
