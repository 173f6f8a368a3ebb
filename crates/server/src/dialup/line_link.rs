//! The link of a call on a line of this process, from CONNECT to on hook, whoever serves it: a session here, or an information server
//! over the trunk.

use std::net::Ipv4Addr;
use std::time::Duration;

use line::CallId;
use link::{
    Authentication, CloseReason, Counters, CredentialError, Demand, Link, LinkConfig, LinkError,
    Secret, Secrets, Terms,
};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Allowance;
use super::addresses::{AddressPool, Loan};
use calling::ledger::HANG_UP_GUARD;
use model::outcome::Outcome;

/// Hang up after this long without an octet from the far end, whatever is open: it blocks the line.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Longest wait for the far end's good-bye.
pub(crate) const HANG_UP_WAIT: Duration = Duration::from_secs(10);

/// Interval between octet counts of a call with an octet limit.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// The cost of a call in progress, against its limits.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Start of the chargeable time.
    pub(crate) began: Instant,
    /// Limits, if this side pays.
    pub(crate) allowance: Option<Allowance>,
}

impl Meter {
    /// When to begin to hang up: one guard time for hanging up, and one more for the exchange to notice.
    pub(crate) fn hang_up_at(&self) -> Option<Instant> {
        let allowance = self.allowance.as_ref()?;
        Some(self.began + allowance.longest.saturating_sub(2 * HANG_UP_GUARD))
    }

    /// Completes when the call has used up its allowance.
    pub(crate) async fn spent(&self, counters: impl Fn() -> Counters) {
        let (Some(at), Some(allowance)) = (self.hang_up_at(), &self.allowance) else {
            return std::future::pending().await;
        };
        if allowance.octets == u64::MAX {
            return sleep_until(at).await;
        }
        while Instant::now() < at {
            let Counters {
                octets_out,
                octets_in,
                ..
            } = counters();
            if octets_out + octets_in >= allowance.octets {
                return;
            }
            sleep(COUNT_INTERVAL).await;
        }
    }
}

/// The far end's own address, or one on loan for this call. `None`: all are on loan.
pub(crate) fn address(
    own: Option<Ipv4Addr>,
    pool: &AddressPool,
) -> Option<(Ipv4Addr, Option<Loan>)> {
    match own {
        Some(own) => Some((own, None)),
        None => pool.lend().map(|loan| (loan.address, Some(loan))),
    }
}

/// The far end must pass CHAP: no link without it.
pub(crate) fn chap_terms(party: link::Name, secret: &str) -> Result<Terms, CredentialError> {
    let authentication = Authentication {
        demand: Demand::Chap,
        peers: Secrets::from_iter([(party, Secret::new(secret)?)]),
        ..Authentication::default()
    };
    Ok(Terms {
        authentication,
        ..Terms::default()
    })
}

/// Why a call has no link.
#[derive(Debug)]
pub(crate) enum NoLink {
    /// It was hung up from here meanwhile.
    HungUp,
    /// It was not up in time.
    Late,
    Failed(LinkError),
}

/// Brings a link up, if that is done by `until`.
pub(crate) async fn establish(
    call: line::Call,
    config: LinkConfig,
    until: Option<Instant>,
    hang_up: &CancellationToken,
) -> Result<Link, NoLink> {
    let established = Link::establish(call, config);
    let in_time = async {
        match until {
            Some(at) => timeout_at(at, established)
                .await
                .map_err(|_| NoLink::Late)?,
            None => established.await,
        }
        .map_err(NoLink::Failed)
    };
    tokio::select! {
        link = in_time => link,
        () = hang_up.cancelled() => Err(NoLink::HungUp),
    }
}

/// The outcome of a call whose link did not come up.
pub(crate) fn not_established(error: &LinkError) -> Outcome {
    match error {
        LinkError::NotEstablished(CloseReason::PeerNotProved { .. }) => {
            Outcome::NotProved(error.to_string())
        }
        LinkError::NotEstablished(reason) => Outcome::LinkFailed(reason.to_string()),
        LinkError::NoRandom(_) => Outcome::OurFault(error.to_string()),
    }
}

/// Says good-bye and goes on hook; gives what the link has carried.
pub(crate) async fn end(link: &Link, call: CallId, outcome: &Outcome) -> Counters {
    link.close();
    let patience = if *outcome == Outcome::AllowanceSpent {
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
        tracing::warn!(%call, noise_octets, bad_frames, "noise on the line");
    }
    counters
}
