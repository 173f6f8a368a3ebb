//! The task that owns a call: PPP below, TCP/IP above, the line's pace between.
//!
//! ```text
//!   call ◄─► ppp::Session ◄─packets─► Stack ◄─► Stream, Listener (any task)
//!              │      └──the others──► Tun ◄─► the kernel, if it is to have some
//!              │  timers                │ timers        │
//!              └────────── one loop, one wake-up ───────┘ Shared::wake
//! ```

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ppp::{Agreement, CloseReason, Event, Input, Output, Session};
use smoltcp::iface::SocketHandle;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::capture::{Capture, Tap};
use crate::counters::{Counters, SharedCounters};
use crate::listener::Listener;
use crate::pacer::Pacer;
use crate::stack::{Manners, Stack};
use crate::stream::Stream;
use crate::tun::Tun;
use crate::{Expected, LinkConfig, mru_for};

/// Octets read from the call at once.
const READ_OCTETS: usize = 4096;

/// The longest that hanging up in order may take; the call is dropped then.
const HANG_UP_MAX: Duration = Duration::from_secs(10);

/// How long the line may take to accept the last octets of a link that is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long packets that are ready may keep a link from being closed.
const LAST_PACKETS: Duration = Duration::from_secs(2);

/// A link that is up. Dropping it hangs up without a word; [`Link::close`] says good-bye first.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    network: Network,
    rate_bps: u32,
    /// The link's task; it ends with the link.
    _driver: JoinSet<()>,
}

/// What PPP has agreed on.
#[derive(Debug, Clone, Copy)]
struct Network {
    local: Ipv4Addr,
    peer: Option<Ipv4Addr>,
    agreement: Option<Agreement>,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// PPP did not come up: the far end's protocol, or the line.
    #[error("the link did not come up: {0}")]
    NotEstablished(CloseReason),
    /// The operating system gives no random numbers. Ours.
    #[error("no random numbers for the link: {0}")]
    NoRandom(getrandom::Error),
}

/// What the link's task shares with its streams.
pub(crate) struct Shared {
    /// Empty until IP is up, or expected to come up.
    stack: OnceLock<Mutex<Stack>>,
    /// Ours and the far end's on the link, while there is IPv6.
    ipv6: watch::Sender<Option<(Ipv6Addr, Ipv6Addr)>>,
    /// A connection begun before the link was up, until somebody wants it.
    begun: Mutex<Option<Begun>>,
    wake: Notify,
    /// Set when the owner wants the link closed.
    close: Notify,
    /// Set with `close` when nothing is to be waited for after the good-bye.
    is_abrupt: AtomicBool,
    closed: watch::Sender<Option<CloseReason>>,
    counters: SharedCounters,
    /// The far end is who it should be.
    is_proved: AtomicBool,
}

/// A connection that was begun before anybody had a link to ask for it.
#[derive(Debug, Clone, Copy)]
struct Begun {
    address: IpAddr,
    port: u16,
    handle: SocketHandle,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn begun(&self) -> MutexGuard<'_, Option<Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the stack. Streams and listeners exist only once there is one.
    pub(crate) fn stack<R>(&self, work: impl FnOnce(&mut Stack) -> R) -> R {
        let stack = self
            .stack
            .get()
            .expect("streams and listeners are made when IP is up");
        work(&mut stack.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    pub(crate) fn counters(&self) -> &SharedCounters {
        &self.counters
    }

    pub(crate) fn is_proved(&self) -> bool {
        self.is_proved.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }
}

impl Link {
    /// Brings up IP over a connected call.
    ///
    /// # Errors
    /// [`LinkError`] within the limits of PPP's restart timers; the call is then hung up.
    pub async fn establish<S>(call: S, config: LinkConfig) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let shared = Arc::new(Shared {
            stack: OnceLock::new(),
            ipv6: watch::Sender::new(None),
            begun: Mutex::new(None),
            wake: Notify::new(),
            close: Notify::new(),
            is_abrupt: AtomicBool::new(false),
            closed: watch::Sender::new(None),
            counters: SharedCounters::default(),
            is_proved: AtomicBool::new(false),
        });
        let (up_sender, up) = oneshot::channel();
        let mut driver = JoinSet::new();
        // Two, and unpredictable: PPP draws challenges from the one, TCP shows numbers drawn from the other.
        let seeds = (random()?, random()?);
        let rate_bps = config.rate_bps;
        let task = Driver::new(call, &config, seeds, shared.clone(), up_sender);
        driver.spawn(task.run());
        match up.await {
            Ok(network) => Ok(Self {
                shared,
                network,
                rate_bps,
                _driver: driver,
            }),
            Err(_) => {
                let reason = *shared.closed.borrow();
                Err(LinkError::NotEstablished(
                    reason.unwrap_or(CloseReason::CarrierLost),
                ))
            }
        }
    }

    /// The line's rate, as it was said when the link was established, in bit/s.
    pub fn rate_bps(&self) -> u32 {
        self.rate_bps
    }

    /// Our address.
    pub fn local(&self) -> Ipv4Addr {
        self.network.local
    }

    /// The far end's address, if it has said one.
    pub fn peer(&self) -> Option<Ipv4Addr> {
        self.network.peer
    }

    /// What to expect of this far end on the next call; `None` if it did not do on this one what was expected of it.
    pub fn agreement(&self) -> Option<Agreement> {
        self.network.agreement
    }

    /// Waits for IPv6, and gives our address on the link and the far end's; `None` if the link ends before. May be
    /// dropped and called again.
    pub async fn ipv6(&self) -> Option<(Ipv6Addr, Ipv6Addr)> {
        let mut ipv6 = self.shared.ipv6.subscribe();
        tokio::select! {
            up = ipv6.wait_for(Option::is_some) => up.ok().and_then(|addresses| *addresses),
            _ = self.closed() => None,
        }
    }

    /// What has crossed the link so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters.read()
    }

    /// Says that the far end has proved who it is: from here on TUN, if there is one, is open as configured.
    pub fn proved(&self) {
        self.shared.is_proved.store(true, Ordering::Release);
    }

    /// Whether [`Link::proved`] was said.
    pub fn is_proved(&self) -> bool {
        self.shared.is_proved()
    }

    /// Opens a TCP connection.
    ///
    /// # Errors
    /// `ConnectionRefused` if the far end refuses or does not answer; `NetworkUnreachable` for an IPv6 address on a
    /// link without IPv6.
    pub async fn connect(&self, address: impl Into<IpAddr>, port: u16) -> io::Result<Stream> {
        let address = address.into();
        let begun = self
            .shared
            .begun()
            .take_if(|begun| (begun.address, begun.port) == (address, port));
        let handle = match begun {
            Some(begun) => begun.handle,
            None => self.shared.stack(|stack| stack.connect(address, port))?,
        };
        let stream = Stream::new(self.shared.clone(), handle);
        self.shared.wake();
        std::future::poll_fn(|cx| self.shared.stack(|stack| stack.poll_connected(handle, cx)))
            .await?;
        Ok(stream)
    }

    /// Listens on a TCP port.
    ///
    /// # Errors
    /// If `port` is 0.
    pub fn listen(&self, port: u16) -> io::Result<Listener> {
        Listener::new(self.shared.clone(), port)
    }

    /// Waits until the link is gone, and says why. May be dropped and called again.
    pub async fn closed(&self) -> CloseReason {
        let mut closed = self.shared.closed.subscribe();
        let reason = closed.wait_for(Option::is_some).await;
        reason
            .ok()
            .and_then(|reason| *reason)
            .unwrap_or(CloseReason::CarrierLost)
    }

    /// Waits until nothing has been received for `limit`. May be dropped and called again, which starts anew.
    pub async fn silent(&self, limit: Duration) {
        let mut heard = self.counters().octets_in;
        loop {
            sleep(limit).await;
            match self.counters().octets_in {
                same if same == heard => return,
                more => heard = more,
            }
        }
    }

    /// Says good-bye and hangs up without waiting for the answer (which RFC 1661 §3.7 would have us do): for an end that knows
    /// that nothing more comes, on a line that is paid for.
    pub fn hang_up(&self) {
        self.shared.is_abrupt.store(true, Ordering::Release);
        self.close();
    }

    /// Begins to close the link in order (Terminate-Request, RFC 1661 §3.7); it is hung up when [`Link::closed`] says so.
    pub fn close(&self) {
        self.shared.close.notify_one();
    }
}

struct Driver<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    session: Session,
    pacer: Pacer,
    /// Octets that PPP wants sent, in order.
    outgoing: Vec<u8>,
    shared: Arc<Shared>,
    up: Option<oneshot::Sender<Network>>,
    expected: Option<Expected>,
    rate_bps: u32,
    delay: Duration,
    ports: &'static [u16],
    /// For the stack, once there is one.
    stack_seed: u64,
    tap: Option<Tap>,
    tun: Tun,
    /// The owner wants the link closed; until then packets that are ready may still go.
    closing: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Driver<S> {
    fn new(
        call: S,
        config: &LinkConfig,
        (ppp_seed, stack_seed): (u64, u64),
        shared: Arc<Shared>,
        up: oneshot::Sender<Network>,
    ) -> Self {
        let now = now();
        let (reader, writer) = tokio::io::split(call);
        let ppp = ppp::Config {
            line: ppp::LineProfile {
                rate_bps: Some(config.rate_bps),
                delay: config.delay,
            },
            mru: config.terms.mru.unwrap_or_else(|| mru_for(config.rate_bps)),
            accm: 0,
            local: config.local,
            peer: config.peer,
            name_servers: ppp::NameServers::Nothing,
            ipv6: config.terms.ipv6,
            header_compression: config.terms.header_compression,
            keepalive: config.terms.keepalive,
            authentication: config.terms.authentication.clone(),
            expected: config.expected.map(|expected| expected.agreement),
        };
        let session = Session::new(ppp, ppp_seed, now);
        let pacer = Pacer::new(config.rate_bps, now);
        let LinkConfig {
            rate_bps,
            delay,
            ports,
            expected,
            ..
        } = *config;
        let tap = config.capture.as_ref().map(Capture::tap);
        let tun = Tun::new(config.tun.clone(), shared.clone());
        Self {
            reader,
            writer,
            session,
            pacer,
            outgoing: Vec::new(),
            shared,
            up: Some(up),
            expected,
            rate_bps,
            delay,
            ports,
            stack_seed,
            tap,
            tun,
            closing: None,
        }
    }

    async fn run(mut self) {
        let reason = self.drive().await;
        let Counters {
            noise_octets,
            bad_frames,
            ..
        } = self.shared.counters.read();
        tracing::debug!(%reason, noise_octets, bad_frames, "link closed");
        self.shared.closed.send_replace(Some(reason));
        if let Some(stack) = self.shared.stack.get() {
            stack
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .abort_all();
        }
    }

    async fn drive(&mut self) -> CloseReason {
        let mut buffer = vec![0; READ_OCTETS];
        if let Some(Expected {
            agreement: Agreement { link, local, peer },
            ..
        }) = self.expected
        {
            self.raise(local, peer, link.sending.mru.octets(), now());
        }
        let shared = self.shared.clone();
        loop {
            let woke = now();
            let wake_at = match self.settle(woke) {
                Ok(wake_at) => wake_at,
                Err(reason) => {
                    // The last octets (a Terminate-Ack) go out if the line takes them now; a dead line takes none.
                    let last = timeout(LAST_WORDS, self.writer.write_all(&self.outgoing)).await;
                    if matches!(last, Ok(Ok(()))) {
                        self.sent(self.outgoing.len());
                    }
                    // A call hangs up by this, as surely as its port allows.
                    if reason != CloseReason::CarrierLost {
                        let _ = timeout(HANG_UP_MAX, self.writer.shutdown()).await; // then the port is closed
                    }
                    return reason;
                }
            };
            let sleep = async {
                match wake_at {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = self.reader.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => self.session.handle(Input::CarrierLost, now()),
                    Ok(count) => {
                        shared.counters.received(count);
                        if let Some(tap) = &mut self.tap {
                            tap.received(&buffer[..count]);
                        }
                        self.session.handle(Input::Bytes(&buffer[..count]), now());
                        shared.counters.note(&self.session.statistics().received);
                    }
                },
                written = self.writer.write(&self.outgoing), if !self.outgoing.is_empty() => match written {
                    Ok(0) | Err(_) => self.session.handle(Input::CarrierLost, now()),
                    Ok(count) => {
                        self.sent(count);
                        self.pacer.wrote(count, now());
                        self.outgoing.drain(..count);
                    }
                },
                () = self.tun.read() => {}
                () = shared.wake.notified() => {}
                () = shared.close.notified() => self.closing = Some(now() + LAST_PACKETS),
                () = sleep => self.session.handle(Input::Deadline, now()),
            }
        }
    }

    /// The line has taken the first octets of what is outgoing.
    fn sent(&mut self, count: usize) {
        self.shared.counters.sent(count);
        if let Some(tap) = &mut self.tap {
            tap.sent(&self.outgoing[..count]);
        }
    }

    /// Lets PPP and the stack do what can be done now. Gives the next wake-up, or the reason of the end.
    fn settle(&mut self, now: Instant) -> Result<Option<Instant>, CloseReason> {
        let mut wake_at = self.drain(now)?;
        let shared = self.shared.clone();
        let Some(locked) = shared.stack.get() else {
            if self.closing.take().is_some() {
                self.session.handle(Input::Close, now);
                wake_at = self.drain(now)?;
            }
            return Ok(wake_at);
        };
        let lock = || locked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stack = lock();
        loop {
            let free_at = self.pacer.free_at();
            // What is early goes with PPP's own first octets, in one write.
            let is_first = self.expected.is_some() && self.shared.counters.read().octets_out == 0;
            let is_free = (self.outgoing.is_empty() || is_first) && free_at <= now;
            stack.poll(usize::from(is_free), now);
            let mut has_sent = false;
            while let Some(packet) = stack.take_packet() {
                self.session.handle(Input::Packet(&packet), now);
                has_sent = true;
            }
            if has_sent {
                drop(stack); // draining PPP may hand packets up
                wake_at = self.drain(now)?;
                stack = lock();
                continue;
            }
            // Good-bye comes behind what could be sent, such as a last receipt, and never waits for an answer to it.
            if self.closing.is_some_and(|latest| is_free || latest <= now) {
                self.closing = None;
                drop(stack);
                self.session.handle(Input::Close, now);
                let wake_at = self.drain(now)?;
                let is_abrupt = shared.is_abrupt.load(Ordering::Acquire);
                return if is_abrupt {
                    Err(CloseReason::ClosedHere)
                } else {
                    Ok(wake_at)
                };
            }
            // What is ours goes first.
            if is_free && let Some(packet) = self.tun.take_packet() {
                if !stack.has_as_ours(&packet) {
                    drop(stack);
                    self.session.handle(Input::Packet(&packet), now);
                    wake_at = self.drain(now)?;
                    stack = lock();
                } else {
                    shared.counters.tun_dropped();
                }
                continue;
            }
            let stack_at = stack.poll_at(now);
            let stack_at = if self.tun.has_waiting() {
                Some(stack_at.map_or(now, |at| at.min(now)))
            } else {
                stack_at
            };
            // While the line is busy nothing can be made, whatever the stack would like.
            let stack_at = if is_free {
                stack_at
            } else {
                stack_at.map(|at| at.max(free_at))
            };
            // While octets wait for the line to take them, its readiness is what wakes us.
            let stack_at = if self.outgoing.is_empty() {
                stack_at
            } else {
                None
            };
            let close_at = self.closing.map(|latest| latest.min(free_at.max(now)));
            return Ok([wake_at, stack_at, close_at].into_iter().flatten().min());
        }
    }

    /// Puts the stack up, with what may be begun at once. One that was put up for other addresses makes way: nobody has
    /// seen it yet.
    fn raise(&mut self, local: Ipv4Addr, peer: Option<Ipv4Addr>, mtu: u16, now: Instant) {
        let manners = Manners::for_line(self.rate_bps, self.delay, mtu);
        if self.shared.stack.get().is_some()
            && self
                .shared
                .stack(|stack| stack.is_for(local, peer, manners))
        {
            return;
        }
        let mut stack = Stack::new(local, peer, manners, self.stack_seed, now);
        for port in self.ports {
            if let Err(error) = stack.listen(*port) {
                tracing::error!(port, %error, "cannot listen");
            }
        }
        if let Some((ours, _)) = *self.shared.ipv6.borrow() {
            stack.add_ipv6(ours);
        }
        if let (Some(peer), Some(port)) =
            (peer, self.expected.and_then(|expected| expected.connect))
        {
            let address = peer.into();
            *self.shared.begun() = stack.connect(address, port).ok().map(|handle| Begun {
                address,
                port,
                handle,
            });
        }
        match self.shared.stack.get() {
            Some(expected) => *expected.lock().unwrap_or_else(PoisonError::into_inner) = stack,
            None => drop(self.shared.stack.set(Mutex::new(stack))),
        }
    }

    /// Drains PPP: octets to send, packets up, events. Gives its next wake-up.
    fn drain(&mut self, now: Instant) -> Result<Option<Instant>, CloseReason> {
        loop {
            match self.session.poll_output() {
                Output::Transmit(octets) => self.outgoing.extend_from_slice(&octets),
                Output::Packet(packet) => {
                    if self.shared.stack.get().is_some() {
                        // What is not for the stack is for the kernel, if that takes part; else it is for the stack to refuse.
                        if self.tun.is_open()
                            && !self.shared.stack(|stack| stack.has_as_theirs(&packet))
                        {
                            self.tun.receive(&packet);
                        } else {
                            self.shared.stack(|stack| stack.receive(packet));
                        }
                    }
                }
                Output::Event(Event::NetworkUp { local, peer, mtu }) => {
                    if let Some(up) = self.up.take() {
                        self.raise(local, peer, mtu, now);
                        self.tun.network_up(local, peer, mtu, self.rate_bps);
                        let agreement = self.session.agreement();
                        let _ = up.send(Network {
                            local,
                            peer,
                            agreement,
                        }); // nobody waits: the link is being dropped
                    }
                }
                Output::Event(Event::Ipv6Up { local, peer }) => {
                    self.shared
                        .ipv6
                        .send_replace(Some((local.link_local(), peer.link_local())));
                    if self.shared.stack.get().is_some() {
                        self.shared
                            .stack(|stack| stack.add_ipv6(local.link_local()));
                    }
                }
                Output::Event(Event::Ipv6Down) => {
                    self.shared.ipv6.send_replace(None);
                }
                Output::Event(Event::Closed(reason)) => return Err(reason),
                Output::Event(event) => tracing::debug!(?event, "ppp"),
                Output::Timeout { at, .. } => return Ok(at),
            }
        }
    }
}

/// The runtime's time: what its timers go by, and what a test can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn random() -> Result<u64, LinkError> {
    getrandom::u64().map_err(LinkError::NoRandom)
}
