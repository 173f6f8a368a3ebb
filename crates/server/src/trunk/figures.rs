//! Pure. What a dial-up server says of a call, held against what a line can do in the time that has passed. Every figure has a bound; what is
//! beyond it is a lie, and then the call counts as all that was reserved for it.

use std::time::Duration;

use jiff::Timestamp;

use super::words::{Ended, LinkUp};
use calling::UNSEEN;

/// The rates of lines: telex, and a fast port of a modem.
const RATES_BPS: std::ops::RangeInclusive<u32> = 50..=100_000_000;

/// A line may be as fast as this, whatever rate is told: a modem that says CONNECT and nothing more does not know its own.
const RATE_LEAST_BPS: u32 = 1_000_000;

/// Octets that a modem's compression makes of one on the line; V.44 claims six.
const COMPRESSION_MAX: u64 = 8;

/// What buffers hold, at a rate of nothing.
const BUFFERED_OCTETS: u64 = 64 * 1024;

/// Packets of a link's coming up, one behind the other.
const FLIGHTS_MAX: u64 = 1000;

/// Messages that cross on the trunk, and a second of counting.
const LATE: Duration = Duration::from_secs(15);

/// What is known here of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) placed_at: Timestamp,
    /// Since it was asked for; `None`: it is from before the start, and only the wall clock can say.
    pub(super) elapsed: Option<Duration>,
    /// As the link was told to be, if it was up.
    pub(super) rate_bps: Option<u32>,
    /// The longest that it may last, from the dial command on.
    pub(super) longest: Duration,
    /// Octets that are reserved for it, both ways together; `None`: any number.
    pub(super) octets_max: Option<u64>,
    /// From the word that its link was up to the word, or the session's decision, that it was over: it lasted no less.
    pub(super) seen: Duration,
}

/// What counts of a call that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) lasted: Duration,
    pub(super) connected_at: Option<Timestamp>,
    pub(super) octets_out: u64,
    pub(super) octets_in: u64,
    /// What cannot be so. The figures are then those of the reservation.
    pub(super) lie: Option<String>,
}

/// What is said of a link that came up, `elapsed` after its call was asked for, as far as it can be so; and what cannot.
pub(super) fn of_link(up: LinkUp, elapsed: Option<Duration>) -> (LinkUp, Option<String>) {
    let LinkUp {
        rate_bps,
        octets_out,
        octets_in,
        flights,
        ..
    } = up;
    let rate = rate_bps.clamp(*RATES_BPS.start(), *RATES_BPS.end());
    let most = elapsed.map_or(u64::MAX, |elapsed| octets_max(rate, elapsed));
    let lie = if rate != rate_bps {
        format!("a rate of {rate_bps} bit/s")
    } else if octets_out > most || octets_in > most {
        format!("{} octets until the link was up", octets_out.max(octets_in))
    } else if flights > FLIGHTS_MAX {
        format!("{flights} flights until the link was up")
    } else {
        return (up, None);
    };
    (
        LinkUp {
            rate_bps: rate,
            octets_out: 0,
            octets_in: 0,
            flights: 0,
            ..up
        },
        Some(lie),
    )
}

/// What counts of what is said of a call that is over.
pub(super) fn of_ended(ended: &Ended, known: Known) -> Figures {
    let Known {
        placed_at,
        elapsed,
        rate_bps,
        longest,
        octets_max: reserved,
        seen,
    } = known;
    let longest_told = elapsed.unwrap_or(longest).min(longest) + LATE;
    let rate = rate_bps.unwrap_or_default();
    let most = octets_max(rate, elapsed.unwrap_or(longest).min(longest));
    let lasted = ended.lasted();
    // By the clock of the dial-up server alone: it need not be ours.
    let since_connect = ended
        .connected_at
        .map(|at| ended.ended_at.duration_since(at));
    let since_connect = since_connect.map(|since| {
        Duration::try_from(since)
            .ok()
            .filter(|since| *since <= lasted + LATE)
    });
    let beyond_reserved = reserved.map(|reserved| reserved.saturating_add(octets_max(rate, LATE)));
    let sum = ended.octets_out.saturating_add(ended.octets_in);
    let lie = if lasted > longest_told {
        Some(format!("it lasted {} ms", ended.lasted_ms))
    } else if lasted + LATE < seen {
        Some(format!(
            "it lasted {} ms, and its link was up for {} ms",
            ended.lasted_ms,
            seen.as_millis()
        ))
    } else if since_connect == Some(None) {
        Some("it was connected outside of its time".to_owned())
    } else if ended.octets_out > most
        || ended.octets_in > most
        || beyond_reserved.is_some_and(|beyond| sum > beyond)
    {
        Some(format!(
            "it carried {} octets out and {} in",
            ended.octets_out, ended.octets_in
        ))
    } else {
        None
    };
    if lie.is_some() {
        // To what it lasted, the settlement adds what our own count may miss.
        let lasted = longest.saturating_sub(UNSEEN);
        let octets_out = reserved.unwrap_or(0);
        return Figures {
            lasted,
            connected_at: None,
            octets_out,
            octets_in: 0,
            lie,
        };
    }
    let lasted = lasted.min(elapsed.unwrap_or(longest)).min(longest);
    let connected_at = since_connect.flatten().and_then(|since| {
        let after = jiff::SignedDuration::try_from(lasted.saturating_sub(since)).ok()?;
        placed_at.checked_add(after).ok()
    });
    // Until the dial-up server saw that they were used up more may have gone over the line: it counts as what was reserved.
    let octets_out = ended.octets_out.min(reserved.unwrap_or(u64::MAX));
    let octets_in = ended
        .octets_in
        .min(reserved.map_or(u64::MAX, |reserved| reserved - octets_out));
    Figures {
        lasted,
        connected_at,
        octets_out,
        octets_in,
        lie: None,
    }
}

/// The most octets one way in a time.
fn octets_max(rate_bps: u32, time: Duration) -> u64 {
    let rate = u64::from(rate_bps.clamp(RATE_LEAST_BPS, *RATES_BPS.end()));
    (rate / 8 * COMPRESSION_MAX)
        .saturating_mul(time.as_secs().saturating_add(1))
        .saturating_add(BUFFERED_OCTETS)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn known() -> Known {
        Known {
            placed_at: "2026-11-24T12:00:00Z".parse().unwrap(),
            elapsed: Some(MINUTE),
            rate_bps: Some(33_600),
            longest: 10 * MINUTE,
            octets_max: Some(10_000),
            seen: Duration::from_secs(40),
        }
    }

    /// By a clock that is an hour behind ours.
    fn ended() -> Ended {
        Ended {
            how: "closed".into(),
            why: String::new(),
            connected_at: Some("2026-11-24T11:00:20Z".parse().unwrap()),
            ended_at: "2026-11-24T11:00:50Z".parse().unwrap(),
            lasted_ms: 50_000,
            octets_out: 900,
            octets_in: 100,
        }
    }

    #[test]
    fn what_can_be_so_counts_as_it_is_told() {
        let connected_at = "2026-11-24T12:00:20Z".parse().ok();
        let expected = Figures {
            lasted: Duration::from_secs(50),
            connected_at,
            octets_out: 900,
            octets_in: 100,
            lie: None,
        };
        assert_eq!(of_ended(&ended(), known()), expected);
        assert_eq!(
            of_ended(
                &ended(),
                Known {
                    elapsed: None,
                    ..known()
                }
            ),
            expected
        );
        let busy = Ended {
            connected_at: None,
            octets_out: 0,
            octets_in: 0,
            ..ended()
        };
        assert_eq!(
            of_ended(
                &busy,
                Known {
                    rate_bps: None,
                    ..known()
                }
            )
            .lie,
            None
        );
        let late = Ended {
            lasted_ms: 60_500,
            ..ended()
        };
        assert_eq!(
            of_ended(&late, known()).lasted,
            MINUTE,
            "never longer than it is here"
        );
    }

    #[test]
    fn a_call_is_no_shorter_than_its_link_was_seen_up() {
        let told = |lasted_ms| {
            let ended = Ended {
                connected_at: None,
                lasted_ms,
                ..ended()
            };
            of_ended(&ended, known())
        };
        assert_eq!(told(25_000).lie, None, "words cross on the trunk");
        let short = told(24_000);
        assert!(short.lie.is_some_and(|lie| lie.contains("up for 40000 ms")));
        assert_eq!(short.lasted, 10 * MINUTE - UNSEEN);
    }

    #[test]
    fn what_cannot_be_so_counts_as_all_that_was_reserved_whichever_figure_it_is() {
        let lies = [
            Ended {
                octets_out: u64::MAX,
                ..ended()
            },
            Ended {
                octets_in: u64::MAX,
                octets_out: u64::MAX,
                ..ended()
            },
            Ended {
                octets_in: octets_max(33_600, MINUTE) + 1,
                ..ended()
            },
            Ended {
                lasted_ms: u64::MAX,
                ..ended()
            },
            Ended {
                lasted_ms: 76_000,
                ..ended()
            },
            Ended {
                connected_at: Some(Timestamp::MAX),
                ..ended()
            },
            Ended {
                connected_at: Some(Timestamp::MIN),
                ..ended()
            },
            Ended {
                ended_at: Timestamp::MAX,
                ..ended()
            },
        ];
        for told in lies {
            for known in [
                known(),
                Known {
                    octets_max: None,
                    ..known()
                },
                Known {
                    rate_bps: None,
                    ..known()
                },
            ] {
                let Figures {
                    lasted,
                    connected_at,
                    octets_out,
                    octets_in,
                    lie,
                } = of_ended(&told, known);
                assert!(lie.is_some(), "{told:?} {known:?}");
                assert_eq!(
                    (lasted + UNSEEN, connected_at, octets_in),
                    (10 * MINUTE, None, 0),
                    "{told:?}"
                );
                assert_eq!(octets_out, known.octets_max.unwrap_or(0));
            }
        }
        let more = Ended {
            octets_out: 10_000 + octets_max(33_600, LATE),
            octets_in: 1,
            ..ended()
        };
        assert!(
            of_ended(&more, known()).lie.is_some(),
            "more than was reserved"
        );
        assert!(
            of_ended(
                &more,
                Known {
                    octets_max: None,
                    ..known()
                }
            )
            .lie
            .is_none()
        );
        let overrun = Ended {
            octets_out: 9_990,
            octets_in: 500,
            ..ended()
        };
        let Figures {
            octets_out,
            octets_in,
            lie,
            ..
        } = of_ended(&overrun, known());
        assert_eq!(
            (octets_out, octets_in, lie),
            (9_990, 10, None),
            "never more than that costs"
        );
    }

    #[test]
    fn a_link_has_a_rate_and_octets_that_a_line_can_have() {
        let address = Ipv4Addr::new(10, 77, 0, 2);
        let up = LinkUp {
            rate_bps: 33_600,
            address,
            octets_out: 400,
            octets_in: 300,
            flights: 6,
        };
        assert_eq!(of_link(up, Some(MINUTE)), (up, None));
        for told in [
            LinkUp { rate_bps: 0, ..up },
            LinkUp {
                rate_bps: u32::MAX,
                ..up
            },
            LinkUp {
                octets_out: u64::MAX,
                ..up
            },
            LinkUp {
                octets_in: u64::MAX,
                ..up
            },
            LinkUp {
                flights: u64::MAX,
                ..up
            },
        ] {
            let (taken, lie) = of_link(told, Some(MINUTE));
            assert!(lie.is_some(), "{told:?}");
            assert!(
                RATES_BPS.contains(&taken.rate_bps)
                    && taken.octets_out == 0
                    && taken.octets_in == 0
                    && taken.flights == 0
            );
        }
    }
}
