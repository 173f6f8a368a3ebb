//! The only room of a terminal that dials: a provider's call, or a terminal's own. Also the only one that goes to the server
//! over the Internet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use delivery::Reason;
use jiff::Timestamp;
use line::{Call, DialFailure, LineError, ModemLine, PortAddress};
use link::{CloseReason, Link};
use modem::{DialString, Failure, Setup};
use tokio::time::{Instant, timeout};

use crate::budget::{Budget, BudgetError};
use crate::identity::Identity;
use crate::inbox::{InboxConfig, InboxError};
use crate::outbox::{Outbox, StandingConditions};
use crate::session::{Ended, LinkSettings, Receiving, SessionError, establish, receive};
use crate::submission::{Accepted, Submission, SubmitError, submit};

/// From the dial command to CONNECT.
const DIAL_TIMEOUT: Duration = Duration::from_secs(75);

/// The longest call that a machine places: enough for 16 MiB at 33600 bit/s.
const CALL_MAX: Duration = Duration::from_secs(90 * 60);

/// A call to the server.
#[derive(Debug)]
pub struct DialIn {
    /// What is dialled.
    pub number: DialString,
    /// What this machine may spend.
    pub budget: Budget,
    /// The link over it.
    pub link: LinkSettings,
    /// What is submitted on this call, in this order.
    pub submissions: Vec<Submission>,
    /// If the machine is a terminal, too: what waits for it is received on the same call.
    pub receive: Option<ReceiveConfig>,
}

/// What a terminal needs to receive on a call of its own.
#[derive(Debug, Clone)]
pub struct ReceiveConfig {
    /// Where its key is, and what it knows of its server.
    pub state: PathBuf,
    /// Where what comes is kept.
    pub inbox: InboxConfig,
    /// How long it stays connected after "nothing more".
    pub linger: Duration,
    /// What it takes whenever it has said nothing else.
    pub standing: Option<StandingConditions>,
}

impl ReceiveConfig {
    /// Opens what a session needs, before anything is paid for.
    ///
    /// # Errors
    /// [`DialInError::Inbox`], or [`SessionError::Identity`].
    pub fn open(&self) -> Result<Receiving, DialInError> {
        let outbox = Outbox::new(&self.state).with_standing(self.standing.clone());
        // What comes outside of it is refused on this session in any case.
        if let Err(error) = outbox.say_standing() {
            tracing::error!(%error, "the server cannot be told what this terminal takes");
        }
        Ok(Receiving {
            identity: Arc::new(Identity::open(&self.state).map_err(SessionError::from)?),
            inbox: Arc::new(self.inbox.open()?),
            outbox: Arc::new(outbox),
            linger: self.linger,
        })
    }
}

/// Why a call did not do all it was placed for.
#[derive(Debug, thiserror::Error)]
pub enum DialInError {
    /// The line.
    #[error("the line failed")]
    Line(#[from] LineError),
    /// This machine has spent what it may.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The call was ended because it had taken as long as it may.
    #[error("the call was hung up after {} s: that is what the budget had left", .0.as_secs())]
    TooLong(Duration),
    /// The inbox cannot be used: then the call is not placed.
    #[error("the inbox cannot be used, so no call is placed")]
    Inbox(#[from] InboxError),
    /// There was no call.
    #[error("the call was not connected")]
    NotConnected(#[from] DialFailure),
    /// The link or the delivery.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The delivery on the call.
    #[error("{source}")]
    BrokeOff {
        /// Why.
        source: SessionError,
        /// What had come before.
        brought: u32,
    },
    /// A submission; those before it were accepted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// Opens the modem at `port` and places a call on it: see [`dial`].
///
/// # Errors
/// [`DialInError`]; the line is hung up in any case.
pub async fn dial_in(
    port: &PortAddress,
    setup: Setup,
    job: DialIn,
) -> Result<Vec<Accepted>, DialInError> {
    let line = ModemLine::open(port, setup).await?;
    Ok(dial(line, job).await?.accepted)
}

/// Result of a call.
#[derive(Debug)]
pub struct Dialled {
    /// What was accepted, in order.
    pub accepted: Vec<Accepted>,
    /// Messages that came, and whether the server took what waited here.
    pub brought: u32,
}

/// Dials the server, submits, receives, hangs up.
///
/// # Errors
/// [`DialInError`]; the line is hung up in any case.
pub async fn dial(line: ModemLine, job: DialIn) -> Result<Dialled, DialInError> {
    let DialIn {
        number,
        budget,
        link: settings,
        submissions,
        receive: receiving,
    } = job;
    let receiving = receiving.map(|config| config.open()).transpose()?;
    // On the disk before the modem hears of it.
    let reservation = budget.reserve(CALL_MAX, Timestamp::now())?;
    let digits = number.as_str();
    let last = &digits[digits.len().saturating_sub(3)..]; // ASCII
    tracing::info!(number = format!("..{last}"), "dialling in");
    let began = Instant::now();
    let call = match line.dial(&number, DIAL_TIMEOUT).await {
        Ok(call) => call,
        Err(failure) => {
            // When it was answered is not known: it counts from the number on.
            let took = if may_have_been_answered(&failure) {
                began.elapsed()
            } else {
                Duration::ZERO
            };
            budget.settle(&reservation, took)?;
            return Err(failure.into());
        }
    };
    let connected = Instant::now();
    tracing::info!(rate = call.rate_bps(), "call connected");
    let talk = talk(call, number.as_str(), &settings, submissions, receiving);
    let result = timeout(reservation.longest, talk)
        .await
        .unwrap_or(Err(DialInError::TooLong(reservation.longest)));
    budget.settle(&reservation, connected.elapsed())?;
    result
}

/// A voice that has answered, modems that did not agree and a line that failed may be on the bill.
fn may_have_been_answered(failure: &DialFailure) -> bool {
    matches!(
        failure,
        DialFailure::Line(_) | DialFailure::NoCall(Failure::NoCarrier | Failure::NotData)
    )
}

async fn talk(
    call: Call,
    number: &str,
    settings: &LinkSettings,
    submissions: Vec<Submission>,
    receiving: Option<Receiving>,
) -> Result<Dialled, DialInError> {
    // Only a terminal's server proves itself.
    let agreements = receiving
        .as_ref()
        .map(|receiving| receiving.identity.agreements());
    let link = establish(
        call,
        settings,
        agreements
            .as_ref()
            .and_then(|agreements| agreements.of(number)),
    )
    .await?;
    let accepted = submit_all(&link, submissions).await;
    let received = match receiving {
        Some(receiving) if accepted.is_ok() => {
            receive(&link, Reason::DialledIn, settings.delay, None, receiving).await
        }
        _ => Ended {
            is_proved: false,
            brought: 0,
            result: Ok(()),
        },
    };
    link.close();
    let reason = link.closed().await;
    let Ended {
        brought,
        result: received,
        ..
    } = received;
    match &reason {
        // The server hangs up a call that is over without a good-bye: no fault of the line.
        CloseReason::CarrierLost if accepted.is_ok() && received.is_ok() => {
            tracing::info!(reason = "the server ended the call", "hung up");
        }
        reason => tracing::info!(%reason, "hung up"),
    }
    if let Some(agreements) = agreements {
        agreements.keep(
            number,
            link.agreement()
                .filter(|_| accepted.is_ok() && received.is_ok()),
        );
    }
    let accepted = accepted?;
    // What had come before it broke off is here, and the call was worth it.
    if let Err(error) = received {
        return Err(DialInError::BrokeOff {
            source: error,
            brought,
        });
    }
    Ok(Dialled { accepted, brought })
}

async fn submit_all(
    link: &Link,
    submissions: Vec<Submission>,
) -> Result<Vec<Accepted>, DialInError> {
    let server = link.peer().ok_or(SessionError::NoServer)?;
    let mut all = Vec::new();
    for submission in submissions {
        let stream = link
            .connect(server, delivery::SUBMISSION_PORT)
            .await
            .map_err(SubmitError::Connect)?;
        let accepted = submit(stream, &server.to_string(), submission).await?;
        tracing::info!(message_id = accepted.id, "submitted");
        all.push(accepted);
    }
    Ok(all)
}
