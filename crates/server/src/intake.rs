//! The only door: every message enters here, whatever brought it. Rights, size, destination; then on the disk; then told.

use delivery::{ContentType, MessageHead, MessageId, TerminalId, Topic};
use jiff::{Timestamp, Zoned};
use line::Home;
use tokio::sync::mpsc;

use crate::alarms::Alarms;
use crate::routing::{UnknownDestination, route};
use model::alarm::AlarmKind;
use model::directory::{Destination, Name, Recipient};
use model::provider::{Provider, TokenHash};
use model::rights::{allow_everything, allow_terminal, allow_topic};
use store::{Cancelled, Draft, Handling, NewContent, NewMessage, OverQuota, Store, StoreError};

/// Recipients of one submission.
pub const RECIPIENTS_MAX: usize = 1000;

/// Octets of a replace key or an idempotency key.
pub const KEY_OCTETS_MAX: usize = 100;

/// What an adapter hands in.
#[derive(Debug)]
pub struct Submission {
    /// Who submits: already recognised by [`Intake::recognise`].
    pub provider: Provider,
    /// Whom it is for.
    pub recipients: Vec<Recipient>,
    /// What the content is.
    pub content_type: ContentType,
    /// The content.
    pub content: NewContent,
    /// How it is to be treated.
    pub handling: Handling,
}

/// Why a submission is not taken. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Two topics: a message belongs to one.
    #[error("a message belongs to one topic; it is sent to {0}, and has {1}")]
    TwoTopics(Topic, Topic),
    /// No token, or one that belongs to nobody.
    #[error(
        "the token is missing or belongs to no provider (any more); ask the server's operator for one"
    )]
    Token,
    /// The operator has the provider's submissions refused.
    #[error(
        "submissions of this provider are refused until the server's operator enables it again"
    )]
    Disabled,
    /// Nobody to bring it to.
    #[error("no destination; give at least one, such as ?to=tel:201 or ?to=topic:news/weather")]
    NoDestination,
    /// More destinations than one submission may have.
    #[error("{0} destinations; at most {RECIPIENTS_MAX} are taken at once")]
    TooManyDestinations(usize),
    /// A destination that the directory does not know.
    #[error(transparent)]
    UnknownDestination(#[from] UnknownDestination),
    /// A destination to which this provider may not send, whether there is such a terminal or not.
    #[error("this provider may not send to {0}; the server's operator can let it")]
    ForbiddenDestination(Destination),
    /// A topic under which this provider may not send.
    #[error("this provider may not send under the topic {0}; the server's operator can let it")]
    ForbiddenTopic(Topic),
    /// Its time is over before it has begun.
    #[error("it expired at {0}; give a time that is to come")]
    Expired(Timestamp),
    /// Larger than this server takes.
    #[error("the content is larger than {max} octets (submission.size_max in the server's config)")]
    TooLarge {
        /// The limit, in octets.
        max: u64,
    },
    /// As much waits as may.
    #[error(transparent)]
    Quota(OverQuota),
    /// The idempotency key belongs to another submission.
    #[error(
        "this key was used for another submission; give each submission a key of its own, and repeat one as it was"
    )]
    KeyReused,
    /// The disk is full: try again later.
    #[error(
        "the server's disk is full; nothing was stored, what was accepted is safe; send again later"
    )]
    Full,
    /// Our fault: try again later.
    #[error("the store could not take it")]
    Store(#[source] StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Quota(over) => Self::Quota(over),
            StoreError::KeyReused => Self::KeyReused,
            StoreError::Expired(at) => Self::Expired(at),
            StoreError::Full { .. } => Self::Full,
            error => Self::Store(error),
        }
    }
}

/// A submission whose provider may send it to its recipients: what is left to come is the content.
#[derive(Debug)]
pub(crate) struct Permitted {
    provider: Provider,
    terminals: Vec<TerminalId>,
    is_for_subscribers: bool,
    handling: Handling,
}

impl Permitted {
    /// Whose it is.
    pub(crate) fn provider(&self) -> &Name {
        &self.provider.name
    }
}

/// A submission was taken: it is on the disk.
#[derive(Debug)]
pub struct Accepted {
    /// The message's name from now on; of a repeated submission, that of the first.
    pub id: MessageId,
    /// The terminals it is for: one envelope each.
    pub envelopes: u64,
}

/// The door. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    store: Store,
    /// Tells dispatch that something is due. Never full for long: dispatch only notes it.
    due: mpsc::Sender<Vec<TerminalId>>,
    alarms: Alarms,
    size_max: u64,
    /// Where the numbers are that are written without a country.
    home: Option<Home>,
}

impl Intake {
    /// A door to `store` that tells `due` what came.
    pub fn new(
        store: Store,
        due: mpsc::Sender<Vec<TerminalId>>,
        alarms: Alarms,
        size_max: u64,
        home: Option<Home>,
    ) -> Self {
        Self {
            store,
            due,
            alarms,
            size_max,
            home,
        }
    }

    /// The largest content taken, in octets.
    pub fn size_max(&self) -> u64 {
        self.size_max
    }

    /// Where the numbers are that are written without a country.
    pub(crate) fn home(&self) -> Option<Home> {
        self.home
    }

    /// Where it is told that no more can be taken.
    pub(crate) fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`Refusal::Token`] or [`Refusal::Store`].
    pub async fn recognise(&self, token: Option<&str>) -> Result<Provider, Refusal> {
        let token = token.ok_or(Refusal::Token)?;
        let provider = self
            .store
            .provider_with_token(TokenHash::of(token), Timestamp::now())
            .await?;
        provider.ok_or(Refusal::Token)
    }

    /// Begins to take in a content of bounded size and number, from a terminal's outbox.
    pub(crate) fn draft(&self) -> Draft {
        self.store.draft()
    }

    /// Begins to take in the content of a provider, which counts as if it waited already.
    pub(crate) fn draft_of(&self, provider: &Name) -> Draft {
        self.store.draft_of(provider)
    }

    /// Takes a submission. On return the message and its envelopes are on the disk.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is stored then.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, Refusal> {
        let Submission {
            provider,
            recipients,
            content_type,
            content,
            handling,
        } = submission;
        let permitted = self.permit(provider, recipients, handling).await?;
        self.take(permitted, content_type, content).await
    }

    /// Checks all that can be checked before the content is here: recipients, rights, expiry.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn permit(
        &self,
        provider: Provider,
        recipients: Vec<Recipient>,
        mut handling: Handling,
    ) -> Result<Permitted, Refusal> {
        if provider.is_disabled {
            return Err(Refusal::Disabled);
        }
        match recipients.len() {
            0 => return Err(Refusal::NoDestination),
            1..=RECIPIENTS_MAX => {}
            count => return Err(Refusal::TooManyDestinations(count)),
        }
        // Under a key it may be a repetition, which only the store knows.
        let expires_at = handling
            .expires_at
            .filter(|_| handling.idempotency_key.is_none());
        if let Some(at) = expires_at.filter(|at| *at <= Timestamp::now()) {
            return Err(Refusal::Expired(at));
        }
        let (mut destinations, mut is_for_subscribers) = (Vec::new(), false);
        for recipient in recipients {
            match recipient {
                Recipient::Terminal(destination) => destinations.push(destination),
                Recipient::Subscribers(topic) => {
                    is_for_subscribers = true;
                    if let Some(other) = handling
                        .topic
                        .replace(topic.clone())
                        .filter(|other| *other != topic)
                    {
                        return Err(Refusal::TwoTopics(topic, other));
                    }
                }
            }
        }
        if let Some(topic) = handling
            .topic
            .as_ref()
            .filter(|topic| !allow_topic(&provider.may_send, topic))
        {
            return Err(Refusal::ForbiddenTopic(topic.clone()));
        }
        let terminals = self.route(&provider, destinations).await?;
        Ok(Permitted {
            provider,
            terminals,
            is_for_subscribers,
            handling,
        })
    }

    /// Takes what was [permitted](Intake::permit), with its content. On return it is on the disk.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is stored then.
    pub(crate) async fn take(
        &self,
        permitted: Permitted,
        content_type: ContentType,
        content: NewContent,
    ) -> Result<Accepted, Refusal> {
        let Permitted {
            provider,
            terminals,
            is_for_subscribers,
            handling,
        } = permitted;
        if content.size() > self.size_max {
            return Err(Refusal::TooLarge { max: self.size_max });
        }
        let size = content.size();
        let head = MessageHead {
            id: MessageId::now(),
            content_type,
            digest: content.digest(),
            size,
        };
        let subscribers = match handling.topic.clone().filter(|_| is_for_subscribers) {
            Some(topic) => Some(
                self.store
                    .subscribers(topic, handling.urgency, size, Zoned::now())
                    .await?,
            ),
            None => None,
        };
        let mut told = terminals.clone();
        told.extend(
            subscribers
                .iter()
                .flatten()
                .map(|subscriber| subscriber.terminal),
        );
        let provider = provider.name;
        let message = NewMessage {
            head,
            provider: provider.clone(),
            content,
            terminals,
            subscribers,
            handling,
        };
        let accepted = self.store.accept(message, Timestamp::now()).await?;
        let (id, envelopes) = (accepted.id, accepted.envelopes);
        if accepted.is_repeated {
            tracing::info!(message_id = %id, %provider, "message submitted again");
            return Ok(Accepted { id, envelopes });
        }
        // A crash from here on loses nothing: at start everything that waits is due.
        tracing::info!(message_id = %id, %provider, size, envelopes, replaced = accepted.replaced, "message accepted");
        let _ = self.due.send(told).await; // shutting down: due at the next start
        for near in accepted.near {
            self.alarms
                .raise(AlarmKind::Quota, near.subject(), near)
                .await;
        }
        Ok(Accepted { id, envelopes })
    }

    /// Cancels a message of this provider. `None`: it has none of this id.
    ///
    /// # Errors
    /// [`Refusal::Store`], or [`Refusal::Full`].
    pub async fn cancel(
        &self,
        provider: Provider,
        id: MessageId,
    ) -> Result<Option<Cancelled>, Refusal> {
        let cancelled = self
            .store
            .cancel(
                id,
                Some(provider.name.clone()),
                "cancelled by its provider",
                Timestamp::now(),
            )
            .await?;
        if let Some(Cancelled {
            cancelled,
            under_way,
            settled,
        }) = cancelled
        {
            tracing::info!(message_id = %id, provider = %provider.name, cancelled, under_way, settled, "message cancelled");
        }
        Ok(cancelled)
    }

    /// The terminals that these destinations name, if the provider may send to all of them.
    async fn route(
        &self,
        provider: &Provider,
        destinations: Vec<Destination>,
    ) -> Result<Vec<TerminalId>, Refusal> {
        let may_ask = allow_everything(&provider.may_send);
        let mut found = Vec::with_capacity(destinations.len());
        for destination in destinations {
            let destination = destination.at(self.home);
            let terminal = self.store.find_terminal(destination.clone()).await?;
            // Who may not send to everybody does not learn either which terminals there are.
            let may_send = terminal.as_ref().map_or(may_ask, |terminal| {
                allow_terminal(&provider.may_send, terminal)
            });
            if !may_send {
                return Err(Refusal::ForbiddenDestination(destination));
            }
            found.push((destination, terminal));
        }
        Ok(route(found)?)
    }
}
