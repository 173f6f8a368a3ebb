//! Figures that a bench program of a crate prints, row by row.

use super::Extent;
use super::table::FIGURES;
use crate::workspace::{Workspace, shown};

/// A `[[bench]]` of a crate and the table that its rows belong to.
pub(super) struct Bench {
    pub(super) package: &'static str,
    pub(super) name: &'static str,
    /// Which of its figures; empty: those that it prints without a word.
    pub(super) part: &'static str,
    /// What the figures are, above the table.
    pub(super) title: &'static str,
    /// The first line of the table.
    pub(super) head: &'static str,
}

pub(super) const PPP: Bench = Bench {
    package: "ringup-ppp",
    name: "frames",
    part: "",
    title: "### ppp\n\nOne core, packets of 1500 random octets, the FCS with the table of RFC 1662 §C.2; MB/s are octets of packets. The best of five rounds.",
    head: FIGURES,
};

pub(super) const LINK: Bench = Bench {
    package: "ringup-link",
    name: "links",
    part: "",
    title: "### link\n\nTCP over a link, content only. The lines at 33600 bit/s are simulated, on a paused clock; memory is what the heap was asked for.",
    head: FIGURES,
};

pub(super) const SETUP: Bench = Bench {
    package: "ringup-link",
    name: "setup",
    part: "",
    title: "### setup\n\nFrom CONNECT until the IPCP Configure-Acks have arrived at both ends, on the same emulated line, one run each. Who calls is the server and comes \
first; pppd is Debian's in User-Mode Linux, with `noccp noipv6`. Address: the terminal is assigned one that it did not know, or asks for the right one. Round trips: half the \
crossings that had to wait for one another. Octets: from the server + to it.",
    head: "| proof | address | who | 33600 bit/s, 60 ms | round trips | octets | 9600 bit/s, 300 ms | round trips | octets |",
};

pub(super) const PEERS: Bench = Bench {
    package: "ringup",
    name: "peers",
    part: "",
    title: "### peers\n\nA message from the caller to the called over the exchange in software, one run each; content is random octets. UUCP: Debian's uucico at both ends, protocol \
'i', on a call that is dialled for it. pppd + POST: Debian's pppd at both ends in User-Mode Linux, with `noccp noipv6 connect-delay 0` and addresses known beforehand, busybox's wget and \
httpd. Neither proves nor encrypts anything; Ringup does both. There: from CONNECT until the content is on the terminal's disk (Ringup, after the sync), a file (UUCP), at the program that \
takes it (POST). Octets: put on the line by the caller + by the called until the first hang-up; flights: changes of direction, as the exchange sees octets arrive. Phases: until the content is \
there (Ringup: until the receipt; as its server counts them).",
    head: "| content, line | by | there | on hook | octets | flights | phases |",
};

pub(super) const STORE: Bench = Bench {
    package: "ringup-server",
    name: "store",
    part: "",
    title: "### store\n\nSubmissions of 1000 octets for one terminal, each on the disk before it is answered; the median of five rounds of 3 s a figure, one figure after another \
on the same disk. Clients and server share the process and the machine's cores; the server is a whole one, without lines. Bare SQLite writes the same rows with prepared statements, from one thread.",
    head: FIGURES,
};

pub(super) const SCALE: Bench = Bench {
    package: "ringup-server",
    name: "store",
    part: "scale",
    title: "### scale\n\nWhat others wait for. Webhooks: verdicts that wait are told by a server without lines. A start: a server with one line, whose modem is part of the bench; \
urgent, normal and bulk messages, of which most expire. Beside: four submitters, each a millisecond after its last answer, into a store with 100,000 terminals and 600,000 messages that \
are over, one in 3000 of them for 300 terminals.",
    head: FIGURES,
};

pub(super) const DOORS: Bench = Bench {
    package: "ringup",
    name: "doors",
    part: "",
    title: "### doors\n\nStrangers at a server without lines, on loopback: connections that send 380 KB of a head that does not end, then mails without their dot. Resident memory (VmRSS) beside \
that before; after: the least in the 5 s after they have gone. An operator's command is a whole process.",
    head: FIGURES,
};

pub(super) const ISP: Bench = Bench {
    package: "ringup",
    name: "isp",
    part: "",
    title: "### isp\n\nServers are real processes, on the exchange in software. Latencies: the terminal is a process, too, and the line as fast as the exchange can be \
set (100 Mbit/s, no delay, no training, the number 1 ms after the first ring); medians and worst of 21. Calls at once: 9600 bit/s, 60 ms, terminals are tasks of the bench. Lines off hook: \
33600 bit/s, 60 ms, the number half a second after the first ring, 12 s from the answer to CONNECT; server at its defaults, terminals are tasks of the bench.",
    head: FIGURES,
};

impl Bench {
    pub(super) fn measure(&self, workspace: &Workspace, extent: Extent) -> anyhow::Result<String> {
        let mut words = extent.scope(self.package);
        words.extend(["--bench", self.name]);
        if !self.part.is_empty() {
            words.extend(["--", self.part]);
        }
        let bench = extent.cargo(workspace, "bench", &words);
        eprintln!("== {}", shown(&bench));
        let rows = workspace.output(bench)?;
        Ok(format!(
            "{}\n\n{}\n{}\n{rows}",
            self.title,
            self.head,
            ruler(self.head)
        ))
    }
}

/// The second line of a table with this first one.
fn ruler(head: &str) -> String {
    let columns = head.matches('|').count().saturating_sub(1);
    "|---".repeat(columns) + "|"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ruler_has_as_many_columns_as_the_head() {
        assert_eq!(ruler("| a | b | |"), "|---|---|---|");
    }
}
