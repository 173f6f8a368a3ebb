//! PostgreSQL as Debian has it, for one session: a process without a network that reads statements from its standard input.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// PostgreSQL does not run as root; as this user it does.
const NOBODY: u32 = 65534;

const PROGRAMS: &str = "usr/lib/postgresql/15/bin";

/// A new, empty database. A session is a process that ends with its last statement.
pub(super) struct Postgres {
    folder: TempDir,
}

/// A statement that was refused, and why.
pub(super) struct Refused {
    pub(super) statement: String,
    pub(super) why: String,
}

impl Postgres {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        if fs::metadata(&data).unwrap().uid() == 0 {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
            chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let postgres = Self { folder };
        let mut initdb = program("initdb", &postgres.data());
        initdb.args([
            "--username=ringup",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        let made = initdb.output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        postgres
    }

    /// A folder that it may write into.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs statements, each a line; gives those that were refused.
    pub(super) fn run(&self, lines: Vec<String>) -> Vec<Refused> {
        let mut session = program("postgres", &self.data());
        session.args([
            "--single",
            "-c",
            "fsync=off",
            "-c",
            "log_min_error_statement=error",
            "-c",
            "log_min_messages=error",
        ]);
        session.args([
            "-c",
            "log_error_verbosity=terse",
            "-c",
            "log_line_prefix=",
            "postgres",
        ]);
        let piped = session
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut session = piped.spawn().unwrap();
        let mut input = session.stdin.take().unwrap();
        let writing =
            std::thread::spawn(move || lines.iter().try_for_each(|line| writeln!(input, "{line}")));
        let ended = session.wait_with_output().unwrap();
        writing.join().unwrap().unwrap();
        refused(&String::from_utf8_lossy(&ended.stderr))
    }
}

/// An error has two lines in the log: what is wrong, and with which statement.
fn refused(log: &str) -> Vec<Refused> {
    let (mut refused, mut error) = (Vec::new(), "");
    for line in log.lines() {
        if let Some(statement) = line.strip_prefix("STATEMENT:") {
            refused.push(Refused {
                statement: statement.trim().to_owned(),
                why: error.to_owned(),
            });
        } else if line.contains("ERROR:") || line.contains("FATAL:") || line.contains("PANIC:") {
            error = line;
            assert!(line.contains("ERROR:"), "{log}");
        }
    }
    refused
}

/// One of PostgreSQL's programs: that of `target/peers/root`, or else the machine's own.
fn program(name: &str, data: &Path) -> Command {
    let peers = peers();
    let root = if peers.join(PROGRAMS).join(name).is_file() {
        peers
    } else {
        PathBuf::from("/")
    };
    let path = root.join(PROGRAMS).join(name);
    assert!(
        path.is_file(),
        "this test needs PostgreSQL 15 of Debian, which is not here: run `cargo xtask peers`"
    );
    let is_root = fs::metadata(data.parent().unwrap()).unwrap().uid() == 0;
    let mut command = match is_root {
        true => {
            let mut command = Command::new("setpriv");
            command
                .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
                .arg("--clear-groups")
                .arg(path);
            command
        }
        false => Command::new(path),
    };
    if root != Path::new("/") {
        let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
            .map(|folder| root.join(folder).display().to_string());
        command.env("LD_LIBRARY_PATH", libraries.join(":"));
    }
    command
        .env("PGDATA", data)
        .current_dir(data.parent().unwrap());
    command
}

fn peers() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    target.join("peers/root")
}
