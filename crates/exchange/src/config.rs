//! What an exchange is made of, as its TOML file says.

use crate::number::Number;
use jiff::SignedDuration;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use toml::{Table, Value};

/// A checked exchange: what [`Exchange`](crate::Exchange) and [`Running`](crate::Running) are built from.
///
/// It comes from TOML text only, so that every one of them has passed the same checks:
/// ```
/// let config: ringup_exchange::Config = r#"
///     rate = 33600                 # bit/s, both ways (default 33600)
///     delay = "60ms"               # one way (default 0)
///     ring_cycle = "6s"            # from one ring to the next (default 6 s)
///     caller_id_delay = "600ms"    # from the first ring to the caller ID (default 0.6 s)
///     training = "1s"              # from answer to CONNECT (default 1 s)
///     no_answer_after = "60s"      # from the first ring (default 60 s)
///     modem_buffer = 512           # octets from the DTE that a modem holds (default 512)
///     records = "calls.jsonl"      # call records are appended, one JSON object a line (default: nowhere)
///
///     [[station]]
///     number = "201"
///     pty = "lines/centre"         # a link to the pseudo-terminal is made here
///
///     [[station]]
///     number = "666"
///     withheld = true              # or: presents = "0661234567", or: caller_id = false
///     tcp = "127.0.0.1:0"
///
///     [[station]]
///     number = "+4930123456"
///     memory = true                # for tests: see Running::station_stream
///     out_of_service = true        # callers get NO CARRIER
///     training = "12s"             # when this station answers
/// "#.parse()?;
/// # Ok::<(), ringup_exchange::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) rate: u32,
    pub(crate) delay: Duration,
    pub(crate) ring_cycle: Duration,
    pub(crate) caller_id_delay: Duration,
    pub(crate) no_answer_after: Duration,
    pub(crate) modem_buffer_octets: usize,
    pub(crate) records: Option<PathBuf>,
    pub(crate) stations: Vec<StationConfig>,
}

/// One station of a [`Config`].
#[derive(Clone, Debug)]
pub struct StationConfig {
    /// What callers dial.
    pub number: Number,
    /// What it presents when it calls.
    pub presentation: Presentation,
    /// Whether callers get NO CARRIER, and the station no dial tone.
    pub is_out_of_service: bool,
    /// From answering at this station to CONNECT.
    pub training: Duration,
    /// Where its DTE is attached.
    pub port: Port,
}

/// What a station presents to those it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// Its own number.
    Own,
    /// Another number than its own, as a spoofer or a company's switchboard does.
    Other(Number),
    /// The number is withheld: the called modem shows `NMBR = P`.
    Withheld,
    /// No caller ID is sent at all.
    None,
}

/// Where the DTE of a station is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A pseudo-terminal with a link to it at this path.
    Pty(PathBuf),
    /// A TCP port; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// A stream inside this process.
    Memory,
}

/// Everything that is wrong with a configuration; one fault a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The faults, in the order of the file.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which key, as `station[1].number`; empty if the text is not TOML or has a key that does not exist.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let end_of_last = if index == 0 { "" } else { "\n" };
            write!(out, "{end_of_last}{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return out.write_str(&self.problem);
        }
        write!(out, "{}: {}", self.key, self.problem)
    }
}

impl Config {
    /// The stations, in the order of the file.
    pub fn stations(&self) -> &[StationConfig] {
        &self.stations
    }

    /// Takes the relative paths in it to be relative to `folder`, as for a file that was read from there.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        self.records = self.records.map(|records| folder.join(records));
        for station in &mut self.stations {
            if let Port::Pty(path) = &mut station.port {
                *path = folder.join(&*path);
            }
        }
        self
    }
}

impl FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let whole = |error: toml::de::Error| {
            let problem = error.to_string().trim_end().to_owned();
            ConfigError { faults: vec![Fault { key: String::new(), problem }] }
        };
        let mut table: Table = text.parse().map_err(whole)?;
        let mut faults = Faults::default();
        faults.take_out_strangers(&mut table, KEYS, "");
        if let Some(Value::Array(stations)) = table.get_mut("station") {
            for (index, station) in stations.iter_mut().enumerate() {
                if let Value::Table(station) = station {
                    faults.take_out_strangers(station, STATION_KEYS, &format!("station[{index}]."));
                }
            }
        }
        let file: File = table.try_into().map_err(whole)?;
        file.check(faults)
    }
}

/// What the value of a key has to be.
#[derive(Clone, Copy)]
enum Kind {
    Number,
    Text,
    Flag,
    Tables,
}

/// The keys of a file, and of a station in it: what is not here, or not of its kind, is told with all other faults.
const KEYS: &[(&str, Kind)] = &[
    ("rate", Kind::Number),
    ("delay", Kind::Text),
    ("ring_cycle", Kind::Text),
    ("caller_id_delay", Kind::Text),
    ("training", Kind::Text),
    ("no_answer_after", Kind::Text),
    ("modem_buffer", Kind::Number),
    ("records", Kind::Text),
    ("station", Kind::Tables),
];
const STATION_KEYS: &[(&str, Kind)] = &[
    ("number", Kind::Text),
    ("withheld", Kind::Flag),
    ("presents", Kind::Text),
    ("caller_id", Kind::Flag),
    ("out_of_service", Kind::Flag),
    ("training", Kind::Text),
    ("pty", Kind::Text),
    ("tcp", Kind::Text),
    ("memory", Kind::Flag),
];

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Number => value.is_integer(),
            Self::Text => value.is_str(),
            Self::Flag => value.is_bool(),
            Self::Tables => value.as_array().is_some_and(|items| items.iter().all(Value::is_table)),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Number => "must be a whole number",
            Self::Text => "must be text in quotes",
            Self::Flag => "must be true or false",
            Self::Tables => "must be tables: [[station]]",
        }
    }
}

/// The file as it is written, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rate: Option<i64>,
    delay: Option<String>,
    ring_cycle: Option<String>,
    caller_id_delay: Option<String>,
    training: Option<String>,
    no_answer_after: Option<String>,
    modem_buffer: Option<i64>,
    records: Option<PathBuf>,
    #[serde(default, rename = "station")]
    stations: Vec<StationTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StationTable {
    number: Option<String>,
    #[serde(default)]
    withheld: bool,
    presents: Option<String>,
    caller_id: Option<bool>,
    #[serde(default)]
    out_of_service: bool,
    training: Option<String>,
    pty: Option<PathBuf>,
    tcp: Option<String>,
    memory: Option<bool>,
}

/// Slower than any modem, and faster than any line this stands for.
const RATES: std::ops::RangeInclusive<i64> = 50..=100_000_000;
/// From one RING line to as much as a fast line needs.
const MODEM_BUFFERS: std::ops::RangeInclusive<i64> = 16..=1_048_576;
/// Longest time that can be set.
const TIME_MAX: Duration = Duration::from_secs(3600);
/// Shortest time from ring to ring: each costs the exchange work.
const RING_CYCLE_MIN: Duration = Duration::from_millis(10);

impl File {
    fn check(self, mut faults: Faults) -> Result<Config, ConfigError> {
        let rate = faults.number_in("rate", self.rate, 33_600, RATES);
        let delay = faults.time("delay", self.delay.as_deref(), Duration::ZERO);
        let ring_cycle = faults.time("ring_cycle", self.ring_cycle.as_deref(), Duration::from_secs(6));
        let caller_id_delay =
            faults.time("caller_id_delay", self.caller_id_delay.as_deref(), Duration::from_millis(600));
        let training = faults.time("training", self.training.as_deref(), Duration::from_secs(1));
        let no_answer_after = faults.time("no_answer_after", self.no_answer_after.as_deref(), Duration::from_secs(60));
        let modem_buffer_octets = faults.number_in("modem_buffer", self.modem_buffer, 512, MODEM_BUFFERS);
        if ring_cycle < RING_CYCLE_MIN {
            faults.add("ring_cycle", "is shorter than 10 ms");
        } else if caller_id_delay >= ring_cycle {
            faults.add("caller_id_delay", "is not before the second ring (see ring_cycle)");
        }
        if self.stations.is_empty() {
            faults.add("station", "there is none");
        }
        let mut taken = Taken::default();
        let mut stations = Vec::new();
        for (index, table) in self.stations.into_iter().enumerate() {
            stations.extend(table.check(index, training, &mut taken, &mut faults));
        }
        if !faults.0.is_empty() {
            return Err(ConfigError { faults: faults.0 });
        }
        Ok(Config {
            rate,
            delay,
            ring_cycle,
            caller_id_delay,
            no_answer_after,
            modem_buffer_octets,
            records: self.records,
            stations,
        })
    }
}

/// What only one station may have, and the key that took it.
#[derive(Default)]
struct Taken {
    numbers: BTreeMap<Number, String>,
    paths: BTreeMap<PathBuf, String>,
    addresses: BTreeMap<SocketAddr, String>,
}

impl StationTable {
    fn check(self, index: usize, training: Duration, taken: &mut Taken, faults: &mut Faults) -> Option<StationConfig> {
        let key = |name: &str| format!("station[{index}].{name}");
        let number = match self.number.as_deref().map(str::parse::<Number>) {
            None => faults.miss(key("number"), "is missing"),
            Some(Err(error)) => faults.miss(key("number"), error.to_string()),
            Some(Ok(number)) => match taken.numbers.insert(number.clone(), key("number")) {
                Some(first) => faults.miss(key("number"), format!("{number} is also {first}")),
                None => Some(number),
            },
        };
        let presented = self.presents.as_deref().and_then(|text| match text.parse::<Number>() {
            Ok(number) => Some(number),
            Err(error) => faults.miss(key("presents"), error.to_string()),
        });
        if usize::from(self.withheld) + usize::from(self.presents.is_some()) + usize::from(self.caller_id.is_some()) > 1
        {
            faults.add(key("presents"), "only one of withheld, presents and caller_id can be set");
        }
        let presentation = match presented {
            Some(number) => Presentation::Other(number),
            None if self.withheld => Presentation::Withheld,
            None if self.caller_id == Some(false) => Presentation::None,
            None => Presentation::Own,
        };
        let training = faults.time(&key("training"), self.training.as_deref(), training);
        let tcp = self.tcp.as_deref().and_then(|text| match text.parse::<SocketAddr>() {
            Ok(address) => Some(Port::Tcp(address)),
            Err(_) => faults.miss(key("tcp"), "is not an address and port such as 127.0.0.1:0"),
        });
        let ports =
            usize::from(self.pty.is_some()) + usize::from(self.tcp.is_some()) + usize::from(self.memory == Some(true));
        if ports != 1 {
            let problem = if ports == 0 { "has no port" } else { "has more than one port" };
            faults.add(format!("station[{index}]"), format!("{problem}: set one of pty, tcp and memory"));
        }
        let port = match (self.pty, tcp) {
            (Some(path), _) => {
                if let Some(first) = taken.paths.insert(path.clone(), key("pty")) {
                    faults.add(key("pty"), format!("{} is also {first}", path.display()));
                }
                Port::Pty(path)
            }
            (None, Some(Port::Tcp(address))) => {
                if address.port() != 0
                    && let Some(first) = taken.addresses.insert(address, key("tcp"))
                {
                    faults.add(key("tcp"), format!("{address} is also {first}"));
                }
                Port::Tcp(address)
            }
            (None, _) => Port::Memory,
        };
        Some(StationConfig { number: number?, presentation, is_out_of_service: self.out_of_service, training, port })
    }
}

/// Gathers faults, so that one run of a check shows all of them.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, key: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Fault { key: key.into(), problem: problem.into() });
    }

    /// Takes out of a table what is not known or not of its kind, so that checking goes on with the rest.
    fn take_out_strangers(&mut self, table: &mut Table, known: &[(&str, Kind)], prefix: &str) {
        let strangers: Vec<_> = table
            .iter()
            .filter_map(|(key, value)| match known.iter().find(|(name, _)| name == key) {
                None => Some((key.clone(), "is not known here")),
                Some((_, kind)) if !kind.fits(value) => Some((key.clone(), kind.expected())),
                Some(_) => None,
            })
            .collect();
        for (key, problem) in strangers {
            table.remove(&key);
            self.add(format!("{prefix}{key}"), problem);
        }
    }

    fn miss<T>(&mut self, key: String, problem: impl Into<String>) -> Option<T> {
        self.add(key, problem);
        None
    }

    /// A time such as `60ms` or `1m 30s`; on a fault the default, so that checking goes on.
    fn time(&mut self, key: &str, text: Option<&str>, default: Duration) -> Duration {
        let Some(text) = text else { return default };
        match text.parse::<SignedDuration>().map(Duration::try_from) {
            Ok(Ok(time)) if time <= TIME_MAX => time,
            Ok(Ok(_)) => {
                self.add(key, "is longer than 1 h");
                default
            }
            Ok(Err(_)) => {
                self.add(key, "is negative");
                default
            }
            Err(_) => {
                self.add(key, format!("\"{text}\" is not a time such as \"60ms\" or \"6s\""));
                default
            }
        }
    }

    fn number_in<T: TryFrom<i64> + Copy>(
        &mut self,
        key: &str,
        number: Option<i64>,
        default: T,
        range: std::ops::RangeInclusive<i64>,
    ) -> T {
        let Some(number) = number else { return default };
        match T::try_from(number) {
            Ok(checked) if range.contains(&number) => checked,
            _ => {
                self.add(key, format!("{number} is not from {} to {}", range.start(), range.end()));
                default
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let error = text.parse::<Config>().expect_err("it has faults");
        error.faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_faults_are_told_together_each_with_its_key() {
        let told = faults(
            r#"
            rate = 0
            delay = "-1s"
            ring_cycle = "6 bananas"
            caller_id_delay = "7s"
            modem_buffer = 1
            no_answer_after = "2h"
            [[station]]
            number = "201"
            pty = "a"
            [[station]]
            number = "201"
            pty = "a"
            [[station]]
            number = "twelve"
            presents = "x"
            withheld = true
            tcp = "nowhere"
            memory = true
            [[station]]
            training = "1"
            "#,
        );
        let wanted = [
            "rate: 0 is not from 50 to 100000000",
            "delay: is negative",
            "ring_cycle: \"6 bananas\" is not a time such as \"60ms\" or \"6s\"",
            "no_answer_after: is longer than 1 h",
            "modem_buffer: 1 is not from 16 to 1048576",
            "caller_id_delay: is not before the second ring (see ring_cycle)",
            "station[1].number: 201 is also station[0].number",
            "station[1].pty: a is also station[0].pty",
            "station[2].number: a number is 1 to 15 digits with an optional leading +",
            "station[2].presents: a number is 1 to 15 digits with an optional leading +",
            "station[2].presents: only one of withheld, presents and caller_id can be set",
            "station[2].tcp: is not an address and port such as 127.0.0.1:0",
            "station[2]: has more than one port: set one of pty, tcp and memory",
            "station[3].number: is missing",
            "station[3].training: \"1\" is not a time such as \"60ms\" or \"6s\"",
            "station[3]: has no port: set one of pty, tcp and memory",
        ];
        assert_eq!(told, wanted);
        assert_eq!(faults(""), ["station: there is none"]);
    }

    #[test]
    fn keys_that_do_not_exist_or_are_of_another_kind_are_told_together() {
        let told = faults("rates = 1\nrate = \"fast\"\n[[station]]\nnumber = 1\nmemory = true\nmodem = \"usr\"\n");
        let wanted = [
            "rate: must be a whole number",
            "rates: is not known here",
            "station[0].modem: is not known here",
            "station[0].number: must be text in quotes",
            "station[0].number: is missing",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_station_overrides_what_the_exchange_sets_and_paths_follow_the_file() {
        let config: Config = r#"
            training = "3s"
            records = "calls.jsonl"
            [[station]]
            number = "1"
            pty = "lines/one"
            [[station]]
            number = "2"
            training = "12s"
            caller_id = false
            tcp = "127.0.0.1:0"
        "#
        .parse()
        .unwrap();
        let config = config.relative_to(Path::new("/etc/exchange"));
        let [one, two] = config.stations() else { panic!("two stations") };
        assert_eq!(one.training, Duration::from_secs(3));
        assert_eq!(one.port, Port::Pty("/etc/exchange/lines/one".into()));
        assert_eq!(two.training, Duration::from_secs(12));
        assert_eq!(two.presentation, Presentation::None);
        assert_eq!(config.records.as_deref(), Some(Path::new("/etc/exchange/calls.jsonl")));
        assert_eq!((config.rate, config.modem_buffer_octets), (33_600, 512));
    }
}
