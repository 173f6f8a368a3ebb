//! What programs of the operator get of our environment: what any program needs. The rest stays with us: credentials, sockets of the
//! service manager, settings of the loader.

use std::ffi::{OsStr, OsString};

/// These, and every `LC_`.
const PASSED_ON: &[&str] = &[
    "HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER",
];

/// Names and values for a program; clear its environment first.
pub fn passed_on() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| is_passed_on(name))
}

fn is_passed_on(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| PASSED_ON.contains(&name) || name.starts_with("LC_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_a_home_a_path_and_a_language_and_no_secret_of_ours() {
        for name in ["PATH", "HOME", "LC_ALL", "TZ"] {
            assert!(is_passed_on(OsStr::new(name)), "{name}");
        }
        for name in [
            "NOTIFY_SOCKET",
            "CREDENTIALS_DIRECTORY",
            "AWS_SECRET_ACCESS_KEY",
            "LD_PRELOAD",
            "RINGUP_LOG",
            "path",
            "",
        ] {
            assert!(!is_passed_on(OsStr::new(name)), "{name}");
        }
    }
}
