//! What the caller decides before a link begins.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use std::time::Duration;

use crate::authentication::Authentication;
use crate::frame::INFORMATION_OCTETS_MAX;
use crate::prediction::Agreement;

/// How one end of a link behaves. [`Config::server`] and [`Config::terminal`] give the usual two.
#[derive(Clone, Debug)]
pub struct Config {
    /// The line, from which the restart timer is computed until a request has been answered; then three times what
    /// that took is used, between 1 s and 10 s.
    pub line: LineProfile,
    /// The largest packet the peer is asked to send us (RFC 1661 §6.1).
    pub mru: Mru,
    /// The control characters the peer is asked to escape (RFC 1662 §7.1), bit 0 for NUL. Zero suits a line that
    /// passes all octets; `0x000a_0000` one with XON/XOFF flow control.
    pub accm: u32,
    /// This end's address.
    pub local: LocalAddress,
    /// The peer's address.
    pub peer: PeerAddress,
    /// Name servers, to give or to ask for.
    pub name_servers: NameServers,
    /// Whether IPv6 is spoken beside IPv4 (RFC 5072). Without it a peer that offers it is told once that it is not.
    pub ipv6: Option<Ipv6>,
    /// Whether TCP/IP headers may be compressed (RFC 1144), and for how many connections at once, either way.
    pub header_compression: Option<HeaderSlots>,
    /// Whether and how a silent peer is noticed. The carrier usually tells first, so the default is not at all.
    pub keepalive: Option<Keepalive>,
    /// Who has to prove who it is, and how.
    pub authentication: Authentication,
    /// What was agreed with this peer on an earlier call, if it is to be expected again: see [`Agreement`]. An address
    /// that we ask for is asked for as it was agreed.
    pub expected: Option<Agreement>,
}

impl Config {
    /// The calling server: it has an address and assigns the peer's.
    pub fn server(line: LineProfile, local: Ipv4Addr, peer: Ipv4Addr) -> Config {
        Config {
            line,
            mru: Mru::DEFAULT,
            accm: 0,
            local: LocalAddress::Own(local),
            peer: PeerAddress::Assign(peer),
            name_servers: NameServers::Nothing,
            ipv6: None,
            header_compression: Some(HeaderSlots::MAX),
            keepalive: None,
            authentication: Authentication::default(),
            expected: None,
        }
    }

    /// The called terminal: it takes the address it is given. One that asks for the right address at once, because
    /// it was given it last time, saves a round trip.
    pub fn terminal(line: LineProfile, last_address: Option<Ipv4Addr>) -> Config {
        Config {
            line,
            mru: Mru::DEFAULT,
            accm: 0,
            local: LocalAddress::Ask(last_address),
            peer: PeerAddress::Any,
            name_servers: NameServers::Nothing,
            ipv6: None,
            header_compression: Some(HeaderSlots::MAX),
            keepalive: None,
            authentication: Authentication::default(),
            expected: None,
        }
    }
}

/// This end's IPv4 address, as option 3 of RFC 1332 §3.3 offers it. `0.0.0.0` is nobody's address: as
/// [`Own`](LocalAddress::Own) it means the same as `Ask(None)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalAddress {
    /// This and no other. A peer that keeps naming another one ends the link.
    Own(Ipv4Addr),
    /// Whatever the peer says; the address inside is what to propose first.
    Ask(Option<Ipv4Addr>),
}

/// The peer's IPv4 address. `0.0.0.0` as [`Assign`](PeerAddress::Assign) means the same as `Any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// Whatever the peer says it is.
    Any,
    /// This and no other. The peer is corrected [`MAX_FAILURE`](crate::MAX_FAILURE) times, then the link ends.
    Assign(Ipv4Addr),
}

/// Who tells whom where names are resolved (RFC 1877 options 129 and 131). `0.0.0.0` is no server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameServers {
    /// Neither. A peer that asks is rejected, which costs it a round trip.
    #[default]
    Nothing,
    /// We tell the peer, if it asks.
    Give {
        /// To be asked first.
        first: Ipv4Addr,
        /// To be asked if the first does not answer.
        second: Option<Ipv4Addr>,
    },
    /// We ask the peer. Inside is what it said last time: if it still says so, no round trip is lost.
    /// [`Session::name_servers`](crate::Session::name_servers) has the answer.
    Ask([Option<Ipv4Addr>; 2]),
}

/// Who has which interface identifier, from which the link-local addresses are made (RFC 5072 §4.1, §5). The default
/// asks the peer for ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv6 {
    /// What we propose for ourselves; a peer that has the same one names another. `None` asks the peer.
    pub local: Option<InterfaceIdentifier>,
    /// What a peer is told that asks, or has ours. `None`: one drawn from the session's seed.
    pub peer: Option<InterfaceIdentifier>,
}

/// The lower 64 bits of an address on a link, never zero (RFC 5072 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceIdentifier(NonZeroU64);

impl InterfaceIdentifier {
    /// `None` for zero, which is nobody's.
    pub fn new(number: u64) -> Option<InterfaceIdentifier> {
        NonZeroU64::new(number).map(InterfaceIdentifier)
    }

    /// The number.
    pub fn number(self) -> u64 {
        self.0.get()
    }

    /// The address on the link: `fe80::` and the identifier (RFC 5072 §5).
    pub fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(self.number()))
    }
}

/// A Maximum-Receive-Unit in octets: 128 to 1500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mru(u16);

/// A number that cannot be a [`Mru`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an MRU of {octets} octets is not between {min} and {max}", min = Mru::MIN.octets(), max = Mru::DEFAULT.octets())]
pub struct MruError {
    octets: u16,
}

impl Mru {
    /// What counts when nobody says anything, and the most we can take: 1500 octets (RFC 1661 §6.1).
    pub const DEFAULT: Mru = Mru(1500);
    /// Less than this is more header than content; a peer that asks for less is told 128.
    pub const MIN: Mru = Mru(128);

    /// Checks the bounds.
    ///
    /// # Errors
    /// When `octets` is below 128 or above 1500.
    pub fn new(octets: u16) -> Result<Mru, MruError> {
        if (Mru::MIN.0..=Mru::DEFAULT.0).contains(&octets) {
            Ok(Mru(octets))
        } else {
            Err(MruError { octets })
        }
    }

    /// The number.
    pub const fn octets(self) -> u16 {
        self.0
    }

    pub(crate) fn nearest(octets: u16) -> Mru {
        Mru(octets.clamp(Mru::MIN.0, Mru::DEFAULT.0))
    }
}

/// TCP connections whose headers are kept for compression at once (RFC 1332 §4.1): 1 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderSlots(u8);

/// A number that cannot be [`HeaderSlots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{slots} slots for headers are not between 1 and 16")]
pub struct HeaderSlotsError {
    slots: u8,
}

impl HeaderSlots {
    /// 16, as everybody has: about 2 KB each way when all are in use.
    pub const MAX: HeaderSlots = HeaderSlots(16);

    /// Checks the bounds.
    ///
    /// # Errors
    /// When `slots` is 0 or above 16.
    pub fn new(slots: u8) -> Result<HeaderSlots, HeaderSlotsError> {
        if (1..=16).contains(&slots) {
            Ok(HeaderSlots(slots))
        } else {
            Err(HeaderSlotsError { slots })
        }
    }

    /// The number.
    pub const fn count(self) -> u8 {
        self.0
    }
}

const _: () = assert!(Mru::DEFAULT.0 as usize == INFORMATION_OCTETS_MAX);

/// When to ask whether the peer is still there (RFC 1661 §5.8). Any good frame counts as a sign of life, so a busy
/// line carries no echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long the line may be silent before an Echo-Request goes out.
    pub interval: Duration,
    /// How many of them in a row may stay unanswered before the link ends.
    pub losses_max: u8,
}

/// What is known of the line before the first octet has crossed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineProfile {
    /// Bits a second each way, where an octet takes ten. `None` when nobody knows.
    pub rate_bps: Option<u32>,
    /// One-way delay.
    pub delay: Duration,
}

/// The restart timer when the rate is unknown: pppd's and RFC 1661 §4.6's default.
const RESTART_UNKNOWN: Duration = Duration::from_secs(3);
const RESTART_MIN: Duration = Duration::from_secs(1);
/// Beyond this a lost packet costs more line time than a needless repeat.
const RESTART_MAX: Duration = Duration::from_secs(10);

impl LineProfile {
    /// A line of which nothing is known.
    pub const UNKNOWN: LineProfile = LineProfile {
        rate_bps: None,
        delay: Duration::ZERO,
    };

    /// How long to wait for an answer when this many octets must cross the line, both ways added: three times what
    /// it should take, between 1 s and 10 s (RFC 1661 §4.6 wants it configurable and at least two round trips).
    pub fn restart_timer(&self, octets_both_ways: usize) -> Duration {
        let Some(rate_bps) = self.rate_bps.filter(|rate| *rate > 0) else {
            return RESTART_UNKNOWN;
        };
        let bits = u64::try_from(octets_both_ways)
            .unwrap_or(u64::MAX)
            .saturating_mul(10);
        let on_the_wire = Duration::from_millis(bits.saturating_mul(1000) / u64::from(rate_bps));
        let round_trip = self.delay.saturating_mul(2).saturating_add(on_the_wire);
        restart_after_round_trips_of(round_trip)
    }
}

/// Three of them, between 1 s and 10 s.
pub(crate) fn restart_after_round_trips_of(round_trip: Duration) -> Duration {
    round_trip.saturating_mul(3).clamp(RESTART_MIN, RESTART_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_restart_timer_follows_the_line_between_one_and_ten_seconds() {
        let line = |rate_bps, delay_ms| LineProfile {
            rate_bps,
            delay: Duration::from_millis(delay_ms),
        };
        assert_eq!(
            line(Some(33_600), 50).restart_timer(92),
            Duration::from_secs(1)
        );
        // 2 x 300 ms and 92 octets at 2400 bit/s (383 ms), three times.
        assert_eq!(
            line(Some(2400), 300).restart_timer(92),
            Duration::from_millis(3 * (600 + 383))
        );
        assert_eq!(
            line(Some(300), 500).restart_timer(200),
            Duration::from_secs(10)
        );
        assert_eq!(line(None, 5000).restart_timer(92), Duration::from_secs(3));
        assert_eq!(line(Some(0), 0).restart_timer(92), Duration::from_secs(3));
        assert_eq!(
            line(Some(1), u64::MAX).restart_timer(usize::MAX),
            Duration::from_secs(10)
        );
    }

    #[test]
    fn an_mru_outside_its_bounds_is_refused_and_says_the_bounds() {
        assert_eq!(Mru::new(128).map(Mru::octets), Ok(128));
        assert_eq!(Mru::new(1500).map(Mru::octets), Ok(1500));
        assert_eq!(
            Mru::new(127).unwrap_err().to_string(),
            "an MRU of 127 octets is not between 128 and 1500"
        );
        assert!(Mru::new(1501).is_err());
    }
}
