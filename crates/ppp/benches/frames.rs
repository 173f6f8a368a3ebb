//! How fast frames are made and read, and what a session keeps. Prints rows of a Markdown table: `cargo xtask bench ppp`.

#[path = "../../../xtask/src/bench/table.rs"]
mod table;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ringup_ppp::{
    ACCM_DEFAULT, Config, Decoder, Direction, Encoder, Input, LineProfile, Output, Session,
};

use table::{extent, figure, target};

const PACKET_OCTETS: usize = 1500;
const IPV4: u16 = 0x0021;

fn main() {
    let packet = packet();
    for (accm, name) in [
        (0, "only flags and escapes escaped"),
        (ACCM_DEFAULT, "all control characters escaped"),
    ] {
        let (encode, decode) = (encode(&packet, accm), decode(&packet, accm));
        // One core does both for each octet.
        let both = 1.0 / (1.0 / encode + 1.0 / decode);
        let what = format!("encode + decode, {PACKET_OCTETS} octets, {name}");
        let measured = format!("{both:.0} MB/s (encode {encode:.0}, decode {decode:.0})");
        match accm {
            0 => target(what, "at least 100 MB/s", measured, both >= 100.0),
            _ => figure(what, measured),
        }
    }
    let session = session(&packet);
    figure(
        "the same through two sessions, packet to packet",
        format!("{session:.0} MB/s"),
    );
    let mut ends = None;
    let allocated = allocation_counter::measure(|| ends = Some(open()));
    drop(ends);
    let kept = usize::try_from(allocated.bytes_current).expect("they keep something") / 2
        + size_of::<Session>();
    target(
        "an open, idle session keeps",
        "under 8192 octets",
        format!("{kept} octets"),
        kept < 8192,
    );
}

/// Random octets, so that 2 of 256 are escaped (xorshift64, Marsaglia 2003).
fn packet() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(next).take(PACKET_OCTETS).collect()
}

/// The best of five rounds, in octets of packets a microsecond: a busy machine only ever makes a round slower.
#[expect(clippy::disallowed_methods, reason = "what is measured is time")]
fn rate(mut work: impl FnMut()) -> f64 {
    let (times, rounds) = extent((20_000, 5), (100, 1));
    let seconds = (0..rounds).map(|_| {
        let began = Instant::now();
        (0..times).for_each(|_| work());
        began.elapsed().as_secs_f64()
    });
    f64::from(times) * PACKET_OCTETS as f64 / seconds.fold(f64::INFINITY, f64::min) / 1e6
}

fn encoder(accm: u32) -> Encoder {
    let mut encoder = Encoder::new();
    encoder.set_agreed(Direction {
        accm,
        ..Direction::default()
    });
    encoder
}

fn encode(packet: &[u8], accm: u32) -> f64 {
    let (mut encoder, mut line) = (encoder(accm), BytesMut::new());
    rate(|| {
        line.clear();
        encoder.encode(&mut line, IPV4, &[black_box(packet)]);
        black_box(&line);
    })
}

fn decode(packet: &[u8], accm: u32) -> f64 {
    let (mut decoder, mut line) = (Decoder::new(), BytesMut::new());
    encoder(accm).encode(&mut line, IPV4, &[packet]);
    decoder.set_accm(accm);
    rate(|| {
        let mut octets = black_box(&line[..]);
        let frame = decoder.next_frame(&mut octets);
        assert!(black_box(frame).is_some_and(|frame| frame.information.len() == PACKET_OCTETS));
    })
}

fn session(packet: &[u8]) -> f64 {
    let [mut server, mut terminal] = open();
    let now = origin();
    rate(|| {
        server.handle(Input::Packet(black_box(packet)), now);
        assert_eq!(cross(&mut server, &mut terminal, now), 1);
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant has no other source; all else is computed from this one"
)]
fn origin() -> Instant {
    Instant::now()
}

fn open() -> [Session; 2] {
    let now = origin();
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

/// What one end says goes to the other; how many packets come out there.
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
