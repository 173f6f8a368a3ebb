//! Verdicts told to their providers: one POST of JSON for each, signed, until it was taken or three days are over.
//!
//! ```text
//!   verdict ──trigger──► outbox ──due──► resolve, check, connect, POST ──2xx──► gone
//!             (with it)    ▲ next try: 5 s … 12 h   │ anything else
//!                          └────────────────────────┘ after three days: given up
//! ```
//!
//! Nothing here keeps a verdict waiting: the database writes what is to be told together with the verdict, and this room looks
//! for it once a second while any provider has a webhook. A crash after a POST and before its row is gone: told again, with the
//! same id. Bounds: 16 tries at once, 2 for one provider, 10 s each, 8 KiB of an answer's head; no redirects.

mod post;
mod signature;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use post::{Post, PostError};
pub use signature::{WebhookSecret, WebhookSecretError};

use crate::metrics::Metrics;
use crate::outward::HttpUrl;
use crate::store::{Store, Telling};

/// How often the outbox is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Tries at once, and for one provider: one that does not answer keeps no other waiting.
const TRIES_AT_ONCE: usize = 16;
const TRIES_OF_ONE: usize = 2;

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

/// A verdict is told for so long.
const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(72);

/// Where a provider's verdicts are told.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where to.
    pub url: HttpUrl,
    /// What they are signed with.
    pub secret: WebhookSecret,
    /// It may be an address that only this machine or its network reaches.
    pub may_be_private: bool,
}

/// Tells what is in the outbox until `shutdown`.
pub(crate) async fn tell(store: Store, post: Post, metrics: Metrics, shutdown: CancellationToken) {
    let mut room = Room { store, post, metrics, under_way: BTreeMap::new(), tries: JoinSet::new() };
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => room.look().await,
            Some(ended) = room.tries.join_next() => room.ended(ended),
            () = shutdown.cancelled() => return, // what is under way is told again
        }
    }
}

struct Room {
    store: Store,
    post: Post,
    metrics: Metrics,
    /// Rows that are being told, by provider.
    under_way: BTreeMap<String, BTreeSet<i64>>,
    tries: JoinSet<(String, i64)>,
}

impl Room {
    /// Starts tries for what is due.
    async fn look(&mut self) {
        let now = Timestamp::now();
        for provider in self.store.webhook_providers() {
            let mine = self.under_way.get(&provider).cloned().unwrap_or_default();
            let places = TRIES_OF_ONE.saturating_sub(mine.len()).min(TRIES_AT_ONCE - self.tries.len());
            if places == 0 {
                continue;
            }
            let due = match self.store.due_tellings(provider.clone(), mine, places, now).await {
                Ok(due) => due,
                Err(error) => return tracing::error!(%error, "cannot read which verdicts are to be told"),
            };
            for telling in due {
                self.under_way.entry(provider.clone()).or_default().insert(telling.id);
                let (store, post, metrics) = (self.store.clone(), self.post.clone(), self.metrics.clone());
                let provider = provider.clone();
                self.tries.spawn(async move {
                    let id = telling.id;
                    try_once(&store, &post, &metrics, &provider, telling).await;
                    (provider, id)
                });
            }
        }
    }

    fn ended(&mut self, ended: Result<(String, i64), tokio::task::JoinError>) {
        let Ok((provider, id)) = ended else { return };
        if let Some(mine) = self.under_way.get_mut(&provider) {
            mine.remove(&id);
        }
    }
}

/// Tells one verdict, and notes what came of it.
async fn try_once(store: &Store, post: &Post, metrics: &Metrics, provider: &str, telling: Telling) {
    let id = event_id(&telling);
    let body = body(&telling).to_string();
    let told = post.send(&telling.webhook, &id, Timestamp::now(), body).await;
    let now = Timestamp::now();
    let noted = match told {
        Ok(()) => {
            metrics.webhook("taken");
            tracing::debug!(provider, id, "verdict told");
            store.telling_done(telling.id).await
        }
        Err(error) if now.duration_since(telling.since) >= GIVE_UP_AFTER => {
            metrics.webhook("given-up");
            tracing::error!(provider, id, %error, "verdict not told for three days: given up");
            store.telling_done(telling.id).await
        }
        Err(error) => {
            metrics.webhook("failed");
            let next_at = now + pause(telling.failed);
            tracing::warn!(provider, id, %error, %next_at, "verdict not told yet");
            store.telling_failed(telling.id, next_at).await
        }
    };
    if let Err(error) = noted {
        tracing::error!(provider, id, %error, "not stored what came of telling a verdict: it is told again");
    }
}

fn pause(failed: u32) -> SignedDuration {
    let index = usize::try_from(failed).unwrap_or(usize::MAX);
    PAUSES.get(index).copied().unwrap_or(PAUSES[PAUSES.len() - 1])
}

/// The same however often it is told.
fn event_id(telling: &Telling) -> String {
    format!("verdict_{}_{}", telling.message, telling.terminal_id)
}

fn body(telling: &Telling) -> serde_json::Value {
    let Telling { message, terminal, verdict, reason, call, at, deliveries, .. } = telling;
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
