//! Delivery to a connected terminal: proof, then each due message from the store to its receipt and verdict.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use delivery::proof::Secured;
use delivery::{
    Courier, DeliveryError, Departure, Due, MessageId, OutboxError, Plan, Progress, Receipt, Step,
};
use jiff::Timestamp;
use line::CallId;
use link::Counters;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::attempt::{Attempt, AttemptContext, Brought, Envelopes, Prepared, Ready, Sent};
use super::outbox::{Listener, Read};
use super::packing::Packing;
use super::stock::StockError;
use crate::alarms::Alarms;
use crate::intake::Intake;
use crate::keys::{Candidate, NotAdmitted, ServerKeys};
use crate::metrics::Metrics;
use model::directory::Terminal;
use model::outcome::UnderWay;
use store::{Doubt, Doubtful, Store, StoreError};

/// Reads of the terminal's outbox per session: the first, and repeats for items that arrived later or were queued behind one that is too
/// large.
const OUTBOX_READS_MAX: u32 = 16;

/// Messages per question to the terminal about what it already has.
const QUESTIONS_MAX: usize = 16;

/// Result of a delivery session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) delivered: u32,
    pub(super) refused: u32,
    /// Messages that the server could not read.
    pub(super) unreadable: u32,
    /// Messages reserved by another call.
    pub(super) held: u32,
    /// The terminal expects the server to hang up.
    pub(super) hang_up: bool,
}

/// Why a delivery session broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the session was lost")]
    Session {
        /// The message that was under way.
        under_way: Option<UnderWay>,
        #[source]
        source: DeliveryError,
    },
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error("the terminal's server {source}")]
    Stock {
        /// The message that was under way, if the terminal may have seen it.
        under_way: Option<UnderWay>,
        #[source]
        source: StockError,
    },
    #[error("put off {why}")]
    PutOff {
        /// The terminal's reason.
        why: String,
        /// Minimum delay before the next call.
        wait: Duration,
    },
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// Parameters of a delivery session.
pub(super) struct Delivery<M, P> {
    pub(super) terminal: Terminal,
    pub(super) call: CallId,
    pub(super) store: Store,
    pub(super) intake: Intake,
    pub(super) keys: ServerKeys,
    /// Signals newly due messages.
    pub(super) due: Arc<Notify>,
    /// Messages during which earlier sessions broke: delivered last, in this order.
    pub(super) suspects: Vec<MessageId>,
    /// Whether the terminal unpacks zstd, from its last statement; kept between calls.
    pub(super) takes_zstd: Arc<AtomicBool>,
    pub(super) packing: Arc<Packing>,
    pub(super) alarms: Alarms,
    pub(super) metrics: Metrics,
    /// Keep-alive interval for an idle terminal, on transports that do not report a lost peer.
    pub(super) keep_alive: Option<Duration>,
    /// Whether contents are sent before the far end is admitted. Each message is marked under way first, so no other session can take it.
    /// Allowed only on calls that this server placed, where an impostor would have to answer the number.
    pub(super) is_early: bool,
    /// Octet counts of the link.
    pub(super) meter: M,
    /// End of the paid time of the line; new messages may arrive until then.
    pub(super) paid_until: P,
}

/// Delivers until the terminal hangs up on "nothing more".
pub(super) async fn deliver<S>(
    delivery: Delivery<impl Fn() -> (u64, Counters), impl Fn() -> Option<Instant>>,
    stream: Secured<S>,
    candidate: Candidate,
) -> Result<Tally, Broken>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let lost = |source| Broken::Session {
        under_way: None,
        source,
    };
    let mut courier = Courier::start(stream, delivery.keep_alive)
        .await
        .map_err(lost)?;
    if let Some(key) = delivery.keys.enrol(&candidate, &mut courier).await? {
        tracing::info!(terminal = %delivery.terminal.name, %key, "enrolled");
    }
    if !delivery.is_early && candidate.admission().wait().await.is_none() {
        return Err(NotAdmitted::NotProved.into());
    }
    tell_keys(&mut courier, &delivery.terminal, &delivery.keys).await?;
    delivery
        .takes_zstd
        .fetch_or(courier.takes_zstd(), Ordering::Relaxed); // said when it enrolled
    let plan = Plan::new(delivery.suspects.iter().copied());
    let listener = Listener {
        terminal: delivery.terminal.clone(),
        store: delivery.store.clone(),
        intake: delivery.intake,
    };
    let envelopes = Envelopes {
        store: delivery.store,
        alarms: delivery.alarms,
        terminal: delivery.terminal.id,
        name: delivery.terminal.name.clone(),
        call: delivery.call,
    };
    let context = AttemptContext {
        envelopes,
        packing: delivery.packing,
        proof: candidate.admission(),
    };
    let session = Session {
        context,
        courier,
        plan,
        suspects: delivery.suspects.into_iter().collect(),
        work: JoinSet::new(),
        is_proof_over: false,
        preparing: BTreeSet::new(),
        ready: BTreeMap::new(),
        asked: 0,
        on_the_way: BTreeMap::new(),
        held: BTreeMap::new(),
        broke_asking: Vec::new(),
        retries: Vec::new(),
        doubts: BTreeMap::new(),
        to_ask: VecDeque::new(),
        last: None,
        listener,
        is_listening: false,
        outbox_reads: 0,
        tally: Tally::default(),
        terminal: delivery.terminal,
        due: delivery.due,
        takes_zstd: delivery.takes_zstd,
        metrics: delivery.metrics,
        meter: delivery.meter,
        paid_until: delivery.paid_until,
    };
    let ended = session.run().await;
    drop(candidate); // until here whoever waits for its admission waits
    ended
}

/// Work that runs concurrently with the session's loop.
enum Work {
    Prepared {
        due: Due,
        prepared: Result<Prepared, StoreError>,
    },
    Progress {
        due: Due,
        ready: Box<Ready>,
        progress: Result<Progress, DeliveryError>,
    },
    Asked {
        id: MessageId,
        progress: Result<Progress, DeliveryError>,
    },
    Answered {
        sent: Sent,
        brought: Result<Brought, StoreError>,
    },
    Heard(Result<Read, OutboxError>),
}

/// A delivery session: several messages concurrently, each an [`Attempt`] in its own future.
struct Session<M, P> {
    context: AttemptContext,
    courier: Courier,
    plan: Plan,
    /// Messages during which earlier sessions broke.
    suspects: BTreeSet<MessageId>,
    work: JoinSet<Work>,
    /// The wait for the proof is over: the far end is proved, or never will be.
    is_proof_over: bool,
    /// Messages under way whose content is being prepared.
    preparing: BTreeSet<Due>,
    /// Prepared messages; each waits for those before it in the plan.
    ready: BTreeMap<Due, (Box<Ready>, u64)>,
    /// Messages for which the terminal is being asked how many octets it holds.
    asked: usize,
    /// Sent messages, with how much of each has left.
    on_the_way: BTreeMap<Due, Departure>,
    /// Octets that the terminal reported to hold of a message, in answer to a resume question.
    held: BTreeMap<MessageId, u64>,
    /// Messages with an open resume question when the session broke.
    broke_asking: Vec<MessageId>,
    /// Messages that the terminal has refused before: retried after all others.
    retries: Vec<Due>,
    /// Messages in doubt, with no answer from the terminal yet.
    doubts: BTreeMap<MessageId, Doubtful>,
    /// Messages in doubt that the terminal has not been asked about.
    to_ask: VecDeque<MessageId>,
    /// The message sent last, if it was marked as the last one; and whether its receipt has arrived.
    last: Option<(MessageId, bool)>,
    listener: Listener,
    /// A read of the terminal's outbox is in progress.
    is_listening: bool,
    outbox_reads: u32,
    tally: Tally,
    terminal: Terminal,
    due: Arc<Notify>,
    takes_zstd: Arc<AtomicBool>,
    metrics: Metrics,
    meter: M,
    paid_until: P,
}

impl<M: Fn() -> (u64, Counters), P: Fn() -> Option<Instant>> Session<M, P> {
    async fn run(mut self) -> Result<Tally, Broken> {
        self.read_doubts().await?;
        self.retries = self
            .context
            .envelopes
            .store
            .retries(self.terminal.id, Timestamp::now())
            .await?;
        self.add_due().await?;
        loop {
            // Send newly due messages on this call.
            if !self.plan.has_waiting() {
                self.add_due().await?;
            }
            if self.plan.is_done() && self.is_proof_over {
                self.plan.add(std::mem::take(&mut self.retries));
            }
            if self.plan.is_done() && self.is_over() {
                tracing::info!(call = %self.context.envelopes.call, terminal = %self.terminal.name, "nothing more");
                self.tally.hang_up = true;
                return Ok(self.tally);
            }
            if self.plan.is_done()
                && self.courier.has_outbox()
                && self.outbox_reads < OUTBOX_READS_MAX
            {
                self.listen();
            }
            // Send no "nothing more" while the terminal speaks or is asked, nor before the proof if retries follow it.
            let is_quiet = !self.is_listening && self.doubts.is_empty() && self.retries.is_empty();
            let is_heard_out = is_quiet || !self.plan.is_done();
            match if is_heard_out {
                self.plan.step()
            } else {
                Step::Wait
            } {
                Step::Deliver(due) => {
                    self.prepare(Attempt {
                        due,
                        packs: self.packs(),
                        is_second: false,
                    });
                    continue;
                }
                Step::NothingMore => {
                    if self.nothing_more().await?.is_break() {
                        return Ok(self.tally);
                    }
                    continue;
                }
                Step::Wait => {}
            }
            tokio::select! {
                Some(done) = self.work.join_next() => match done {
                    Ok(done) => self.note(done).await?,
                    Err(failed) => std::panic::resume_unwind(failed.into_panic()),
                },
                proved = self.context.proof.wait(), if !self.is_proof_over => {
                    self.is_proof_over = true;
                    if proved.is_some() {
                        self.plan.proved();
                        self.ask();
                    }
                }
                () = self.courier.closed(), if self.work.is_empty() => return Ok(self.tally),
                () = self.due.notified() => self.add_due().await?,
            }
        }
    }

    /// Whether the last message's field has told the terminal that nothing more follows.
    fn is_over(&self) -> bool {
        matches!(self.last, Some((_, true)))
            && !self.courier.has_outbox()
            && !self.courier.lingers()
            && self.tally.refused == 0
            && self.doubts.is_empty()
            && self.retries.is_empty()
    }

    /// Reads the messages in doubt. Asks the terminal about those with a pending verdict and those that broke sessions: a message that
    /// the terminal has is no longer suspect. Sending any other message again asks as well.
    async fn read_doubts(&mut self) -> Result<(), StoreError> {
        let Envelopes {
            store, terminal, ..
        } = &self.context.envelopes;
        for doubt in store.doubts(*terminal).await? {
            if doubt.is_pending || self.suspects.contains(&doubt.id) {
                self.doubts.insert(doubt.id, doubt);
                self.to_ask.push_back(doubt.id);
            }
        }
        Ok(())
    }

    /// Asks the terminal about messages in doubt.
    fn ask(&mut self) {
        while self.doubts.len() - self.to_ask.len() < QUESTIONS_MAX
            && let Some(id) = self.to_ask.pop_front()
        {
            let progress = self.courier.progress(id);
            self.work.spawn(async move {
                Work::Asked {
                    id,
                    progress: progress.await,
                }
            });
        }
    }

    /// Handles the terminal's answer about a message in doubt.
    async fn answered(&mut self, id: MessageId, progress: Progress) -> Result<(), StoreError> {
        let Envelopes {
            store,
            terminal,
            call,
            name,
            ..
        } = &self.context.envelopes;
        match progress {
            Progress::Whole => {
                self.context.envelopes.found_there(id).await?;
                self.tally.delivered += 1;
                tracing::info!(%call, message_id = %id, terminal = %name, "delivered before, as the terminal says");
            }
            Progress::Nothing | Progress::Part { .. } => {
                if let Some(doubt) = self.doubts.get(&id) {
                    store.not_there(*doubt, *terminal, Timestamp::now()).await?;
                }
            }
            // The message stays in doubt; the next session asks again.
            Progress::Unknown => {
                tracing::warn!(%call, message_id = %id, terminal = %name, "the terminal cannot say whether it has it");
            }
        }
        self.doubts.remove(&id);
        self.ask();
        // A released message without a pending verdict is due.
        self.add_due().await
    }

    /// Reads the terminal's outbox, concurrently with deliveries.
    fn listen(&mut self) {
        self.is_listening = true;
        self.outbox_reads += 1;
        // The session goes on: no second "nothing more" is needed.
        self.last = None;
        self.plan.go_on();
        let (asked, listener) = (self.courier.outbox(), self.listener.clone());
        self.work.spawn(async move {
            let heard = async {
                match asked.await {
                    Ok(Some(reader)) => listener.read(reader).await,
                    Ok(None) => Ok(Read::default()),
                    Err(DeliveryError::Lost(source)) => Err(OutboxError::Lost(source)),
                    Err(DeliveryError::Refused { .. }) => Ok(Read::default()),
                }
            };
            Work::Heard(heard.await)
        });
    }

    fn heard(&mut self, read: Read) {
        self.is_listening = false;
        let (
            call,
            terminal,
            Read {
                accepted, refused, ..
            },
        ) = (self.context.envelopes.call, &self.terminal.name, read);
        tracing::info!(%call, %terminal, accepted, refused, "outbox read");
    }

    async fn add_due(&mut self) -> Result<(), StoreError> {
        let due = self
            .context
            .envelopes
            .store
            .due(self.terminal.id, Timestamp::now())
            .await?;
        self.plan.add(
            due.into_iter()
                .filter(|due| !self.doubts.contains_key(&due.id)),
        );
        Ok(())
    }

    fn packs(&self) -> bool {
        self.takes_zstd.load(Ordering::Relaxed)
    }

    fn prepare(&mut self, attempt: Attempt) {
        let context = self.context.clone();
        self.preparing.insert(attempt.due);
        self.work.spawn(async move {
            Work::Prepared {
                due: attempt.due,
                prepared: context.prepare(attempt).await,
            }
        });
    }

    /// Sends prepared messages in the order of the plan.
    fn send_ready(&mut self) {
        while let Some(first) = self.ready.first_entry()
            && self
                .preparing
                .first()
                .is_none_or(|preparing| first.key() < preparing)
        {
            let (due, (ready, offset)) = first.remove_entry();
            self.send(due, &ready, offset);
        }
    }

    fn send(&mut self, due: Due, ready: &Ready, offset: u64) {
        let is_alone = self.preparing.is_empty()
            && self.ready.is_empty()
            && self.asked == 0
            && self.doubts.is_empty()
            && self.retries.is_empty();
        // Nothing else waits and neither end lingers: the call ends with the receipt.
        let is_last = is_alone
            && !self.plan.has_waiting()
            && !self.courier.lingers()
            && (self.paid_until)().is_none();
        self.last = is_last.then_some((due.id, false));
        let (departure, answer) = self.courier.send(&ready.parcel, offset, is_last);
        self.on_the_way.insert(due, departure.clone());
        let (context, sent) = (self.context.clone(), ready.sent(due, offset, departure));
        self.work.spawn(async move {
            let brought = context.settle(&sent, answer.await).await;
            Work::Answered { sent, brought }
        });
    }

    async fn note(&mut self, done: Work) -> Result<(), Broken> {
        match done {
            Work::Prepared { due, prepared } => {
                self.preparing.remove(&due);
                self.prepared(due, prepared?);
            }
            Work::Progress {
                due,
                progress: Ok(Progress::Whole),
                ..
            } => {
                self.asked -= 1;
                self.context.envelopes.found_there(due.id).await?;
                self.tally.delivered += 1;
                let (call, terminal) = (self.context.envelopes.call, &self.terminal.name);
                tracing::info!(%call, message_id = %due.id, %terminal, "delivered before, as the terminal says");
                self.plan.settled(due.id);
            }
            Work::Progress {
                due,
                ready,
                progress: Ok(progress),
            } => {
                self.asked -= 1;
                if let Progress::Part { offset, .. } = progress {
                    self.held.insert(due.id, offset);
                }
                let (ready, offset) = ready.go_on_from(progress);
                if offset > 0 {
                    tracing::info!(message_id = %due.id, offset, "resuming");
                }
                self.ready.insert(due, (Box::new(ready), offset));
            }
            Work::Progress {
                due,
                progress: Err(source),
                ..
            } => {
                self.context
                    .envelopes
                    .lost(due.id, Doubt::Unchanged)
                    .await?;
                self.broke_asking.push(due.id);
                return Err(self.broken(source).await);
            }
            Work::Asked {
                id,
                progress: Ok(progress),
            } => self.answered(id, progress).await?,
            Work::Asked {
                progress: Err(source),
                ..
            } => return Err(self.broken(source).await),
            Work::Answered { sent, brought } => match brought? {
                Brought::Lost(source) => return Err(self.broken(source).await),
                brought => self.brought(&sent, brought),
            },
            Work::Heard(Ok(read)) => self.heard(read),
            Work::Heard(Err(OutboxError::Malformed)) => {
                tracing::warn!(call = %self.context.envelopes.call, terminal = %self.terminal.name, "what it said is no item");
                self.heard(Read::default());
                self.outbox_reads = OUTBOX_READS_MAX;
            }
            Work::Heard(Err(OutboxError::Lost(source))) => {
                return Err(self.broken(DeliveryError::Lost(source)).await);
            }
        }
        self.send_ready();
        Ok(())
    }

    fn prepared(&mut self, due: Due, prepared: Prepared) {
        match prepared {
            Prepared::Ready(ready) if ready.was_brought => {
                let progress = self.courier.progress(due.id);
                self.asked += 1;
                self.work.spawn(async move {
                    Work::Progress {
                        due,
                        ready,
                        progress: progress.await,
                    }
                });
            }
            Prepared::Ready(ready) => drop(self.ready.insert(due, (ready, 0))),
            given_up => {
                self.tally.unreadable += u32::from(matches!(given_up, Prepared::Unreadable));
                self.tally.held += u32::from(matches!(given_up, Prepared::Held));
                self.plan.settled(due.id);
            }
        }
    }

    fn brought(&mut self, sent: &Sent, brought: Brought) {
        let (call, id, terminal) = (
            self.context.envelopes.call,
            sent.due.id,
            &self.terminal.name,
        );
        self.on_the_way.remove(&sent.due);
        match brought {
            Brought::Received(receipt) => {
                self.takes_zstd
                    .fetch_or(self.courier.takes_zstd(), Ordering::Relaxed);
                self.tally.delivered += 1;
                self.metrics.saved(sent.saved);
                self.last = self.last.map(|(last, is_in)| (last, is_in || last == id));
                let (repeat, saved) = (receipt == Receipt::StoredBefore, sent.saved);
                let (
                    millis,
                    Counters {
                        octets_out,
                        octets_in,
                        flights,
                        ..
                    },
                ) = (self.meter)();
                tracing::info!(%call, message_id = %id, %terminal, size = sent.head.size, saved, repeat, millis,
                    octets_out, octets_in, flights, "delivered");
            }
            Brought::NotSo { packing_failed } => {
                if packing_failed {
                    tracing::warn!(%call, message_id = %id, %terminal, "packed content refused, sent as it is");
                }
                return self.prepare(Attempt {
                    due: sent.due,
                    packs: false,
                    is_second: true,
                });
            }
            Brought::Refused { status, reason } => {
                self.tally.refused += 1;
                tracing::warn!(%call, message_id = %id, %terminal, %status, reason, "refused");
            }
            Brought::Lost(_) => {}
        }
        self.plan.settled(id);
    }

    /// Handles a lost session. Receipts and refusals that arrived before the loss count; every other message of which an octet has left
    /// was under way.
    async fn broken(&mut self, source: DeliveryError) -> Broken {
        let mut unsent: Vec<_> = std::mem::take(&mut self.ready).into_keys().collect();
        while let Some(done) = self.work.join_next().await {
            match done {
                Ok(Work::Answered {
                    sent,
                    brought: Ok(brought @ (Brought::Received(_) | Brought::Refused { .. })),
                }) => {
                    self.brought(&sent, brought);
                }
                Ok(Work::Prepared {
                    due,
                    prepared: Ok(Prepared::Ready(_)),
                }) => unsent.push(due),
                Ok(Work::Progress { due, .. }) => {
                    self.broke_asking.push(due.id);
                    unsent.push(due);
                }
                _ => {}
            }
        }
        for due in unsent {
            if let Err(error) = self.context.envelopes.lost(due.id, Doubt::Unchanged).await {
                tracing::error!(message_id = %due.id, %error, "not freed before the end of the call");
            }
        }
        let on_the_way = std::mem::take(&mut self.on_the_way).into_iter();
        let begun = on_the_way
            .filter(|(_, departure)| departure.has_begun())
            .map(|(due, _)| due.id);
        let messages: Vec<_> = begun
            .chain(std::mem::take(&mut self.broke_asking))
            .collect();
        let held = messages
            .iter()
            .filter_map(|id| Some((*id, *self.held.get(id)?)))
            .collect();
        let received_before = self.tally.delivered;
        let under_way = (!messages.is_empty()).then_some(UnderWay {
            messages,
            received_before,
            held,
        });
        Broken::Session { under_way, source }
    }

    /// Sends "nothing more" once the paid time is over. `Break`: the terminal hung up on it.
    async fn nothing_more(&mut self) -> Result<ControlFlow<()>, Broken> {
        // Messages that arrive within the paid time cost nothing extra.
        while let Some(until) = (self.paid_until)() {
            tokio::select! {
                () = self.courier.closed() => return Ok(ControlFlow::Break(())),
                () = self.due.notified() => self.add_due().await?,
                () = sleep_until(until) => break,
            }
            if self.plan.has_waiting() {
                return Ok(ControlFlow::Continue(()));
            }
        }
        let (call, terminal) = (self.context.envelopes.call, self.terminal.name.clone());
        let mut admission = self.context.proof.clone();
        let mut said = std::pin::pin!(self.courier.nothing_more());
        let is_said = || tracing::info!(%call, %terminal, "nothing more");
        // The question may wait for the proof; then a far end without proof has received nothing.
        let answered = tokio::select! {
            biased;
            Some(_) = admission.wait() => {
                is_said();
                said.await
            }
            answered = &mut said => answered,
        };
        Ok(match answered {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()), // hung up on it, as it should
        })
    }
}

/// During a key replacement: tells the terminal all keys in use, until it confirms that it has them.
async fn tell_keys(
    courier: &mut Courier,
    terminal: &Terminal,
    server: &ServerKeys,
) -> Result<(), Broken> {
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
        Ok(false) => {
            tracing::warn!(terminal = %terminal.name, "the terminal does not take the server's new keys");
        }
        Err(source) => {
            return Err(Broken::Session {
                under_way: None,
                source,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
