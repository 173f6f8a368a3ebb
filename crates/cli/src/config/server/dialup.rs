//! Of `server.toml`, what says that information server and dial-up servers are apart: `[dialup]` in a dial-up server's,
//! `[[dialup_server]]` in the information server's.

use delivery::proof::PublicKey;
use line::Home;
use model::directory::Name;
use server::dialup::LineConfig;
use server::{DialupConfig, DialupServer, LineAway};

use super::{lines, link, state};
use crate::config::section::Section;

/// The config of a dial-up server.
pub(super) fn read(top: &mut Section<'_>) -> Option<DialupConfig> {
    let home = top.parsed::<Home>("country");
    let state = state(top);
    let (name, information, keys) = top.section("dialup", |section| {
        let name =
            section.required::<Name>("name", "say how the information server's config calls it");
        let information = section.required::<String>(
            "information",
            "say where the information server is: \"HOST:PORT\"",
        );
        let keys = section.list::<PublicKey>("keys");
        if keys.is_empty() {
            section.fault(
                "keys",
                "are missing; `ringup server-key public` on the information server prints them",
            );
        }
        if information
            .as_ref()
            .is_some_and(|place| !place.contains(':'))
        {
            section.fault("information", "is not HOST:PORT");
        }
        (name, information, keys)
    });
    let link = top.section("link", link);
    let lines = lines(top);
    for (index, line) in lines.iter().enumerate() {
        if line.tariff.is_some() {
            top.fault(
                &format!("line[{index}].tariff"),
                "belongs into the information server's config",
            );
        }
    }
    let (link_address, link_pool) = link?;
    let (name, information) = (name?, information?);
    Some(DialupConfig {
        state,
        name,
        information,
        information_keys: keys,
        home,
        link_address,
        link_pool,
        capture: None,
        lines,
    })
}

/// The dial-up servers of an information server with these lines of its own.
pub(super) fn servers(top: &mut Section<'_>, own: &[LineConfig]) -> Vec<DialupServer> {
    let servers: Vec<_> = top
        .sections("dialup_server", server)
        .into_iter()
        .flatten()
        .collect();
    for (index, server) in servers.iter().enumerate() {
        if servers[..index]
            .iter()
            .any(|before| before.name == server.name)
        {
            top.fault(
                &format!("dialup_server[{index}].name"),
                format!("{} names another, too", server.name),
            );
        }
        if servers[..index]
            .iter()
            .any(|before| before.key == server.key)
        {
            top.fault(&format!("dialup_server[{index}].key"), "is another's, too");
        }
        for (place, line) in server.lines.iter().enumerate() {
            let before = servers[..index]
                .iter()
                .flat_map(|server| &server.lines)
                .chain(&server.lines[..place]);
            let mut names = before
                .map(|line| &line.global)
                .chain(own.iter().map(|line| &line.name));
            if names.any(|name| *name == line.global) {
                let key = format!("dialup_server[{index}].lines[{place}].name");
                top.fault(&key, format!("{} names another line, too", line.global));
            }
        }
    }
    servers
}

fn server(section: &mut Section<'_>) -> Option<DialupServer> {
    let name =
        section.required::<Name>("name", "give the dial-up server a name, such as \"pop-1\"");
    let key = section.required::<PublicKey>(
        "key",
        "`ringup server-key public` on the dial-up server prints it",
    );
    let of = name.clone();
    let lines = section.sections("lines", |line| {
        let name =
            line.required::<Name>("name", "say how the dial-up server's config calls the line");
        let tariff = line.parsed::<String>("tariff");
        let is_ring_only = line.is("ring_only");
        let (of, name) = (of.as_ref()?, name?);
        match format!("{of}.{name}").parse() {
            Ok(global) => Some(LineAway {
                name,
                global,
                is_ring_only,
                tariff,
            }),
            Err(_) => {
                line.fault("name", format!("{of}.{name} is longer than 40 characters"));
                None
            }
        }
    });
    if lines.is_empty() {
        section.fault(
            "lines",
            "are missing; write lines = [{ name = \"line-1\" }]",
        );
    }
    Some(DialupServer {
        name: name?,
        key: key?,
        lines: lines.into_iter().flatten().collect(),
    })
}
