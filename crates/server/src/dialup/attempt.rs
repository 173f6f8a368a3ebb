//! One attempt to bring one message: what is made ready before it goes, and what is stored when the answer is in.

use std::sync::Arc;
use std::time::Duration;

use delivery::{
    DeliveryError, Departure, Due, MessageHead, MessageId, Parcel, Progress, Receipt, TerminalId,
};
use http::StatusCode;
use jiff::Timestamp;
use line::CallId;
use tokio::time::sleep;

use super::packing::Packing;
use crate::alarms::Alarms;
use crate::keys::Admission;
use model::alarm::AlarmKind;
use model::directory::Name;
use model::verdict::Verdict;
use store::{AttemptEnd, Begun, Claim, Doubt, Refusal, Refused, Store, StoreError};

/// Shorter contents are brought again whole: asking costs a round trip, which is half a second of line and more.
const RESUMED_ABOVE: u64 = 16 * 1024;

/// A message that another call has is waited for: that call is ending, or this session would not be.
const HELD_WAIT: Duration = Duration::from_millis(250);
const HELD_LOOKS_MAX: u32 = 20;

/// From this refusal of one message on an operator is told, while it can still be helped.
const REFUSALS_TOLD: u32 = 3;

/// What all attempts of a session share.
#[derive(Debug, Clone)]
pub(super) struct AttemptContext {
    pub(super) envelopes: Envelopes,
    pub(super) packing: Arc<Packing>,
    /// Tells when the far end is admitted.
    pub(super) proof: Admission,
}

/// The envelopes of one session: their marks and verdicts, whatever carries the messages.
#[derive(Debug, Clone)]
pub(super) struct Envelopes {
    pub(super) store: Store,
    pub(super) alarms: Alarms,
    pub(super) terminal: TerminalId,
    pub(super) name: Name,
    pub(super) call: CallId,
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
}

/// What became of making one ready.
#[derive(Debug)]
pub(super) enum Prepared {
    Ready(Box<Ready>),
    /// It is not to be sent on this call.
    Settled,
    /// Another call has it still.
    Held,
    /// It cannot be read; an operator has to look at the disk.
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
    departure: Departure,
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

impl Envelopes {
    /// Marks a message under way on this call. It is not to be sent otherwise.
    pub(super) async fn claim(&self, id: MessageId) -> Result<Claim, StoreError> {
        for _ in 0..HELD_LOOKS_MAX {
            match self
                .store
                .begin(id, self.terminal, self.call, Timestamp::now())
                .await?
            {
                Claim::Held => sleep(HELD_WAIT).await,
                claim => return Ok(claim),
            }
        }
        Ok(Claim::Held)
    }

    /// The terminal has it: its receipt has come.
    pub(super) async fn received(
        &self,
        id: MessageId,
        evidence: Option<&'static str>,
    ) -> Result<(), StoreError> {
        let Self {
            store,
            terminal,
            call,
            ..
        } = self;
        let other = match evidence {
            None => {
                store
                    .delivered(id, *terminal, *call, Timestamp::now())
                    .await?
            }
            Some(evidence) => {
                store
                    .delivered_by(id, *terminal, *call, evidence, Timestamp::now())
                    .await?
            }
        };
        self.tell_conflict(id, other).await;
        Ok(())
    }

    /// The terminal has it, as it has said when it was asked.
    pub(super) async fn found_there(&self, id: MessageId) -> Result<(), StoreError> {
        let other = self
            .store
            .found_there(id, self.terminal, self.call, Timestamp::now())
            .await?;
        self.tell_conflict(id, other).await;
        Ok(())
    }

    async fn tell_conflict(&self, id: MessageId, other: Option<Verdict>) {
        let Some(verdict) = other else { return };
        let detail = format!(
            "the terminal has the message, and its verdict is {verdict}: inform its provider. See: ringup message explain {id}"
        );
        self.alarms
            .raise(
                AlarmKind::VerdictConflict,
                format!("{id} for {}", self.name),
                detail,
            )
            .await;
    }

    /// It cannot be read here just now: it rests, and an operator has to look at the disk.
    pub(super) async fn unreadable(&self, id: MessageId) -> Result<(), StoreError> {
        let how = AttemptEnd::broken(
            "not sent: its content could not be read here",
            Doubt::Unchanged,
        );
        self.store
            .refused(
                id,
                self.terminal,
                self.call,
                how,
                Refusal::NotNow,
                Timestamp::now(),
            )
            .await?;
        let detail = format!(
            "the content of message {id} cannot be read: see the server's log, and the disk. It is tried again"
        );
        self.alarms
            .raise(AlarmKind::MessageRefused, &self.name, detail)
            .await;
        Ok(())
    }

    /// The terminal does not take it.
    pub(super) async fn refused(
        &self,
        id: MessageId,
        how: AttemptEnd,
        refusal: Refusal,
    ) -> Result<(), StoreError> {
        let outcome = how.words.clone();
        let Refused {
            refusals,
            is_given_up,
        } = self
            .store
            .refused(id, self.terminal, self.call, how, refusal, Timestamp::now())
            .await?;
        if is_given_up || (refusals >= REFUSALS_TOLD && refusal == Refusal::Again) {
            let what = if is_given_up {
                "has failed"
            } else {
                "is tried again"
            };
            let detail = format!(
                "message {id} {what}: {outcome} ({refusals} times). See: ringup message explain {id}"
            );
            self.alarms
                .raise(AlarmKind::MessageRefused, &self.name, detail)
                .await;
        }
        Ok(())
    }

    /// The session went before the message was sent.
    pub(super) async fn lost(&self, id: MessageId, doubt: Doubt) -> Result<(), StoreError> {
        let how = AttemptEnd::broken("the session was lost", doubt);
        self.store
            .end_delivery(id, self.terminal, self.call, how, Timestamp::now())
            .await
    }
}

impl AttemptContext {
    /// Marks a message as under way before anything of it can leave, then reads and packs it.
    pub(super) async fn prepare(&self, attempt: Attempt) -> Result<Prepared, StoreError> {
        let id = attempt.due.id;
        let Begun {
            head,
            manner,
            content,
            was_brought,
        } = match self.envelopes.claim(id).await? {
            Claim::Begun(begun) => *begun,
            Claim::Unreadable => {
                self.envelopes.unreadable(id).await?;
                return Ok(Prepared::Unreadable);
            }
            Claim::Held => return Ok(Prepared::Held),
            Claim::Settled => return Ok(Prepared::Settled),
            Claim::Distrusted => {
                tracing::warn!(message_id = %id, terminal = %self.envelopes.name, "not sent: the terminal is not trusted any more");
                return Ok(Prepared::Settled);
            }
        };
        let plain = Parcel::new(head, manner, content);
        let parcel = if attempt.packs {
            let packed = self.packing.pack(plain.clone(), &self.envelopes.store);
            packed.await.unwrap_or_else(|| plain.clone())
        } else {
            plain.clone()
        };
        // A first attempt asks nothing; after one that broke off the terminal says how far it has come.
        let is_long = plain.octets().size() > RESUMED_ABOVE && !attempt.is_second;
        let was_brought = is_long && was_brought;
        let plain = (was_brought && parcel.is_packed()).then_some(plain);
        Ok(Prepared::Ready(Box::new(Ready {
            parcel,
            plain,
            was_brought,
        })))
    }

    /// Writes down what came of it.
    pub(super) async fn settle(
        &self,
        sent: &Sent,
        answer: Result<Receipt, DeliveryError>,
    ) -> Result<Brought, StoreError> {
        let Self {
            envelopes, proof, ..
        } = self;
        let id = sent.due.id;
        match answer {
            Ok(receipt) => {
                envelopes.received(id, None).await?;
                Ok(Brought::Received(receipt))
            }
            // It is not there after all, or cannot be unpacked: from the beginning, as it is.
            Err(DeliveryError::Refused {
                status: StatusCode::CONFLICT,
                ..
            }) if sent.offset > 0 => Ok(Brought::NotSo {
                packing_failed: false,
            }),
            Err(DeliveryError::Refused {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ..
            }) if sent.is_packed => Ok(Brought::NotSo {
                packing_failed: true,
            }),
            Err(DeliveryError::Refused { status, reason }) => {
                let refusal = match status {
                    StatusCode::PAYLOAD_TOO_LARGE => Refusal::ForGood,
                    StatusCode::SERVICE_UNAVAILABLE => Refusal::NotNow,
                    _ => Refusal::Again,
                };
                let outcome = format!("refused with status {status}: {reason}");
                envelopes
                    .refused(id, AttemptEnd::refused(outcome, doubt_of(status)), refusal)
                    .await?;
                Ok(Brought::Refused { status, reason })
            }
            Err(lost @ DeliveryError::Lost(_)) => {
                // Early data is read there after the proof only.
                let may_have_it = sent.departure.is_whole() && proof.has_come();
                envelopes
                    .lost(
                        id,
                        if may_have_it {
                            Doubt::Raised
                        } else {
                            Doubt::Unchanged
                        },
                    )
                    .await?;
                Ok(Brought::Lost(lost))
            }
        }
    }
}

/// What a terminal's refusal says of whether it has the message. Only who has had its part in hand can say that it is not there:
/// another session of the terminal may be about to publish it.
pub(super) fn doubt_of(status: StatusCode) -> Doubt {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Doubt::Dispelled,
        // It failed while it was being published.
        StatusCode::INTERNAL_SERVER_ERROR => Doubt::Raised,
        _ => Doubt::Unchanged,
    }
}

impl Ready {
    /// Where to go on, in the form in which the terminal has the beginning.
    pub(super) fn go_on_from(mut self, progress: Progress) -> (Self, u64) {
        let Progress::Part { offset, digest } = progress else {
            return (self, 0);
        };
        if let Some(plain) = self
            .plain
            .take_if(|plain| digest == Some(plain.head().digest))
        {
            self.parcel = plain;
        }
        let size = self.parcel.octets().size();
        if (1..size).contains(&offset) {
            return (self, offset);
        }
        tracing::warn!(message_id = %self.parcel.head().id, offset, size, "no offset to resume from: sent from the beginning");
        (self, 0)
    }

    pub(super) fn sent(&self, due: Due, offset: u64, departure: Departure) -> Sent {
        let (head, saved) = (self.parcel.head().clone(), self.parcel.saved());
        Sent {
            due,
            head,
            saved,
            is_packed: self.parcel.is_packed(),
            offset,
            departure,
        }
    }
}
