//! `ringup message`: what was accepted, for whom, what became of it, and why.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use delivery::MessageId;
use hyper::Method;
use serde_json::{Value, json};

use super::{List, OperatorSocket, Wanted, confirm, plain, text};

/// Messages: list, explain, cancel.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringup message list
  ringup message explain ID      why it waits, or how it ended, call by call
  ringup message cancel ID")]
pub(crate) struct MessageVerbs {
    #[command(flatten)]
    operator: OperatorSocket,
    #[command(subcommand)]
    verb: MessageVerb,
}

#[derive(Debug, Subcommand)]
enum MessageVerb {
    /// List messages, newest first
    List(Wanted),
    /// Show one message
    Show {
        /// Its id
        id: MessageId,
    },
    /// Explain one message: why it waits and what happens next, or how it ended
    Explain {
        /// Its id
        id: MessageId,
    },
    /// Cancel a message for all terminals that do not have it; a delivery that is under way is completed
    Cancel {
        /// Its id
        id: MessageId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl MessageVerbs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let operator = self.operator;
        match self.verb {
            MessageVerb::List(wanted) => operator.show_pages("/messages", &wanted, &MESSAGE_LIST),
            MessageVerb::Show { id } => operator.show(&format!("/messages/{id}")),
            MessageVerb::Explain { id } => {
                let story = operator.ask(Method::GET, &format!("/messages/{id}/explain"), None)?;
                if operator.json {
                    println!("{story:#}");
                } else {
                    print!("{}", tell(&story));
                }
                Ok(ExitCode::SUCCESS)
            }
            MessageVerb::Cancel { id, yes } => {
                if !yes
                    && !confirm(&format!(
                        "cancel message {id} for all terminals that do not have it?"
                    ))?
                {
                    bail!("nothing was cancelled");
                }
                let cancelled = operator.ask(Method::DELETE, &format!("/messages/{id}"), None)?;
                if operator.json {
                    println!("{cancelled:#}");
                } else {
                    let [count, under_way] =
                        ["cancelled", "under_way"].map(|key| text(&cancelled[key]));
                    eprintln!(
                        "cancelled for {count}; under way or in doubt for {under_way}: cancelled later unless a receipt comes (see: ringup message explain {id})"
                    );
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

const MESSAGE_LIST: List<'_> = List {
    entry: |row| plain(&row["id"]),
    columns: &[
        ("ID", "id"),
        ("ACCEPTED", "accepted_at"),
        ("PROVIDER", "provider"),
        ("URGENCY", "urgency"),
        ("SIZE", "size"),
        ("FOR", "for"),
    ],
    when_empty: "no messages yet; submit one: ringup send --token-file FILE --to tel:NUMBER FILE",
    words: |row| {
        let envelopes = row["envelopes"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut states: Vec<_> = envelopes
            .iter()
            .map(|e| format!("{}: {}", text(&e["terminal"]), text(&e["state"])))
            .collect();
        let more = row["envelope_count"]
            .as_u64()
            .unwrap_or_default()
            .saturating_sub(envelopes.len() as u64);
        if more > 0 {
            states.push(format!("and {more} more"));
        }
        row["for"] = json!(states.join(", "));
    },
};

/// A message's story in lines: accepted when and by whom; for each terminal its calls, its deliveries, its end.
fn tell(story: &Value) -> String {
    let of = |key: &str| text(&story[key]);
    let mut lines = vec![
        format!(
            "message {}: {} octets of {}, {}",
            of("id"),
            of("size"),
            of("content_type"),
            of("urgency")
        ),
        format!(
            "accepted {} from {}; on the disk since",
            of("accepted_at"),
            of("provider")
        ),
    ];
    for (key, says) in [
        ("expires_at", "expires"),
        ("replace_key", "replace key"),
        ("topic", "topic"),
    ] {
        if !story[key].is_null() {
            lines.push(format!("{says} {}", of(key)));
        }
    }
    let envelopes = story["envelopes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let more = story["envelope_count"]
        .as_u64()
        .unwrap_or_default()
        .saturating_sub(envelopes.len() as u64);
    if envelopes.len() > 1 || more > 0 {
        lines.push(summary(envelopes, more));
    }
    // Of many envelopes the server explains the first ones: the others are in the summary.
    let is_explained =
        |envelope: &&Value| envelope["state"] != "waiting" || !envelope["waiting"].is_null();
    lines.extend(
        envelopes
            .iter()
            .filter(is_explained)
            .flat_map(tell_envelope),
    );
    let others = envelopes
        .iter()
        .filter(|envelope| !is_explained(envelope))
        .count() as u64
        + more;
    if others > 0 {
        lines.push(format!(
            "not explained here: {others} more (see: ringup message show {}, ringup plan)",
            of("id")
        ));
    }
    lines.join("\n") + "\n"
}

/// How many envelopes are in which state.
fn summary(envelopes: &[Value], more: u64) -> String {
    let mut counts = BTreeMap::<_, u64>::new();
    for envelope in envelopes {
        *counts.entry(text(&envelope["state"])).or_default() += 1;
    }
    let mut counts: Vec<_> = counts
        .into_iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    counts.extend((more > 0).then(|| format!("{more} not counted here")));
    format!(
        "{} terminals: {}",
        envelopes.len() as u64 + more,
        counts.join(", ")
    )
}

fn tell_envelope(envelope: &Value) -> Vec<String> {
    let of = |value: &Value, key: &str| text(&value[key]);
    let mut lines = vec![format!("for {}:", of(envelope, "terminal"))];
    let items = |key: &str| envelope[key].as_array().cloned().unwrap_or_default();
    // Calls and deliveries in the order in which they began.
    let calls = items("calls").into_iter().map(|call| {
        let outcome = if call["outcome"].is_null() {
            "under way".to_owned()
        } else {
            of(&call, "outcome")
        };
        let direction = of(&call, "direction");
        let line = format!(
            "{direction} call {} on {}: {outcome}",
            of(&call, "id"),
            of(&call, "line")
        );
        (of(&call, "placed_at"), line)
    });
    let deliveries = items("deliveries").into_iter().map(|delivery| {
        let outcome = if delivery["outcome"].is_null() {
            "under way".to_owned()
        } else {
            of(&delivery, "outcome")
        };
        let call = of(&delivery, "call");
        (
            of(&delivery, "began_at"),
            format!(
                "delivery on call {call}: {outcome}, {} octets",
                of(&delivery, "octets")
            ),
        )
    });
    let mut events: Vec<_> = calls.chain(deliveries).collect();
    events.sort();
    lines.extend(
        events
            .into_iter()
            .map(|(at, what)| format!("  {at}  {what}")),
    );
    let waiting = &envelope["waiting"];
    if envelope["state"] == "waiting" {
        lines.push(format!("  waits: {}", of(waiting, "reason")));
        if !waiting["next"].is_null() {
            let at = if waiting["next_at"].is_null() {
                String::new()
            } else {
                format!(", at {}", of(waiting, "next_at"))
            };
            lines.push(format!("  next: {}{at}", of(waiting, "next")));
        }
    } else {
        let because = ["because", "reason"]
            .into_iter()
            .find(|key| !envelope[key].is_null());
        let reason = because
            .map(|key| format!(": {}", of(envelope, key)))
            .unwrap_or_default();
        lines.push(format!(
            "  {}  {}{reason}",
            of(envelope, "at"),
            of(envelope, "state")
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_told_in_the_order_in_which_it_happened() {
        let story = json!({
            "id": "M", "size": 9, "content_type": "text/plain", "urgency": "urgent", "accepted_at": "T0", "provider": "vending",
            "expires_at": "T9", "envelope_count": 5,
            "envelopes": [
                {
                    "terminal": "owner", "state": "delivered", "at": "T4",
                    "calls": [
                        { "id": "C1", "direction": "outgoing", "line": "a", "placed_at": "T1", "outcome": "busy" },
                        { "id": "C2", "direction": "outgoing", "line": "a", "placed_at": "T2", "outcome": "completed" },
                    ],
                    "deliveries": [{ "call": "C2", "began_at": "T3", "outcome": "delivered", "octets": 9 }],
                },
                { "terminal": "third", "state": "waiting", "waiting": null },
                { "terminal": "other", "state": "waiting", "waiting": { "reason": "no line is free", "next": "it is called", "next_at": "T8" } },
            ],
        });
        let told = "\
message M: 9 octets of text/plain, urgent
accepted T0 from vending; on the disk since
expires T9
5 terminals: 1 delivered, 2 waiting, 2 not counted here
for owner:
  T1  outgoing call C1 on a: busy
  T2  outgoing call C2 on a: completed
  T3  delivery on call C2: delivered, 9 octets
  T4  delivered
for other:
  waits: no line is free
  next: it is called, at T8
not explained here: 3 more (see: ringup message show M, ringup plan)
";
        assert_eq!(tell(&story), told);
    }
}
