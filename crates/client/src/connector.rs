//! The only room of a terminal that dials: a provider's call, or a terminal's own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use delivery::{Reason, TerminalId};
use line::{DialFailure, LineError, ModemLine, PortAddress};
use link::Link;
use modem::{DialString, Setup};

use crate::inbox::{Inbox, InboxError};
use crate::session::{LinkSettings, SessionError, establish, receive};
use crate::submission::{Accepted, Submission, SubmitError, submit};

/// From the dial command to CONNECT.
const DIAL_TIMEOUT: Duration = Duration::from_secs(75);

/// A call to the server.
#[derive(Debug, Clone)]
pub struct DialIn {
    /// Where the modem is.
    pub port: PortAddress,
    /// What its modem is, and is told.
    pub setup: Setup,
    /// What is dialled.
    pub number: DialString,
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
    /// Its public id.
    pub id: TerminalId,
    /// Where what comes is kept.
    pub inbox: PathBuf,
    /// How long it stays connected after "nothing more".
    pub linger: Duration,
}

/// Why a call did not do all it was placed for.
#[derive(Debug, thiserror::Error)]
pub enum DialInError {
    /// The line.
    #[error("the line failed")]
    Line(#[from] LineError),
    /// The inbox cannot be used: then the call is not placed.
    #[error("the inbox cannot be used, so no call is placed")]
    Inbox(#[from] InboxError),
    /// There was no call.
    #[error("the call was not connected")]
    NotConnected(#[from] DialFailure),
    /// The link or the delivery.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A submission; those before it were accepted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// Dials the server, submits, receives, hangs up. Gives what was accepted, in order.
///
/// # Errors
/// [`DialInError`]; the line is hung up in any case.
pub async fn dial_in(job: DialIn) -> Result<Vec<Accepted>, DialInError> {
    let DialIn { port, setup, number, link: settings, submissions, receive: receiving } = job;
    let receiving = match receiving {
        Some(config) => Some((Arc::new(Inbox::open(&config.inbox)?), config)),
        None => None,
    };
    let line = ModemLine::open(&port, setup).await?;
    tracing::info!(?number, "dialling in");
    let call = line.dial(&number, DIAL_TIMEOUT).await?;
    tracing::info!(rate = call.rate_bps(), "call connected");
    let link = establish(call, &settings).await?;
    let accepted = submit_all(&link, submissions).await;
    let received = match receiving {
        Some((inbox, config)) if accepted.is_ok() => {
            receive(&link, config.id, Reason::DialledIn, inbox, config.linger).await
        }
        _ => Ok(()),
    };
    link.close();
    let reason = link.closed().await;
    tracing::info!(%reason, "hung up");
    let accepted = accepted?;
    received?;
    Ok(accepted)
}

async fn submit_all(link: &Link, submissions: Vec<Submission>) -> Result<Vec<Accepted>, DialInError> {
    let server = link.peer().ok_or(SessionError::NoServer)?;
    let mut all = Vec::new();
    for submission in submissions {
        let stream = link.connect(server, delivery::SUBMISSION_PORT).await.map_err(SubmitError::Connect)?;
        let accepted = submit(stream, &server.to_string(), submission).await?;
        tracing::info!(message_id = accepted.id, "submitted");
        all.push(accepted);
    }
    Ok(all)
}
