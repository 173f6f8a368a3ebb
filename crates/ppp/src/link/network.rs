//! The network phase: IPCP, IPV6CP, and the packets they let through.

use std::time::Instant;

use super::Link;
use crate::event::{CloseReason, Event, Output};
use crate::frame::Frame;
use crate::negotiation::Signal;
use crate::packet::{Packet, code};
use crate::protocol::{ControlProtocol, IPV4, IPV6, VJ_COMPRESSED, VJ_UNCOMPRESSED};
use crate::vj::{Compressed, Compressor, Decompressor};

impl Link {
    pub(crate) fn send_packet(&mut self, packet: &[u8]) {
        // Nothing at all would be a frame too short to be one (RFC 1662 §4.3).
        let Some(first) = packet.first() else {
            self.statistics.packets_refused += 1;
            return;
        };
        // RFC 8200 §3: the version. All else is IPv4's.
        if first >> 4 == 6 {
            self.send_ipv6(packet);
        } else {
            self.send_ipv4(packet);
        }
    }

    fn send_ipv4(&mut self, packet: &[u8]) {
        if self.mtu.is_none() && self.send_early(packet) {
            return;
        }
        if self.mtu.is_none_or(|mtu| packet.len() > usize::from(mtu)) {
            self.statistics.packets_refused += 1;
            return;
        }
        match self
            .compressor
            .as_mut()
            .map_or(Compressed::AsItIs, |compressor| compressor.compress(packet))
        {
            Compressed::AsItIs => self.wire.send_packet(IPV4, &[packet]),
            Compressed::Whole { head, rest } => {
                self.wire.send_packet(VJ_UNCOMPRESSED, &[&head, rest]);
            }
            Compressed::Difference { head, data } => {
                self.wire.send_packet(VJ_COMPRESSED, &[&head, data]);
                self.statistics.headers_compressed += 1;
            }
        }
        self.statistics.packets_sent += 1;
    }

    fn send_ipv6(&mut self, packet: &[u8]) {
        let mtu = usize::from(self.lcp.options.agreed().sending.mru.octets());
        if self.is_ipv6_up && packet.len() <= mtu {
            self.wire.send_packet(IPV6, &[packet]);
            self.statistics.packets_sent += 1;
        } else {
            self.statistics.packets_refused += 1;
        }
    }

    pub(super) fn receive_ipcp(&mut self, information: &[u8], now: Instant) {
        let Some(packet) = Packet::parse(information) else {
            self.statistics.malformed += 1;
            return;
        };
        let signal = self.ipcp.receive(packet, &mut self.wire, now);
        let is_rejected = packet.code == code::CODE_REJECT && signal == Some(Signal::Finished);
        if is_rejected {
            self.close_because(
                CloseReason::PeerRejected {
                    protocol: ControlProtocol::Ipcp,
                },
                now,
            );
        } else if packet.code == code::TERMINATE_REQUEST {
            // A peer may end IPv4 and keep the link; there is nothing left to do on it.
            self.close_because(
                CloseReason::PeerTerminated {
                    protocol: ControlProtocol::Ipcp,
                },
                now,
            );
        }
        self.on_ipcp(signal, now);
    }

    /// `false`: IPv6 is not wanted here.
    pub(super) fn receive_ipv6cp(&mut self, information: &[u8], now: Instant) -> bool {
        let Some(ipv6cp) = &mut self.ipv6cp else {
            return false;
        };
        match Packet::parse(information) {
            Some(packet) => {
                let signal = ipv6cp.receive(packet, &mut self.wire, now);
                self.on_ipv6cp(signal, now);
            }
            None => self.statistics.malformed += 1,
        }
        true
    }

    pub(super) fn receive_compressed(&mut self, frame: Frame<'_>) {
        let Some(mut decompressor) = self.decompressor.take() else {
            return;
        };
        let rebuilt = if frame.protocol == VJ_COMPRESSED {
            decompressor.compressed(frame.information)
        } else {
            decompressor.uncompressed(frame.information)
        };
        let is_rebuilt = rebuilt
            .map(|(head, data)| self.receive_ipv4(&[head, data]))
            .is_some();
        self.decompressor = Some(decompressor);
        if !is_rebuilt {
            self.statistics.headers_tossed += 1;
        } else if frame.protocol == VJ_COMPRESSED {
            self.statistics.headers_expanded += 1;
        }
    }

    pub(super) fn receive_ipv4(&mut self, packet: &[&[u8]]) {
        self.give_out(self.mtu.is_some(), packet);
    }

    pub(super) fn receive_ipv6(&mut self, packet: &[u8]) {
        self.give_out(self.is_ipv6_up, &[packet]);
    }

    /// A packet, in parts.
    fn give_out(&mut self, is_up: bool, packet: &[&[u8]]) {
        if !is_up {
            self.statistics.packets_received_early += 1;
            return;
        }
        for part in packet {
            self.arena.extend_from_slice(part);
        }
        self.outputs
            .push_back(Output::Packet(self.arena.split().freeze()));
        self.statistics.packets_received += 1;
    }

    pub(super) fn on_ipcp(&mut self, signal: Option<Signal>, now: Instant) {
        let protocol = ControlProtocol::Ipcp;
        match signal {
            None => {}
            Some(Signal::Up) => self.ipcp_up(now),
            Some(Signal::Down) => self.network_down(),
            Some(Signal::NotConverged) => {
                self.close_because(CloseReason::NotConverged { protocol }, now);
            }
            Some(Signal::Finished) => self.close_because(CloseReason::NoAnswer { protocol }, now),
        }
    }

    fn ipcp_up(&mut self, now: Instant) {
        // A peer that acknowledges 0.0.0.0 has given us nothing.
        let Some(local) = self.ipcp.options.local() else {
            self.close_because(
                CloseReason::NotConverged {
                    protocol: ControlProtocol::Ipcp,
                },
                now,
            );
            return;
        };
        let mtu = self.lcp.options.agreed().sending.mru.octets();
        self.mtu = Some(mtu);
        self.compressor = self
            .ipcp
            .options
            .sending()
            .map(|vj| Compressor::new(vj.slots, vj.hides_slot));
        self.decompressor = self
            .ipcp
            .options
            .receiving()
            .map(|vj| Decompressor::new(vj.slots));
        self.has_been_up = true;
        let peer = self.ipcp.options.peer();
        self.outputs
            .push_back(Output::Event(Event::NetworkUp { local, peer, mtu }));
        self.compare_addresses(local, peer);
    }

    pub(super) fn network_down(&mut self) {
        self.compressor = None;
        self.decompressor = None;
        if self.mtu.take().is_some() {
            self.outputs.push_back(Output::Event(Event::NetworkDown));
        }
    }

    pub(super) fn on_ipv6cp(&mut self, signal: Option<Signal>, now: Instant) {
        match signal {
            // Finished: the peer has no IPv6 or no answer, and the link goes on with IPv4.
            None | Some(Signal::Finished) => {}
            Some(Signal::Up) => self.ipv6cp_up(),
            Some(Signal::Down) => self.ipv6_down(),
            Some(Signal::NotConverged) => {
                if let Some(ipv6cp) = &mut self.ipv6cp {
                    ipv6cp.close(&mut self.wire, now);
                }
                self.ipv6_down();
            }
        }
    }

    fn ipv6cp_up(&mut self) {
        if let Some((local, peer)) = self
            .ipv6cp
            .as_ref()
            .and_then(|ipv6cp| ipv6cp.options.agreed())
        {
            self.is_ipv6_up = true;
            self.outputs
                .push_back(Output::Event(Event::Ipv6Up { local, peer }));
        }
    }

    pub(super) fn ipv6_down(&mut self) {
        if std::mem::take(&mut self.is_ipv6_up) {
            self.outputs.push_back(Output::Event(Event::Ipv6Down));
        }
    }
}
