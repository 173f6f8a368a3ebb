//! Our numbering plans against libphonenumber, whose metadata they were made from.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::str::FromStr as _;

use phonenumber::Mode;
use phonenumber::country::Id;
use phonenumber::metadata::DATABASE;
use ringup_line::{Forbidden, Home, Number, check_dialled};

/// What libphonenumber makes of a spelling in a country.
fn theirs(country: &str, spelling: &str) -> Option<String> {
    let number = phonenumber::parse(Some(Id::from_str(country).ok()?), spelling).ok()?;
    phonenumber::is_valid(&number).then(|| number.format().mode(Mode::E164).to_string())
}

#[test]
fn the_example_numbers_of_every_country_are_read_as_libphonenumber_reads_them() {
    let (mut compared, mut apart) = (0, Vec::new());
    for plan in DATABASE.iter().filter(|plan| plan.id().len() == 2) {
        let home: Home = plan.id().parse().unwrap();
        let kinds = [plan.descriptors().fixed_line(), plan.descriptors().mobile()];
        for example in kinds
            .into_iter()
            .flatten()
            .filter_map(|kind| kind.example())
        {
            let trunk = plan.national_prefix().unwrap_or_default();
            for spelling in [
                format!("+{}{example}", plan.country_code()),
                format!("{trunk}{example}"),
            ] {
                let (Some(theirs), Ok(number)) =
                    (theirs(plan.id(), &spelling), spelling.parse::<Number>())
                else {
                    continue;
                };
                compared += 1;
                let ours = home.normal(&number).to_string();
                if ours != theirs {
                    apart.push(format!(
                        "{} {spelling}: ours {ours}, theirs {theirs}",
                        plan.id()
                    ));
                }
            }
        }
    }
    assert!(compared > 600, "{compared}");
    assert!(
        apart.is_empty(),
        "{} of {compared}:\n{}",
        apart.len(),
        apart.join("\n")
    );
}

#[test]
fn the_premium_numbers_that_libphonenumber_knows_are_not_dialled_and_the_others_are() {
    let (mut missed, mut refused) = (Vec::new(), Vec::new());
    for plan in DATABASE.iter().filter(|plan| plan.id().len() == 2) {
        let dialled = |example: &str| -> Option<Result<(), Forbidden>> {
            let number: Number = format!("+{}{example}", plan.country_code()).parse().ok()?;
            Some(check_dialled(None, &number))
        };
        let premium = plan
            .descriptors()
            .premium_rate()
            .and_then(|kind| kind.example());
        if premium.and_then(dialled) == Some(Ok(())) {
            missed.push(format!("{} {}", plan.id(), premium.unwrap_or_default()));
        }
        for kind in [plan.descriptors().fixed_line(), plan.descriptors().mobile()]
            .into_iter()
            .flatten()
        {
            if kind
                .example()
                .and_then(dialled)
                .is_some_and(|result| result.is_err())
            {
                refused.push(format!(
                    "{} {}",
                    plan.id(),
                    kind.example().unwrap_or_default()
                ));
            }
        }
    }
    assert!(
        missed.is_empty(),
        "premium, and dialled: {}",
        missed.join(", ")
    );
    assert!(
        refused.is_empty(),
        "ordinary, and refused: {}",
        refused.join(", ")
    );
}
