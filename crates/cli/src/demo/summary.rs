//! The figures of one message: from CONNECT of the server's call to the terminal's disk, by phase.

use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::children::{Event, Who};

/// What a link had carried at one moment, as the server counts.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    millis: u64,
    octets: u64,
    flights: u64,
}

/// Collects what the logs say about one message.
#[derive(Debug)]
pub(super) struct Summary {
    rate: u32,
    size: usize,
    message: String,
    /// The call that brings it.
    call: String,
    link_up: Mark,
    notice: Mark,
    receipt: Mark,
    answered_at: Option<Timestamp>,
    stored_at: Option<Timestamp>,
    on_hook_at: Option<Timestamp>,
    billed: Vec<u64>,
}

impl Summary {
    pub(super) fn new(rate: u32, size: usize) -> Self {
        Self {
            rate,
            size,
            message: String::new(),
            call: String::new(),
            link_up: Mark::default(),
            notice: Mark::default(),
            receipt: Mark::default(),
            answered_at: None,
            stored_at: None,
            on_hook_at: None,
            billed: Vec::new(),
        }
    }

    /// The message's id, once it is known.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Whether the message has arrived and both calls are over.
    pub(super) fn is_complete(&self) -> bool {
        self.stored_at.is_some()
            && self.receipt.millis > 0
            && self.on_hook_at.is_some()
            && self.billed.len() >= 2
    }

    pub(super) fn note(&mut self, event: &Event) {
        let Event::Log {
            who,
            message,
            fields,
        } = event
        else {
            return;
        };
        let text = |name: &str| {
            fields
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let at = || text("timestamp").parse().ok();
        match (*who, message.as_str()) {
            (Who::Server, "message accepted") => self.message = text("message_id"),
            (Who::Server, "calling") => self.call = text("call"),
            (Who::Server, "link up") if text("call") == self.call => self.link_up = mark(fields),
            (Who::Server, "connected notice") if text("call") == self.call => {
                self.notice = mark(fields);
            }
            (Who::Server, "delivered") if text("message_id") == self.message => {
                self.receipt = mark(fields);
            }
            (Who::Owner, "answered") => self.answered_at = at(),
            (Who::Owner, "stored") => self.stored_at = at(),
            (Who::Exchange, "call ended") => {
                // The first hang-up of the second call: until then it is paid for.
                self.on_hook_at = at();
                self.billed.push(
                    fields
                        .get("billed_seconds")
                        .and_then(Value::as_u64)
                        .unwrap_or_default(),
                );
            }
            _ => {}
        }
    }

    /// The figures for programs: times in seconds or milliseconds from CONNECT, octets both ways.
    pub(super) fn to_json(&self) -> Value {
        let [ppp, tcp, delivery] = self.phases().map(
            |Mark {
                 millis,
                 octets,
                 flights,
             }| json!({ "millis": millis, "octets": octets, "flights": flights }),
        );
        json!({
            "size_octets": self.size,
            "rate_bps": self.rate,
            "on_disk_seconds": self.since_connect(self.stored_at),
            "on_hook_seconds": self.since_connect(self.on_hook_at),
            "floor_seconds": self.floor(),
            "line_share": self.floor() / self.since_connect(self.on_hook_at),
            "ppp": ppp,
            "tcp": tcp,
            "delivery": delivery,
            "billed_seconds": { "vending": self.billed.first(), "centre": self.billed.last() },
        })
    }

    /// What PPP, TCP and delivery took, each on its own.
    fn phases(&self) -> [Mark; 3] {
        let between = |from: Mark, to: Mark| Mark {
            millis: to.millis.saturating_sub(from.millis),
            octets: to.octets.saturating_sub(from.octets),
            flights: to.flights.saturating_sub(from.flights),
        };
        [
            self.link_up,
            between(self.link_up, self.notice),
            between(self.notice, self.receipt),
        ]
    }

    /// What the content alone takes on this line, in seconds.
    fn floor(&self) -> f64 {
        self.size as f64 * 10.0 / f64::from(self.rate)
    }

    fn since_connect(&self, at: Option<Timestamp>) -> f64 {
        match (self.answered_at, at) {
            (Some(from), Some(to)) => to.duration_since(from).as_secs_f64(),
            _ => f64::NAN,
        }
    }
}

fn mark(fields: &Map<String, Value>) -> Mark {
    let number = |name: &str| fields.get(name).and_then(Value::as_u64).unwrap_or_default();
    Mark {
        millis: number("millis"),
        octets: number("octets_out") + number("octets_in"),
        flights: number("flights"),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.since_connect(self.stored_at);
        let on_hook = self.since_connect(self.on_hook_at);
        let floor = self.floor();
        writeln!(
            f,
            "\n{} octets at {} bit/s, from CONNECT of the server's call:",
            self.size, self.rate
        )?;
        writeln!(
            f,
            "  phase                     ms   octets (both ways)   flights"
        )?;
        let names = [
            "PPP: IP is up",
            "TCP: connected notice",
            "delivery: receipt",
        ];
        for (
            name,
            Mark {
                millis,
                octets,
                flights,
            },
        ) in names.into_iter().zip(self.phases())
        {
            writeln!(f, "  {name:22} {millis:6} {octets:10} {flights:20}")?;
        }
        writeln!(
            f,
            "  on the terminal's disk after {disk:.2} s, on hook after {on_hook:.2} s"
        )?;
        writeln!(
            f,
            "  the content alone takes {floor:.2} s at this rate: {:.1} % of the connected time",
            100.0 * floor / on_hook
        )?;
        write!(
            f,
            "  billed: {} s by the vending machine, {} s by the centre",
            self.billed[0],
            self.billed[self.billed.len() - 1]
        )
    }
}
