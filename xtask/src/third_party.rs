//! What others have written and is linked into our programs: the texts of their licences, and a bill of materials
//! (CycloneDX 1.5, ECMA-424).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::workspace::Workspace;

/// Prints what others have written and is in `ringup`: the texts of their licences, or a bill of materials.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask third-party licences > third-party.txt
  cargo xtask third-party sbom --features answer > terminal.cdx.json

The same Cargo.lock gives the same octets.")]
pub(crate) struct ThirdParty {
    what: What,
    /// Of a program with these features only [default: all that it is built with by default]
    #[arg(long, value_name = "FEATURES")]
    features: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// The texts of licences and notices, each with the libraries that it is of
    Licences,
    /// A bill of materials: CycloneDX 1.5, JSON
    Sbom,
}

impl ThirdParty {
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let parts = Parts::of(workspace, self.features.as_deref())?;
        match self.what {
            What::Licences => print!("{}", parts.licences()?),
            What::Sbom => println!("{}", parts.sbom()?),
        }
        Ok(())
    }
}

/// A library's name and version.
type Id = (String, String);

/// What `ringup` is made of.
pub(crate) struct Parts {
    program: Id,
    libraries: BTreeMap<Id, Library>,
    /// Which needs which.
    needs: BTreeMap<Id, BTreeSet<Id>>,
}

struct Library {
    licence: String,
    authors: String,
    folder: PathBuf,
    /// SHA-256 of its archive; ours have none.
    checksum: Option<String>,
}

impl Parts {
    /// # Errors
    /// If cargo does not know them.
    pub(crate) fn of(workspace: &Workspace, features: Option<&str>) -> anyhow::Result<Self> {
        let mut arguments = vec![
            "tree",
            "--quiet",
            "--locked",
            "--package",
            "ringup",
            "--edges",
            "normal",
        ];
        arguments.extend(["--prefix", "depth", "--format", " {p}"]);
        if let Some(features) = features {
            arguments.extend(["--no-default-features", "--features", features]);
        }
        let (program, needs) = tree(&workspace.output(workspace.cargo(&arguments))?)?;
        let mut all = known(workspace)?;
        let ids = needs
            .values()
            .flatten()
            .chain([&program])
            .collect::<BTreeSet<_>>();
        let mut libraries = BTreeMap::new();
        for id in ids {
            let library = all
                .remove(id)
                .with_context(|| format!("cargo metadata has no {id:?}"))?;
            libraries.insert(id.clone(), library);
        }
        Ok(Self {
            program,
            libraries,
            needs,
        })
    }

    /// Those of others.
    fn foreign(&self) -> impl Iterator<Item = (&Id, &Library)> {
        self.libraries
            .iter()
            .filter(|(_, library)| library.checksum.is_some())
    }

    /// Every text of a licence or notice that a library comes with, once.
    pub(crate) fn licences(&self) -> anyhow::Result<String> {
        let mut texts: BTreeMap<String, (BTreeSet<&Id>, String)> = BTreeMap::new();
        let mut list = String::new();
        for (id, library) in self.foreign() {
            let own = texts_below(&library.folder)?;
            let word = if own.is_empty() {
                "  (without a text of its own)"
            } else {
                ""
            };
            list += &format!(
                "{} {}: {}; {}{word}\n",
                id.0, id.1, library.licence, library.authors
            );
            for text in own {
                let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
                texts
                    .entry(words)
                    .or_insert_with(|| (BTreeSet::new(), text))
                    .0
                    .insert(id);
            }
        }
        let rule = "=".repeat(78);
        let mut out = format!(
            "Libraries of others that are linked into this program, and their licences.\n\n{list}"
        );
        for (of, text) in texts.values() {
            let of = of
                .iter()
                .map(|(name, version)| format!("{name} {version}"))
                .collect::<Vec<_>>()
                .join(", ");
            out += &format!("\n{rule}\n{of}\n{rule}\n\n{}\n", text.trim_end());
        }
        Ok(out)
    }

    /// The bill of materials.
    pub(crate) fn sbom(&self) -> anyhow::Result<String> {
        let component = |id: &Id, library: &Library, kind: &str| {
            let mut component = json!({
                "type": kind, "bom-ref": purl(id), "name": id.0, "version": id.1, "purl": purl(id),
                "licenses": [{"expression": library.licence}],
            });
            if let Some(checksum) = &library.checksum {
                component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
            }
            component
        };
        let (program, rest): (Vec<_>, Vec<_>) = self
            .libraries
            .iter()
            .partition(|(id, _)| **id == self.program);
        let dependencies = self.libraries.keys().map(|id| {
            let needs = self
                .needs
                .get(id)
                .into_iter()
                .flatten()
                .map(purl)
                .collect::<Vec<_>>();
            json!({"ref": purl(id), "dependsOn": needs})
        });
        let bill = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {"component": program.first().map(|(id, library)| component(id, library, "application"))},
            "components": rest.iter().map(|(id, library)| component(id, library, "library")).collect::<Vec<_>>(),
            "dependencies": dependencies.collect::<Vec<_>>(),
        });
        Ok(serde_json::to_string_pretty(&bill)?)
    }
}

/// The name of a package of crates.io in the form that all lists of packages know (purl).
fn purl((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

/// Reads `cargo tree --prefix depth`: the root, and what needs what. What was shown before is shown without what it needs.
fn tree(text: &str) -> anyhow::Result<(Id, BTreeMap<Id, BTreeSet<Id>>)> {
    let mut needs: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
    let mut path: Vec<Id> = vec![];
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(depth), Some(name), Some(version)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        path.truncate(depth.parse().with_context(|| format!("no depth: {line}"))?);
        let id = (name.to_owned(), version.trim_start_matches('v').to_owned());
        if let Some(parent) = path.last() {
            needs.entry(parent.clone()).or_default().insert(id.clone());
        }
        path.push(id);
    }
    Ok((path.into_iter().next().context("an empty tree")?, needs))
}

/// All packages of Cargo.lock.
fn known(workspace: &Workspace) -> anyhow::Result<BTreeMap<Id, Library>> {
    let lock: toml::Table = fs::read_to_string(workspace.root().join("Cargo.lock"))?.parse()?;
    let locked = lock
        .get("package")
        .and_then(toml::Value::as_array)
        .context("Cargo.lock lists packages")?;
    let checksum = |id: &Id| {
        let is = |package: &&toml::Value| {
            let field = |name| package.get(name).and_then(toml::Value::as_str);
            field("name") == Some(&id.0) && field("version") == Some(&id.1)
        };
        Some(
            locked
                .iter()
                .find(is)?
                .get("checksum")?
                .as_str()?
                .to_owned(),
        )
    };
    let json = workspace.output(workspace.cargo(&[
        "metadata",
        "--quiet",
        "--locked",
        "--format-version",
        "1",
    ]))?;
    let metadata: Value = serde_json::from_str(&json)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata lists packages")?;
    let package = |package: &Value| {
        let field = |name: &str| package[name].as_str().map(str::to_owned);
        let id = (field("name")?, field("version")?);
        let folder = Path::new(package["manifest_path"].as_str()?)
            .parent()?
            .to_owned();
        let authors = package["authors"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        let licence = field("license")?.replace('/', " OR "); // as it was written before SPDX expressions
        let authors = if authors.is_empty() {
            "its authors".to_owned()
        } else {
            authors
        };
        Some((
            id.clone(),
            Library {
                licence,
                authors,
                folder,
                checksum: checksum(&id),
            },
        ))
    };
    Ok(packages.iter().filter_map(package).collect())
}

/// Licences and notices in a folder, and in the folders in it: what a library of C is linked from has its own.
fn texts_below(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let inner = if path.is_dir() {
            fs::read_dir(&path)?
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        } else {
            vec![path]
        };
        files.extend(
            inner
                .into_iter()
                .filter(|path| path.is_file() && is_licence(path)),
        );
    }
    files
        .iter()
        .map(|file| Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned()))
        .collect()
}

fn is_licence(file: &Path) -> bool {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_uppercase();
    let is_code = [".RS", ".TOML", ".PY", ".GO", ".SH"]
        .iter()
        .any(|end| name.ends_with(end));
    [
        "LICENSE",
        "LICENCE",
        "COPYING",
        "COPYRIGHT",
        "NOTICE",
        "UNLICENSE",
    ]
    .iter()
    .any(|word| name.starts_with(word))
        && !is_code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn a_tree_says_what_needs_what_also_where_a_part_was_shown_before() {
        let text = "0 ringup v0.1.0 (/somewhere)\n1 a v1.0.0\n2 b v2.0.0+z\n1 c v3.0.0 (proc-macro)\n2 a v1.0.0 (*)\n";
        let (root, needs) = tree(text).unwrap();
        assert_eq!(root, id("ringup", "0.1.0"));
        assert_eq!(
            needs[&root],
            BTreeSet::from([id("a", "1.0.0"), id("c", "3.0.0")])
        );
        assert_eq!(
            needs[&id("a", "1.0.0")],
            BTreeSet::from([id("b", "2.0.0+z")])
        );
        assert_eq!(needs[&id("c", "3.0.0")], BTreeSet::from([id("a", "1.0.0")]));
        assert_eq!(purl(&id("b", "2.0.0+z")), "pkg:cargo/b@2.0.0%2Bz");
    }

    #[test]
    fn a_licence_is_known_by_its_name_and_is_not_code() {
        for name in [
            "LICENSE-MIT",
            "license.txt",
            "COPYING",
            "NOTICE.md",
            "UNLICENSE",
        ] {
            assert!(is_licence(Path::new(name)), "{name}");
        }
        for name in ["README.md", "license.rs", "src"] {
            assert!(!is_licence(Path::new(name)), "{name}");
        }
    }
}
