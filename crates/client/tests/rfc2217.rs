//! A modem behind a terminal server: our RFC 2217 client against the exchange's server, which pyserial has tried.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use exchange::{Config, EndedBy, Outcome, Running};
use line::{LineError, ModemLine, Port, PortAddress, PortError};
use modem::Setup;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

async fn exchange() -> (Running, PortAddress) {
    let config: Config = "rate = 1000000\ntraining = \"10ms\"\nring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\n\
        [[station]]\nnumber = \"201\"\nrfc2217 = \"127.0.0.1:0\"\n[[station]]\nnumber = \"301\"\nmemory = true\n"
        .parse()
        .unwrap();
    let exchange = Running::start(config).await.unwrap();
    let address = format!("rfc2217://{}", exchange.tcp_address("201").unwrap());
    (exchange, address.parse().unwrap())
}

/// A call from the terminal server's modem to 301, which answers by itself, and the far end.
async fn call(exchange: &Running, port: &PortAddress) -> (line::Call, tokio::io::DuplexStream) {
    let mut far = exchange.station_stream("301").unwrap();
    far.write_all(b"ATE0Q1S0=1\r").await.unwrap();
    let mut echo = [0; 11];
    timeout(PATIENCE, far.read_exact(&mut echo))
        .await
        .unwrap()
        .unwrap();
    let line = timeout(PATIENCE, ModemLine::open(port, Setup::default()))
        .await
        .unwrap()
        .unwrap();
    let call = timeout(PATIENCE, line.dial(&"301".parse().unwrap(), PATIENCE))
        .await
        .unwrap()
        .unwrap();
    (call, far)
}

#[tokio::test]
async fn every_octet_crosses_and_dtr_ends_the_call() {
    let (exchange, port) = exchange().await;
    let mut records = exchange.records();
    let (mut call, mut far) = call(&exchange, &port).await;
    assert_eq!(call.rate_bps(), 1_000_000);
    let all: Vec<u8> = (0..=255).cycle().take(5000).collect();
    call.write_all(&all).await.unwrap();
    call.flush().await.unwrap();
    let mut heard = vec![0; all.len()];
    timeout(PATIENCE, far.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    assert!(heard == all, "not what was sent");
    far.write_all(&all).await.unwrap();
    timeout(PATIENCE, call.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    assert!(heard == all, "not what came back");

    // The connection stays, so it is DTR that ends the call.
    timeout(PATIENCE, call.shutdown()).await.unwrap().unwrap();
    let record = timeout(PATIENCE, records.recv()).await.unwrap().unwrap();
    assert_eq!(
        (record.outcome, record.ended_by),
        (Outcome::Completed, EndedBy::Caller)
    );
    drop(call);
    exchange.stop().await.unwrap();
}

#[tokio::test]
async fn a_carrier_that_goes_is_the_end_of_the_call_and_no_word_in_it() {
    let (exchange, port) = exchange().await;
    let (mut call, far) = call(&exchange, &port).await;
    drop(far);
    let mut heard = Vec::new();
    timeout(PATIENCE, call.read_to_end(&mut heard))
        .await
        .unwrap()
        .unwrap();
    exchange.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_control_the_port_is_told_from_one_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port: PortAddress = format!("rfc2217://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let plain = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[255, 254, 44]).await.unwrap(); // IAC DONT COM-PORT
        stream
    };
    let (opened, _stream) = tokio::join!(ModemLine::open(&port, Setup::default()), plain);
    let Err(LineError::Port(PortError::Open { source, .. })) = opened else {
        panic!("{opened:?}")
    };
    assert!(source.to_string().contains("RFC 2217"), "{source}");
}

#[test]
fn a_starter_says_that_it_cannot_use_one() {
    let refused = Port::open(&"rfc2217://pool:2001".parse().unwrap()).unwrap_err();
    assert!(
        matches!(refused, PortError::ForServersOnly { .. }),
        "{refused}"
    );
}
