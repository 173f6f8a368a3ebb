//! Calls from the last digit to the record, as the two DTEs and the telephone company see them.

mod bench;

use bench::{Bench, PAIR};
use ringup_exchange::{CallRecord, EndedBy, Event, Outcome};

fn told(pieces: &[(u128, &str)]) -> Vec<(u128, String)> {
    pieces
        .iter()
        .map(|(at, text)| (*at, (*text).to_owned()))
        .collect()
}

fn only_record(bench: &Bench) -> &CallRecord {
    let [record] = &bench.records[..] else {
        panic!("one record, not {:?}", bench.records)
    };
    record
}

#[test]
fn a_call_rings_presents_its_caller_is_answered_carries_data_and_is_billed() {
    let mut bench = Bench::set_up(PAIR, "ATE0+VCID=1");
    bench.write("201", "ATDT202\r");
    bench.wait(7000);
    let number = "\r\nDATE = 1122\r\n\r\nTIME = 1930\r\n\r\nNMBR = 201\r\n";
    assert_eq!(
        bench.heard_at("202"),
        told(&[(0, "\r\nRING\r\n"), (600, number), (6000, "\r\nRING\r\n")])
    );
    assert_eq!(bench.heard_at("201"), []);
    bench.write("202", "ATA\r");
    bench.wait(1000);
    let connected = told(&[(8000, "\r\nCONNECT 10000\r\n")]);
    assert_eq!(
        (bench.heard_at("201"), bench.heard_at("202")),
        (connected.clone(), connected)
    );
    // Ten octets are 10 ms of line, then 50 ms on the way.
    bench.write("201", "question??");
    bench.write("202", "yes");
    bench.wait(1000);
    assert_eq!(bench.heard_at("202"), told(&[(8060, "question??")]));
    assert_eq!(bench.heard_at("201"), told(&[(8053, "yes")]));
    bench.dtr("202", false);
    bench.wait(1000);
    assert_eq!(bench.heard_at("201"), told(&[(9050, "\r\nNO CARRIER\r\n")]));
    assert_eq!(bench.heard_at("202"), []);
    assert_eq!(bench.next_deadline(), None, "nothing is left of the call");

    let record = only_record(&bench);
    assert_eq!(
        (record.caller.as_str(), record.called.as_str()),
        ("201", "202")
    );
    assert_eq!(record.presented.as_deref(), Some("201"));
    assert_eq!(
        (record.outcome, record.ended_by),
        (Outcome::Completed, EndedBy::Called)
    );
    assert_eq!(
        (
            record.rings,
            record.octets_from_caller,
            record.octets_from_called
        ),
        (2, 10, 3)
    );
    assert_eq!(record.billed_seconds, 2, "from 7 s to 9 s");
    assert_eq!(record.flights, 2, "what is shorter is there first");
    let times = [
        Some(record.placed),
        record.answered,
        record.connected,
        Some(record.ended),
    ];
    let times = times.map(|at| at.unwrap().to_string().replace("2026-11-22T19:30:", ""));
    assert_eq!(times, ["00Z", "07Z", "08Z", "09Z"]);
    assert!(matches!(
        &bench.events[..],
        [
            Event::Ringing { .. },
            Event::Answered { .. },
            Event::Connected { .. }
        ]
    ));
}

#[test]
fn the_direction_changes_when_the_other_one_is_idle_and_not_with_every_octet() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    bench.write("201", "how much is left?");
    bench.wait(1000);
    bench.write("202", "three bottles");
    bench.wait(1000);
    // 100 ms of line, and something from the other end all the while.
    bench.write("201", &"x".repeat(100));
    for _ in 0..10 {
        bench.write("202", "y");
        bench.wait(10);
    }
    bench.wait(1000);
    bench.dtr("201", false);
    bench.wait(1000);
    let record = only_record(&bench);
    assert_eq!(
        (
            record.octets_from_caller,
            record.octets_from_called,
            record.flights
        ),
        (117, 23, 3)
    );
}

#[test]
fn a_second_begun_is_billed_and_time_counts_from_the_answer_to_the_first_hang_up() {
    for (talk, billed) in [(999, 2), (1000, 2), (1001, 3)] {
        let mut bench = Bench::set_up(PAIR, "ATE0");
        bench.connect();
        bench.wait(talk);
        bench.dtr("201", false);
        bench.wait(10_000);
        assert_eq!(
            only_record(&bench).billed_seconds,
            billed,
            "1 s of training and {talk} ms"
        );
        assert_eq!(only_record(&bench).ended_by, EndedBy::Caller);
    }
}

#[test]
fn a_station_in_a_call_or_ringing_or_off_hook_or_calling_itself_is_busy() {
    let config = format!("{PAIR}\n[[station]]\nnumber = \"203\"\nmemory = true\n");
    let mut bench = Bench::set_up(&config, "ATE0");
    bench.write("203", "ATDT203\r");
    assert_eq!(bench.heard("203"), "\r\nBUSY\r\n");
    bench.write("201", "ATDT202\r");
    bench.write("203", "ATDT202\r");
    assert_eq!(bench.heard("203"), "\r\nBUSY\r\n", "202 rings");
    bench.write("203", "ATDT201\r");
    assert_eq!(bench.heard("203"), "\r\nBUSY\r\n", "201 is calling");
    bench.write("202", "ATA\r");
    bench.wait(2000);
    bench.write("203", "ATDT202\r");
    assert_eq!(bench.heard("203"), "\r\nBUSY\r\n", "202 is connected");
    bench.dtr("201", false);
    bench.wait(49);
    bench.write("203", "ATDT202\r");
    assert_eq!(
        bench.heard("203"),
        "\r\nBUSY\r\n",
        "202 has not heard of the hang-up"
    );
    bench.wait(10);
    bench.write("202", "ATH1\r");
    bench.write("203", "ATDT202\r");
    assert_eq!(bench.heard("203"), "\r\nBUSY\r\n", "202 is off hook");
    bench.write("202", "ATH\r");
    bench.write("203", "ATDT202\r");
    assert_eq!(bench.heard("203"), "", "202 is free");
    assert_eq!(
        bench
            .records
            .iter()
            .filter(|record| record.outcome == Outcome::Busy)
            .count(),
        6
    );
    assert!(
        bench
            .records
            .iter()
            .filter(|record| record.outcome == Outcome::Busy)
            .all(|busy| busy.billed_seconds == 0)
    );
}

#[test]
fn no_answer_comes_after_s7_or_the_exchanges_patience_whichever_is_shorter() {
    for (setting, after, rings, ended_by) in [
        ("ATE0S7=13", 13_000, 3, EndedBy::Caller),
        ("ATE0", 50_000, 9, EndedBy::Caller),
        ("ATE0S7=90", 60_000, 10, EndedBy::Exchange),
        ("ATE0S7=0", 60_000, 10, EndedBy::Exchange),
    ] {
        let mut bench = Bench::set_up(PAIR, setting);
        bench.write("201", "ATDT202\r");
        bench.wait(120_000);
        assert_eq!(
            bench.heard_at("201"),
            told(&[(after, "\r\nNO ANSWER\r\n")]),
            "{setting}"
        );
        assert_eq!(
            bench.heard("202"),
            "\r\nRING\r\n".repeat(rings),
            "{setting}"
        );
        let record = only_record(&bench);
        assert_eq!(
            (record.outcome, record.ended_by),
            (Outcome::NoAnswer, ended_by)
        );
        assert_eq!((record.billed_seconds, record.answered), (0, None));
    }
}

#[test]
fn an_unknown_number_and_a_station_out_of_service_give_no_carrier() {
    let config = format!(
        "{PAIR}\n[[station]]\nnumber = \"+4930123\"\nout_of_service = true\nmemory = true\n"
    );
    let mut bench = Bench::set_up(&config, "ATE0");
    for (dialled, outcome) in [
        ("999", Outcome::UnknownNumber),
        ("+4930123", Outcome::OutOfService),
    ] {
        bench.write("201", &format!("ATDT{dialled}\r"));
        assert_eq!(bench.heard("201"), "\r\nNO CARRIER\r\n");
        let record = bench.records.pop().unwrap();
        assert_eq!((record.outcome, record.called.as_str()), (outcome, dialled));
    }
    bench.write("+4930123", "ATDT201\r");
    assert_eq!(bench.heard("+4930123"), "\r\nNO DIALTONE\r\n");
    assert_eq!(
        (bench.heard("201"), bench.records.len()),
        (String::new(), 0)
    );
}

#[test]
fn what_a_caller_presents_is_its_number_another_or_p_or_nothing() {
    for (setting, shown) in [
        ("", Some("NMBR = 666")),
        ("withheld = true", Some("NMBR = P")),
        ("presents = \"0661234567\"", Some("NMBR = 0661234567")),
        ("caller_id = false", None),
    ] {
        let config = format!("{PAIR}\n[[station]]\nnumber = \"666\"\nmemory = true\n{setting}\n");
        let mut bench = Bench::set_up(&config, "ATE0#CID=1");
        bench.write("666", "ATDT202\r");
        bench.wait(13_000);
        let heard = bench.heard("202");
        let lines: Vec<_> = heard.lines().filter(|line| line.contains('=')).collect();
        let wanted: Vec<_> = shown
            .map(|number| ["DATE = 1122", "TIME = 1930", number])
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(lines, wanted, "{setting}");
        assert_eq!(heard.matches("RING").count(), 3);
    }
}

#[test]
fn caller_id_is_shown_only_while_it_is_switched_on_and_a_reset_forgets_it() {
    for (setting, is_shown) in [
        ("AT", false),
        ("AT+VCID=1", true),
        ("AT#CID=1", true),
        ("AT+VCID=1;+VCID=0", false),
        ("AT+VCID=1;&F", false),
        ("AT+VCID=1\rATZ", false),
    ] {
        let mut bench = Bench::set_up(PAIR, setting);
        bench.write("201", "ATDT202\r");
        bench.wait(7000);
        assert_eq!(bench.heard("202").contains("NMBR"), is_shown, "{setting}");
    }
}

#[test]
fn ringing_stops_when_the_caller_presses_a_key_but_not_for_the_line_feed_after_its_command() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "ATDT202\r");
    bench.wait(124);
    bench.write("201", "\n");
    bench.wait(6000);
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        (String::new(), "\r\nRING\r\n".repeat(2))
    );
    bench.write("201", "x");
    assert_eq!(bench.heard("201"), "\r\nNO CARRIER\r\n");
    bench.wait(60_000);
    assert_eq!(bench.heard("202"), "");
    assert_eq!(only_record(&bench).outcome, Outcome::Abandoned);
    bench.write("202", "ATA\r");
    assert_eq!(
        bench.heard("202"),
        "\r\nNO CARRIER\r\n",
        "there is no call to answer"
    );
}

#[test]
fn a_key_during_training_hangs_up_and_the_call_is_billed() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "ATDT202\r");
    bench.wait(1000);
    bench.write("202", "ATA\r");
    bench.wait(500);
    bench.write("201", "x");
    bench.wait(100);
    assert_eq!(bench.heard("201"), "\r\nNO CARRIER\r\n");
    assert_eq!(bench.heard("202"), "\r\nRING\r\n\r\nNO CARRIER\r\n");
    let record = only_record(&bench);
    assert_eq!(
        (record.outcome, record.billed_seconds),
        (Outcome::NoCarrier, 1)
    );
}

#[test]
fn dtr_off_cancels_dialling_pauses_and_calls() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "ATDT,,202\r");
    bench.wait(3999);
    bench.dtr("201", false);
    bench.wait(10_000);
    assert_eq!(
        (bench.heard("202"), bench.records.len()),
        (String::new(), 0),
        "nothing was dialled yet"
    );
    bench.dtr("201", true);
    bench.write("201", "ATDT,,202\r");
    bench.wait(4000);
    assert_eq!(bench.heard("202"), "\r\nRING\r\n");
    bench.dtr("201", false);
    bench.wait(10_000);
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        (String::new(), String::new())
    );
    assert_eq!(only_record(&bench).outcome, Outcome::Abandoned);
}

#[test]
fn a_station_whose_dte_is_closed_rings_unheard_and_the_caller_gets_no_answer() {
    let mut bench = Bench::set_up(PAIR, "ATE0S0=1");
    bench.dtr("202", false);
    bench.write("201", "ATDT202\r");
    bench.wait(60_000);
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        ("\r\nNO ANSWER\r\n".to_owned(), String::new())
    );
    assert_eq!(only_record(&bench).rings, 9);
}

#[test]
fn a_dte_that_opens_while_it_rings_hears_the_next_ring_and_can_answer() {
    let mut bench = Bench::set_up(PAIR, "ATE0+VCID=1");
    bench.dtr("202", false);
    bench.write("201", "ATDT202\r");
    bench.wait(1000);
    bench.dtr("202", true);
    bench.wait(5000);
    assert_eq!(
        bench.heard("202"),
        "\r\nRING\r\n",
        "the number came while nobody listened"
    );
    bench.write("202", "ATA\r");
    bench.wait(1000);
    assert_eq!(bench.heard("201"), "\r\nCONNECT 10000\r\n");
}

#[test]
fn s0_answers_at_its_ring() {
    let mut bench = Bench::set_up(PAIR, "ATE0S0=2");
    bench.write("201", "ATDT202\r");
    bench.wait(20_000);
    let heard = told(&[
        (0, "\r\nRING\r\n"),
        (6000, "\r\nRING\r\n"),
        (7000, "\r\nCONNECT 10000\r\n"),
    ]);
    assert_eq!(bench.heard_at("202"), heard);
}

#[test]
fn training_takes_what_the_answering_station_takes_and_s7_gives_up_on_it() {
    let config = format!("{PAIR}\ntraining = \"12s\"\n");
    let mut bench = Bench::set_up(&config, "ATE0S0=1");
    bench.write("201", "ATDT202\r");
    bench.wait(30_000);
    assert_eq!(
        bench.heard_at("201"),
        told(&[(12_000, "\r\nCONNECT 10000\r\n")])
    );

    let mut bench = Bench::set_up(&config, "ATE0S0=1");
    bench.write("202", "ATS7=5\r");
    bench.write("201", "ATDT202\r");
    bench.wait(30_000);
    assert_eq!(bench.heard_at("201"), told(&[(5050, "\r\nNO CARRIER\r\n")]));
    let record = only_record(&bench);
    assert_eq!(
        (record.outcome, record.ended_by, record.billed_seconds),
        (Outcome::NoCarrier, EndedBy::Called, 5)
    );
}

#[test]
fn a_voice_call_rings_and_stays_in_command_state() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "ATDT202;\r");
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        ("\r\nOK\r\n".into(), "\r\nRING\r\n".into())
    );
    bench.wait(1000);
    bench.write("201", "ATH\r");
    bench.wait(10_000);
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        ("\r\nOK\r\n".into(), String::new())
    );
    assert_eq!(only_record(&bench).outcome, Outcome::Abandoned);
}

#[test]
fn a_cut_line_takes_the_carrier_from_both_ends_and_each_modem_waits_its_s10_for_it() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.connect();
    bench.wait(1000);
    bench.write("202", "+++");
    bench.wait(1000);
    bench.write("202", "ATS10=3O\r");
    bench.heard("202");
    bench.heard("201");
    bench.write("201", "lost on the way");
    bench.wait(20);
    bench.cut("202");
    let cut = bench.now().as_millis();
    bench.wait(2000);
    assert_eq!(
        bench.heard_at("201"),
        told(&[(cut + 1400, "\r\nNO CARRIER\r\n")])
    );
    assert_eq!(
        bench.heard_at("202"),
        told(&[(cut + 300, "\r\nNO CARRIER\r\n")])
    );
    let record = only_record(&bench);
    assert_eq!(
        (record.outcome, record.ended_by, record.billed_seconds),
        (Outcome::Cut, EndedBy::Exchange, 4)
    );
    bench.connect();
}

#[test]
fn the_same_inputs_give_the_same_run() {
    let run = || {
        let mut bench = Bench::set_up(PAIR, "ATE0S0=1");
        bench.write("201", "ATDT202\r");
        bench.wait(1500);
        bench.write("201", "to and");
        bench.write("202", "fro");
        bench.wait(1500);
        bench.dtr("201", false);
        bench.wait(1500);
        (bench.heard_at("201"), bench.heard_at("202"), bench.records)
    };
    assert_eq!(run(), run());
}

#[test]
fn a_call_is_billed_by_the_tariff_of_its_callers_line_and_a_ring_is_free() {
    let tariff = "tariff = \"ntt\"\n[tariff.ntt]\nsetup_fee = \"1\"\n[[tariff.ntt.window]]\nunit_ms = 22500\nprice = \"10\"\n";
    let config = PAIR.replacen("number = \"201\"", "number = \"201\"\ntariff = \"ntt\"", 1)
        + tariff.split_once('\n').unwrap().1;
    let mut bench = Bench::set_up(&config, "ATE0");
    bench.connect();
    bench.wait(22_000);
    bench.dtr("201", false);
    bench.wait(1000);
    bench.dtr("201", true);
    bench.write("201", "ATD202\r");
    bench.wait(60_000);
    bench.write("202", "ATD201\r");
    let bills: Vec<_> = bench
        .records
        .iter()
        .map(|record| record.bill.as_ref().map(|bill| bill.micros.0))
        .collect();
    assert_eq!(bills, [Some(21_000_000), Some(0)], "23 s are two units");
    bench.write("201", "ATA\r");
    bench.wait(2000);
    bench.dtr("202", false);
    assert_eq!(
        bench.records.last().unwrap().bill,
        None,
        "202 has no tariff"
    );
}

#[test]
fn a_call_of_a_class_of_its_own_is_billed_by_that_and_the_month_adds_up() {
    let tariffs = "[tariff.usual]\n[[tariff.usual.window]]\nunit_ms = 1000\nprice = \"1\"\n[tariff.usual.month]\nfloor = \"5\"\n\
        [[tariff.usual.class]]\nprefix = \"20\"\nrate_max = 100\ntariff = \"slow\"\n\
        [[tariff.usual.class]]\nprefix = \"202\"\ntariff = \"dear\"\n\
        [tariff.slow]\n[tariff.dear]\nsetup_fee = \"100\"\n[tariff.dear.month]\ncap = \"150\"\n";
    let config = PAIR.replacen(
        "number = \"201\"",
        "number = \"201\"\ntariff = \"usual\"",
        1,
    ) + tariffs;
    let mut bench = Bench::set_up(&config, "ATE0");
    for _ in 0..2 {
        bench.connect();
        bench.wait(1000);
        bench.dtr("201", false);
        bench.wait(1000);
        bench.dtr("201", true);
    }
    let bill = bench.records.last().unwrap().bill.clone().unwrap();
    assert_eq!((bill.tariff.as_str(), bill.micros.0), ("dear", 100_000_000));
    let bills = bench.exchange.bills();
    let [month] = &bills[..] else {
        panic!("{bills:?}")
    };
    assert_eq!(
        (
            month.number.as_str(),
            month.calls,
            month.micros.0,
            month.due.0
        ),
        ("201", 2, 200_000_000, 150_000_000)
    );
}

#[test]
fn a_program_that_dials_in_a_loop_makes_a_record_a_second_until_it_is_answered() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    let dial = |bench: &mut Bench, times: usize, milliseconds: u64| {
        for _ in 0..times {
            bench.write("201", "ATDT999\r");
            bench.wait(milliseconds);
        }
        std::mem::take(&mut bench.records).len()
    };
    assert_eq!(
        dial(&mut bench, 100, 10),
        100,
        "as fast as it likes, for a while"
    );
    assert_eq!(
        dial(&mut bench, 1000, 10),
        0,
        "what comes while it waits for the dial tone ends the attempt"
    );
    bench.wait(2000);
    bench.records.clear();
    assert_eq!(dial(&mut bench, 10, 1000), 10, "one a second");
    bench.write("201", "ATDT202\r");
    bench.wait(1500);
    bench.write("202", "ATA\r");
    bench.wait(1000);
    bench.dtr("201", false);
    bench.wait(1000);
    bench.dtr("201", true);
    bench.records.clear();
    assert_eq!(dial(&mut bench, 90, 10), 90, "it was answered");
}
