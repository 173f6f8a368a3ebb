//! A Linux guest (User-Mode Linux) whose serial ports are terminals of this machine.
//!
//! `cargo xtask peers` puts a kernel that boots on this machine's processor into `target/peers/root`. The guest's console is a
//! pipe: its `/init` prints lines that begin with `@` for the test, and reads shell commands.

mod initramfs;
mod machine;

pub use initramfs::Initramfs;
pub use machine::{BootError, Guest, Machine};
