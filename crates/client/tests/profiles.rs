//! Every modem profile on the exchange's modem of its kind, which reads AT by itself and says ERROR to what it does not
//! know.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the helpers of a test for no test"
)]

use std::path::Path;
use std::time::Duration;

use exchange::{Config, Running};
use line::{Caller, ModemLine, PortAddress};
use modem::Profile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

/// Far more than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn exchange(line: &Path, modem: &str) -> Running {
    let config: Config = format!(
        "rate = 1000000\nring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\ntraining = \"10ms\"\n\
         [[station]]\nnumber = \"201\"\nmemory = true\n[[station]]\nnumber = \"301\"\npty = {line:?}\nmodem = {modem:?}\n"
    )
    .parse()
    .unwrap();
    Running::start(config).await.unwrap()
}

async fn hear(dte: &mut DuplexStream, wanted: &str) {
    let mut heard = Vec::new();
    while !heard.ends_with(wanted.as_bytes()) {
        heard.push(dte.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn every_profile_is_initialised_learns_who_calls_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    for profile in Profile::ALL {
        // Another pseudo-terminal each time: one that was made exclusive may stay so.
        let path = folder.path().join(profile.name());
        let kind = match profile.name() {
            "gsm" | "iridium" => "gsm",
            "isdn" => "isdn",
            _ => "analogue",
        };
        let exchange = exchange(&path, kind).await;
        let run = async {
            let mut line = ModemLine::open(&PortAddress::Device(path.clone()), profile.into())
                .await
                .unwrap();
            let mut caller = exchange.station_stream("201").unwrap();
            caller.write_all(b"ATE0\r").await.unwrap();
            hear(&mut caller, "OK\r\n").await;
            caller.write_all(b"ATDT301\r").await.unwrap();
            let heard = line.ring().await.unwrap().caller;
            let call = line.answer().await.unwrap();
            hear(&mut caller, "CONNECT 1000000\r\n").await;
            assert_eq!(call.rate_bps(), 1_000_000, "{profile}");
            heard
        };
        let heard = timeout(PATIENCE, run)
            .await
            .unwrap_or_else(|_| panic!("{profile}: nothing came of it"));
        assert_eq!(heard, Caller::Number("201".parse().unwrap()), "{profile}");
        exchange.stop().await.unwrap();
    }
}
