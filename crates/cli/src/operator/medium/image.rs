//! ISO 9660, written and read by xorriso.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use delivery::proof::PublicKey;
use sha2::{Digest as _, Sha256};

use super::seal;
use super::sums::{self, Digest};

/// What a medium may have of files that are read into memory, and of names.
const SMALL_OCTETS_MAX: u64 = 1024 * 1024;

/// The date of all files where `SOURCE_DATE_EPOCH` says nothing: 1980, the first year of FAT, which a stick may be copied to.
const EPOCH: u64 = 315_532_800;

pub(super) struct Xorriso(PathBuf);

impl Xorriso {
    /// # Errors
    /// If it is not there.
    pub(super) fn find(program: &Path) -> anyhow::Result<Self> {
        let found = Command::new(program)
            .arg("-version")
            .stdin(Stdio::null())
            .output();
        found.with_context(|| {
            format!(
                "{} could not be started: install the package xorriso, or say where it is: --xorriso PATH",
                program.display()
            )
        })?;
        Ok(Self(program.to_owned()))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.arg("-no_rc").env("LC_ALL", "C").env("TZ", "UTC");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Writes what is in a folder, and seals it; gives the image's octets.
    ///
    /// Rock Ridge for Unix and Joliet for Windows; and a partition table, with a partition that is mounted as well as the whole,
    /// for sticks. It boots nothing.
    pub(super) fn write(
        &self,
        folder: &Path,
        image: &Path,
        sign: impl FnOnce(&[u8]) -> anyhow::Result<(PublicKey, [u8; 64])>,
    ) -> anyhow::Result<u64> {
        let date = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text
                .parse()
                .context("SOURCE_DATE_EPOCH is not seconds since 1970")?,
            Err(_) => EPOCH,
        };
        let parent = image
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let failed = || format!("could not write {}", image.display());
        // Beside it, and by its own name only when it is whole. Only its owner may read it: it may hold a bundle.
        let unfinished = tempfile::Builder::new()
            .prefix(".ringup-medium-")
            .tempfile_in(parent)
            .with_context(failed)?;
        let mut command = self.command();
        command.env("SOURCE_DATE_EPOCH", date.to_string());
        command.args([
            "-as",
            "mkisofs",
            "-quiet",
            "-r",
            "-J",
            "-V",
            "RINGUP",
            "-partition_offset",
            "16",
        ]);
        command.arg("--set_all_file_dates").arg(format!("={date}"));
        command
            .arg("-o")
            .arg(fs::canonicalize(unfinished.path())?)
            .arg(folder);
        let output = command.output()?;
        if !output.status.success() {
            bail!("xorriso failed: {}", complaint(&output.stderr));
        }
        // By its name: xorriso may have made the file anew.
        let mut written = File::options()
            .read(true)
            .write(true)
            .open(unfinished.path())
            .with_context(failed)?;
        seal::add(&mut written, sign)?;
        written.sync_all().with_context(failed)?;
        unfinished.persist(image).with_context(failed)?;
        Ok(fs::metadata(image)?.len())
    }
}

/// What xorriso says of why it failed, among all else that it says.
fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().filter(|line| {
        ["FAILURE", "FATAL", "SORRY"]
            .iter()
            .any(|word| line.contains(word))
    });
    lines
        .map(|line| line.trim_start_matches("xorriso : "))
        .collect::<Vec<_>>()
        .join("; ")
}

/// A medium that is looked at. It may be anybody's.
pub(super) enum Medium {
    /// Mounted, or copied.
    Folder(PathBuf),
    /// An image or a drive, with its octets: no file in it can have more.
    Image {
        xorriso: Xorriso,
        image: PathBuf,
        octets: u64,
        is_drive: bool,
    },
}

impl Medium {
    pub(super) fn open(path: &Path, xorriso: &Path) -> anyhow::Result<Self> {
        let canonical = path
            .canonicalize()
            .with_context(|| format!("could not read {}", path.display()))?;
        if canonical.is_dir() {
            return Ok(Self::Folder(canonical));
        }
        let kind = fs::metadata(&canonical)?.file_type();
        anyhow::ensure!(
            kind.is_file() || kind.is_block_device(),
            "{} is neither an image nor a folder nor a drive",
            path.display()
        );
        let mut file =
            File::open(&canonical).with_context(|| format!("could not read {}", path.display()))?;
        let octets = file.seek(io::SeekFrom::End(0))?; // of a drive, too
        let is_drive = kind.is_block_device();
        Ok(Self::Image {
            xorriso: Xorriso::find(xorriso)?,
            image: canonical,
            octets,
            is_drive,
        })
    }

    /// Whether there is nothing beside the files that `SHA256SUMS` has, which may be in `folders`. Gives what there is.
    ///
    /// # Errors
    /// If it cannot be read; of an image, that it is not as it was sealed, too.
    pub(super) fn besides(
        &self,
        folders: &BTreeSet<String>,
        key: PublicKey,
    ) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Folder(root) => {
                let mut found = Vec::new();
                walk(root, "", &mut |name: &str, metadata: &Metadata| {
                    if metadata.is_dir() && !folders.contains(name) {
                        found.push(format!("the folder {name} was added"));
                    }
                    // A folder's are inherited where it was copied to.
                    if metadata.is_file() && metadata.mode() & 0o7000 != 0 {
                        found.push(format!(
                            "{name} would run as another user (mode {:o})",
                            metadata.mode() & 0o7777
                        ));
                    }
                })?;
                Ok(found)
            }
            Self::Image {
                image,
                octets,
                is_drive,
                ..
            } => {
                seal::check(&mut File::open(image)?, *octets, *is_drive, key)?;
                Ok(Vec::new())
            }
        }
    }

    /// The names of all that is no folder.
    pub(super) fn files(&self) -> anyhow::Result<BTreeSet<String>> {
        match self {
            Self::Folder(root) => {
                let mut names = BTreeSet::new();
                walk(root, "", &mut |name: &str, metadata: &Metadata| {
                    if !metadata.is_dir() {
                        names.insert(name.to_owned());
                    }
                })?;
                Ok(names)
            }
            Self::Image { .. } => {
                let text = self.ask(&["-find", "/", "-not", "-type", "d"], SMALL_OCTETS_MAX)?;
                // Each in single quotes. What has quotes or line ends in it is no name of ours in any case.
                let plain = |line: &str| {
                    line.trim_start_matches("'/")
                        .trim_end_matches('\'')
                        .to_owned()
                };
                Ok(String::from_utf8_lossy(&text).lines().map(plain).collect())
            }
        }
    }

    /// The content of a file that is small.
    ///
    /// # Errors
    /// If it is not there, or is not small.
    pub(super) fn small(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let content = match self {
            Self::Folder(root) => {
                let mut content = Vec::new();
                let file =
                    regular(&root.join(name)).with_context(|| format!("could not read {name}"))?;
                let file = file.with_context(|| {
                    format!("there is no {name}: this is no medium of ringup's")
                })?;
                file.take(SMALL_OCTETS_MAX + 1).read_to_end(&mut content)?;
                content
            }
            Self::Image { .. } => self
                .ask(
                    &["-concat", "append", "-", &format!("/{name}")],
                    SMALL_OCTETS_MAX + 1,
                )
                .with_context(|| format!("{name} cannot be read: this is no medium of ringup's"))?,
        };
        anyhow::ensure!(
            content.len() as u64 <= SMALL_OCTETS_MAX,
            "{name} is longer than any medium's"
        );
        Ok(content)
    }

    /// The digest of a file. `None`: there is no such file.
    pub(super) fn digest(&self, name: &str) -> anyhow::Result<Option<Digest>> {
        debug_assert!(sums::is_name(name), "read from sums");
        match self {
            Self::Folder(root) => {
                let file =
                    regular(&root.join(name)).with_context(|| format!("could not read {name}"))?;
                file.map(|file| {
                    digest(file, u64::MAX).with_context(|| format!("could not read {name}"))
                })
                .transpose()
            }
            Self::Image { octets, .. } => {
                let mut child = self.start(&["-concat", "append", "-", &format!("/{name}")])?;
                let output = child.stdout.take().context("it is piped")?;
                let digest = digest(output, *octets)?;
                let is_there = finish(child)?;
                Ok(is_there.then_some(digest))
            }
        }
    }

    /// What xorriso prints when it is asked about the image.
    fn ask(&self, question: &[&str], octets_max: u64) -> anyhow::Result<Vec<u8>> {
        let mut child = self.start(question)?;
        let mut answer = Vec::new();
        child
            .stdout
            .take()
            .context("it is piped")?
            .take(octets_max)
            .read_to_end(&mut answer)?;
        if answer.len() as u64 == octets_max {
            let _ = child.kill(); // it has more to say, or has just ended
            child.wait()?;
        } else if !finish(child)? {
            bail!("xorriso cannot read the image");
        }
        Ok(answer)
    }

    fn start(&self, question: &[&str]) -> anyhow::Result<Child> {
        let Self::Image { xorriso, image, .. } = self else {
            bail!("a folder needs no xorriso")
        };
        let mut command = xorriso.command();
        command.args(["-abort_on", "FAILURE", "-osirrox", "on", "-indev"]);
        let mut device = std::ffi::OsString::from("stdio:");
        device.push(image);
        command.arg(device).args(question).stderr(Stdio::null());
        Ok(command.spawn()?)
    }
}

/// Whether it succeeded.
fn finish(mut child: Child) -> anyhow::Result<bool> {
    Ok(child.wait()?.success())
}

fn digest(content: impl Read, octets_max: u64) -> anyhow::Result<Digest> {
    let mut hash = Sha256::new();
    let mut content = content.take(octets_max);
    let mut portion = vec![0; 64 * 1024];
    loop {
        match content.read(&mut portion)? {
            0 => return Ok(hash.finalize().into()),
            octets => hash.update(&portion[..octets]),
        }
    }
}

/// A file itself: a link on a medium leads anywhere. `None`: there is none.
fn regular(path: &Path) -> io::Result<Option<File>> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => File::open(path).map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shows everything below a folder, with its name from there.
fn walk(root: &Path, folder: &str, show: &mut impl FnMut(&str, &Metadata)) -> anyhow::Result<()> {
    let path = root.join(folder);
    let entries =
        fs::read_dir(&path).with_context(|| format!("could not read {}", path.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if folder.is_empty() {
            name
        } else {
            format!("{folder}/{name}")
        };
        let metadata = entry.metadata()?; // of a link itself
        show(&name, &metadata);
        if metadata.is_dir() {
            walk(root, &name, show)?;
        }
    }
    Ok(())
}
