//! Links with a network interface of the kernel, each test in a network namespace of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod caller;
mod namespace;
#[allow(dead_code, reason = "the gate's own tests use more of it")]
mod packet;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener as StdListener, UdpSocket};
use std::time::Duration;

use ringup_link::{
    Link, LinkConfig, LocalAddress, Mru, OpenPorts, PeerAddress, Side, Terms, TunConfig,
};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex,
};
use tokio::net::{TcpListener, TcpStream};

use caller::Caller;
use namespace::{alone, ip, set_ipv4};
use packet::{ACK, SYN, tcp, udp};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const TERMINAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// TCP ports at both ends: the one is open in TUN, the other is not.
const OPEN: u16 = 8080;
const SHUT: u16 = 8081;

fn config(local: LocalAddress, peer: PeerAddress, tun: Option<TunConfig>) -> LinkConfig {
    // Below what IPv6 needs: the kernel then says nothing of its own accord on the interface.
    let terms = Terms {
        mru: Some(Mru::new(576).unwrap()),
        ..Terms::default()
    };
    let delay = Duration::from_millis(1);
    LinkConfig {
        local,
        peer,
        rate_bps: 10_000_000,
        delay,
        ports: &[],
        terms,
        expected: None,
        capture: None,
        tun,
    }
}

async fn server(pipe: DuplexStream, tun: Option<TunConfig>) -> Link {
    Link::establish(
        pipe,
        config(
            LocalAddress::Own(SERVER),
            PeerAddress::Assign(TERMINAL),
            tun,
        ),
    )
    .await
    .unwrap()
}

/// A server with TCP/IP in user space only, and a terminal with TUN.
async fn server_and_terminal() -> (Link, Link) {
    let (near, far) = duplex(64 * 1024);
    let tun = TunConfig {
        side: Side::Terminal,
        ports: OpenPorts::These([OPEN].into()),
    };
    let terminal = Link::establish(
        far,
        config(LocalAddress::Ask(None), PeerAddress::Any, Some(tun)),
    );
    let (server, terminal) = tokio::join!(server(near, None), terminal);
    (server, terminal.unwrap())
}

/// Waits until the gate has dropped this many packets in all.
async fn dropped(link: &Link, count: u64) {
    while link.counters().tun_packets_dropped < count {
        tokio::task::yield_now().await;
    }
}

/// Octets go one way and come back.
async fn echo(near: impl AsyncRead + AsyncWrite, far: impl AsyncRead + AsyncWrite) {
    let content: Vec<u8> = (0..100_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let (near_reader, mut near_writer) = tokio::io::split(near);
    let (far_reader, mut far_writer) = tokio::io::split(far);
    let mut heard = Vec::new();
    let speak = async {
        near_writer.write_all(&content).await.unwrap();
    };
    let repeat = async {
        tokio::io::copy(&mut far_reader.take(content.len() as u64), &mut far_writer)
            .await
            .unwrap();
    };
    let mut near_reader = near_reader.take(content.len() as u64);
    tokio::join!(speak, repeat, async {
        near_reader.read_to_end(&mut heard).await.unwrap()
    });
    assert!(heard == content, "{} octets came back", heard.len());
}

#[test]
fn nothing_passes_before_the_far_end_is_proved_and_octets_do_after() {
    alone(
        "nothing_passes_before_the_far_end_is_proved_and_octets_do_after",
        async {
            let (server, terminal) = server_and_terminal().await;
            let kernel = TcpListener::bind((TERMINAL, OPEN)).await.unwrap();
            let mut user_space = server.listen(OPEN).unwrap();

            let mut inward = Box::pin(server.connect(TERMINAL, OPEN));
            tokio::select! {
                _ = &mut inward => panic!("a connection from the far end came through"),
                () = dropped(&terminal, 1) => {}
            }
            let outward = tokio::spawn(TcpStream::connect((SERVER, OPEN)));
            dropped(&terminal, 3).await;
            let counters = terminal.counters();
            assert_eq!((counters.tun_packets_in, counters.tun_packets_out), (0, 0));

            // What both ends repeat finds the gate open.
            terminal.proved();
            let (inward, accepted_by_kernel) = tokio::join!(inward, kernel.accept());
            let (accepted, outward) = tokio::join!(user_space.accept(), outward);
            echo(inward.unwrap(), accepted_by_kernel.unwrap().0).await;
            echo(outward.unwrap().unwrap(), accepted.unwrap()).await;
        },
    );
}

#[test]
fn a_port_that_is_not_open_is_reached_from_neither_side() {
    alone(
        "a_port_that_is_not_open_is_reached_from_neither_side",
        async {
            let (server, terminal) = server_and_terminal().await;
            terminal.proved();
            let shut_kernel = StdListener::bind((TERMINAL, SHUT)).unwrap();
            let (kernel, mut user_space) = (
                TcpListener::bind((TERMINAL, OPEN)).await.unwrap(),
                server.listen(OPEN).unwrap(),
            );
            let mut shut_user_space = server.listen(SHUT).unwrap();

            let shut_outward = tokio::spawn(TcpStream::connect((SERVER, SHUT)));
            dropped(&terminal, 1).await;
            let mut shut_inward = Box::pin(server.connect(TERMINAL, SHUT));
            tokio::select! {
                _ = &mut shut_inward => panic!("the far end got an answer from a port that is not open"),
                () = dropped(&terminal, 2) => {}
            }
            // Connections made later are there: what was to come of those before them would be, too.
            let (outward, accepted) =
                tokio::join!(TcpStream::connect((SERVER, OPEN)), user_space.accept());
            let (inward, accepted_by_kernel) =
                tokio::join!(server.connect(TERMINAL, OPEN), kernel.accept());
            echo(outward.unwrap(), accepted.unwrap()).await;
            echo(inward.unwrap(), accepted_by_kernel.unwrap().0).await;
            assert!(!shut_outward.is_finished());
            shut_kernel.set_nonblocking(true).unwrap();
            assert_eq!(
                shut_kernel.accept().unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            tokio::select! {
                biased;
                _ = shut_user_space.accept() => panic!("the far end was reached on a port that is not open"),
                () = std::future::ready(()) => {}
            }
        },
    );
}

/// Addresses of the server's host besides its address on the link: of a network, of the loopback interface, and the
/// one that every host has.
const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVICE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const OWN: [Ipv4Addr; 4] = [SERVER, HOST, SERVICE, Ipv4Addr::LOCALHOST];
/// A machine in the network of [`HOST`].
const BEHIND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// The host's network, of which this test is all other machines.
fn network() -> tun_rs::AsyncDevice {
    ip(&format!("addr add {SERVICE}/32 dev lo"));
    let device = tun_rs::DeviceBuilder::new()
        .name("lan0")
        .mtu(576)
        .ipv4(HOST, 24, None)
        .build_async()
        .unwrap();
    set_ipv4("ip_forward", "1");
    // The kernel shall be as careless as it can be: nothing but the gate is to stand between.
    for interface in ["all", "default"] {
        set_ipv4(&format!("conf/{interface}/route_localnet"), "1");
        set_ipv4(&format!("conf/{interface}/accept_local"), "1");
        set_ipv4(&format!("conf/{interface}/rp_filter"), "0");
    }
    device
}

/// Source, destination and, of TCP, the flags.
fn summary(packet: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16), u8) {
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let flags = if packet[9] == 6 { packet[33] } else { 0 };
    ((address(12), port(20)), (address(16), port(22)), flags)
}

#[test]
fn a_caller_reaches_machines_behind_the_server_and_never_the_server_itself() {
    alone(
        "a_caller_reaches_machines_behind_the_server_and_never_the_server_itself",
        async {
            let network = network();
            let (near, far) = duplex(64 * 1024);
            let tun = TunConfig {
                side: Side::Server,
                ports: OpenPorts::All,
            };
            let (server, mut caller) = tokio::join!(server(near, Some(tun)), Caller::call(far));
            server.proved();
            // On every address of the host there is somebody to answer.
            let listener = StdListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            let listening = listener.local_addr().unwrap().port();
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            let receiving = socket.local_addr().unwrap().port();

            for own in OWN {
                for from in [
                    TERMINAL,
                    BEHIND,
                    HOST,
                    SERVER,
                    Ipv4Addr::new(10, 77, 0, 3),
                    Ipv4Addr::LOCALHOST,
                ] {
                    caller.send(&tcp((from, 5000), (own, listening), SYN)).await;
                    caller
                        .send(&udp((from, 5000), (own, receiving), b"hello"))
                        .await;
                }
            }
            // A caller that says it is somebody else does not get past the server, either.
            caller
                .send(&tcp((Ipv4Addr::new(10, 77, 0, 3), 5001), (BEHIND, 80), SYN))
                .await;
            // This is allowed, so whatever came of those before it is there before it is.
            caller.send(&tcp((TERMINAL, 5002), (BEHIND, 80), SYN)).await;

            let mut buffer = [0; 2048];
            let first = loop {
                let count = network.recv(&mut buffer).await.unwrap();
                if buffer[0] >> 4 == 4 {
                    break &buffer[..count];
                }
            };
            assert_eq!(summary(first), ((TERMINAL, 5002), (BEHIND, 80), SYN));
            network
                .send(&tcp((BEHIND, 80), (TERMINAL, 5002), SYN | ACK))
                .await
                .unwrap();
            assert_eq!(
                summary(&caller.packet().await),
                ((BEHIND, 80), (TERMINAL, 5002), SYN | ACK)
            );
            socket.set_nonblocking(true).unwrap();
            assert_eq!(
                socket.recv(&mut [0; 10]).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            assert_eq!(
                (
                    server.counters().tun_packets_in,
                    server.counters().tun_packets_out
                ),
                (1, 1)
            );
        },
    );
}
