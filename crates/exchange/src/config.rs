//! What an exchange is made of, as its TOML file says.

mod keys;

use crate::{
    number::Number,
    settings::{RATES, Settings},
    tariff::{self, Tariff},
};
use ::settings::Fault;
pub(crate) use keys::{Faults, Keys};
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use toml::Table;

/// A checked exchange: what [`Exchange`](crate::Exchange) and [`Running`](crate::Running) are built from.
///
/// It comes from TOML text only, so that every one of them has passed the same checks; `examples/exchange.toml` has every
/// key with its default:
/// ```
/// let config: ringup_exchange::Config = r#"
///     rate = 33600                 # bit/s, both ways
///     delay = "60ms"               # one way
///
///     [[station]]
///     number = "201"
///     pty = "lines/centre"         # a link to the pseudo-terminal is made here
///
///     [[station]]
///     number = "666"
///     withheld = true
///     tcp = "127.0.0.1:0"
///
///     [[station]]
///     number = "+4930123456"
///     memory = true                # for tests: see Running::station_stream
///     training = "12s"             # when this station answers
/// "#.parse()?;
/// # Ok::<(), ringup_exchange::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) delay: Duration,
    pub(crate) ring_cycle: Duration,
    pub(crate) ring_time: Duration,
    pub(crate) caller_id_delay: Duration,
    pub(crate) no_answer_after: Duration,
    pub(crate) modem_buffer_octets: usize,
    pub(crate) seed: u64,
    pub(crate) records: Option<PathBuf>,
    pub(crate) control: Option<PathBuf>,
    pub(crate) tariffs: BTreeMap<String, Tariff>,
    pub(crate) stations: Vec<StationConfig>,
}

/// One station of a [`Config`].
#[derive(Clone, Debug)]
pub struct StationConfig {
    /// What callers dial.
    pub number: Number,
    /// `aliases`: further numbers of the same line, each with a ring of its own.
    pub aliases: BTreeMap<Number, RingPattern>,
    /// Where its DTE is attached.
    pub port: Port,
    /// How it behaves, at first.
    pub settings: Settings,
}

/// The cadence by which one line tells its numbers apart (distinctive ring).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingPattern {
    /// `RING A`.
    A,
    /// `RING B`.
    B,
    /// `RING C`.
    C,
}

/// Where the DTE of a station is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A pseudo-terminal with a link to it at this path.
    Pty(PathBuf),
    /// A TCP port; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// As [`Port::Tcp`], with the signals of a serial port (RFC 2217).
    Rfc2217(SocketAddr),
    /// A stream inside this process.
    Memory,
}

/// Everything that is wrong with a configuration; one fault a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The faults, in the order they were found.
    pub faults: Vec<Fault>,
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

impl Config {
    /// The stations, in the order of the file.
    pub fn stations(&self) -> &[StationConfig] {
        &self.stations
    }

    /// Opens a control socket at `path`, whatever the file says.
    #[must_use]
    pub fn with_control(mut self, path: PathBuf) -> Self {
        self.control = Some(path);
        self
    }

    /// Takes the relative paths in it to be relative to `folder`, as for a file that was read from there.
    #[must_use]
    pub fn relative_to(mut self, folder: &Path) -> Self {
        self.records = self.records.map(|records| folder.join(records));
        self.control = self.control.map(|control| folder.join(control));
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
        checked(text, read)
    }
}

impl FromStr for Tariff {
    type Err = ConfigError;

    /// Reads the table `[tariff.NAME]`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        checked(text, tariff::read)
    }
}

fn checked<T>(text: &str, read: impl FnOnce(Keys<'_>) -> T) -> Result<T, ConfigError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let problem = error.to_string().trim_end().to_owned();
        ConfigError {
            faults: vec![Fault::new("", problem)],
        }
    })?;
    let mut faults = Faults::default();
    let found = read(Keys::new(table, "", &mut faults));
    if faults.0.is_empty() {
        Ok(found)
    } else {
        Err(ConfigError { faults: faults.0 })
    }
}

/// From one RING line to as much as a fast line needs.
const MODEM_BUFFERS: std::ops::RangeInclusive<i64> = 16..=1_048_576;
/// Shortest time from ring to ring: each costs the exchange work.
const RING_CYCLE_MIN: Duration = Duration::from_millis(10);
/// More numbers than any line has.
const ALIASES_MAX: usize = 16;

fn read(mut keys: Keys<'_>) -> Config {
    let mut defaults = Settings::new(33_600, Duration::from_secs(1));
    if let Some(rate) = keys.number("rate", RATES) {
        (defaults.rate_to, defaults.rate_from) = (rate, rate);
    }
    let mut config = Config {
        delay: keys.time("delay").unwrap_or_default(),
        ring_cycle: keys.time("ring_cycle").unwrap_or(Duration::from_secs(6)),
        ring_time: keys.time("ring_time").unwrap_or(Duration::from_secs(2)),
        caller_id_delay: keys
            .time("caller_id_delay")
            .unwrap_or(Duration::from_millis(600)),
        no_answer_after: keys
            .time("no_answer_after")
            .unwrap_or(Duration::from_secs(60)),
        modem_buffer_octets: keys.number("modem_buffer", MODEM_BUFFERS).unwrap_or(512),
        seed: keys.number("seed", 0..=i64::MAX).unwrap_or_default(),
        records: keys.text("records").map(PathBuf::from),
        control: keys.text("control").map(PathBuf::from),
        tariffs: BTreeMap::new(),
        stations: Vec::new(),
    };
    defaults.training = keys.time("training").unwrap_or(defaults.training);
    if config.ring_cycle < RING_CYCLE_MIN {
        keys.fault("ring_cycle", "is shorter than 10 ms");
    } else if config.caller_id_delay >= config.ring_cycle {
        keys.fault(
            "caller_id_delay",
            "is not before the second ring (see ring_cycle)",
        );
    }
    // A cycle can be set so short that the usual ring does not fit.
    config.ring_time = config.ring_time.min(config.ring_cycle / 2);
    for (name, value) in keys.table("tariff") {
        let Ok(table) = value.try_into() else {
            keys.fault(&format!("tariff.{name}"), "must be a table");
            continue;
        };
        let tariff = tariff::read(Keys::new(table, format!("tariff.{name}."), keys.faults));
        config.tariffs.insert(name, tariff);
    }
    for (name, tariff) in &config.tariffs {
        for class in tariff
            .class_tariffs()
            .filter(|class| !config.tariffs.contains_key(*class))
        {
            keys.faults.add(
                format!("tariff.{name}.class"),
                format!("there is no [tariff.{class}]"),
            );
        }
    }
    let stations = keys.tables("station");
    if stations.is_empty() {
        keys.fault("station", "there is none");
    }
    let mut taken = Taken::default();
    for (index, table) in stations.into_iter().enumerate() {
        let station = Keys::new(table, format!("station[{index}]."), keys.faults);
        config
            .stations
            .extend(read_station(station, index, defaults.clone(), &mut taken));
        let station = config.stations.last();
        if let Some(name) = station.and_then(|station| station.settings.tariff.as_ref())
            && !config.tariffs.contains_key(name)
        {
            keys.faults.add(
                format!("station[{index}].tariff"),
                format!("there is no [tariff.{name}]"),
            );
        }
    }
    keys.end();
    config
}

/// What only one station may have, and the key that took it.
#[derive(Default)]
struct Taken {
    numbers: BTreeMap<Number, String>,
    paths: BTreeMap<PathBuf, String>,
    addresses: BTreeMap<SocketAddr, String>,
}

fn read_station(
    mut keys: Keys<'_>,
    index: usize,
    mut settings: Settings,
    taken: &mut Taken,
) -> Option<StationConfig> {
    if !keys.has("number") {
        keys.fault("number", "is missing");
    }
    let number = keys
        .text("number")
        .and_then(|text| read_number(&mut keys, "number", &text, taken));
    let aliases = read_aliases(&mut keys, taken);
    settings.read(&mut keys);
    let port = read_port(&mut keys, index, taken);
    keys.end();
    Some(StationConfig {
        number: number?,
        aliases,
        port: port?,
        settings,
    })
}

fn read_number(keys: &mut Keys<'_>, key: &str, text: &str, taken: &mut Taken) -> Option<Number> {
    let number = match text.parse::<Number>() {
        Ok(number) => number,
        Err(error) => {
            keys.fault(key, error.to_string());
            return None;
        }
    };
    if let Some(first) = taken.numbers.insert(number.clone(), keys.name(key)) {
        keys.fault(key, format!("{number} is also {first}"));
        return None;
    }
    Some(number)
}

fn read_aliases(keys: &mut Keys<'_>, taken: &mut Taken) -> BTreeMap<Number, RingPattern> {
    let table = keys.table("aliases");
    if table.len() > ALIASES_MAX {
        keys.fault("aliases", format!("there are more than {ALIASES_MAX}"));
    }
    let mut aliases = BTreeMap::new();
    for (text, pattern) in table {
        let key = format!("aliases.{text}");
        let pattern = match pattern.as_str() {
            Some("A") => RingPattern::A,
            Some("B") => RingPattern::B,
            Some("C") => RingPattern::C,
            _ => {
                keys.fault(&key, "is not \"A\", \"B\" or \"C\"");
                continue;
            }
        };
        if let Some(number) = read_number(keys, &key, &text, taken) {
            aliases.insert(number, pattern);
        }
    }
    aliases
}

fn read_port(keys: &mut Keys<'_>, index: usize, taken: &mut Taken) -> Option<Port> {
    let count = ["pty", "tcp", "rfc2217"]
        .iter()
        .filter(|key| keys.has(key))
        .count();
    let mut port = None;
    if let Some(path) = keys.text("pty").map(PathBuf::from) {
        if let Some(first) = taken.paths.insert(path.clone(), keys.name("pty")) {
            keys.fault("pty", format!("{} is also {first}", path.display()));
        }
        port = Some(Port::Pty(path));
    }
    port = read_address(keys, "tcp", taken).map(Port::Tcp).or(port);
    port = read_address(keys, "rfc2217", taken)
        .map(Port::Rfc2217)
        .or(port);
    let is_memory = keys.flag("memory") == Some(true);
    if is_memory {
        port = Some(Port::Memory);
    }
    if count + usize::from(is_memory) != 1 {
        let problem = if count == 0 {
            "has no port"
        } else {
            "has more than one port"
        };
        keys.faults.add(
            format!("station[{index}]"),
            format!("{problem}: set one of pty, tcp, rfc2217 and memory"),
        );
    }
    port
}

fn read_address(keys: &mut Keys<'_>, key: &str, taken: &mut Taken) -> Option<SocketAddr> {
    let Ok(address) = keys.text(key)?.parse::<SocketAddr>() else {
        keys.fault(key, "is not an address and port such as 127.0.0.1:0");
        return None;
    };
    if address.port() != 0
        && let Some(first) = taken.addresses.insert(address, keys.name(key))
    {
        keys.fault(key, format!("{address} is also {first}"));
    }
    Some(address)
}

impl Settings {
    /// These settings with what `table` changes: the keys are those of a station in a file, but for number and port.
    ///
    /// # Errors
    /// If a key is not known, or a value is not one it can have.
    pub fn changed(&self, table: Table) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let mut keys = Keys::new(table, "", &mut faults);
        let mut changed = self.clone();
        changed.read(&mut keys);
        keys.end();
        if faults.0.is_empty() {
            Ok(changed)
        } else {
            Err(ConfigError { faults: faults.0 })
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
            "station[2].presents: only one of withheld, unavailable, presents and caller_id can be set",
            "station[2].presents: a number is 1 to 15 digits with an optional leading +",
            "station[2].tcp: is not an address and port such as 127.0.0.1:0",
            "station[2]: has more than one port: set one of pty, tcp, rfc2217 and memory",
            "station[3].number: is missing",
            "station[3].training: \"1\" is not a time such as \"60ms\" or \"6s\"",
            "station[3]: has no port: set one of pty, tcp, rfc2217 and memory",
        ];
        assert_eq!(told, wanted);
        assert_eq!(faults(""), ["station: there is none"]);
    }

    #[test]
    fn keys_that_do_not_exist_or_are_of_another_kind_are_told_together() {
        let told = faults(
            "rates = 1\nrate = \"fast\"\n[[station]]\nnumber = 1\nmemory = true\nmodems = \"usr\"\n",
        );
        let wanted = [
            "rate: must be a whole number",
            "station[0].number: must be text in quotes",
            "station[0].modems: unknown key (did you mean \"modem\"?)",
            "rates: unknown key (did you mean \"rate\"?)",
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
        let [one, two] = config.stations() else {
            panic!("two stations")
        };
        assert_eq!(one.settings.training, Duration::from_secs(3));
        assert_eq!(one.port, Port::Pty("/etc/exchange/lines/one".into()));
        assert_eq!(two.settings.training, Duration::from_secs(12));
        assert_eq!(two.settings.presentation, crate::Presentation::None);
        assert_eq!(
            config.records.as_deref(),
            Some(Path::new("/etc/exchange/calls.jsonl"))
        );
        assert_eq!(
            (one.settings.rate_to, config.modem_buffer_octets),
            (33_600, 512)
        );
    }
}
