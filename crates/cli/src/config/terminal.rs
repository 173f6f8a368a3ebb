//! `terminal.toml`: what `ringup answer` and `ringup dial-in` read. A machine may be a terminal (`[terminal]`), a provider
//! (`[provider]`), or both.

mod inbox;

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::answer::TerminalConfig;
use client::budget::Limits;
use client::inbox::{InboxConfig, Rules};
use client::outbox::{Pace, StandingConditions};
use client::sender::SenderConfig;
use client::session::{LinkSettings, SILENCE_MAX};
use delivery::Urgency;
use delivery::proof::Bundle;
use line::{Action, Home, Hours, Number, PortAddress, Rule, Screening, Window, check_dialled};
use link::HAS_TUN;
use modem::{DialString, Profile, Setup};
use toml::Value;

use super::{ConfigError, Section, load, modem_setup, tun};

/// One way; a terrestrial line has 30 to 100 ms, most of it in the modems.
const LINE_DELAY: Duration = Duration::from_millis(60);

/// No timer of a terminal is shorter.
const EVERY_LEAST: Duration = Duration::from_secs(60);

/// A machine at the end of a line.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Where its modem is, if it is to dial.
    pub(crate) port: Option<PortAddress>,
    /// What that is, and is told.
    pub(crate) setup: Setup,
    /// What it dials to reach the server.
    pub(crate) server: Option<DialString>,
    /// The server's delivery port on the Internet.
    pub(crate) server_address: Option<String>,
    /// Where it keeps its key, and what it has spent.
    pub(crate) state: PathBuf,
    /// What it may spend on calls of its own.
    pub(crate) limits: Limits,
    /// Its link to the server.
    pub(crate) link: LinkSettings,
    /// When it calls for what it has to say itself.
    pub(crate) sender: SenderConfig,
    /// What makes it a terminal.
    pub(crate) terminal: Option<TerminalConfig>,
    /// What makes it a provider: where its token is.
    pub(crate) token_file: Option<PathBuf>,
    /// The config says when what is in the outbox is sent.
    is_outbox_meant: bool,
}

impl Machine {
    /// What is allowed, and likely not meant: `check-config` says it.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(terminal) = &self.terminal {
            if terminal.callers.rules().next().is_none() {
                let what = match self.server.is_some() || self.server_address.is_some() {
                    true => "it receives only what it fetches by itself",
                    false => "and without [server] it places no call: nothing ever reaches it",
                };
                remarks.push(format!(
                    "terminal.callers is empty: this terminal answers no call, {what}; name the numbers that the server calls from"
                ));
            }
            if let (true, Some(why)) = (self.is_outbox_meant, self.no_way()) {
                remarks.push(format!(
                    "nothing that is put into the outbox can be sent by itself: {why}"
                ));
            }
        }
        remarks
    }

    /// Why this machine cannot reach its server by itself, if it cannot.
    pub(crate) fn no_way(&self) -> Option<&'static str> {
        match (&self.server, &self.port, &self.server_address) {
            (Some(_), Some(_), _) | (None, _, Some(_)) => None,
            (Some(_), None, _) => Some(
                "the config has no line.port, which names the modem (the starter's --line is not known here)",
            ),
            (None, _, None) => Some(
                "the config has neither server.number nor server.address, which say how to reach the server",
            ),
        }
    }
}

/// Reads and checks a machine's config.
pub(crate) fn read(path: &Path) -> Result<Machine, ConfigError> {
    load(path, |top| {
        let folder = top.folder();
        let state = top.path("state").unwrap_or_else(|| folder.join("state"));
        let limits = top.section("budget", budget);
        let Line {
            port,
            setup,
            prefix,
            home,
            delay,
            address,
        } = top.section("line", line);
        let tun = tun::read(top, HAS_TUN);
        let tun_is_meant = tun.is_some();
        let link = LinkSettings {
            address,
            delay,
            capture: None,
            tun,
        };
        let (server, server_address) = if top.has("server") {
            top.section("server", |section| server(section, &prefix, home))
        } else {
            (None, None)
        };
        let is_outbox_meant = top.has("outbox");
        let (pace, starter) = top.section("outbox", outbox);
        let sender = SenderConfig {
            state: state.clone(),
            pace,
            starter,
        };
        let standing = if top.has("conditions") {
            top.section("conditions", standing)
        } else {
            None
        };
        if !top.has("terminal") {
            check_without_terminal(top, tun_is_meant, standing.is_some());
        }
        let terminal = if top.has("terminal") {
            let line = LineFacts {
                home,
                dial_prefix: prefix,
                profile: setup.profile,
                state: state.clone(),
                server: server_address.clone(),
                limits,
                rules: inbox::read(top),
                standing,
                config: path.to_owned(),
            };
            top.section("terminal", |section| terminal(section, link.clone(), line))
        } else {
            None
        };
        let token_file = if top.has("provider") {
            top.section("provider", token_file)
        } else {
            None
        };
        Some(Machine {
            port,
            setup,
            server,
            server_address,
            state,
            limits,
            link,
            sender,
            terminal,
            token_file,
            is_outbox_meant,
        })
    })
}

/// The section `[line]`.
struct Line {
    port: Option<PortAddress>,
    setup: Setup,
    prefix: String,
    home: Option<Home>,
    delay: Duration,
    address: Option<Ipv4Addr>,
}

fn line(section: &mut Section<'_>) -> Line {
    let folder = section.folder();
    Line {
        port: section
            .parsed::<PortAddress>("port")
            .map(|port| port.relative_to(&folder)),
        prefix: section.parsed("dial_prefix").unwrap_or_default(),
        setup: modem_setup(section),
        home: section.parsed("country"),
        delay: section.time("delay", LINE_DELAY),
        address: section.parsed("address"),
    }
}

/// What a machine cannot have that only submits.
fn check_without_terminal(top: &mut Section<'_>, has_tun: bool, has_conditions: bool) {
    if has_tun {
        top.fault(
            "tun",
            "is for a [terminal]: nothing proves a server to a machine that only submits",
        );
    }
    if has_conditions {
        top.fault(
            "conditions",
            "are for a [terminal]: a machine that only submits receives nothing",
        );
    }
    if top.has("inbox") {
        top.fault("inbox", "is for a [terminal], which is missing here");
        inbox::read(top);
    }
    if !top.has("provider") {
        top.fault(
            "terminal",
            "is missing, and so is [provider]: the machine has nothing to do",
        );
    }
}

/// What the sections before say, as far as a terminal needs it.
struct LineFacts {
    home: Option<Home>,
    dial_prefix: String,
    profile: Profile,
    state: PathBuf,
    server: Option<String>,
    limits: Limits,
    rules: Rules,
    standing: Option<StandingConditions>,
    config: PathBuf,
}

fn budget(section: &mut Section<'_>) -> Limits {
    let default = Limits::default();
    let mut count = |key: &str, default: u32| {
        u32::try_from(section.count(key, u64::from(default))).unwrap_or_else(|_| {
            section.fault(key, "is more than can be counted");
            default
        })
    };
    Limits {
        calls_a_day: count("calls_a_day", default.calls_a_day),
        minutes_a_day: count("minutes_a_day", default.minutes_a_day),
    }
}

/// When a call is worth it for what waits in the outbox, and who holds the line meanwhile.
fn outbox(section: &mut Section<'_>) -> (Pace, Option<PathBuf>) {
    let usual = Pace::default();
    let pace = Pace {
        every: section.time("every", usual.every),
        octets: section.count("bytes", usual.octets),
    };
    if pace.every < EVERY_LEAST {
        section.fault(
            "every",
            "is less than a minute; submit with --urgency urgent what cannot wait for a minute",
        );
    }
    (pace, section.path("starter"))
}

/// What the terminal takes whenever `ringup conditions` has said nothing else.
fn standing(section: &mut Section<'_>) -> Option<StandingConditions> {
    let says = ["urgency", "size_max"].iter().any(|key| section.has(key));
    if !says {
        section.fault(
            "urgency",
            "is missing, and so is size_max: it takes everything anyway",
        );
    }
    let urgency = section
        .parsed::<Urgency>("urgency")
        .unwrap_or(Urgency::Bulk);
    let size_max = section
        .has("size_max")
        .then(|| section.count("size_max", u64::MAX));
    let reason = section.parsed::<String>("reason").unwrap_or_default();
    says.then_some(StandingConditions {
        urgency,
        size_max,
        reason,
    })
}

/// How the server is reached: by its number, at its address on the Internet, or both.
fn server(
    section: &mut Section<'_>,
    prefix: &str,
    home: Option<Home>,
) -> (Option<DialString>, Option<String>) {
    let address = section.parsed::<String>("address");
    let is_address = |text: &String| {
        text.rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if address.as_ref().is_some_and(|text| !is_address(text)) {
        section.fault(
            "address",
            "is not HOST:PORT, such as \"ringup.example.com:7411\"",
        );
    }
    if address.is_some() && !section.has("number") {
        return (None, address);
    }
    (server_number(section, prefix, home), address)
}

fn server_number(
    section: &mut Section<'_>,
    prefix: &str,
    home: Option<Home>,
) -> Option<DialString> {
    let number = section.required::<Number>("number", "the number that reaches the server")?;
    if let Err(forbidden) = check_dialled(home, &number) {
        section.fault("number", format!("is never dialled: {forbidden}"));
    }
    match number.dial_string(prefix, home) {
        Ok(dial_string) => Some(dial_string),
        Err(error) => {
            section.fault(
                "number",
                format!("cannot be dialled with line.dial_prefix {prefix:?}: {error}"),
            );
            None
        }
    }
}

fn token_file(section: &mut Section<'_>) -> Option<PathBuf> {
    if !section.has("token_file") {
        section.fault(
            "token_file",
            "is missing; the file with the token that `ringup provider add` printed",
        );
    }
    section.path("token_file")
}

/// `callers`: numbers that are answered at any time, or tables that say more.
fn callers(section: &mut Section<'_>, home: Option<Home>) -> Screening {
    let mut screening = Screening::default();
    let plain = section
        .list::<Number>("callers")
        .into_iter()
        .map(|number| (number, Rule::default()));
    let tables = section.sections("caller", caller).into_iter().flatten();
    for (number, rule) in plain.chain(tables).collect::<Vec<_>>() {
        let meant = number.clone().at(home);
        if rule.action == Action::CallBack
            && let Err(forbidden) = check_dialled(home, &meant)
        {
            section.fault(
                "caller",
                format!("{number} cannot be called back: {forbidden}"),
            );
        }
        if !screening.register(meant, rule) {
            section.fault("caller", format!("{number} is registered twice"));
        }
    }
    screening
}

fn caller(section: &mut Section<'_>) -> Option<(Number, Rule)> {
    let number = section.required::<Number>("number", "whose ring it is about");
    let action = section.parsed::<Action>("action").unwrap_or_default();
    let hours = Hours(section.list::<Window>("hours"));
    let per_hour = section
        .has("per_hour")
        .then(|| u32::try_from(section.count("per_hour", 1)).unwrap_or(u32::MAX));
    Some((
        number?,
        Rule {
            action,
            hours,
            per_hour,
        },
    ))
}

fn terminal(
    section: &mut Section<'_>,
    link: LinkSettings,
    line: LineFacts,
) -> Option<TerminalConfig> {
    let LineFacts {
        home,
        dial_prefix,
        profile,
        state,
        server,
        limits,
        rules,
        standing,
        config,
    } = line;
    let callers = callers(section, home);
    let folder = section
        .path("inbox")
        .unwrap_or_else(|| section.folder().join("inbox"));
    let inbox = InboxConfig {
        folder,
        rules,
        hand_over: inbox::hand_over_words(config),
    };
    let linger = section.time("linger", Duration::ZERO);
    if linger >= SILENCE_MAX {
        section.fault(
            "linger",
            format!(
                "must be less than {} s: a line on which nothing comes is then hung up",
                SILENCE_MAX.as_secs()
            ),
        );
    }
    if server.is_none()
        && callers
            .rules()
            .any(|(_, rule)| rule.action == Action::Connect)
    {
        section.fault(
            "caller",
            "asks for \"connect\", which needs server.address: HOST:PORT of the server's delivery port",
        );
    }
    Some(TerminalConfig {
        callers,
        home,
        dial_prefix,
        inbox,
        state,
        server,
        limits,
        linger,
        standing,
        profile,
        link,
    })
}

/// Writes a terminal's first config, as its bundle has it; a file that is there already is refused.
pub(crate) fn write_first(path: &Path, bundle: &Bundle) -> io::Result<()> {
    let list: Vec<Value> = bundle
        .callers
        .iter()
        .map(|caller| caller.as_str().into())
        .collect();
    let mut text = String::from(
        "# What ringup answer and ringup dial-in read; docs/guides tells what else may stand here.\n\n[line]\n",
    );
    if let Some(address) = &bundle.address {
        writeln!(text, "address = {}", Value::from(address.as_str())).expect("a string takes all");
    }
    writeln!(
        text,
        "\n[terminal]\ncallers = {}\ninbox = \"inbox\"",
        Value::Array(list)
    )
    .expect("a string takes all");
    let mut file = File::create_new(path)?;
    // No secret, and the service that reads it is often another user's than who enrols.
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())
}
