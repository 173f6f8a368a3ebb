//! One call's link: PPP, the two ports that are open to the far end, the connected notice, proof, the delivery.

use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use delivery::proof::{Proof, Secured};
use delivery::{Preamble, TerminalId};
use line::{Call, CallId};
use link::{
    Authentication, CloseReason, Counters, Demand, Link, LinkConfig, LinkError, LocalAddress, PeerAddress, Secret,
    Secrets, Side, Terms, TunConfig,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::deliver::{Broken, Delivery, Tally, deliver};
use super::line_task::SessionResult;
use super::open_link::{Gone, OpenLink, OwnLink};
use super::stock::{self, FarEnd, StockDelivery};
use super::{Allowance, Connection, Report, Shared};
use crate::directory::{ChapSecret, Direction, Name, Provider, Stock, StockTrust, Terminal};
use crate::ledger::HANG_UP_GUARD;
use crate::outcome::Outcome;
use crate::store::Trust;

/// A terminal that we called must have said that it is connected so long after IP came up (design: an unproved link).
const NOTICE_WAIT: Duration = Duration::from_secs(15);

/// A terminal must have proved itself so long after its notice (design section 5); on a slow line five times what the
/// handshake should take.
const PROOF_WAIT: Duration = Duration::from_secs(15);

/// Octets of the longest handshake and what surrounds it, both ways.
const HANDSHAKE_OCTETS: u32 = 1500;

/// A link on which nothing is open for so long is hung up: somebody pays for it.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A far end from which nothing comes for so long, whatever is open, keeps a line from others.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The terminal hangs up after "nothing more"; if it does not, we do.
const HANG_UP_WAIT: Duration = Duration::from_secs(10);

/// How often the octets of a call are counted that may carry only so many.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Whom the number belongs to that we called or that calls.
#[derive(Debug)]
pub(crate) enum Peer {
    Terminal(Terminal),
    /// And what it has to pass CHAP with, if that is demanded.
    Provider(Provider, Option<ChapSecret>),
}

impl Peer {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Self::Terminal(terminal) => &terminal.name,
            Self::Provider(provider, _) => &provider.name,
        }
    }

    pub(crate) fn terminal(&self) -> Option<&Terminal> {
        match self {
            Self::Terminal(terminal) => Some(terminal),
            Self::Provider(..) => None,
        }
    }

    /// What it has to pass CHAP with: without, it has no link, whoever called.
    pub(crate) fn chap(&self) -> Option<&ChapSecret> {
        match self {
            Self::Terminal(terminal) => match &terminal.trusted_by.stock()?.trust {
                StockTrust::Chap(secret) => Some(secret),
                StockTrust::NumberOnly => None,
            },
            Self::Provider(_, secret) => secret.as_ref(),
        }
    }
}

/// One call's link.
pub(crate) struct Session {
    pub(crate) call: CallId,
    pub(crate) peer: Peer,
    pub(crate) line: Name,
    pub(crate) direction: Direction,
    pub(crate) delay: Duration,
    pub(crate) shared: Arc<Shared>,
    /// Since when it may cost.
    pub(crate) began: tokio::time::Instant,
    /// What it may use, if we pay.
    pub(crate) allowance: Option<Allowance>,
}

impl Session {
    /// From CONNECT to on hook.
    pub(crate) async fn run(self, call: Call) -> SessionResult {
        let began = Instant::now();
        let failed = |outcome| SessionResult { outcome, counters: Counters::default() };
        let pool = &self.shared.settings.pool;
        let loan =
            if self.peer.terminal().is_some_and(|terminal| terminal.address.is_some()) { None } else { pool.lend() };
        let lent = loan.as_ref().map(|loan| loan.address);
        let Some(address) = self.peer.terminal().and_then(|terminal| terminal.address).or(lent) else {
            return failed(Outcome::OurFault("no address left in the pool".into()));
        };
        let config = LinkConfig {
            local: LocalAddress::Own(self.shared.settings.address),
            peer: PeerAddress::Assign(address),
            rate_bps: call.rate_bps(),
            delay: self.delay,
            ports: &[delivery::SUBMISSION_PORT, delivery::PORT],
            terms: self.terms(),
            expected: self.peer.terminal().and_then(|terminal| self.shared.expected(terminal.id, address)),
            capture: self.shared.settings.capture.clone(),
            tun: self.shared.settings.tun.clone().map(|ports| TunConfig { side: Side::Server, ports }),
        };
        let establishing = async {
            let established = Link::establish(call, config);
            match self.hang_up_at() {
                Some(at) => timeout_at(at, established).await,
                None => Ok(established.await),
            }
        };
        let hang_up = self.shared.open_calls.hang_up(self.call);
        let established = tokio::select! {
            established = establishing => established,
            () = hang_up.cancelled() => return failed(Outcome::EndedByOperator),
        };
        let link = match established {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => {
                if let Some(terminal) = self.peer.terminal() {
                    self.shared.agreed(terminal.id, None);
                }
                return failed(match error {
                    LinkError::NotEstablished(CloseReason::PeerNotProved { .. }) => {
                        Outcome::NotProved(error.to_string())
                    }
                    LinkError::NotEstablished(reason) => Outcome::LinkFailed(reason.to_string()),
                    LinkError::NoRandom(_) => Outcome::OurFault(error.to_string()),
                });
            }
            Err(_) => return failed(Outcome::AllowanceSpent),
        };
        self.log_link_up(link.counters(), address, began);
        let Ok(link) = OwnLink::open(link) else { return failed(Outcome::LinkFailed("no ports".into())) };
        let own = Arc::new(link);
        let outcome = self.serve(&own, began).await;
        let link = &own.link;
        if let Some(terminal) = self.peer.terminal() {
            self.shared.agreed(terminal.id, link.agreement().filter(|_| link.is_proved()));
        }
        link.close();
        let patience = if outcome == Outcome::AllowanceSpent { HANG_UP_GUARD / 2 } else { HANG_UP_WAIT };
        timeout(patience, link.closed()).await.ok();
        let counters = link.counters();
        let Counters { noise_octets, bad_frames, .. } = counters;
        if noise_octets + bad_frames > 0 {
            tracing::warn!(call = %self.call, noise_octets, bad_frames, "noise on the line");
        }
        SessionResult { outcome, counters }
    }

    /// Who is to pass CHAP has no link otherwise.
    fn terms(&self) -> Terms {
        let Some(secret) = self.peer.chap() else { return Terms::default() };
        let name = link::Name::new(self.peer.name().to_string()).expect("a name has 1 to 40 octets");
        let secret = Secret::new(secret.reveal()).expect("checked by ChapSecret");
        let peers = Secrets::from_iter([(name, secret)]);
        let authentication = Authentication { demand: Demand::Chap, peers, ..Authentication::default() };
        Terms { authentication, ..Terms::default() }
    }

    /// The terminal, if it is a stock one that is brought what is due on this call.
    async fn stock(&self) -> Result<Option<(Terminal, Stock)>, Outcome> {
        let Some((terminal, stock)) =
            self.peer.terminal().and_then(|terminal| Some((terminal, terminal.trusted_by.stock()?)))
        else {
            return Ok(None);
        };
        let is_believed = match stock.trust {
            StockTrust::Chap(_) => true, // else there is no link
            // Who answers a number has it; who presents one may have forged it.
            StockTrust::NumberOnly => self.shared.settings.number_only && self.direction == Direction::Outgoing,
        };
        let shut_out = match self.shared.store.trust(terminal.id).await {
            Ok(trust) => trust.shut_out_at.is_some(),
            Err(error) => return Err(Outcome::OurFault(error.to_string())),
        };
        Ok((is_believed && !shut_out).then(|| (terminal.clone(), stock.clone())))
    }

    /// When to begin to hang up: the guard is for hanging up, and once more for the exchange to see it.
    fn hang_up_at(&self) -> Option<tokio::time::Instant> {
        let allowance = self.allowance.as_ref()?;
        Some(self.began + allowance.longest.saturating_sub(2 * HANG_UP_GUARD))
    }

    /// Returns when the call has used what it may.
    async fn spent(&self, link: &impl OpenLink) {
        let (Some(at), Some(allowance)) = (self.hang_up_at(), &self.allowance) else {
            return std::future::pending().await;
        };
        if allowance.octets == u64::MAX {
            return sleep_until(at).await;
        }
        while tokio::time::Instant::now() < at {
            let Counters { octets_out, octets_in, .. } = link.counters();
            if octets_out + octets_in >= allowance.octets {
                return;
            }
            sleep(COUNT_INTERVAL).await;
        }
    }

    pub(crate) fn log_link_up(&self, counters: Counters, address: Ipv4Addr, began: Instant) {
        let Counters { octets_out, octets_in, flights, .. } = counters;
        let millis = millis(began);
        tracing::info!(call = %self.call, party = %self.peer.name(), %address, millis, octets_out, octets_in, flights, "link up");
    }

    /// Serves the far end until the link is gone, or there is a reason to end it.
    pub(crate) async fn serve(&self, link: &Arc<impl OpenLink>, began: Instant) -> Outcome {
        let outcome = self.serve_to_the_end(link, began).await;
        // What went as early data is read there after the proof only: it is free, and not in doubt.
        if matches!(outcome, Outcome::NotProved(_))
            && let Err(error) = self.shared.store.unproved(self.call).await
        {
            tracing::error!(call = %self.call, %error, "what went before the proof is in doubt");
        }
        outcome
    }

    async fn serve_to_the_end(&self, link: &Arc<impl OpenLink>, began: Instant) -> Outcome {
        let mut connections = JoinSet::new();
        let mut deliveries: JoinSet<Result<Tally, Broken>> = JoinSet::new();
        let mut connected = None; // while it lives the terminal can be told that more is due
        let mut proving: Option<Proving> = None;
        let proof_wait = self.proof_wait(link.rate_bps());
        let mut finished = None;
        let hang_up = self.shared.open_calls.hang_up(self.call);
        let mut silent = std::pin::pin!(link.silent(SILENCE_MAX));
        let mut spent = std::pin::pin!(self.spent(link.as_ref()));
        let stock = match self.stock().await {
            Ok(stock) => stock,
            Err(outcome) => return outcome,
        };
        let is_stock = stock.is_some();
        if let (Some((terminal, stock)), Some(address)) = (stock, link.address()) {
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
            deliveries.spawn(stock::deliver(delivery, FarEnd { link: link.clone(), address }));
            // No notice comes from a machine without Ringup: the link itself is it.
            connected = Some(Connected::new(&self.shared, id, due));
            self.shared
                .report(Report::Connected { terminal: id, call: self.call, via: self.line.clone().into() })
                .await;
        }
        loop {
            let is_idle = connections.is_empty() && deliveries.is_empty();
            let idle_max = match self.direction {
                _ if finished.is_some() => HANG_UP_WAIT,
                Direction::Outgoing => NOTICE_WAIT,
                Direction::Incoming => IDLE_MAX,
            };
            tokio::select! {
                Gone { why, is_orderly } = link.gone() => {
                    // A delivery that saw the link go first says how it was left.
                    while let Some(ended) = deliveries.join_next().await {
                        finished = Some(ended);
                    }
                    // A caller that only submits has nothing to be connected for.
                    let is_complete = self.direction == Direction::Incoming && is_orderly;
                    let lost = || Outcome::SessionLost { why, delivering: None };
                    return outcome(finished, if is_complete { Outcome::Completed } else { lost() });
                }
                Ok(stream) = link.submission() => {
                    let door = self.shared.submissions.clone();
                    connections.spawn(async move { door.serve(stream).await });
                }
                Ok(stream) = link.notice(), if connected.is_none() && proving.is_none() => {
                    match self.notice(stream, link.as_ref(), began).await {
                        Ok((stream, trust, terminal)) => {
                            let (due, until) = (Arc::new(Notify::new()), Instant::now() + proof_wait);
                            let proof = stream.proof();
                            proving = Some(Proving { proof, until, terminal: terminal.id, due: due.clone() });
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
                                meter,
                                paid_until: self.paid_until(),
                            };
                            deliveries.spawn(deliver(delivery, stream, trust));
                        }
                        Err(why) => return Outcome::NotProved(why),
                    }
                }
                is_proved = Proving::end(&mut proving), if proving.is_some() => {
                    let Some(proving) = proving.take() else { continue };
                    if !is_proved {
                        tracing::warn!(call = %self.call, party = %self.peer.name(), "the terminal did not prove itself");
                        return Outcome::NotProved("no proof".into());
                    }
                    link.proved();
                    connected = Some(Connected::new(&self.shared, proving.terminal, proving.due));
                    let (terminal, via) = (proving.terminal, self.line.clone().into());
                    self.shared.report(Report::Connected { terminal, call: self.call, via }).await;
                }
                Some(ended) = deliveries.join_next(), if proving.is_none() => {
                    // A stock terminal does not hang up by itself, and is told in order: its PPP may not see the carrier.
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
                () = hang_up.cancelled() => return Outcome::EndedByOperator,
                () = &mut silent => return outcome(finished, Outcome::Idle("the far end fell silent")),
                () = &mut spent => return Outcome::AllowanceSpent,
            }
        }
    }

    /// Until when the unit that is running is paid for, if the call is to stay so long.
    fn paid_until(&self) -> impl Fn() -> Option<tokio::time::Instant> + use<> {
        let (began, linger) = (self.began, self.allowance.as_ref().and_then(|allowance| allowance.linger.clone()));
        move || {
            let (tariff, dialled) = linger.as_ref()?;
            Some(began + tariff.paid_until(dialled, began.elapsed()).checked_sub(HANG_UP_GUARD)?)
        }
    }

    /// Until when a stock terminal is kept on the line for more: while the unit is paid for, or, on its own call, for as long as
    /// an idle caller may stay.
    fn stock_wait_until(&self) -> impl Fn() -> Option<tokio::time::Instant> + Send + Sync + use<> {
        let (paid_until, direction) = (self.paid_until(), self.direction);
        move || match direction {
            Direction::Outgoing => paid_until(),
            Direction::Incoming => Some(tokio::time::Instant::now() + IDLE_MAX),
        }
    }

    /// Reads a connected notice and checks that it comes from whom the call is with.
    async fn notice<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        link: &impl OpenLink,
        began: Instant,
    ) -> Result<(Secured<S>, Trust, Terminal), String> {
        let read = timeout(NOTICE_WAIT, Preamble::read(&mut stream)).await;
        let preamble = match read {
            Ok(Ok(preamble)) => preamble,
            Ok(Err(error)) => return Err(format!("bad connected notice: {error}")),
            Err(_) => return Err("no connected notice".into()),
        };
        let expected = self.peer.terminal().filter(|terminal| terminal.id == preamble.terminal);
        let Some(terminal) = expected else {
            tracing::warn!(call = %self.call, says = %preamble.terminal, party = %self.peer.name(), "connected notice from somebody else");
            return Err("connected notice from somebody else".into());
        };
        let Counters { octets_out, octets_in, flights, .. } = link.counters();
        tracing::info!(call = %self.call, terminal = %terminal.name, millis = millis(began), octets_out, octets_in, flights, "connected notice");
        let form = terminal.trusted_by.key_form();
        let rate_bps = self.shared.careful_rate(terminal.id, link.rate_bps());
        let secured = self.shared.keys.secure(stream, terminal.id, form, rate_bps).await;
        let (stream, trust) = secured.map_err(|why| {
            tracing::warn!(call = %self.call, terminal = %terminal.name, %why, "terminal not trusted");
            format!("not trusted: {why}")
        })?;
        Ok((stream, trust, terminal.clone()))
    }

    fn proof_wait(&self, rate_bps: u32) -> Duration {
        let octets = Duration::from_secs_f64(f64::from(HANDSHAKE_OCTETS * 10) / f64::from(rate_bps.max(1)));
        PROOF_WAIT.max(5 * (4 * self.delay + octets))
    }
}

/// How the call counts: by its delivery, if there was one.
pub(super) fn outcome(finished: Option<Result<Result<Tally, Broken>, JoinError>>, otherwise: Outcome) -> Outcome {
    match finished {
        Some(Ok(Ok(Tally { refused: 0, unreadable: 0, .. }))) => Outcome::Completed,
        Some(Ok(Ok(Tally { delivered, refused, unreadable, .. }))) => {
            Outcome::MessagesRefused { delivered, refused, unreadable }
        }
        Some(Ok(Err(broken))) => {
            let why = broken.to_string();
            match broken {
                Broken::Session { under_way, .. } | Broken::Stock { under_way, .. } => {
                    Outcome::SessionLost { why, delivering: under_way }
                }
                Broken::PutOff { why, wait } => Outcome::PutOff { why, wait },
                Broken::NotProved | Broken::Enrol(_) | Broken::InvitationOver => Outcome::NotProved(why),
                Broken::Store(_) => Outcome::OurFault(why),
            }
        }
        Some(Err(_)) => Outcome::OurFault("delivery failed".into()),
        None => otherwise,
    }
}

/// A terminal that has said who it is and not proved it yet.
struct Proving {
    proof: Proof,
    until: Instant,
    terminal: TerminalId,
    due: Arc<Notify>,
}

impl Proving {
    /// Waits for the proof, or for its time to be over. May be dropped and called again.
    async fn end(proving: &mut Option<Self>) -> bool {
        let Some(Self { proof, until, .. }) = proving else { return std::future::pending().await };
        matches!(timeout_at((*until).into(), proof.wait()).await, Ok(Some(_)))
    }
}

/// While this lives, the terminal is in the list of those to be notified. There is one connection of a terminal: a new one
/// replaces the old, which may be dead without knowing it.
pub(crate) struct Connected {
    shared: Arc<Shared>,
    terminal: TerminalId,
    replaced: CancellationToken,
}

impl Connected {
    /// The terminal has proved itself; `due` is what its delivery waits on.
    pub(crate) fn new(shared: &Arc<Shared>, terminal: TerminalId, due: Arc<Notify>) -> Self {
        let replaced = CancellationToken::new();
        let entry = Connection { due, replaced: replaced.clone() };
        let before = shared.connected.lock().unwrap_or_else(PoisonError::into_inner).insert(terminal, entry);
        if let Some(before) = before {
            before.replaced.cancel();
        }
        shared.came.notify_waiters();
        Self { shared: shared.clone(), terminal, replaced }
    }

    /// Waits until the terminal has connected anew; for ever, if it is not connected.
    pub(crate) async fn replaced(connected: &Option<Self>) {
        match connected {
            Some(connected) => connected.replaced.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connected = self.shared.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.replaced.is_cancelled() {
            connected.remove(&self.terminal);
        }
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
