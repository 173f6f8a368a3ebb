//! Notifications to the service manager (sd_notify(3)): ready, and watchdog.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// No timer of a program that waits for weeks is shorter.
const INTERVAL_MIN: Duration = Duration::from_secs(60);
/// Interval of the modem check when no watchdog is set.
const INTERVAL_UNWATCHED: Duration = Duration::from_secs(15 * 60);

/// The service manager that has started us, if one has.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<UnixDatagram>,
    interval: Duration,
}

impl ServiceManager {
    /// As the environment has it: `NOTIFY_SOCKET` and `WATCHDOG_USEC`.
    pub(crate) fn from_environment() -> Self {
        let socket = std::env::var("NOTIFY_SOCKET").ok().and_then(|name| {
            let connected = connect(&name);
            connected
                .inspect_err(
                    |error| tracing::warn!(%error, "service manager cannot be told anything"),
                )
                .ok()
        });
        let watchdog = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|micros| micros.parse().ok());
        Self {
            socket,
            interval: interval(watchdog.map(Duration::from_micros)),
        }
    }

    /// Between two signs of life.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// The line is initialised and waits.
    pub(crate) fn ready(&self) {
        self.tell("READY=1\nSTATUS=waiting for calls");
    }

    /// The starter is there, and so is its modem or the program that has it.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, what: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(what.as_bytes()); // it is gone, or will miss us
        }
    }
}

fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.strip_prefix('@') {
        Some(abstract_name) => {
            socket.connect_addr(&SocketAddr::from_abstract_name(abstract_name)?)?;
        }
        None => socket.connect(Path::new(name))?,
    }
    Ok(socket)
}

/// Twice in the time that the watchdog gives, as sd_watchdog_enabled(3) asks, but not more than once a minute: a watchdog
/// of less than two minutes would make a machine that sleeps wake for nothing.
fn interval(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(INTERVAL_UNWATCHED, |watchdog| {
        (watchdog / 2).max(INTERVAL_MIN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_of_life_come_twice_in_the_watchdogs_time_and_never_more_than_once_a_minute() {
        let interval_for = |seconds| interval(Some(Duration::from_secs(seconds)));
        assert_eq!(interval_for(300), Duration::from_secs(150));
        assert_eq!(interval_for(20), INTERVAL_MIN);
        assert_eq!(interval(None), INTERVAL_UNWATCHED);
    }

    #[test]
    fn both_kinds_of_sockets_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("ringup-test-{}", path.display());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        for (listener, name) in [
            (
                UnixDatagram::bind(&path).unwrap(),
                path.to_str().unwrap().to_owned(),
            ),
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                format!("@{abstract_name}"),
            ),
        ] {
            let manager = ServiceManager {
                socket: connect(&name).ok(),
                interval: INTERVAL_MIN,
            };
            manager.alive();
            let mut heard = [0; 64];
            let count = listener.recv(&mut heard).unwrap();
            assert_eq!(&heard[..count], b"WATCHDOG=1");
        }
    }
}
