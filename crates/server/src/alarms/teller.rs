//! Telling of alarms: for each channel a task that tells one after the other, from memory first, then from the disk.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use modem::shown;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{AlarmConfig, Notice, command};
use crate::outward::post::Post;
use model::alarm::{Change, Channel};
use model::causes::with_causes;
use model::webhook::Webhook;
use store::{Store, StoredNotice};

/// What is told from memory, when the disk does not take it, and waits for that.
const MEMORY_MAX: usize = 64;

/// Tries; what fails so often is given up.
const TRIES_MAX: u32 = 5;

/// After the first that fails; four times as long after each that follows.
const PAUSE_FIRST: SignedDuration = SignedDuration::from_secs(10);

/// The longest sleep: the wall clock may jump.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What tells on one channel.
#[derive(Debug, Clone)]
pub(super) enum Voice {
    Command(Vec<String>),
    Webhook(Post, Webhook),
}

impl Voice {
    async fn tell(&self, notice: &Notice) -> Result<(), String> {
        match self {
            Self::Command(words) => command::run(
                words,
                &format!("{}\n", shown::line(&notice.json().to_string())),
            )
            .await
            .map_err(|error| with_causes(&error)),
            Self::Webhook(post, webhook) => {
                let (id, now) = (notice.id(), Timestamp::now());
                let mut told = notice.json();
                told["id"] = serde_json::json!(id);
                told["type"] = serde_json::json!("ringup.alarm");
                post.send(
                    webhook,
                    &id,
                    now,
                    shown::line(&told.to_string()).into_owned(),
                )
                .await
                .map_err(|error| error.to_string())
            }
        }
    }
}

/// The tasks that tell.
#[derive(Debug, Default)]
pub(super) struct Telling {
    tellers: Vec<(mpsc::Sender<Notice>, Arc<Notify>)>,
}

impl Telling {
    pub(super) fn start(
        store: &Store,
        config: AlarmConfig,
        shutdown: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let mut telling = Self::default();
        if !config.command.is_empty() {
            telling.add(
                Channel::Command,
                Voice::Command(config.command),
                store,
                shutdown,
                tasks,
            );
        }
        if let Some(webhook) = config.webhook {
            telling.add(
                Channel::Webhook,
                Voice::Webhook(Post::default(), webhook),
                store,
                shutdown,
                tasks,
            );
        }
        telling
    }

    fn add(
        &mut self,
        channel: Channel,
        voice: Voice,
        store: &Store,
        shutdown: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) {
        let (sender, memory) = mpsc::channel(MEMORY_MAX);
        let more = Arc::new(Notify::new());
        let mut teller = Teller {
            channel,
            voice,
            store: store.clone(),
            memory,
            more: more.clone(),
        };
        self.tellers.push((sender, more));
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            // What was being told is told again after the next start.
            shutdown.run_until_cancelled(teller.run()).await;
        });
    }

    /// More is on the disk.
    pub(super) fn wake(&self) {
        self.tellers.iter().for_each(|(_, more)| more.notify_one());
    }

    pub(super) fn tell_from_memory(&self, change: &Change) {
        let notice = Notice {
            event: change.event(),
            alarm: change.alarm.clone(),
        };
        for (memory, more) in &self.tellers {
            if memory.try_send(notice.clone()).is_err() {
                tracing::error!("an alarm is not told: too many wait in memory");
            }
            more.notify_one();
        }
    }
}

struct Teller {
    channel: Channel,
    voice: Voice,
    store: Store,
    memory: mpsc::Receiver<Notice>,
    more: Arc<Notify>,
}

impl Teller {
    async fn run(&mut self) {
        loop {
            let nap = self.tell_one().await;
            if !nap.is_zero() {
                let _ = timeout(nap, self.more.notified()).await; // whichever comes first
            }
        }
    }

    /// Tells what is due, if anything is; how long nothing will be.
    async fn tell_one(&mut self) -> Duration {
        if let Ok(notice) = self.memory.try_recv() {
            // Once: the disk that would remember a second try does not take it.
            if let Err(error) = self.voice.tell(&notice).await {
                tracing::error!(channel = self.channel.as_str(), error, "alarm not told");
            }
            return Duration::ZERO;
        }
        let stored = match self.store.next_notice(self.channel).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return SLEEP_MAX,
            Err(error) => {
                tracing::error!(%error, "cannot read which alarms are to be told");
                return SLEEP_MAX;
            }
        };
        let wait =
            Duration::try_from(stored.next_at.duration_since(Timestamp::now())).unwrap_or_default();
        if !wait.is_zero() {
            return wait.min(SLEEP_MAX);
        }
        self.tell_stored(stored).await
    }

    async fn tell_stored(&self, stored: StoredNotice) -> Duration {
        let StoredNotice {
            id,
            event,
            alarm,
            failed,
            ..
        } = stored;
        let told = self.voice.tell(&Notice { event, alarm }).await;
        let noted = match told {
            Ok(()) => self.store.notice_told(id).await,
            Err(error) => {
                let (channel, tries) = (self.channel.as_str(), failed + 1);
                tracing::warn!(channel, tries, error, "alarm not told");
                if tries >= TRIES_MAX {
                    tracing::error!(channel, tries, "given up to tell of an alarm");
                    self.store.notice_told(id).await
                } else {
                    self.store
                        .notice_failed(id, Timestamp::now() + pause(failed))
                        .await
                }
            }
        };
        match noted {
            Ok(()) => Duration::ZERO,
            Err(error) => {
                tracing::error!(%error, "alarm notice sent, but not recorded: it is sent again");
                SLEEP_MAX
            }
        }
    }
}

fn pause(failed: u32) -> SignedDuration {
    PAUSE_FIRST * 4_i32.pow(failed.min(TRIES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::alarm::{Alarm, AlarmKind};

    const CHANNELS: &[Channel] = &[Channel::Command];

    fn raised(subject: &str) -> Change {
        let raised_at = Timestamp::now();
        let (kind, subject, detail) = (
            AlarmKind::LineOutOfOrder,
            subject.to_owned(),
            "no modem".to_owned(),
        );
        Change {
            alarm: Alarm {
                kind,
                subject,
                detail,
                raised_at,
                cleared_at: None,
            },
            is_told: false,
        }
    }

    fn teller(store: &Store, words: &[&str]) -> (Teller, mpsc::Sender<Notice>) {
        let (sender, memory) = mpsc::channel(MEMORY_MAX);
        let voice = Voice::Command(words.iter().map(|word| (*word).to_owned()).collect());
        (
            Teller {
                channel: Channel::Command,
                voice,
                store: store.clone(),
                memory,
                more: Arc::default(),
            },
            sender,
        )
    }

    #[tokio::test]
    async fn alarms_are_told_in_order_and_what_was_not_told_before_a_restart_is_told_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let over = Change {
            alarm: Alarm {
                cleared_at: Some(Timestamp::now()),
                ..raised("line-1").alarm
            },
            is_told: false,
        };
        store
            .keep_alarms(vec![raised("line-1"), raised("line-2"), over], CHANNELS)
            .await
            .unwrap();
        drop(store);
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let (mut teller, _memory) = teller(
            &store,
            &["/bin/sh", "-c", "cat >> \"$0\"", told.to_str().unwrap()],
        );
        while teller.tell_one().await.is_zero() {}
        let told = std::fs::read_to_string(told).unwrap();
        let told: Vec<serde_json::Value> = told
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let said: Vec<_> = told
            .iter()
            .map(|told| (told["event"].as_str(), told["subject"].as_str()))
            .collect();
        let expected = [
            ("raised", "line-1"),
            ("raised", "line-2"),
            ("cleared", "line-1"),
        ];
        assert_eq!(
            said,
            expected.map(|(event, subject)| (Some(event), Some(subject)))
        );
        assert_eq!(store.next_notice(Channel::Command).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_fails_is_tried_again_later_and_given_up_after_five_times() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        store
            .keep_alarms(vec![raised("line-1")], CHANNELS)
            .await
            .unwrap();
        let (teller, _memory) = teller(&store, &["/bin/false"]);
        for tries in 1..TRIES_MAX {
            let before = store.next_notice(Channel::Command).await.unwrap().unwrap();
            teller.tell_stored(before.clone()).await;
            let after = store.next_notice(Channel::Command).await.unwrap().unwrap();
            assert_eq!(after.failed, tries);
            assert!(
                after.next_at >= Timestamp::now() + pause(tries - 1) - SignedDuration::from_secs(5),
                "{after:?}"
            );
        }
        let last = store.next_notice(Channel::Command).await.unwrap().unwrap();
        teller.tell_stored(last).await;
        assert_eq!(store.next_notice(Channel::Command).await.unwrap(), None);
        assert_eq!(
            store.standing_alarms().await.unwrap().len(),
            1,
            "it stands, told or not"
        );
    }

    #[tokio::test]
    async fn a_webhook_is_told_with_an_id_that_stays_the_same() {
        use tokio::io::AsyncReadExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let secret = model::webhook::WebhookSecret::from_octets([1; 32]);
        let voice = Voice::Webhook(
            Post::default(),
            Webhook {
                url,
                secret,
                may_be_private: true,
            },
        );
        let notice = Notice {
            event: crate::alarms::Event::Raised,
            alarm: raised("ö\r\nx: y").alarm,
        };
        let ids = async {
            let mut ids = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut octets = vec![0; 4096];
                let count = stream.read(&mut octets).await.unwrap();
                let text = String::from_utf8(octets[..count].to_vec()).unwrap();
                ids.extend(
                    text.lines()
                        .find(|line| line.starts_with("webhook-id: "))
                        .map(str::to_owned),
                );
            }
            ids
        };
        let twice = async { (voice.tell(&notice).await, voice.tell(&notice).await) };
        let (ids, told) = tokio::join!(ids, twice);
        assert!(
            told.0.is_err() && told.1.is_err(),
            "hung up on, it was not taken"
        );
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0], ids[1]);
    }

    #[tokio::test]
    async fn what_the_disk_does_not_take_is_told_from_memory() {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let store = Store::open(folder.path(), Timestamp::now()).unwrap();
        let (mut teller, memory) = teller(
            &store,
            &["/bin/sh", "-c", "cat > \"$0\"", told.to_str().unwrap()],
        );
        let alarm = raised("store").alarm;
        memory
            .try_send(Notice {
                event: crate::alarms::Event::Raised,
                alarm,
            })
            .unwrap();
        assert!(teller.tell_one().await.is_zero());
        assert!(
            std::fs::read_to_string(told)
                .unwrap()
                .contains("\"subject\":\"store\"")
        );
    }
}
