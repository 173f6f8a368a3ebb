//! `ringup simulate`: what vending machines, vehicles and water gauges have to say, from a seed.
//!
//! Reports are printed, one JSON object a line, or submitted at their time. The same seed gives the same reports.

mod chance;
mod gauge;
mod vehicle;
mod vending;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use client::submission::{Handling, Submission, submit};
use delivery::{ContentType, Urgency};
use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};

use crate::output;

pub(crate) use vending::Vending;

use chance::Chance;

/// Makes up what machines report: vending machines, driverless vehicles, water gauges.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup simulate vending --days 7                          a week of one machine, one report a line
  ringup simulate gauge --machines 100 --seed 3 --json
  ringup simulate vehicle --server 127.0.0.1:7480 --token-file token --to terminal:owner --speed 3600

Without --server the reports are printed. With it each is submitted at its time; --speed 3600 makes an hour a second.")]
pub(crate) struct Simulate {
    /// The kind of machine
    kind: Kind,
    /// Number of machines
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    machines: u32,
    /// Number of days
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3660))]
    days: u32,
    /// Another seed, other reports
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The first day
    #[arg(long, value_name = "DATE", default_value = "2026-11-23")]
    from: jiff::civil::Date,
    /// Submit to this server instead of printing
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "token_file",
        requires = "to"
    )]
    server: Option<String>,
    /// The file that holds the provider's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Recipient of the reports; may be given more than once
    #[arg(long, value_name = "DESTINATION")]
    to: Vec<String>,
    /// How many times as fast as in life
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    speed: u32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Sales every hour, faults at once
    Vending,
    /// Position and fuel, and what must be known at once
    Vehicle,
    /// Levels of a manhole or a river, and floods at once
    Gauge,
}

/// One report of a machine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    pub(crate) at: DateTime,
    pub(crate) machine: String,
    pub(crate) urgency: Urgency,
    /// In a few words.
    pub(crate) what: String,
    pub(crate) content: Value,
}

/// Something that reports as time goes by.
trait Machine {
    /// What it has to say at this minute, which is called for one after the other.
    fn minute(&mut self, now: DateTime, chance: &mut Chance) -> Vec<Report>;
}

/// All reports of some machines, in the order of their times.
fn reports(kind: Kind, machines: u32, from: DateTime, days: u32, seed: u64) -> Vec<Report> {
    let mut all = Vec::new();
    for number in 1..=machines {
        let mut chance = Chance::new(seed ^ (u64::from(number) << 32));
        let mut machine: Box<dyn Machine> = match kind {
            Kind::Vending => Box::new(Vending::new(number)),
            Kind::Vehicle => Box::new(vehicle::Vehicle::new(number, &mut chance)),
            Kind::Gauge => Box::new(gauge::Gauge::new(number, &mut chance)),
        };
        for minute in 0..i64::from(days) * 24 * 60 {
            all.extend(machine.minute(
                from.saturating_add(SignedDuration::from_mins(minute)),
                &mut chance,
            ));
        }
    }
    all.sort_by(|one, other| (one.at, &one.machine).cmp(&(other.at, &other.machine)));
    all
}

impl Report {
    fn to_json(&self) -> Value {
        json!({
            "at": self.at.to_string(),
            "machine": self.machine,
            "urgency": self.urgency.as_str(),
            "what": self.what,
            "content": self.content,
        })
    }
}

impl Simulate {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let from = self.from.at(0, 0, 0, 0);
        let reports = reports(self.kind, self.machines, from, self.days, self.seed);
        match &self.server {
            None => self.print(&reports)?,
            Some(server) => Runtime::new()?.block_on(self.submit(server, from, &reports))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, reports: &[Report]) -> anyhow::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for report in reports {
            let Report {
                at,
                machine,
                urgency,
                what,
                ..
            } = report;
            let line = if self.json {
                report.to_json().to_string()
            } else {
                format!("{at}  {machine:12} {urgency:7} {what}")
            };
            output::written(writeln!(out, "{line}"))?;
        }
        output::written(out.flush())
    }

    async fn submit(&self, server: &str, from: DateTime, reports: &[Report]) -> anyhow::Result<()> {
        let path = self
            .token_file
            .as_deref()
            .context("--token-file is missing")?;
        let token = std::fs::read_to_string(path)
            .with_context(|| format!("could not read {}", path.display()))?;
        let began = Instant::now();
        for (number, report) in (1..).zip(reports) {
            let into = report.at.duration_since(from).as_secs_f64() / f64::from(self.speed);
            sleep_until(began + std::time::Duration::from_secs_f64(into.max(0.0))).await;
            let submission = Submission {
                token: token.trim().to_owned(),
                destinations: self.to.clone(),
                content_type: "application/json"
                    .parse::<ContentType>()
                    .expect("a media type"),
                content: Bytes::from(report.content.to_string()),
                handling: Handling {
                    urgency: report.urgency,
                    // Played again, it is the same: a server that has it takes it once.
                    idempotency_key: Some(format!(
                        "simulated {} {} {number}",
                        report.machine, self.seed
                    )),
                    ..Handling::default()
                },
            };
            let stream = TcpStream::connect(server).await;
            let stream = stream.with_context(|| {
                format!("no server answers at {server}; is `ringup serve` running?")
            })?;
            match submit(stream, server, submission).await {
                Ok(accepted) if self.json => println!(
                    "{}",
                    json!({ "id": accepted.id, "report": report.to_json() })
                ),
                Ok(accepted) => println!("{}  {}: {}", accepted.id, report.machine, report.what),
                Err(error) => bail!("{}: {error}", report.what),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(kind: Kind, seed: u64) -> Vec<Report> {
        reports(kind, 20, "2026-11-23T00:00".parse().unwrap(), 2, seed)
    }

    #[test]
    fn the_same_seed_gives_the_same_reports_in_order_and_another_others() {
        for kind in [Kind::Vending, Kind::Vehicle, Kind::Gauge] {
            let first = day(kind, 1);
            assert_eq!(first, day(kind, 1));
            assert_ne!(first, day(kind, 2));
            assert!(first.is_sorted_by_key(|report| report.at), "{kind:?}");
        }
    }

    #[test]
    fn machines_report_what_such_machines_do() {
        for (kind, least, most, urgent_most) in [
            (Kind::Vending, 300, 900, 60),
            (Kind::Vehicle, 6_000, 7_500, 150),
            (Kind::Gauge, 3_000, 5_000, 150),
        ] {
            let all = day(kind, 7);
            let urgent = all
                .iter()
                .filter(|report| report.urgency == Urgency::Urgent)
                .count();
            assert!(
                (least..=most).contains(&all.len()),
                "{kind:?}: {}",
                all.len()
            );
            assert!(
                (1..=urgent_most).contains(&urgent),
                "{kind:?}: {urgent} urgent"
            );
            assert!(
                all.iter()
                    .all(|report| report.content.to_string().len() < 2000)
            );
        }
    }
}
