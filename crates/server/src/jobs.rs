//! The store's side of `calling`: each job, and the event that answers it.

use std::collections::BTreeMap;
use std::time::Duration;

use calling::{Candidate, Event, Found, Job, Known, QUARANTINE_REASON, Recalled, Recovered, Waits};
use jiff::{SignedDuration, Timestamp, Zoned};
use line::CallId;

use model::causes::with_causes;
use model::directory::Name;
use model::verdict::Verdict;
use store::{CallAway, MostUrgent, Standing, Store, StoreError};

/// Calls that were not answered are remembered over a restart for this long: a series of redials is longer than its rest.
const SERIES_MEMORY: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A call that ended this long before a start may still be ending at the terminal.
const JUST_ENDED: SignedDuration = SignedDuration::from_secs(5);

/// Has the store do a job; gives the event that answers it, if the job has one.
pub async fn perform(store: &Store, job: Job) -> Option<Event> {
    match answer(store, &job).await {
        Ok(event) => event,
        Err(StoreError::BudgetSpent(account)) => Some(Event::BudgetRefused { job, account }),
        Err(error) => {
            let why = with_causes(&error);
            tracing::error!(
                ?job,
                error = why,
                "the store failed; what was wanted of it waits"
            );
            Some(Event::StoreFailed { job, why })
        }
    }
}

async fn answer(store: &Store, job: &Job) -> Result<Option<Event>, StoreError> {
    let now = Timestamp::now();
    match job.clone() {
        Job::Look(terminal) => {
            let found = find(store, terminal).await?;
            return Ok(Some(Event::Looked { terminal, found }));
        }
        Job::LookAtAll => return Ok(Some(Event::LookedAtAll(find_all(store).await?))),
        Job::Choose(terminal) => {
            let candidate = match find(store, terminal).await? {
                None => None,
                Some(found) => {
                    let provider = store.first_provider(terminal, now).await?;
                    let is_invited =
                        store.standing(terminal, now).await? == Some(Standing::Invited);
                    Some(Box::new(Candidate {
                        found,
                        provider,
                        is_invited,
                    }))
                }
            };
            return Ok(Some(Event::Chosen {
                terminal,
                candidate,
                call: CallId::now(),
            }));
        }
        Job::Begin(beginning) => {
            let calling::Beginning {
                terminal,
                record,
                reservation,
            } = *beginning;
            store.begin_call(record, terminal, reservation).await?;
            return Ok(Some(Event::Begun(terminal)));
        }
        Job::Connect {
            terminal,
            connection,
        } => store.claim_connection(terminal, connection).await?,
        Job::Disconnect { terminal, call } => store.end_connection(terminal, call).await?,
        Job::Settle { call, amount } => store.settle_call(call, amount).await?,
        Job::KeepLoop { number, dial_loop } => store.set_dial_loop(number, dial_loop).await?,
        Job::Close(record) => store.record_call(*record, now).await?,
        Job::Quarantine { terminal, message } => {
            store
                .settle(
                    message,
                    terminal,
                    Verdict::Failed,
                    QUARANTINE_REASON.to_owned(),
                    now,
                )
                .await?;
            let found = store.terminal(terminal).await?;
            return Ok(found.map(|found| Event::Quarantined {
                message,
                name: found.name,
            }));
        }
        Job::NoSession(call) => store.note_no_session(call).await?,
    }
    Ok(None)
}

async fn find(store: &Store, terminal: delivery::TerminalId) -> Result<Option<Found>, StoreError> {
    let Some(found) = store.terminal(terminal).await? else {
        return Ok(None);
    };
    let waits = store
        .demand(terminal, Timestamp::now())
        .await?
        .map(|(most, may_be_called)| waits(&most, may_be_called));
    Ok(Some(Found {
        terminal: found,
        waits,
    }))
}

async fn find_all(store: &Store) -> Result<Vec<Found>, StoreError> {
    // Each by a thread of its own.
    let (urgencies, (unprovable, terminals)) =
        tokio::try_join!(store.urgencies(Timestamp::now()), async {
            Ok((
                store.cannot_prove_themselves(Timestamp::now()).await?,
                store.terminals_due().await?,
            ))
        })?;
    let paused = store.paused().await?;
    let urgencies: BTreeMap<_, _> = urgencies
        .into_iter()
        .map(|found| (found.terminal, found))
        .collect();
    let all = terminals.into_iter().map(|terminal| {
        let may_be_called = !unprovable.contains(&terminal.id) && !paused.contains(&terminal.id);
        let waits = urgencies
            .get(&terminal.id)
            .map(|most| waits(most, may_be_called));
        Found { terminal, waits }
    });
    Ok(all.collect())
}

fn waits(most: &MostUrgent, may_be_called: bool) -> Waits {
    Waits {
        urgency: most.urgency,
        deadline: most.expires_at,
        may_be_called,
    }
}

/// What a server that starts needs to know. The directory is read only if something hangs on it: silence that is watched, calls
/// that count.
///
/// # Errors
/// [`StoreError`]: no call may be placed.
pub async fn recover(
    store: &Store,
    watches_silence: bool,
    calls: Vec<CallAway>,
    now: &Zoned,
) -> Result<Recovered, StoreError> {
    let at = now.timestamp();
    let since =
        |before: Timestamp| Duration::try_from(at.duration_since(before)).unwrap_or_default();
    let spent = store
        .spent_on(now.date())
        .await?
        .into_iter()
        .map(|spent| (spent.accounts, spent.amount))
        .collect();
    let unanswered = store.unanswered_since(at - SERIES_MEMORY).await?;
    let just_ended = store.ended_since(at - JUST_ENDED).await?;
    let mut terminals = Vec::new();
    if watches_silence || !unanswered.is_empty() || !just_ended.is_empty() {
        let (reached, all) = tokio::try_join!(store.last_connected(), store.terminals())?;
        let silent_for = |name: &Name| {
            reached
                .get(name)
                .map_or(Duration::ZERO, |reached| since(*reached))
        };
        terminals.extend(all.into_iter().map(|terminal| Known {
            terminal: terminal.id,
            silent_for: silent_for(&terminal.name),
            name: terminal.name,
            number: terminal.number,
        }));
    }
    let mut recalled = Vec::new();
    for CallAway {
        record, terminal, ..
    } in calls
    {
        let Some(terminal) = terminal else { continue };
        let is_invited = store.standing(terminal, at).await? == Some(Standing::Invited);
        recalled.push(Recalled {
            terminal,
            call: record.id,
            via: record.via,
            is_invited,
        });
    }
    Ok(Recovered {
        spent,
        loops: store.dial_loops().await?,
        terminals,
        unanswered: unanswered
            .into_iter()
            .map(|(number, at)| (number, since(at)))
            .collect(),
        just_ended,
        calls: recalled,
    })
}
