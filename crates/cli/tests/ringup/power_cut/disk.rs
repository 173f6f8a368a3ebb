//! A disk that forgets, in a power cut, what was not synced.
//!
//! What a file holds is safe once an fsync of that file has come back that began after the write. A name (made, moved,
//! removed) is safe once an fsync of its folder has; syncing the file does not save its name. One name operation is
//! whole or not at all. Of the rest a cut leaves nothing, or everything, or whatever chance picks: of each file some
//! writes, in any order, each perhaps only to a sector's end; of names those up to some point.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use super::trace::{Call, Step};
use crate::mail::Chance;

const SECTOR: usize = 512;

/// What a cut leaves of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    Nothing,
    Everything,
    Some,
}

/// A change of a file that is not synced yet.
#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, octets: Vec<u8> },
    Truncate(usize),
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Files: what is safe of the content.
    safe: Vec<u8>,
    size: usize,
    unsynced: Vec<(usize, Change)>,
    /// Folders: what is in them, and what of that is safe.
    entries: BTreeMap<String, usize>,
    safe_entries: BTreeMap<String, usize>,
    is_folder: bool,
}

/// Names changed together: of which folder, which, and what they name from then on.
#[derive(Debug, Clone)]
struct Renaming {
    step: usize,
    names: Vec<(usize, String, Option<usize>)>,
}

#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: PathBuf,
    nodes: Vec<Node>,
    renamings: Vec<Renaming>,
    /// Where the next write of an open file goes.
    offsets: BTreeMap<(usize, String), usize>,
    steps: usize,
}

const ROOT: usize = 0;

impl Disk {
    /// What is at `root` now, all of it safe.
    pub(super) fn of(root: &Path, folders: &[&str]) -> Self {
        let folder = Node {
            is_folder: true,
            ..Node::default()
        };
        let mut disk = Self {
            root: root.to_owned(),
            nodes: vec![folder],
            renamings: vec![],
            offsets: BTreeMap::new(),
            steps: 0,
        };
        for name in folders {
            disk.read(ROOT, name, &root.join(name));
        }
        disk
    }

    fn read(&mut self, parent: usize, name: &str, path: &Path) {
        let found = fs::metadata(path).unwrap();
        let node = self.nodes.len();
        if found.is_dir() {
            self.nodes.push(Node {
                is_folder: true,
                ..Node::default()
            });
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                // Sockets and the like are not on the disk.
                if entry.file_type().unwrap().is_dir() || entry.file_type().unwrap().is_file() {
                    self.read(node, entry.file_name().to_str().unwrap(), &entry.path());
                }
            }
        } else {
            let safe = fs::read(path).unwrap();
            self.nodes.push(Node {
                size: safe.len(),
                safe,
                ..Node::default()
            });
        }
        self.nodes[parent].entries.insert(name.to_owned(), node);
        self.nodes[parent]
            .safe_entries
            .insert(name.to_owned(), node);
    }

    /// Does the next step of the trace.
    pub(super) fn step(&mut self, step: &Step) {
        let now = self.steps;
        self.steps += 1;
        match &step.call {
            Call::Open {
                path,
                fd,
                is_new,
                is_emptied,
            } => self.open(now, path, fd, *is_new, *is_emptied),
            Call::Write {
                path,
                fd,
                at,
                octets,
            } => {
                let Some(node) = self.find(path) else { return };
                let key = (node, fd.clone());
                let at = at.unwrap_or_else(|| self.offsets.get(&key).copied().unwrap_or_default());
                self.offsets.insert(key, at + octets.len());
                self.nodes[node].size = self.nodes[node].size.max(at + octets.len());
                self.nodes[node].unsynced.push((
                    now,
                    Change::Write {
                        at,
                        octets: octets.clone(),
                    },
                ));
            }
            Call::Truncate { path, size } => {
                if let Some(node) = self.find(path) {
                    self.nodes[node].size = *size;
                    self.nodes[node]
                        .unsynced
                        .push((now, Change::Truncate(*size)));
                }
            }
            Call::Sync { path } => {
                let Some(node) = self.find(path) else { return };
                if self.nodes[node].is_folder {
                    self.sync_folder(node, step.began);
                } else {
                    self.nodes[node].sync(step.began);
                }
            }
            Call::Rename { from, to } => {
                let (Some((old, from)), Some((new, to))) = (self.place(from), self.place(to))
                else {
                    return;
                };
                let node = self.nodes[old].entries.get(&from).copied();
                self.name(now, vec![(old, from, None), (new, to, node)]);
            }
            Call::Remove { path } => {
                if let Some((folder, name)) = self.place(path) {
                    self.name(now, vec![(folder, name, None)]);
                }
            }
            Call::MakeFolder { path } => {
                if let Some((folder, name)) = self.place(path) {
                    self.nodes.push(Node {
                        is_folder: true,
                        ..Node::default()
                    });
                    self.name(now, vec![(folder, name, Some(self.nodes.len() - 1))]);
                }
            }
        }
    }

    /// Goes on to the next step without having done this one.
    pub(super) fn pass(&mut self) {
        self.steps += 1;
    }

    fn open(&mut self, now: usize, path: &Path, fd: &str, is_new: bool, is_emptied: bool) {
        let node = match (self.find(path), self.place(path)) {
            (Some(node), _) => node,
            (None, Some((folder, name))) if is_new => {
                self.nodes.push(Node::default());
                self.name(now, vec![(folder, name, Some(self.nodes.len() - 1))]);
                self.nodes.len() - 1
            }
            _ => return,
        };
        self.offsets.insert((node, fd.to_owned()), 0);
        if is_emptied {
            self.nodes[node].size = 0;
            self.nodes[node].unsynced.push((now, Change::Truncate(0)));
        }
    }

    fn name(&mut self, step: usize, names: Vec<(usize, String, Option<usize>)>) {
        for (folder, name, node) in &names {
            put(&mut self.nodes[*folder].entries, name, *node);
        }
        self.renamings.push(Renaming { step, names });
    }

    /// Saves the names of a folder, and what has to come with them: a name that moved has left its old folder.
    fn sync_folder(&mut self, folder: usize, began: usize) {
        let mut folders = BTreeSet::from([folder]);
        let mut saved = BTreeSet::new();
        for (index, renaming) in self.renamings.iter().enumerate().rev() {
            let touches = renaming
                .names
                .iter()
                .any(|(folder, ..)| folders.contains(folder));
            if touches && renaming.step < began {
                saved.insert(index);
                folders.extend(renaming.names.iter().map(|(folder, ..)| *folder));
            }
        }
        let mut index = 0;
        self.renamings.retain(|renaming| {
            let is_saved = saved.contains(&index);
            index += 1;
            for (folder, name, node) in renaming.names.iter().filter(|_| is_saved) {
                put(&mut self.nodes[*folder].safe_entries, name, *node);
            }
            !is_saved
        });
    }

    /// Writes down, in `into`, what is there after a cut at this moment.
    pub(super) fn cut(&self, leaves: Leaves, chance: &mut Chance, into: &Path) {
        let mut left = self.clone();
        let renamings = match leaves {
            Leaves::Nothing => 0,
            Leaves::Everything => self.renamings.len(),
            Leaves::Some => below(chance, self.renamings.len() + 1),
        };
        for (folder, name, node) in self.renamings[..renamings]
            .iter()
            .flat_map(|renaming| &renaming.names)
        {
            put(&mut left.nodes[*folder].safe_entries, name, *node);
        }
        left.write(ROOT, leaves, chance, into);
    }

    fn write(&self, folder: usize, leaves: Leaves, chance: &mut Chance, into: &Path) {
        fs::create_dir_all(into).unwrap();
        for (name, node) in &self.nodes[folder].safe_entries {
            let path = into.join(name);
            if self.nodes[*node].is_folder {
                self.write(*node, leaves, chance, &path);
            } else if !name.ends_with("-shm") {
                // SQLite's index of its log is memory that two programs share, and made anew.
                let content = self.nodes[*node].left(leaves, chance);
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)
                    .unwrap();
                std::io::Write::write_all(&mut file, &content).unwrap();
            }
        }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        self.names(path)?.iter().try_fold(ROOT, |folder, name| {
            self.nodes[folder].entries.get(name).copied()
        })
    }

    /// The folder in which a name is or comes to be.
    fn place(&self, path: &Path) -> Option<(usize, String)> {
        let names = self.names(path)?;
        let (name, folders) = names.split_last()?;
        let folder = folders.iter().try_fold(ROOT, |folder, name| {
            self.nodes[folder].entries.get(name).copied()
        })?;
        (folder != ROOT).then(|| (folder, name.clone()))
    }

    /// A path's names below the root; relative ones are the programs', which work there. None: it is elsewhere.
    fn names(&self, path: &Path) -> Option<Vec<String>> {
        let below = if path.is_absolute() {
            path.strip_prefix(&self.root).ok()?
        } else {
            path
        };
        let names = below.components().filter(|part| *part != Component::CurDir);
        let names: Option<Vec<_>> = names
            .map(|part| part.as_os_str().to_str().map(str::to_owned))
            .collect();
        names.filter(|names| !names.is_empty())
    }
}

impl Node {
    fn sync(&mut self, began: usize) {
        let changes = std::mem::take(&mut self.unsynced);
        for (step, change) in changes {
            if step < began {
                apply(&mut self.safe, &change);
            } else {
                self.unsynced.push((step, change));
            }
        }
    }

    fn left(&self, leaves: Leaves, chance: &mut Chance) -> Vec<u8> {
        let mut content = self.safe.clone();
        for (_, change) in &self.unsynced {
            match (leaves, change) {
                (Leaves::Nothing, _) => {}
                (Leaves::Everything, change) => apply(&mut content, change),
                (Leaves::Some, _) if chance.once_in(2) => {}
                (Leaves::Some, Change::Write { at, octets }) if chance.once_in(3) => {
                    let sectors = below(chance, octets.len() / SECTOR + 1);
                    apply(
                        &mut content,
                        &Change::Write {
                            at: *at,
                            octets: octets[..sectors * SECTOR].to_vec(),
                        },
                    );
                }
                (Leaves::Some, change) => apply(&mut content, change),
            }
        }
        content
    }
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate(size) => content.resize(*size, 0),
        Change::Write { at, octets } => {
            content.resize(content.len().max(at + octets.len()), 0);
            content[*at..at + octets.len()].copy_from_slice(octets);
        }
    }
}

fn put(entries: &mut BTreeMap<String, usize>, name: &str, node: Option<usize>) {
    match node {
        Some(node) => entries.insert(name.to_owned(), node),
        None => entries.remove(name),
    };
}

fn below(chance: &mut Chance, limit: usize) -> usize {
    usize::try_from(chance.below(limit as u64)).expect("it is below a usize")
}
