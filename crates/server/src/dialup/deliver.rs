//! Bringing a connected terminal what is due: proof, then from the store to the receipt to the verdict.

use std::sync::Arc;
use std::time::Duration;

use delivery::proof::{Proof, Secured};
use delivery::{Courier, DeliveryError, EnrolError, Plan, Receipt, Step};
use line::CallId;
use link::Counters;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::directory::Terminal;
use crate::keys::ServerKeys;
use crate::store::{Store, StoreError, Trust};

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
    Session(#[source] DeliveryError),
    #[error("the terminal was not enrolled")]
    Enrol(#[source] EnrolError),
    #[error("the terminal did not prove itself")]
    NotProved,
    #[error("the invitation is over")]
    InvitationOver,
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// What a session with a terminal is about.
pub(super) struct Delivery {
    pub(super) terminal: Terminal,
    pub(super) call: CallId,
    pub(super) store: Store,
    pub(super) keys: ServerKeys,
    /// Says that more has come.
    pub(super) due: Arc<Notify>,
    /// How often a silent terminal is asked whether it is there, where no line tells that it is not.
    pub(super) keep_alive: Option<Duration>,
}

/// Delivers until the terminal has hung up on "nothing more". `meter` reads the link.
pub(super) async fn deliver<S>(
    delivery: Delivery,
    stream: Secured<S>,
    trust: Trust,
    meter: impl Fn() -> (u64, Counters),
) -> Result<Tally, Broken>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Delivery { terminal, call, store, keys, due, keep_alive } = delivery;
    let proof = stream.proof();
    let mut courier = Courier::start(stream, keep_alive).await.map_err(Broken::Session)?;
    enrol(&mut courier, proof, trust, &terminal, &keys).await?;
    let mut plan = Plan::default();
    let mut tally = Tally::default();
    loop {
        // Read again after each message: what came meanwhile rides on this call.
        plan.add(store.due(terminal.id).await?);
        match plan.step() {
            Step::Deliver(id) => {
                let (head, content) = match store.content(id).await {
                    Ok(found) => found,
                    // A damaged content is never delivered, and never keeps the others waiting.
                    Err(error) if error.is_damage() => {
                        store.quarantine(id, "the content is damaged").await?;
                        plan.settled();
                        continue;
                    }
                    Err(error) => {
                        tracing::error!(message_id = %id, %error, "content cannot be read");
                        tally.refused += 1;
                        plan.settled();
                        continue;
                    }
                };
                if !store.begin_delivery(id, terminal.id, call).await? {
                    plan.settled(); // it has its verdict since we looked
                    continue;
                }
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
                        let outcome = format!("refused with status {status}: {reason}");
                        store.end_delivery(id, terminal.id, call, outcome).await?;
                    }
                    Err(lost @ DeliveryError::Lost(_)) => {
                        store.end_delivery(id, terminal.id, call, "the session was lost".to_owned()).await?;
                        return Err(Broken::Session(lost));
                    }
                }
                plan.settled();
            }
            Step::NothingMore => {
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

/// A terminal with an invitation may come with a key that is not known: it proves the secret before it is told anything.
async fn enrol(
    courier: &mut Courier,
    mut proof: Proof,
    trust: Trust,
    terminal: &Terminal,
    server: &ServerKeys,
) -> Result<(), Broken> {
    let Trust { keys, invitation: Some(secret), .. } = trust else { return Ok(()) };
    let proved = proof.wait().await.ok_or(Broken::NotProved)?;
    if keys.contains(&proved.peer) {
        return Ok(());
    }
    let key = courier.enrol(&secret).await.map_err(Broken::Enrol)?;
    if !server.enrol(terminal.id, secret, key).await? {
        return Err(Broken::InvitationOver);
    }
    tracing::info!(terminal = %terminal.name, %key, "enrolled");
    Ok(())
}
