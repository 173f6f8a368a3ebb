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
use line::{CallId, DTR_LOW, DialFailure, Home, LineError, ModemLine, Ring};
use link::Counters;
use modem::{DialString, Failure};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Allowance, LineConfig, LineState};
use model::call::CallRecord;
use model::causes::with_causes;
use model::outcome::Outcome;

/// How long an idle line may be quiet before its modem is asked whether it is still there.
const PROBE_INTERVAL: Duration = Duration::from_secs(60);

/// Between two attempts to bring a dead line back: a USB modem that is plugged in again is there after two seconds or so.
const OUT_OF_ORDER_PAUSE: Duration = Duration::from_secs(1);
const OUT_OF_ORDER_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Who decides about a line's calls and is told of them: the server itself, or one that has only the lines.
pub(crate) trait CallPolicy: Send + Sync + 'static {
    /// Whom a call is with.
    type Peer: Send + 'static;

    /// The country in which the lines are.
    fn home(&self) -> Option<Home>;

    /// The line does something else now. `fault` says why it is out of order.
    fn line_is(
        &self,
        line: &LineConfig,
        state: LineState,
        fault: Option<String>,
    ) -> impl Future<Output = ()> + Send;

    /// Whether to answer a ring, and with whom we would then speak.
    fn screen(
        &self,
        line: &LineConfig,
        ring: &Ring,
    ) -> impl Future<Output = Option<(CallRecord, Self::Peer)>> + Send;

    /// What hangs this call up; it lives until [`CallPolicy::ended`].
    fn hang_up(&self, call: CallId) -> CancellationToken;

    /// How a call ended that was hung up while it was dialled.
    fn hung_up(&self, call: CallId) -> Outcome;

    /// From CONNECT to on hook; sooner if it is [hung up](CallPolicy::hang_up).
    fn session(
        &self,
        line: &LineConfig,
        call: line::Call,
        peer: Self::Peer,
        attempt: &mut Attempt,
        allowance: Option<Allowance>,
    ) -> impl Future<Output = SessionResult> + Send;

    /// Waits until a terminal is connected, if that is known here: it need not be rung any longer.
    fn has_come(&self, terminal: Option<TerminalId>) -> impl Future<Output = ()> + Send;

    /// A call, or what was to become one, is over.
    fn ended(
        &self,
        attempt: Attempt,
        outcome: Outcome,
        lasted: Duration,
    ) -> impl Future<Output = ()> + Send;
}

/// How a call that came up went.
pub(crate) struct SessionResult {
    pub(crate) outcome: Outcome,
    pub(crate) counters: Counters,
    pub(crate) showing: Showing,
}

/// What the far end of a call has shown of who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Showing {
    /// A terminal was admitted.
    Terminal,
    /// A provider was recognised, by its token or by CHAP.
    Provider,
    /// Nothing, on a line that stood.
    Nothing,
    /// Nothing before the carrier was lost: the line's fault.
    LineLost,
    /// Nothing can be said: the end was ours.
    Unknown,
}

/// A call, or what was to become one.
pub(crate) struct Attempt {
    pub(crate) terminal: Option<TerminalId>,
    pub(crate) record: CallRecord,
    /// Since when it may cost.
    pub(crate) began: Instant,
}

/// A call to be placed on a line.
pub(crate) struct Order<P> {
    pub(crate) attempt: Attempt,
    pub(crate) peer: P,
    /// What is dialled.
    pub(crate) number: DialString,
    /// From the dial command to CONNECT.
    pub(crate) timeout: Duration,
    /// What it may cost.
    pub(crate) allowance: Allowance,
}

/// Works a line until `shutdown`.
pub(crate) async fn run<D: CallPolicy>(
    config: LineConfig,
    orders: mpsc::Receiver<Order<D::Peer>>,
    policy: Arc<D>,
    shutdown: CancellationToken,
) {
    let mut line = Line {
        config,
        orders,
        policy,
        pause: OUT_OF_ORDER_PAUSE,
    };
    let work = async {
        loop {
            line.serve_one().await;
        }
    };
    // Dropping the work hangs up whatever call there is: nothing keeps costing money.
    shutdown.run_until_cancelled(work).await;
}

struct Line<D: CallPolicy> {
    config: LineConfig,
    orders: mpsc::Receiver<Order<D::Peer>>,
    policy: Arc<D>,
    /// Before the next attempt, if this one fails.
    pause: Duration,
}

impl<D: CallPolicy> Line<D> {
    /// From a closed port to a closed port: at most one call.
    async fn serve_one(&mut self) {
        self.is(LineState::Initialising).await;
        self.reject_orders().await;
        let modem = match ModemLine::open(&self.config.port, self.config.setup.clone()).await {
            Ok(modem) => modem.probed(PROBE_INTERVAL),
            Err(error) => return self.out_of_order(error).await,
        };
        self.pause = OUT_OF_ORDER_PAUSE;
        tracing::info!(line = %self.config.name, "line ready");
        self.is(LineState::Idle).await;
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
            let ring = ring.at(self.policy.home());
            if let Some((record, peer)) = self.policy.screen(&self.config, &ring).await {
                return self.answer(modem, record, peer).await;
            }
        }
    }

    async fn answer(
        &mut self,
        modem: ModemLine,
        record: CallRecord,
        peer: D::Peer,
    ) -> Result<(), LineError> {
        self.is(LineState::Calling).await;
        self.reject_orders().await;
        let attempt = Attempt {
            terminal: None,
            record,
            began: Instant::now(),
        };
        match modem.answer().await {
            Ok(call) => {
                self.session(call, peer, attempt, None).await;
                Ok(())
            }
            Err(failure) => self.no_call(failure, attempt).await,
        }
    }

    async fn dial(&mut self, modem: ModemLine, order: Order<D::Peer>) -> Result<(), LineError> {
        self.is(LineState::Calling).await;
        let Order {
            mut attempt,
            peer,
            number,
            timeout,
            allowance,
        } = order;
        // Counted from before the number is dialled, and not from its end: that is never too little.
        attempt.began = Instant::now();
        if let Some(duration) = self.config.ring_only {
            return self
                .ring(modem, &number, duration.min(allowance.longest), attempt)
                .await;
        }
        let hang_up = self.policy.hang_up(attempt.record.id);
        // Dropping the modem while it dials hangs up.
        let dialled = tokio::select! {
            dialled = modem.dial(&number, timeout.min(allowance.longest)) => dialled,
            () = hang_up.cancelled() => {
                let outcome = self.policy.hung_up(attempt.record.id);
                self.ended(attempt, outcome).await;
                return Ok(());
            }
        };
        match dialled {
            Ok(call) => {
                self.session(call, peer, attempt, Some(allowance)).await;
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
        let has_come = self.policy.has_come(attempt.terminal);
        let hang_up = self.policy.hang_up(attempt.record.id);
        let rung = tokio::select! {
            rung = modem.ring_only(number, duration, has_come) => rung,
            () = hang_up.cancelled() => {
                let outcome = self.policy.hung_up(attempt.record.id);
                self.ended(attempt, outcome).await;
                return Ok(());
            }
        };
        match rung {
            // One that refuses the ring has heard it, and so has one whose exchange gave up first.
            Ok(()) | Err(DialFailure::NoCall(Failure::Busy | Failure::NoAnswer)) => {
                self.ended(attempt, Outcome::Rung).await;
                Ok(())
            }
            Err(failure) => self.no_call(failure, attempt).await,
        }
    }

    /// Orders that came for a line that could not take them: they go to another, now and not in half an hour.
    async fn reject_orders(&mut self) {
        while let Ok(mut order) = self.orders.try_recv() {
            order.attempt.began = Instant::now();
            self.ended(order.attempt, Outcome::LineTaken).await;
        }
    }

    async fn session(
        &self,
        call: line::Call,
        peer: D::Peer,
        mut attempt: Attempt,
        allowance: Option<Allowance>,
    ) {
        self.is(LineState::InACall).await;
        attempt.record.connected_at = Some(attempt.record.moment(attempt.began.elapsed()));
        tracing::info!(call = %attempt.record.id, line = %self.config.name, rate = call.rate_bps(), "call connected");
        let result = self
            .policy
            .session(&self.config, call, peer, &mut attempt, allowance)
            .await;
        attempt.record.octets_out = result.counters.octets_out;
        attempt.record.octets_in = result.counters.octets_in;
        self.ended(attempt, result.outcome).await;
    }

    /// There is no call. A line that failed on it is an error: it is out of order.
    async fn no_call(&self, failure: DialFailure, attempt: Attempt) -> Result<(), LineError> {
        match failure {
            DialFailure::NoCall(failure) => {
                self.ended(attempt, failure.into()).await;
                Ok(())
            }
            // Another line calls at once; this one is out of order.
            DialFailure::NotDialled(error) => {
                self.ended(attempt, Outcome::LineTaken).await;
                Err(error)
            }
            DialFailure::Line(error) => {
                self.ended(attempt, Outcome::LineFailed(with_causes(&error)))
                    .await;
                Err(error)
            }
        }
    }

    /// One call record for each call, whatever became of it.
    async fn ended(&self, mut attempt: Attempt, outcome: Outcome) {
        let (record, lasted) = (&mut attempt.record, attempt.began.elapsed());
        record.end(&outcome, lasted);
        super::log_end(record);
        self.policy.ended(attempt, outcome, lasted).await;
    }

    async fn out_of_order(&mut self, error: LineError) {
        self.policy
            .line_is(
                &self.config,
                LineState::OutOfOrder,
                Some(with_causes(&error)),
            )
            .await;
        sleep(self.pause).await;
        self.pause = (2 * self.pause).min(OUT_OF_ORDER_PAUSE_MAX);
    }

    async fn is(&self, state: LineState) {
        self.policy.line_is(&self.config, state, None).await;
    }
}
