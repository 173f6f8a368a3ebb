//! The service of a link that is up, until it is gone or there is a reason to end it.
//!
//! ```text
//!   link up ──notice──► noticing ──read──► proving ──admitted──► connected ──nothing more──► hang up
//!      │                    │ another's        │ not in time, refused, revoked
//!      │                    └──────────────────┴──► not proved
//!      ├── stock terminal: connected at once
//!      └── submissions, of terminals and providers: at any time, each recognised by its token
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::proof::{Secured, proof_wait};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::course::{Course, Proving, outcome};
use super::{Ended, IDLE_MAX, NOTICE_WAIT, SPACED, Session, millis};
use crate::dialup::Report;
use crate::dialup::deliver::{Broken, Delivery, Tally, deliver};
use crate::dialup::line_link::{HANG_UP_WAIT, SILENCE_MAX};
use crate::dialup::open_link::{Gone, OpenLink};
use crate::dialup::presence::Connected;
use crate::dialup::stock::{self, FarEnd, StockDelivery};
use crate::keys::{Admitted, Candidate, NotAdmitted, OpenSession};
use model::call::Direction;
use model::causes::with_causes;
use model::directory::Terminal;
use model::outcome::Outcome;

/// Longest wait for the reason of a delivery whose stream is gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Longest wait for a delivery whose link is gone to record its state: a dial-up server may keep a stream open beyond its link.
const LEFT_WAIT: Duration = Duration::from_secs(60);

/// Concurrent connections of a far end to the submission port; more wait in TCP's backlog, and then are refused.
const SUBMISSIONS_MAX: usize = 8;

/// A connected notice of this call's terminal.
type Noticed<S> = (Secured<S>, Candidate, Terminal);

/// One link that is served.
pub(super) struct Serving<'a, L: OpenLink> {
    session: &'a Session,
    link: &'a Arc<L>,
    began: Instant,
    /// Time for the proof of a spaced caller.
    hearing: Option<Duration>,
    open: &'a OpenSession,
    course: &'a mut Course,
    started: tokio::time::Instant,
    proof_wait: Duration,
    connections: JoinSet<()>,
    deliveries: JoinSet<Result<Tally, Broken>>,
    /// While it lives the terminal can be told that more is due.
    connected: Option<Connected>,
    proving: Option<Proving>,
    finished: Option<Ended>,
    is_stock: bool,
}

impl<'a, L: OpenLink> Serving<'a, L> {
    pub(super) fn new(
        session: &'a Session,
        link: &'a Arc<L>,
        began: Instant,
        hearing: Option<Duration>,
        open: &'a OpenSession,
        course: &'a mut Course,
    ) -> Self {
        Self {
            session,
            link,
            began,
            hearing,
            open,
            course,
            started: tokio::time::Instant::now(),
            proof_wait: proof_wait(link.rate_bps(), session.delay),
            connections: JoinSet::new(),
            deliveries: JoinSet::new(),
            connected: None,
            proving: None,
            finished: None,
            is_stock: false,
        }
    }

    pub(super) async fn run(mut self) -> Outcome {
        let (session, link, open, began) = (self.session, self.link, self.open, self.began);
        // From link up to the first proof, whatever is open meanwhile: a silent far end does not keep a line.
        let first_proof = self.hearing.unwrap_or(NOTICE_WAIT + self.proof_wait);
        let mut unproved = pin!(sleep(first_proof));
        let recognised = CancellationToken::new();
        let hang_up = session.shared.open_calls.hang_up(session.call);
        let mut silent = pin!(link.silent(SILENCE_MAX));
        let mut spent = pin!(session.meter.spent(|| link.counters()));
        if let Err(outcome) = self.begin_stock().await {
            return outcome;
        }
        let mut noticing = None;
        loop {
            let is_idle =
                self.connections.is_empty() && self.deliveries.is_empty() && noticing.is_none();
            let awaits_notice =
                self.connected.is_none() && self.proving.is_none() && noticing.is_none();
            let idle_max = self.idle_max();
            // The order decides between simultaneous events: a proof counts before the end of the link, and the line's fault before its
            // consequences.
            let ended = tokio::select! {
                biased;
                why = open.revoked() => Some(Outcome::Revoked(why)),
                () = hang_up.cancelled() => Some(Outcome::EndedByOperator),
                admitted = Proving::end(&mut self.proving), if self.proving.is_some() => {
                    self.proof_ended(admitted).await
                }
                () = recognised.cancelled(), if !self.course.is_recognised => {
                    self.course.is_recognised = true;
                    None
                }
                gone = link.gone() => Some(self.link_gone(gone).await),
                () = &mut spent => Some(Outcome::AllowanceSpent),
                () = &mut unproved, if !self.course.is_proved() && self.proving.is_none() => {
                    Some(self.nothing_proved(first_proof))
                }
                Ok(stream) = link.submission(), if self.connections.len() < SUBMISSIONS_MAX => {
                    let (door, recognised) = (session.shared.submissions.clone(), recognised.clone());
                    self.connections.spawn(async move { door.serve(stream, recognised).await });
                    None
                }
                Ok(stream) = link.notice(), if awaits_notice => {
                    noticing = Some(Box::pin(session.notice(stream, link.as_ref(), open, began)));
                    None
                }
                noticed = ready(&mut noticing), if noticing.is_some() => {
                    noticing = None;
                    match noticed {
                        Ok(noticed) => {
                            self.deliver(noticed);
                            None
                        }
                        Err(why) => Some(self.unless_lost(why).await),
                    }
                }
                Some(ended) = self.deliveries.join_next(), if self.proving.is_none() => {
                    self.delivery_ended(ended)
                }
                Some(_) = self.connections.join_next() => None,
                () = sleep(idle_max), if is_idle => {
                    let nothing_came = match session.direction {
                        Direction::Outgoing => "no connected notice",
                        Direction::Incoming => "idle",
                    };
                    Some(self.over(Outcome::Idle(nothing_came)))
                }
                () = Connected::replaced(&self.connected) => {
                    Some(self.over(Outcome::Replaced))
                }
                () = &mut silent => Some(self.over(Outcome::Idle("the far end fell silent"))),
            };
            if let Some(outcome) = ended {
                return outcome;
            }
        }
    }

    fn idle_max(&self) -> Duration {
        match self.session.direction {
            _ if self.finished.is_some() => HANG_UP_WAIT,
            Direction::Outgoing => NOTICE_WAIT,
            Direction::Incoming => IDLE_MAX,
        }
    }

    /// Begins to deliver to a stock terminal: a machine without Ringup sends no notice, the link takes its place.
    async fn begin_stock(&mut self) -> Result<(), Outcome> {
        let session = self.session;
        let stock = session.stock(Some(self.open)).await?;
        self.is_stock = stock.is_some();
        let (Some((terminal, stock, admitted)), Some(address)) = (stock, self.link.address())
        else {
            return Ok(());
        };
        let (due, id, trust) = (Arc::new(Notify::new()), terminal.id, stock.trust.as_str());
        tracing::info!(call = %session.call, terminal = %terminal.name, trust, "stock terminal connected");
        let delivery = StockDelivery {
            suspects: session.shared.notes.suspects(id),
            terminal,
            stock,
            call: session.call,
            store: session.shared.store.clone(),
            alarms: session.shared.alarms.clone(),
            due: due.clone(),
            wait_until: session.stock_wait_until(),
        };
        let far_end = FarEnd {
            link: self.link.clone(),
            address,
        };
        self.deliveries.spawn(stock::deliver(delivery, far_end));
        self.connected(admitted, due).await;
        Ok(())
    }

    /// Begins to deliver to a terminal that has said who it is; what it is sent counts when it has proved it.
    fn deliver(&mut self, (stream, candidate, terminal): Noticed<L::Stream>) {
        let (session, shared) = (self.session, &self.session.shared);
        let due = Arc::new(Notify::new());
        let wait = self.hearing.map_or(self.proof_wait, |hearing| {
            hearing.saturating_sub(self.started.elapsed())
        });
        self.proving = Some(Proving {
            admission: candidate.admission(),
            until: tokio::time::Instant::now() + wait,
            due: due.clone(),
        });
        let (metered, began) = (self.link.clone(), self.began);
        let delivery = Delivery {
            suspects: shared.notes.suspects(terminal.id),
            takes_zstd: shared.notes.takes_zstd(terminal.id),
            packing: shared.packing.clone(),
            alarms: shared.alarms.clone(),
            metrics: shared.metrics.clone(),
            terminal,
            call: session.call,
            store: shared.store.clone(),
            intake: shared.intake.clone(),
            keys: shared.keys.clone(),
            due,
            keep_alive: None,
            is_early: session.direction == Direction::Outgoing,
            meter: move || (millis(began), metered.counters()),
            paid_until: session.paid_until(),
        };
        self.deliveries.spawn(deliver(delivery, stream, candidate));
    }

    /// The terminal is connected from here on.
    async fn connected(&mut self, admitted: Admitted, due: Arc<Notify>) {
        self.course.is_admitted = true;
        let session = self.session;
        self.connected = Some(Connected::new(&session.shared.presence, &admitted, due));
        session
            .shared
            .report(Report::Connected {
                admitted,
                call: session.call,
                via: session.line.clone().into(),
            })
            .await;
    }

    /// `admitted`: `None` if the terminal did not prove itself in time.
    async fn proof_ended(&mut self, admitted: Option<Admitted>) -> Option<Outcome> {
        let Proving {
            admission,
            due,
            until,
        } = self.proving.take()?;
        let Some(admitted) = admitted else {
            let outcome = self.not_admitted(until).await;
            self.deliveries.shutdown().await;
            // The proof came too late, or was revoked: the far end may have read what was sent.
            self.course.has_shown = admission.has_come();
            return Some(outcome);
        };
        self.link.proved(&admitted);
        self.connected(admitted, due).await;
        None
    }

    /// The outcome for a terminal that was not admitted: the line's fault, or its own.
    async fn not_admitted(&mut self, until: tokio::time::Instant) -> Outcome {
        let last = if tokio::time::Instant::now() < until {
            LAST_WORDS
        } else {
            Duration::ZERO
        };
        let why = match timeout(last, self.deliveries.join_next()).await {
            Ok(Some(Ok(Err(
                Broken::NotAdmitted(NotAdmitted::Store(error)) | Broken::Store(error),
            )))) => {
                return Outcome::OurFault(error.to_string());
            }
            Ok(Some(Ok(Err(why)))) => with_causes(&why),
            _ => "no proof in time".to_owned(),
        };
        let outcome = self.unless_lost(Outcome::NotProved(why)).await;
        if matches!(outcome, Outcome::NotProved(_)) {
            let session = self.session;
            tracing::warn!(call = %session.call, party = %session.peer.name(), "the terminal did not prove itself");
        }
        outcome
    }

    fn nothing_proved(&self, first_proof: Duration) -> Outcome {
        let session = self.session;
        tracing::warn!(call = %session.call, party = %session.peer.name(), "nothing was proved in time");
        match self.hearing {
            _ if session.is_proved_by_link() => Outcome::Idle("no request that was recognised"),
            Some(_) => Outcome::NotProved(SPACED.to_owned()),
            None => Outcome::NotProved(format!("nothing in {} s", first_proof.as_secs())),
        }
    }

    /// What a delivery's end means for the call; `None`: it goes on.
    fn delivery_ended(&mut self, ended: Ended) -> Option<Outcome> {
        // A stock terminal does not hang up by itself. End PPP in order: its PPP may not see the carrier drop.
        if self.is_stock && self.session.direction == Direction::Outgoing {
            return Some(outcome(Some(ended), Outcome::Completed));
        }
        if !self.is_stock && matches!(ended, Ok(Ok(Tally { hang_up: true, .. }))) {
            self.link.hang_up(); // every receipt is in
            return Some(outcome(Some(ended), Outcome::Completed));
        }
        self.finished = Some(ended);
        None
    }

    async fn link_gone(&mut self, gone: Gone) -> Outcome {
        // A delivery that saw the link go first records its state.
        let left = async {
            while let Some(ended) = self.deliveries.join_next().await {
                self.finished = Some(ended);
            }
        };
        if timeout(LEFT_WAIT, left).await.is_err() {
            self.deliveries.shutdown().await;
        }
        let has_come = self.proving.take_if(|proving| proving.admission.has_come());
        if let Some(Proving {
            mut admission, due, ..
        }) = has_come
        {
            // Admitted, or revoked meanwhile: the far end may have read what was sent.
            self.course.has_shown = true;
            if let Some(admitted) = admission.wait().await {
                self.connected(admitted, due).await; // and gone
            }
        }
        self.left(gone)
    }

    /// The outcome of a call whose link is gone.
    fn left(&mut self, gone: Gone) -> Outcome {
        let Gone {
            why,
            is_orderly,
            is_lost,
        } = gone;
        if !self.course.is_proved() && !is_lost && !self.session.is_proved_by_link() {
            return Outcome::NotProved(format!("nothing before the end: {why}"));
        }
        // A caller that only submits needs no connected notice.
        let is_complete = self.session.direction == Direction::Incoming && is_orderly;
        let otherwise = if is_complete {
            Outcome::Completed
        } else {
            Outcome::SessionLost {
                why,
                delivering: None,
            }
        };
        let finished = self.finished.take();
        outcome(finished.filter(|_| self.course.is_admitted), otherwise)
    }

    /// `otherwise`, unless a delivery has ended.
    fn over(&mut self, otherwise: Outcome) -> Outcome {
        outcome(self.finished.take(), otherwise)
    }

    /// `otherwise`, unless the link was lost: then no one failed to prove anything.
    async fn unless_lost(&self, otherwise: Outcome) -> Outcome {
        match self.link.lost().await {
            Some(Gone {
                why, is_lost: true, ..
            }) => Outcome::SessionLost {
                why,
                delivering: None,
            },
            _ => otherwise,
        }
    }
}

/// Waits for the future in `waited_for`; for ever, if it is `None`.
async fn ready<F: Future + Unpin>(waited_for: &mut Option<F>) -> F::Output {
    match waited_for {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
