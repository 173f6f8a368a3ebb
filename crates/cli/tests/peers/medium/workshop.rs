//! A folder in which media are made, unpacked and installed.

use super::*;

/// The programs that `cargo xtask programs` has built: the ones that media carry.
pub(super) fn programs() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let programs = target.join("programs/x86_64");
    let is_there = programs.join("ringup").is_file();
    assert!(
        is_there,
        "this test installs the terminal's programs, which are not here: run `cargo xtask programs --arch x86_64`"
    );
    programs
}

/// A server's folder without a server: a key, a bundle, and strangers' programs by their names.
pub(super) struct Workshop {
    pub(super) folder: TempDir,
    pub(super) key: String,
}

impl Workshop {
    pub(super) fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        lay_out_tools(folder.path());
        let mut shop = Self {
            folder,
            key: String::new(),
        };
        shop.write("server.toml", b"state = \"server\"\n");
        shop.key = shop.ok("ringup server-key public").trim().to_owned();
        let bundle = format!(
            "bundle = 1\nterminal = \"Q2hhbmdlTWU\"\nname = \"gauge\"\nserver_keys = [\"{}\"]\ncallers = [\"201\"]\n\
             secret = \"{}\"\nexpires_at = \"2100-01-01T00:00:00Z\"\nnumber = \"501\"\naddress = \"10.77.0.5\"\n",
            shop.key,
            "A".repeat(43)
        );
        shop.write("gauge.bundle", bundle.as_bytes());
        shop
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Has a shell do something in the folder.
    pub(super) fn sh(&self, command: &str) -> Output {
        shell(self.folder.path(), command)
    }

    /// The same, which has to succeed; gives what it prints.
    pub(super) fn ok(&self, command: &str) -> String {
        let output = self.sh(command);
        assert!(output.status.success(), "{command}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, which has to fail with this code, and to say this.
    pub(super) fn refused(&self, command: &str, code: i32, why: &str) {
        let output = self.sh(command);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{command}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(why),
            "{command} did not say {why:?}: {}",
            said(&output)
        );
    }

    pub(super) fn create(&self, image: &str) {
        self.ok(&format!(
            "ringup medium create --bundle gauge.bundle --programs x86_64={} --device /dev/ttyS0 --profile usr -o {image}",
            programs().display()
        ));
    }

    /// Unpacks an image into a folder of the same name that can be changed.
    pub(super) fn unpack(&self, image: &str) -> PathBuf {
        let folder = image.trim_end_matches(".iso");
        self.ok(&format!(
            "mkdir {folder} && bsdtar -xf {image} -C {folder} && chmod -R u+w {folder}"
        ));
        self.path(folder)
    }

    /// Has busybox install from a folder, with nothing in reach but busybox.
    pub(super) fn install(&self, medium: &str, arguments: &str) -> Output {
        let busybox = self.path("busybox");
        if !busybox.exists() {
            fs::create_dir(&busybox).unwrap();
            let install = Command::new(peers().join("bin/busybox"))
                .args(["--install", "-s"])
                .arg(&busybox)
                .status();
            assert!(install.unwrap().success());
        }
        let mut command = Command::new(busybox.join("sh"));
        command
            .arg(format!("{medium}/install.sh"))
            .args(arguments.split(' '));
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", busybox)
            .output()
            .unwrap()
    }

    /// All that is below a folder: names, modes, and what is in files.
    pub(super) fn inventory(&self, folder: &str) -> String {
        let entries = self.ok(&format!(
            "cd {folder} && find . ! -type l -printf '%p %m %s\\n' | sort; find . -type l -printf '%p -> %l\\n' | sort"
        ));
        entries
            + &self.ok(&format!(
                "cd {folder} && find . -type f -exec sha256sum {{}} + | sort -k 2"
            ))
    }
}

pub(super) fn shell(folder: &Path, command: &str) -> Output {
    let path = format!(
        "{}:{}",
        folder.join("tools").display(),
        std::env::var("PATH").unwrap()
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", path);
    shell
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("RINGUP_SOCKET")
        .output()
        .unwrap()
}

/// Our program and strangers' ones in `tools`, as they are called in the guide.
pub(super) fn lay_out_tools(folder: &Path) {
    let tools = folder.join("tools");
    fs::create_dir(&tools).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ringup"), tools.join("ringup")).unwrap();
    for name in ["xorriso", "bsdtar", "openssl"] {
        let command = unpacked::command(&format!("usr/bin/{name}"));
        let words: Vec<_> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .collect();
        let words = words
            .iter()
            .map(|word| format!("'{}' ", word.to_str().unwrap()))
            .collect::<String>();
        let script = tools.join(name);
        fs::write(&script, format!("#!/bin/sh\nexec {words}\"$@\"\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

pub(super) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
