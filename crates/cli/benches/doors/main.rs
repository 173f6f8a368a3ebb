//! What strangers at the doors cost the server: resident memory while they are there and after they have gone, and how soon the
//! operator is answered meanwhile. Rows of a Markdown table; `cargo xtask bench doors` puts them together.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot go on has no figure"
)]

#[path = "../../../../xtask/src/bench/table.rs"]
mod table;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CONFIG: &str = r#"state = "server"
[submission]
listen = "127.0.0.1:0"
[delivery]
listen = "127.0.0.1:0"
[metrics]
listen = "127.0.0.1:0"
[information]
listen = "127.0.0.1:0"
[mail]
listen = "127.0.0.1:0"
domains = ["mail.example"]
provider = "mail"
"#;

/// What each listener logs when it is there.
const DOORS: [(&str, &str); 5] = [
    ("submissions", "taking submissions"),
    ("metrics", "telling metrics"),
    ("mail", "taking mail"),
    ("delivery", "taking terminals"),
    ("trunks", "taking dial-up servers"),
];

/// Connections to a listener, from this many addresses.
const CONNECTIONS: usize = 2000;
const ADDRESSES: usize = 100;
/// Octets that each sends of a head that does not end.
const HEAD_OCTETS: usize = 380_000;

/// Sessions with a mail without its dot.
const MAILS: usize = 200;
const MAIL_OCTETS: usize = 15_000_000;

const GROWTH_MAX: usize = 64 << 20;
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// How long a connection may take to swallow what it is sent.
const SWALLOW_WAIT: Duration = Duration::from_secs(5);

struct Server {
    child: Child,
    folder: TempDir,
    log: Vec<String>,
}

impl Server {
    fn start(descriptors: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("server.toml"), CONFIG).unwrap();
        let limit = descriptors
            .map(|count| format!("ulimit -n {count} && "))
            .unwrap_or_default();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("{limit}exec \"$0\" serve"),
            env!("CARGO_BIN_EXE_ringup"),
        ]);
        command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command
            .env("RINGUP_LOG", "info")
            .env_remove("RINGUP_LOG_FORMAT")
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut log = Vec::new();
        for line in lines.by_ref() {
            let is_ready = line.contains("server ready");
            log.push(line);
            if is_ready {
                break;
            }
        }
        std::thread::spawn(move || lines.for_each(drop));
        let server = Self { child, folder, log };
        server.operate(&["provider", "add", "mail"]);
        server.operate(&["terminal", "add", "owner", "--address", "10.77.0.2"]);
        server
    }

    fn address(&self, words: &str) -> String {
        let line = self.log.iter().find(|line| line.contains(words)).unwrap();
        line.split_once("address=").unwrap().1.trim().to_owned()
    }

    /// How long an operator's command takes.
    fn operate(&self, words: &[&str]) -> Duration {
        let began = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringup"));
        let output = command
            .args(words)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        began.elapsed()
    }

    /// Resident octets now.
    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(
            Path::new("/proc")
                .join(self.child.id().to_string())
                .join("status"),
        )
        .unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        1024 * line
            .trim()
            .trim_end_matches(" kB")
            .parse::<usize>()
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already is as good
        let _ = self.child.wait();
    }
}

fn main() {
    let (connections, mails) = table::extent((CONNECTIONS, MAILS), (20, 2));
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let server = Server::start(None);
        for (door, words) in DOORS {
            let address = server.address(words);
            let head = format!("POST /v1/messages HTTP/1.1\r\nx: {}", "y".repeat(HEAD_OCTETS));
            crowd(&server, &format!("{connections} connections to {door}"), connections, ADDRESSES, || {
                visit(address.clone(), head.clone().into_bytes())
            })
            .await;
        }
        let address = server.address("taking mail");
        let envelope = "EHLO far.example\r\nMAIL FROM:<a@far.example>\r\nRCPT TO:<owner@mail.example>\r\nDATA\r\n";
        let line = format!("{}\r\n", "z".repeat(70));
        let mail = format!("{envelope}Subject: x\r\n\r\n{}", line.repeat(MAIL_OCTETS / line.len()));
        crowd(&server, &format!("{mails} mails of {} MB without a dot", MAIL_OCTETS / 1_000_000), mails, 10, || {
            visit(address.clone(), mail.clone().into_bytes())
        })
        .await;
        drop(server);
        descriptors().await;
    });
}

/// One visitor's way: from its own address on this machine's loopback network, what it says, and then silence.
fn visit(
    address: String,
    words: Vec<u8>,
) -> impl Future<Output = Option<TcpStream>> + Send + 'static {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    async move {
        let socket = TcpSocket::new_v4().unwrap();
        let last = u8::try_from(2 + number % 10).unwrap();
        let third = u8::try_from(number / 10 % 10).unwrap();
        socket.bind(([127, 0, third, last], 0).into()).ok()?;
        let mut stream = socket.connect(address.parse().unwrap()).await.ok()?;
        // What is not swallowed has met a limit.
        let _ = timeout(SWALLOW_WAIT, stream.write_all(&words)).await;
        Some(stream)
    }
}

/// The memory while they are there, and after they have gone.
async fn crowd<V>(
    server: &Server,
    title: &str,
    count: usize,
    addresses: usize,
    visitor: impl Fn() -> V,
) where
    V: Future<Output = Option<TcpStream>> + Send + 'static,
{
    let before = server.resident();
    let mut visitors = JoinSet::new();
    for _ in 0..count {
        visitors.spawn(visitor());
    }
    let (mut held, mut most) = (Vec::new(), before);
    loop {
        tokio::select! {
            visitor = visitors.join_next() => match visitor {
                Some(stream) => held.extend(stream.unwrap()),
                None => break,
            },
            () = sleep(Duration::from_millis(50)) => {}
        }
        most = most.max(server.resident());
    }
    let answered = server.operate(&["message", "list"]);
    for stream in &mut held {
        let _ = timeout(Duration::from_millis(1), stream.read(&mut [0; 100])).await; // its banner, or a refusal
    }
    drop(held);
    let mut after = server.resident();
    for _ in 0..100 {
        sleep(Duration::from_millis(50)).await;
        after = after.min(server.resident());
    }
    let mib = |octets: usize| octets.saturating_sub(before) >> 20;
    let (most_mib, after_mib, millis) = (mib(most), mib(after), answered.as_millis());
    table::target(
        format!("{title}, from {addresses} addresses"),
        "less than 64 MiB more",
        format!("{most_mib} MiB more, {after_mib} MiB after; operator answered in {millis} ms"),
        most - before < GROWTH_MAX && answered < ANSWER_MAX,
    );
}

/// An operator among strangers who hold all that they can get.
async fn descriptors() {
    let server = Server::start(Some(64));
    let mut held = Vec::new();
    for (_, words) in DOORS {
        let address = server.address(words);
        for _ in 0..100 {
            held.extend(visit(address.clone(), Vec::new()).await);
        }
    }
    let slowest = (0..10)
        .map(|_| server.operate(&["message", "list"]))
        .max()
        .unwrap();
    let what = "operator's command with 64 descriptors and 100 idle strangers at each door";
    let measured = format!("the slowest of 10: {} ms", slowest.as_millis());
    table::target(what, "within 1 s", measured, slowest < ANSWER_MAX);
}
