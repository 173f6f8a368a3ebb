//! Our line through a stranger's terminal server: Debian's ser2net between a modem and us, as plain TCP and by RFC 2217.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::chronicle::PATIENCE;
use crate::unpacked;
use crate::village::{CENTRE, Plan, Village, awkward_content};

const PLAIN_TCP: &str = "tcp,127.0.0.1,0";
const RFC_2217: &str = "telnet(rfc2217),tcp,127.0.0.1,0";

/// A ser2net that serves one device; dropping it ends it.
struct Ser2net {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Ser2net {
    /// Serves `device` to whom `accepter` lets in, on any free port.
    fn start(accepter: &str, device: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("ser2net.yaml");
        let text = format!(
            "connection: &line\n  accepter: {accepter}\n  connector: serialdev,{},115200n81,local\n",
            device.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = unpacked::command("usr/sbin/ser2net");
        // In the foreground, complaints to standard error, no lock files: the device is a test's own.
        command
            .args(["-n", "-d", "-u", "-c"])
            .arg(&config)
            .stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let port = loop {
            if let Some(port) = listening_port(child.id()) {
                break port;
            }
            assert_eq!(child.try_wait().unwrap(), None, "ser2net has ended");
            assert!(Instant::now() < deadline, "ser2net does not listen");
            std::thread::yield_now();
        };
        Self {
            child,
            port,
            _folder: folder,
        }
    }
}

impl Drop for Ser2net {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// The TCP port on which a process listens, as the kernel tells.
fn listening_port(process: u32) -> Option<u16> {
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .ok()?
        .filter_map(|entry| {
            let target = fs::read_link(entry.ok()?.path()).ok()?;
            target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')
                .map(str::to_owned)
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (*columns.get(1)?, *columns.get(3)?, *columns.get(9)?);
        let is_listening = state == "0A" && sockets.contains(inode);
        is_listening.then(|| u16::from_str_radix(local.split_once(':')?.1, 16).ok())?
    })
}

/// A provider's call, and the server's own on which the message is delivered.
fn two_calls_through(accepter: &str, scheme: &str) {
    let mut village = Village::found(Plan {
        no_answer_after: "10s",
        ..Plan::default()
    });
    village.kill_server();
    let ser2net = Ser2net::start(accepter, &village.path("lines").join(CENTRE));
    let config = fs::read_to_string(village.path("server.toml")).unwrap();
    let address = format!("{scheme}://127.0.0.1:{}", ser2net.port);
    village.write(
        "server.toml",
        config.replace(&format!("lines/{CENTRE}"), &address),
    );
    village.start_server("server 2");
    let _owner = village.start_owner();

    let content = awkward_content(30_000);
    let message = village.dial_in("tel:301", &village.write("report", &content));
    village
        .chronicle
        .wait_field("server 2", "delivered", "message_id", &message);
    assert!(
        village.received(&message) == content,
        "what has arrived is not what was sent"
    );
    // Each call had its end, so that the line was free for the next.
    village.exchange_calls(2);
    village.chronicle.wait_nth("server 2", "line ready", 3);
}

#[test]
fn a_server_whose_modem_is_behind_ser2net_delivers_takes_calls_and_hangs_up() {
    two_calls_through(PLAIN_TCP, "tcp");
}

#[test]
fn a_server_that_controls_ser2nets_port_by_rfc_2217_delivers_takes_calls_and_hangs_up() {
    two_calls_through(RFC_2217, "rfc2217");
}
