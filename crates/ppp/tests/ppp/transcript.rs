//! Conversations as text, one file each in `tests/transcripts`.
//!
//! ```text
//! # a remark
//! role server | terminal        (first line: 10.0.0.1 calls 10.0.0.2, 33,600 bit/s, seed 7; with CHAP the
//!                               terminal's name is t-17 and its secret opensesame)
//! < c021 0101...                the peer sends a frame: protocol, packet in hex
//! <~ 7eff7d23...                the peer sends these octets as they are
//! <" login:                     the peer sends this text
//! @3s                           the clock goes on, deadlines are kept
//! > c021 0101...                we send a frame
//! ! NetworkDown                 we report an event
//! ```
//!
//! What stands after an input is all that follows from it.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use ringup_ppp::{Config, Decoder, Demand, Encoder, Event, Input, Output, Session, Willing};

use crate::call::{line, origin, server};
use crate::proving::{demanding, proving};

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            replay(include_str!(concat!("../transcripts/", stringify!($name), ".txt")));
        }
    )*};
}

transcripts!(
    pppd_with_its_defaults_is_up_after_one_nak,
    a_login_banner_before_ppp_costs_nothing,
    windows_options_are_rejected_in_one_round,
    a_peer_that_rejects_its_address_goes_on_without,
    a_peer_that_terminates_ipcp_is_hung_up,
    a_peer_without_ipcp_is_hung_up,
    a_peer_that_naks_for_ever_is_given_what_it_wants_or_nothing,
    a_demand_to_authenticate_is_rejected,
    an_unknown_code_is_rejected_and_an_echo_is_answered,
    answers_with_the_wrong_id_are_ignored,
    a_peer_that_gives_up_while_agreeing_is_not_asked_on,
    a_magic_number_of_zero_is_naked,
    a_demand_for_ms_chap_or_pap_is_answered_with_chap,
    pppd_proves_itself_with_chap_and_is_up,
);

struct Replay {
    session: Session,
    now: Instant,
    decoder: Decoder,
    wake: Option<Instant>,
    said: Vec<String>,
}

impl Replay {
    fn handle(&mut self, input: Input<'_>) {
        self.session.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.session.poll_output() {
                Output::Transmit(octets) => {
                    let mut octets = &octets[..];
                    while let Some(frame) = self.decoder.next_frame(&mut octets) {
                        self.said.push(format!(
                            "> {:04x} {}",
                            frame.protocol,
                            hex(frame.information)
                        ));
                    }
                }
                Output::Packet(packet) => self.said.push(format!("! Packet {}", hex(&packet))),
                Output::Event(event) => self.said.push(format!("! {}", shown(event))),
                Output::Timeout { at, .. } => {
                    self.wake = at;
                    return;
                }
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.wake.filter(|at| *at <= until) {
            self.now = at;
            self.handle(Input::Deadline);
        }
        self.now = until;
    }
}

fn shown(event: Event) -> String {
    match event {
        Event::LinkOpen(_) => "LinkOpen".to_owned(),
        Event::NetworkUp { local, peer, mtu } => {
            let peer = peer.map_or("unknown".to_owned(), |peer| peer.to_string());
            format!("NetworkUp {local} {peer} {mtu}")
        }
        Event::NetworkDown => "NetworkDown".to_owned(),
        Event::Ipv6Up { local, peer } => {
            format!("Ipv6Up {} {}", local.link_local(), peer.link_local())
        }
        Event::Ipv6Down => "Ipv6Down".to_owned(),
        Event::Closed(reason) => format!("Closed: {reason}"),
    }
}

fn replay(text: &str) {
    let line = line(33_600, 60);
    let mut lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    let config = match lines.next() {
        Some("role server") => server(line),
        Some("role terminal") => Config::terminal(line, None),
        Some("role server that demands chap") => demanding(line, Demand::Chap),
        Some("role terminal that proves itself with chap") => {
            proving(line, "opensesame", Willing::Chap)
        }
        other => panic!("no role: {other:?}"),
    };
    let now = origin();
    let mut decoder = Decoder::new();
    // A transcript shows what we mean; how it is escaped is tested elsewhere.
    decoder.set_accm(0);
    let session = Session::new(config, 7, now);
    let mut replay = Replay {
        session,
        now,
        decoder,
        wake: None,
        said: Vec::new(),
    };
    replay.drain();
    let mut encoder = Encoder::new();
    let mut input = "the beginning";
    loop {
        let mut expected = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with(['>', '!'])) {
            expected.push(line.to_owned());
        }
        let said = std::mem::take(&mut replay.said);
        assert_eq!(
            said,
            expected,
            "after {input}\nsaid:\n{}\n",
            said.join("\n")
        );
        let Some(line) = lines.next() else { return };
        input = line;
        if let Some(octets) = line.strip_prefix("<~ ") {
            replay.handle(Input::Bytes(&unhex(octets)));
        } else if let Some(text) = line.strip_prefix("<\" ") {
            replay.handle(Input::Bytes(format!("{text}\r\n").as_bytes()));
        } else if let Some(frame) = line.strip_prefix("< ") {
            let (protocol, packet) = frame.split_once(' ').expect("protocol and packet");
            let mut octets = BytesMut::new();
            encoder.encode(
                &mut octets,
                u16::from_str_radix(protocol, 16).expect("a protocol in hex"),
                &[&unhex(packet)],
            );
            replay.handle(Input::Bytes(&octets));
        } else if let Some(seconds) = line
            .strip_prefix('@')
            .and_then(|time| time.strip_suffix('s'))
        {
            replay.wait(Duration::from_secs(seconds.parse().expect("whole seconds")));
        } else {
            panic!("not a transcript line: {line}");
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(16 * pair[0] + pair[1]).expect("two hex digits"))
        .collect()
}
