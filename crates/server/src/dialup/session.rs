//! One call's link: PPP, the two ports open to the far end, the connected notice, the proof, the delivery.

mod connected;
mod course;
mod peer;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::Preamble;
use delivery::proof::Secured;
use jiff::Timestamp;
use line::{Call, CallId, Number};
use link::{
    Authentication, CloseReason, Counters, Demand, Link, LinkConfig, LinkError, LocalAddress,
    PeerAddress, Secret, Secrets, Side, Terms, TunConfig,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

pub(crate) use connected::Connected;
pub(crate) use course::Served;
pub(super) use course::outcome;
use course::{Course, Proving};
pub(crate) use peer::Peer;

use super::deliver::{Broken, Delivery, Tally, deliver};
use super::line_task::{SessionResult, Showing};
use super::open_link::{Gone, OpenLink, OwnLink};
use super::stock::{self, FarEnd, StockDelivery};
use super::{Allowance, Report, Shared};
use crate::keys::{Admitted, Candidate, NotAdmitted, NotTrusted, OpenSession};
use calling::ledger::HANG_UP_GUARD;
use model::call::Direction;
use model::causes::with_causes;
use model::directory::{Name, Stock, StockTrust, Terminal};
use model::outcome::Outcome;

/// Longest wait for a called terminal's connected notice, from IP up (design: an unproved link).
const NOTICE_WAIT: Duration = Duration::from_secs(15);

/// Longest wait for a terminal's proof, from its notice (design section 5), enrolment included; on a slow line, five times the expected
/// duration of the handshake.
const PROOF_WAIT: Duration = Duration::from_secs(15);

/// Octets of the longest handshake with its framing, in both directions.
const HANDSHAKE_OCTETS: u32 = 1500;

/// Delay that a modem adds at each change of direction: its buffers and its error correction.
const TURN: Duration = Duration::from_millis(250);

/// Changes of direction while a link comes up and its handshake runs.
const TURNS: u32 = 8;

/// Hang up a link without an open connection after this long; it costs money.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Hang up after this long without an octet from the far end, whatever is open: it blocks the line.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Hang up this long after "nothing more" if the terminal has not.
const HANG_UP_WAIT: Duration = Duration::from_secs(10);

/// Longest wait for the reason of a delivery whose stream is gone.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Longest wait for a delivery whose link is gone to record its state: a dial-up server may keep a stream open beyond its link.
const LEFT_WAIT: Duration = Duration::from_secs(60);

/// Concurrent connections of a far end to the submission port; more wait in TCP's backlog, and then are refused.
const SUBMISSIONS_MAX: usize = 8;

/// Interval between octet counts of a call with an octet limit.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Outcome text of a spaced caller whose time ran out.
const SPACED: &str = "not in the time that a caller has who did not prove itself before";

/// One call's link.
pub(crate) struct Session {
    pub(crate) call: CallId,
    pub(crate) peer: Peer,
    pub(crate) line: Name,
    pub(crate) direction: Direction,
    pub(crate) delay: Duration,
    /// Caller number presented by an incoming call.
    pub(crate) caller: Option<Number>,
    pub(crate) shared: Arc<Shared>,
    /// Start of the chargeable time.
    pub(crate) began: tokio::time::Instant,
    /// Limits of the call's cost, if this side pays.
    pub(crate) allowance: Option<Allowance>,
}

impl Session {
    /// Runs the call from CONNECT to on hook.
    pub(crate) async fn run(self, call: Call) -> SessionResult {
        let began = Instant::now();
        let failed = |outcome, showing| SessionResult {
            outcome,
            counters: Counters::default(),
            showing,
        };
        let pool = &self.shared.settings.pool;
        let loan = if self
            .peer
            .terminal()
            .is_some_and(|terminal| terminal.address.is_some())
        {
            None
        } else {
            pool.lend()
        };
        let lent = loan.as_ref().map(|loan| loan.address);
        let Some(address) = self
            .peer
            .terminal()
            .and_then(|terminal| terminal.address)
            .or(lent)
        else {
            return failed(
                Outcome::OurFault("no address left in the pool".into()),
                Showing::Unknown,
            );
        };
        let hearing = self.hearing(call.rate_bps());
        let config = LinkConfig {
            local: LocalAddress::Own(self.shared.settings.address),
            peer: PeerAddress::Assign(address),
            rate_bps: call.rate_bps(),
            delay: self.delay,
            ports: &[delivery::SUBMISSION_PORT, delivery::PORT],
            terms: self.terms(),
            expected: self
                .peer
                .terminal()
                .and_then(|terminal| self.shared.expected(terminal.id, address)),
            capture: self.shared.settings.capture.clone(),
            tun: self.shared.settings.tun.clone().map(|ports| TunConfig {
                side: Side::Server,
                ports,
            }),
        };
        let until = self
            .hang_up_at()
            .into_iter()
            .chain(hearing.map(|hearing| tokio::time::Instant::from_std(began) + hearing))
            .min();
        let establishing = async {
            let established = Link::establish(call, config);
            match until {
                Some(at) => timeout_at(at, established).await,
                None => Ok(established.await),
            }
        };
        let hang_up = self.shared.open_calls.hang_up(self.call);
        let established = tokio::select! {
            established = establishing => established,
            () = hang_up.cancelled() => return failed(Outcome::EndedByOperator, Showing::Unknown),
        };
        let link = match established {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => {
                if let Some(terminal) = self.peer.terminal() {
                    self.shared.agreed(terminal.id, None);
                }
                return match error {
                    LinkError::NotEstablished(CloseReason::PeerNotProved { .. }) => {
                        failed(Outcome::NotProved(error.to_string()), Showing::Nothing)
                    }
                    LinkError::NotEstablished(reason @ CloseReason::CarrierLost) => {
                        failed(Outcome::LinkFailed(reason.to_string()), Showing::LineLost)
                    }
                    LinkError::NotEstablished(reason) => {
                        failed(Outcome::LinkFailed(reason.to_string()), Showing::Nothing)
                    }
                    LinkError::NoRandom(_) => {
                        failed(Outcome::OurFault(error.to_string()), Showing::Unknown)
                    }
                };
            }
            Err(_) if hearing.is_some() => {
                return failed(Outcome::NotProved(SPACED.into()), Showing::Nothing);
            }
            Err(_) => return failed(Outcome::AllowanceSpent, Showing::Unknown),
        };
        self.log_link_up(link.counters(), address, began);
        let Ok(link) = OwnLink::open(link) else {
            return failed(Outcome::LinkFailed("no ports".into()), Showing::Unknown);
        };
        let own = Arc::new(link);
        let hearing = hearing.map(|hearing| hearing.saturating_sub(began.elapsed()));
        let Served { outcome, showing } = self.serve(&own, began, hearing).await;
        let link = &own.link;
        if let Some(terminal) = self.peer.terminal() {
            self.shared
                .agreed(terminal.id, link.agreement().filter(|_| link.is_proved()));
        }
        link.close();
        let patience = if outcome == Outcome::AllowanceSpent {
            HANG_UP_GUARD / 2
        } else {
            HANG_UP_WAIT
        };
        timeout(patience, link.closed()).await.ok();
        let counters = link.counters();
        let Counters {
            noise_octets,
            bad_frames,
            ..
        } = counters;
        if noise_octets + bad_frames > 0 {
            tracing::warn!(call = %self.call, noise_octets, bad_frames, "noise on the line");
        }
        SessionResult {
            outcome,
            counters,
            showing,
        }
    }

    /// Time for the proof of a spaced caller: the expected duration, at most the rest of the time that spaced callers share.
    pub(crate) fn hearing(&self, rate_bps: u32) -> Option<Duration> {
        let caller = self.caller.as_ref()?;
        self.shared.hearing(
            caller,
            TURNS * (self.delay + TURN) + handshake(rate_bps) + Duration::from_secs(1),
        )
    }

    /// A provider that must pass CHAP gets no link without it.
    fn terms(&self) -> Terms {
        let Some(secret) = self.peer.chap() else {
            return Terms::default();
        };
        let name =
            link::Name::new(self.peer.name().to_string()).expect("a name has 1 to 40 octets");
        let secret = Secret::new(secret.reveal()).expect("checked by ChapSecret");
        let peers = Secrets::from_iter([(name, secret)]);
        let authentication = Authentication {
            demand: Demand::Chap,
            peers,
            ..Authentication::default()
        };
        Terms {
            authentication,
            ..Terms::default()
        }
    }

    /// The terminal, if it is a stock terminal with deliveries on this call.
    async fn stock(
        &self,
        open: Option<&OpenSession>,
    ) -> Result<Option<(Terminal, Stock, Admitted)>, Outcome> {
        let Some((terminal, stock)) = self
            .peer
            .terminal()
            .and_then(|terminal| Some((terminal, terminal.trusted_by.stock()?)))
        else {
            return Ok(None);
        };
        let is_believed = match stock.trust {
            StockTrust::Chap(_) => true, // else there is no link
            // The far end that answers a number has that number; a presented caller number may be forged.
            StockTrust::NumberOnly => {
                self.shared.settings.number_only && self.direction == Direction::Outgoing
            }
        };
        // The terminal may have been blocked or removed while its link came up.
        let may_be = match self
            .shared
            .store
            .can_be_proved(terminal.id, Timestamp::now())
            .await
        {
            Ok(may_be) => may_be,
            Err(error) => return Err(Outcome::OurFault(error.to_string())),
        };
        let admitted = open
            .filter(|_| is_believed && may_be)
            .and_then(Admitted::stock);
        Ok(admitted.map(|admitted| (terminal.clone(), stock.clone(), admitted)))
    }

    /// When to begin to hang up: one guard time for hanging up, and one more for the exchange to notice.
    fn hang_up_at(&self) -> Option<tokio::time::Instant> {
        let allowance = self.allowance.as_ref()?;
        Some(self.began + allowance.longest.saturating_sub(2 * HANG_UP_GUARD))
    }

    /// Completes when the call has used up its allowance.
    async fn spent(&self, link: &impl OpenLink) {
        let (Some(at), Some(allowance)) = (self.hang_up_at(), &self.allowance) else {
            return std::future::pending().await;
        };
        if allowance.octets == u64::MAX {
            return sleep_until(at).await;
        }
        while tokio::time::Instant::now() < at {
            let Counters {
                octets_out,
                octets_in,
                ..
            } = link.counters();
            if octets_out + octets_in >= allowance.octets {
                return;
            }
            sleep(COUNT_INTERVAL).await;
        }
    }

    pub(crate) fn log_link_up(&self, counters: Counters, address: Ipv4Addr, began: Instant) {
        let Counters {
            octets_out,
            octets_in,
            flights,
            ..
        } = counters;
        let millis = millis(began);
        tracing::info!(call = %self.call, party = %self.peer.name(), %address, millis, octets_out, octets_in, flights, "link up");
    }

    /// Serves the far end until the link is gone or the server has a reason to end it. `hearing`: time for the proof of a spaced caller.
    pub(crate) async fn serve(
        &self,
        link: &Arc<impl OpenLink>,
        began: Instant,
        hearing: Option<Duration>,
    ) -> Served {
        // Before the first read: a revocation from here on ends this session.
        let open = self.shared.keys.sessions().open(self.peer.whose());
        let mut course = Course {
            is_recognised: false,
            is_admitted: false,
            has_shown: false,
        };
        let outcome = self
            .serve_open(link, began, hearing, &open, &mut course)
            .await;
        let showing = match &outcome {
            _ if course.is_admitted => Showing::Terminal,
            _ if course.is_recognised || self.is_proved_by_link() => Showing::Provider,
            Outcome::OurFault(_)
            | Outcome::Revoked(_)
            | Outcome::EndedByOperator
            | Outcome::AllowanceSpent => Showing::Unknown,
            Outcome::SessionLost { .. } => Showing::LineLost,
            _ => Showing::Nothing,
        };
        if matches!(outcome, Outcome::Revoked(_)) {
            tracing::warn!(call = %self.call, party = %self.peer.name(), %outcome, "hung up");
            link.hang_up();
        }
        // The far end reads early data only after the proof: such messages are free, and not in doubt.
        if matches!(outcome, Outcome::NotProved(_))
            && !course.has_shown
            && let Err(error) = self
                .shared
                .store
                .unproved(self.call, Timestamp::now())
                .await
        {
            tracing::error!(call = %self.call, %error, "what went before the proof is in doubt");
        }
        Served { outcome, showing }
    }

    /// A provider that must pass CHAP gets no link without it.
    fn is_proved_by_link(&self) -> bool {
        matches!(&self.peer, Peer::Provider(_, Some(_)))
    }

    async fn serve_open(
        &self,
        link: &Arc<impl OpenLink>,
        began: Instant,
        hearing: Option<Duration>,
        open: &OpenSession,
        course: &mut Course,
    ) -> Outcome {
        let mut connections = JoinSet::new();
        let mut deliveries: JoinSet<Result<Tally, Broken>> = JoinSet::new();
        let mut connected = None; // while it lives the terminal can be told that more is due
        let mut noticing = None;
        let mut proving: Option<Proving> = None;
        let proof_wait = self.proof_wait(link.rate_bps());
        // From link up to the first proof, whatever is open meanwhile: a silent far end does not keep a line.
        let (first_proof, started) = (
            hearing.unwrap_or(NOTICE_WAIT + proof_wait),
            tokio::time::Instant::now(),
        );
        let mut unproved = std::pin::pin!(sleep(first_proof));
        let recognised = CancellationToken::new();
        let mut finished = None;
        let hang_up = self.shared.open_calls.hang_up(self.call);
        let mut silent = std::pin::pin!(link.silent(SILENCE_MAX));
        let mut spent = std::pin::pin!(self.spent(link.as_ref()));
        let stock = match self.stock(Some(open)).await {
            Ok(stock) => stock,
            Err(outcome) => return outcome,
        };
        let is_stock = stock.is_some();
        if let (Some((terminal, stock, admitted)), Some(address)) = (stock, link.address()) {
            let (due, id, trust) = (Arc::new(Notify::new()), terminal.id, stock.trust.as_str());
            tracing::info!(call = %self.call, terminal = %terminal.name, trust, "stock terminal connected");
            let delivery = StockDelivery {
                suspects: self.shared.suspects(id),
                terminal,
                stock,
                call: self.call,
                store: self.shared.store.clone(),
                alarms: self.shared.alarms.clone(),
                due: due.clone(),
                wait_until: self.stock_wait_until(),
            };
            deliveries.spawn(stock::deliver(
                delivery,
                FarEnd {
                    link: link.clone(),
                    address,
                },
            ));
            // A machine without Ringup sends no notice: the link takes its place.
            connected = Some(self.connected(admitted, due, course).await);
        }
        loop {
            let is_idle = connections.is_empty() && deliveries.is_empty() && noticing.is_none();
            let idle_max = match self.direction {
                _ if finished.is_some() => HANG_UP_WAIT,
                Direction::Outgoing => NOTICE_WAIT,
                Direction::Incoming => IDLE_MAX,
            };
            // The order decides between simultaneous events: a proof counts before the end of the link, and the line's fault before its
            // consequences.
            tokio::select! {
                biased;
                why = open.revoked() => return Outcome::Revoked(why),
                () = hang_up.cancelled() => return Outcome::EndedByOperator,
                admitted = Proving::end(&mut proving), if proving.is_some() => {
                    let Some(Proving { admission, due, until }) = proving.take() else { continue };
                    let Some(admitted) = admitted else {
                        let outcome = self.not_admitted(link.as_ref(), until, &mut deliveries).await;
                        deliveries.shutdown().await;
                        // The proof came too late, or was revoked: the far end may have read what was sent.
                        course.has_shown = admission.has_come();
                        return outcome;
                    };
                    link.proved(&admitted);
                    connected = Some(self.connected(admitted, due, course).await);
                }
                () = recognised.cancelled(), if !course.is_recognised => course.is_recognised = true,
                gone = link.gone() => {
                    // A delivery that saw the link go first records its state.
                    let left = async {
                        while let Some(ended) = deliveries.join_next().await {
                            finished = Some(ended);
                        }
                    };
                    if timeout(LEFT_WAIT, left).await.is_err() {
                        deliveries.shutdown().await;
                    }
                    if let Some(Proving { mut admission, due, .. }) = proving.take_if(|it| it.admission.has_come()) {
                        // Admitted, or revoked meanwhile: the far end may have read what was sent.
                        course.has_shown = true;
                        if let Some(admitted) = admission.wait().await {
                            let _connected = self.connected(admitted, due, course).await; // and gone
                        }
                    }
                    return self.left(gone, finished, course);
                }
                () = &mut spent => return Outcome::AllowanceSpent,
                () = &mut unproved, if !course.is_proved() && proving.is_none() => {
                    tracing::warn!(call = %self.call, party = %self.peer.name(), "nothing was proved in time");
                    return match hearing {
                        _ if self.is_proved_by_link() => Outcome::Idle("no request that was recognised"),
                        Some(_) => Outcome::NotProved(SPACED.to_owned()),
                        None => Outcome::NotProved(format!("nothing in {} s", first_proof.as_secs())),
                    };
                }
                Ok(stream) = link.submission(), if connections.len() < SUBMISSIONS_MAX => {
                    let (door, recognised) = (self.shared.submissions.clone(), recognised.clone());
                    connections.spawn(async move { door.serve(stream, recognised).await });
                }
                Ok(stream) = link.notice(), if connected.is_none() && proving.is_none() && noticing.is_none() => {
                    noticing = Some(Box::pin(self.notice(stream, link.as_ref(), open, began)));
                }
                noticed = ready(&mut noticing), if noticing.is_some() => {
                    noticing = None;
                    match noticed {
                        Ok((stream, candidate, terminal)) => {
                            let due = Arc::new(Notify::new());
                            let wait = hearing.map_or(proof_wait, |hearing| hearing.saturating_sub(started.elapsed()));
                            let until = tokio::time::Instant::now() + wait;
                            proving = Some(Proving { admission: candidate.admission(), until, due: due.clone() });
                            let metered = link.clone();
                            let meter = move || (millis(began), metered.counters());
                            let delivery = Delivery {
                                suspects: self.shared.suspects(terminal.id),
                                takes_zstd: self.shared.takes_zstd(terminal.id),
                                alarms: self.shared.alarms.clone(),
                                metrics: self.shared.metrics.clone(),
                                terminal,
                                call: self.call,
                                store: self.shared.store.clone(),
                                intake: self.shared.intake.clone(),
                                keys: self.shared.keys.clone(),
                                due,
                                keep_alive: None,
                                is_early: self.direction == Direction::Outgoing,
                                meter,
                                paid_until: self.paid_until(),
                            };
                            deliveries.spawn(deliver(delivery, stream, candidate));
                        }
                        Err(why) => return self.unless_lost(link.as_ref(), why).await,
                    }
                }
                Some(ended) = deliveries.join_next(), if proving.is_none() => {
                    // A stock terminal does not hang up by itself. End PPP in order: its PPP may not see the carrier drop.
                    if is_stock && self.direction == Direction::Outgoing {
                        return outcome(Some(ended), Outcome::Completed);
                    }
                    if !is_stock && matches!(ended, Ok(Ok(Tally { hang_up: true, .. }))) {
                        link.hang_up(); // every receipt is in
                        return outcome(Some(ended), Outcome::Completed);
                    }
                    finished = Some(ended);
                }
                Some(_) = connections.join_next() => {}
                () = sleep(idle_max), if is_idle => {
                    let nothing_came = if self.direction == Direction::Outgoing { "no connected notice" } else { "idle" };
                    return outcome(finished, Outcome::Idle(nothing_came));
                }
                () = Connected::replaced(&connected) => {
                    return outcome(finished, Outcome::Idle("replaced by another connection"));
                }
                () = &mut silent => return outcome(finished, Outcome::Idle("the far end fell silent")),
            }
        }
    }

    /// Handles an admission: the terminal is connected from here on.
    async fn connected(
        &self,
        admitted: Admitted,
        due: Arc<Notify>,
        course: &mut Course,
    ) -> Connected {
        course.is_admitted = true;
        let connected = Connected::new(&self.shared, &admitted, due);
        self.shared
            .report(Report::Connected {
                admitted,
                call: self.call,
                via: self.line.clone().into(),
            })
            .await;
        connected
    }

    /// The outcome for a terminal that was not admitted: the line's fault, or its own.
    async fn not_admitted(
        &self,
        link: &impl OpenLink,
        until: tokio::time::Instant,
        deliveries: &mut JoinSet<Result<Tally, Broken>>,
    ) -> Outcome {
        let last = if tokio::time::Instant::now() < until {
            LAST_WORDS
        } else {
            Duration::ZERO
        };
        let why = match timeout(last, deliveries.join_next()).await {
            Ok(Some(Ok(Err(
                Broken::NotAdmitted(NotAdmitted::Store(error)) | Broken::Store(error),
            )))) => {
                return Outcome::OurFault(error.to_string());
            }
            Ok(Some(Ok(Err(why)))) => with_causes(&why),
            _ => "no proof in time".to_owned(),
        };
        let outcome = self.unless_lost(link, Outcome::NotProved(why)).await;
        if matches!(outcome, Outcome::NotProved(_)) {
            tracing::warn!(call = %self.call, party = %self.peer.name(), "the terminal did not prove itself");
        }
        outcome
    }

    /// `otherwise`, unless the link was lost: then no one failed to prove anything.
    async fn unless_lost(&self, link: &impl OpenLink, otherwise: Outcome) -> Outcome {
        match link.lost().await {
            Some(Gone {
                why, is_lost: true, ..
            }) => Outcome::SessionLost {
                why,
                delivering: None,
            },
            _ => otherwise,
        }
    }

    /// The outcome of a call whose link is gone.
    fn left(&self, gone: Gone, finished: Option<Ended>, course: &Course) -> Outcome {
        let Gone {
            why,
            is_orderly,
            is_lost,
        } = gone;
        if !course.is_proved() && !is_lost && !self.is_proved_by_link() {
            return Outcome::NotProved(format!("nothing before the end: {why}"));
        }
        // A caller that only submits needs no connected notice.
        let is_complete = self.direction == Direction::Incoming && is_orderly;
        let otherwise = if is_complete {
            Outcome::Completed
        } else {
            Outcome::SessionLost {
                why,
                delivering: None,
            }
        };
        outcome(finished.filter(|_| course.is_admitted), otherwise)
    }

    /// End of the current paid billing unit, if the call is to use it up.
    fn paid_until(&self) -> impl Fn() -> Option<tokio::time::Instant> + use<> {
        let (began, linger) = (
            self.began,
            self.allowance
                .as_ref()
                .and_then(|allowance| allowance.linger.clone()),
        );
        move || {
            let (tariff, dialled) = linger.as_ref()?;
            Some(
                began
                    + tariff
                        .paid_until(dialled, began.elapsed())
                        .checked_sub(HANG_UP_GUARD)?,
            )
        }
    }

    /// How long a stock terminal stays on the line for more messages: to the end of the paid unit, or, on its own call, as long as an
    /// idle caller may stay.
    fn stock_wait_until(&self) -> impl Fn() -> Option<tokio::time::Instant> + Send + Sync + use<> {
        let (paid_until, direction) = (self.paid_until(), self.direction);
        move || match direction {
            Direction::Outgoing => paid_until(),
            Direction::Incoming => Some(tokio::time::Instant::now() + IDLE_MAX),
        }
    }

    /// Reads a connected notice and checks that its sender is the peer of this call.
    async fn notice<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        link: &impl OpenLink,
        open: &OpenSession,
        began: Instant,
    ) -> Result<(Secured<S>, Candidate, Terminal), Outcome> {
        let not_proved = |why: String| Outcome::NotProved(why);
        let read = timeout(NOTICE_WAIT, Preamble::read(&mut stream)).await;
        let preamble = match read {
            Ok(Ok(preamble)) => preamble,
            Ok(Err(error)) => return Err(not_proved(format!("bad connected notice: {error}"))),
            Err(_) => return Err(not_proved("no connected notice".into())),
        };
        let expected = self
            .peer
            .terminal()
            .filter(|terminal| terminal.id == preamble.terminal);
        let Some(terminal) = expected else {
            tracing::warn!(call = %self.call, says = %preamble.terminal, party = %self.peer.name(), "connected notice from another terminal");
            return Err(not_proved("connected notice from another terminal".into()));
        };
        let Counters {
            octets_out,
            octets_in,
            flights,
            ..
        } = link.counters();
        tracing::info!(call = %self.call, terminal = %terminal.name, millis = millis(began), octets_out, octets_in, flights, "connected notice");
        let form = terminal.trusted_by.key_form();
        let rate_bps = self.shared.careful_rate(terminal.id, link.rate_bps());
        let secured = self
            .shared
            .keys
            .secure(stream, open, terminal.id, form, rate_bps)
            .await;
        let (stream, candidate) = secured.map_err(|why| {
            tracing::warn!(call = %self.call, terminal = %terminal.name, %why, "terminal not trusted");
            match why {
                NotTrusted::Store(error) => Outcome::OurFault(error.to_string()),
                why => not_proved(format!("not trusted: {why}")),
            }
        })?;
        Ok((stream, candidate, terminal.clone()))
    }

    fn proof_wait(&self, rate_bps: u32) -> Duration {
        PROOF_WAIT.max(5 * (4 * self.delay + handshake(rate_bps)))
    }
}

/// Duration of a handshake on a line of this rate.
fn handshake(rate_bps: u32) -> Duration {
    Duration::from_secs_f64(f64::from(HANDSHAKE_OCTETS * 10) / f64::from(rate_bps.max(1)))
}

/// Waits for the future in `waited_for`; for ever, if it is `None`.
async fn ready<F: Future + Unpin>(waited_for: &mut Option<F>) -> F::Output {
    match waited_for {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Result of a delivery task.
type Ended = Result<Result<Tally, Broken>, JoinError>;

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
