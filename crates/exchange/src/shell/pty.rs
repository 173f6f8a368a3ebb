//! A pseudo-terminal as a modem's port: the exchange holds the master, the DTE opens the slave by a link.
//!
//! ```text
//!            slave opened (seen within 20 ms)
//!  Closed ──────────────────────────────────► Open
//!    ▲                                          │ hang-up of the last who had it open
//!    └──── flushed, raw again ◄─────────────────┘
//! ```
//!
//! A pseudo-terminal has no DTR; an open slave is taken as DTR on. What is left in its queues outlives
//! the one who had it open, and so do its settings: both are cleared before the next program is served. A program that
//! closes and opens again within that moment may lose the first octets it writes, as with a DTR pulse.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open, symlink},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr},
};
use std::{
    ffi::{CString, OsString},
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// How often a closed pseudo-terminal is looked at: nothing wakes the master when a slave is opened.
const OPEN_POLL: Duration = Duration::from_millis(20);

/// A pseudo-terminal and the link by which it is found.
#[derive(Debug)]
pub(super) struct Pty {
    master: Arc<OwnedFd>,
    slave_path: CString,
    link: PtyLink,
}

impl Pty {
    /// Makes a pseudo-terminal in raw mode and a link to it at `path`. A link that is already there is replaced;
    /// anything else is left alone and an error.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let slave_path = ptsname(&master, Vec::new())?;
        let link = PtyLink::create(path, &slave_path)?;
        let pty = Self {
            master: Arc::new(master),
            slave_path,
            link,
        };
        // Also makes the master see a hang-up, which it does only after a first open and close.
        pty.clear()?;
        Ok(pty)
    }

    /// Waits until someone has the slave open.
    pub(super) async fn opened(&self) -> io::Result<PtyDte> {
        while self.is_hung_up()? {
            tokio::time::sleep(OPEN_POLL).await;
        }
        // Made anew for each: once tokio has seen a hang-up it does not forget it.
        #[expect(
            deprecated,
            reason = "its successor is unsafe because of types that change their descriptor; an owned one does not"
        )]
        let master = AsyncFd::with_interest(
            Arc::clone(&self.master),
            Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY,
        )?;
        Ok(PtyDte {
            master: Arc::new(master),
        })
    }

    /// Makes the pseudo-terminal as new for the next who opens it. If it cannot be opened any more (a DTE has made it
    /// exclusive, which outlives the DTE), another one takes its place.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        if self.clear().is_err() {
            *self = Self::create(&self.link.path)?;
        }
        Ok(())
    }

    /// Empties both directions and makes the slave raw.
    fn clear(&self) -> io::Result<()> {
        let slave = open(
            &self.slave_path,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        tcflush(&slave, QueueSelector::IOFlush)?;
        let mut stale = [0; 1024];
        while matches!(rustix::io::read(&self.master, &mut stale), Ok(count) if count > 0) {}
        Ok(())
    }

    fn is_hung_up(&self) -> io::Result<bool> {
        let mut polled = [PollFd::new(&*self.master, PollFlags::empty())];
        poll(&mut polled, Some(&Timespec::default()))?;
        Ok(polled[0].revents().contains(PollFlags::HUP))
    }
}

/// The master's end while someone has the slave open.
#[derive(Clone, Debug)]
pub(super) struct PtyDte {
    master: Arc<AsyncFd<Arc<OwnedFd>>>,
}

impl PtyDte {
    /// Completes when the last who had the slave open has closed it, even if what was written is still unread.
    pub(super) async fn hung_up(self) {
        loop {
            match self.master.ready(Interest::PRIORITY).await {
                Ok(mut state) if !state.ready().is_read_closed() => state.clear_ready(),
                _ => return,
            }
        }
    }
}

impl AsyncRead for PtyDte {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut state = ready!(self.master.poll_read_ready(context))?;
            let read = state.try_io(|master| {
                Ok(rustix::io::read(
                    master.get_ref(),
                    buffer.initialize_unfilled(),
                )?)
            });
            match read {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // EIO: no one has the slave open, which is the end of this DTE.
                Ok(Err(error))
                    if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
                {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                // Closed and opened again before it was noticed: also an end, and not one to spin on.
                Err(_) if state.ready().is_read_closed() => return Poll::Ready(Ok(())),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for PtyDte {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut state = ready!(self.master.poll_write_ready(context))?;
            match state.try_io(|master| Ok(rustix::io::write(master.get_ref(), octets)?)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(written) => return Poll::Ready(written),
                Err(_) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The link to a pseudo-terminal; removed when dropped, unless it has become someone else's.
#[derive(Debug)]
struct PtyLink {
    path: PathBuf,
    target: PathBuf,
}

impl PtyLink {
    fn create(path: &Path, slave_path: &CString) -> io::Result<Self> {
        let target = PathBuf::from(slave_path.to_string_lossy().into_owned());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink()) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else than a link is there",
            ));
        }
        // Created under another name and renamed: opening the path finds the old one or the new one.
        let mut beside = OsString::from(path);
        beside.push(format!(".{}", std::process::id()));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(&target, &*beside)?;
        fs::rename(&beside, path)?;
        Ok(Self {
            path: path.to_owned(),
            target,
        })
    }
}

impl Drop for PtyLink {
    fn drop(&mut self) {
        if fs::read_link(&self.path).is_ok_and(|target| target == self.target) {
            // A link that stays behind is replaced by the next exchange.
            let _ = fs::remove_file(&self.path);
        }
    }
}
