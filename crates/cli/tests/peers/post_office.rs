//! A village whose server takes mail for the owner, and the strangers' mail programs that bring it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::process::{Finished, Process};
use crate::village::{Plan, Village};

pub(crate) const MAIL: &str =
    "[mail]\nlisten = \"127.0.0.1:0\"\ndomains = [\"mail.example\"]\nprovider = \"vending\"\n";

/// The owner, by the number of its terminal.
pub(crate) const RECIPIENT: &str = "301@mail.example";

pub(crate) struct PostOffice {
    pub(crate) village: Village,
}

impl PostOffice {
    /// The server takes mail; the owner's terminal is not connected and keeps mail in a Maildir.
    pub(crate) fn open() -> Self {
        Self::open_with(MAIL)
    }

    /// With this in the server's config, which is [`MAIL`] and more.
    pub(crate) fn open_with(server_more: &'static str) -> Self {
        let village = Village::found(Plan {
            server_more,
            ..Plan::default()
        });
        let config = fs::read_to_string(village.path("owner.toml")).unwrap();
        village.write(
            "owner.toml",
            config + "[[inbox]]\ntypes = [\"message/rfc822\"]\nmaildir = \"Mail\"\n",
        );
        Self { village }
    }

    /// Where the server takes mail.
    pub(crate) fn address(&self) -> SocketAddr {
        self.village
            .chronicle
            .wait("server", "taking mail")
            .field("address")
            .parse()
            .unwrap()
    }

    /// Runs a stranger's program to its end in the village's folder.
    pub(crate) fn run(&self, who: &str, mut command: Command) -> Finished {
        command.current_dir(self.village.path(""));
        Process::start(who, command, &self.village.chronicle).finish()
    }

    /// The messages that the store has, by id: the last hundred.
    pub(crate) fn stored(&self) -> BTreeSet<String> {
        let listed = self.village.ask(&["message", "list"]);
        listed
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The mails in the terminal's Maildir.
    pub(crate) fn maildir(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.village.path("Mail/new")) else {
            return Vec::new();
        };
        entries
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect()
    }
}

/// The id in `250 2.0.0 ID is on the disk`.
pub(crate) fn accepted_id(line: &str) -> Option<&str> {
    line.split_once("250 2.0.0 ")?
        .1
        .trim_end()
        .strip_suffix(" is on the disk")
}
