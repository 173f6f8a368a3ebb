//! Debian's swaks sends awkward mails to our listener.

use crate::post_office::{PostOffice, RECIPIENT, accepted_id};
use crate::process::Finished;
use crate::unpacked;

const SENDER: &str = "gauge@far.example";

/// swaks sends the file and a line end; otherwise it doubles dots, and ends the last line and the mail.
const AS_IT_IS: &[&str] = &["--no-data-fixup"];

/// What a mail is, and what else swaks is told.
struct Letter {
    name: &'static str,
    content: Vec<u8>,
    sender: &'static str,
    more: &'static [&'static str],
}

/// swaks, as it was unpacked. Without TLS, DNS and passwords it needs nothing beyond Perl's own modules.
fn swaks(office: &PostOffice, who: &str, arguments: &[&str]) -> Finished {
    let address = office.address();
    let mut command = unpacked::perl("usr/bin/swaks");
    command.args([
        "--server",
        &address.ip().to_string(),
        "--port",
        &address.port().to_string(),
    ]);
    command.args(["--helo", "gauge.example"]).args(arguments);
    command.env("SWAKS_HOME", office.village.path("")); // no settings of whoever tests
    office.run(who, command)
}

/// The answers that swaks was given: one that it takes for a failure is marked.
fn answers(finished: &Finished) -> Vec<&str> {
    let marks = ["<-  ", "<** "];
    finished
        .stdout
        .lines()
        .filter_map(|line| marks.iter().find_map(|mark| line.strip_prefix(mark)))
        .collect()
}

impl Letter {
    /// What swaks is to read.
    fn file(&self) -> Vec<u8> {
        if self.more == AS_IT_IS {
            let lines = self.content.split_inclusive(|octet| *octet == b'\n');
            let doubled = lines.flat_map(|line| {
                [
                    if line.starts_with(b".") {
                        b"."
                    } else {
                        b"".as_slice()
                    },
                    line,
                ]
            });
            doubled
                .chain([b".".as_slice()])
                .collect::<Vec<_>>()
                .concat()
        } else {
            self.content.strip_suffix(b"\r\n").unwrap().to_vec()
        }
    }
}

fn letters() -> Vec<Letter> {
    let letter = |name, content: &[u8]| Letter {
        name,
        content: content.to_vec(),
        sender: SENDER,
        more: &[],
    };
    let subject = b"Subject: level\r\n\r\n".as_slice();
    let long: Vec<u8> = (b'a'..=b'z').cycle().take(200_000).collect();
    let large: Vec<u8> = b"0123456789012345678901234567890123456789\r\n".repeat(20_000);
    vec![
        letter("plain", b"Subject: level\r\n\r\nhigh\r\n"),
        letter(
            "dots",
            b"Subject: dots\r\n\r\n.\r\n..\r\n.QUIT\r\n\r\n.\r\nMAIL FROM:<x@y>\r\n",
        ),
        letter(
            "8 bit",
            &[subject, "ü ☎ \u{301}".as_bytes(), b"\xfc\xff\x80 \r\n"].concat(),
        ),
        letter(
            "a NUL and controls",
            &[subject, b"\x00\x01\x1a\x7f\r\n"].concat(),
        ),
        letter("a line of 200,000", &[subject, &long, b"\r\n"].concat()),
        letter("840 KB", &[subject, &large].concat()),
        Letter {
            more: AS_IT_IS,
            ..letter(
                "dots that somebody else doubled",
                b"Subject: dots\r\n\r\n.\r\n...\r\n",
            )
        },
        Letter {
            more: AS_IT_IS,
            ..letter("no header", b"\r\nonly a body\r\n")
        },
        Letter {
            more: AS_IT_IS,
            ..letter("no body", b"Subject: nothing\r\n")
        },
        Letter {
            sender: "<>",
            ..letter("nobody's", b"Subject: notice\r\n\r\nnobody's\r\n")
        },
        Letter {
            more: &["--pipeline"],
            ..letter("pipelined", b"Subject: quick\r\n\r\nat once\r\n.\r\n..\r\n")
        },
        Letter {
            more: &["--protocol", "SMTP"],
            ..letter("HELO", b"Subject: old\r\n\r\nas in 1982\r\n")
        },
    ]
}

#[test]
fn awkward_mails_of_swaks_land_in_the_maildir_octet_by_octet() {
    let office = PostOffice::open();
    let (mut ids, mut wanted) = (Vec::new(), Vec::new());
    for letter in letters() {
        office.village.write("letter", letter.file());
        let Letter {
            name,
            content,
            sender,
            more,
        } = letter;
        let arguments = ["--from", sender, "--to", RECIPIENT, "--data", "@letter"];
        let sent = swaks(&office, name, &[&arguments[..], more].concat());
        assert_eq!(sent.code, Some(0), "{name}: {}{}", sent.stdout, sent.stderr);
        let id = answers(&sent)
            .into_iter()
            .find_map(accepted_id)
            .unwrap_or_else(|| panic!("{name}: {}", sent.stdout));
        ids.push(id.to_owned());
        let sender = sender.trim_matches(['<', '>']);
        let head = format!(
            "Return-Path: <{sender}>\r\nReceived: from gauge.example ([127.0.0.1])\r\n\tby mail.example (Ringup) with "
        );
        wanted.push((name, head, content));
    }
    let _owner = office.village.start_owner();
    for id in &ids {
        office.village.wait_delivered(id);
        office
            .village
            .chronicle
            .wait_field("owner", "handed over", "message_id", id);
    }
    // Before the content is our trace, with a date, and nothing else.
    let mut maildir = office.maildir();
    for (name, head, content) in &wanted {
        let at = maildir.iter().position(|mail| {
            let date = mail
                .strip_prefix(head.as_bytes())
                .and_then(|rest| rest.strip_suffix(content.as_slice()));
            date.is_some_and(|date| date.iter().filter(|octet| **octet == b'\n').count() == 2)
        });
        maildir.swap_remove(at.unwrap_or_else(|| panic!("{name} is not there as it was sent")));
    }
    assert!(maildir.is_empty(), "{} too many", maildir.len());
}

/// Sends a mail that is refused; gives the answers.
fn refused(office: &PostOffice, who: &str, to: &str, more: &[&str]) -> Vec<String> {
    let sent = swaks(
        office,
        who,
        &[&["--from", SENDER, "--to", to], more].concat(),
    );
    assert!(
        sent.code.is_some_and(|code| code != 0),
        "{who}: {}",
        sent.stdout
    );
    answers(&sent).into_iter().map(str::to_owned).collect()
}

#[test]
fn what_swaks_may_not_send_is_refused_with_its_code_and_not_stored() {
    let office = PostOffice::open();
    office.village.write(
        "large",
        [
            b"Subject: large\r\n\r\n".as_slice(),
            &b"0123456789\r\n".repeat(100_000),
        ]
        .concat(),
    );
    office.village.write(
        "bare",
        "Subject: two\n\nin one\r\n.\nMAIL FROM:<evil@far.example>\r\n.\r\n",
    );
    office.village.write(
        "circle",
        "Received: from a by b\r\n".repeat(101) + "\r\nround\r\n",
    );
    let cases: [(&str, &str, &[&str], &str); 9] = [
        ("nobody", "999@mail.example", &[], "550 5.1.1 "),
        (
            "nobody, pipelined",
            "nobody@mail.example",
            &["--pipeline"],
            "550 5.1.1 ",
        ),
        ("another domain", "301@other.example", &[], "550 5.7.1 "),
        (
            "a route to another domain",
            "301%other.example@relay.example",
            &[],
            "550 5.7.1 ",
        ),
        ("too large", RECIPIENT, &["--data", "@large"], "552 5.3.4 "),
        (
            "too large, pipelined",
            RECIPIENT,
            &["--pipeline", "--data", "@large"],
            "552 5.3.4 ",
        ),
        (
            "a line feed alone",
            RECIPIENT,
            &["--no-data-fixup", "--data", "@bare"],
            "554 5.6.0 ",
        ),
        ("a circle", RECIPIENT, &["--data", "@circle"], "554 5.4.6 "),
        (
            "no name in EHLO",
            RECIPIENT,
            &["--helo", "<script>"],
            "501 5.5.4 ",
        ),
    ];
    for (who, to, more, wanted) in cases {
        let answers = refused(&office, who, to, more);
        assert!(
            answers.iter().any(|answer| answer.starts_with(wanted)),
            "{who}: {answers:?}"
        );
        assert!(
            !answers.iter().any(|answer| accepted_id(answer).is_some()),
            "{who}: {answers:?}"
        );
    }
    assert!(office.stored().is_empty(), "what was refused is not stored");

    // One of two recipients does not exist: the other has its mail, once.
    let both = format!("999@mail.example,{RECIPIENT}");
    let sent = swaks(
        &office,
        "one of two",
        &["--from", SENDER, "--to", &both, "--pipeline"],
    );
    let answers = answers(&sent);
    assert!(
        answers
            .iter()
            .any(|answer| answer.starts_with("550 5.1.1 ")),
        "{answers:?}"
    );
    let ids: Vec<_> = answers
        .into_iter()
        .filter_map(accepted_id)
        .map(str::to_owned)
        .collect();
    assert_eq!(ids.len(), 1, "{}", sent.stdout);
    assert_eq!(office.stored(), ids.into_iter().collect());
}
