//! Feeds (RSS, Atom, JSON Feed): read now and then, politely, and each new item submitted once to those registered for its
//! topic.
//!
//! ```text
//!   wait ──next_at──► GET, If-None-Match ──304──► wait
//!    ▲                    │ 200: items that were not seen ──submitted, on the disk──► seen ──► wait
//!    └── failed: twice as long each time, at most a day ◄── anything else
//! ```
//!
//! What asks whether the feed has changed (ETag) is noted after its items are on the disk: a crash in between reads them again, and an
//! idempotency key keeps each of them one message.

mod fetch;
mod item;

use std::time::Duration;

use delivery::{ContentType, Topic, Urgency};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::alarms::{AlarmKind, Alarms};
use crate::causes::with_causes;
use crate::directory::{Name, Recipient};
use crate::intake::{Intake, Refusal, Submission};
use crate::metrics::Metrics;
use crate::outward::{HttpUrl, Outward};
use crate::store::{FeedState, Handling, Store};

use fetch::{Fetched, fetch};
use item::Item;

/// However a feed fails or asks for patience, it is read once a day.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// So many failures, one after the other, are an alarm.
const FAILED_ALARM: u32 = 3;

/// The longest sleep: the wall clock may jump.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// Octets of a submission are bounded by intake, items of a feed here: more are passed over, the oldest first.
const ITEMS_MAX: usize = 1000;

/// One feed.
#[derive(Debug, Clone)]
pub struct FeedConfig {
    /// Where it is.
    pub url: HttpUrl,
    /// The topic of its items.
    pub topic: Topic,
    /// Whose they are: its rights and quotas count.
    pub provider: Name,
    /// How often it is read, unless it asks for more patience.
    pub every: SignedDuration,
    /// How urgent its items are.
    pub urgency: Urgency,
    /// When nobody needs an item any more.
    pub expires_after: Option<SignedDuration>,
    /// The items that are there when it is read first are sent, too.
    pub from_the_first: bool,
    /// It may be on this machine or in its network.
    pub allow_private: bool,
}

/// What reading feeds needs.
#[derive(Debug, Clone)]
struct Reader {
    intake: Intake,
    store: Store,
    alarms: Alarms,
    metrics: Metrics,
    outward: Outward,
}

/// Reads feeds until `shutdown`.
pub(crate) async fn read(
    feeds: Vec<FeedConfig>,
    intake: Intake,
    store: Store,
    alarms: Alarms,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let reader = Reader { intake, store, alarms, metrics, outward: Outward::default() };
    let mut readings = JoinSet::new();
    for feed in feeds {
        let (reader, shutdown) = (reader.clone(), shutdown.clone());
        readings.spawn(async move { shutdown.run_until_cancelled(reader.keep_reading(feed)).await });
    }
    while readings.join_next().await.is_some() {}
}

/// Why a feed was not read to its end.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Fetch(#[from] fetch::FetchError),
    #[error("it is no feed: {0}")]
    Parse(String),
    #[error("an item was not taken: {0}")]
    Refused(#[from] Refusal),
    #[error("its provider {0} is not in the directory (ringup provider add {0})")]
    NoProvider(Name),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

impl Reader {
    async fn keep_reading(&self, feed: FeedConfig) {
        let url = feed.url.to_string();
        loop {
            let state = match self.store.feed(url.clone()).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::error!(feed = url, %error, "what is known of a feed cannot be read");
                    sleep(SLEEP_MAX).await;
                    continue;
                }
            };
            let wait =
                state.as_ref().map_or(SignedDuration::ZERO, |state| state.next_at.duration_since(Timestamp::now()));
            if wait.is_positive() && wait <= LONGEST {
                sleep(Duration::try_from(wait).unwrap_or_default().min(SLEEP_MAX)).await;
                continue;
            }
            self.read_once(&feed, state).await;
        }
    }

    /// Reads a feed once and notes what came of it, and when it is read next.
    async fn read_once(&self, feed: &FeedConfig, state: Option<FeedState>) {
        let url = feed.url.to_string();
        let is_first = state.is_none();
        let before = state.unwrap_or_default();
        let (next, seen) = match self.read(feed, &before, is_first).await {
            Ok((next, seen)) => {
                if before.failed >= FAILED_ALARM {
                    self.alarms.clear(AlarmKind::Feed, &url).await;
                }
                self.metrics.feed("read");
                (next, seen)
            }
            Err(error) => {
                let failed = before.failed.saturating_add(1);
                let patience = error.patience().unwrap_or_default();
                let pause = feed.every.saturating_mul(1 << failed.min(20)).clamp(patience.min(LONGEST), LONGEST);
                tracing::warn!(feed = url, failed, error = %with_causes(&error), "feed not read");
                self.metrics.feed("failed");
                if failed == FAILED_ALARM {
                    self.alarms.raise(AlarmKind::Feed, &url, with_causes(&error)).await;
                }
                (FeedState { next_at: after(pause), failed, ..before }, Vec::new())
            }
        };
        if let Err(error) = self.store.feed_read(url.clone(), next, seen).await {
            tracing::error!(feed = url, %error, "not noted that a feed was read");
            sleep(SLEEP_MAX).await;
        }
    }

    async fn read(
        &self,
        feed: &FeedConfig,
        before: &FeedState,
        is_first: bool,
    ) -> Result<(FeedState, Vec<[u8; 32]>), ReadError> {
        let fetched = fetch(&self.outward, feed, before).await?;
        let (content, etag, last_modified, fresh_for) = match fetched {
            Fetched::Unchanged { fresh_for } => {
                let next_at = after(feed.every.max(fresh_for).min(LONGEST));
                return Ok((FeedState { next_at, failed: 0, ..before.clone() }, Vec::new()));
            }
            Fetched::Changed { content, etag, last_modified, fresh_for } => (content, etag, last_modified, fresh_for),
        };
        let items = Item::read_all(&content, &feed.url.to_string()).map_err(ReadError::Parse)?;
        let newest = items.len().saturating_sub(ITEMS_MAX);
        let items = &items[newest..];
        let names: Vec<_> = items.iter().map(Item::name).collect();
        let unseen = self.store.unseen(feed.url.to_string(), names.clone()).await?;
        let is_wanted = |item: &&Item| unseen.contains(&item.name()) && (!is_first || feed.from_the_first);
        let mut sent = 0;
        for item in items.iter().filter(is_wanted) {
            match self.submit(feed, item).await {
                Ok(()) => sent += 1,
                // It never becomes smaller: the others go on.
                Err(ReadError::Refused(Refusal::TooLarge { max })) => {
                    tracing::warn!(feed = %feed.url, item = item.id(), max, "item too large, left out");
                }
                Err(error) => return Err(error),
            }
        }
        tracing::info!(feed = %feed.url, items = items.len(), sent, "feed read");
        let next_at = after(feed.every.max(fresh_for).min(LONGEST));
        Ok((FeedState { etag, last_modified, next_at, failed: 0 }, names))
    }

    async fn submit(&self, feed: &FeedConfig, item: &Item) -> Result<(), ReadError> {
        let provider = self.store.provider_named(feed.provider.clone()).await?;
        let provider = provider.ok_or_else(|| ReadError::NoProvider(feed.provider.clone()))?;
        let submission = Submission {
            provider,
            recipients: vec![Recipient::Subscribers(feed.topic.clone())],
            content_type: "application/json".parse::<ContentType>().expect("a media type"),
            content: item.to_json().into(),
            handling: Handling {
                urgency: feed.urgency,
                expires_at: feed.expires_after.and_then(|after| Timestamp::now().checked_add(after).ok()),
                idempotency_key: Some(item.key(&feed.url.to_string())),
                ..Handling::default()
            },
        };
        self.intake.submit(submission).await?;
        Ok(())
    }
}

impl ReadError {
    /// How long the far end asks not to be asked again.
    fn patience(&self) -> Option<SignedDuration> {
        match self {
            Self::Fetch(error) => error.patience(),
            _ => None,
        }
    }
}

fn after(pause: SignedDuration) -> Timestamp {
    Timestamp::now().checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
