//! Predictive set-up: what an earlier call agreed on is expected again, so that nothing waits for it to be said.
//!
//! ```text
//!   as RFC 1661 says                              predicted at both ends
//!   LCP request ──►   ◄── LCP request             LCP request, IPCP request, packets ──►   ◄── the same
//!   LCP ack ──►           ◄── LCP ack             LCP ack, IPCP ack ──►                    ◄── the same
//!   IPCP request ──►  ◄── IPCP request            up: the packets are given out
//!   IPCP ack ──►          ◄── IPCP ack
//!   up: packets ──►
//! ```
//!
//! RFC 1661 §3.4 and §3.5 have everything but LCP discarded until LCP is open, and everything but the proof until
//! that is given. Two ends that remember each other deviate in two points, and in no other:
//!
//! * each **sends** its IPCP request, and packets, before LCP is open;
//! * each **holds** what comes so early, [`HELD_OCTETS_MAX`] at most, and looks at it when its phase has come. A
//!   Configure-Request of IPCP is answered as soon as the peer's LCP request is granted, but IPCP opens, and packets are
//!   given out, only when every phase is open, a demanded proof included.
//!
//! A peer that does not take part drops what came early, as the RFC tells it. It gives itself away by sending nothing
//! early itself; then IPCP is asked again in its phase, the packets are sent again when it is up, and nothing is lost but
//! the octets. After that, and after any other difference, [`Session::agreement`](crate::Session::agreement) is
//! empty: what to expect of the peer has to be learned anew.

mod agreement;

use std::net::Ipv4Addr;

pub use agreement::{Agreement, AgreementError};

use crate::lcp::LinkOptions;

/// Octets that came early and are held; as many are sent early. Two full packets and what a link is set up with.
pub const HELD_OCTETS_MAX: usize = 4096;

/// A frame that came before its phase.
#[derive(Debug)]
pub(crate) struct Early {
    pub(crate) protocol: u16,
    pub(crate) information: Vec<u8>,
}

/// The state of one predicted set-up. It is gone when the network is up, or LCP goes down.
#[derive(Debug)]
pub(crate) struct Prediction {
    pub(crate) expected: Agreement,
    held: Vec<Early>,
    held_octets: usize,
    /// Copies of the packets sent early, for a peer that has dropped them.
    sent: Vec<Vec<u8>>,
    sent_octets: usize,
    has_heard: bool,
    has_failed: bool,
}

impl Prediction {
    pub(crate) fn new(expected: Agreement) -> Prediction {
        let (held, sent) = (Vec::new(), Vec::new());
        Prediction {
            expected,
            held,
            held_octets: 0,
            sent,
            sent_octets: 0,
            has_heard: false,
            has_failed: false,
        }
    }

    /// Whether the peer still does what is expected of it.
    pub(crate) fn holds(&self) -> bool {
        !self.has_failed
    }

    /// The peer has sent something early, so it takes part.
    pub(crate) fn heard(&mut self) {
        self.has_heard = true;
    }

    /// `false`: there is no room for it.
    pub(crate) fn hold(&mut self, protocol: u16, information: &[u8]) -> bool {
        let has_room = self.held_octets + information.len() <= HELD_OCTETS_MAX;
        if has_room {
            self.held_octets += information.len();
            self.held.push(Early {
                protocol,
                information: information.to_vec(),
            });
        }
        has_room
    }

    /// All that is held, oldest first. What is still early is to be held again.
    pub(crate) fn release(&mut self) -> Vec<Early> {
        self.held_octets = 0;
        std::mem::take(&mut self.held)
    }

    /// Whether a packet may be sent early; if so, a copy is kept.
    pub(crate) fn send(&mut self, packet: &[u8]) -> bool {
        let may = self.holds()
            && packet.len() <= usize::from(self.expected.link.sending.mru.octets())
            && self.sent_octets + packet.len() <= HELD_OCTETS_MAX;
        if may {
            self.sent_octets += packet.len();
            self.sent.push(packet.to_vec());
        }
        may
    }

    /// LCP is open with these options. `false`: from here on as with anybody.
    pub(crate) fn lcp_opened(&mut self, link: &LinkOptions) -> bool {
        self.has_failed |= !self.has_heard || self.expected.link != *link;
        if self.has_failed {
            self.release();
        }
        self.holds()
    }

    /// IPCP is open with these addresses. Gives the packets that the peer has dropped and that still make sense.
    pub(crate) fn ipcp_opened(&mut self, local: Ipv4Addr, peer: Option<Ipv4Addr>) -> Vec<Vec<u8>> {
        let is_same = (self.expected.local, self.expected.peer) == (local, peer);
        let has_dropped = self.has_failed;
        self.has_failed |= !is_same;
        let sent = std::mem::take(&mut self.sent);
        if has_dropped && is_same {
            sent
        } else {
            Vec::new()
        }
    }
}
