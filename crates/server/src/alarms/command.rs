//! The operator's program that is told of alarms: an argument vector without a shell, JSON on its standard input.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

/// Longest run of the command; then it is ended.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Why it did not take what it was told.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error("the command could not be run")]
    Run(#[source] std::io::Error),
    #[error("the command ended with {0}")]
    Failed(ExitStatus),
    #[error("the command was ended: it took longer than 30 s")]
    TooLong,
}

/// Runs it once, to its end. `words` are the program and its arguments.
pub(super) async fn run(words: &[String], input: &str) -> Result<(), CommandError> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(());
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(delivery::passed_on())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(CommandError::Run)?;
    let stdin = child.stdin.take();
    let told = async {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input.as_bytes()).await; // it need not read it
        }
        child.wait().await
    };
    match timeout(TIME_MAX, told).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(CommandError::Failed(status)),
        Ok(Err(error)) => Err(CommandError::Run(error)),
        Err(_) => Err(CommandError::TooLong), // killed: it is dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn arguments_reach_the_program_as_they_are_and_the_input_ends() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let script = "printf '%s|' \"$@\" > \"$0\"; cat >> \"$0\"";
        let hostile = "$(touch gone); `x` && rm -rf *";
        let command = words(&["/bin/sh", "-c", script, file.to_str().unwrap(), hostile, ""]);
        run(&command, "{\"a\":1}").await.unwrap();
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            format!("{hostile}||{{\"a\":1}}")
        );
    }

    /// What cargo tells its tests stands in this process's environment, as what a service manager tells stands in a server's.
    #[tokio::test]
    async fn of_our_environment_a_program_gets_what_any_needs_and_nothing_else() {
        let script = r#"test -n "$PATH" && test -z "${CARGO_MANIFEST_DIR+there}""#;
        assert!(
            std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
            "or this test says nothing"
        );
        run(&words(&["/bin/sh", "-c", script]), "x").await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_fails_is_missing_or_reads_nothing_is_told_apart() {
        assert!(matches!(
            run(&words(&["/bin/false"]), "x").await,
            Err(CommandError::Failed(_))
        ));
        assert!(matches!(
            run(&words(&["/nonexistent/program"]), "x").await,
            Err(CommandError::Run(_))
        ));
        // More than a pipe holds, to one that reads none of it.
        run(&words(&["/bin/true"]), &"x".repeat(1_000_000))
            .await
            .unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_does_not_end_is_ended() {
        assert!(matches!(
            run(&words(&["/bin/cat", "/dev/zero"]), "x").await,
            Err(CommandError::TooLong)
        ));
    }
}
