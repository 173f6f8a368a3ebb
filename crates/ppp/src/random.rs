//! Numbers that differ from call to call: magic numbers and identifiers. Nothing secret is made of them;
//! Challenges come from [`authentication`](crate::authentication).

use crate::config::InterfaceIdentifier;

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same call again.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> [u8; 8] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    }

    pub(crate) fn octet(&mut self) -> u8 {
        self.next()[0]
    }

    /// RFC 5072 §4.1: not zero; and bit 6 of its first octet says that it is no hardware address, unique in the world.
    pub(crate) fn interface_identifier(&mut self) -> InterfaceIdentifier {
        let number = u64::from_be_bytes(self.next()) & !(0x0200 << 48);
        InterfaceIdentifier::new(number.max(1)).expect("at least 1")
    }

    /// RFC 1661 §6.4: zero says "no magic number", so it is never one.
    pub(crate) fn magic(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.next();
        u32::from_be_bytes([a, b, c, d]).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_magic_and_another_seed_another() {
        assert_eq!(Random::new(7).magic(), Random::new(7).magic());
        assert_ne!(Random::new(7).magic(), Random::new(8).magic());
    }
}
