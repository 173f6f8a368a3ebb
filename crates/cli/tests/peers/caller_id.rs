//! Who is calling: Debian's mgetty on the corpus that our own dialogue is held to (`crates/modem/tests/caller_id`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use crate::corpus::Case;
use crate::guests;
use crate::stub_modem;
use crate::wire::Wire;

/// Each takes two of the guest's interrupts, of which it has 64.
const LINES: usize = 16;

/// Nobody is answered, so that mgetty says of everybody who it was.
const DIALIN: &str = "!all\n";

const MGETTY: &str = "\
data-only yes
ignore-carrier yes
toggle-dtr no
modem-type data
rings 2
port-owner root
port-group root
init-chat \"\" ATZ OK
";

/// Plays the cases of one port, one mgetty each: tells of each when it waits for rings, and whom it has denied.
const LISTEN: &str = r#"
listen() {
    port=$1 log=/var/log/mgetty/mg_$1.log
    shift
    for case; do
        : >$log
        mgetty -x 4 $port &
        until grep -q 'waiting\.\.\.' $log; do sleep 0.1; done
        echo "@waiting $case"
        until denied=$(grep -o 'denied caller.*' $log); do sleep 0.1; done
        kill -9 $!
        wait
        echo "@denied $case $denied"
    done
}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mgetty_and_we_agree_on_who_is_calling_except_where_the_corpus_says_why_not() {
    let cases = Case::all();
    let (wires, ends): (Vec<Wire>, Vec<PathBuf>) = (0..LINES)
        .map(|_| Wire::new())
        .map(|(wire, end)| (wire, PathBuf::from(end)))
        .unzip();
    let files = [
        ("etc/mgetty/mgetty.config", MGETTY),
        ("etc/mgetty/dialin.config", DIALIN),
        ("listen.sh", LISTEN),
    ];
    let mut guest = guests::boot(&ends, &files).await;
    let answered = Arc::new(Mutex::new(false));
    let (mut modems, mut conversations) = (JoinSet::new(), Vec::new());
    for wire in wires {
        let (sender, receiver) = unbounded_channel();
        conversations.push(sender);
        let answered = answered.clone();
        let hears = move |command: &str| *answered.lock().unwrap() |= command.starts_with("ATA");
        modems.spawn(stub_modem::play(wire, receiver, hears));
    }
    guest.run(". /listen.sh").await;
    for line in 0..LINES {
        let own: Vec<String> = (line..cases.len())
            .step_by(LINES)
            .map(|case| case.to_string())
            .collect();
        guest
            .run(&format!("listen ttyS{line} {} &", own.join(" ")))
            .await;
    }
    let mut callers = vec![None; cases.len()];
    while callers.contains(&None) {
        let said = guest.said("@").await;
        let (word, rest) = said.split_once(' ').unwrap();
        let (index, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let index: usize = index.parse().unwrap();
        match word {
            "waiting" => conversations[index % LINES]
                .send(cases[index].octets())
                .unwrap(),
            "denied" => callers[index] = Some(caller(rest)),
            _ => panic!("{said}"),
        }
    }
    let differences: Vec<String> = cases
        .iter()
        .zip(callers)
        .filter_map(|(case, caller)| {
            let caller = caller.unwrap();
            let is_so = match &case.mgettys {
                Some(expected) => caller == *expected,
                None => is_same(&case.caller, &caller),
            };
            (!is_so).then(|| format!("{}: we say {:?}, mgetty {caller:?}", case.name, case.caller))
        })
        .collect();
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
    assert!(
        !*answered.lock().unwrap(),
        "mgetty has answered somebody whom it denied"
    );
}

/// Who it was, in mgetty's log: `denied caller dev=ttyS0, pid=17, caller='0661234567'`.
fn caller(denied: &str) -> String {
    let caller = denied
        .split_once("caller='")
        .and_then(|(_, rest)| rest.rsplit_once('\''));
    caller.unwrap_or_else(|| panic!("{denied}")).0.to_owned()
}

/// Whether both mean the same: the same number, or none.
fn is_same(ours: &str, mgettys: &str) -> bool {
    let is_number = |text: &str| {
        let digits = text.strip_prefix('+').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit())
    };
    if is_number(ours) {
        ours == mgettys
    } else {
        (ours == "-") == (mgettys == "none") && !is_number(mgettys)
    }
}
