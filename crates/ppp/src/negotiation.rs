//! One negotiation of options: the automaton, the packets it sends and receives, and every limit on it.
//!
//! LCP and the network protocols differ in their [`Options`] and in nothing else (RFC 1661 §4, RFC 1332 §2).
//!
//! ```text
//!   packet ──► is it an answer to our last request? ──► event ──► Automaton ──► actions ──► Wire
//!                             │                                       │
//!                             ▼                                       ▼
//!                          Options  (what we ask, what we accept)   Signal (for the layer above)
//! ```

use std::time::Instant;

use crate::automaton::{Action, Automaton, Event, MAX_FAILURE, State};
use crate::packet::{ConfigureOption, HEADER_OCTETS, Packet, code, options, put_option};
use crate::protocol::ControlProtocol;
use crate::wire::Wire;

/// Configure-Requests sent without ever opening, whatever the peer answers. RFC 1661 §4.6 leaves a hole here: a
/// peer that acknowledges ours and never sends a good one of its own resets the restart counter for ever.
pub(crate) const REQUESTS_MAX: u8 = 30;
/// Times one protocol may open during a call; more is a peer that renegotiates without end.
pub(crate) const OPENINGS_MAX: u8 = 10;
/// Repeats of a Configure-Request we have acknowledged that get the same Configure-Ack again. See
/// [`Negotiation::is_repeat`].
const REPEATS_MAX: u8 = 3;
/// Octets of a rejected packet sent back with the Code-Reject or Protocol-Reject. RFC 1661 §5.6 and §5.7 have it
/// cut to the peer's MRU; this fits the smallest, and a slow line need not carry a long packet twice.
pub(crate) const REJECTED_COPY_OCTETS_MAX: usize = 96;

/// The options of one protocol: what this end asks for and what it grants.
pub(crate) trait Options {
    const PROTOCOL: ControlProtocol;

    /// Writes what this end asks for now.
    fn write_request(&self, request: &mut Vec<u8>);
    /// The peer has acknowledged the last request.
    fn acknowledged(&mut self);
    /// The peer names another value for an option, maybe one that was not asked for.
    fn naked(&mut self, option: &ConfigureOption<'_>);
    /// The peer does not want this option at all.
    fn rejected(&mut self, kind: u8, how: Refused) -> Rejected;

    /// A Configure-Request of the peer begins: what it does not mention has its default.
    fn begin_judging(&mut self);
    /// Judges one option of it.
    fn judge(&mut self, option: &ConfigureOption<'_>) -> Verdict;
    /// All of them were good, and the peer is being told.
    fn granted(&mut self);
}

/// The answer to one option of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Grant,
    /// Another value would do; after [`MAX_FAILURE`] Naks the option is rejected.
    Nak(Vec<u8>),
    /// Only this value will do; after [`MAX_FAILURE`] Naks there is no agreement.
    Insist(Vec<u8>),
    Reject,
}

/// How the peer refuses an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// By a Configure-Reject.
    ByReject,
    /// By more than [`MAX_FAILURE`] Configure-Naks, none of which could be followed.
    ByNakLimit,
}

/// What a refused option means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// It is left out from now on.
    LeftOut,
    /// It was not asked for; the peer is confused.
    NotAsked,
    /// Nothing works without it.
    Fatal,
}

/// What the layer above is told. One event causes at most one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Up,
    Down,
    /// The automaton has come to rest and will not start again by itself.
    Finished,
    /// A limit is reached; the layer above must close.
    NotConverged,
}

#[derive(Debug)]
pub(crate) struct Negotiation<O> {
    pub(crate) options: O,
    automaton: Automaton,
    /// The next identifier to use (RFC 1661 §5: it is there to match requests and answers).
    next_id: u8,
    /// Our last Configure-Request.
    request: Vec<u8>,
    request_id: u8,
    /// It has not been answered. Later answers to it are duplicates and mean nothing.
    is_awaiting_answer: bool,
    /// When it was sent, if once: nobody knows which of two copies an answer is for (Karn and Partridge 1987).
    sent_at: Option<Instant>,
    /// The peer's last Configure-Request that we acknowledged.
    granted: Option<(u8, Vec<u8>)>,
    repeats: u8,
    /// Configure-Naks and Configure-Rejects sent since the last Configure-Ack.
    refusals_sent: u8,
    naks_received: u8,
    requests_sent: u8,
    openings: u8,
}

/// What an action may need to know of the packet that caused it.
#[derive(Clone, Copy)]
enum Cause<'a> {
    /// No packet did.
    Inside,
    Packet(Packet<'a>),
    Refusal {
        code: u8,
        id: u8,
        options: &'a [u8],
    },
    EchoRequest {
        id: u8,
        magic: [u8; 4],
        data: &'a [u8],
    },
}

impl<O: Options> Negotiation<O> {
    pub(crate) fn new(options: O, first_id: u8) -> Negotiation<O> {
        Negotiation {
            options,
            automaton: Automaton::new(),
            next_id: first_id,
            request: Vec::new(),
            request_id: first_id,
            is_awaiting_answer: false,
            sent_at: None,
            granted: None,
            repeats: 0,
            refusals_sent: 0,
            naks_received: 0,
            requests_sent: 0,
            openings: 0,
        }
    }

    pub(crate) fn is_opened(&self) -> bool {
        self.automaton.state() == State::Opened
    }

    /// The peer's request is acknowledged, and ours is not.
    pub(crate) fn has_granted(&self) -> bool {
        self.automaton.state() == State::AckSent
    }

    pub(crate) fn restart_at(&self) -> Option<Instant> {
        self.automaton.restart_at()
    }

    pub(crate) fn next_id(&mut self) -> u8 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    pub(crate) fn open(&mut self, wire: &mut Wire, now: Instant) -> Option<Signal> {
        self.run(Event::Open, Cause::Inside, wire, now)
    }

    pub(crate) fn lower_up(&mut self, wire: &mut Wire, now: Instant) -> Option<Signal> {
        self.run(Event::Up, Cause::Inside, wire, now)
    }

    pub(crate) fn lower_down(&mut self, wire: &mut Wire, now: Instant) -> Option<Signal> {
        self.run(Event::Down, Cause::Inside, wire, now)
    }

    pub(crate) fn close(&mut self, wire: &mut Wire, now: Instant) -> Option<Signal> {
        self.run(Event::Close, Cause::Inside, wire, now)
    }

    pub(crate) fn deadline(&mut self, wire: &mut Wire, now: Instant) -> Option<Signal> {
        let event = self.automaton.timeout(now)?;
        self.run(event, Cause::Inside, wire, now)
    }

    /// The peer rejected this protocol, or a code without which it cannot work.
    pub(crate) fn rejected(&mut self, wire: &mut Wire, now: Instant) -> Option<Signal> {
        self.run(Event::RxjMinus, Cause::Inside, wire, now)
    }

    /// The peer rejected something we can do without.
    pub(crate) fn tolerated(&mut self, wire: &mut Wire, now: Instant) -> Option<Signal> {
        self.run(Event::RxjPlus, Cause::Inside, wire, now)
    }

    pub(crate) fn unknown_code(
        &mut self,
        packet: Packet<'_>,
        wire: &mut Wire,
        now: Instant,
    ) -> Option<Signal> {
        self.run(Event::Ruc, Cause::Packet(packet), wire, now)
    }

    /// Echo-Request: `data` is what followed the peer's magic number, `magic` is ours (RFC 1661 §5.8).
    pub(crate) fn echo_request(
        &mut self,
        id: u8,
        magic: [u8; 4],
        data: &[u8],
        wire: &mut Wire,
        now: Instant,
    ) {
        self.run(
            Event::Rxr,
            Cause::EchoRequest { id, magic, data },
            wire,
            now,
        );
    }

    /// Handles the codes that all control protocols have: 1 to 7.
    pub(crate) fn receive(
        &mut self,
        packet: Packet<'_>,
        wire: &mut Wire,
        now: Instant,
    ) -> Option<Signal> {
        match packet.code {
            code::CONFIGURE_REQUEST => self.configure_request(packet, wire, now),
            code::CONFIGURE_ACK => self.configure_ack(packet, wire, now),
            code::CONFIGURE_NAK | code::CONFIGURE_REJECT => {
                self.configure_nak_or_reject(packet, wire, now)
            }
            code::TERMINATE_REQUEST => self.run(Event::Rtr, Cause::Packet(packet), wire, now),
            // RFC 1661 §5.5: one that nobody asked for means something too, so its id is not compared.
            code::TERMINATE_ACK => self.run(Event::Rta, Cause::Packet(packet), wire, now),
            code::CODE_REJECT => match packet.data.first() {
                Some(code::CONFIGURE_REQUEST..=code::CODE_REJECT) => self.rejected(wire, now),
                Some(_) => self.tolerated(wire, now),
                None => None,
            },
            _ => self.unknown_code(packet, wire, now),
        }
    }

    fn configure_request(
        &mut self,
        packet: Packet<'_>,
        wire: &mut Wire,
        now: Instant,
    ) -> Option<Signal> {
        if matches!(
            self.automaton.state(),
            State::Closed | State::Closing | State::Stopping
        ) {
            return self.run(Event::RcrPlus, Cause::Packet(packet), wire, now);
        }
        if self.is_repeat(packet) {
            self.repeats += 1;
            wire.send_control(
                O::PROTOCOL.number(),
                code::CONFIGURE_ACK,
                packet.id,
                [packet.data, &[]],
            );
            return None;
        }
        let options = options(packet.data)?;
        let Some(refusal) = self.judge(&options) else {
            self.options.granted();
            self.refusals_sent = 0;
            self.repeats = 0;
            self.granted = Some((packet.id, packet.data.to_vec()));
            return self.run(Event::RcrPlus, Cause::Packet(packet), wire, now);
        };
        self.refusals_sent += 1;
        // RFC 1661 §4.6: Max-Failure Naks, then Rejects; as many again and the peer is not listening.
        if refusal.is_final || self.refusals_sent > 2 * MAX_FAILURE {
            return Some(Signal::NotConverged);
        }
        let cause = Cause::Refusal {
            code: refusal.code,
            id: packet.id,
            options: &refusal.options,
        };
        self.run(Event::RcrMinus, cause, wire, now)
    }

    /// Whether this is the request we have acknowledged, once more, after everything was agreed: our Ack was lost or
    /// slow. The table would have the layer go down and all be asked again (RFC 1661 §4.1, RCR+ in Opened); the same
    /// Ack heals it without a round trip. Not more than [`REPEATS_MAX`] times, for a peer that really starts again
    /// with the same words waits for a Configure-Request of ours.
    fn is_repeat(&self, packet: Packet<'_>) -> bool {
        self.is_opened()
            && self.repeats < REPEATS_MAX
            && self
                .granted
                .as_ref()
                .is_some_and(|(id, data)| *id == packet.id && data == packet.data)
    }

    /// `None` when every option is granted. RFC 1661 §5.3, §5.4: rejects go first, alone and all at once; Naks follow
    /// in the next round.
    fn judge(&mut self, options: &[ConfigureOption<'_>]) -> Option<Refusal> {
        let may_nak = self.refusals_sent < MAX_FAILURE;
        let (mut naks, mut rejects, mut is_final) = (Vec::new(), Vec::new(), false);
        self.options.begin_judging();
        for option in options {
            match self.options.judge(option) {
                Verdict::Grant => {}
                Verdict::Nak(value) | Verdict::Insist(value) if may_nak => {
                    put_option(&mut naks, option.kind, &value);
                }
                Verdict::Insist(_) => is_final = true,
                Verdict::Nak(_) | Verdict::Reject => rejects.extend_from_slice(option.raw),
            }
        }
        if !rejects.is_empty() {
            Some(Refusal {
                code: code::CONFIGURE_REJECT,
                options: rejects,
                is_final,
            })
        } else if !naks.is_empty() || is_final {
            Some(Refusal {
                code: code::CONFIGURE_NAK,
                options: naks,
                is_final,
            })
        } else {
            None
        }
    }

    fn configure_ack(
        &mut self,
        packet: Packet<'_>,
        wire: &mut Wire,
        now: Instant,
    ) -> Option<Signal> {
        // RFC 1661 §5.2: the id must match and the options must be exactly those of the request.
        if !self.is_answer(packet) || packet.data != self.request {
            tracing::debug!(protocol = %O::PROTOCOL, id = packet.id, "configure-ack to nothing");
            return None;
        }
        self.answered(wire, now);
        self.options.acknowledged();
        self.run(Event::Rca, Cause::Packet(packet), wire, now)
    }

    fn configure_nak_or_reject(
        &mut self,
        packet: Packet<'_>,
        wire: &mut Wire,
        now: Instant,
    ) -> Option<Signal> {
        if !self.is_answer(packet) {
            tracing::debug!(protocol = %O::PROTOCOL, id = packet.id, "configure-nak or -reject to nothing");
            return None;
        }
        let refused = options(packet.data)?;
        let how = if packet.code == code::CONFIGURE_REJECT {
            Some(Refused::ByReject)
        } else {
            self.naks_received += 1;
            // As pppd does: a peer that Naks without end has rejected.
            (self.naks_received > MAX_FAILURE).then_some(Refused::ByNakLimit)
        };
        match how {
            None => refused.iter().for_each(|option| self.options.naked(option)),
            Some(how) => {
                let outcomes: Vec<_> = refused
                    .iter()
                    .map(|option| self.options.rejected(option.kind, how))
                    .collect();
                if outcomes.contains(&Rejected::Fatal) {
                    return Some(Signal::NotConverged);
                }
                // It refuses nothing that was asked: no answer, and the restart timer decides.
                if !outcomes.contains(&Rejected::LeftOut) {
                    return None;
                }
            }
        }
        self.answered(wire, now);
        self.run(Event::Rcn, Cause::Packet(packet), wire, now)
    }

    fn answered(&mut self, wire: &mut Wire, now: Instant) {
        self.is_awaiting_answer = false;
        if let Some(at) = self.sent_at.take() {
            wire.measured(now.saturating_duration_since(at));
        }
    }

    fn is_answer(&self, packet: Packet<'_>) -> bool {
        self.is_awaiting_answer && packet.id == self.request_id
    }

    fn run(
        &mut self,
        event: Event,
        cause: Cause<'_>,
        wire: &mut Wire,
        now: Instant,
    ) -> Option<Signal> {
        let mut signal = None;
        for action in self.automaton.advance(event) {
            match action {
                Action::Tlu => signal = Some(self.opened()),
                Action::Tld => signal = Some(Signal::Down),
                Action::Tlf => signal = Some(Signal::Finished),
                // The line is up before a session exists, so there is nothing to start; counters are the automaton's.
                Action::Tls | Action::Irc => {}
                Action::Zrc => self.automaton.zero_restart_count(wire.restart_at(now)),
                Action::Scr if self.requests_sent == REQUESTS_MAX => {
                    return Some(Signal::NotConverged);
                }
                Action::Scr => self.send_request(wire, now),
                Action::Str => {
                    let id = self.next_id();
                    wire.send_control(
                        O::PROTOCOL.number(),
                        code::TERMINATE_REQUEST,
                        id,
                        [&[], &[]],
                    );
                    self.automaton.sent(wire.restart_at(now));
                }
                Action::Sca | Action::Scn | Action::Sta | Action::Scj | Action::Ser => {
                    self.answer(*action, cause, wire);
                }
            }
        }
        signal
    }

    fn send_request(&mut self, wire: &mut Wire, now: Instant) {
        let mut request = Vec::new();
        self.options.write_request(&mut request);
        // RFC 1661 §5.1: the id changes with the content and after an answer. A repeat keeps it, so that a slow Ack
        // to the first one still counts.
        if !self.is_awaiting_answer || request != self.request {
            self.request_id = self.next_id();
            self.request = request;
            self.is_awaiting_answer = true;
            self.sent_at = Some(now);
        } else {
            self.sent_at = None;
        }
        self.requests_sent += 1;
        wire.send_control(
            O::PROTOCOL.number(),
            code::CONFIGURE_REQUEST,
            self.request_id,
            [&self.request, &[]],
        );
        self.automaton.sent(wire.restart_at(now));
    }

    /// Sends what answers the packet that caused the event.
    fn answer(&mut self, action: Action, cause: Cause<'_>, wire: &mut Wire) {
        let number = O::PROTOCOL.number();
        match (action, cause) {
            (Action::Sca, Cause::Packet(packet)) => {
                wire.send_control(number, code::CONFIGURE_ACK, packet.id, [packet.data, &[]]);
            }
            (Action::Scn, Cause::Refusal { code, id, options }) => {
                wire.send_control(number, code, id, [options, &[]]);
            }
            (Action::Sta, Cause::Packet(Packet { id, .. }) | Cause::Refusal { id, .. }) => {
                wire.send_control(number, code::TERMINATE_ACK, id, [&[], &[]]);
            }
            (Action::Scj, Cause::Packet(packet)) => {
                // RFC 1661 §5.6: the id is new for each Code-Reject.
                let id = self.next_id();
                let [high, low] = u16::try_from(packet.data.len() + HEADER_OCTETS)
                    .unwrap_or(u16::MAX)
                    .to_be_bytes();
                let copy = &packet.data[..packet.data.len().min(REJECTED_COPY_OCTETS_MAX)];
                wire.send_control(
                    number,
                    code::CODE_REJECT,
                    id,
                    [&[packet.code, packet.id, high, low], copy],
                );
            }
            (Action::Ser, Cause::EchoRequest { id, magic, data }) => {
                wire.send_control(number, code::ECHO_REPLY, id, [&magic, data]);
            }
            // An Echo-Reply or Discard-Request gets no answer; the other pairs do not arise.
            _ => {}
        }
    }

    fn opened(&mut self) -> Signal {
        self.openings += 1;
        self.requests_sent = 0;
        self.naks_received = 0;
        self.refusals_sent = 0;
        if self.openings > OPENINGS_MAX {
            Signal::NotConverged
        } else {
            Signal::Up
        }
    }
}

struct Refusal {
    code: u8,
    options: Vec<u8>,
    /// A value we insist on was refused too often.
    is_final: bool,
}
