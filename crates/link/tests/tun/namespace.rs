//! A test in a network of its own: the test program runs that one test again in a user and network namespace.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::timeout;

const INSIDE: &str = "RINGUP_TEST_NAMESPACE";

const HANG: Duration = Duration::from_secs(60);

/// Runs `body` as the test of this name, alone with a loopback interface that is up.
pub(crate) fn alone(test: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_none() {
        return run_inside(test);
    }
    ip("link set lo up");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    // What never comes is a failure that says so; what comes takes a second.
    runtime
        .block_on(async { timeout(HANG, body).await })
        .expect("the test waits for something that does not come");
}

fn run_inside(test: &str) {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("these tests need `unshare`, of util-linux");
    let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(
        output.status.success(),
        "in its namespace:\n{said}\n{errors}"
    );
    assert!(
        said.contains("1 passed"),
        "no test of this name was run: {said}"
    );
}

/// What `ip` of iproute2 does; busybox has it, too, and is the same everywhere.
pub(crate) fn ip(arguments: &str) {
    let peers = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .unwrap()
        .join("peers/root");
    let busybox = peers.join("bin/busybox");
    assert!(
        busybox.is_file(),
        "these tests need Debian's busybox, which is not here: run `cargo xtask peers`"
    );
    let status = Command::new(busybox)
        .arg("ip")
        .args(arguments.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Sets one of the namespace's own `net.ipv4` settings.
pub(crate) fn set_ipv4(key: &str, value: &str) {
    fs::write(Path::new("/proc/sys/net/ipv4").join(key), value)
        .unwrap_or_else(|error| panic!("{key}: {error}"));
}
