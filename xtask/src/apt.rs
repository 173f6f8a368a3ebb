//! Debian's packages, unpacked into a folder below `target`.
//!
//! Nothing is installed and no root is needed: apt works in folders of its own, with the sources that the machine has,
//! and `dpkg-deb` unpacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// The keys that sign Debian's suites, those of the machine's own release and newer ones.
const DEBIANS_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What is fetched together.
pub(crate) struct Set<'a> {
    /// Packages, and a file of each that has to be there in the end.
    pub(crate) packages: &'a [(&'a str, &'a str)],
    /// Debian's name of an architecture besides the machine's own, of which packages (`libc6:arm64`) may be.
    pub(crate) foreign: Option<&'a str>,
    /// A suite of Debian's in place of the machine's own, from the machine's own mirror.
    pub(crate) suite: Option<&'a str>,
    /// Whether a package that another one depends on comes, too. What else a package wants besides (a package manager, a
    /// password dialogue) is for one that is installed.
    pub(crate) is_followed: fn(&str) -> bool,
}

impl Set<'_> {
    /// The first file of the set that is not in `root`.
    pub(crate) fn missing(&self, root: &Path) -> Option<&str> {
        self.packages
            .iter()
            .map(|(_, file)| *file)
            .find(|file| !root.join(file).exists())
    }
}

/// Fetches and unpacks a set into `root`, unless all of it is there.
///
/// # Errors
/// If it cannot be had: what needs it would fail.
pub(crate) fn unpack(
    workspace: &Workspace,
    name: &str,
    set: &Set<'_>,
    root: &Path,
) -> anyhow::Result<()> {
    if set.missing(root).is_none() {
        return Ok(());
    }
    let packages = set
        .packages
        .iter()
        .map(|(package, _)| *package)
        .collect::<Vec<_>>()
        .join(", ");
    eprintln!("== {name}: fetching {packages} and what they need, once");
    crate::step::timed(name, || fetch_into(workspace, set, root)).with_context(|| {
        format!("{name} could not be fetched (it takes apt-get and dpkg-deb, as Debian has them)")
    })
}

fn fetch_into(workspace: &Workspace, set: &Set<'_>, root: &Path) -> anyhow::Result<()> {
    let folder = root.parent().context("a root below target")?;
    fs::create_dir_all(folder)?;
    // In a folder of its own: another run may be doing the same.
    let scratch = tempfile::tempdir_in(folder)?;
    let unpacked = scratch.path().join("root");
    let mut status = String::new();
    for package in download(workspace, set, scratch.path())? {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&package).arg(&unpacked);
        workspace.output(unpack)?;
        let mut control = Command::new("dpkg-deb");
        control.arg("-f").arg(&package);
        status += &format!(
            "{}\nStatus: install ok installed\n\n",
            workspace.output(control)?.trim_end()
        );
    }
    // What a dpkg that runs in there would know of them.
    fs::create_dir_all(unpacked.join("var/lib/dpkg"))?;
    fs::write(unpacked.join("var/lib/dpkg/status"), status)?;
    if let Some(missing) = set.missing(&unpacked) {
        bail!("the packages of this machine's sources have no {missing}");
    }
    if root.is_dir() && set.missing(root).is_some() {
        // From before the set had all that it has: out of the way, and gone with the scratch folder.
        let _ = fs::rename(root, scratch.path().join("old"));
    }
    match fs::rename(&unpacked, root) {
        Err(_) if set.missing(root).is_none() => Ok(()), // the other run was quicker
        renamed => renamed.context("could not move what was unpacked to its place"),
    }
}

/// Downloads a set's packages into a folder below `scratch`; gives their files.
pub(crate) fn download(
    workspace: &Workspace,
    set: &Set<'_>,
    scratch: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut apt = Apt::new(workspace, set, scratch)?;
    if let Some(suite) = set.suite {
        apt.turn_to(suite, scratch)?;
    }
    // One source that does not answer does not matter if the others have what is wanted.
    let updated = workspace.output(apt.command("apt-get", &["update", "--error-on=any"]));
    let files = apt.closure(set).and_then(|packages| {
        let mut command = apt.command("apt-get", &["download"]);
        command.args(packages);
        workspace.output_in(command, &apt.packages)
    });
    if let Err(error) = files {
        return Err(updated.err().unwrap_or(error));
    }
    fs::read_dir(&apt.packages)?
        .map(|file| Ok(file?.path()))
        .collect()
}

/// apt with lists and state of its own.
struct Apt<'a> {
    workspace: &'a Workspace,
    options: Vec<String>,
    /// Where packages are downloaded to.
    packages: PathBuf,
}

impl<'a> Apt<'a> {
    fn new(workspace: &'a Workspace, set: &Set<'_>, scratch: &Path) -> anyhow::Result<Self> {
        let [state, cache, packages] =
            ["state", "cache", "packages"].map(|name| scratch.join(name));
        for folder in [
            state.join("lists/partial"),
            cache.join("archives/partial"),
            packages.clone(),
        ] {
            fs::create_dir_all(folder)?;
        }
        let status = state.join("status");
        fs::write(&status, "")?;
        let mut options = vec![
            format!("Dir::State={}", state.display()),
            format!("Dir::State::status={}", status.display()),
            format!("Dir::Cache={}", cache.display()),
            "Debug::NoLocking=1".to_owned(),
            // Run by root, apt would become a user that may not write here.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ];
        if let Some(foreign) = set.foreign {
            let mut own = Command::new("dpkg");
            own.arg("--print-architecture");
            let own = workspace.output(own)?;
            options.extend(
                [own.trim(), foreign]
                    .map(|architecture| format!("APT::Architectures::={architecture}")),
            );
        }
        Ok(Self {
            workspace,
            options,
            packages,
        })
    }

    /// Has it read one suite of the mirror that the machine takes Debian from.
    fn turn_to(&mut self, suite: &str, scratch: &Path) -> anyhow::Result<()> {
        self.workspace
            .output(self.command("apt-get", &["update"]))?;
        let format = "$(ORIGIN)\t$(LABEL)\t$(COMPONENT)\t$(REPO_URI)";
        let targets = self.command(
            "apt-get",
            &["indextargets", "--format", format, "Created-By: Packages"],
        );
        let targets = self.workspace.output(targets)?;
        let mirror = debian_mirror(&targets)
            .context("this machine has no mirror of Debian among its sources")?;
        let keys = if Path::new(DEBIANS_KEYS).exists() {
            format!("[signed-by={DEBIANS_KEYS}] ")
        } else {
            String::new()
        };
        let file = scratch.join("sources.list");
        fs::write(&file, format!("deb {keys}{mirror} {suite} main\n"))?;
        self.options
            .push(format!("Dir::Etc::sourcelist={}", file.display()));
        self.options
            .push("Dir::Etc::sourceparts=/dev/null".to_owned());
        Ok(())
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").arg("-q");
        for option in &self.options {
            command.args(["-o", option]);
        }
        command.args(arguments);
        command
    }

    /// The set's packages with those that they need and that are followed, and those these need.
    fn closure(&self, set: &Set<'_>) -> anyhow::Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        let mut new: BTreeSet<String> = set
            .packages
            .iter()
            .map(|(package, _)| (*package).to_owned())
            .collect();
        while !new.is_empty() {
            let mut command = self.command("apt-cache", &["depends", "--important"]);
            command.args(&new);
            let depends = self.workspace.output(command)?;
            all.append(&mut new);
            let needed = needed(&depends)
                .filter(|package| (set.is_followed)(package) && !all.contains(*package));
            new = needed.map(str::to_owned).collect();
        }
        Ok(all)
    }
}

/// The first mirror of Debian among the targets of apt's indexes.
fn debian_mirror(targets: &str) -> Option<&str> {
    targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian\tDebian\tmain\t"))
}

/// What stands as needed in what `apt-cache depends` prints; of alternatives the first.
fn needed(depends: &str) -> impl Iterator<Item = &str> {
    let mut is_alternative = false;
    depends.lines().filter_map(move |line| {
        let (is_first, has_more) = (!is_alternative, line.starts_with(" |"));
        is_alternative = has_more;
        let (kind, package) = line.trim_start_matches([' ', '|']).split_once(": ")?;
        let is_needed = matches!(kind, "Depends" | "PreDepends") && !package.starts_with('<');
        (is_first && is_needed).then_some(package)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_suite_comes_from_the_machines_own_mirror_of_debian() {
        let targets = "Other\tOther\tmain\thttp://other.example/\n\
                       Debian\tDebian-Security\tmain\thttp://mirror.example/debian-security/\n\
                       Debian\tDebian\tmain\thttp://mirror.example/debian/\n";
        assert_eq!(
            debian_mirror(targets),
            Some("http://mirror.example/debian/")
        );
        assert_eq!(
            debian_mirror("Ubuntu\tUbuntu\tmain\thttp://mirror.example/\n"),
            None
        );
    }

    #[test]
    fn of_alternatives_the_first_is_needed_and_nothing_that_is_virtual() {
        let text = "ppp\n  PreDepends: dpkg\n  PreDepends: libpam0g\n |Depends: libssl3\n  Depends: libssl1\n  \
                    Depends: <libvirtual>\n  Depends: procps\n  Depends: libc6\n";
        assert_eq!(
            needed(text).collect::<Vec<_>>(),
            ["dpkg", "libpam0g", "libssl3", "procps", "libc6"]
        );
    }
}
