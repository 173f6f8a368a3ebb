//! The options of IPv4 on the link (RFC 1332): who has which address, and who knows names (RFC 1877).
//!
//! | option | we ask | we grant |
//! |--------|--------|----------|
//! | 3 IP-Address | always, until it is rejected | as [`PeerAddress`] says |
//! | 1 IP-Addresses | never | rejected |
//! | 2 IP-Compression-Protocol | Van Jacobson's, if configured, until rejected | the same; another is Nak'd |
//! | 129, 131 name servers (RFC 1877) | as [`NameServers`] says, until rejected | what we have to give, else rejected |
//! | 130, 132 NetBIOS name servers | never | rejected |

use std::net::Ipv4Addr;

use crate::config::{Config, HeaderSlots, LocalAddress, NameServers, PeerAddress};
use crate::negotiation::{Options, Refused, Rejected, Verdict};
use crate::packet::{ConfigureOption, put_option};
use crate::protocol::{ControlProtocol, VJ_COMPRESSED};

const IP_COMPRESSION_PROTOCOL: u8 = 2;
const IP_ADDRESS: u8 = 3;
/// RFC 1877 §1.1 and §1.3.
const NAME_SERVERS: [u8; 2] = [129, 131];

/// Option 2 as Van Jacobson's compression has it (RFC 1332 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VanJacobson {
    /// 1 to 16.
    pub(crate) slots: u8,
    /// The slot may be left out.
    pub(crate) hides_slot: bool,
}

impl VanJacobson {
    fn all(slots: HeaderSlots) -> VanJacobson {
        VanJacobson {
            slots: slots.count(),
            hides_slot: true,
        }
    }

    fn option(self) -> [u8; 4] {
        let [high, low] = VJ_COMPRESSED.to_be_bytes();
        [high, low, self.slots - 1, u8::from(self.hides_slot)]
    }

    /// `None`: another kind of compression. Whoever has more slots than we is free not to be sent all.
    fn from_option(data: &[u8], slots: HeaderSlots) -> Option<VanJacobson> {
        let &[high, low, slot_max, hides_slot] = data else {
            return None;
        };
        let is_known = u16::from_be_bytes([high, low]) == VJ_COMPRESSED && hides_slot <= 1;
        let slots = slot_max.saturating_add(1).min(slots.count());
        is_known.then_some(VanJacobson {
            slots,
            hides_slot: hides_slot == 1,
        })
    }
}

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
    /// Whether headers may be compressed at all.
    compression: Option<HeaderSlots>,
    /// What we ask the peer to send, what it asks us to send while that is judged, and what we may.
    receiving: Option<VanJacobson>,
    judged_sending: Option<VanJacobson>,
    sending: Option<VanJacobson>,
    /// The name servers we have to give, first and second.
    given: [Option<Ipv4Addr>; 2],
    /// Those we ask for, as far as they are known; `None` where we do not ask, or no longer.
    asked: [Option<Ipv4Addr>; 2],
}

impl IpcpOptions {
    pub(crate) fn new(config: &Config) -> IpcpOptions {
        let (local, is_local_open) = match config.local {
            LocalAddress::Own(address) => (real(address), real(address).is_none()),
            LocalAddress::Ask(address) => (
                config
                    .expected
                    .map(|expected| expected.local)
                    .or(address)
                    .and_then(real),
                true,
            ),
        };
        let assigned = match config.peer {
            PeerAddress::Any => None,
            PeerAddress::Assign(address) => real(address),
        };
        let (given, asked) = match config.name_servers {
            NameServers::Nothing => ([None; 2], [None; 2]),
            NameServers::Give { first, second } => {
                ([real(first), second.and_then(real)], [None; 2])
            }
            NameServers::Ask(last) => (
                [None; 2],
                last.map(|last| last.or(Some(Ipv4Addr::UNSPECIFIED))),
            ),
        };
        IpcpOptions {
            local,
            is_local_open,
            is_asked: true,
            assigned,
            judged: None,
            peer: None,
            compression: config.header_compression,
            receiving: config.header_compression.map(VanJacobson::all),
            judged_sending: None,
            sending: None,
            given,
            asked,
        }
    }

    /// Our address, once agreed.
    pub(crate) fn local(&self) -> Option<Ipv4Addr> {
        self.local
    }

    /// The peer's: what it said, or what it was told before it rejected the option.
    pub(crate) fn peer(&self) -> Option<Ipv4Addr> {
        self.peer.or(self.assigned)
    }

    /// An address for a peer that asks for one where none is configured: pppd's for the same case, and never our own.
    fn fallback(&self) -> Ipv4Addr {
        let [first, second] = FALLBACKS;
        if self.local == Some(first) {
            second
        } else {
            first
        }
    }

    /// How the peer may compress headers.
    pub(crate) fn receiving(&self) -> Option<VanJacobson> {
        self.receiving
    }

    /// How we may.
    pub(crate) fn sending(&self) -> Option<VanJacobson> {
        self.sending
    }

    /// The name servers the peer has told us.
    pub(crate) fn name_servers(&self) -> [Option<Ipv4Addr>; 2] {
        self.asked.map(|address| address.and_then(real))
    }
}

/// What pppd gives a peer without an address (`ipcp_default_addrs`, unit 0), and the next.
const FALLBACKS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 64, 64, 64), Ipv4Addr::new(10, 64, 64, 65)];

/// Which of the two name servers an option is about.
fn name_server(kind: u8) -> Option<usize> {
    NAME_SERVERS.iter().position(|known| *known == kind)
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
            put_option(
                request,
                IP_ADDRESS,
                &self.local.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
            );
        }
        if let Some(receiving) = self.receiving {
            put_option(request, IP_COMPRESSION_PROTOCOL, &receiving.option());
        }
        for (kind, address) in NAME_SERVERS.into_iter().zip(self.asked) {
            if let Some(address) = address {
                put_option(request, kind, &address.octets());
            }
        }
    }

    fn acknowledged(&mut self) {}

    fn naked(&mut self, option: &ConfigureOption<'_>) {
        if let (IP_COMPRESSION_PROTOCOL, Some(asked), Some(slots)) =
            (option.kind, self.receiving, self.compression)
        {
            // Fewer slots, or none left out; never more than we have. Another kind: we ask again, and it may reject.
            let named = VanJacobson::from_option(option.data, slots);
            self.receiving = named.or(Some(asked));
            return;
        }
        let &[a, b, c, d] = option.data else { return };
        let address = Ipv4Addr::new(a, b, c, d);
        if option.kind == IP_ADDRESS && self.is_local_open {
            self.local = real(address).or(self.local);
        } else if let Some(which) = name_server(option.kind)
            && self.asked[which].is_some()
        {
            self.asked[which] = Some(address);
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
            (IP_COMPRESSION_PROTOCOL, _) if self.receiving.take().is_some() => Rejected::LeftOut,
            // It has none, and names are not what a call is for.
            (kind, _)
                if name_server(kind).is_some_and(|which| self.asked[which].take().is_some()) =>
            {
                Rejected::LeftOut
            }
            _ => Rejected::NotAsked,
        }
    }

    fn begin_judging(&mut self) {
        self.judged = None;
        self.judged_sending = None;
    }

    fn judge(&mut self, option: &ConfigureOption<'_>) -> Verdict {
        if option.kind == IP_COMPRESSION_PROTOCOL {
            let Some(slots) = self.compression else {
                return Verdict::Reject;
            };
            self.judged_sending = VanJacobson::from_option(option.data, slots);
            return match self.judged_sending {
                Some(_) => Verdict::Grant,
                None => Verdict::Nak(VanJacobson::all(slots).option().to_vec()),
            };
        }
        let &[a, b, c, d] = option.data else {
            return Verdict::Reject;
        };
        let address = Ipv4Addr::new(a, b, c, d);
        if let Some(which) = name_server(option.kind) {
            return match self.given[which] {
                Some(given) if address == given => Verdict::Grant,
                Some(given) => Verdict::Nak(given.octets().to_vec()),
                None => Verdict::Reject,
            };
        }
        if option.kind != IP_ADDRESS {
            return Verdict::Reject;
        }
        self.judged = real(address);
        match self.assigned {
            Some(assigned) if address == assigned => Verdict::Grant,
            Some(assigned) => Verdict::Insist(assigned.octets().to_vec()),
            // It asks, and nobody has said what it is to have. A Reject would end IPCP at stacks that need an address.
            None if address.is_unspecified() => Verdict::Nak(self.fallback().octets().to_vec()),
            // It was given by the same rule at the other end: two ends without an address have none to give.
            None if self.is_local_open && self.local == Some(address) => {
                Verdict::Insist(self.fallback().octets().to_vec())
            }
            None => Verdict::Grant,
        }
    }

    fn granted(&mut self) {
        self.peer = self.judged;
        self.sending = self.judged_sending;
    }
}
