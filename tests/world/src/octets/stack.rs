//! TCP/IP of one end of one call: smoltcp with one connection, driven as `link` drives it, without a task.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::Instant;

use bytes::Bytes;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::{Duration, Instant as StackInstant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

const BUFFER_OCTETS: usize = 8 * 1024;
const LOCAL_PORT: u16 = 50_000;

pub(super) struct Stack {
    interface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    started: Instant,
}

impl Stack {
    /// The server listens on the delivery port; the terminal connects to it.
    pub(super) fn new(
        local: Ipv4Addr,
        server: Option<Ipv4Addr>,
        mtu: u16,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut device = Queues {
            mtu: usize::from(mtu),
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
                .expect("room for an address");
        });
        interface
            .routes_mut()
            .add_default_ipv4_route(local)
            .expect("room for a route");
        let buffer = || SocketBuffer::new(vec![0; BUFFER_OCTETS]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_timeout(Some(Duration::from_secs(60)));
        socket.set_nagle_enabled(false);
        let opened = match server {
            None => socket.listen(delivery::PORT).is_ok(),
            Some(server) => socket
                .connect(
                    interface.context(),
                    (IpAddress::Ipv4(server), delivery::PORT),
                    (IpAddress::Ipv4(local), LOCAL_PORT),
                )
                .is_ok(),
        };
        assert!(opened, "a new socket can be opened");
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self {
            interface,
            device,
            sockets,
            handle,
            started: now,
        }
    }

    pub(super) fn receive(&mut self, packet: Bytes) {
        self.device.received.push_back(packet);
    }

    /// Works on what came; makes at most `room` packets of what waits.
    pub(super) fn poll(&mut self, room: usize, now: Instant) -> Vec<Vec<u8>> {
        self.device.room = room;
        self.interface
            .poll(self.time(now), &mut self.device, &mut self.sockets);
        self.device.to_send.drain(..).collect()
    }

    pub(super) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(self.time(now), &self.sockets)?;
        Some(
            self.started
                + std::time::Duration::from_micros(
                    u64::try_from(at.total_micros()).unwrap_or_default(),
                ),
        )
    }

    /// Takes as much as there is room for; how much that was.
    pub(super) fn say(&mut self, octets: &[u8]) -> usize {
        self.sockets
            .get_mut::<Socket<'_>>(self.handle)
            .send_slice(octets)
            .unwrap_or_default()
    }

    pub(super) fn hear(&mut self, into: &mut Vec<u8>) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        while socket.can_recv() {
            let heard = socket.recv(|octets| {
                into.extend_from_slice(octets);
                (octets.len(), octets.len())
            });
            if heard.is_err() {
                return;
            }
        }
    }

    fn time(&self, now: Instant) -> StackInstant {
        let micros = now.saturating_duration_since(self.started).as_micros();
        StackInstant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

struct Queues {
    mtu: usize,
    received: VecDeque<Bytes>,
    to_send: VecDeque<Vec<u8>>,
    room: usize,
}

impl phy::Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Room<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(Received, Room<'_>)> {
        let packet = self.received.pop_front()?;
        Some((
            Received(packet),
            Room {
                to_send: &mut self.to_send,
                counted: None,
            },
        ))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Room<'_>> {
        (self.room > 0).then_some(Room {
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
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, work: F) -> R {
        work(&self.0)
    }
}

struct Room<'a> {
    to_send: &'a mut VecDeque<Vec<u8>>,
    counted: Option<&'a mut usize>,
}

impl phy::TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, octets: usize, work: F) -> R {
        if let Some(room) = self.counted {
            *room -= 1;
        }
        let mut packet = vec![0; octets];
        let result = work(&mut packet);
        self.to_send.push_back(packet);
        result
    }
}
