//! Pure. Which terminals a submission is for.

use std::collections::BTreeSet;

use delivery::TerminalId;

use model::directory::{Destination, Terminal};

/// A destination that names no terminal in the directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no terminal here has {destination}; the server's operator knows those there are")]
pub struct UnknownDestination {
    /// As it was written.
    pub destination: Destination,
}

/// The terminals that these destinations name, each once however often it is named.
///
/// # Errors
/// The first destination that names none: a submission is taken whole or not at all.
pub fn route(
    destinations: impl IntoIterator<Item = (Destination, Option<Terminal>)>,
) -> Result<Vec<TerminalId>, UnknownDestination> {
    let mut terminals = Vec::new();
    let mut routed = BTreeSet::new();
    for (destination, found) in destinations {
        let terminal = found.ok_or(UnknownDestination { destination })?;
        if routed.insert(terminal.id) {
            terminals.push(terminal.id);
        }
    }
    Ok(terminals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::directory::Connection;
    use model::directory::TrustedBy;

    fn owner() -> Terminal {
        Terminal {
            id: TerminalId::from_octets([1; 8]),
            name: "owner".parse().unwrap(),
            number: Some("301".parse().unwrap()),
            address: Some([10, 77, 0, 2].into()),
            connection: Connection::Down,
            trusted_by: TrustedBy::default(),
        }
    }

    #[test]
    fn a_terminal_named_twice_gets_one_envelope() {
        let named = ["tel:301", "ip:10.77.0.2"].map(|text| (text.parse().unwrap(), Some(owner())));
        assert_eq!(route(named), Ok(vec![owner().id]));
    }

    #[test]
    fn one_unknown_destination_refuses_the_whole_submission() {
        let unknown: Destination = "tel:999".parse().unwrap();
        let named = [
            ("tel:301".parse().unwrap(), Some(owner())),
            (unknown.clone(), None),
        ];
        assert_eq!(
            route(named),
            Err(UnknownDestination {
                destination: unknown
            })
        );
    }
}
