//! No circle between the modules of a crate: what can be read, tested and taken out only as a whole is one module.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;

use super::Breach;
use super::modules::{Modules, Site};
use super::tree::Tree;

/// The circles that there are: crate and modules. They may only shrink.
const KNOWN: &[(&str, &str)] = &[
    ("crates/client", "handover inbox"),
    ("crates/delivery", "encoding message plan"),
    ("crates/delivery", "outbox receiver"),
    ("crates/exchange", "config settings tariff"),
    ("crates/line", "async_port port"),
    ("crates/line", "number numbering"),
    ("crates/link", "driver listener stream tun"),
    ("crates/modem", "caller_id caller_packet"),
    (
        "crates/ppp",
        "authentication config event frame lcp negotiation prediction random wire",
    ),
];

const SELF: &str = "xtask/src/tidy/circles.rs";

pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    check_against(KNOWN, &Modules::read_all(tree))
}

fn check_against(known: &[(&str, &str)], crates: &[Modules]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut rows: Vec<(&str, BTreeSet<&str>)> = known
        .iter()
        .map(|(at, row)| (*at, row.split(' ').collect()))
        .collect();
    for modules in crates {
        let edges: Edges<'_> = edges(modules);
        for circle in circles(&edges) {
            let shared = |row: &(&str, BTreeSet<&str>)| {
                usize::from(row.0 == modules.folder) * row.1.intersection(&circle).count()
            };
            let at = (0..rows.len())
                .max_by_key(|at| shared(&rows[*at]))
                .filter(|at| shared(&rows[*at]) > 0);
            let listed = at.map(|at| rows.swap_remove(at).1);
            let new = circle.iter().filter(|module| {
                listed
                    .as_ref()
                    .is_none_or(|listed| !listed.contains(*module))
            });
            // Of a new circle one breach says it.
            for module in new.take(if listed.is_none() { 1 } else { usize::MAX }) {
                let way = shortest(&edges, module);
                let first = &modules.uses[&(way[0].to_owned(), way[1].to_owned())]
                    .first()
                    .expect("a use has a site");
                let problem = format!("a circle between modules: {}", shown(modules, &way));
                breaches.push(Breach::new(&first.path, first.line, problem));
            }
            for module in listed
                .iter()
                .flatten()
                .filter(|module| !circle.contains(*module))
            {
                let problem = format!(
                    "`{module}` of {} is in no circle with the others any more: remove it from KNOWN",
                    modules.folder
                );
                breaches.push(Breach::new(SELF, 1, problem));
            }
        }
    }
    for (folder, row) in rows {
        let row: Vec<&str> = row.into_iter().collect();
        let problem = format!(
            "the circle of {folder} with {} is gone: remove it from KNOWN",
            row.join(", ")
        );
        breaches.push(Breach::new(SELF, 1, problem));
    }
    breaches
}

/// Who uses whom, and in how many places.
type Edges<'a> = BTreeMap<(&'a str, &'a str), usize>;

fn edges(modules: &Modules) -> Edges<'_> {
    modules
        .uses
        .iter()
        .map(|((from, to), sites)| ((from.as_str(), to.as_str()), sites.len()))
        .collect()
}

/// The sets of modules of which each leads to each.
fn circles<'a>(edges: &Edges<'a>) -> Vec<BTreeSet<&'a str>> {
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for from in edges.keys().map(|(from, _)| *from) {
        if !found.iter().any(|circle| circle.contains(from)) {
            let reached = reached(edges, from);
            let circle: BTreeSet<&str> = reached
                .iter()
                .copied()
                .filter(|to| self::reached(edges, to).contains(from))
                .collect();
            found.extend((circle.len() > 1).then_some(circle));
        }
    }
    found
}

fn reached<'a>(edges: &Edges<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(at) = next.pop() {
        for (_, to) in edges.keys().filter(|(from, _)| *from == at) {
            if reached.insert(*to) {
                next.push((*to).to_owned());
            }
        }
    }
    reached
}

/// The shortest way from a module back to itself, both ends in it.
fn shortest<'a>(edges: &Edges<'a>, module: &'a str) -> Vec<&'a str> {
    let mut ways = vec![vec![module]];
    let mut seen = BTreeSet::new();
    loop {
        let mut longer = Vec::new();
        for way in &ways {
            for (_, to) in edges.keys().filter(|(from, _)| way.ends_with(&[*from])) {
                if *to == module || seen.insert(*to) {
                    longer.push([&way[..], &[*to]].concat());
                }
            }
        }
        ways = longer;
        if let Some(way) = ways.iter().find(|way| way.ends_with(&[module])) {
            return way.clone();
        }
        assert!(!ways.is_empty(), "{module} is in a circle");
    }
}

/// `a -> b (file:line) -> a (file:line)`.
fn shown(modules: &Modules, way: &[&str]) -> String {
    let steps = way.windows(2).map(|step| {
        let sites = &modules.uses[&(step[0].to_owned(), step[1].to_owned())];
        format!(
            " -> {} ({})",
            step[1],
            sites.first().expect("a use has a site")
        )
    });
    way[0].to_owned() + &steps.collect::<String>()
}

/// Prints the circles of every crate, as they are without some uses: what makes them, and the cheapest cuts that end them.
///
/// # Errors
/// If there is no such use in any crate.
pub(super) fn print(tree: &Tree, without: &[String]) -> anyhow::Result<()> {
    let mut crates = Modules::read_all(tree);
    for cut in without {
        let edge = cut
            .split_once(':')
            .map(|(from, to)| (from.to_owned(), to.to_owned()));
        let edge = edge.filter(|edge| {
            crates
                .iter_mut()
                .filter_map(|modules| modules.uses.remove(edge))
                .count()
                > 0
        });
        edge.with_context(|| format!("no module uses another like {cut}; write FROM:TO"))?;
    }
    for modules in crates {
        let edges = edges(&modules);
        for circle in circles(&edges) {
            let names: Vec<&str> = circle.iter().copied().collect();
            println!(
                "{}: {} modules in a circle: {}\n",
                modules.folder,
                names.len(),
                names.join(", ")
            );
            let mut within: Edges<'_> = edges.clone();
            within.retain(|(from, to), _| circle.contains(from) && circle.contains(to));
            for (from, to) in within.keys() {
                println!("  {from} -> {to}: {}", sites(&modules, from, to));
            }
            println!(
                "\n  The fewest uses whose end is the circle's, each with how many modules it leaves in one:\n"
            );
            for (number, (from, to)) in cuts(&within).into_iter().enumerate() {
                within.remove(&(from, to));
                let left: usize = circles(&within).iter().map(BTreeSet::len).sum();
                println!(
                    "  {}. {from} -> {to}, then {left}: {}",
                    number + 1,
                    sites(&modules, from, to)
                );
            }
            println!();
        }
    }
    Ok(())
}

fn sites(modules: &Modules, from: &str, to: &str) -> String {
    let source = format!("{}/src/", modules.folder);
    let site = |site: &Site| site.to_string().trim_start_matches(&source).to_owned();
    modules.uses[&(from.to_owned(), to.to_owned())]
        .iter()
        .map(site)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The edges to cut so that no circle is left, with few uses in all, and first the one that frees most modules.
///
/// An order of the modules in which few uses run back up, found by moving one module at a time while that helps.
fn cuts<'a>(edges: &Edges<'a>) -> Vec<(&'a str, &'a str)> {
    let names: BTreeSet<&str> = edges.keys().flat_map(|(from, to)| [*from, *to]).collect();
    let mut order: Vec<&str> = names.into_iter().collect();
    let back = |order: &[&str]| {
        let at = |name| order.iter().position(|other| *other == name);
        edges
            .iter()
            .filter(|((from, to), _)| at(*from) > at(*to))
            .map(|(edge, uses)| (*edge, *uses))
            .collect::<Edges<'a>>()
    };
    let cost = |order: &[&str]| back(order).values().sum::<usize>();
    let mut best = cost(&order);
    let mut is_better = true;
    while std::mem::take(&mut is_better) {
        for (from, to) in (0..order.len())
            .flat_map(|from| (0..order.len()).map(move |to| (from, to)))
            .collect::<Vec<_>>()
        {
            let mut moved = order.clone();
            let module = moved.remove(from);
            moved.insert(to, module);
            if cost(&moved) < best {
                (best, order, is_better) = (cost(&moved), moved, true);
            }
        }
    }
    let mut back: Vec<(&str, &str)> = back(&order).into_keys().collect();
    let mut left = edges.clone();
    let mut cuts = Vec::new();
    while !back.is_empty() {
        let in_circles = |cut: &(&'a str, &'a str)| {
            let mut without = left.clone();
            without.remove(cut);
            (
                circles(&without)
                    .iter()
                    .map(|circle| circle.len().pow(2))
                    .sum::<usize>(),
                edges[cut],
            )
        };
        let at = (0..back.len())
            .min_by_key(|at| in_circles(&back[*at]))
            .expect("it is not empty");
        let cut = back.remove(at);
        left.remove(&cut);
        cuts.push(cut);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate in which each of the words `a>b` is a use.
    fn modules(uses: &str) -> Modules {
        let mut modules = Modules {
            folder: "crates/a".to_owned(),
            ..Modules::default()
        };
        for (line, (from, to)) in uses
            .split(' ')
            .filter_map(|edge| edge.split_once('>'))
            .enumerate()
        {
            let site = Site {
                path: format!("{from}.rs"),
                line: line + 1,
            };
            modules
                .uses
                .entry((from.to_owned(), to.to_owned()))
                .or_default()
                .insert(site);
        }
        modules
    }

    fn problems(known: &[&str], uses: &str) -> Vec<String> {
        let known: Vec<_> = known.iter().map(|row| ("crates/a", *row)).collect();
        check_against(&known, &[modules(uses)])
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_circle_is_refused_and_shown() {
        assert_eq!(problems(&[], "a>b b>c a>c"), [] as [String; 0]);
        let found = problems(&[], "a>b b>c c>a c>d x>a");
        assert_eq!(
            found,
            ["a.rs:1: a circle between modules: a -> b (a.rs:1) -> c (b.rs:2) -> a (c.rs:3)"]
        );
    }

    #[test]
    fn a_known_circle_may_not_grow() {
        assert_eq!(problems(&["a b"], "a>b b>a b>c"), [] as [String; 0]);
        let found = problems(&["a b"], "a>b b>a b>c c>a");
        assert_eq!(
            found,
            ["c.rs:4: a circle between modules: c -> a (c.rs:4) -> b (a.rs:1) -> c (b.rs:3)"]
        );
        assert_eq!(problems(&["a b"], "a>b b>a c>d d>c").len(), 1);
    }

    #[test]
    fn a_known_circle_that_shrank_is_to_be_listed_so() {
        assert_eq!(problems(&["a b c"], "a>b b>a b>c").len(), 1);
        assert_eq!(problems(&["a b"], "a>b").len(), 1);
        // It fell apart: one half is listed, the other is not in it any more.
        assert_eq!(problems(&["a b c d"], "a>b b>a c>d d>c b>c").len(), 3);
        assert_eq!(
            problems(&["a b", "c d"], "a>b b>a c>d d>c b>c"),
            [] as [String; 0]
        );
    }

    #[test]
    fn the_cuts_end_the_circle_with_few_uses() {
        let modules = modules("a>b b>c c>d d>a a>c a>c c>a b>d b>d");
        assert_eq!(cuts(&edges(&modules)), [("d", "a"), ("c", "a")]);
    }
}
