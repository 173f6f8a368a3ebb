//! What the store must have done from time to time: messages expire, those held back may cause calls, and what nobody
//! waits for goes.

use std::time::Duration;

use delivery::TerminalId;
use jiff::{SignedDuration, Timestamp, Zoned};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::alarms::Alarms;
use model::alarm::AlarmKind;
use model::causes::with_causes;
use store::{Cleaned, Retention, Store, StoreError};

/// The longest sleep. The wall clock may jump: whoever slept until an instant of it would miss that instant.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// The shortest: what has expired may stay a little, while it is being delivered.
const SLEEP_MIN: Duration = Duration::from_secs(1);

/// How often the store is cleaned.
const CLEANING_INTERVAL: Duration = Duration::from_secs(3600);

/// Cleanings after which all content files are looked at, too; and at the start.
const CLEANINGS_A_DAY: u32 = 24;

/// Looks whether the database is whole, while the server works: what does not touch its damaged pages goes on.
pub(crate) async fn look_at_start(store: Store, alarms: Alarms, shutdown: CancellationToken) {
    match shutdown.run_until_cancelled(store.glance()).await {
        Some(Ok(faults)) if faults.is_empty() => alarms.clear(AlarmKind::Store, "database").await,
        Some(Ok(faults)) => {
            let detail = "damaged: see `ringup store check`; restore the last backup, or messages will be lost";
            tracing::error!(faults = faults.join("; "), "the database is damaged");
            alarms
                .raise(
                    AlarmKind::Store,
                    "database",
                    format!("{detail}. {}", faults.join("; ")),
                )
                .await;
        }
        Some(Err(error)) => tracing::error!(
            error = with_causes(&error),
            "the database could not be looked at"
        ),
        None => {}
    }
}

/// Keeps the store until `shutdown`. `due` is told for which terminals something may cause a call now.
pub(crate) async fn keep(
    store: Store,
    retention: Retention,
    due: mpsc::Sender<Vec<TerminalId>>,
    shutdown: CancellationToken,
) {
    // A cleaning takes its time, and nothing waits for it; cut short, it goes on after the next start.
    let cleaning = shutdown.run_until_cancelled(keep_clean(&store, retention));
    tokio::join!(cleaning, keep_time(&store, &due, &shutdown));
}

/// Writes verdicts, and lets calls be caused, when the time for it has come.
async fn keep_time(
    store: &Store,
    due: &mpsc::Sender<Vec<TerminalId>>,
    shutdown: &CancellationToken,
) {
    loop {
        expire(store).await;
        release(store, due).await;
        if let Err(error) = store.record_again(Timestamp::now()).await {
            tracing::error!(%error, "records of calls that are over are not written yet: what was under way on them waits");
        }
        let mut wake_at = Instant::now() + SLEEP_MAX;
        loop {
            let next = next_moment(store).await.unwrap_or_else(|error| {
                tracing::error!(%error, "cannot read what expires next");
                None
            });
            // The earliest of all looks: whoever looks again and again must not put it off for ever.
            wake_at = wake_at.min(Instant::now() + nap(next, Timestamp::now()));
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep_until(wake_at) => break,
                () = store.expiring() => {}
            }
        }
    }
}

/// When the next message expires, or may cause a call.
async fn next_moment(store: &Store) -> Result<Option<Timestamp>, StoreError> {
    Ok([store.next_expiry().await?, store.next_release().await?]
        .into_iter()
        .flatten()
        .min())
}

/// How long to sleep until then.
fn nap(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let until = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
    until.unwrap_or(SLEEP_MAX).clamp(SLEEP_MIN, SLEEP_MAX)
}

async fn expire(store: &Store) {
    match store.expire(Timestamp::now()).await {
        Ok(0) => {}
        Ok(envelopes) => tracing::info!(envelopes, "expired"),
        Err(error) => tracing::error!(%error, "what has expired has no verdict yet"),
    }
}

async fn release(store: &Store, due: &mpsc::Sender<Vec<TerminalId>>) {
    match store.release(Timestamp::now()).await {
        Ok(terminals) if terminals.is_empty() => {}
        Ok(terminals) => {
            tracing::info!(
                terminals = terminals.len(),
                "hours of subscriptions have begun, terminals take everything again, or rests after refusals are over"
            );
            let _ = due.send(terminals).await; // shutting down: due at the next start
        }
        Err(error) => tracing::error!(%error, "what was held back is held back still"),
    }
}

async fn keep_clean(store: &Store, retention: Retention) {
    for cleaning in 0_u32.. {
        if cleaning.is_multiple_of(CLEANINGS_A_DAY) {
            match store.sweep().await {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "content files removed that no message names"),
                Err(error) => {
                    tracing::error!(%error, "content files that no message names are left");
                }
            }
        }
        clean(store, retention).await;
        sleep_until(Instant::now() + CLEANING_INTERVAL).await;
    }
}

async fn clean(store: &Store, retention: Retention) {
    match store
        .forget_doubts(Timestamp::now(), retention.doubts)
        .await
    {
        Ok(0) => {}
        Ok(envelopes) => {
            tracing::warn!(
                envelopes,
                "failed, unknown: terminals that may have them were not heard of again"
            );
        }
        Err(error) => tracing::error!(%error, "what was in doubt for too long still is"),
    }
    match store.clean(Timestamp::now(), retention).await {
        Ok(cleaned) if cleaned == Cleaned::default() => {}
        Ok(Cleaned {
            contents,
            files,
            messages,
        }) => tracing::info!(contents, files, messages, "store cleaned"),
        Err(error) => tracing::error!(%error, "store not cleaned"),
    }
    match store.clean_calls(&Zoned::now(), retention.calls).await {
        Ok(0) => {}
        Ok(calls) => tracing::info!(calls, "old call records removed"),
        Err(error) => tracing::error!(%error, "old call records not removed"),
    }
    if let Err(error) = store.heed_clock(Timestamp::now()).await {
        tracing::error!(%error, "what waits by a clock that was wrong still does");
    }
    if let Err(error) = store.settle_orphans(Timestamp::now()).await {
        tracing::error!(%error, "what waits for terminals that were removed has no verdict yet");
    }
    let age = SignedDuration::try_from(retention.rows).unwrap_or(SignedDuration::MAX);
    let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
    if let Err(error) = store.clean_alarms(before).await {
        tracing::error!(%error, "old alarms not removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_jump_of_the_clock_makes_a_sleep_long() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let seconds = |next: Option<Timestamp>, now| nap(next, now).as_secs();
        assert_eq!(seconds(None, at(1000)), 60);
        assert_eq!(seconds(Some(at(1010)), at(1000)), 10);
        assert_eq!(
            seconds(Some(at(1010)), at(1_000_000)),
            1,
            "the clock was ahead of it at once"
        );
        assert_eq!(
            seconds(Some(at(1_000_000)), at(1000)),
            60,
            "the clock was set back"
        );
    }
}
