//! The modem's circuits and registers, and the results that depend on them: V.250 as drivers rely on it.

mod bench;

use bench::{Bench, PAIR};
use ringup_exchange::{EndedBy, Outcome};

#[test]
fn dcd_follows_the_carrier_and_ri_the_rings() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "ATDT202\r");
    bench.wait(6500);
    bench.write("202", "ATA\r");
    bench.wait(1000);
    bench.dtr_signal("202", false);
    bench.wait(1000);
    assert_eq!(bench.shown_at("201"), [(7500, "D"), (7550, "")]);
    // 2 s on, 4 s off; the second ring is answered after half a second of it.
    let shown = [
        (0, "R"),
        (2000, ""),
        (6000, "R"),
        (6500, ""),
        (7500, "D"),
        (7500, ""),
    ];
    assert_eq!(bench.shown_at("202"), shown);
}

#[test]
fn dcd_is_always_on_with_c0_and_true_again_with_c1() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "AT&C0\r");
    bench.wait(10);
    bench.write("201", "AT&C1\r");
    assert_eq!(bench.shown_at("201"), [(0, "D"), (10, "")]);
}

/// What 201 hears, and whether the call is over, when DTR drops and comes back for the rest of a second.
fn drop_dtr(setting: &str) -> (String, bool) {
    let mut bench = Bench::set_up(PAIR, &format!("ATE0{setting}"));
    bench.connect();
    bench.dtr_signal("201", false);
    bench.wait(500);
    bench.dtr_signal("201", true);
    bench.wait(500);
    (bench.heard("201"), !bench.records.is_empty())
}

#[test]
fn what_the_loss_of_dtr_does_is_what_d_says() {
    assert_eq!(drop_dtr("&D0"), (String::new(), false));
    assert_eq!(drop_dtr("&D1"), ("\r\nOK\r\n".into(), false));
    assert_eq!(drop_dtr("&D2"), ("\r\nNO CARRIER\r\n".into(), true));
    assert_eq!(drop_dtr("&D3"), ("\r\nNO CARRIER\r\n".into(), true));
}

#[test]
fn d3_resets_the_modem_and_d2_does_not() {
    for (setting, kept) in [
        ("&D2", "\r\n003\r\n\r\nOK\r\n"),
        ("&D3", "ATS9?\r\r\n006\r\n\r\nOK\r\n"),
    ] {
        let mut bench = Bench::set_up(PAIR, &format!("ATE0S9=3{setting}"));
        bench.dtr_signal("201", false);
        bench.write("201", "ATS9?\r");
        assert_eq!(bench.heard("201"), kept, "{setting}");
    }
}

#[test]
fn d1_leaves_the_call_to_ato_or_ath() {
    let mut bench = Bench::set_up(PAIR, "ATE0&D1");
    bench.connect();
    bench.dtr_signal("201", false);
    bench.dtr_signal("201", true);
    bench.write("202", "kept meanwhile");
    bench.wait(1000);
    bench.write("201", "ATO\r");
    bench.wait(1000);
    assert_eq!(
        bench.heard("201"),
        "\r\nOK\r\n\r\nCONNECT 10000\r\nkept meanwhile"
    );
}

#[test]
fn a_call_whose_modem_ignores_dtr_outlives_its_dte_and_the_next_finds_it() {
    let mut bench = Bench::set_up(PAIR, "ATE0&D0");
    bench.connect();
    bench.dtr("202", false);
    bench.write("201", "to nobody");
    bench.wait(1000);
    bench.dtr("202", true);
    bench.write("201", "to the next");
    bench.wait(1000);
    assert_eq!(bench.heard("202"), "to the next");
}

#[test]
fn a_modem_answers_by_itself_only_with_dtr_or_where_it_ignores_dtr() {
    for (setting, is_answered) in [("", false), ("&D0", true)] {
        let mut bench = Bench::set_up(PAIR, &format!("ATE0S0=1{setting}"));
        bench.dtr_signal("202", false);
        bench.write("201", "ATD202\r");
        bench.wait(5000);
        assert_eq!(
            bench.heard("201").contains("CONNECT"),
            is_answered,
            "{setting}"
        );
    }
}

#[test]
fn s1_counts_the_rings() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.write("201", "ATD202\r");
    bench.wait(6000);
    bench.heard("202");
    bench.write("202", "ATS1?\r");
    assert_eq!(bench.heard("202"), "\r\n002\r\n\r\nOK\r\n");
    bench.wait(60_000);
    bench.heard("202");
    bench.write("202", "ATS1?\r");
    assert_eq!(
        bench.heard("202"),
        "\r\n000\r\n\r\nOK\r\n",
        "the ringing is over"
    );
}

#[test]
fn a_modem_with_s10_at_255_never_gives_a_lost_carrier_up_but_its_dte_can() {
    let mut bench = Bench::set_up(PAIR, "ATE0S10=255");
    bench.connect();
    bench.cut("201");
    bench.wait(600_000);
    assert_eq!(bench.heard("201"), "");
    bench.write("202", "ATD201\r");
    bench.write("201", "+++");
    bench.wait(1000);
    bench.write("201", "ATH\r");
    assert_eq!(bench.heard("201"), "\r\nOK\r\n\r\nOK\r\n");
    assert_eq!(bench.records.len(), 1);
}

#[test]
fn what_comes_before_connect_is_what_the_reports_say() {
    let config = PAIR.replacen(
        "number = \"202\"",
        "number = \"202\"\nrate_to = 9600\nrate_from = 4800",
        1,
    );
    let mut bench = Bench::set_up(&config, "ATE0+MR=1;+ER=1;+DR=1;S0=1");
    bench.write("201", "ATD202\r");
    bench.wait(2000);
    let wanted = "\r\n+MCR: V34\r\n\r\n+MRR: 9600,4800\r\n\r\n+ER: LAPM\r\n\r\n+DR: NONE\r\n\r\nCONNECT 4800\r\n";
    assert_eq!(bench.heard("201"), wanted);
    assert!(bench.heard("202").ends_with(
        "\r\n+MRR: 4800,9600\r\n\r\n+ER: LAPM\r\n\r\n+DR: NONE\r\n\r\nCONNECT 9600\r\n"
    ));
}

#[test]
fn settings_without_effect_are_remembered_and_reset() {
    let mut bench = Bench::set_up(PAIR, "ATE0+MS=V34,1;S153=7");
    bench.write("201", "AT+MS?;S153?\rAT&F\r");
    assert_eq!(
        bench.heard("201"),
        "\r\n+MS: V34,1\r\n\r\n007\r\n\r\nOK\r\n\r\nOK\r\n"
    );
    bench.write("201", "ATE0\rATS153?\r");
    assert!(bench.heard("201").ends_with("\r\n000\r\n\r\nOK\r\n"));
}

const MOBILE: &str = "modem = \"gsm\"";

#[test]
fn a_mobile_is_told_the_kind_of_the_call_and_the_caller_with_every_ring() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.set("202", MOBILE);
    bench.write("202", "AT+CLIP=1;+CRC=1\r");
    bench.heard("202");
    bench.write("201", "ATD202\r");
    bench.wait(6000);
    let ring = "\r\n+CRING: REL ASYNC\r\n\r\n+CLIP: \"201\",129,\"\",0,\"\",0\r\n";
    assert_eq!(bench.heard("202"), ring.repeat(2));
    bench.write("202", "ATA\r");
    bench.wait(1000);
    assert_eq!(bench.heard("202"), "\r\nCONNECT 10000\r\n");
}

#[test]
fn a_voice_call_of_a_mobile_says_ok_at_once_and_rings_until_chup_for_nothing() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.set("201", MOBILE);
    bench.write("201", "ATD202;\r");
    bench.wait(6000);
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        ("\r\nOK\r\n".into(), "\r\nRING\r\n".repeat(2))
    );
    bench.write("201", "AT+CHUP\r");
    bench.wait(10_000);
    assert_eq!(
        (bench.heard("201"), bench.heard("202")),
        ("\r\nOK\r\n".into(), String::new())
    );
    assert_eq!(
        (bench.records[0].outcome, bench.records[0].billed_seconds),
        (Outcome::Abandoned, 0)
    );
}

#[test]
fn a_voice_call_answered_by_a_mobile_gives_ok_and_lasts_until_one_hangs_up() {
    let mut bench = Bench::set_up(PAIR, "ATE0");
    bench.set("201", MOBILE);
    bench.set("202", MOBILE);
    bench.write("202", "AT+CRC=1\r");
    bench.heard("202");
    bench.write("201", "ATD202;\r");
    bench.write("202", "ATA\r");
    bench.wait(120_000);
    assert_eq!(bench.heard("202"), "\r\n+CRING: VOICE\r\n\r\nOK\r\n");
    bench.write("202", "AT+CHUP\r");
    bench.wait(1000);
    assert_eq!(bench.heard("201"), "\r\nOK\r\n\r\nNO CARRIER\r\n");
    assert_eq!(bench.records[0].billed_seconds, 120);
}

#[test]
fn a_call_refused_by_isdn_or_a_mobile_is_busy_to_the_caller_and_free_and_an_analogue_line_rings_on()
{
    for (modem, command, is_refused) in [
        ("gsm", "AT+CHUP", true),
        ("gsm", "ATH", true),
        ("isdn", "ATH", true),
        ("analogue", "ATH", false),
    ] {
        let mut bench = Bench::set_up(PAIR, "ATE0");
        bench.set("202", &format!("modem = \"{modem}\""));
        bench.write("201", "ATD202\r");
        bench.wait(500);
        bench.write("202", &format!("{command}\r"));
        bench.wait(10_000);
        let busy = if is_refused { "\r\nBUSY\r\n" } else { "" };
        assert_eq!(bench.heard("201"), busy, "{modem}");
        assert_eq!(
            bench.heard("202").matches("RING").count(),
            if is_refused { 1 } else { 2 },
            "{modem}"
        );
        let refused = bench
            .records
            .first()
            .map(|record| (record.outcome, record.ended_by, record.billed_seconds));
        assert_eq!(
            refused,
            is_refused.then_some((Outcome::Refused, EndedBy::Called, 0)),
            "{modem}"
        );
    }
}
