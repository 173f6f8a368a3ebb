//! `ringup demo`: an exchange, a server, a terminal and a vending machine as processes of their own, and their story.
//!
//! The demo starts the same programs with the same configuration files as a user would by hand, and reads their logs.
//! Only the exchange is a simulation.

mod children;
mod household;
mod isp;
mod story;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use client::inbox::Inbox;
use delivery::Digest;
use jiff::SignedDuration;
use tokio::runtime::Runtime;
use tokio::time::{Instant, timeout_at};

use children::{Children, Event, Who};
use household::{Household, OWNER_ADDRESS};
use story::Story;
use summary::Summary;

/// For the whole program's help.
pub(crate) const EXAMPLES: &str = "
  ringup demo                                    see it all work, on a telephone exchange in software
  ringup demo --once --file photo.jpg            send a file of yours through two calls";

/// Shows it all at work: a vending machine reports, the server calls its owner, the report arrives.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup demo                                   until ctrl-c
  ringup demo --once --file photo.jpg           your own file, through two calls, to the end
  ringup demo --once --rate 9600 --delay 300ms
  ringup demo --messages 2                      the second call resumes what the first has set up
  ringup demo --once --json                     only the figures on standard output
  ringup demo --isp                             an information service: news and mail reach subscribers the moment they come

Exit code with --once or --messages: 0 if the file arrived byte for byte, 1 if not, with the reason.")]
pub(crate) struct Demo {
    /// What the vending machine sends [default: a sale or a fault, made up]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show an information service with two dial-up servers instead: a feed's news and a mail for subscribers
    #[arg(long, conflicts_with_all = ["file", "messages", "json"])]
    isp: bool,
    /// Send one message to the end, and stop
    #[arg(long)]
    once: bool,
    /// Number of messages to send, each delivered before the next; then stop
    #[arg(long, value_name = "N", conflicts_with = "once", value_parser = clap::value_parser!(u32).range(1..))]
    messages: Option<u32>,
    /// The lines' rate, bit/s each way
    #[arg(long, value_name = "BIT/S", default_value_t = 33_600, value_parser = clap::value_parser!(u32).range(300..=10_000_000))]
    rate: u32,
    /// The lines' delay, one way
    #[arg(long, value_name = "TIME", default_value = "60ms")]
    delay: SignedDuration,
    /// Where everything is kept [default: a folder for temporary files, which is removed at the end]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Print the figures of each message as JSON, one object a line; the log goes to standard error
    #[arg(long)]
    json: bool,
}

/// Between two reports of the vending machine.
const BETWEEN_REPORTS: Duration = Duration::from_secs(20);

/// Two calls with ringing and training take about 15 s; whatever is beyond this is not going to work.
const SET_UP_MAX: Duration = Duration::from_secs(180);

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let delay = Duration::try_from(self.delay).context("--delay cannot be negative")?;
        // It holds tokens, a bundle and keys: gone with the demo, but for what was asked for by name or is to be looked into.
        let temporary = match &self.folder {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("ringup-demo-").tempdir()?),
        };
        let folder = temporary.as_ref().map_or_else(
            || self.folder.clone(),
            |folder| Some(folder.path().to_owned()),
        );
        let folder = folder.context("one of the two is there")?;
        let result = if self.isp {
            Runtime::new()?.block_on(isp::play(&folder, self.rate, delay, self.once))
        } else {
            let household = Household::furnish(&folder, self.rate, delay)?;
            Runtime::new()?.block_on(self.play(&household))
        };
        if let (Err(_), Some(temporary)) = (&result, temporary) {
            eprintln!(
                "the logs and configs are kept in {}",
                temporary.keep().display()
            );
        }
        result
    }

    async fn play(&self, household: &Household) -> anyhow::Result<ExitCode> {
        let stop = crate::signals::until_signal()?;
        let mut children = Children::new(household.folder())?;
        let mut story = Story::new(self.json);
        let played = stop
            .run_until_cancelled(self.act(household, &mut children, &mut story))
            .await;
        if played.is_none() {
            eprintln!("stopping");
        }
        children.stop().await;
        match played {
            None if self.last().is_some() => bail!("stopped before the message had arrived"),
            None => Ok(ExitCode::SUCCESS),
            Some(played) => played.map(|()| ExitCode::SUCCESS),
        }
    }

    /// Number of the last message; `None`: the demo runs until ctrl-c.
    fn last(&self) -> Option<u32> {
        if self.once { Some(1) } else { self.messages }
    }

    async fn act(
        &self,
        household: &Household,
        children: &mut Children,
        story: &mut Story,
    ) -> anyhow::Result<()> {
        story.say(
            Who::Demo,
            &format!(
                "configs, inbox and calls.jsonl are in {}",
                household.folder().display()
            ),
        );
        story.say(
            Who::Demo,
            "201 is the centre, 301 the owner's terminal, 401 the vending machine",
        );
        children.start(Who::Exchange, &["exchange", "--config", "exchange.toml"])?;
        wait_for(children, story, Who::Exchange, "exchange ready").await?;
        children.start(Who::Server, &["serve", "--config", "server.toml"])?;
        wait_for(children, story, Who::Server, "line ready").await?;
        household.enrol(children).await?;
        let wait = [
            "wait",
            "--line",
            household::OWNER_LINE,
            "--config",
            "owner.toml",
        ];
        children.start(Who::Owner, &wait)?;
        wait_for(children, story, Who::Owner, "waiting for calls").await?;
        for number in 1.. {
            self.report(number, household, children, story).await?;
            if self.last() == Some(number) {
                break;
            }
            if self.messages.is_some() {
                wait_for(children, story, Who::Server, "line ready").await?;
                continue;
            }
            let ask = format!(
                "ringup message list --config {}/server.toml",
                household.folder().display()
            );
            story.say(Who::Demo, &format!("to see more, in another shell: {ask}"));
            story.say(
                Who::Demo,
                &format!(
                    "next report in {} s; ctrl-c ends",
                    BETWEEN_REPORTS.as_secs()
                ),
            );
            let next = Instant::now() + BETWEEN_REPORTS;
            while let Ok(event) = timeout_at(next, children.event()).await {
                story.tell(&event?);
            }
        }
        Ok(())
    }

    /// One report: the vending machine's call, the server's call, and the proof.
    async fn report(
        &self,
        number: u32,
        household: &Household,
        children: &mut Children,
        story: &mut Story,
    ) -> anyhow::Result<()> {
        let (path, what) = match &self.file {
            Some(path) => (
                std::path::absolute(path)?,
                format!("sends {}", path.display()),
            ),
            None => household.make_up_report(number)?,
        };
        let content =
            std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        let (digest, size) = (Digest::of(&content), content.len());
        story.say(Who::Vending, &what);
        let destination = format!("ip:{OWNER_ADDRESS}");
        let path_text = path.to_str().context("the file's name is not UTF-8")?;
        let dial_in = [
            "dial-in",
            "--json",
            "--config",
            "vending.toml",
            "--to",
            &destination,
            path_text,
        ];
        children.start(Who::Vending, &dial_in)?;

        let mut summary = Summary::new(self.rate, size);
        let line_time = Duration::from_secs_f64(size as f64 * 10.0 / f64::from(self.rate));
        let (seconds, rate) = (line_time.as_secs_f64(), self.rate);
        story.say(
            Who::Demo,
            &format!("{size} octets take {seconds:.1} s of each call at {rate} bit/s"),
        );
        let deadline = Instant::now() + SET_UP_MAX + 4 * line_time;
        let mut last_failure = "no call has ended yet".to_owned();
        while !summary.is_complete() {
            let Ok(event) = timeout_at(deadline, children.event()).await else {
                bail!("the message did not arrive in time: {last_failure}");
            };
            let event = event?;
            story.tell(&event);
            summary.note(&event);
            match &event {
                Event::Log {
                    message, fields, ..
                } if message == "call ended" => {
                    if let Some(outcome) =
                        fields.get("outcome").and_then(|outcome| outcome.as_str())
                    {
                        last_failure = format!("the last call ended with: {outcome}");
                    }
                }
                Event::Exited {
                    who: Who::Vending,
                    code,
                } if *code != Some(0) => {
                    bail!(
                        "the vending machine could not submit the message: {}",
                        children.last_words(Who::Vending)
                    );
                }
                Event::Exited { who, .. } if *who != Who::Vending => {
                    bail!("{who} has ended: {}", children.last_words(*who));
                }
                _ => {}
            }
        }
        let arrived = Inbox::content_path(&household.inbox(), summary.message());
        self.prove(&arrived, digest)?;
        match &self.folder {
            Some(_) => story.say(Who::Demo, &format!("arrived at {}", arrived.display())),
            None => story.say(
                Who::Demo,
                "arrived (with --folder FOLDER it is there when the demo has ended)",
            ),
        }
        story.say(
            Who::Demo,
            &format!("SHA-256 {digest}, the same at both ends"),
        );
        if self.json {
            println!("{}", summary.to_json());
        } else {
            println!("{summary}");
        }
        Ok(())
    }

    fn prove(&self, arrived: &Path, digest: Digest) -> anyhow::Result<()> {
        let content = std::fs::read(arrived)
            .with_context(|| format!("could not read {}", arrived.display()))?;
        let found = Digest::of(&content);
        if found != digest {
            bail!(
                "what arrived at {} has SHA-256 {found}, not {digest}",
                arrived.display()
            );
        }
        Ok(())
    }
}

/// What happens next, told; the end of a process is a fault.
async fn next_event(children: &mut Children, story: &mut Story) -> anyhow::Result<Event> {
    let event = children.event().await?;
    story.tell(&event);
    if let Event::Exited { who, .. } = &event {
        bail!("{who} has ended: {}", children.last_words(*who));
    }
    Ok(event)
}

async fn wait_for(
    children: &mut Children,
    story: &mut Story,
    who: Who,
    awaited: &str,
) -> anyhow::Result<()> {
    loop {
        if let Event::Log {
            who: from, message, ..
        } = &next_event(children, story).await?
            && *from == who
            && message == awaited
        {
            return Ok(());
        }
    }
}
