//! Guests with Debian's pppd at their serial port. The port is one end of a pseudo-terminal, ours is the other.

use std::path::{Path, PathBuf};

pub(crate) use guest::Guest;
use guest::{Initramfs, Machine};

use crate::wire::Wire;

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
const ENDLESS: &str =
    "#!/bin/sh\nprintf 'Content-Type: application/octet-stream\\r\\n\\r\\n'\nexec cat /dev/zero\n";

/// How pppd is to be run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pppd<'a> {
    /// Its options, as its manual has them.
    pub(crate) options: &'a str,
    /// Lines of its files of secrets: `client server secret addresses`.
    pub(crate) secrets: &'a str,
}

/// Boots a guest and has it start pppd. Gives our end of its line too.
pub(crate) async fn boot(pppd: Pppd<'_>) -> (Guest, Wire) {
    let (mut guest, wire) = boot_idle(pppd).await;
    start(&mut guest).await;
    (guest, wire)
}

/// Boots a guest that could start pppd.
pub(crate) async fn boot_idle(pppd: Pppd<'_>) -> (Guest, Wire) {
    let peers = peers();
    let (wire, guest_end) = Wire::new();
    let mut machine = Machine::new(&peers, file_system(&peers, &pppd));
    machine.lines = vec![guest_end.into()];
    machine.settings = vec![format!("peers={}", peers.display())];
    (
        machine
            .boot()
            .await
            .unwrap_or_else(|error| panic!("{error}")),
        wire,
    )
}

/// Has it start pppd.
pub(crate) async fn start(guest: &mut Guest) {
    guest.run("start").await;
}

/// Where the peers are unpacked.
pub(crate) fn peers() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let root = target.join("peers/root");
    assert!(
        root.is_dir(),
        "these tests talk to Debian's pppd, which is not here: run `cargo xtask test`, or `peers`"
    );
    root
}

fn file_system(peers: &Path, pppd: &Pppd<'_>) -> Vec<u8> {
    let busybox = std::fs::read(peers.join("bin/busybox")).unwrap();
    let folders = [
        "bin",
        "dev",
        "proc",
        "sys",
        "peers",
        "tmp",
        "etc",
        "etc/ppp",
        "var",
        "var/run",
        "www",
        "www/cgi-bin",
    ];
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
