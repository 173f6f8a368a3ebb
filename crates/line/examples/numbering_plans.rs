//! Prints the table of `src/numbering/plans.rs`, from the metadata of the crate `phonenumber` (Google's libphonenumber):
//!
//! ```text
//! cargo run --release -p ringup-line --example numbering_plans >crates/line/src/numbering/plans.rs
//! ```
//!
//! That crate takes 70 ms and 17 MB to read its metadata, which a ring has no time for; what is needed of it is a few
//! octets for each country. `tests/numbering.rs` holds the table against it.

use std::collections::BTreeSet;

use phonenumber::Metadata;
use phonenumber::metadata::DATABASE;

/// The longest prefix that is told apart.
const PREFIX_DIGITS_MAX: usize = 4;
/// Numbers tried with each prefix and length.
const TRIES: u32 = 24;

fn main() {
    println!(
        "//! Made by `examples/numbering_plans.rs` from libphonenumber's metadata; not to be edited by hand."
    );
    println!();
    println!("use super::Plan;");
    println!();
    println!("#[rustfmt::skip]");
    println!("pub(super) const PLANS: &[Plan] = &[");
    let mut plans: Vec<&Metadata> = DATABASE
        .iter()
        .filter(|plan| plan.id().len() == 2)
        .collect();
    plans.sort_by_key(|plan| plan.id().to_owned());
    plans.dedup_by_key(|plan| plan.id().to_owned());
    for plan in plans {
        let international = international_prefix(plan);
        let trunk = plan.national_prefix().unwrap_or_default();
        let premium: Vec<_> = premium_prefixes(plan)
            .into_iter()
            .map(|prefix| format!("{prefix:?}"))
            .collect();
        println!(
            "    Plan {{ country: {:?}, code: \"{}\", international: {:?}, trunk: {:?}, shortest: {}, premium: &[{}] }},",
            plan.id(),
            plan.country_code(),
            international,
            trunk,
            shortest(plan),
            premium.join(", ")
        );
    }
    println!("];");
}

/// Fewest digits of an ordinary number.
fn shortest(plan: &Metadata) -> u16 {
    let kinds = [plan.descriptors().fixed_line(), plan.descriptors().mobile()];
    let lengths = kinds.into_iter().flatten().flat_map(|kind| {
        // Where a kind says nothing of its own it is as the plan in general.
        let own = kind.possible_length();
        if own.is_empty() {
            plan.descriptors().general().possible_length()
        } else {
            own
        }
    });
    lengths.copied().min().unwrap_or(7)
}

/// The one that is usually dialled: where there are several (carriers), the plain one.
fn international_prefix(plan: &Metadata) -> String {
    let matches = |prefix: &str| {
        plan.international_prefix().is_some_and(|regex| {
            regex
                .find(prefix)
                .is_some_and(|found| found.as_str() == prefix)
        })
    };
    let usual = [
        "00", "011", "010", "810", "0011", "001", "000", "119", "099", "8~10",
    ];
    let preferred = plan
        .preferred_international_prefix()
        .map(|prefix| prefix.replace('~', ""));
    preferred
        .filter(|prefix| prefix.bytes().all(|octet| octet.is_ascii_digit()))
        .unwrap_or_else(|| {
            usual
                .into_iter()
                .find(|prefix| matches(prefix))
                .unwrap_or("00")
                .to_owned()
        })
}

/// The beginnings of national numbers that are premium-rate and nothing else.
fn premium_prefixes(plan: &Metadata) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Some(premium) = plan.descriptors().premium_rate() else {
        return found;
    };
    let mut random = 1_u64;
    let mut open = vec![String::new()];
    while let Some(prefix) = open.pop() {
        let (mut hits, mut tries) = (0, 0);
        for length in premium
            .possible_length()
            .iter()
            .chain(plan.descriptors().general().possible_length())
        {
            let length = usize::from(*length);
            if length <= prefix.len() {
                continue;
            }
            for _ in 0..TRIES {
                let mut number = prefix.clone();
                while number.len() < length {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    number.push(char::from(
                        b'0' + u8::try_from((random >> 33) % 10).unwrap_or(0),
                    ));
                }
                // A number of a length that no premium number has is no sign against it.
                if premium
                    .possible_length()
                    .contains(&u16::try_from(length).unwrap_or(0))
                {
                    tries += 1;
                    hits += u32::from(premium.is_match(&number));
                }
            }
        }
        let is_surely = tries > 0 && hits * 10 >= tries * 9;
        if is_surely || (prefix.len() == PREFIX_DIGITS_MAX && hits > 0) {
            found.insert(prefix);
        } else if prefix.len() < PREFIX_DIGITS_MAX && (hits > 0 || prefix.len() < 3) {
            open.extend(('0'..='9').map(|digit| format!("{prefix}{digit}")));
        }
    }
    // What is too rare to be found by trying.
    if let Some(example) = premium
        .example()
        .filter(|example| !found.iter().any(|prefix| example.starts_with(prefix)))
    {
        found.insert(example[..PREFIX_DIGITS_MAX].to_owned());
    }
    merged(found)
}

/// Where half of the prefixes with one more digit are premium, the rest is treated so: better to ask before a call than
/// to pay for it.
fn merged(mut prefixes: BTreeSet<String>) -> BTreeSet<String> {
    for length in (1..PREFIX_DIGITS_MAX).rev() {
        let parents: BTreeSet<String> = prefixes
            .iter()
            .filter(|prefix| prefix.len() == length + 1)
            .map(|prefix| prefix[..length].to_owned())
            .collect();
        for parent in parents {
            let children = prefixes
                .iter()
                .filter(|prefix| prefix.len() == length + 1 && prefix.starts_with(&parent));
            if children.count() >= 5 && length >= 2 {
                prefixes.retain(|prefix| !prefix.starts_with(&parent));
                prefixes.insert(parent);
            }
        }
    }
    prefixes
}
