//! What a session tells its caller.

use std::net::Ipv4Addr;
use std::time::Instant;

use bytes::Bytes;

use crate::config::InterfaceIdentifier;
use crate::frame::{DecoderStatistics, EncoderStatistics};
use crate::lcp::LinkOptions;
use crate::protocol::ControlProtocol;

/// What [`Session::poll_output`](crate::Session::poll_output) gives out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Octets for the line, all that one input caused: one write.
    Transmit(Bytes),
    /// An IP packet from the peer, unchecked; at most 1503 octets. Of version 6 only while IPv6 is up.
    Packet(Bytes),
    /// Something happened.
    Event(Event),
    /// Nothing more: feed the next input, [`Input::Deadline`](crate::Input::Deadline) at the latest at `at`.
    Timeout {
        /// `None`: only the line or the caller can cause something.
        at: Option<Instant>,
        /// What will happen then, for the log.
        what: Wake,
    },
}

/// Why a session wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It does not.
    Nothing,
    /// A request of this protocol is then to be repeated, or given up (RFC 1661 §4.6).
    Restart(ControlProtocol),
    /// The line will then have been silent for an interval.
    Keepalive,
}

/// A fact about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// LCP is open. Comes again if the peer renegotiates.
    LinkOpen(LinkOptions),
    /// IPv4 packets may flow. The peer knows it once our last Configure-Ack has arrived and it has set up its
    /// interface: pppd drops what comes in the first milliseconds after it.
    NetworkUp {
        /// Our address.
        local: Ipv4Addr,
        /// The peer's, if it is known.
        peer: Option<Ipv4Addr>,
        /// The largest packet to send, in octets: 128 to 1500.
        mtu: u16,
    },
    /// They no longer may. Always between a `NetworkUp` and `Closed`.
    NetworkDown,
    /// IPv6 packets may flow (RFC 5072). They need not be waited for: IPv4 comes up by itself.
    Ipv6Up {
        /// Our identifier on the link.
        local: InterfaceIdentifier,
        /// The peer's.
        peer: InterfaceIdentifier,
    },
    /// They no longer may. Always between an `Ipv6Up` and `Closed`.
    Ipv6Down,
    /// The end. Exactly once, and nothing comes after it; hang up.
    Closed(CloseReason),
}

/// Why a link ended. [`CloseReason::fault`] says whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The caller asked for it.
    #[error("closed by this end")]
    ClosedHere,
    /// The peer asked for it (RFC 1661 §5.5), for the link or for IPv4 alone.
    #[error("{protocol} terminated by the peer")]
    PeerTerminated {
        /// What the peer terminated.
        protocol: ControlProtocol,
    },
    /// The peer ended the link before IPv4 was up: it wants something we do not give, a proof perhaps.
    #[error("given up by the peer before the network was up")]
    PeerGaveUp,
    /// The peer did not prove who it is: a wrong secret, an unknown name, or it will not be asked.
    #[error("the peer has not proved who it is ({protocol})")]
    PeerNotProved {
        /// What the proof was asked with; LCP if it never came to that.
        protocol: ControlProtocol,
    },
    /// The peer does not take our secret for the one that goes with our name.
    #[error("the peer does not believe us ({protocol})")]
    NotBelieved {
        /// What the proof was given with.
        protocol: ControlProtocol,
    },
    /// No packet of this protocol came, in [`MAX_CONFIGURE`](crate::MAX_CONFIGURE) tries.
    #[error("no answer to {protocol} from the peer")]
    NoAnswer {
        /// What was not answered.
        protocol: ControlProtocol,
    },
    /// The two ends talked and did not agree within the limits.
    #[error("{protocol} options could not be agreed")]
    NotConverged {
        /// What was not agreed.
        protocol: ControlProtocol,
    },
    /// The peer does not speak the protocol (RFC 1661 §5.6, §5.7).
    #[error("{protocol} rejected by the peer")]
    PeerRejected {
        /// What the peer does not speak.
        protocol: ControlProtocol,
    },
    /// What we send comes back (RFC 1661 §6.4): an echoing modem, not a peer.
    #[error("the line is looped back")]
    Loopback,
    /// The peer fell silent (RFC 1661 §5.8).
    #[error("the peer fell silent")]
    EchoLost,
    /// The caller reported that the carrier is gone.
    #[error("carrier lost")]
    CarrierLost,
}

/// Who caused the end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody: an orderly end, by either side.
    Nobody,
    /// The line: another call may work.
    Line,
    /// The peer, by what it says or does not say: another call will likely end the same way.
    Peer,
}

impl CloseReason {
    /// Whose fault it was.
    pub fn fault(&self) -> Fault {
        match self {
            CloseReason::ClosedHere
            | CloseReason::PeerTerminated {
                protocol: ControlProtocol::Lcp,
            } => Fault::Nobody,
            CloseReason::Loopback | CloseReason::EchoLost | CloseReason::CarrierLost => Fault::Line,
            CloseReason::PeerTerminated { .. }
            | CloseReason::PeerGaveUp
            | CloseReason::PeerNotProved { .. }
            | CloseReason::NotBelieved { .. }
            | CloseReason::NoAnswer { .. }
            | CloseReason::NotConverged { .. }
            | CloseReason::PeerRejected { .. } => Fault::Peer,
        }
    }
}

/// Where a link stands (RFC 1661 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// LCP is being agreed.
    Establish,
    /// LCP is open and the ends prove who they are. Where nothing is demanded it is passed at once.
    Authenticate,
    /// IPCP is being agreed or open.
    Network,
    /// The link is being closed in order.
    Terminate,
    /// `Closed` has been said.
    Dead,
}

/// Counters since the call began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// From the line.
    pub received: DecoderStatistics,
    /// To the line.
    pub sent: EncoderStatistics,
    /// IP packets given out.
    pub packets_received: u64,
    /// IP packets sent.
    pub packets_sent: u64,
    /// IP packets that came while IPCP, or IPV6CP for those of version 6, was not open.
    pub packets_received_early: u64,
    /// IP packets not sent: empty, IPCP or IPV6CP not open, or larger than the peer takes.
    pub packets_refused: u64,
    /// IPv4 packets sent with compressed headers (RFC 1144); counted in `packets_sent` too.
    pub headers_compressed: u64,
    /// IPv4 packets received so; counted in `packets_received` too.
    pub headers_expanded: u64,
    /// Packets with compressed headers that could not be rebuilt: something before them was lost.
    pub headers_tossed: u64,
    /// Control packets whose length did not fit.
    pub malformed: u64,
    /// Frames of protocols nobody here speaks.
    pub unknown_protocols: u64,
}
