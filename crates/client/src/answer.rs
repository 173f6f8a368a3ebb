//! The decision program: reads the caller's number, decides whether to answer, then runs the connection.

use std::path::PathBuf;
use std::time::Duration;

use delivery::Reason;
use jiff::{Timestamp, Zoned};
use line::{
    CALLER_ID_WAIT, Caller, Decision, DialFailure, Home, LineError, ModemLine, Number, Port,
    RefusalReason, Ring, Screening, WeekMinute,
};
use link::CloseReason;
use modem::Profile;
use tokio::time::{Instant, sleep, timeout};

use crate::agreements::Agreements;
use crate::budget::{Budget, BudgetError, Limits, UNPROVED_MAX};
use crate::connector::{DialIn, DialInError, Dialled, ReceiveConfig, dial};
use crate::inbox::InboxConfig;
use crate::outbox::StandingConditions;
use crate::refused::RefusedRings;
use crate::session::{
    Ended, LinkSettings, SessionError, establish, hearing, receive, receive_online,
};

/// Between the end of the ringing and our own call: the exchange must have cleared the other one (Cisco waits as long).
const CALL_BACK_GUARD: Duration = Duration::from_secs(5);

/// What a terminal needs to know to be called.
#[derive(Debug, Clone)]
pub struct TerminalConfig {
    /// The numbers that may make it do something, as they are meant where it is.
    pub callers: Screening,
    /// The country in which its line is, if one is configured.
    pub home: Option<Home>,
    /// What is dialled before every number.
    pub dial_prefix: String,
    /// Where what comes is kept.
    pub inbox: InboxConfig,
    /// Where it keeps its key, and what it has spent.
    pub state: PathBuf,
    /// The server's delivery port on the Internet, `HOST:PORT`, for rings that say "connect".
    pub server: Option<String>,
    /// What it may spend on calls of its own.
    pub limits: Limits,
    /// How long it stays connected after "nothing more". Zero hangs up at once.
    pub linger: Duration,
    /// What it takes whenever it has said nothing else.
    pub standing: Option<StandingConditions>,
    /// What the modem is: how a ring is refused, and a number dialled.
    pub profile: Profile,
    /// Its link to the server.
    pub link: LinkSettings,
}

impl TerminalConfig {
    /// What a session of this terminal needs.
    pub fn receive(&self) -> ReceiveConfig {
        ReceiveConfig {
            state: self.state.clone(),
            inbox: self.inbox.clone(),
            linger: self.linger,
            standing: self.standing.clone(),
        }
    }
}

/// How `answer` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerEnd {
    /// The caller was answered, or called back, and had nothing more to say.
    Completed,
    /// No call was answered; no cost.
    Refused(RefusalReason),
}

/// Why an answered call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The line.
    #[error("the line failed")]
    Line(#[from] LineError),
    /// The inbox or the key cannot be used: then it is better not to answer.
    #[error("this terminal is not ready, so the call is not answered")]
    NotReady(#[source] DialInError),
    /// The rule for this ring is "connect", but no destination is configured.
    #[error("a ring asks for a connection, but the config has no server.address")]
    NoServer,
    /// The caller gave up, or the modems did not understand each other.
    #[error("the call was not connected")]
    NotConnected(#[from] DialFailure),
    /// What came after.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The registered number cannot be dialled on this line.
    #[error("the caller's registered number cannot be dialled")]
    Number(#[from] modem::DialStringError),
    /// A ring that cannot be noted is not acted on.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The call back came to nothing.
    #[error("the call back failed")]
    CallBack(#[from] DialInError),
}

/// `ringup answer`'s exit codes: what the starter learns of a ring.
#[derive(Debug)]
pub struct AnswerExit;

impl AnswerExit {
    /// The first code of a refusal; they follow each other as [`RefusalReason::ALL`] has them.
    const REFUSED: u8 = 10;

    /// The exit code of an end that is no error. (An error is 1, bad arguments 2.)
    pub fn code(end: AnswerEnd) -> u8 {
        match end {
            AnswerEnd::Completed => 0,
            AnswerEnd::Refused(reason) => Self::REFUSED + reason as u8,
        }
    }

    /// What a code means in words, and whether it is a refusal. `None` is a death by signal.
    pub fn read(code: Option<i32>) -> (String, bool) {
        let refusal = RefusalReason::ALL
            .into_iter()
            .find(|reason| code == Some(i32::from(Self::REFUSED + *reason as u8)));
        let words = match (code, refusal) {
            (_, Some(reason)) => return (reason.to_string(), true),
            (Some(0), _) => "completed",
            (Some(2), _) => "bad arguments or config",
            (Some(_), _) => "call failed",
            (None, _) => "killed",
        };
        (words.to_owned(), false)
    }
}

/// What the starter knows of a line that rings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heard<'a> {
    /// What the modem has said of this ring.
    pub octets: &'a [u8],
    /// Whether it takes a short silence around the escape sequence.
    pub has_short_guard: bool,
}

/// Decides about the ring on `port`, of which the starter has told what it heard; answers and receives if the caller is registered.
///
/// # Errors
/// [`AnswerError`]. The line is hung up whatever happens.
pub async fn answer(
    config: &TerminalConfig,
    port: Port,
    ring: Heard<'_>,
) -> Result<AnswerEnd, AnswerError> {
    let mut line = ModemLine::attached(port, config.profile, ring.has_short_guard, ring.octets)?;
    // The ring watch says "absent" in time; the limit is for a ring that is over before it was one.
    let ring = timeout(2 * CALLER_ID_WAIT, line.ring())
        .await
        .unwrap_or(Ok(Ring::new(Caller::Absent, false)))?;
    let ring = ring.at(config.home);
    let budget = Budget::new(&config.state, config.limits);
    let now = Zoned::now();
    let acted_on = |number: &Number| budget.acted_on(number, now.timestamp());
    match config.callers.decide(&ring, WeekMinute::at(&now), acted_on) {
        Decision::Answer(caller) => {
            let is_backed_off = budget.is_backed_off(&caller, now.timestamp());
            if is_backed_off && budget.hearing_left(now.timestamp()).is_zero() {
                return refuse_unproved(config, line, &ring).await;
            }
            tracing::info!(?caller, is_backed_off, "caller checked: registered");
            note_if_limited(config, &budget, &caller, &now)?;
            let taken = take_call(config, line, &caller, &budget, is_backed_off).await;
            note_answered(&budget, &caller, &taken)?;
            taken?.result?;
        }
        Decision::Connect(caller) => {
            if budget.is_backed_off(&caller, now.timestamp()) {
                return refuse_unproved(config, line, &ring).await;
            }
            tracing::info!(?caller, "caller checked: connecting to the server");
            budget.note_ring(&caller, now.timestamp())?;
            let Ended {
                is_proved,
                brought,
                result,
            } = connect(config, line).await?;
            // A server that cannot be reached, or has no place, has cost nothing.
            if !matches!(
                result,
                Err(SessionError::Connect { .. } | SessionError::Later(_))
            ) {
                note_rung(&budget, &caller, is_proved, brought)?;
            }
            result?;
        }
        Decision::CallBack(caller) => {
            if budget.is_call_back_spaced(&caller, now.timestamp()) {
                return refuse_unproved(config, line, &ring).await;
            }
            tracing::info!(?caller, "caller checked: to be called back");
            budget.note_ring(&caller, now.timestamp())?;
            let called = call_back(config, line, &caller).await;
            match &called {
                Ok(dialled) => note_rung(&budget, &caller, true, dialled.brought)?,
                Err(AnswerError::CallBack(DialInError::BrokeOff { brought, .. })) => {
                    note_rung(&budget, &caller, true, *brought)?;
                }
                // A call that was paid for and came to nothing; one that was not connected cost nothing.
                Err(AnswerError::CallBack(DialInError::Session(_) | DialInError::TooLong(_))) => {
                    note_rung(&budget, &caller, false, 0)?;
                }
                Err(_) => {}
            }
            called?;
        }
        Decision::Refuse(reason) => {
            RefusedRings::new(&config.state).note(&ring.caller, reason);
            // A caller that is unknown or withholds its number hears ringing only: nothing shows that a terminal is here.
            if !matches!(
                reason,
                RefusalReason::NotRegistered | RefusalReason::Withheld | RefusalReason::Absent
            ) {
                line.refuse().await?;
            }
            return Ok(AnswerEnd::Refused(reason));
        }
    }
    Ok(AnswerEnd::Completed)
}

/// The number's calls proved nothing of late.
async fn refuse_unproved(
    config: &TerminalConfig,
    mut line: ModemLine,
    ring: &Ring,
) -> Result<AnswerEnd, AnswerError> {
    RefusedRings::new(&config.state).note(&ring.caller, RefusalReason::Unproved);
    line.refuse().await?;
    Ok(AnswerEnd::Refused(RefusalReason::Unproved))
}

/// How a call that was answered went.
struct Taken {
    is_proved: bool,
    result: Result<(), SessionError>,
}

async fn take_call(
    config: &TerminalConfig,
    line: ModemLine,
    caller: &Number,
    budget: &Budget,
    is_backed_off: bool,
) -> Result<Taken, AnswerError> {
    let receiving = config.receive().open().map_err(AnswerError::NotReady)?;
    let call = line.answer().await?;
    let (rate, connected) = (call.rate_bps(), Instant::now());
    tracing::info!(rate, "answered");
    let hearing = match is_backed_off {
        true => Some(budget.hear(hearing(rate, config.link.delay), Timestamp::now())?),
        false => None,
    };
    let agreements = Agreements::new(&config.state);
    let establishing = establish(call, &config.link, agreements.of(caller.as_str()));
    let link = match hearing {
        Some(hearing) => timeout(hearing, establishing)
            .await
            .unwrap_or(Err(SessionError::NotProved(None))),
        None => establishing.await,
    };
    let link = match link {
        Ok(link) => link,
        Err(error) => {
            agreements.keep(caller.as_str(), None);
            return Ok(Taken {
                is_proved: false,
                result: Err(error),
            });
        }
    };
    let left = hearing.map(|hearing| hearing.saturating_sub(connected.elapsed()));
    let Ended {
        is_proved, result, ..
    } = receive(&link, Reason::Called, config.link.delay, left, receiving).await;
    // In order, whatever came of it: a caller without DCD would keep a link that is no more.
    link.close();
    let reason = link.closed().await;
    match &reason {
        // The server hangs up a call that is over without a good-bye: no fault of the line.
        CloseReason::CarrierLost if result.is_ok() => {
            tracing::info!(reason = "the server ended the call", "hung up");
        }
        reason => tracing::info!(%reason, "hung up"),
    }
    agreements.keep(caller.as_str(), link.agreement().filter(|_| result.is_ok()));
    Ok(Taken { is_proved, result })
}

/// The ring was the message: the line is free again before the session begins, and the server is the configured one.
async fn connect(config: &TerminalConfig, mut line: ModemLine) -> Result<Ended, AnswerError> {
    let server = config.server.as_deref().ok_or(AnswerError::NoServer)?;
    let receiving = config.receive().open().map_err(AnswerError::NotReady)?;
    line.refuse().await?;
    Ok(receive_online(server, Reason::Rung, receiving).await)
}

/// Counts callers who were answered and proved nothing, in whatever way; a third within the hour is an alarm. A lost carrier is
/// the line's fault, and counts by itself.
fn note_answered(
    budget: &Budget,
    caller: &Number,
    taken: &Result<Taken, AnswerError>,
) -> Result<(), BudgetError> {
    let error = match taken {
        Ok(Taken {
            is_proved: true, ..
        }) => return budget.note_proved(caller),
        Ok(Taken { result: Ok(()), .. }) => None,
        Ok(Taken {
            result: Err(error), ..
        }) if error.is_ours() => return Ok(()),
        Ok(Taken {
            result: Err(error), ..
        }) if error.is_lines_fault() => Some(error.to_string()),
        Ok(Taken { .. }) => None,
        Err(AnswerError::NotConnected(failure)) => Some(failure.to_string()),
        Err(_) => return Ok(()),
    };
    let Some(why) = error else {
        return note_unproved(budget, caller);
    };
    let lost = budget.note_lost(caller, Timestamp::now())?;
    tracing::warn!(
        ?caller,
        why,
        lost,
        "carrier lost before the server proved itself"
    );
    Ok(())
}

/// Counts rings that made this end connect or call, and had no result: a forged number costs that much.
fn note_rung(
    budget: &Budget,
    caller: &Number,
    is_proved: bool,
    brought: u32,
) -> Result<(), BudgetError> {
    if is_proved && brought > 0 {
        return budget.note_proved(caller);
    }
    note_unproved(budget, caller)
}

fn note_unproved(budget: &Budget, caller: &Number) -> Result<(), BudgetError> {
    let unproved = budget.note_unproved(caller, Timestamp::now())?;
    if unproved >= UNPROVED_MAX {
        tracing::error!(
            ?caller,
            unproved,
            "alarm: callers from a registered number do not prove to be the server"
        );
    }
    Ok(())
}

/// Dials the registered number, not one that came with the ring: the two are equal, but only one was ever written here.
async fn call_back(
    config: &TerminalConfig,
    mut line: ModemLine,
    caller: &Number,
) -> Result<Dialled, AnswerError> {
    let number = caller.dial_string(&config.dial_prefix, config.home)?;
    line.refuse().await?;
    line.quiet().await?;
    sleep(CALL_BACK_GUARD).await;
    let (link, receive) = (config.link.clone(), Some(config.receive()));
    let budget = Budget::new(&config.state, config.limits);
    let job = DialIn {
        number,
        budget,
        link,
        submissions: Vec::new(),
        receive,
    };
    Ok(dial(line, job).await?)
}

/// Rings are counted only where the config limits them.
fn note_if_limited(
    config: &TerminalConfig,
    budget: &Budget,
    caller: &Number,
    now: &Zoned,
) -> Result<(), BudgetError> {
    let is_limited = config
        .callers
        .rules()
        .any(|(number, rule)| number == caller && rule.per_hour.is_some());
    if is_limited {
        budget.note_ring(caller, now.timestamp())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_an_exit_code_that_the_starter_reads_as_one() {
        for reason in RefusalReason::ALL {
            let code = AnswerExit::code(AnswerEnd::Refused(reason));
            assert_eq!(
                AnswerExit::read(Some(code.into())),
                (reason.to_string(), true)
            );
        }
        assert_eq!(
            AnswerExit::code(AnswerEnd::Refused(RefusalReason::Absent)),
            12,
            "as the help says"
        );
        assert!(!AnswerExit::read(Some(AnswerExit::code(AnswerEnd::Completed).into())).1);
        assert!(!AnswerExit::read(None).1);
    }
}
