//! From CONNECT to IP: our link and Debian's pppd, each with each, on the same emulated line. Prints rows of a Markdown
//! table: `cargo xtask bench setup`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "../../tests/pppd/guest.rs"]
#[allow(dead_code, reason = "the tests ask more of a guest")]
mod guest;
#[path = "../../tests/pppd/initramfs.rs"]
mod initramfs;
mod line;
mod relay;
#[path = "../../tests/pppd/wire.rs"]
mod wire;

use std::net::Ipv4Addr;
use std::time::Duration;

use ringup_link::{
    Authentication, Credentials, Demand, Link, LinkConfig, LocalAddress, Name, PeerAddress, Secret, Secrets, Terms,
};
use tokio::io::{AsyncReadExt as _, duplex};
use tokio::task::JoinSet;
use tokio::time::Instant;

use guest::{Guest, Pppd};
use line::Line;
use relay::{Port, SetUp};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const TERMINAL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

const LINES: [Line; 2] = [
    Line { rate_bps: 33_600, delay: Duration::from_millis(60) },
    Line { rate_bps: 9_600, delay: Duration::from_millis(300) },
];

/// pppd with what makes it quicker than its defaults: it would also negotiate CCP and IPv6.
const PPPD_OPTIONS: &str = "noccp\nnoipv6\n";
const SECRETS: &str = "terminal * sesame *\n";

/// A pppd asks again after 3 s; what it then says twice would not be a set-up undisturbed.
const START_APART_MAX: Duration = Duration::from_millis(2500);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Ours,
    Pppd,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Ours => "ours",
            Program::Pppd => "pppd",
        }
    }
}

/// Who asks for what.
#[derive(Clone, Copy)]
struct Case {
    has_chap: bool,
    /// The terminal knows its address from an earlier call.
    is_address_known: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    use Program::{Ours, Pppd};
    for has_chap in [false, true] {
        for (server, terminal) in [(Ours, Ours), (Ours, Pppd), (Pppd, Ours), (Pppd, Pppd)] {
            for is_address_known in [false, true] {
                let terms = Case { has_chap, is_address_known };
                let mut row = format!(
                    "| {} | {} | {} to {} |",
                    if has_chap { "CHAP" } else { "no proof" },
                    if is_address_known { "known" } else { "assigned" },
                    server.name(),
                    terminal.name(),
                );
                for line in LINES {
                    let SetUp { time, crossings, octets: [there, back] } = set_up(line, server, terminal, terms).await;
                    let round_trips = f64::from(crossings) / 2.0;
                    let seconds = time.as_secs_f64();
                    row += &format!(" {seconds:.2} s | {round_trips} | {there} + {back} |");
                }
                println!("{row}");
            }
        }
    }
}

/// One end, before the line is connected.
enum End {
    Ours(LinkConfig),
    Pppd(Box<Guest>, wire::Wire),
}

async fn set_up(line: Line, server: Program, terminal: Program, case: Case) -> SetUp {
    let mut ends = [
        match server {
            Program::Ours => End::Ours(our_server(line, case)),
            Program::Pppd => boot(&server_options(case)).await,
        },
        match terminal {
            Program::Ours => End::Ours(our_terminal(line, case)),
            Program::Pppd => boot(&terminal_options(case)).await,
        },
    ];
    for end in &mut ends {
        if let End::Pppd(guest, _) = end {
            guest.start().await;
        }
    }
    // The line is there when every pppd is: what it says first is the first on it.
    let mut first = [vec![], vec![]];
    let mut spoke = Vec::new();
    for (end, first) in ends.iter_mut().zip(&mut first) {
        if let End::Pppd(_, wire) = end {
            *first = vec![0; 1024];
            let count = wire.read(first).await.unwrap();
            first.truncate(count);
            spoke.push(Instant::now());
        }
    }
    assert!(spoke.len() < 2 || spoke[1] - spoke[0] < START_APART_MAX, "the two guests have started too far apart");
    let (mut links, mut guests) = (JoinSet::new(), Vec::new());
    let ports = ends.map(|end| -> Box<dyn Port> {
        match end {
            End::Ours(config) => {
                let (call, port) = duplex(64 * 1024);
                links.spawn(async move {
                    let link = Link::establish(call, config).await.unwrap();
                    link.closed().await
                });
                Box::new(port)
            }
            End::Pppd(guest, wire) => {
                guests.push(guest);
                Box::new(wire)
            }
        }
    });
    relay::carry(line, ports, first).await.unwrap()
}

async fn boot(options: &str) -> End {
    let (guest, wire) = Guest::boot_idle(Pppd { options, secrets: SECRETS }).await;
    End::Pppd(Box::new(guest), wire)
}

fn server_options(case: Case) -> String {
    let proof = if case.has_chap { "auth\nrequire-chap\nname server\n" } else { "noauth\n" };
    format!("{PPPD_OPTIONS}{proof}{SERVER}:{TERMINAL}\n")
}

fn terminal_options(case: Case) -> String {
    let address = if case.is_address_known { format!("{TERMINAL}:") } else { "noipdefault".to_owned() };
    format!("{PPPD_OPTIONS}noauth\nname terminal\n{address}\n")
}

fn our_server(line: Line, case: Case) -> LinkConfig {
    let peers = Secrets::from_iter([(Name::new("terminal").unwrap(), Secret::new("sesame").unwrap())]);
    let demand = if case.has_chap { Demand::Chap } else { Demand::Nothing };
    let authentication = Authentication { demand, peers, ..Authentication::default() };
    config(line, LocalAddress::Own(SERVER), PeerAddress::Assign(TERMINAL), authentication)
}

fn our_terminal(line: Line, case: Case) -> LinkConfig {
    let own = Credentials { name: Name::new("terminal").unwrap(), secret: Secret::new("sesame").unwrap() };
    let authentication = Authentication { own: Some(own), ..Authentication::default() };
    config(line, LocalAddress::Ask(case.is_address_known.then_some(TERMINAL)), PeerAddress::Any, authentication)
}

fn config(line: Line, local: LocalAddress, peer: PeerAddress, authentication: Authentication) -> LinkConfig {
    let terms = Terms { authentication, ..Terms::default() };
    LinkConfig { local, peer, rate_bps: line.rate_bps, delay: line.delay, ports: &[], terms }
}
