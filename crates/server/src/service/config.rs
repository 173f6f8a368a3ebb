//! What a server needs to know before it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use jiff::tz::TimeZone;
use line::Home;
use link::{Capture, OpenPorts};

use crate::alarms::AlarmConfig;
use crate::dialup::{AddressPool, LineConfig, LinkSettings};
use crate::ingest::feeds::FeedConfig;
use crate::ingest::mail::MailConfig;
use crate::trunk::DialupServer;
use calling::dispatch::{LineTerms, Reserve, RetryRules, Rules, StormRules};
use calling::{Money, Policy, TerminalConditions};
use model::directory::Name;
use store::{Quotas, RefusalRules, Retention};

/// What a server needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the database, contents and the operator's socket.
    pub state: PathBuf,
    /// Where submissions are taken on the host; `None`: only over links.
    pub submission_listen: Option<SocketAddr>,
    /// What is read of the Web.
    pub feeds: Vec<FeedConfig>,
    /// What takes mail, if anything does.
    pub mail: Option<MailConfig>,
    /// Where terminals with Internet access of their own connect; `None`: nowhere.
    pub delivery_listen: Option<SocketAddr>,
    /// Largest content taken, in octets.
    pub submission_size_max: u64,
    /// How much may wait.
    pub quotas: Quotas,
    /// How long is kept what has all its verdicts.
    pub retention: Retention,
    /// Our address on every link.
    pub link_address: Ipv4Addr,
    /// Addresses for callers that have none in the directory.
    pub link_pool: AddressPool,
    /// Where everything that crosses a link is recorded, if anywhere.
    pub capture: Option<Capture>,
    /// The ports that networks behind this host get of links, if any; takes a build with the feature `tun`.
    pub tun: Option<OpenPorts>,
    /// The country in which the lines are, and whose numbers are written without a country code.
    pub home: Option<Home>,
    /// When failed calls are tried again.
    pub retry: RetryRules,
    /// When messages are tried again that their terminals refused.
    pub refusals: RefusalRules,
    /// How many calls may begin, and be under way.
    pub storm: StormRules,
    /// Lines that are kept free.
    pub reserve: Reserve,
    /// When and how terminals may be called: the first that names one counts, and one without names is for all others.
    pub conditions: Vec<TerminalConditions>,
    /// What calls cost, and what may be spent.
    pub money: Money,
    /// Where `/metrics`, `/healthz` and `/readyz` are; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Whether stock terminals are believed that nothing but their number proves.
    pub number_only: bool,
    /// Who is told of alarms.
    pub alarm: AlarmConfig,
    /// The lines of this process.
    pub lines: Vec<LineConfig>,
    /// Where dial-up servers connect; `None`: nowhere.
    pub trunk_listen: Option<SocketAddr>,
    /// The dial-up servers, and their lines.
    pub dialup_servers: Vec<DialupServer>,
}

impl Config {
    /// The names of all lines.
    pub(super) fn line_names(&self) -> BTreeSet<String> {
        let away = self
            .dialup_servers
            .iter()
            .flat_map(|server| &server.lines)
            .map(|line| &line.global);
        self.lines
            .iter()
            .map(|line| &line.name)
            .chain(away)
            .map(Name::to_string)
            .collect()
    }

    pub(super) fn link_settings(&self) -> LinkSettings {
        LinkSettings {
            address: self.link_address,
            pool: self.link_pool.clone(),
            home: self.home,
            capture: self.capture.clone(),
            tun: self.tun.clone(),
            number_only: self.number_only,
        }
    }

    /// What calls are decided by.
    pub(super) fn policy(&self) -> Policy {
        let own = self
            .lines
            .iter()
            .map(|line| (&line.name, line.tariff.as_ref(), line.ring_only.is_some()));
        let away = self.dialup_servers.iter().flat_map(|server| &server.lines);
        let away = away.map(|line| (&line.global, line.tariff.as_ref(), line.is_ring_only));
        let lines = own
            .chain(away)
            .map(|(name, tariff, is_ring_only)| LineTerms {
                name: name.clone(),
                tariff: tariff
                    .and_then(|tariff| self.money.tariffs.get(tariff))
                    .cloned(),
                is_ring_only,
            });
        let rules = Rules {
            storm: self.storm,
            reserve: self.reserve,
            lines: lines.collect(),
            zone: TimeZone::system(),
            ..Rules::new(self.retry)
        };
        Policy {
            rules,
            conditions: self.conditions.clone(),
            money: self.money.clone(),
            home: self.home,
            dial_prefixes: self
                .lines
                .iter()
                .map(|line| (line.name.clone(), line.dial_prefix.clone()))
                .collect(),
            believes_numbers: self.number_only,
        }
    }

    /// The providers that it names, and where.
    pub(super) fn providers(&self) -> BTreeMap<Name, Vec<String>> {
        let mut named = BTreeMap::<Name, Vec<String>>::new();
        if let Some(mail) = &self.mail {
            named
                .entry(mail.provider.clone())
                .or_default()
                .push("mail.provider".to_owned());
        }
        for (index, feed) in self.feeds.iter().enumerate() {
            named
                .entry(feed.provider.clone())
                .or_default()
                .push(format!("feed[{index}].provider"));
        }
        named
    }
}
