//! A terminal whose line rings: 301, and 201 that calls it.

use std::path::Path;
use std::time::Duration;

use delivery::TerminalId;
use delivery::proof::{Bundle, EnrolmentSecret, PublicKey};
use exchange::{Config, Running};
use jiff::Timestamp;
use line::{ModemLine, Port, PortAddress, Rule, Screening};
use modem::{Profile, Setup};
use ringup_client::answer::TerminalConfig;
use ringup_client::budget::Limits;
use ringup_client::identity::Identity;
use ringup_client::inbox::{InboxConfig, Rules};
use ringup_client::session::LinkSettings;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

/// Longer than a link may take to come to nothing, and than the silence behind a ring with its guard (13 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A terminal that is enrolled at a server and has a rule for 201.
pub(crate) fn terminal(folder: &Path, server: PublicKey, rule: Rule) -> TerminalConfig {
    let mut callers = Screening::default();
    assert!(callers.register("201".parse().unwrap(), rule));
    let bundle = Bundle {
        terminal: TerminalId::from_octets([1; 8]),
        name: "owner".into(),
        servers: vec![server],
        callers: vec![],
        number: None,
        address: None,
        secret: Some(EnrolmentSecret::from_octets([1; 32])),
        expires_at: Timestamp::MAX,
    };
    Identity::enrol(&folder.join("state"), &bundle, Timestamp::now()).unwrap();
    TerminalConfig {
        callers,
        home: None,
        dial_prefix: String::new(),
        inbox: InboxConfig {
            folder: folder.join("inbox"),
            rules: Rules::default(),
            hand_over: Vec::new(),
        },
        state: folder.join("state"),
        server: None,
        limits: Limits::default(),
        linger: Duration::ZERO,
        standing: None,
        profile: Profile::GENERIC,
        link: LinkSettings::default(),
    }
}

/// Reads until the text ends with `wanted`.
pub(crate) async fn hear(dte: &mut (impl AsyncRead + Unpin), wanted: &str) {
    let mut heard = Vec::new();
    let read = async {
        while !heard.ends_with(wanted.as_bytes()) {
            heard.push(dte.read_u8().await.unwrap());
        }
    };
    let in_time = timeout(PATIENCE, read).await.is_ok();
    assert!(
        in_time,
        "waited for {wanted:?}, heard {:?}",
        String::from_utf8_lossy(&heard)
    );
}

/// An exchange with a caller at 201 who has just begun to ring 301, and the port of 301.
pub(crate) async fn ringing(folder: &Path) -> (Running, DuplexStream, Port) {
    let line = folder.join("line");
    let config: Config = format!(
        "ring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\ntraining = \"10ms\"\n\
         [[station]]\nnumber = \"201\"\nmemory = true\n[[station]]\nnumber = \"301\"\npty = {line:?}\n"
    )
    .parse()
    .unwrap();
    let exchange = Running::start(config).await.unwrap();
    let port = PortAddress::Device(line);
    // As the starter does before it hands the line over.
    drop(ModemLine::open(&port, Setup::default()).await.unwrap());
    let port = Port::open(&port).unwrap();
    port.write_all(b"ATE0+VCID=1\r").unwrap();
    let mut caller = exchange.station_stream("201").unwrap();
    caller.write_all(b"ATE0+VCID=1\r").await.unwrap();
    hear(&mut caller, "OK\r\n").await;
    caller.write_all(b"ATDT301\r").await.unwrap();
    (exchange, caller, port)
}
