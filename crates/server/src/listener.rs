//! The one accept loop of all listeners: how many connections each may hold, and what happens to the others.
//!
//! ```text
//!   operator's socket:  a seat ──► accept ──► handler          none free: callers wait in the kernel's queue
//!   all others:         accept ──► a seat, a place ──► handler  none free: a short refusal, closed
//! ```
//!
//! **Bounded:** a seat is held while the connection is open, whatever was proved on it; its number is what the process can spare
//! ([`crate::descriptors`]). A [`Place`] is for strangers, by address; the handler gives it back when it knows who is there.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::door::{Door, Place};

/// After a fault of `accept`, such as too many open files: the first pause, doubled to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// What one listener holds at once, and how it ends.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Its name in the log.
    pub(crate) name: &'static str,
    /// Connections that are open.
    pub(crate) seats: usize,
    /// Strangers among them: of all, and of one address.
    pub(crate) door: Door,
    /// Sent to whoever finds no seat or no place, before the connection is closed.
    pub(crate) refusal: Option<String>,
    /// How long open connections may take to end when the server stops.
    pub(crate) grace: Duration,
}

/// A connection that got a seat.
#[derive(Debug)]
pub(crate) struct Guest<S> {
    pub(crate) stream: S,
    pub(crate) peer: SocketAddr,
    /// Its place among the strangers.
    pub(crate) place: Place,
}

/// What connections come from.
pub(crate) trait Source: Send + Sync {
    type Stream: Send + 'static;

    /// Whether callers wait where there is no seat, or are refused.
    const WAITS: bool;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Says why, and closes.
    fn refuse(stream: Self::Stream, text: &str);
}

impl Source for TcpListener {
    type Stream = TcpStream;
    const WAITS: bool = false;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }

    fn refuse(stream: TcpStream, text: &str) {
        // A fresh connection's buffer takes a line at once; whoever does not read it learns nothing, and holds nothing.
        if let Ok(mut stream) = stream.into_std() {
            let _ = stream.write(text.as_bytes());
        }
    }
}

impl Source for UnixListener {
    type Stream = UnixStream;
    /// Its callers are this machine's operators.
    const WAITS: bool = true;

    async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, (IpAddr::from(Ipv4Addr::LOCALHOST), 0).into()))
    }

    fn refuse(_: UnixStream, _: &str) {}
}

/// Accepts and hands to `handle` until `shutdown`, and then waits for what is open, but not for long.
pub(crate) async fn serve<L, H, F>(
    source: L,
    limits: Limits,
    shutdown: CancellationToken,
    handle: H,
) where
    L: Source,
    H: Fn(Guest<L::Stream>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let Limits {
        name,
        seats,
        door,
        refusal,
        grace,
    } = limits;
    let seats = Arc::new(Semaphore::new(seats));
    let (mut guests, mut pause) = (JoinSet::new(), PAUSE_FIRST);
    loop {
        let accepting = async {
            let waited = if L::WAITS {
                seats.clone().acquire_owned().await.ok()
            } else {
                None
            };
            source.accept().await.map(|accepted| (accepted, waited))
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = guests.join_next() => continue,
            accepted = accepting => accepted,
        };
        let ((stream, peer), waited) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one(&error) => continue,
            Err(error) => {
                // Out of file descriptors, as a rule. Told once, however long it lasts.
                if pause == PAUSE_FIRST {
                    tracing::error!(listener = name, %error, "cannot accept connections; trying again");
                }
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = sleep(pause) => {}
                }
                pause = (2 * pause).min(PAUSE_LONGEST);
                continue;
            }
        };
        if pause != PAUSE_FIRST {
            tracing::info!(listener = name, "accepts connections again");
            pause = PAUSE_FIRST;
        }
        let seat = waited.or_else(|| seats.clone().try_acquire_owned().ok());
        let Some((seat, place)) = seat.zip(door.enter(peer.ip())) else {
            tracing::debug!(listener = name, %peer, "too many connections: refused");
            L::refuse(stream, refusal.as_deref().unwrap_or_default());
            continue;
        };
        let guest = handle(Guest {
            stream,
            peer,
            place,
        });
        guests.spawn(async move {
            guest.await;
            drop(seat);
        });
    }
    drop(source);
    let _ = timeout(grace, async { while guests.join_next().await.is_some() {} }).await; // the rest is ended with the set
}

/// Whether the fault is one connection's, gone before it was accepted (accept(2)), and not the listener's.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted,
        NetworkUnreachable, TimedOut,
    };
    let kinds = [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        Interrupted,
        NetworkUnreachable,
        TimedOut,
    ];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::{Notify, mpsc};

    use super::*;

    /// A listener that fails as often as it is told to, and then never accepts.
    struct Failing {
        faults: Mutex<u32>,
        over: Notify,
    }

    impl Source for Arc<Failing> {
        type Stream = ();
        const WAITS: bool = false;

        async fn accept(&self) -> io::Result<((), SocketAddr)> {
            let has_fault = {
                let mut faults = self.faults.lock().unwrap();
                let has_fault = *faults > 0;
                *faults = faults.saturating_sub(1);
                has_fault
            };
            if has_fault {
                return Err(io::Error::from_raw_os_error(24)); // EMFILE
            }
            self.over.notify_one();
            std::future::pending().await
        }

        fn refuse((): (), _: &str) {}
    }

    fn limits(seats: usize, door: Door) -> Limits {
        Limits {
            name: "test",
            seats,
            door,
            refusal: Some("full\r\n".to_owned()),
            grace: Duration::ZERO,
        }
    }

    async fn read_all(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn who_finds_no_seat_is_refused_at_once_and_the_seat_of_one_who_left_is_free() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (entered, mut guests) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        // Each gives its place back at once, as a proved terminal does, and keeps its seat.
        let serving = serve(
            listener,
            limits(3, Door::new(9, 9)),
            shutdown,
            move |guest: Guest<TcpStream>| {
                let entered = entered.clone();
                async move {
                    let Guest {
                        mut stream, place, ..
                    } = guest;
                    drop(place);
                    entered.send(()).unwrap();
                    let _ = stream.read(&mut [0]).await;
                    let _ = stream.shutdown().await;
                }
            },
        );
        let clients = async {
            let mut held = Vec::new();
            for _ in 0..3 {
                held.push(TcpStream::connect(address).await.unwrap());
                guests.recv().await.unwrap();
            }
            for _ in 0..300 {
                assert_eq!(
                    read_all(&mut TcpStream::connect(address).await.unwrap()).await,
                    "full\r\n"
                );
            }
            let mut first = held.remove(0);
            first.write_all(b"x").await.unwrap();
            assert_eq!(read_all(&mut first).await, "");
            loop {
                // Its seat is free a moment after its end.
                let mut next = TcpStream::connect(address).await.unwrap();
                tokio::select! {
                    got = guests.recv() => break got.unwrap(),
                    text = read_all(&mut next) => assert_eq!(text, "full\r\n"),
                }
            }
            stop.cancel();
        };
        tokio::join!(serving, clients);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_without_descriptors_waits_longer_each_time_and_never_spins() {
        let began = tokio::time::Instant::now();
        let source = Arc::new(Failing {
            faults: Mutex::new(10),
            over: Notify::new(),
        });
        let shutdown = CancellationToken::new();
        let serving = serve(
            source.clone(),
            limits(1, Door::new(1, 1)),
            shutdown.clone(),
            |_| async {},
        );
        let over = async {
            source.over.notified().await;
            shutdown.cancel();
        };
        tokio::join!(serving, over);
        // 50 + 100 + ... + 1600 ms, then four times 2 s.
        assert_eq!(began.elapsed(), Duration::from_millis(3150 + 8000));
    }

    #[tokio::test]
    async fn operators_wait_for_a_seat_and_each_is_served() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let serving = serve(
            listener,
            limits(2, Door::new(2, 2)),
            shutdown,
            |mut guest: Guest<UnixStream>| async move {
                let mut word = [0; 4];
                guest.stream.read_exact(&mut word).await.unwrap();
                guest.stream.write_all(&word).await.unwrap();
            },
        );
        let clients = async {
            let mut waiting = Vec::new();
            for _ in 0..20 {
                waiting.push(UnixStream::connect(&path).await.unwrap());
            }
            for mut stream in waiting {
                stream.write_all(b"word").await.unwrap();
                let mut echo = String::new();
                stream.read_to_string(&mut echo).await.unwrap();
                assert_eq!(echo, "word");
            }
            stop.cancel();
        };
        tokio::join!(serving, clients);
    }
}
