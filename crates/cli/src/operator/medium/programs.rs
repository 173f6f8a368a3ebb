//! The terminal's programs for one architecture, and whether they can be that.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::bail;

use super::read;

const NAMES: [&str; 2] = ["ringup", "ringup-wait"];

/// As `uname -m` says, with ELF's number of the machine and the length of its addresses in bits.
const ARCHITECTURES: [(&str, u16, u8); 6] = [
    ("x86_64", 62, 64),
    ("aarch64", 183, 64),
    ("armv7l", 40, 32),
    ("armv6l", 40, 32),
    ("i686", 3, 32),
    ("riscv64", 243, 64),
];

/// `ARCH=DIR`.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    pub(super) arch: String,
    folder: PathBuf,
}

impl FromStr for Programs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || ARCHITECTURES.map(|(name, ..)| name).join(", ");
        let Some((arch, folder)) = text.split_once('=') else {
            return Err(format!(
                "say for which machines: ARCH=DIR, where ARCH is one of {}",
                known()
            ));
        };
        if !ARCHITECTURES.iter().any(|(name, ..)| *name == arch) {
            return Err(format!("{arch:?} is none of {}", known()));
        }
        Ok(Self {
            arch: arch.to_owned(),
            folder: folder.into(),
        })
    }
}

impl Programs {
    /// The programs, each with its name.
    ///
    /// # Errors
    /// If one is not there, or does not run on a bare machine of this architecture.
    pub(super) fn read(&self) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
        let mut programs = Vec::new();
        for name in NAMES {
            let path = self.folder.join(name);
            let program = read(&path)?;
            match elf(&program) {
                None => bail!("{} is no program for Linux", path.display()),
                Some(elf) if !elf.is_for(&self.arch) => {
                    bail!("{} is not for {}", path.display(), self.arch)
                }
                Some(Elf {
                    is_static: false, ..
                }) => bail!(
                    "{} needs libraries that a bare machine may not have: cargo xtask programs builds one that does not",
                    path.display()
                ),
                Some(_) => programs.push((name, program)),
            }
        }
        Ok(programs)
    }
}

/// What the head of a program says (ELF, System V ABI chapter 4).
#[derive(Debug, PartialEq, Eq)]
struct Elf {
    machine: u16,
    bits: u8,
    is_static: bool,
}

impl Elf {
    fn is_for(&self, arch: &str) -> bool {
        ARCHITECTURES.iter().any(|(name, machine, bits)| {
            *name == arch && (*machine, *bits) == (self.machine, self.bits)
        })
    }
}

/// `None`: no program of the little-endian kind, which all of [`ARCHITECTURES`] are.
fn elf(program: &[u8]) -> Option<Elf> {
    let half = |at: usize| {
        Some(u16::from_le_bytes(
            program.get(at..at.checked_add(2)?)?.try_into().ok()?,
        ))
    };
    let word = |at: usize| {
        Some(u32::from_le_bytes(
            program.get(at..at.checked_add(4)?)?.try_into().ok()?,
        ))
    };
    let (class, order) = (program.get(4)?, program.get(5)?);
    if !program.starts_with(b"\x7fELF") || *order != 1 {
        return None;
    }
    let (bits, heads, size, count) = match class {
        1 => (32, word(28)?, half(42)?, half(44)?),
        2 if word(36)? == 0 => (64, word(32)?, half(54)?, half(56)?),
        _ => return None,
    };
    const INTERPRETER: u32 = 3;
    let mut is_static = true;
    for index in 0..usize::from(count) {
        let at = usize::try_from(heads)
            .ok()?
            .checked_add(index * usize::from(size))?;
        is_static &= word(at)? != INTERPRETER;
    }
    Some(Elf {
        machine: half(18)?,
        bits,
        is_static,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_test_is_a_program_for_this_machine_that_needs_libraries() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = elf(&program).unwrap();
        assert!(
            elf.is_for(std::env::consts::ARCH) && !elf.is_for("armv7l"),
            "{elf:?}"
        );
        assert!(!elf.is_static);
    }

    #[test]
    fn what_is_cut_short_is_no_program_at_any_length() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        // Head, and heads of what is loaded.
        for length in 0..64 {
            assert_eq!(elf(&program[..length]), None, "{length}");
        }
        for octet in 0..64 {
            let mut damaged = program[..4096].to_vec();
            damaged[octet] ^= 0xff;
            elf(&damaged); // whatever it says: it does not panic
        }
        assert_eq!(elf(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn an_architecture_is_named_as_the_kernel_names_it() {
        assert!(
            "x86_64=folder=1"
                .parse::<Programs>()
                .is_ok_and(|programs| programs.folder.as_os_str() == "folder=1")
        );
        for text in ["amd64=folder", "x86_64", "=folder", ""] {
            assert!(text.parse::<Programs>().is_err(), "{text}");
        }
    }
}
