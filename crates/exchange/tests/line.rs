//! What the line does to octets: rate, delay, order, bounds.

mod bench;

use bench::{Bench, PAIR};
use ringup_exchange::{Event, Outcome};
use std::time::Duration;

/// Writes as much as the modem has room for; returns how many octets that was.
fn fill(bench: &mut Bench, number: &str, rest: &mut &[u8]) -> usize {
    let room = bench.exchange.room(bench.id(number)).min(rest.len());
    let (now, later) = rest.split_at(room);
    *rest = later;
    if room > 0 {
        bench.write_octets(number, now);
    }
    room
}

fn octets(count: usize) -> Vec<u8> {
    // No `+`, so that no chance of an escape.
    (0..count)
        .map(|index| b"abcdefghijklmnopqrstuvw"[index % 23])
        .collect()
}

#[test]
fn a_hundred_thousand_octets_both_ways_at_once_take_exactly_what_the_rate_says() {
    let config = PAIR
        .replace("rate = 10000", "rate = 33600")
        .replace("50ms", "60ms");
    let mut bench = Bench::set_up(&config, "ATE0S0=1");
    bench.write("201", "ATDT202\r");
    bench.wait(1000);
    bench.heard("201");
    bench.heard("202");
    let start = bench.now();
    let sent = octets(100_000);
    let (mut forth, mut back) = (&sent[..], &sent[..]);
    loop {
        fill(&mut bench, "201", &mut forth);
        fill(&mut bench, "202", &mut back);
        if !bench.step(start + Duration::from_secs(60)) {
            break;
        }
    }
    let line_time = Duration::from_nanos(1_000_000 * 1_000_000_000 / 33_600);
    assert_eq!(line_time.as_millis(), 29_761);
    for number in ["201", "202"] {
        let (last, count) = bench.last_heard(number);
        assert_eq!(count, 100_000);
        assert_eq!(
            last - start,
            line_time + Duration::from_millis(60),
            "{number}"
        );
    }
}

#[test]
fn octets_arrive_unchanged_and_in_order() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    let sent: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let mut rest = &sent[..];
    let end = bench.now() + Duration::from_secs(10);
    loop {
        fill(&mut bench, "201", &mut rest);
        if !bench.step(end) {
            break;
        }
    }
    assert_eq!(bench.heard_octets("202"), sent);
}

#[test]
fn no_octet_waits_for_more_than_twenty_milliseconds_of_others() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    let start = bench.now().as_millis();
    bench.write_octets("201", &octets(500));
    bench.wait(5000);
    let mut count = 0;
    for (at, piece) in bench.heard_at("202") {
        // The first octet of the piece had left 1 ms after those before it; it may have waited for its chunk.
        let first = start + count + 1 + 50;
        count += piece.len() as u128;
        assert!(
            at - first < 20,
            "at {at}, its first could have been there at {first}"
        );
    }
    assert_eq!(count, 500);
}

#[test]
fn the_modem_holds_what_it_is_set_to_and_what_is_too_much_is_lost_and_told() {
    let mut bench = Bench::set_up(&format!("modem_buffer = 100\n{PAIR}"), "ATE0");
    bench.connect();
    let id = bench.id("201");
    assert_eq!(bench.exchange.room(id), 100);
    bench.write_octets("201", &octets(150));
    // Twenty of the hundred have gone into the first chunk.
    assert_eq!(bench.exchange.room(id), 20);
    assert!(matches!(
        bench.events.last(),
        Some(Event::Overrun { octets: 50, .. })
    ));
    bench.wait(1000);
    assert_eq!(bench.heard_octets("202"), octets(100));
}

#[test]
fn a_dte_that_is_not_ready_stops_the_sender_and_loses_nothing() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    bench.ready("202", false);
    let sent = octets(2000);
    let mut rest = &sent[..];
    let mut taken = 0;
    let end = bench.now() + Duration::from_secs(60);
    loop {
        taken += fill(&mut bench, "201", &mut rest);
        if !bench.step(end) {
            break;
        }
    }
    assert_eq!(
        (taken, bench.heard("202").len()),
        (512, 0),
        "the buffer is all that was taken"
    );
    bench.ready("202", true);
    loop {
        fill(&mut bench, "201", &mut rest);
        if !bench.step(end + Duration::from_secs(60)) {
            break;
        }
    }
    assert_eq!(bench.heard_octets("202"), sent);
}

#[test]
fn no_carrier_comes_after_the_data_in_flight() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    let start = bench.now().as_millis();
    bench.write("201", "0123456789");
    bench.wait(10);
    bench.dtr("201", false);
    bench.wait(1000);
    let heard = [(start + 60, "0123456789\r\nNO CARRIER\r\n".to_owned())];
    assert_eq!(bench.heard_at("202"), heard);
    bench.write("202", "AT\r");
    assert_eq!(
        bench.heard("202"),
        "\r\nOK\r\n",
        "it is back in command mode"
    );
    assert_eq!(bench.records[0].octets_from_caller, 10);
}

#[test]
fn what_had_not_left_when_the_sender_hung_up_never_arrives_and_is_not_counted() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    bench.write_octets("201", &octets(100));
    bench.wait(25);
    bench.dtr("201", false);
    bench.wait(1000);
    let heard = bench.heard("202");
    assert_eq!(
        heard.strip_suffix("\r\nNO CARRIER\r\n").map(str::len),
        Some(25)
    );
    assert_eq!(bench.records[0].octets_from_caller, 25);
}

#[test]
fn both_may_hang_up_before_either_hears_of_it() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    bench.dtr("201", false);
    bench.wait(20);
    bench.dtr("202", false);
    bench.dtr("202", true);
    bench.wait(1000);
    assert_eq!(bench.heard("202"), "", "its own hang-up came first");
    assert_eq!((bench.records.len(), bench.next_deadline()), (1, None));
    bench.dtr("201", true);
    bench.connect();
}

#[test]
fn data_that_is_not_read_while_the_escape_is_on_waits_for_ato() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    bench.wait(1000);
    bench.write("201", "+++");
    bench.wait(999);
    assert_eq!(bench.heard("201"), "");
    bench.wait(1);
    assert_eq!(bench.heard("201"), "\r\nOK\r\n");
    assert_eq!(bench.heard("202"), "+++", "the far end sees it as data");
    bench.write("202", "are you there?");
    bench.wait(1000);
    bench.write("201", "ATS7?\r");
    assert_eq!(bench.heard("201"), "\r\n050\r\n\r\nOK\r\n");
    bench.write("201", "ATO\r");
    bench.wait(1000);
    assert_eq!(bench.heard("201"), "\r\nCONNECT 10000\r\nare you there?");
    bench.write("201", "yes");
    bench.wait(1000);
    assert_eq!(bench.heard("202"), "yes");
}

#[test]
fn ath_after_the_escape_hangs_up_and_a_far_hang_up_ends_it_too() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    bench.wait(1000);
    bench.write("201", "+++");
    bench.wait(1000);
    bench.write("201", "ATH\r");
    bench.wait(100);
    assert_eq!(bench.heard("201"), "\r\nOK\r\n\r\nOK\r\n");
    assert_eq!(bench.heard("202"), "+++\r\nNO CARRIER\r\n");

    bench.connect();
    bench.wait(1000);
    bench.write("201", "+++");
    bench.wait(1000);
    bench.dtr("202", false);
    bench.wait(100);
    assert_eq!(bench.heard("201"), "\r\nOK\r\n\r\nNO CARRIER\r\n");
    bench.write("201", "ATO\r");
    assert_eq!(bench.heard("201"), "\r\nNO CARRIER\r\n");
}

#[test]
fn the_escape_of_one_end_holds_the_other_so_that_what_waits_is_bounded() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    bench.wait(1000);
    bench.write("201", "+++");
    bench.wait(1000);
    let sent = octets(5000);
    let mut rest = &sent[..];
    let end = bench.now() + Duration::from_secs(60);
    let mut taken = 0;
    loop {
        taken += fill(&mut bench, "202", &mut rest);
        if !bench.step(end) {
            break;
        }
    }
    assert_eq!(taken, 512);
}

#[test]
fn an_escape_that_a_hang_up_overtook_is_forgotten_in_the_next_call() {
    let mut bench = Bench::set_up(&format!("training = \"100ms\"\n{PAIR}"), "ATE0S0=1");
    bench.write("201", "ATD202\r");
    bench.wait(1100);
    bench.write("201", "+++");
    bench.dtr("201", false);
    bench.wait(100);
    bench.dtr("201", true);
    bench.write("201", "ATD202\r");
    bench.wait(2000);
    assert!(bench.heard("201").ends_with("\r\nCONNECT 10000\r\n"));
}

#[test]
fn an_escape_without_guard_time_is_done_at_once() {
    let mut bench = Bench::set_up(PAIR, "ATE0S12=0");
    bench.connect();
    bench.write("201", "+++");
    assert_eq!(bench.heard("201"), "\r\nOK\r\n");
}

/// PAIR with changes at both stations, connected, and what was said until then forgotten.
fn connected(caller: &str, called: &str) -> Bench {
    let mut bench = Bench::set_up(PAIR, "ATE0S0=1");
    bench.set("201", caller);
    bench.set("202", called);
    bench.write("201", "ATD202\r");
    bench.wait(1000);
    assert!(bench.heard("201").contains("CONNECT"));
    bench.heard("202");
    bench
}

#[test]
fn each_direction_has_the_rate_of_its_slower_line() {
    let mut bench = connected("rate_from = 5000", "rate_from = 2000\nrate_to = 8000");
    let start = bench.now();
    bench.write_octets("201", &octets(500));
    bench.write_octets("202", &octets(500));
    bench.wait(10_000);
    // 500 octets at 5000 and at 2000 bit/s, and 50 ms on the way.
    assert_eq!((bench.last_heard("202").0 - start).as_millis(), 1050);
    assert_eq!((bench.last_heard("201").0 - start).as_millis(), 2550);
}

#[test]
fn bit_errors_are_where_they_were_set_and_the_same_in_every_run() {
    let run = |seed: &str| {
        let mut bench = Bench::set_up(&format!("seed = {seed}\n{PAIR}"), "ATE0S0=1S2=200");
        bench.set("202", "bit_errors_to = 1e-3");
        bench.write("201", "ATD202\r");
        bench.wait(1000);
        bench.heard("201");
        bench.heard("202");
        for _ in 0..20 {
            bench.write_octets("201", &[0; 500]);
            bench.write_octets("202", &[0; 500]);
            bench.wait(600);
        }
        (bench.heard_octets("202"), bench.heard_octets("201"))
    };
    let (disturbed, clean) = run("1");
    let ones: u32 = disturbed.iter().map(|octet| octet.count_ones()).sum();
    assert_eq!((disturbed.len(), clean), (10_000, vec![0; 10_000]));
    assert!((40..140).contains(&ones), "{ones} of 80,000 bits");
    assert_eq!(run("1").0, disturbed);
    assert_ne!(run("2").0, disturbed);
}

#[test]
fn jitter_delays_and_never_reorders() {
    let mut bench = connected("", "jitter = \"200ms\"");
    let start = bench.now();
    bench.write_octets("201", &octets(500));
    bench.wait(5000);
    let heard = bench.heard_at("202");
    let mut arrived = 0;
    let late = heard.iter().map(|(at, text)| {
        arrived += text.len() as u128;
        // 1 ms of line for an octet, 50 ms on the way; the last of those that come together came in time at best.
        at - start.as_millis() - 50 - arrived
    });
    let late: Vec<_> = late.collect();
    assert!(
        late.iter().all(|late| *late <= 201) && late.iter().any(|late| *late > 20),
        "{late:?}"
    );
    let whole: String = heard.into_iter().map(|(_, text)| text).collect();
    assert_eq!(whole.as_bytes(), octets(500));
}

#[test]
fn a_line_that_loops_back_gives_its_sender_what_it_sends_a_round_trip_later() {
    let mut bench = connected("echo = true", "");
    let start = bench.now().as_millis();
    bench.write("201", "hello");
    bench.wait(1000);
    assert_eq!(bench.heard_at("201"), [(start + 105, "hello".to_owned())]);
    assert_eq!(bench.heard_at("202"), [(start + 55, "hello".to_owned())]);
}

#[test]
fn an_echo_waits_for_a_sender_that_does_not_read_in_bounds() {
    let mut bench = connected("echo = true", "");
    bench.ready("201", false);
    let id = bench.id("201");
    let mut sent = 0;
    for _ in 0..100 {
        let room = bench.exchange.room(id);
        bench.write_octets("201", &octets(room));
        sent += room;
        bench.wait(1000);
    }
    assert!(sent <= 1024, "{sent} octets went out to come back");
    bench.ready("201", true);
    bench.wait(10_000);
    assert_eq!(bench.heard_octets("201").len(), sent);
}

#[test]
fn a_call_is_cut_at_exactly_the_octet_or_the_time_that_was_set() {
    let mut bench = connected("", "cut_after_octets = 700");
    bench.write_octets("201", &octets(500));
    bench.wait(2000);
    bench.write_octets("202", &octets(500));
    bench.wait(5000);
    let heard = bench.heard("201");
    assert_eq!(
        heard.strip_suffix("\r\nNO CARRIER\r\n").map(str::len),
        Some(200)
    );
    assert_eq!(bench.records[0].outcome, Outcome::Cut);

    let mut bench = connected("cut_after = \"3s\"", "cut_after = \"30s\"");
    let start = bench.now().as_millis();
    bench.wait(60_000);
    assert_eq!(
        bench.heard_at("201"),
        [(start + 3000 + 1400, "\r\nNO CARRIER\r\n".to_owned())]
    );
    assert_eq!(
        (bench.records[0].outcome, bench.records[0].billed_seconds),
        (Outcome::Cut, 4)
    );
}

/// As in an exchange that looks at the called line when it has all digits.
#[test]
fn of_two_stations_that_are_dialling_each_other_the_first_to_finish_hears_busy_and_is_then_rung() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    for number in ["201", "202"] {
        bench.set(number, "dialling = \"500ms\"");
    }
    bench.write("201", "ATD202\r");
    bench.write("202", "ATD201\r");
    bench.wait(1000);
    assert_eq!(bench.heard("201"), "\r\nBUSY\r\n\r\nRING\r\n");
    bench.write("201", "ATA\r");
    bench.wait(1000);
    assert_eq!(bench.heard("202"), "\r\nCONNECT 10000\r\n");
}

#[test]
fn of_two_stations_that_dial_each_other_without_dialling_time_the_first_wins() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "ATD202\r");
    bench.write("202", "ATD201\r");
    assert_eq!(bench.heard("202"), "\r\nRING\r\n\r\nNO DIALTONE\r\n");
    bench.wait(1);
    bench.write("202", "ATA\r");
    bench.wait(1000);
    assert_eq!(bench.heard("201"), "\r\nCONNECT 10000\r\n");
}

#[test]
fn a_line_can_be_without_dial_tone_busy_out_of_service_or_never_train() {
    let mut bench = Bench::set_up(PAIR, "ATE0S0=1");
    bench.set("201", "no_dial_tone = true");
    bench.write("201", "ATD202\r");
    assert_eq!(bench.heard("201"), "\r\nNO DIALTONE\r\n");
    bench.set("201", "no_dial_tone = false");
    for (setting, result, outcome) in [
        ("busy = true", "BUSY", Outcome::Busy),
        (
            "busy = false\nout_of_service = true",
            "NO CARRIER",
            Outcome::OutOfService,
        ),
        (
            "out_of_service = false\ntraining_fails = true",
            "NO CARRIER",
            Outcome::NoCarrier,
        ),
    ] {
        bench.set("202", setting);
        bench.write("201", "ATD202\r");
        bench.wait(51_000);
        assert_eq!(bench.heard("201"), format!("\r\n{result}\r\n"), "{setting}");
        assert_eq!(
            bench.records.pop().map(|record| record.outcome),
            Some(outcome),
            "{setting}"
        );
    }
}
