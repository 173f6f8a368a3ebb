//! Differences to headers (RFC 1144 §A.3).

use super::{Headers, PUSH, TCP, URGENT, change, ip_checksum};
use crate::frame::INFORMATION_OCTETS_MAX;

#[derive(Debug)]
pub(crate) struct Decompressor {
    /// Boxed, for most links fill one or two of sixteen.
    slots: Vec<Option<Box<Headers>>>,
    /// The slot of the last packet.
    last_slot: Option<usize>,
    /// Something was lost, so nobody knows which slot a packet that names none belongs to (RFC 1144 §4.1).
    is_tossing: bool,
}

impl Decompressor {
    /// `slots`: 1 to 16.
    pub(crate) fn new(slots: u8) -> Decompressor {
        Decompressor {
            slots: vec![None; usize::from(slots)],
            last_slot: None,
            is_tossing: true,
        }
    }

    /// A frame was lost or broken.
    pub(crate) fn line_error(&mut self) {
        self.is_tossing = true;
    }

    /// The headers as they were sent, and the data behind them. `None`: it makes no sense, and what follows is tossed.
    pub(crate) fn uncompressed<'a>(&mut self, octets: &'a [u8]) -> Option<(&[u8], &'a [u8])> {
        self.is_tossing = true;
        let mut headers = Headers::parse(octets)?;
        let slot = usize::from(octets[9]);
        let kept = self.slots.get_mut(slot)?;
        headers.octets[9] = TCP;
        // A wrong header here would spoil all that follow.
        if ip_checksum(&headers.octets[..headers.ip]) != 0 {
            return None;
        }
        let data = &octets[headers.octets.len()..headers.packet];
        let kept = match kept {
            Some(kept) => {
                **kept = headers;
                kept
            }
            None => kept.insert(Box::new(headers)),
        };
        self.last_slot = Some(slot);
        self.is_tossing = false;
        Some((&kept.octets, data))
    }

    /// The headers as they were sent, and the data behind them. `None`: it makes no sense, and what follows is tossed
    /// until a packet names its slot.
    pub(crate) fn compressed<'a>(&mut self, octets: &'a [u8]) -> Option<(&[u8], &'a [u8])> {
        let mut reader = Reader(octets);
        let changes = reader.octet().filter(|changes| changes & 0x80 == 0);
        let was_tossing = std::mem::replace(&mut self.is_tossing, true);
        let changes = changes?;
        if changes & change::SLOT != 0 {
            self.last_slot = Some(usize::from(reader.octet()?));
        } else if was_tossing {
            return None;
        }
        let headers = self.slots.get_mut(self.last_slot?)?.as_deref_mut()?;
        let mut rebuilt = headers.clone();
        apply(&mut rebuilt, changes, &mut reader)?;
        let data = reader.0;
        rebuilt.packet = rebuilt.octets.len() + data.len();
        // The sender counts the whole packet against our MRU.
        let length = u16::try_from(rebuilt.packet)
            .ok()
            .filter(|_| rebuilt.packet <= INFORMATION_OCTETS_MAX)?;
        rebuilt.set_u16(2, length);
        rebuilt.set_u16(10, 0);
        let sum = ip_checksum(&rebuilt.octets[..rebuilt.ip]);
        rebuilt.set_u16(10, sum);
        *headers = rebuilt;
        self.is_tossing = false;
        Some((&headers.octets, data))
    }
}

fn apply(headers: &mut Headers, changes: u8, reader: &mut Reader<'_>) -> Option<()> {
    let (sequence, acknowledgement) = (headers.sequence(), headers.acknowledgement());
    // As received: it is what tells the receiving TCP that a difference was lost (RFC 1144 §4.1).
    let checksum = u16::from_be_bytes([reader.octet()?, reader.octet()?]);
    headers.set_u16(headers.checksum(), checksum);
    let flags = headers.flags();
    headers.octets[flags] &= !(PUSH | URGENT);
    if changes & change::PUSH != 0 {
        headers.octets[flags] |= PUSH;
    }
    let advance =
        |headers: &mut Headers, at, by: u32| headers.set_u32(at, headers.u32(at).wrapping_add(by));
    let last_data = u32::try_from(headers.data()).ok()?;
    match changes & change::FIELDS {
        change::ECHOED => {
            advance(headers, acknowledgement, last_data);
            advance(headers, sequence, last_data);
        }
        change::ONE_WAY => advance(headers, sequence, last_data),
        _ => {
            if changes & change::URGENT != 0 {
                headers.octets[flags] |= URGENT;
                headers.set_u16(headers.urgent(), reader.difference()?);
            }
            if changes & change::WINDOW != 0 {
                let window = headers.window();
                headers.set_u16(
                    window,
                    headers.u16(window).wrapping_add(reader.difference()?),
                );
            }
            if changes & change::ACKNOWLEDGEMENT != 0 {
                advance(headers, acknowledgement, reader.difference()?.into());
            }
            if changes & change::SEQUENCE != 0 {
                advance(headers, sequence, reader.difference()?.into());
            }
        }
    }
    let id = if changes & change::IP_ID != 0 {
        reader.difference()?
    } else {
        1
    };
    headers.set_u16(Headers::IP_ID, headers.u16(Headers::IP_ID).wrapping_add(id));
    Some(())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn octet(&mut self) -> Option<u8> {
        let (&octet, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(octet)
    }

    fn difference(&mut self) -> Option<u16> {
        match self.octet()? {
            0 => Some(u16::from_be_bytes([self.octet()?, self.octet()?])),
            octet => Some(octet.into()),
        }
    }
}
