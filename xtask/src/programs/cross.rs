//! Debian's compilers for an architecture that is not this machine's, and its emulator.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Arch, variable};
use crate::apt::{self, Set};
use crate::step::Step;
use crate::workspace::Workspace;

/// What Debian calls an architecture.
pub(super) struct Cross {
    arch: Arch,
    debian: &'static str,
    gnu: &'static str,
    qemu: &'static str,
}

impl Cross {
    /// `None`: it is this machine's.
    pub(super) fn to(arch: Arch) -> Option<Self> {
        match arch {
            Arch::X86_64 => None,
            Arch::Aarch64 => Some(Self {
                arch,
                debian: "arm64",
                gnu: "aarch64-linux-gnu",
                qemu: "usr/bin/qemu-aarch64-static",
            }),
            Arch::Armv7l => Some(Self {
                arch,
                debian: "armhf",
                gnu: "arm-linux-gnueabihf",
                qemu: "usr/bin/qemu-arm-static",
            }),
        }
    }

    /// Has a build use these compilers, which are fetched first; gives the target folder that it will use, too: it is
    /// another rustc than the workspace's.
    pub(super) fn compiling(
        &self,
        workspace: &Workspace,
        build: Step,
    ) -> anyhow::Result<(Step, PathBuf)> {
        let folder = workspace.target()?.join("cross").join(self.arch.uname());
        self.fetch(workspace, &folder.join("root"))?;
        let (target, triple) = (folder.join("target"), variable(self.arch.triple()));
        let sysroot = format!("'--sysroot={}'", folder.join("root").display());
        let cc = tool(&folder, "cc", &format!("{}-gcc", self.gnu), &sysroot)?;
        let build = build
            .env("CARGO_TARGET_DIR", target.to_string_lossy())
            .env("RUSTC", tool(&folder, "rustc", "rustc", "")?)
            .env(
                format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase()),
                &cc,
            )
            .env(format!("CC_{triple}"), &cc)
            .env(
                format!("AR_{triple}"),
                tool(&folder, "ar", &format!("{}-ar", self.gnu), "")?,
            );
        Ok((build, target))
    }

    fn fetch(&self, workspace: &Workspace, root: &Path) -> anyhow::Result<()> {
        let Self {
            arch,
            debian,
            gnu,
            qemu,
        } = self;
        let packages = [
            ("rustc-web".to_owned(), "usr/bin/rustc".to_owned()),
            // Of this machine's own architecture, for build scripts and procedural macros.
            (
                "libstd-rust-web-dev".to_owned(),
                format!("usr/lib/rustlib/{}/lib", Arch::X86_64.triple()),
            ),
            (
                format!("libstd-rust-web-dev:{debian}"),
                format!("usr/lib/rustlib/{}/lib", arch.triple()),
            ),
            (format!("gcc-{gnu}"), format!("usr/bin/{gnu}-gcc")),
            (format!("binutils-{gnu}"), format!("usr/bin/{gnu}-ar")),
            (
                format!("libc6-dev-{debian}-cross"),
                format!("usr/{gnu}/lib/libc.a"),
            ),
            (
                format!("linux-libc-dev-{debian}-cross"),
                format!("usr/{gnu}/include/linux/limits.h"),
            ),
            ("qemu-user-static".to_owned(), (*qemu).to_owned()),
        ];
        let packages: Vec<_> = packages
            .iter()
            .map(|(package, file)| (package.as_str(), file.as_str()))
            .collect();
        let is_followed = |package: &str| {
            let is_tool = package.starts_with("lib") || package.contains("-linux-gnu");
            is_tool && !package.contains(':') // what runs here is of this machine's architecture
        };
        apt::unpack(
            workspace,
            "compilers",
            &Set {
                packages: &packages,
                foreign: Some(debian),
                suite: None,
                is_followed,
            },
            root,
        )
    }
}

/// A script that runs a program with its libraries from where they were unpacked.
fn tool(folder: &Path, name: &str, program: &str, arguments: &str) -> anyhow::Result<String> {
    let (root, path) = (folder.join("root"), folder.join(name));
    let root = root.display();
    let libraries = format!("{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu");
    fs::write(
        &path,
        format!(
            "#!/bin/sh\nLD_LIBRARY_PATH='{libraries}' exec '{root}/usr/bin/{program}' {arguments} \"$@\"\n"
        ),
    )?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path.to_string_lossy().into_owned())
}
