//! News for a terminal that is not connected: an item appears in a feed, a call brings it.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::village::{Plan, Village};
use crate::web_page::serve;

#[test]
fn a_new_item_of_a_feed_reaches_the_terminal_that_is_registered_for_it_once() {
    let feed = |items: &str| {
        format!(
            "<rss version=\"2.0\"><channel><title>n</title><link>l</link><description>d</description>{items}</channel></rss>"
        )
    };
    let content = Arc::new(Mutex::new(feed("")));
    let url = serve(&content);
    let mut village = Village::found(Plan::default());
    let _owner = village.start_owner();
    village.ask(&["provider", "add", "feeds"]);
    village.run(&[
        "subscription",
        "add",
        "owner",
        "news/#",
        "--config",
        "server.toml",
    ]);
    village.kill_server();
    let config = std::fs::read_to_string(village.path("server.toml")).unwrap();
    let text = format!(
        "[[feed]]\nurl = \"{url}\"\ntopic = \"news/example\"\nprovider = \"feeds\"\nevery = \"100ms\"\nallow_private = true\n"
    );
    village.write("server.toml", config + &text);
    village.start_server("server with a feed");
    village.chronicle.wait("server with a feed", "feed read");
    *content.lock().unwrap() =
        feed("<item><guid>1</guid><title>rain</title><description>again</description></item>");
    let delivered = village.chronicle.wait("server with a feed", "delivered");
    let item: Value =
        serde_json::from_slice(&village.received(&delivered.field("message_id"))).unwrap();
    assert_eq!(
        (&item["title"], &item["summary"]),
        (&"rain".into(), &"again".into())
    );
    *content.lock().unwrap() = feed(
        "<item><guid>2</guid><title>sun</title></item><item><guid>1</guid><title>rain!</title></item>",
    );
    village
        .chronicle
        .wait_nth("server with a feed", "delivered", 2);
    assert_eq!(village.inbox().len(), 2);
}
