//! Alarms: what an operator has to know of without looking. Each is raised once and cleared once, whoever says so how often.
//!
//! ```text
//!   raise ──► stands ──► clear         a second raise, a second clear: nothing
//!               │ kept over a restart
//!               └──► told: to the log at once; to a command and a webhook in turn, until it was taken or given up
//! ```
//!
//! What is to be told is on the disk with the alarm. An alarm about the store itself cannot wait for the disk: it is told
//! from memory, and kept when the store is well again. A crash right after something happened may lose its alarm, if what
//! is wrong has passed by then.

mod board;
mod command;
mod teller;
mod unproved;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit, Zoned};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub(crate) use unproved::{Stranger, Unproved};

use crate::metrics::Metrics;
use board::Board;
use model::account::Account;
use model::alarm::{Alarm, AlarmKind, Change, Channel, Event};
use model::directory::Name;
use model::webhook::Webhook;
use store::{Health, Store, StoreError};
use teller::Telling;

/// Inputs that may wait for the room; whoever brings more waits.
const INPUTS_MAX: usize = 1024;

/// Inputs that are kept with one commit.
const BATCH_MAX: usize = 256;

/// How often the store is asked how it is.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Number of looks between two at quotas and budgets; and of good looks that clear the store alarm.
const LOOKS_A_MINUTE: u32 = 12;

/// Changes that may wait for the store to be well; the oldest go first.
const UNSAVED_MAX: usize = 1000;

/// Octets of a detail: it goes into logs and other people's mail.
const DETAIL_OCTETS_MAX: usize = 500;

/// Who is told of alarms.
#[derive(Debug, Clone, Default)]
pub struct AlarmConfig {
    /// A program and its arguments, run for each alarm with JSON on its standard input; empty: none.
    pub command: Vec<String>,
    /// Where each alarm is posted, in the same words.
    pub webhook: Option<Webhook>,
}

impl AlarmConfig {
    fn channels(&self) -> &'static [Channel] {
        match (self.command.is_empty(), &self.webhook) {
            (true, None) => &[],
            (false, None) => &[Channel::Command],
            (true, Some(_)) => &[Channel::Webhook],
            (false, Some(_)) => &[Channel::Command, Channel::Webhook],
        }
    }
}

/// What comes to the room.
#[derive(Debug)]
enum Input {
    Raise {
        kind: AlarmKind,
        subject: String,
        detail: String,
    },
    Clear {
        kind: AlarmKind,
        subject: String,
    },
    /// Only these subjects can have alarms of a kind.
    Keep {
        kind: AlarmKind,
        subjects: BTreeSet<String>,
    },
    Standing(oneshot::Sender<Vec<Alarm>>),
}

/// Where alarms are raised and cleared. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Alarms {
    inputs: mpsc::Sender<Input>,
}

impl Alarms {
    /// Opens the room with the alarms that stand from before, as tasks of `tasks` that end on `shutdown`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn start(
        store: Store,
        config: AlarmConfig,
        metrics: Metrics,
        shutdown: CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StoreError> {
        let (inputs, queue) = mpsc::channel(INPUTS_MAX);
        let telling = Telling::start(&store, config.clone(), &shutdown, tasks);
        let room = Room::open(store, config.channels(), telling, metrics).await?;
        tasks.spawn(room.run(queue, shutdown));
        Ok(Self { inputs })
    }

    /// Raises an alarm; nothing happens if it stands.
    pub async fn raise(&self, kind: AlarmKind, subject: impl ToString, detail: impl ToString) {
        self.send(Input::Raise {
            kind,
            subject: subject.to_string(),
            detail: short(detail.to_string()),
        })
        .await;
    }

    /// Clears an alarm; nothing happens if it does not stand.
    pub async fn clear(&self, kind: AlarmKind, subject: impl ToString) {
        self.send(Input::Clear {
            kind,
            subject: subject.to_string(),
        })
        .await;
    }

    /// Clears all alarms of a kind but those about these: nothing else of the kind is there any more.
    pub(crate) async fn keep(&self, kind: AlarmKind, subjects: BTreeSet<String>) {
        self.send(Input::Keep { kind, subjects }).await;
    }

    /// Clears what is about a terminal that was removed.
    pub(crate) async fn forget_terminal(&self, name: &Name) {
        let about_it = [
            AlarmKind::TerminalSilent,
            AlarmKind::MessageRefused,
            AlarmKind::DialLoop,
            AlarmKind::UnprovedCallers,
            AlarmKind::NotEnrolled,
        ];
        for kind in about_it {
            self.clear(kind, name).await;
        }
        self.clear(AlarmKind::Budget, Account::Terminal(name.clone()))
            .await;
    }

    /// A provider was removed: no alarm is about it any more.
    pub(crate) async fn forget_provider(&self, name: &Name) {
        self.clear(AlarmKind::Budget, Account::Provider(name.clone()))
            .await;
    }

    /// The alarms that stand, the oldest first.
    pub async fn standing(&self) -> Vec<Alarm> {
        let (sender, answer) = oneshot::channel();
        self.send(Input::Standing(sender)).await;
        answer.await.unwrap_or_default() // the server is stopping
    }

    async fn send(&self, input: Input) {
        let _ = self.inputs.send(input).await; // the server is stopping
    }
}

/// As exact as the store keeps it: what is told from memory is told alike.
fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

fn short(mut text: String) -> String {
    if text.len() > DETAIL_OCTETS_MAX {
        let end = (0..=DETAIL_OCTETS_MAX)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or_default();
        text.truncate(end);
    }
    text
}

/// The room itself: what stands, and what of it is not on the disk yet.
struct Room {
    store: Store,
    channels: &'static [Channel],
    telling: Telling,
    metrics: Metrics,
    board: Board,
    unsaved: Vec<Change>,
    looks: u32,
    /// Writes that a full disk has refused, by the last look, and looks since then at which there were no more.
    disk_full: u64,
    quiet_looks: u32,
}

impl Room {
    async fn open(
        store: Store,
        channels: &'static [Channel],
        telling: Telling,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let board = Board::new(store.standing_alarms().await?);
        let disk_full = store.counts().disk_full;
        Ok(Self {
            store,
            channels,
            telling,
            metrics,
            board,
            unsaved: Vec::new(),
            looks: 0,
            disk_full,
            quiet_looks: 0,
        })
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Input>, shutdown: CancellationToken) {
        let mut ticks = interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inputs = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                _ = queue.recv_many(&mut inputs, BATCH_MAX) => self.take(&mut inputs).await,
                _ = ticks.tick() => self.look().await,
                () = shutdown.cancelled() => break,
            }
        }
        // What was said before the end is kept, and told after the next start.
        while let Ok(input) = queue.try_recv() {
            inputs.push(input);
        }
        self.take(&mut inputs).await;
    }

    async fn take(&mut self, inputs: &mut Vec<Input>) {
        let mut changes = Vec::new();
        for input in inputs.drain(..) {
            let now = now();
            match input {
                Input::Raise {
                    kind,
                    subject,
                    detail,
                } => changes.extend(self.board.raise(kind, subject, detail, now)),
                Input::Clear { kind, subject } => {
                    changes.extend(self.board.clear(kind, &subject, now));
                }
                Input::Keep { kind, subjects } => {
                    changes.extend(self.board.clear_all(
                        kind,
                        |alarm| !subjects.contains(&alarm.subject),
                        now,
                    ));
                }
                Input::Standing(answer) => {
                    let _ = answer.send(self.board.standing()); // who asked may have gone
                }
            }
        }
        self.tell(changes).await;
    }

    /// Looks at what nobody reports.
    async fn look(&mut self) {
        let now = now();
        let (kind, subject) = (AlarmKind::Store, "store".to_owned());
        let disk_full = self.store.counts().disk_full;
        let is_refusing = std::mem::replace(&mut self.disk_full, disk_full) != disk_full;
        let detail = match self.store.health(Timestamp::now()).await {
            // A disk that takes little things and no large ones is full, too.
            Health::Ready if !is_refusing => None,
            Health::Ready | Health::Full => {
                Some("the disk is full: messages are refused, what was accepted is safe".to_owned())
            }
            Health::Failing(error) => Some(format!("{error}: no message is accepted")),
        };
        let mut changes: Vec<_> = match detail {
            Some(detail) => {
                self.quiet_looks = 0;
                self.board
                    .raise(kind, subject, short(detail), now)
                    .into_iter()
                    .collect()
            }
            None if self.quiet_looks < LOOKS_A_MINUTE => {
                self.quiet_looks += 1;
                Vec::new()
            }
            None => self.board.clear(kind, &subject, now).into_iter().collect(),
        };
        if self.looks.is_multiple_of(LOOKS_A_MINUTE) {
            changes.extend(self.look_at_quotas(now).await);
            let today = Zoned::now().date();
            let is_over =
                |alarm: &Alarm| alarm.raised_at.to_zoned(TimeZone::system()).date() != today;
            changes.extend(self.board.clear_all(AlarmKind::Budget, is_over, now));
        }
        self.looks = self.looks.wrapping_add(1);
        self.tell(changes).await;
    }

    /// A quota is told of when it comes to four fifths; that it is below again nobody says.
    async fn look_at_quotas(&mut self, now: Timestamp) -> Vec<Change> {
        if !self.board.has(AlarmKind::Quota) {
            return Vec::new();
        }
        match self.store.near_quotas().await {
            Ok(near) => {
                let near: BTreeSet<_> = near.iter().map(|near| near.subject()).collect();
                self.board.clear_all(
                    AlarmKind::Quota,
                    |alarm| !near.contains(&alarm.subject),
                    now,
                )
            }
            Err(error) => {
                tracing::error!(%error, "cannot read what waits");
                Vec::new()
            }
        }
    }

    /// Logs what changed, keeps it, and has it told.
    async fn tell(&mut self, changes: Vec<Change>) {
        for Change {
            alarm:
                Alarm {
                    kind,
                    subject,
                    detail,
                    cleared_at,
                    ..
                },
            ..
        } in &changes
        {
            match cleared_at {
                None => {
                    tracing::error!(%kind, subject, detail, "alarm raised");
                    self.metrics.alarm(*kind);
                }
                Some(_) => tracing::warn!(%kind, subject, "alarm cleared"),
            }
        }
        if changes.is_empty() && (self.unsaved.is_empty() || self.board.has(AlarmKind::Store)) {
            return;
        }
        let all: Vec<_> = self
            .unsaved
            .iter()
            .cloned()
            .chain(changes.clone())
            .collect();
        match self.store.keep_alarms(all, self.channels).await {
            Ok(()) => {
                self.unsaved.clear();
                self.telling.wake();
            }
            Err(error) => {
                if !changes.is_empty() {
                    tracing::error!(%error, "alarms not stored: told from memory");
                }
                for change in changes {
                    self.telling.tell_from_memory(&change);
                    self.unsaved.push(Change {
                        is_told: true,
                        ..change
                    });
                }
                let too_many = self.unsaved.len().saturating_sub(UNSAVED_MAX);
                self.unsaved.drain(..too_many);
            }
        }
    }
}

/// What is told of an alarm, in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) event: Event,
    pub(crate) alarm: Alarm,
}

impl Notice {
    /// The same however often it is told.
    pub(crate) fn id(&self) -> String {
        let Alarm {
            kind,
            subject,
            raised_at,
            ..
        } = &self.alarm;
        // A subject may be anything; a digest of it fits into a header.
        let subject = delivery::Digest::of(subject.as_bytes()).to_string();
        let subject = subject.get(..16).unwrap_or_default();
        format!(
            "alarm_{}_{kind}_{subject}_{}",
            self.event.as_str(),
            raised_at.as_millisecond()
        )
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        let mut told = alarm_json(&self.alarm);
        told["event"] = serde_json::json!(self.event);
        if self.event == Event::Raised {
            told["cleared_at"] = serde_json::Value::Null; // it may be over by the time it is told
        }
        told
    }
}

/// An alarm as operators and programs see it.
pub(crate) fn alarm_json(alarm: &Alarm) -> serde_json::Value {
    serde_json::json!({
        "kind": alarm.kind.as_str(),
        "subject": alarm.subject,
        "detail": alarm.detail,
        "raised_at": alarm.raised_at,
        "cleared_at": alarm.cleared_at,
    })
}

#[cfg(test)]
mod tests;
