//! What `--capture` leaves of a call.

use std::fs;

use crate::village::{Plan, Village};

/// Header of a pcap file, and of a record in it.
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// Direction and protocol of every record of a capture.
fn records(file: &[u8]) -> Vec<(u8, u16)> {
    let mut records = Vec::new();
    let mut rest = &file[FILE_HEADER..];
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[RECORD_HEADER..RECORD_HEADER + length];
        records.push((frame[0], u16::from_be_bytes([frame[3], frame[4]])));
        rest = &rest[RECORD_HEADER + length..];
    }
    records
}

#[test]
fn a_servers_capture_has_the_whole_call_both_ways_and_an_old_file_is_not_overwritten() {
    let mut village = Village::found(Plan::default());
    village.kill_server();
    village.start_server_with("server 2", &["--capture", "calls.pcap"]);
    let _owner = village.start_owner();
    let message = village.dial_in("tel:301", &village.write("report", "coin box full"));
    village
        .chronicle
        .wait_field("server 2", "delivered", "message_id", &message);
    village.exchange_calls(2);

    let records = records(&fs::read(village.path("calls.pcap")).unwrap());
    const LCP: u16 = 0xc021;
    const IPCP: u16 = 0x8021;
    for protocol in [LCP, IPCP] {
        for sent in [0, 1] {
            assert!(
                records.contains(&(sent, protocol)),
                "no {protocol:04x}, sent {sent}: {records:04x?}"
            );
        }
    }
    assert!(
        records
            .iter()
            .filter(|(_, protocol)| matches!(protocol, 0x21 | 0x2d | 0x2f))
            .count()
            > 10,
        "{records:04x?}"
    );

    let refused = village.run(&[
        "serve",
        "--config",
        "server.toml",
        "--capture",
        "calls.pcap",
    ]);
    assert_ne!(refused.code, Some(0));
    assert!(
        refused.stderr.contains("never overwrites"),
        "{}",
        refused.stderr
    );
}
