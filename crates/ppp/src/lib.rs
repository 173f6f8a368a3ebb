//! Pure. Point-to-Point Protocol for calls: octets and time in, octets and events out.
//!
//! When a call is connected, two machines hold two ends of a pipe that loses, invents and delays octets. This crate
//! makes IPv4 of it (RFC 1661, RFC 1662, RFC 1332), IPv6 beside it if wanted (RFC 5072), and lets the ends prove who
//! they are (RFC 1994, RFC 1334). It reads no clock and opens nothing: the caller feeds a [`Session`] with what came
//! from the line and with the time, and does what it says.
//!
//! # Who does what
//!
//! ```text
//!   line ──► frame::Decoder ──► link ──┬─► lcp  = Negotiation<LcpOptions>  ─┐
//!                                      ├─► authentication: CHAP, PAP        ├─► wire ──► frame::Encoder ──► line
//!                                      ├─► ipcp = Negotiation<IpcpOptions> ─┤
//!                                      ├─► ipv6cp, the same, for IPv6     ──┘
//!                                      └─► vj ─► IPv4 packets, to the caller
//! ```
//!
//! `frame` finds frames in noise. `automaton` is RFC 1661's table and nothing else. `negotiation` surrounds it with
//! packets and limits, once for LCP and once for each network protocol. `vj` makes three octets of forty (RFC 1144).
//! `link` knows the phases, [`Agreement`] what may come before them; `session` is the door.
//!
//! # What it costs
//!
//! Everything that may be said in one breath is: the first Configure-Request leaves at CONNECT, the last
//! Configure-Ack of LCP and the first Configure-Request of IPCP in one write; with CHAP, the Challenge with that Ack
//! and the Success with that request. A link to a terminal that asks for the right address is up after two round
//! trips; between ends that [remember](Agreement) each other, after one.
//!
//! # What it bounds
//!
//! [`MAX_CONFIGURE`] requests, Challenges and Responses unanswered, [`MAX_TERMINATE`], [`MAX_FAILURE`] Naks; 30
//! requests and 10 openings of one protocol in a call; frames of 1506 octets; 64 options in a packet; 3
//! Protocol-Rejects for each of 16 protocols; [`HELD_OCTETS_MAX`] of what comes early. What leaves is never more than
//! a small multiple of what came in.
//!
//! # Example
//!
//! ```
//! use std::time::{Duration, Instant};
//! use ringup_ppp::{Config, Event, Input, LineProfile, Output, Session};
//!
//! let line = LineProfile { rate_bps: Some(33_600), delay: Duration::from_millis(60) };
//! let mut now = Instant::now();
//! let mut ends = [
//!     Session::new(Config::server(line, [10, 0, 0, 1].into(), [10, 0, 0, 2].into()), 1, now),
//!     Session::new(Config::terminal(line, None), 2, now),
//! ];
//! let mut up = Vec::new();
//! while up.len() < 2 {
//!     // What each end says crosses the line, and then the other end hears it.
//!     for (from, to) in [(0, 1), (1, 0)] {
//!         let mut crossing = Vec::new();
//!         loop {
//!             match ends[from].poll_output() {
//!                 Output::Transmit(octets) => crossing.extend_from_slice(&octets),
//!                 Output::Event(Event::NetworkUp { local, peer, .. }) => up.push((local, peer)),
//!                 Output::Event(_) | Output::Packet(_) => {}
//!                 Output::Timeout { .. } => break,
//!             }
//!         }
//!         now += line.delay;
//!         ends[to].handle(Input::Bytes(&crossing), now);
//!     }
//! }
//! assert!(up.contains(&([10, 0, 0, 1].into(), Some([10, 0, 0, 2].into()))));
//! assert!(up.contains(&([10, 0, 0, 2].into(), Some([10, 0, 0, 1].into()))));
//! ```

mod authentication;
mod automaton;
mod config;
mod event;
mod frame;
mod ipcp;
mod ipv6cp;
mod lcp;
mod link;
mod negotiation;
mod packet;
mod prediction;
mod protocol;
mod random;
mod session;
mod vj;
mod wire;

pub use authentication::{
    Authentication, CredentialError, Credentials, Demand, Name, Secret, Secrets, Willing,
};
pub use automaton::{MAX_CONFIGURE, MAX_FAILURE, MAX_TERMINATE};
pub use config::{
    Config, HeaderSlots, HeaderSlotsError, InterfaceIdentifier, Ipv6, Keepalive, LineProfile,
    LocalAddress, Mru, MruError, NameServers, PeerAddress,
};
pub use event::{CloseReason, Event, Fault, Output, Phase, Statistics, Wake};
pub use frame::{
    ACCM_DEFAULT, Decoder, DecoderStatistics, Encoder, EncoderStatistics, Frame,
    INFORMATION_OCTETS_MAX,
};
pub use lcp::{Direction, LinkOptions};
pub use prediction::{Agreement, AgreementError, HELD_OCTETS_MAX};
pub use protocol::ControlProtocol;
pub use session::{Input, Session};
