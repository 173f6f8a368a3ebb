//! What comes and goes before its phase, where that is expected. See [`crate::prediction`].

use std::net::Ipv4Addr;
use std::time::Instant;

use super::Link;
use crate::event::Phase;
use crate::frame::Frame;
use crate::lcp::LinkOptions;
use crate::packet::code;
use crate::prediction::{Agreement, Prediction};
use crate::protocol::{CHAP, IPCP, IPV4, PAP};

impl Link {
    pub(crate) fn agreement(&self) -> Option<Agreement> {
        let (Some(_), Some(local), false) =
            (self.mtu, self.ipcp.options.local(), self.is_unpredictable)
        else {
            return None;
        };
        Some(Agreement {
            link: self.lcp.options.agreed(),
            local,
            peer: self.ipcp.options.peer(),
        })
    }

    pub(super) fn is_predicted(&self) -> bool {
        self.prediction.as_ref().is_some_and(Prediction::holds)
    }

    /// The request of IPCP leaves with that of LCP, in one write.
    pub(super) fn ask_early(&mut self, now: Instant) {
        if self.is_predicted() {
            let signal = self.ipcp.lower_up(&mut self.wire, now);
            self.on_ipcp(signal, now);
        }
    }

    /// `false`: nothing may be sent early, or no more.
    pub(super) fn send_early(&mut self, packet: &[u8]) -> bool {
        let may = self
            .prediction
            .as_mut()
            .is_some_and(|prediction| prediction.send(packet));
        if may {
            self.wire.send_packet(IPV4, &[packet]);
            self.statistics.packets_sent += 1;
        }
        may
    }

    /// Whether a frame of this protocol comes before its time, and may.
    pub(super) fn is_early(&self, protocol: u16) -> bool {
        let is_before = match self.phase {
            Phase::Establish => matches!(protocol, CHAP | PAP | IPCP | IPV4),
            Phase::Authenticate => matches!(protocol, IPCP | IPV4),
            Phase::Network => protocol == IPV4 && self.mtu.is_none(),
            Phase::Terminate | Phase::Dead => false,
        };
        is_before && self.is_predicted()
    }

    /// Holds a frame, or answers it if it can be answered already. `false`: there is no room.
    pub(super) fn take_early(&mut self, frame: Frame<'_>, now: Instant) -> bool {
        let Some(prediction) = &mut self.prediction else {
            return false;
        };
        prediction.heard();
        // The peer's LCP request is granted, so what it will be allowed to ask is known. Our IPCP cannot open by
        // this: the Ack it waits for is held until the phase has come.
        let can_answer = self.lcp.has_granted() || self.phase == Phase::Authenticate;
        if frame.protocol == IPCP
            && frame.information.first() == Some(&code::CONFIGURE_REQUEST)
            && can_answer
        {
            self.receive_ipcp(frame.information, now);
            return true;
        }
        prediction.hold(frame.protocol, frame.information)
    }

    /// What decides whether a held frame's time has come.
    pub(super) fn progress(&self) -> (Phase, bool, bool) {
        (self.phase, self.lcp.has_granted(), self.mtu.is_some())
    }

    pub(super) fn release_early(&mut self, now: Instant) {
        let mut before = None;
        // Each round is a step of the link, and it has few.
        while before.replace(self.progress()) != Some(self.progress()) {
            let Some(prediction) = &mut self.prediction else {
                return;
            };
            for early in prediction.release() {
                self.dispatch(
                    Frame {
                        protocol: early.protocol,
                        information: &early.information,
                    },
                    now,
                );
            }
        }
        // Our request may be lost, and its timer over, while the link was waiting for something else.
        self.ipcp_deadline(now);
        if self.mtu.is_some() {
            self.prediction = None;
        }
    }

    /// LCP is open. Where it is not what was expected, IPCP has to ask in its phase, as with anybody.
    pub(super) fn compare_link(&mut self, link: &LinkOptions, now: Instant) {
        let Some(prediction) = self
            .prediction
            .as_mut()
            .filter(|prediction| prediction.holds())
        else {
            return;
        };
        if !prediction.lcp_opened(link) {
            tracing::debug!("the peer does not do what is expected of it");
            self.is_unpredictable = true;
            let signal = self.ipcp.lower_down(&mut self.wire, now);
            self.on_ipcp(signal, now);
        }
    }

    /// IPCP is open. What a peer has dropped that takes no part goes out again.
    pub(super) fn compare_addresses(&mut self, local: Ipv4Addr, peer: Option<Ipv4Addr>) {
        let Some(prediction) = &mut self.prediction else {
            return;
        };
        let dropped = prediction.ipcp_opened(local, peer);
        self.is_unpredictable |= !prediction.holds();
        for packet in dropped {
            self.send_packet(&packet);
        }
    }

    /// Outside its phase the timer of an early request means nothing: that IPCP waits is LCP's doing.
    pub(super) fn ipcp_restart_at(&self) -> Option<Instant> {
        self.ipcp
            .restart_at()
            .filter(|_| self.phase == Phase::Network)
    }

    pub(super) fn ipcp_deadline(&mut self, now: Instant) {
        if self.phase == Phase::Network {
            let signal = self.ipcp.deadline(&mut self.wire, now);
            self.on_ipcp(signal, now);
        }
    }
}
