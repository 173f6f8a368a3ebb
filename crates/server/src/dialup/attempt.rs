//! One attempt to bring one message: what is made ready before it goes, and what is stored when the answer is in.

use delivery::{DeliveryError, Due, MessageHead, Parcel, Progress, Receipt, TerminalId};
use http::StatusCode;
use line::CallId;
use tokio::sync::Semaphore;

use crate::keys::Admission;
use crate::store::{Store, StoreError};

/// Shorter contents are brought again whole: asking costs a round trip, which is half a second of line and more.
const RESUMED_ABOVE: u64 = 16 * 1024;

/// Whose turn it is to pack a content that is in a file.
static PACKING: Semaphore = Semaphore::const_new(1);

/// What all attempts of a session share.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) store: Store,
    pub(super) terminal: TerminalId,
    pub(super) call: CallId,
    /// Tells when the far end is admitted.
    pub(super) proof: Admission,
}

/// How an attempt is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    pub(super) due: Due,
    /// What packing saves is saved.
    pub(super) packs: bool,
    /// An attempt on this call came to nothing, and this is the plain one: everything anew, as it is.
    pub(super) is_second: bool,
}

/// A message that may go.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) parcel: Parcel,
    /// The same as it is, if it is packed and an earlier attempt may have brought it so.
    plain: Option<Parcel>,
    /// An earlier attempt broke off: the terminal may have some of it.
    pub(super) was_brought: bool,
    /// It goes, if at all, before the far end is proved: what is written of it waits until then.
    is_early: bool,
}

/// What became of making one ready.
#[derive(Debug)]
pub(super) enum Prepared {
    Ready(Box<Ready>),
    /// It has its verdict.
    Settled,
    /// It cannot be read; somebody has to look at the disk.
    Unreadable,
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) due: Due,
    pub(super) head: MessageHead,
    pub(super) saved: u64,
    is_packed: bool,
    offset: u64,
    is_early: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Brought {
    Received(Receipt),
    Refused {
        status: StatusCode,
        reason: String,
    },
    /// Not in this form: whole, and as it is, it may be taken.
    NotSo {
        packing_failed: bool,
    },
    Lost(DeliveryError),
}

impl Desk {
    /// Reads a message, packs it, and marks it as under way: nobody replaces, cancels or expires it from then on.
    pub(super) async fn prepare(&self, attempt: Attempt) -> Result<Prepared, StoreError> {
        let Self { store, terminal, call, proof } = self;
        let id = attempt.due.id;
        let (head, content) = match store.octets(id).await {
            Ok(found) => found,
            // A damaged content is never delivered, and never keeps the others waiting.
            Err(error) if error.is_damage() => {
                store.quarantine(id, "the content is damaged").await?;
                return Ok(Prepared::Settled);
            }
            Err(error) => {
                tracing::error!(message_id = %id, %error, "content cannot be read");
                return Ok(Prepared::Unreadable);
            }
        };
        let plain = Parcel::new(head, store.manner(id).await?, content);
        let parcel =
            if attempt.packs { self.pack(plain.clone()).await.unwrap_or_else(|| plain.clone()) } else { plain.clone() };
        // A first attempt asks nothing; after one that broke off the terminal says how far it has come.
        let is_long = plain.octets().size() > RESUMED_ABOVE && !attempt.is_second;
        let was_brought = is_long && store.was_brought(id, *terminal).await?;
        // Early data is all that may leave before the proof: what is written of it waits.
        let is_early = !proof.has_come();
        if !is_early && !attempt.is_second && !store.begin_delivery(id, *terminal, *call).await? {
            return Ok(Prepared::Settled); // since we looked
        }
        let plain = (was_brought && parcel.is_packed()).then_some(plain);
        Ok(Prepared::Ready(Box::new(Ready { parcel, plain, was_brought, is_early })))
    }

    /// Packs a message if that pays. `None`: it cannot be done, and goes as it is.
    async fn pack(&self, parcel: Parcel) -> Option<Parcel> {
        // A large one takes some 20 MiB while it is packed: one of them at a time, whatever is on the lines.
        let turn = match parcel.octets().held() {
            Some(_) => None,
            None => Some(PACKING.acquire().await.ok()?),
        };
        let store = self.store.clone();
        let packed = tokio::task::spawn_blocking(move || parcel.pack(|| store.scratch())).await.ok()?;
        drop(turn);
        packed.inspect_err(|error| tracing::warn!(%error, "a content could not be packed")).ok()
    }

    /// Writes down what came of it.
    pub(super) async fn settle(
        &self,
        sent: &Sent,
        answer: Result<Receipt, DeliveryError>,
    ) -> Result<Brought, StoreError> {
        let Self { store, terminal, call, proof } = self;
        let id = sent.due.id;
        if sent.is_early && proof.has_come() {
            store.begin_delivery(id, *terminal, *call).await?;
        }
        match answer {
            Ok(receipt) => {
                store.delivered(id, *terminal, *call).await?;
                Ok(Brought::Received(receipt))
            }
            // It is not there after all, or cannot be unpacked: from the beginning, as it is.
            Err(DeliveryError::Refused { status: StatusCode::CONFLICT, .. }) if sent.offset > 0 => {
                Ok(Brought::NotSo { packing_failed: false })
            }
            Err(DeliveryError::Refused { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, .. }) if sent.is_packed => {
                Ok(Brought::NotSo { packing_failed: true })
            }
            Err(DeliveryError::Refused { status, reason }) => {
                let outcome = format!("refused with status {status}: {reason}");
                store.end_delivery(id, *terminal, *call, outcome).await?;
                Ok(Brought::Refused { status, reason })
            }
            Err(lost @ DeliveryError::Lost(_)) => {
                store.end_delivery(id, *terminal, *call, "the session was lost".to_owned()).await?;
                Ok(Brought::Lost(lost))
            }
        }
    }

    /// The session went before the message was sent.
    pub(super) async fn lost(&self, due: Due) -> Result<(), StoreError> {
        self.store.end_delivery(due.id, self.terminal, self.call, "the session was lost".to_owned()).await
    }
}

impl Ready {
    /// Where to go on, in the form in which the terminal has the beginning.
    pub(super) fn go_on_from(mut self, progress: Progress) -> (Self, u64) {
        let Progress::Part { offset, digest } = progress else { return (self, 0) };
        if let Some(plain) = self.plain.take_if(|plain| digest == Some(plain.head().digest)) {
            self.parcel = plain;
        }
        let size = self.parcel.octets().size();
        if (1..size).contains(&offset) {
            return (self, offset);
        }
        tracing::warn!(message_id = %self.parcel.head().id, offset, size, "no offset to go on from: brought from the beginning");
        (self, 0)
    }

    pub(super) fn sent(&self, due: Due, offset: u64) -> Sent {
        let (head, saved) = (self.parcel.head().clone(), self.parcel.saved());
        Sent { due, head, saved, is_packed: self.parcel.is_packed(), offset, is_early: self.is_early }
    }
}
