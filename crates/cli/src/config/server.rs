//! `server.toml`: what `ringup serve` reads.

mod alarm;
mod calling;
mod dialup;
mod feeds;
mod mail;
mod money;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::calling::Money;
use delivery::proof::PublicKey;
use line::{Home, PortAddress};
use link::HAS_TUN;
use model::directory::Name;
use serde::de::DeserializeOwned;
use server::dialup::{AddressPool, LineConfig};
use server::{Config, DialupConfig, DialupServer};
use store::{Quota, Quotas, Retention};
use toml::{Table, Value};

use super::section::kind;
use super::{ConfigError, Fault, Section, load, modem_setup, read_text, tun};

const SUBMISSION_LISTEN: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(Ipv4Addr::LOCALHOST),
    delivery::SUBMISSION_PORT,
);
/// The state folder, beside the config.
const STATE: &str = "state";
const SUBMISSION_OCTETS_MAX: u64 = 16 * 1024 * 1024;
/// What may wait of one provider.
const PROVIDER_QUOTA: Quota = Quota {
    messages: 1_000_000,
    octets: 10_000_000_000,
};
/// What may wait for one terminal: at 33600 bit/s, days of line.
const TERMINAL_QUOTA: Quota = Quota {
    messages: 100_000,
    octets: 1_000_000_000,
};
const LINK_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const LINK_POOL: (Ipv4Addr, Ipv4Addr) = (
    Ipv4Addr::new(10, 77, 255, 1),
    Ipv4Addr::new(10, 77, 255, 254),
);
/// How long a line that only rings may do so: two rings tell the caller's number everywhere, and after two minutes exchanges
/// give up.
const RING_ONLY: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(120);
/// One way; a terrestrial line has 30 to 100 ms, most of it in the modems.
const LINE_DELAY: Duration = Duration::from_millis(60);

/// What `ringup serve` runs.
#[derive(Debug)]
pub(crate) enum Kind {
    /// An information server, with or without lines of its own.
    Information(Box<Config>),
    /// A dial-up server for an information server elsewhere.
    Dialup(Box<DialupConfig>),
}

/// Reads and checks a server's config, of either kind.
pub(crate) fn read_any(path: &Path) -> Result<Kind, ConfigError> {
    load(path, |top| match top.has("dialup") {
        true => dialup::read(top).map(|config| Kind::Dialup(Box::new(config))),
        false => information(top).map(|config| Kind::Information(Box::new(config))),
    })
}

/// Reads and checks an information server's config.
#[cfg(test)]
fn read(path: &Path) -> Result<Config, ConfigError> {
    load(path, information)
}

/// The public keys of a server with this config: made if there are none. Nothing but where they are is read, for the config is
/// not complete before the other server's are in it.
pub(crate) fn public_keys(path: &Path) -> anyhow::Result<Vec<PublicKey>> {
    let (state, is_dialup) = where_keys_are(path)?;
    Ok(match is_dialup {
        true => vec![server::dialup_key(&state)?],
        false => server::keys::server_public_keys(&state)?,
    })
}

/// The state folder, and whether it is a dial-up server's.
fn where_keys_are(path: &Path) -> Result<(PathBuf, bool), ConfigError> {
    load(path, |top| {
        let found = (state(top), top.has("dialup"));
        top.ignore_rest();
        Some(found)
    })
}

/// Signs octets with the key of an information server with this config.
pub(crate) fn sign(path: &Path, octets: &[u8]) -> anyhow::Result<(PublicKey, [u8; 64])> {
    let (state, is_dialup) = where_keys_are(path)?;
    anyhow::ensure!(
        !is_dialup,
        "{} is a dial-up server's: terminals know its information server's key",
        path.display()
    );
    Ok(server::keys::sign_as_server(&state, octets)?)
}

fn information(top: &mut Section<'_>) -> Option<Config> {
    let home = top.parsed::<Home>("country");
    let state = state(top);
    let (submission_listen, size_max) = top.section("submission", |section| {
        (
            listen(section, Some(SUBMISSION_LISTEN)),
            section.count("size_max", SUBMISSION_OCTETS_MAX),
        )
    });
    let delivery_listen = top.section("delivery", |section| listen(section, None));
    let feeds: Vec<_> = top
        .sections("feed", feeds::read)
        .into_iter()
        .flatten()
        .collect();
    let mail = if top.has("mail") {
        top.section("mail", mail::read)
    } else {
        None
    };
    let quotas = top.section("quota", quotas);
    let retention = top.section("store", retention);
    let link = top.section("link", link);
    let tun = tun::read(top, HAS_TUN);
    let (retry, refusals) = top.section("retry", |section| {
        (calling::retry(section), calling::refusals(section))
    });
    let money = money::read(top);
    let metrics_listen = top.section("metrics", |section| listen(section, None));
    let number_only = top.section("stock", |section| section.is("number_only"));
    let alarm = top.section("alarm", alarm::read);
    let lines = lines(top);
    let trunk_listen = top.section("information", |section| listen(section, None));
    let dialup_servers = dialup::servers(top, &lines);
    if trunk_listen.is_none() && !dialup_servers.is_empty() {
        top.fault(
            "information.listen",
            "is missing; say where dial-up servers connect, such as \"0.0.0.0:7412\"",
        );
    }
    check_tariffs(top, &money, &lines, &dialup_servers);
    for (index, feed) in feeds.iter().enumerate() {
        if feeds[..index].iter().any(|before| before.url == feed.url) {
            top.fault(&format!("feed[{index}].url"), "is read already");
        }
    }
    let away = dialup_servers
        .iter()
        .flat_map(|server| server.lines.iter().map(|line| line.global.clone()));
    let names: BTreeSet<_> = lines
        .iter()
        .map(|line| line.name.clone())
        .chain(away)
        .collect();
    let (storm, reserve) = top.section("dispatch", |section| {
        calling::dispatch(section, names.len())
    });
    let conditions = top.sections("conditions", |section| calling::conditions(section, &names));
    let (link_address, link_pool) = link?; // not before every key has been read
    Some(Config {
        state,
        home,
        submission_listen,
        feeds,
        mail,
        delivery_listen,
        submission_size_max: size_max,
        quotas,
        retention,
        link_address,
        link_pool,
        capture: None,
        tun,
        retry,
        refusals,
        storm,
        reserve,
        conditions,
        money,
        metrics_listen,
        number_only,
        alarm,
        lines,
        trunk_listen,
        dialup_servers,
    })
}

/// Each tariff that a line names is there.
fn check_tariffs(
    top: &mut Section<'_>,
    money: &Money,
    lines: &[LineConfig],
    dialup_servers: &[DialupServer],
) {
    let own = lines
        .iter()
        .enumerate()
        .map(|(index, line)| (format!("line[{index}].tariff"), &line.tariff));
    let away = dialup_servers
        .iter()
        .enumerate()
        .flat_map(|(index, server)| {
            let lines = server.lines.iter().enumerate();
            lines.map(move |(place, line)| {
                let key = format!("dialup_server[{index}].lines[{place}].tariff");
                (key, &line.tariff)
            })
        });
    for (key, tariff) in own.chain(away) {
        if let Some(tariff) = tariff
            && money.tariffs.get(tariff).is_none()
        {
            top.fault(&key, format!("no [[tariff]] is named {tariff:?}"));
        }
    }
}

pub(super) fn state(top: &mut Section<'_>) -> PathBuf {
    top.path("state")
        .unwrap_or_else(|| top.folder().join(STATE))
}

/// The lines of this process.
pub(super) fn lines(top: &mut Section<'_>) -> Vec<LineConfig> {
    let lines: Vec<_> = top.sections("line", line).into_iter().flatten().collect();
    for (index, line) in lines.iter().enumerate() {
        if lines[..index].iter().any(|before| before.name == line.name) {
            top.fault(
                &format!("line[{index}].name"),
                format!("{} names another line, too", line.name),
            );
        }
        if lines[..index].iter().any(|before| before.port == line.port) {
            top.fault(
                &format!("line[{index}].port"),
                format!("{} is another line's, too", line.port),
            );
        }
    }
    lines
}

/// Where to listen on the host; "none" is nowhere.
fn listen(section: &mut Section<'_>, default: Option<SocketAddr>) -> Option<SocketAddr> {
    match section.parsed::<String>("listen") {
        None => default,
        Some(text) if text == "none" => None,
        Some(text) => text
            .parse()
            .map_err(|_| {
                let problem = format!(
                    "{text:?} is not ADDRESS:PORT such as \"127.0.0.1:7480\", nor \"none\""
                );
                section.fault("listen", problem);
            })
            .ok(),
    }
}

/// Where the operator's socket of a server with this config is. Reads no more than the key `state`: a server that runs can be
/// asked while its config is being edited.
pub(crate) fn operator_socket(path: &Path) -> Result<PathBuf, ConfigError> {
    let text = read_text(path)?;
    let table = text.parse::<Table>().unwrap_or_else(|_| {
        // Not TOML as a whole: what stands before the first table is read line by line.
        let lines = text
            .lines()
            .take_while(|line| !line.trim_start().starts_with('['));
        lines
            .filter_map(|line| line.parse::<Table>().ok())
            .flatten()
            .collect()
    });
    let folder = path.parent().unwrap_or(Path::new(""));
    let state = table.get("state").and_then(Value::as_str).unwrap_or(STATE);
    Ok(server::operator_socket(&folder.join(state)))
}

fn quotas(section: &mut Section<'_>) -> Quotas {
    Quotas {
        provider: Quota {
            messages: section.count("provider_messages", PROVIDER_QUOTA.messages),
            octets: section.count("provider_octets", PROVIDER_QUOTA.octets),
        },
        terminal: Quota {
            messages: section.count("terminal_messages", TERMINAL_QUOTA.messages),
            octets: section.count("terminal_octets", TERMINAL_QUOTA.octets),
        },
    }
}

/// The longest month, and a day.
const CALLS_KEPT_MIN: Duration = Duration::from_secs(32 * 24 * 3600);

fn retention(section: &mut Section<'_>) -> Retention {
    let Retention {
        contents,
        rows,
        doubts,
        calls,
    } = Retention::default();
    let retention = Retention {
        contents: section.time("keep_contents", contents),
        rows: section.time("keep_rows", rows),
        doubts: section.time("keep_doubts", doubts),
        calls: section.time("keep_calls", calls),
    };
    if retention.calls < CALLS_KEPT_MIN {
        section.fault(
            "keep_calls",
            "is shorter than 32 days: what this month has cost would not be known",
        );
    }
    if retention.rows < retention.contents {
        section.fault("keep_rows", "is shorter than store.keep_contents");
    }
    retention
}

pub(super) fn link(section: &mut Section<'_>) -> Option<(Ipv4Addr, AddressPool)> {
    let address = section.parsed("address").unwrap_or(LINK_ADDRESS);
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        section.fault(
            "address",
            format!("{address} cannot be the server's address on a link"),
        );
    }
    let first = section.parsed("pool_first").unwrap_or(LINK_POOL.0);
    let last = section.parsed("pool_last").unwrap_or(LINK_POOL.1);
    match AddressPool::new(first, last) {
        Ok(pool) => Some((address, pool)),
        Err(error) => {
            section.fault("pool_last", error);
            None
        }
    }
}

fn line(section: &mut Section<'_>) -> Option<LineConfig> {
    let folder = section.folder();
    let name = section.required::<Name>("name", "give the line a name, such as \"line-1\"");
    let port = section.required::<PortAddress>(
        "port",
        "say where its modem is: \"/dev/serial/by-id/usb-MODEM\" or \"tcp://HOST:PORT\"",
    );
    let setup = modem_setup(section);
    let dial_prefix = section.parsed::<String>("dial_prefix").unwrap_or_default();
    if !dial_prefix.is_empty()
        && let Err(error) = dial_prefix.parse::<modem::DialString>()
    {
        section.fault("dial_prefix", error);
    }
    let delay = section.time("delay", LINE_DELAY);
    let tariff = section.parsed::<String>("tariff");
    let ring_only = section
        .has("ring_only")
        .then(|| section.time("ring_only", Duration::ZERO));
    if ring_only.is_some_and(|time| !RING_ONLY.contains(&time)) {
        let (least, most) = (RING_ONLY.start().as_secs(), RING_ONLY.end().as_secs());
        section.fault(
            "ring_only",
            format!("must be from {least}s, so that the number is presented, to {most}s"),
        );
    }
    let port = port?.relative_to(&folder);
    Some(LineConfig {
        name: name?,
        port,
        setup,
        dial_prefix,
        ring_only,
        delay,
        tariff,
    })
}

/// What only a server's config asks of a table.
impl Section<'_> {
    /// All of the table, read at once by a type that says itself what is wrong.
    pub(super) fn whole<T: DeserializeOwned>(&mut self) -> Option<T> {
        match T::deserialize(std::mem::take(&mut self.table)) {
            Ok(value) => Some(value),
            Err(error) => {
                self.faults
                    .push(Fault::new(self.name.clone(), error.message()));
                None
            }
        }
    }

    /// Whether it is said to be so.
    pub(super) fn is(&mut self, key: &str) -> bool {
        match self.take(key) {
            None => false,
            Some(Value::Boolean(is_so)) => is_so,
            Some(other) => {
                self.fault(
                    key,
                    format!("is {} and must be true or false", kind(&other)),
                );
                false
            }
        }
    }

    /// A whole number from 0 on.
    pub(super) fn number(&mut self, key: &str, default: u32) -> u32 {
        match self.take(key) {
            None => default,
            Some(Value::Integer(number)) if u32::try_from(number).is_ok() => {
                u32::try_from(number).unwrap_or(default)
            }
            Some(other) => {
                self.fault(
                    key,
                    format!(
                        "is {other} and must be a whole number from 0 to {}",
                        u32::MAX
                    ),
                );
                default
            }
        }
    }

    /// Other checks belong to the caller.
    fn ignore_rest(&mut self) {
        self.table.clear();
    }
}
