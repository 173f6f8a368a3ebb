//! Runs the world, and prints what came of it. `cargo xtask world` and `cargo xtask bench` start it.

#[path = "../../../xtask/src/bench/table.rs"]
mod table;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use calling::dispatch::{
    Conditions, Demand, Dispatch, Input, LineTerms, Moment, Output, RedialRules, RetryRules, Rules,
    StormRules,
};
use clap::{Parser, Subcommand};
use delivery::{TerminalId, Urgency};
use jiff::Timestamp;
use model::outcome::Outcome;
use ringup_world::{OctetPlan, OctetReport, OctetWorld, Plan, Report, World, cost_table};

use table::{figure, target};

/// A world in virtual time for the server's decisions.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one seed, or several one after the other
    Run {
        /// The first seed
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many seeds
        #[arg(long, default_value_t = 1)]
        seeds: u64,
        /// Terminals, each with a message a day
        #[arg(long, default_value_t = 1000)]
        terminals: u32,
        /// Days
        #[arg(long, default_value_t = 30)]
        days: u32,
    },
    /// The same octet by octet, with real modems, PPP, TCP and the store on the disk: one seed, or several
    Octets {
        /// The first seed
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many seeds
        #[arg(long, default_value_t = 1)]
        seeds: u64,
        /// Terminals, at most 200
        #[arg(long, default_value_t = 8)]
        terminals: u32,
        /// Messages
        #[arg(long, default_value_t = 1000)]
        messages: u32,
        /// Print every event
        #[arg(long)]
        events: bool,
    },
    /// Prints what a week of a hundred machines costs, as Markdown
    Cost,
    /// Prints how many decisions dispatch makes in a second, and what a terminal takes of memory, as Markdown
    Dispatch,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run {
            seed,
            seeds,
            terminals,
            days,
        } => {
            let bad = (seed..seed.saturating_add(seeds)).filter(|seed| {
                let began = Instant::now();
                let report = World::run(Plan {
                    seed: *seed,
                    terminals,
                    days,
                    has_faults: true,
                });
                print(*seed, &report, began.elapsed());
                report.checks.count > 0
            });
            match bad.count() {
                0 => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Command::Octets {
            seed,
            seeds,
            terminals,
            messages,
            events,
        } => {
            let bad = (seed..seed.saturating_add(seeds)).filter(|seed| {
                let folder = tempfile::tempdir().expect("a folder can be made");
                let plan = OctetPlan {
                    seed: *seed,
                    terminals,
                    messages,
                    has_faults: true,
                    is_told: events,
                };
                let began = Instant::now();
                let report = OctetWorld::run(plan, folder.path().join("server"));
                print_octets(*seed, &report, began.elapsed());
                report.checks.count > 0
            });
            match bad.count() {
                0 => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            }
        }
        Command::Cost => {
            print_costs();
            ExitCode::SUCCESS
        }
        Command::Dispatch => {
            print_dispatch();
            ExitCode::SUCCESS
        }
    }
}

fn print_octets(seed: u64, report: &OctetReport, took: Duration) {
    let OctetReport {
        events,
        digest,
        accepted,
        delivered,
        failed,
        repeated,
        calls,
        ..
    } = report;
    let (hours, seconds) = (report.took.as_secs_f64() / 3600.0, took.as_secs_f64());
    let (calls_f, bad) = (
        f64::from(u32::try_from(*calls).unwrap_or(u32::MAX)),
        report.checks.count,
    );
    println!("seed {seed}: {events} events, {hours:.1} hours in {seconds:.1} s, digest {digest}");
    println!(
        "  accepted {accepted}, delivered {delivered}, failed {failed}, came again {repeated}, promises broken {bad}"
    );
    println!(
        "  calls {calls}, {:.0} a second of real time, {} of strangers",
        calls_f / seconds,
        report.strangers
    );
    let [any, told, before, after] = report.crashes;
    let [terminal, published] = report.terminal_crashes;
    println!(
        "  crashes: server {any}, before a 202 {told}, before a verdict {before}, after one {after}; \
         terminal {terminal}, before a receipt {published}"
    );
    println!("  outcomes {:?}", report.outcomes);
    report
        .checks
        .breaches
        .iter()
        .for_each(|breach| println!("  BREACH {breach}"));
}

fn print(seed: u64, report: &Report, took: Duration) {
    let Report { tally, checks, .. } = report;
    println!(
        "seed {seed}: {} events in {:.1} s, digest {}",
        report.events,
        took.as_secs_f64(),
        report.digest
    );
    println!(
        "  envelopes {}: delivered {}, expired {}, left out {}, open {}; mean wait {} s",
        tally.accepted,
        tally.delivered,
        tally.expired,
        tally.failed,
        report.open,
        tally.waited_seconds / tally.delivered.max(1)
    );
    println!(
        "  calls dialled {}, completed {}, come in {}; crashes {}; alarms {}, paused {}",
        report.dialled,
        report.completed,
        report.incoming,
        report.crashes,
        report.alarms,
        report.paused
    );
    println!(
        "  ledger {}, bill {}; promises broken: {}",
        report.ledger, report.bill, checks.count
    );
    for breach in checks.breaches.iter().take(20) {
        println!("  BROKEN {breach}");
    }
}

fn print_costs() {
    println!(
        "| tariff | way | calls | bill | fault to delivery | sales to delivery |\n|---|---|--:|--:|--:|--:|"
    );
    for row in cost_table(1) {
        println!(
            "| {} | {} | {} | {:.0} yen | {} | {} |",
            row.tariff,
            row.way,
            row.calls,
            (row.bill.0 + 500_000) / 1_000_000,
            span(row.fault_wait),
            span(row.sales_wait)
        );
    }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!(
            "{:.1} h",
            Duration::from_secs(seconds).as_secs_f64() / 3600.0
        ),
    }
}

const WATCHED: u32 = 1_000_000;
const DUE: u32 = 100_000;
const LINES: u32 = 1000;

fn terminal(number: u32) -> TerminalId {
    let mut octets = [0; 8];
    octets[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_be_bytes());
    octets[4..].copy_from_slice(&number.to_be_bytes());
    TerminalId::from_octets(octets)
}

/// 2026-11-24, 12:00 UTC.
const NOON: Timestamp = Timestamp::constant(1_795_521_600, 0);

fn print_dispatch() {
    let (watched, due_count) = table::extent((WATCHED, DUE), (10_000, 1000));
    let start = Instant::now() + Duration::from_secs(1_000_000);
    let moment = |millis: u64| Moment {
        at: start + Duration::from_millis(millis),
        wall: NOON,
    };
    let name = |line: u32| format!("l{line}").parse().expect("a name");
    let terms = (0..LINES).map(|line| LineTerms {
        name: name(line),
        tariff: None,
        is_ring_only: false,
    });
    let retry = RetryRules {
        session_wait: Duration::from_secs(120),
        first: Duration::from_secs(60),
        longest: Duration::from_secs(3600),
        redials: RedialRules::default(),
    };
    let storm = StormRules {
        calls_per_minute: u32::MAX,
        burst: u32::MAX,
        calls_at_once: u32::MAX,
    };
    let mut dispatch = Dispatch::new(
        Rules {
            lines: terms.collect(),
            storm,
            ..Rules::new(retry)
        },
        1,
    );
    let conditions = Arc::new(Conditions::default());

    let watch = |number| Input::Watch {
        terminal: terminal(number),
        after: Some(Duration::from_secs(86_400)),
        silent_for: Duration::ZERO,
    };
    let idle = allocation_counter::measure(|| {
        (0..watched).for_each(|number| dispatch.handle(watch(number), moment(0)));
    });
    // Each has been connected once, so that it has a line that worked.
    let known = allocation_counter::measure(|| {
        for number in 0..watched {
            let (terminal, line) = (terminal(number), name(number % LINES));
            dispatch.handle(
                Input::Connected {
                    terminal,
                    via: line.into(),
                },
                moment(0),
            );
            while !matches!(dispatch.poll_output(), Output::Timeout { .. }) {}
            let line = name(number % LINES);
            dispatch.handle(
                Input::Ended {
                    terminal,
                    via: line.into(),
                    outcome: Outcome::Completed,
                },
                moment(0),
            );
        }
    });
    let octets = (idle.bytes_current + known.bytes_current) / i64::from(watched);

    let demand = |number: u32| {
        Input::Due(Demand {
            terminal: terminal(number * 10),
            conditions: Some(conditions.clone()),
            urgency: Urgency::ALL[usize::from(number.is_multiple_of(3))],
            deadline: None,
        })
    };
    let began = Instant::now();
    // A terminal is called some seconds after its last call at the earliest: all of them have passed.
    (0..due_count).for_each(|number| dispatch.handle(demand(number), moment(10_000)));
    let due = began.elapsed();
    (0..LINES).for_each(|line| dispatch.handle(Input::LineFree(name(line)), moment(10_001)));

    // Each call ends at once; one in ten is busy.
    let began = Instant::now();
    let (mut calls, mut inputs) = (0_u32, 0_u32);
    let mut millis = 10_002;
    let mut placed = Vec::new();
    while calls < due_count {
        while let Output::PlaceCall { terminal, line } = dispatch.poll_output() {
            placed.push((terminal, line));
        }
        millis += 1;
        for (terminal, line) in placed.drain(..) {
            calls += 1;
            inputs += 2;
            let outcome = if calls % 10 == 0 {
                Outcome::Busy
            } else {
                Outcome::Completed
            };
            dispatch.handle(
                Input::Ended {
                    terminal,
                    via: line.clone().into(),
                    outcome,
                },
                moment(millis),
            );
            dispatch.handle(Input::LineFree(line), moment(millis));
        }
    }
    let took = began.elapsed();
    let rate = |count: u32, took: Duration| f64::from(count) / took.as_secs_f64();
    println!("{}\n|---|--:|--:|---|", table::FIGURES);
    let calls_rate = rate(calls, took);
    let what = format!("calls decided, {watched} terminals with {due_count} due, {LINES} lines");
    target(
        what,
        "200000/s",
        format!("{calls_rate:.0}/s"),
        calls_rate >= 200_000.0,
    );
    figure(
        "inputs taken meanwhile",
        format!("{:.0}/s", rate(inputs, took)),
    );
    figure(
        "terminals made due",
        format!("{:.0}/s", rate(due_count, due)),
    );
    target(
        "memory of an idle terminal that is watched",
        "300 octets",
        format!("{octets} octets"),
        octets < 300,
    );
}
