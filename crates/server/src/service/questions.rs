//! What the operator asks of the loop in which calls are decided.

use std::time::Instant;

use delivery::{TerminalId, Urgency};
use jiff::{Timestamp, Unit};

use super::Server;
use crate::dialer::moment;
use crate::plan::{Plan, PlanEntry, Question, wall};
use crate::waiting::Decided;
use calling::Event;
use calling::dispatch::Why;
use model::directory::{Name, Terminal};
use store::Resting;

impl Server {
    /// Answers. Gives the wake-up, if that has changed.
    pub(super) async fn asked(&mut self, question: Question) -> Option<Instant> {
        // Whoever asked may have gone: then the answer goes nowhere.
        let (event, answer) = match question {
            Question::Plan {
                after,
                limit,
                answer,
            } => {
                let _ = answer.send(self.plan(after, limit).await);
                return None;
            }
            Question::Explain(terminal, answer) => {
                let conditions = self.calling.conditions(&terminal.name);
                let dispatch = self.calling.dispatch();
                let _ = answer.send(Decided::of(
                    dispatch,
                    terminal.id,
                    Some(conditions),
                    moment(),
                    wall,
                ));
                return None;
            }
            Question::Paused(id, answer) => (Event::Paused(id), Some(answer)),
            Question::Resume(terminal, answer) => {
                let Terminal {
                    id, name, number, ..
                } = terminal;
                tracing::info!(terminal = %name, "resumed");
                (
                    Event::Resumed {
                        terminal: id,
                        name,
                        number,
                    },
                    Some(answer),
                )
            }
            Question::Added { terminal, name } => (Event::Added { terminal, name }, None),
            Question::TrustChanged(id) => (Event::TrustChanged(id), None),
            Question::Removed(id) => (Event::Removed(id), None),
        };
        let wake_at = self.handle(event).await;
        if let Some(answer) = answer {
            let _ = answer.send(());
        }
        wake_at
    }

    /// The plan as things stand: this number of entries after that of `after`. `None`: it has no entry.
    pub(super) async fn plan(&self, after: Option<TerminalId>, limit: usize) -> Option<Plan> {
        let agenda = self.calling.dispatch().agenda();
        let begin = match after {
            Some(after) => agenda.iter().position(|id| *id == after)? + 1,
            None => 0,
        };
        let rest = &agenda[begin..];
        let mut entries = Vec::new();
        for &id in &rest[..limit.min(rest.len())] {
            let Ok(Some(terminal)) = self.store.terminal(id).await else {
                continue;
            };
            let waiting = self.calling.dispatch().explain(id, moment());
            let at = match waiting.why {
                Why::Line { .. } => Some(Timestamp::now().round(Unit::Second).unwrap_or_default()),
                _ => waiting.next.map(wall),
            };
            let line = self.calling.dispatch().likely_line(id);
            let price = line
                .zip(terminal.number.as_ref())
                .and_then(|(line, number)| {
                    self.calling
                        .usual_price(line, number, at.unwrap_or_else(Timestamp::now))
                });
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
        let not_called = self
            .store
            .not_called(Timestamp::now())
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, "cannot read who is not called");
                Vec::new()
            });
        Some(Plan {
            entries,
            more,
            not_called,
        })
    }

    /// Terminals for which nothing waits but what they have refused: they come last.
    async fn add_resting(&self, agenda: &[TerminalId], limit: usize, entries: &mut Vec<PlanEntry>) {
        let resting = self.store.resting().await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read what rests");
            Vec::new()
        });
        for Resting {
            terminal,
            messages,
            until,
        } in resting
        {
            if entries.len() >= limit {
                return;
            }
            let Ok(Some(found)) = self.store.terminal(terminal).await else {
                continue;
            };
            if agenda.contains(&terminal) {
                continue;
            }
            entries.push(PlanEntry {
                terminal: found.name.to_string(),
                messages,
                urgency: None,
                why: "the terminal refused what waits: it is tried again, with growing pauses"
                    .to_owned(),
                at: Some(until),
                line: None,
                price: None,
                failures: 0,
            });
        }
    }
}
