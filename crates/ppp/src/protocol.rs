//! The protocols that may travel in a frame, and who answers for each (RFC 1661 §2, assigned numbers).
//!
//! | number | protocol | who takes it |
//! |--------|----------|--------------|
//! | 0021   | IPv4     | the caller, once IPCP is open |
//! | 8021   | IPCP     | [`ipcp`](crate::ipcp) |
//! | c021   | LCP      | [`lcp`](crate::lcp) |
//! | others |          | one Protocol-Reject (RFC 1661 §5.7) |

use std::fmt;

pub(crate) const IPV4: u16 = 0x0021;
pub(crate) const IPCP: u16 = 0x8021;
pub(crate) const LCP: u16 = 0xc021;

/// A protocol that is negotiated: the link's own, and one for each network protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlProtocol {
    /// Link Control Protocol (RFC 1661).
    Lcp,
    /// Internet Protocol Control Protocol (RFC 1332).
    Ipcp,
}

impl ControlProtocol {
    /// Its number in a frame.
    pub fn number(self) -> u16 {
        match self {
            ControlProtocol::Lcp => LCP,
            ControlProtocol::Ipcp => IPCP,
        }
    }
}

impl fmt::Display for ControlProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ControlProtocol::Lcp => "LCP",
            ControlProtocol::Ipcp => "IPCP",
        })
    }
}
