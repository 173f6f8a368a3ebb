//! The server's end of one call: what is said on it, and what the store has to know before.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use delivery::{Due, MessageId, Plan, Preamble, Step, TerminalId};
use model::call::CallRecord;
use model::outcome::{Outcome, UnderWay};
use store::Doubtful;

use super::talk::Word;
use super::wire::Wire;

/// From CONNECT to the connected notice, and between two words.
const NOTICE_WAIT: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A call that is being placed, or is up.
pub(super) struct Placed {
    pub(super) terminal: TerminalId,
    pub(super) record: CallRecord,
    pub(super) began: Instant,
    pub(super) is_connected: bool,
    pub(super) plan: Plan,
    pub(super) under_way: Option<MessageId>,
    /// Messages that the terminal may have, and that it has to be asked about.
    pub(super) questions: VecDeque<Doubtful>,
    pub(super) asked: Option<Doubtful>,
    pub(super) received: u32,
    pub(super) refused: u32,
    pub(super) has_said_nothing_more: bool,
    pub(super) heard: Vec<u8>,
    pub(super) give_up_at: Option<Instant>,
    /// Known before the wire says that it is over.
    pub(super) outcome: Option<Outcome>,
}

/// What is asked of the store, in this order, before more is said.
#[derive(Debug)]
pub(super) enum Ask {
    /// The terminal's connected notice.
    Connected,
    /// Bring it, if its envelope still waits.
    Bring(MessageId),
    Delivered(MessageId),
    Refused(MessageId),
    /// The terminal's word about a message that it may have.
    Answer {
        doubt: Doubtful,
        is_there: bool,
    },
}

/// A line of the server's with its modem.
pub(super) struct LineEnd {
    pub(super) wire: Wire,
    pub(super) is_ready: bool,
    pub(super) placed: Option<Placed>,
    pub(super) opens_at: Option<Instant>,
}

impl LineEnd {
    pub(super) fn close(&mut self, opens_at: Instant) {
        self.wire.close();
        self.is_ready = false;
        self.placed = None;
        self.opens_at = Some(opens_at);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let opens = self.opens_at.filter(|_| !self.wire.is_open());
        let gives_up = self.placed.as_ref().and_then(|placed| placed.give_up_at);
        [self.wire.deadline(), opens, gives_up]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn wake(&mut self, now: Instant) {
        self.wire.wake(now);
        let Some(placed) = &mut self.placed else {
            return;
        };
        if placed.give_up_at.is_some_and(|at| at <= now) {
            placed.give_up_at = None;
            let outcome = match placed.is_connected {
                false => Outcome::NotProved("no connected notice".to_owned()),
                true => placed.lost("it fell silent"),
            };
            placed.outcome.get_or_insert(outcome);
            self.wire.carrier_lost(now);
        }
    }
}

impl Placed {
    pub(super) fn new(terminal: TerminalId, record: CallRecord, began: Instant) -> Self {
        Self {
            terminal,
            record,
            began,
            is_connected: false,
            plan: Plan::default(),
            under_way: None,
            questions: VecDeque::new(),
            asked: None,
            received: 0,
            refused: 0,
            has_said_nothing_more: false,
            heard: Vec::new(),
            give_up_at: None,
            outcome: None,
        }
    }

    pub(super) fn answered(&mut self, now: Instant) {
        self.give_up_at = Some(now + NOTICE_WAIT);
    }

    /// Takes what was heard, up to the first thing that the store has to know. An error ends the call.
    pub(super) fn take(&mut self, now: Instant) -> Result<Option<Ask>, Outcome> {
        if !self.is_connected {
            let Some(end) = self.heard.iter().position(|octet| *octet == b'\n') else {
                return Ok(None);
            };
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            // No proof here, as there is no TLS: the name has to be right.
            return match line.trim_end().parse::<Preamble>() {
                Ok(notice) if notice.terminal == self.terminal => {
                    self.is_connected = true;
                    self.give_up_at = Some(now + SILENCE_MAX);
                    Ok(Some(Ask::Connected))
                }
                _ => Err(Outcome::NotProved(format!("the notice {line:?}"))),
            };
        }
        let word = Word::take(&mut self.heard).map_err(|why| self.lost(why))?;
        if word.is_some() {
            self.give_up_at = Some(now + SILENCE_MAX);
        }
        match word {
            None => Ok(None),
            Some(Word::Receipt(id)) if self.under_way == Some(id) => Ok(Some(Ask::Delivered(id))),
            Some(Word::Refused(id)) if self.under_way == Some(id) => Ok(Some(Ask::Refused(id))),
            Some(Word::IsThere(id) | Word::IsNotThere(id))
                if self.asked.is_some_and(|asked| asked.id == id) =>
            {
                let is_there = matches!(word, Some(Word::IsThere(_)));
                Ok(self.asked.map(|doubt| Ask::Answer { doubt, is_there }))
            }
            Some(other) => Err(self.lost(&format!("{other:?}"))),
        }
    }

    /// Whether the terminal's word is waited for.
    pub(super) fn is_waiting(&self) -> bool {
        self.under_way.is_some() || self.asked.is_some()
    }

    /// The next question or message, or the word that there is none.
    pub(super) fn next(&mut self, wire: &mut Wire) -> Option<Ask> {
        if let Some(doubt) = self.questions.pop_front() {
            let id = doubt.id;
            self.asked = Some(doubt);
            self.has_said_nothing_more = false;
            wire.say(&Word::Question(id).to_octets());
            return None;
        }
        match self.plan.step() {
            Step::Deliver(Due { id, .. }) => {
                self.has_said_nothing_more = false;
                Some(Ask::Bring(id))
            }
            Step::NothingMore => {
                self.has_said_nothing_more = true;
                wire.say(&Word::NothingMore.to_octets());
                None
            }
            Step::Wait => None,
        }
    }

    pub(super) fn lost(&self, why: &str) -> Outcome {
        let delivering = self.under_way.map(|message| UnderWay {
            messages: vec![message],
            received_before: self.received,
            ..UnderWay::default()
        });
        Outcome::SessionLost {
            why: why.to_owned(),
            delivering,
        }
    }

    /// How it ended, when the wire says that it is over.
    pub(super) fn end(&mut self, why: &str) -> Outcome {
        let by_itself = match (self.is_connected, self.has_said_nothing_more) {
            (true, true) if self.refused > 0 => Outcome::MessagesRefused {
                delivered: self.received,
                refused: self.refused,
                unreadable: 0,
            },
            (true, true) => Outcome::Completed,
            (true, false) => self.lost(why),
            (false, _) => Outcome::LinkFailed(why.to_owned()),
        };
        self.outcome.take().unwrap_or(by_itself)
    }
}
