//! Where a modem is attached: a serial device or pseudo-terminal, or a TCP port.
//!
//! A modem is hung up by closing its port: on a serial device that drops DTR (`HUPCL`, V.250 `&D2`), the software
//! exchange and modem servers take a closed pseudo-terminal or TCP connection the same way. A [`Call`](crate::Call)
//! that is shut down before it is dropped says so by DTR, or in octets, first.
//!
//! Nobody else opens a device meanwhile: `TIOCEXCL` keeps ordinary programs away, `flock` those that ask for it
//! (ModemManager, picocom), a UUCP lock file those of old (mgetty, pppd, minicom).

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use modem::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, OptionalActions, QueueSelector, ioctl_tiocexcl, isatty, tcflush, tcgetattr,
    tcsetattr,
};
use serial2::SerialPort;

use crate::async_port::AsyncPort;
use crate::lock_file::LockFile;

/// How long DTR stays low between two openings of a port. V.250's S25 asks for 50 ms; cheap USB modems want half a second.
pub const DTR_LOW: Duration = Duration::from_millis(500);

/// bit/s between computer and modem, where a real serial device is between them.
pub(crate) const PORT_SPEED_BPS: u32 = 115_200;

/// How long a blocking write may wait for a modem to take octets: a command is shorter than any modem's buffer.
const WRITE_WAIT: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// Where a modem is: a device path, `tcp://HOST:PORT`, or `rfc2217://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortAddress {
    /// A serial device or pseudo-terminal (a symbolic link to one will do).
    Device(PathBuf),
    /// Host and port of a modem behind a plain TCP connection.
    Tcp(String),
    /// Host and port of a terminal server that controls the modem's port (RFC 2217). For the lines of servers: a starter
    /// hands its port on as a file descriptor, and what a telnet connection has agreed on cannot be handed on with it.
    Rfc2217(String),
}

/// A text that names no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortAddressError {
    /// Nothing there.
    #[error("a port is a device such as /dev/ttyUSB0, tcp://HOST:PORT or rfc2217://HOST:PORT")]
    Empty,
    /// `tcp://` or `rfc2217://` without host or port.
    #[error("{0:?} is not tcp://HOST:PORT or rfc2217://HOST:PORT")]
    Tcp(String),
}

impl PortAddress {
    /// The same port, with a relative device path taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Device(path) => Self::Device(folder.join(path)),
            other => other,
        }
    }
}

impl FromStr for PortAddress {
    type Err = PortAddressError;

    fn from_str(text: &str) -> Result<Self, PortAddressError> {
        let (address, port): (_, fn(String) -> Self) =
            match (text.strip_prefix("tcp://"), text.strip_prefix("rfc2217://")) {
                (Some(address), _) => (address, Self::Tcp),
                (_, Some(address)) => (address, Self::Rfc2217),
                _ if text.is_empty() => return Err(PortAddressError::Empty),
                _ => return Ok(Self::Device(text.into())),
            };
        match address.rsplit_once(':') {
            Some((host, number))
                if !host.is_empty() && number.parse::<u16>().is_ok_and(|number| number > 0) =>
            {
                Ok(port(address.to_owned()))
            }
            _ => Err(PortAddressError::Tcp(text.to_owned())),
        }
    }
}

impl fmt::Display for PortAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Rfc2217(address) => write!(f, "rfc2217://{address}"),
        }
    }
}

/// Why a port could not be opened. Our side's fault: the terminal stays due.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Not there, or no permission.
    #[error("could not open {port}")]
    Open {
        /// Which.
        port: PortAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another program holds it.
    #[error("{port} is in use by another program")]
    InUse {
        /// Which.
        port: PortAddress,
    },
    /// Another program holds its UUCP lock file.
    #[error(
        "{port} is locked by process {process}; end that program, or give the line another port"
    )]
    Locked {
        /// Which.
        port: PortAddress,
        /// Who, as the lock file says.
        process: u32,
    },
    /// The starter hands its port on, and this one cannot be.
    #[error(
        "{port} is for the lines of a server; a starter needs its modem at a device, or at tcp://HOST:PORT"
    )]
    ForServersOnly {
        /// Which.
        port: PortAddress,
    },
    /// The path is a file of another kind.
    #[error("{port} is not a terminal device")]
    NotATerminal {
        /// Which.
        port: PortAddress,
    },
}

/// Why [`Port::read_or`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// So many octets came; none is the end of file.
    Octets(usize),
    /// The deadline came first.
    Deadline,
    /// There is something to read beside the port.
    Beside,
}

/// An open port, non-blocking. Dropping it hangs up.
#[derive(Debug)]
pub struct Port {
    fd: OwnedFd,
    signals: Signals,
    lock: Option<LockFile>,
}

impl Port {
    /// Opens a port for our use alone: raw, 8 data bits, no parity, DTR on.
    ///
    /// # Errors
    /// [`PortError`], by whose fault it is.
    pub fn open(port: &PortAddress) -> Result<Self, PortError> {
        let failed = |source: io::Error| PortError::Open {
            port: port.clone(),
            source,
        };
        let path = match port {
            PortAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).map_err(failed)?;
                stream
                    .set_nonblocking(true)
                    .and_then(|()| stream.set_nodelay(true))
                    .map_err(failed)?;
                return Ok(Self {
                    fd: stream.into(),
                    signals: Signals::OctetsOnly,
                    lock: None,
                });
            }
            PortAddress::Rfc2217(_) => {
                return Err(PortError::ForServersOnly { port: port.clone() });
            }
            PortAddress::Device(path) => path,
        };
        // NONBLOCK: otherwise the open waits for a carrier that only a call brings.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let mut termios =
            tcgetattr(&fd).map_err(|_| PortError::NotATerminal { port: port.clone() })?;
        flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            Errno::WOULDBLOCK => PortError::InUse { port: port.clone() },
            errno => failed(errno.into()),
        })?;
        let lock = LockFile::take(path).map_err(|held| PortError::Locked {
            port: port.clone(),
            process: held.process,
        })?;
        ioctl_tiocexcl(&fd).map_err(|errno| failed(errno.into()))?;
        termios.make_raw();
        // RTS/CTS: the port is faster than the line (AT&K3 on the modem's side).
        let modes = ControlModes::HUPCL
            | ControlModes::CLOCAL
            | ControlModes::CREAD
            | ControlModes::CRTSCTS;
        termios.control_modes |= modes;
        termios
            .set_speed(PORT_SPEED_BPS)
            .and_then(|()| tcsetattr(&fd, OptionalActions::Now, &termios))
            .and_then(|()| tcflush(&fd, QueueSelector::IOFlush))
            .map_err(|errno| failed(errno.into()))?;
        let signals = signals(&fd);
        Ok(Self { fd, signals, lock })
    }

    /// The port that another program opened and handed to us as standard input. From here on standard input is empty,
    /// so that dropping this port is what hangs up.
    ///
    /// # Errors
    /// If standard input is not a device or socket that can be read and written.
    pub fn from_stdin() -> io::Result<Self> {
        let fd = rustix::stdio::stdin().try_clone_to_owned()?;
        let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        if flags & OFlags::RWMODE != OFlags::RDWR {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard input is not an open line",
            ));
        }
        rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        let signals = signals(&fd);
        // The starter, which is still there, holds the lock.
        Ok(Self {
            fd,
            signals,
            lock: None,
        })
    }

    /// Reads what is there, waiting until `deadline` (for ever if `None`). `Ok(None)`: the deadline came first.
    ///
    /// # Errors
    /// The operating system's. End of file is `Ok(Some(0))`.
    pub fn read_until(
        &self,
        buffer: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        match self.read_or(buffer, deadline, None)? {
            Woken::Octets(count) => Ok(Some(count)),
            Woken::Deadline | Woken::Beside => Ok(None),
        }
    }

    /// The same, and returns when there is something to read `beside` the port, too.
    ///
    /// # Errors
    /// As [`Port::read_until`].
    pub fn read_or(
        &self,
        buffer: &mut [u8],
        deadline: Option<Instant>,
        beside: Option<BorrowedFd<'_>>,
    ) -> io::Result<Woken> {
        loop {
            match read(self.fd.as_fd(), buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other.map(Woken::Octets),
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            let here = PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN);
            // Without anything beside it the port stands there twice, which changes nothing.
            let there = PollFd::from_borrowed_fd(beside.unwrap_or(self.fd.as_fd()), PollFlags::IN);
            let mut both = [here, there];
            match poll(&mut both, timeout.as_ref()) {
                Ok(0) => return Ok(Woken::Deadline),
                Ok(_) if beside.is_some() && both[0].revents().is_empty() => {
                    return Ok(Woken::Beside);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Writes all of `octets`, waiting as long as a modem may reasonably take.
    ///
    /// # Errors
    /// The operating system's, or `TimedOut` if the modem takes nothing for 5 s.
    pub fn write_all(&self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            match rustix::io::write(&self.fd, octets) {
                Ok(count) => octets = &octets[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let ready = poll(
                        &mut [PollFd::new(&self.fd, PollFlags::OUT)],
                        Some(&WRITE_WAIT),
                    )?;
                    if ready == 0 {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// What tells a modem on this port to hang up.
    pub fn signals(&self) -> Signals {
        self.signals
    }

    /// The file descriptor, to hand to another program. This port is then theirs; what locks the device stays with us.
    pub fn into_fd(self) -> (OwnedFd, Option<LockFile>) {
        (self.fd, self.lock)
    }

    /// The same port under tokio.
    ///
    /// # Errors
    /// If the runtime cannot watch it (a plain file, for one).
    pub fn into_async(self) -> io::Result<AsyncPort> {
        AsyncPort::on(self.fd, self.signals, self.lock)
    }
}

/// A pseudo-terminal and a socket have no wires beside the data (ENOTTY).
fn signals(fd: &OwnedFd) -> Signals {
    match wires(fd).map(|port| port.read_cd()) {
        Some(Ok(_)) => Signals::Wires,
        _ if isatty(fd) => Signals::Closing,
        _ => Signals::OctetsOnly,
    }
}

pub(crate) fn wires(fd: impl AsFd) -> Option<SerialPort> {
    fd.as_fd().try_clone_to_owned().ok().map(SerialPort::from)
}

/// Reads; a pseudo-terminal whose other side is gone says EIO, which is an end of file.
pub(crate) fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    match rustix::io::read(fd, buffer) {
        Ok(count) => Ok(count),
        Err(Errno::IO) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_device_or_an_address() {
        assert_eq!(
            "/dev/ttyS0".parse(),
            Ok(PortAddress::Device("/dev/ttyS0".into()))
        );
        assert_eq!(
            "tcp://[::1]:4000".parse(),
            Ok(PortAddress::Tcp("[::1]:4000".into()))
        );
        assert_eq!(
            "rfc2217://pool:2001".parse(),
            Ok(PortAddress::Rfc2217("pool:2001".into()))
        );
        for text in [
            "rfc2217://pool",
            "tcp://",
            "tcp://host",
            "tcp://:1",
            "tcp://host:0",
            "tcp://host:x",
        ] {
            assert_eq!(
                text.parse::<PortAddress>(),
                Err(PortAddressError::Tcp(text.into()))
            );
        }
    }

    #[test]
    fn a_relative_device_is_found_beside_its_config() {
        let port: PortAddress = "lines/one".parse().unwrap();
        assert_eq!(
            port.relative_to(Path::new("/etc/ringup")).to_string(),
            "/etc/ringup/lines/one"
        );
    }

    #[test]
    fn opening_says_whether_the_port_is_missing_taken_or_no_terminal() {
        let open = |path: &Path| Port::open(&PortAddress::Device(path.into()));
        assert!(matches!(
            open(Path::new("/nonexistent")),
            Err(PortError::Open { .. })
        ));
        assert!(matches!(
            open(Path::new("/dev/null")),
            Err(PortError::NotATerminal { .. })
        ));

        let master =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY)
                .unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let path = Path::new(name.to_str().unwrap());
        let _held = open(path).unwrap();
        assert!(matches!(open(path), Err(PortError::InUse { .. })));
    }
}
