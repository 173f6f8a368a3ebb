//! Pure. How long both ends wait for a proof.

use std::time::Duration;

/// Longest wait for the far end's proof, from the connected notice, enrolment included (design section 5).
pub const PROOF_WAIT: Duration = Duration::from_secs(15);

/// Octets of the longest handshake with its framing, in both directions.
const HANDSHAKE_OCTETS: u32 = 1500;

/// Delay that a modem adds at each change of direction: its buffers and its error correction.
const TURN: Duration = Duration::from_millis(250);

/// Changes of direction while a link comes up and its handshake runs.
const TURNS: u32 = 8;

/// The wait on a line of this rate, bit/s, and one-way delay: [`PROOF_WAIT`], or five times what the handshake should take.
pub fn proof_wait(rate_bps: u32, delay: Duration) -> Duration {
    PROOF_WAIT.max(5 * (4 * delay + handshake(rate_bps)))
}

/// What a link and its proof take, and a second more: the time of a caller that is spaced.
pub fn hearing(rate_bps: u32, delay: Duration) -> Duration {
    TURNS * (delay + TURN) + handshake(rate_bps) + Duration::from_secs(1)
}

fn handshake(rate_bps: u32) -> Duration {
    Duration::from_secs_f64(f64::from(HANDSHAKE_OCTETS * 10) / f64::from(rate_bps.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_line_has_five_times_its_handshake_and_a_spaced_caller_the_time_of_a_link() {
        let delay = Duration::from_millis(300);
        assert_eq!(proof_wait(33_600, delay), PROOF_WAIT);
        assert_eq!(proof_wait(2400, delay).as_millis(), 37_250);
        assert_eq!(hearing(2400, delay).as_millis(), 11_650);
    }
}
