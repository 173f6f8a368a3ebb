//! The alarm notification settings of `server.toml`.

use std::path::Path;

use server::alarms::AlarmConfig;

use model::url::HttpUrl;
use model::webhook::{Webhook, WebhookSecret, WebhookSecretError};

use crate::config::section::Section;
use toml::Value;

/// Words of the command.
const WORDS_MAX: usize = 100;

/// `[alarm]`.
pub(super) fn read(section: &mut Section<'_>) -> AlarmConfig {
    let is_list = section.table.get("command").is_some_and(Value::is_array);
    let command = section.list::<String>("command");
    if is_list && command.first().is_none_or(String::is_empty) {
        section.fault(
            "command",
            "names no program; such as [\"/usr/bin/notify\", \"--from\", \"ringup\"]",
        );
    }
    if command.len() > WORDS_MAX {
        section.fault(
            "command",
            format!("has {} words; at most {WORDS_MAX} are taken", command.len()),
        );
    }
    if command.iter().any(|word| word.contains('\0')) {
        section.fault("command", "has a NUL in it: no program can be given that");
    }
    let url = section.parsed::<HttpUrl>("webhook");
    let secret_file = section.path("webhook_secret_file");
    let webhook = match (url, secret_file) {
        (None, None) => None,
        (Some(url), Some(path)) => secret(section, &path).map(|secret| Webhook {
            url,
            secret,
            may_be_private: true,
        }),
        (Some(_), None) => {
            section.fault(
                "webhook_secret_file",
                "is missing; name a file with whsec_ and 32 octets in base64",
            );
            None
        }
        (None, Some(_)) => {
            section.fault(
                "webhook",
                "is missing, or wrong; webhook_secret_file is for it",
            );
            None
        }
    };
    AlarmConfig { command, webhook }
}

fn secret(section: &mut Section<'_>, path: &Path) -> Option<WebhookSecret> {
    let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
    match read.and_then(|text| {
        text.trim()
            .parse()
            .map_err(|error: WebhookSecretError| error.to_string())
    }) {
        Ok(secret) => Some(secret),
        Err(error) => {
            section.fault(
                "webhook_secret_file",
                format!("{}: {error}", path.display()),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::section::load;

    fn read_text(text: &str) -> Result<AlarmConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("secret"),
            format!("whsec_{}=\n", "A".repeat(43)),
        )
        .unwrap();
        std::fs::write(folder.path().join("short"), "whsec_AAAA").unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, |top| Some(top.section("alarm", read))).map_err(|error| error.to_string())
    }

    #[test]
    fn alarms_are_told_to_a_command_and_a_webhook_with_a_secret() {
        let text = "[alarm]\ncommand = [\"/bin/notify\", \"\"]\nwebhook = \"http://127.0.0.1:9/\"\nwebhook_secret_file = \"secret\"";
        let config = read_text(text).unwrap();
        assert_eq!(config.command, ["/bin/notify", ""]);
        assert!(config.webhook.is_some_and(|webhook| webhook.may_be_private));
        assert!(read_text("").unwrap().command.is_empty());
    }

    #[test]
    fn every_config_in_the_guide_to_operating_is_good() {
        let guide = include_str!("../../../../../docs/guides/operating.md");
        let blocks: Vec<_> = guide
            .split("```toml")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap_or_default())
            .collect();
        assert_eq!(blocks.len(), 2);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        std::fs::write(&path, blocks.concat()).unwrap();
        let config = crate::config::server::read(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.alarm.command.len(), 3);
        assert!(config.metrics_listen.is_some());
    }

    #[test]
    fn what_is_wrong_with_them_is_told_with_its_key() {
        for (text, key) in [
            ("command = []", "alarm.command"),
            ("command = [\"\"]", "alarm.command"),
            ("command = \"notify me\"", "alarm.command"),
            ("command = [\"a\\u0000b\"]", "alarm.command"),
            ("webhook = \"http://x/\"", "alarm.webhook_secret_file"),
            ("webhook = \"gopher://x/\"", "alarm.webhook"),
            ("webhook_secret_file = \"secret\"", "alarm.webhook"),
            (
                "webhook = \"http://x/\"\nwebhook_secret_file = \"short\"",
                "alarm.webhook_secret_file",
            ),
            (
                "webhook = \"http://x/\"\nwebhook_secret_file = \"none\"",
                "alarm.webhook_secret_file",
            ),
        ] {
            let told = read_text(&format!("[alarm]\n{text}")).unwrap_err();
            assert!(
                told.contains(&format!("{key}: ")) || told.contains(&format!("{key}[0]: ")),
                "{text}: {told}"
            );
        }
    }
}
