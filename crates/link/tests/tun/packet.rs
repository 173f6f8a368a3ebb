//! IPv4 packets made by hand, right unless they are then made wrong.

use std::net::Ipv4Addr;

/// An address and a port.
pub(crate) type End = (Ipv4Addr, u16);

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// A TCP segment without content.
pub(crate) fn tcp(source: End, destination: End, flags: u8) -> Vec<u8> {
    let ports = [source.1.to_be_bytes(), destination.1.to_be_bytes()].concat();
    let mut segment = [
        ports.as_slice(),
        &[0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flags, 16, 0, 0, 0, 0, 0],
    ]
    .concat();
    let sum = checksum(
        &[
            &pseudo_header(source.0, destination.0, 6, segment.len()),
            segment.as_slice(),
        ]
        .concat(),
    );
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(source.0, destination.0, 6, &segment)
}

/// A UDP datagram without a checksum, which IPv4 allows.
pub(crate) fn udp(source: End, destination: End, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + content.len()).unwrap();
    let fields = [source.1, destination.1, length, 0]
        .map(u16::to_be_bytes)
        .concat();
    ip(source.0, destination.0, 17, &[&fields, content].concat())
}

pub(crate) fn ip(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let head = [
        0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0,
    ];
    let mut packet = [
        head.as_slice(),
        &source.octets(),
        &destination.octets(),
        payload,
    ]
    .concat();
    mend(&mut packet);
    packet
}

/// Makes the checksum of the IPv4 header right again.
pub(crate) fn mend(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let sum = checksum(&packet[..usize::from(packet[0] & 15) * 4]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap().to_be_bytes();
    [
        &source.octets(),
        &destination.octets(),
        [0, protocol, length[0], length[1]].as_slice(),
    ]
    .concat()
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
