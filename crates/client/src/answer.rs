//! The decision program: who is calling, and is it answered? Then the connection.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use delivery::{Reason, TerminalId};
use line::{CALLER_ID_WAIT, Caller, Decision, DialFailure, LineError, ModemLine, Port, RefusalReason, Ring, Screening};
use modem::Profile;
use tokio::time::timeout;

use crate::inbox::{Inbox, InboxError};
use crate::session::{LinkSettings, SessionError, establish, receive};

/// What a terminal needs to know to be called.
#[derive(Debug, Clone)]
pub struct TerminalConfig {
    /// Its public id, as the server printed it.
    pub id: TerminalId,
    /// The numbers that may make it answer.
    pub callers: Screening,
    /// Where what comes is kept.
    pub inbox: PathBuf,
    /// How long it stays connected after "nothing more". Zero hangs up at once.
    pub linger: Duration,
    /// What the modem is: how a ring is refused, and a number dialled.
    pub profile: Profile,
    /// Its link to the server.
    pub link: LinkSettings,
}

/// How `answer` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The caller was answered and had nothing more to say.
    Completed,
    /// Nobody was answered; nothing was paid.
    Refused(RefusalReason),
}

/// Why an answered call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The line.
    #[error("the line failed")]
    Line(#[from] LineError),
    /// The inbox cannot be used: then it is better not to answer.
    #[error("the inbox cannot be used, so the call is not answered")]
    Inbox(#[from] InboxError),
    /// The caller gave up, or the modems did not understand each other.
    #[error("the call was not connected")]
    NotConnected(#[from] DialFailure),
    /// What came after.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// `ringup answer`'s exit codes: what the starter learns of a ring.
#[derive(Debug)]
pub struct AnswerExit;

impl AnswerExit {
    /// The exit code of an end that is no error. (An error is 1, bad arguments 2.)
    pub fn code(end: AnswerEnd) -> u8 {
        match end {
            AnswerEnd::Completed => 0,
            AnswerEnd::Refused(RefusalReason::NotRegistered) => 10,
            AnswerEnd::Refused(RefusalReason::Withheld) => 11,
            AnswerEnd::Refused(RefusalReason::Absent) => 12,
        }
    }

    /// What a code means in words, and whether it is a refusal. `None` is a death by signal.
    pub fn read(code: Option<i32>) -> (&'static str, bool) {
        match code {
            Some(0) => ("completed", false),
            Some(10) => ("not registered", true),
            Some(11) => ("withheld", true),
            Some(12) => ("no caller id", true),
            Some(2) => ("bad arguments or config", false),
            Some(_) => ("call failed", false),
            None => ("killed", false),
        }
    }
}

/// Decides about the ring on `port`, of which `heard` has been heard; answers and receives if the caller is registered.
///
/// # Errors
/// [`AnswerError`]. The line is hung up whatever happens.
pub async fn answer(config: &TerminalConfig, port: Port, heard: &[u8]) -> Result<AnswerEnd, AnswerError> {
    let mut line = ModemLine::attached(port, config.profile, heard)?;
    // The ring watch says "absent" in time; the limit is for a ring that is over before it was one.
    let ring = timeout(2 * CALLER_ID_WAIT, line.ring()).await.unwrap_or(Ok(Ring { caller: Caller::Absent }))?;
    let caller = match config.callers.decide(&ring) {
        Decision::Answer(caller) => caller,
        Decision::Refuse(reason) => {
            tracing::debug!(caller = ?ring.caller, %reason, "refused");
            return Ok(AnswerEnd::Refused(reason));
        }
    };
    tracing::info!(?caller, "caller checked: registered");
    let inbox = Arc::new(Inbox::open(&config.inbox)?);
    let call = line.answer().await?;
    tracing::info!(rate = call.rate_bps(), "answered");
    let link = establish(call, &config.link).await?;
    let received = receive(&link, config.id, Reason::Called, inbox, config.linger).await;
    // In order, whatever came of it: a caller without DCD would keep a link that is no more.
    link.close();
    let reason = link.closed().await;
    tracing::info!(%reason, "hung up");
    received?;
    Ok(AnswerEnd::Completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_an_exit_code_that_the_starter_reads_as_one() {
        for reason in [RefusalReason::NotRegistered, RefusalReason::Withheld, RefusalReason::Absent] {
            let code = AnswerExit::code(AnswerEnd::Refused(reason));
            assert_eq!(AnswerExit::read(Some(code.into())), (reason.to_string().as_str(), true));
        }
        assert!(!AnswerExit::read(Some(AnswerExit::code(AnswerEnd::Completed).into())).1);
        assert!(!AnswerExit::read(None).1);
    }
}
