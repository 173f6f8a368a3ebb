//! The kernel's IP beside the stack in user space: the seam, the gate in front of it, the queue to the line behind it.
//!
//! ```text
//!   PPP ──► the stack's own? ──yes──► Stack
//!              └──no──► Gate::inward ──► device
//!   PPP ◄── pacer ◄── Stack, then ◄── waiting ◄── Gate::outward ◄── device
//! ```
//!
//! Without the feature `tun` all of this is built and [`device`] can only refuse.

mod device;

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

use crate::driver::Shared;
use crate::gate::{Gate, OpenPorts, Refusal, Side};
use device::Device;

/// Whether this build can do it.
pub const HAS_TUN: bool = cfg!(feature = "tun");

/// Largest packet there is.
const PACKET_OCTETS_MAX: usize = 65_535;

/// Packets of the largest size that may always wait for the line: TCP needs about four to get going.
const WAITING_PACKETS_MIN: usize = 4;

/// What a link needs to know to give the rest of the machine its IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunConfig {
    /// Which side we are.
    pub side: Side,
    /// What is open once the far end is proved.
    pub ports: OpenPorts,
}

/// The kernel's end of a link, if there is to be one.
pub(crate) struct Tun {
    config: Option<TunConfig>,
    shared: Arc<Shared>,
    open: Option<Open>,
}

/// An interface that is up.
struct Open {
    device: Device,
    gate: Gate,
    /// Packets for the far end that have passed the gate.
    waiting: VecDeque<Vec<u8>>,
    waiting_octets: usize,
    waiting_octets_max: usize,
    buffer: Vec<u8>,
}

impl Tun {
    pub(crate) fn new(config: Option<TunConfig>, shared: Arc<Shared>) -> Self {
        Self {
            config,
            shared,
            open: None,
        }
    }

    /// IP is up: so is the interface, if there is to be one. Without it the link goes on; delivery does not need it.
    pub(crate) fn network_up(
        &mut self,
        local: Ipv4Addr,
        peer: Option<Ipv4Addr>,
        mtu: u16,
        rate_bps: u32,
    ) {
        let Some(TunConfig { side, ports }) = self.config.take() else {
            return;
        };
        let Some(peer) = peer else {
            tracing::warn!("no TUN: the far end has no address");
            return;
        };
        match Device::open(local, peer, mtu) {
            Ok(device) => {
                let name = device.name();
                tracing::info!(name, %local, %peer, mtu, "TUN up, closed until the far end is proved");
                // Two seconds of line, as a connection in user space has.
                let waiting_octets_max = usize::try_from(rate_bps / 5).unwrap_or(usize::MAX);
                self.open = Some(Open {
                    device,
                    gate: Gate::new(side, local, peer, ports, is_hosts_own),
                    waiting: VecDeque::new(),
                    waiting_octets: 0,
                    waiting_octets_max: waiting_octets_max
                        .max(WAITING_PACKETS_MIN * usize::from(mtu)),
                    buffer: vec![0; PACKET_OCTETS_MAX],
                });
            }
            Err(error) => {
                tracing::error!(%error, "no TUN, the link goes on without (it takes CAP_NET_ADMIN)");
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a packet from the far end that is not the stack's.
    pub(crate) fn receive(&mut self, packet: &[u8]) {
        let Some(open) = &mut self.open else { return };
        let counters = self.shared.counters();
        if self.shared.is_proved() {
            open.gate.prove();
        }
        match open.gate.inward(packet) {
            // A full queue in the kernel loses a packet, as any router may.
            Ok(packet) if open.device.write(packet).is_ok() => counters.tun_passed_in(),
            Ok(_) => counters.tun_dropped(),
            Err(refusal) => {
                tracing::debug!(
                    ?refusal,
                    octets = packet.len(),
                    "packet from the far end dropped"
                );
                counters.tun_dropped();
            }
        }
    }

    /// Waits until the device has given a packet; what passes the gate then waits for the line. May be dropped.
    pub(crate) async fn read(&mut self) {
        let Some(open) = &mut self.open else {
            return pending().await;
        };
        let read = open.device.read(&mut open.buffer).await;
        if self.shared.is_proved() {
            open.gate.prove();
        }
        match read.map(|count| open.gate.outward(&open.buffer[..count])) {
            Ok(Ok(packet)) if open.waiting_octets + packet.len() <= open.waiting_octets_max => {
                open.waiting_octets += packet.len();
                open.waiting.push_back(packet.to_vec());
                self.shared.counters().tun_passed_out();
            }
            Ok(Ok(_)) => self.shared.counters().tun_dropped(),
            Ok(Err(refusal)) => {
                // The kernel says something of its own accord on every new interface.
                let is_noise = matches!(refusal, Refusal::NotIpv4 | Refusal::Unproved);
                if !is_noise {
                    tracing::debug!(?refusal, "packet to the far end dropped");
                }
                self.shared.counters().tun_dropped();
            }
            Err(error) => {
                tracing::error!(%error, "TUN lost; the link goes on without");
                self.open = None;
            }
        }
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| !open.waiting.is_empty())
    }

    /// The next packet for the far end.
    pub(crate) fn take_packet(&mut self) -> Option<Vec<u8>> {
        let open = self.open.as_mut()?;
        let packet = open.waiting.pop_front()?;
        open.waiting_octets -= packet.len();
        Some(packet)
    }
}

/// Asks the kernel, each time: an address may come and go. Only an address of the host's, or a broadcast address of one
/// of its networks, can be bound to; whatever else goes wrong counts as one.
fn is_hosts_own(address: Ipv4Addr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
        Ok(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_knows_its_own_addresses_from_others() {
        assert!(is_hosts_own(Ipv4Addr::LOCALHOST));
        assert!(is_hosts_own(Ipv4Addr::new(127, 9, 9, 9)));
        // RFC 5737: nobody's.
        assert!(!is_hosts_own(Ipv4Addr::new(192, 0, 2, 77)));
    }
}
