//! Which of our crates depends on which: the table in ARCHITECTURE.md, held against the manifests.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use super::Breach;
use super::tree::Tree;
use crate::workspace::Workspace;

const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// The head of the table's last column. In it stand folders' last names, `-` for none, or `all`.
const COLUMN: &str = "depends on";

/// What a room's own tests may use besides: it is the world they run in.
const WORLD: &[&str] = &["crates/exchange", "tests/guest"];

/// No room may know two of these but those that bring them together. The exchange reads AT on its own, so that a mistake in
/// `modem` is not made twice.
const APART: &[&[&str]] = &[&["server", "client", "exchange"], &["exchange", "modem"]];

/// The rooms that bring all of it together; in the table their column says `all`.
const TOGETHER: &[&str] = &["crates/cli", "tests/world"];

/// One of our crates: its folder, and the folders of ours it depends on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    folder: String,
    knows: Vec<String>,
}

impl Room {
    fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }

    /// The last names of the folders that it knows, in order.
    fn known_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .knows
            .iter()
            .filter_map(|folder| folder.rsplit('/').next())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(super) fn read_all(workspace: &Workspace) -> anyhow::Result<Vec<Self>> {
        let json = workspace.output(workspace.cargo(&[
            "metadata",
            "--no-deps",
            "--locked",
            "--format-version",
            "1",
        ]))?;
        Self::from_metadata(&json)
    }

    fn from_metadata(json: &str) -> anyhow::Result<Vec<Self>> {
        let metadata: Metadata =
            serde_json::from_str(json).context("could not read what cargo metadata printed")?;
        let folder = |path: &str| {
            let inside = path.strip_prefix(&metadata.workspace_root).unwrap_or(path);
            inside.replace('\\', "/").trim_start_matches('/').to_owned()
        };
        let room = |package: &Package| Self {
            folder: folder(
                package
                    .manifest_path
                    .trim_end_matches("Cargo.toml")
                    .trim_end_matches(['/', '\\']),
            ),
            knows: package
                .dependencies
                .iter()
                .filter_map(|known| known.folder(folder))
                .collect(),
        };
        Ok(metadata.packages.iter().map(room).collect())
    }
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: String,
}

#[derive(Debug, Deserialize)]
struct Package {
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    /// Only of what is in a folder: ours.
    path: Option<String>,
    /// `dev`, `build`, or nothing.
    kind: Option<String>,
}

impl Dependency {
    /// The folder of one of ours that this is, unless it is the world of tests.
    fn folder(&self, folder: impl Fn(&str) -> String) -> Option<String> {
        let known = folder(self.path.as_deref()?);
        let is_world = self.kind.as_deref() == Some("dev") && WORLD.contains(&known.as_str());
        (!is_world).then_some(known)
    }
}

pub(super) fn check(tree: &Tree, rooms: &[Room]) -> Vec<Breach> {
    let mut table = table(tree.file(ARCHITECTURE).map_or("", |file| &file.text));
    let mut breaches = Vec::new();
    for room in rooms {
        match table.remove(room.folder.as_str()) {
            Some((line, column)) => breaches.extend(check_room(room, line, column)),
            None => {
                let problem = "a new crate: give it a row in ARCHITECTURE.md, with what it depends on and why it is one";
                breaches.push(Breach::new(&room.manifest(), 1, problem));
            }
        }
    }
    for (folder, (line, _)) in table {
        breaches.push(Breach::new(
            ARCHITECTURE,
            line,
            format!("there is no crate {folder}"),
        ));
    }
    breaches
}

fn check_room(room: &Room, line: usize, column: &str) -> Vec<Breach> {
    let knows = room.known_names();
    let mut listed: Vec<&str> = column.split(", ").filter(|name| *name != "-").collect();
    listed.sort_unstable();
    let mut breaches = Vec::new();
    if listed != ["all"] && listed != knows {
        let (listed, knows) = (shown(&listed), shown(&knows));
        let problem = format!(
            "{} depends on {listed}: by {} that is {knows}",
            room.folder,
            room.manifest()
        );
        breaches.push(Breach::new(ARCHITECTURE, line, problem));
    }
    if TOGETHER.contains(&room.folder.as_str()) {
        return breaches;
    }
    if listed == ["all"] {
        breaches.push(Breach::new(
            ARCHITECTURE,
            line,
            format!("only {} depend on all", TOGETHER.join(" and ")),
        ));
    }
    let own = room.folder.rsplit('/').next().unwrap_or_default();
    for apart in APART {
        let both: Vec<&str> = apart
            .iter()
            .copied()
            .filter(|name| *name == own || knows.contains(name))
            .collect();
        if both.len() > 1 {
            let (both, together) = (both.join(" and "), TOGETHER.join(" and "));
            let problem = format!("{both} stay apart: only {together} may know both");
            breaches.push(Breach::new(&room.manifest(), 1, problem));
        }
    }
    breaches
}

fn shown(names: &[&str]) -> String {
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(", ")
    }
}

/// The rows of the table: folder, line, last column.
fn table<'a>(text: &'a str) -> BTreeMap<&'a str, (usize, &'a str)> {
    let rows = text
        .lines()
        .enumerate()
        .skip_while(|(_, row)| !row.trim_end_matches([' ', '|']).ends_with(COLUMN));
    let rows = rows.skip(2).take_while(|(_, row)| row.starts_with('|'));
    let cells = |row: &'a str| row.trim_matches('|').split('|').map(str::trim);
    rows.filter_map(|(at, row)| {
        Some((
            cells(row).next()?.trim_matches('`'),
            (at + 1, cells(row).next_back()?),
        ))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Rooms

| crate | what it owns | depends on |
|---|---|---|
| `crates/modem` | AT | - |
| `crates/ppp` | PPP | - |
| `crates/line` | calls, numbers | modem |
| `crates/link` | IP | ppp, line |
| `crates/exchange` | AT by itself | - |
| `crates/server` | | link |
| `crates/cli` | | all |

| `crates/other` | | - |
";

    fn room(folder: &str, knows: &[&str]) -> Room {
        Room {
            folder: folder.to_owned(),
            knows: knows.iter().map(ToString::to_string).collect(),
        }
    }

    /// The problems with one room, the others being as the table says.
    fn problems(table: &str, changed: Room) -> Vec<String> {
        let mut rooms = vec![
            room("crates/modem", &[]),
            room("crates/ppp", &[]),
            room("crates/line", &["crates/modem"]),
            room("crates/link", &["crates/line", "crates/ppp"]),
            room("crates/exchange", &[]),
            room("crates/server", &["crates/link"]),
            room("crates/cli", &["crates/server", "crates/exchange"]),
        ];
        rooms.retain(|room| room.folder != changed.folder);
        rooms.push(changed);
        check(&Tree::of(&[(ARCHITECTURE, table)]), &rooms)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_room_knows_exactly_the_rooms_that_the_table_names() {
        assert_eq!(
            problems(TABLE, room("crates/line", &["crates/modem"])),
            [] as [String; 0]
        );
        assert_eq!(
            problems(
                TABLE,
                room("crates/cli", &["crates/client", "crates/modem"])
            ),
            [] as [String; 0]
        );
        let found = problems(
            TABLE,
            room(
                "crates/link",
                &["crates/modem", "crates/line", "crates/ppp"],
            ),
        );
        assert_eq!(
            found,
            [
                "ARCHITECTURE.md:8: crates/link depends on line, ppp: by crates/link/Cargo.toml that is line, modem, ppp"
            ]
        );
        assert_eq!(problems(TABLE, room("crates/line", &[])).len(), 1);
    }

    #[test]
    fn rooms_that_stay_apart_are_brought_together_by_no_row() {
        let table = TABLE
            .replace("| AT by itself | -", "| AT by itself | modem")
            .replace("| | link", "| | exchange");
        let apart = "crates/exchange/Cargo.toml:1: exchange and modem stay apart: only crates/cli and tests/world may know both";
        assert!(
            problems(&table, room("crates/exchange", &["crates/modem"]))
                .contains(&apart.to_owned())
        );
        assert_eq!(
            problems(&table, room("crates/server", &["crates/exchange"])).len(),
            2
        );
        let all = TABLE.replace("modem |", "all |");
        assert_eq!(
            problems(&all, room("crates/line", &["crates/modem"])),
            ["ARCHITECTURE.md:7: only crates/cli and tests/world depend on all"]
        );
    }

    #[test]
    fn a_crate_without_a_row_and_a_row_without_a_crate_are_told() {
        assert_eq!(problems(TABLE, room("crates/types", &[])).len(), 1);
        let more = TABLE.replace("| `crates/cli`", "| `crates/gone` | | - |\n| `crates/cli`");
        assert_eq!(
            problems(&more, room("crates/line", &["crates/modem"])),
            ["ARCHITECTURE.md:11: there is no crate crates/gone"]
        );
    }

    #[test]
    fn a_rooms_tests_may_use_the_exchange_and_the_room_may_not() {
        let knows = |kind: &str| {
            let json = r#"{"workspace_root":"/w","packages":[{"manifest_path":"/w/crates/client/Cargo.toml","dependencies":[
                {"name":"exchange","path":"/w/crates/exchange","kind":KIND}]}]}"#;
            Room::from_metadata(&json.replace("KIND", kind)).unwrap()[0]
                .knows
                .len()
        };
        assert_eq!((knows("\"dev\""), knows("null")), (0, 1));
    }

    #[test]
    fn rooms_are_read_from_metadata() {
        let json = r#"{"workspace_root":"/w","packages":[{"manifest_path":"/w/crates/line/Cargo.toml","dependencies":[
            {"name":"modem","path":"/w/crates/modem","kind":"dev"},{"name":"bytes"}]}]}"#;
        let line = Room {
            folder: "crates/line".to_owned(),
            knows: vec!["crates/modem".to_owned()],
        };
        assert_eq!(Room::from_metadata(json).unwrap(), [line]);
    }
}
