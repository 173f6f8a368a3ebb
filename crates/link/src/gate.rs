//! Pure. What may cross between the far end and the kernel's IP. Packets and what the host knows of its addresses come
//! in, a verdict goes out.
//!
//! ```text
//!   far end ──► inward ──► TUN ──► this machine (terminal), networks behind this host (server)
//!   far end ◄── outward ◄── TUN
//! ```
//!
//! Nothing passes before the far end is proved. After that a packet passes if all of this is so:
//!
//! 1. It is IPv4, TCP or UDP, whole: no options, no fragment, a right checksum, lengths that fit.
//! 2. Its addresses are what this side of the link may say and hear, see [`Gate::inward`] and [`Gate::outward`].
//! 3. It goes to an open port, or it belongs to a flow that the other side opened to an open port. A flow is remembered
//!    when such a packet passes, in a table of [`FLOWS_MAX`] for each side, so that one that opens many pushes out only
//!    its own. A bare SYN opens a flow and never belongs to one.
//!
//! IPv6 is dropped: nothing here has been thought through for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Flows remembered for each side; the one that was used last longest ago goes.
pub(crate) const FLOWS_MAX: usize = 256;

/// The TCP and UDP ports that are open through TUN, both ways. None by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenPorts {
    /// All of them.
    All,
    /// These.
    These(BTreeSet<u16>),
}

impl Default for OpenPorts {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl OpenPorts {
    fn has(&self, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::These(ports) => ports.contains(&port),
        }
    }
}

/// Which side of a link this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It assigned the far end's address, and never lets the far end reach the host itself.
    Server,
    /// It has one address on the link, and is reached there.
    Terminal,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The far end is not proved yet.
    Unproved,
    /// Not IPv4.
    NotIpv4,
    /// A header that is wrong in itself.
    Malformed,
    /// Options in the IPv4 header.
    Options,
    /// A part of a packet: only the first has ports.
    Fragment,
    /// Neither TCP nor UDP.
    Protocol,
    /// An address that the sender does not have.
    Source,
    /// An address that is not to be reached.
    Destination,
    /// Neither to an open port nor of a known flow.
    NotOpen,
}

/// Who asks whether an address is the host's own.
type IsHostsOwn = Box<dyn Fn(Ipv4Addr) -> bool + Send>;

/// Stands between the far end and TUN for the life of one link.
pub(crate) struct Gate {
    side: Side,
    local: Ipv4Addr,
    peer: Ipv4Addr,
    ports: OpenPorts,
    is_hosts_own: IsHostsOwn,
    is_proved: bool,
    opened_here: Flows,
    opened_there: Flows,
}

impl Gate {
    /// A closed gate. `is_hosts_own` says whether the host has an address (or it is a broadcast address of a network of
    /// the host's); in doubt it says yes.
    pub(crate) fn new(
        side: Side,
        local: Ipv4Addr,
        peer: Ipv4Addr,
        ports: OpenPorts,
        is_hosts_own: impl Fn(Ipv4Addr) -> bool + Send + 'static,
    ) -> Self {
        let (opened_here, opened_there) = (Flows::default(), Flows::default());
        let is_hosts_own = Box::new(is_hosts_own);
        Self {
            side,
            local,
            peer,
            ports,
            is_hosts_own,
            is_proved: false,
            opened_here,
            opened_there,
        }
    }

    /// The far end has been proved.
    pub(crate) fn prove(&mut self) {
        self.is_proved = true;
    }

    /// A packet from the far end to TUN; gives it without padding.
    ///
    /// At the server it must come from exactly the address that was assigned, and go to no address of the host. At the
    /// terminal it must come from elsewhere and go to exactly the address on the link.
    pub(crate) fn inward<'a>(&mut self, packet: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let head = self.read(packet)?;
        let (source, destination) = (head.source.0, head.destination.0);
        match self.side {
            Side::Server if source != self.peer => return Err(Refusal::Source),
            Side::Server if destination == self.peer || self.is_own(destination) => {
                return Err(Refusal::Destination);
            }
            Side::Terminal if destination != self.local => return Err(Refusal::Destination),
            Side::Terminal if self.is_own(source) => return Err(Refusal::Source),
            Side::Server | Side::Terminal => {}
        }
        let flow = Flow {
            protocol: head.protocol,
            here: head.destination,
            there: head.source,
        };
        self.admit(&head, flow, Opener::There)?;
        Ok(&packet[..head.octets])
    }

    /// A packet from TUN to the far end.
    ///
    /// At the server it must go to exactly the address that was assigned, at the terminal come from exactly its own.
    pub(crate) fn outward<'a>(&mut self, packet: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let head = self.read(packet)?;
        let (source, destination) = (head.source.0, head.destination.0);
        match self.side {
            Side::Server if destination != self.peer => return Err(Refusal::Destination),
            Side::Server if source == self.peer => return Err(Refusal::Source),
            Side::Terminal if source != self.local => return Err(Refusal::Source),
            Side::Terminal if destination == self.local => return Err(Refusal::Destination),
            Side::Server | Side::Terminal => {}
        }
        let flow = Flow {
            protocol: head.protocol,
            here: head.source,
            there: head.destination,
        };
        self.admit(&head, flow, Opener::Here)?;
        Ok(&packet[..head.octets])
    }

    fn read(&self, packet: &[u8]) -> Result<Head, Refusal> {
        if !self.is_proved {
            return Err(Refusal::Unproved);
        }
        let head = Head::read(packet)?;
        if is_special(head.source.0) {
            return Err(Refusal::Source);
        }
        if is_special(head.destination.0) {
            return Err(Refusal::Destination);
        }
        Ok(head)
    }

    fn is_own(&self, address: Ipv4Addr) -> bool {
        address == self.local || (self.is_hosts_own)(address)
    }

    fn admit(&mut self, head: &Head, flow: Flow, sender: Opener) -> Result<(), Refusal> {
        let (by_sender, by_other) = match sender {
            Opener::Here => (&mut self.opened_here, &mut self.opened_there),
            Opener::There => (&mut self.opened_there, &mut self.opened_here),
        };
        if self.ports.has(head.destination.1) {
            by_sender.remember(flow);
            return Ok(());
        }
        if !head.is_opening && by_other.knows(flow) {
            Ok(())
        } else {
            Err(Refusal::NotOpen)
        }
    }
}

/// Who sends a packet.
#[derive(Debug, Clone, Copy)]
enum Opener {
    Here,
    There,
}

/// Addresses that mean nothing on a link, whoever says them: this network, loopback, link-local (where clouds keep their
/// secrets), multicast, reserved and broadcast.
fn is_special(address: Ipv4Addr) -> bool {
    matches!(address.octets(), [0 | 127 | 224..=255, ..] | [169, 254, ..])
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Tcp,
    Udp,
}

/// What the gate needs to know of a packet.
#[derive(Debug)]
struct Head {
    protocol: Protocol,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    /// TCP with SYN and no ACK.
    is_opening: bool,
    /// The packet without what PPP may have padded it with.
    octets: usize,
}

const IPV4_OCTETS: usize = 20;
const TCP_OCTETS: usize = 20;
const UDP_OCTETS: usize = 8;

impl Head {
    fn read(packet: &[u8]) -> Result<Self, Refusal> {
        let Some(first) = packet.first() else {
            return Err(Refusal::Malformed);
        };
        if first >> 4 != 4 {
            return Err(Refusal::NotIpv4);
        }
        let ip = packet
            .first_chunk::<IPV4_OCTETS>()
            .ok_or(Refusal::Malformed)?;
        match ip[0] & 0x0f {
            0..5 => return Err(Refusal::Malformed),
            5 => {}
            _ => return Err(Refusal::Options),
        }
        let octets = usize::from(number(ip, 2));
        if octets < IPV4_OCTETS || octets > packet.len() || checksum(ip) != 0 || ip[8] == 0 {
            return Err(Refusal::Malformed);
        }
        // RFC 791: a reserved bit, do not fragment, more fragments, and 13 bits of offset.
        match number(ip, 6) {
            0 | 0x4000 => {}
            flags if flags & 0x8000 != 0 => return Err(Refusal::Malformed),
            _ => return Err(Refusal::Fragment),
        }
        let protocol = match ip[9] {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return Err(Refusal::Protocol),
        };
        let segment = &packet[IPV4_OCTETS..octets];
        let is_opening = match protocol {
            Protocol::Tcp => Self::read_tcp(segment)?,
            Protocol::Udp => Self::read_udp(segment)?,
        };
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let source = (address(12), number(segment, 0));
        let destination = (address(16), number(segment, 2));
        if source.1 == 0 || destination.1 == 0 {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            protocol,
            source,
            destination,
            is_opening,
            octets,
        })
    }

    /// Whether it opens a connection.
    fn read_tcp(segment: &[u8]) -> Result<bool, Refusal> {
        let header = segment
            .first_chunk::<TCP_OCTETS>()
            .ok_or(Refusal::Malformed)?;
        let header_octets = usize::from(header[12] >> 4) * 4;
        if header_octets < TCP_OCTETS || header_octets > segment.len() {
            return Err(Refusal::Malformed);
        }
        const FIN: u8 = 1;
        const SYN: u8 = 2;
        const RST: u8 = 4;
        const ACK: u8 = 16;
        let flags = header[13];
        // No honest stack sends these; some take them for a bare SYN.
        let is_odd = flags & SYN != 0 && flags & (FIN | RST) != 0 || flags & (SYN | RST | ACK) == 0;
        if is_odd {
            Err(Refusal::Malformed)
        } else {
            Ok(flags & (SYN | ACK) == SYN)
        }
    }

    fn read_udp(segment: &[u8]) -> Result<bool, Refusal> {
        let is_whole =
            segment.len() >= UDP_OCTETS && usize::from(number(segment, 4)) == segment.len();
        if is_whole {
            Ok(false)
        } else {
            Err(Refusal::Malformed)
        }
    }
}

fn number(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// RFC 791: the sum that is 0 for a header which carries its own.
fn checksum(header: &[u8; IPV4_OCTETS]) -> u16 {
    let words = (0..IPV4_OCTETS).step_by(2).map(|at| number(header, at));
    !words.fold(0, |sum: u16, word| match sum.overflowing_add(word) {
        (sum, true) => sum + 1, // cannot overflow again
        (sum, false) => sum,
    })
}

/// Two ends that talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Flow {
    protocol: Protocol,
    here: (Ipv4Addr, u16),
    there: (Ipv4Addr, u16),
}

/// The flows that one side has opened, and when each was used last.
#[derive(Debug, Default)]
struct Flows {
    used: BTreeMap<Flow, u64>,
    /// Counts uses.
    clock: u64,
}

impl Flows {
    fn remember(&mut self, flow: Flow) {
        self.clock += 1;
        self.used.insert(flow, self.clock);
        if self.used.len() > FLOWS_MAX {
            let oldest = self
                .used
                .iter()
                .min_by_key(|(_, used)| **used)
                .map(|(flow, _)| *flow);
            oldest.map(|flow| self.used.remove(&flow));
        }
    }

    fn knows(&mut self, flow: Flow) -> bool {
        let Some(used) = self.used.get_mut(&flow) else {
            return false;
        };
        self.clock += 1;
        *used = self.clock;
        true
    }
}

#[cfg(test)]
mod tests;
