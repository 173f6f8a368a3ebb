//! A village: an exchange, the centre's server, the owner's terminal and a vending machine, in a folder of their own.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::chronicle::{Chronicle, Entry, PATIENCE};
use crate::http::{self, Answer};
use crate::process::{Finished, Process};
use crate::trunks::Trunks;
use crate::typist::Typist;

pub(crate) const CENTRE: &str = "201";
pub(crate) const OWNER: &str = "301";
pub(crate) const VENDING: &str = "401";
pub(crate) const OWNER_ADDRESS: &str = "10.77.0.2";

/// What differs from village to village.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// How long the terminal stays connected after "nothing more".
    pub(crate) linger: &'static str,
    /// How long it rings.
    pub(crate) no_answer_after: &'static str,
    /// How long a terminal that was rung may take to come.
    pub(crate) session_wait: &'static str,
    /// How fast the exchange is: its rate, delay, ringing and training.
    pub(crate) pace: &'static str,
    /// What the exchange's config says of the owner's line besides.
    pub(crate) owner_line: &'static str,
    /// What else the server's config says of trying again.
    pub(crate) retry_more: &'static str,
    /// Largest content the server takes, in octets.
    pub(crate) size_max: u32,
    /// What the server's config says besides: of its line, and of the rest.
    pub(crate) line_more: &'static str,
    /// See `line_more`.
    pub(crate) server_more: &'static str,
    /// Numbers of the lines of dial-up servers, one line each; none: the server has the centre's line itself.
    pub(crate) pops: &'static [&'static str],
    /// What the information server's config says of each line of theirs besides.
    pub(crate) line_away: &'static str,
    /// More stations: a number, and what else the exchange's config says of it.
    pub(crate) strangers: &'static [(&'static str, &'static str)],
}

impl Plan {
    /// With these dial-up servers.
    pub(crate) const fn at(pops: &'static [&'static str]) -> Self {
        Self {
            pops,
            ..Self::USUAL
        }
    }

    const USUAL: Self = Self {
        linger: "0s",
        no_answer_after: "3s",
        session_wait: "30s",
        pace: "rate = 1_000_000\ndelay = \"1ms\"\nring_cycle = \"300ms\"\ncaller_id_delay = \"50ms\"\ntraining = \"10ms\"",
        owner_line: "",
        retry_more: "",
        size_max: 1_000_000,
        line_more: "",
        server_more: "",
        pops: &[],
        line_away: "",
        strangers: &[],
    };
}

impl Default for Plan {
    fn default() -> Self {
        Self::USUAL
    }
}

/// The longest that can be set, and longer than any test: whoever lingers so long stays until it is ended.
pub(crate) const FOR_EVER: &str = "59s";

#[derive(Debug)]
pub(crate) struct Village {
    // Ended in this order, before the folder goes.
    server: Option<Process>,
    pops: Vec<Option<Process>>,
    exchange: Option<Process>,
    /// Between the dial-up servers and the information server, if they are apart.
    pub(crate) trunks: Option<Trunks>,
    pub(crate) chronicle: Arc<Chronicle>,
    folder: TempDir,
    errands: AtomicUsize,
}

impl Village {
    /// The exchange and the server are running, the terminal and the provider enrolled; no starter runs yet.
    pub(crate) fn found(plan: Plan) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ringup-village-")
            .tempdir()
            .expect("a folder can be made");
        let mut village = Self {
            server: None,
            pops: Vec::new(),
            exchange: None,
            trunks: (!plan.pops.is_empty()).then(Trunks::open),
            chronicle: Arc::default(),
            folder,
            errands: AtomicUsize::new(0),
        };
        village.write_exchange(plan);
        village.write_server(plan);
        village.write_pops(plan);
        village.exchange =
            Some(village.start("exchange", &["exchange", "--config", "exchange.toml"]));
        village.chronicle.wait("exchange", "exchange ready");
        village.start_server("server");
        village.start_pops(plan.pops.len());
        village.enrol(plan);
        village
    }

    fn write_exchange(
        &self,
        Plan {
            pace,
            no_answer_after,
            owner_line,
            pops,
            strangers,
            ..
        }: Plan,
    ) {
        let mut text = format!(
            r#"{pace}
no_answer_after = "{no_answer_after}"
records = "calls.jsonl"
"#
        );
        let villagers = [(CENTRE, ""), (OWNER, owner_line), (VENDING, "")];
        let pops = pops
            .iter()
            .filter(|number| **number != CENTRE)
            .map(|number| (*number, ""));
        for (number, more) in villagers
            .iter()
            .copied()
            .chain(pops)
            .chain(strangers.iter().copied())
        {
            text +=
                &format!("[[station]]\nnumber = \"{number}\"\npty = \"lines/{number}\"\n{more}\n");
        }
        self.write("exchange.toml", text);
    }

    fn write_server(&self, plan: Plan) {
        let Plan {
            session_wait,
            retry_more,
            size_max,
            line_more,
            server_more,
            pops,
            ..
        } = plan;
        let own = format!(
            "[[line]]\nname = \"line-1\"\nport = \"lines/{CENTRE}\"\ndelay = \"1ms\"\n{line_more}\n"
        );
        let lines = if pops.is_empty() {
            own
        } else {
            "[information]\nlisten = \"127.0.0.1:0\"\n".to_owned()
        };
        let text = format!(
            r#"state = "server"
[submission]
listen = "127.0.0.1:0"
size_max = {size_max}
[delivery]
listen = "127.0.0.1:0"
[retry]
first = "200ms"
longest = "1s"
session_wait = "{session_wait}"
{retry_more}
{lines}
{server_more}
"#
        );
        self.write("server.toml", text);
    }

    /// The dial-up servers' configs, and their keys in the information server's.
    fn write_pops(
        &self,
        Plan {
            pops,
            line_more,
            line_away,
            ..
        }: Plan,
    ) {
        let Some(trunks) = &self.trunks else { return };
        let key = |config: &str| {
            let printed = self.run(&["server-key", "public", "--config", config]);
            assert_eq!(printed.code, Some(0), "{}", printed.stderr);
            printed.stdout.trim().to_owned()
        };
        let (ours, mut servers) = (
            key("server.toml"),
            fs::read_to_string(self.path("server.toml")).unwrap(),
        );
        for (index, number) in pops.iter().enumerate() {
            let (name, address) = (pop_name(index), trunks.address());
            let text = format!(
                r#"state = "{name}"
[dialup]
name = "{name}"
information = "{address}"
keys = ["{ours}"]
[[line]]
name = "line-1"
port = "lines/{number}"
delay = "1ms"
{line_more}
"#
            );
            let file = format!("{name}.toml");
            self.write(&file, text);
            let theirs = key(&file);
            servers += &format!(
                "[[dialup_server]]\nname = \"{name}\"\nkey = \"{theirs}\"\nlines = [{{ name = \"line-1\"{line_away} }}]\n"
            );
        }
        self.write("server.toml", servers);
    }

    fn start_pops(&mut self, count: usize) {
        for index in 0..count {
            self.pops.push(None);
            self.start_pop(index, &pop_name(index));
        }
    }

    /// Starts a dial-up server (again) and waits until its line is ready and the information server knows it.
    pub(crate) fn start_pop(&mut self, index: usize, who: &str) {
        self.start_pop_with(index, who, &[]);
    }

    /// The same, with more arguments.
    pub(crate) fn start_pop_with(&mut self, index: usize, who: &str, more: &[&str]) {
        let config = format!("{}.toml", pop_name(index));
        self.pops[index] = Some(self.start(who, &[&["serve", "--config", &config], more].concat()));
        self.chronicle.wait(who, "line ready");
        self.chronicle.wait(who, "trunk up");
    }

    /// `kill -9` for a dial-up server.
    pub(crate) fn kill_pop(&mut self, index: usize) {
        self.pops[index].take().expect("it is running").kill();
    }

    fn enrol(&self, Plan { linger, pops, .. }: Plan) {
        let callers = if pops.is_empty() { &[CENTRE][..] } else { pops };
        self.ask(&[
            "terminal",
            "add",
            "owner",
            "--number",
            OWNER,
            "--address",
            OWNER_ADDRESS,
        ]);
        let text = format!(
            r#"[line]
port = "lines/{OWNER}"
delay = "1ms"
address = "{OWNER_ADDRESS}"
[server]
number = "{CENTRE}"
[terminal]
callers = {callers:?}
inbox = "inbox"
linger = "{linger}"
"#
        );
        self.write("owner.toml", text);
        self.invite("owner.toml");
        let vending = self.ask(&["provider", "add", "vending", "--number", VENDING]);
        self.write(
            "token",
            vending["token"].as_str().expect("a provider gets a token"),
        );
        let text = format!(
            r#"[line]
port = "lines/{VENDING}"
delay = "1ms"
[server]
number = "{CENTRE}"
[provider]
token_file = "token"
"#
        );
        self.write("vending.toml", text);
    }

    /// Invites the owner, and has the bundle taken by the machine with this config.
    pub(crate) fn invite(&self, config: &str) {
        let made = self.ask(&["terminal", "invite", "owner", "--caller", CENTRE]);
        self.write(
            "owner.bundle",
            made["bundle"].as_str().expect("a bundle is text"),
        );
        let enrolled = self.run(&["enrol", "owner.bundle", "--config", config]);
        assert_eq!(enrolled.code, Some(0), "{}", enrolled.stderr);
    }

    /// Starts the server (again) and waits until its line is ready.
    pub(crate) fn start_server(&mut self, who: &str) {
        self.start_server_with(who, &[]);
    }

    /// The same, with more arguments.
    pub(crate) fn start_server_with(&mut self, who: &str, more: &[&str]) {
        self.server =
            Some(self.start(who, &[&["serve", "--config", "server.toml"], more].concat()));
        self.chronicle.wait(who, "server ready");
        let Some(trunks) = &self.trunks else {
            self.chronicle.wait(who, "line ready");
            return;
        };
        trunks.lead_to(
            &self
                .chronicle
                .wait(who, "taking dial-up servers")
                .field("address"),
        );
    }

    /// Pulls every modem's plug, and puts them all in again: the pseudo-terminals go and others come.
    pub(crate) fn replug(&mut self, who: &str) {
        self.exchange.take().expect("it is running").kill();
        self.chronicle
            .wait_field("server", "alarm raised", "kind", "line-out-of-order");
        self.exchange = Some(self.start(who, &["exchange", "--config", "exchange.toml"]));
        self.chronicle.wait(who, "exchange ready");
    }

    /// Stops the server, or lets it go on.
    pub(crate) fn signal_server(&self, signal: Signal) {
        self.server.as_ref().expect("it is running").signal(signal);
    }

    /// The most memory that the server ever had, in octets.
    pub(crate) fn server_memory_peak(&self) -> usize {
        self.server.as_ref().expect("it is running").memory_peak()
    }

    /// `kill -9` for the server.
    pub(crate) fn kill_server(&mut self) {
        self.server.take().expect("it is running").kill();
    }

    /// Starts the terminal's starter and waits until it waits for calls.
    pub(crate) fn start_owner(&self) -> Process {
        let owner = self.owner("owner");
        self.chronicle.wait("owner", "waiting for calls");
        owner
    }

    /// Starts it again, right after it was killed. The exchange may not have seen yet that the port was closed; then it
    /// clears it under the new one's first words, which gives up for a minute, and is started once more.
    pub(crate) fn start_owner_again(&self, who: &str) -> Process {
        for attempt in 1.. {
            let who = format!("{who}, attempt {attempt}");
            let owner = self.owner(&who);
            let words = [
                "waiting for calls",
                "line not usable, trying again in a minute",
            ];
            if self.chronicle.wait_any(&who, &words).message == words[0] {
                return owner;
            }
        }
        unreachable!("it is tried for ever")
    }

    fn owner(&self, who: &str) -> Process {
        self.start(
            who,
            &[
                "wait",
                "--line",
                &format!("lines/{OWNER}"),
                "--config",
                "owner.toml",
            ],
        )
    }

    /// Starts a `ringup` in the village's folder.
    pub(crate) fn start(&self, who: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringup"));
        command.args(arguments).current_dir(self.folder.path());
        Process::start(who, command, &self.chronicle)
    }

    /// Runs a `ringup` in the village's folder to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        let errand = self.errands.fetch_add(1, Ordering::Relaxed);
        self.start(
            &format!("errand {errand}: {}", arguments.join(" ")),
            arguments,
        )
        .finish()
    }

    /// Runs an operator's verb that must succeed; gives the JSON that it prints.
    pub(crate) fn ask(&self, verb: &[&str]) -> Value {
        let finished = self.run(&[verb, &["--json", "--config", "server.toml"]].concat());
        assert_eq!(
            finished.code,
            Some(0),
            "ringup {verb:?}: {}",
            finished.stderr
        );
        serde_json::from_str(&finished.stdout)
            .unwrap_or_else(|error| panic!("{verb:?}: {error}: {}", finished.stdout))
    }

    /// Asks until the answer is as it should be, which it becomes soon after the log has said so.
    pub(crate) fn ask_until(&self, verb: &[&str], is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(verb);
            if is_so(&answer) {
                return answer;
            }
            let is_late = std::time::Instant::now() > deadline;
            assert!(!is_late, "{verb:?} still says {answer:#}");
        }
    }

    /// The server's records of calls, newest first, once there are this many and all are over.
    pub(crate) fn server_calls(&self, count: usize) -> Vec<Value> {
        let is_so = |calls: &Value| {
            let calls = calls.as_array().expect("call list prints a list");
            calls.len() >= count && calls.iter().all(|call| !call["outcome"].is_null())
        };
        let calls = self.ask_until(&["call", "list"], is_so);
        let calls = calls.as_array().expect("as above").clone();
        assert_eq!(calls.len(), count, "{calls:#?}");
        calls
    }

    /// The exchange's call records, oldest first, once there are this many.
    pub(crate) fn exchange_calls(&self, count: usize) -> Vec<Value> {
        // The line is written right after the event.
        self.chronicle.wait_nth("exchange", "call ended", count);
        loop {
            let calls = self.exchange_calls_so_far();
            if calls.len() >= count {
                assert_eq!(calls.len(), count, "{calls:#?}");
                return calls;
            }
        }
    }

    /// The exchange's call records, oldest first, as far as there are any.
    pub(crate) fn exchange_calls_so_far(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("calls.jsonl")).expect("the exchange has made it");
        // The last line may be half written.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    /// Submits over the network; gives the message's id.
    pub(crate) fn send(&self, to: &str, file: &Path) -> String {
        let address = self.submission_address();
        let file = file.to_str().expect("the test's own name");
        let sent = self.run(&[
            "send",
            "--json",
            "--server",
            &address,
            "--token-file",
            "token",
            "--to",
            to,
            file,
        ]);
        accepted_id(&sent)
    }

    /// Submits for the owner to the server at this address.
    pub(crate) fn send_to(&self, address: &str, file: &str) -> String {
        accepted_id(&self.run(&[
            "send",
            "--json",
            "--server",
            address,
            "--token-file",
            "token",
            "--to",
            "tel:301",
            file,
        ]))
    }

    /// Submits on a call of the vending machine; gives the message's id.
    pub(crate) fn dial_in(&self, to: &str, file: &Path) -> String {
        let file = file.to_str().expect("the test's own name");
        accepted_id(&self.run(&[
            "dial-in",
            "--json",
            "--config",
            "vending.toml",
            "--to",
            to,
            file,
        ]))
    }

    /// Where the running server takes submissions.
    pub(crate) fn submission_address(&self) -> String {
        self.chronicle
            .wait("server", "taking submissions")
            .field("address")
    }

    /// Where the running server takes terminals that come over the Internet.
    pub(crate) fn delivery_address(&self) -> String {
        self.chronicle
            .wait("server", "taking terminals")
            .field("address")
    }

    /// A request to the submission port.
    pub(crate) fn submission(&self, request: &str, body: &[u8]) -> Answer {
        let stream = TcpStream::connect(self.submission_address()).expect("the server listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is not zero");
        http::exchange(stream, request, body)
    }

    /// A request to the operator's socket.
    pub(crate) fn operator(&self, request: &str, body: &[u8]) -> Answer {
        let stream =
            UnixStream::connect(self.path("server/operator.sock")).expect("the server listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("it is not zero");
        http::exchange(stream, request, body)
    }

    /// Waits until the server has the receipt of a message.
    pub(crate) fn wait_delivered(&self, message: &str) -> Entry {
        self.chronicle
            .wait_field("server", "delivered", "message_id", message)
    }

    /// The messages in the terminal's inbox, by id.
    pub(crate) fn inbox(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("inbox")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| {
            entry
                .expect("it can be read")
                .file_name()
                .into_string()
                .expect("ASCII")
        });
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    /// The content of a message in the terminal's inbox.
    pub(crate) fn received(&self, message: &str) -> Vec<u8> {
        fs::read(self.path("inbox").join(message).join("content")).expect("the message has arrived")
    }

    pub(crate) fn typist(&self, number: &str) -> Typist {
        Typist::at(&self.path("lines").join(number))
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the folder is ours");
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Village {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "all that was said in the village:\n{}",
                self.chronicle.tell()
            );
        }
    }
}

fn pop_name(index: usize) -> String {
    format!("pop-{}", index + 1)
}

fn accepted_id(finished: &Finished) -> String {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let accepted: Value = serde_json::from_str(&finished.stdout).expect("--json prints JSON");
    accepted["id"]
        .as_str()
        .expect("an accepted message has an id")
        .to_owned()
}

/// Octets of every value, with all that might upset a modem or PPP in front.
pub(crate) fn awkward_content(octets: usize) -> Vec<u8> {
    let mut content =
        b"+++\x7e\x7d\x11\x13\x00\xff\r\nNO CARRIER\r\n\x7e\r\nNO CARRIER\r\nATH\r".to_vec();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    while content.len() < octets {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        content.extend(random.to_le_bytes());
    }
    content.truncate(octets);
    content
}
