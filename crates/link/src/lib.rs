//! IP over a call: drives [`ppp`] on a byte stream, with TCP/IP in user space above it.
//!
//! [`Link::establish`] takes a call that is connected and returns when IP is up. One task owns the call, the PPP
//! session and the stack; [`Link::connect`] and [`Link::listen`] give streams that behave as any tokio stream does,
//! with three promises that matter on slow lines:
//!
//! * `poll_flush` means "handed to the stack": it never waits for an acknowledgement, so HTTP/2 does not become
//!   stop-and-wait.
//! * A reset, a timeout and a lost call are errors; only the far end's FIN reads as end of file.
//! * What waits, waits in the stream's own small buffer: packets are made when the line is free to take them.
//!
//! With [`LinkConfig::tun`] the rest of the machine's IP may use the link, too, through a network interface of the kernel
//! and a gate that stays shut until [`Link::proved`]. Ringup's own connections never take that way.
//!
//! The stack (smoltcp) shows nowhere in this interface.

mod capture;
mod counters;
mod driver;
mod gate;
mod listener;
mod pacer;
mod stack;
mod stream;
mod tun;

use std::time::Duration;

pub use capture::{Capture, CaptureError};
pub use counters::Counters;
pub use driver::{Link, LinkError};
pub use gate::{OpenPorts, Side};
pub use listener::Listener;
pub use ppp::{
    Agreement, Authentication, CloseReason, CredentialError, Credentials, Demand, Fault,
    HeaderSlots, InterfaceIdentifier, Ipv6, Keepalive, LocalAddress, Mru, Name, PeerAddress,
    Secret, Secrets, Willing,
};
pub use stream::Stream;
pub use tun::{HAS_TUN, TunConfig};

/// What a link needs to know before it is established.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Our address.
    pub local: LocalAddress,
    /// What the far end may be.
    pub peer: PeerAddress,
    /// The line's rate, bit/s, at 10 bits an octet. Paces what is sent.
    pub rate_bps: u32,
    /// One-way delay of the line, as far as known: sets the first restart timer of PPP.
    pub delay: Duration,
    /// TCP ports that take connections from the moment on which IP is up: the far end may be quicker than the caller of
    /// [`Link::establish`] is with [`Link::listen`], which gives out what has come to one of these.
    pub ports: &'static [u16],
    /// What else PPP asks of the far end and grants it.
    pub terms: Terms,
    /// What an earlier call has agreed on with this far end, if it has proved by its key who it is.
    pub expected: Option<Expected>,
    /// Where everything that crosses the link is recorded, if anywhere.
    pub capture: Option<Capture>,
    /// What the rest of the machine's IP gets of the link, if anything; takes a build with the feature `tun`.
    pub tun: Option<TunConfig>,
}

impl LinkConfig {
    /// A link of which nothing more is asked; what else there is to say replaces a field.
    pub fn new(local: LocalAddress, peer: PeerAddress, rate_bps: u32, delay: Duration) -> Self {
        let terms = Terms::default();
        Self {
            local,
            peer,
            rate_bps,
            delay,
            ports: &[],
            terms,
            expected: None,
            capture: None,
            tun: None,
        }
    }
}

/// What to expect of a far end that is known: see [`Agreement`]. The link is then up after one round trip.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// What [`Link::agreement`] has given on the last call.
    pub agreement: Agreement,
    /// A port of the far end to which a connection is begun with the first octet, for [`Link::connect`] to find.
    pub connect: Option<u16>,
}

/// What PPP asks of the far end and grants it, besides addresses. The default asks for no proof and sends no echoes.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The largest packet the far end is asked to send; `None` for what suits the line's rate.
    pub mru: Option<Mru>,
    /// Who has to prove who it is, and how.
    pub authentication: Authentication,
    /// Whether TCP/IP headers may be compressed (RFC 1144), and for how many connections at once. By default they may:
    /// it saves 36 of 40 octets of every header, and a peer that does not know it rejects it in one round.
    pub header_compression: Option<HeaderSlots>,
    /// Whether IPv6 link-local addresses are had beside IPv4. Not by default: nothing of ours needs them.
    pub ipv6: Option<Ipv6>,
    /// How a silent far end is noticed. Not at all by default: a lost carrier is told, and TCP notices a dead end.
    pub keepalive: Option<Keepalive>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            mru: None,
            authentication: Authentication::default(),
            header_compression: Some(HeaderSlots::MAX),
            ipv6: None,
            keepalive: None,
        }
    }
}

/// Largest packet for a line of this rate, in octets: below about half a second of line each, so that an urgent one
/// never waits long (RFC 1144 §5.2 argues the same from interactive use).
fn mru_for(rate_bps: u32) -> Mru {
    let octets = match rate_bps {
        0..=4_800 => 296,
        4_801..=19_200 => 576,
        _ => 1500,
    };
    Mru::new(octets).expect("128 to 1500 octets")
}
