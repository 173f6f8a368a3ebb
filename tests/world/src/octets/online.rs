//! A second session of a terminal, over its own Internet access, beside whatever is on the lines: each of its steps is a moment of its
//! own, so that another session does anything in between.

use std::time::Duration;

use delivery::MessageId;
use jiff::Timestamp;
use model::call::{CallRecord, Direction, Via};
use store::{AttemptEnd, Claim, Doubt, Doubtful, Refusal};

use super::{Event, OctetWorld, SECOND};
use crate::people::name;

/// What is under way on it.
pub(super) struct Online {
    terminal: usize,
    record: CallRecord,
    asked: Option<Doubtful>,
    brought: Option<(MessageId, Vec<u8>)>,
    /// What the terminal has said to the question, and to the message; neither has come to the server.
    said: Option<(Option<bool>, Option<Said>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Received,
    Refused,
}

impl Online {
    pub(super) fn under_way(&self) -> Option<MessageId> {
        self.brought.as_ref().map(|(id, _)| *id)
    }
}

impl OctetWorld {
    /// The next step of the session, or the first of another one.
    pub(super) fn go_online(&mut self) {
        let pause = Duration::from_millis(1 + self.chance.below(8000));
        match self.online.take() {
            None => {
                let terminal =
                    usize::try_from(self.chance.below(self.terminals.len() as u64)).expect("few");
                self.online = Some(self.begin_online(terminal));
                self.later(pause, Event::Online);
            }
            Some(mut online) if online.said.is_none() => {
                online.said = Some(self.hear_online(&online));
                self.online = Some(online);
                self.later(pause, Event::Online);
            }
            Some(online) => {
                self.end_online(online);
                self.after(30 * SECOND, Event::Online);
            }
        }
    }

    fn begin_online(&mut self, terminal: usize) -> Online {
        let id = self.terminals[terminal].id;
        let record = CallRecord::begin(
            line::CallId::now(),
            Timestamp::now(),
            Direction::Incoming,
            Via::Internet,
            None,
            name(&format!("t{terminal}")),
        );
        self.online_calls += 1;
        self.note(&format!("online t{terminal}"));
        let (store, runtime) = (self.store(), &self.runtime);
        runtime
            .block_on(store.record_call(record.clone(), Timestamp::now()))
            .expect("the disk works");
        let asked = runtime
            .block_on(store.doubts(id))
            .expect("the disk works")
            .first()
            .copied();
        let due = runtime
            .block_on(store.due(id, Timestamp::now()))
            .expect("the disk works");
        let due = due
            .into_iter()
            .find(|due| asked.is_none_or(|asked| asked.id != due.id));
        let brought = due.and_then(|due| {
            match runtime.block_on(store.begin(due.id, id, record.id, Timestamp::now())) {
                Ok(Claim::Begun(begun)) => {
                    Some((due.id, begun.content.read().expect("it is kept").to_vec()))
                }
                _ => None,
            }
        });
        Online {
            terminal,
            record,
            asked,
            brought,
            said: None,
        }
    }

    /// The terminal's part.
    fn hear_online(&mut self, online: &Online) -> (Option<bool>, Option<Said>) {
        let has_come = !self.chance.one_in(4);
        let end = &mut self.terminals[online.terminal];
        let answer = online.asked.map(|asked| end.inbox.contains_key(&asked.id));
        let Some((id, content)) = online.brought.as_ref().filter(|_| has_come) else {
            return (answer, None);
        };
        if end.is_disk_full && !end.inbox.contains_key(id) {
            return (answer, Some(Said::Refused));
        }
        end.inbox.entry(*id).or_insert_with(|| content.clone());
        self.note(&format!("{id} published online"));
        (answer, Some(Said::Received))
    }

    /// What comes of it at the server: the words arrive, or the session is lost before.
    fn end_online(&mut self, online: Online) {
        let Online {
            terminal,
            mut record,
            asked,
            brought,
            said,
        } = online;
        let (id, call) = (self.terminals[terminal].id, record.id);
        let (answer, word) = said.unwrap_or_default();
        let is_lost = self.chance.one_in(3);
        self.note(&format!("online t{terminal} ends, lost: {is_lost}"));
        let (store, runtime) = (self.store(), &self.runtime);
        let mut conflict = None;
        if let (Some(asked), Some(is_there)) = (asked, answer) {
            if is_there {
                conflict = runtime
                    .block_on(store.found_there(asked.id, id, call, Timestamp::now()))
                    .expect("the disk works");
            } else {
                runtime
                    .block_on(store.not_there(asked, id, Timestamp::now()))
                    .expect("the disk works");
            }
        }
        if let Some((message, _)) = brought.filter(|_| !is_lost) {
            match word {
                Some(Said::Received) => {
                    conflict = conflict.or(runtime
                        .block_on(store.delivered(message, id, call, Timestamp::now()))
                        .expect("the disk works"));
                }
                Some(Said::Refused) => {
                    let how = AttemptEnd::refused("refused", Doubt::Dispelled);
                    let refused =
                        store.refused(message, id, call, how, Refusal::Again, Timestamp::now());
                    runtime.block_on(refused).expect("the disk works");
                    self.later(300 * SECOND, Event::Release);
                }
                None => {}
            }
        }
        record.ended_at = Some(Timestamp::now());
        record.outcome = Some("completed".to_owned());
        self.runtime
            .block_on(self.store().record_call(record, Timestamp::now()))
            .expect("the disk works");
        if let Some(verdict) = conflict {
            self.breach(format!(
                "t{terminal} has a message whose verdict is {verdict}"
            ));
        }
        self.learn_verdicts();
        self.feed_due(id);
    }
}
