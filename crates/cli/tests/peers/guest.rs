//! A Linux guest whose serial ports are terminals of this machine, with a stranger's programs from `target/peers`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::initramfs::Initramfs;

/// Each takes 96 MB, and about a processor while it boots.
static GUESTS: Semaphore = Semaphore::const_new(2);

/// For whatever the guest is to do: a boot takes 2 s, this is for a machine with other work.
const PATIENCE: Duration = Duration::from_secs(90);

/// What most guests are given.
const SMALL: &str = "mem=96M";

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

/// A guest that runs. It ends when this is dropped.
pub(crate) struct Guest {
    linux: Child,
    console_in: ChildStdin,
    console: Lines<BufReader<ChildStdout>>,
    /// All that the console has said.
    log: String,
    _folder: tempfile::TempDir,
    _permit: SemaphorePermit<'static>,
}

impl Guest {
    /// Boots a guest with `files` in it. Its ports `ttyS0`, `ttyS1` and so on are the terminals `lines`.
    pub(crate) async fn boot(lines: &[PathBuf], files: &[(&str, &str)]) -> Self {
        let peers = peers();
        let settings = [SMALL.to_owned(), format!("peers={}", peers.display())];
        Self::start(lines, &file_system(&peers, files), &settings).await
    }

    /// The same without lines, and with memory for what Debian's own programs take.
    pub(crate) async fn roomy(files: &[(&str, &str)]) -> Self {
        let peers = peers();
        let settings = ["mem=640M".to_owned(), format!("peers={}", peers.display())];
        Self::start(&[], &file_system(&peers, files), &settings).await
    }

    /// Boots a bare machine: a kernel, busybox, a modem at `ttyS0`, a disk that cannot be written; no network of any kind.
    pub(crate) async fn bare(line: PathBuf, disk: &Path) -> Self {
        let settings = [SMALL.to_owned(), format!("ubd0r={}", disk.canonicalize().unwrap().display())];
        Self::start(&[line], &bare_file_system(&peers()), &settings).await
    }

    /// Boots the same with systemd and udev.
    pub(crate) async fn with_systemd(line: PathBuf, disk: &Path) -> Self {
        let peers = peers();
        let disk = format!("ubd0r={}", disk.canonicalize().unwrap().display());
        // systemd, its journal and udev take more; the last of a setting's kind counts.
        let settings = [disk, format!("peers={}", peers.display()), "mem=160M".to_owned()];
        Self::start(&[line], &systemd_file_system(&peers), &settings).await
    }

    async fn start(lines: &[PathBuf], file_system: &[u8], settings: &[String]) -> Self {
        let permit = GUESTS.acquire().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let initramfs = folder.path().join("initramfs");
        std::fs::write(&initramfs, file_system).unwrap();
        let mut command = Command::new(peers().join("usr/bin/linux.uml"));
        command
            .args(["quiet", "con=null", "con0=fd:0,fd:1", "ssl=null", "umid=guest"])
            .arg(format!("initrd={}", initramfs.display()))
            .arg(format!("uml_dir={}", folder.path().display()))
            .args(settings);
        for (index, line) in lines.iter().enumerate() {
            // It wants the terminal itself, not a link to it.
            command.arg(format!("ssl{index}=tty:{}", line.canonicalize().unwrap().display()));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut linux = command.process_group(0).spawn().unwrap(); // it makes a process for each of its own
        let console_in = linux.stdin.take().unwrap();
        let console = BufReader::new(linux.stdout.take().unwrap()).lines();
        let mut guest = Self { linux, console_in, console, log: String::new(), _folder: folder, _permit: permit };
        guest.said("@ready").await;
        guest
    }

    /// Waits for a word on the console, and gives the rest of its line.
    pub(crate) async fn said(&mut self, word: &str) -> String {
        let wait = async {
            loop {
                let line = self.console.next_line().await.ok().flatten()?;
                let line = line.trim_end();
                self.log.push_str(line);
                self.log.push('\n');
                if let Some((_, rest)) = line.split_once(word) {
                    return Some(rest.trim().to_owned());
                }
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(Some(rest)) => rest,
            Ok(None) => panic!("the guest ended before it said {word:?}"),
            Err(_) => {
                self.run("cat /var/log/mgetty/* /tmp/*log; journalctl --no-pager --lines 50; echo @logs").await;
                while let Ok(Ok(Some(line))) = timeout(Duration::from_secs(5), self.console.next_line()).await {
                    self.log.push_str(&line);
                    self.log.push('\n');
                }
                panic!("the guest did not say {word:?} in {PATIENCE:?}")
            }
        }
    }

    /// Has a shell command run in the guest.
    pub(crate) async fn run(&mut self, command: &str) {
        self.console_in.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(group) = self.linux.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
            kill_process_group(group, Signal::KILL).ok();
        }
        if std::thread::panicking() {
            eprintln!("what the guest said:\n{}", self.log);
        }
    }
}

/// Where the peers are unpacked.
pub(crate) fn peers() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let root = target.join("peers/root");
    let is_whole = root.join("sbin/mgetty").exists();
    assert!(is_whole, "these tests talk to Debian's mgetty and pppd, which are not here: run `cargo xtask peers`");
    root
}

fn file_system(peers: &Path, files: &[(&str, &str)]) -> Vec<u8> {
    let busybox = std::fs::read(peers.join("bin/busybox")).unwrap();
    let empty = FOLDERS.iter().fold(Initramfs::new(), |system, folder| system.folder(folder));
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
        .file("etc/passwd", "root:x:0:0:root:/:/bin/sh\nuucp:x:10:10:uucp:/:/bin/false\n")
        .file("etc/group", "root:x:0:\nuucp:x:10:\ndialout:x:20:\ntty:x:5:\n")
        .file("etc/hosts", "127.0.0.1 localhost\n")
        .file("etc/ppp/options", "");
    files.iter().fold(system, |system, (path, content)| system.file(path, content)).finish()
}

/// What a small Linux has before anything is installed on it, with the tool of a service manager that is not running.
fn bare_file_system(peers: &Path) -> Vec<u8> {
    const FOLDERS: [&str; 10] = ["mnt", "tmp", "root", "etc", "run", "run/lock", "sbin", "usr", "usr/bin", "var"];
    let empty = FOLDERS.iter().fold(with_iso9660(peers), |system, folder| system.folder(folder));
    empty
        .program("init", include_bytes!("bare.sh"))
        .program("sbin/openrc-run", b"#!/bin/sh\n")
        .file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
        .file("etc/group", "root:x:0:\ntty:x:5:\n")
        .finish()
}

/// Its `/init` makes the file system that systemd starts on.
fn systemd_file_system(peers: &Path) -> Vec<u8> {
    with_iso9660(peers).folder("new").program("init", include_bytes!("systemd.sh")).finish()
}

/// busybox, and what the kernel needs to read a medium.
fn with_iso9660(peers: &Path) -> Initramfs {
    let busybox = std::fs::read(peers.join("bin/busybox")).unwrap();
    let modules = peers.join("usr/lib/uml/modules").read_dir().unwrap().next().unwrap().unwrap().path();
    let module = |path: &str| std::fs::read(modules.join("kernel").join(path)).unwrap();
    let empty = ["bin", "dev", "proc", "sys"].iter().fold(Initramfs::new(), |system, folder| system.folder(folder));
    empty
        .character_device("dev/console", 5, 1)
        .program("bin/busybox", &busybox)
        .program("cdrom.ko", &module("drivers/cdrom/cdrom.ko"))
        .program("isofs.ko", &module("fs/isofs/isofs.ko"))
}
