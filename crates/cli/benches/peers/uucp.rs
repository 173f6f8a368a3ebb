//! By UUCP: Debian's uucico at both ends, protocol 'i', on a call that this program has dialled for them.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tempfile::TempDir;

use crate::Case;
use crate::observed::{CALLED, CALLER, Carried, Exchange, wait_for};
use crate::ringup::content;
use crate::unpacked;

const UUCP: &str = "usr/bin/uucp";
const UUCICO: &str = "usr/lib/uucp/uucico";

pub(crate) fn carry(case: Case) -> Carried {
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    let content = content(case.octets);
    let (sent, got) = (
        folder.path().join("sent"),
        folder.path().join("far/public/got"),
    );
    fs::write(&sent, &content).unwrap();
    fs::set_permissions(&sent, Permissions::from_mode(0o644)).unwrap();
    for [own, other] in [["near", "far"], ["far", "near"]] {
        write_config(&folder, own, other);
    }
    let mut queue = of(UUCP, &folder, "near");
    queue
        .args(["-r", "-C"])
        .arg(&sent)
        .arg(format!("far!{}", got.display()));
    assert!(queue.status().unwrap().success(), "uucp takes no file");

    let exchange = Exchange::open(case);
    let [mut caller, mut called] = [CALLER, CALLED].map(|number| Modem::at(&exchange.port(number)));
    caller.say(&format!("ATD{CALLED}\r"));
    called.hear("RING");
    called.say("ATA\r");
    called.hear("CONNECT");
    caller.hear("CONNECT");
    let mut far = of(UUCICO, &folder, "far");
    far.arg("-D"); // it does not go into the background
    let mut far = called.give_to(far);
    let mut near = of(UUCICO, &folder, "near");
    near.args(["-D", "-S", "far", "-p", "line"]);
    let mut near = caller.give_to(near);
    let log = folder.path().join("near/log");
    wait_for("UUCP's handshake", || {
        fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("Handshake successful")
            .then_some(())
    });
    let set_up = exchange.mark();
    wait_for("UUCP's file", || {
        fs::metadata(&got)
            .is_ok_and(|got| got.len() == content.len() as u64)
            .then_some(())
    });
    let there = exchange.mark();
    let record = exchange.record();
    for end in [&mut near, &mut far] {
        assert!(
            end.wait().unwrap().success(),
            "{}",
            fs::read_to_string(&log).unwrap()
        );
    }
    assert!(
        fs::read(&got).unwrap() == content,
        "another file has arrived"
    );
    Carried::new(["handshake", "file"], set_up, there, record)
}

/// Started by root they become the user `uucp`.
fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o777)).unwrap();
}

fn write_config(folder: &TempDir, own: &str, other: &str) {
    let home = folder.path().join(own);
    for part in ["", "spool", "public", "locks"] {
        fs::create_dir_all(home.join(part)).unwrap();
        open_to_all(&home.join(part));
    }
    let path = |part: &str| home.join(part).display().to_string();
    let config = [
        format!("nodename {own}\nrun-uuxqt never"),
        format!(
            "spool {}\npubdir {}\nlockdir {}",
            path("spool"),
            path("public"),
            path("locks")
        ),
        format!(
            "logfile {}\nstatfile {}\ndebugfile {}",
            path("log"),
            path("statistics"),
            path("debug")
        ),
        format!(
            "sysfile {}\nportfile {}\npasswdfile {}\ncallfile {}\n",
            path("systems"),
            path("ports"),
            path("none"),
            path("none")
        ),
    ];
    let system = format!(
        "system {other}\ntime any\nprotocol i\nport line\nchat \"\"\nremote-send ~ /\nremote-receive ~ /\n"
    );
    let files = [
        ("config", config.join("\n")),
        ("systems", system),
        ("ports", "port line\ntype stdin\n".into()),
        ("none", String::new()),
    ];
    for (name, text) in files {
        fs::write(home.join(name), text).unwrap();
        fs::set_permissions(home.join(name), Permissions::from_mode(0o644)).unwrap();
    }
}

/// A program of UUCP's, with the config of one end.
fn of(program: &str, folder: &TempDir, end: &str) -> Command {
    let mut command = unpacked::command(program);
    command
        .arg("-I")
        .arg(folder.path().join(end).join("config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A scripted user that types AT commands.
struct Modem(File);

impl Modem {
    fn at(path: &Path) -> Self {
        let port = open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let mut settings = tcgetattr(&port).unwrap();
        settings.make_raw();
        tcsetattr(&port, OptionalActions::Now, &settings).unwrap();
        let mut modem = Self(port.into());
        modem.say("ATE0V1X4\r");
        modem.hear("OK");
        modem
    }

    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until a line ends that has this word in it.
    fn hear(&mut self, word: &str) {
        let (mut heard, mut octet) = (String::new(), [0]);
        while !(heard.contains(word) && heard.ends_with('\n')) {
            self.0.read_exact(&mut octet).unwrap();
            heard.push(char::from(octet[0]));
        }
    }

    /// Starts a program on the call, which ends with the last that has it open.
    fn give_to(self, mut command: Command) -> std::process::Child {
        command
            .stdin(self.0.try_clone().unwrap())
            .stdout(self.0)
            .spawn()
            .unwrap()
    }
}
