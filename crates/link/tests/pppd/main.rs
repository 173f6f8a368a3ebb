//! Our links with Debian's pppd and the PPP driver of a real Linux kernel, which run in User-Mode Linux.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authentication;
mod pppd_guest;
mod web;
mod wire;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ringup_link::{
    CloseReason, Expected, HeaderSlots, InterfaceIdentifier, Ipv6, Keepalive, Link, LinkConfig,
    LinkError, LocalAddress, Mru, PeerAddress, Terms,
};
use tokio::io::AsyncReadExt as _;

use pppd_guest::{Pppd, boot};
use wire::Wire;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const TERMINAL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// pppd as a terminal that takes its address; besides, its defaults.
const PPPD_CALLED: Pppd<'_> = Pppd {
    options: "noauth\nnoipdefault\n",
    secrets: "",
};
/// pppd as a server that assigns one; besides, its defaults.
const PPPD_CALLING: Pppd<'_> = Pppd {
    options: "noauth\n10.9.0.1:10.9.0.2\n",
    secrets: "",
};

/// Ours as the calling server.
async fn serve(wire: Wire, terms: Terms) -> Result<Link, LinkError> {
    establish(
        wire,
        LocalAddress::Own(SERVER),
        PeerAddress::Assign(TERMINAL),
        terms,
        None,
    )
    .await
}

/// Ours as the called terminal.
async fn answer(wire: Wire, terms: Terms) -> Result<Link, LinkError> {
    establish(wire, LocalAddress::Ask(None), PeerAddress::Any, terms, None).await
}

async fn establish(
    wire: Wire,
    local: LocalAddress,
    peer: PeerAddress,
    terms: Terms,
    expected: Option<Expected>,
) -> Result<Link, LinkError> {
    // The pseudo-terminal is as fast as the guest is; the pace is there because there always is one.
    let config = LinkConfig {
        terms,
        expected,
        ..LinkConfig::new(local, peer, 8_000_000, Duration::from_millis(1))
    };
    Link::establish(wire, config).await
}

#[tokio::test]
async fn pppd_takes_the_address_that_our_server_gives_it() {
    let (mut guest, wire) = boot(PPPD_CALLED).await;
    let link = serve(wire, Terms::default()).await.unwrap();
    assert_eq!((link.local(), link.peer()), (SERVER, Some(TERMINAL)));
    assert_eq!(guest.said("@up").await, format!("{TERMINAL} {SERVER}"));
    link.close();
    assert_eq!(link.closed().await, CloseReason::ClosedHere);
    guest.said("@down").await;
    assert_eq!(
        guest.said("@exit").await,
        "16",
        "the link was terminated by its peer"
    );
}

#[tokio::test]
async fn our_terminal_takes_the_address_that_pppd_gives_it() {
    let (mut guest, wire) = boot(PPPD_CALLING).await;
    let link = answer(wire, Terms::default()).await.unwrap();
    assert_eq!((link.local(), link.peer()), (TERMINAL, Some(SERVER)));
    assert_eq!(guest.said("@up").await, format!("{SERVER} {TERMINAL}"));
    guest.run("killall pppd").await;
    assert!(matches!(
        link.closed().await,
        CloseReason::PeerTerminated { .. }
    ));
    assert_eq!(
        guest.said("@exit").await,
        "5",
        "ended by a signal, with a word to the peer"
    );
}

#[tokio::test]
async fn a_megabyte_goes_to_pppd_and_comes_back_whole() {
    let (mut guest, wire) = boot(PPPD_CALLED).await;
    let link = serve(wire, Terms::default()).await.unwrap();
    web::both_ways(&link, &web::body(1 << 20)).await;
    let counters = link.counters();
    assert_eq!(
        (counters.noise_octets, counters.bad_frames),
        (0, 0),
        "{counters:?}"
    );
    guest.said("@up").await;
}

#[tokio::test]
async fn each_end_keeps_to_the_mru_of_the_other() {
    for octets in [296, 576, 1500] {
        let options = format!("{}mru {octets}", PPPD_CALLED.options);
        let (mut guest, wire) = boot(Pppd {
            options: &options,
            ..PPPD_CALLED
        })
        .await;
        let terms = Terms {
            mru: Some(Mru::new(octets).unwrap()),
            ..Terms::default()
        };
        let link = serve(wire, terms).await.unwrap();
        guest.said("@up").await;
        web::both_ways(&link, &web::body(100_000)).await;
        assert_eq!(
            guest.asked("cat /sys/class/net/ppp0/mtu").await,
            octets.to_string()
        );
        // A packet that is larger than was asked for would be a bad frame here, and an error at the guest's interface.
        assert_eq!(link.counters().bad_frames, 0);
        assert_eq!(
            guest
                .asked("cat /sys/class/net/ppp0/statistics/rx_errors")
                .await,
            "0"
        );
    }
}

#[tokio::test]
async fn what_pppd_offers_besides_ipv4_is_declined_once_and_not_offered_again() {
    let (mut guest, wire) = boot(PPPD_CALLED).await;
    let _link = serve(wire, Terms::default()).await.unwrap();
    guest.said("@up").await;
    let log = guest.log().await;
    for (protocol, number) in [("CCP", "80 fd"), ("IPV6CP", "80 57")] {
        assert_eq!(
            log.matches(&format!("sent [{protocol} ConfReq")).count(),
            1,
            "{protocol}: {log}"
        );
        let declined = log
            .lines()
            .filter(|line| line.contains("rcvd [LCP ProtRej") && line.contains(number));
        assert_eq!(declined.count(), 1, "{protocol}: {log}");
    }
}

#[tokio::test]
async fn headers_are_compressed_both_ways_only_when_we_allow_it() {
    for header_compression in [None, Some(HeaderSlots::MAX)] {
        let (mut guest, wire) = boot(PPPD_CALLED).await;
        let link = serve(
            wire,
            Terms {
                header_compression,
                ..Terms::default()
            },
        )
        .await
        .unwrap();
        guest.said("@up").await;
        web::both_ways(&link, &web::body(200_000)).await;
        // IN PACK VJCOMP VJUNC VJERR | OUT PACK VJCOMP VJUNC NON-VJ
        let counted = guest.asked("pppstats ppp0 | tail -n 1 | tr -d '|'").await;
        let counted: Vec<u32> = counted
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        let (packets_in, compressed_in, errors, compressed_out) =
            (counted[1], counted[2], counted[4], counted[7]);
        assert_eq!(errors, 0, "{counted:?}");
        match header_compression {
            None => assert_eq!((compressed_in, compressed_out), (0, 0), "{counted:?}"),
            Some(_) => assert!(
                compressed_in > packets_in / 2 && compressed_out > 50,
                "{counted:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_page_comes_over_ipv6_whoever_names_our_identifier() {
    let identifier = InterfaceIdentifier::new;
    for (local, pppds) in [(identifier(0x11), "ipv6 ::77"), (None, "ipv6 ::77,::88")] {
        let options = format!("{}{pppds}", PPPD_CALLED.options);
        let (mut guest, wire) = boot(Pppd {
            options: &options,
            ..PPPD_CALLED
        })
        .await;
        let terms = Terms {
            ipv6: Some(Ipv6 { local, peer: None }),
            ..Terms::default()
        };
        let link = serve(wire, terms).await.unwrap();
        let (ours, theirs) = link.ipv6().await.unwrap();
        let said = guest.said("@up6").await;
        let said: Vec<Ipv6Addr> = said
            .split(' ')
            .map(|address| address.parse().unwrap())
            .collect();
        assert_eq!(said, [theirs, ours]);
        let answer = web::answer(web::get_from(&link, theirs, "/hello").await).await;
        assert_eq!(answer, b"hello\n");
    }
}

#[tokio::test]
async fn pppd_takes_no_part_in_a_prediction_and_nothing_is_lost_by_it() {
    let (_guest, wire) = boot(PPPD_CALLED).await;
    let agreement = serve(wire, Terms::default())
        .await
        .unwrap()
        .agreement()
        .unwrap();
    // The same pppd, as it seems, and it is expected to be one of ours.
    let (mut guest, wire) = boot(PPPD_CALLED).await;
    wire.spoken().await;
    let expected = Some(Expected {
        agreement,
        connect: Some(80),
    });
    let (local, peer) = (LocalAddress::Own(SERVER), PeerAddress::Assign(TERMINAL));
    let link = establish(wire, local, peer, Terms::default(), expected)
        .await
        .unwrap();
    web::both_ways(&link, &web::body(10_000)).await;
    assert_eq!(
        link.agreement(),
        None,
        "pppd takes no part, and is not expected to again"
    );
    // The request that came early, which pppd may keep or drop, and the one of the phase; never one by a timer.
    let log = guest.log().await;
    assert!(log.matches("rcvd [IPCP ConfReq").count() <= 2, "{log}");
    let opened = guest
        .asked("awk '/^Tcp: [0-9]/{print $7}' /proc/net/snmp")
        .await;
    assert_eq!(
        opened, "2",
        "connections the guest took: a POST, which was begun early, and a GET"
    );
}

#[tokio::test]
async fn a_pppd_that_is_killed_in_mid_transfer_is_missed_by_its_echoes() {
    let (mut guest, wire) = boot(PPPD_CALLED).await;
    let keepalive = Keepalive {
        interval: Duration::from_millis(500),
        losses_max: 2,
    };
    let link = serve(
        wire,
        Terms {
            keepalive: Some(keepalive),
            ..Terms::default()
        },
    )
    .await
    .unwrap();
    let mut transfer = web::get(&link, "/cgi-bin/endless").await;
    transfer.read_exact(&mut vec![0; 100_000]).await.unwrap();
    guest.run("killall -KILL pppd").await;
    assert!(
        transfer.read_to_end(&mut Vec::new()).await.is_err(),
        "a lost call must not look like an orderly end"
    );
    assert_eq!(link.closed().await, CloseReason::EchoLost);
}

#[tokio::test]
async fn a_line_that_is_cut_in_mid_transfer_ends_the_link_as_carrier_lost() {
    let (guest, wire) = boot(PPPD_CALLED).await;
    let link = serve(wire, Terms::default()).await.unwrap();
    let mut transfer = web::get(&link, "/cgi-bin/endless").await;
    transfer.read_exact(&mut vec![0; 100_000]).await.unwrap();
    guest.kill();
    assert!(
        transfer.read_to_end(&mut Vec::new()).await.is_err(),
        "a lost call must not look like an orderly end"
    );
    assert_eq!(link.closed().await, CloseReason::CarrierLost);
}

#[tokio::test]
async fn a_guest_whose_kernel_panics_says_why_in_one_line() {
    let nothing_to_run = guest::Initramfs::new().folder("bin").finish();
    let error = guest::Machine::new(&pppd_guest::peers(), nothing_to_run)
        .boot()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Kernel panic") && error.contains("cargo xtask peers"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
}
