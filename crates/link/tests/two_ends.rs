//! Two links over a pipe in memory, on the runtime's paused clock.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::Ipv4Addr;
use std::time::Duration;

use ringup_link::{
    CloseReason, Expected, InterfaceIdentifier, Ipv6, Link, LinkConfig, LinkError, LocalAddress,
    PeerAddress, Terms,
};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex,
};
use tokio::time::Instant;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const TERMINAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PORT: u16 = 7411;

fn config(local: LocalAddress, peer: PeerAddress, rate_bps: u32) -> LinkConfig {
    LinkConfig::new(local, peer, rate_bps, Duration::from_millis(10))
}

async fn establish(pipe: (DuplexStream, DuplexStream), rate_bps: u32) -> (Link, Link) {
    let server = config(
        LocalAddress::Own(SERVER),
        PeerAddress::Assign(TERMINAL),
        rate_bps,
    );
    let terminal = config(LocalAddress::Ask(None), PeerAddress::Any, rate_bps);
    let (near, far) = tokio::join!(
        Link::establish(pipe.0, server),
        Link::establish(pipe.1, terminal)
    );
    (near.unwrap(), far.unwrap())
}

async fn two_links(rate_bps: u32) -> (Link, Link) {
    establish(duplex(64 * 1024), rate_bps).await
}

/// A connection from the terminal to the server.
async fn connection(server: &Link, terminal: &Link) -> (ringup_link::Stream, ringup_link::Stream) {
    let mut listener = server.listen(PORT).unwrap();
    let (accepted, connected) = tokio::join!(listener.accept(), terminal.connect(SERVER, PORT));
    (accepted.unwrap(), connected.unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_server_gives_the_terminal_its_address() {
    let (server, terminal) = two_links(33_600).await;
    assert_eq!((server.local(), server.peer()), (SERVER, Some(TERMINAL)));
    assert_eq!(
        (terminal.local(), terminal.peer()),
        (TERMINAL, Some(SERVER))
    );
}

#[tokio::test(start_paused = true)]
async fn octets_cross_both_ways_at_once_and_whole() {
    let (server, terminal) = two_links(10_000_000).await;
    let (mut near, mut far) = connection(&server, &terminal).await;
    let content: Vec<u8> = (0..300_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 4])
        .collect();
    let echo = tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(&mut far);
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
        far
    });
    let (mut reader, mut writer) = tokio::io::split(&mut near);
    let mut heard = Vec::new();
    let speak = async {
        writer.write_all(&content).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (_, read) = tokio::join!(speak, reader.read_to_end(&mut heard));
    read.unwrap();
    assert!(heard == content, "{} octets came back", heard.len());
    echo.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_keeps_the_pace_of_the_line() {
    let (server, terminal) = two_links(33_600).await;
    let (mut near, mut far) = connection(&server, &terminal).await;
    let began = Instant::now();
    let speak = async {
        near.write_all(&[0x55; 33_600]).await.unwrap();
        near.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let (_, read) = tokio::join!(speak, far.read_to_end(&mut heard));
    assert_eq!(read.unwrap(), 33_600);
    let seconds = began.elapsed().as_secs_f64();
    // 33,600 octets of 10 bits take 10 s; headers and framing add a few per cent. The pipe takes no time, so the last
    // packet (0.45 s) is there when it is made.
    assert!((9.55..10.5).contains(&seconds), "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_fills_every_window_comes_to_its_end() {
    let (server, terminal) = two_links(u32::MAX).await;
    let (mut near, mut far) = connection(&server, &terminal).await;
    let speak = async {
        near.write_all(&vec![0x55; 30_000_000]).await.unwrap();
        near.shutdown().await.unwrap();
    };
    let mut heard = Vec::new();
    let (_, read) = tokio::join!(speak, far.read_to_end(&mut heard));
    assert_eq!(read.unwrap(), 30_000_000);
}

#[tokio::test(start_paused = true)]
async fn flush_does_not_wait_for_an_acknowledgement() {
    let (server, terminal) = two_links(300).await;
    let (mut near, far) = connection(&server, &terminal).await;
    let began = Instant::now();
    near.write_all(b"an octet takes 33 ms on this line")
        .await
        .unwrap();
    near.flush().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn only_the_far_ends_fin_reads_as_end_of_file() {
    let (server, terminal) = two_links(1_000_000).await;
    let (mut near, far) = connection(&server, &terminal).await;
    drop(far);
    assert_eq!(near.read(&mut [0; 10]).await.unwrap(), 0);

    let (mut near, _far) = connection(&server, &terminal).await;
    drop(terminal); // hangs up without a word
    assert!(
        near.read(&mut [0; 10]).await.is_err(),
        "a lost call must not look like an orderly end"
    );
    assert!(near.write(b"x").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_connection_to_a_port_where_nobody_listens_is_refused() {
    let (server, terminal) = two_links(1_000_000).await;
    let refused = terminal.connect(SERVER, PORT).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_comes_before_its_listener_finds_an_open_port() {
    let server = config(
        LocalAddress::Own(SERVER),
        PeerAddress::Assign(TERMINAL),
        1_000_000,
    );
    let server = LinkConfig {
        ports: &[PORT],
        ..server
    };
    let terminal = config(LocalAddress::Ask(None), PeerAddress::Any, 1_000_000);
    let pipe = duplex(64 * 1024);
    let (server, terminal) = tokio::join!(
        Link::establish(pipe.0, server),
        Link::establish(pipe.1, terminal)
    );
    let (server, terminal) = (server.unwrap(), terminal.unwrap());
    let mut connected = terminal.connect(SERVER, PORT).await.unwrap();
    connected.write_all(b"I am connected").await.unwrap();
    let mut accepted = server.listen(PORT).unwrap().accept().await.unwrap();
    let mut heard = [0; 14];
    accepted.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"I am connected");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_before_it_is_accepted_is_accepted_all_the_same() {
    let (server, terminal) = two_links(1_000_000).await;
    let mut listener = server.listen(PORT).unwrap();
    let mut connected = terminal.connect(SERVER, PORT).await.unwrap();
    connected.write_all(b"hello").await.unwrap();
    drop(connected);
    let mut heard = String::new();
    listener
        .accept()
        .await
        .unwrap()
        .read_to_string(&mut heard)
        .await
        .unwrap();
    assert_eq!(heard, "hello");
}

#[tokio::test(start_paused = true)]
async fn five_connections_one_after_the_other_are_all_accepted() {
    let (server, terminal) = two_links(1_000_000).await;
    let mut listener = server.listen(PORT).unwrap();
    for n in 0..5_u8 {
        let (accepted, connected) = tokio::join!(listener.accept(), terminal.connect(SERVER, PORT));
        connected.unwrap().write_all(&[n]).await.unwrap();
        assert_eq!(accepted.unwrap().read_u8().await.unwrap(), n);
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_closed_in_order_says_so_at_both_ends() {
    let (server, terminal) = two_links(33_600).await;
    terminal.close();
    let (near, far) = tokio::join!(server.closed(), terminal.closed());
    assert_eq!(far, CloseReason::ClosedHere);
    assert!(
        matches!(
            near,
            CloseReason::PeerTerminated { .. } | CloseReason::CarrierLost
        ),
        "{near:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_line_that_drops_ends_the_link_and_its_listeners() {
    let (server, terminal) = two_links(33_600).await;
    let mut listener = server.listen(PORT).unwrap();
    drop(terminal);
    assert_eq!(server.closed().await, CloseReason::CarrierLost);
    assert!(listener.accept().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_link_on_which_nothing_comes_is_silent_after_the_limit_and_not_before() {
    let (server, terminal) = two_links(1_000_000).await;
    let (mut near, mut far) = connection(&server, &terminal).await;
    let limit = Duration::from_secs(60);
    let began = Instant::now();
    let chat = async {
        for _ in 0..3 {
            tokio::time::advance(limit / 2).await;
            far.write_all(b".").await.unwrap();
            near.read_u8().await.unwrap();
        }
    };
    tokio::join!(server.silent(limit), chat);
    assert!(
        began.elapsed() >= limit * 3 / 2 + limit / 2,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn noise_and_a_login_banner_before_the_first_frame_cost_nothing() {
    let (mut line, near) = duplex(4096);
    let (far, mut end) = duplex(4096);
    line.write_all(b"\r\nWelcome to the **EMSI_REQA77E\r\nlogin: \x00\xff")
        .await
        .unwrap();
    let relay = async { tokio::io::copy_bidirectional(&mut line, &mut end).await };
    let (server, terminal) = tokio::select! {
        links = establish((near, far), 33_600) => links,
        _ = relay => unreachable!("the links are being established"),
    };
    assert_eq!(server.peer(), Some(TERMINAL));
    let counters = server.counters();
    assert!(
        (40..60).contains(&counters.noise_octets) && counters.bad_frames == 0,
        "{counters:?}"
    );
    drop(terminal);
}

#[tokio::test(start_paused = true)]
async fn a_far_end_that_speaks_no_ppp_is_given_up_within_the_limits() {
    let (near, mut far) = duplex(64 * 1024);
    let config = config(
        LocalAddress::Own(SERVER),
        PeerAddress::Assign(TERMINAL),
        33_600,
    );
    let began = Instant::now();
    far.write_all(b"login: ").await.unwrap();
    let Err(LinkError::NotEstablished(reason)) = Link::establish(near, config).await else {
        panic!("established")
    };
    assert!(matches!(reason, CloseReason::NoAnswer { .. }), "{reason:?}");
    assert!(began.elapsed() < Duration::from_secs(120));
}

/// One way through a line: everything arrives `DELAY` later.
const DELAY: Duration = Duration::from_millis(100);

/// A line that is as long as that, and takes no time besides.
fn long_pipe() -> (DuplexStream, DuplexStream) {
    pipe_of(DELAY)
}

fn pipe_of(delay: Duration) -> (DuplexStream, DuplexStream) {
    let ((near, near_end), (far_end, far)) = (duplex(64 * 1024), duplex(64 * 1024));
    let (near_reader, near_writer) = tokio::io::split(near_end);
    let (far_reader, far_writer) = tokio::io::split(far_end);
    tokio::spawn(carry(near_reader, far_writer, delay));
    tokio::spawn(carry(far_reader, near_writer, delay));
    (near, far)
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Send + Unpin + 'static,
    delay: Duration,
) {
    let (sender, mut on_its_way) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((at, octets)) = on_its_way.recv().await {
            // The line's delay, on a clock that jumps.
            let _ = tokio::time::timeout_at(at, std::future::pending::<()>()).await;
            if to.write_all(&octets).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if sender
            .send((Instant::now() + delay, buffer[..count].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_slow_line_nothing_is_said_twice() {
    for (rate_bps, delay) in [(2400, 600), (9600, 300), (33_600, 60)] {
        let delay = Duration::from_millis(delay);
        let slow = |local, peer| LinkConfig {
            delay,
            ..config(local, peer, rate_bps)
        };
        let server = slow(LocalAddress::Own(SERVER), PeerAddress::Assign(TERMINAL));
        let terminal = slow(LocalAddress::Ask(None), PeerAddress::Any);
        let pipe = pipe_of(delay);
        let (server, terminal) = tokio::join!(
            Link::establish(pipe.0, server),
            Link::establish(pipe.1, terminal)
        );
        let (server, terminal) = (server.unwrap(), terminal.unwrap());
        let set_up = terminal.counters().octets_out;
        let (mut near, mut far) = connection(&server, &terminal).await;
        far.write_all(&[0x55; 2000]).await.unwrap();
        far.shutdown().await.unwrap();
        assert_eq!(near.read_to_end(&mut Vec::new()).await.unwrap(), 2000);
        // Headers and frames; a SYN again would be 60 octets more, a packet some 550.
        let said = terminal.counters().octets_out - set_up;
        assert!(
            (2000..2300).contains(&said),
            "{rate_bps} bit/s: {said} octets"
        );
    }
}

/// A call, and how long after CONNECT the terminal's first connection stood.
async fn second_call(server: LinkConfig, terminal: LinkConfig) -> (Link, Link, Duration) {
    let pipe = long_pipe();
    let began = Instant::now();
    let (server, terminal) = tokio::join!(
        Link::establish(pipe.0, server),
        Link::establish(pipe.1, terminal)
    );
    let (server, terminal) = (server.unwrap(), terminal.unwrap());
    let mut listener = server.listen(PORT).unwrap();
    let (accepted, connected) = tokio::join!(listener.accept(), terminal.connect(SERVER, PORT));
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    let stood = began.elapsed();
    connected.write_all(b"I am connected").await.unwrap();
    connected.shutdown().await.unwrap();
    let mut heard = String::new();
    accepted.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "I am connected");
    (server, terminal, stood)
}

fn expecting(config: LinkConfig, link: &Link, connect: Option<u16>) -> LinkConfig {
    LinkConfig {
        expected: Some(Expected {
            agreement: link.agreement().unwrap(),
            connect,
        }),
        ..config
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_end_that_is_remembered_has_the_first_connection_before_the_link_is_up() {
    let server = config(
        LocalAddress::Own(SERVER),
        PeerAddress::Assign(TERMINAL),
        10_000_000,
    );
    let server = LinkConfig {
        ports: &[PORT],
        ..server
    };
    let terminal = config(
        LocalAddress::Ask(Some(TERMINAL)),
        PeerAddress::Any,
        10_000_000,
    );
    let (at_server, at_terminal, cold) = second_call(server.clone(), terminal.clone()).await;
    let remembering = expecting(terminal.clone(), &at_terminal, Some(PORT));
    let (_, again, warm) = second_call(
        expecting(server.clone(), &at_server, None),
        remembering.clone(),
    )
    .await;
    // LCP, IPCP, TCP: a round trip each, and one way for the server to know. Warm: requests of all phases with the SYN;
    // Acks; SYN with ACK; its ACK.
    let ways = |time: Duration| time.as_millis() / DELAY.as_millis();
    assert_eq!((ways(cold), ways(warm)), (7, 4), "{cold:?}, {warm:?}");
    assert_eq!(again.agreement(), at_terminal.agreement());

    // A server that has forgotten: as cold, and not by a second for a SYN that was dropped.
    let (_, forgotten, stood) = second_call(server.clone(), remembering.clone()).await;
    assert_eq!(ways(stood), 7, "{stood:?}");
    assert_eq!(forgotten.agreement(), None);

    // One that gives another address now.
    let another = Ipv4Addr::new(10, 77, 0, 9);
    let server = LinkConfig {
        peer: PeerAddress::Assign(another),
        ..expecting(server, &at_server, None)
    };
    let (_, moved, _) = second_call(server, remembering).await;
    assert_eq!((moved.local(), moved.agreement()), (another, None));
}

#[tokio::test(start_paused = true)]
async fn a_link_with_ipv6_at_both_ends_has_link_local_addresses_that_connect() {
    let with = |config: LinkConfig, local| {
        let ipv6 = Some(Ipv6 {
            local: InterfaceIdentifier::new(local),
            peer: None,
        });
        LinkConfig {
            terms: Terms {
                ipv6,
                ..Terms::default()
            },
            ..config
        }
    };
    let server = with(
        config(
            LocalAddress::Own(SERVER),
            PeerAddress::Assign(TERMINAL),
            33_600,
        ),
        1,
    );
    let terminal = with(config(LocalAddress::Ask(None), PeerAddress::Any, 33_600), 0);
    let pipe = duplex(64 * 1024);
    let (server, terminal) = tokio::join!(
        Link::establish(pipe.0, server),
        Link::establish(pipe.1, terminal)
    );
    let (server, terminal) = (server.unwrap(), terminal.unwrap());
    let (_, far) = terminal.ipv6().await.unwrap();
    assert_eq!(
        (far.to_string(), server.ipv6().await.unwrap().0),
        ("fe80::1".to_owned(), far)
    );
    let mut listener = server.listen(PORT).unwrap();
    let (accepted, connected) = tokio::join!(listener.accept(), terminal.connect(far, PORT));
    connected.unwrap().write_all(&[7]).await.unwrap();
    assert_eq!(accepted.unwrap().read_u8().await.unwrap(), 7);

    let (_, terminal) = two_links(33_600).await;
    let refused = terminal.connect(far, PORT).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::NetworkUnreachable);
}
