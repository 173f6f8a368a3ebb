//! TCP/IP in user space for one link: a thin wall around smoltcp, so that nothing outside names it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{
    HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpProtocol, IpVersion, Ipv4Packet, Ipv6Packet,
    TcpPacket,
};

/// A connection without an acknowledgement for this time is dead. Longer than any modem's retrain.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What is sent meanwhile takes an acknowledgement with it.
const ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_millis(10);

/// A line that would need more is none: TCP would find out too late that something was lost.
const SLOWNESS_MAX: u32 = 20;

/// Octets of a packet that are no content, without options.
const TCP_IP_OCTETS: usize = 40;

/// Connections to a port that may wait to be accepted. smoltcp has no backlog of its own: each is a socket, which is made when the far
/// end asks for the connection. One that only listened would hold two buffers of up to 64 KiB on every line in use.
const BACKLOG: usize = 4;

/// What everybody takes (RFC 9293 §3.7.1).
const SEGMENT_OCTETS_MIN: usize = 536;

const RECEIVE_OCTETS_MIN: usize = 4 * 1024;
/// What a window says without being scaled: with larger buffers transfers by smoltcp 0.14 have stopped for good when a
/// window had been full.
const BUFFER_OCTETS_MAX: usize = 65_535;

/// Local ports for our own connections (RFC 6335 §6: dynamic ports).
const EPHEMERAL_PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// How a line wants TCP to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// Octets of the largest packet that is made.
    pub(crate) packet: u16,
    /// Octets that a connection holds, each way.
    send: usize,
    receive: usize,
    /// How many times slower TCP's clock runs than ours.
    ///
    /// RFC 6298 §2.1 has the first timeout be a second until a round trip was measured, smoltcp 0.14 has no other, and no
    /// shorter one later. Where a packet is longer than that on its way, all that is said first would go twice, and (§3)
    /// nothing would be measured. So a second of TCP's is what the longest first round trip takes.
    slowness: u32,
}

impl Manners {
    /// For a line of this rate and one-way delay that takes packets of up to `mtu` octets.
    ///
    /// What is to be sent cannot be overtaken any more. So it is what a round trip keeps from being acknowledged, a tenth of
    /// a second for acknowledgements that come later than they should, and a packet: of that the next one is made while
    /// the last is on the line, which never waits. A packet takes 0.35 s, or has 576 octets where that is more; with
    /// compressed headers (RFC 1144) larger ones would save next to nothing.
    pub(crate) fn for_line(rate_bps: u32, delay: Duration, mtu: u16) -> Self {
        let octets =
            |time: Duration| usize::try_from(time.as_millis() * u128::from(rate_bps) / 10_000);
        let octets = |time| {
            octets(time)
                .unwrap_or(BUFFER_OCTETS_MAX)
                .min(BUFFER_OCTETS_MAX)
        };
        let quick = octets(Duration::from_millis(350));
        let segment =
            (usize::from(mtu).saturating_sub(TCP_IP_OCTETS)).min(quick.max(SEGMENT_OCTETS_MIN));
        let send = octets(2 * delay) + octets(Duration::from_millis(100)) + quick.max(segment);
        let receive = octets(Duration::from_secs(2)).max(RECEIVE_OCTETS_MIN);
        let packet =
            u16::try_from(segment + TCP_IP_OCTETS).expect("not more than the MTU, which is one");
        let send = send.min(BUFFER_OCTETS_MAX);
        // All that may be on its way, and an acknowledgement behind a packet that the far end has just begun.
        let on_line = Duration::from_millis(
            (send + usize::from(packet)) as u64 * 10_000 / u64::from(rate_bps.max(1)),
        );
        let slowness = u32::try_from((2 * delay + on_line).as_millis().div_ceil(1000))
            .unwrap_or(1)
            .clamp(1, SLOWNESS_MAX);
        Self {
            packet,
            send,
            receive,
            slowness,
        }
    }
}

pub(crate) struct Stack {
    interface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    started: Instant,
    local: Ipv4Addr,
    peer: Option<Ipv4Addr>,
    /// On the link, where there is IPv6.
    local_ipv6: Option<Ipv6Addr>,
    next_port: u16,
    manners: Manners,
    /// Ports on which we listen.
    ports: BTreeMap<u16, Port>,
    /// Sockets whose stream is gone; they go when TCP has finished with them.
    orphans: Vec<SocketHandle>,
}

/// A port on which we listen.
#[derive(Debug, Default)]
struct Port {
    /// Connections that nobody has accepted yet, and sockets for those that begin.
    waiting: Vec<SocketHandle>,
    /// Of those that came since the last poll, how many begin one.
    beginning: usize,
    /// Who accepts.
    waker: Option<Waker>,
}

impl Stack {
    /// A stack with one address, everything else behind `peer`.
    pub(crate) fn new(
        local: Ipv4Addr,
        peer: Option<Ipv4Addr>,
        manners: Manners,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mtu = usize::from(manners.packet);
        let mut device = Queues {
            mtu,
            received: VecDeque::new(),
            to_send: VecDeque::new(),
            room: 0,
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, StackInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::Ipv4(local), 32))
                .expect("a new interface has room for an address");
        });
        // The gateway's address is not used on a point-to-point medium; the route is.
        interface
            .routes_mut()
            .add_default_ipv4_route(peer.unwrap_or(local))
            .expect("a new interface has room for a route");
        let span = EPHEMERAL_PORTS.end() - EPHEMERAL_PORTS.start();
        let next_port =
            EPHEMERAL_PORTS.start() + u16::try_from(seed % u64::from(span)).unwrap_or_default();
        let sockets = SocketSet::new(Vec::new());
        let (ports, orphans) = (BTreeMap::new(), Vec::new());
        Self {
            interface,
            device,
            sockets,
            started: now,
            local,
            peer,
            local_ipv6: None,
            next_port,
            manners,
            ports,
            orphans,
        }
    }

    /// Whether this is what such a stack would be.
    pub(crate) fn is_for(&self, local: Ipv4Addr, peer: Option<Ipv4Addr>, manners: Manners) -> bool {
        (self.local, self.peer, self.manners.packet) == (local, peer, manners.packet)
    }

    /// Listens on a port; it may be done before anybody asks for its connections.
    pub(crate) fn listen(&mut self, port: u16) -> io::Result<()> {
        if port == 0 {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "there is no port 0",
            ));
        }
        self.ports.entry(port).or_default();
        Ok(())
    }

    /// Gives the stack a link-local address beside its own.
    pub(crate) fn add_ipv6(&mut self, local: Ipv6Addr) {
        self.local_ipv6 = Some(local);
        self.interface.update_ip_addrs(|addresses| {
            addresses.retain(|address| matches!(address, IpCidr::Ipv4(_)));
            addresses
                .push(IpCidr::new(IpAddress::Ipv6(local), 64))
                .expect("room for two addresses");
        });
    }

    /// Takes a packet from the link.
    pub(crate) fn receive(&mut self, packet: Bytes) {
        if let Some((far, near)) = beginning(&packet) {
            self.make_room(far, near);
        }
        self.device.received.push_back(packet);
    }

    /// Has a socket listen for a connection that begins, if the port is open and fewer wait than may.
    fn make_room(&mut self, far: IpEndpoint, near: IpEndpoint) {
        if self.has_socket(near, far) {
            return; // it was asked for before
        }
        let Some(port) = self.ports.get(&near.port) else {
            return;
        };
        let is_idle =
            |handle: &&SocketHandle| self.sockets.get::<Socket<'_>>(**handle).is_listening();
        let idle = port.waiting.iter().filter(is_idle).count();
        if idle <= port.beginning {
            if port.waiting.len() >= BACKLOG {
                return; // it is refused
            }
            let mut socket = self.socket();
            socket
                .listen(near.port)
                .expect("a fresh socket, and not port 0");
            let handle = self.sockets.add(socket);
            let port = self.ports.get_mut(&near.port).expect("found just now");
            port.waiting.push(handle);
            port.waker.take().into_iter().for_each(Waker::wake);
        }
        self.ports.entry(near.port).or_default().beginning += 1;
    }

    /// Whether a packet of the far end's is for one of our connections or listening ports. Others are for the kernel.
    pub(crate) fn has_as_theirs(&self, packet: &[u8]) -> bool {
        ends(packet).is_some_and(|(source, destination)| self.has(destination, source))
    }

    /// Whether a packet of the kernel's claims to be of one of our connections.
    pub(crate) fn has_as_ours(&self, packet: &[u8]) -> bool {
        ends(packet).is_some_and(|(source, destination)| self.has(source, destination))
    }

    fn has(&self, near: IpEndpoint, far: IpEndpoint) -> bool {
        near.addr == IpAddress::Ipv4(self.local)
            && (self.ports.contains_key(&near.port) || self.has_socket(near, far))
    }

    fn has_socket(&self, near: IpEndpoint, far: IpEndpoint) -> bool {
        self.sockets.iter().any(|(_, socket)| {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            socket.local_endpoint() == Some(near) && socket.remote_endpoint() == Some(far)
        })
    }

    /// Works on what came, and makes at most `room` packets of what waits to be sent (answers to what came not counted).
    pub(crate) fn poll(&mut self, room: usize, now: Instant) {
        self.device.room = room;
        self.interface
            .poll(self.time(now), &mut self.device, &mut self.sockets);
        self.ports.values_mut().for_each(|port| port.beginning = 0);
        let sockets = &mut self.sockets;
        self.orphans.retain(|handle| {
            let is_done = matches!(
                sockets.get::<Socket<'_>>(*handle).state(),
                State::Closed | State::TimeWait
            );
            if is_done {
                sockets.remove(*handle);
            }
            !is_done
        });
    }

    /// The next packet for the link.
    pub(crate) fn take_packet(&mut self) -> Option<Vec<u8>> {
        self.device.to_send.pop_front()
    }

    /// When to poll again even if nothing comes; may be in the past while packets wait for room.
    pub(crate) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(self.time(now), &self.sockets)?;
        let since_start = u64::try_from(at.total_micros()).unwrap_or_default();
        Some(self.started + Duration::from_micros(since_start) * self.manners.slowness)
    }

    /// Ends every connection at once; their streams read an error.
    pub(crate) fn abort_all(&mut self) {
        for (_, socket) in self.sockets.iter_mut() {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            socket.abort();
        }
        self.ports
            .values_mut()
            .filter_map(|port| port.waker.take())
            .for_each(Waker::wake);
    }

    pub(crate) fn connect(&mut self, address: IpAddr, port: u16) -> io::Result<SocketHandle> {
        let local = match address {
            IpAddr::V4(_) => IpAddr::V4(self.local),
            IpAddr::V6(_) => IpAddr::V6(self.local_ipv6.ok_or(io::ErrorKind::NetworkUnreachable)?),
        };
        let local_port = self.next_port;
        self.next_port = if local_port == *EPHEMERAL_PORTS.end() {
            *EPHEMERAL_PORTS.start()
        } else {
            local_port + 1
        };
        let mut socket = self.socket();
        socket
            .connect(
                self.interface.context(),
                (IpAddress::from(address), port),
                (IpAddress::from(local), local_port),
            )
            .map_err(|error| io::Error::new(io::ErrorKind::AddrNotAvailable, error.to_string()))?;
        Ok(self.sockets.add(socket))
    }

    /// Takes no more connections on a port, and ends those that nobody has accepted.
    pub(crate) fn close_port(&mut self, port: u16) {
        for handle in self.ports.remove(&port).unwrap_or_default().waiting {
            self.orphan(handle);
        }
    }

    fn socket(&self) -> Socket<'static> {
        let Manners {
            send,
            receive,
            slowness,
            ..
        } = self.manners;
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; receive]),
            SocketBuffer::new(vec![0; send]),
        );
        socket.set_timeout(Some((CONNECTION_TIMEOUT / slowness).into()));
        socket.set_ack_delay(Some((ACKNOWLEDGEMENT_DELAY / slowness).into()));
        // Packets are made only when the line is free: until then small writes join anyway, and Nagle would only add a
        // round trip.
        socket.set_nagle_enabled(false);
        socket
    }

    /// Whether a connection of ours is up; an error if it was refused or timed out.
    pub(crate) fn poll_connected(
        &mut self,
        handle: SocketHandle,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        match socket.state() {
            State::SynSent | State::SynReceived => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// The next connection on a port. One that the far end closed at once counts, too.
    pub(crate) fn poll_accept(&mut self, port: u16, cx: &mut Context<'_>) -> Poll<SocketHandle> {
        let Some(port) = self.ports.get_mut(&port) else {
            return Poll::Pending;
        };
        port.waker = Some(cx.waker().clone());
        let mut found = None;
        for (index, handle) in port.waiting.iter().enumerate() {
            let socket = self.sockets.get_mut::<Socket<'_>>(*handle);
            match socket.state() {
                // Every one is asked, so that each knows whom to wake.
                State::Listen | State::SynReceived => socket.register_recv_waker(cx.waker()),
                _ => found = found.or(Some(index)),
            }
        }
        found.map_or(Poll::Pending, |index| {
            Poll::Ready(port.waiting.remove(index))
        })
    }

    pub(crate) fn poll_read(
        &mut self,
        handle: SocketHandle,
        cx: &mut Context<'_>,
        space: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        match socket.recv_slice(space) {
            Ok(0) if !space.is_empty() => {
                socket.register_recv_waker(cx.waker());
                Poll::Pending
            }
            Ok(count) => Poll::Ready(Ok(count)),
            Err(RecvError::Finished) => Poll::Ready(Ok(0)),
            Err(RecvError::InvalidState) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        handle: SocketHandle,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        match socket.send_slice(octets) {
            Ok(0) if !octets.is_empty() => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            Ok(count) => Poll::Ready(Ok(count)),
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Sends FIN behind what is still to be sent.
    pub(crate) fn close(&mut self, handle: SocketHandle) {
        self.sockets.get_mut::<Socket<'_>>(handle).close();
    }

    /// The stream is gone: finish in the background and forget the socket.
    pub(crate) fn orphan(&mut self, handle: SocketHandle) {
        self.close(handle);
        self.orphans.push(handle);
    }

    fn time(&self, now: Instant) -> StackInstant {
        let micros =
            (now.saturating_duration_since(self.started) / self.manners.slowness).as_micros();
        StackInstant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

/// Source and destination of a TCP packet that is whole.
fn ends(packet: &[u8]) -> Option<(IpEndpoint, IpEndpoint)> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    if ip.next_header() != IpProtocol::Tcp || ip.more_frags() || ip.frag_offset() != 0 {
        return None;
    }
    let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
    let end = |address, port| IpEndpoint::new(IpAddress::Ipv4(address), port);
    Some((
        end(ip.src_addr(), tcp.src_port()),
        end(ip.dst_addr(), tcp.dst_port()),
    ))
}

/// Source and destination of a packet with which a TCP connection begins.
fn beginning(packet: &[u8]) -> Option<(IpEndpoint, IpEndpoint)> {
    let (source, destination, payload) = match IpVersion::of_packet(packet).ok()? {
        IpVersion::Ipv4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            if ip.next_header() != IpProtocol::Tcp || ip.more_frags() || ip.frag_offset() != 0 {
                return None;
            }
            (
                IpAddress::Ipv4(ip.src_addr()),
                IpAddress::Ipv4(ip.dst_addr()),
                ip.payload(),
            )
        }
        IpVersion::Ipv6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            if ip.next_header() != IpProtocol::Tcp {
                return None;
            }
            (
                IpAddress::Ipv6(ip.src_addr()),
                IpAddress::Ipv6(ip.dst_addr()),
                ip.payload(),
            )
        }
    };
    let tcp = TcpPacket::new_checked(payload).ok()?;
    let ends = (
        IpEndpoint::new(source, tcp.src_port()),
        IpEndpoint::new(destination, tcp.dst_port()),
    );
    (tcp.syn() && !tcp.ack()).then_some(ends)
}

/// The link as smoltcp sees it: a queue each way.
struct Queues {
    mtu: usize,
    received: VecDeque<Bytes>,
    to_send: VecDeque<Vec<u8>>,
    /// How many packets may be made now.
    room: usize,
}

impl phy::Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _timestamp: StackInstant) -> Option<(Received, Room<'_>)> {
        let packet = self.received.pop_front()?;
        // An answer is made whatever the room: there is at most one for each packet that came.
        Some((
            Received(packet),
            Room {
                to_send: &mut self.to_send,
                counted: None,
            },
        ))
    }

    fn transmit(&mut self, _timestamp: StackInstant) -> Option<Room<'_>> {
        if self.room == 0 {
            return None;
        }
        Some(Room {
            to_send: &mut self.to_send,
            counted: Some(&mut self.room),
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

struct Received(Bytes);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Room<'a> {
    to_send: &'a mut VecDeque<Vec<u8>>,
    counted: Option<&'a mut usize>,
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, octets: usize, f: F) -> R {
        if let Some(room) = self.counted {
            *room -= 1;
        }
        let mut packet = vec![0; octets];
        let result = f(&mut packet);
        self.to_send.push_back(packet);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mru_for;

    /// Rates and one-way delays.
    const LINES: [(u32, u64); 10] = [
        (1200, 600),
        (2400, 600),
        (4800, 300),
        (9600, 300),
        (14_400, 300),
        (19_200, 100),
        (28_800, 60),
        (33_600, 60),
        (56_000, 100),
        (64_000, 300),
    ];

    fn on_its_way(rate_bps: u32, delay: u64) -> usize {
        usize::try_from(u64::from(rate_bps / 10) * 2 * delay / 1000).unwrap()
    }

    #[test]
    fn what_cannot_be_overtaken_is_a_second_of_line_at_most_or_two_packets() {
        for (rate_bps, delay) in LINES {
            let mru = mru_for(rate_bps).octets();
            let manners = Manners::for_line(rate_bps, Duration::from_millis(delay), mru);
            let second = usize::try_from(rate_bps / 10).unwrap();
            // And what `delivery` lets out of a message beside it, with its frame and record.
            let all = manners.send - on_its_way(rate_bps, delay) + (second / 2).max(240) + 40;
            assert!(
                all <= second.max(2 * usize::from(mru)),
                "{rate_bps} bit/s: {all} octets"
            );
        }
    }

    #[test]
    fn the_next_packet_is_there_before_the_line_is_free() {
        for (rate_bps, delay) in LINES {
            let manners = Manners::for_line(
                rate_bps,
                Duration::from_millis(delay),
                mru_for(rate_bps).octets(),
            );
            // A segment is not acknowledged when it has left: what else there is must last until it is.
            let left = manners.send - (usize::from(manners.packet) - TCP_IP_OCTETS);
            assert!(
                left >= on_its_way(rate_bps, delay),
                "{rate_bps} bit/s: {left} octets"
            );
        }
    }

    fn stack(address: [u8; 4], peer: [u8; 4]) -> Stack {
        let manners = Manners::for_line(1_000_000, Duration::from_millis(10), 1500);
        Stack::new(
            address.into(),
            Some(peer.into()),
            manners,
            1,
            Instant::now(),
        )
    }

    /// Carries packets between two until there are none.
    fn carry(near: &mut Stack, far: &mut Stack) {
        while [carry_to(near, far), carry_to(far, near)].contains(&true) {}
    }

    fn carry_to(from: &mut Stack, to: &mut Stack) -> bool {
        from.poll(16, Instant::now());
        let packets: Vec<_> = std::iter::from_fn(|| from.take_packet()).collect();
        let is_something = !packets.is_empty();
        packets
            .into_iter()
            .for_each(|packet| to.receive(packet.into()));
        is_something
    }

    #[test]
    fn an_open_port_holds_nothing_until_connections_come_and_takes_as_many_at_once_as_may_wait() {
        const PORT: u16 = 7;
        let (mut server, mut terminal) = (
            stack([10, 0, 0, 1], [10, 0, 0, 2]),
            stack([10, 0, 0, 2], [10, 0, 0, 1]),
        );
        server.listen(PORT).unwrap();
        assert!(server.listen(0).is_err());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(server.poll_accept(PORT, cx).is_pending());
        assert_eq!(server.sockets.iter().count(), 0);
        // All of them arrive before the server looks.
        let ours = (0..=BACKLOG).map(|_| {
            terminal
                .connect(Ipv4Addr::new(10, 0, 0, 1).into(), PORT)
                .unwrap()
        });
        let ours: Vec<_> = ours.collect();
        carry(&mut terminal, &mut server);
        let accepted = |server: &mut Stack, cx: &mut Context<'_>| {
            std::iter::from_fn(|| match server.poll_accept(PORT, cx) {
                Poll::Ready(handle) => Some(handle),
                Poll::Pending => None,
            })
            .count()
        };
        assert_eq!(accepted(&mut server, cx), BACKLOG);
        let up = ours
            .iter()
            .filter(|handle| matches!(terminal.poll_connected(**handle, cx), Poll::Ready(Ok(()))));
        assert_eq!(up.count(), BACKLOG, "one more than may wait is refused");
        terminal
            .connect(Ipv4Addr::new(10, 0, 0, 1).into(), PORT)
            .unwrap();
        carry(&mut terminal, &mut server);
        assert_eq!(accepted(&mut server, cx), 1, "there is room again");
        server.close_port(PORT);
        let late = terminal
            .connect(Ipv4Addr::new(10, 0, 0, 1).into(), PORT)
            .unwrap();
        carry(&mut terminal, &mut server);
        assert!(matches!(
            terminal.poll_connected(late, cx),
            Poll::Ready(Err(_))
        ));
    }

    #[test]
    fn no_packet_is_larger_than_the_line_takes() {
        for mtu in [128, 296, 576, 1500] {
            for rate_bps in [0, 300, 33_600, 1_000_000, u32::MAX] {
                let packet = Manners::for_line(rate_bps, Duration::from_secs(3600), mtu).packet;
                assert!(
                    (128..=mtu).contains(&packet),
                    "{rate_bps} bit/s, {mtu}: {packet}"
                );
            }
        }
    }
}
