//! Caller ID as audio: Debian's minimodem hears, in the tones of Bell 202, the very octets that our exchange makes and our
//! parser reads in hex.

use exchange::{Config, Running};
use modem::{CallerId, CallerIdField};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

use crate::chronicle::PATIENCE;
use crate::unpacked;

const SAMPLE_RATE: u32 = 48_000;
const BAUD: u32 = 1200;
const MARK_HZ: f64 = 1200.0;
const SPACE_HZ: f64 = 2200.0;

/// Bellcore TR-NWT-000030: 300 bits of alternating channel seizure, then 180 of mark, before the message.
const SEIZURE_BITS: usize = 300;
const MARK_BITS: usize = 180;

const NUMBER_AND_NAME: &str =
    "802301083131323231393330020A30363631323334353637070B505553482053455256455264";
const WITHHELD: &str = "80100108313132323139333004015008015026";
const SINGLE: &str = "04123131323231393330303636313233343536374F";

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Start bit, eight bits with the lowest first, stop bit.
fn frame(octet: u8) -> impl Iterator<Item = bool> {
    std::iter::once(false)
        .chain((0..8).map(move |bit| octet >> bit & 1 == 1))
        .chain(std::iter::once(true))
}

/// One burst between two silences, as a WAV file: 16 bit, one channel.
fn burst(message: &[u8]) -> Vec<u8> {
    let seizure = (0..SEIZURE_BITS).map(|bit| bit % 2 == 1);
    let bits = seizure
        .chain(std::iter::repeat_n(true, MARK_BITS))
        .chain(message.iter().copied().flat_map(frame));
    let mut phase = 0.0_f64;
    let tones = bits
        .chain([true; 20])
        .flat_map(|bit| std::iter::repeat_n(bit, (SAMPLE_RATE / BAUD) as usize));
    let tones = tones.map(|bit| {
        phase +=
            std::f64::consts::TAU * if bit { MARK_HZ } else { SPACE_HZ } / f64::from(SAMPLE_RATE);
        #[expect(clippy::cast_possible_truncation, reason = "a sine times 12000 fits")]
        let sample = (phase.sin() * 12_000.0) as i16;
        sample
    });
    let silence = || std::iter::repeat_n(0, SAMPLE_RATE as usize / 4);
    let samples: Vec<u8> = silence()
        .chain(tones)
        .chain(silence())
        .flat_map(i16::to_le_bytes)
        .collect();
    let length = u32::try_from(samples.len()).unwrap();
    let mut wav = Vec::new();
    for part in [
        b"RIFF".as_slice(),
        &(36 + length).to_le_bytes(),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &SAMPLE_RATE.to_le_bytes(),
        &(2 * SAMPLE_RATE).to_le_bytes(),
        &2_u16.to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &length.to_le_bytes(),
        &samples,
    ] {
        wav.extend_from_slice(part);
    }
    wav
}

/// What minimodem prints after `Phone:`, without its dashes.
fn heard_by_minimodem(message: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("burst.wav");
    std::fs::write(&file, burst(message)).unwrap();
    let output = unpacked::command("usr/bin/minimodem")
        .args(["--rx", "callerid", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let phone = text.lines().find_map(|line| line.strip_prefix("Phone:"));
    let phone =
        phone.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    phone.trim().replace('-', "")
}

#[test]
fn minimodem_hears_in_the_tones_whom_our_parser_reads_in_the_hex() {
    for (hex, minimodems) in [
        (NUMBER_AND_NAME, "0661234567"),
        (SINGLE, "0661234567"),
        (WITHHELD, "[blocked]"),
    ] {
        assert_eq!(heard_by_minimodem(&octets(hex)), minimodems, "{hex}");
        let ours = match minimodems {
            "[blocked]" => CallerId::Withheld,
            digits => CallerId::Digits(digits.to_owned()),
        };
        assert_eq!(
            CallerIdField::parse(hex),
            Some(CallerIdField::Caller(ours)),
            "{hex}"
        );
    }
}

/// Reads to the end of the next line that is not empty.
async fn line(dte: &mut DuplexStream) -> String {
    let mut line = String::new();
    loop {
        match dte.read_u8().await.unwrap() {
            b'\r' | b'\n' if line.is_empty() => {}
            b'\r' | b'\n' => return line,
            octet => line.push(octet.into()),
        }
    }
}

/// The packet of a call from `number`, as the exchange's modem shows it.
async fn packet(exchange: &Running, number: &str) -> String {
    let mut called = exchange.station_stream("301").unwrap();
    let mut caller = exchange.station_stream(number).unwrap();
    called.write_all(b"ATE0+VCID=2\r").await.unwrap();
    while line(&mut called).await != "OK" {}
    caller.write_all(b"ATDT301\r").await.unwrap();
    assert_eq!(line(&mut called).await, "RING");
    line(&mut called).await
}

#[tokio::test]
async fn minimodem_hears_who_calls_in_the_packets_that_our_exchange_makes() {
    let config: Config = "ring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\n\
        [[station]]\nnumber = \"301\"\nmemory = true\n\
        [[station]]\nnumber = \"0661234567\"\nmemory = true\n\
        [[station]]\nnumber = \"666\"\nwithheld = true\nmemory = true\n"
        .parse()
        .unwrap();
    let exchange = Running::start(config).await.unwrap();
    for (number, minimodems) in [("0661234567", "0661234567"), ("666", "[blocked]")] {
        let hex = timeout(PATIENCE, packet(&exchange, number)).await.unwrap();
        assert_eq!(heard_by_minimodem(&octets(&hex)), minimodems, "{hex}");
    }
    exchange.stop().await.unwrap();
}
