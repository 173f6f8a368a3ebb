//! Bringing a connected terminal what is due: proof, then from the store to the receipt to the verdict.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use delivery::proof::{Proof, Secured};
use delivery::{Courier, DeliveryError, EnrolError, MessageHead, MessageId, Plan, Progress, Receipt, Step};
use http::StatusCode;
use line::CallId;
use link::Counters;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::stock::StockError;
use crate::directory::Terminal;
use crate::keys::ServerKeys;
use crate::outcome::UnderWay;
use crate::store::{Store, StoreError, Trust};

/// Shorter messages are brought again whole: asking costs a round trip, which is half a second of line and more.
const RESUMED_ABOVE: u64 = 16 * 1024;

/// What a delivery session came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) delivered: u32,
    pub(super) refused: u32,
    /// The terminal waits for us to hang up.
    pub(super) hang_up: bool,
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
    #[error("the terminal was not enrolled")]
    Enrol(#[source] EnrolError),
    #[error("the terminal did not prove itself")]
    NotProved,
    #[error("the invitation is over")]
    InvitationOver,
    #[error("the terminal's web server {source}")]
    Stock {
        /// What was being delivered, if the terminal has seen it.
        under_way: Option<UnderWay>,
        #[source]
        source: StockError,
    },
    #[error("put off {why}")]
    PutOff {
        /// The terminal's answer.
        why: String,
        /// It is not to be called before.
        wait: Duration,
    },
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// What a session with a terminal is about, and how it is led.
pub(super) struct Delivery<M, P> {
    pub(super) terminal: Terminal,
    pub(super) call: CallId,
    pub(super) store: Store,
    pub(super) keys: ServerKeys,
    /// Says that more has come.
    pub(super) due: Arc<Notify>,
    /// Messages with which sessions broke: they come after all others.
    pub(super) suspects: Vec<MessageId>,
    /// How often a silent terminal is asked whether it is there, where no line tells that it is not.
    pub(super) keep_alive: Option<Duration>,
    /// Reads the link.
    pub(super) meter: M,
    /// Until when the line is paid for: more may come until then.
    pub(super) paid_until: P,
}

/// Delivers until the terminal has hung up on "nothing more".
pub(super) async fn deliver<S>(
    delivery: Delivery<impl Fn() -> (u64, Counters), impl Fn() -> Option<Instant>>,
    stream: Secured<S>,
    trust: Trust,
) -> Result<Tally, Broken>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Delivery { terminal, call, store, keys, due, suspects, keep_alive, meter, paid_until } = delivery;
    let mut proof = stream.proof();
    let lost = |source| Broken::Session { under_way: None, source };
    let mut courier = Courier::start(stream, keep_alive).await.map_err(lost)?;
    enrol(&mut courier, &mut proof, trust, &terminal, &keys).await?;
    tell_keys(&mut courier, &terminal, &keys).await?;
    let mut plan = Plan::default();
    let mut tally = Tally::default();
    loop {
        // Read again after each message: what came meanwhile rides on this call.
        add_due(&mut plan, &store, &terminal, &suspects).await?;
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
                // A first attempt asks nothing; after one that broke off the terminal says how far it has come.
                let was_brought = head.size > RESUMED_ABOVE && store.was_brought(id, terminal.id).await?;
                // Early data is all that may leave before the proof: what is written of it waits.
                let is_early = !proof.has_come();
                if !is_early && !store.begin_delivery(id, terminal.id, call).await? {
                    plan.settled(); // it has its verdict since we looked
                    continue;
                }
                // Nothing else waits, and nobody stays: the call ends with the receipt.
                let is_last = !plan.has_waiting() && !courier.lingers() && paid_until().is_none();
                let answer = bring(&mut courier, &head, content, is_last, was_brought).await;
                if is_early && proof.has_come() {
                    store.begin_delivery(id, terminal.id, call).await?;
                }
                match answer {
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
                    Err(source @ DeliveryError::Lost(_)) => {
                        store.end_delivery(id, terminal.id, call, "the session was lost".to_owned()).await?;
                        let under_way = Some(UnderWay { message: id, received_before: tally.delivered });
                        return Err(Broken::Session { under_way, source });
                    }
                }
                plan.settled();
                if is_last && !courier.lingers() && tally.refused == 0 {
                    // What has come meanwhile still rides along.
                    add_due(&mut plan, &store, &terminal, &suspects).await?;
                    if !plan.has_waiting() {
                        tracing::info!(%call, terminal = %terminal.name, "nothing more");
                        tally.hang_up = true;
                        return Ok(tally);
                    }
                }
            }
            Step::NothingMore => {
                // What comes while the line is paid for anyway costs nothing.
                if let Some(until) = paid_until() {
                    loop {
                        tokio::select! {
                            () = courier.closed() => return Ok(tally),
                            () = due.notified() => add_due(&mut plan, &store, &terminal, &suspects).await?,
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

/// Brings a message: all of it, or what the terminal does not have yet.
async fn bring(
    courier: &mut Courier,
    head: &MessageHead,
    content: Bytes,
    is_last: bool,
    was_brought: bool,
) -> Result<Receipt, DeliveryError> {
    if was_brought
        && let Progress::Part(offset) = courier.progress(head.id).await?
        && let Some(at) = usize::try_from(offset).ok().filter(|at| (1..content.len()).contains(at))
    {
        tracing::info!(message_id = %head.id, offset, "resuming");
        match courier.resume(head, content.slice(at..), offset, is_last).await {
            // It is not there after all: from the beginning.
            Err(DeliveryError::Refused { status: StatusCode::CONFLICT, .. }) => {}
            answer => return answer,
        }
    }
    courier.deliver(head, content, is_last).await
}

/// A terminal with an invitation may come with a key that is not known: it proves the secret before it is told anything.
async fn enrol(
    courier: &mut Courier,
    proof: &mut Proof,
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

/// While a key is replaced: the terminal is told of all that are in use, until it has said that it has them.
async fn tell_keys(courier: &mut Courier, terminal: &Terminal, server: &ServerKeys) -> Result<(), Broken> {
    let list = match server.to_tell(terminal.id).await {
        Ok(None) => return Ok(()),
        Ok(Some(list)) => list,
        Err(error) => {
            tracing::error!(terminal = %terminal.name, %error, "not told of the server's keys");
            return Ok(());
        }
    };
    match courier.tell_keys(&list).await {
        Ok(true) => {
            tracing::info!(terminal = %terminal.name, keys = list.keys().len(), "told the server's keys");
            server.told(terminal.id, list).await?;
        }
        Ok(false) => tracing::warn!(terminal = %terminal.name, "the terminal does not take the server's new keys"),
        Err(source) => return Err(Broken::Session { under_way: None, source }),
    }
    Ok(())
}

/// Adds what is due; those under suspicion when no other is left.
async fn add_due(
    plan: &mut Plan,
    store: &Store,
    terminal: &Terminal,
    suspects: &[MessageId],
) -> Result<(), StoreError> {
    let (last, first): (Vec<_>, Vec<_>) =
        store.due(terminal.id).await?.into_iter().partition(|due| suspects.contains(&due.id));
    plan.add(first);
    if !plan.has_waiting() {
        plan.add(last);
    }
    Ok(())
}
