//! Of `server.toml`, what says what calls cost, and what may be spent.

use std::time::Duration;

use calling::Money;
use calling::ledger::{BreakerRules, Budget, Tariff, TariffBook};
use model::account::Account;
use model::directory::Name;
use model::money::Micros;

use crate::config::section::Section;

const LONGEST_CALL_LEAST: Duration = Duration::from_secs(10);

/// `[[tariff]]` and `[budget]`.
pub(super) fn read(top: &mut Section<'_>) -> Money {
    let tariffs = top.sections("tariff", |section| section.whole::<Tariff>());
    let tariffs = TariffBook::new(tariffs.into_iter().flatten()).unwrap_or_else(|error| {
        top.fault("tariff", error);
        TariffBook::default()
    });
    top.section("budget", |section| budget(section, tariffs))
}

fn budget(section: &mut Section<'_>, tariffs: TariffBook) -> Money {
    let usual = Money::default();
    let mut budget = Budget {
        server: section.parsed("server"),
        terminal: section.parsed("terminal"),
        provider: section.parsed("provider"),
        line: section.parsed("line"),
        ..Budget::default()
    };
    budget
        .named
        .extend(section.sections("of", named).into_iter().flatten());
    let longest_call = section.time("longest_call", usual.longest_call);
    if longest_call < LONGEST_CALL_LEAST {
        let least = LONGEST_CALL_LEAST.as_secs();
        section.fault(
            "longest_call",
            format!("is shorter than {least} s: no call comes up in that"),
        );
    }
    let BreakerRules { calls, days } = usual.breaker;
    let breaker = BreakerRules {
        calls: section.number("give_up_calls", calls),
        days: u16::try_from(section.number("give_up_days", days.into())).unwrap_or(u16::MAX),
    };
    Money {
        tariffs,
        budget,
        longest_call,
        octets_max: section.count("octets_max", usual.octets_max),
        breaker,
        linger: section.is("linger"),
    }
}

/// `[[budget.of]]`.
fn named(section: &mut Section<'_>) -> Option<(Account, Micros)> {
    let accounts = [
        section.parsed::<Name>("terminal").map(Account::Terminal),
        section.parsed::<Name>("provider").map(Account::Provider),
        section.parsed::<Name>("line").map(Account::Line),
    ];
    let day = section.required::<Micros>("day", "say what may be spent in a day, such as \"10\"");
    let mut accounts = accounts.into_iter().flatten();
    let account = accounts.next();
    if account.is_none() || accounts.next().is_some() {
        section.fault(
            "terminal",
            "name one terminal, or one provider, or one line",
        );
    }
    account.zip(day)
}
