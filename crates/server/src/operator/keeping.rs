//! The operator's verbs about the store itself: its health, a check, a backup.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::NewBackup;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::interval;

use super::{Answer, OperatorState, Refused};
use store::{BackupError, BackupProgress, CheckError, Health};

/// How often progress is noted.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How far the backup is that is being made, if one is.
#[derive(Debug, Clone, Default)]
pub(super) struct BackupWatch(Arc<Mutex<Option<BackupProgress>>>);

impl BackupWatch {
    /// `None`: one is being made already.
    fn begin(&self) -> Option<Watched> {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        progress.is_none().then(|| {
            *progress = Some(BackupProgress::default());
            Watched(self.clone())
        })
    }

    fn read(&self) -> Option<BackupProgress> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it lives, a backup is being made.
struct Watched(BackupWatch);

impl Watched {
    fn note(&self, progress: BackupProgress) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

pub(super) async fn show_store(State(state): State<OperatorState>) -> Answer {
    let health = match state.store.health(Timestamp::now()).await {
        Health::Ready => json!("ready"),
        Health::Full => json!("disk full"),
        Health::Failing(error) => json!(error.to_string()),
    };
    let counts = state.store.counts();
    Ok(Json(json!({
        "health": health,
        "accepted": counts.accepted,
        "repeated": counts.repeated,
        "over_quota": counts.over_quota,
        "quota_warnings": counts.quota_warnings,
        "disk_full": counts.disk_full,
        "damaged": counts.damaged,
        "conflicts": counts.conflicts,
        "expired": counts.expired,
    }))
    .into_response())
}

pub(super) async fn check_store(State(state): State<OperatorState>) -> Answer {
    let findings = state.store.check().await.map_err(|error| match error {
        CheckError::Store(error) => error.into(),
        CheckError::Stopped => stopped("the check"),
    })?;
    tracing::info!(
        messages = findings.messages,
        faults = findings.faults.len(),
        "store checked"
    );
    Ok(Json(findings).into_response())
}

/// Makes a backup, and answers when it is whole. Whoever goes away stops it.
pub(super) async fn make_backup(
    State(state): State<OperatorState>,
    body: Result<Json<NewBackup>, JsonRejection>,
) -> Answer {
    let Json(NewBackup { folder }) = body?;
    if !folder.is_absolute() {
        return Err(Refused::bad(
            "folder",
            "give the whole path of the new folder, from the root",
        ));
    }
    let Some(watched) = state.backup.begin() else {
        return Err(Refused::conflict(
            "folder",
            "a backup is being made already",
        ));
    };
    let mut backup = state.store.backup(folder.clone());
    let mut ticks = interval(PROGRESS_INTERVAL);
    loop {
        watched.note(backup.progress());
        tokio::select! {
            done = backup.done() => {
                let progress = done.map_err(refused)?;
                tracing::info!(folder = %folder.display(), pages = progress.pages, files = progress.files, "backup made");
                return Ok((StatusCode::CREATED, Json(progress)).into_response());
            }
            _ = ticks.tick() => {}
        }
    }
}

pub(super) async fn show_backup(State(state): State<OperatorState>) -> Answer {
    Ok(Json(state.backup.read()).into_response())
}

fn refused(error: BackupError) -> Refused {
    match error {
        BackupError::Exists(_) => Refused::conflict("folder", error),
        BackupError::Write { ref source, .. } => {
            Refused::bad("folder", format!("{error}: {source}"))
        }
        BackupError::Damaged(_) => Refused::conflict("store", error),
        BackupError::Store(error) => error.into(),
        BackupError::Stopped => stopped("the backup"),
    }
}

fn stopped(what: &str) -> Refused {
    let detail = format!("the server is ending; {what} was stopped");
    Refused {
        status: StatusCode::SERVICE_UNAVAILABLE,
        field: "store",
        detail,
        more: Vec::new(),
    }
}
