//! The end that asks for a proof.
//!
//! ```text
//!   Idle ── LCP up, something demanded ──► Asking ── a good proof ──► Answered (accepted): Success, each time it is repeated
//!                                           │  └──── a bad one ─────► Answered: Failure, and the link ends
//!                                           └ timer: Challenge again, MAX_CONFIGURE times
//! ```

use std::time::Instant;

use super::digest::{self, Challenges, Md5Octets};
use super::{Authentication, Name, Proof, Secret, Secrets, chap, pap};
use crate::automaton::MAX_CONFIGURE;
use crate::event::CloseReason;
use crate::packet::Packet;
use crate::wire::Wire;

#[derive(Debug)]
pub(crate) struct Verifier {
    peers: Secrets,
    /// A peer that says it is us is not believed.
    own_name: Option<Name>,
    challenges: Challenges,
    next_id: u8,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is demanded.
    Idle,
    Asking {
        question: Question,
        tries: u8,
        restart_at: Instant,
    },
    /// RFC 1994 §4.2, RFC 1334 §2.2.1: the answer may be lost, and then it must be the same again.
    Answered {
        proof: Proof,
        id: u8,
        peer: Option<Name>,
    },
}

#[derive(Clone, Copy, Debug)]
enum Question {
    Chap {
        id: u8,
        challenge: Md5Octets,
    },
    /// RFC 1334: the peer speaks first.
    Pap,
}

impl Verifier {
    pub(crate) fn new(config: &Authentication, seed: u64, first_id: u8) -> Verifier {
        Verifier {
            peers: config.peers.clone(),
            own_name: config.own.as_ref().map(|own| own.name.clone()),
            challenges: Challenges::new(seed),
            next_id: first_id,
            state: State::Idle,
        }
    }

    /// LCP is open and has agreed on this.
    pub(crate) fn start(&mut self, proof: Option<Proof>, wire: &mut Wire, now: Instant) {
        let Some(proof) = proof else {
            self.state = State::Idle;
            return;
        };
        let question = match proof {
            Proof::Chap => {
                let id = self.next_id;
                self.next_id = id.wrapping_add(1);
                Question::Chap {
                    id,
                    challenge: self.challenges.issue(),
                }
            }
            Proof::Pap => Question::Pap,
        };
        self.ask(question, 1, wire, now);
    }

    pub(crate) fn stop(&mut self) {
        self.state = State::Idle;
    }

    pub(crate) fn is_content(&self) -> bool {
        matches!(
            self.state,
            State::Idle | State::Answered { peer: Some(_), .. }
        )
    }

    /// Who has proved itself.
    pub(crate) fn peer(&self) -> Option<&Name> {
        match &self.state {
            State::Answered { peer, .. } => peer.as_ref(),
            State::Idle | State::Asking { .. } => None,
        }
    }

    pub(crate) fn is_own_challenge(&self, challenge: &[u8]) -> bool {
        self.challenges.is_own(challenge)
    }

    pub(crate) fn restart_at(&self) -> Option<(Instant, Proof)> {
        match &self.state {
            State::Asking {
                question: Question::Chap { .. },
                restart_at,
                ..
            } => Some((*restart_at, Proof::Chap)),
            State::Asking {
                question: Question::Pap,
                restart_at,
                ..
            } => Some((*restart_at, Proof::Pap)),
            State::Idle | State::Answered { .. } => None,
        }
    }

    pub(crate) fn deadline(&mut self, wire: &mut Wire, now: Instant) -> Result<(), CloseReason> {
        let State::Asking {
            question,
            tries,
            restart_at,
        } = &self.state
        else {
            return Ok(());
        };
        if now < *restart_at {
            return Ok(());
        }
        if *tries >= MAX_CONFIGURE {
            let protocol = match question {
                Question::Chap { .. } => Proof::Chap,
                Question::Pap => Proof::Pap,
            };
            return Err(CloseReason::NoAnswer {
                protocol: protocol.protocol(),
            });
        }
        let (question, tries) = (*question, *tries);
        self.ask(question, tries + 1, wire, now);
        Ok(())
    }

    /// A repeat keeps identifier and value, so that a slow Response to the first one counts.
    fn ask(&mut self, question: Question, tries: u8, wire: &mut Wire, now: Instant) {
        if let Question::Chap { id, challenge } = question {
            let name = self
                .own_name
                .as_ref()
                .map_or(&b"ringup"[..], Name::as_bytes);
            let mut value = vec![16];
            value.extend_from_slice(&challenge);
            wire.send_control(
                Proof::Chap.protocol().number(),
                chap::CHALLENGE,
                id,
                [&value, name],
            );
        }
        self.state = State::Asking {
            question,
            tries,
            restart_at: wire.restart_at(now),
        };
    }

    pub(crate) fn receive_response(
        &mut self,
        packet: Packet<'_>,
        wire: &mut Wire,
    ) -> Result<(), CloseReason> {
        let (id, challenge) = match &self.state {
            State::Asking {
                question: Question::Chap { id, challenge },
                ..
            } if *id == packet.id => (*id, *challenge),
            State::Answered {
                proof: Proof::Chap,
                id,
                peer,
            } if *id == packet.id => {
                let code = if peer.is_some() {
                    chap::SUCCESS
                } else {
                    chap::FAILURE
                };
                wire.send_control(Proof::Chap.protocol().number(), code, packet.id, [&[], &[]]);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let (value, name) = match packet.data.split_first() {
            Some((&size, rest)) => rest
                .split_at_checked(usize::from(size))
                .unwrap_or((&[], &[])),
            None => return Ok(()),
        };
        let Ok(said) = Md5Octets::try_from(value) else {
            return self.answer(Proof::Chap, id, None, wire);
        };
        let (name, secret) = self.look_up(name);
        // The same work for a name nobody has.
        let expected = digest::response(
            id,
            secret.as_ref().map_or(b"nobody", |secret| &*secret.0),
            &challenge,
        );
        let is_proved = digest::is_same(&said, &expected) && secret.is_some();
        self.answer(Proof::Chap, id, name.filter(|_| is_proved), wire)
    }

    pub(crate) fn receive_request(
        &mut self,
        packet: Packet<'_>,
        wire: &mut Wire,
    ) -> Result<(), CloseReason> {
        match &self.state {
            State::Asking {
                question: Question::Pap,
                ..
            } => {}
            State::Answered {
                proof: Proof::Pap,
                peer,
                ..
            } => {
                let code = if peer.is_some() { pap::ACK } else { pap::NAK };
                wire.send_control(Proof::Pap.protocol().number(), code, packet.id, [&[0], &[]]);
                return Ok(());
            }
            _ => return Ok(()),
        }
        let Some((name, password)) = name_and_password(packet.data) else {
            return Ok(());
        };
        let (name, secret) = self.look_up(name);
        let expected = secret.as_ref().map_or(&b"nobody"[..], |secret| &secret.0);
        let is_proved = digest::is_same_secret(password, expected) && secret.is_some();
        self.answer(Proof::Pap, packet.id, name.filter(|_| is_proved), wire)
    }

    fn look_up(&self, name: &[u8]) -> (Option<Name>, Option<Secret>) {
        let name = Name::new(name)
            .ok()
            .filter(|name| self.own_name.as_ref() != Some(name));
        let secret = name
            .as_ref()
            .and_then(|name| self.peers.0.get(name))
            .cloned();
        (name, secret)
    }

    fn answer(
        &mut self,
        proof: Proof,
        id: u8,
        peer: Option<Name>,
        wire: &mut Wire,
    ) -> Result<(), CloseReason> {
        let (code, message): (u8, &[u8]) = match (proof, peer.is_some()) {
            (Proof::Chap, true) => (chap::SUCCESS, &[]),
            (Proof::Chap, false) => (chap::FAILURE, &[]),
            (Proof::Pap, true) => (pap::ACK, &[0]),
            (Proof::Pap, false) => (pap::NAK, &[0]),
        };
        wire.send_control(proof.protocol().number(), code, id, [message, &[]]);
        let outcome = match &peer {
            Some(peer) => {
                tracing::debug!(%peer, protocol = %proof.protocol(), "peer proved");
                Ok(())
            }
            None => Err(CloseReason::PeerNotProved {
                protocol: proof.protocol(),
            }),
        };
        self.state = State::Answered { proof, id, peer };
        outcome
    }
}

/// RFC 1334 §2.2.1: two fields, each behind its length.
fn name_and_password(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&octets, rest) = data.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(octets))?;
    let (&octets, rest) = rest.split_first()?;
    Some((name, rest.get(..usize::from(octets))?))
}
