//! The operator's verbs: HTTP over the server's Unix socket, shown as tables or JSON.

mod alarms;
mod calls;
mod feeds;
mod medium;
mod messages;
mod plan;
mod providers;
mod server_keys;
mod spent;
mod store;
mod subscriptions;
mod terminals;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use api::Change;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Builder;

use self::alarms::AlarmVerbs;
use self::calls::{CallVerbs, LineVerbs};
use self::feeds::FeedVerbs;
use self::medium::MediumVerbs;
use self::messages::MessageVerbs;
use self::plan::Plan;
use self::providers::ProviderVerbs;
use self::server_keys::ServerKeyVerbs;
use self::spent::Spent;
use self::store::StoreVerbs;
use self::subscriptions::SubscriptionVerbs;
use self::terminals::TerminalVerbs;
use crate::config;
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
    Spent(Spent),
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
            Self::Spent(spent) => spent.run(),
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
struct OperatorSocket {
    /// The server's operator socket [default: as in the config]
    #[arg(
        long,
        value_name = "PATH",
        env = "RINGUP_SOCKET",
        hide_env_values = true,
        global = true
    )]
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

impl OperatorSocket {
    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let socket = self.socket()?;
        Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(ask(&socket, method, path, body))
    }

    /// Asks for a change, of which at least one field is named.
    fn change<T: Serialize + Default + PartialEq>(
        &self,
        path: &str,
        change: &T,
    ) -> anyhow::Result<Value> {
        anyhow::ensure!(
            *change != T::default(),
            "nothing to change: name what is to be another from now on (see --help)"
        );
        self.tell(Method::PATCH, path, change)
    }

    /// Asks for something that has a type.
    fn tell(&self, method: Method, path: &str, body: &impl Serialize) -> anyhow::Result<Value> {
        self.ask(method, path, Some(&serde_json::to_value(body)?))
    }

    /// Where the server is to be asked.
    fn socket(&self) -> anyhow::Result<PathBuf> {
        match &self.socket {
            Some(socket) => Ok(socket.clone()),
            None => config::server::operator_socket(&self.config).context(
                "no server named: give --socket PATH, or --config with the server's config",
            ),
        }
    }

    /// Asks for a list and shows these fields of it.
    fn list(
        &self,
        path: &str,
        columns: &[(&str, &str)],
        when_empty: &str,
    ) -> anyhow::Result<ExitCode> {
        let list = self.ask(Method::GET, path, None)?;
        let Value::Array(rows) = list else {
            bail!("the server did not answer with a list")
        };
        self.print_list(rows, columns, when_empty)
    }

    fn print_list(
        &self,
        rows: Vec<Value>,
        columns: &[(&str, &str)],
        when_empty: &str,
    ) -> anyhow::Result<ExitCode> {
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
            let from = after
                .as_deref()
                .map(|after| format!("&after={}", in_query(after)))
                .unwrap_or_default();
            // One more than is shown tells whether there are more.
            let page = self.ask(
                Method::GET,
                &format!("{path}{and}last={}{from}", asked + 1),
                None,
            )?;
            let Value::Array(mut rows) = page else {
                bail!("the server did not answer with a list")
            };
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
        let (begin, end) = (
            if is_first { "[" } else { "," },
            if is_last { "]" } else { "" },
        );
        let items: Vec<_> = rows.iter().map(|row| format!("{row:#}")).collect();
        let begin = if rows.is_empty() && !is_first {
            ""
        } else {
            begin
        };
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
        let (first, others): (Vec<_>, Vec<_>) = shown
            .as_object()
            .into_iter()
            .flatten()
            .partition(|(key, _)| ["id", "name"].contains(&key.as_str()));
        for (key, value) in first.into_iter().chain(others) {
            match value {
                Value::Array(items) if items.is_empty() => println!("{key:16} -"),
                Value::Array(items) => items
                    .iter()
                    .for_each(|item| println!("{key:16} {}", fields(item))),
                value => println!("{key:16} {}", fields(value)),
            }
        }
    }
}

/// A value in one line: of an object its fields by name, of what is in them, too.
fn fields(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let fields: Vec<_> = object
                .iter()
                .map(|(key, value)| format!("{key} {}", fields(value)))
                .collect();
            fields.join(", ")
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| format!("({})", fields(item)))
                .collect();
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
        Self {
            limit: limit.unwrap_or_default(),
            after,
            all: limit.is_none(),
        }
    }
}

/// What becomes of a field that has a flag to set it and one to take it away.
fn changed(value: Option<String>, is_cleared: bool) -> Change<String> {
    match value {
        Some(value) => Change::Set(value),
        None if is_cleared => Change::Clear,
        None => Change::Keep,
    }
}

/// The value of a field in one word or more, as it is.
fn plain(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A value in the query of a URL.
fn in_query(value: &str) -> String {
    let octet = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'/' => {
            char::from(octet).to_string()
        }
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
        None
        | Some(
            "name" | "id" | "subject" | "kind" | "body" | "store" | "server" | "query" | "key",
        ) => detail,
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
async fn ask(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.with_context(|| {
        let at = socket.display();
        // Looked at again: the error is moved into the chain.
        match std::fs::metadata(socket).err().map(|error| error.kind()) {
            Some(io::ErrorKind::NotFound) => {
                format!("there is no operator socket {at}; is `ringup serve` running?")
            }
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
        .body(Full::new(
            body.map(|body| Bytes::from(body.to_string()))
                .unwrap_or_default(),
        ))?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let response = requests.send_request(request).await?;
        let status = response.status();
        anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    let (answer, _) = tokio::join!(answer, connection);
    let (status, body) = answer?;
    let value = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body)?
    };
    if !status.is_success() {
        let more = value["more"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let faults: Vec<_> = std::iter::once(&value).chain(more).map(problem).collect();
        bail!("{}", faults.join("\n  "));
    }
    Ok(value)
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

/// A number of things: `1 waiting message`, `2 waiting messages`.
fn counted(count: &Value, what: &str) -> String {
    let plural = if *count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", text(count))
}

/// A secret that is the first line of a file.
fn read_secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("could not read {}", path.display()))?;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_in_an_array_is_shown_whatever_it_is() {
        assert_eq!(fields(&json!(["key-1", "key-2"])), "key-1 key-2");
        assert_eq!(fields(&json!([])), "-");
        let envelope = json!({ "terminal": "owner", "deliveries": [{ "call": "C", "octets": 9 }, { "call": "D", "octets": 0 }] });
        assert_eq!(
            fields(&envelope),
            "deliveries (call C, octets 9) (call D, octets 0), terminal owner"
        );
    }
}
