//! What dpkg reads of a package: its description, what it needs, and the scripts that run when it is installed and removed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::Package;
use super::contents::Contents;
use crate::workspace::Workspace;

pub(super) const MAINTAINER: &str = "Ringup maintainers <maintainers@ringup.example>";

const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

pub(super) fn write(
    workspace: &Workspace,
    package: &Package,
    version: &str,
    contents: &Contents<'_>,
) -> anyhow::Result<()> {
    let Package {
        name,
        summary,
        description,
        priority,
        state,
        unit,
        ..
    } = package;
    let mut architecture = Command::new("dpkg");
    architecture.arg("--print-architecture");
    let architecture = workspace.output(architecture)?;
    let size = installed_kib(workspace, contents.folder())?;
    let libraries = libraries(workspace, contents)?;
    contents.write(
        "DEBIAN/control",
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\n\
             Depends: {libraries}, adduser, init-system-helpers (>= 1.51)\nSection: net\nPriority: optional\n\
             Description: {summary}\n {description}\n",
            architecture.trim()
        )
        .as_bytes(),
    )?;
    contents.write(
        "DEBIAN/conffiles",
        contents
            .configs
            .iter()
            .map(|path| format!("{path}\n"))
            .collect::<String>()
            .as_bytes(),
    )?;
    contents.write(
        "DEBIAN/md5sums",
        sums(workspace, contents.folder())?.as_bytes(),
    )?;
    for script in SCRIPTS {
        let text = fs::read_to_string(workspace.root().join("dist/debian").join(script))?;
        let text = text
            .replace("@PACKAGE@", name)
            .replace("@VERSION@", version)
            .replace("@UNIT@", unit);
        let text = text
            .replace("@PRIORITY@", &priority.to_string())
            .replace("@STATE@", state);
        let to = format!("DEBIAN/{script}");
        contents.write(&to, text.as_bytes())?;
        fs::set_permissions(
            contents.folder().join(to),
            fs::Permissions::from_mode(0o755),
        )?;
    }
    Ok(())
}

/// The packages of the libraries that the programs are linked with: of the C library the version that they need symbols of.
fn libraries(workspace: &Workspace, contents: &Contents<'_>) -> anyhow::Result<String> {
    let mut versions = BTreeSet::new();
    for program in &contents.programs {
        let mut symbols = Command::new("objdump");
        symbols.arg("-T").arg(program);
        versions.extend(glibc_versions(
            &workspace
                .output(symbols)
                .context("objdump is of the package binutils")?,
        ));
    }
    let (major, minor) = versions.last().context("no program needs the C library")?;
    Ok(format!("libc6 (>= {major}.{minor}), libgcc-s1"))
}

fn glibc_versions(symbols: &str) -> impl Iterator<Item = (u32, u32)> {
    symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let version = rest.split([')', ' ']).next()?;
        let mut numbers = version.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    })
}

fn installed_kib(workspace: &Workspace, folder: &Path) -> anyhow::Result<String> {
    let mut size = Command::new("du");
    size.args(["-s", "-k", "--apparent-size"]).arg(folder);
    Ok(workspace
        .output(size)?
        .split_whitespace()
        .next()
        .context("du says a number")?
        .to_owned())
}

/// `md5sums`: every file but those of dpkg.
fn sums(workspace: &Workspace, folder: &Path) -> anyhow::Result<String> {
    let mut sums = Command::new("sh");
    sums.args([
        "-c",
        "find * -path DEBIAN -prune -o -type f -print | LC_ALL=C sort | xargs md5sum",
    ]);
    workspace.output_in(sums, folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_symbol_decides_and_versions_are_numbers() {
        let symbols = "DF *UND*  (GLIBC_2.9) pipe2\nDF *UND* (GLIBC_2.34) open\nDF *UND*  (GLIBC_2.2.5) read\nGLIBC_PRIVATE x\n";
        assert_eq!(glibc_versions(symbols).max(), Some((2, 34)));
    }
}
