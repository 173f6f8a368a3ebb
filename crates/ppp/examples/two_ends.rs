//! Two ends of a call over a pipe with a delay: what each says, and when.
//!
//! `cargo run -p ringup-ppp --example two_ends`

use std::time::{Duration, Instant};

use ringup_ppp::{Config, Event, Input, LineProfile, Output, Session};

#[expect(
    clippy::disallowed_methods,
    reason = "the caller of a session owns the clock; this one counts by itself"
)]
fn main() {
    let line = LineProfile {
        rate_bps: Some(33_600),
        delay: Duration::from_millis(60),
    };
    let began = Instant::now();
    let mut now = began;
    let mut ends = [
        (
            "server",
            Session::new(
                Config::server(line, [10, 0, 0, 1].into(), [10, 0, 0, 2].into()),
                1,
                now,
            ),
        ),
        (
            "terminal",
            Session::new(Config::terminal(line, None), 2, now),
        ),
    ];
    let mut up = 0;
    while up < ends.len() {
        // Both speak, then both hear what the other has said.
        let said = ends.each_mut().map(|(name, session)| {
            let mut octets = Vec::new();
            loop {
                match session.poll_output() {
                    Output::Transmit(written) => octets.extend_from_slice(&written),
                    Output::Event(event) => {
                        println!("{:>4} ms {name}: {event:?}", (now - began).as_millis());
                        up += usize::from(matches!(event, Event::NetworkUp { .. }));
                    }
                    Output::Packet(_) => {}
                    Output::Timeout { .. } => break octets,
                }
            }
        });
        now += line.delay;
        let [to_terminal, to_server] = said;
        ends[0].1.handle(Input::Bytes(&to_server), now);
        ends[1].1.handle(Input::Bytes(&to_terminal), now);
    }
    for (name, session) in &ends {
        let statistics = session.statistics();
        println!(
            "{name}: {} octets sent in {} frames",
            statistics.sent.octets, statistics.sent.frames
        );
    }
}
