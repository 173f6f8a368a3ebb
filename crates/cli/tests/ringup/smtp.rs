//! Mail for a terminal that is not connected: a 250, a call, a new mail in its Maildir.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::village::{Plan, Village};

const MAIL: &str =
    "[mail]\nlisten = \"127.0.0.1:0\"\ndomains = [\"mail.example\"]\nprovider = \"vending\"\n";

/// A hand-held mail terminal: data is mail, the destination is a dial number.
#[test]
fn a_mail_that_a_hand_held_dials_in_with_lands_in_the_maildir_of_the_number_it_is_for() {
    let village = Village::found(Plan::default());
    let config = fs::read_to_string(village.path("owner.toml")).unwrap();
    village.write(
        "owner.toml",
        config + "[[inbox]]\ntypes = [\"message/rfc822\"]\nmaildir = \"Mail\"\n",
    );
    let _owner = village.start_owner();
    let mail = "From: courier@far.example\r\nSubject: parcel\r\n\r\nAt the gate.\r\n";
    let file = village.write("mail", mail);
    let dial_in = [
        "dial-in",
        "--json",
        "--config",
        "vending.toml",
        "--to",
        "tel:301",
        "--content-type",
        "message/rfc822",
    ];
    let sent = village.run(&[&dial_in[..], &[file.to_str().unwrap()]].concat());
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let sent: serde_json::Value = serde_json::from_str(&sent.stdout).unwrap();
    village.chronicle.wait_field(
        "owner",
        "handed over",
        "message_id",
        sent["id"].as_str().unwrap(),
    );
    let new: Vec<_> = fs::read_dir(village.path("Mail/new"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(new.len(), 1);
    assert_eq!(fs::read_to_string(&new[0]).unwrap(), mail);
}

#[test]
fn a_mail_to_a_number_lands_in_the_maildir_of_the_terminal_that_has_it() {
    let village = Village::found(Plan {
        server_more: MAIL,
        ..Plan::default()
    });
    let config = fs::read_to_string(village.path("owner.toml")).unwrap();
    village.write(
        "owner.toml",
        config + "[[inbox]]\ntypes = [\"message/rfc822\"]\nmaildir = \"Mail\"\n",
    );
    let _owner = village.start_owner();
    let mut stream = TcpStream::connect(
        village
            .chronicle
            .wait("server", "taking mail")
            .field("address"),
    )
    .unwrap();
    let mail = "EHLO gauge.example\r\nMAIL FROM:<gauge@far.example>\r\nRCPT TO:<301@mail.example>\r\nDATA\r\n\
                Subject: level\r\n\r\nhigh\r\n.\r\nQUIT\r\n";
    stream.write_all(mail.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    let id = answers
        .lines()
        .find_map(|line| line.strip_suffix(" is on the disk"))
        .unwrap_or_else(|| panic!("{answers}"));
    let id = id.strip_prefix("250 2.0.0 ").unwrap();
    village
        .chronicle
        .wait_field("owner", "handed over", "message_id", id);
    let new: Vec<_> = fs::read_dir(village.path("Mail/new"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [mail] = new.as_slice() else {
        panic!("{new:?}")
    };
    let mail = fs::read_to_string(mail).unwrap();
    assert!(
        mail.starts_with("Return-Path: <gauge@far.example>\r\n")
            && mail.ends_with("Subject: level\r\n\r\nhigh\r\n"),
        "{mail}"
    );
    village.wait_delivered(id);
}
