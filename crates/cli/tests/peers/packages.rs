//! Our Debian packages in a Debian of their own, in a guest. `cargo xtask peers` fetches that, `cargo xtask test` builds them.

use std::path::Path;

use rusqlite::Connection;

use crate::guests::{self, peers};

/// In the guest: what runs first, and has `script` run inside.
const DEBIAN: &str = include_str!("packages/debian.sh");

/// Has a script run in the Debian, with the packages and what is in `folder` at hand, to its end.
async fn run(folder: &Path, script: &str) {
    let debian = peers().with_file_name("debian");
    assert!(
        debian.join("usr/bin/lintian").exists(),
        "no Debian in a folder: run `cargo xtask peers`"
    );
    let mut guest = guests::roomy(&[("debian.sh", DEBIAN), ("script", script)]).await;
    let (debian, packages) = (debian.display(), folder.display());
    guest
        .run(&format!(
            "DEBIAN='{debian}' PACKAGES='{packages}' sh -e /debian.sh"
        ))
        .await;
    loop {
        let said = guest.said("@").await;
        if let Some(code) = said.strip_prefix("end ") {
            assert_eq!(code, "0", "the script failed");
            return;
        }
    }
}

/// A folder with the packages that were built, each version of each.
fn packages() -> tempfile::TempDir {
    let built = peers().with_file_name("packages");
    let folder = tempfile::tempdir().unwrap();
    let files = std::fs::read_dir(&built).expect("no packages: `cargo xtask test` builds them");
    for file in files
        .map(|file| file.unwrap().path())
        .filter(|file| file.extension().is_some_and(|kind| kind == "deb"))
    {
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    folder
}

/// A store of the first schema.
fn write_version_1(place: &Path) {
    let db = Connection::open(place).unwrap();
    db.execute_batch(include_str!("../../../store/src/schema/the-call.sql"))
        .unwrap();
    db.execute_batch(include_str!("packages/version-1.sql"))
        .unwrap();
}

#[tokio::test]
async fn packages_install_upgrade_with_their_data_refuse_a_downgrade_and_purge() {
    let folder = packages();
    write_version_1(&folder.path().join("version-1.db"));
    run(folder.path(), include_str!("packages/life.sh")).await;
}

#[tokio::test]
async fn lintian_finds_no_errors_in_the_packages() {
    run(packages().path(), include_str!("packages/lintian.sh")).await;
}

#[tokio::test]
async fn every_unit_is_confined() {
    run(packages().path(), include_str!("packages/units.sh")).await;
}
