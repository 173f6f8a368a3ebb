//! Pure. The active alarms. However often one is reported, it is raised once and cleared once.

use std::collections::BTreeMap;

use jiff::Timestamp;

use model::alarm::{Alarm, AlarmKind, Change};

/// Alarms that can stand. More are a storm whose beginning says enough.
const STANDING_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Board {
    standing: BTreeMap<(AlarmKind, String), Alarm>,
}

impl Board {
    pub(super) fn new(standing: Vec<Alarm>) -> Self {
        Self {
            standing: standing
                .into_iter()
                .map(|alarm| ((alarm.kind, alarm.subject.clone()), alarm))
                .collect(),
        }
    }

    /// `None`: it stands already.
    pub(super) fn raise(
        &mut self,
        kind: AlarmKind,
        subject: String,
        detail: String,
        now: Timestamp,
    ) -> Option<Change> {
        let key = (kind, subject);
        if self.standing.contains_key(&key) || self.standing.len() >= STANDING_MAX {
            return None;
        }
        let alarm = Alarm {
            kind,
            subject: key.1.clone(),
            detail,
            raised_at: now,
            cleared_at: None,
        };
        self.standing.insert(key, alarm.clone());
        Some(Change {
            alarm,
            is_told: false,
        })
    }

    /// `None`: it does not stand.
    pub(super) fn clear(
        &mut self,
        kind: AlarmKind,
        subject: &str,
        now: Timestamp,
    ) -> Option<Change> {
        let alarm = self.standing.remove(&(kind, subject.to_owned()))?;
        Some(Change {
            alarm: Alarm {
                cleared_at: Some(now),
                ..alarm
            },
            is_told: false,
        })
    }

    /// Clears those of a kind that are over.
    pub(super) fn clear_all(
        &mut self,
        kind: AlarmKind,
        is_over: impl Fn(&Alarm) -> bool,
        now: Timestamp,
    ) -> Vec<Change> {
        let over: Vec<_> = self
            .of(kind)
            .filter(|alarm| is_over(alarm))
            .map(|alarm| alarm.subject.clone())
            .collect();
        over.iter()
            .filter_map(|subject| self.clear(kind, subject, now))
            .collect()
    }

    /// Whether any of a kind stands.
    pub(super) fn has(&self, kind: AlarmKind) -> bool {
        self.of(kind).next().is_some()
    }

    /// All, the oldest first.
    pub(super) fn standing(&self) -> Vec<Alarm> {
        let mut all: Vec<_> = self.standing.values().cloned().collect();
        all.sort_by_key(|alarm| alarm.raised_at);
        all
    }

    fn of(&self, kind: AlarmKind) -> impl Iterator<Item = &Alarm> {
        self.standing
            .range((kind, String::new())..)
            .map(|(_, alarm)| alarm)
            .take_while(move |alarm| alarm.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + second).unwrap()
    }

    #[test]
    fn an_alarm_is_raised_once_and_cleared_once_whoever_says_so_how_often() {
        let mut board = Board::default();
        let mut raise = |second| {
            board.raise(
                AlarmKind::DialLoop,
                "owner".into(),
                format!("said {second}"),
                at(second),
            )
        };
        let raised = raise(1).unwrap();
        assert_eq!(
            (raised.alarm.detail.as_str(), raised.alarm.cleared_at),
            ("said 1", None)
        );
        assert_eq!(raise(2), None);
        let cleared = board.clear(AlarmKind::DialLoop, "owner", at(3)).unwrap();
        assert_eq!(
            (cleared.alarm.raised_at, cleared.alarm.cleared_at),
            (at(1), Some(at(3)))
        );
        assert_eq!(board.clear(AlarmKind::DialLoop, "owner", at(4)), None);
        assert!(
            board
                .raise(AlarmKind::DialLoop, "owner".into(), String::new(), at(5))
                .is_some(),
            "it can come again"
        );
    }

    #[test]
    fn clearing_a_kind_touches_no_other_kind_and_none_that_goes_on() {
        let mut board = Board::default();
        for kind in AlarmKind::ALL {
            for subject in ["a", "b"] {
                board.raise(kind, subject.into(), String::new(), at(0));
            }
        }
        let cleared = board.clear_all(
            AlarmKind::LineOutOfOrder,
            |alarm| alarm.subject != "b",
            at(1),
        );
        assert_eq!(cleared.len(), 1);
        assert_eq!(board.standing().len(), 2 * AlarmKind::ALL.len() - 1);
        assert!(board.has(AlarmKind::LineOutOfOrder));
        board.clear_all(AlarmKind::LineOutOfOrder, |_| true, at(1));
        assert!(!board.has(AlarmKind::LineOutOfOrder) && board.has(AlarmKind::DialLoop));
    }

    #[test]
    fn a_storm_of_alarms_takes_bounded_memory() {
        let mut board = Board::default();
        for number in 0..STANDING_MAX {
            board
                .raise(
                    AlarmKind::TerminalSilent,
                    number.to_string(),
                    String::new(),
                    at(0),
                )
                .unwrap();
        }
        assert_eq!(
            board.raise(
                AlarmKind::TerminalSilent,
                "more".into(),
                String::new(),
                at(0)
            ),
            None
        );
        board.clear(AlarmKind::TerminalSilent, "7", at(1)).unwrap();
        assert!(
            board
                .raise(
                    AlarmKind::TerminalSilent,
                    "more".into(),
                    String::new(),
                    at(0)
                )
                .is_some()
        );
    }
}
