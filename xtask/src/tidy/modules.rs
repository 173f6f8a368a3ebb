//! Which of a crate's top-level modules uses which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::code::Path;
use super::tree::{File, Tree};

/// The modules of one crate, by what their code names of each other. Tests do not count.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// Of the crate, from the root of the workspace.
    pub(super) folder: String,
    /// Who uses whom, and where. What `lib.rs` or `main.rs` has itself is the module `lib` or `main`; what it re-exports is its
    /// owner's.
    pub(super) uses: BTreeMap<(String, String), BTreeSet<Site>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    pub(super) path: String,
    pub(super) line: usize,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

impl Modules {
    pub(super) fn read_all(tree: &Tree) -> Vec<Self> {
        let manifests = tree
            .files
            .iter()
            .filter_map(|file| file.path.strip_suffix("/Cargo.toml"));
        manifests
            .filter_map(|folder| Self::read(tree, folder))
            .collect()
    }

    fn read(tree: &Tree, folder: &str) -> Option<Self> {
        let source = format!("{folder}/src/");
        let root = ["lib", "main"]
            .into_iter()
            .find(|root| tree.file(&format!("{source}{root}.rs")).is_some())?;
        let files = tree
            .files
            .iter()
            .filter_map(|file| Some((place(file.path.strip_prefix(&source)?)?, file)));
        let files: Vec<(Vec<String>, &File)> = files
            .filter(|(place, _)| *place != ["lib"] && *place != ["main"])
            .collect();
        let own = tree.file(&format!("{source}{root}.rs"))?;

        let names: BTreeSet<&str> = files
            .iter()
            .filter_map(|(place, _)| Some(place.first()?.as_str()))
            .collect();
        let mut reader = Reader {
            root,
            names,
            exported: BTreeMap::new(),
            uses: BTreeMap::new(),
        };
        let own_code = reader.exports(own);
        reader.take(own, &[], own_code);
        let tests: BTreeSet<Vec<String>> = files
            .iter()
            .flat_map(|(place, file)| test_modules(place, file))
            .collect();
        for (place, file) in &files {
            if !(0..=place.len()).any(|length| tests.contains(&place[..length])) {
                reader.take(
                    file,
                    place,
                    file.code.iter().flat_map(|code| &code.paths).collect(),
                );
            }
        }
        Some(Self {
            folder: folder.to_owned(),
            uses: reader.uses,
        })
    }
}

/// The module that a file is, from the crate's root; none for one of tests.
fn place(path: &str) -> Option<Vec<String>> {
    let stem = path.strip_suffix(".rs")?;
    let place: Vec<String> = stem
        .strip_suffix("/mod")
        .unwrap_or(stem)
        .split('/')
        .map(str::to_owned)
        .collect();
    (place[0] != "bin" && !place.iter().any(|part| part == "tests")).then_some(place)
}

/// The out-of-line modules with `#[cfg(test)]`.
fn test_modules(place: &[String], file: &File) -> Vec<Vec<String>> {
    let paths = file.code.iter().flat_map(|code| &code.paths);
    let modules =
        paths.filter(|path| path.is_test && path.before == "mod" && path.after == Some(';'));
    modules
        .map(|module| [place, &[module.name().to_owned()]].concat())
        .collect()
}

#[derive(Debug)]
struct Reader<'a> {
    root: &'a str,
    names: BTreeSet<&'a str>,
    /// What the root has by `use`: the module it is of, or none of ours.
    exported: BTreeMap<String, Option<String>>,
    uses: BTreeMap<(String, String), BTreeSet<Site>>,
}

impl<'a> Reader<'a> {
    /// Reads what the root has by `use`; gives all that it names for itself, without what it only re-exports.
    fn exports(&mut self, root: &'a File) -> Vec<&'a Path> {
        let mut own = Vec::new();
        // Whether we are in a `use`, and whether that is `pub`.
        let mut exports: Option<bool> = None;
        let mut before = ["", ""];
        for path in root
            .code
            .iter()
            .flat_map(|code| &code.paths)
            .filter(|path| !path.is_test)
        {
            match path.name() {
                "use" => exports = Some(before.contains(&"pub")),
                "pub" | "mod" | "fn" | "struct" | "enum" | "const" | "static" | "impl"
                | "trait" | "type" => {
                    exports = None;
                }
                _ if path.before.contains(';') => exports = None,
                name if exports.is_some() => {
                    let first = path
                        .words
                        .iter()
                        .find(|word| *word != "crate" && *word != "self");
                    let module = first.filter(|first| self.names.contains(first.as_str()));
                    // With `as` it is still of the module before.
                    let module = if path.before == "as" {
                        self.exported.get(before[0]).cloned().flatten()
                    } else {
                        module.cloned()
                    };
                    self.exported.insert(name.to_owned(), module);
                }
                _ => {}
            }
            if exports != Some(true) {
                own.push(path);
            }
            before = [before[1], path.name()];
        }
        own
    }

    fn take(&mut self, file: &File, place: &[String], paths: Vec<&Path>) {
        for path in paths.into_iter().filter(|path| !path.is_test) {
            let from = place.first().map_or(self.root, String::as_str);
            let to = match self.resolve(path, place) {
                Some(to) if to != from => to,
                _ => continue,
            };
            let site = Site {
                path: file.path.clone(),
                line: path.line,
            };
            self.uses
                .entry((from.to_owned(), to))
                .or_default()
                .insert(site);
        }
    }

    /// The module that a path leads into, if that is one of this crate.
    fn resolve(&self, path: &Path, place: &[String]) -> Option<String> {
        let mut at = [place, &path.inside].concat();
        let mut words = path.words.iter().map(String::as_str).peekable();
        match *words.peek()? {
            "crate" => at.clear(),
            "self" | "super" => {}
            // A word by itself is a variable, or the module where it is declared.
            name if at.is_empty() && path.words.len() > 1 && self.names.contains(name) => {
                return Some(name.to_owned());
            }
            _ => return None,
        }
        while let Some(word) = words.next_if(|word| matches!(*word, "crate" | "self" | "super")) {
            if word == "super" {
                at.pop();
            }
        }
        let first = at.first().map(String::as_str).or_else(|| words.next())?;
        match self.exported.get(first) {
            _ if self.names.contains(first) => Some(first.to_owned()),
            Some(module) => module.clone(),
            None => Some(self.root.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each use as `from to line`.
    fn uses(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<(String, &str)> = files
            .iter()
            .map(|(path, text)| (format!("crates/a/{path}"), *text))
            .collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        let modules = Modules::read_all(&Tree::of(
            &[&[("crates/a/Cargo.toml", "")], &files[..]].concat(),
        ));
        let sites = modules[0]
            .uses
            .iter()
            .flat_map(|(edge, sites)| sites.iter().map(move |site| (edge, site)));
        sites
            .map(|((from, to), site)| format!("{from} {to} {}", site.line))
            .collect()
    }

    #[test]
    fn a_use_is_seen_however_it_is_written() {
        for code in [
            "use crate::b::X;",
            "use crate::{b::X, a::Y};",
            "use super::b;",
            "fn f(x: &crate::b::X) {}",
            "fn f() { select! { x = super::b::f() => {} } }",
            "mod inner { use super::super::b::X; }",
            "pub use crate::{a::{Y}, b as c};",
        ] {
            assert_eq!(
                uses(&[
                    ("src/lib.rs", "mod a; mod b;"),
                    ("src/a.rs", code),
                    ("src/b.rs", "")
                ]),
                ["a b 1"],
                "{code}"
            );
            assert_eq!(
                uses(&[
                    ("src/lib.rs", "mod a; mod b;"),
                    ("src/a/mod.rs", code),
                    ("src/b/x.rs", "")
                ]),
                ["a b 1"],
                "{code}"
            );
        }
    }

    #[test]
    fn what_is_below_a_module_is_of_it() {
        let files = [
            ("src/lib.rs", ""),
            ("src/a.rs", "use crate::a::b; mod b;"),
            ("src/a/b.rs", "use super::X;\nuse super::super::c::Y;"),
            ("src/c.rs", ""),
        ];
        assert_eq!(uses(&files), ["a c 2"]);
    }

    #[test]
    fn a_re_exported_name_is_its_owners_and_the_roots_own_name_is_the_roots() {
        let root =
            "mod a; mod b; pub use b::{X, Y as Z}; pub use std::fmt; pub const LIMIT: u8 = 1;";
        let use_of = |name: &str| {
            uses(&[
                ("src/lib.rs", root),
                ("src/a.rs", &format!("use crate::{name};")),
                ("src/b.rs", ""),
            ])
        };
        assert_eq!(
            (use_of("X"), use_of("Z")),
            (vec!["a b 1".to_owned()], vec!["a b 1".to_owned()])
        );
        assert_eq!(
            (use_of("fmt"), use_of("LIMIT")),
            (vec![], vec!["a lib 1".to_owned()])
        );
    }

    #[test]
    fn the_root_uses_what_its_own_code_names() {
        let files = [
            (
                "src/main.rs",
                "mod a;\nuse a::X;\nfn main() { X::new(); a::f() }\n",
            ),
            ("src/a.rs", "use crate::main;"),
        ];
        assert_eq!(uses(&files), ["a main 1", "main a 2", "main a 3"]);
    }

    #[test]
    fn tests_do_not_count() {
        let root = ("src/lib.rs", "mod a; mod b;");
        let code =
            "use std::fmt;\n#[cfg(test)]\nmod scene;\n#[cfg(test)]\nmod tests { use crate::b::X; }";
        let scene = ("src/a/scene.rs", "use crate::b::X;");
        let tests = ("src/a/tests/deep.rs", "use crate::b::X;");
        assert_eq!(
            uses(&[root, ("src/a.rs", code), ("src/b.rs", ""), scene, tests]),
            [] as [String; 0]
        );
    }
}
