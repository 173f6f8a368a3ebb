//! What two ends agreed on, and its text, for an end that must keep it between calls.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::config::Mru;
use crate::lcp::{Direction, LinkOptions};

/// What two ends agreed on, to be expected on their next call.
///
/// To be given only to a session with a peer that has proved by a key, on an earlier call over the same number, who it
/// is: whoever else answers learns this end's address and its first packets before it has proved anything.
///
/// As text it is one line: each direction's MRU, ACCM and compressions, our address, the peer's.
///
/// ```
/// let kept: ringup_ppp::Agreement = "1500/00000000/pa 296/000a0000/- 10.77.0.2 10.77.0.1".parse().unwrap();
/// assert_eq!(kept.peer, Some([10, 77, 0, 1].into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The link's options.
    pub link: LinkOptions,
    /// Our address.
    pub local: Ipv4Addr,
    /// The peer's, if it has said one.
    pub peer: Option<Ipv4Addr>,
}

/// A text that is no [`Agreement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an agreement looks like 1500/00000000/pa 296/000a0000/- 10.77.0.2 10.77.0.1")]
pub struct AgreementError;

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Direction {
            mru,
            accm,
            protocol_compression,
            address_compression,
        } in [self.link.sending, self.link.receiving]
        {
            let compressions = match (protocol_compression, address_compression) {
                (true, true) => "pa",
                (true, false) => "p",
                (false, true) => "a",
                (false, false) => "-",
            };
            write!(f, "{}/{accm:08x}/{compressions} ", mru.octets())?;
        }
        match self.peer {
            Some(peer) => write!(f, "{} {peer}", self.local),
            None => write!(f, "{} -", self.local),
        }
    }
}

impl FromStr for Agreement {
    type Err = AgreementError;

    fn from_str(text: &str) -> Result<Self, AgreementError> {
        let words: Vec<_> = text.split(' ').collect();
        let [sending, receiving, local, peer] = words[..] else {
            return Err(AgreementError);
        };
        Ok(Self {
            link: LinkOptions {
                sending: direction(sending)?,
                receiving: direction(receiving)?,
            },
            local: local.parse().map_err(|_| AgreementError)?,
            peer: if peer == "-" {
                None
            } else {
                Some(peer.parse().map_err(|_| AgreementError)?)
            },
        })
    }
}

fn direction(word: &str) -> Result<Direction, AgreementError> {
    let parts: Vec<_> = word.split('/').collect();
    let [mru, accm, compressions] = parts[..] else {
        return Err(AgreementError);
    };
    let (protocol_compression, address_compression) = match compressions {
        "pa" => (true, true),
        "p" => (true, false),
        "a" => (false, true),
        "-" => (false, false),
        _ => return Err(AgreementError),
    };
    let mru = mru
        .parse()
        .ok()
        .and_then(|octets| Mru::new(octets).ok())
        .ok_or(AgreementError)?;
    let accm = u32::from_str_radix(accm, 16).map_err(|_| AgreementError)?;
    Ok(Direction {
        mru,
        accm,
        protocol_compression,
        address_compression,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agreement_survives_its_text() {
        for text in [
            "1500/00000000/pa 296/000a0000/- 10.77.0.2 10.77.0.1",
            "128/ffffffff/p 1500/00000001/a 10.77.0.2 -",
        ] {
            assert_eq!(text.parse::<Agreement>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_agreement_is_refused() {
        for text in [
            "",
            "1500/00000000/pa 296/000a0000/- 10.77.0.2",
            "1500/00000000/pa 296/000a0000/- 10.77.0.2 10.77.0.1 x",
            "1501/00000000/pa 296/000a0000/- 10.77.0.2 10.77.0.1",
            "1500/100000000/pa 296/000a0000/- 10.77.0.2 10.77.0.1",
            "1500/00000000/ap 296/000a0000/- 10.77.0.2 10.77.0.1",
            "1500/00000000/pa 296/000a0000/- - -",
        ] {
            assert_eq!(text.parse::<Agreement>(), Err(AgreementError), "{text:?}");
        }
    }
}
