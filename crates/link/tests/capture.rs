//! A capture of two links, read back by Debian's tcpdump.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ringup_link::{Capture, Link, LinkConfig, LocalAddress, PeerAddress, Terms};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PORT: u16 = 7411;

/// A link is made, an octet crosses a TCP connection, the link is closed; the server's end is captured.
async fn call(capture: &Capture, terminal: Ipv4Addr) {
    let (near, far) = duplex(64 * 1024);
    let config = |local, peer, capture| LinkConfig {
        local,
        peer,
        rate_bps: 33_600,
        delay: Duration::from_millis(10),
        ports: &[PORT],
        // Plain headers: what is compressed is named, but not shown, by tcpdump.
        terms: Terms {
            header_compression: None,
            ..Terms::default()
        },
        expected: None,
        capture,
        tun: None,
    };
    let server = config(
        LocalAddress::Own(SERVER),
        PeerAddress::Assign(terminal),
        Some(capture.clone()),
    );
    let terminal = config(LocalAddress::Ask(None), PeerAddress::Any, None);
    let (server, terminal) = tokio::join!(
        Link::establish(near, server),
        Link::establish(far, terminal)
    );
    let (server, terminal) = (server.unwrap(), terminal.unwrap());
    let mut listener = server.listen(PORT).unwrap();
    let (accepted, connected) = tokio::join!(listener.accept(), terminal.connect(SERVER, PORT));
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    connected.write_all(b"x").await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
    server.close();
    server.closed().await;
}

/// What tcpdump prints of a capture, a line for each frame; and what it says the file is.
fn read_by_tcpdump(path: &Path) -> (Vec<String>, String) {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("peers/root");
    let program = peers.join("usr/bin/tcpdump");
    assert!(
        program.is_file(),
        "this test needs Debian's tcpdump, which is not here: run `cargo xtask peers`"
    );
    // With the libraries it was built for, not those of this machine.
    let libraries =
        ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| peers.join(folder));
    let output = Command::new(peers.join("lib64/ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(std::env::join_paths(libraries).unwrap())
        .arg(program)
        // Run by root it would become a user that is not here. Numbers, no names.
        .args(["-Z", "root", "-n", "-r"])
        .arg(path)
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    (
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect(),
        errors,
    )
}

/// The frames of one direction, as a capture of the link type without directions.
///
/// tcpdump 4.99 reads link type 204 and shows its frames in hex; what it can take apart is link type 9. (Wireshark
/// takes both apart, and is a hundred times as large.)
fn one_direction(capture: &[u8], direction: u8) -> Vec<u8> {
    const PPP: u32 = 9;
    let field = |at: usize| u32::from_ne_bytes(capture[at..at + 4].try_into().unwrap());
    assert_eq!(field(20), 204);
    let mut picked = [&capture[..20], &PPP.to_ne_bytes()].concat();
    let mut at = 24;
    while at < capture.len() {
        let (time, octets) = (&capture[at..at + 8], field(at + 8));
        let body = &capture[at + 16..at + 16 + octets as usize];
        if body[0] == direction {
            let octets = (octets - 1).to_ne_bytes();
            picked.extend_from_slice(&[time, &octets, &octets, &body[1..]].concat());
        }
        at += 16 + body.len();
    }
    picked
}

/// How many lines have all of these words.
fn count(lines: &[String], words: &[&str]) -> usize {
    lines
        .iter()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .count()
}

#[tokio::test(start_paused = true)]
async fn tcpdump_reads_a_capture_of_two_links() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("links.pcap");
    let capture = Capture::create(&path).unwrap();
    tokio::join!(
        call(&capture, Ipv4Addr::new(10, 77, 0, 2)),
        call(&capture, Ipv4Addr::new(10, 77, 0, 3))
    );

    let (_, kind) = read_by_tcpdump(&path);
    assert!(kind.contains("link-type 204"), "{kind}");
    let octets = std::fs::read(&path).unwrap();
    let [received, sent] = [0, 1].map(|direction| {
        let path = folder.path().join(format!("{direction}.pcap"));
        std::fs::write(&path, one_direction(&octets, direction)).unwrap();
        read_by_tcpdump(&path).0
    });
    let said = format!(
        "received:\n{}\nsent:\n{}",
        received.join("\n"),
        sent.join("\n")
    );
    // Each of the two links: both ends ask for their LCP options; the server ends it.
    for lines in [&received, &sent] {
        assert!(count(lines, &["LCP", "Conf-Request"]) >= 2, "{said}");
        assert!(count(lines, &["IPCP", "Conf-Ack"]) >= 2, "{said}");
    }
    assert_eq!(count(&sent, &["LCP", "Term-Request"]), 2, "{said}");
    assert_eq!(count(&received, &["LCP", "Term-Ack"]), 2, "{said}");
    for terminal in ["10.77.0.2", "10.77.0.3"] {
        // The terminal opens the connection: its SYN came, the server's answer went.
        assert_eq!(
            count(
                &received,
                &["IP", &format!("{terminal}."), "> 10.77.0.1.7411:", "[S]"]
            ),
            1,
            "{said}"
        );
        assert_eq!(
            count(
                &sent,
                &["IP 10.77.0.1.7411", &format!("> {terminal}."), "[S.]"]
            ),
            1,
            "{said}"
        );
        assert_eq!(
            count(&received, &[&format!("{terminal}."), "[P.]", "length 1"]),
            1,
            "{said}"
        );
    }
}
