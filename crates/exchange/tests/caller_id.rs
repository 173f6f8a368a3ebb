//! When a called station receives caller ID, and in which format.

mod bench;

use bench::{Bench, PAIR};

/// What 202 is told from the first second of a call, with the time of each piece.
fn told(line: &str, called: &str, caller: &str, dialled: &str) -> Vec<(u128, String)> {
    let mut bench = Bench::set_up(PAIR, line);
    bench.set("201", caller);
    bench.set("202", called);
    bench.heard("202");
    bench.write("201", &format!("ATD{dialled}\r"));
    bench.wait(12_000);
    bench
        .heard_at("202")
        .into_iter()
        .map(|(at, text)| (at, text.replace("\r\n\r\n", "|").replace("\r\n", "")))
        .collect()
}

fn pieces(wanted: &[(u128, &str)]) -> Vec<(u128, String)> {
    wanted
        .iter()
        .map(|(at, text)| (*at, (*text).to_owned()))
        .collect()
}

const SHOWN: &str = "DATE = 1122|TIME = 1930|NMBR = 201";

#[test]
fn american_timing_gives_the_number_after_the_first_ring() {
    let wanted = pieces(&[(0, "RING"), (600, SHOWN), (6000, "RING"), (12_000, "RING")]);
    assert_eq!(told("ATE0+VCID=1", "", "", "202"), wanted);
}

#[test]
fn british_timing_gives_the_number_before_the_first_ring() {
    let wanted = pieces(&[(600, SHOWN), (1200, "RING"), (7200, "RING")]);
    assert_eq!(
        told("ATE0+VCID=1", "caller_id_timing = \"uk\"", "", "202"),
        wanted
    );
}

#[test]
fn japanese_timing_gives_short_rings_then_the_number_then_the_rings_that_count() {
    let wanted = pieces(&[(0, "RING"), (600, SHOWN), (1600, "RING"), (7600, "RING")]);
    assert_eq!(
        told("ATE0+VCID=1", "caller_id_timing = \"japan\"", "", "202"),
        wanted
    );
    let two = "caller_id_timing = \"japan\"\nodd_rings = 2";
    let wanted = pieces(&[
        (0, "RING"),
        (1000, "RING"),
        (1600, SHOWN),
        (2600, "RING"),
        (8600, "RING"),
    ]);
    assert_eq!(told("ATE0+VCID=1", two, "", "202"), wanted);
}

#[test]
fn a_short_ring_is_no_ring_for_s0_or_the_record() {
    let mut bench = Bench::set_up(PAIR, "ATE0S0=1");
    bench.set("202", "caller_id_timing = \"japan\"");
    bench.write("201", "ATD202\r");
    bench.wait(1599);
    bench.shown_at("202");
    bench.wait(2000);
    bench.cut("201");
    assert_eq!(
        (bench.records[0].rings, bench.records[0].answered.is_some()),
        (1, true)
    );
    assert_eq!(
        bench.shown_at("202")[0],
        (1600, "R"),
        "answered at the first ring that counts"
    );
}

#[test]
fn isdn_and_mobiles_are_told_at_once() {
    assert_eq!(
        told("ATE0+VCID=1", "modem = \"isdn\"", "", "202")[..2],
        pieces(&[(0, "RING"), (0, SHOWN)])
    );
}

#[test]
fn absence_names_and_spacing_are_as_v253_writes_them() {
    let last = |called: &str, caller: &str| told("ATE0+VCID=1", called, caller, "202")[1].1.clone();
    assert_eq!(
        last("", "withheld = true"),
        "DATE = 1122|TIME = 1930|NMBR = P"
    );
    assert_eq!(
        last("", "unavailable = true"),
        "DATE = 1122|TIME = 1930|NMBR = O"
    );
    assert_eq!(
        last("", "presents = \"0661234567\""),
        "DATE = 1122|TIME = 1930|NMBR = 0661234567"
    );
    let tight = last(
        "caller_id_spacing = \"tight\"",
        "name = \"WIRELESS CALLER\"",
    );
    assert_eq!(tight, "DATE=1122|TIME=1930|NMBR=201|NAME=WIRELESS CALLER");
}

#[test]
fn unformatted_is_the_packet_in_hexadecimal() {
    let caller = "presents = \"0661234567\"\nname = \"PUSH SERVER\"";
    let packet = "802301083131323231393330020A30363631323334353637070B505553482053455256455264";
    assert_eq!(
        told("ATE0+VCID=2", "", caller, "202")[1],
        (600, packet.to_owned())
    );
}

#[test]
fn an_alias_rings_in_its_own_way_and_reaches_the_same_line() {
    let config = PAIR.replacen(
        "number = \"202\"",
        "number = \"202\"\naliases = { \"2021\" = \"A\", \"2022\" = \"B\" }",
        1,
    );
    for (dialled, ring) in [("202", "RING"), ("2021", "RING A"), ("2022", "RING B")] {
        let mut bench = Bench::set_up(&config, "ATE0S0=1");
        bench.write("201", &format!("ATD{dialled}\r"));
        bench.wait(2000);
        assert!(
            bench.heard("202").starts_with(&format!("\r\n{ring}\r\n")),
            "{dialled}"
        );
        assert_eq!(bench.heard("201"), "\r\nCONNECT 10000\r\n");
        bench.write("202", "+++");
        bench.dtr("201", false);
        assert_eq!(bench.records[0].called, dialled);
    }
}
