//! Terminals that come over their own Internet access: after a ring alone, or by themselves. The delivery port that faces a
//! network, where anybody may knock.
//!
//! ```text
//!   accept ──full, and silent longest, or no seat──► "later"
//!     └──► notice (10 s) ──unknown, not enrolled──► closed without a word
//!            ├──no place──► "later"
//!            └──► proof (15 s; 6 s who failed before) ──► admitted: connected, delivery ──► one record
//! ```
//!
//! Nothing but memory changes before a terminal is admitted; before that all is bounded in number, by network and terminal, and
//! in time.

use std::sync::Arc;
use std::time::Duration;

use delivery::proof::{PROOF_WAIT, Secured};
use delivery::{Later, Preamble, Reason};
use jiff::Timestamp;
use link::Counters;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::deliver::{Broken, Delivery, Tally, deliver};
use super::entrance::{Arrival, Entrance, Place, RETRY_IN};
use super::metered::{Carried, Metered};
use super::presence::Connected;
use super::session::outcome;
use super::{Report, Shared};
use crate::alarms::Stranger;
use crate::door::Door;
use crate::keys::{Admission, Admitted, Candidate, NotAdmitted, NotTrusted, OpenSession, Whose};
use crate::listener::{self, Guest, Limits};
use model::call::{CallRecord, Direction, Via};
use model::causes::with_causes;
use model::directory::Terminal;
use model::outcome::Outcome;
use store::StoreError;

/// How long a stranger may take to say who it is.
const NOTICE_WAIT: Duration = Duration::from_secs(10);

/// The same for one who named a terminal and did not prove to be it three times in an hour: what a proof takes, and a second.
/// No line is kept, so that it is never turned away: it may be the terminal, behind the address of who failed.
const SPACED_PROOF_WAIT: Duration = Duration::from_secs(6);

/// How long who is told "later" may take to hear it, how much it may say meanwhile, and how many at once are told: an eighth of
/// the seats, 256 at most.
const LATER_WAIT: Duration = Duration::from_secs(2);
const LATER_OCTETS_MAX: u64 = 4096;
const LATER_MAX: usize = 256;

/// How often a silent terminal is asked whether it is still there: no carrier tells.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How long a delivery whose stream is gone may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The rate that decides the size of TLS records: none is too small for a network.
const RATE_BPS: u32 = 10_000_000;

/// How long sessions may take to write their records when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Serves the port until the server stops, with this many connections at once, those of terminals included. Who of the strangers
/// gets a place, and who makes way, decides [`Entrance`].
pub(super) async fn serve(listener: TcpListener, seats: usize, shared: Arc<Shared>) {
    let (entrance, later) = (
        Entrance::new(seats),
        Arc::new(Semaphore::new(LATER_MAX.min(seats / 8))),
    );
    let refusal = Some(format!("{}\n", Later { retry_in: RETRY_IN }));
    let limits = Limits {
        name: "delivery",
        seats,
        door: Door::new(seats, seats),
        refusal,
        grace: GRACE,
    };
    let shutdown = shared.shutdown.clone();
    let handle = move |guest: Guest<TcpStream>| {
        let (shared, later, arrival) = (
            shared.clone(),
            later.clone(),
            entrance.arrive(guest.peer.ip()),
        );
        async move { session(guest.stream, arrival, &later, &shared).await }
    };
    listener::serve(listener, limits, shutdown, handle).await;
}

/// One connection, from the notice to its end.
async fn session(mut stream: TcpStream, arrival: Arrival, later: &Semaphore, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true); // slower without, not wrong
    let from = arrival.network();
    let read = tokio::select! {
        read = timeout(NOTICE_WAIT, Preamble::read(&mut stream)) => read,
        () = arrival.makes_way() => {
            tracing::debug!(%from, "silent, and others come: later");
            drop(arrival);
            return say_later(stream, Later { retry_in: Duration::from_secs(1) }, later).await;
        }
    };
    let Ok(Ok(notice)) = read else {
        return tracing::debug!(%from, "no connected notice");
    };
    let terminal = match shared.store.terminal(notice.terminal).await {
        Ok(Some(terminal)) => terminal,
        Ok(None) => {
            return tracing::warn!(%from, says = %notice.terminal, "connected notice from an unknown terminal");
        }
        Err(error) => return tracing::error!(%error, "the directory cannot be read"),
    };
    let place = match arrival.names(terminal.id) {
        Ok(place) => place,
        Err(answer) => {
            tracing::debug!(%from, terminal = %terminal.name, "too many prove themselves just now: later");
            return say_later(stream, answer, later).await;
        }
    };
    let stranger = Stranger::Network(from, terminal.id);
    let is_backed_off = shared
        .strangers()
        .is_backed_off(&stranger, std::time::Instant::now());
    // No life event before the proof: whoever knows the id can say so, as often as he likes.
    tracing::debug!(%from, terminal = %terminal.name, is_backed_off, "connected notice, not proved");
    let proof_wait = if is_backed_off {
        SPACED_PROOF_WAIT
    } else {
        PROOF_WAIT
    };
    let ended = proved_session(stream, place, terminal, notice.reason, proof_wait, shared).await;
    if let Err(why) = ended {
        // A fault of ours, or our operator's word, says nothing of who was there.
        let is_ours = matches!(
            why,
            NotLetIn::Trust(NotTrusted::Store(_)) | NotLetIn::Record(_) | NotLetIn::Revoked(_)
        );
        let is_theirs = !is_ours;
        // Counted before it is told: whoever reads of it may try again at once.
        if is_theirs {
            shared
                .strangers()
                .note(&stranger, std::time::Instant::now());
        }
        tracing::warn!(%from, says = %notice.terminal, %why, "not admitted");
        if is_theirs {
            shared
                .report(Report::Unproved {
                    terminal: notice.terminal,
                    why: why.to_string(),
                })
                .await;
        }
    }
}

/// Has a terminal come again later. What it has said is read, or the answer would be lost with it.
async fn say_later(mut stream: TcpStream, answer: Later, turns: &Semaphore) {
    let Ok(_turn) = turns.try_acquire() else {
        return;
    };
    let said = async {
        stream.write_all(format!("{answer}\n").as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LATER_OCTETS_MAX), &mut tokio::io::sink()).await
    };
    let _ = timeout(LATER_WAIT, said).await; // it comes again in any case
}

/// Why a terminal that has said who it is got no further.
#[derive(Debug, thiserror::Error)]
enum NotLetIn {
    #[error(transparent)]
    Trust(#[from] NotTrusted),
    #[error("not proved{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NotProved(Option<String>),
    #[error("not proved while others waited for a place")]
    MadeWay,
    #[error("ended by the operator: {0}")]
    Revoked(&'static str),
    #[error("no record could be written")]
    Record(#[from] StoreError),
}

async fn proved_session(
    stream: TcpStream,
    place: Place,
    terminal: Terminal,
    reason: Reason,
    proof_wait: Duration,
    shared: &Arc<Shared>,
) -> Result<(), NotLetIn> {
    let id = terminal.id;
    // Before its trust is read: what is revoked from here on ends this session.
    let open = shared.keys.sessions().open(Whose::Terminal(id));
    let (stream, carried) = Metered::new(stream);
    let rate_bps = shared.notes.careful_rate(id, RATE_BPS);
    let form = terminal.trusted_by.key_form();
    let secured = shared.keys.secure(stream, &open, id, form, rate_bps);
    let (stream, candidate) = secured.await?;
    let mut admission = candidate.admission();
    let due = Arc::new(Notify::new());
    let mut session = OnlineSession::begin(shared, &terminal, carried);
    session.deliver(terminal, due.clone(), stream, candidate);
    let admitted = session
        .admitted(&open, &mut admission, proof_wait, &place)
        .await;
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(why) => {
            session.not_admitted(&why, admission.has_come()).await;
            return Err(why);
        }
    };
    let call = session.record.id;
    tracing::info!(from = %place.network, %call, terminal = %session.record.party, reason = reason.as_str(), "connected notice");
    shared
        .strangers()
        .proved(&Stranger::Network(place.network, id));
    place.admitted(&admitted);
    let connected = Some(Connected::new(&shared.presence, &admitted, due));
    session.note_connected().await?;
    shared
        .report(Report::Connected {
            admitted,
            call,
            via: Via::Internet,
        })
        .await;
    let (outcome, is_replaced) = session.served(&open, &connected).await;
    tracing::info!(%call, party = %session.record.party, %outcome, reason = reason.as_str(), "session ended");
    session.end(&outcome).await;
    shared
        .report(Report::Ended {
            // What becomes of the terminal is the new connection's business.
            terminal: (!is_replaced).then_some(id),
            outcome,
            lasted: session.began.elapsed(),
            record: Box::new(session.record),
        })
        .await;
    Ok(())
}

/// A session with a terminal that has said who it is.
struct OnlineSession<'a> {
    shared: &'a Arc<Shared>,
    record: CallRecord,
    began: Instant,
    carried: Carried,
    delivery: JoinSet<Result<Tally, Broken>>,
}

impl<'a> OnlineSession<'a> {
    fn begin(shared: &'a Arc<Shared>, terminal: &Terminal, carried: Carried) -> Self {
        let record = CallRecord::begin(
            line::CallId::now(),
            Timestamp::now(),
            Direction::Incoming,
            Via::Internet,
            terminal.number.clone(),
            terminal.name.clone(),
        );
        Self {
            shared,
            record,
            began: Instant::now(),
            carried,
            delivery: JoinSet::new(),
        }
    }

    fn deliver(
        &mut self,
        terminal: Terminal,
        due: Arc<Notify>,
        stream: Secured<Metered<TcpStream>>,
        candidate: Candidate,
    ) {
        let (shared, began, metered) = (self.shared, self.began, self.carried.clone());
        let meter = move || {
            (
                u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                metered.counters(),
            )
        };
        let delivery = Delivery {
            suspects: shared.notes.suspects(terminal.id),
            takes_zstd: shared.notes.takes_zstd(terminal.id),
            packing: shared.packing.clone(),
            alarms: shared.alarms.clone(),
            metrics: shared.metrics.clone(),
            terminal,
            call: self.record.id,
            store: shared.store.clone(),
            intake: shared.intake.clone(),
            keys: shared.keys.clone(),
            due,
            keep_alive: Some(KEEP_ALIVE),
            is_early: false,
            meter,
            paid_until: || None,
        };
        self.delivery.spawn(deliver(delivery, stream, candidate));
    }

    /// Waits for the terminal's proof.
    async fn admitted(
        &mut self,
        open: &OpenSession,
        admission: &mut Admission,
        proof_wait: Duration,
        place: &Place,
    ) -> Result<Admitted, NotLetIn> {
        let admitted = tokio::select! {
            biased;
            why = open.revoked() => return Err(NotLetIn::Revoked(why)),
            admitted = timeout(proof_wait, admission.wait()) => admitted,
            () = place.makes_way() => return Err(NotLetIn::MadeWay),
        };
        match admitted {
            Ok(Some(admitted)) => Ok(admitted),
            Ok(None) => match timeout(LAST_WORDS, self.delivery.join_next()).await {
                Ok(Some(Ok(Err(
                    Broken::NotAdmitted(NotAdmitted::Store(error)) | Broken::Store(error),
                )))) => Err(NotLetIn::Record(error)),
                Ok(Some(Ok(Err(why)))) => Err(NotLetIn::NotProved(Some(with_causes(&why)))),
                _ => Err(NotLetIn::NotProved(None)),
            },
            Err(_) => Err(NotLetIn::NotProved(Some("not in time".to_owned()))),
        }
    }

    /// `has_come`: it was a terminal, and may have been brought something. A record ends that, and whatever is still being marked.
    async fn not_admitted(mut self, why: &NotLetIn, has_come: bool) {
        self.delivery.shutdown().await;
        if has_come {
            let outcome = match why {
                NotLetIn::Revoked(why) => Outcome::Revoked(why),
                _ => Outcome::OurFault(why.to_string()),
            };
            self.end(&outcome).await;
        }
    }

    /// Writes the record of a session that has begun.
    async fn note_connected(&mut self) -> Result<(), StoreError> {
        self.record.connected_at = Some(self.record.moment(self.began.elapsed()));
        let (record, now) = (self.record.clone(), Timestamp::now());
        let noted = self.shared.store.record_call(record, now).await;
        if let Err(error) = &noted {
            self.delivery.shutdown().await;
            // Kept until the disk takes it: nothing else ends what is under way.
            self.end(&Outcome::OurFault(error.to_string())).await;
        }
        noted
    }

    /// Waits for the end; says whether another connection of the terminal brought it.
    async fn served(
        &mut self,
        open: &OpenSession,
        connected: &Option<Connected>,
    ) -> (Outcome, bool) {
        let (shared, call) = (self.shared, self.record.id);
        let mut is_replaced = false;
        let hang_up = shared.open_calls.hang_up(call);
        let outcome = tokio::select! {
            biased;
            why = open.revoked() => Outcome::Revoked(why),
            ended = self.delivery.join_next() => outcome(ended, Outcome::Completed),
            () = Connected::replaced(connected) => {
                is_replaced = true;
                Outcome::Replaced
            }
            () = hang_up.cancelled() => Outcome::EndedByOperator,
            () = shared.shutdown.cancelled() => Outcome::OurFault("server stopped".to_owned()),
        };
        shared.open_calls.over(call);
        // Nothing more is said, heard or marked when the record ends what is under way.
        self.delivery.shutdown().await;
        (outcome, is_replaced)
    }

    /// Completes the record, which ends what was under way.
    async fn end(&mut self, outcome: &Outcome) {
        self.record.end(outcome, self.began.elapsed());
        let Counters {
            octets_out,
            octets_in,
            ..
        } = self.carried.counters();
        (self.record.octets_out, self.record.octets_in) = (octets_out, octets_in);
        if let Err(error) = self
            .shared
            .store
            .record_call(self.record.clone(), Timestamp::now())
            .await
        {
            tracing::error!(call = %self.record.id, %error, "the record of a session is written later");
        }
    }
}

#[cfg(test)]
mod tests;
