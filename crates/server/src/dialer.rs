//! Carries out what `calling` wants: the one place from which calls are dialled.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use calling::dispatch::Moment;
use calling::{Action, Calling, Event, Job, Order};
use delivery::TerminalId;
use jiff::Timestamp;

use crate::alarms::{Alarms, Unproved};
use crate::dialup::{DialOrder, DialUp};
use crate::jobs;
use crate::metrics::Metrics;
use model::alarm::AlarmKind;
use model::directory::Terminal;
use store::Store;

/// From the dial command to CONNECT: ringing for a minute and training after it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(75);

/// The hands of `calling`.
#[derive(Debug)]
pub(crate) struct Dialer {
    store: Store,
    dialup: DialUp,
    alarms: Alarms,
    metrics: Metrics,
    unproved: Unproved<TerminalId>,
    /// Terminals for which something has just come: the next look at each is told.
    told: BTreeSet<TerminalId>,
}

impl Dialer {
    pub(crate) fn new(store: Store, dialup: DialUp, alarms: Alarms, metrics: Metrics) -> Self {
        Self {
            store,
            dialup,
            alarms,
            metrics,
            unproved: Unproved::default(),
            told: BTreeSet::new(),
        }
    }

    /// Hands an event over, and does what is wanted then, until nothing more is; gives the wake-up.
    pub(crate) async fn handle(&mut self, calling: &mut Calling, event: Event) -> Option<Instant> {
        tracing::debug!(?event, "calling");
        if let Event::Due(terminals) = &event {
            self.told = terminals.clone();
        }
        calling.handle(event, moment());
        loop {
            let event = match calling.poll_action() {
                Action::Wait { until } => {
                    self.told.clear();
                    return until;
                }
                Action::Store(job) => self.perform(job).await,
                Action::Dial(order) => self.dial(*order),
                Action::NotPlaced {
                    terminal,
                    line,
                    why,
                } => {
                    tracing::error!(%terminal, %line, error = %why, "call not placed");
                    None
                }
                Action::Deliver(terminal) => {
                    self.dialup.deliver(terminal);
                    None
                }
                Action::DeliverLast { terminal, messages } => {
                    self.dialup.set_suspects(terminal, messages);
                    None
                }
                Action::Unproved { terminal, why } => {
                    self.unproved(terminal, &why).await;
                    None
                }
                Action::Raise {
                    kind,
                    subject,
                    detail,
                } => {
                    self.alarms.raise(kind, subject, detail).await;
                    None
                }
                Action::Clear { kind, subject } => {
                    self.alarms.clear(kind, subject).await;
                    None
                }
                Action::Keep { kind, subjects } => {
                    self.alarms.keep(kind, subjects).await;
                    None
                }
            };
            if let Some(event) = event {
                calling.handle(event, moment());
            }
        }
    }

    async fn perform(&mut self, job: Job) -> Option<Event> {
        if matches!(job, Job::LookAtAll) && !self.told.is_empty() {
            tracing::info!(terminals = self.told.len(), "connection states checked");
        }
        let wanted = job.clone();
        let event = jobs::perform(&self.store, job).await;
        match (wanted, &event) {
            // Once it is on the disk: what that did not take is done again.
            (Job::Settle { call, amount }, None) => {
                tracing::info!(%call, %amount, "call settled");
                self.metrics.settled(amount);
            }
            (Job::NoSession(call), None) => tracing::warn!(%call, "rung, no session"),
            (Job::Begin(begun), Some(Event::Begun(_))) => begun
                .reservation
                .into_iter()
                .for_each(|reservation| self.metrics.reserved(reservation.amount)),
            (
                _,
                Some(Event::Looked {
                    terminal,
                    found: Some(found),
                }),
            ) if self.told.remove(terminal) => {
                let Terminal {
                    name, connection, ..
                } = &found.terminal;
                tracing::info!(terminal = %name, state = connection.as_str(), "connection state checked");
            }
            _ => {}
        }
        event
    }

    fn dial(&self, order: Order) -> Option<Event> {
        let Order {
            terminal,
            line,
            number,
            record,
            allowance,
        } = order;
        let (id, kept) = (terminal.id, record.clone());
        tracing::info!(call = %record.id, %line, terminal = %terminal.name, number = ?terminal.number, "calling");
        let order = DialOrder {
            terminal,
            number,
            timeout: DIAL_TIMEOUT,
            record,
            allowance,
        };
        let is_taken = self.dialup.dial(&line, order);
        (!is_taken).then(|| Event::NotTaken {
            terminal: id,
            record: Box::new(kept),
        })
    }

    /// Something spoke for a terminal and did not prove to be it.
    pub(crate) async fn unproved(&mut self, id: TerminalId, why: &str) {
        self.metrics.unproved();
        if !self.unproved.note(&id, Instant::now()) {
            return;
        }
        if let Ok(Some(terminal)) = self.store.terminal(id).await {
            let detail = format!(
                "three sessions in an hour failed the proof, the last: {why}. Nothing was sent on them"
            );
            self.alarms
                .raise(AlarmKind::UnprovedCallers, &terminal.name, detail)
                .await;
        }
    }

    /// A terminal has proved itself.
    pub(crate) async fn proved(&mut self, id: TerminalId) {
        self.unproved.proved(&id);
        if let Ok(Some(found)) = self.store.terminal(id).await {
            self.alarms
                .clear(AlarmKind::UnprovedCallers, &found.name)
                .await;
        }
    }
}

/// Now, by both clocks.
pub(crate) fn moment() -> Moment {
    Moment {
        at: Instant::now(),
        wall: Timestamp::now(),
    }
}

#[cfg(test)]
mod tests {
    use line::CallId;

    use super::*;
    use crate::dialup::scene::Scene;
    use model::money::Micros;

    #[tokio::test]
    async fn what_a_call_has_cost_is_counted_once_however_often_the_disk_refuses_it() {
        let scene = Scene::new().await;
        let shared = scene.shared();
        let (store, metrics) = (scene.store.clone(), shared.metrics.clone());
        let mut dialer = Dialer::new(
            store,
            scene.dialup.clone(),
            shared.alarms.clone(),
            metrics.clone(),
        );
        let job = Job::Settle {
            call: CallId::now(),
            amount: Micros(1_000_000),
        };
        assert!(dialer.perform(job.clone()).await.is_none());
        scene.lose_folder();
        for _ in 0..3 {
            let failed = dialer.perform(job.clone()).await;
            assert!(
                matches!(failed, Some(Event::StoreFailed { .. })),
                "{failed:?}"
            );
        }
        assert!((metrics.settled_in_all() - 1.0).abs() < 1e-9);
    }
}
