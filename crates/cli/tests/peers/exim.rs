//! Debian's exim4, a whole mail server: it queues for our listener, tries again, and tells its own user what came to nothing;
//! and it takes mail at the far end of a call of our server's.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use delivery::proof::SecretKey;
use link::{Link, LinkConfig, LocalAddress, PeerAddress};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::guests::{self, Guest};
use crate::post_office::{PostOffice, RECIPIENT};
use crate::village::{Plan, Village};
use crate::wire::Wire;

/// The guest's way out, at our end of its serial port.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 2);

/// Of the guest's disk, which is memory, nobody knows the size. What it takes by SMTP is for `gauge`; `later` is put off.
const CONFIG: &str = "\
primary_hostname = gauge.example
qualify_domain = gauge.example
domainlist here = gauge.example
disable_ipv6
host_lookup =
keep_environment =
check_spool_space = 0
check_spool_inodes = 0
check_log_space = 0
check_log_inodes = 0
daemon_smtp_ports = 25
tls_advertise_hosts =
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  defer local_parts = later
  accept domains = +here
         local_parts = gauge
  deny message = nobody here
begin routers
out:
  driver = manualroute
  domains = ! +here
  route_list = * 10.77.1.1
  transport = out
here:
  driver = accept
  transport = here
begin transports
out:
  driver = smtp
  port = 25
  hosts_try_dane =
here:
  driver = appendfile
  file = /var/mail/gauge
  user = Debian-exim
begin retry
* * F,5d,1h
";

/// What Debian's installation would have done, and what the tests ask it: `queue TO TEXT` keeps a mail, `run` tries everything at
/// once, whatever the retry rule says, `mailbox WORDS` waits until its own user has been told them.
const EXIM: &str = r#"
echo 'Debian-exim:x:105:105::/var/spool/exim4:/bin/false' >>/etc/passwd
echo 'Debian-exim:x:105:' >>/etc/group
mkdir -p /etc/exim4 /var/spool/exim4 /var/log/exim4 /var/mail
chown 105:105 /var/spool/exim4 /var/log/exim4 /var/mail
cp /exim4.conf /etc/exim4/
chmod 644 /etc/passwd /etc/group /etc/exim4/exim4.conf
log=/var/log/exim4/mainlog
queue() {
    printf 'From: gauge@gauge.example\nSubject: level\n\n%s\n' "$2" | exim4 -odq -f gauge@gauge.example "$1"
    echo "@queued $?"
}
run() {
    exim4 -qff
    echo "@left $(exim4 -bpc)"
}
mailbox() {
    until grep -q "$1" /var/mail/gauge; do sleep 0.1; done
    echo "@mailbox $(grep -c "$1" /var/mail/gauge)"
}
"#;

const OUT: &str = "\
pppd /dev/ttyS0 115200 local nocrtscts nolock nodetach noauth noccp noipv6 10.77.1.2:10.77.1.1 >/tmp/ppp.log &";

async fn boot(line: PathBuf, more: &[(&str, &str)]) -> Guest {
    let files = [&[("exim4.conf", CONFIG), ("exim.sh", EXIM)][..], more].concat();
    let mut guest = guests::boot(&[line], &files).await;
    guest.run(". /exim.sh").await;
    guest
}

/// exim4 with a way to our listener.
struct Exim {
    guest: Guest,
    /// Carries what exim says.
    _gateway: JoinSet<()>,
}

impl Exim {
    async fn start(listener: SocketAddr) -> Self {
        let (wire, serial_port) = Wire::new();
        let mut guest = boot(serial_port.into(), &[]).await;
        guest.run(OUT).await;
        wire.spoken().await;
        let (local, peer) = (LocalAddress::Own(GATEWAY), PeerAddress::Assign(GUEST));
        let config = LinkConfig::new(local, peer, 8_000_000, Duration::from_millis(1));
        let link = Link::establish(
            wire,
            LinkConfig {
                ports: &[25],
                ..config
            },
        )
        .await
        .unwrap();
        guest.said("@up").await;
        let mut gateway = JoinSet::new();
        gateway.spawn(lead(link, listener));
        Self {
            guest,
            _gateway: gateway,
        }
    }

    /// Puts a mail into the queue, and leaves it there.
    async fn queue(&mut self, to: &str, text: &str) {
        self.guest.run(&format!("queue {to} '{text}'")).await;
        assert_eq!(self.guest.said("@queued").await, "0");
    }

    /// Tries all that is queued; gives how many mails are left.
    async fn run(&mut self) -> usize {
        self.guest.run("run").await;
        self.guest.said("@left").await.parse().unwrap()
    }

    /// The last line of its log with `words`.
    async fn logged(&mut self, words: &str) -> String {
        self.guest
            .run(&format!(
                "echo \"@logged $(grep -F '{words}' $log | tail -n 1)\""
            ))
            .await;
        self.guest.said("@logged").await
    }
}

/// Leads connections of the link's far end on to our listener.
async fn lead(link: Link, to: SocketAddr) {
    let (mut listener, mut led) = (link.listen(25).unwrap(), JoinSet::new());
    while let Ok(mut near) = listener.accept().await {
        let mut far = TcpStream::connect(to).await.unwrap();
        led.spawn(async move { copy_bidirectional(&mut near, &mut far).await });
    }
}

/// One message for each terminal, that is.
const ONE_MAY_WAIT: &str = "[mail]\nlisten = \"127.0.0.1:0\"\ndomains = [\"mail.example\"]\nprovider = \"vending\"\n\
                            [quota]\nterminal_messages = 1\n";

/// How many mails of the Maildir have these words in them.
fn arrived(office: &PostOffice, words: &str) -> usize {
    let mails = office.maildir();
    mails
        .iter()
        .filter(|mail| String::from_utf8_lossy(mail).contains(words))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exim_keeps_what_we_put_off_until_we_take_it_once_and_returns_what_we_refuse() {
    let office = PostOffice::open_with(ONE_MAY_WAIT);
    let mut exim = Exim::start(office.address()).await;
    for text in ["the first level", "the second level"] {
        exim.queue(RECIPIENT, text).await;
    }
    // One waits for the terminal, which is all that may: the other is for later.
    assert_eq!(exim.run().await, 1);
    assert!(
        exim.logged("=> 301@mail.example")
            .await
            .contains("is on the disk")
    );
    let put_off = exim.logged("== 301@mail.example").await;
    assert!(put_off.contains(" 452 "), "{put_off}");
    assert_eq!(exim.run().await, 1, "as long as it is so, exim keeps it");
    let [first] = &office.stored().into_iter().collect::<Vec<_>>()[..] else {
        panic!("one was accepted")
    };

    let _owner = office.village.start_owner();
    office.village.wait_delivered(first);
    assert_eq!(exim.run().await, 0);
    let both = office.stored();
    for id in &both {
        office
            .village
            .chronicle
            .wait_field("owner", "handed over", "message_id", id);
    }
    let counts = (
        both.len(),
        arrived(&office, "the first level"),
        arrived(&office, "the second level"),
    );
    assert_eq!(counts, (2, 1, 1));

    exim.queue("nobody@mail.example", "for whom").await;
    exim.run().await;
    assert!(
        exim.logged("** nobody@mail.example")
            .await
            .contains("550 5.1.1")
    );
    exim.guest.run("mailbox 'Status: 5'").await;
    assert_eq!(
        exim.guest.said("@mailbox").await,
        "1",
        "the sender has one notice of it"
    );
    assert_eq!(office.stored(), both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exim_sends_over_tls_to_a_listener_that_offers_it() {
    let mut office = PostOffice::open();
    office.village.kill_server();
    let key = SecretKey::generate().unwrap();
    let pem = |kind: &str, octets: &[u8]| {
        format!(
            "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
            STANDARD.encode(octets)
        )
    };
    office
        .village
        .write("chain.pem", pem("CERTIFICATE", &key.certificate()));
    office
        .village
        .write("key.pem", pem("PRIVATE KEY", key.pkcs8()));
    let config = fs::read_to_string(office.village.path("server.toml")).unwrap();
    let secure = config.replace(
        "[mail]\n",
        "[mail]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\n",
    );
    office.village.write("server.toml", secure);
    office.village.start_server("secure");
    let address = office
        .village
        .chronicle
        .wait("secure", "taking mail")
        .field("address");
    let mut exim = Exim::start(address.parse().unwrap()).await;
    exim.queue(RECIPIENT, "nobody reads this on the way").await;
    assert_eq!(exim.run().await, 0);
    let sent = exim.logged("=> 301@mail.example").await;
    assert!(
        sent.contains(" X=TLS1.3:") && sent.contains("is on the disk"),
        "{sent}"
    );
    let _owner = office.village.start_owner();
    office.village.chronicle.wait("owner", "handed over");
    assert_eq!(arrived(&office, "with ESMTPS;"), 1);
}

const STOCK: &str = "501";

const SECRET: &str = "sesame-sesame-sesame";
const CHAP_SECRETS: &str = "stock * sesame-sesame-sesame *\n";

/// Standard input and output are the line.
const CONNECT: &str = r"
/usr/sbin/chat -s '' ATZ OK ATE0V1 OK
echo @waiting >/dev/console
exec /usr/sbin/chat -s TIMEOUT 600 RING ATA CONNECT ''
";

/// exim4 takes mail, and pppd answers calls, again and again.
const ANSWER: &str = r"
exim4 -bdf 2>/tmp/exim.log &
while :; do
    pppd /dev/ttyS0 115200 local nocrtscts nolock nodetach noauth noccp noipv6 noipdefault name stock \
        connect 'sh /connect.sh' >/tmp/ppp.log
done &
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_server_calls_a_stock_terminal_whose_exim_takes_puts_off_and_refuses_mail() {
    let village = Village::found(Plan {
        strangers: &[(STOCK, "")],
        ..Plan::default()
    });
    let files = [
        ("etc/ppp/chap-secrets", CHAP_SECRETS),
        ("connect.sh", CONNECT),
        ("answer.sh", ANSWER),
    ];
    let mut guest = boot(village.path("lines").join(STOCK), &files).await;
    guest.run(". /answer.sh").await;
    let (secret, mail) = (
        village.write("secret", SECRET),
        village.write("mail", "Subject: level\r\n\r\n.how high\r\n"),
    );
    let bring = |mailbox: &str| {
        let stock = [
            "terminal",
            "add",
            "stock",
            "--number",
            STOCK,
            "--address",
            "10.77.0.5",
            "--trust",
            "chap",
        ];
        let (secret, deliver) = (
            secret.to_str().unwrap(),
            format!("smtp://:25/{mailbox}@gauge.example"),
        );
        village.ask(
            &[
                &stock[..],
                &["--chap-secret-file", secret, "--deliver", &deliver],
            ]
            .concat(),
        );
        let (address, mail) = (village.submission_address(), mail.to_str().unwrap());
        let to = [
            "send",
            "--json",
            "--server",
            &address,
            "--token-file",
            "token",
            "--to",
            "tel:501",
        ];
        let sent = village.run(&[&to[..], &["--content-type", "message/rfc822", mail]].concat());
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        serde_json::from_str::<serde_json::Value>(&sent.stdout).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    guest.said("@waiting").await;
    let taken = bring("gauge");
    assert_eq!(village.wait_delivered(&taken).field("trust"), "chap");
    guest.run("mailbox '^.how high$'").await;
    assert_eq!(guest.said("@mailbox").await, "1");
    assert_eq!(village.server_calls(1)[0]["outcome"], "completed");
    assert_eq!(
        village.ask(&["message", "show", &taken])["envelopes"][0]["state"],
        "delivered"
    );

    for (mailbox, what, why) in [("later", "put off", "451"), ("nobody", "refused", "550")] {
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
        guest.said("@waiting").await;
        let message = bring(mailbox);
        let said = village
            .chronicle
            .wait_field("server", what, "message_id", &message)
            .field("why");
        assert!(
            said.starts_with("by its mail server: ") && said.contains(why),
            "{said}"
        );
        assert_eq!(
            village.ask(&["message", "show", &message])["envelopes"][0]["state"],
            "waiting"
        );
    }
    guest.run("mailbox '^.how high$'").await;
    assert_eq!(
        guest.said("@mailbox").await,
        "1",
        "what it did not take it has not"
    );
}
