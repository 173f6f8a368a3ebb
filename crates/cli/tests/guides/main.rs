//! The guides, word for word: every shell block of README and `docs/guides` is run as it stands, one guide after the other, in one
//! folder, with the programs of this build.
//!
//! What follows ```` ```sh ```` says how a block is run:
//!
//! - nothing: it must end with exit code 0;
//! - `soon`: as often as it takes, for what it shows is still on its way;
//! - `stays`: it runs until the test ends, as in a shell of its own;
//! - `not-run: WHY`: it is not run; there are [`NOT_RUN_MAX`] of these at most.
//!
//! Some things differ from what a reader types: the folder has another name, the submission port another number, the modem is one of
//! the exchange; `cargo` gives the programs of this build, and `systemctl` starts nothing.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the helpers of a test for no test"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// Blocks that are shown and not run.
const NOT_RUN_MAX: usize = 4;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Run in this order: each finds what the ones before it have left.
const GUIDES: &[&str] = &[
    "README.md",
    "docs/guides/by-hand.md",
    "docs/guides/messages.md",
    "docs/guides/inbox.md",
    "docs/guides/outbox.md",
    "docs/guides/operating.md",
    "docs/guides/stock-terminals.md",
    "docs/guides/two-servers.md",
    "docs/guides/mail.md",
    "docs/guides/money.md",
    "docs/guides/packages.md",
    "docs/guides/ring-only.md",
    "docs/guides/starter-service.md",
    "docs/guides/tun.md",
];

/// Its blocks are run by the test with guests, for they change a whole machine.
const RUN_BY_PEERS: &str = "docs/guides/medium.md";

/// What a program that stays says when it is ready, and the program.
const READY: &[(&str, &str)] = &[
    ("exchange --config", "exchange ready"),
    ("ringup serve", "server ready"),
    ("ringup-wait", "waiting for calls"),
    ("-- demo", "the same at both ends"),
];

/// A modem that a guide names, and the one that is used: no other program has it at that place of the guides.
const MODEM: (&str, &str) = ("/dev/serial/by-id/usb-MODEM", "lines/vending");

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

struct Block {
    guide: &'static str,
    line: usize,
    how: String,
    text: String,
}

/// The fenced blocks of a guide whose language is `sh`; every block has a language.
fn blocks(guide: &'static str) -> Vec<Block> {
    let text = fs::read_to_string(repository().join(guide)).unwrap();
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        open = match (open, fence) {
            (None, None) => None,
            (None, Some(how)) => {
                assert!(
                    !how.is_empty(),
                    "{guide}:{}: a block without a language",
                    number + 1
                );
                Some(Block {
                    guide,
                    line: number + 1,
                    how: how.to_owned(),
                    text: String::new(),
                })
            }
            (Some(block), Some(_)) => {
                blocks.extend((block.how.split_whitespace().next() == Some("sh")).then_some(block));
                None
            }
            (Some(mut block), None) => {
                writeln!(block.text, "{line}").unwrap();
                Some(block)
            }
        };
    }
    assert!(open.is_none(), "{guide}: a block that does not end");
    blocks
}

/// What a program that stays has said.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Log {
    /// Fills with the lines of `output`, until it ends.
    fn of(output: PipeReader) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let filled = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                filled.lines.lock().unwrap().push(line);
                filled.more.notify_all();
            }
        });
        log
    }

    fn all(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    fn said(&self, what: &str) -> Option<String> {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .find(|line| line.contains(what))
            .cloned()
    }

    fn wait(&self, what: &str) {
        let is_missing = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(what));
        let lines = self.lines.lock().unwrap();
        let (lines, _) = self
            .more
            .wait_timeout_while(lines, PATIENCE, is_missing)
            .unwrap();
        assert!(
            lines.iter().any(|line| line.contains(what)),
            "{what:?} is not said:\n{}",
            lines.join("\n")
        );
    }

    /// Until it says anything, or for this long.
    fn wait_for_more(&self, longest: Duration) {
        drop(
            self.more
                .wait_timeout(self.lines.lock().unwrap(), longest)
                .unwrap(),
        );
    }
}

/// The folder in which the guides are followed.
struct Reader {
    folder: tempfile::TempDir,
    /// Where the shell is.
    at: PathBuf,
    stay: Vec<(Child, Arc<Log>)>,
    server: Option<String>,
}

impl Reader {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ringup-guides-")
            .tempdir()
            .unwrap();
        let repo = folder.path().join("repository");
        fs::create_dir_all(repo.join("examples")).unwrap();
        fs::create_dir_all(folder.path().join("bin")).unwrap();
        for example in fs::read_dir(repository().join("examples")).unwrap() {
            let path = example.unwrap().path();
            let text = fs::read_to_string(&path)
                .unwrap()
                .replace("127.0.0.1:7480", "127.0.0.1:0");
            fs::write(repo.join("examples").join(path.file_name().unwrap()), text).unwrap();
        }
        let reader = Self {
            at: repo,
            folder,
            stay: Vec::new(),
            server: None,
        };
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ringup"), reader.path("bin/ringup"))
            .unwrap();
        // What cargo builds of the packages that are named, and nothing else; by itself: its default member.
        let (ringup, target) = (
            env!("CARGO_BIN_EXE_ringup"),
            reader.at.join("target/release"),
        );
        let cargo = format!(
            "#!/bin/sh\nset -e\nmkdir -p {target}\ncase \"$*\" in 'run --release -- '*) shift 3; exec {ringup} \"$@\" ;; esac\n\
             case \"$*\" in build\\ --release*) ;; *) exit 9 ;; esac\n\
             case \"$*\" in *-p*) ;; *) cp {ringup} {target}/ringup ;; esac\n\
             case \"$*\" in *'-p ringup'|*'-p ringup '*) cp {ringup} {target}/ringup ;; esac\n\
             case \"$*\" in *'-p ringup-client'*) printf '#!/bin/sh\\nexec {ringup} wait \"$@\"\\n' > {target}/ringup-wait; chmod +x {target}/ringup-wait ;; esac\n",
            target = target.display()
        );
        reader.program("bin/cargo", &cargo);
        reader.program("bin/ringup-wait", "#!/bin/sh\nexec ringup wait \"$@\"\n");
        reader.program(
            "bin/systemctl",
            "#!/bin/sh\nexec test \"$*\" = 'start --no-block ringup-outbox'\n",
        );
        reader
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What messages, the outbox and others are shown with.
    fn lay_out(&self) {
        for (name, text) in [
            ("level.json", "{\"level\":3}"),
            ("sale.json", "{\"sale\":1}"),
            ("today.txt", "sunny"),
            (
                "token",
                &fs::read_to_string(self.at.join("vending.token")).unwrap(),
            ),
        ] {
            fs::write(self.at.join(name), text).unwrap();
        }
    }

    /// The words of a block as this reader types them.
    fn typed(&self, block: &Block) -> String {
        let text = block
            .text
            .replace("/tmp/ringup-try", self.path("try").to_str().unwrap());
        let text = text.replace(MODEM.0, MODEM.1);
        let text = match &self.server {
            Some(server) => text.replace("127.0.0.1:7480", server),
            None => text,
        };
        let lines = text.lines().map(|line| match line.contains(" ID") {
            true => line.replace(" ID", &format!(" {}", self.id_for(line))),
            false => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The id that a reader would take from the list before.
    fn id_for(&self, line: &str) -> String {
        let list: &[&str] = match line {
            line if line.contains("ringup outbox") => &["outbox", "list"],
            line if line.contains("ringup inbox") => {
                &["inbox", "list", "--config", "terminal.toml"]
            }
            _ => &["message", "list"],
        };
        let listed = self
            .command(env!("CARGO_BIN_EXE_ringup"))
            .args(list)
            .arg("--json")
            .output()
            .unwrap();
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_else(|error| {
            panic!(
                "{list:?}: {error}: {}",
                String::from_utf8_lossy(&listed.stderr)
            )
        });
        listed[0]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("nothing in {list:?} for {line}"))
            .to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        command
            .current_dir(&self.at)
            .env("PATH", path)
            .env("RINGUP_LOG_FORMAT", "json")
            .env_remove("RINGUP_SOCKET");
        command
            .env("TMPDIR", self.folder.path())
            .stdin(Stdio::null());
        if let Some(server) = &self.server {
            command.env("RINGUP_SERVER", server);
        }
        command
    }

    /// Runs a block to its end; gives what it printed, or what went wrong.
    fn run(&mut self, block: &Block) -> Result<String, String> {
        let script = format!(
            "set -eu\n{}\npwd > {}",
            self.typed(block),
            self.path("at").display()
        );
        let output = self.command("bash").args(["-c", &script]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!(
                "{}\n{printed}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        self.at = PathBuf::from(fs::read_to_string(self.path("at")).unwrap().trim());
        Ok(printed)
    }

    /// Starts a block that stays, and waits until it says that it is ready.
    fn start(&mut self, block: &Block) {
        let (output, said) = std::io::pipe().unwrap();
        let mut command = self.command("bash");
        command.args(["-c", &self.typed(block)]).process_group(0);
        command.stdout(said.try_clone().unwrap()).stderr(said);
        let child = command.spawn().unwrap();
        drop(command); // its copies of the pipe's end
        let log = Log::of(output);
        self.stay.push((child, log.clone()));
        let said = READY
            .iter()
            .find(|(program, _)| block.text.contains(program))
            .map(|(_, said)| *said);
        let Some(said) = said else { return };
        log.wait(said);
        if let Some(line) = log.said("taking submissions") {
            let event: Value = serde_json::from_str(&line).unwrap();
            self.server = Some(event["address"].as_str().unwrap().to_owned());
        }
    }

    /// Ctrl-c in the last shell, whose program ends by it.
    fn interrupt(&mut self) {
        let (mut child, log) = self.stay.pop().unwrap();
        let group = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .unwrap();
        kill_process_group(group, Signal::INT).unwrap();
        assert!(child.wait().unwrap().success(), "{}", log.all());
    }

    /// All that was said by what stays.
    fn logs(&self) -> String {
        self.stay.iter().map(|(_, log)| log.all() + "\n").collect()
    }

    fn follow(&mut self, block: &Block) {
        let how = block.how.trim_start_matches("sh").trim();
        let deadline = Instant::now() + PATIENCE;
        match how {
            "stays" => return self.start(block),
            "" | "soon" => {}
            how if how.starts_with("not-run: ") => return,
            other => panic!("{}:{}: sh {other:?} is not known", block.guide, block.line),
        }
        loop {
            match self.run(block) {
                Ok(_) => return,
                // What it shows comes of what some program that stays does, and says.
                Err(_) if how == "soon" && Instant::now() < deadline => match self.stay.last() {
                    Some((_, log)) => log.wait_for_more(Duration::from_millis(500)),
                    None => panic!("{}:{}: nothing is under way", block.guide, block.line),
                },
                Err(why) => panic!(
                    "{}:{}: {why}\n{}\n{}",
                    block.guide,
                    block.line,
                    block.text,
                    self.logs()
                ),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for (child, _) in &mut self.stay {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let _ = group.map(|group| kill_process_group(group, Signal::KILL)); // ended already
            let _ = child.wait();
        }
    }
}

#[test]
fn every_shell_block_of_every_guide_works_as_it_stands() {
    let mut reader = Reader::new();
    for guide in GUIDES {
        for block in blocks(guide) {
            reader.follow(&block);
        }
        if *guide == "README.md" {
            reader.interrupt(); // the demo
        }
        if *guide == "docs/guides/by-hand.md" {
            // The terminal was on a call when the last block rang it, unless a reader waited for the end of that.
            let (starter, ring) = (
                reader.stay.last().unwrap().1.clone(),
                blocks(guide).pop().unwrap(),
            );
            let deadline = Instant::now() + PATIENCE;
            while starter.said("ring not answered").is_none() {
                assert!(
                    Instant::now() < deadline,
                    "a stranger's ring is not heard:\n{}",
                    starter.all()
                );
                reader.run(&ring).unwrap();
            }
            let calls = fs::read_to_string(reader.at.join("calls.jsonl")).unwrap();
            assert!(
                calls
                    .lines()
                    .any(|call| call.contains("\"billed_seconds\":0")),
                "{calls}"
            );
            reader.lay_out();
        }
    }
}

#[test]
fn every_guide_is_followed_and_few_blocks_are_not_run_each_for_a_reason() {
    let mut found: Vec<_> = fs::read_dir(repository().join("docs/guides"))
        .unwrap()
        .map(|entry| {
            format!(
                "docs/guides/{}",
                entry.unwrap().file_name().to_str().unwrap()
            )
        })
        .chain(["README.md".to_owned()])
        .collect();
    found.sort();
    let mut followed: Vec<_> = GUIDES
        .iter()
        .chain(&[RUN_BY_PEERS])
        .map(|guide| (*guide).to_owned())
        .collect();
    followed.sort();
    assert_eq!(found, followed);
    let all: Vec<_> = GUIDES.iter().flat_map(|guide| blocks(guide)).collect();
    let not_run: Vec<_> = all
        .iter()
        .filter(|block| block.how.starts_with("sh not-run"))
        .collect();
    assert!(
        not_run.len() <= NOT_RUN_MAX,
        "{} blocks are not run",
        not_run.len()
    );
    for block in not_run {
        let why = block.how.strip_prefix("sh not-run: ");
        assert!(
            why.is_some_and(|why| why.len() > 5),
            "{}:{} says no reason",
            block.guide,
            block.line
        );
    }
    assert!(all.len() > 25, "{} blocks", all.len());
}
