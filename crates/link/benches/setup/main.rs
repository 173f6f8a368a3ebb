//! From CONNECT to IP: our link and Debian's pppd, each with each, on the same emulated line. Prints rows of a Markdown
//! table: `cargo xtask bench setup`.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

mod line;
#[path = "../../tests/pppd/pppd_guest.rs"]
#[allow(dead_code, reason = "the tests ask more of a guest")]
mod pppd_guest;
mod relay;
#[path = "../../../../xtask/src/bench/table.rs"]
mod table;
#[path = "../../tests/pppd/wire.rs"]
#[allow(dead_code, reason = "the tests ask more of a wire")]
mod wire;

use std::net::Ipv4Addr;
use std::time::Duration;

use ringup_link::{
    Agreement, Authentication, Credentials, Demand, Expected, Link, LinkConfig, LocalAddress, Name,
    PeerAddress, Secret, Secrets, Terms,
};
use tokio::io::{AsyncReadExt as _, duplex};
use tokio::task::JoinSet;
use tokio::time::Instant;

use line::Line;
use pppd_guest::{Guest, Pppd, boot_idle, start};
use relay::{Port, SetUp};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const TERMINAL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

const LINES: [Line; 2] = [
    Line {
        rate_bps: 33_600,
        delay: Duration::from_millis(60),
    },
    Line {
        rate_bps: 9_600,
        delay: Duration::from_millis(300),
    },
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
    let proofs = table::extent(&[false, true][..], &[false]);
    for &has_chap in proofs {
        for (server, terminal) in [(Ours, Ours), (Ours, Pppd), (Pppd, Ours), (Pppd, Pppd)] {
            for &is_address_known in proofs {
                let terms = Case {
                    has_chap,
                    is_address_known,
                };
                let mut row = format!(
                    "| {} | {} | {} to {} |",
                    if has_chap { "CHAP" } else { "no proof" },
                    if is_address_known {
                        "known"
                    } else {
                        "assigned"
                    },
                    server.name(),
                    terminal.name(),
                );
                for line in LINES {
                    let SetUp {
                        time,
                        crossings,
                        octets: [there, back],
                        ..
                    } = set_up(line, server, terminal, terms).await;
                    let round_trips = f64::from(crossings) / 2.0;
                    let seconds = time.as_secs_f64();
                    row += &format!(" {seconds:.2} s | {round_trips} | {there} + {back} |");
                }
                println!("{row}");
            }
        }
    }
    remembered().await;
}

/// Ours to ours, when both remember an earlier call.
async fn remembered() {
    let mut row = "| no proof | remembered | ours to ours |".to_owned();
    let mut packets = Vec::new();
    for line in LINES {
        let case = Case {
            has_chap: false,
            is_address_known: true,
        };
        let [server, terminal] = agreed(line, case).await;
        let (near, near_port) = duplex(64 * 1024);
        let (far, far_port) = duplex(64 * 1024);
        let expecting = |config, agreement, connect| LinkConfig {
            expected: Some(Expected { agreement, connect }),
            ..config
        };
        let mut links = JoinSet::new();
        for (call, config) in [
            (near, expecting(our_server(line, case), server, None)),
            (far, expecting(our_terminal(line, case), terminal, Some(80))),
        ] {
            links.spawn(async move { Link::establish(call, config).await.unwrap().closed().await });
        }
        let ports: [Box<dyn Port>; 2] = [Box::new(near_port), Box::new(far_port)];
        let SetUp {
            time,
            crossings,
            octets: [there, back],
            packet,
        } = relay::carry(line, ports, [vec![], vec![]]).await.unwrap();
        let (seconds, round_trips) = (time.as_secs_f64(), f64::from(crossings) / 2.0);
        row += &format!(" {seconds:.2} s | {round_trips} | {there} + {back} |");
        packets.push(format!("{:.2} s", packet.unwrap().as_secs_f64()));
    }
    println!("{row}");
    println!(
        "| | | its first packet is at the server after | {} | | | {} | | |",
        packets[0], packets[1]
    );
}

/// What the two agree on, on a line that takes no time.
async fn agreed(line: Line, case: Case) -> [Agreement; 2] {
    let (near, far) = duplex(64 * 1024);
    let ends = [
        Link::establish(near, our_server(line, case)),
        Link::establish(far, our_terminal(line, case)),
    ];
    let [server, terminal] = ends;
    let (server, terminal) = tokio::join!(server, terminal);
    [
        server.unwrap().agreement().unwrap(),
        terminal.unwrap().agreement().unwrap(),
    ]
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
            start(guest).await;
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
    assert!(
        spoke.len() < 2 || spoke[1] - spoke[0] < START_APART_MAX,
        "the two guests have started too far apart"
    );
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
    let (guest, wire) = boot_idle(Pppd {
        options,
        secrets: SECRETS,
    })
    .await;
    End::Pppd(Box::new(guest), wire)
}

fn server_options(case: Case) -> String {
    let proof = if case.has_chap {
        "auth\nrequire-chap\nname server\n"
    } else {
        "noauth\n"
    };
    format!("{PPPD_OPTIONS}{proof}{SERVER}:{TERMINAL}\n")
}

fn terminal_options(case: Case) -> String {
    let address = if case.is_address_known {
        format!("{TERMINAL}:")
    } else {
        "noipdefault".to_owned()
    };
    format!("{PPPD_OPTIONS}noauth\nname terminal\n{address}\n")
}

fn our_server(line: Line, case: Case) -> LinkConfig {
    let peers = Secrets::from_iter([(
        Name::new("terminal").unwrap(),
        Secret::new("sesame").unwrap(),
    )]);
    let demand = if case.has_chap {
        Demand::Chap
    } else {
        Demand::Nothing
    };
    let authentication = Authentication {
        demand,
        peers,
        ..Authentication::default()
    };
    config(
        line,
        LocalAddress::Own(SERVER),
        PeerAddress::Assign(TERMINAL),
        authentication,
    )
}

fn our_terminal(line: Line, case: Case) -> LinkConfig {
    let own = Credentials {
        name: Name::new("terminal").unwrap(),
        secret: Secret::new("sesame").unwrap(),
    };
    let authentication = Authentication {
        own: Some(own),
        ..Authentication::default()
    };
    config(
        line,
        LocalAddress::Ask(case.is_address_known.then_some(TERMINAL)),
        PeerAddress::Any,
        authentication,
    )
}

fn config(
    line: Line,
    local: LocalAddress,
    peer: PeerAddress,
    authentication: Authentication,
) -> LinkConfig {
    let terms = Terms {
        authentication,
        ..Terms::default()
    };
    LinkConfig {
        terms,
        ..LinkConfig::new(local, peer, line.rate_bps, line.delay)
    }
}
