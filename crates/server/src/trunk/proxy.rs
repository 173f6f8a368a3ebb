//! The header in front of a far end's connection: PROXY protocol version 2, with TLVs that say of which call it is. It is
//! written by a dial-up server and read on trunks only; anywhere else these octets mean nothing.

use std::net::{Ipv4Addr, SocketAddrV4};

use line::{CallId, Number};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use model::directory::Name;

/// PROXY protocol, §2.2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
/// TCP over IPv4.
const FAMILY: u8 = 0x11;
const ADDRESSES_OCTETS: usize = 12;

/// Octets behind the fixed part. Ours have about 200.
pub(super) const REST_OCTETS_MAX: u16 = 512;

/// §2.2.7: for applications' own use.
const CALL: u8 = 0xe0;
const LINE: u8 = 0xe1;
const CALLER: u8 = 0xe2;
const CALLED: u8 = 0xe3;
const NOTICE: u8 = 0xe4;

/// What a dial-up server says of a connection: its completion report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxyHeader {
    pub(crate) call: CallId,
    /// The dial-up server's name for the line.
    pub(crate) line: Name,
    pub(crate) caller: Option<Number>,
    pub(crate) called: Option<Number>,
    /// The far end's address on the link.
    pub(crate) from: Ipv4Addr,
    /// Where it connected to: the dial-up server's address on the link, and the port.
    pub(crate) to: SocketAddrV4,
    /// The connected notice, without its line feed, if the port is the delivery port.
    pub(crate) notice: Option<String>,
}

/// Why octets are no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the stream ended within its PROXY header")]
    Ended(#[source] std::io::Error),
    #[error(
        "the stream does not begin with a PROXY header of TCP over IPv4 with at most {REST_OCTETS_MAX} octets"
    )]
    Form,
    #[error("the PROXY header's field {0:#04x} is missing, twice there or malformed")]
    Field(u8),
}

impl ProxyHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(256);
        rest.extend(self.from.octets());
        rest.extend(self.to.ip().octets());
        rest.extend(0_u16.to_be_bytes()); // the far end's own port: nobody needs it
        rest.extend(self.to.port().to_be_bytes());
        let mut field = |kind: u8, text: &str| {
            rest.push(kind);
            rest.extend(
                u16::try_from(text.len())
                    .expect("names, numbers and notices are short")
                    .to_be_bytes(),
            );
            rest.extend(text.as_bytes());
        };
        field(CALL, &self.call.to_string());
        field(LINE, &self.line.to_string());
        let numbers = [(CALLER, &self.caller), (CALLED, &self.called)];
        numbers.iter().for_each(|(kind, number)| {
            if let Some(number) = number {
                field(*kind, number.as_str());
            }
        });
        if let Some(notice) = &self.notice {
            field(NOTICE, notice);
        }
        let length = u16::try_from(rest.len()).expect("some 200 octets");
        let mut header = SIGNATURE.to_vec();
        header.extend([VERSION_AND_COMMAND, FAMILY]);
        header.extend(length.to_be_bytes());
        header.extend(rest);
        header
    }

    /// Reads a header and not one octet more.
    ///
    /// # Errors
    /// [`ProxyError`]; all are the dial-up server's fault.
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, ProxyError> {
        let mut fixed = [0; 16];
        stream
            .read_exact(&mut fixed)
            .await
            .map_err(ProxyError::Ended)?;
        let length = u16::from_be_bytes([fixed[14], fixed[15]]);
        let is_ours = fixed[..12] == SIGNATURE && fixed[12..14] == [VERSION_AND_COMMAND, FAMILY];
        if !is_ours || length > REST_OCTETS_MAX || usize::from(length) < ADDRESSES_OCTETS {
            return Err(ProxyError::Form);
        }
        let mut rest = vec![0; usize::from(length)];
        stream
            .read_exact(&mut rest)
            .await
            .map_err(ProxyError::Ended)?;
        let (addresses, fields) = rest.split_at(ADDRESSES_OCTETS);
        let fields = Fields::read(fields)?;
        let address = |at: usize| {
            Ipv4Addr::from([
                addresses[at],
                addresses[at + 1],
                addresses[at + 2],
                addresses[at + 3],
            ])
        };
        Ok(Self {
            call: fields.parsed(CALL)?.ok_or(ProxyError::Field(CALL))?,
            line: fields.parsed(LINE)?.ok_or(ProxyError::Field(LINE))?,
            caller: fields.parsed(CALLER)?,
            called: fields.parsed(CALLED)?,
            from: address(0),
            to: SocketAddrV4::new(
                address(4),
                u16::from_be_bytes([addresses[10], addresses[11]]),
            ),
            notice: fields.parsed(NOTICE)?,
        })
    }
}

/// The TLVs; kinds that are not known here are passed over (§2.2.7).
struct Fields<'a>(Vec<(u8, &'a str)>);

impl<'a> Fields<'a> {
    fn read(mut octets: &'a [u8]) -> Result<Self, ProxyError> {
        let mut fields = Vec::new();
        while let Some((kind, rest)) = octets.split_first() {
            let malformed = ProxyError::Field(*kind);
            let Some((length, rest)) = rest.split_first_chunk::<2>() else {
                return Err(malformed);
            };
            let Some((value, rest)) =
                rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
            else {
                return Err(malformed);
            };
            if (CALL..=NOTICE).contains(kind) {
                let Ok(text) = std::str::from_utf8(value) else {
                    return Err(malformed);
                };
                fields.push((*kind, text));
            }
            octets = rest;
        }
        Ok(Self(fields))
    }

    fn parsed<T: std::str::FromStr>(&self, kind: u8) -> Result<Option<T>, ProxyError> {
        let mut found = self.0.iter().filter(|field| field.0 == kind);
        let (first, second) = (found.next(), found.next());
        if second.is_some() {
            return Err(ProxyError::Field(kind));
        }
        first
            .map(|(_, text)| text.parse().map_err(|_| ProxyError::Field(kind)))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ProxyHeader {
        ProxyHeader {
            call: CallId::from_octets([7; 16]),
            line: "line-1".parse().unwrap(),
            caller: None,
            called: Some("+4930123456".parse().unwrap()),
            from: Ipv4Addr::new(10, 77, 0, 2),
            to: SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), delivery::PORT),
            notice: Some("ringup/1 Q2hhbmdlTWU called".into()),
        }
    }

    async fn read(octets: &[u8]) -> Result<ProxyHeader, ProxyError> {
        ProxyHeader::read(&mut &*octets).await
    }

    #[tokio::test]
    async fn a_header_is_read_back_and_not_one_octet_more() {
        let sent = [header().encode(), b"\x16".to_vec()].concat();
        let mut octets = &sent[..];
        assert_eq!(ProxyHeader::read(&mut octets).await.unwrap(), header());
        assert_eq!(octets, b"\x16");
    }

    #[tokio::test]
    async fn every_header_that_is_cut_or_bent_is_refused_or_says_the_same() {
        let sent = header().encode();
        for end in 0..sent.len() {
            assert!(read(&sent[..end]).await.is_err(), "cut after {end}");
        }
        for at in 0..sent.len() {
            for bit in 0..8 {
                let mut bent = sent.clone();
                bent[at] ^= 1 << bit;
                // Memory is bounded by the length's limit, whatever it says; no octet makes it panic.
                let _ = read(&bent).await;
            }
        }
        let mut long = sent.clone();
        long[14] = 0xff;
        assert!(matches!(read(&long).await, Err(ProxyError::Form)));
        let mut twice = sent.clone();
        twice.extend([CALL, 0, 1, b'x']);
        let length = u16::try_from(twice.len() - 16).unwrap();
        twice[14..16].copy_from_slice(&length.to_be_bytes());
        assert!(matches!(read(&twice).await, Err(ProxyError::Field(CALL))));
    }
}
