//! The protocols that may travel in a frame, and who answers for each (RFC 1661 §2, assigned numbers).
//!
//! | number | protocol | who takes it |
//! |--------|----------|--------------|
//! | 0021   | IPv4     | the caller, once IPCP is open |
//! | 002d, 002f | IPv4 with its headers compressed | [`vj`](crate::vj), where IPCP has agreed on it |
//! | 0057   | IPv6     | the caller, once IPV6CP is open |
//! | 8021   | IPCP     | [`ipcp`](crate::ipcp) |
//! | 8057   | IPV6CP   | [`ipv6cp`](crate::ipv6cp), where the caller wants IPv6 |
//! | c023, c223 | PAP, CHAP | [`authentication`](crate::authentication), where LCP has agreed on it |
//! | c021   | LCP      | [`lcp`](crate::lcp) |
//! | others |          | one Protocol-Reject (RFC 1661 §5.7) |

use std::fmt;

pub(crate) const IPV4: u16 = 0x0021;
/// RFC 1144: TCP/IP with compressed headers, and a packet that fills a slot.
pub(crate) const VJ_COMPRESSED: u16 = 0x002d;
pub(crate) const VJ_UNCOMPRESSED: u16 = 0x002f;
pub(crate) const IPV6: u16 = 0x0057;
pub(crate) const IPCP: u16 = 0x8021;
pub(crate) const IPV6CP: u16 = 0x8057;
pub(crate) const LCP: u16 = 0xc021;
pub(crate) const PAP: u16 = 0xc023;
pub(crate) const CHAP: u16 = 0xc223;

/// A protocol that is spoken before packets flow: the link's own, a proof, and one for each network protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlProtocol {
    /// Link Control Protocol (RFC 1661).
    Lcp,
    /// Password Authentication Protocol (RFC 1334).
    Pap,
    /// Challenge Handshake Authentication Protocol (RFC 1994).
    Chap,
    /// Internet Protocol Control Protocol (RFC 1332).
    Ipcp,
    /// IPv6 Control Protocol (RFC 5072).
    Ipv6cp,
}

impl ControlProtocol {
    /// Its number in a frame.
    pub fn number(self) -> u16 {
        match self {
            ControlProtocol::Lcp => LCP,
            ControlProtocol::Pap => PAP,
            ControlProtocol::Chap => CHAP,
            ControlProtocol::Ipcp => IPCP,
            ControlProtocol::Ipv6cp => IPV6CP,
        }
    }
}

impl fmt::Display for ControlProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ControlProtocol::Lcp => "LCP",
            ControlProtocol::Pap => "PAP",
            ControlProtocol::Chap => "CHAP",
            ControlProtocol::Ipcp => "IPCP",
            ControlProtocol::Ipv6cp => "IPV6CP",
        })
    }
}
