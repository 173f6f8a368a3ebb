//! Van Jacobson's compression of TCP/IP headers (RFC 1144): 40 octets become three to five on most packets.
//!
//! ```text
//!   compressed (002d):    0 C I P S A W U | slot, if C | TCP checksum | U W A S I, those that changed | data
//!   uncompressed (002f):  the packet as it is, with the slot where the IP protocol was
//! ```
//!
//! Both ends keep the last header of each connection in a slot; what is sent is the difference. The TCP checksum
//! crosses as it was, so when a difference was lost the rebuilt packet is one the receiving TCP throws away, up to
//! what a 16-bit sum can tell: two losses that cancel out, an acknowledgement that rose by what the window fell, are
//! not seen by it (RFC 1144 §4.1). What is not TCP, not a plain data or acknowledgement segment, a fragment, or
//! broken, is sent as it is.

mod compressor;
mod decompressor;
mod few_octets;

pub(crate) use compressor::{Compressed, Compressor};
pub(crate) use decompressor::Decompressor;
use few_octets::FewOctets;

/// RFC 1144 §3.2.2: the first octet of a compressed packet.
mod change {
    pub(super) const SLOT: u8 = 0x40;
    pub(super) const IP_ID: u8 = 0x20;
    pub(super) const PUSH: u8 = 0x10;
    pub(super) const SEQUENCE: u8 = 0x08;
    pub(super) const ACKNOWLEDGEMENT: u8 = 0x04;
    pub(super) const WINDOW: u8 = 0x02;
    pub(super) const URGENT: u8 = 0x01;
    /// Combinations that do not arise stand for the usual two: an echoed character, and data one way.
    pub(super) const ECHOED: u8 = SEQUENCE | WINDOW | URGENT;
    pub(super) const ONE_WAY: u8 = SEQUENCE | ACKNOWLEDGEMENT | WINDOW | URGENT;
    pub(super) const FIELDS: u8 = ONE_WAY;
}

const TCP: u8 = 6;
const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URGENT: u8 = 0x20;

/// 15 words each of IPv4 and TCP: their length fields cannot say more.
const HEADER_OCTETS_MAX: usize = 120;

/// An IPv4 header and the TCP header behind it, options included.
#[derive(Clone, Debug)]
struct Headers {
    octets: FewOctets<HEADER_OCTETS_MAX>,
    /// Octets of the IPv4 header.
    ip: usize,
    /// Octets of the packet these headers came with.
    packet: usize,
}

impl Headers {
    /// `None`: too short, or the two headers do not fit in the packet. Its IP protocol is not looked at.
    fn parse(packet: &[u8]) -> Option<Headers> {
        let (&first, length) = (packet.first()?, usize::from(u16_at(packet, 2)?));
        let ip = usize::from(first & 0x0f) * 4;
        let tcp = usize::from(packet.get(ip + 12)? >> 4) * 4;
        if first >> 4 != 4 || ip < 20 || tcp < 20 || length < ip + tcp || length > packet.len() {
            return None;
        }
        let mut octets = FewOctets::EMPTY;
        octets.extend(packet.get(..ip + tcp)?);
        Some(Headers {
            octets,
            ip,
            packet: length,
        })
    }

    /// Octets of data in that packet.
    fn data(&self) -> usize {
        self.packet - self.octets.len()
    }

    fn u16(&self, at: usize) -> u16 {
        u16_at(&self.octets, at).expect("checked by Headers::parse")
    }

    fn set_u16(&mut self, at: usize, value: u16) {
        self.octets[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }

    fn set_u32(&mut self, at: usize, value: u32) {
        self.octets[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    const IP_ID: usize = 4;

    fn sequence(&self) -> usize {
        self.ip + 4
    }

    fn acknowledgement(&self) -> usize {
        self.ip + 8
    }

    fn flags(&self) -> usize {
        self.ip + 13
    }

    fn window(&self) -> usize {
        self.ip + 14
    }

    fn checksum(&self) -> usize {
        self.ip + 16
    }

    fn urgent(&self) -> usize {
        self.ip + 18
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]))
}

/// RFC 1071 over an IPv4 header: zero when its checksum is right.
fn ip_checksum(header: &[u8]) -> u16 {
    let sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let [_, _, high, low] = (sum + (sum >> 16)).to_be_bytes();
    !u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{IPV4, VJ_COMPRESSED, VJ_UNCOMPRESSED};

    /// One segment of one of a few connections, as its sender sees it.
    #[derive(Clone, Debug)]
    struct Step {
        connection: u8,
        data: usize,
        acknowledged: u16,
        window: i16,
        id: u16,
        flags: u8,
        urgent: u16,
        repeats: bool,
        options: u8,
        tos: u8,
    }

    fn step() -> impl Strategy<Value = Step> {
        (
            (0u8..5, prop_oneof![Just(0usize), 1usize..20, Just(512usize)]),
            (prop_oneof![3 => Just(0u16), 2 => 0u16..1500, 1 => any::<u16>()]),
            (prop_oneof![3 => Just(0i16), 1 => any::<i16>()], prop_oneof![4 => Just(1u16), 1 => any::<u16>()]),
            (
                prop_oneof![6 => Just(ACK), 3 => Just(ACK | PUSH), 1 => Just(ACK | URGENT), 1 => any::<u8>()],
                any::<u16>(),
            ),
            (
                prop::bool::weighted(0.1),
                prop_oneof![9 => Just(0u8), 1 => 0u8..3],
                prop_oneof![9 => Just(0u8), 1 => any::<u8>()],
            ),
        )
            .prop_map(
                |((connection, data), acknowledged, (window, id), (flags, urgent), (repeats, options, tos))| Step {
                    connection,
                    data,
                    acknowledged,
                    window,
                    id,
                    flags,
                    urgent,
                    repeats,
                    options,
                    tos,
                },
            )
    }

    #[derive(Default)]
    struct Sender {
        sequence: [u32; 5],
        acknowledgement: [u32; 5],
        window: [u16; 5],
        id: u16,
    }

    impl Sender {
        fn packet(&mut self, step: &Step) -> Vec<u8> {
            let at = usize::from(step.connection);
            self.id = self.id.wrapping_add(step.id);
            self.acknowledgement[at] =
                self.acknowledgement[at].wrapping_add(u32::from(step.acknowledged));
            self.window[at] = self.window[at].wrapping_add_signed(step.window);
            let packet = segment(
                (step.connection, self.sequence[at], self.acknowledgement[at]),
                (self.window[at], self.id, step.flags, step.urgent),
                (step.options, step.tos),
                &vec![step.connection ^ 0x55; step.data],
            );
            if !step.repeats {
                self.sequence[at] =
                    self.sequence[at].wrapping_add(u32::try_from(step.data).unwrap());
            }
            packet
        }
    }

    fn segment(
        (connection, sequence, acknowledgement): (u8, u32, u32),
        (window, id, flags, urgent): (u16, u16, u8, u16),
        (options, tos): (u8, u8),
        data: &[u8],
    ) -> Vec<u8> {
        let tcp_octets = 20 + 4 * usize::from(options);
        let length = u16::try_from(20 + tcp_octets + data.len()).unwrap();
        let mut packet = vec![0x45, tos];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&id.to_be_bytes());
        packet.extend_from_slice(&[0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend_from_slice(&[47 * connection, connection, 0, 80]);
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&acknowledgement.to_be_bytes());
        packet.extend_from_slice(&[u8::try_from(tcp_octets * 4).unwrap(), flags]);
        packet.extend_from_slice(&window.to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(&urgent.to_be_bytes());
        packet.extend_from_slice(&[1, 1, 1, 1].repeat(usize::from(options)));
        packet.extend_from_slice(data);
        let sum = ip_checksum(&packet[..20]).to_be_bytes();
        packet[10..12].copy_from_slice(&sum);
        let sum = tcp_checksum(&packet).to_be_bytes();
        packet[36..38].copy_from_slice(&sum);
        packet
    }

    /// Zero when it is right. Here the IP header is always 20 octets.
    fn tcp_checksum(packet: &[u8]) -> u16 {
        let mut covered = packet[12..20].to_vec();
        covered.extend_from_slice(&[0, TCP]);
        covered.extend_from_slice(&u16::try_from(packet.len() - 20).unwrap().to_be_bytes());
        covered.extend_from_slice(&packet[20..]);
        ip_checksum(&covered)
    }

    fn compress(compressor: &mut Compressor, packet: &[u8]) -> (u16, Vec<u8>) {
        match compressor.compress(packet) {
            Compressed::AsItIs => (IPV4, packet.to_vec()),
            Compressed::Whole { head, rest } => (VJ_UNCOMPRESSED, [&head[..], rest].concat()),
            Compressed::Difference { head, data } => (VJ_COMPRESSED, [&head[..], data].concat()),
        }
    }

    fn expand(
        decompressor: &mut Decompressor,
        (protocol, octets): &(u16, Vec<u8>),
    ) -> Option<Vec<u8>> {
        match *protocol {
            VJ_COMPRESSED => decompressor
                .compressed(octets)
                .map(|(head, data)| [head, data].concat()),
            VJ_UNCOMPRESSED => decompressor
                .uncompressed(octets)
                .map(|(head, data)| [head, data].concat()),
            _ => Some(octets.clone()),
        }
    }

    #[test]
    fn data_one_way_costs_three_octets_of_header_and_an_acknowledgement_four() {
        let mut compressor = Compressor::new(16, true);
        let mut sender = Sender::default();
        let plain = Step {
            connection: 0,
            data: 512,
            acknowledged: 0,
            window: 0,
            id: 1,
            flags: ACK,
            urgent: 0,
            repeats: false,
            options: 0,
            tos: 0,
        };
        let (protocol, first) = compress(&mut compressor, &sender.packet(&plain));
        assert_eq!(
            (protocol, first.len(), first[9]),
            (VJ_UNCOMPRESSED, 552, 15)
        );
        let (protocol, second) = compress(&mut compressor, &sender.packet(&plain));
        assert_eq!(
            (protocol, second.len(), second[0]),
            (VJ_COMPRESSED, 512 + 3, change::ONE_WAY)
        );
        compress(
            &mut compressor,
            &sender.packet(&Step {
                data: 0,
                ..plain.clone()
            }),
        );
        let acknowledgement = Step {
            data: 0,
            acknowledged: 200,
            ..plain
        };
        assert_eq!(
            compress(&mut compressor, &sender.packet(&acknowledgement))
                .1
                .len(),
            4
        );
    }

    #[test]
    fn what_is_not_a_plain_segment_goes_as_it_is() {
        let plain = segment((0, 1, 1), (1000, 1, ACK, 0), (0, 0), b"data");
        let bent = |at: usize, octet: u8| {
            let mut packet = plain.clone();
            packet[at] = octet;
            packet[10..12].copy_from_slice(&[0, 0]);
            let sum = ip_checksum(&packet[..20]).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
            packet
        };
        let mut wrong_sum = plain.clone();
        wrong_sum[10] ^= 1;
        // UDP; a fragment of two kinds; SYN, FIN, RST; no ACK; headers longer than the packet; IPv6; a length too many.
        let others = [
            bent(9, 17),
            bent(6, 0x20),
            bent(7, 1),
            bent(33, ACK | 2),
            bent(33, ACK | 1),
            bent(33, ACK | 4),
            bent(33, 0),
            bent(32, 0xf0),
            bent(32, 0x40),
            bent(0, 0x65),
            bent(3, 45),
            bent(3, 43),
            wrong_sum,
            vec![],
            vec![0x45],
            plain[..39].to_vec(),
        ];
        let mut compressor = Compressor::new(16, true);
        for other in others {
            assert_eq!(
                compress(&mut compressor, &other),
                (IPV4, other.clone()),
                "{other:02x?}"
            );
        }
        assert_eq!(compress(&mut compressor, &plain).0, VJ_UNCOMPRESSED);
    }

    #[test]
    fn the_slot_used_longest_ago_is_taken_for_a_new_connection() {
        let mut compressor = Compressor::new(2, true);
        let mut protocols = Vec::new();
        for (count, connection) in [0u8, 1, 0, 2, 0, 1].into_iter().enumerate() {
            let sequence = u32::try_from(count).unwrap() * 10;
            let packet = segment((connection, sequence, 1), (1000, 1, ACK, 0), (0, 0), b"x");
            protocols.push(compress(&mut compressor, &packet).0);
        }
        let (new, known) = (VJ_UNCOMPRESSED, VJ_COMPRESSED);
        assert_eq!(protocols, [new, new, known, new, known, new]);
    }

    #[test]
    fn after_a_line_error_nothing_is_believed_until_a_slot_is_named() {
        let (mut compressor, mut decompressor) = (Compressor::new(16, true), Decompressor::new(16));
        let mut send = |connection, sequence| {
            let packet = segment((connection, sequence, 1), (1000, 1, ACK, 0), (0, 0), b"x");
            (compress(&mut compressor, &packet), packet)
        };
        for connection in [0, 1] {
            let (sent, packet) = send(connection, 5);
            assert_eq!(expand(&mut decompressor, &sent), Some(packet));
        }
        decompressor.line_error();
        assert_eq!(expand(&mut decompressor, &send(1, 6).0), None);
        assert_eq!(expand(&mut decompressor, &send(1, 7).0), None);
        let (sent, packet) = send(0, 6);
        assert_eq!(expand(&mut decompressor, &sent), Some(packet));
    }

    #[test]
    fn a_compressed_packet_that_makes_no_sense_is_tossed_and_so_are_the_next() {
        let first = segment((0, 1, 1), (1000, 1, ACK, 0), (0, 0), b"x");
        for nonsense in [
            &[][..],
            &[0x80, 1, 2, 1],
            &[0x40],
            &[0x40, 3, 1, 2],
            &[0x40, 16, 1, 2],
            &[0],
            &[0, 1],
            &[8, 1, 2, 0, 1],
            &[2, 1, 2],
        ] {
            let (mut compressor, mut decompressor) =
                (Compressor::new(16, true), Decompressor::new(16));
            let sent = compress(&mut compressor, &first);
            assert_eq!(expand(&mut decompressor, &sent), Some(first.clone()));
            assert!(decompressor.compressed(nonsense).is_none(), "{nonsense:?}");
            let next = compress(
                &mut compressor,
                &segment((0, 2, 1), (1000, 2, ACK, 0), (0, 0), b"x"),
            );
            assert_eq!(
                (next.0, expand(&mut decompressor, &next)),
                (VJ_COMPRESSED, None),
                "{nonsense:?}"
            );
        }
    }

    #[test]
    fn an_uncompressed_packet_that_makes_no_sense_is_tossed() {
        let good = compress(
            &mut Compressor::new(16, true),
            &segment((0, 1, 1), (1000, 1, ACK, 0), (0, 0), b"x"),
        )
        .1;
        let mut decompressor = Decompressor::new(16);
        for (at, octet) in [
            (9, 16),
            (0, 0x65),
            (0, 0x44),
            (32, 0x40),
            (32, 0xf0),
            (3, 200),
            (3, 39),
            (10, good[10] ^ 1),
        ] {
            let mut bad = good.clone();
            bad[at] = octet;
            assert_eq!(decompressor.uncompressed(&bad), None, "{at}");
        }
        assert_eq!(decompressor.uncompressed(&[]), None);
        assert!(decompressor.uncompressed(&good).is_some());
    }

    #[test]
    fn a_packet_rebuilt_beyond_1500_octets_is_tossed() {
        let (mut compressor, mut decompressor) = (Compressor::new(1, true), Decompressor::new(1));
        expand(
            &mut decompressor,
            &compress(
                &mut compressor,
                &segment((0, 1, 1), (9, 1, ACK, 0), (0, 0), b"x"),
            ),
        );
        let with = |data: usize| [&[change::ONE_WAY, 0, 0][..], &vec![7; data]].concat();
        assert!(decompressor.compressed(&with(1460)).is_some());
        assert!(decompressor.compressed(&with(1461)).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn on_a_clean_line_every_packet_arrives_octet_for_octet(
            steps in prop::collection::vec(step(), 1..80),
            slots in 1u8..=16,
            hides_slot: bool,
        ) {
            let (mut compressor, mut decompressor) = (Compressor::new(slots, hides_slot), Decompressor::new(slots));
            let mut sender = Sender::default();
            for step in &steps {
                let packet = sender.packet(step);
                let sent = compress(&mut compressor, &packet);
                prop_assert!(sent.1.len() <= packet.len());
                prop_assert_eq!(expand(&mut decompressor, &sent), Some(packet), "{:?}", sent);
            }
        }

        #[test]
        fn what_a_lossy_line_makes_of_packets_is_either_one_that_was_sent_or_has_a_wrong_tcp_checksum(
            steps in prop::collection::vec((step(), 0u8..6), 1..60),
            slots in 1u8..=16,
            hides_slot: bool,
            is_noticed: bool,
        ) {
            // RFC 1332 §4.1: the slot may be left out only where losses are noticed.
            let hides_slot = hides_slot && is_noticed;
            let (mut compressor, mut decompressor) = (Compressor::new(slots, hides_slot), Decompressor::new(slots));
            let mut sender = Sender::default();
            let mut sent = Vec::new();
            for (step, fate) in &steps {
                // Only growing, and by less in all than the sum or another port can make up for: losses that cancel
                // out are not seen by it, and neither is what it does not cover.
                let step = Step {
                    acknowledged: step.acknowledged % 20,
                    window: (step.window & 0x1f) + 1,
                    data: step.data.min(20),
                    flags: ACK,
                    urgent: 0,
                    options: 0,
                    tos: 0,
                    ..step.clone()
                };
                let packet = sender.packet(&step);
                let on_the_line = compress(&mut compressor, &packet);
                sent.push(without_ip_id(&packet));
                if *fate == 0 {
                    if is_noticed {
                        decompressor.line_error();
                    }
                    continue;
                }
                if let Some(rebuilt) = expand(&mut decompressor, &on_the_line) && tcp_checksum(&rebuilt) == 0 {
                    // The IP identifier is no part of TCP's sum, and means nothing to a packet that is no fragment.
                    prop_assert!(sent.contains(&without_ip_id(&rebuilt)), "{:02x?}", rebuilt);
                }
            }
        }

        #[test]
        fn no_octets_panic_the_decompressor_or_make_a_packet_with_a_wrong_ip_header(
            script in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80), step()), 1..60),
            slots in 1u8..=16,
        ) {
            let (mut compressor, mut decompressor) = (Compressor::new(slots, true), Decompressor::new(slots));
            let mut sender = Sender::default();
            for (is_nonsense, octets, step) in script {
                let said = if is_nonsense { (VJ_COMPRESSED, octets) } else { compress(&mut compressor, &sender.packet(&step)) };
                if said.0 == IPV4 {
                    continue;
                }
                if let Some(packet) = expand(&mut decompressor, &said) {
                    prop_assert!(packet.len() <= 1500);
                    prop_assert_eq!(ip_checksum(&packet[..20]), 0);
                    prop_assert_eq!(usize::from(u16_at(&packet, 2).unwrap()), packet.len());
                }
            }
        }
    }

    fn without_ip_id(packet: &[u8]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        packet[4..6].fill(0);
        packet[10..12].fill(0);
        packet
    }
}
