//! RFC 2217 with a client that is not ours: pyserial, which `cargo xtask peers` fetches.

use ringup_exchange::{CallRecord, Config, EndedBy, Outcome, Running};
use std::{path::Path, time::Duration};
use tokio::{process::Command, time::timeout};

/// Far more than the script waits; only a script that hangs waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn pyserial_dials_sees_rings_and_carrier_and_ends_the_call_with_dtr() {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it is in the target folder");
    let pyserial = target.join("peers/python/pyserial-3.5");
    assert!(
        pyserial.is_dir(),
        "there is no {}: run cargo xtask peers",
        pyserial.display()
    );
    let config: Config =
        "rate = 1000000\ntraining = \"20ms\"\nring_cycle = \"1s\"\ncaller_id_delay = \"20ms\"\n\
        [[station]]\nnumber = \"201\"\nrfc2217 = \"127.0.0.1:0\"\n\
        [[station]]\nnumber = \"202\"\nrfc2217 = \"127.0.0.1:0\"\n"
            .parse()
            .unwrap();
    let running = Running::start(config).await.unwrap();
    let mut records = running.records();
    let url = |number| format!("rfc2217://{}", running.tcp_address(number).unwrap());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stranger.py");
    let mut python = Command::new("python3");
    python
        .args(["-B", "-s"])
        .arg(script)
        .args([url("201"), url("202")])
        .env("PYTHONPATH", pyserial);
    let output = timeout(PATIENCE, python.kill_on_drop(true).output())
        .await
        .expect("it ends")
        .expect("python3");
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        said, "OK\nRI\nDCD\nDATA\nRTS\nHANGUP\nDONE\n",
        "{complained}"
    );
    let record: CallRecord = records.recv().await.unwrap();
    assert_eq!(
        (record.outcome, record.ended_by),
        (Outcome::Completed, EndedBy::Caller)
    );
    assert_eq!(
        (record.octets_from_caller, record.octets_from_called),
        (1024, 4)
    );
}
