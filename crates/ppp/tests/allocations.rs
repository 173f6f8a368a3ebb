//! What a session takes from the heap: little, and nothing for each packet.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ringup_ppp::{Config, Input, LineProfile, Output, Session};

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other source; all else is computed from this one"
)]
fn origin() -> Instant {
    Instant::now()
}

/// Gives what one end says to the other; how many packets came out at it.
fn cross(from: &mut Session, to: &mut Session, now: Instant) -> usize {
    loop {
        match from.poll_output() {
            Output::Transmit(octets) => to.handle(Input::Bytes(&octets), now),
            Output::Packet(_) | Output::Event(_) => {}
            Output::Timeout { .. } => break,
        }
    }
    let mut packets = 0;
    loop {
        match to.poll_output() {
            Output::Packet(packet) => packets += usize::from(!black_box(packet).is_empty()),
            Output::Transmit(octets) => from.handle(Input::Bytes(&octets), now),
            Output::Event(_) => {}
            Output::Timeout { .. } => return packets,
        }
    }
}

/// Two ends whose network is up.
fn open(now: Instant) -> [Session; 2] {
    let line = LineProfile {
        rate_bps: Some(33_600),
        delay: Duration::from_millis(60),
    };
    let mut server = Session::new(
        Config::server(line, [10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
        1,
        now,
    );
    let mut terminal = Session::new(Config::terminal(line, None), 2, now);
    for _ in 0..10 {
        cross(&mut server, &mut terminal, now);
        cross(&mut terminal, &mut server, now);
    }
    [server, terminal]
}

/// The next segment of a bulk transfer, as TCP sends them.
fn advance(packet: &mut [u8]) {
    let [id, sequence] = [u16_at(packet, 4), u16_at(packet, 26)];
    packet[4..6].copy_from_slice(&id.wrapping_add(1).to_be_bytes());
    packet[26..28].copy_from_slice(&sequence.wrapping_add(1460).to_be_bytes());
    packet[10..12].fill(0);
    let sum: u32 = packet[..20]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn u16_at(packet: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// 1500 octets of IPv4 and TCP.
fn segment() -> Vec<u8> {
    let mut packet = vec![
        0x45, 0, 5, 220, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    packet.extend_from_slice(&[
        0x04, 0x00, 0x00, 0x50, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x10, 0, 0, 0, 0, 0,
    ]);
    packet.extend((0..1460_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]));
    packet
}

#[test]
fn a_packet_on_its_way_allocates_nothing_once_the_buffers_have_grown() {
    let now = origin();
    let [mut server, mut terminal] = open(now);
    let mut packet = segment();
    let mut send = |times: usize| {
        for _ in 0..times {
            advance(&mut packet);
            server.handle(Input::Packet(&packet), now);
            assert_eq!(cross(&mut server, &mut terminal, now), 1);
        }
    };
    send(100);
    let counted = allocation_counter::measure(|| send(1000));
    assert_eq!(counted.count_total, 0, "in 1000 packets: {counted:?}");
    assert!(
        server.statistics().headers_compressed > 1000,
        "not what a transfer looks like"
    );
}

#[test]
fn an_open_and_idle_session_keeps_less_than_8_kb() {
    let now = origin();
    let mut ends = None;
    let counted = allocation_counter::measure(|| ends = Some(open(now)));
    let octets = counted.bytes_current / 2 + i64::try_from(size_of::<Session>()).expect("small");
    println!(
        "{octets} octets a session, {} of them in place",
        size_of::<Session>()
    );
    assert!(octets < 8 * 1024, "{octets} octets");
    drop(ends);
}
