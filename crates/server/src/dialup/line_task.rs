//! One line: its modem, its rings, its orders, one call at a time.
//!
//! ```text
//!   Initialising ──► Idle ──ring, registered──► answer ──► session ──► hang up ──► Initialising
//!        │  ▲          │ └──order──► dial ────────────────────┘
//!        ▼  │          │ ring, anybody else: silence
//!     OutOfOrder       └──► Idle
//! ```

use std::sync::Arc;
use std::time::Duration;

use delivery::TerminalId;
use jiff::Timestamp;
use line::{
    Caller, DTR_LOW, Decision, DialFailure, LineError, ModemLine, Number, RefusalReason, Ring, Screening, WeekMinute,
};
use modem::{DialString, Failure};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::session::{Peer, Session};
use super::{Allowance, DialOrder, LineConfig, LineState, Report, Shared};
use crate::alarms::{AlarmKind, Stranger};
use crate::causes::with_causes;
use crate::directory::{CallRecord, Destination, Direction};
use crate::outcome::Outcome;
use crate::store::StoreError;

/// How long an idle line may be quiet before its modem is asked whether it is still there.
const PROBE_INTERVAL: Duration = Duration::from_secs(60);

/// Between two attempts to bring a dead line back: a USB modem that is plugged in again is there after two seconds or so.
const OUT_OF_ORDER_PAUSE: Duration = Duration::from_secs(1);
const OUT_OF_ORDER_PAUSE_MAX: Duration = Duration::from_secs(30);

pub(super) async fn run(config: LineConfig, orders: mpsc::Receiver<DialOrder>, shared: Arc<Shared>) {
    let shutdown = shared.shutdown.clone();
    let mut line = Line { config, orders, shared, pause: OUT_OF_ORDER_PAUSE };
    let work = async {
        loop {
            line.serve_one().await;
        }
    };
    // Dropping the work hangs up whatever call there is: nothing keeps costing money.
    shutdown.run_until_cancelled(work).await;
}

/// A call, or what was to become one.
struct Attempt {
    terminal: Option<TerminalId>,
    record: CallRecord,
    began: Instant,
}

struct Line {
    config: LineConfig,
    orders: mpsc::Receiver<DialOrder>,
    shared: Arc<Shared>,
    /// Before the next attempt, if this one fails.
    pause: Duration,
}

impl Line {
    /// From a closed port to a closed port: at most one call.
    async fn serve_one(&mut self) {
        self.set_state(LineState::Initialising);
        self.turn_orders_away().await;
        let modem = match ModemLine::open(&self.config.port, self.config.setup.clone()).await {
            Ok(modem) => modem.probed(PROBE_INTERVAL),
            Err(error) => return self.out_of_order(error).await,
        };
        self.shared.alarms.clear(AlarmKind::LineOutOfOrder, &self.config.name).await;
        self.pause = OUT_OF_ORDER_PAUSE;
        self.set_state(LineState::Idle);
        tracing::info!(line = %self.config.name, "line ready");
        self.shared.report(Report::LineFree(self.config.name.clone())).await;
        if let Err(error) = self.wait(modem).await {
            return self.out_of_order(error).await;
        }
        // The port is closed, and with it the call; the modem must have seen DTR low before it is initialised anew.
        sleep(DTR_LOW).await;
    }

    async fn wait(&mut self, mut modem: ModemLine) -> Result<(), LineError> {
        loop {
            let ring = tokio::select! {
                biased;
                ring = modem.ring() => ring?,
                Some(order) = self.orders.recv() => {
                    return self.dial(modem, order).await;
                }
            };
            let ring = ring.at(self.shared.settings.home);
            if let Some((caller, peer)) = self.screen(&ring).await {
                return self.answer(modem, caller, peer).await;
            }
        }
    }

    /// Whether to answer a ring, and with whom we would then speak.
    async fn screen(&self, ring: &Ring) -> Option<(Number, Peer)> {
        let line = &self.config.name;
        let (screening, peer) = match self.registered(ring).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%line, %error, "ring not answered: the directory cannot be read");
                return None;
            }
        };
        // Who is in the directory may call at any time, as often as it likes.
        let decision = match screening.decide(ring, WeekMinute::new(0, 0, 0), |_| 0) {
            Decision::Answer(caller) if self.is_spaced(&caller) => Decision::Refuse(RefusalReason::Unproved),
            decision => decision,
        };
        match decision {
            Decision::Answer(caller) => {
                tracing::info!(%line, ?caller, party = %peer.as_ref()?.name(), "ring: registered caller");
                Some((caller, peer?))
            }
            Decision::CallBack(_) | Decision::Connect(_) => None, // no rule here says so
            Decision::Refuse(reason) => {
                self.shared.note(line, |entry| entry.rings_refused += 1);
                self.shared.metrics.ring_refused(reason);
                tracing::warn!(%line, caller = ?ring.caller, %reason, "ring not answered");
                None
            }
        }
    }

    /// Three calls of an hour from this number were not proved, and the last is not long ago (design: unproved links).
    fn is_spaced(&self, caller: &Number) -> bool {
        self.shared.strangers().is_spaced(&Stranger::Caller(caller.clone()), std::time::Instant::now())
    }

    /// The directory's entries with the caller's number: those that may be answered.
    async fn registered(&self, ring: &Ring) -> Result<(Screening, Option<Peer>), StoreError> {
        let Caller::Number(number) = &ring.caller else { return Ok((Screening::default(), None)) };
        let store = &self.shared.store;
        let peer = match store.find_terminal(Destination::Number(number.clone())).await? {
            Some(terminal) => Some(Peer::Terminal(terminal)),
            None => {
                store.providers().await?.into_iter().find(|p| p.number.as_ref() == Some(number)).map(Peer::Provider)
            }
        };
        Ok((Screening::new(peer.is_some().then(|| number.clone())), peer))
    }

    async fn answer(&mut self, modem: ModemLine, caller: Number, peer: Peer) -> Result<(), LineError> {
        let line = self.config.name.clone();
        self.set_state(LineState::Calling);
        self.shared.report(Report::LineTaken(line.clone())).await;
        self.turn_orders_away().await;
        let record = CallRecord::begin(Direction::Incoming, line, Some(caller), peer.name().clone());
        let attempt = Attempt { terminal: None, record, began: Instant::now() };
        match modem.answer().await {
            Ok(call) => {
                self.session(call, peer, attempt, None).await;
                Ok(())
            }
            Err(failure) => self.no_call(failure, attempt).await,
        }
    }

    async fn dial(&mut self, modem: ModemLine, order: DialOrder) -> Result<(), LineError> {
        self.set_state(LineState::Calling);
        let DialOrder { terminal, number, timeout, record, allowance } = order;
        // Counted from before the number is dialled, and not from its end: that is never too little.
        let attempt = Attempt { terminal: Some(terminal.id), record, began: Instant::now() };
        if let Some(duration) = self.config.ring_only {
            return self.ring(modem, &number, duration.min(allowance.longest), attempt).await;
        }
        match modem.dial(&number, timeout.min(allowance.longest)).await {
            Ok(call) => {
                self.session(call, Peer::Terminal(terminal), attempt, Some(allowance)).await;
                Ok(())
            }
            Err(failure) => self.no_call(failure, attempt).await,
        }
    }

    /// Lets a terminal ring and hangs up. What is then to come is its own session.
    async fn ring(
        &self,
        modem: ModemLine,
        number: &DialString,
        duration: Duration,
        attempt: Attempt,
    ) -> Result<(), LineError> {
        match modem.ring_only(number, duration).await {
            // One that refuses the ring has heard it, and so has one whose exchange gave up first.
            Ok(()) | Err(DialFailure::NoCall(Failure::Busy | Failure::NoAnswer)) => {
                self.ended(attempt, Outcome::Rung).await;
                Ok(())
            }
            Err(failure) => self.no_call(failure, attempt).await,
        }
    }

    /// Orders that came for a line that could not take them: they go to another, now and not in half an hour.
    async fn turn_orders_away(&mut self) {
        while let Ok(order) = self.orders.try_recv() {
            let attempt = Attempt { terminal: Some(order.terminal.id), record: order.record, began: Instant::now() };
            self.ended(attempt, Outcome::LineTaken).await;
        }
    }

    async fn session(&self, call: line::Call, peer: Peer, mut attempt: Attempt, allowance: Option<Allowance>) {
        self.set_state(LineState::InACall);
        let record = &mut attempt.record;
        record.connected_at = Some(Timestamp::now());
        tracing::info!(call = %record.id, line = %self.config.name, rate = call.rate_bps(), "call connected");
        attempt.terminal = peer.terminal().map(|terminal| terminal.id);
        let session = Session {
            call: record.id,
            peer,
            line: self.config.name.clone(),
            direction: record.direction,
            delay: self.config.delay,
            shared: self.shared.clone(),
            began: attempt.began,
            allowance,
        };
        let result = session.run(call).await;
        if let (Direction::Incoming, Some(caller)) = (record.direction, &record.number) {
            let (caller, mut strangers) = (Stranger::Caller(caller.clone()), self.shared.strangers());
            match result.outcome {
                Outcome::NotProved(_) => drop(strangers.note(&caller, std::time::Instant::now())),
                Outcome::Completed | Outcome::MessagesRefused(_) => strangers.proved(&caller),
                _ => {}
            }
        }
        record.octets_out = result.counters.octets_out;
        record.octets_in = result.counters.octets_in;
        self.ended(attempt, result.outcome).await;
    }

    /// There is no call. A line that failed on it is an error: it is out of order.
    async fn no_call(&self, failure: DialFailure, attempt: Attempt) -> Result<(), LineError> {
        match failure {
            DialFailure::NoCall(failure) => {
                self.ended(attempt, failure.into()).await;
                Ok(())
            }
            DialFailure::Line(error) => {
                self.ended(attempt, Outcome::LineFailed(with_causes(&error))).await;
                Err(error)
            }
        }
    }

    /// One call record for each call, whatever became of it.
    async fn ended(&self, attempt: Attempt, outcome: Outcome) {
        let Attempt { terminal, mut record, began } = attempt;
        let now = Timestamp::now();
        let seconds = record.connected_at.map_or(0, |at| now.duration_since(at).as_secs());
        tracing::info!(call = %record.id, line = %self.config.name, party = %record.party, %outcome, seconds,
            octets_out = record.octets_out, octets_in = record.octets_in, "call ended");
        record.ended_at = Some(now);
        record.outcome = Some(outcome.to_string());
        if let Err(error) = self.shared.store.record_call(record.clone()).await {
            tracing::error!(call = %record.id, %error, "call record not written");
        }
        let lasted = began.elapsed();
        self.shared.report(Report::Ended { terminal, outcome, record: Box::new(record), lasted }).await;
    }

    async fn out_of_order(&mut self, error: LineError) {
        let fault = with_causes(&error);
        let detail = format!("{}: {fault}", self.config.port);
        self.shared.alarms.raise(AlarmKind::LineOutOfOrder, &self.config.name, detail).await;
        self.shared.note(&self.config.name, |entry| {
            entry.state = LineState::OutOfOrder;
            entry.fault = Some(fault);
        });
        self.shared.report(Report::LineTaken(self.config.name.clone())).await;
        sleep(self.pause).await;
        self.pause = (2 * self.pause).min(OUT_OF_ORDER_PAUSE_MAX);
    }

    fn set_state(&self, state: LineState) {
        self.shared.note(&self.config.name, |entry| {
            entry.state = state;
            entry.fault = None;
        });
    }
}
