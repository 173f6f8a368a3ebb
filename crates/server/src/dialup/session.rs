//! One call's link: PPP, the two ports open to the far end, the connected notice, the proof, the delivery.

mod course;
mod peer;
mod serving;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::Preamble;
use delivery::proof::{self, Secured};
use jiff::Timestamp;
use line::{Call, CallId, Number};
use link::{
    CloseReason, Counters, LinkConfig, LinkError, LocalAddress, PeerAddress, Side, Terms, TunConfig,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinError;
use tokio::time::timeout;

use course::Course;
pub(crate) use course::Served;
pub(super) use course::outcome;
pub(crate) use peer::Peer;
use serving::Serving;

use super::Shared;
use super::deliver::{Broken, Tally};
use super::line_link::{self, Meter, NoLink};
use super::line_task::{SessionResult, Showing};
use super::open_link::{OpenLink, OwnLink};
use crate::keys::{Admitted, Candidate, NotTrusted, OpenSession};
use calling::ledger::HANG_UP_GUARD;
use model::call::Direction;
use model::directory::{Name, Stock, StockTrust, Terminal};
use model::outcome::Outcome;
use store::StoreError;

/// Longest wait for a called terminal's connected notice, from IP up (design: an unproved link).
const NOTICE_WAIT: Duration = Duration::from_secs(15);

/// Hang up a link without an open connection after this long; it costs money.
const IDLE_MAX: Duration = Duration::from_secs(30);

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
    pub(crate) meter: Meter,
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
        let own = self.peer.terminal().and_then(|terminal| terminal.address);
        let Some((address, _loan)) = line_link::address(own, &self.shared.settings.pool) else {
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
                .and_then(|terminal| self.shared.agreements.expected(&terminal.id, address)),
            capture: self.shared.settings.capture.clone(),
            tun: self.shared.settings.tun.clone().map(|ports| TunConfig {
                side: Side::Server,
                ports,
            }),
        };
        let until = self
            .meter
            .hang_up_at()
            .into_iter()
            .chain(hearing.map(|hearing| tokio::time::Instant::from_std(began) + hearing))
            .min();
        let hang_up = self.shared.open_calls.hang_up(self.call);
        let link = match line_link::establish(call, config, until, &hang_up).await {
            Ok(link) => link,
            Err(why) => {
                let (outcome, showing) = self.without_link(&why, hearing.is_some());
                return failed(outcome, showing);
            }
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
                .agreements
                .keep(terminal.id, link.agreement().filter(|_| link.is_proved()));
        }
        let counters = line_link::end(link, self.call, &outcome).await;
        SessionResult {
            outcome,
            counters,
            showing,
        }
    }

    /// How a call counts whose link did not come up. `is_spaced`: its caller had a limited time.
    fn without_link(&self, why: &NoLink, is_spaced: bool) -> (Outcome, Showing) {
        let error = match why {
            NoLink::HungUp => return (Outcome::EndedByOperator, Showing::Unknown),
            NoLink::Late if is_spaced => {
                return (Outcome::NotProved(SPACED.into()), Showing::Nothing);
            }
            NoLink::Late => return (Outcome::AllowanceSpent, Showing::Unknown),
            NoLink::Failed(error) => error,
        };
        if let Some(terminal) = self.peer.terminal() {
            self.shared.agreements.keep(terminal.id, None);
        }
        let showing = match error {
            LinkError::NotEstablished(CloseReason::CarrierLost) => Showing::LineLost,
            LinkError::NotEstablished(_) => Showing::Nothing,
            LinkError::NoRandom(_) => Showing::Unknown,
        };
        (line_link::not_established(error), showing)
    }

    /// Time for the proof of a spaced caller: the expected duration, at most the rest of the time that spaced callers share.
    pub(crate) fn hearing(&self, rate_bps: u32) -> Option<Duration> {
        let caller = self.caller.as_ref()?;
        self.shared
            .hearing(caller, proof::hearing(rate_bps, self.delay))
    }

    /// A provider that must pass CHAP gets no link without it.
    fn terms(&self) -> Terms {
        let Some(secret) = self.peer.chap() else {
            return Terms::default();
        };
        let name =
            link::Name::new(self.peer.name().to_string()).expect("a name has 1 to 40 octets");
        line_link::chap_terms(name, secret.reveal()).expect("checked by ChapSecret")
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
        let ours = |error: StoreError| Outcome::OurFault(error.to_string());
        let store = &self.shared.store;
        let is_believed = match stock.trust {
            StockTrust::Chap(_) => true, // else there is no link
            // The far end that answers a number has that number; a presented caller number may be forged.
            StockTrust::NumberOnly
                if self.shared.settings.number_only && self.direction == Direction::Outgoing =>
            {
                // It may have got another number while this one was dialled.
                let now = store.terminal(terminal.id).await.map_err(ours)?;
                now.is_some_and(|now| now.number == terminal.number)
            }
            StockTrust::NumberOnly => false,
        };
        // The terminal may have been blocked or removed while its link came up.
        let may_be = store
            .can_be_proved(terminal.id, Timestamp::now())
            .await
            .map_err(ours)?;
        let admitted = open
            .filter(|_| is_believed && may_be)
            .and_then(Admitted::stock);
        Ok(admitted.map(|admitted| (terminal.clone(), stock.clone(), admitted)))
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
        let serving = Serving::new(self, link, began, hearing, &open, &mut course);
        let outcome = serving.run().await;
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

    /// End of the current paid billing unit, if the call is to use it up.
    fn paid_until(&self) -> impl Fn() -> Option<tokio::time::Instant> + use<> {
        let Meter { began, allowance } = &self.meter;
        let linger = allowance
            .as_ref()
            .and_then(|allowance| allowance.linger.clone());
        let began = *began;
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
        let rate_bps = self.shared.notes.careful_rate(terminal.id, link.rate_bps());
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
}

/// Result of a delivery task.
type Ended = Result<Result<Tally, Broken>, JoinError>;

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
