//! Chance on a line, the same in every run with the same seed: inverted bits and jitter.

use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Noise {
    state: u64,
    bit_error_rate: f64,
    /// Good bits before the next inverted one.
    good_bits: u64,
}

impl Noise {
    pub(crate) fn new(seed: u64, bit_error_rate: f64) -> Self {
        let mut noise = Self {
            state: seed,
            bit_error_rate,
            good_bits: 0,
        };
        noise.good_bits = noise.gap();
        noise
    }

    /// Inverts the bits whose turn it is.
    pub(crate) fn disturb(&mut self, octets: &mut [u8]) {
        let bits = octets.len() as u64 * 8;
        let mut at = 0;
        while self.good_bits < bits - at {
            at += self.good_bits;
            let octet = usize::try_from(at / 8).expect("less than the length of the octets");
            octets[octet] ^= 1 << (at % 8);
            at += 1;
            self.good_bits = self.gap();
        }
        self.good_bits -= bits - at;
    }

    /// From nothing to `most`, evenly.
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        if most.is_zero() {
            most
        } else {
            most.mul_f64(self.unit())
        }
    }

    /// Bits that come through between two errors, which is geometrically distributed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts from floats saturate"
    )]
    fn gap(&mut self) -> u64 {
        if self.bit_error_rate <= 0.0 {
            return u64::MAX;
        }
        (self.unit().ln() / (1.0 - self.bit_error_rate).ln()) as u64
    }

    /// Above 0, up to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn unit(&mut self) -> f64 {
        // splitmix64 (Steele, Lea, Flood 2014)
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((mixed >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inverted(rate: f64, seed: u64, piece: usize) -> u32 {
        let mut noise = Noise::new(seed, rate);
        let mut octets = vec![0; 100_000];
        octets
            .chunks_mut(piece)
            .for_each(|piece| noise.disturb(piece));
        octets.iter().map(|octet| octet.count_ones()).sum()
    }

    #[test]
    fn as_many_bits_are_inverted_as_the_rate_says_in_pieces_of_any_size() {
        assert_eq!(inverted(0.0, 1, 7), 0);
        for seed in 0..5 {
            let count = inverted(1e-3, seed, 7);
            assert!((700..900).contains(&count), "{count} of 800,000 bits");
            assert_eq!(count, inverted(1e-3, seed, 4096));
        }
        assert_ne!(inverted(1e-3, 1, 7), inverted(1e-3, 2, 7));
    }

    #[test]
    fn jitter_is_anything_up_to_the_most() {
        let mut noise = Noise::new(1, 0.0);
        let most = Duration::from_millis(100);
        let all: Vec<_> = (0..100).map(|_| noise.up_to(most)).collect();
        assert!(all.iter().all(|jitter| *jitter <= most));
        assert!(
            all.iter().any(|jitter| *jitter < most / 10)
                && all.iter().any(|jitter| *jitter > most * 9 / 10)
        );
    }
}
