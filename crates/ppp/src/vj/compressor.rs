//! Headers to differences (RFC 1144 §3.2, §A.2).

use super::{ACK, FewOctets, Headers, PUSH, TCP, URGENT, change, ip_checksum, u16_at};

/// FIN, SYN, RST.
const NOT_PLAIN: u8 = 0x07;

/// Urgent, window, acknowledgement, sequence, identification: three octets each at most.
const DIFFERENCES_OCTETS_MAX: usize = 15;
/// Changes, slot and checksum before them.
const HEAD_OCTETS_MAX: usize = 4 + DIFFERENCES_OCTETS_MAX;

type Differences = FewOctets<DIFFERENCES_OCTETS_MAX>;

#[derive(Debug)]
pub(crate) struct Compressor {
    /// The slots in use, the one used last in front: a connection not seen takes the place of the last.
    slots: Vec<(u8, Headers)>,
    slots_max: u8,
    /// Whether the slot may be left out when it is that of the packet before (RFC 1332 §4).
    hides_slot: bool,
    last_slot: Option<u8>,
}

/// How a packet is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compressed<'a> {
    /// As IPv4.
    AsItIs,
    /// To fill a slot: its first octets are `head` instead.
    Whole { head: [u8; 10], rest: &'a [u8] },
    /// Its headers have become `head`.
    Difference {
        head: FewOctets<HEAD_OCTETS_MAX>,
        data: &'a [u8],
    },
}

impl Compressor {
    /// `slots`: 1 to 16.
    pub(crate) fn new(slots: u8, hides_slot: bool) -> Compressor {
        Compressor {
            slots: Vec::new(),
            slots_max: slots,
            hides_slot,
            last_slot: None,
        }
    }

    pub(crate) fn compress<'a>(&mut self, packet: &'a [u8]) -> Compressed<'a> {
        let Some(new) = plain_segment(packet) else {
            return Compressed::AsItIs;
        };
        let is_same = |old: &Headers| {
            old.ip == new.ip
                && old.octets[12..20] == new.octets[12..20]
                && ports(old) == ports(&new)
        };
        let Some(position) = self.slots.iter().position(|(_, old)| is_same(old)) else {
            let slot = self.slot_for_a_new_connection();
            return self.uncompressed(slot, new, packet);
        };
        let (slot, old) = self.slots.remove(position);
        let Some((changes, differences)) = difference(&old, &new) else {
            return self.uncompressed(slot, new, packet);
        };
        let mut head = FewOctets::EMPTY;
        if self.hides_slot && self.last_slot == Some(slot) {
            head.extend(&[changes]);
        } else {
            head.extend(&[changes | change::SLOT, slot]);
        }
        head.extend(&new.u16(new.checksum()).to_be_bytes());
        head.extend(&differences);
        let data = &packet[new.octets.len()..];
        self.used(slot, new);
        Compressed::Difference { head, data }
    }

    /// Counts down, so that the first connections have the numbers that are the least likely to be line noise.
    fn slot_for_a_new_connection(&mut self) -> u8 {
        let in_use = u8::try_from(self.slots.len()).expect("at most 16");
        if in_use < self.slots_max {
            return self.slots_max - 1 - in_use;
        }
        self.slots.pop().expect("there is at least one slot").0
    }

    fn uncompressed<'a>(&mut self, slot: u8, headers: Headers, packet: &'a [u8]) -> Compressed<'a> {
        let (head, rest) = packet
            .split_first_chunk::<10>()
            .expect("an IPv4 header has 20");
        let mut head = *head;
        head[9] = slot;
        self.used(slot, headers);
        Compressed::Whole { head, rest }
    }

    fn used(&mut self, slot: u8, headers: Headers) {
        self.last_slot = Some(slot);
        self.slots.insert(0, (slot, headers));
    }
}

/// RFC 1144 §3.2.3: only what can be rebuilt octet for octet is compressed.
fn plain_segment(packet: &[u8]) -> Option<Headers> {
    let headers = Headers::parse(packet)?;
    let flags = headers.octets[headers.flags()];
    let is_fragment = u16_at(packet, 6)? & 0x3fff != 0;
    let is_plain = packet[9] == TCP && !is_fragment && flags & (NOT_PLAIN | ACK) == ACK;
    (is_plain && headers.packet == packet.len() && ip_checksum(&packet[..headers.ip]) == 0)
        .then_some(headers)
}

fn ports(headers: &Headers) -> &[u8] {
    &headers.octets[headers.ip..headers.ip + 4]
}

/// What changed from one segment to the next of a connection. `None`: more than differences can say.
fn difference(old: &Headers, new: &Headers) -> Option<(u8, Differences)> {
    let ip = new.ip;
    let (old_flags, new_flags) = (old.octets[old.flags()], new.octets[new.flags()]);
    // Version, lengths, service, fragment bits, time to live, options, and the flags nobody has room for.
    let is_alike = old.octets.len() == new.octets.len()
        && old.octets[..2] == new.octets[..2]
        && old.octets[6..10] == new.octets[6..10]
        && old.octets[20..ip] == new.octets[20..ip]
        && old.octets[ip + 12] == new.octets[ip + 12]
        && old.octets[ip + 20..] == new.octets[ip + 20..]
        && (old_flags ^ new_flags) & !(PUSH | URGENT) == 0;
    if !is_alike {
        return None;
    }
    let mut changes = 0;
    let mut differences = Differences::EMPTY;
    let urgent = new.u16(new.urgent());
    if new_flags & URGENT != 0 {
        put(&mut differences, urgent);
        changes |= change::URGENT;
    } else if urgent != old.u16(old.urgent()) {
        return None;
    }
    let window = new.u16(new.window()).wrapping_sub(old.u16(old.window()));
    if window != 0 {
        put(&mut differences, window);
        changes |= change::WINDOW;
    }
    let mut moved = [0; 2];
    let fields = [
        (new.acknowledgement(), change::ACKNOWLEDGEMENT),
        (new.sequence(), change::SEQUENCE),
    ];
    for (moved, (at, field)) in moved.iter_mut().zip(fields) {
        *moved = u16::try_from(new.u32(at).wrapping_sub(old.u32(at))).ok()?;
        if *moved != 0 {
            put(&mut differences, *moved);
            changes |= field;
        }
    }
    let [acknowledged, sent] = moved.map(usize::from);
    match changes {
        // RFC 1144 §3.2.3: data after an acknowledgement is usual. All else that changes nothing is a repeat, perhaps
        // because the other end did not understand: it gets the whole headers.
        0 if old.data() == 0 && new.data() > 0 => {}
        0 | change::ECHOED | change::ONE_WAY => return None,
        _ => {
            let is_echoed =
                changes == change::SEQUENCE | change::ACKNOWLEDGEMENT && acknowledged == sent;
            let is_one_way = changes == change::SEQUENCE;
            // The peer may keep an urgent flag through these two, so they are not used right after one.
            if (is_echoed || is_one_way) && sent == old.data() && old_flags & URGENT == 0 {
                changes = if is_echoed {
                    change::ECHOED
                } else {
                    change::ONE_WAY
                };
                differences.clear();
            }
        }
    }
    let id = new
        .u16(Headers::IP_ID)
        .wrapping_sub(old.u16(Headers::IP_ID));
    if id != 1 {
        put(&mut differences, id);
        changes |= change::IP_ID;
    }
    if new_flags & PUSH != 0 {
        changes |= change::PUSH;
    }
    Some((changes, differences))
}

/// RFC 1144 §3.2.2: one octet from 1 to 255, else a zero and two.
fn put(differences: &mut Differences, value: u16) {
    match (u8::try_from(value), value.to_be_bytes()) {
        (Ok(1..), [_, low]) => differences.extend(&[low]),
        (_, [high, low]) => differences.extend(&[0, high, low]),
    }
}
