//! The virtual modem as a DTE sees it, and as hostile octets do.

mod bench;

use bench::{Bench, PAIR};
use proptest::prelude::*;

fn answer(line: &str) -> String {
    let mut bench = Bench::new(PAIR);
    bench.write("201", line);
    bench.heard("201")
}

#[test]
fn the_modem_echoes_until_it_is_told_not_to() {
    assert_eq!(answer("AT\r"), "AT\r\r\nOK\r\n");
    assert_eq!(answer("ATE0\rAT\r"), "ATE0\r\r\nOK\r\n\r\nOK\r\n");
    assert_eq!(
        answer("ATE0\rATE1\rat\r"),
        "ATE0\r\r\nOK\r\n\r\nOK\r\nat\r\r\nOK\r\n"
    );
}

#[test]
fn results_are_words_numbers_or_nothing() {
    assert_eq!(answer("ATE0V0\r"), "ATE0V0\r0\r");
    assert_eq!(answer("ATE0V0Q1\rATY\r"), "ATE0V0Q1\r");
    assert_eq!(answer("ATE0V0\rATY\r"), "ATE0V0\r0\r4\r");
    let mut bench = Bench::set_up(PAIR, "ATE0V0");
    for (line, code) in [("ATD9\r", "3\r"), ("ATD201\r", "7\r")] {
        bench.write("201", line);
        assert_eq!(bench.heard("201"), code);
    }
    bench.write("201", "ATS7=1D202\r");
    bench.wait(1000);
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        ("8\r".to_owned(), "2\r".to_owned())
    );
    bench.write("202", "ATS0=1\r");
    bench.heard("202");
    bench.write("201", "ATS7=50D202\r");
    bench.wait(1000);
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        ("1\r".to_owned(), "2\r1\r".to_owned())
    );
}

#[test]
fn x_says_how_much_of_the_call_progress_is_told() {
    for (level, busy, connect) in [
        (0, "NO CARRIER", "CONNECT"),
        (1, "NO CARRIER", "CONNECT 10000"),
        (2, "NO CARRIER", "CONNECT 10000"),
        (3, "BUSY", "CONNECT 10000"),
        (4, "BUSY", "CONNECT 10000"),
    ] {
        let mut bench = Bench::set_up(PAIR, &format!("ATE0S0=1X{level}"));
        // Without a dial tone to wait for, a modem waits S6.
        let blind = if [0, 1, 3].contains(&level) { 2000 } else { 0 };
        bench.write("201", "ATD201\r");
        bench.wait(blind.max(1) - 1);
        assert_eq!(bench.heard("201").is_empty(), blind > 0, "X{level}");
        bench.wait(1);
        bench.write("201", "ATS6=0\rATD201\r");
        bench.wait(2000);
        assert!(
            bench.heard("201").ends_with(&format!("\r\n{busy}\r\n")),
            "X{level}"
        );
        bench.write("201", "ATS6=3D202\r");
        bench.wait(if blind > 0 { 4000 } else { 1000 });
        assert_eq!(bench.heard("201"), format!("\r\n{connect}\r\n"), "X{level}");
    }
}

#[test]
fn what_a_driver_sends_at_start_is_taken_and_what_is_unknown_is_an_error() {
    for line in [
        "AT",
        "ATZ",
        "AT&F&C1&D2&K3",
        "AT&F1&H1&R2&B1",
        "AT+MS=V22B,0",
        "AT+ES=3,0,2;+DS=3;+MR=0",
        "AT\\N3%C0W2",
        "ATS153=1S30=0",
        "AT+FCLASS=0",
        "AT+GMM;+GMI;+GCAP",
        "AT&V",
        "ATI3I4",
        "AT#CID=2",
        "ATM0L1X4",
        "ATS0=0S2=43S7=60S12=50",
        "AT+VCID=1",
        "AT#CID=0",
        "ATI",
    ] {
        assert!(
            answer(&format!("ATE0\r{line}\r")).ends_with("\r\nOK\r\n"),
            "{line}"
        );
    }
    for line in [
        "ATY",
        "AT+FOO=1",
        "ATS99=1",
        "ATS3=200",
        "ATE0S0=0B9",
        "AT+VCID=3",
        "AT+CLIP=1",
        "AT+FCLASS=1",
    ] {
        assert!(
            answer(&format!("ATE0\r{line}\r")).ends_with("\r\nERROR\r\n"),
            "{line}"
        );
    }
    assert_eq!(
        answer("ATE0\rATS0=3S0?S7?\rAT+VCID?\r"),
        "ATE0\r\r\nOK\r\n\r\n003\r\n\r\n050\r\n\r\nOK\r\n\r\n+VCID: 0\r\n\r\nOK\r\n"
    );
}

#[test]
fn commands_before_an_unknown_one_have_their_effect_and_z_resets() {
    assert_eq!(
        answer("ATE0YE1\rAT\r"),
        "ATE0YE1\r\r\nERROR\r\n\r\nOK\r\n",
        "E0 was done, E1 was not"
    );
    assert_eq!(
        answer("ATE0S0=5\rATZE0\rATS0?\r"),
        "ATE0S0=5\r\r\nOK\r\n\r\nOK\r\nATS0?\r\r\n000\r\n\r\nOK\r\n"
    );
}

#[test]
fn a_command_may_come_in_any_pieces_and_again_with_a_slash() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    for piece in ["a", "T", "S0", "=", "", "2S", "0?", "\r"] {
        bench.write("201", piece);
        bench.wait(300);
    }
    assert_eq!(bench.heard("201"), "\r\n002\r\n\r\nOK\r\n");
    bench.write("201", "A");
    bench.write("201", "/");
    assert_eq!(bench.heard("201"), "\r\n002\r\n\r\nOK\r\n");
}

#[test]
fn a_dte_that_comes_back_finds_its_settings_but_not_its_half_typed_line() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "ATS0=");
    bench.dtr("201", false);
    bench.write("201", "7\r");
    bench.dtr("201", true);
    bench.write("201", "1\rATS0?\r");
    assert_eq!(bench.heard("201"), "\r\n000\r\n\r\nOK\r\n");
}

#[test]
fn a_dte_that_does_not_read_is_not_answered_without_end() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.ready("201", false);
    let id = bench.id("201");
    let mut written = 0;
    while bench.exchange.room(id) > 0 {
        bench.write("201", "ATI\r");
        written += 1;
        assert!(written < 1000, "the modem goes on taking commands");
    }
    for _ in 0..1000 {
        bench.write("202", "ATD201\r");
        bench.wait(200);
        bench.write("202", "x");
    }
    bench.ready("201", true);
    let heard = bench.heard("201");
    assert!(
        heard.len() < 1100 && !heard.contains("RING"),
        "{}",
        heard.len()
    );
    assert_eq!(bench.exchange.room(id), 512);
    bench.ready("201", false);
    bench.write("201", &"ATI\r".repeat(10_000));
    bench.ready("201", true);
    assert!(
        bench.heard("201").len() < 1100,
        "also if the room is not respected"
    );
}

#[derive(Clone, Debug)]
enum Step {
    Write(bool, Vec<u8>),
    Dtr(bool, bool),
    Ready(bool, bool),
    Cut(bool),
    DtrSignal(bool, bool),
    Set(bool, &'static str),
    Wait(u64),
}

/// Changes of a station in mid-run, and what takes all of them back.
const SETTINGS: &[&str] = &[
    "modem = \"gsm\"",
    "modem = \"isdn\"",
    "caller_id_timing = \"uk\"",
    "caller_id_timing = \"japan\"\nodd_rings = 2",
    "busy = true",
    "echo = true\njitter = \"1s\"\nbit_errors_to = 0.5",
    "cut_after = \"10ms\"",
    "cut_after_octets = 3",
    "dialling = \"1s\"\nrate_to = 50",
    "training_fails = true",
    "no_dial_tone = true\nwithheld = true",
];
const ORDINARY: &str = "modem = \"analogue\"\ncaller_id_timing = \"us\"\nbusy = false\necho = false\njitter = \"0s\"\n\
    bit_errors_to = 0.0\ncut_after = \"0s\"\ncut_after_octets = 0\ndialling = \"0s\"\nrate_to = 10000\n\
    training_fails = false\nno_dial_tone = false\ncaller_id = true";

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let command = prop::sample::select(vec![
        "ATD202\r",
        "ATD201\r",
        "ATD,202\r",
        "ATD202;\r",
        "ATA\r",
        "ATH\r",
        "ATH1\r",
        "ATO\r",
        "ATZ\r",
        "ATS0=1\r",
        "ATE0V0\r",
        "ATS7=1\r",
        "ATS12=0\r",
        "ATS3=65S5=13\r",
        "AT&C0&D0\r",
        "AT&D1\r",
        "AT&D3S10=0\r",
        "ATX0S6=1\r",
        "AT+MR=1;+ER=1\r",
        "A/",
        "+++",
        "AT",
        "\r",
    ]);
    let text = prop_oneof![
        4 => command.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..700),
    ];
    let step = prop_oneof![
        6 => (any::<bool>(), text).prop_map(|(who, text)| Step::Write(who, text)),
        1 => any::<(bool, bool)>().prop_map(|(who, on)| Step::Dtr(who, on)),
        1 => any::<(bool, bool)>().prop_map(|(who, on)| Step::Ready(who, on)),
        1 => any::<bool>().prop_map(Step::Cut),
        1 => any::<(bool, bool)>().prop_map(|(who, on)| Step::DtrSignal(who, on)),
        1 => (any::<bool>(), prop::sample::select(SETTINGS)).prop_map(|(who, what)| Step::Set(who, what)),
        4 => prop::sample::select(vec![1, 50, 130, 999, 1001, 6000]).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    /// No panic, no lost station, no call without its record, whatever the two DTEs do.
    #[test]
    fn whatever_happens_both_stations_can_call_each_other_afterwards(steps in steps()) {
        let mut bench = Bench::new(PAIR);
        let name = |who| if who { "201" } else { "202" };
        for step in steps {
            match step {
                Step::Write(who, text) => bench.write_octets(name(who), &text),
                Step::Dtr(who, on) => bench.dtr(name(who), on),
                Step::Ready(who, on) => bench.ready(name(who), on),
                Step::Cut(who) => bench.cut(name(who)),
                Step::DtrSignal(who, on) => bench.dtr_signal(name(who), on),
                Step::Set(who, what) => bench.set(name(who), what),
                Step::Wait(time) => bench.wait(time),
            }
        }
        bench.wait(120_000); // what is still being dialled, with its pauses
        for number in ["201", "202"] {
            // Where DTR is ignored only a cut ends a call.
            bench.cut(number);
            bench.dtr(number, false);
        }
        bench.wait(120_000);
        prop_assert_eq!(bench.next_deadline(), None, "something of a call is left over");
        for record in &bench.records {
            prop_assert!(record.ended >= record.placed);
            prop_assert_eq!(record.billed_seconds > 0, record.answered.is_some_and(|at| at < record.ended));
        }
        let ids: Vec<_> = bench.records.iter().map(|record| record.id.to_string()).collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        prop_assert_eq!(unique.len(), ids.len(), "two records of one call");
        for number in ["201", "202"] {
            bench.set(number, ORDINARY);
            bench.dtr(number, true);
            // The line ends with `A` if S3 has become 65, with CR if not; then the `A` finds no call to answer.
            bench.write(number, "AT&FA\r");
            bench.write(number, "ATE0H\r");
        }
        bench.connect();
        bench.write("201", "there");
        bench.write("202", "and back");
        bench.wait(1000);
        prop_assert_eq!((bench.heard("202"), bench.heard("201")), ("there".to_owned(), "and back".to_owned()));
    }
}
