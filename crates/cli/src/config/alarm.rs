//! Of `server.toml`, what says who is told of alarms.

use server::alarms::AlarmConfig;

use super::Section;

/// Words of the command.
const WORDS_MAX: usize = 100;

/// `[alarm]`.
pub(super) fn read(section: &mut Section<'_>) -> AlarmConfig {
    let is_there = section.has("command");
    let command = section.list::<String>("command");
    if is_there && command.first().is_none_or(String::is_empty) {
        section.fault("command", "names no program; such as [\"/usr/bin/notify\", \"--from\", \"ringup\"]");
    }
    if command.len() > WORDS_MAX {
        section.fault("command", format!("has {} words; at most {WORDS_MAX} are taken", command.len()));
    }
    if command.iter().any(|word| word.contains('\0')) {
        section.fault("command", "has a NUL in it: no program can be given that");
    }
    AlarmConfig { command }
}
