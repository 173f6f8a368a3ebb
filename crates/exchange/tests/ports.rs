//! The exchange on real ports: pseudo-terminals, TCP, streams in memory. No test sleeps; each waits for what it expects.

use ringup_exchange::{CallRecord, Config, EndedBy, ExchangeError, Outcome, Running, run};
use rustix::{
    fs::{Mode, OFlags},
    termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr},
};
use std::{fs, os::fd::OwnedFd, path::Path, time::Duration};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::broadcast,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fast, so that real time is short.
const QUICK: &str = "rate = 1000000\ndelay = \"5ms\"\ntraining = \"20ms\"\nring_cycle = \"100ms\"\ncaller_id_delay = \"20ms\"\n";

fn config(stations: &[(&str, &str)]) -> Config {
    let tables: String = stations
        .iter()
        .map(|(number, port)| format!("[[station]]\nnumber = \"{number}\"\n{port}\n"))
        .collect();
    format!("{QUICK}{tables}")
        .parse()
        .expect("the configuration of the test is right")
}

/// Reads until the text ends with `wanted`; returns all of it.
async fn read_to(dte: &mut (impl AsyncReadExt + Unpin), wanted: &str) -> String {
    let mut heard = Vec::new();
    let read = async {
        while !heard.ends_with(wanted.as_bytes()) {
            heard.push(dte.read_u8().await.expect("the port is open"));
        }
    };
    let in_time = timeout(PATIENCE, read).await.is_ok();
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(in_time, "waited for {wanted:?}, heard {heard:?}");
    heard
}

async fn next_record(records: &mut broadcast::Receiver<CallRecord>) -> CallRecord {
    timeout(PATIENCE, records.recv())
        .await
        .expect("a call ends")
        .expect("the exchange runs")
}

/// Opens a pseudo-terminal as a DTE does.
fn open_pty(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
        .expect("the link leads to a terminal")
}

fn dte(slave: OwnedFd) -> File {
    File::from_std(slave.into())
}

#[tokio::test]
async fn a_call_from_memory_to_tcp_connects_and_ends_when_the_connection_does() {
    let running = Running::start(config(&[
        ("201", "memory = true"),
        ("202", "tcp = \"127.0.0.1:0\""),
    ]))
    .await
    .unwrap();
    let mut records = running.records();
    let mut caller = running.station_stream("201").unwrap();
    let mut called = TcpStream::connect(running.tcp_address("202").unwrap())
        .await
        .unwrap();
    called.write_all(b"ATE0+VCID=1\r").await.unwrap();
    read_to(&mut called, "\r\nOK\r\n").await;
    caller.write_all(b"ATDT202\r").await.unwrap();
    read_to(&mut called, "\r\nNMBR = 201\r\n").await;
    called.write_all(b"ATA\r").await.unwrap();
    read_to(&mut caller, "\r\nCONNECT 1000000\r\n").await;
    read_to(&mut called, "\r\nCONNECT 1000000\r\n").await;
    called.write_all(b"hello").await.unwrap();
    read_to(&mut caller, "hello").await;
    drop(called);
    read_to(&mut caller, "\r\nNO CARRIER\r\n").await;
    let record = next_record(&mut records).await;
    assert_eq!(
        (record.outcome, record.ended_by),
        (Outcome::Completed, EndedBy::Called)
    );
    assert_eq!(
        (
            record.octets_from_caller,
            record.octets_from_called,
            record.billed_seconds
        ),
        (0, 5, 1)
    );

    let mut called = TcpStream::connect(running.tcp_address("202").unwrap())
        .await
        .unwrap();
    called.write_all(b"AT\r").await.unwrap();
    assert_eq!(
        read_to(&mut called, "OK\r\n").await,
        "\r\nOK\r\n",
        "the next one finds the modem free"
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_pty_answers_at_and_its_close_ends_the_call_and_leaves_nothing_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("lines/centre");
    let port = format!("pty = \"{}\"", link.display());
    let running = Running::start(config(&[("201", "memory = true"), ("202", &port)]))
        .await
        .unwrap();
    assert_eq!(running.pty_path("202"), Some(link.as_path()));
    let mut records = running.records();
    let mut caller = running.station_stream("201").unwrap();

    let slave = open_pty(&link);
    assert!(
        !tcgetattr(&slave)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO),
        "raw from the start"
    );
    let mut called = dte(slave);
    called.write_all(b"ATE0S0=1\r").await.unwrap();
    read_to(&mut called, "\r\nOK\r\n").await;
    caller.write_all(b"ATDT202\r").await.unwrap();
    read_to(&mut called, "\r\nCONNECT 1000000\r\n").await;
    read_to(&mut caller, "\r\nCONNECT 1000000\r\n").await;
    caller.write_all(b"unread by the first").await.unwrap();
    called.write_all(b"done").await.unwrap();
    called.flush().await.unwrap();
    read_to(&mut caller, "done").await;

    // It leaves with its terminal in another mode, and with data unread.
    let slave = called.into_std().await;
    let mut settings = tcgetattr(&slave).unwrap();
    settings.local_modes |= LocalModes::ECHO | LocalModes::ICANON;
    tcsetattr(&slave, OptionalActions::Now, &settings).unwrap();
    drop(slave);
    read_to(&mut caller, "\r\nNO CARRIER\r\n").await;
    let record = next_record(&mut records).await;
    assert_eq!(
        (record.ended_by, record.octets_from_caller),
        (EndedBy::Called, 19)
    );

    // The far end knows of the hang-up after the delay, and the terminal was cleared before that.
    let slave = open_pty(&link);
    assert!(
        !tcgetattr(&slave)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO),
        "raw again"
    );
    let mut called = dte(slave);
    called.write_all(b"AT\r").await.unwrap();
    assert_eq!(read_to(&mut called, "OK\r\n").await, "\r\nOK\r\n");
    running.stop().await.unwrap();
    assert!(!link.is_symlink(), "the link is gone with the exchange");
}

#[tokio::test]
async fn a_pty_whose_dte_stops_reading_is_held_and_its_close_is_still_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("line");
    let port = format!("pty = \"{}\"", link.display());
    let running = Running::start(config(&[("201", "memory = true"), ("202", &port)]))
        .await
        .unwrap();
    let mut caller = running.station_stream("201").unwrap();
    let mut called = dte(open_pty(&link));
    called.write_all(b"ATE0S0=1\r").await.unwrap();
    read_to(&mut called, "\r\nOK\r\n").await;
    caller.write_all(b"ATDT202\r").await.unwrap();
    read_to(&mut caller, "\r\nCONNECT 1000000\r\n").await;
    // Writes until the line, the modem and the terminal are full: then no write goes through any more.
    let mut written = 0;
    while timeout(Duration::from_millis(500), caller.write_all(&[b'x'; 256]))
        .await
        .is_ok()
    {
        written += 256;
        assert!(written < 1_000_000, "nothing holds the sender");
    }
    drop(called);
    // The stream in memory is full, so the caller hears of it only in what it reads.
    read_to(&mut caller, "\r\nNO CARRIER\r\n").await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stale_link_is_replaced_and_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (link, file) = (folder.path().join("stale"), folder.path().join("file"));
    std::os::unix::fs::symlink("/nowhere/at/all", &link).unwrap();
    fs::write(&file, "precious").unwrap();
    let running = Running::start(config(&[("1", &format!("pty = \"{}\"", link.display()))]))
        .await
        .unwrap();
    let mut dte = dte(open_pty(&link));
    dte.write_all(b"AT\r").await.unwrap();
    read_to(&mut dte, "\r\nOK\r\n").await;
    running.stop().await.unwrap();
    let refused = Running::start(config(&[("1", &format!("pty = \"{}\"", file.display()))])).await;
    assert!(matches!(refused, Err(ExchangeError::Pty { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["file"], "nothing else stays behind");
}

#[tokio::test]
async fn a_taken_tcp_port_is_an_error_that_names_the_station() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = format!("tcp = \"{}\"", taken.local_addr().unwrap());
    let error = Running::start(config(&[("777", &port)])).await.unwrap_err();
    assert!(error.to_string().contains("777"), "{error}");
}

#[tokio::test]
async fn records_are_appended_one_json_object_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.jsonl");
    for _ in 0..2 {
        let text = format!(
            "records = \"calls.jsonl\"\n{QUICK}[[station]]\nnumber = \"1\"\nmemory = true\n"
        );
        let config: Config = text.parse().unwrap();
        let running = Running::start(config.relative_to(folder.path()))
            .await
            .unwrap();
        let mut dte = running.station_stream("1").unwrap();
        dte.write_all(b"ATD1\rATD2\r").await.unwrap();
        read_to(&mut dte, "\r\nNO CARRIER\r\n").await;
        running.stop().await.unwrap();
    }
    let text = fs::read_to_string(path).unwrap();
    let outcomes: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<CallRecord>(line).unwrap().outcome)
        .collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Busy,
            Outcome::UnknownNumber,
            Outcome::Busy,
            Outcome::UnknownNumber
        ]
    );
}

#[tokio::test]
async fn the_program_runs_until_it_is_told_to_stop_and_then_every_call_has_its_record() {
    let folder = tempfile::tempdir().unwrap();
    let (link, records) = (
        folder.path().join("line"),
        folder.path().join("calls.jsonl"),
    );
    let text = format!(
        "records = \"{}\"\n{QUICK}[[station]]\nnumber = \"1\"\npty = \"{}\"\n[[station]]\nnumber = \"2\"\nmemory = true\n",
        records.display(),
        link.display()
    );
    let shutdown = CancellationToken::new();
    let program = tokio::spawn(run(text.parse().unwrap(), shutdown.clone()));
    let linked = async {
        while !link.exists() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, linked)
        .await
        .expect("the exchange starts");
    let mut dte = dte(open_pty(&link));
    dte.write_all(b"ATD2;\r").await.unwrap();
    read_to(&mut dte, "\r\nOK\r\n").await;
    shutdown.cancel();
    timeout(PATIENCE, program)
        .await
        .expect("it stops")
        .unwrap()
        .unwrap();
    let record: CallRecord = serde_json::from_str(&fs::read_to_string(records).unwrap()).unwrap();
    assert_eq!(
        (record.outcome, record.ended_by),
        (Outcome::Cut, EndedBy::Exchange)
    );
    assert!(!link.is_symlink());
}

/// The same shell under tokio's paused clock: six rings take no real time.
#[tokio::test(start_paused = true)]
async fn streams_in_memory_follow_a_paused_clock() {
    let text =
        "[[station]]\nnumber = \"1\"\nmemory = true\n[[station]]\nnumber = \"2\"\nmemory = true\n";
    let running = Running::start(text.parse().unwrap()).await.unwrap();
    let mut caller = running.station_stream("1").unwrap();
    let start = tokio::time::Instant::now();
    caller.write_all(b"ATDT2\r").await.unwrap();
    let mut heard = String::new();
    while !heard.ends_with("\r\nNO ANSWER\r\n") {
        heard.push(caller.read_u8().await.unwrap().into());
    }
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(50) && waited < Duration::from_millis(50_100),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn streams_in_memory_carry_octets_at_the_rate_of_the_line() {
    let text = "delay = \"60ms\"\n[[station]]\nnumber = \"1\"\nmemory = true\n[[station]]\nnumber = \"2\"\nmemory = true\n";
    let running = Running::start(text.parse().unwrap()).await.unwrap();
    let (mut caller, mut called) = (
        running.station_stream("1").unwrap(),
        running.station_stream("2").unwrap(),
    );
    called.write_all(b"ATE0S0=1\r").await.unwrap();
    read_to(&mut called, "\r\nOK\r\n").await;
    caller.write_all(b"ATDT2\r").await.unwrap();
    read_to(&mut caller, "\r\nCONNECT 33600\r\n").await;
    read_to(&mut called, "\r\nCONNECT 33600\r\n").await;
    let start = tokio::time::Instant::now();
    let sent = vec![b'x'; 10_000];
    let mut arrived = vec![0; 10_000];
    let (written, read) = tokio::join!(caller.write_all(&sent), called.read_exact(&mut arrived));
    assert!(written.is_ok() && read.is_ok() && arrived == sent);
    let took = start.elapsed();
    // 2976 ms of line and 60 ms on the way; tokio's timers are good to a millisecond or two.
    assert!(
        took >= Duration::from_millis(3036) && took <= Duration::from_millis(3040),
        "{took:?}"
    );
}

/// `TIOCEXCL` outlives the one who set it for as long as the master is open; only root may open such a terminal again.
#[tokio::test]
async fn a_pty_that_a_dte_has_made_exclusive_is_there_for_the_next_dte() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("line");
    let port = format!("pty = \"{}\"", link.display());
    let running = Running::start(config(&[("201", "memory = true"), ("202", &port)]))
        .await
        .unwrap();
    let mut caller = running.station_stream("201").unwrap();
    let slave = open_pty(&link);
    rustix::termios::ioctl_tiocexcl(&slave).unwrap();
    let mut first = dte(slave);
    first.write_all(b"ATE0S0=1\r").await.unwrap();
    read_to(&mut first, "\r\nOK\r\n").await;
    caller.write_all(b"ATD202\r").await.unwrap();
    read_to(&mut caller, "\r\nCONNECT 1000000\r\n").await;
    drop(first);
    read_to(&mut caller, "\r\nNO CARRIER\r\n").await;
    let mut second = dte(open_pty(&link));
    second.write_all(b"AT\r").await.unwrap();
    assert_eq!(read_to(&mut second, "OK\r\n").await, "\r\nOK\r\n");
}

#[tokio::test]
async fn a_pty_that_is_closed_while_its_modem_is_full_hangs_up_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("line");
    let port = format!("pty = \"{}\"", link.display());
    let running = Running::start(config(&[("201", &port), ("202", "memory = true")]))
        .await
        .unwrap();
    let mut records = running.records();
    let mut called = running.station_stream("202").unwrap();
    called.write_all(b"ATE0S0=1\r").await.unwrap();
    read_to(&mut called, "\r\nOK\r\n").await;
    let mut caller = dte(open_pty(&link));
    caller.write_all(b"ATD202\r").await.unwrap();
    read_to(&mut caller, "\r\nCONNECT 1000000\r\n").await;
    // The called end never reads, so all that lies between fills up; a terminal takes no more than it holds.
    let slave = caller.into_std().await;
    let flags = rustix::fs::fcntl_getfl(&slave).unwrap();
    rustix::fs::fcntl_setfl(&slave, flags | OFlags::NONBLOCK).unwrap();
    let mut full_since = tokio::time::Instant::now();
    while full_since.elapsed() < Duration::from_millis(300) {
        if rustix::io::write(&slave, &[b'x'; 256]).is_ok() {
            full_since = tokio::time::Instant::now();
        }
        tokio::task::yield_now().await;
    }
    drop(slave);
    assert_eq!(next_record(&mut records).await.ended_by, EndedBy::Caller);
}
