//! `[[inbox]]`: what becomes of what comes to a terminal.

use std::path::PathBuf;
use std::time::Duration;

use client::handover::LocalUrl;
use client::inbox::{Handover, Rule, Rules};
use delivery::{ContentType, TopicFilter};

use crate::config::section::Section;

/// The rules, in the order in which they stand there.
pub(super) fn read(top: &mut Section<'_>) -> Rules {
    Rules(top.sections("inbox", rule).into_iter().flatten().collect())
}

fn rule(section: &mut Section<'_>) -> Option<Rule> {
    let topics = section.list::<TopicFilter>("topics");
    let types = section.list::<ContentType>("types");
    let mut ways: Vec<(&str, Handover)> = Vec::new();
    ways.extend(
        section
            .path("directory")
            .map(|path| ("directory", Handover::Directory(path))),
    );
    ways.extend(
        section
            .path("maildir")
            .map(|path| ("maildir", Handover::Maildir(path))),
    );
    if section.has("command") {
        let words = section.list::<String>("command");
        if words.is_empty() {
            section.fault(
                "command",
                "is a list: the program, then each of its arguments",
            );
        }
        ways.push((
            "command",
            Handover::Command(words.into_iter().map(Into::into).collect()),
        ));
    }
    ways.extend(
        section
            .parsed::<LocalUrl>("url")
            .map(|url| ("url", Handover::Url(url))),
    );
    if let [_, (second, _), ..] = ways.as_slice() {
        section.fault(
            second,
            "is one too many: a rule has one of directory, maildir, command and url",
        );
    }
    let keep = section
        .has("keep")
        .then(|| section.time("keep", Duration::ZERO));
    let quota = section
        .has("quota")
        .then(|| section.count("quota", u64::MAX));
    Some(Rule {
        topics,
        types,
        handover: ways.into_iter().next().map(|(_, way)| way),
        keep,
        quota,
    })
}

/// What hands over: this program, with the config that has the rules.
pub(super) fn hand_over_words(config: PathBuf) -> Vec<std::ffi::OsString> {
    let program = std::env::current_exe().unwrap_or_else(|_| "ringup".into());
    vec![
        program.into(),
        "inbox".into(),
        "hand-over".into(),
        "--config".into(),
        config.into(),
    ]
}
