//! A vending machine: sales through the day, told every hour; faults, and what is sold out, at once.

use delivery::Urgency;
use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde_json::{Value, json};

use super::chance::Chance;
use super::{Machine, Report};

/// What it sells, and for how many cents.
const GOODS: [(&str, u32); 6] = [
    ("coffee", 120),
    ("tea", 100),
    ("cola", 180),
    ("water", 150),
    ("chocolate", 130),
    ("crisps", 160),
];

/// What each column holds when it is full.
const FULL: u32 = 24;

/// Faults, each of which happens about once in this many days.
const FAULTS: [(&str, f64); 4] = [
    ("coin box full", 12.0),
    ("coin mechanism jammed", 20.0),
    ("cooling failed", 60.0),
    ("door open", 30.0),
];

/// Sales an hour by hour of the day.
const BUSY: [f64; 24] = [
    0.2, 0.1, 0.1, 0.1, 0.2, 0.5, 1.5, 4.0, 5.0, 4.0, 4.5, 4.0, 6.0, 5.0, 4.0, 4.0, 4.0, 4.5, 3.5,
    2.5, 2.0, 1.5, 1.0, 0.5,
];

const MINUTES_A_DAY: f64 = 24.0 * 60.0;

/// One machine.
#[derive(Debug, Clone)]
pub(crate) struct Vending {
    name: String,
    stock: [u32; GOODS.len()],
    /// Sold since the last report.
    sold: Vec<(&'static str, u32)>,
}

impl Vending {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            name: format!("vending-{number}"),
            stock: [FULL; GOODS.len()],
            sold: Vec::new(),
        }
    }

    /// The nth report of one machine, from 1.
    pub(crate) fn nth_report(number: u32) -> Report {
        let (mut machine, mut chance) = (Self::new(1), Chance::new(1));
        let minutes = (0..).map(|minute| {
            DateTime::constant(2026, 11, 23, 8, 0, 0, 0)
                .saturating_add(SignedDuration::from_mins(minute))
        });
        let mut reports = minutes.flat_map(|now| machine.minute(now, &mut chance));
        let place = usize::try_from(number.saturating_sub(1)).unwrap_or_default();
        reports.nth(place).expect("it reports for ever")
    }

    fn report(&self, at: DateTime, urgency: Urgency, what: String, content: Value) -> Report {
        Report {
            at,
            machine: self.name.clone(),
            urgency,
            what,
            content,
        }
    }
}

impl Machine for Vending {
    fn minute(&mut self, now: DateTime, chance: &mut Chance) -> Vec<Report> {
        let mut reports = Vec::new();
        // Weekends are quiet: it stands where people work.
        let quiet = if now.weekday().to_monday_zero_offset() >= 5 {
            0.3
        } else {
            1.0
        };
        let hour = usize::try_from(now.hour()).unwrap_or_default();
        if chance.happens(quiet * BUSY[hour] / 60.0) {
            let column = *chance.one_of(&[0, 0, 0, 1, 2, 2, 3, 4, 5]);
            let (good, price) = GOODS[column];
            if self.stock[column] > 0 {
                self.stock[column] -= 1;
                self.sold.push((good, price));
                if self.stock[column] == 0 {
                    let content =
                        json!({ "machine": self.name, "at": now.to_string(), "sold_out": good });
                    reports.push(self.report(
                        now,
                        Urgency::Normal,
                        format!("sold out: {good}"),
                        content,
                    ));
                }
            }
        }
        // Filled every third day, early.
        if (now.hour(), now.minute()) == (6, 0) && now.day() % 3 == 0 {
            self.stock = [FULL; GOODS.len()];
        }
        for (fault, days) in FAULTS {
            if chance.happens(1.0 / (days * MINUTES_A_DAY)) {
                let content =
                    json!({ "machine": self.name, "at": now.to_string(), "fault": fault });
                reports.push(self.report(now, Urgency::Urgent, format!("fault: {fault}"), content));
            }
        }
        if now.minute() == 0 && !self.sold.is_empty() {
            let sold = std::mem::take(&mut self.sold);
            let cents: u32 = sold.iter().map(|(_, price)| price).sum();
            let goods: Vec<_> = sold.iter().map(|(good, _)| good).collect();
            let content = json!({ "machine": self.name, "at": now.to_string(), "sales": goods, "cents": cents });
            let what = format!("{} sales, {}.{:02}", sold.len(), cents / 100, cents % 100);
            reports.push(self.report(now, Urgency::Bulk, what, content));
        }
        reports
    }
}
