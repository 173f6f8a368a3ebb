//! What the medium says of one terminal: its first config, and how its starter is started.

use std::fmt;
use std::str::FromStr;

use delivery::proof::Bundle;
use modem::Profile;
use toml::Value;

/// A modem's device, by a path that means the same to a shell, to systemd and to a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device(String);

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // As install.sh has it.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
        let is_below = text.strip_prefix("/dev/").is_some_and(|name| {
            name.len() <= 200
                && name
                    .split('/')
                    .all(|part| !part.is_empty() && !part.starts_with('.'))
        });
        if is_below && text.chars().all(is_plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("give a device such as /dev/serial/by-id/usb-MODEM or /dev/ttyS0".to_owned())
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The terminal's initial config.
pub(super) struct FirstConfig<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) device: &'a Device,
    pub(super) profile: Profile,
}

impl fmt::Display for FirstConfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            bundle,
            device,
            profile,
        } = self;
        let text = |text: &str| Value::from(text).to_string();
        let callers = Value::Array(
            bundle
                .callers
                .iter()
                .map(|caller| caller.as_str().into())
                .collect(),
        );
        let number = bundle
            .number
            .as_ref()
            .map(|number| format!(", number {number}"))
            .unwrap_or_default();
        writeln!(
            f,
            "# The terminal {}{number}. Read by `ringup answer`, which ringup-wait runs when it rings.",
            bundle.name
        )?;
        writeln!(
            f,
            "# `ringup check-config terminal FILE` checks it; an upgrade from a medium leaves it as it is.\n"
        )?;
        writeln!(
            f,
            "state = \"/var/lib/ringup/terminal\"\n\n[line]\nport = {}",
            text(&device.0)
        )?;
        writeln!(f, "profile = {}", text(&profile.to_string()))?;
        if let Some(address) = &bundle.address {
            writeln!(f, "address = {}", text(address))?;
        }
        writeln!(
            f,
            "\n[terminal]\ncallers = {callers}\ninbox = \"/var/lib/ringup/inbox\""
        )?;
        writeln!(
            f,
            "\n# [server]\n# number = \"...\"     # whom to call, to fetch what waits (ringup dial-in)"
        )
    }
}

/// How the starter is started, a setting on a line.
pub(super) fn starter(device: &Device, profile: Profile) -> String {
    format!("DEVICE={device}\nPROFILE={profile}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_below_dev_and_no_shell_reads_more_into_it() {
        for text in [
            "/dev/ttyS0",
            "/dev/ttyUSB0",
            "/dev/serial/by-id/usb-U.S._Robotics-if00",
        ] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        for text in [
            "ttyS0",
            "/dev/",
            "/dev/../etc/passwd",
            "/dev//tty",
            "/dev/a b",
            "/dev/$x",
            "/dev/a\nb",
            "tcp://a:1",
        ] {
            assert!(text.parse::<Device>().is_err(), "{text:?}");
        }
    }
}
