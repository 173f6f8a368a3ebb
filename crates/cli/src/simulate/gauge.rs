//! A water gauge in a manhole or a river: a level every quarter of an hour, follows rain; a flood at once, and its end.

use delivery::Urgency;
use jiff::civil::DateTime;
use serde_json::json;

use super::chance::Chance;
use super::{Machine, Report};

/// Metres above which water is told of at once, and below which it is over.
const FLOOD: f64 = 2.0;
const OVER: f64 = 1.7;

/// Of a dry day.
const USUAL: f64 = 0.8;

pub(super) struct Gauge {
    name: String,
    level: f64,
    /// Metres that rain adds in a minute, while it lasts.
    rain: f64,
    is_flood: bool,
    battery: f64,
}

impl Gauge {
    pub(super) fn new(number: u32, chance: &mut Chance) -> Self {
        let battery = 3.1 + 0.5 * chance.fraction();
        Self {
            name: format!("gauge-{number}"),
            level: USUAL,
            rain: 0.0,
            is_flood: false,
            battery,
        }
    }

    fn report(&self, at: DateTime, urgency: Urgency, what: String) -> Report {
        let content = json!({
            "gauge": self.name,
            "at": at.to_string(),
            "level_m": (self.level * 1000.0).round() / 1000.0,
            "battery_v": (self.battery * 100.0).round() / 100.0,
            "what": what,
        });
        Report {
            at,
            machine: self.name.clone(),
            urgency,
            what,
            content,
        }
    }
}

impl Machine for Gauge {
    fn minute(&mut self, now: DateTime, chance: &mut Chance) -> Vec<Report> {
        // A shower every other day, an hour long on the whole.
        if self.rain == 0.0 && chance.happens(1.0 / 2880.0) {
            self.rain = 0.005 + 0.03 * chance.fraction();
        } else if self.rain > 0.0 && chance.happens(1.0 / 60.0) {
            self.rain = 0.0;
        }
        self.level += self.rain + 0.002 * chance.normal() - 0.004 * (self.level - USUAL);
        self.level = self.level.max(0.05);
        self.battery = (self.battery - 0.000_002).max(2.5);
        let mut reports = Vec::new();
        if self.level > FLOOD && !self.is_flood {
            self.is_flood = true;
            reports.push(self.report(now, Urgency::Urgent, format!("flood: {:.2} m", self.level)));
        } else if self.level < OVER && self.is_flood {
            self.is_flood = false;
            reports.push(self.report(
                now,
                Urgency::Normal,
                format!("flood is over: {:.2} m", self.level),
            ));
        }
        if now.minute() % 15 == 0 {
            reports.push(self.report(now, Urgency::Bulk, format!("{:.2} m", self.level)));
        }
        reports
    }
}
