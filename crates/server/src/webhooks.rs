//! Verdicts told to their providers: one POST of JSON for each, signed, until it was taken or three days are over.
//!
//! ```text
//!   verdict ──trigger──► outbox ──due──► resolve, check, connect, POST ──2xx──► gone
//!             (with it)    ▲ next try: 5 s … 12 h   │ anything else
//!                          └────────────────────────┘ after three days: given up
//! ```
//!
//! Nothing here keeps a verdict waiting: the database writes what is to be told together with the verdict, and this room looks
//! for it once a second while any provider has a webhook, and then as often as something was told: a webhook sets the rate. A crash
//! after a POST and before its row is gone: told again, with the same id. Bounds: 64 tries at once, 16 for one provider while it
//! answers well (`pace`), of which 2 are its own and the others come from 32 for all; 10 s each, 8 KiB of an answer's head; 64
//! verdicts read ahead for a provider; no redirects.

mod pace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use modem::shown;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::metrics::Metrics;
use crate::outward::post::{Conversation, Post};
use model::alarm::AlarmKind;
use pace::{PLACES_FIRST, Pace};
use store::{Store, StoreError, Telling};

/// How often the outbox is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Tries at once, and how many of them providers may have beyond their first places: one that does not answer keeps no other
/// waiting.
const TRIES_AT_ONCE: usize = 64;
const EXTRA_TRIES: usize = 32;

/// Verdicts of a provider that are read at once.
const READ_AHEAD: usize = 64;

/// Ends of tries that one transaction notes; with as many unnoted nothing more is told.
const NOTED_AT_ONCE: usize = 256;

/// How long a verdict may wait to be told before an alarm says so, and how old the oldest is when that is over.
const LATE_AFTER: SignedDuration = SignedDuration::from_mins(15);
const IN_TIME_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// Looks after which it is seen who is late: once a minute.
const LOOKS_A_MINUTE: u32 = 60;

/// Pauses after the tries that failed; the last stands for all that follow.
const PAUSES: [SignedDuration; 9] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_secs(30),
    SignedDuration::from_mins(2),
    SignedDuration::from_mins(10),
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(3),
    SignedDuration::from_hours(6),
    SignedDuration::from_hours(12),
];

/// Longest time for which a verdict is retried.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// Tells what is in the outbox until `shutdown`.
pub(crate) async fn tell(
    store: Store,
    post: Post,
    alarms: Alarms,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let mut room = Room::new(store, post, alarms, metrics);
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => room.look().await,
            Some(Ok(tried)) = room.tries.join_next() => room.tried(tried),
            Some(Ok(noted)) = room.noting.join_next() => room.noted(noted),
            () = shutdown.cancelled() => return, // what is under way is told again
        }
        if let Err(error) = room.go_on().await {
            tracing::error!(%error, "cannot read which verdicts are to be told");
        }
    }
}

struct Room {
    store: Store,
    post: Post,
    alarms: Alarms,
    metrics: Metrics,
    lanes: BTreeMap<String, Lane>,
    tries: JoinSet<Tried>,
    /// Ends of tries that are not on the disk yet.
    ended: Vec<Tried>,
    /// At most one: what ends meanwhile is noted with the next commit.
    noting: JoinSet<Noted>,
    looks: u32,
    /// The provider that was served last.
    turn: String,
}

/// What is told to one provider.
#[derive(Default)]
struct Lane {
    pace: Pace,
    /// Read, and not begun.
    waiting: VecDeque<Telling>,
    /// Rows that are not to be read again: waiting, under way, or ended and not noted.
    held: BTreeSet<i64>,
    under_way: usize,
    /// Connections that can be used again.
    kept: Vec<Conversation>,
    /// Nothing more was due when it was last read.
    is_drained: bool,
}

/// A try that has ended.
struct Tried {
    provider: String,
    id: i64,
    kept: Option<Conversation>,
    /// When it is tried again; `None`: it was told, or is given up.
    next_at: Option<Timestamp>,
    is_well: bool,
}

struct Noted {
    rows: Vec<(String, i64)>,
    result: Result<(), StoreError>,
}

impl Room {
    fn new(store: Store, post: Post, alarms: Alarms, metrics: Metrics) -> Self {
        Self {
            store,
            post,
            alarms,
            metrics,
            lanes: BTreeMap::new(),
            tries: JoinSet::new(),
            ended: Vec::new(),
            noting: JoinSet::new(),
            looks: 0,
            turn: String::new(),
        }
    }

    /// Has every lane read anew.
    async fn look(&mut self) {
        let providers: BTreeSet<_> = self.store.webhook_providers().into_iter().collect();
        self.lanes.retain(|provider, lane| {
            if !providers.contains(provider) {
                // Removed: nothing more is told to it, and the rows are gone.
                for telling in lane.waiting.drain(..) {
                    lane.held.remove(&telling.id);
                }
            }
            providers.contains(provider) || !lane.held.is_empty()
        });
        for provider in providers {
            self.lanes.entry(provider).or_default();
        }
        for lane in self.lanes.values_mut() {
            lane.is_drained = false;
            if lane.held.is_empty() {
                lane.kept.clear(); // nothing was told for a second: another may want the connection
            }
        }
        if self.looks.is_multiple_of(LOOKS_A_MINUTE) {
            self.look_who_is_late(Timestamp::now()).await;
        }
        self.looks = self.looks.wrapping_add(1);
    }

    /// Raises and clears the alarms about providers that are told too late.
    async fn look_who_is_late(&mut self, now: Timestamp) {
        let oldest = match self.store.oldest_tellings().await {
            Ok(oldest) => oldest,
            Err(error) => {
                return tracing::error!(%error, "cannot read how long verdicts wait for webhooks");
            }
        };
        let kind = AlarmKind::WebhookLate;
        let is_older = |since: Timestamp, than| now.duration_since(since) >= than;
        for (provider, since) in oldest
            .iter()
            .filter(|(_, since)| is_older(**since, LATE_AFTER))
        {
            let detail = format!(
                "a verdict has waited since {since:.0} for its webhook, which cannot be reached, refuses it, or is too slow. Check it; each \
                 verdict is tried for three days"
            );
            self.alarms.raise(kind, provider, detail).await;
        }
        let late = oldest
            .into_iter()
            .filter(|(_, since)| is_older(*since, IN_TIME_AFTER));
        self.alarms
            .keep(kind, late.map(|(provider, _)| provider).collect())
            .await;
    }

    /// Notes what has ended, reads what can be told, and begins to tell it.
    async fn go_on(&mut self) -> Result<(), StoreError> {
        self.note_ended();
        let now = Instant::now();
        for (provider, lane) in &mut self.lanes {
            let places = lane.pace.places(now);
            if lane.is_drained || lane.waiting.len() >= places {
                continue;
            }
            let due = self
                .store
                .due_tellings(
                    provider.clone(),
                    lane.held.clone(),
                    READ_AHEAD,
                    Timestamp::now(),
                )
                .await;
            let due = due.inspect_err(|_| lane.is_drained = true)?; // until the next look
            lane.is_drained = due.len() < READ_AHEAD;
            lane.held.extend(due.iter().map(|telling| telling.id));
            lane.waiting.extend(due);
        }
        while self.ended.len() < NOTED_AT_ONCE
            && self.tries.len() < TRIES_AT_ONCE
            && self.begin_one(now)
        {}
        Ok(())
    }

    /// Begins the next try of the provider whose turn it is. `false`: none can begin.
    fn begin_one(&mut self, now: Instant) -> bool {
        let extra: usize = self
            .lanes
            .values()
            .map(|lane| lane.under_way.saturating_sub(PLACES_FIRST))
            .sum();
        let may_have_more = extra < EXTRA_TRIES;
        let can_begin = |lane: &Lane| {
            let most = if may_have_more {
                usize::MAX
            } else {
                PLACES_FIRST
            };
            !lane.waiting.is_empty() && lane.under_way < lane.pace.places(now).min(most)
        };
        let after = (Bound::Excluded(self.turn.clone()), Bound::Unbounded);
        let found = self
            .lanes
            .range(after)
            .chain(&self.lanes)
            .find(|(_, lane)| can_begin(lane));
        let Some(provider) = found.map(|(provider, _)| provider.clone()) else {
            return false;
        };
        let lane = self.lanes.get_mut(&provider).expect("found just now");
        let telling = lane.waiting.pop_front().expect("something waits");
        lane.under_way += 1;
        let (kept, post, metrics) = (lane.kept.pop(), self.post.clone(), self.metrics.clone());
        self.turn.clone_from(&provider);
        self.tries
            .spawn(async move { try_once(&post, &metrics, provider, telling, kept).await });
        true
    }

    fn tried(&mut self, mut tried: Tried) {
        if let Some(lane) = self.lanes.get_mut(&tried.provider) {
            lane.under_way -= 1;
            match tried.is_well {
                true => lane.pace.answered(),
                false => lane.pace.failed(Instant::now()),
            }
            lane.kept
                .extend(tried.kept.take().filter(|_| tried.is_well));
        }
        self.ended.push(tried);
    }

    /// Has the ends that are there noted with one commit, unless the last are being noted.
    fn note_ended(&mut self) {
        if self.ended.is_empty() || !self.noting.is_empty() {
            return;
        }
        let ended = std::mem::take(&mut self.ended);
        let ends = ended
            .iter()
            .map(|tried| (tried.id, tried.next_at))
            .collect();
        let rows = ended
            .into_iter()
            .map(|tried| (tried.provider, tried.id))
            .collect();
        let store = self.store.clone();
        self.noting.spawn(async move {
            Noted {
                rows,
                result: store.tellings_ended(ends).await,
            }
        });
    }

    fn noted(&mut self, noted: Noted) {
        for (provider, id) in noted.rows {
            if let Some(lane) = self.lanes.get_mut(&provider) {
                lane.held.remove(&id);
                // A store that does not take it is not asked again before the next look.
                lane.is_drained |= noted.result.is_err();
            }
        }
        if let Err(error) = noted.result {
            tracing::error!(%error, "results of webhooks not recorded: those verdicts are posted again");
        }
    }
}

/// Tells one verdict.
async fn try_once(
    post: &Post,
    metrics: &Metrics,
    provider: String,
    telling: Telling,
    mut kept: Option<Conversation>,
) -> Tried {
    let event = event_id(&telling);
    let body = shown::line(&body(&telling).to_string()).into_owned();
    let told = post
        .send_on(&mut kept, &telling.webhook, &event, Timestamp::now(), body)
        .await;
    let now = Timestamp::now();
    let is_well = told
        .as_ref()
        .err()
        .is_none_or(|error| !error.is_of_the_webhook());
    let next_at = match told {
        Ok(()) => {
            metrics.webhook("taken");
            tracing::debug!(provider, id = event, "verdict told");
            None
        }
        Err(error) if now.duration_since(telling.since) >= GIVE_UP_AFTER => {
            metrics.webhook("given-up");
            tracing::error!(provider, id = event, %error, "verdict not told for three days: given up");
            None
        }
        Err(error) => {
            metrics.webhook("failed");
            let next_at = now + pause(telling.failed);
            tracing::warn!(provider, id = event, %error, %next_at, "verdict not told yet");
            Some(next_at)
        }
    };
    Tried {
        provider,
        id: telling.id,
        kept,
        next_at,
        is_well,
    }
}

fn pause(failed: u32) -> SignedDuration {
    let index = usize::try_from(failed).unwrap_or(usize::MAX);
    PAUSES
        .get(index)
        .copied()
        .unwrap_or(PAUSES[PAUSES.len() - 1])
}

/// The same however often it is told.
fn event_id(telling: &Telling) -> String {
    format!("verdict_{}_{}", telling.message, telling.terminal_id)
}

fn body(telling: &Telling) -> serde_json::Value {
    let Telling {
        message,
        terminal,
        verdict,
        reason,
        call,
        at,
        deliveries,
        ..
    } = telling;
    json!({
        "id": event_id(telling),
        "type": "ringup.verdict",
        "time": at,
        "message": message,
        "terminal": terminal,
        "verdict": verdict.as_str(),
        "reason": reason,
        "evidence": { "call": call, "deliveries": deliveries },
    })
}

#[cfg(test)]
mod tests;
