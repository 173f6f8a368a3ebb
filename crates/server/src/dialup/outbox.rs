//! What a terminal has to say: read on its session, taken in like anybody's submission, acknowledged after the commit.
//!
//! A crash between the commit and the acknowledgement: the item comes again, under the id that it was taken under.

use delivery::{
    Conditions, ItemAnswer, ItemHead, MessageId, OutboxError, OutboxReader, Outgoing, Said,
    TopicFilter,
};
use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, JoinSet};

use crate::ingest::http::Problem;
use crate::intake::{Intake, Refusal, Submission};
use model::directory::{Recipient, Terminal};
use model::subscription::{RegisteredBy, Subscription};
use store::{Handling, NewContent, RegisterError, Store, StoreError};

/// Answers on their way: a terminal that notes none is read no further.
const ANSWERS_MAX: usize = 32;

/// What is answered when the store fails: the terminal comes again.
const UNAVAILABLE: u16 = 503;

/// So long a terminal may keep away what is not urgent: for longer it is to be taken off.
const CONDITIONS_MAX: SignedDuration = SignedDuration::from_hours(31 * 24);

/// What came of reading an outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) accepted: u32,
    pub(super) refused: u32,
    /// An item was too large to be read past: the rest has to be asked for anew.
    pub(super) is_unfinished: bool,
}

/// Who takes what a terminal says.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    pub(super) terminal: Terminal,
    pub(super) store: Store,
    pub(super) intake: Intake,
}

impl Listener {
    /// Reads all that a terminal, which is proved, has to say, and answers each item.
    pub(super) async fn read(self, mut reader: OutboxReader) -> Result<Read, OutboxError> {
        let mut read = Read::default();
        // Acknowledgements go at once, and nobody waits for one before the next item.
        let mut answers = JoinSet::new();
        while let Some(head) = reader.next().await? {
            let size_max = self.intake.size_max();
            let (id, terminal) = (head.id, &self.terminal.name);
            let answer = if head.size > size_max {
                refused(Refusal::TooLarge { max: size_max })
            } else {
                match self.content(&mut reader, head.size).await? {
                    Ok(content) => self.take(head, content).await,
                    Err(refusal) => refused(refusal),
                }
            };
            read.is_unfinished = matches!(&answer, ItemAnswer::Refused { status: 413, .. });
            match &answer {
                ItemAnswer::Accepted => read.accepted += 1,
                ItemAnswer::Refused { status, reason } => {
                    read.refused += 1;
                    tracing::warn!(%terminal, item = %id, status, reason, "item refused");
                }
            }
            if answers.len() >= ANSWERS_MAX
                && let Some(answered) = answers.join_next().await
            {
                self.noted(answered)?;
            }
            answers.spawn(reader.settle(id, &answer));
            if read.is_unfinished {
                break;
            }
        }
        drop(reader);
        while let Some(answered) = answers.join_next().await {
            self.noted(answered)?;
        }
        Ok(read)
    }

    /// Reads an item's content, and past it if it cannot be kept.
    async fn content(
        &self,
        reader: &mut OutboxReader,
        size: u64,
    ) -> Result<Result<NewContent, Refusal>, OutboxError> {
        let (mut left, mut draft) = (size, Ok(self.intake.draft()));
        while left > 0 {
            let octets = reader.chunk(left).await?;
            left -= octets.len() as u64;
            if let Ok(so_far) = draft {
                draft = so_far.write(&octets).await;
            }
        }
        Ok(match draft {
            Ok(draft) => draft.finish().await.map_err(Refusal::from),
            Err(error) => Err(error.into()),
        })
    }

    /// The terminal has heard what became of an item.
    fn noted(
        &self,
        answered: Result<Result<bool, OutboxError>, JoinError>,
    ) -> Result<(), OutboxError> {
        if let Ok(is_noted) = answered
            && !is_noted?
        {
            tracing::warn!(terminal = %self.terminal.name, "the terminal could not note what became of an item");
        }
        Ok(())
    }

    async fn take(&self, head: ItemHead, content: NewContent) -> ItemAnswer {
        let taken = match head.says {
            Err(reason) => Err(no(501, reason)),
            Ok(Said::Message(message)) => self.submit(head.id, message, content).await,
            Ok(Said::Subscribe {
                filter,
                urgency,
                size_max,
                hours,
            }) => match hours.parse() {
                Ok(hours) => {
                    self.subscribe(Subscription {
                        filter,
                        urgency,
                        size_max,
                        hours,
                    })
                    .await
                }
                Err(error) => Err(no(400, format!("hours: {error}"))),
            },
            Ok(Said::Conditions(conditions)) => self.state(conditions).await,
            Ok(Said::Unsubscribe { filter }) => self.unsubscribe(filter).await,
        };
        taken.map_or_else(|answer| answer, |()| ItemAnswer::Accepted)
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<(), ItemAnswer> {
        let filter = subscription.filter.clone();
        let registered = self.store.subscribe(
            self.terminal.id,
            subscription,
            RegisteredBy::Terminal,
            Timestamp::now(),
        );
        registered.await.map_err(|error| match error {
            RegisterError::Store(error) => failed(&error),
            error @ RegisterError::TooBroad { .. } => no(403, error.to_string()),
            error @ RegisterError::TooMany => no(409, error.to_string()),
        })?;
        tracing::info!(terminal = %self.terminal.name, %filter, "registered by the terminal");
        Ok(())
    }

    /// Not registered for it any more is what was asked for, also if it never was.
    async fn unsubscribe(&self, filter: TopicFilter) -> Result<(), ItemAnswer> {
        let ended = self.store.unsubscribe(self.terminal.id, filter.clone());
        ended.await.map_err(|error| failed(&error))?;
        tracing::info!(terminal = %self.terminal.name, %filter, "not registered any more, says the terminal");
        Ok(())
    }

    async fn state(&self, conditions: Conditions) -> Result<(), ItemAnswer> {
        if conditions.until > Timestamp::now() + CONDITIONS_MAX {
            let days = CONDITIONS_MAX.as_hours() / 24;
            return Err(no(400, format!("conditions hold for {days} days at most")));
        }
        tracing::info!(terminal = %self.terminal.name, until = %conditions.until, reason = conditions.reason, "takes less for now");
        let stated = self.store.state(self.terminal.id, conditions);
        stated.await.map_err(|error| failed(&error))
    }

    /// Submits under the item's id, so that a repetition is one message.
    async fn submit(
        &self,
        id: MessageId,
        message: Outgoing,
        content: NewContent,
    ) -> Result<(), ItemAnswer> {
        let Outgoing {
            to,
            content_type,
            urgency,
            expires_at,
            topic,
            replace_key,
        } = message;
        let bad = |reason: String| no(400, reason);
        let provider = match self.store.sender(self.terminal.id).await {
            Ok(Some(provider)) => provider,
            Ok(None) => {
                let reason = format!(
                    "this terminal may not send; at the server: ringup terminal sends-as {} PROVIDER",
                    self.terminal.name
                );
                return Err(no(403, reason));
            }
            Err(error) => return Err(failed(&error)),
        };
        let recipients = to.iter().map(|text| {
            text.parse::<Recipient>()
                .map_err(|error| format!("{text:?}: {error}"))
        });
        let recipients = recipients.collect::<Result<_, _>>().map_err(bad)?;
        if replace_key
            .as_ref()
            .is_some_and(|key| key.is_empty() || key.len() > crate::intake::KEY_OCTETS_MAX)
        {
            return Err(bad(format!(
                "a replace key has 1 to {} octets",
                crate::intake::KEY_OCTETS_MAX
            )));
        }
        // The terminal's own id is in it: another that sends as the same provider cannot take this one's keys.
        let idempotency_key = Some(format!("{}:{id}", self.terminal.id));
        let handling = Handling {
            urgency,
            expires_at,
            topic,
            replace_key,
            idempotency_key,
            return_path: None,
        };
        let submission = Submission {
            provider,
            recipients,
            content_type,
            content,
            handling,
        };
        self.intake
            .submit(submission)
            .await
            .map(drop)
            .map_err(refused)
    }
}

fn refused(refusal: Refusal) -> ItemAnswer {
    let (status, reason) = Problem::from(refusal).status_and_detail();
    no(status.as_u16(), reason)
}

fn no(status: u16, reason: String) -> ItemAnswer {
    ItemAnswer::Refused { status, reason }
}

fn failed(error: &StoreError) -> ItemAnswer {
    tracing::error!(%error, "an item was not stored");
    no(UNAVAILABLE, "the server's store failed".to_owned())
}
