//! A driverless vehicle: position and fuel every few minutes while it drives; low fuel, a hard stop and a fault at once.

use delivery::Urgency;
use jiff::civil::DateTime;
use serde_json::json;

use super::chance::Chance;
use super::{Machine, Report};

/// Minutes between two positions.
const EVERY: u32 = 5;

/// Degrees of latitude in a minute at 50 km/h.
const STEP: f64 = 0.0075;

pub(super) struct Vehicle {
    name: String,
    latitude: f64,
    longitude: f64,
    /// Radians from north.
    heading: f64,
    /// Of a full tank.
    fuel: f64,
    is_low_told: bool,
    minutes: u32,
}

impl Vehicle {
    pub(super) fn new(number: u32, chance: &mut Chance) -> Self {
        Self {
            name: format!("vehicle-{number}"),
            latitude: 35.6 + 0.2 * chance.fraction(),
            longitude: 139.6 + 0.2 * chance.fraction(),
            heading: std::f64::consts::TAU * chance.fraction(),
            fuel: 0.4 + 0.6 * chance.fraction(),
            is_low_told: false,
            minutes: number % EVERY,
        }
    }

    fn report(&self, at: DateTime, urgency: Urgency, what: &str) -> Report {
        let rounded = |number: f64| (number * 100_000.0).round() / 100_000.0;
        let content = json!({
            "vehicle": self.name,
            "at": at.to_string(),
            "latitude": rounded(self.latitude),
            "longitude": rounded(self.longitude),
            "fuel": (self.fuel * 1000.0).round() / 1000.0,
            "what": what,
        });
        Report {
            at,
            machine: self.name.clone(),
            urgency,
            what: what.to_owned(),
            content,
        }
    }
}

impl Machine for Vehicle {
    fn minute(&mut self, now: DateTime, chance: &mut Chance) -> Vec<Report> {
        // It drives by day, and comes home full.
        if !(6..20).contains(&now.hour()) {
            (self.fuel, self.is_low_told) = (1.0, false);
            return Vec::new();
        }
        self.heading += 0.2 * chance.normal();
        self.latitude += STEP * self.heading.cos();
        self.longitude += STEP * self.heading.sin();
        self.fuel = (self.fuel - 0.0011 * (1.0 + 0.3 * chance.fraction())).max(0.0);
        self.minutes += 1;
        let mut reports = Vec::new();
        if self.fuel < 0.1 && !std::mem::replace(&mut self.is_low_told, true) {
            reports.push(self.report(now, Urgency::Urgent, "fuel is low"));
        }
        if chance.happens(1.0 / 4000.0) {
            let what = *chance.one_of(&["hard stop", "obstacle", "sensor fault", "left its route"]);
            reports.push(self.report(now, Urgency::Urgent, what));
        }
        if self.minutes.is_multiple_of(EVERY) {
            reports.push(self.report(now, Urgency::Bulk, "position"));
        }
        reports
    }
}
