//! Pure. Why an envelope waits, what happens next, and when; and why it ended as it did.
//!
//! The directory and the call records know what was; what is to be is known to dispatch alone, which is asked for it.

use std::time::Instant;

use delivery::{Conditions, TerminalId};
use jiff::Timestamp;

use calling::dispatch::{Conditions as CallConditions, Dispatch, Moment, Rest, Why};
use model::attempt::AttemptKind;
use model::call::CallRecord;
use model::directory::{Connection, Name, StockTrust, Terminal};
use model::outcome::Kind;
use model::subscription::Calls;
use model::verdict::Verdict;
use store::{DeliveryEntry, EnvelopeEntry, Trust};

/// Why an envelope waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Why, in words.
    pub reason: String,
    /// What happens next, in words.
    pub next: String,
    /// When, if that is known.
    pub next_at: Option<Timestamp>,
}

/// What dispatch says of a terminal.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Why it is not called yet.
    pub why: Why,
    /// When the next call is tried at the earliest, if that is known.
    pub next_at: Option<Timestamp>,
    /// Today is a day on which it is not called at all.
    pub is_closed_day: bool,
    /// It is not called at this hour.
    pub is_outside_hours: bool,
    /// The lines that reach it.
    pub lines: Vec<Name>,
}

impl Decided {
    /// What dispatch says now, of a terminal that these conditions hold for; `wall` tells the time on the wall of an instant.
    pub fn of(
        dispatch: &Dispatch,
        terminal: TerminalId,
        conditions: Option<&CallConditions>,
        now: Moment,
        wall: impl Fn(Instant) -> Timestamp,
    ) -> Self {
        let (waiting, local) = (dispatch.explain(terminal, now), dispatch.zoned(now.wall));
        let lines = match (waiting.why, conditions) {
            // Dispatch was not told of it, for it is not called: its lines are those that its conditions name.
            (Why::Nothing, Some(conditions)) => dispatch.lines_on(conditions.route),
            _ => dispatch.lines_to(terminal),
        };
        Self {
            why: waiting.why,
            next_at: waiting.next.map(wall),
            is_closed_day: conditions.is_some_and(|found| found.closed.contains(&local.date()))
                || waiting.is_closed_day,
            is_outside_hours: conditions.is_some_and(|found| !found.until_open(&local).is_zero()),
            lines: lines.into_iter().cloned().collect(),
        }
    }
}

/// All that is known of what an envelope waits for.
#[derive(Debug, Clone)]
pub struct Circumstances<'a> {
    /// Its terminal, if the directory has it.
    pub terminal: Option<&'a Terminal>,
    /// What that may prove itself with.
    pub trust: Trust,
    /// Since when the operator has it paused.
    pub paused_at: Option<Timestamp>,
    /// Whether the server believes stock terminals that nothing but their number proves.
    pub believes_numbers: bool,
    /// The calls with it since the message was accepted, oldest first.
    pub calls: &'a [CallRecord],
    /// What dispatch says; `None`: the server is ending.
    pub decided: Option<Decided>,
    /// The lines that are out of order, and what is wrong with them.
    pub faults: &'a [(String, String)],
    /// What the terminal takes for now, if this message is outside of it.
    pub stated: Option<&'a Conditions>,
    /// Whose budgets are spent.
    pub budgets: &'a [String],
}

impl Waiting {
    /// Puts together what is known.
    pub fn of(envelope: &EnvelopeEntry, around: &Circumstances<'_>) -> Self {
        let now = |reason: String, next: &str| Self {
            reason,
            next: next.to_owned(),
            next_at: None,
        };
        if let Some(call) = &envelope.under_way {
            let reason = format!("it is being delivered just now, on call {call}");
            return match &envelope.pending {
                None => now(reason, "the terminal's receipt is its verdict"),
                Some((verdict, why)) => {
                    let reason = format!("{}; {reason}", pending_words(*verdict, why.as_deref()));
                    now(
                        reason,
                        "that is its verdict when the call is over, unless the terminal's receipt comes",
                    )
                }
            };
        }
        if let (Some((verdict, why)), Some(since)) = (&envelope.pending, envelope.in_doubt_since) {
            let reason = format!(
                "{}; all of it was sent by {since} and no receipt came: the terminal may have it",
                pending_words(*verdict, why.as_deref())
            );
            let next = "the terminal is asked in its next session, for which no call is placed; \
                if it is not heard of again, the verdict is failed, unknown ([store] keep_doubts in the config)";
            return now(reason, next);
        }
        let Some(terminal) = around.terminal else {
            return now(
                "its terminal is not in the directory".to_owned(),
                "ringup message cancel ends it",
            );
        };
        match terminal.connection {
            Connection::Calling(call) => {
                let next = "it is delivered when the terminal has answered and proved itself";
                return now(format!("the terminal is being called (call {call})"), next);
            }
            // What it has refused before is tried behind all others, if at all.
            Connection::Connected(call) if envelope.rests_until.is_none() => {
                let reason = format!(
                    "the terminal is connected; its queue is being delivered (call {call})"
                );
                return now(reason, "it is delivered on this call");
            }
            Connection::Connected(_) | Connection::Down => {}
        }
        let gates = gates(envelope, terminal, around);
        let Some(gate) = gates.first() else {
            return Self::of_lines(envelope, terminal, around);
        };
        // Every cause is told: the first may end while another stands.
        let mut reasons: Vec<_> = gates.iter().map(|gate| gate.reason.clone()).collect();
        reasons.extend(
            around
                .decided
                .as_ref()
                .map(|decided| besides(terminal, decided, around))
                .unwrap_or_default(),
        );
        Self {
            reason: reasons.join("; "),
            next: gate.next.clone(),
            next_at: gate.next_at,
        }
    }

    /// Nothing but lines, hours, budgets and earlier calls stand in the way.
    fn of_lines(envelope: &EnvelopeEntry, terminal: &Terminal, around: &Circumstances<'_>) -> Self {
        let next_at = around.decided.as_ref().and_then(|decided| decided.next_at);
        let (mut reason, mut next) = match &around.decided {
            Some(decided) => not_called(terminal, decided, around),
            None => (
                "the server is stopping".to_owned(),
                "waiting messages are due when it starts again".to_owned(),
            ),
        };
        if is_invited(terminal, &around.trust) {
            reason = format!("the terminal is invited and has not enrolled yet; {reason}");
            next = format!(
                "enrol the terminal with its bundle (there: ringup enrol BUNDLE), then {next}"
            );
        }
        // What the terminal itself said of this message comes first.
        let is_refusal = |last: &&DeliveryEntry| {
            matches!(last.kind, Some(AttemptKind::Refused | AttemptKind::PutOff))
        };
        let last = envelope.deliveries.last().filter(is_refusal);
        if let Some(refusal) = last.and_then(|last| last.outcome.as_deref()) {
            reason = format!("the terminal refused the last delivery ({refusal}); {reason}");
        }
        Self {
            reason,
            next,
            next_at,
        }
    }
}

/// What became of a message that is on a line, or that the terminal may have.
fn pending_words(verdict: Verdict, reason: Option<&str>) -> String {
    match (verdict, reason) {
        (Verdict::Expired, _) => "its time is over".to_owned(),
        (_, Some(reason)) => reason.to_owned(),
        (verdict, None) => format!("it is {verdict}"),
    }
}

/// Why an envelope ended as it did, and what is to be done, where its verdict does not say it.
pub fn settled(envelope: &EnvelopeEntry, expires_at: Option<Timestamp>) -> Option<String> {
    let reason = envelope.reason.as_deref();
    match envelope.verdict? {
        Verdict::Delivered => None,
        Verdict::Expired => {
            let at = expires_at.map(|at| format!(" at {at}")).unwrap_or_default();
            let tried = match envelope.deliveries.len() {
                0 => "no delivery was tried".to_owned(),
                count => format!("{count} deliveries were tried"),
            };
            Some(format!(
                "its time was over{at} before the terminal had it ({tried}); nothing more is tried"
            ))
        }
        Verdict::Replaced => Some(format!(
            "{}; the newer one is delivered instead",
            reason.unwrap_or("replaced by a newer message")
        )),
        Verdict::Cancelled => Some(format!(
            "{}; nothing more is tried",
            reason.unwrap_or("it was withdrawn")
        )),
        Verdict::Failed => {
            let reason = reason.unwrap_or("it cannot be delivered");
            Some(format!(
                "{reason}; nothing more is tried: submit it again when the cause is gone"
            ))
        }
    }
}

/// Whether a terminal has a bundle out and no key: a call may enrol it.
fn is_invited(terminal: &Terminal, trust: &Trust) -> bool {
    terminal.trusted_by.stock().is_none()
        && trust.shut_out_at.is_none()
        && trust.invitation.is_some()
        && trust.keys.is_empty()
}

/// The terminal has refused it, and it rests.
fn resting(envelope: &EnvelopeEntry, until: Timestamp) -> Waiting {
    let last = envelope
        .deliveries
        .last()
        .and_then(|delivery| delivery.outcome.as_deref());
    let times = if envelope.refusals == 1 {
        "once"
    } else {
        "several times"
    };
    let reason = format!(
        "the terminal did not take it, {times} ({} in all), the last: {}; nothing else waits for that",
        envelope.refusals,
        last.unwrap_or("refused")
    );
    let next = "it is tried again after a pause that grows, or behind all others on a call before that, \
        and fails after the last try ([retry] refused_tries in the config)";
    Waiting {
        reason,
        next: next.to_owned(),
        next_at: Some(until),
    }
}

/// All that keeps a message from causing a call, whatever lines and hours allow; what decides first, first.
fn gates(
    envelope: &EnvelopeEntry,
    terminal: &Terminal,
    around: &Circumstances<'_>,
) -> Vec<Waiting> {
    let gate = |(reason, next): (String, String)| Waiting {
        reason,
        next,
        next_at: None,
    };
    let mut gates: Vec<_> = not_trusted(terminal, around)
        .map(gate)
        .into_iter()
        .collect();
    if let Some(at) = around.paused_at {
        let next = format!(
            "when it is to be called again: ringup terminal resume {}",
            terminal.name
        );
        gates.push(gate((
            format!("the terminal is paused by the operator since {at}, and is not called"),
            next,
        )));
    }
    if let Some(conditions) = around.stated {
        let why = match conditions.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        gates.push(Waiting {
            reason: format!("the terminal does not accept it now{why}"),
            next: "it is due when that is over".to_owned(),
            next_at: Some(conditions.until),
        });
    }
    if let Some(until) = envelope.rests_until {
        gates.push(resting(envelope, until));
    }
    match envelope.calls {
        Calls::From(at) => gates.push(Waiting {
            reason: "it came outside the hours for which the terminal has registered".to_owned(),
            next: "the terminal is called when they begin; an earlier call delivers it, too"
                .to_owned(),
            next_at: Some(at),
        }),
        Calls::Never => {
            let reason =
                "the terminal has registered for its topic, but not to be called for it".to_owned();
            gates.push(gate((
                reason,
                "it is sent on the next call from either side".to_owned(),
            )));
        }
        Calls::Now => {}
    }
    if terminal.number.is_none() {
        let reason = "the terminal has no number: it cannot be called".to_owned();
        gates.push(gate((
            reason,
            "it is delivered when the terminal connects by itself".to_owned(),
        )));
    }
    gates
}

/// What else would keep a terminal from being called, one reason each.
fn besides(terminal: &Terminal, decided: &Decided, around: &Circumstances<'_>) -> Vec<String> {
    if terminal.number.is_none() {
        return Vec::new();
    }
    if decided.why != Why::Nothing {
        return vec![not_called(terminal, decided, around).0];
    }
    let mut reasons = Vec::new();
    let broken = broken_lines(decided, around.faults);
    if decided.lines.is_empty() {
        reasons.push("no line reaches the terminal".to_owned());
    } else if broken.len() == decided.lines.len() {
        reasons.push(broken.join(", "));
    }
    if decided.is_closed_day {
        reasons.push("today is a closed day of the terminal".to_owned());
    } else if decided.is_outside_hours {
        reasons.push("it is outside the terminal's hours".to_owned());
    }
    if !around.budgets.is_empty() {
        reasons.push(format!(
            "the budget of {} is spent",
            around.budgets.join(" and of ")
        ));
    }
    if let Some(outcome) = last_failure(around) {
        reasons.push(format!(
            "the last call with the terminal came to nothing ({outcome})"
        ));
    }
    reasons
}

/// How the last call with the terminal ended, if something was wrong with it.
fn last_failure<'a>(around: &Circumstances<'a>) -> Option<&'a str> {
    let last = around
        .calls
        .last()
        .filter(|call| call.kind != Some(Kind::Completed))?;
    last.outcome.as_deref()
}

fn not_trusted(terminal: &Terminal, around: &Circumstances<'_>) -> Option<(String, String)> {
    let trust = &around.trust;
    if let Some(stock) = terminal.trusted_by.stock() {
        let again = format!(
            "add it again when it is to be trusted: ringup terminal remove {0}, terminal add {0}",
            terminal.name
        );
        return match (trust.shut_out_at, &stock.trust) {
            (Some(at), _) => Some((
                format!("the terminal is shut out since {at}: it is not served"),
                again,
            )),
            (None, StockTrust::NumberOnly) if !around.believes_numbers => {
                let reason = "nothing but its number proves the terminal, which this server's config does not allow";
                let next = "it waits until the config says [stock] number_only = true, or the terminal is added anew with --trust chap";
                Some((reason.to_owned(), next.to_owned()))
            }
            _ => None,
        };
    }
    let invite = format!(
        "it waits until the terminal has enrolled: ringup terminal invite {0} --caller NUMBER -o {0}.bundle",
        terminal.name
    );
    match (trust.shut_out_at, &trust.invitation, trust.keys.as_slice()) {
        (Some(at), ..) => Some((
            format!("the terminal is shut out since {at}: it is not served"),
            invite,
        )),
        (None, None, []) => Some((
            "the terminal is not enrolled: it has no key to prove itself with".to_owned(),
            invite,
        )),
        _ => None,
    }
}

/// Why nobody calls, and what happens next.
fn not_called(
    terminal: &Terminal,
    decided: &Decided,
    around: &Circumstances<'_>,
) -> (String, String) {
    let called = "the terminal is called".to_owned();
    let called_again = "the terminal is called again".to_owned();
    match decided.why {
        Why::Line { before } => no_line(decided, before, around.faults),
        Why::Storm => (
            "the limit of calls is reached ([dispatch] in the config)".to_owned(),
            called,
        ),
        Why::Rest(Rest::Hours) if decided.is_closed_day => (
            "today is a closed day of the terminal".to_owned(),
            "the terminal is called when its hours begin".to_owned(),
        ),
        Why::Rest(Rest::Hours) => (
            "it is outside the terminal's hours".to_owned(),
            "the terminal is called when they begin".to_owned(),
        ),
        Why::Rest(Rest::BackingOff) => {
            let reason = match last_failure(around) {
                None => "the last call did not do".to_owned(),
                Some(outcome) => {
                    format!("the last call with the terminal came to nothing ({outcome})")
                }
            };
            (reason, called_again)
        }
        Why::Rest(Rest::Redials) => (
            "its number has reached the redial limit ([retry] in the config)".to_owned(),
            called_again,
        ),
        Why::Rest(Rest::HangingUp) => ("its last call has just ended".to_owned(), called_again),
        Why::Rest(Rest::ModemLimit) => (
            "the modem may not dial its number again yet".to_owned(),
            called_again,
        ),
        Why::Rest(Rest::Price) => {
            let reason =
                "it is not urgent: it waits for a cheaper hour or the next call".to_owned();
            (reason, called)
        }
        Why::Rest(Rest::Budget) => {
            let whose = match around.budgets {
                [] => "a budget of the day is spent".to_owned(),
                budgets => format!("the budget of {} is spent", budgets.join(" and of ")),
            };
            (
                whose,
                "the terminal is called when there is a new one".to_owned(),
            )
        }
        Why::Rest(Rest::Session) => {
            let reason =
                "the terminal was rung, and is expected to connect over its own Internet access"
                    .to_owned();
            (
                reason,
                "if it has not connected by then, the ring has failed, and it is rung again"
                    .to_owned(),
            )
        }
        Why::Paused => {
            let reason =
                "calls to the terminal failed for days: it is not called any more".to_owned();
            (
                reason,
                format!(
                    "when you have found the cause: ringup terminal resume {}",
                    terminal.name
                ),
            )
        }
        Why::Calling => (
            "the terminal is being called".to_owned(),
            "it is delivered when it has answered".to_owned(),
        ),
        Why::Connected => (
            "the terminal is connected".to_owned(),
            "it is delivered on this call".to_owned(),
        ),
        Why::Nothing => (
            "the last call with the terminal is just over".to_owned(),
            called_again,
        ),
    }
}

/// The lines that reach the terminal and are out of order, in words.
fn broken_lines(decided: &Decided, faults: &[(String, String)]) -> Vec<String> {
    let of_line = |line: &Name| faults.iter().find(|(name, _)| *name == line.to_string());
    let broken = decided.lines.iter().filter_map(of_line);
    broken
        .map(|(name, fault)| format!("line {name} is out of order ({fault})"))
        .collect()
}

fn no_line(decided: &Decided, before: usize, faults: &[(String, String)]) -> (String, String) {
    if decided.lines.is_empty() {
        let next =
            "it waits until a line is configured ([[line]]) or the terminal connects by itself"
                .to_owned();
        return ("no line reaches the terminal".to_owned(), next);
    }
    let broken = broken_lines(decided, faults);
    let ahead = match before {
        0 => "it is the next".to_owned(),
        1 => "one terminal is before it".to_owned(),
        count => format!("{count} terminals are before it"),
    };
    if broken.len() == decided.lines.len() {
        let next = format!(
            "the terminal is called when one is in service again, which is tried every half minute; {ahead}"
        );
        return (broken.join(", "), next);
    }
    let also = if broken.is_empty() {
        String::new()
    } else {
        format!("; {}", broken.join(", "))
    };
    let reason = format!("all lines that reach the terminal are busy, or rest after a fault{also}");
    (
        reason,
        format!("the terminal is called when one is free; {ahead}"),
    )
}

#[cfg(test)]
mod tests;
