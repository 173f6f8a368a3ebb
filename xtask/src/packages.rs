//! Debian packages: the server, the terminal without any of the server, the exchange.

mod contents;
mod control;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::step::Step;
use crate::third_party::Parts;
use crate::workspace::Workspace;
use contents::{Contents, TERMINAL_TOML};

/// Builds Debian packages of this machine's architecture: ringup-server, ringup-terminal, ringup-exchange.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask packages                          a release, in target/packages
  cargo xtask packages --profile dev --version 0.1.0~test

Takes dpkg-deb and binutils. The same commit and compiler give the same octets.")]
pub(crate) struct Packages {
    /// How the programs are built
    #[arg(long, value_name = "PROFILE", default_value = "release")]
    profile: String,
    /// The packages' version
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// Where they are put [default: target/packages]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

impl Packages {
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let into = match &self.into {
            Some(folder) => folder.clone(),
            None => workspace.target()?.join("packages"),
        };
        for package in build(workspace, &self.profile, &[&self.version], &into)? {
            println!("{}", package.display());
        }
        Ok(())
    }
}

/// One package.
struct Package {
    name: &'static str,
    /// One line, and the lines of the long description.
    summary: &'static str,
    description: &'static str,
    /// What `ringup` is built with; `None`: its default.
    features: Option<&'static str>,
    has_starter: bool,
    unit: &'static str,
    /// Of `/usr/bin/ringup`, where several packages are installed: who can more comes first.
    priority: u8,
    /// Folders below `/var/lib/ringup`.
    state: &'static str,
}

/// The one with all features is last: what is built last is what lies in `target`.
const PACKAGES: [Package; 3] = [
    Package {
        name: "ringup-terminal",
        summary: "receives data on a machine that is not connected",
        description: "A small program waits at a modem. When a registered number calls, it\n \
                      starts another one that answers, receives what the server has, and hangs\n \
                      up. Nobody else is answered.",
        features: Some("answer"),
        has_starter: true,
        unit: "ringup-wait@*.service",
        priority: 20,
        state: "terminal inbox",
    },
    Package {
        name: "ringup-exchange",
        summary: "telephone exchange in software, for tests with modems",
        description: "Virtual Hayes modems that can call each other, on pseudo-terminals or TCP\n \
                      ports, with caller ID, delay, noise, tariffs, and a control socket.",
        features: Some("exchange"),
        has_starter: false,
        unit: "ringup-exchange.service",
        priority: 10,
        state: "",
    },
    Package {
        name: "ringup-server",
        summary: "delivers data to machines that are not connected: the server",
        description: "It keeps what is addressed to a terminal, and calls the terminal when\n \
                      something is due, over modems of its own or of dial-up servers. Data come\n \
                      over HTTP, SMTP, from feeds, and from machines that dial in.",
        features: None,
        has_starter: false,
        unit: "ringup-server.service",
        priority: 30,
        state: "server backups",
    },
];

/// The packages that the tests install, upgrade and examine: as they are built for debugging, and as an earlier version.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_for_tests(workspace: &Workspace) -> anyhow::Result<()> {
    let versions = ["0.0.9", env!("CARGO_PKG_VERSION")];
    build(
        workspace,
        "dev",
        &versions,
        &workspace.target()?.join("peers/packages"),
    )
    .map(drop)
}

/// Builds every package, once for each version, and gives their files.
///
/// # Errors
/// If a program does not build, or dpkg-deb and binutils are not there.
fn build(
    workspace: &Workspace,
    profile: &str,
    versions: &[&str],
    into: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(into)?;
    let (scratch, target) = (tempfile::tempdir_in(into)?, workspace.target()?);
    let built = target.join(if profile == "dev" { "debug" } else { profile });
    let time = commit_time(workspace)?;
    let mut packages = Vec::new();
    for package in &PACKAGES {
        package.compile(workspace, profile)?;
        let parts = Parts::of(workspace, package.features)?;
        for version in versions {
            let folder = scratch.path().join(format!("{}_{version}", package.name));
            let mut contents = Contents::new(workspace, &folder);
            package.fill(&mut contents, &built, &parts, version)?;
            control::write(workspace, package, version, &contents)?;
            packages.push(pack(workspace, &folder, &time, into)?);
        }
    }
    Ok(packages)
}

impl Package {
    fn compile(&self, workspace: &Workspace, profile: &str) -> anyhow::Result<()> {
        let mut arguments = vec![
            "build",
            "--locked",
            "--profile",
            profile,
            "--package",
            "ringup",
        ];
        if let Some(features) = self.features {
            arguments.extend(["--no-default-features", "--features", features]);
        }
        Step::cargo("package", &arguments).run(workspace)?;
        if self.has_starter {
            let starter = [
                "build",
                "--locked",
                "--profile",
                profile,
                "--package",
                "ringup-client",
                "--bin",
                "ringup-wait",
            ];
            Step::cargo("package", &starter).run(workspace)?;
        }
        Ok(())
    }

    fn fill(
        &self,
        contents: &mut Contents<'_>,
        built: &Path,
        parts: &Parts,
        version: &str,
    ) -> anyhow::Result<()> {
        let (home, doc) = (
            format!("usr/lib/{}", self.name),
            format!("usr/share/doc/{}", self.name),
        );
        contents.program(&built.join("ringup"), &format!("{home}/ringup"))?;
        let role = self.name.trim_start_matches("ringup-");
        contents.file(
            &format!("dist/debian/README.{role}"),
            &format!("{doc}/README.Debian"),
        )?;
        contents.file("dist/debian/copyright", &format!("{doc}/copyright"))?;
        contents.packed(
            &contents.changes(self.name, version)?,
            &format!("{doc}/changelog.gz"),
        )?;
        contents.packed(&parts.licences()?, &format!("{doc}/third-party.txt.gz"))?;
        contents.packed(&parts.sbom()?, &format!("{doc}/sbom.cdx.json.gz"))?;
        match role {
            "terminal" => {
                contents.program(&built.join("ringup-wait"), &format!("{home}/ringup-wait"))?;
                contents.link(
                    &format!("../lib/{}/ringup-wait", self.name),
                    "usr/bin/ringup-wait",
                )?;
                contents.file(
                    "dist/systemd/ringup-wait@.service",
                    "lib/systemd/system/ringup-wait@.service",
                )?;
                contents.file(
                    "dist/udev/60-ringup.rules",
                    "lib/udev/rules.d/60-ringup.rules",
                )?;
                contents.config("examples/terminal.toml", &TERMINAL_TOML)?;
            }
            _ => {
                contents.file(
                    &format!("dist/systemd/{}", self.unit),
                    &format!("lib/systemd/system/{}", self.unit),
                )?;
                contents.config(&format!("examples/{role}.toml"), contents::for_role(role))?;
            }
        }
        Ok(())
    }
}

/// The time that all files of a package have: that of the commit, so that the same commit gives the same package.
fn commit_time(workspace: &Workspace) -> anyhow::Result<String> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(time);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]);
    Ok(workspace.output(git)?.trim().to_owned())
}

fn pack(workspace: &Workspace, folder: &Path, time: &str, into: &Path) -> anyhow::Result<PathBuf> {
    let mut touch = Command::new("find");
    touch
        .arg(folder)
        .args(["-exec", "touch", "--no-dereference"])
        .arg(format!("--date=@{time}"))
        .args(["{}", "+"]);
    workspace.output(touch)?;
    let mut pack = Command::new("dpkg-deb");
    pack.env("SOURCE_DATE_EPOCH", time)
        .args(["--root-owner-group", "-Zxz", "--build"])
        .arg(folder)
        .arg(into);
    let said = workspace
        .output(pack)
        .context("dpkg-deb is Debian's; its package is dpkg")?;
    let Some(file) = said.split('\'').nth(3) else {
        bail!("dpkg-deb said something else than expected: {said}")
    };
    Ok(PathBuf::from(file))
}
