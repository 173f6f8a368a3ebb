//! The terminal's programs for arm64, on a processor that Debian's qemu-user plays: one ring's way from the starter to on-hook.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use line::{AsyncPort, PortAddress};
use tokio::net::TcpListener;

use crate::chronicle::PATIENCE;
use crate::process::Process;
use crate::village::{OWNER, Plan, Village, awkward_content};

/// The emulator, and the folder of the programs, which `cargo xtask programs` has fetched and built.
fn emulated() -> (PathBuf, PathBuf) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let emulator = target.join("cross/aarch64/root/usr/bin/qemu-aarch64-static");
    let programs = target.join("programs/aarch64");
    let are_there = emulator.exists() && programs.join("ringup-wait").exists();
    assert!(
        are_there,
        "no programs for arm64: run `cargo xtask programs --arch aarch64`"
    );
    (emulator, programs)
}

/// Serves the owner's modem by TCP, to one who comes: qemu-user 7.2 has no TCGETS2, by which terminals are set now.
async fn serve_by_tcp(village: &Village) -> String {
    let modem = village.path("lines").join(OWNER);
    let mut modem = AsyncPort::open(&PortAddress::Device(modem)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut terminal, _) = listener.accept().await.unwrap();
        tokio::io::copy_bidirectional(&mut modem, &mut terminal).await
    });
    format!("tcp://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_for_arm64_takes_a_call_and_what_it_brings() {
    let (emulator, programs) = emulated();
    let village = Village::found(Plan::default());
    // What the starter starts has to be a program of this machine's.
    let answer = village.write(
        "answer",
        format!(
            "#!/bin/sh\nexec '{}' '{}' \"$@\"\n",
            emulator.display(),
            programs.join("ringup").display()
        ),
    );
    fs::set_permissions(&answer, Permissions::from_mode(0o755)).unwrap();
    let service_manager = UnixDatagram::bind(village.path("notify")).unwrap();
    let mut starter = Command::new(&emulator);
    starter
        .arg(programs.join("ringup-wait"))
        .arg("--line")
        .arg(serve_by_tcp(&village).await);
    starter
        .args(["--config", "owner.toml", "--answer"])
        .arg(&answer);
    starter
        .env("NOTIFY_SOCKET", village.path("notify"))
        .current_dir(village.path(""));
    let _starter = Process::start("owner", starter, &village.chronicle);
    service_manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = [0; 256];
    let count = service_manager
        .recv(&mut said)
        .expect("the starter waits for calls");
    assert!(String::from_utf8_lossy(&said[..count]).contains("READY=1"));

    let content = awkward_content(50_000);
    let message = village.send(&format!("tel:{OWNER}"), &village.write("report", &content));
    village.wait_delivered(&message);
    assert_eq!(village.received(&message), content);
    village.chronicle.wait("server", "call ended");
}
