//! By pppd and an HTTP POST: Debian's pppd at both ends, each in a Linux of its own (User-Mode Linux), busybox's wget and httpd.

use crate::Case;
use crate::guests;
use crate::observed::{CALLED, CALLER, Carried, Exchange};

/// Without what takes longer: CCP and IPv6, a pause after CONNECT, addresses that are not known beforehand, farewells that nobody hears.
const OPTIONS: &str = "115200 local nocrtscts nolock nodetach noauth noccp noipv6 connect-delay 0 lcp-max-terminate 1";

const DIAL: &str = "TIMEOUT 60\n'' ATE0V1X4\nOK ATDT\\T\nCONNECT '\\c'\n";
const ANSWER: &str = "TIMEOUT 60\n'' ATE0V1X4\nOK '\\c'\nRING ATA\nCONNECT '\\c'\n";

/// Tells when all of it is there.
const TAKE: &str = r"#!/bin/sh
cat >/tmp/body
echo @body >/dev/console
printf 'Content-Type: text/plain\r\n\r\n'
";

pub(crate) async fn carry(case: Case) -> Carried {
    let exchange = Exchange::open(case);
    let ends = [CALLER, CALLED].map(|number| exchange.port(number));
    let files = [
        ("etc/ppp/dial", DIAL),
        ("etc/ppp/answer", ANSWER),
        ("take", TAKE),
    ];
    let [near, far] = ends;
    let (mut near, mut far) = (
        guests::boot(&[near], &files).await,
        guests::boot(&[far], &files).await,
    );
    far.run("cp /take /www/cgi-bin/take; chmod 755 /www/cgi-bin/take")
        .await;
    // busybox's wget takes the file for a text.
    near.run(&format!(
        "tr -d '\\000' </dev/urandom | head -c {} >/tmp/content",
        case.octets
    ))
    .await;
    let call = |chat: &str, addresses: &str| {
        format!(
            "(pppd /dev/ttyS0 {OPTIONS} {addresses} connect '/usr/sbin/chat -v -f {chat}'; echo @exit $?) &"
        )
    };
    far.run(&call("/etc/ppp/answer", "10.9.0.2:10.9.0.1")).await;
    far.run("echo @listening").await;
    far.said("@listening").await;
    near.run(&call(
        &format!("/etc/ppp/dial -T {CALLED}"),
        "10.9.0.1:10.9.0.2",
    ))
    .await;
    near.said("@up").await;
    let set_up = exchange.mark();
    near.run(
        "wget -q -O /dev/null --post-file /tmp/content http://10.9.0.2/cgi-bin/take; killall pppd",
    )
    .await;
    far.said("@body").await;
    let there = exchange.mark();
    near.said("@exit").await;
    far.run("echo @size $(wc -c </tmp/body)").await;
    assert_eq!(far.said("@size").await, case.octets.to_string());
    drop((near, far)); // an end that nobody has open any more is on hook
    Carried::new(["PPP", "TCP and POST"], set_up, there, exchange.record())
}
