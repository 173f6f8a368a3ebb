//! What a fuzz target does with its octets. Shared by `fuzz/`, which invents them, and by the test that replays what
//! it has found.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use ringup_ppp::{
    Agreement, Authentication, Config, Credentials, Decoder, Demand, Direction, Encoder, Event,
    HELD_OCTETS_MAX, Input, InterfaceIdentifier, Ipv6, Keepalive, LineProfile, LinkOptions, Name,
    NameServers, Output, Secret, Session, Willing,
};

/// Any octets in any pieces: no frame is too long, every octet is counted, and what was found survives a second trip.
pub(crate) fn framing(octets: &[u8]) {
    let Some((&first, line)) = octets.split_first() else {
        return;
    };
    let mut decoder = Decoder::new();
    decoder.set_accm(if first & 1 == 0 {
        0
    } else {
        ringup_ppp::ACCM_DEFAULT
    });
    let mut encoder = Encoder::new();
    for piece in line.chunks(usize::from(first >> 1) + 1) {
        let mut piece = piece;
        while let Some(frame) = decoder.next_frame(&mut piece) {
            assert!(frame.information.len() <= ringup_ppp::INFORMATION_OCTETS_MAX + 3);
            if frame.information.len() > ringup_ppp::INFORMATION_OCTETS_MAX {
                continue;
            }
            let mut again = BytesMut::new();
            encoder.encode(&mut again, frame.protocol, &[frame.information]);
            let (mut second, mut again) = (Decoder::new(), &again[..]);
            assert_eq!(second.next_frame(&mut again), Some(frame));
        }
        assert!(piece.is_empty());
    }
    assert_eq!(decoder.statistics().octets, line.len() as u64);
}

/// Reads the script of a target.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn octet(&mut self) -> Option<u8> {
        let (&octet, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(octet)
    }

    /// As many octets as the next one says, or all that are left.
    fn octets(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.octet()?);
        let (octets, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(octets)
    }
}

#[derive(Default)]
struct Drained {
    transmitted: Vec<u8>,
    packets: Vec<Vec<u8>>,
    events: Vec<Event>,
    at: Option<Instant>,
}

fn drain(session: &mut Session) -> Drained {
    let mut drained = Drained::default();
    loop {
        match session.poll_output() {
            Output::Transmit(octets) => drained.transmitted.extend_from_slice(&octets),
            Output::Packet(packet) => drained.packets.push(packet.to_vec()),
            Output::Event(event) => drained.events.push(event),
            Output::Timeout { at, .. } => {
                drained.at = at;
                return drained;
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other source; all else is computed from this one"
)]
fn origin() -> Instant {
    Instant::now()
}

/// Which ends a script is about, besides the proofs.
#[derive(Clone, Copy)]
struct Ends {
    /// Which proofs are demanded, in two bits.
    proofs: u8,
    /// Whether both expect what an earlier call agreed on.
    remember: bool,
    has_ipv6: bool,
}

/// The two ends of a link.
fn ends(which: Ends, now: Instant) -> [Session; 2] {
    let Ends {
        proofs,
        remember,
        has_ipv6,
    } = which;
    let line = LineProfile {
        rate_bps: Some(33_600),
        delay: Duration::from_millis(60),
    };
    let mut server = Config::server(line, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let mut terminal = Config::terminal(line, None);
    let own = |name: &str, secret: &str| Credentials {
        name: Name::new(name).expect("not empty"),
        secret: Secret::new(secret).expect("not empty"),
    };
    let (a, b) = (own("a", "secret of a"), own("b", "secret of b"));
    server.authentication = Authentication {
        demand: [
            Demand::Nothing,
            Demand::Chap,
            Demand::ChapThenPap,
            Demand::Pap,
        ][usize::from(proofs & 3)],
        peers: [(b.name.clone(), b.secret.clone())].into_iter().collect(),
        own: Some(a.clone()),
        willing: Willing::ChapOrPap,
    };
    terminal.authentication = Authentication {
        demand: if proofs & 3 == 1 {
            Demand::Chap
        } else {
            Demand::Nothing
        },
        peers: [(a.name, a.secret)].into_iter().collect(),
        own: Some(b),
        willing: Willing::ChapOrPap,
    };
    server.name_servers = NameServers::Give {
        first: [10, 0, 0, 53].into(),
        second: None,
    };
    terminal.name_servers = NameServers::Ask([None; 2]);
    server.keepalive = Some(Keepalive {
        interval: Duration::from_secs(30),
        losses_max: 2,
    });
    if has_ipv6 {
        server.ipv6 = Some(Ipv6 {
            local: InterfaceIdentifier::new(1),
            peer: None,
        });
        terminal.ipv6 = Some(Ipv6::default());
    }
    if remember {
        let both = Direction {
            accm: 0,
            protocol_compression: true,
            address_compression: true,
            ..Direction::default()
        };
        let link = LinkOptions {
            sending: both,
            receiving: both,
        };
        let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        server.expected = Some(Agreement {
            link,
            local: a,
            peer: Some(b),
        });
        terminal.expected = Some(Agreement {
            link,
            local: b,
            peer: Some(a),
        });
    }
    [Session::new(server, 1, now), Session::new(terminal, 2, now)]
}

/// Lets the two ends talk this often, without a delay.
fn exchange(ends: &mut [Session; 2], times: u8, now: Instant) -> usize {
    let mut closed = 0;
    for turn in 0..2 * times {
        let (from, to) = if turn % 2 == 0 { (0, 1) } else { (1, 0) };
        let said = drain(&mut ends[from]);
        closed += said
            .events
            .iter()
            .filter(|event| matches!(event, Event::Closed(_)))
            .count();
        ends[to].handle(Input::Bytes(&said.transmitted), now);
    }
    closed
}

const LCP: u16 = 0xc021;
const IPCP: u16 = 0x8021;
const CHAP: u16 = 0xc223;
const PROTOCOLS: [u16; 8] = [LCP, IPCP, CHAP, 0xc023, 0x0021, 0x002d, 0x002f, 0x8057];

/// A peer that says anything, in any protocol.
pub(crate) fn session(octets: &[u8]) {
    let Some((&first, script)) = octets.split_first() else {
        return;
    };
    conversation(first, Script(script), PROTOCOLS);
}

/// A peer that speaks LCP, whenever.
pub(crate) fn lcp(octets: &[u8]) {
    let Some((&first, script)) = octets.split_first() else {
        return;
    };
    conversation(first, Script(script), [LCP; 8]);
}

/// A peer that speaks IPCP when LCP is open, whether or not the proofs are given.
pub(crate) fn ipcp(octets: &[u8]) {
    let Some((&first, script)) = octets.split_first() else {
        return;
    };
    conversation(first | 2 << 3, Script(script), [IPCP; 8]);
}

/// A peer that speaks CHAP where it is demanded, of one end or of both.
pub(crate) fn chap(octets: &[u8]) {
    let Some((&first, script)) = octets.split_first() else {
        return;
    };
    let demand = if first & 2 == 0 { 1 } else { 2 };
    conversation(first & !6 | demand << 1, Script(script), [CHAP; 8]);
}

/// A session of either role, after some talk, and a peer with a script: it answers with no more than a small multiple,
/// never waits for a time that is over, says nothing after the end, and ends once when it is told to.
fn conversation(first: u8, mut script: Script<'_>, protocols: [u16; 8]) {
    let mut now = origin();
    let which = Ends {
        proofs: first >> 1,
        remember: first & 0x40 != 0,
        has_ipv6: first & 0x80 != 0,
    };
    // What has gone early may go once more when the network is up.
    let early = if which.remember {
        2 * HELD_OCTETS_MAX + 600
    } else {
        0
    };
    let mut both = ends(which, now);
    exchange(&mut both, first >> 3 & 7, now);
    let [server, terminal] = both;
    let mut session = if first & 1 == 0 { server } else { terminal };
    let mut closed = 0;
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new();
    decoder.set_accm(0);
    // What the session said last: the peer may answer it.
    let mut last = (0xc021u16, vec![1u8, 0, 0, 4]);
    let mut check = |drained: &Drained, fed: usize, now: Instant| {
        assert!(
            drained.transmitted.len() <= 6 * fed + 600 + early,
            "{} for {fed}",
            drained.transmitted.len()
        );
        assert!(
            drained
                .packets
                .iter()
                .all(|packet| packet.len() <= ringup_ppp::INFORMATION_OCTETS_MAX + 3)
        );
        assert!(
            drained.at.is_none_or(|at| at >= now),
            "a wait for a time that is over"
        );
        assert!(
            closed == 0 || drained.events.is_empty(),
            "an event after Closed"
        );
        closed += drained
            .events
            .iter()
            .filter(|event| matches!(event, Event::Closed(_)))
            .count();
        let mut octets = &drained.transmitted[..];
        let mut said = None;
        while let Some(frame) = decoder.next_frame(&mut octets) {
            said = Some((frame.protocol, frame.information.to_vec()));
        }
        said
    };
    let mut at = drain(&mut session).at;
    while let Some(operation) = script.octet() {
        let mut line = BytesMut::new();
        match operation % 8 {
            // Octets as they are.
            0 => line.extend_from_slice(script.octets().unwrap_or(&[])),
            // A frame.
            1 => {
                let protocol = protocols[usize::from(operation >> 5)];
                encoder.encode(&mut line, protocol, &[script.octets().unwrap_or(&[])]);
            }
            // A control packet whose length fits.
            2 | 3 => {
                let protocol = protocols[usize::from(operation >> 5)];
                let (code, id) = (script.octet().unwrap_or(1), script.octet().unwrap_or(1));
                let id = if operation & 0x10 == 0 {
                    id
                } else {
                    last.1.get(1).copied().unwrap_or(0)
                };
                let data = script.octets().unwrap_or(&[]);
                let length = u16::try_from(data.len() + 4)
                    .expect("at most 259")
                    .to_be_bytes();
                encoder.encode(&mut line, protocol, &[&[code, id], &length, data]);
            }
            // What the session said last comes back with another code: an Ack, say.
            4 | 5 => {
                let (protocol, mut information) = last.clone();
                if let (Some(code), Some(new)) = (information.first_mut(), script.octet()) {
                    *code = new;
                }
                encoder.encode(&mut line, protocol, &[&information]);
            }
            6 => {
                if let Some(at) = at {
                    now = at;
                }
                session.handle(Input::Deadline, now);
            }
            _ => {
                let octets = script.octets().unwrap_or(&[]);
                session.handle(Input::Packet(octets), now);
                let drained = drain(&mut session);
                check(&drained, octets.len(), now);
            }
        }
        if !line.is_empty() {
            session.handle(Input::Bytes(&line), now);
        }
        let drained = drain(&mut session);
        at = drained.at;
        if let Some(said) = check(&drained, line.len(), now) {
            last = said;
        }
    }
    session.handle(Input::Close, now);
    for _ in 0..100 {
        let drained = drain(&mut session);
        check(&drained, 0, now);
        let Some(at) = drained.at else { break };
        now = at;
        session.handle(Input::Deadline, now);
    }
    assert_eq!(closed, 1);
}

/// Two open links with compressed headers. On one the peer makes them up: what comes out has a sound IP header. On
/// the other the packets are made up: they arrive as they were.
pub(crate) fn headers(octets: &[u8]) {
    let now = origin();
    let open = || {
        let mut both = ends(
            Ends {
                proofs: 0,
                remember: false,
                has_ipv6: false,
            },
            now,
        );
        exchange(&mut both, 6, now);
        for end in &mut both {
            drain(end);
        }
        both
    };
    let (mut script, mut honest, mut invented) = (Script(octets), None, None);
    let mut encoder = Encoder::new();
    let mut packet = Vec::new();
    while let Some(operation) = script.octet() {
        let octets = script.octets().unwrap_or(&[]);
        match operation % 4 {
            0 | 1 => {
                let protocol = if operation % 4 == 0 { 0x002d } else { 0x002f };
                let mut line = BytesMut::new();
                encoder.encode(&mut line, protocol, &[octets]);
                // Now and then one that does not survive.
                if operation & 0x80 != 0 {
                    line[3] ^= 1;
                }
                let [_, terminal] = invented.get_or_insert_with(open);
                terminal.handle(Input::Bytes(&line), now);
                for packet in drain(terminal).packets {
                    let header = 4 * usize::from(packet[0] & 0x0f);
                    assert!(packet.len() <= ringup_ppp::INFORMATION_OCTETS_MAX && header >= 20);
                    assert_eq!(
                        usize::from(u16::from_be_bytes([packet[2], packet[3]])),
                        packet.len()
                    );
                    assert_eq!(sum(&packet[..header]), 0xffff);
                }
            }
            // Another packet, or the one before with some octets changed.
            2 => packet = octets.to_vec(),
            _ => {
                for change in octets.chunks_exact(2) {
                    if let Some(octet) = packet.get_mut(usize::from(change[0])) {
                        *octet = change[1];
                    }
                }
            }
        }
        if operation % 4 >= 2 {
            repair(&mut packet);
            let [server, terminal] = honest.get_or_insert_with(open);
            server.handle(Input::Packet(&packet), now);
            let said = drain(server).transmitted;
            terminal.handle(Input::Bytes(&said), now);
            // Of version 6 there is nothing on this link.
            let is_sent = packet.first().is_some_and(|first| first >> 4 != 6);
            let expected = if is_sent {
                vec![packet.clone()]
            } else {
                vec![]
            };
            assert_eq!(drain(terminal).packets, expected);
        }
    }
}

fn sum(header: &[u8]) -> u16 {
    let pairs = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = pairs.sum();
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0)
}

/// Length and checksum of the IPv4 header, without which nothing is compressed.
fn repair(packet: &mut [u8]) {
    let Ok(length) = u16::try_from(packet.len()) else {
        return;
    };
    let header = 4 * usize::from(packet.first().copied().unwrap_or(0) & 0x0f);
    if header >= 20 && header <= packet.len() {
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[10..12].fill(0);
        let mut total: u32 = packet[..header]
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        let checksum = !u16::try_from(total).expect("folded");
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}
