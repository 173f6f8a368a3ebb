//! Guests with programs of others from `target/peers`, and bare ones.

use std::path::{Path, PathBuf};

pub(crate) use guest::Guest;
use guest::{Initramfs, Machine};

/// POST stores its body and answers with the SHA-256 of what came.
const BODY: &str = r"#!/bin/sh
cat >/tmp/body
printf 'Content-Type: text/plain\r\n\r\n'
sha256sum </tmp/body | cut -c1-64 | tr -d '\n'
";

const IP_UP: &str = "#!/bin/sh\necho \"@up $4 $5\" >/dev/console\n";
const IP_DOWN: &str = "#!/bin/sh\necho @down >/dev/console\n";

const FOLDERS: [&str; 21] = [
    "bin",
    "dev",
    "proc",
    "sys",
    "peers",
    "tmp",
    "root",
    "etc",
    "etc/ppp",
    "etc/mgetty",
    "run",
    "run/lock",
    "var",
    "var/log",
    "var/log/mgetty",
    "var/spool",
    "var/spool/fax",
    "var/spool/fax/incoming",
    "var/spool/fax/outgoing",
    "www",
    "www/cgi-bin",
];

/// The logs of what runs in a guest.
const LOGS: &str = "cat /var/log/mgetty/* /tmp/*log; journalctl --no-pager --lines 50";

/// Boots a guest with `files` in it. Its ports `ttyS0`, `ttyS1` and so on are the terminals `lines`.
pub(crate) async fn boot(lines: &[PathBuf], files: &[(&str, &str)]) -> Guest {
    let peers = peers();
    let mut machine = with_peers(&peers, file_system(&peers, files));
    machine.lines = lines.to_vec();
    start(machine).await
}

/// The same without lines, and with memory for what Debian's own programs take.
pub(crate) async fn roomy(files: &[(&str, &str)]) -> Guest {
    let peers = peers();
    let mut machine = with_peers(&peers, file_system(&peers, files));
    machine.memory = "640M";
    start(machine).await
}

/// Boots a bare machine: a kernel, busybox, a modem at `ttyS0`, a disk that cannot be written; no network of any kind.
pub(crate) async fn bare(line: PathBuf, disk: &Path) -> Guest {
    let peers = peers();
    let mut machine = Machine::new(&peers, bare_file_system(&peers));
    machine.lines = vec![line];
    machine.settings = vec![drive(disk)];
    start(machine).await
}

/// Boots the same with systemd and udev.
pub(crate) async fn with_systemd(line: PathBuf, disk: &Path) -> Guest {
    let peers = peers();
    let mut machine = with_peers(&peers, systemd_file_system(&peers));
    machine.memory = "160M"; // for systemd, its journal and udev
    machine.lines = vec![line];
    machine.settings.push(drive(disk));
    start(machine).await
}

fn with_peers(peers: &Path, file_system: Vec<u8>) -> Machine {
    let settings = vec![format!("peers={}", peers.display())];
    Machine {
        settings,
        last_will: LOGS,
        ..Machine::new(peers, file_system)
    }
}

fn drive(disk: &Path) -> String {
    format!("ubd0r={}", disk.canonicalize().unwrap().display())
}

async fn start(machine: Machine) -> Guest {
    machine
        .boot()
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Where the peers are unpacked.
pub(crate) fn peers() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let root = target.join("peers/root");
    let is_whole = root.join("sbin/mgetty").exists();
    assert!(
        is_whole,
        "these tests talk to Debian's mgetty and pppd, which are not here: run `cargo xtask peers`"
    );
    root
}

fn file_system(peers: &Path, files: &[(&str, &str)]) -> Vec<u8> {
    let busybox = std::fs::read(peers.join("bin/busybox")).unwrap();
    let empty = FOLDERS
        .iter()
        .fold(Initramfs::new(), |system, folder| system.folder(folder));
    let system = empty
        .link("usr", "peers/usr")
        .link("sbin", "peers/sbin")
        .link("lib", "peers/lib")
        .link("lib64", "peers/lib64")
        .link("var/run", "../run")
        .link("var/lock", "../run/lock")
        .character_device("dev/console", 5, 1)
        .program("init", include_bytes!("init.sh"))
        .program("bin/busybox", &busybox)
        .program("www/cgi-bin/body", BODY.as_bytes())
        .program("etc/ppp/ip-up", IP_UP.as_bytes())
        .program("etc/ppp/ip-down", IP_DOWN.as_bytes())
        .file(
            "etc/passwd",
            "root:x:0:0:root:/:/bin/sh\nuucp:x:10:10:uucp:/:/bin/false\n",
        )
        .file(
            "etc/group",
            "root:x:0:\nuucp:x:10:\ndialout:x:20:\ntty:x:5:\n",
        )
        .file("etc/hosts", "127.0.0.1 localhost\n")
        .file("etc/ppp/options", "");
    files
        .iter()
        .fold(system, |system, (path, content)| system.file(path, content))
        .finish()
}

/// What a small Linux has before anything is installed on it, with the tool of a service manager that is not running.
fn bare_file_system(peers: &Path) -> Vec<u8> {
    const FOLDERS: [&str; 10] = [
        "mnt", "tmp", "root", "etc", "run", "run/lock", "sbin", "usr", "usr/bin", "var",
    ];
    let empty = FOLDERS
        .iter()
        .fold(with_iso9660(peers), |system, folder| system.folder(folder));
    empty
        .program("init", include_bytes!("bare.sh"))
        .program("sbin/openrc-run", b"#!/bin/sh\n")
        .file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
        .file("etc/group", "root:x:0:\ntty:x:5:\n")
        .finish()
}

/// Its `/init` makes the file system that systemd starts on.
fn systemd_file_system(peers: &Path) -> Vec<u8> {
    with_iso9660(peers)
        .folder("new")
        .program("init", include_bytes!("systemd.sh"))
        .finish()
}

/// busybox, and what the kernel needs to read a medium.
fn with_iso9660(peers: &Path) -> Initramfs {
    let busybox = std::fs::read(peers.join("bin/busybox")).unwrap();
    let module = |path: &str| std::fs::read(modules(peers).join("kernel").join(path)).unwrap();
    let empty = ["bin", "dev", "proc", "sys"]
        .iter()
        .fold(Initramfs::new(), |system, folder| system.folder(folder));
    empty
        .character_device("dev/console", 5, 1)
        .program("bin/busybox", &busybox)
        .program("cdrom.ko", &module("drivers/cdrom/cdrom.ko"))
        .program("isofs.ko", &module("fs/isofs/isofs.ko"))
}

/// The modules of the kernel that boots here: the only ones there are.
fn modules(peers: &Path) -> PathBuf {
    let versions: Vec<_> = peers
        .join("usr/lib/uml/modules")
        .read_dir()
        .unwrap()
        .collect();
    let [Ok(version)] = &versions[..] else {
        panic!("modules of more than one kernel: {versions:?}")
    };
    version.path()
}
