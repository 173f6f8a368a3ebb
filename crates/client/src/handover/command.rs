//! Handing over to a program: the content is its standard input, its properties are in the environment.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use modem::shown;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::HandoverError;
use crate::inbox::Entry;

/// How long a program may take.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) async fn run(words: &[OsString], entry: &Entry) -> Result<(), HandoverError> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(());
    };
    let name = program.to_string_lossy().into_owned();
    let content = File::open(entry.content()).map_err(|source| HandoverError::Disk {
        operation: "read the content that is handed over",
        source,
    })?;
    let note = &entry.note;
    // No shell: what came over the line is never a word of a command.
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(delivery::passed_on())
        .env("RINGUP_ID", entry.id.to_string())
        .env("RINGUP_CONTENT_TYPE", &note.content_type)
        .env(
            "RINGUP_TOPIC",
            shown::line(note.topic.as_deref().unwrap_or_default()).as_ref(),
        )
        .env("RINGUP_SIZE", note.size.to_string())
        .env("RINGUP_SHA256", &note.sha256)
        .env("RINGUP_RECEIVED_AT", note.received_at.to_string())
        .stdin(Stdio::from(content))
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|source| HandoverError::Start {
        program: name.clone(),
        source,
    })?;
    match timeout(LONGEST, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(HandoverError::Exit {
            program: name,
            status,
        }),
        Ok(Err(source)) => Err(HandoverError::Start {
            program: name,
            source,
        }),
        Err(_) => {
            end_group(&child);
            Err(HandoverError::TooLong(LONGEST))
        }
    }
}

/// Ends a program with all that it has started: each try would leave another otherwise.
fn end_group(child: &Child) {
    // Not waited for yet: the id is still the group's.
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(Err(errno)) = group.map(|group| kill_process_group(group, Signal::KILL)) {
        tracing::warn!(error = %io::Error::from(errno), "a program that takes too long could not be ended");
    }
}
