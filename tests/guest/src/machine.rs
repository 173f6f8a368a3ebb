//! A machine to boot, and the guest that runs on it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Guests of one test program at once. Each takes about a processor while it boots.
static GUESTS: Semaphore = Semaphore::const_new(2);

/// The longest wait for a word of the guest. A boot takes 2 s; a machine with other work takes longer.
const PATIENCE: Duration = Duration::from_secs(90);

/// The longest wait for the end of a last will.
const LAST_WILL: Duration = Duration::from_secs(5);

/// How the kernel begins the line in which it gives up.
const PANIC: &str = "Kernel panic";

/// How User-Mode Linux says that the host refused it a register set: what comes before a panic on a processor whose registers
/// the kernel does not know.
const REFUSED: &str = "errno = ";

/// What boots.
#[derive(Debug)]
pub struct Machine {
    /// The kernel, a program.
    pub kernel: PathBuf,
    /// Its memory, as the kernel takes it: `96M`.
    pub memory: &'static str,
    /// Terminals of this machine: the guest's `ttyS0`, `ttyS1` and so on.
    pub lines: Vec<PathBuf>,
    /// The first file system, see [`Initramfs`](crate::Initramfs). Its `/init` prints `@ready`.
    pub initramfs: Vec<u8>,
    /// More words for the kernel's command line.
    pub settings: Vec<String>,
    /// A shell command. What it prints is added to the log when the guest does not say what it was to say.
    pub last_will: &'static str,
}

/// Why a guest is not there, in one line.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel could not be started, or nothing could be written for it.
    #[error("the guest's kernel {kernel} did not start: run `cargo xtask peers`")]
    Start {
        /// The program.
        kernel: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel gave up.
    #[error(
        "the guest's kernel panicked ({last_words}): `cargo xtask peers` looks for one that boots on this processor"
    )]
    Panicked {
        /// What it said of the cause.
        last_words: String,
    },
    /// The guest ended.
    #[error("the guest ended before it said {word:?}")]
    Ended {
        /// The word waited for.
        word: String,
    },
    /// The guest runs and is silent.
    #[error("the guest did not say {word:?} in {PATIENCE:?}")]
    Silent {
        /// The word waited for.
        word: String,
    },
}

/// A guest that runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Guest {
    linux: Child,
    console_in: ChildStdin,
    console: Lines<BufReader<Receiver>>,
    /// All that the console has said.
    log: String,
    /// What the kernel said of the cause, once it has panicked.
    last_words: Vec<String>,
    last_will: &'static str,
    _folder: tempfile::TempDir,
    _permit: SemaphorePermit<'static>,
}

impl Machine {
    /// A machine with the kernel of the peers in `root`, 96 MB, no lines.
    pub fn new(root: &Path, initramfs: Vec<u8>) -> Self {
        let kernel = root.join("usr/bin/linux.uml");
        Self {
            kernel,
            memory: "96M",
            lines: Vec::new(),
            initramfs,
            settings: Vec::new(),
            last_will: "",
        }
    }

    /// Boots it: the guest has said `@ready`.
    ///
    /// # Errors
    /// [`BootError`].
    pub async fn boot(self) -> Result<Guest, BootError> {
        let permit = GUESTS.acquire().await.expect("never closed");
        let mut guest = self.start(permit).map_err(|source| BootError::Start {
            kernel: self.kernel.clone(),
            source,
        })?;
        guest.wait_for("@ready").await?;
        Ok(guest)
    }

    fn start(&self, permit: SemaphorePermit<'static>) -> io::Result<Guest> {
        let folder = tempfile::tempdir()?;
        let initramfs = folder.path().join("initramfs");
        std::fs::write(&initramfs, &self.initramfs)?;
        // What the kernel says before it has a console goes to standard error.
        let (console, console_out) = io::pipe()?;
        let mut command = Command::new(&self.kernel);
        command
            .args([
                "quiet",
                "con=null",
                "con0=fd:0,fd:1",
                "ssl=null",
                "umid=guest",
            ])
            .arg(format!("mem={}", self.memory))
            .arg(format!("initrd={}", initramfs.display()))
            .arg(format!("uml_dir={}", folder.path().display()))
            .args(&self.settings);
        for (index, line) in self.lines.iter().enumerate() {
            // It wants the terminal itself, not a link to it.
            command.arg(format!("ssl{index}=tty:{}", line.canonicalize()?.display()));
        }
        command
            .stdin(Stdio::piped())
            .stdout(console_out.try_clone()?)
            .stderr(console_out);
        let mut linux = command.process_group(0).spawn()?; // it makes a process for each of its own
        drop(command); // its copies of the console's far end
        let console_in = linux.stdin.take().expect("piped above");
        let console = BufReader::new(Receiver::from_owned_fd(console.into())?).lines();
        Ok(Guest {
            linux,
            console_in,
            console,
            log: String::new(),
            last_words: Vec::new(),
            last_will: self.last_will,
            _folder: folder,
            _permit: permit,
        })
    }
}

impl Guest {
    /// Waits for a word on the console, and gives the rest of its line. The word may come behind the end of another line.
    ///
    /// # Errors
    /// [`BootError`] if it does not come.
    pub async fn wait_for(&mut self, word: &str) -> Result<String, BootError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match timeout_at(deadline, self.next_line()).await {
                Ok(Some(line)) => {
                    if let Some((_, rest)) = line.split_once(word) {
                        return Ok(rest.trim().to_owned());
                    }
                }
                Ok(None) if !self.last_words.is_empty() => {
                    return Err(BootError::Panicked {
                        last_words: self.last_words.join("; "),
                    });
                }
                Ok(None) => {
                    return Err(BootError::Ended {
                        word: word.to_owned(),
                    });
                }
                Err(_) => {
                    return Err(BootError::Silent {
                        word: word.to_owned(),
                    });
                }
            }
        }
    }

    async fn next_line(&mut self) -> Option<String> {
        let line = self.console.next_line().await.ok().flatten()?;
        let line = line.trim_end().to_owned();
        self.log.push_str(&line);
        self.log.push('\n');
        if line.contains(PANIC) || line.contains(REFUSED) {
            self.last_words.push(line.clone());
        }
        Some(line)
    }

    /// Waits for a word on the console, and gives the rest of its line.
    ///
    /// # Panics
    /// If the word does not come; the log goes to standard error.
    pub async fn said(&mut self, word: &str) -> String {
        match self.wait_for(word).await {
            Ok(rest) => rest,
            Err(error) => {
                if matches!(error, BootError::Silent { .. }) && !self.last_will.is_empty() {
                    self.hear_last_will().await;
                }
                panic!("{error}")
            }
        }
    }

    async fn hear_last_will(&mut self) {
        self.run(&format!("{}; echo @end", self.last_will)).await;
        let end = Instant::now() + LAST_WILL;
        while let Ok(Some(line)) = timeout_at(end, self.next_line()).await {
            if line.contains("@end") {
                break;
            }
        }
    }

    /// Has a shell command run in the guest.
    ///
    /// # Panics
    /// If the guest has ended.
    pub async fn run(&mut self, command: &str) {
        let written = self
            .console_in
            .write_all(format!("{command}\n").as_bytes())
            .await;
        written.unwrap_or_else(|error| panic!("the guest takes no commands: {error}"));
    }

    /// What a shell command in the guest prints, in one line.
    pub async fn asked(&mut self, command: &str) -> String {
        self.run(&format!("echo @answer $({command})")).await;
        self.said("@answer").await
    }

    /// All that the guest has said so far.
    pub async fn log(&mut self) -> &str {
        self.asked(":").await;
        &self.log
    }

    /// Takes the guest's power away.
    pub fn kill(&self) {
        if let Some(group) = self
            .linux
            .id()
            .and_then(|id| Pid::from_raw(id.try_into().ok()?))
        {
            let _ = kill_process_group(group, Signal::KILL); // gone already is as good
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("what the guest said:\n{}", self.log);
        }
    }
}
