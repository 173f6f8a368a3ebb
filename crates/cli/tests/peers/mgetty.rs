//! A stock terminal, nothing of ours in it: mgetty answers, its AutoPPP starts pppd, a web server takes files.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use line::{ModemLine, PortAddress};
use link::{Link, LinkConfig, LocalAddress, PeerAddress};
use modem::Profile;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::guests::{self, Guest};
use crate::village::{CENTRE, Plan, Village, awkward_content};

const STOCK: &str = "501";
const STOCK_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 5);

const STATIONS: &[(&str, &str)] = &[
    (STOCK, ""),
    ("602", ""),
    ("603", "withheld = true"),
    ("604", "caller_id = false"),
    // Our own modem in this test: it calls as the centre.
    ("202", "presents = \"201\""),
];

const MGETTY: &str = "\
data-only yes
ignore-carrier yes
toggle-dtr no
modem-type data
rings 2
port-owner root
port-group root
init-chat \"\" ATZ OK ATE0V1X4 OK AT+VCID=1 OK
";

/// mgetty compares the beginnings of numbers; none of the others begins so.
const DIALIN: &str = "201\n!all\n";

const LOGIN: &str = "/AutoPPP/ - - /usr/sbin/pppd file /etc/ppp/called\n";

/// The line is standard input, as mgetty hands it over.
const CALLED: &str =
    "115200\nlocal\nnocrtscts\nnolock\nnodetach\nnoauth\nnoipdefault\nname stock\n";

const SECRET: &str = "sesame-sesame-sesame";
const CHAP_SECRETS: &str = "stock * sesame-sesame-sesame *\n";

/// In mgetty's log: it is initialised and waits for rings.
const WAITING: &str = "waiting\\.\\.\\.";

/// Starts it again and again, as init does. `logged` tells of the COUNTth time that it logs PATTERN.
const RESPAWN: &str = r#"
log=/var/log/mgetty/mg_ttyS0.log
: >$log
( while :; do mgetty -x 4 ttyS0; done ) &
logged() {
    until [ "$(grep -c "$2" $log)" -ge $1 ]; do sleep 0.1; done
    echo "@logged $(grep "$2" $log | tail -n 1)"
}
"#;

/// Waits until mgetty has logged `pattern` so often; gives the line.
async fn logged(guest: &mut Guest, count: usize, pattern: &str) -> String {
    guest.run(&format!("logged {count} '{pattern}'")).await;
    guest.said("@logged").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_terminal_answers_our_server_and_takes_a_file_and_answers_nobody_else() {
    let village = Village::found(Plan {
        no_answer_after: "8s",
        strangers: STATIONS,
        ..Plan::default()
    });
    let files = [
        ("etc/mgetty/mgetty.config", MGETTY),
        ("etc/mgetty/dialin.config", DIALIN),
        ("etc/mgetty/login.config", LOGIN),
        ("etc/ppp/called", CALLED),
        ("etc/ppp/chap-secrets", CHAP_SECRETS),
        ("respawn.sh", RESPAWN),
    ];
    let mut guest = guests::boot(&[village.path("lines").join(STOCK)], &files).await;
    guest.run(". /respawn.sh").await;
    logged(&mut guest, 1, WAITING).await;

    for (index, (number, caller)) in [("602", "602"), ("603", "P"), ("604", "none")]
        .into_iter()
        .enumerate()
    {
        assert_eq!(village.typist(number).dial(STOCK), "NO ANSWER", "{number}");
        let denied = logged(&mut guest, index + 1, "denied caller").await;
        assert!(
            denied.contains(&format!("caller='{caller}'")),
            "{number}: {denied}"
        );
        // Else it would wait for 8 s of silence.
        guest.run("killall mgetty").await;
        logged(&mut guest, index + 2, WAITING).await;
    }
    assert!(village.chronicle.said("exchange", "answered").is_empty());

    let content = awkward_content(65_536);
    let digest = post(&village, &content).await;
    assert_eq!(
        digest,
        hex(&Sha256::digest(&content)),
        "what the terminal's web server has received"
    );
    guest.said("@up").await;
    logged(&mut guest, 5, WAITING).await;

    // The server itself: nothing of ours is there, so it has pppd pass CHAP, and posts.
    let add = |secret: &str| {
        let address = STOCK_ADDRESS.to_string();
        let (number, secret) = (
            ["--number", STOCK, "--address", &address],
            village.write("secret", secret),
        );
        let trust = [
            "--trust",
            "chap",
            "--chap-secret-file",
            secret.to_str().unwrap(),
        ];
        let deliver = ["--deliver", "http://:80/cgi-bin/body"];
        village.ask(&[&["terminal", "add", "stock"][..], &number, &trust, &deliver].concat());
    };
    add(SECRET);
    let content = awkward_content(20_000);
    let message = village.send(&format!("tel:{STOCK}"), &village.write("report", &content));
    assert_eq!(village.wait_delivered(&message).field("trust"), "chap");
    guest.run("echo @body $(sha256sum </tmp/body)").await;
    assert!(
        guest
            .said("@body")
            .await
            .starts_with(&hex(&Sha256::digest(&content)))
    );
    let shown = village.ask(&["message", "show", &message]);
    let envelope = &shown["envelopes"][0];
    assert_eq!(envelope["state"], "delivered");
    assert!(
        envelope["reason"]
            .as_str()
            .unwrap()
            .starts_with("trust chap"),
        "{shown:#}"
    );
    assert_eq!(village.server_calls(1)[0]["outcome"], "completed");

    // Somebody else has got the number, or the secret was changed on one side only.
    logged(&mut guest, 6, WAITING).await;
    assert_eq!(
        village
            .run(&[
                "terminal",
                "remove",
                "stock",
                "--yes",
                "--config",
                "server.toml"
            ])
            .code,
        Some(0)
    );
    add("another secret".replace(' ', "-").repeat(2).as_str());
    guest.run("rm /tmp/body").await;
    let message = village.send(
        &format!("tel:{STOCK}"),
        &village.write("report", "for the right one only"),
    );
    let calls = village.server_calls(2);
    assert!(
        calls[0]["outcome"]
            .as_str()
            .unwrap()
            .starts_with("not proved"),
        "{calls:#?}"
    );
    assert_eq!(
        village.ask(&["message", "show", &message])["envelopes"][0]["state"],
        "waiting"
    );
    guest
        .run("test -e /tmp/body && echo @exists yes || echo @exists no")
        .await;
    assert_eq!(guest.said("@exists").await, "no");
    let answered: Vec<_> = village
        .exchange_calls_so_far()
        .into_iter()
        .filter(|call| !call["answered"].is_null())
        .collect();
    assert!(
        answered.iter().all(|call| call["presented"] == CENTRE),
        "{answered:#?}"
    );
}

/// Calls the terminal and posts to its web server; gives the body of the answer.
async fn post(village: &Village, content: &[u8]) -> String {
    let port = PortAddress::Device(village.path("lines").join("202"));
    let line = ModemLine::open(&port, Profile::GENERIC.into())
        .await
        .unwrap();
    let call = line
        .dial(&STOCK.parse().unwrap(), Duration::from_secs(60))
        .await
        .unwrap();
    let (local, peer) = (
        LocalAddress::Own(Ipv4Addr::new(10, 77, 0, 1)),
        PeerAddress::Assign(STOCK_ADDRESS),
    );
    let config = LinkConfig::new(local, peer, call.rate_bps(), Duration::from_millis(1));
    let link = Link::establish(call, config).await.unwrap();
    let mut stream = link.connect(STOCK_ADDRESS, 80).await.unwrap();
    let head = format!(
        "POST /cgi-bin/body HTTP/1.0\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(content).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    link.close();
    link.closed().await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").unwrap();
        text
    })
}
