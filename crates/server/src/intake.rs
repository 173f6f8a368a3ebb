//! The only door: every message enters here, whatever brought it. Rights, size, destination; then on the disk; then told.

use bytes::Bytes;
use delivery::{ContentType, Digest, MessageHead, MessageId, TerminalId};
use line::Home;
use tokio::sync::mpsc;

use crate::directory::{Destination, Provider, TokenHash};
use crate::routing::{UnknownDestination, route};
use crate::store::{NewMessage, Store, StoreError};

/// Destinations of one submission.
pub const DESTINATIONS_MAX: usize = 1000;

/// What an adapter hands in.
#[derive(Debug)]
pub struct Submission {
    /// Who submits: already recognised by [`Intake::recognise`].
    pub provider: Provider,
    /// Whom it is for.
    pub destinations: Vec<Destination>,
    /// What the content is.
    pub content_type: ContentType,
    /// The content.
    pub content: Bytes,
}

/// Why a submission is not taken. Nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No token, or one that belongs to nobody.
    #[error("the token is missing or belongs to no provider; `ringup provider add` makes one")]
    Token,
    /// Nobody to bring it to.
    #[error("no destination; give at least one, such as ?to=tel:201")]
    NoDestination,
    /// More destinations than one submission may have.
    #[error("{0} destinations; at most {DESTINATIONS_MAX} are taken at once")]
    TooManyDestinations(usize),
    /// A destination that the directory does not know.
    #[error(transparent)]
    UnknownDestination(#[from] UnknownDestination),
    /// Larger than this server takes.
    #[error("the content is larger than {max} octets (submission.size_max in the server's config)")]
    TooLarge {
        /// The limit, in octets.
        max: u64,
    },
    /// Our fault: try again later.
    #[error("the store could not take it")]
    Store(#[from] StoreError),
}

/// A submission was taken: it is on the disk.
#[derive(Debug)]
pub struct Accepted {
    /// The message's name from now on.
    pub id: MessageId,
    /// The terminals it waits for.
    pub terminals: Vec<TerminalId>,
}

/// The door. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Intake {
    store: Store,
    /// Tells dispatch that something is due. Never full for long: dispatch only notes it.
    due: mpsc::Sender<Vec<TerminalId>>,
    size_max: u64,
    /// Where the numbers are that are written without a country.
    home: Option<Home>,
}

impl Intake {
    /// A door to `store` that tells `due` what came.
    pub fn new(store: Store, due: mpsc::Sender<Vec<TerminalId>>, size_max: u64, home: Option<Home>) -> Self {
        Self { store, due, size_max, home }
    }

    /// The largest content taken, in octets.
    pub fn size_max(&self) -> u64 {
        self.size_max
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// [`Refusal::Token`] or [`Refusal::Store`].
    pub async fn recognise(&self, token: Option<&str>) -> Result<Provider, Refusal> {
        let token = token.ok_or(Refusal::Token)?;
        self.store.provider_with_token(TokenHash::of(token)).await?.ok_or(Refusal::Token)
    }

    /// Takes a submission. On return the message and its envelopes are on the disk.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is stored then.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, Refusal> {
        let Submission { provider, destinations, content_type, content } = submission;
        match destinations.len() {
            0 => return Err(Refusal::NoDestination),
            1..=DESTINATIONS_MAX => {}
            count => return Err(Refusal::TooManyDestinations(count)),
        }
        if content.len() as u64 > self.size_max {
            return Err(Refusal::TooLarge { max: self.size_max });
        }
        let mut found = Vec::with_capacity(destinations.len());
        for destination in destinations {
            let destination = destination.at(self.home);
            let terminal = self.store.find_terminal(destination.clone()).await?;
            found.push((destination, terminal));
        }
        let terminals = route(found)?;
        let id = MessageId::now();
        let size = content.len() as u64;
        let head = MessageHead { id, content_type, digest: Digest::of(&content), size };
        let message = NewMessage { head, provider: provider.name.clone(), content, terminals: terminals.clone() };
        self.store.accept(message).await?;
        // A crash from here on loses nothing: at start everything that waits is due.
        tracing::info!(message_id = %id, provider = %provider.name, size, "message accepted");
        let _ = self.due.send(terminals.clone()).await; // shutting down: due at the next start
        Ok(Accepted { id, terminals })
    }
}
