//! What a month of calls comes to: a bucket that is paid for, a floor, a cap.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Serialize;

use super::Micros;

/// Terms of a month, besides its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MonthTerms {
    /// Value of the calls included in the monthly fee.
    pub(crate) bucket: Micros,
    /// It costs at least this, calls or not.
    pub(crate) floor: Micros,
    /// It costs at most this.
    pub(crate) cap: Option<Micros>,
}

impl MonthTerms {
    /// What is due for calls worth `calls`.
    pub(crate) fn due(self, calls: Micros) -> Micros {
        let due = Micros((calls.0 - self.bucket.0).max(0)).max(self.floor);
        self.cap.map_or(due, |cap| due.min(cap))
    }
}

/// Months of who pays, by tariff.
#[derive(Debug, Default)]
pub(crate) struct Months(BTreeMap<MonthKey, Month>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MonthKey {
    number: String,
    tariff: String,
    /// Its first day.
    month: Date,
}

#[derive(Clone, Copy, Debug, Default)]
struct Month {
    calls: u64,
    micros: Micros,
    terms: MonthTerms,
}

/// A month on the bill of one station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MonthlyBill {
    /// Who pays.
    pub number: String,
    /// By which tariff.
    pub tariff: String,
    /// `2026-11`.
    pub month: String,
    /// Calls on it.
    pub calls: u64,
    /// What they are worth one by one, in millionths.
    pub micros: Micros,
    /// What the month comes to, in millionths.
    pub due: Micros,
}

impl Months {
    pub(crate) fn add(
        &mut self,
        number: &str,
        tariff: &str,
        on: Date,
        micros: Micros,
        terms: MonthTerms,
    ) {
        let key = MonthKey {
            number: number.to_owned(),
            tariff: tariff.to_owned(),
            month: on.first_of_month(),
        };
        let month = self.0.entry(key).or_default();
        month.calls += 1;
        month.micros = Micros(month.micros.0.saturating_add(micros.0));
        month.terms = terms;
    }

    pub(crate) fn bills(&self) -> Vec<MonthlyBill> {
        let bill = |(key, month): (&MonthKey, &Month)| MonthlyBill {
            number: key.number.clone(),
            tariff: key.tariff.clone(),
            month: key.month.strftime("%Y-%m").to_string(),
            calls: month.calls,
            micros: month.micros,
            due: month.terms.due(month.micros),
        };
        self.0.iter().map(bill).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yen(yen: i64) -> Micros {
        Micros(yen * 1_000_000)
    }

    #[test]
    fn a_month_costs_its_floor_at_least_and_its_cap_at_most() {
        // docomo packets in 2009: floor 1,029 yen, cap 4,410.
        let terms = MonthTerms {
            bucket: yen(0),
            floor: yen(1029),
            cap: Some(yen(4410)),
        };
        for (calls, due) in [
            (0, 1029),
            (1029, 1029),
            (2000, 2000),
            (4410, 4410),
            (90_000, 4410),
        ] {
            assert_eq!(terms.due(yen(calls)), yen(due), "{calls}");
        }
    }

    #[test]
    fn a_bucket_is_used_up_before_a_call_costs_anything() {
        let terms = MonthTerms {
            bucket: yen(1000),
            ..MonthTerms::default()
        };
        for (calls, due) in [(0, 0), (1000, 0), (1001, 1), (5000, 4000)] {
            assert_eq!(terms.due(yen(calls)), yen(due), "{calls}");
        }
    }

    #[test]
    fn months_tariffs_and_payers_are_billed_apart() {
        let mut months = Months::default();
        let terms = MonthTerms {
            floor: yen(10),
            ..MonthTerms::default()
        };
        for (number, tariff, on) in [
            ("201", "a", "2026-11-30"),
            ("201", "a", "2026-11-01"),
            ("201", "a", "2026-12-01"),
            ("201", "b", "2026-11-30"),
            ("202", "a", "2026-11-30"),
        ] {
            months.add(number, tariff, on.parse().unwrap(), yen(3), terms);
        }
        let bills = months.bills();
        assert_eq!(bills.len(), 4);
        let first = &bills[0];
        assert_eq!(
            (first.month.as_str(), first.calls, first.micros, first.due),
            ("2026-11", 2, yen(6), yen(10))
        );
    }
}
