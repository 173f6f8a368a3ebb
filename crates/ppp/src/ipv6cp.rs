//! The option of IPv6 on the link (RFC 5072): which interface identifier each end has, unique on a link of two.
//!
//! | option | we ask | we grant |
//! |--------|--------|----------|
//! | 1 Interface-Identifier | always, until it is rejected | any but zero and our own; those are Nak'd with another |
//! | 2 IPv6-Compression-Protocol | never | rejected |
//!
//! IPv4 is what a call is for. IPv6 that does not come up, or goes down, leaves the link as it is.

use crate::config::{InterfaceIdentifier, Ipv6};
use crate::negotiation::{Options, Refused, Rejected, Verdict};
use crate::packet::{ConfigureOption, put_option};
use crate::protocol::ControlProtocol;
use crate::random::Random;

const INTERFACE_IDENTIFIER: u8 = 1;

#[derive(Debug)]
pub(crate) struct Ipv6cpOptions {
    random: Random,
    /// Ours. Zero while the peer has to name it.
    local: u64,
    /// What a peer without a good one is told.
    offered: Option<InterfaceIdentifier>,
    judged: u64,
    /// The peer's, once granted.
    peer: Option<InterfaceIdentifier>,
}

impl Ipv6cpOptions {
    pub(crate) fn new(config: Ipv6, random: Random) -> Ipv6cpOptions {
        let local = config.local.map_or(0, InterfaceIdentifier::number);
        Ipv6cpOptions {
            random,
            local,
            offered: config.peer,
            judged: 0,
            peer: None,
        }
    }

    /// Ours and the peer's, once agreed.
    pub(crate) fn agreed(&self) -> Option<(InterfaceIdentifier, InterfaceIdentifier)> {
        InterfaceIdentifier::new(self.local).zip(self.peer)
    }

    /// One that is not ours.
    fn another(&mut self) -> InterfaceIdentifier {
        match self.offered {
            Some(offered) if offered.number() != self.local => offered,
            _ => loop {
                let random = self.random.interface_identifier();
                if random.number() != self.local {
                    break random;
                }
            },
        }
    }
}

impl Options for Ipv6cpOptions {
    const PROTOCOL: ControlProtocol = ControlProtocol::Ipv6cp;

    fn write_request(&self, request: &mut Vec<u8>) {
        // RFC 5072 §4.1: zero asks the peer to name it.
        put_option(request, INTERFACE_IDENTIFIER, &self.local.to_be_bytes());
    }

    fn acknowledged(&mut self) {}

    fn naked(&mut self, option: &ConfigureOption<'_>) {
        let (INTERFACE_IDENTIFIER, Ok(named)) = (option.kind, <[u8; 8]>::try_from(option.data))
        else {
            return;
        };
        let named = u64::from_be_bytes(named);
        // RFC 5072 §4.1: what is named is taken, unless it is nothing or what was just refused.
        self.local = if named == 0 || named == self.local {
            self.another().number()
        } else {
            named
        };
    }

    /// RFC 5072 §4.1: then the identifier is nobody's business, and without one there is no IPv6.
    fn rejected(&mut self, kind: u8, _how: Refused) -> Rejected {
        if kind == INTERFACE_IDENTIFIER {
            Rejected::Fatal
        } else {
            Rejected::NotAsked
        }
    }

    fn begin_judging(&mut self) {
        self.judged = 0;
    }

    fn judge(&mut self, option: &ConfigureOption<'_>) -> Verdict {
        let (INTERFACE_IDENTIFIER, Ok(asked)) = (option.kind, <[u8; 8]>::try_from(option.data))
        else {
            return Verdict::Reject;
        };
        self.judged = u64::from_be_bytes(asked);
        if self.judged == 0 && self.local == 0 {
            // RFC 5072 §4.1: two that both ask; nobody has an answer.
            Verdict::Reject
        } else if self.judged == 0 || self.judged == self.local {
            Verdict::Insist(self.another().number().to_be_bytes().to_vec())
        } else {
            Verdict::Grant
        }
    }

    fn granted(&mut self) {
        self.peer = InterfaceIdentifier::new(self.judged);
    }
}
