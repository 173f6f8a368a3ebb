//! `[mail]`: the SMTP listener.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;
use model::directory::Name;
use server::ingest::mail::{MailConfig, read_tls};

use crate::config::section::Section;

/// As long as other mail servers try (RFC 5321 §4.5.4.1).
const GIVE_UP_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);

pub(super) fn read(section: &mut Section<'_>) -> Option<MailConfig> {
    let listen =
        section.required::<SocketAddr>("listen", "where mail is taken, such as \"0.0.0.0:25\"");
    let domains = section.list::<String>("domains");
    let is_host = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet))
    };
    if domains.is_empty() || !domains.iter().all(|domain| is_host(domain)) {
        section.fault(
            "domains",
            "is a list of the domains of the terminals' addresses, such as [\"mail.example\"]",
        );
    }
    let hostname = section
        .parsed::<String>("hostname")
        .or_else(|| domains.first().cloned())
        .unwrap_or_default();
    if !domains.is_empty() && !is_host(&hostname) {
        section.fault("hostname", "is no host's name");
    }
    let provider = section.required::<Name>(
        "provider",
        "the provider whose mail it is (ringup provider add)",
    );
    let give_up_after =
        SignedDuration::try_from(section.time("give_up_after", GIVE_UP_AFTER)).unwrap_or_default();
    let tls = match (section.path("certificate"), section.path("key")) {
        (Some(chain), Some(key)) => read_tls(&chain, &key)
            .map_err(|error| section.fault("certificate", error))
            .ok(),
        (None, None) => None,
        _ => {
            section.fault("certificate", "and mail.key belong together");
            None
        }
    };
    let relay = section.parsed::<String>("relay");
    let is_relay = |text: &String| {
        text.rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if relay.as_ref().is_some_and(|text| !is_relay(text)) {
        section.fault("relay", "is not HOST:PORT, such as \"localhost:25\"");
    }
    let postmaster = section.parsed::<Name>("postmaster");
    Some(MailConfig {
        listen: listen?,
        hostname,
        domains,
        provider: provider?,
        give_up_after,
        relay,
        postmaster,
        tls,
    })
}
