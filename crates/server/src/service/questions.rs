//! What the operator asks of the loop in which calls are decided.

use delivery::{TerminalId, Urgency};
use jiff::{Timestamp, Unit};

use super::{Server, moment};
use crate::plan::{Plan, PlanEntry, wall};
use calling::dispatch::{Input, Why};
use model::alarm::AlarmKind;
use model::directory::Name;
use store::Resting;

impl Server {
    /// Who would be called when, as things stand: so many entries after that of `after`. `None`: it has no entry.
    pub(super) async fn plan(&self, after: Option<TerminalId>, limit: usize) -> Option<Plan> {
        let agenda = self.dispatch.agenda();
        let begin = match after {
            Some(after) => agenda.iter().position(|id| *id == after)? + 1,
            None => 0,
        };
        let rest = &agenda[begin..];
        let mut entries = Vec::new();
        for &id in &rest[..limit.min(rest.len())] {
            let Ok(Some(terminal)) = self.store.terminal(id).await else { continue };
            let waiting = self.dispatch.explain(id, moment());
            let at = match waiting.why {
                Why::Line { .. } => Some(Timestamp::now().round(Unit::Second).unwrap_or_default()),
                _ => waiting.next.map(wall),
            };
            let line = self.dispatch.likely_line(id);
            let price = line
                .zip(terminal.number.as_ref())
                .and_then(|(line, number)| self.dialer.usual_price(line, number, at.unwrap_or_else(Timestamp::now)));
            entries.push(PlanEntry {
                terminal: terminal.name.to_string(),
                messages: self.store.waiting(id).await.unwrap_or_default(),
                urgency: waiting.urgency.map(Urgency::as_str),
                why: waiting.why.to_string(),
                at,
                line: line.map(Name::to_string),
                price: price.map(|price| price.to_string()),
                failures: waiting.failures,
            });
        }
        let more = rest.len().saturating_sub(limit);
        if more == 0 {
            self.add_resting(&agenda, limit, &mut entries).await;
        }
        let not_called = self.store.not_called().await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read who is not called");
            Vec::new()
        });
        Some(Plan { entries, more, not_called })
    }

    /// Terminals for which nothing waits but what they have refused: they come last.
    async fn add_resting(&self, agenda: &[TerminalId], limit: usize, entries: &mut Vec<PlanEntry>) {
        let resting = self.store.resting().await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read what rests");
            Vec::new()
        });
        for Resting { terminal, messages, until } in resting {
            if entries.len() >= limit {
                return;
            }
            let Ok(Some(found)) = self.store.terminal(terminal).await else { continue };
            if agenda.contains(&terminal) {
                continue;
            }
            entries.push(PlanEntry {
                terminal: found.name.to_string(),
                messages,
                urgency: None,
                why: "the terminal refused what waits: it is tried again, with growing pauses".to_owned(),
                at: Some(until),
                line: None,
                price: None,
                failures: 0,
            });
        }
    }

    /// Has a terminal called again that was paused, or whose calls failed for days.
    pub(super) async fn resume(&mut self, id: TerminalId) {
        let Ok(Some(terminal)) = self.store.terminal(id).await else { return }; // removed since
        if let Some(number) = terminal.number.clone()
            && let Err(error) = self.dialer.resume(number).await
        {
            tracing::error!(terminal = %terminal.name, %error, "not stored that it is called again");
        }
        tracing::info!(terminal = %terminal.name, "resumed");
        self.alarms.clear(AlarmKind::DialLoop, &terminal.name).await;
        self.feed(Input::Resume(id));
        self.feed_due(&terminal).await;
    }
}
