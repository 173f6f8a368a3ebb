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
//! idempotency key keeps each of them one message. An item that is refused for good is passed over; one that is refused for now ends the
//! reading, and the next goes on from it.

#[cfg(test)]
mod corpus;
mod date;
mod fetch;
mod item;
mod json;
mod markup;
mod reference;
mod references;
mod text;
mod xml;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::{ContentType, Topic, Urgency};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use crate::intake::{Intake, Refusal, Submission};
use crate::metrics::Metrics;
use crate::outward::{HttpUrl, Outward};
use model::alarm::AlarmKind;
use model::causes::with_causes;
use model::directory::{Name, Recipient};
use store::{FeedItem, FeedState, Handling, Store};

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

/// Feeds that are fetched and submitted at a time, and of these parsed: a content has 8 MiB at most, its text three times as much.
const READINGS_AT_ONCE: usize = 16;
const PARSED_AT_ONCE: usize = 2;

/// How often a feed looks for a provider that is missing, and after what time that is an alarm.
const PROVIDER_LOOK: Duration = Duration::from_secs(1);
const PROVIDER_ALARM: Duration = Duration::from_secs(3 * 60);

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

/// The feeds of a server. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feeds(Arc<[(FeedConfig, Notify)]>);

impl Feeds {
    pub(crate) fn new(feeds: Vec<FeedConfig>) -> Self {
        Self(
            feeds
                .into_iter()
                .map(|feed| (feed, Notify::new()))
                .collect(),
        )
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &FeedConfig> {
        self.0.iter().map(|(feed, _)| feed)
    }

    /// Has a feed read now, whenever it would be read next. `false`: there is none at this URL.
    pub(crate) fn read_now(&self, url: &str) -> bool {
        let found = self.0.iter().find(|(feed, _)| feed.url.to_string() == url);
        found.inspect(|(_, wanted)| wanted.notify_one()).is_some()
    }
}

/// What reading feeds needs.
#[derive(Debug, Clone)]
struct Reader {
    intake: Intake,
    store: Store,
    alarms: Alarms,
    metrics: Metrics,
    outward: Outward,
    readings: Arc<Semaphore>,
    parsing: Arc<Semaphore>,
}

/// Reads feeds until `shutdown`.
pub(crate) async fn read(
    feeds: Feeds,
    intake: Intake,
    store: Store,
    alarms: Alarms,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let reader = Reader::new(intake, store, alarms, metrics, Outward::default());
    let mut readings = JoinSet::new();
    for index in 0..feeds.0.len() {
        let (reader, feeds, shutdown) = (reader.clone(), feeds.clone(), shutdown.clone());
        readings.spawn(async move {
            let (feed, wanted) = &feeds.0[index];
            shutdown
                .run_until_cancelled(reader.keep_reading(feed, wanted))
                .await
        });
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
    Store(#[from] store::StoreError),
}

/// What a reading came to.
struct Reading {
    /// What is known of the feed then, unless it failed.
    state: Result<FeedState, ReadError>,
    /// The items that need not be looked at again.
    seen: Vec<FeedItem>,
}

/// What came of an item.
enum Submitted {
    Sent,
    /// It is refused for good.
    PassedOver(Refusal),
}

impl Reader {
    fn new(
        intake: Intake,
        store: Store,
        alarms: Alarms,
        metrics: Metrics,
        outward: Outward,
    ) -> Self {
        let [readings, parsing] =
            [READINGS_AT_ONCE, PARSED_AT_ONCE].map(|at_once| Arc::new(Semaphore::new(at_once)));
        Self {
            intake,
            store,
            alarms,
            metrics,
            outward,
            readings,
            parsing,
        }
    }

    async fn keep_reading(&self, feed: &FeedConfig, wanted: &Notify) {
        let url = feed.url.to_string();
        // What is known of a feed that was never read to its end: a restart begins anew with it.
        let mut unread = None;
        loop {
            let state = match self.store.feed(url.clone()).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::error!(feed = url, %error, "what is known of a feed cannot be read");
                    sleep(SLEEP_MAX).await;
                    continue;
                }
            };
            let is_first = state.is_none();
            let before = state.or(unread.take()).unwrap_or_default();
            let wait = before.next_at.duration_since(Timestamp::now());
            if wait.is_positive() && wait <= LONGEST {
                let wait = Duration::try_from(wait).unwrap_or_default().min(SLEEP_MAX);
                let is_over = tokio::select! {
                    () = sleep(wait) => true,
                    () = wanted.notified() => false,
                };
                if is_over {
                    unread = is_first.then_some(before);
                    continue;
                }
            }
            self.await_provider(feed).await;
            unread = Some(self.read_once(feed, before, is_first).await);
        }
    }

    /// Nothing is fetched for a provider that is not there: that is no fault of the feed, and ends with `provider add`.
    async fn await_provider(&self, feed: &FeedConfig) {
        let (url, began) = (feed.url.to_string(), Instant::now());
        let mut is_told = false;
        while let Ok(None) = self.store.provider_named(feed.provider.clone()).await {
            let missing = ReadError::NoProvider(feed.provider.clone()).to_string();
            if began.elapsed() >= PROVIDER_ALARM {
                self.alarms.raise(AlarmKind::Feed, &url, missing).await;
            } else if !is_told {
                tracing::warn!(feed = url, error = missing, "feed not read");
                is_told = true;
            }
            sleep(PROVIDER_LOOK).await;
        }
        if is_told {
            self.alarms.clear(AlarmKind::Feed, &url).await;
        }
    }

    /// Reads a feed once and notes what came of it, and when it is read next. Gives what is known of it then.
    async fn read_once(&self, feed: &FeedConfig, before: FeedState, is_first: bool) -> FeedState {
        let url = feed.url.to_string();
        let Reading { state, seen } = {
            let _place = self.readings.acquire().await; // never closed
            self.read(feed, &before, is_first).await
        };
        let is_read = state.is_ok();
        let next = match state {
            Ok(next) => {
                if before.failed >= FAILED_ALARM || is_first {
                    self.alarms.clear(AlarmKind::Feed, &url).await;
                }
                self.metrics.feed("read");
                next
            }
            Err(error) => {
                let failed = before.failed.saturating_add(1);
                let pause = error.pause(feed, failed);
                tracing::warn!(feed = url, failed, error = %with_causes(&error), "feed not read");
                self.metrics.feed("failed");
                if failed >= FAILED_ALARM {
                    self.alarms
                        .raise(AlarmKind::Feed, &url, with_causes(&error))
                        .await;
                }
                FeedState {
                    next_at: after(pause),
                    failed,
                    ..before
                }
            }
        };
        // One that was never read stays one: which items were there first is not known.
        if (is_read || !is_first || !seen.is_empty())
            && let Err(error) = self
                .store
                .feed_read(url.clone(), next.clone(), seen, Timestamp::now())
                .await
        {
            tracing::error!(feed = url, %error, "not noted that a feed was read");
            sleep(SLEEP_MAX).await;
        }
        next
    }

    async fn read(&self, feed: &FeedConfig, before: &FeedState, is_first: bool) -> Reading {
        let mut seen = Vec::new();
        let state = self.read_into(&mut seen, feed, before, is_first).await;
        Reading { state, seen }
    }

    async fn read_into(
        &self,
        seen: &mut Vec<FeedItem>,
        feed: &FeedConfig,
        before: &FeedState,
        is_first: bool,
    ) -> Result<FeedState, ReadError> {
        let next_at = |fresh_for: SignedDuration| after(feed.every.max(fresh_for).min(LONGEST));
        let (content, content_type, etag, last_modified, fresh_for) =
            match fetch(&self.outward, feed, before).await? {
                Fetched::Unchanged { fresh_for } => {
                    return Ok(FeedState {
                        next_at: next_at(fresh_for),
                        failed: 0,
                        ..before.clone()
                    });
                }
                Fetched::Changed {
                    content,
                    content_type,
                    etag,
                    last_modified,
                    fresh_for,
                } => (content, content_type, etag, last_modified, fresh_for),
            };
        let items = self
            .parse(content, content_type, feed.url.to_string())
            .await?;
        let newest = items.len().saturating_sub(ITEMS_MAX);
        let items = &items[newest..];
        let names: Vec<_> = items.iter().map(Item::name).collect();
        let unseen = self.store.unseen(feed.url.to_string(), names).await?;
        let (mut sent, mut passed_over) = (0, 0);
        for item in items {
            if unseen.contains(&item.name()) && (!is_first || feed.from_the_first) {
                match self.submit(feed, item).await? {
                    Submitted::Sent => sent += 1,
                    Submitted::PassedOver(why) => {
                        tracing::warn!(feed = %feed.url, item = item.id(), %why, "item passed over");
                        passed_over += 1;
                    }
                }
            }
            seen.push(item.name());
        }
        tracing::info!(feed = %feed.url, items = items.len(), sent, passed_over, "feed read");
        Ok(FeedState {
            etag,
            last_modified,
            next_at: next_at(fresh_for),
            failed: 0,
        })
    }

    /// Off the threads that serve calls: it takes as long as the feed is large.
    async fn parse(
        &self,
        content: Bytes,
        content_type: Option<String>,
        url: String,
    ) -> Result<Vec<Item>, ReadError> {
        let _place = self.parsing.acquire().await; // never closed
        let parsed =
            spawn_blocking(move || Item::read_all(&content, content_type.as_deref(), &url)).await;
        parsed
            .unwrap_or_else(|error| Err(format!("reading it failed: {error}")))
            .map_err(ReadError::Parse)
    }

    /// `Err`: neither this item nor any behind it is taken now.
    async fn submit(&self, feed: &FeedConfig, item: &Item) -> Result<Submitted, ReadError> {
        let provider = self.store.provider_named(feed.provider.clone()).await?;
        let provider = provider.ok_or_else(|| ReadError::NoProvider(feed.provider.clone()))?;
        let content = item.to_json();
        let octets = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let submission = Submission {
            provider,
            recipients: vec![Recipient::Subscribers(feed.topic.clone())],
            content_type: "application/json"
                .parse::<ContentType>()
                .expect("a media type"),
            content: content.into(),
            handling: Handling {
                urgency: feed.urgency,
                expires_at: feed
                    .expires_after
                    .and_then(|after| Timestamp::now().checked_add(after).ok()),
                idempotency_key: Some(item.key(&feed.url.to_string())),
                ..Handling::default()
            },
        };
        match self.intake.submit(submission).await {
            Ok(_) => Ok(Submitted::Sent),
            // It never becomes smaller, and what has its key was submitted before it was changed.
            Err(why @ (Refusal::TooLarge { .. } | Refusal::Expired(_) | Refusal::KeyReused)) => {
                Ok(Submitted::PassedOver(why))
            }
            Err(Refusal::Quota(over)) if over.unit == "octets" && octets > over.max => {
                Ok(Submitted::PassedOver(Refusal::Quota(over)))
            }
            Err(why) => Err(why.into()),
        }
    }
}

impl ReadError {
    /// How long the feed is left alone then: longer each time, and as long as it asks.
    fn pause(&self, feed: &FeedConfig, failed: u32) -> SignedDuration {
        let patience = match self {
            Self::Fetch(error) => error.patience().unwrap_or_default(),
            // It is well; what waits here must not be gone from it when there is room again.
            Self::Refused(_) | Self::NoProvider(_) => return feed.every.min(LONGEST),
            Self::Parse(_) | Self::Store(_) => SignedDuration::ZERO,
        };
        feed.every
            .saturating_mul(1 << failed.min(20))
            .clamp(patience.min(LONGEST), LONGEST)
    }
}

fn after(pause: SignedDuration) -> Timestamp {
    Timestamp::now()
        .checked_add(pause)
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
