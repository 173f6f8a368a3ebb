//! What ends a program that runs until it is ended, and what does not.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
#[cfg(any(feature = "serve", feature = "exchange", feature = "demo"))]
use tokio_util::sync::CancellationToken;

/// From here on a file that may not grow (`ulimit -f`) fails its write, and does not end the program. To be called in a runtime.
pub(crate) fn outlive_file_limits() -> anyhow::Result<()> {
    // The handler stays when what listens to it is gone.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
    Ok(())
}

/// A token that is cancelled by SIGINT or SIGTERM. SIGHUP is no end of a server: it is a request to read the config again, which is
/// not done while it runs.
#[cfg(feature = "serve")]
pub(crate) fn until_ended() -> anyhow::Result<CancellationToken> {
    until(|| {
        tracing::warn!(
            "SIGHUP ignored: the config is read at the start only; check a changed one and restart the server"
        );
        false
    })
}

/// A token that is cancelled by SIGINT, SIGTERM, or the end of the terminal it was started from.
#[cfg(any(feature = "exchange", feature = "demo"))]
pub(crate) fn until_signal() -> anyhow::Result<CancellationToken> {
    until(|| true)
}

/// A token that is cancelled by SIGINT, SIGTERM, or a SIGHUP that is said to be the end.
#[cfg(any(feature = "serve", feature = "exchange", feature = "demo"))]
fn until(hangup_ends: impl Fn() -> bool + Send + 'static) -> anyhow::Result<CancellationToken> {
    outlive_file_limits()?;
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut hangup = signal(SignalKind::hangup())?;
    let cancelled = token.clone();
    // Lives as long as the runtime, which ends with the program.
    tokio::spawn(async move {
        let name = loop {
            tokio::select! {
                _ = interrupt.recv() => break "SIGINT",
                _ = terminate.recv() => break "SIGTERM",
                _ = hangup.recv() => if hangup_ends() {
                    break "SIGHUP";
                },
            }
        };
        tracing::info!(signal = name, "ending");
        cancelled.cancel();
    });
    Ok(token)
}
