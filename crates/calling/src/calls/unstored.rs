//! Pure. Jobs that the store did not do: each is done again, after 1 s, then 2, 4, … up to 30 s.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use delivery::TerminalId;

use super::Calling;
use crate::action::Job;
use crate::dispatch::Moment;
use model::directory::Connection;
use model::outcome::Outcome;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// What is to be asked of the store once more.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    looks: BTreeSet<TerminalId>,
    is_all_looked_at: bool,
    writes: Vec<Job>,
    /// Rounds in a row that failed.
    rounds: u32,
    again_at: Option<Instant>,
}

impl Unstored {
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.again_at
    }

    /// The store has done something.
    pub(super) fn works(&mut self) {
        self.rounds = 0;
    }

    /// A call was settled that counts on the disk as all that was reserved for it.
    pub(super) fn has_settlement(&self) -> bool {
        self.writes
            .iter()
            .any(|write| matches!(write, Job::Settle { .. }))
    }

    fn failed(&mut self, now: Instant) {
        if self.again_at.is_none() {
            let pause = FIRST.saturating_mul(1 << self.rounds.min(10)).min(LONGEST);
            self.rounds = self.rounds.saturating_add(1);
            self.again_at = Some(now + pause);
        }
    }
}

impl Calling {
    pub(super) fn store_failed(&mut self, job: Job, why: String, now: Moment) {
        match job {
            // Nothing was dialled: dispatch decides when it is tried again.
            Job::Choose(terminal) => {
                return self.not_placed(terminal, Outcome::NotRecorded(why), now);
            }
            Job::Begin(beginning) => return self.not_begun(&beginning, why, now),
            Job::Look(terminal) => {
                self.looks.remove(&terminal);
                self.unstored.looks.insert(terminal);
            }
            Job::LookAtAll => {
                self.look_at_all = None;
                self.unstored.is_all_looked_at = true;
            }
            write => self.unstored.writes.push(write),
        }
        self.unstored.failed(now.at);
    }

    /// Asks again for what failed, when its pause is over.
    pub(super) fn ask_again(&mut self, now: Moment) {
        if self.unstored.again_at.is_none_or(|at| at > now.at) {
            return;
        }
        self.unstored.again_at = None;
        if std::mem::take(&mut self.unstored.is_all_looked_at) {
            self.look_at_all();
        }
        for terminal in std::mem::take(&mut self.unstored.looks) {
            self.look(terminal);
        }
        for write in std::mem::take(&mut self.unstored.writes) {
            match write {
                // What it was about may be over, or be another by now: the newest counts.
                Job::Connect {
                    terminal,
                    connection: Connection::Connected(call),
                } if self.sessions.get(&terminal) != Some(&call) => {}
                Job::Connect {
                    connection: Connection::Calling(call),
                    ..
                } if !self.on_line.contains_key(&call) => {}
                Job::KeepLoop { number, .. } => {
                    let dial_loop = self.breaker.of(&number);
                    self.store(Job::KeepLoop { number, dial_loop });
                }
                write => self.store(write),
            }
        }
    }
}
