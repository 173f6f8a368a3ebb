//! The terminal's programs, linked statically, as the recording medium carries them.
//!
//! For small machines of other architectures they are built by Debian's rustc and Debian's cross compilers for C, unpacked under
//! `target/cross`. What was built so can be run here under Debian's qemu-user.

mod cross;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::step::Step;
use crate::third_party::Parts;
use crate::workspace::Workspace;
use cross::Cross;

/// Builds the terminal's programs for a recording medium: `ringup` and `ringup-wait`, without server, linked statically, small.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask programs                     for this machine's architecture, and arm64
  cargo xtask programs --arch aarch64      only these

They are in target/programs, a folder for each architecture, as `ringup medium create --programs` takes them, and
third-party.txt, the licences of what is linked in, for --licences.
For an architecture that is not this machine's the first run fetches Debian's compilers (240 MB) into target/cross;
nothing is installed.")]
pub(crate) struct Programs {
    /// For which machines [default: x86_64 and aarch64]
    #[arg(long, value_name = "ARCH")]
    arch: Vec<Arch>,
}

impl Programs {
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let default = [Arch::X86_64, Arch::Aarch64];
        for arch in if self.arch.is_empty() {
            &default
        } else {
            self.arch.as_slice()
        } {
            println!("{}", build(workspace, *arch)?.display());
        }
        Ok(())
    }
}

/// An architecture, named as `uname -m` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    Aarch64,
    /// 32 bits, with a floating point unit.
    Armv7l,
}

impl Arch {
    fn uname(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Armv7l => "armv7l",
        }
    }

    /// Further compiler flags: a program that aborts needs no unwinding, and relocations take a tenth of the octets
    /// when they are packed, where the linker can.
    fn flags(self) -> &'static str {
        match self {
            Self::X86_64 => {
                "-C target-feature=+crt-static -C force-unwind-tables=no -C link-arg=-Wl,-z,pack-relative-relocs"
            }
            Self::Aarch64 | Self::Armv7l => {
                "-C target-feature=+crt-static -C force-unwind-tables=no"
            }
        }
    }

    /// Rust's name of it, with the C library that the programs are linked with.
    fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7l => "armv7-unknown-linux-gnueabihf",
        }
    }
}

/// Builds them, and gives the folder that they are in: below `target/programs`, named by the architecture.
///
/// # Errors
/// If compilers for it cannot be had, or do not compile it.
pub(crate) fn build(workspace: &Workspace, arch: Arch) -> anyhow::Result<PathBuf> {
    let triple = arch.triple();
    let terminal = [
        "--package",
        "ringup",
        "--package",
        "ringup-client",
        "--no-default-features",
        "--features",
        "ringup/answer",
    ];
    // With --target the flags are not for build scripts and procedural macros, which cannot be static.
    let build = Step::cargo(
        "programs",
        &[
            "build",
            "--locked",
            "--profile",
            "medium",
            "--target",
            triple,
        ],
    )
    .arguments(&terminal.map(str::to_owned));
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", variable(triple).to_uppercase());
    let build = build.env(flags, arch.flags());
    let (build, target) = match Cross::to(arch) {
        None => (build, workspace.target()?),
        Some(cross) => cross.compiling(workspace, build)?,
    };
    build.run(workspace)?;
    let folder = workspace.target()?.join("programs");
    let programs = folder.join(arch.uname());
    fs::create_dir_all(&programs)?;
    fs::write(
        folder.join("third-party.txt"),
        Parts::of(workspace, Some("answer"))?.licences()?,
    )?;
    for program in ["ringup", "ringup-wait"] {
        let built: PathBuf = [
            target.as_path(),
            Path::new(triple),
            Path::new("medium"),
            Path::new(program),
        ]
        .iter()
        .collect();
        fs::copy(built, programs.join(program))
            .with_context(|| format!("{program} was not built"))?;
    }
    Ok(programs)
}

/// A triple as written in names of environment variables.
fn variable(triple: &str) -> String {
    triple.replace('-', "_")
}
