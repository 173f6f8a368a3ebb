//! What several messages at once on one call come to.

use std::fs;

use crate::chronicle::PATIENCE;
use crate::http::Answer;
use crate::village::{OWNER, Plan, Village, awkward_content};

fn submit(village: &Village, query: &str, content_type: &str, content: &[u8]) -> String {
    let token = fs::read_to_string(village.path("token")).unwrap();
    let request = format!(
        "POST /v1/messages?to=tel:{OWNER}&{query} HTTP/1.1\nContent-Type: {content_type}\nContent-Length: {}\nAuthorization: Bearer {token}",
        content.len()
    );
    let Answer { status, body } = village.submission(&request, content);
    assert_eq!(status, 202, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_urgent_message_is_received_while_a_large_one_is_on_the_line() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    let content = awkward_content(900_000); // nine seconds of this line
    let large = submit(
        &village,
        "urgency=bulk",
        "application/octet-stream",
        &content,
    );
    let part = village.path("inbox/.incoming").join(&large).join("content");
    let deadline = std::time::Instant::now() + PATIENCE;
    while !fs::metadata(&part).is_ok_and(|part| part.len() > 0) {
        assert!(
            std::time::Instant::now() < deadline,
            "the large one does not begin to come"
        );
        std::thread::yield_now();
    }
    let urgent = submit(&village, "urgency=urgent", "text/plain", b"fire");
    village.wait_delivered(&urgent);
    assert_eq!(
        village.inbox(),
        [urgent.as_str()],
        "the large one was there before it"
    );
    assert_eq!(village.received(&urgent), b"fire");
    village.wait_delivered(&large);
    assert!(village.received(&large) == content);
    assert_eq!(village.server_calls(1).len(), 1, "all on one call");
}

#[test]
fn readings_are_packed_on_the_line_and_come_out_as_they_were_with_what_was_said_of_them() {
    let village = Village::found(Plan::default());
    let _owner = village.start_owner();
    let readings: String = (0..2_500)
        .map(|n| {
            format!(
                "{{\"meter\":\"DE{:04}\",\"at\":{},\"kwh\":{}.{}}}\n",
                n % 40,
                1_790_000_000 + n * 900,
                n / 40,
                n % 10
            )
        })
        .collect();
    assert!(readings.len() > 100_000);
    let message = submit(
        &village,
        "topic=meters/de&urgency=urgent&expires=86400",
        "application/json",
        readings.as_bytes(),
    );
    let saved = village
        .wait_delivered(&message)
        .field("saved")
        .parse::<usize>()
        .unwrap();
    assert!(village.received(&message) == readings.as_bytes());
    let call = &village.server_calls(1)[0];
    let octets = call["octets_out"].as_u64().unwrap();
    assert!(
        octets < 25_000,
        "{octets} octets on the line for {}",
        readings.len()
    );
    assert!(saved + 25_000 > readings.len(), "{saved} octets saved");
    assert_eq!(
        village.chronicle.wait("owner", "stored").field("saved"),
        saved.to_string()
    );
    let note =
        fs::read_to_string(village.path("inbox").join(&message).join("message.toml")).unwrap();
    for line in [
        "topic = \"meters/de\"\n",
        "urgency = \"urgent\"\n",
        "expires_at = \"",
    ] {
        assert!(note.contains(line), "{note}");
    }
}
