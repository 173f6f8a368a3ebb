//! Postfix's smtp-source brings many mails at once.

use std::collections::BTreeSet;

use crate::post_office::{PostOffice, RECIPIENT};
use crate::unpacked;

const MAILS: usize = 200;
const CONNECTIONS: usize = 20;

#[test]
fn of_200_mails_over_20_connections_of_postfix_each_outlives_the_server_and_lands_in_the_maildir() {
    let mut office = PostOffice::open();
    let mut source = unpacked::command("usr/sbin/smtp-source");
    // It keeps its connections (-d), numbers the subjects (-N counts), and ends with an error at the first answer that is not 2xx.
    source.args([
        "-d",
        "-s",
        &CONNECTIONS.to_string(),
        "-m",
        &MAILS.to_string(),
        "-l",
        "1500",
    ]);
    source.args([
        "-M",
        "gauge.example",
        "-f",
        "gauge@far.example",
        "-t",
        RECIPIENT,
        &office.address().to_string(),
    ]);
    let sent = office.run("smtp-source", source);
    assert_eq!(sent.code, Some(0), "{}{}", sent.stdout, sent.stderr);
    // What was told 250 is on the disk: nothing else of this server is left.
    office.village.kill_server();
    let accepted = office.village.chronicle.said("server", "mail accepted");
    let ids: BTreeSet<_> = accepted
        .iter()
        .map(|entry| entry.field("message_id"))
        .collect();
    let connections: BTreeSet<_> = accepted.iter().map(|entry| entry.field("peer")).collect();
    assert_eq!((ids.len(), connections.len()), (MAILS, CONNECTIONS));

    office.village.start_server("server, again");
    let _owner = office.village.start_owner();
    for id in &ids {
        office
            .village
            .chronicle
            .wait_field("server, again", "delivered", "message_id", id);
        office
            .village
            .chronicle
            .wait_field("owner", "handed over", "message_id", id);
    }
    let maildir = office.maildir();
    assert_eq!(maildir.len(), MAILS);
    assert!(maildir.iter().all(
        |mail| mail.len() >= 1500 && mail.starts_with(b"Return-Path: <gauge@far.example>\r\n")
    ));
}
