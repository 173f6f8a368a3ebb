//! Rules about manifests, the lock file and the README.

use super::Breach;
use super::tree::Tree;

/// Never in the tree, and why.
const REFUSED: &[(&str, &str)] = &[
    ("aws-lc-sys", "needs a C build; TLS is rustls with ring"),
    (
        "openssl-sys",
        "needs a library of the system; TLS is rustls with ring",
    ),
];

/// The two commands that a newcomer finds in the README.
const COMMANDS: &[&str] = &["cargo run --release -- demo", "cargo xtask test"];

pub(super) fn check(tree: &Tree) -> Vec<Breach> {
    [lints(tree), lock(tree), readme(tree)].concat()
}

/// Every crate takes the lints of the workspace. One that is a workspace of its own (`fuzz/`) cannot.
fn lints(tree: &Tree) -> Vec<Breach> {
    let manifests = tree
        .files
        .iter()
        .filter(|file| file.path.rsplit('/').next() == Some("Cargo.toml"));
    manifests
        .filter_map(|file| match file.text.parse::<toml::Table>() {
            Err(error) => Some(Breach::new(&file.path, 1, format!("is not TOML: {}", error.message()))),
            Ok(manifest) if !manifest.contains_key("package") || manifest.contains_key("workspace") => None,
            Ok(manifest) => {
                let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
                let problem = "add `[lints]` with `workspace = true`: the crate is not linted like the others";
                (inherits != Some(true)).then(|| Breach::new(&file.path, 1, problem))
            }
        })
        .collect()
}

fn lock(tree: &Tree) -> Vec<Breach> {
    let Some(lock) = tree.file("Cargo.lock") else {
        return vec![Breach::new(
            "Cargo.lock",
            1,
            "is not in git: every build would be another one",
        )];
    };
    let mut breaches = Vec::new();
    for (index, line) in lock.text.lines().enumerate() {
        for (name, why) in REFUSED {
            if line == format!("name = \"{name}\"") {
                breaches.push(Breach::new(
                    &lock.path,
                    index + 1,
                    format!("{name} {why} (see: cargo tree -i {name})"),
                ));
            }
        }
    }
    breaches
}

fn readme(tree: &Tree) -> Vec<Breach> {
    let text = tree.file("README.md").map_or("", |file| &file.text);
    let missing = COMMANDS.iter().filter(|command| !text.contains(*command));
    missing
        .map(|command| {
            Breach::new(
                "README.md",
                1,
                format!("does not give the command `{command}`"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_without_the_lints_of_the_workspace_is_told() {
        let problems = |text| lints(&Tree::of(&[("crates/line/Cargo.toml", text)])).len();
        assert_eq!(
            problems("[package]\nname = \"line\"\n[lints]\nworkspace = true\n"),
            0
        );
        assert_eq!(problems("[workspace]\nmembers = []\n"), 0);
        assert_eq!(problems("[package]\nname = \"fuzz\"\n[workspace]\n"), 0);
        assert_eq!(problems("[package]\nname = \"line\"\n"), 1);
        assert_eq!(
            problems("[package]\nname = \"line\"\n[lints.rust]\nunsafe_code = \"warn\"\n"),
            1
        );
        assert_eq!(problems("[package"), 1);
    }

    #[test]
    fn a_refused_package_in_the_lock_file_is_told_with_its_line() {
        let text = "[[package]]\nname = \"openssl-sys\"\n\n[[package]]\nname = \"aws-lc-sys\"\n";
        let found: Vec<_> = lock(&Tree::of(&[("Cargo.lock", text)]))
            .iter()
            .map(|breach| breach.line)
            .collect();
        assert_eq!(found, [2, 5]);
        assert_eq!(lock(&Tree::of(&[("Cargo.lock", "name = \"ring\"")])), []);
        assert_eq!(lock(&Tree::of(&[])).len(), 1);
    }

    #[test]
    fn the_readme_gives_both_commands() {
        assert_eq!(readme(&Tree::of(&[])).len(), 2);
        assert_eq!(
            readme(&Tree::of(&[("README.md", "    cargo xtask test")])).len(),
            1
        );
        assert_eq!(
            readme(&Tree::of(&[("README.md", &COMMANDS.join("\n"))])),
            []
        );
    }
}
