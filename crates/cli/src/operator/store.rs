//! `ringup store`: the health of what is kept, a check, a backup.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use api::NewBackup;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::{OperatorSocket, ask, text};

/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// The store: health, check, backup.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup store show
  ringup store check                      reads everything; exits with 1 if something is damaged
  ringup store backup /backup/monday      while the server runs

A backup is a folder that a server can be started on: state = \"/backup/monday\" in its config.")]
pub(crate) struct StoreVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Debug, Subcommand)]
enum StoreVerb {
    /// Show whether it accepts messages, and its counters since the start
    Show,
    /// Read everything and report damage. Changes nothing
    Check,
    /// Copy everything into a new folder while the server runs
    Backup {
        /// The folder, which the server makes
        folder: PathBuf,
    },
}

impl StoreVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.operator;
        match self.verb {
            StoreVerb::Show => operator.show("/store"),
            StoreVerb::Check => check(&operator),
            StoreVerb::Backup { folder } => backup(&operator, &folder),
        }
    }
}

fn check(operator: &OperatorSocket) -> anyhow::Result<ExitCode> {
    let findings = operator.ask(Method::GET, "/store/check", None)?;
    let faults = findings["faults"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if operator.json {
        println!("{findings:#}");
    } else {
        for key in [
            "messages",
            "envelopes",
            "waiting",
            "contents",
            "files_unnamed",
            "quarantined",
        ] {
            println!("{key:14} {}", text(&findings[key]));
        }
        faults
            .iter()
            .for_each(|fault| println!("fault          {}", text(fault)));
        let hint = "; a damaged message fails when it is to be delivered, the others are untouched";
        eprintln!(
            "{} faults{}",
            faults.len(),
            if faults.is_empty() { "" } else { hint }
        );
    }
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn backup(operator: &OperatorSocket, folder: &Path) -> anyhow::Result<ExitCode> {
    // The server has another working folder.
    let folder = std::path::absolute(folder).context("the folder has no absolute path")?;
    let body = serde_json::to_value(NewBackup {
        folder: folder.clone(),
    })?;
    let socket = operator.socket()?;
    let made = Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut making = std::pin::pin!(ask(&socket, Method::POST, "/store/backup", Some(&body)));
        loop {
            tokio::select! {
                made = &mut making => return made,
                () = sleep(PROGRESS_INTERVAL) => {
                    // Progress is talk: the backup goes on without it.
                    if let Ok(progress) = ask(&socket, Method::GET, "/store/backup", None).await {
                        show(&progress);
                    }
                }
            }
        }
    })?;
    if operator.json {
        println!("{made:#}");
    } else {
        show(&made);
        println!("{}", folder.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn show(progress: &Value) {
    if progress.is_object() {
        let of = |key: &str| text(&progress[key]);
        let (pages, files) = (of("pages"), of("files"));
        eprintln!(
            "{} of {pages} pages, {} of {files} content files",
            of("pages_done"),
            of("files_done")
        );
    }
}
