//! A terminal: waits, screens, answers, receives into an inbox. What a crash leaves is the inbox.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use delivery::{MessageId, Preamble, Reason, TerminalId};
use exchange::StationId;
use line::{Decision, Ring, RingInput, RingWatch, Screening, WeekMinute};

use super::talk::Word;
use super::wire::{Happened, Wire};

/// Silence after which the server counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What the rest of the world has to know.
#[derive(Debug)]
pub(super) enum Did {
    Answered,
    Refused,
    /// The message is where nothing but age takes it away; the receipt has not been given yet.
    Published(MessageId),
    Repeated(MessageId),
    Over(String),
}

pub(super) struct TerminalEnd {
    pub(super) id: TerminalId,
    pub(super) wire: Wire,
    screening: Screening,
    rings: RingWatch,
    heard: Vec<u8>,
    /// On its disk.
    pub(super) inbox: BTreeMap<MessageId, Vec<u8>>,
    pub(super) is_disk_full: bool,
    /// It is online, and that was the last time that something came.
    last_heard: Option<Instant>,
    pub(super) opens_at: Option<Instant>,
}

impl TerminalEnd {
    pub(super) fn new(
        id: TerminalId,
        station: StationId,
        address: Ipv4Addr,
        callers: Screening,
    ) -> Self {
        Self {
            id,
            wire: Wire::new(station, Some(address)),
            screening: callers,
            rings: RingWatch::default(),
            heard: Vec::new(),
            inbox: BTreeMap::new(),
            is_disk_full: false,
            last_heard: None,
            opens_at: None,
        }
    }

    /// Everything but the inbox is gone.
    pub(super) fn close(&mut self, opens_at: Instant) {
        self.wire.close();
        self.rings = RingWatch::default();
        self.heard.clear();
        self.last_heard = None;
        self.opens_at = Some(opens_at);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let silence = self.last_heard.map(|at| at + SILENCE_MAX);
        let rings = self
            .rings
            .deadline()
            .filter(|_| self.last_heard.is_none() && self.wire.is_open());
        let opens = self.opens_at.filter(|_| !self.wire.is_open());
        [self.wire.deadline(), silence, rings, opens]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn wake(&mut self, now: Instant) {
        self.wire.wake(now);
        if self.last_heard.is_some_and(|at| at + SILENCE_MAX <= now) {
            self.last_heard = None;
            self.wire.carrier_lost(now);
        }
        if self.rings.deadline().is_some_and(|at| at <= now) {
            let ring = self.rings.handle(&RingInput::Deadline, now);
            self.decide(ring, now);
        }
    }

    /// Feeds what happened on the wire; tells what came of it.
    pub(super) fn happened(&mut self, what: Happened, now: Instant) -> Vec<Did> {
        let input = match &what {
            Happened::Ring => RingInput::Ring(modem::RingKind::Plain),
            Happened::CallerId(id) => RingInput::CallerId(id),
            Happened::Connected => {
                self.last_heard = Some(now);
                return vec![];
            }
            Happened::LinkUp => {
                let notice = Preamble {
                    terminal: self.id,
                    reason: Reason::Called,
                };
                self.wire.say(format!("{notice}\n").as_bytes());
                return vec![];
            }
            Happened::Heard(octets) => {
                self.last_heard = Some(now);
                self.heard.extend(octets);
                return self.take_words(now);
            }
            Happened::NoCall(failure) => return vec![Did::Over(failure.to_string())],
            Happened::Fault(why) | Happened::Over(why) => return vec![Did::Over(why.clone())],
            Happened::Ready => return vec![],
        };
        let ring = self.rings.handle(&input, now);
        self.decide(ring, now)
    }

    fn decide(&mut self, ring: Option<Ring>, now: Instant) -> Vec<Did> {
        let Some(ring) = ring else { return vec![] };
        match self
            .screening
            .decide(&ring, WeekMinute::new(0, 0, 0), |_| 0)
        {
            Decision::Answer(_) => {
                self.wire.answer(now);
                vec![Did::Answered]
            }
            _ => vec![Did::Refused],
        }
    }

    fn take_words(&mut self, now: Instant) -> Vec<Did> {
        let mut did = Vec::new();
        loop {
            match Word::take(&mut self.heard) {
                Ok(None) => return did,
                Ok(Some(Word::Message { id, .. })) if self.inbox.contains_key(&id) => {
                    self.wire.say(&Word::Receipt(id).to_octets());
                    did.push(Did::Repeated(id));
                }
                Ok(Some(Word::Message { id, .. })) if self.is_disk_full => {
                    self.wire.say(&Word::Refused(id).to_octets());
                }
                Ok(Some(Word::Message { id, content })) => {
                    self.inbox.insert(id, content);
                    self.wire.say(&Word::Receipt(id).to_octets());
                    did.push(Did::Published(id));
                }
                Ok(Some(Word::NothingMore)) => self.wire.hang_up(now),
                Ok(Some(Word::Question(id))) => {
                    let answer = if self.inbox.contains_key(&id) {
                        Word::IsThere(id)
                    } else {
                        Word::IsNotThere(id)
                    };
                    self.wire.say(&answer.to_octets());
                }
                Ok(Some(_)) => {}
                Err(_) => {
                    self.wire.carrier_lost(now);
                    return did;
                }
            }
        }
    }
}
