//! The keys by which a server is known: one, or two while a new one takes over.

use std::fmt;
use std::str::FromStr;

use super::key::PublicKey;

/// Keys at most.
const KEYS_MAX: usize = 4;

/// Octets of the longest text.
pub(crate) const SERVER_KEYS_OCTETS_MAX: usize = KEYS_MAX * 45;

/// All keys that a terminal is to take for its server: at least one, each once. Written one on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKeyList(Vec<PublicKey>);

/// The text, or the list, is no [`ServerKeyList`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a list of server keys has 1 to {KEYS_MAX} keys of 43 base64url characters, one on a line, each once"
)]
pub struct ServerKeyListError;

impl ServerKeyList {
    /// A list of these keys.
    ///
    /// # Errors
    /// [`ServerKeyListError`].
    pub fn new(keys: Vec<PublicKey>) -> Result<Self, ServerKeyListError> {
        let is_each_once = keys
            .iter()
            .enumerate()
            .all(|(index, key)| !keys[..index].contains(key));
        if (1..=KEYS_MAX).contains(&keys.len()) && is_each_once {
            Ok(Self(keys))
        } else {
            Err(ServerKeyListError)
        }
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }
}

impl FromStr for ServerKeyList {
    type Err = ServerKeyListError;

    fn from_str(text: &str) -> Result<Self, ServerKeyListError> {
        let keys = text
            .lines()
            .take(KEYS_MAX + 1)
            .map(str::parse)
            .collect::<Result<_, _>>();
        Self::new(keys.map_err(|_| ServerKeyListError)?)
    }
}

impl fmt::Display for ServerKeyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|key| writeln!(f, "{key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_keys_survives_its_text_and_what_is_none_is_refused() {
        let [one, other] = [1, 2].map(|octet| PublicKey::from_octets([octet; 32]));
        let list = ServerKeyList::new(vec![one, other]).unwrap();
        assert_eq!(list.to_string().parse(), Ok(list.clone()));
        assert!(list.to_string().len() <= SERVER_KEYS_OCTETS_MAX);
        let many = format!("{one}\n").repeat(5);
        for text in [
            "",
            "\n",
            "x\n",
            &format!("{one}\n\n{other}\n"),
            &format!("{one}\n{one}\n"),
            &many,
        ] {
            assert_eq!(
                text.parse::<ServerKeyList>(),
                Err(ServerKeyListError),
                "{text:?}"
            );
        }
    }
}
