//! From the acceptance of a mail or a feed's item to the disk of a terminal that was not connected.
//!
//! ```text
//!   accepted ──► calling ──► connected ──► stored
//!      └── ours ────┘└── set-up ──┘└── ours ──┘
//! ```

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;

use crate::chronicle::Entry;
use crate::millis;
use crate::table::{extent, figure, target};
use crate::village::{Plan, Village};
use crate::web_page;

const ROUNDS: usize = 21;
/// The first call enrols, the second is told what the server likes to tell.
const WARM_UPS: usize = 2;
/// A terminal is not called again before its modem has hung up: that wait is none of ours.
const CALLED_AGAIN_AFTER: Duration = Duration::from_millis(2100);
const WANTED: Duration = Duration::from_millis(150);

/// As fast as an exchange can be set.
const PACE: &str =
    "rate = 100_000_000\nring_cycle = \"10ms\"\ncaller_id_delay = \"1ms\"\ntraining = \"0s\"";

const SERVER: &str = "server with a feed";

/// One of [`ROUNDS`].
struct Round {
    to_dial: Duration,
    set_up: Duration,
    from_connect: Duration,
}

impl Round {
    fn ours(&self) -> Duration {
        self.to_dial + self.from_connect
    }
}

pub(crate) fn measure() {
    let items = Arc::new(Mutex::new(feed("")));
    let url = web_page::serve(&items);
    let mut village = Village::found(Plan {
        pace: PACE,
        ..Plan::default()
    });
    village.ask(&["provider", "add", "feeds"]);
    let registered = village.run(&[
        "subscription",
        "add",
        "owner",
        "news/#",
        "--config",
        "server.toml",
    ]);
    assert_eq!(registered.code, Some(0), "{}", registered.stderr);
    village.kill_server();
    let config = std::fs::read_to_string(village.path("server.toml")).unwrap();
    let sources = format!(
        "[mail]\nlisten = \"127.0.0.1:0\"\ndomains = [\"mail.example\"]\nprovider = \"vending\"\n\
         [[feed]]\nurl = \"{url}\"\ntopic = \"news/example\"\nprovider = \"feeds\"\nevery = \"100ms\"\nallow_private = true\n"
    );
    village.write("server.toml", config + &sources);
    village.start_server(SERVER);
    let _owner = village.start_owner();
    village.chronicle.wait(SERVER, "feed read");
    let mail_port = village
        .chronicle
        .wait(SERVER, "taking mail")
        .field("address");
    let mut done = 0;
    let mut rounds = |bring: &dyn Fn(usize)| {
        let all = (0..WARM_UPS + extent(ROUNDS, 1)).map(|_| {
            done += 1;
            round(&village, done, bring)
        });
        all.skip(WARM_UPS).collect::<Vec<_>>()
    };
    tell("mail", rounds(&|_| send_mail(&mail_port)));
    // Of another length each time, which is the page's ETag.
    let publish = |number| {
        let title = "rain ".repeat(number);
        *items.lock().unwrap() = feed(&format!(
            "<item><guid>{number}</guid><title>{title}</title></item>"
        ));
    };
    tell("a feed's item", rounds(&publish));
}

/// The `number`th call of all; the terminal waits for it.
fn round(village: &Village, number: usize, bring: &dyn Fn(usize)) -> Round {
    let chronicle = &village.chronicle;
    chronicle.wait_nth("owner", "waiting for calls", number);
    chronicle.wait_nth(SERVER, "line ready", number);
    std::thread::sleep(CALLED_AGAIN_AFTER);
    bring(number);
    let stored = chronicle.wait_nth("owner", "stored", number);
    chronicle.wait_nth(SERVER, "call ended", number);
    let [accepted, calling, connected] = ["message accepted", "calling", "call connected"]
        .map(|event| chronicle.wait_nth(SERVER, event, number));
    assert_eq!(
        accepted.field("message_id"),
        stored.field("message_id"),
        "one message, one call"
    );
    Round {
        to_dial: between(&accepted, &calling),
        set_up: between(&calling, &connected),
        from_connect: between(&connected, &stored),
    }
}

fn between(from: &Entry, to: &Entry) -> Duration {
    let at = |entry: &Entry| entry.field("timestamp").parse::<Timestamp>().unwrap();
    at(to)
        .duration_since(at(from))
        .try_into()
        .unwrap_or_default()
}

fn tell(what: &str, rounds: Vec<Round>) {
    let spread = |part: fn(&Round) -> Duration| {
        let mut times: Vec<_> = rounds.iter().map(part).collect();
        times.sort();
        (times[times.len() / 2], times[times.len() - 1])
    };
    let shown =
        |(median, worst)| format!("{:.1} ms, worst {:.1} ms", millis(median), millis(worst));
    let ours = spread(Round::ours);
    let wanted = format!("under {} ms", WANTED.as_millis());
    let whole = format!("{what}: accepted to durable at the terminal, without the call's set-up");
    target(whole, wanted, shown(ours), ours.0 < WANTED);
    let part = |of_it, times| figure(format!("{what}: {of_it}"), shown(spread(times)));
    part("of it from acceptance to the dial command", |round| {
        round.to_dial
    });
    part("of it from CONNECT to the terminal's disk", |round| {
        round.from_connect
    });
    part("the set-up, from the dial command to CONNECT", |round| {
        round.set_up
    });
}

fn send_mail(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let text = "level: high\r\n".repeat(80);
    let mail = format!(
        "EHLO gauge.example\r\nMAIL FROM:<gauge@far.example>\r\nRCPT TO:<301@mail.example>\r\nDATA\r\nSubject: level\r\n\r\n{text}.\r\nQUIT\r\n"
    );
    stream.write_all(mail.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert!(answers.contains(" is on the disk"), "{answers}");
}

fn feed(items: &str) -> String {
    format!(
        "<rss version=\"2.0\"><channel><title>n</title><link>l</link><description>d</description>{items}</channel></rss>"
    )
}
