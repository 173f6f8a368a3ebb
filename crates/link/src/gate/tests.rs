use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

#[path = "../../tests/tun/packet.rs"]
mod packet;

use packet::{ACK, End, SYN, mend, tcp, udp};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const TERMINAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// A machine behind the server.
const BEHIND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// Addresses of the server's host, besides its address on the link.
const HOSTS_OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 255)];

fn server(ports: OpenPorts) -> Gate {
    let mut gate = Gate::new(Side::Server, SERVER, TERMINAL, ports, |address| {
        HOSTS_OWN.contains(&address)
    });
    gate.prove();
    gate
}

fn terminal(ports: OpenPorts) -> Gate {
    let mut gate = Gate::new(Side::Terminal, TERMINAL, SERVER, ports, |address| {
        address == TERMINAL
    });
    gate.prove();
    gate
}

fn these(ports: &[u16]) -> OpenPorts {
    OpenPorts::These(ports.iter().copied().collect())
}

/// From the terminal's side: to it.
fn to_terminal(port: u16, flags: u8) -> Vec<u8> {
    tcp((BEHIND, 40_000), (TERMINAL, port), flags)
}

#[test]
fn nothing_passes_before_the_far_end_is_proved() {
    let mut gate = Gate::new(Side::Terminal, TERMINAL, SERVER, OpenPorts::All, |_| false);
    let (inward, outward) = (to_terminal(22, SYN), tcp((TERMINAL, 22), (BEHIND, 1), SYN));
    assert_eq!(gate.inward(&inward), Err(Refusal::Unproved));
    assert_eq!(gate.outward(&outward), Err(Refusal::Unproved));
    gate.prove();
    assert_eq!(gate.inward(&inward), Ok(inward.as_slice()));
    assert_eq!(gate.outward(&outward), Ok(outward.as_slice()));
}

#[test]
fn only_open_ports_are_reached_from_either_side() {
    let mut gate = terminal(these(&[22]));
    assert!(gate.inward(&to_terminal(22, SYN)).is_ok());
    assert_eq!(gate.inward(&to_terminal(23, SYN)), Err(Refusal::NotOpen));
    assert!(
        gate.outward(&tcp((TERMINAL, 40_000), (BEHIND, 22), SYN))
            .is_ok()
    );
    assert_eq!(
        gate.outward(&tcp((TERMINAL, 40_000), (BEHIND, 23), SYN)),
        Err(Refusal::NotOpen)
    );
    assert_eq!(
        terminal(OpenPorts::default()).inward(&to_terminal(22, SYN)),
        Err(Refusal::NotOpen)
    );
}

#[test]
fn an_answer_passes_only_on_the_very_flow_it_answers() {
    let mut gate = terminal(these(&[22, 53]));
    let (here, there): (End, End) = ((TERMINAL, 40_000), (BEHIND, 22));
    assert_eq!(
        gate.inward(&tcp(there, here, SYN | ACK)),
        Err(Refusal::NotOpen),
        "before it was opened"
    );
    assert!(gate.outward(&tcp(here, there, SYN)).is_ok());
    assert!(gate.inward(&tcp(there, here, SYN | ACK)).is_ok());
    assert_eq!(
        gate.inward(&tcp(there, here, SYN)),
        Err(Refusal::NotOpen),
        "a bare SYN is no answer"
    );
    assert_eq!(
        gate.inward(&tcp((BEHIND, 53), here, ACK)),
        Err(Refusal::NotOpen)
    );
    assert_eq!(
        gate.inward(&tcp((SERVER, 22), here, ACK)),
        Err(Refusal::NotOpen)
    );
    assert_eq!(
        gate.inward(&tcp(there, (TERMINAL, 40_001), ACK)),
        Err(Refusal::NotOpen)
    );
    assert_eq!(
        gate.inward(&udp(there, here, b"")),
        Err(Refusal::NotOpen),
        "the protocol is part of the flow"
    );

    // UDP has no SYN: only the table tells an answer.
    let query = (TERMINAL, 50_000);
    assert_eq!(
        gate.inward(&udp((BEHIND, 53), query, b"?")),
        Err(Refusal::NotOpen)
    );
    assert!(gate.outward(&udp(query, (BEHIND, 53), b"?")).is_ok());
    assert!(gate.inward(&udp((BEHIND, 53), query, b"!")).is_ok());
}

#[test]
fn an_answer_to_a_flow_that_the_far_end_opened_goes_out() {
    let mut gate = terminal(these(&[22]));
    let (here, there) = ((TERMINAL, 22), (BEHIND, 40_000));
    assert_eq!(
        gate.outward(&tcp(here, there, SYN | ACK)),
        Err(Refusal::NotOpen)
    );
    assert!(gate.inward(&tcp(there, here, SYN)).is_ok());
    assert!(gate.outward(&tcp(here, there, SYN | ACK)).is_ok());
    assert_eq!(gate.outward(&tcp(here, there, SYN)), Err(Refusal::NotOpen));
}

#[test]
fn a_far_end_that_opens_many_flows_forgets_its_own_and_none_of_ours() {
    let mut gate = terminal(these(&[22]));
    let ours = ((TERMINAL, 40_000), (BEHIND, 22));
    assert!(gate.outward(&tcp(ours.0, ours.1, SYN)).is_ok());
    for port in 1..=u16::try_from(4 * FLOWS_MAX).unwrap() {
        assert!(
            gate.inward(&tcp((BEHIND, port), (TERMINAL, 22), SYN))
                .is_ok()
        );
    }
    assert_eq!(
        (gate.opened_there.used.len(), gate.opened_here.used.len()),
        (FLOWS_MAX, 1)
    );
    assert!(gate.inward(&tcp(ours.1, ours.0, SYN | ACK)).is_ok());
    assert_eq!(
        gate.outward(&tcp((TERMINAL, 22), (BEHIND, 1), ACK)),
        Err(Refusal::NotOpen),
        "the oldest"
    );
}

#[test]
fn a_flow_in_use_outlives_those_that_are_not() {
    let mut gate = terminal(these(&[22]));
    let (here, there) = ((TERMINAL, 22), (BEHIND, 65_000));
    assert!(gate.inward(&tcp(there, here, SYN)).is_ok());
    for port in 1..=u16::try_from(4 * FLOWS_MAX).unwrap() {
        assert!(gate.inward(&tcp((BEHIND, port), here, SYN)).is_ok());
        assert!(gate.outward(&tcp(here, there, ACK)).is_ok(), "after {port}");
    }
}

#[test]
fn the_far_end_reaches_no_address_of_the_servers_host_whatever_is_open() {
    let mut gate = server(OpenPorts::All);
    let from = (TERMINAL, 40_000);
    for own in HOSTS_OWN.into_iter().chain([SERVER]) {
        for flags in [SYN, ACK, SYN | ACK] {
            assert_eq!(
                gate.inward(&tcp(from, (own, 80), flags)),
                Err(Refusal::Destination),
                "{own}"
            );
        }
        assert_eq!(
            gate.inward(&udp(from, (own, 80), b"")),
            Err(Refusal::Destination),
            "{own}"
        );
        // Not even as an answer to what the host itself has sent.
        assert!(
            gate.outward(&tcp((own, 40_000), (TERMINAL, 80), SYN))
                .is_ok()
        );
        assert_eq!(
            gate.inward(&tcp((TERMINAL, 80), (own, 40_000), SYN | ACK)),
            Err(Refusal::Destination),
            "{own}"
        );
    }
    assert!(gate.inward(&tcp(from, (BEHIND, 80), SYN)).is_ok());
    assert_eq!(
        gate.inward(&tcp(from, (TERMINAL, 80), SYN)),
        Err(Refusal::Destination),
        "back where it came from"
    );
}

#[test]
fn special_addresses_are_neither_reached_nor_believed() {
    for special in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.1.1",
        "169.254.169.254",
        "224.0.0.1",
        "239.1.1.1",
    ]
    .into_iter()
    .chain(["240.0.0.1", "255.255.255.255"])
    {
        let special = special.parse().unwrap();
        let from = tcp((special, 1), (TERMINAL, 22), SYN);
        let to = tcp((TERMINAL, 1), (special, 22), SYN);
        assert_eq!(
            server(OpenPorts::All).inward(&to),
            Err(Refusal::Destination),
            "{special}"
        );
        assert_eq!(
            terminal(OpenPorts::All).outward(&to),
            Err(Refusal::Destination),
            "{special}"
        );
        assert_eq!(
            terminal(OpenPorts::All).inward(&from),
            Err(Refusal::Source),
            "{special}"
        );
        assert_eq!(
            server(OpenPorts::All).outward(&from),
            Err(Refusal::Source),
            "{special}"
        );
    }
}

#[test]
fn each_side_speaks_only_as_itself() {
    let mut gate = server(OpenPorts::All);
    for liar in [SERVER, BEHIND, HOSTS_OWN[0], Ipv4Addr::new(10, 77, 0, 3)] {
        assert_eq!(
            gate.inward(&tcp((liar, 1), (BEHIND, 80), SYN)),
            Err(Refusal::Source),
            "{liar}"
        );
    }
    assert_eq!(
        gate.outward(&tcp((BEHIND, 1), (Ipv4Addr::new(10, 77, 0, 3), 80), SYN)),
        Err(Refusal::Destination)
    );
    assert_eq!(
        gate.outward(&tcp((TERMINAL, 1), (TERMINAL, 80), SYN)),
        Err(Refusal::Source)
    );

    let mut gate = terminal(OpenPorts::All);
    assert_eq!(
        gate.inward(&tcp((BEHIND, 1), (SERVER, 80), SYN)),
        Err(Refusal::Destination)
    );
    assert_eq!(
        gate.inward(&tcp((TERMINAL, 1), (TERMINAL, 80), SYN)),
        Err(Refusal::Source)
    );
    assert_eq!(
        gate.outward(&tcp((BEHIND, 1), (SERVER, 80), SYN)),
        Err(Refusal::Source)
    );
    assert_eq!(
        gate.outward(&tcp((TERMINAL, 1), (TERMINAL, 80), SYN)),
        Err(Refusal::Destination)
    );
}

#[test]
fn what_is_not_plainly_one_whole_packet_is_dropped() {
    let good = to_terminal(22, SYN);
    let datagram = udp((BEHIND, 1), (TERMINAL, 22), b"four");
    let altered = |packet: &[u8], at: usize, value: u8| {
        let mut packet = packet.to_vec();
        packet[at] = value;
        mend(&mut packet);
        packet
    };
    let options = {
        let mut packet = [&good[..20], &[1, 1, 1, 0], &good[20..]].concat();
        (packet[0], packet[3]) = (0x46, packet[3] + 4);
        mend(&mut packet);
        packet
    };
    let cases = [
        ("nothing", vec![], Refusal::Malformed),
        ("IPv6", altered(&good, 0, 0x65), Refusal::NotIpv4),
        (
            "a header of 16 octets",
            altered(&good, 0, 0x44),
            Refusal::Malformed,
        ),
        ("options", options, Refusal::Options),
        ("cut", good[..39].to_vec(), Refusal::Malformed),
        (
            "shorter than its header",
            altered(&good, 3, 19),
            Refusal::Malformed,
        ),
        ("no room for TCP", altered(&good, 3, 39), Refusal::Malformed),
        ("no time to live", altered(&good, 8, 0), Refusal::Malformed),
        ("more fragments", altered(&good, 6, 0x20), Refusal::Fragment),
        ("a later fragment", altered(&good, 7, 1), Refusal::Fragment),
        (
            "the reserved bit",
            altered(&good, 6, 0x80),
            Refusal::Malformed,
        ),
        ("ICMP", altered(&good, 9, 1), Refusal::Protocol),
        ("IPv6 in IPv4", altered(&good, 9, 41), Refusal::Protocol),
        (
            "from port 0",
            altered(&altered(&good, 20, 0), 21, 0),
            Refusal::Malformed,
        ),
        (
            "to port 0",
            altered(&altered(&good, 22, 0), 23, 0),
            Refusal::Malformed,
        ),
        (
            "a TCP header of 16 octets",
            altered(&good, 32, 4 << 4),
            Refusal::Malformed,
        ),
        (
            "a TCP header beyond the end",
            altered(&good, 32, 6 << 4),
            Refusal::Malformed,
        ),
        ("no flags", altered(&good, 33, 0), Refusal::Malformed),
        (
            "SYN and FIN",
            altered(&good, 33, SYN | 1),
            Refusal::Malformed,
        ),
        (
            "SYN and RST",
            altered(&good, 33, SYN | 4),
            Refusal::Malformed,
        ),
        (
            "UDP longer than the packet",
            altered(&datagram, 25, 13),
            Refusal::Malformed,
        ),
        (
            "UDP shorter than the packet",
            altered(&datagram, 25, 11),
            Refusal::Malformed,
        ),
    ];
    for (what, packet, refusal) in cases {
        assert_eq!(
            terminal(OpenPorts::All).inward(&packet),
            Err(refusal),
            "{what}"
        );
    }
    let mut damaged = good.clone();
    damaged[10] ^= 1;
    assert_eq!(
        terminal(OpenPorts::All).inward(&damaged),
        Err(Refusal::Malformed),
        "checksum"
    );
    let padded = [good.as_slice(), b"padding"].concat();
    assert_eq!(
        terminal(OpenPorts::All).inward(&padded),
        Ok(good.as_slice()),
        "RFC 1661 §2: padding goes"
    );
}

/// Addresses of which some matter.
fn address() -> impl Strategy<Value = Ipv4Addr> + Clone {
    prop_oneof![
        Just(SERVER),
        Just(TERMINAL),
        Just(BEHIND),
        Just(HOSTS_OWN[0]),
        Just(Ipv4Addr::LOCALHOST),
        any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let ends = ((address(), 1..5_u16), (address(), 1..5_u16));
    let sound =
        (ends, any::<u8>(), any::<bool>()).prop_map(|((source, destination), flags, is_tcp)| {
            if is_tcp {
                tcp(source, destination, flags)
            } else {
                udp(source, destination, b"x")
            }
        });
    let damaged = (sound.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut packet, at, value)| {
            let at = at.index(packet.len());
            packet[at] = value;
            if packet[0] & 15 == 5 {
                mend(&mut packet);
            }
            packet
        },
    );
    prop_oneof![4 => sound, 2 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..80)]
}

proptest! {
    /// Whatever comes in whatever order: no panic, bounded memory, and only what may pass has passed.
    #[test]
    fn what_passes_keeps_to_the_rules(
        packets in prop::collection::vec((any::<bool>(), any_packet()), 0..40),
        is_server in any::<bool>(),
        ports in prop::collection::btree_set(1..5_u16, 0..3),
    ) {
        let open = OpenPorts::These(ports.clone());
        let mut gate = if is_server { server(open) } else { terminal(open) };
        let mut opened = Vec::new();
        for (is_inward, packet) in packets {
            let passed = if is_inward { gate.inward(&packet) } else { gate.outward(&packet) };
            let Ok(passed) = passed else { continue };
            prop_assert!(passed.len() <= packet.len());
            let field = |at: usize| u16::from_be_bytes([passed[at], passed[at + 1]]);
            let address = |at: usize| Ipv4Addr::new(passed[at], passed[at + 1], passed[at + 2], passed[at + 3]);
            let (source, destination) = ((address(12), field(20)), (address(16), field(22)));
            prop_assert_eq!(passed[0], 0x45);
            prop_assert_eq!(field(6) & 0xbfff, 0);
            match (is_server, is_inward) {
                (true, true) => {
                    prop_assert_eq!(source.0, TERMINAL);
                    let is_forbidden = HOSTS_OWN.contains(&destination.0) || destination.0 == SERVER || destination.0.is_loopback();
                    prop_assert!(!is_forbidden, "{}", destination.0);
                }
                (true, false) => prop_assert_eq!(destination.0, TERMINAL),
                (false, true) => prop_assert_eq!(destination.0, TERMINAL),
                (false, false) => prop_assert_eq!(source.0, TERMINAL),
            }
            if ports.contains(&destination.1) {
                opened.push((is_inward, passed[9], source, destination));
            } else {
                prop_assert!(opened.contains(&(!is_inward, passed[9], destination, source)), "no flow to answer");
                prop_assert!(passed[9] == 17 || passed[33] & (SYN | ACK) != SYN, "a bare SYN as an answer");
            }
        }
        prop_assert!(gate.opened_here.used.len() <= FLOWS_MAX && gate.opened_there.used.len() <= FLOWS_MAX);
    }
}
