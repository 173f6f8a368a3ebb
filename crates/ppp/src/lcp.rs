//! The options of the link itself (RFC 1661 §6, RFC 1662 §7.1) and the echo that watches it (RFC 1661 §5.8).
//!
//! | option | we ask | we grant |
//! |--------|--------|----------|
//! | 1 MRU | when it is not 1500 | 128 octets and more |
//! | 2 ACCM | always | any |
//! | 3 authentication | as [`Demand`] says | CHAP with MD5, and PAP if [`Willing`] says so: else a Nak naming CHAP; rejected when there is nothing to prove |
//! | 5 magic number | always | any but ours and zero |
//! | 7, 8 PFC, ACFC | always | always |
//! | all others | never | rejected, in one round |

mod echo;

pub(crate) use echo::{Echo, Silence};

use crate::authentication::{Authentication, Demand, Proof, Willing};
use crate::config::{Config, Mru};
use crate::frame::ACCM_DEFAULT;
use crate::negotiation::{Options, Refused, Rejected, Verdict};
use crate::packet::{ConfigureOption, put_option};
use crate::protocol::ControlProtocol;
use crate::random::Random;

const MRU: u8 = 1;
const ACCM: u8 = 2;
const AUTHENTICATION_PROTOCOL: u8 = 3;
const MAGIC_NUMBER: u8 = 5;
const PROTOCOL_FIELD_COMPRESSION: u8 = 7;
const ADDRESS_AND_CONTROL_FIELD_COMPRESSION: u8 = 8;

/// Configure-Requests in a row that carry our own magic number before the line counts as looped back. By chance it
/// happens once in 2^32 (RFC 1661 §6.4), and a new number is used each time.
pub(crate) const LOOPBACK_SIGHTINGS_MAX: u8 = 3;

/// What LCP has agreed for one direction. The default is what counts before (RFC 1661 §6, RFC 1662 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// The largest packet.
    pub mru: Mru,
    /// The control characters that are escaped, bit 0 for NUL.
    pub accm: u32,
    /// Protocol numbers below 0x100 take one octet.
    pub protocol_compression: bool,
    /// Address and control are left out.
    pub address_compression: bool,
}

impl Default for Direction {
    fn default() -> Self {
        Direction {
            mru: Mru::DEFAULT,
            accm: ACCM_DEFAULT,
            protocol_compression: false,
            address_compression: false,
        }
    }
}

/// What LCP has agreed for the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkOptions {
    /// From us to the peer: what the peer asked for.
    pub sending: Direction,
    /// From the peer to us: what we asked for.
    pub receiving: Direction,
}

#[derive(Debug)]
pub(crate) struct LcpOptions {
    random: Random,
    asked: Asked,
    agreed: LinkOptions,
    /// The peer's Configure-Request, while it is judged.
    judged: Direction,
    /// What the peer asks of us, while it is judged, and once granted.
    judged_proof: Option<Proof>,
    granted_proof: Option<Proof>,
    demand: Demand,
    /// What we can prove ourselves with.
    willing: Option<Willing>,
    is_proof_refused: bool,
    /// Configure-Requests in a row that carried our magic number.
    loopback_sightings: u8,
}

/// Our side of the negotiation. `None` and `false`: left out, so the default holds.
#[derive(Debug)]
struct Asked {
    mru: Option<Mru>,
    accm: Option<u32>,
    proof: Option<Proof>,
    magic: Option<u32>,
    protocol_compression: bool,
    address_compression: bool,
}

impl LcpOptions {
    pub(crate) fn new(config: &Config, mut random: Random) -> LcpOptions {
        let Authentication {
            demand,
            own,
            willing,
            ..
        } = &config.authentication;
        let demand = *demand;
        let asked = Asked {
            mru: (config.mru != Mru::DEFAULT).then_some(config.mru),
            accm: (config.accm != ACCM_DEFAULT).then_some(config.accm),
            proof: match demand {
                Demand::Nothing => None,
                Demand::Chap | Demand::ChapThenPap => Some(Proof::Chap),
                Demand::Pap => Some(Proof::Pap),
            },
            magic: Some(random.magic()),
            protocol_compression: true,
            address_compression: true,
        };
        LcpOptions {
            random,
            asked,
            agreed: LinkOptions::default(),
            judged: Direction::default(),
            judged_proof: None,
            granted_proof: None,
            demand,
            willing: own.as_ref().map(|_| *willing),
            is_proof_refused: false,
            loopback_sightings: 0,
        }
    }

    pub(crate) fn agreed(&self) -> LinkOptions {
        self.agreed
    }

    /// What the peer proves itself with, once agreed.
    pub(crate) fn demanded(&self) -> Option<Proof> {
        self.asked.proof
    }

    /// What we prove ourselves with, once agreed.
    pub(crate) fn granted_proof(&self) -> Option<Proof> {
        self.granted_proof
    }

    /// Whether it is for want of a proof that there is no agreement.
    pub(crate) fn is_proof_refused(&self) -> bool {
        self.is_proof_refused
    }

    /// Our magic number as echoes carry it: zero when there is none (RFC 1661 §6.4).
    pub(crate) fn magic(&self) -> [u8; 4] {
        self.asked.magic.unwrap_or(0).to_be_bytes()
    }

    /// Whether these four octets are our own magic number come back.
    pub(crate) fn is_own_magic(&self, octets: &[u8]) -> bool {
        self.asked
            .magic
            .is_some_and(|magic| octets == magic.to_be_bytes())
    }

    pub(crate) fn is_looped_back(&self) -> bool {
        self.loopback_sightings >= LOOPBACK_SIGHTINGS_MAX
    }

    fn judge_proof(&mut self, data: &[u8]) -> Verdict {
        match (self.willing, Proof::from_option(data)) {
            (None, _) => Verdict::Reject,
            (Some(_), Some(Proof::Chap)) | (Some(Willing::ChapOrPap), Some(Proof::Pap)) => {
                self.judged_proof = Proof::from_option(data);
                Verdict::Grant
            }
            // RFC 1661 §6.2: PAP, EAP, MS-CHAP: this instead.
            (Some(_), _) => Verdict::Nak(Proof::Chap.option().to_vec()),
        }
    }

    fn judge_magic(&mut self, magic: [u8; 4]) -> Verdict {
        if self.is_own_magic(&magic) {
            self.loopback_sightings = self.loopback_sightings.saturating_add(1);
            // RFC 1661 §6.4: say so with another number; if it is ourselves we hear, we then change ours.
            return Verdict::Nak(self.random.magic().to_be_bytes().to_vec());
        }
        self.loopback_sightings = 0;
        // RFC 1661 §6.4: zero is illegal and always Nak'd.
        if magic == [0; 4] {
            Verdict::Nak(self.random.magic().to_be_bytes().to_vec())
        } else {
            Verdict::Grant
        }
    }
}

impl Options for LcpOptions {
    const PROTOCOL: ControlProtocol = ControlProtocol::Lcp;

    fn write_request(&self, request: &mut Vec<u8>) {
        let Asked {
            mru,
            accm,
            proof,
            magic,
            protocol_compression,
            address_compression,
        } = self.asked;
        if let Some(mru) = mru {
            put_option(request, MRU, &mru.octets().to_be_bytes());
        }
        if let Some(accm) = accm {
            put_option(request, ACCM, &accm.to_be_bytes());
        }
        if let Some(proof) = proof {
            put_option(request, AUTHENTICATION_PROTOCOL, proof.option());
        }
        if let Some(magic) = magic {
            put_option(request, MAGIC_NUMBER, &magic.to_be_bytes());
        }
        if protocol_compression {
            put_option(request, PROTOCOL_FIELD_COMPRESSION, &[]);
        }
        if address_compression {
            put_option(request, ADDRESS_AND_CONTROL_FIELD_COMPRESSION, &[]);
        }
    }

    fn acknowledged(&mut self) {
        self.agreed.receiving = Direction {
            mru: self.asked.mru.unwrap_or(Mru::DEFAULT),
            accm: self.asked.accm.unwrap_or(ACCM_DEFAULT),
            protocol_compression: self.asked.protocol_compression,
            address_compression: self.asked.address_compression,
        };
    }

    fn naked(&mut self, option: &ConfigureOption<'_>) {
        match (option.kind, option.data) {
            (MRU, &[high, low]) if self.asked.mru.is_some() => {
                self.asked.mru = Some(Mru::nearest(u16::from_be_bytes([high, low])));
            }
            // RFC 1662 §7.1: what either end needs escaped is escaped.
            (ACCM, &[a, b, c, d]) => {
                self.asked.accm = self
                    .asked
                    .accm
                    .map(|accm| accm | u32::from_be_bytes([a, b, c, d]));
            }
            // RFC 1661 §6.4: a new number of our own, for the one in the Nak may be ours as well.
            (MAGIC_NUMBER, _) if self.asked.magic.is_some() => {
                self.asked.magic = Some(self.random.magic());
            }
            (AUTHENTICATION_PROTOCOL, wish)
                if self.demand == Demand::ChapThenPap
                    && Proof::from_option(wish) == Some(Proof::Pap) =>
            {
                self.asked.proof = Some(Proof::Pap);
            }
            // An option we did not ask for: the peer would like it, we do not.
            _ => {}
        }
    }

    fn rejected(&mut self, kind: u8, _how: Refused) -> Rejected {
        if kind == AUTHENTICATION_PROTOCOL && self.asked.proof.is_some() {
            self.is_proof_refused = true;
            return Rejected::Fatal;
        }
        let was_asked = match kind {
            MRU => self.asked.mru.take().is_some(),
            ACCM => self.asked.accm.take().is_some(),
            MAGIC_NUMBER => self.asked.magic.take().is_some(),
            PROTOCOL_FIELD_COMPRESSION => std::mem::take(&mut self.asked.protocol_compression),
            ADDRESS_AND_CONTROL_FIELD_COMPRESSION => {
                std::mem::take(&mut self.asked.address_compression)
            }
            _ => false,
        };
        if was_asked {
            Rejected::LeftOut
        } else {
            Rejected::NotAsked
        }
    }

    fn begin_judging(&mut self) {
        self.judged = Direction::default();
        self.judged_proof = None;
    }

    fn judge(&mut self, option: &ConfigureOption<'_>) -> Verdict {
        match (option.kind, option.data) {
            (MRU, &[high, low]) => {
                let octets = u16::from_be_bytes([high, low]);
                // More than 1500 is the peer's right; we just do not use it.
                self.judged.mru = Mru::nearest(octets);
                if octets < Mru::MIN.octets() {
                    Verdict::Nak(Mru::MIN.octets().to_be_bytes().to_vec())
                } else {
                    Verdict::Grant
                }
            }
            (ACCM, &[a, b, c, d]) => {
                self.judged.accm = u32::from_be_bytes([a, b, c, d]);
                Verdict::Grant
            }
            (AUTHENTICATION_PROTOCOL, data) => self.judge_proof(data),
            (MAGIC_NUMBER, &[a, b, c, d]) => self.judge_magic([a, b, c, d]),
            (PROTOCOL_FIELD_COMPRESSION, &[]) => {
                self.judged.protocol_compression = true;
                Verdict::Grant
            }
            (ADDRESS_AND_CONTROL_FIELD_COMPRESSION, &[]) => {
                self.judged.address_compression = true;
                Verdict::Grant
            }
            // Also a known option of the wrong length: it cannot be Nak'd in a way the peer would understand.
            _ => Verdict::Reject,
        }
    }

    fn granted(&mut self) {
        self.agreed.sending = self.judged;
        self.granted_proof = self.judged_proof;
    }
}
