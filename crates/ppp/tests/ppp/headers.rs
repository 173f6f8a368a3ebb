//! TCP/IP headers that cross in three octets.

use std::time::Duration;

use bytes::BytesMut;
use ringup_ppp::{Config, Encoder, HeaderSlots, Input, Output};

use crate::call::{Call, SERVER, TERMINAL, line, origin, server, terminal};

const MINUTE: Duration = Duration::from_secs(60);

/// Segment `n` of a stream of `data` octets each.
fn segment(n: u32, data: usize) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&u16::try_from(40 + data).expect("short").to_be_bytes());
    packet.extend_from_slice(&u16::try_from(n).expect("few").to_be_bytes());
    packet.extend_from_slice(&[0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 4, 0, 0, 80]);
    packet.extend_from_slice(&(n * u32::try_from(data).expect("short")).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 1, 0x50, 0x10, 4, 0, 0xab, 0xcd, 0, 0]);
    let mut sum: u32 = packet[..20]
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&vec![0x61; data]);
    packet
}

fn open(server_slots: Option<u8>, terminal_slots: Option<u8>) -> Call {
    let line = line(33_600, 60);
    let with = |config, slots: Option<u8>| Config {
        header_compression: slots.map(|slots| HeaderSlots::new(slots).expect("1 to 16")),
        ..config
    };
    let mut call = Call::new(
        line,
        with(server(line), server_slots),
        with(terminal(line), terminal_slots),
    );
    call.run(MINUTE);
    assert!(call.ends.iter().all(|end| end.network().is_some()));
    call
}

/// Octets on the line for a hundred segments of ten octets from the server; all must arrive.
fn octets_for_a_hundred(call: &mut Call) -> u64 {
    let before = call.ends[SERVER].session.statistics().sent.octets;
    let packets: Vec<_> = (0..100).map(|n| segment(n, 10)).collect();
    for packet in &packets {
        call.handle(SERVER, Input::Packet(packet));
    }
    call.run(2 * MINUTE);
    assert_eq!(call.ends[TERMINAL].packets, packets);
    call.ends[SERVER].session.statistics().sent.octets - before
}

#[test]
fn headers_are_compressed_where_both_ends_want_it_and_nothing_is_changed() {
    for (slots, other) in [
        (Some(16), Some(16)),
        (Some(1), Some(16)),
        (Some(16), Some(1)),
    ] {
        let mut call = open(slots, other);
        // Flags, protocol, FCS: five; three of header; ten of data. The first goes whole.
        let octets = octets_for_a_hundred(&mut call);
        assert!(octets <= 100 * 20 + 60, "{octets}");
        assert_eq!(
            call.ends[SERVER].session.statistics().headers_compressed,
            99
        );
        assert_eq!(
            call.ends[TERMINAL].session.statistics().headers_expanded,
            99
        );
    }
}

#[test]
fn an_end_that_does_not_want_it_gets_plain_packets() {
    for (slots, other) in [(None, Some(16)), (Some(16), None), (None, None)] {
        let mut call = open(slots, other);
        assert!(octets_for_a_hundred(&mut call) >= 100 * 54);
        assert_eq!(call.ends[TERMINAL].session.statistics().headers_expanded, 0);
    }
}

#[test]
fn a_compressed_packet_nobody_agreed_to_is_an_unknown_protocol() {
    let mut call = open(None, None);
    let mut octets = BytesMut::new();
    Encoder::new().encode(&mut octets, 0x002d, &[&[0x0f, 0, 0, 1]]);
    call.handle(TERMINAL, Input::Bytes(&octets));
    assert_eq!(
        call.ends[TERMINAL].session.statistics().unknown_protocols,
        1
    );
    assert!(call.ends[TERMINAL].packets.is_empty());
}

#[test]
fn a_broken_frame_costs_its_followers_until_the_headers_come_whole() {
    let mut call = open(Some(16), Some(16));
    let Call {
        ends: [server, terminal],
        ..
    } = &mut call;
    let mut arrived = Vec::new();
    let now = origin();
    for n in 0..6 {
        // The fifth is a repeat of the fourth, which goes with its headers whole.
        let packet = segment(n.min(4), 10);
        server.session.handle(Input::Packet(&packet), now);
        while let Output::Transmit(octets) = server.session.poll_output() {
            let mut octets = octets.to_vec();
            if n == 2 {
                octets[6] ^= 1;
            }
            terminal.session.handle(Input::Bytes(&octets), now);
        }
        while let Output::Packet(packet) = terminal.session.poll_output() {
            arrived.push(packet.to_vec());
        }
    }
    assert_eq!(arrived, [segment(0, 10), segment(1, 10), segment(4, 10)]);
    let statistics = terminal.session.statistics();
    assert_eq!(
        (statistics.received.bad_fcs, statistics.headers_tossed),
        (1, 2)
    );
}

#[test]
fn slots_are_between_one_and_sixteen() {
    assert_eq!(
        HeaderSlots::new(0).unwrap_err().to_string(),
        "0 slots for headers are not between 1 and 16"
    );
    assert!(HeaderSlots::new(17).is_err());
    assert_eq!(HeaderSlots::new(16), Ok(HeaderSlots::MAX));
}
