//! The story, line by line as it happens: which log event is which sentence.

use std::time::Instant;

use serde_json::{Map, Value};

use super::children::{Event, Who};

pub(super) struct Story {
    began: Instant,
    /// Whether standard output is for the figures alone.
    is_aside: bool,
}

impl Story {
    pub(super) fn new(is_aside: bool) -> Self {
        Self {
            began: Instant::now(),
            is_aside,
        }
    }

    pub(super) fn say(&self, who: Who, what: &str) {
        let line = format!(
            "{:7.2} s  {who:9} {what}",
            self.began.elapsed().as_secs_f64()
        );
        if self.is_aside {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }

    pub(super) fn tell(&self, event: &Event) {
        match event {
            Event::Log {
                who,
                message,
                fields,
            } => {
                if let Some(sentence) = sentence(*who, message, fields) {
                    self.say(*who, &sentence);
                }
            }
            Event::Said { who, line } if line.starts_with("ringup:") => self.say(*who, line),
            Event::Said { .. } | Event::Exited { .. } => {}
        }
    }
}

/// An event in plain words, for viewers of the demo. `None`: nothing new.
fn sentence(who: Who, message: &str, fields: &Map<String, Value>) -> Option<String> {
    let field = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    };
    Some(match (who, message) {
        (Who::Exchange, "exchange ready") => {
            format!("ready: {} stations (a simulation)", field("stations"))
        }
        (Who::Exchange, "ringing") => {
            format!("{} rings, called by {}", field("called"), field("caller"))
        }
        (Who::Exchange, "answered") => "answered: the caller pays from now on".to_owned(),
        (Who::Exchange, "call ended") => {
            format!(
                "{} to {}: {}, {} s billed",
                field("caller"),
                field("called"),
                field("outcome"),
                field("billed_seconds")
            )
        }
        (Who::Information, "dial-up server in service") => {
            format!("dial-up server {} is in service", field("dialup_server"))
        }
        (Who::Information, "feed read") if field("sent") != "0" => {
            format!("feed read: {} new item(s)", field("sent"))
        }
        (Who::Information, "mail accepted") => format!(
            "mail accepted: message {}, on the disk",
            field("message_id")
        ),
        (Who::Information, "message accepted") => {
            let plural = if field("envelopes") == "1" { "" } else { "s" };
            format!(
                "stored once: message {}, for {} subscriber{plural}",
                field("message_id"),
                field("envelopes")
            )
        }
        (Who::Information, "calling") => {
            format!("calls {} on {}", field("terminal"), field("line"))
        }
        (Who::Information, "connected notice") => format!("{} is connected", field("terminal")),
        (Who::Information, "delivered") => format!("delivered to {}", field("terminal")),
        (Who::Berlin | Who::Munich, "line ready") => format!("{} is ready", field("line")),
        (Who::Berlin | Who::Munich, "link up") => "PPP is up".to_owned(),
        // Until its dial-up servers have come.
        (Who::Information, "alarm raised" | "alarm cleared")
            if field("kind") == "dialup-server-lost" =>
        {
            return None;
        }
        (Who::Anna | Who::Bert, "waiting for calls") => {
            "waiting for calls; only the starter runs".to_owned()
        }
        (Who::Anna | Who::Bert, "caller checked: registered") => {
            "phone rings; the caller is registered: answering".to_owned()
        }
        (Who::Anna | Who::Bert, "stored") => {
            format!("message {} is on the disk", field("message_id"))
        }
        (Who::Anna | Who::Bert, "handed over") => "the mail is in the Maildir".to_owned(),
        (Who::Anna | Who::Bert, "hung up") => "hung up".to_owned(),
        (Who::Server, "server ready") => "server ready".to_owned(),
        (Who::Server, "ring: registered caller") => {
            format!("caller checked: {} is registered", field("party"))
        }
        (Who::Server, "link up") => format!(
            "PPP up with {}, {} ms after CONNECT",
            field("party"),
            field("millis")
        ),
        (Who::Server, "message accepted") => {
            format!(
                "stored: message {}, {} octets, on the disk",
                field("message_id"),
                field("size")
            )
        }
        (Who::Server, "connection state checked") => {
            format!("{} is {}", field("terminal"), field("state"))
        }
        (Who::Server, "calling") => format!("calls {} on {}", field("terminal"), field("line")),
        (Who::Server, "connected notice") => format!("{} says it is connected", field("terminal")),
        (Who::Server, "delivered") => {
            format!("delivered: receipt {} ms after CONNECT", field("millis"))
        }
        (Who::Server, "nothing more") => "queue empty: ending the call".to_owned(),
        (Who::Server, "call ended") => {
            format!("call with {} over: {}", field("party"), field("outcome"))
        }
        (Who::Owner, "waiting for calls") => "waiting for calls; only the starter runs".to_owned(),
        (Who::Owner, "ringing: starting the decision program") => {
            "phone rings: checking the caller".to_owned()
        }
        (Who::Owner, "caller checked: registered") => {
            "the caller is registered: answering".to_owned()
        }
        (Who::Owner, "stored") => format!("message {} is on the disk", field("message_id")),
        (Who::Owner | Who::Vending, "hung up") => "hung up".to_owned(),
        (Who::Vending, "dialling in") => "dials the centre".to_owned(),
        (Who::Vending, "submitted") => "the centre has accepted it".to_owned(),
        (_, message) if matches!(field("level").as_str(), "WARN" | "ERROR") => {
            let fields: Vec<_> = fields
                .iter()
                .filter(|(name, _)| *name != "timestamp")
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{message} {}", fields.join(" "))
        }
        _ => return None,
    })
}
