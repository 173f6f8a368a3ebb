//! The options of IPv4 on the link (RFC 1332): who has which address.
//!
//! | option | we ask | we grant |
//! |--------|--------|----------|
//! | 3 IP-Address | always, until it is rejected | as [`PeerAddress`] says |
//! | 1 IP-Addresses, 2 IP-Compression-Protocol | never | rejected |
//! | 129 to 132 name servers (RFC 1877) | never | rejected |

use std::net::Ipv4Addr;

use crate::config::{Config, LocalAddress, PeerAddress};
use crate::negotiation::{Options, Refused, Rejected, Verdict};
use crate::packet::{ConfigureOption, put_option};
use crate::protocol::ControlProtocol;

const IP_ADDRESS: u8 = 3;

#[derive(Debug)]
pub(crate) struct IpcpOptions {
    /// Our address, as far as it is known.
    local: Option<Ipv4Addr>,
    /// Whether the peer may name it.
    is_local_open: bool,
    /// Whether the peer still wants to hear of option 3.
    is_asked: bool,
    /// The address the peer must have.
    assigned: Option<Ipv4Addr>,
    judged: Option<Ipv4Addr>,
    peer: Option<Ipv4Addr>,
}

impl IpcpOptions {
    pub(crate) fn new(config: &Config) -> IpcpOptions {
        let (local, is_local_open) = match config.local {
            LocalAddress::Own(address) => (real(address), real(address).is_none()),
            LocalAddress::Ask(address) => (address.and_then(real), true),
        };
        let assigned = match config.peer {
            PeerAddress::Any => None,
            PeerAddress::Assign(address) => real(address),
        };
        IpcpOptions { local, is_local_open, is_asked: true, assigned, judged: None, peer: None }
    }

    /// Our address, once agreed.
    pub(crate) fn local(&self) -> Option<Ipv4Addr> {
        self.local
    }

    /// The peer's: what it said, or what it was told before it rejected the option.
    pub(crate) fn peer(&self) -> Option<Ipv4Addr> {
        self.peer.or(self.assigned)
    }
}

/// 0.0.0.0 is the question, never an address: pppd and lwIP reject it when it is offered as one.
fn real(address: Ipv4Addr) -> Option<Ipv4Addr> {
    (!address.is_unspecified()).then_some(address)
}

impl Options for IpcpOptions {
    const PROTOCOL: ControlProtocol = ControlProtocol::Ipcp;

    fn write_request(&self, request: &mut Vec<u8>) {
        if self.is_asked {
            // RFC 1332 §3.3: zeros ask the peer to name it.
            put_option(request, IP_ADDRESS, &self.local.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        }
    }

    fn acknowledged(&mut self) {}

    fn naked(&mut self, option: &ConfigureOption<'_>) {
        if let (IP_ADDRESS, &[a, b, c, d], true) = (option.kind, option.data, self.is_local_open) {
            self.local = real(Ipv4Addr::new(a, b, c, d)).or(self.local);
        }
    }

    fn rejected(&mut self, kind: u8, how: Refused) -> Rejected {
        match (kind, how) {
            (IP_ADDRESS, _) if !self.is_asked => Rejected::NotAsked,
            // The peer does not care what our address is, so it is what we have; unless we have none.
            (IP_ADDRESS, Refused::ByReject) if self.local.is_some() => {
                self.is_asked = false;
                Rejected::LeftOut
            }
            // The peer insists on another address: both would believe something else.
            (IP_ADDRESS, _) => Rejected::Fatal,
            _ => Rejected::NotAsked,
        }
    }

    fn begin_judging(&mut self) {
        self.judged = None;
    }

    fn judge(&mut self, option: &ConfigureOption<'_>) -> Verdict {
        let (IP_ADDRESS, &[a, b, c, d]) = (option.kind, option.data) else { return Verdict::Reject };
        let address = Ipv4Addr::new(a, b, c, d);
        self.judged = real(address);
        match self.assigned {
            Some(assigned) if address == assigned => Verdict::Grant,
            Some(assigned) => Verdict::Insist(assigned.octets().to_vec()),
            // It asks, and we have nothing to give: it may go on without.
            None if address.is_unspecified() => Verdict::Reject,
            None => Verdict::Grant,
        }
    }

    fn granted(&mut self) {
        self.peer = self.judged;
    }
}
