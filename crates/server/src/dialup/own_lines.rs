//! The lines of this process: screened by the directory, recorded in the store, told to the server's loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::TerminalId;
use jiff::Timestamp;
use line::{CallId, Decision, Home, Number, RefusalReason, Ring, Screening, WeekMinute};
use tokio_util::sync::CancellationToken;

use super::line_link::Meter;
use super::line_task::{Attempt, CallPolicy, SessionResult, Showing};
use super::session::{Peer, Session};
use super::{Allowance, LineConfig, LineState, Report, Shared};
use crate::alarms::Stranger;
use model::alarm::AlarmKind;
use model::call::{CallRecord, Direction};
use model::directory::{Destination, Name};
use model::outcome::Outcome;
use store::StoreError;

/// Whoever works the lines here.
pub(super) struct OwnLines(pub(super) Arc<Shared>);

impl CallPolicy for OwnLines {
    type Peer = Peer;

    fn home(&self) -> Option<Home> {
        self.0.settings.home
    }

    async fn line_is(&self, line: &LineConfig, state: LineState, fault: Option<String>) {
        self.0
            .line_is(&line.name, &line.port.to_string(), state, fault)
            .await;
    }

    async fn screen(&self, line: &LineConfig, ring: &Ring) -> Option<(CallRecord, Peer)> {
        let (caller, peer) = self.0.screen(&line.name, ring).await?;
        Some((
            CallRecord::begin(
                CallId::now(),
                Timestamp::now(),
                Direction::Incoming,
                line.name.clone(),
                Some(caller),
                peer.name().clone(),
            ),
            peer,
        ))
    }

    fn hang_up(&self, call: CallId) -> CancellationToken {
        self.0.open_calls.hang_up(call)
    }

    fn hung_up(&self, _call: CallId) -> Outcome {
        Outcome::EndedByOperator
    }

    async fn session(
        &self,
        line: &LineConfig,
        call: line::Call,
        peer: Peer,
        attempt: &mut Attempt,
        allowance: Option<Allowance>,
    ) -> SessionResult {
        let named = peer.terminal().map(|terminal| terminal.id);
        let record = &attempt.record;
        let session = Session {
            call: record.id,
            peer,
            line: line.name.clone(),
            direction: record.direction,
            delay: line.delay,
            caller: record
                .number
                .clone()
                .filter(|_| record.direction == Direction::Incoming),
            shared: self.0.clone(),
            meter: Meter {
                began: attempt.began,
                allowance,
            },
        };
        let result = session.run(call).await;
        self.0
            .note_caller(record, named, &result.outcome, result.showing)
            .await;
        attempt.terminal = self.0.is_about(record.direction, named, result.showing);
        result
    }

    async fn has_come(&self, terminal: Option<TerminalId>) {
        match terminal {
            Some(terminal) => self.0.presence.has_come(terminal).await,
            None => std::future::pending().await,
        }
    }

    async fn ended(&self, attempt: Attempt, outcome: Outcome, lasted: Duration) {
        self.0.ended(attempt, outcome, lasted).await;
    }
}

impl Shared {
    /// A line does something else now: for the screens, the alarms and the server's loop.
    pub(crate) async fn line_is(
        &self,
        line: &Name,
        port: &str,
        state: LineState,
        fault: Option<String>,
    ) {
        let report = match state {
            LineState::Idle => {
                self.alarms.clear(AlarmKind::LineOutOfOrder, line).await;
                Some(Report::LineFree(line.clone()))
            }
            LineState::OutOfOrder => {
                let fault = fault.as_deref().unwrap_or("out of order");
                let detail = format!(
                    "{port}: {fault}; check the modem and its cable; it is tried again by itself"
                );
                self.alarms
                    .raise(AlarmKind::LineOutOfOrder, line, detail)
                    .await;
                Some(Report::LineTaken(line.clone()))
            }
            LineState::Calling => Some(Report::LineTaken(line.clone())),
            LineState::Initialising | LineState::InACall => None,
        };
        self.line_states.set(line, state, fault);
        if let Some(report) = report {
            self.report(report).await;
        }
    }

    /// Whether to answer a ring, and with whom we would then speak.
    pub(crate) async fn screen(&self, line: &Name, ring: &Ring) -> Option<(Number, Peer)> {
        let (screening, peer) = match self.registered(ring).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%line, %error, "ring not answered: the directory cannot be read");
                return None;
            }
        };
        // Who is in the directory may call at any time, as often as it likes.
        let decision = match screening.decide(ring, WeekMinute::new(0, 0, 0), |_| 0) {
            Decision::Answer(caller) if !self.is_heard(&caller) => {
                Decision::Refuse(RefusalReason::Unproved)
            }
            decision => decision,
        };
        match decision {
            Decision::Answer(caller) => {
                tracing::info!(%line, ?caller, party = %peer.as_ref()?.name(), "ring: registered caller");
                Some((caller, peer?))
            }
            Decision::CallBack(_) | Decision::Connect(_) => None, // no rule here says so
            Decision::Refuse(reason) => {
                self.line_states.ring_refused(line);
                self.metrics.ring_refused(reason);
                tracing::warn!(%line, caller = ?ring.caller, %reason, "ring not answered");
                None
            }
        }
    }

    /// Whether this number is answered: it is not spaced, or there is time left to hear it for a moment.
    fn is_heard(&self, caller: &Number) -> bool {
        let (strangers, now) = (self.strangers(), Instant::now());
        !strangers.is_backed_off(&Stranger::Caller(caller.clone()), now)
            || !strangers.hearing_left(now).is_zero()
    }

    /// How long a caller may take to prove itself if its number is spaced. `None`: it is not.
    pub(super) fn hearing(&self, caller: &Number, wanted: Duration) -> Option<Duration> {
        let (mut strangers, now) = (self.strangers(), Instant::now());
        let is_backed_off = strangers.is_backed_off(&Stranger::Caller(caller.clone()), now);
        is_backed_off.then(|| strangers.hear(wanted, now))
    }

    /// The directory's entries with the caller's number: those that may be answered.
    async fn registered(&self, ring: &Ring) -> Result<(Screening, Option<Peer>), StoreError> {
        for number in ring.numbers() {
            if let Some(peer) = self.registered_as(number).await? {
                return Ok((Screening::new([number.clone()]), Some(peer)));
            }
        }
        Ok((Screening::default(), None))
    }

    async fn registered_as(&self, number: &Number) -> Result<Option<Peer>, StoreError> {
        if let Some(terminal) = self
            .store
            .find_terminal(Destination::Number(number.clone()))
            .await?
        {
            return Ok(Some(Peer::Terminal(terminal)));
        }
        let providers = self.store.providers().await?;
        let Some(provider) = providers
            .into_iter()
            .find(|provider| provider.number.as_ref() == Some(number))
        else {
            return Ok(None);
        };
        let secret = self.store.caller_secret(provider.name.clone()).await?;
        Ok(Some(Peer::Provider(provider, secret)))
    }

    /// Takes note of what an incoming call has shown of who it was, for the number's next call. `named` is the terminal that has
    /// the number.
    pub(crate) async fn note_caller(
        &self,
        record: &CallRecord,
        named: Option<TerminalId>,
        outcome: &Outcome,
        showing: Showing,
    ) {
        let (Direction::Incoming, Some(number)) = (record.direction, &record.number) else {
            return;
        };
        let (caller, now) = (Stranger::Caller(number.clone()), Instant::now());
        match showing {
            Showing::Terminal => self.strangers().proved(&caller),
            Showing::Provider => {
                self.strangers().proved(&caller);
                self.alarms
                    .clear(AlarmKind::UnprovedCallers, &record.party)
                    .await;
            }
            Showing::LineLost => {
                let lost = self.strangers().note_lost(now);
                self.metrics.lost_unproved();
                tracing::warn!(call = %record.id, caller = ?number, lost, "carrier lost before anything was proved");
            }
            Showing::Nothing => {
                let is_alarm = self.strangers().note(&caller, now);
                let why = outcome.to_string();
                match named {
                    Some(terminal) => self.report(Report::Unproved { terminal, why }).await,
                    None => self.metrics.unproved(),
                }
                if is_alarm && named.is_none() {
                    let detail = format!(
                        "three calls in an hour proved nothing, the last: {outcome}. Its calls are limited: check its token and its number"
                    );
                    self.alarms
                        .raise(AlarmKind::UnprovedCallers, &record.party, detail)
                        .await;
                }
            }
            Showing::Unknown => {}
        }
    }

    /// Which terminal the end of a call is about. A caller that presented a terminal's number and was not admitted is not that
    /// terminal: its failure is not the terminal's.
    pub(crate) fn is_about(
        &self,
        direction: Direction,
        named: Option<TerminalId>,
        showing: Showing,
    ) -> Option<TerminalId> {
        named.filter(|_| direction == Direction::Outgoing || showing == Showing::Terminal)
    }

    /// A call is over: its record is complete.
    pub(crate) async fn ended(&self, attempt: Attempt, outcome: Outcome, lasted: Duration) {
        let Attempt {
            terminal, record, ..
        } = attempt;
        self.open_calls.over(record.id);
        if let Err(error) = self
            .store
            .record_call(record.clone(), Timestamp::now())
            .await
        {
            tracing::error!(call = %record.id, %error, "call record not written");
        }
        self.report(Report::Ended {
            terminal,
            outcome,
            record: Box::new(record),
            lasted,
        })
        .await;
    }
}
