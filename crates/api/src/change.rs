//! Pure. A field of a change: left out, it stays; null takes it away; a value sets it (as RFC 7396 has it).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What becomes of a field that may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// It stays.
    #[default]
    Keep,
    /// It is taken away.
    Clear,
    /// It is this from now on.
    Set(T),
}

impl<T> Change<T> {
    /// Whether the field is left out.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The same, with another value.
    ///
    /// # Errors
    /// That of `map`.
    pub fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Change<U>, E> {
        Ok(match self {
            Self::Keep => Change::Keep,
            Self::Clear => Change::Clear,
            Self::Set(value) => Change::Set(map(value)?),
        })
    }

    /// What the field is after it, if it was this before.
    pub fn applied(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl<T: Serialize> Serialize for Change<T> {
    /// A field that stays must be skipped: see [`Change::is_keep`].
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => serializer.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TerminalChange;

    #[test]
    fn what_is_left_out_stays_null_takes_away_and_a_value_sets() {
        for (text, number) in [
            ("{}", Change::Keep),
            (r#"{"number":null}"#, Change::Clear),
            (r#"{"number":"301"}"#, Change::Set("301".to_owned())),
        ] {
            let change: TerminalChange = serde_json::from_str(text).unwrap();
            assert_eq!(
                change,
                TerminalChange {
                    number,
                    ..TerminalChange::default()
                }
            );
            assert_eq!(serde_json::to_string(&change).unwrap(), text);
        }
        assert!(
            serde_json::from_str::<TerminalChange>(r#"{"numbers":"301"}"#).is_err(),
            "a field that is none"
        );
    }
}
