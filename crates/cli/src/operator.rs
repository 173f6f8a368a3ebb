//! The operator's verbs: HTTP over the server's Unix socket, shown as tables or JSON.

mod alarms;
mod feeds;
mod medium;
mod messages;
mod plan;
mod providers;
mod server_keys;
mod store;
mod subscriptions;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use delivery::proof::write_secret;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use jiff::{Span, SpanRelativeTo};
use line::CallId;
use model::directory::Name;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::runtime::Builder;

use self::alarms::AlarmVerbs;
use self::feeds::FeedVerbs;
use self::medium::MediumVerbs;
use self::messages::MessageVerbs;
use self::plan::Plan;
use self::providers::ProviderVerbs;
use self::server_keys::ServerKeyVerbs;
use self::store::StoreVerbs;
use self::subscriptions::SubscriptionVerbs;
use crate::config;
use crate::secret::close_stdout;
use crate::table::{print_table, text};

/// For the whole program's help.
pub(crate) const EXAMPLES: &str = "
  ringup serve --config server.toml              run a server
  ringup terminal add owner --number 301         add a machine that is called
  ringup message list                            waiting and delivered messages
  ringup message explain ID                      why a message waits, or how it ended
  ringup alarm list                              what needs attention
  ringup medium create --help                    a CD or stick that makes a machine a terminal";

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorVerb {
    Terminal(TerminalVerbs),
    Provider(ProviderVerbs),
    Line(LineVerbs),
    Call(CallVerbs),
    Message(MessageVerbs),
    Subscription(SubscriptionVerbs),
    Plan(Plan),
    Alarm(AlarmVerbs),
    Feed(FeedVerbs),
    Store(StoreVerbs),
    ServerKey(ServerKeyVerbs),
    Medium(MediumVerbs),
}

impl OperatorVerb {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Terminal(verbs) => verbs.run(),
            Self::Provider(verbs) => verbs.run(),
            Self::Line(verbs) => verbs.run(),
            Self::Call(verbs) => verbs.run(),
            Self::Message(verbs) => verbs.run(),
            Self::Subscription(verbs) => verbs.run(),
            Self::Plan(plan) => plan.run(),
            Self::Alarm(verbs) => verbs.run(),
            Self::Feed(verbs) => verbs.run(),
            Self::Store(verbs) => verbs.run(),
            Self::ServerKey(verbs) => verbs.run(),
            Self::Medium(verbs) => verbs.run(),
        }
    }
}

/// Above the options of every operator command in its help.
const EVERYWHERE: &str = "Options of all operator commands";

/// How the server is found, and how its answer is shown.
#[derive(Debug, Args)]
struct Desk {
    /// The server's operator socket [default: as in the config]
    #[arg(long, value_name = "PATH", env = "RINGUP_SOCKET", hide_env_values = true, global = true)]
    #[arg(help_heading = EVERYWHERE, display_order = 101)]
    socket: Option<PathBuf>,
    /// The server's config, to find its socket
    #[arg(long, value_name = "FILE", default_value_os_t = crate::config::default_path("server.toml"), global = true)]
    #[arg(help_heading = EVERYWHERE, display_order = 102)]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long, global = true, help_heading = EVERYWHERE, display_order = 103)]
    json: bool,
}

impl Desk {
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let socket = self.socket()?;
        Builder::new_current_thread().enable_all().build()?.block_on(ask(&socket, method, path, body))
    }

    /// Where the server is to be asked.
    fn socket(&self) -> anyhow::Result<PathBuf> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => config::server::operator_socket(&self.config)
                .context("no server named: give --socket PATH, or --config with the server's config"),
        }
    }

    /// Asks for a list and shows these fields of it.
    fn list(&self, path: &str, columns: &[(&str, &str)], when_empty: &str) -> anyhow::Result<ExitCode> {
        let list = self.ask(Method::GET, path, None)?;
        let Value::Array(rows) = list else { bail!("the server did not answer with a list") };
        self.print_list(rows, columns, when_empty)
    }

    fn print_list(&self, rows: Vec<Value>, columns: &[(&str, &str)], when_empty: &str) -> anyhow::Result<ExitCode> {
        if self.json {
            println!("{:#}", Value::Array(rows));
        } else if rows.is_empty() {
            eprintln!("{when_empty}");
        } else {
            print_table(columns, &rows);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Shows what a command has changed: as JSON, or in a sentence on standard error.
    fn report(&self, changed: &Value, sentence: impl Display) {
        if self.json {
            println!("{changed:#}");
        } else {
            eprintln!("{sentence}");
        }
    }

    /// Asks for a list that may be long, a page at a time, and shows each page as it comes. Says on standard error where the
    /// list goes on if less than all is shown.
    fn show_pages(&self, path: &str, wanted: &Wanted, list: &List<'_>) -> anyhow::Result<ExitCode> {
        let and = if path.contains('?') { '&' } else { '?' };
        let mut left = if wanted.all { u64::MAX } else { wanted.limit };
        let (mut after, mut shown) = (wanted.after.clone(), 0);
        loop {
            let asked = left.min(PAGE_ENTRIES);
            let from = after.as_deref().map(|after| format!("&after={}", in_query(after))).unwrap_or_default();
            // One more than is shown tells whether there are more.
            let page = self.ask(Method::GET, &format!("{path}{and}last={}{from}", asked + 1), None)?;
            let Value::Array(mut rows) = page else { bail!("the server did not answer with a list") };
            let is_more = rows.len() as u64 > asked;
            rows.truncate(usize::try_from(asked).unwrap_or(usize::MAX));
            left -= rows.len() as u64;
            after = rows.last().map(list.entry).or(after);
            let is_last = !is_more || left == 0;
            self.print_page(rows, list, shown == 0, is_last);
            shown += asked;
            if is_last {
                if let Some(after) = after.filter(|_| is_more) {
                    eprintln!("there are more: --after '{after}', --limit N or --all");
                }
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    fn print_page(&self, mut rows: Vec<Value>, list: &List<'_>, is_first: bool, is_last: bool) {
        if !self.json {
            rows.iter_mut().for_each(list.words);
            match rows.as_slice() {
                [] if is_first => eprintln!("{}", list.when_empty),
                [] => {}
                rows => print_table(list.columns, rows),
            }
            return;
        }
        let (begin, end) = (if is_first { "[" } else { "," }, if is_last { "]" } else { "" });
        let items: Vec<_> = rows.iter().map(|row| format!("{row:#}")).collect();
        let begin = if rows.is_empty() && !is_first { "" } else { begin };
        println!("{begin}{}{end}", items.join(",\n"));
    }

    /// Asks for one thing and shows all of it.
    fn show(&self, path: &str) -> anyhow::Result<ExitCode> {
        let shown = self.ask(Method::GET, path, None)?;
        self.print(&shown);
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, shown: &Value) {
        if self.json {
            return println!("{shown:#}");
        }
        let (first, others): (Vec<_>, Vec<_>) =
            shown.as_object().into_iter().flatten().partition(|(key, _)| ["id", "name"].contains(&key.as_str()));
        for (key, value) in first.into_iter().chain(others) {
            match value {
                Value::Array(items) if items.is_empty() => println!("{key:16} -"),
                Value::Array(items) => items.iter().for_each(|item| println!("{key:16} {}", fields(item))),
                value => println!("{key:16} {}", fields(value)),
            }
        }
    }
}

/// A value in one line: of an object its fields by name, of what is in them, too.
fn fields(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let fields: Vec<_> = object.iter().map(|(key, value)| format!("{key} {}", fields(value))).collect();
            fields.join(", ")
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let items: Vec<_> = items.iter().map(|item| format!("({})", fields(item))).collect();
            items.join(" ")
        }
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        value => text(value),
    }
}

/// Entries of a list that are asked for at once: the most that a server gives, less one.
const PAGE_ENTRIES: u64 = 10_000;

/// How much of a list that may be long is shown.
#[derive(Debug, Clone, Args)]
struct Wanted {
    /// Show this many entries at most; says so if there are more
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Begin after this entry, in the order of the list
    #[arg(long, value_name = "ENTRY")]
    after: Option<String>,
    /// Show all entries
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Wanted {
    /// All entries, unless a limit is given.
    fn all_unless(limit: Option<u64>, after: Option<String>) -> Self {
        Self { limit: limit.unwrap_or_default(), after, all: limit.is_none() }
    }
}

/// The value of a field in one word or more, as it is.
fn plain(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A value in the query of a URL.
fn in_query(value: &str) -> String {
    let octet = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'/' => char::from(octet).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(octet).collect()
}

/// How a list is shown.
struct List<'a> {
    /// What names an entry for `--after`.
    entry: fn(&Value) -> String,
    columns: &'a [(&'a str, &'a str)],
    when_empty: &'a str,
    /// Puts words for people into a row.
    words: fn(&mut Value),
}

/// What is wrong with a request, with the flag that it is about.
fn problem(fault: &Value) -> String {
    let detail = text(&fault["detail"]);
    match fault["field"].as_str() {
        // What is no flag is named in the words.
        None | Some("name" | "id" | "subject" | "kind" | "body" | "store" | "server" | "query" | "key") => detail,
        // An argument without a flag.
        Some(field @ ("filter" | "token")) => format!("{field}: {detail}"),
        Some(field) => format!("--{}: {detail}", field.replace('_', "-")),
    }
}

/// Whether this user may open the socket.
fn is_ours(socket: &Path) -> bool {
    rustix::fs::access(socket, rustix::fs::Access::WRITE_OK).is_ok()
}

fn not_ours(socket: &Path) -> String {
    format!(
        "this user may not open the operator socket {}: run the command as the server's user, such as: sudo -u ringup ringup ...",
        socket.display()
    )
}

/// One request to the operator's socket.
async fn ask(socket: &Path, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.with_context(|| {
        let at = socket.display();
        // Looked at again: the error is moved into the chain.
        match std::fs::metadata(socket).err().map(|error| error.kind()) {
            Some(io::ErrorKind::NotFound) => format!("there is no operator socket {at}; is `ringup serve` running?"),
            Some(io::ErrorKind::PermissionDenied) => not_ours(socket),
            _ if !is_ours(socket) => not_ours(socket),
            _ => format!("no server answers at {at}; is `ringup serve` running?"),
        }
    })?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "ringup")
        .header("content-type", "application/json")
        .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let response = requests.send_request(request).await?;
        let status = response.status();
        anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    let (answer, _) = tokio::join!(answer, connection);
    let (status, body) = answer?;
    let value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    if !status.is_success() {
        let more = value["more"].as_array().map(Vec::as_slice).unwrap_or_default();
        let faults: Vec<_> = std::iter::once(&value).chain(more).map(problem).collect();
        bail!("{}", faults.join("\n  "));
    }
    Ok(value)
}

/// Terminals: the machines that are called.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup terminal add owner --number 301 --address 10.77.0.2
  ringup terminal add gauge --number 302 --trust chap --deliver http://:8080/inbox     it runs pppd and a web server
  ringup terminal invite owner --caller 201 -o owner.bundle
  ringup terminal register meter --key KEY       for software that takes no bundle: docs/protocol.md
  ringup terminal sends-as gauge gauges          it submits as the provider gauges
  ringup terminal list
  ringup terminal show owner --json
  ringup terminal pause owner                    not called until: ringup terminal resume owner
  ringup terminal shut-out owner                 its key was stolen: ends its sessions, forgets the key")]
pub(crate) struct TerminalVerbs {
    #[command(flatten)]
    desk: Desk,
    #[command(subcommand)]
    verb: TerminalVerb,
}

/// Which part of a list that is ordered by name.
#[derive(Debug, Clone, Args)]
struct ByName {
    /// Show this many entries at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Begin after this entry, in the order of the list
    #[arg(long, value_name = "ENTRY")]
    after: Option<String>,
    /// Show all entries, as without --limit
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

#[derive(Debug, Subcommand)]
enum TerminalVerb {
    /// Add a terminal; then invite it: without a key it receives nothing
    Add {
        /// Its name, of the characters a-z 0-9 . - _
        name: Name,
        /// The number it is called on
        #[arg(long)]
        number: Option<String>,
        /// Its IPv4 address on the link
        #[arg(long)]
        address: Option<String>,
        /// Topics that it may subscribe to by itself, as an MQTT filter; may be given more than once [default: all topics]
        #[arg(long, value_name = "FILTER")]
        may_subscribe: Vec<String>,
        /// How it proves itself: key; certificate, for TLS software without raw public keys; or, for a machine that runs no Ringup,
        /// chap or number-only (no proof at all; the server's config must allow it)
        #[arg(long, value_name = "TRUST", default_value = "key")]
        trust: String,
        /// Where a machine that runs no Ringup receives messages, at its own address: http://:PORT/PATH (POST) or smtp://:PORT/MAILBOX
        #[arg(long, value_name = "URL")]
        deliver: Option<String>,
        /// File with its CHAP secret [default: one is made and shown once]
        #[arg(long, value_name = "FILE")]
        chap_secret_file: Option<PathBuf>,
    },
    /// Make the bundle that enrols a terminal: this server's key and a one-time secret that registers the terminal's own key
    Invite {
        /// Its name
        name: Name,
        /// A number that this server calls from; may be given more than once
        #[arg(long = "caller", value_name = "NUMBER")]
        callers: Vec<String>,
        /// Name no number: the terminal answers no call, it connects by itself
        #[arg(long, conflicts_with = "callers")]
        no_caller: bool,
        /// How long the bundle is good
        #[arg(long, value_name = "TIME", default_value = "14d")]
        expires: Span,
        /// Where to write it, for you alone (0600) [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Register the key of a terminal that cannot use a bundle, replacing any existing key
    Register {
        /// Its name
        name: Name,
        /// Its public key: 43 base64url characters, of which the first may be a hyphen
        #[arg(long, allow_hyphen_values = true)]
        key: String,
    },
    /// Let a terminal submit as a provider, with the rights and quotas of that provider
    SendsAs {
        /// Its name
        name: Name,
        /// The provider; without one the terminal may not submit any more
        provider: Option<Name>,
    },
    /// End all sessions of a terminal at once and forget its key; its messages wait until it has enrolled again
    ShutOut {
        /// Its name
        name: Name,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Show one terminal
    Show {
        /// Its name
        name: Name,
    },
    /// List all terminals, by name
    List(ByName),
    /// Place no calls to a terminal until it is resumed; it keeps its key and its messages, and its own calls are served
    Pause {
        /// Its name
        name: Name,
    },
    /// Call a terminal again that was paused, or whose calls failed for days
    Resume {
        /// Its name
        name: Name,
    },
    /// Remove a terminal and cancel its waiting messages
    Remove {
        /// Its name
        name: Name,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

const TERMINAL_LIST: List<'_> = List {
    entry: |row| plain(&row["name"]),
    columns: &[
        ("NAME", "name"),
        ("ID", "id"),
        ("NUMBER", "number"),
        ("ADDRESS", "address"),
        ("STATE", "state"),
        ("WAITING", "waiting"),
        ("CONNECTION", "connection"),
    ],
    when_empty: "no terminals; add one: ringup terminal add NAME --number N",
    words: |row| {
        let paused = if row["paused_at"].is_null() { "" } else { ", paused" };
        row["state"] = format!("{}{paused}", text(&row["trust"])).into();
    },
};

impl TerminalVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let desk = self.desk;
        match self.verb {
            TerminalVerb::Add { name, number, address, may_subscribe, trust, deliver, chap_secret_file } => {
                let chap_secret = chap_secret_file.as_deref().map(read_secret).transpose()?;
                let body = json!({
                    "name": name.to_string(),
                    "number": number,
                    "address": address,
                    "may_subscribe": may_subscribe,
                    "trust": trust,
                    "deliver": deliver,
                    "chap_secret": chap_secret,
                });
                let added = desk.ask(Method::POST, "/terminals", Some(&body))?;
                let note = if added["chap_secret"].is_null() { None } else { close_stdout() };
                desk.print(&added);
                if !desk.json {
                    note.iter().for_each(|note| eprintln!("{note}"));
                    eprintln!("{}", after_adding(&name, &trust, !added["chap_secret"].is_null()));
                    open_registration(&name, &trust, &may_subscribe).iter().for_each(|open| eprintln!("{open}"));
                }
            }
            TerminalVerb::Invite { name, callers, no_caller, expires, output } => {
                let made = invite(&desk, &name, &callers, no_caller, expires)?;
                let bundle = made["bundle"].as_str().context("the server did not answer with a bundle")?;
                match output {
                    Some(path) => {
                        write_secret(&path, bundle.as_bytes())
                            .with_context(|| format!("could not write {}", path.display()))?;
                        let file = path.display().to_string();
                        let written =
                            json!({ "name": name.to_string(), "file": file, "expires_at": made["expires_at"] });
                        desk.report(&written, format_args!("take {file} to {name}; there: ringup enrol {file}"));
                    }
                    None if desk.json => {
                        close_stdout();
                        desk.print(&made);
                    }
                    None => {
                        let note = close_stdout();
                        print!("{bundle}");
                        eprintln!(
                            "keep it secret: until it is used or expires, anyone who has it can enrol as {name}, once"
                        );
                        note.iter().for_each(|note| eprintln!("{note}"));
                        eprintln!("-o FILE writes it to a file that only you can read");
                    }
                }
            }
            TerminalVerb::Register { name, key } => {
                let body = json!({ "key": key });
                desk.ask(Method::POST, &format!("/terminals/{name}/key"), Some(&body))?;
                let done = json!({ "name": name.to_string(), "key": key, "trust": "enrolled" });
                let says =
                    format!("{name} is enrolled with this key; its waiting messages are due now (see: ringup plan)");
                desk.report(&done, says);
            }
            TerminalVerb::SendsAs { name, provider } => {
                let body = json!({ "provider": provider.as_ref().map(ToString::to_string) });
                desk.ask(Method::PUT, &format!("/terminals/{name}/sender"), Some(&body))?;
                let done = json!({ "name": name.to_string(), "sends_as": provider.as_ref().map(ToString::to_string) });
                let says = match provider {
                    Some(provider) => format!("{name} sends as {provider}, with its rights and quotas"),
                    None => format!("{name} may not send any more"),
                };
                desk.report(&done, says);
            }
            TerminalVerb::ShutOut { name, yes } => {
                if !yes && !confirm(&format!("shut out {name} and forget its key? It must enrol again to come back"))? {
                    bail!("nothing was changed");
                }
                desk.ask(Method::POST, &format!("/terminals/{name}/shut-out"), None)?;
                let done = json!({ "name": name.to_string(), "trust": "shut out" });
                let back = format!("ringup terminal invite {name} --caller NUMBER -o {name}.bundle");
                desk.report(&done, format_args!("{name} is shut out; to take it back: {back}, and enrol it there"));
            }
            TerminalVerb::Show { name } => return desk.show(&format!("/terminals/{name}")),
            TerminalVerb::List(ByName { limit, after, all: _ }) => {
                return desk.show_pages("/terminals", &Wanted::all_unless(limit, after), &TERMINAL_LIST);
            }
            TerminalVerb::Pause { name } => {
                let paused = desk.ask(Method::POST, &format!("/terminals/{name}/pause"), None)?;
                desk.report(&paused, after_pausing(&name, &paused));
            }
            TerminalVerb::Resume { name } => {
                let resumed = desk.ask(Method::POST, &format!("/terminals/{name}/resume"), None)?;
                desk.report(&resumed, after_resuming(&name, &resumed));
            }
            TerminalVerb::Remove { name, yes } => {
                let path = format!("/terminals/{name}");
                let waiting = desk.ask(Method::GET, &path, None)?["waiting"].take();
                let messages = counted(&waiting, "waiting message");
                if !yes && !confirm(&format!("remove {name}, and cancel {messages}?"))? {
                    bail!("nothing was removed");
                }
                desk.ask(Method::DELETE, &path, None)?;
                let done = json!({ "name": name.to_string(), "cancelled": waiting });
                desk.report(&done, format_args!("{name} is removed; {messages} cancelled"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Has the server make a bundle for a terminal.
fn invite(desk: &Desk, name: &Name, callers: &[String], no_callers: bool, expires: Span) -> anyhow::Result<Value> {
    let seconds = expires.to_duration(SpanRelativeTo::days_are_24_hours())?.as_secs();
    anyhow::ensure!((60..=366 * 86_400).contains(&seconds), "--expires must be from 1m to 366d");
    let body = json!({ "callers": callers, "no_callers": no_callers, "seconds": seconds });
    desk.ask(Method::POST, &format!("/terminals/{name}/invitation"), Some(&body))
}

/// What to do with a terminal that was just added.
fn after_adding(name: &Name, trust: &str, is_secret_new: bool) -> String {
    match trust {
        "chap" if is_secret_new => format!(
            "chap_secret is shown only now; for pppd there: `name {name}` in its options, and in chap-secrets: {name} * SECRET *"
        ),
        "chap" => format!("for pppd there: `name {name}` in its options, and in chap-secrets: {name} * SECRET *"),
        "certificate" => format!(
            "now register its key: ringup terminal register {name} --key KEY (or make a bundle, if its software takes one: ringup terminal invite {name} --caller NUMBER -o {name}.bundle)"
        ),
        "number-only" => format!("warning: any machine that answers the number of {name} receives its messages"),
        _ => format!("make a bundle for it now: ringup terminal invite {name} --caller NUMBER -o {name}.bundle"),
    }
}

/// The rights of a terminal without limits.
fn open_registration(name: &Name, trust: &str, may_subscribe: &[String]) -> Option<String> {
    let has_key = matches!(trust, "key" | "certificate");
    (has_key && may_subscribe.is_empty()).then(|| {
        format!("{name} may register for every topic, and so read what is sent to all of them; --may-subscribe FILTER, when it is added, limits that")
    })
}

/// What a pause means.
fn after_pausing(name: &Name, paused: &Value) -> String {
    let waiting = text(&paused["waiting"]);
    let mut told = format!(
        "{name} is paused: it is not called, and keeps its key and its messages ({waiting} waiting); its own calls are served. \
         To end the pause: ringup terminal resume {name}"
    );
    if !paused["call"].is_null() {
        let call = text(&paused["call"]);
        told += &format!("\na call with it is under way and goes on; to hang up: ringup call end {call}");
    }
    told
}

/// Whether a resumed terminal is called, and if not, what is missing.
fn after_resuming(name: &Name, resumed: &Value) -> String {
    match resumed["trust"].as_str() {
        Some("not enrolled") => format!(
            "{name} is resumed, and still not called: it is not enrolled (ringup terminal invite {name} --caller NUMBER -o {name}.bundle)"
        ),
        _ if resumed["has_number"] == false => {
            format!("{name} is resumed, and still not called: it has no number; it is served when it connects")
        }
        _ if resumed["waiting"] == 0 => format!("{name} is resumed; it has no waiting messages"),
        _ => format!("{name} is called again (see: ringup plan)"),
    }
}

/// A number of things: `1 waiting message`, `2 waiting messages`.
fn counted(count: &Value, what: &str) -> String {
    let plural = if *count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", text(count))
}

/// A secret that is the first line of a file.
fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Asks a person. Without one to ask, the answer is no.
fn confirm(question: &str) -> anyhow::Result<bool> {
    use io::IsTerminal as _;
    if !io::stdin().is_terminal() {
        bail!("{question} Say so with --yes.");
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Lines: the server's modems.
#[derive(Debug, Args)]
pub(crate) struct LineVerbs {
    #[command(flatten)]
    desk: Desk,
    #[command(subcommand)]
    verb: LineVerb,
}

#[derive(Debug, Subcommand)]
enum LineVerb {
    /// List all lines and what they are doing
    List,
}

impl LineVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let LineVerb::List = self.verb;
        let columns =
            [("NAME", "name"), ("PORT", "port"), ("STATE", "state"), ("REFUSED", "rings_refused"), ("FAULT", "fault")];
        self.desk.list("/lines", &columns, "no lines; add [[line]] to the server's config")
    }
}

/// Calls, one record for each.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup call list
  ringup call list --all --json
  ringup call end ID             hangs up; it counts as no failure of the terminal")]
pub(crate) struct CallVerbs {
    #[command(flatten)]
    desk: Desk,
    #[command(subcommand)]
    verb: CallVerb,
}

#[derive(Debug, Subcommand)]
enum CallVerb {
    /// List calls, newest first
    List(Wanted),
    /// Hang up a call in any state, or end a session over the Internet; undelivered messages stay due
    End {
        /// Its id
        id: CallId,
    },
}

const CALL_LIST: List<'_> = List {
    entry: |row| plain(&row["id"]),
    columns: &[
        ("ID", "id"),
        ("DIRECTION", "direction"),
        ("LINE", "line"),
        ("NUMBER", "number"),
        ("PARTY", "party"),
        ("CONNECTED", "connected_at"),
        ("ENDED", "ended_at"),
        ("OUT", "octets_out"),
        ("IN", "octets_in"),
        ("OUTCOME", "outcome"),
    ],
    when_empty: "no calls yet",
    words: |_| {},
};

impl CallVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.verb {
            CallVerb::List(wanted) => self.desk.show_pages("/calls", &wanted, &CALL_LIST),
            CallVerb::End { id } => {
                self.desk.ask(Method::POST, &format!("/calls/{id}/end"), None)?;
                let done = json!({ "id": id.to_string(), "ended": true });
                self.desk
                    .report(&done, format_args!("call {id} is hung up; its record follows (see: ringup call list)"));
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_may_read_every_topic_is_pointed_out_when_it_is_added() {
        let name = "owner".parse().unwrap();
        for trust in ["key", "certificate"] {
            assert!(open_registration(&name, trust, &[]).unwrap().contains("--may-subscribe"));
        }
        assert_eq!(open_registration(&name, "key", &["news/#".to_owned()]), None);
        assert_eq!(open_registration(&name, "chap", &[]), None, "it cannot register by itself");
    }

    #[test]
    fn what_is_in_an_array_is_shown_whatever_it_is() {
        assert_eq!(fields(&json!(["key-1", "key-2"])), "key-1 key-2");
        assert_eq!(fields(&json!([])), "-");
        let envelope =
            json!({ "terminal": "owner", "deliveries": [{ "call": "C", "octets": 9 }, { "call": "D", "octets": 0 }] });
        assert_eq!(fields(&envelope), "deliveries (call C, octets 9) (call D, octets 0), terminal owner");
    }
}
