//! A Linux guest with Debian's pppd at its serial port. The port is one end of a pseudo-terminal, ours is the other.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::initramfs::Initramfs;
use crate::wire::Wire;

/// Each takes 96 MB, and about a processor while it boots.
static GUESTS: Semaphore = Semaphore::const_new(2);

/// For whatever the guest is to do: a boot takes 2 s, this is for a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// What pppd always gets: its line, and no more than that.
const LINE_OPTIONS: &str = "/dev/ttyS0\n115200\nlocal\nnocrtscts\nnolock\nnodetach\ndebug\n";

/// Tells the harness what pppd says of a link: `@up LOCAL REMOTE`.
const IP_UP: &str = "#!/bin/sh\necho \"@up $4 $5\" >/dev/console\n";
const IP_DOWN: &str = "#!/bin/sh\necho @down >/dev/console\n";

const IPV6_UP: &str = "#!/bin/sh\necho \"@up6 $4 $5\" >/dev/console\n";

/// POST stores its body and answers with the SHA-256 of what came; GET gives it back.
const BODY: &str = r#"#!/bin/sh
if [ "$REQUEST_METHOD" = POST ]; then
    cat >/tmp/body
    printf 'Content-Type: text/plain\r\n\r\n'
    sha256sum </tmp/body | cut -c1-64 | tr -d '\n'
else
    printf 'Content-Type: application/octet-stream\r\n\r\n'
    cat /tmp/body
fi
"#;

/// A transfer that does not end by itself.
const ENDLESS: &str = "#!/bin/sh\nprintf 'Content-Type: application/octet-stream\\r\\n\\r\\n'\nexec cat /dev/zero\n";

/// How pppd is to be run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pppd<'a> {
    /// Its options, as its manual has them.
    pub(crate) options: &'a str,
    /// Lines of its files of secrets: `client server secret addresses`.
    pub(crate) secrets: &'a str,
}

/// A guest that runs, with pppd at its port. It ends when this is dropped.
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
    /// Boots a guest and has it start pppd. Gives our end of its line too.
    pub(crate) async fn boot(pppd: Pppd<'_>) -> (Self, Wire) {
        let (mut guest, wire) = Self::boot_idle(pppd).await;
        guest.start().await;
        (guest, wire)
    }

    /// Boots a guest that could start pppd.
    pub(crate) async fn boot_idle(pppd: Pppd<'_>) -> (Self, Wire) {
        let permit = GUESTS.acquire().await.unwrap();
        let peers = peers();
        let folder = tempfile::tempdir().unwrap();
        let initramfs = folder.path().join("initramfs");
        std::fs::write(&initramfs, file_system(&peers, &pppd)).unwrap();
        let (wire, guest_end) = Wire::new();
        let mut linux = Command::new(peers.join("usr/bin/linux.uml"))
            .args(["mem=96M", "quiet", "con=null", "con0=fd:0,fd:1", "ssl=null", "umid=guest"])
            .arg(format!("ssl0=tty:{guest_end}"))
            .arg(format!("initrd={}", initramfs.display()))
            .arg(format!("uml_dir={}", folder.path().display()))
            .arg(format!("peers={}", peers.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0) // it makes a process for each of its own
            .spawn()
            .unwrap();
        let console_in = linux.stdin.take().unwrap();
        let console = BufReader::new(linux.stdout.take().unwrap()).lines();
        let mut guest = Self { linux, console_in, console, log: String::new(), _folder: folder, _permit: permit };
        guest.said("@ready").await;
        (guest, wire)
    }

    /// Has it start pppd.
    pub(crate) async fn start(&mut self) {
        self.run("start").await;
    }

    /// Waits for a word on the console, and gives the rest of its line. pppd writes its lines and their ends apart, so
    /// that the word may come behind one.
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
            Ok(None) => panic!("the guest ended before it said {word:?}:\n{}", self.log),
            Err(_) => panic!("the guest did not say {word:?} in {PATIENCE:?}:\n{}", self.log),
        }
    }

    /// Has a shell command run in the guest.
    pub(crate) async fn run(&mut self, command: &str) {
        self.console_in.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    /// What a shell command in the guest prints, in one line.
    pub(crate) async fn asked(&mut self, command: &str) -> String {
        self.run(&format!("echo @answer $({command})")).await;
        self.said("@answer").await
    }

    /// All that the guest has said so far, pppd's own log in it.
    pub(crate) async fn log(&mut self) -> &str {
        self.asked(":").await;
        &self.log
    }

    /// Takes the guest's power away.
    pub(crate) fn kill(&self) {
        if let Some(group) = self.linux.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("what the guest said:\n{}", self.log);
        }
    }
}

/// Where the peers are unpacked.
fn peers() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let root = target.join("peers/root");
    assert!(root.is_dir(), "these tests talk to Debian's pppd, which is not here: run `cargo xtask test`, or `peers`");
    root
}

fn file_system(peers: &Path, pppd: &Pppd<'_>) -> Vec<u8> {
    let busybox = std::fs::read(peers.join("bin/busybox")).unwrap();
    let folders =
        ["bin", "dev", "proc", "sys", "peers", "tmp", "etc", "etc/ppp", "var", "var/run", "www", "www/cgi-bin"];
    folders
        .iter()
        .fold(Initramfs::new(), |files, folder| files.folder(folder))
        .link("usr", "peers/usr")
        .link("lib", "peers/lib")
        .link("lib64", "peers/lib64")
        .character_device("dev/console", 5, 1)
        .program("init", include_bytes!("init.sh"))
        .program("bin/busybox", &busybox)
        .program("www/cgi-bin/body", BODY.as_bytes())
        .program("www/cgi-bin/endless", ENDLESS.as_bytes())
        .program("etc/ppp/ip-up", IP_UP.as_bytes())
        .program("etc/ppp/ipv6-up", IPV6_UP.as_bytes())
        .file("www/hello", "hello\n")
        .program("etc/ppp/ip-down", IP_DOWN.as_bytes())
        .file("etc/passwd", "root:x:0:0:root:/:/bin/sh\n")
        .file("etc/ppp/options", "")
        .file("etc/ppp/peer", &format!("{LINE_OPTIONS}{}\n", pppd.options))
        .file("etc/ppp/chap-secrets", pppd.secrets)
        .file("etc/ppp/pap-secrets", pppd.secrets)
        .finish()
}
