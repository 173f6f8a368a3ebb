//! Which of our crates may know which: ARCHITECTURE.md as a table.

use anyhow::Context as _;
use serde::Deserialize;

use super::Breach;
use crate::workspace::Workspace;

/// What a room may depend on. A room's own tests may use `exchange` and `guest` besides: they are the world they run in. The exchange reads AT
/// on its own, so that a mistake in `modem` is not made twice. Only `cli` and `tests/world` know server, client and
/// exchange together.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("crates/ppp", &[]),
    ("crates/modem", &[]),
    ("crates/delivery", &[]),
    ("crates/exchange", &[]),
    ("crates/line", &["crates/modem"]),
    ("crates/link", &["crates/ppp", "crates/line"]),
    ("crates/server", PROGRAM),
    ("crates/client", PROGRAM),
    ("crates/cli", EVERYTHING),
    ("tests/world", EVERYTHING),
    ("tests/guest", &[]),
    ("xtask", &[]),
];

const PROGRAM: &[&str] = &["crates/link", "crates/line", "crates/delivery", "crates/modem", "crates/ppp"];

const EVERYTHING: &[&str] = &[
    "crates/ppp",
    "crates/modem",
    "crates/delivery",
    "crates/exchange",
    "crates/line",
    "crates/link",
    "crates/server",
    "crates/client",
];

/// One of our crates: its folder, and the folders of ours it depends on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    folder: String,
    knows: Vec<String>,
}

impl Room {
    pub(super) fn read_all(workspace: &Workspace) -> anyhow::Result<Vec<Self>> {
        let json =
            workspace.output(workspace.cargo(&["metadata", "--no-deps", "--locked", "--format-version", "1"]))?;
        Self::from_metadata(&json)
    }

    fn from_metadata(json: &str) -> anyhow::Result<Vec<Self>> {
        let metadata: Metadata = serde_json::from_str(json).context("could not read what cargo metadata printed")?;
        let folder = |path: &str| {
            let inside = path.strip_prefix(&metadata.workspace_root).unwrap_or(path);
            inside.replace('\\', "/").trim_start_matches('/').to_owned()
        };
        let room = |package: &Package| Self {
            folder: folder(package.manifest_path.trim_end_matches("Cargo.toml").trim_end_matches(['/', '\\'])),
            knows: package.dependencies.iter().filter_map(|known| known.folder(folder)).collect(),
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
        let is_world =
            self.kind.as_deref() == Some("dev") && ["crates/exchange", "tests/guest"].contains(&known.as_str());
        (!is_world).then_some(known)
    }
}

pub(super) fn check(rooms: &[Room]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for room in rooms {
        let manifest = format!("{}/Cargo.toml", room.folder);
        let Some((_, may_know)) = MAY_KNOW.iter().find(|(folder, _)| *folder == room.folder) else {
            let problem = "a new crate: say what it may depend on, in MAY_KNOW in xtask, and why it is one in the docs";
            breaches.push(Breach::new(&manifest, 1, problem));
            continue;
        };
        for known in room.knows.iter().filter(|known| !may_know.contains(&known.as_str())) {
            let problem = match may_know {
                [] => format!("{} depends on {known}, and may depend on nothing of ours", room.folder),
                some => format!("{} depends on {known}, and may only on {}", room.folder, some.join(", ")),
            };
            breaches.push(Breach::new(&manifest, 1, problem));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(folder: &str, knows: &[&str]) -> usize {
        let knows = knows.iter().map(ToString::to_string).collect();
        check(&[Room { folder: folder.to_owned(), knows }]).len()
    }

    #[test]
    fn a_room_knows_only_the_rooms_below_it() {
        assert_eq!(problems("crates/line", &["crates/modem"]), 0);
        assert_eq!(problems("crates/cli", &["crates/server", "crates/client", "crates/exchange"]), 0);
        assert_eq!(problems("crates/exchange", &["crates/modem"]), 1);
        assert_eq!(problems("crates/ppp", &["crates/line"]), 1);
        assert_eq!(problems("crates/link", &["crates/modem"]), 1);
        assert_eq!(problems("crates/server", &["crates/client", "crates/exchange", "crates/link"]), 2);
        assert_eq!(problems("crates/client", &["crates/server"]), 1);
    }

    #[test]
    fn a_rooms_tests_may_use_the_exchange_and_the_room_may_not() {
        let line = |kind: &str| {
            let json = r#"{"workspace_root":"/w","packages":[{"manifest_path":"/w/crates/client/Cargo.toml","dependencies":[
                {"name":"exchange","path":"/w/crates/exchange","kind":KIND}]}]}"#;
            check(&Room::from_metadata(&json.replace("KIND", kind)).unwrap()).len()
        };
        assert_eq!((line("\"dev\""), line("null")), (0, 1));
    }

    #[test]
    fn a_crate_that_is_not_in_the_table_is_told() {
        assert_eq!(problems("crates/types", &[]), 1);
    }

    #[test]
    fn rooms_are_read_from_metadata() {
        let json = r#"{"workspace_root":"/w","packages":[{"manifest_path":"/w/crates/line/Cargo.toml","dependencies":[
            {"name":"modem","path":"/w/crates/modem","kind":"dev"},{"name":"bytes"}]}]}"#;
        let line = Room { folder: "crates/line".to_owned(), knows: vec!["crates/modem".to_owned()] };
        assert_eq!(Room::from_metadata(json).unwrap(), [line]);
    }
}
