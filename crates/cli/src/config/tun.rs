//! `[tun]`, the same in a server's and a terminal's config: what the rest of the machine's IP gets of a link.

use link::OpenPorts;
use toml::Value;

use super::section::{Section, kind};

/// Reads the section, if there is one. `has_tun`: whether this build can do what it asks for.
pub(super) fn read(top: &mut Section<'_>, has_tun: bool) -> Option<OpenPorts> {
    if !top.has("tun") {
        return None;
    }
    if !has_tun {
        top.fault(
            "tun",
            "this build has no TUN: build with --features tun, or remove the section",
        );
    }
    top.section("tun", |section| section.ports("ports"))
}

impl Section<'_> {
    /// `"all"`, or a list of port numbers.
    fn ports(&mut self, key: &str) -> Option<OpenPorts> {
        const EXPECTED: &str = "a list of ports such as [22, 80], or \"all\"";
        let items = match self.table.remove(key) {
            Some(Value::String(text)) if text == "all" => return Some(OpenPorts::All),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.fault(key, format!("is {} and must be {EXPECTED}", kind(&other)));
                return None;
            }
            None => {
                self.fault(key, format!("is missing; {EXPECTED}"));
                return None;
            }
        };
        let mut ports = Some(std::collections::BTreeSet::new());
        for (index, item) in items.into_iter().enumerate() {
            let number = item
                .as_integer()
                .and_then(|number| u16::try_from(number).ok())
                .filter(|port| *port > 0);
            match (number, &mut ports) {
                (Some(port), Some(ports)) => drop(ports.insert(port)),
                (Some(_), None) => {}
                (None, _) => {
                    self.fault(
                        &format!("{key}[{index}]"),
                        format!("is {item} and must be a port, 1 to 65535"),
                    );
                    ports = None;
                }
            }
        }
        ports.map(OpenPorts::These)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, has_tun: bool) -> (Option<OpenPorts>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let mut ports = None;
        let read = crate::config::section::load(&path, |top| {
            ports = read(top, has_tun);
            Some(())
        });
        let faults = read.err().into_iter().flat_map(|error| error.faults);
        (
            ports,
            faults
                .map(|fault| format!("{}: {}", fault.key, fault.problem))
                .collect(),
        )
    }

    #[test]
    fn ports_are_a_list_or_all_of_them() {
        let these = OpenPorts::These([22, 80].into());
        assert_eq!(
            check("[tun]\nports = [80, 22]", true),
            (Some(these), vec![])
        );
        assert_eq!(
            check("[tun]\nports = \"all\"", true),
            (Some(OpenPorts::All), vec![])
        );
        assert_eq!(check("", true), (None, vec![]));
        for (text, key) in [
            ("[tun]", "tun.ports"),
            ("[tun]\nports = 22", "tun.ports"),
            ("[tun]\nports = [0, 1, 65536]", "tun.ports[0]"),
            ("[tun]\nports = [1, \"22\"]", "tun.ports[1]"),
            ("[tun]\nports = []\nname = \"x\"", "tun.name"),
        ] {
            let faults = check(text, true).1;
            assert!(
                faults
                    .iter()
                    .any(|fault| fault.starts_with(&format!("{key}: "))),
                "{text}: {faults:?}"
            );
        }
    }

    #[test]
    fn a_build_without_tun_says_how_to_get_it() {
        assert_eq!(
            check("[tun]\nports = []", false).1,
            ["tun: this build has no TUN: build with --features tun, or remove the section"]
        );
    }
}
