//! Debian's mgetty on this machine, where it finds its files only at fixed places: in a mount namespace of its own,
//! whose /etc, /var/log and /run are folders of ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bench::running::READY_WAIT;
use crate::peers;
use crate::workspace::Workspace;

/// The modem is the exchange's, and the line a pseudo-terminal without wires.
const CONFIG: &str = "\
data-only yes
ignore-carrier yes
toggle-dtr no
modem-type data
port-owner root
port-group root
init-chat \"\" ATZ OK ATE0V1 OK AT+VCID=1 OK
";

/// $1 is the folder, $2 mgetty, $3 the device without its /dev/.
const ENTER: &str = "\
mount --bind \"$1/etc\" /etc && mount --bind \"$1/log\" /var/log && mount --bind \"$1/run\" /run &&
exec \"$2\" -x 4 \"$3\"";

/// Where it is, after it was fetched.
pub(super) fn program(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    peers::fetch(workspace)?;
    Ok(workspace.target()?.join("peers/root/sbin/mgetty"))
}

/// An mgetty that waits for calls; dropping it ends it.
pub(super) struct Waiting(Child);

impl Waiting {
    /// Starts it, and waits until it waits.
    pub(super) fn start(program: &Path, folder: &Path, line: &Path) -> anyhow::Result<Self> {
        for place in ["etc/mgetty", "log/mgetty", "run/lock"] {
            fs::create_dir_all(folder.join(place))?;
        }
        fs::write(folder.join("etc/mgetty/mgetty.config"), CONFIG)?;
        fs::write(folder.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(folder.join("etc/group"), "root:x:0:\n")?;
        let device = line.canonicalize()?;
        let device = device
            .strip_prefix("/dev")
            .context("a pseudo-terminal is in /dev")?;
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            ENTER,
            "sh",
        ]);
        command.arg(folder).arg(program).arg(device);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut waiting = Self(
            command
                .spawn()
                .context("could not start unshare (util-linux)")?,
        );
        let logs = folder.join("log/mgetty");
        let deadline = Instant::now() + READY_WAIT;
        while Instant::now() < deadline {
            if let Some(status) = waiting.0.try_wait()? {
                bail!("mgetty has ended: {status}: {}", log(&logs)?);
            }
            if log(&logs)?.contains("waiting...") {
                return Ok(waiting);
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("mgetty does not wait for calls: {}", log(&logs)?)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id() // unshare has become sh, and that mgetty
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill(); // ended already is as good
        let _ = self.0.wait();
    }
}

/// All it has logged, whatever it calls the file.
fn log(folder: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    for entry in fs::read_dir(folder)? {
        text += &fs::read_to_string(entry?.path())?;
    }
    Ok(text)
}
