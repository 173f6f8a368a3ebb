//! `ringup demo --isp`: an information service. An information server without lines, two dial-up servers, two subscribers, a feed and a
//! mail from the Internet, which here is this process.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::children::{Children, Event, Who};
use super::story::Story;
use super::{next_event, wait_for};

/// A dial-up server: who, name, and the number of its line.
const POPS: [(Who, &str, &str); 2] = [
    (Who::Berlin, "berlin", "201"),
    (Who::Munich, "munich", "202"),
];

/// A subscriber: who, name, number.
const SUBSCRIBERS: [(Who, &str, &str); 2] =
    [(Who::Anna, "anna", "301"), (Who::Bert, "bert", "302")];

const NEWS: [&str; 3] = [
    "River rises above two metres",
    "Ferry runs again",
    "Rain expected until Friday",
];

/// Between two rounds of news.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(20);

/// Two calls at once take about 15 s with ringing and training.
const ROUND_MAX: Duration = Duration::from_secs(180);

/// Plays it in this folder.
pub(super) async fn play(
    folder: &Path,
    rate: u32,
    delay: Duration,
    once: bool,
) -> anyhow::Result<ExitCode> {
    let stop = crate::signals::until_signal()?;
    let folder = std::path::absolute(folder)?;
    let mut children = Children::new(&folder)?;
    let service = Service {
        folder,
        rate,
        delay,
    };
    let played = stop
        .run_until_cancelled(service.act(&mut children, &mut Story::new(false), once))
        .await;
    children.stop().await;
    match played {
        None if once => bail!("stopped before all had arrived"),
        None => Ok(ExitCode::SUCCESS),
        Some(played) => played.map(|()| ExitCode::SUCCESS),
    }
}

struct Service {
    folder: PathBuf,
    rate: u32,
    delay: Duration,
}

impl Service {
    async fn act(
        &self,
        children: &mut Children,
        story: &mut Story,
        once: bool,
    ) -> anyhow::Result<()> {
        fs::create_dir_all(self.folder.join("lines"))
            .with_context(|| format!("could not make {}", self.folder.display()))?;
        story.say(
            Who::Demo,
            &format!(
                "configs, inboxes and calls.jsonl are in {}",
                self.folder.display()
            ),
        );
        let feed = Feed::open().await?;
        self.write_exchange()?;
        children.start(Who::Exchange, &["exchange", "--config", "exchange.toml"])?;
        wait_for(children, story, Who::Exchange, "exchange ready").await?;

        let (trunks, mail) = self.start_information(children, story, &feed.url).await?;
        self.start_pops(children, story, &trunks).await?;
        self.start_subscribers(children, story).await?;
        for round in 1.. {
            self.round(round, children, story, &feed, &mail).await?;
            if once {
                break;
            }
            story.say(
                Who::Demo,
                &format!("more news in {} s; ctrl-c ends", BETWEEN_ROUNDS.as_secs()),
            );
            let next = Instant::now() + BETWEEN_ROUNDS;
            while let Ok(event) = timeout_at(next, children.event()).await {
                story.tell(&event?);
            }
        }
        Ok(())
    }

    /// An item in the feed and a mail; returns when both subscribers have the one and Anna has the other.
    async fn round(
        &self,
        round: usize,
        children: &mut Children,
        story: &mut Story,
        feed: &Feed,
        mail: &str,
    ) -> anyhow::Result<()> {
        let news = NEWS[(round - 1) % NEWS.len()];
        story.say(Who::Demo, &format!("the feed has news: {news}"));
        feed.publish(round, news);
        story.say(Who::Demo, "a mail for anna@demo.example is sent");
        let letter = format!("Subject: Hello {round}\r\n\r\nCall me when you are there.\r\n");
        let mailed = send_mail(mail, &letter).await?;
        let (mut item, mut received) = (None, Vec::new());
        let deadline = Instant::now() + ROUND_MAX;
        let mut last_failure = "no call has ended yet".to_owned();
        while received.len() < 2 || !received.contains(&Who::Anna) || !self.has_mail(&mailed)? {
            let Ok(event) = timeout_at(deadline, children.event()).await else {
                bail!("not everything arrived in time: {last_failure}");
            };
            let event = event?;
            story.tell(&event);
            match &event {
                Event::Log {
                    who: Who::Information,
                    message,
                    fields,
                } if message == "message accepted" => {
                    // Its feed reader's; the mail's id is known.
                    let id = fields
                        .get("message_id")
                        .and_then(Value::as_str)
                        .unwrap_or_default();
                    if id != mailed {
                        item = Some(id.to_owned());
                    }
                }
                Event::Log {
                    who,
                    message,
                    fields,
                } if message == "stored" => {
                    let id = fields.get("message_id").and_then(Value::as_str);
                    if id.is_some() && id == item.as_deref() {
                        received.push(*who);
                    }
                }
                Event::Log {
                    message, fields, ..
                } if message == "call ended" => {
                    if let Some(outcome) = fields.get("outcome").and_then(Value::as_str) {
                        last_failure = format!("the last call ended with: {outcome}");
                    }
                }
                Event::Exited { who, .. } => {
                    bail!("{who} has ended: {}", children.last_words(*who))
                }
                _ => {}
            }
        }
        let item = item.context("the feed's item was not seen")?;
        for (who, name, _) in SUBSCRIBERS {
            let path = self
                .folder
                .join(name)
                .join("inbox")
                .join(&item)
                .join("content");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("could not read {}", path.display()))?;
            let found: Value = serde_json::from_str(&text).context("the item is not JSON")?;
            if found["title"] != news {
                bail!("{} holds {text}, and not: {news}", path.display());
            }
            story.say(who, &format!("reads: {news}"));
        }
        story.say(Who::Demo, "both have the news, and Anna has her mail");
        Ok(())
    }

    /// Whether the mail is in Anna's Maildir.
    fn has_mail(&self, id: &str) -> anyhow::Result<bool> {
        let Ok(entries) = fs::read_dir(self.folder.join("anna/Mail/new")) else {
            return Ok(false);
        };
        for entry in entries {
            if entry?.file_name().to_string_lossy().contains(id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn write_exchange(&self) -> anyhow::Result<()> {
        let stations = POPS.iter().map(|(_, name, number)| (name, number));
        let stations = stations.chain(SUBSCRIBERS.iter().map(|(_, name, number)| (name, number)));
        let mut text = format!(
            "rate = {}\ndelay = {}\nring_cycle = \"3s\"\ntraining = \"1s\"\nrecords = \"calls.jsonl\"\n",
            self.rate,
            self.delay()
        );
        for (name, number) in stations {
            text += &format!("[[station]]\nnumber = \"{number}\"\npty = \"lines/{name}\"\n");
        }
        self.write("exchange.toml", &text)
    }

    /// Starts the information server; gives where it takes dial-up servers, and where mail.
    async fn start_information(
        &self,
        children: &mut Children,
        story: &mut Story,
        feed: &str,
    ) -> anyhow::Result<(String, String)> {
        let mut text = format!(
            r#"state = "information"

[submission]
listen = "none"

[information]
listen = "127.0.0.1:0"

[mail]
listen = "127.0.0.1:0"
domains = ["demo.example"]
provider = "mail"

[[feed]]
url = "{feed}"
topic = "news/demo"
provider = "feeds"
every = "1s"
from_the_first = true
allow_private = true

[retry]
first = "10s"
longest = "30s"
"#
        );
        for (_, name, _) in POPS {
            self.write(
                &format!("{name}.toml"),
                &format!("state = \"{name}\"\n[dialup]\nname = \"{name}\"\n"),
            )?;
            let key = public_keys(children, &format!("{name}.toml")).await?;
            text += &format!(
                "\n[[dialup_server]]\nname = \"{name}\"\nkey = {}\nlines = [{{ name = \"line-1\" }}]\n",
                key[0]
            );
        }
        self.write("information.toml", &text)?;
        children.start(Who::Information, &["serve", "--config", "information.toml"])?;
        let (mut trunks, mut mail) = (None, None);
        while trunks.is_none() || mail.is_none() {
            let event = next_event(children, story).await?;
            if let Event::Log {
                who: Who::Information,
                message,
                fields,
            } = &event
            {
                let address = || {
                    fields
                        .get("address")
                        .and_then(Value::as_str)
                        .map(str::to_owned)
                };
                match message.as_str() {
                    "taking dial-up servers" => trunks = address(),
                    "taking mail" => mail = address(),
                    _ => {}
                }
            }
        }
        trunks
            .zip(mail)
            .context("the information server did not say where it listens")
    }

    async fn start_pops(
        &self,
        children: &mut Children,
        story: &mut Story,
        trunks: &str,
    ) -> anyhow::Result<()> {
        let keys = public_keys(children, "information.toml").await?;
        let keys = Value::Array(keys);
        for (who, name, _) in POPS {
            let delay = self.delay();
            let text = format!(
                r#"state = "{name}"

[dialup]
name = "{name}"
information = "{trunks}"
keys = {keys}

[[line]]
name = "line-1"
port = "lines/{name}"
delay = {delay}
"#
            );
            self.write(&format!("{name}.toml"), &text)?;
            children.start(who, &["serve", "--config", &format!("{name}.toml")])?;
            wait_for(
                children,
                story,
                Who::Information,
                "dial-up server in service",
            )
            .await?;
        }
        Ok(())
    }

    async fn start_subscribers(
        &self,
        children: &mut Children,
        story: &mut Story,
    ) -> anyhow::Result<()> {
        let config = ["--config", "information.toml"];
        for provider in ["feeds", "mail"] {
            children
                .ask(&[&["provider", "add", provider], &config[..]].concat())
                .await?;
        }
        let callers: Vec<_> = POPS
            .iter()
            .flat_map(|(_, _, number)| ["--caller", number])
            .collect();
        for (who, name, number) in SUBSCRIBERS {
            children
                .ask(&[&["terminal", "add", name, "--number", number], &config[..]].concat())
                .await?;
            let invitation = children
                .ask(&[&["terminal", "invite", name], &callers[..], &config].concat())
                .await?;
            let bundle = invitation["bundle"]
                .as_str()
                .context("the server gave no bundle")?;
            let (file, toml) = (format!("{name}.bundle"), format!("{name}-terminal.toml"));
            self.write(&file, bundle)?;
            let numbers: Vec<_> = POPS.iter().map(|(_, _, number)| *number).collect();
            let text = format!(
                r#"state = "{name}/state"

[line]
delay = {}

[terminal]
callers = {}
inbox = "{name}/inbox"

[[inbox]]
types = ["message/rfc822"]
maildir = "{name}/Mail"
"#,
                self.delay(),
                Value::from(numbers)
            );
            self.write(&toml, &text)?;
            children.ask(&["enrol", &file, "--config", &toml]).await?;
            let added = [&["subscription", "add", name, "news/#"], &config[..]].concat();
            let added = children.command(&added).output().await?;
            if !added.status.success() {
                bail!(
                    "{name} was not subscribed: {}",
                    String::from_utf8_lossy(&added.stderr).trim()
                );
            }
            story.say(Who::Demo, &format!("{name} subscribes to news/#"));
            children.start(
                who,
                &[
                    "wait",
                    "--line",
                    &format!("lines/{name}"),
                    "--config",
                    &toml,
                ],
            )?;
            wait_for(children, story, who, "waiting for calls").await?;
        }
        Ok(())
    }

    fn delay(&self) -> String {
        format!("\"{}ms\"", self.delay.as_millis())
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("could not write {}", path.display()))
    }
}

/// The keys of the server with this config.
async fn public_keys(children: &Children, config: &str) -> anyhow::Result<Vec<Value>> {
    let printed = children
        .ask(&["server-key", "public", "--config", config])
        .await?;
    let keys = printed
        .as_array()
        .or_else(|| printed["keys"].as_array())
        .cloned()
        .unwrap_or_default();
    if keys.is_empty() {
        bail!("{config}: no public key was printed, but {printed}");
    }
    Ok(keys)
}

/// Brings a mail for Anna to the service; gives its id.
async fn send_mail(address: &str, letter: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)
        .await
        .context("the mail port does not answer")?;
    let said = format!(
        "EHLO demo.example\r\nMAIL FROM:<friend@far.example>\r\nRCPT TO:<anna@demo.example>\r\nDATA\r\n{letter}.\r\nQUIT\r\n"
    );
    stream.write_all(said.as_bytes()).await?;
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await?;
    let id = answers.lines().find_map(|line| {
        line.strip_prefix("250 2.0.0 ")?
            .strip_suffix(" is on the disk")
    });
    id.map(str::to_owned)
        .with_context(|| format!("the mail was not taken: {answers}"))
}

/// A feed on the Web, as far as the demo is the Web.
struct Feed {
    url: String,
    items: Arc<Mutex<String>>,
    _serving: JoinSet<()>,
}

impl Feed {
    async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no port for the feed")?;
        let url = format!("http://{}/feed.xml", listener.local_addr()?);
        let (items, mut serving) = (Arc::new(Mutex::new(String::new())), JoinSet::new());
        let shown = items.clone();
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shown = shown.clone();
                tokio::spawn(async move {
                    let service =
                        service_fn(|request| std::future::ready(answer(&shown, &request)));
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await; // it reads again
                });
            }
        });
        Ok(Self {
            url,
            items,
            _serving: serving,
        })
    }

    fn publish(&self, number: usize, title: &str) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let item = format!("<item><guid>{number}</guid><title>{title}</title></item>");
        items.insert_str(0, &item);
    }
}

fn answer(
    items: &Mutex<String>,
    request: &Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let items = items.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let etag = format!("\"{}\"", items.len());
    let is_known = request
        .headers()
        .get("if-none-match")
        .is_some_and(|value| value == etag.as_str());
    let text = format!(
        "<rss version=\"2.0\"><channel><title>Demo</title><link>http://demo.example/</link><description>News</description>{items}</channel></rss>"
    );
    let content = if is_known {
        Bytes::new()
    } else {
        Bytes::from(text)
    };
    let mut response = Response::new(Full::new(content));
    *response.status_mut() = if is_known {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    };
    response
        .headers_mut()
        .insert("etag", etag.parse().expect("digits in quotes"));
    Ok(response)
}
