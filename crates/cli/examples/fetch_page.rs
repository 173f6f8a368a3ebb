//! Dials a virtual modem of the exchange in software and fetches a page over the link, from a small HTTP server at the
//! other end of the call.
//!
//! `cargo run --package ringup --example fetch_page`
//!
//! ```text
//!  0.02 s  dialling 202
//!  1.62 s  CONNECT 33600
//!  1.98 s  IP is up: 10.64.0.2 to 10.64.0.1
//!  2.33 s  here is the page; 282 octets out, 373 in
//!  2.47 s  on hook: closed by this end
//! HTTP/1.0 200 OK
//! Content-Type: text/html
//! Content-Length: 49
//!
//! <title>Library</title>
//! <p>Open from nine to six.
//! ```

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use exchange::Running;
use line::{Call, ModemLine, PortAddress};
use link::{Link, LinkConfig, LinkError, LocalAddress, PeerAddress};
use modem::Setup;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
const CALLER: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const HTTP: u16 = 80;

const DELAY: Duration = Duration::from_millis(60);
const CONNECT_WAIT: Duration = Duration::from_secs(60);

/// Two telephones with modems at pseudo-terminals.
const EXCHANGE: &str = "
rate = 33600
delay = \"60ms\"
[[station]]
number = \"201\"
pty = \"office\"
[[station]]
number = \"202\"
pty = \"library\"
";

const PAGE: &str = "<title>Library</title>\n<p>Open from nine to six.\n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    println!("{}", fetch(folder.path()).await?);
    Ok(())
}

/// The whole call; what the server has answered.
async fn fetch(folder: &Path) -> anyhow::Result<String> {
    let config = EXCHANGE.parse::<exchange::Config>()?.relative_to(folder);
    let exchange = Running::start(config).await?;
    let modem = |number: &str| {
        exchange
            .pty_path(number)
            .map(|path| PortAddress::Device(path.to_owned()))
    };
    let office = modem("201").context("the office has a modem")?;
    let library = modem("202").context("the library has a modem")?;
    let began = Instant::now();
    let (page, served) = tokio::join!(fetch_by_telephone(&office, began), serve_one(&library));
    served.context("the library")?;
    page.context("the office")
}

/// The caller's side: dials, brings up IP, asks for the page.
async fn fetch_by_telephone(modem: &PortAddress, began: Instant) -> anyhow::Result<String> {
    let say = |what: &str| println!("{:5.2} s  {what}", began.elapsed().as_secs_f64());
    let modem = ModemLine::open(modem, Setup::default()).await?;
    say("dialling 202");
    let call = modem.dial(&"202".parse()?, CONNECT_WAIT).await?;
    say(&format!("CONNECT {}", call.rate_bps()));
    let link = establish(call, LocalAddress::Own(CALLER), PeerAddress::Assign(SERVER)).await?;
    say(&format!("IP is up: {} to {SERVER}", link.local()));
    let mut stream = link.connect(SERVER, HTTP).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    let counters = link.counters();
    say(&format!(
        "here is the page; {} octets out, {} in",
        counters.octets_out, counters.octets_in
    ));
    link.close();
    say(&format!("on hook: {}", link.closed().await));
    Ok(page)
}

/// The called side: answers, takes the address it is given, serves one request.
async fn serve_one(modem: &PortAddress) -> anyhow::Result<()> {
    let mut modem = ModemLine::open(modem, Setup::default()).await?;
    modem.ring().await?;
    let call = modem.answer().await?;
    let link = establish(call, LocalAddress::Ask(None), PeerAddress::Any).await?;
    let mut stream = link.listen(HTTP)?.accept().await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let head = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
        PAGE.len()
    );
    stream.write_all(format!("{head}{PAGE}").as_bytes()).await?;
    stream.shutdown().await?;
    link.closed().await;
    Ok(())
}

async fn establish(call: Call, local: LocalAddress, peer: PeerAddress) -> Result<Link, LinkError> {
    let rate_bps = call.rate_bps();
    // The port is open from the moment on which IP is up: the caller may ask before `listen` has been called.
    let config = LinkConfig {
        ports: &[HTTP],
        ..LinkConfig::new(local, peer, rate_bps, DELAY)
    };
    Link::establish(call, config).await
}

#[test]
fn the_page_arrives_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let page = runtime.block_on(fetch(folder.path())).expect("a page");
    assert!(
        page.starts_with("HTTP/1.0 200 OK\r\n") && page.ends_with(PAGE),
        "{page}"
    );
}
