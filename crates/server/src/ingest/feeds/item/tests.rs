use super::*;

const URL: &str = "http://feed.example/";

fn items(text: &str) -> Vec<Item> {
    Item::read_all(text.as_bytes(), None, URL).unwrap()
}

fn shown(text: &str) -> Vec<Value> {
    items(text)
        .iter()
        .map(|item| serde_json::from_slice(&item.to_json()).unwrap())
        .collect()
}

fn rss(items: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><rss version=\"2.0\"><channel><title>n</title><link>{URL}</link>{items}</channel></rss>"
    )
}

#[test]
fn every_format_gives_the_same_items_oldest_first() {
    let rss = rss(
        "<item><guid>2</guid><title>sun</title><link>http://feed.example/2</link><pubDate>Tue, 24 Nov 2026 12:00:00 GMT</pubDate></item>
        <item><guid>1</guid><title>rain</title><link>http://feed.example/1</link><pubDate>Mon, 23 Nov 2026 12:00:00 GMT</pubDate></item>",
    );
    let atom =
        "<feed xmlns=\"http://www.w3.org/2005/Atom\"><id>f</id><title>n</title><updated>2026-11-24T12:00:00Z</updated>
        <entry><id>2</id><title>sun</title><link href=\"/2\"/><updated>2026-11-24T12:00:00Z</updated></entry>
        <entry><id>1</id><title>rain</title><link href=\"/1\"/><updated>2026-11-23T12:00:00Z</updated></entry></feed>";
    let json = r#"{"version":"https://jsonfeed.org/version/1.1","title":"n","items":[
        {"id":"2","title":"sun","url":"http://feed.example/2","content_text":"","date_published":"2026-11-24T12:00:00Z"},
        {"id":"1","title":"rain","url":"http://feed.example/1","content_text":"","date_published":"2026-11-23T12:00:00Z"}]}"#;
    for text in [&rss, atom, json] {
        let items = shown(text);
        let shown: Vec<_> = items
            .iter()
            .map(|item| [&item["id"], &item["title"], &item["url"]])
            .collect();
        let expected = [
            ["1", "rain", "http://feed.example/1"],
            ["2", "sun", "http://feed.example/2"],
        ];
        assert_eq!(
            shown,
            expected
                .map(|item| item.map(Value::from))
                .each_ref()
                .map(|item| item.each_ref()),
            "{text}"
        );
        assert_eq!(items[0]["date_published"], "2026-11-23T12:00:00+00:00");
    }
}

#[test]
fn an_item_without_an_id_is_known_by_what_it_says() {
    let level = |metres: u8| {
        format!(
            "<item><description>river\n  {metres} m</description><pubDate>Mon, 02 Nov 2026 12:00:00 GMT</pubDate></item>"
        )
    };
    let names = |text: &str| items(&rss(text)).iter().map(Item::name).collect::<Vec<_>>();
    let both = names(&(level(4) + &level(3)));
    assert_eq!(both.len(), 2);
    assert_ne!(both[0], both[1]);
    assert_eq!(names(&(level(4) + &level(3))), both, "read again");
    assert_eq!(
        names(&level(3).replace("\n  ", " ")),
        both[..1],
        "white space says nothing"
    );
    let empty = "<item><guid></guid><description>river 3 m</description><pubDate>Mon, 02 Nov 2026 12:00:00 GMT</pubDate></item>";
    assert_eq!(names(empty), both[..1], "an empty id is none");
    let warning = |text: &str, day: u8| {
        format!(
            "<item><title>w</title><link>http://w/</link><description>{text}</description><pubDate>{day} Nov 2026 12:00 GMT</pubDate></item>"
        )
    };
    let warnings =
        [("wind", 2), ("storm", 3), ("storm", 4)].map(|(text, day)| names(&warning(text, day))[0]);
    assert!(
        warnings[0] != warnings[1] && warnings[1] != warnings[2],
        "the same link and title on another day"
    );
    let at = |time: &str| {
        format!("<item><title>w</title><pubDate>2 Nov 2026 {time} GMT</pubDate></item>")
    };
    assert_eq!(
        names(&at("12:00:00")),
        names(&at("12:15:01")),
        "dated anew at each reading"
    );
    let json = |text: &str| {
        format!(
            "{{\"version\":\"https://jsonfeed.org/version/1\",\"items\":[{{\"content_text\":\"{text}\"}}]}}"
        )
    };
    assert_ne!(items(&json("a"))[0].name(), items(&json("b"))[0].name());
    assert_eq!(
        shown(&json("a")),
        shown(&json("a")),
        "its id is the same each time"
    );
}

#[test]
fn twins_with_one_id_are_two_if_they_differ_and_an_edited_item_is_the_same() {
    let item = |guid: &str, title: &str, day: u8| {
        format!(
            "<item><guid>{guid}</guid><title>{title}</title><pubDate>{day} Nov 2026 12:00 GMT</pubDate></item>"
        )
    };
    let names = |text: &str| items(&rss(text)).iter().map(Item::name).collect::<Vec<_>>();
    let (one, two, three) = (
        item("g", "one", 1),
        item("g", "two", 2),
        item("h", "three", 3),
    );
    let all = names(&(one.clone() + &two + &three + &two));
    assert_eq!(all.len(), 3);
    assert!(all[0] != all[1] && all[1] != all[2]);
    assert_eq!(names(&item("h", "three, corrected", 3)), all[2..], "edited");
    assert_eq!(
        names(&(item("g", "new", 4) + &two + &one))[..2],
        all[..2],
        "a third twin changes nothing about the others"
    );
    assert_eq!(
        names(&two),
        all[..1],
        "the first twin is gone: its place is taken, not sent again"
    );
}

#[test]
fn a_feed_is_read_whatever_its_charset_says_and_where() {
    let latin = b"<rss><channel><item><title>M\xfcller</title></item></channel></rss>";
    let found =
        Item::read_all(latin, Some("application/rss+xml; charset=ISO-8859-1"), URL).unwrap();
    assert!(
        String::from_utf8(found[0].to_json())
            .unwrap()
            .contains("Müller")
    );
    let marked =
        "\u{feff}{\"version\":\"https://jsonfeed.org/version/1\",\"items\":[{\"id\":123}]}";
    assert_eq!(shown(marked)[0]["id"], "123");
}

#[test]
fn tricks_with_entities_give_nothing_and_take_nothing() {
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">
        <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY f SYSTEM \"file:///etc/hostname\">]>
        <rss version=\"2.0\"><channel><title>n</title><link>l</link><description>d</description>
        <item><guid>1</guid><title>&c;&f;</title></item></channel></rss>";
    assert_eq!(
        shown(bomb)[0]["title"],
        "&c;&f;",
        "never what they stand for"
    );
    for text in [
        "",
        "<html></html>",
        "{}",
        "[]",
        "\0\0",
        "<rss",
        "\u{1f}\u{8b}",
    ] {
        assert!(
            Item::read_all(text.as_bytes(), None, URL).is_err(),
            "{text:?}"
        );
    }
}

#[test]
fn a_key_is_of_the_item_and_its_feed() {
    let json = r#"{"version":"https://jsonfeed.org/version/1.1","title":"n","items":[{"id":"1","content_text":"a"},{"id":"2","content_text":"b"}]}"#;
    let items = items(json);
    let keys = [items[0].key("a"), items[1].key("a"), items[0].key("b")];
    assert!(
        keys[0] != keys[1] && keys[0] != keys[2] && keys[0].len() <= crate::intake::KEY_OCTETS_MAX
    );
    assert_ne!(items[0].name(), items[1].name());
    let as_before: [u8; 32] = Sha256::digest("1").into();
    assert!(
        items.iter().any(|item| item.name() == as_before),
        "what was seen before an upgrade stays seen"
    );
}

#[test]
fn a_damaged_feed_is_read_or_refused_and_nothing_else() {
    let atom = "<?xml version='1.0' encoding='utf-8'?><!DOCTYPE f [<!ENTITY a 'b'>]><feed xml:base='/x/'><entry xml:lang=de><id>1</id>\
        <title type='xhtml'><div>a&eacute;<b>c</b></div></title><link rel=alternate href='?a&b'/><!-- c --><content><![CDATA[<p>]]></content>\
        <updated>Mon, 2 Nov 26 12:00 +0100</updated></entry></feed>";
    let json = "{\"version\":\"https://jsonfeed.org/version/1\",\"items\":[{\"id\":1,\"url\":\"../a?b#c\",\"date_published\":\"2026-11-02\"}]}";
    let breaks = [
        "",
        "<",
        "</",
        ">",
        "&",
        "&#",
        ";",
        "\"",
        "'",
        "=",
        "/",
        "]]>",
        "<!--",
        "<![CDATA[",
        "<!",
        "<?",
        "\0",
        "é",
        "<title>",
        "<entry/>",
        "{",
        "[",
        ",",
    ];
    for text in [atom, json] {
        for (at, _) in text.char_indices() {
            for broken in breaks {
                for rest in [&text[at..], text[at..].get(1..).unwrap_or_default(), ""] {
                    let damaged = format!("{}{broken}{rest}", &text[..at]);
                    for item in Item::read_all(damaged.as_bytes(), None, URL).unwrap_or_default() {
                        assert!(item.to_json().len() < 3 * text.len(), "{damaged}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_program_says_before_the_feed_is_none_of_it() {
    let feed = rss("<item><guid>1</guid><title>rain</title></item>");
    for before in [
        "PHP Warning: {main} thrown in index.php on line 3\n",
        "\u{feff}\n",
        "<br />\n<b>Warning</b>: {x} <br />",
    ] {
        assert_eq!(
            shown(&format!("{before}{feed}"))[0]["title"],
            "rain",
            "{before}"
        );
    }
    let error = Item::read_all(b"{\"items\":[{\"content_html\":\"<p>\"}]", None, URL).unwrap_err();
    assert!(error.contains("JSON Feed"), "{error}");
}
