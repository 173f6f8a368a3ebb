//! The phases of a link (RFC 1661 §3) and who gets which frame.
//!
//! ```text
//!    CONNECT                LCP up                  all that was demanded is proved
//!   ─────────► Establish ───────────► Authenticate ────────────────────► Network ──► IPCP up: NetworkUp
//!                 ▲  │                                                      │
//!                 │  │ LCP down (the peer asks again)                       │
//!                 └──┼──────────────────────────────────────────────────────┤
//!                    │ close, Terminate-Request, a limit                    │
//!                    ▼                                                      ▼
//!                 Terminate ◄───────────────────────────────────────────────┘
//!                    │ Terminate-Ack, or none in time          carrier lost, loopback,
//!                    ▼                                         silence: at once from anywhere
//!                  Dead (Closed)  ◄────────────────────────────────────────────
//! ```

mod early;
mod network;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant;

use bytes::BytesMut;

use crate::authentication::{Name, Proof, Prover, Verifier, chap, hidden_seed, pap};
use crate::config::Config;
use crate::event::{CloseReason, Event, Output, Phase, Statistics, Wake};
use crate::frame::{ACCM_DEFAULT, Frame};
use crate::ipcp::IpcpOptions;
use crate::ipv6cp::Ipv6cpOptions;
use crate::lcp::{Direction, Echo, LcpOptions, Silence};
use crate::negotiation::{Negotiation, REJECTED_COPY_OCTETS_MAX, Signal};
use crate::packet::{HEADER_OCTETS, Packet, code};
use crate::prediction::Prediction;
use crate::protocol::{
    CHAP, ControlProtocol, IPCP, IPV4, IPV6, IPV6CP, LCP, PAP, VJ_COMPRESSED, VJ_UNCOMPRESSED,
};
use crate::random::Random;
use crate::vj::{Compressor, Decompressor};
use crate::wire::Wire;

/// Protocol-Rejects sent for one protocol: one should do, but it may be lost and the peer ask again.
const REJECTS_PER_PROTOCOL_MAX: u8 = 3;
/// Protocols that are rejected at all. A peer that offers more is making them up.
const REJECTED_PROTOCOLS_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Link {
    config: Config,
    wire: Wire,
    lcp: Negotiation<LcpOptions>,
    ipcp: Negotiation<IpcpOptions>,
    /// Where IPv6 is wanted.
    ipv6cp: Option<Negotiation<Ipv6cpOptions>>,
    verifier: Verifier,
    prover: Prover,
    /// While LCP is open and a keepalive is configured.
    echo: Option<Echo>,
    /// The identifier of the last Echo-Request, while it is unanswered.
    echo_id: Option<u8>,
    phase: Phase,
    /// While what was agreed on an earlier call is expected again, and until it is known whether it was.
    prediction: Option<Prediction>,
    /// It was not.
    is_unpredictable: bool,
    /// The first reason to close wins: what follows is its consequence.
    reason: Option<CloseReason>,
    /// A whole LCP packet came in, so there is a peer.
    has_peer_spoken: bool,
    /// The network has been up, so a peer that ends the link may be content.
    has_been_up: bool,
    /// The largest packet the peer takes, while the network is up.
    mtu: Option<u16>,
    is_ipv6_up: bool,
    /// While the network is up and IPCP has agreed on it, for each direction.
    compressor: Option<Compressor>,
    decompressor: Option<Decompressor>,
    /// Frames the line has lost, when last looked at.
    frames_lost: u64,
    /// Protocols rejected, and how often.
    rejected: Vec<(u16, u8)>,
    outputs: VecDeque<Output>,
    /// Where received packets are cut from: one allocation serves many.
    arena: BytesMut,
    statistics: Statistics,
}

impl Link {
    pub(crate) fn new(config: Config, seed: u64, now: Instant) -> Link {
        let mut random = Random::new(seed);
        let (lcp_id, ipcp_id) = (random.octet(), random.octet());
        let shown = hidden_seed(seed);
        let mut link = Link {
            wire: Wire::new(config.line),
            lcp: Negotiation::new(LcpOptions::new(&config, Random::new(shown)), lcp_id),
            ipcp: Negotiation::new(IpcpOptions::new(&config), ipcp_id),
            ipv6cp: config.ipv6.map(|ipv6| {
                Negotiation::new(
                    Ipv6cpOptions::new(ipv6, Random::new(hidden_seed(shown))),
                    ipcp_id,
                )
            }),
            verifier: Verifier::new(&config.authentication, seed, ipcp_id),
            prover: Prover::new(&config.authentication, lcp_id),
            prediction: config.expected.map(Prediction::new),
            config,
            echo: None,
            echo_id: None,
            phase: Phase::Establish,
            is_unpredictable: false,
            reason: None,
            has_peer_spoken: false,
            has_been_up: false,
            mtu: None,
            is_ipv6_up: false,
            compressor: None,
            decompressor: None,
            frames_lost: 0,
            rejected: Vec::new(),
            outputs: VecDeque::new(),
            arena: BytesMut::new(),
            statistics: Statistics::default(),
        };
        // IPCP waits in Starting until LCP lifts it; LCP has its line already, so it sends.
        link.ipcp.open(&mut link.wire, now);
        if let Some(ipv6cp) = &mut link.ipv6cp {
            ipv6cp.open(&mut link.wire, now);
        }
        link.lcp.open(&mut link.wire, now);
        let signal = link.lcp.lower_up(&mut link.wire, now);
        link.on_lcp(signal, now);
        link.ask_early(now);
        link
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn peer_name(&self) -> Option<&Name> {
        self.verifier.peer()
    }

    pub(crate) fn name_servers(&self) -> [Option<Ipv4Addr>; 2] {
        if self.mtu.is_some() {
            self.ipcp.options.name_servers()
        } else {
            [None; 2]
        }
    }

    pub(crate) fn statistics(&self) -> Statistics {
        Statistics {
            sent: self.wire.encoder.statistics(),
            ..self.statistics
        }
    }

    /// Until LCP is open the peer escapes everything, whatever we have asked for (RFC 1662 §7.1).
    pub(crate) fn receive_accm(&self) -> u32 {
        if self.lcp.is_opened() {
            self.lcp.options.agreed().receiving.accm
        } else {
            ACCM_DEFAULT
        }
    }

    pub(crate) fn receive(&mut self, frame: Frame<'_>, now: Instant) {
        if let Some(echo) = &mut self.echo {
            echo.heard(now);
        }
        let before = self.progress();
        self.dispatch(frame, now);
        if self.progress() != before {
            self.release_early(now);
        }
    }

    fn dispatch(&mut self, frame: Frame<'_>, now: Instant) {
        if self.is_early(frame.protocol) && self.take_early(frame, now) {
            return;
        }
        match frame.protocol {
            LCP => self.receive_lcp(frame.information, now),
            CHAP | PAP if self.is_agreed_proof(frame.protocol) => self.receive_proof(frame, now),
            // RFC 1661 §3.4, §3.5: before LCP is open, and before the peer is proved, all else is discarded.
            _ if self.phase != Phase::Network => {
                if matches!(frame.protocol, IPV4 | IPV6) {
                    self.statistics.packets_received_early += 1;
                }
            }
            IPCP => self.receive_ipcp(frame.information, now),
            IPV4 => self.receive_ipv4(&[frame.information]),
            IPV6CP if self.receive_ipv6cp(frame.information, now) => {}
            IPV6 if self.ipv6cp.is_some() => self.receive_ipv6(frame.information),
            VJ_COMPRESSED | VJ_UNCOMPRESSED if self.decompressor.is_some() => {
                self.receive_compressed(frame);
            }
            unknown => self.reject_protocol(unknown, frame.information),
        }
    }

    /// The line has lost this many frames so far. A difference may have been among them (RFC 1144 §4.1).
    pub(crate) fn frames_lost(&mut self, so_far: u64) {
        if std::mem::replace(&mut self.frames_lost, so_far) != so_far
            && let Some(decompressor) = &mut self.decompressor
        {
            decompressor.line_error();
        }
    }

    pub(crate) fn deadline(&mut self, now: Instant) {
        if self.phase == Phase::Dead {
            return;
        }
        let signal = self.lcp.deadline(&mut self.wire, now);
        self.on_lcp(signal, now);
        let outcome = self.verifier.deadline(&mut self.wire, now);
        self.on_proof(outcome, now);
        let outcome = self.prover.deadline(&mut self.wire, now);
        self.on_proof(outcome, now);
        self.ipcp_deadline(now);
        let signal = self
            .ipv6cp
            .as_mut()
            .and_then(|ipv6cp| ipv6cp.deadline(&mut self.wire, now));
        self.on_ipv6cp(signal, now);
        match self.echo.as_mut().and_then(|echo| echo.deadline(now)) {
            // RFC 1661 §5.8. Nobody hears a Terminate-Request now, and the line may cost money.
            Some(Silence::Gone) => self.finish(CloseReason::EchoLost),
            Some(Silence::Ask) => {
                let id = self.lcp.next_id();
                self.echo_id = Some(id);
                self.wire.send_control(
                    LCP,
                    code::ECHO_REQUEST,
                    id,
                    [&self.lcp.options.magic(), &[]],
                );
            }
            None => {}
        }
    }

    pub(crate) fn close(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Terminate | Phase::Dead) {
            self.close_because(CloseReason::ClosedHere, now);
        }
    }

    pub(crate) fn carrier_lost(&mut self) {
        self.wire.clear();
        self.finish(CloseReason::CarrierLost);
    }

    pub(crate) fn poll_output(&mut self) -> Output {
        if let Some(octets) = self.wire.take() {
            return Output::Transmit(octets);
        }
        self.outputs.pop_front().unwrap_or_else(|| self.timeout())
    }

    fn timeout(&self) -> Output {
        let proof = |(at, proof): (Instant, Proof)| (Some(at), Wake::Restart(proof.protocol()));
        let timers = [
            (self.lcp.restart_at(), Wake::Restart(ControlProtocol::Lcp)),
            (self.ipcp_restart_at(), Wake::Restart(ControlProtocol::Ipcp)),
            (
                self.ipv6cp.as_ref().and_then(Negotiation::restart_at),
                Wake::Restart(ControlProtocol::Ipv6cp),
            ),
            (self.echo.as_ref().map(Echo::due_at), Wake::Keepalive),
            self.verifier
                .restart_at()
                .map_or((None, Wake::Nothing), proof),
            self.prover
                .restart_at()
                .map_or((None, Wake::Nothing), proof),
        ];
        let first = timers
            .into_iter()
            .filter_map(|(at, what)| Some((at?, what)))
            .min_by_key(|(at, _)| *at);
        match first {
            Some((at, what)) if self.phase != Phase::Dead => Output::Timeout { at: Some(at), what },
            _ => Output::Timeout {
                at: None,
                what: Wake::Nothing,
            },
        }
    }

    fn receive_lcp(&mut self, information: &[u8], now: Instant) {
        let Some(packet) = Packet::parse(information) else {
            self.statistics.malformed += 1;
            return;
        };
        self.has_peer_spoken = true;
        let signal = match packet.code {
            code::PROTOCOL_REJECT => {
                self.receive_protocol_reject(packet.data, now);
                None
            }
            code::ECHO_REQUEST | code::ECHO_REPLY => {
                self.receive_echo(packet, now);
                None
            }
            // RFC 1661 §5.9, RFC 1570 §2.1 and §2.2: nothing to say, and nothing to reject either.
            code::DISCARD_REQUEST | code::IDENTIFICATION | code::TIME_REMAINING => None,
            _ => self.lcp.receive(packet, &mut self.wire, now),
        };
        if self.lcp.options.is_looped_back() {
            // A Terminate-Request would only come back.
            self.finish(CloseReason::Loopback);
            return;
        }
        match packet.code {
            code::TERMINATE_REQUEST => self.peer_terminates(now),
            code::CODE_REJECT => self.receive_code_reject(packet),
            _ => {}
        }
        self.on_lcp(signal, now);
    }

    /// Our Terminate-Ack is already written. Had LCP been open it now waits one restart timer (RFC 1661 §3.7); while
    /// options are being agreed the table would go on asking, at the caller's expense, a peer that has given up.
    fn peer_terminates(&mut self, now: Instant) {
        if self.phase != Phase::Terminate {
            let reason = if self.has_been_up {
                CloseReason::PeerTerminated {
                    protocol: ControlProtocol::Lcp,
                }
            } else {
                CloseReason::PeerGaveUp
            };
            if self.phase == Phase::Establish {
                self.close_because(reason, now);
            } else {
                self.reason.get_or_insert(reason);
            }
        }
    }

    fn receive_code_reject(&mut self, packet: Packet<'_>) {
        match packet.data.first() {
            Some(code::CONFIGURE_REQUEST..=code::CODE_REJECT) => {
                self.reason.get_or_insert(CloseReason::PeerRejected {
                    protocol: ControlProtocol::Lcp,
                });
            }
            // The peer knows no echo: its silence will mean nothing.
            Some(&code::ECHO_REQUEST) => self.echo = None,
            _ => {}
        }
    }

    fn receive_protocol_reject(&mut self, data: &[u8], now: Instant) {
        // RFC 1661 §5.7: outside Opened it is discarded.
        let (true, [high, low, ..]) = (self.lcp.is_opened(), data) else {
            return;
        };
        match u16::from_be_bytes([*high, *low]) {
            LCP => {
                let reason = CloseReason::PeerRejected {
                    protocol: ControlProtocol::Lcp,
                };
                self.reason.get_or_insert(reason);
                let signal = self.lcp.rejected(&mut self.wire, now);
                self.on_lcp(signal, now);
            }
            rejected @ (CHAP | PAP) if self.is_agreed_proof(rejected) => {
                let protocol = if rejected == CHAP {
                    ControlProtocol::Chap
                } else {
                    ControlProtocol::Pap
                };
                self.close_because(CloseReason::PeerRejected { protocol }, now);
            }
            // Without IPCP there is no IPv4, and without IPv4 no use for the call.
            IPCP | IPV4 if self.phase == Phase::Network => {
                self.ipcp.rejected(&mut self.wire, now);
                self.close_because(
                    CloseReason::PeerRejected {
                        protocol: ControlProtocol::Ipcp,
                    },
                    now,
                );
            }
            // The peer has no IPv6; LCP and IPv4 do not mind.
            IPV6CP | IPV6 if self.phase == Phase::Network && self.ipv6cp.is_some() => {
                let signal = self
                    .ipv6cp
                    .as_mut()
                    .and_then(|ipv6cp| ipv6cp.rejected(&mut self.wire, now));
                self.on_ipv6cp(signal, now);
            }
            _ => {
                let signal = self.lcp.tolerated(&mut self.wire, now);
                self.on_lcp(signal, now);
            }
        }
    }

    fn receive_echo(&mut self, packet: Packet<'_>, now: Instant) {
        // RFC 1661 §5.8: outside Opened it is discarded.
        let (true, Some((magic, data))) = (self.lcp.is_opened(), packet.data.split_at_checked(4))
        else {
            return;
        };
        if self.lcp.options.is_own_magic(magic) {
            self.finish(CloseReason::Loopback);
        } else if packet.code == code::ECHO_REQUEST {
            let own = self.lcp.options.magic();
            let room = usize::from(self.lcp.options.agreed().sending.mru.octets())
                - HEADER_OCTETS
                - own.len();
            self.lcp.echo_request(
                packet.id,
                own,
                &data[..data.len().min(room)],
                &mut self.wire,
                now,
            );
        } else if self.echo_id.take_if(|id| *id == packet.id).is_none() {
            tracing::debug!(id = packet.id, "echo-reply to nothing");
        }
    }

    /// Whether either end has asked for it, and LCP is open.
    fn is_agreed_proof(&self, protocol: u16) -> bool {
        let options = &self.lcp.options;
        let agreed = [options.demanded(), options.granted_proof()];
        matches!(self.phase, Phase::Authenticate | Phase::Network)
            && agreed
                .into_iter()
                .flatten()
                .any(|proof| proof.protocol().number() == protocol)
    }

    fn receive_proof(&mut self, frame: Frame<'_>, now: Instant) {
        let Some(packet) = Packet::parse(frame.information) else {
            self.statistics.malformed += 1;
            return;
        };
        let outcome = match (frame.protocol, packet.code) {
            (CHAP, chap::CHALLENGE) => {
                self.receive_challenge(packet, now);
                Ok(())
            }
            (CHAP, chap::RESPONSE) => self.verifier.receive_response(packet, &mut self.wire),
            (CHAP, chap::SUCCESS | chap::FAILURE) => {
                self.prover
                    .receive_answer(Proof::Chap, packet.id, packet.code == chap::SUCCESS)
            }
            (PAP, pap::REQUEST) => self.verifier.receive_request(packet, &mut self.wire),
            (PAP, pap::ACK | pap::NAK) => {
                self.prover
                    .receive_answer(Proof::Pap, packet.id, packet.code == pap::ACK)
            }
            // Neither protocol has a Code-Reject.
            _ => Ok(()),
        };
        self.on_proof(outcome, now);
    }

    fn receive_challenge(&mut self, packet: Packet<'_>, now: Instant) {
        let value = packet
            .data
            .split_first()
            .and_then(|(&size, rest)| rest.get(..usize::from(size)));
        if value.is_some_and(|value| self.verifier.is_own_challenge(value)) {
            tracing::debug!("our own challenge came back");
        } else if !self.prover.receive_challenge(packet, &mut self.wire, now) {
            self.statistics.malformed += 1;
        }
    }

    fn on_proof(&mut self, outcome: Result<(), CloseReason>, now: Instant) {
        if let Err(reason) = outcome {
            self.close_because(reason, now);
        } else if self.phase == Phase::Authenticate
            && self.verifier.is_content()
            && self.prover.is_content()
        {
            self.authenticated(now);
        }
    }

    /// RFC 1661 §5.7. Compression, IPv6 where it is not wanted, and the like: said once is enough, and cheaper than to negotiate.
    fn reject_protocol(&mut self, protocol: u16, information: &[u8]) {
        self.statistics.unknown_protocols += 1;
        let index = match self
            .rejected
            .iter()
            .position(|(known, _)| *known == protocol)
        {
            Some(index) => index,
            None if self.rejected.len() < REJECTED_PROTOCOLS_MAX => {
                self.rejected.push((protocol, 0));
                self.rejected.len() - 1
            }
            None => return,
        };
        let times = &mut self.rejected[index].1;
        if *times < REJECTS_PER_PROTOCOL_MAX {
            *times += 1;
            let id = self.lcp.next_id();
            let copy = &information[..information.len().min(REJECTED_COPY_OCTETS_MAX)];
            self.wire.send_control(
                LCP,
                code::PROTOCOL_REJECT,
                id,
                [&protocol.to_be_bytes(), copy],
            );
        }
    }

    fn on_lcp(&mut self, signal: Option<Signal>, now: Instant) {
        match signal {
            None => {}
            Some(Signal::Up) => self.lcp_up(now),
            Some(Signal::Down) => self.lcp_down(now),
            Some(Signal::NotConverged) => {
                let protocol = ControlProtocol::Lcp;
                let reason = if self.lcp.options.is_proof_refused() {
                    CloseReason::PeerNotProved { protocol }
                } else {
                    CloseReason::NotConverged { protocol }
                };
                self.close_because(reason, now);
            }
            Some(Signal::Finished) => {
                let protocol = ControlProtocol::Lcp;
                self.finish(if self.has_peer_spoken {
                    CloseReason::NotConverged { protocol }
                } else {
                    CloseReason::NoAnswer { protocol }
                });
            }
        }
    }

    fn lcp_up(&mut self, now: Instant) {
        let agreed = self.lcp.options.agreed();
        self.wire.encoder.set_agreed(agreed.sending);
        self.echo = self
            .config
            .keepalive
            .map(|keepalive| Echo::new(keepalive, now));
        self.outputs
            .push_back(Output::Event(Event::LinkOpen(agreed)));
        self.compare_link(&agreed, now);
        self.phase = Phase::Authenticate;
        self.verifier
            .start(self.lcp.options.demanded(), &mut self.wire, now);
        self.prover
            .start(self.lcp.options.granted_proof(), &mut self.wire, now);
        self.on_proof(Ok(()), now);
    }

    /// RFC 1661 §3.5: the network comes after the proof.
    fn authenticated(&mut self, now: Instant) {
        self.phase = Phase::Network;
        // If it is predicted it has been up, and has asked, since the call began.
        if !self.is_predicted() {
            let signal = self.ipcp.lower_up(&mut self.wire, now);
            self.on_ipcp(signal, now);
        }
        let signal = self
            .ipv6cp
            .as_mut()
            .and_then(|ipv6cp| ipv6cp.lower_up(&mut self.wire, now));
        self.on_ipv6cp(signal, now);
    }

    fn lcp_down(&mut self, now: Instant) {
        self.phase = if self.reason.is_some() {
            Phase::Terminate
        } else {
            Phase::Establish
        };
        self.wire.encoder.set_agreed(Direction::default());
        self.echo = None;
        self.verifier.stop();
        self.prover.stop();
        self.is_unpredictable |= self.prediction.take().is_some();
        let signal = self.ipcp.lower_down(&mut self.wire, now);
        self.on_ipcp(signal, now);
        let signal = self
            .ipv6cp
            .as_mut()
            .and_then(|ipv6cp| ipv6cp.lower_down(&mut self.wire, now));
        self.on_ipv6cp(signal, now);
    }

    fn close_because(&mut self, reason: CloseReason, now: Instant) {
        if self.phase == Phase::Dead {
            return;
        }
        self.reason.get_or_insert(reason);
        self.phase = Phase::Terminate;
        let signal = self.lcp.close(&mut self.wire, now);
        self.on_lcp(signal, now);
    }

    fn finish(&mut self, reason: CloseReason) {
        if self.phase == Phase::Dead {
            return;
        }
        self.network_down();
        self.ipv6_down();
        self.phase = Phase::Dead;
        self.echo = None;
        let reason = self.reason.unwrap_or(reason);
        tracing::debug!(%reason, "link closed");
        self.outputs.push_back(Output::Event(Event::Closed(reason)));
    }
}
