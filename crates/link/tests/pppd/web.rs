//! The least of HTTP/1.0 that moves a body to the guest's web server and back.

use std::fmt::Write as _;
use std::net::IpAddr;

use ringup_link::{Link, Stream};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A body that no two parts of are alike.
pub(crate) fn body(octets: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..octets).map(|_| next()).collect()
}

/// Sends a body to the guest and has it sent back: whole both ways, or this panics.
pub(crate) async fn both_ways(link: &Link, body: &[u8]) {
    let guest = link.peer().expect("pppd says its address");
    let head = format!(
        "POST /cgi-bin/body HTTP/1.0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = link.connect(guest, 80).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let posted = answer(stream).await;
    assert_eq!(
        String::from_utf8_lossy(&posted),
        hex(&Sha256::digest(body)),
        "what the guest has received"
    );
    let received = answer(get(link, "/cgi-bin/body").await).await;
    assert!(
        received == body,
        "{} octets of {} came back",
        received.len(),
        body.len()
    );
}

/// The same, from any of the guest's addresses.
pub(crate) async fn get_from(link: &Link, guest: impl Into<IpAddr>, path: &str) -> Stream {
    let mut stream = link.connect(guest, 80).await.unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    stream
}

/// A connection on which something was asked for.
pub(crate) async fn get(link: &Link, path: &str) -> Stream {
    get_from(link, link.peer().expect("pppd says its address"), path).await
}

/// The body of what the guest answers.
pub(crate) async fn answer(mut stream: Stream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let head = all
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an HTTP head");
    assert!(
        all.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&all[..head])
    );
    all.split_off(head + 4)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}
