//! Bringing a connected terminal what is due: from the store to the receipt to the verdict.

use std::sync::Arc;

use delivery::{Courier, DeliveryError, MessageId, Plan, Receipt, Step};
use line::CallId;
use link::Counters;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::directory::Terminal;
use crate::outcome::UnderWay;
use crate::store::{Store, StoreError};

/// What a delivery session came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) delivered: u32,
    pub(super) refused: u32,
}

/// Why a delivery session broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the session was lost")]
    Session {
        /// What was being delivered.
        under_way: Option<UnderWay>,
        #[source]
        source: DeliveryError,
    },
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// How a delivery session is led.
pub(super) struct Lead<M, P> {
    /// Says that more has come.
    pub(super) due: Arc<Notify>,
    /// Messages with which sessions broke: they come after all others.
    pub(super) suspects: Vec<MessageId>,
    /// Reads the link.
    pub(super) meter: M,
    /// Until when the line is paid for: more may come until then.
    pub(super) paid_until: P,
}

/// Delivers until the terminal has hung up on "nothing more".
pub(super) async fn deliver(
    stream: link::Stream,
    terminal: &Terminal,
    call: CallId,
    store: &Store,
    lead: Lead<impl Fn() -> (u64, Counters), impl Fn() -> Option<Instant>>,
) -> Result<Tally, Broken> {
    let Lead { due, suspects, meter, paid_until } = lead;
    let lost = |source| Broken::Session { under_way: None, source };
    let mut courier = Courier::start(stream).await.map_err(lost)?;
    let mut plan = Plan::default();
    let mut tally = Tally::default();
    loop {
        // Read again after each message: what came meanwhile rides on this call.
        add_due(&mut plan, store, terminal, &suspects).await?;
        match plan.step() {
            Step::Deliver(id) => {
                let (head, content) = match store.content(id).await {
                    Ok(found) => found,
                    Err(error) => {
                        // A damaged content is never delivered, and never keeps the others waiting.
                        tracing::error!(message_id = %id, %error, "content cannot be read");
                        tally.refused += 1;
                        plan.settled();
                        continue;
                    }
                };
                match courier.deliver(&head, content).await {
                    Ok(receipt) => {
                        store.delivered(id, terminal.id, call).await?;
                        tally.delivered += 1;
                        let repeat = receipt == Receipt::StoredBefore;
                        let (millis, Counters { octets_out, octets_in, flights, .. }) = meter();
                        tracing::info!(%call, message_id = %id, terminal = %terminal.name, size = head.size, repeat, millis,
                            octets_out, octets_in, flights, "delivered");
                    }
                    Err(DeliveryError::Refused { status, reason }) => {
                        tally.refused += 1;
                        tracing::warn!(%call, message_id = %id, terminal = %terminal.name, %status, reason, "refused");
                    }
                    Err(source @ DeliveryError::Lost(_)) => {
                        let under_way = Some(UnderWay { message: id, received_before: tally.delivered });
                        return Err(Broken::Session { under_way, source });
                    }
                }
                plan.settled();
            }
            Step::NothingMore => {
                // What comes while the line is paid for anyway costs nothing.
                if let Some(until) = paid_until() {
                    loop {
                        tokio::select! {
                            () = courier.closed() => return Ok(tally),
                            () = due.notified() => add_due(&mut plan, store, terminal, &suspects).await?,
                            () = sleep_until(until) => break,
                        }
                        if plan.has_waiting() {
                            break;
                        }
                    }
                    if plan.has_waiting() {
                        continue;
                    }
                }
                tracing::info!(%call, terminal = %terminal.name, "nothing more");
                if courier.nothing_more().await.is_err() {
                    return Ok(tally); // hung up on it, as it should
                }
            }
            Step::Wait => {
                tokio::select! {
                    () = courier.closed() => return Ok(tally),
                    () = due.notified() => {}
                }
            }
        }
    }
}

/// Adds what is due; those under suspicion when no other is left.
async fn add_due(
    plan: &mut Plan,
    store: &Store,
    terminal: &Terminal,
    suspects: &[MessageId],
) -> Result<(), StoreError> {
    let (last, first): (Vec<_>, Vec<_>) =
        store.deliverable(terminal.id).await?.into_iter().partition(|id| suspects.contains(id));
    plan.add(first);
    if !plan.has_waiting() {
        plan.add(last);
    }
    Ok(())
}
