//! Terminals that come over their own Internet access: after a ring alone, or by themselves. The delivery port that faces a
//! network, where anybody may knock.
//!
//! ```text
//!   accept ──too many──► closed without a word
//!     └──► notice (15 s) ──unknown, not enrolled, spaced──► closed without a word
//!            └──► proof (15 s) ──► connected, delivery ──► one record
//! ```
//!
//! Nothing but memory changes before the proof; what is not proved is bounded in number, by address and in time.

use std::sync::Arc;
use std::time::Duration;

use delivery::{Preamble, Reason};
use link::Counters;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::deliver::{Delivery, deliver};
use super::metered::Metered;
use super::session::{Connected, outcome};
use super::{Report, Shared};
use crate::alarms::Stranger;
use crate::directory::{CallRecord, Direction, Terminal, Via};
use crate::door::{Door, Place};
use crate::keys::NotTrusted;
use crate::outcome::Outcome;
use crate::store::StoreError;

/// How long a stranger may take to say who it is, and then to prove it.
const NOTICE_WAIT: Duration = Duration::from_secs(15);
const PROOF_WAIT: Duration = Duration::from_secs(15);

/// Connections that are not proved: of all, and of one address (of an IPv6 network, whose holder has them all).
const UNPROVED_MAX: usize = 256;
const UNPROVED_OF_ONE_MAX: usize = 8;

/// How often a silent terminal is asked whether it is still there: no carrier tells.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The rate that decides the size of TLS records: none is too small for a network.
const RATE_BPS: u32 = 10_000_000;

/// Serves the port until the server stops.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let door = Door::new(UNPROVED_MAX, UNPROVED_OF_ONE_MAX);
    let mut sessions = JoinSet::new();
    let shutdown = shared.shutdown.clone();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(_) = sessions.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let Some(place) = door.enter(from.ip()) else {
                    tracing::debug!(%from, "too many connections that are not proved: closed");
                    continue;
                };
                let shared = shared.clone();
                sessions.spawn(async move { session(stream, place, &shared).await });
            }
            Err(error) => {
                // Out of file descriptors, as a rule: it gets better when somebody leaves.
                tracing::warn!(%error, "delivery port");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One connection, from the notice to its end.
async fn session(mut stream: TcpStream, place: Place, shared: &Arc<Shared>) {
    let _ = stream.set_nodelay(true); // slower without, not wrong
    let from = place.from;
    let Ok(Ok(notice)) = timeout(NOTICE_WAIT, Preamble::read(&mut stream)).await else {
        return tracing::debug!(%from, "no connected notice");
    };
    let terminal = match shared.store.terminal(notice.terminal).await {
        Ok(Some(terminal)) => terminal,
        Ok(None) => return tracing::warn!(%from, says = %notice.terminal, "connected notice from nobody we know"),
        Err(error) => return tracing::error!(%error, "the directory cannot be read"),
    };
    let stranger = Stranger::Network(from, terminal.id);
    if shared.strangers().is_spaced(&stranger, std::time::Instant::now()) {
        return tracing::warn!(%from, terminal = %terminal.name, "too often not proved: closed");
    }
    tracing::info!(%from, terminal = %terminal.name, reason = notice.reason.as_str(), "connected notice");
    let ended = proved_session(stream, place, terminal, notice.reason, shared).await;
    if let Err(why) = ended {
        // A fault of ours says nothing of who was there.
        let is_theirs = !matches!(why, NotLetIn::Trust(NotTrusted::Store(_)) | NotLetIn::Record(_));
        // Counted before it is told: whoever reads of it may try again at once.
        if is_theirs {
            shared.strangers().note(&stranger, std::time::Instant::now());
        }
        tracing::warn!(%from, says = %notice.terminal, %why, "not let in");
        if is_theirs {
            shared.report(Report::Unproved { terminal: notice.terminal, why: why.to_string() }).await;
        }
    }
}

/// Why a terminal that has said who it is got no further.
#[derive(Debug, thiserror::Error)]
enum NotLetIn {
    #[error(transparent)]
    Trust(#[from] NotTrusted),
    #[error("not proved")]
    NotProved,
    #[error("no record could be written")]
    Record(#[from] StoreError),
}

async fn proved_session<S>(
    stream: S,
    place: Place,
    terminal: Terminal,
    reason: Reason,
    shared: &Arc<Shared>,
) -> Result<(), NotLetIn>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stream, carried) = Metered::new(stream);
    let rate_bps = shared.careful_rate(terminal.id, RATE_BPS);
    let (stream, trust) = shared.keys.secure(stream, terminal.id, terminal.trusted_by.key_form(), rate_bps).await?;
    let mut proof = stream.proof();
    let mut record =
        CallRecord::begin(Direction::Incoming, Via::Internet, terminal.number.clone(), terminal.name.clone());
    let call = record.id;
    let (due, began) = (Arc::new(Notify::new()), Instant::now());
    let metered = carried.clone();
    let meter = move || (u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), metered.counters());
    let mut delivery = JoinSet::new();
    let id = terminal.id;
    let session = Delivery {
        suspects: shared.suspects(id),
        takes_zstd: shared.takes_zstd(id),
        alarms: shared.alarms.clone(),
        metrics: shared.metrics.clone(),
        terminal,
        call,
        store: shared.store.clone(),
        intake: shared.intake.clone(),
        keys: shared.keys.clone(),
        due: due.clone(),
        keep_alive: Some(KEEP_ALIVE),
        meter,
        paid_until: || None,
    };
    delivery.spawn(deliver(session, stream, trust));
    match timeout(PROOF_WAIT, proof.wait()).await {
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => {
            delivery.shutdown().await;
            // What went as early data is read there after the proof only: it is free, and not in doubt.
            shared.store.unproved(call).await?;
            return Err(NotLetIn::NotProved);
        }
    }
    shared.strangers().proved(&Stranger::Network(place.from, id));
    drop(place); // known now: no burden on strangers
    let connected = Some(Connected::new(shared, id, due));
    record.connected_at = Some(record.moment(began.elapsed()));
    if let Err(error) = shared.store.record_call(record.clone()).await {
        delivery.shutdown().await;
        // Without a record nothing else ends what is under way.
        let _ = shared.store.release_call(call, "no record could be written").await;
        return Err(error.into());
    }
    shared.report(Report::Connected { terminal: id, call, via: Via::Internet }).await;
    let mut is_replaced = false;
    let hang_up = shared.open_calls.hang_up(call);
    let outcome = tokio::select! {
        ended = delivery.join_next() => outcome(ended, Outcome::Completed),
        () = Connected::replaced(&connected) => {
            is_replaced = true;
            Outcome::Idle("replaced by another connection")
        }
        () = hang_up.cancelled() => Outcome::EndedByOperator,
        () = shared.shutdown.cancelled() => Outcome::OurFault("server stopped".to_owned()),
    };
    shared.open_calls.over(call);
    delivery.shutdown().await; // nothing is marked any more when the record ends what is under way
    record.ended_at = Some(record.moment(began.elapsed()));
    let Counters { octets_out, octets_in, .. } = carried.counters();
    (record.octets_out, record.octets_in) = (octets_out, octets_in);
    tracing::info!(%call, party = %record.party, %outcome, reason = reason.as_str(), "session ended");
    record.outcome = Some(outcome.to_string());
    record.kind = Some(outcome.as_str().to_owned());
    if let Err(error) = shared.store.record_call(record.clone()).await {
        tracing::error!(%call, %error, "record not written");
    }
    // What becomes of the terminal is the new connection's business.
    let terminal = (!is_replaced).then_some(id);
    shared.report(Report::Ended { terminal, outcome, record: Box::new(record), lasted: began.elapsed() }).await;
    Ok(())
}
