//! A stock caller, nothing of ours in it: chat dials, pppd brings up the link, wget submits.

use crate::guests::{self, Guest};
use crate::village::{CENTRE, OWNER, Plan, Village};

/// Registered at the centre as a provider.
const PROVIDER: &str = "502";
/// Registered nowhere.
const STRANGER: &str = "503";
/// Presents the centre's number, which the owner's terminal answers.
const LIKE_THE_CENTRE: &str = "504";

const STATIONS: &[(&str, &str)] = &[
    (PROVIDER, ""),
    (STRANGER, ""),
    (LIKE_THE_CENTRE, "presents = \"201\""),
];

const CHAT: &str = r"TIMEOUT 60
ABORT 'NO ANSWER'
ABORT 'NO CARRIER'
ABORT BUSY
ABORT 'NO DIALTONE'
'' ATZ
OK ATE0V1X4
OK ATDT\T
CONNECT ''
";

/// Exit codes of pppd(8).
const CONNECT_SCRIPT_FAILED: &str = "8";

const CALL: &str = r#"
# call PORT NUMBER OPTION...
call() {
    port=$1 number=$2
    shift 2
    pppd /dev/$port 115200 local nocrtscts nolock nodetach noauth noccp noipv6 \
        connect "/usr/sbin/chat -v -s -f /etc/ppp/chat -T $number" "$@"
    echo "@exit $?"
}
"#;

async fn boot(village: &Village) -> Guest {
    let lines =
        [PROVIDER, STRANGER, LIKE_THE_CENTRE].map(|number| village.path("lines").join(number));
    let mut guest = guests::boot(&lines, &[("etc/ppp/chat", CHAT), ("call.sh", CALL)]).await;
    guest.run(". /call.sh").await;
    guest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_caller_submits_to_our_server_from_a_registered_number_and_reaches_nobody_from_another()
 {
    let village = Village::found(Plan {
        no_answer_after: "2s",
        strangers: STATIONS,
        ..Plan::default()
    });
    let token = village.ask(&["provider", "add", "stock", "--number", PROVIDER])["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut guest = boot(&village).await;

    guest
        .run(&format!("call ttyS1 {CENTRE} noipdefault &"))
        .await;
    assert_eq!(guest.said("@exit").await, CONNECT_SCRIPT_FAILED);
    village
        .chronicle
        .wait_field("server", "ring not answered", "reason", "not registered");
    assert!(village.chronicle.said("exchange", "answered").is_empty());
    assert_eq!(
        village.exchange_calls(1)[0]["answered"],
        serde_json::Value::Null
    );

    guest
        .run(&format!("call ttyS0 {CENTRE} noipdefault &"))
        .await;
    let addresses = guest.said("@up").await;
    let server = addresses.split_once(' ').unwrap().1.to_owned();
    guest.run("seq 1 5000 >/tmp/report").await;
    let submit = format!(
        "wget -q -O - --header 'Authorization: Bearer {token}' --header 'Content-Type: text/plain' \
         --post-file /tmp/report 'http://{server}:7480/v1/messages?to=tel:{OWNER}'"
    );
    guest.run(&format!("echo \"@accepted $({submit})\"")).await;
    let accepted: serde_json::Value = serde_json::from_str(&guest.said("@accepted").await).unwrap();
    let message = accepted["id"].as_str().unwrap();
    guest.run("killall pppd").await;
    guest.said("@exit").await;
    assert_eq!(village.server_calls(1)[0]["outcome"], "completed");

    let _owner = village.start_owner();
    village.wait_delivered(message);
    let report: String = (1..=5000).map(|number| format!("{number}\n")).collect();
    assert_eq!(
        String::from_utf8(village.received(message)).unwrap(),
        report
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_provider_that_is_to_pass_chap_has_no_link_without_its_secret() {
    let village = Village::found(Plan {
        no_answer_after: "2s",
        strangers: STATIONS,
        ..Plan::default()
    });
    let added = village.ask(&["provider", "add", "stock", "--number", PROVIDER, "--chap"]);
    let dial = async |secret: &str| {
        let mut guest = boot(&village).await;
        guest
            .run(&format!("echo 'stock * {secret} *' >/etc/ppp/chap-secrets"))
            .await;
        guest
            .run(&format!("call ttyS0 {CENTRE} noipdefault name stock &"))
            .await;
        guest
    };
    assert_ne!(
        dial("not-the-secret-that-it-is").await.said("@exit").await,
        "0"
    );
    let outcome = village.server_calls(1)[0]["outcome"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(outcome.starts_with("not proved"), "{outcome}");
    let mut guest = dial(added["chap_secret"].as_str().unwrap()).await;
    guest.said("@up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_terminal_answers_a_stock_caller_only_for_its_number_and_waits_again_since_it_is_no_server()
 {
    let village = Village::found(Plan {
        no_answer_after: "2s",
        strangers: STATIONS,
        ..Plan::default()
    });
    let _owner = village.start_owner();
    let mut guest = boot(&village).await;

    guest.run(&format!("call ttyS1 {OWNER} &")).await;
    assert_eq!(guest.said("@exit").await, CONNECT_SCRIPT_FAILED);
    village
        .chronicle
        .wait_field("owner", "ring not answered", "reason", "not registered");
    village.chronicle.wait_nth("owner", "waiting for calls", 2);
    assert!(village.chronicle.said("exchange", "answered").is_empty());

    guest
        .run(&format!("call ttyS2 {OWNER} 10.77.0.1:10.77.0.2 &"))
        .await;
    assert_eq!(guest.said("@up").await, "10.77.0.1 10.77.0.2");
    village.chronicle.wait("owner", "link up");
    // No server takes the connected notice: the terminal hangs up, and pppd hears it.
    guest.said("@down").await;
    guest.said("@exit").await;
    let end = village
        .chronicle
        .wait_field("owner", "waiting again", "outcome", "call failed");
    assert_eq!(end.field("code"), "1", "{end:?}");
    village.chronicle.wait_nth("owner", "waiting for calls", 3);
    assert_eq!(village.inbox(), [""; 0]);
    assert_eq!(village.exchange_calls(2)[1]["presented"], CENTRE);
}
