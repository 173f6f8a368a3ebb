//! What is on a medium, while it is put together in a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use delivery::proof::PublicKey;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::sums::{self, SIGNATURE, SUMS, Sums};

/// As they are in the workspace.
const FILES: [(&str, &str); 6] = [
    (
        "README.txt",
        include_str!("../../../../../dist/medium/README.txt"),
    ),
    (
        "licences/LICENSE-APACHE",
        include_str!("../../../../../LICENSE-APACHE"),
    ),
    (
        "licences/LICENSE-MIT",
        include_str!("../../../../../LICENSE-MIT"),
    ),
    (
        "openrc/ringup-wait",
        include_str!("../../../../../dist/openrc/ringup-wait"),
    ),
    (
        "systemd/ringup-wait@.service",
        include_str!("../../../../../dist/systemd/ringup-wait@.service"),
    ),
    (
        "udev/60-ringup.rules",
        include_str!("../../../../../dist/udev/60-ringup.rules"),
    ),
];

const INSTALLER: &str = include_str!("../../../../../dist/medium/install.sh");

pub(super) struct Contents {
    folder: TempDir,
    sums: Sums,
}

impl Contents {
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ringup-medium-").tempdir();
        Ok(Self {
            folder: folder.context("could not make a folder for the medium's files")?,
            sums: Sums::new(),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn what_every_medium_has(&mut self) -> anyhow::Result<()> {
        for (name, text) in FILES {
            self.file(name, text.as_bytes())?;
        }
        self.program("install.sh", INSTALLER.as_bytes())
    }

    pub(super) fn program(&mut self, name: &str, octets: &[u8]) -> anyhow::Result<()> {
        self.add(name, octets, 0o755)
    }

    pub(super) fn file(&mut self, name: &str, octets: &[u8]) -> anyhow::Result<()> {
        self.add(name, octets, 0o644)
    }

    fn add(&mut self, name: &str, octets: &[u8], mode: u32) -> anyhow::Result<()> {
        anyhow::ensure!(
            sums::is_name(name),
            "a medium has no file {name:?}: only letters, digits and . _ @ - in names"
        );
        anyhow::ensure!(
            !self.sums.contains_key(name),
            "there is a {name} on the medium already"
        );
        self.put(name, octets, mode)?;
        self.sums
            .insert(name.to_owned(), Sha256::digest(octets).into());
        Ok(())
    }

    fn put(&self, name: &str, octets: &[u8], mode: u32) -> anyhow::Result<()> {
        let path = self.folder().join(name);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, octets));
        written
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("could not write {}", path.display()))
    }

    /// Adds the digests of all that is there, and their signature.
    pub(super) fn sign(
        &self,
        sign: impl FnOnce(&[u8]) -> anyhow::Result<(PublicKey, [u8; 64])>,
    ) -> anyhow::Result<PublicKey> {
        let text = sums::write(&self.sums);
        let (key, signature) = sign(text.as_bytes())?;
        self.put(SUMS, text.as_bytes(), 0o644)?;
        self.put(SIGNATURE, &signature, 0o644)?;
        Ok(key)
    }
}
