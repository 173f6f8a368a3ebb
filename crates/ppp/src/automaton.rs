//! The option negotiation automaton (RFC 1661 §4), one for LCP and one for each network protocol.
//!
//! ```text
//!                      Open             Up                RCA                RCR+
//!   Initial ─────────► Starting ──────► Req-Sent ───────► Ack-Rcvd ────────► Opened
//!      ▲ Down             ▲ Down          │  RCR+                 RCA          │ │
//!      │                  │               └─────────────► Ack-Sent ────────────┘ │
//!    Closed ◄─ Closing ◄──┼───────────────── Close ──────────────────────────────┤
//!                       Stopped ◄─ Stopping ◄──────────── RTR ───────────────────┘
//! ```
//!
//! The picture shows the usual way; [`transition`] is the whole of RFC 1661 §4.1, and the test below prints it in
//! the RFC's layout. None of the RFC's three options is taken: no restart (r), no passive (p), and a crossed
//! connection (x) falls back as the table says.

use std::time::Instant;

/// Configure-Requests sent without an answer before the peer counts as silent (RFC 1661 §4.6).
pub const MAX_CONFIGURE: u8 = 10;
/// Terminate-Requests sent without an answer before the link counts as closed (RFC 1661 §4.6).
pub const MAX_TERMINATE: u8 = 2;
/// Configure-Naks sent without reaching agreement before options are rejected instead (RFC 1661 §4.6).
pub const MAX_FAILURE: u8 = 5;

/// RFC 1661 §4.2, numbered as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Initial,
    Starting,
    Closed,
    Stopped,
    Closing,
    Stopping,
    ReqSent,
    AckRcvd,
    AckSent,
    Opened,
}

/// RFC 1661 §4.3, named as in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The lower layer is up.
    Up,
    /// The lower layer is down.
    Down,
    Open,
    Close,
    /// The restart timer expired and there are tries left.
    ToPlus,
    /// The restart timer expired and there are none.
    ToMinus,
    /// Configure-Request that can be acknowledged.
    RcrPlus,
    /// Configure-Request that cannot.
    RcrMinus,
    /// Configure-Ack.
    Rca,
    /// Configure-Nak or Configure-Reject.
    Rcn,
    /// Terminate-Request.
    Rtr,
    /// Terminate-Ack.
    Rta,
    /// Unknown code.
    Ruc,
    /// Code-Reject or Protocol-Reject we can live with.
    RxjPlus,
    /// Code-Reject or Protocol-Reject we cannot.
    RxjMinus,
    /// Echo-Request, Echo-Reply or Discard-Request.
    Rxr,
}

/// RFC 1661 §4.4, named as in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// This layer is up.
    Tlu,
    /// This layer is down.
    Tld,
    /// This layer needs the lower one.
    Tls,
    /// This layer needs it no longer.
    Tlf,
    /// Initialize the restart counter.
    Irc,
    /// Zero the restart counter.
    Zrc,
    /// Send Configure-Request.
    Scr,
    /// Send Configure-Ack.
    Sca,
    /// Send Configure-Nak or Configure-Reject.
    Scn,
    /// Send Terminate-Request.
    Str,
    /// Send Terminate-Ack.
    Sta,
    /// Send Code-Reject.
    Scj,
    /// Send Echo-Reply, if it was a request.
    Ser,
}

/// RFC 1661 §4.1. `None` is the dash: an event that cannot happen in that state.
pub(crate) fn transition(state: State, event: Event) -> Option<(&'static [Action], State)> {
    use Action::{Irc, Sca, Scj, Scn, Scr, Ser, Sta, Str, Tld, Tlf, Tls, Tlu, Zrc};
    use Event::{
        Close, Down, Open, Rca, Rcn, RcrMinus, RcrPlus, Rta, Rtr, Ruc, RxjMinus, RxjPlus, Rxr,
        ToMinus, ToPlus, Up,
    };
    use State::{
        AckRcvd, AckSent, Closed, Closing, Initial, Opened, ReqSent, Starting, Stopped, Stopping,
    };

    let cell: (&'static [Action], State) = match (event, state) {
        (Up, Initial) => (&[], Closed),
        (Up, Starting) => (&[Irc, Scr], ReqSent),
        (Up, _) => return None,

        (Down, Initial | Starting) => return None,
        (Down, Closed | Closing) => (&[], Initial),
        (Down, Stopped) => (&[Tls], Starting),
        (Down, Stopping | ReqSent | AckRcvd | AckSent) => (&[], Starting),
        (Down, Opened) => (&[Tld], Starting),

        (Open, Initial) => (&[Tls], Starting),
        (Open, Closed) => (&[Irc, Scr], ReqSent),
        (Open, Closing) => (&[], Stopping),
        (Open, Starting | Stopped | Stopping | ReqSent | AckRcvd | AckSent | Opened) => {
            (&[], state)
        }

        (Close, Initial | Closed | Closing) => (&[], state),
        (Close, Starting) => (&[Tlf], Initial),
        (Close, Stopped) => (&[], Closed),
        (Close, Stopping) => (&[], Closing),
        (Close, ReqSent | AckRcvd | AckSent) => (&[Irc, Str], Closing),
        (Close, Opened) => (&[Tld, Irc, Str], Closing),

        (ToPlus, Closing | Stopping) => (&[Str], state),
        (ToPlus, ReqSent | AckRcvd) => (&[Scr], ReqSent),
        (ToPlus, AckSent) => (&[Scr], AckSent),
        (ToMinus, Closing) => (&[Tlf], Closed),
        (ToMinus, Stopping | ReqSent | AckRcvd | AckSent) => (&[Tlf], Stopped),
        (ToPlus | ToMinus, Initial | Starting | Closed | Stopped | Opened) => return None,

        // From here on a packet has come in, which needs a lower layer that is up.
        (_, Initial | Starting) => return None,

        (RcrPlus | RcrMinus | Rca | Rcn, Closed) => (&[Sta], Closed),
        (RcrPlus | RcrMinus | Rca | Rcn, Closing | Stopping) => (&[], state),
        (RcrPlus, Stopped) => (&[Irc, Scr, Sca], AckSent),
        (RcrPlus, ReqSent | AckSent) => (&[Sca], AckSent),
        (RcrPlus, AckRcvd) => (&[Sca, Tlu], Opened),
        (RcrPlus, Opened) => (&[Tld, Scr, Sca], AckSent),
        (RcrMinus, Stopped) => (&[Irc, Scr, Scn], ReqSent),
        (RcrMinus, ReqSent | AckSent) => (&[Scn], ReqSent),
        (RcrMinus, AckRcvd) => (&[Scn], AckRcvd),
        (RcrMinus, Opened) => (&[Tld, Scr, Scn], ReqSent),
        (Rca | Rcn, Stopped) => (&[Sta], Stopped),
        (Rca, ReqSent) => (&[Irc], AckRcvd),
        (Rca, AckSent) => (&[Irc, Tlu], Opened),
        (Rcn, ReqSent) => (&[Irc, Scr], ReqSent),
        (Rcn, AckSent) => (&[Irc, Scr], AckSent),
        (Rca | Rcn, AckRcvd) => (&[Scr], ReqSent),
        (Rca | Rcn, Opened) => (&[Tld, Scr], ReqSent),

        (Rtr, Closed | Stopped | Closing | Stopping | ReqSent) => (&[Sta], state),
        (Rtr, AckRcvd | AckSent) => (&[Sta], ReqSent),
        (Rtr, Opened) => (&[Tld, Zrc, Sta], Stopping),
        (Rta, Closed | Stopped | ReqSent | AckSent) => (&[], state),
        (Rta, AckRcvd) => (&[], ReqSent),
        (Rta, Closing) => (&[Tlf], Closed),
        (Rta, Stopping) => (&[Tlf], Stopped),
        (Rta, Opened) => (&[Tld, Scr], ReqSent),

        (Ruc, _) => (&[Scj], state),
        (RxjPlus, AckRcvd) => (&[], ReqSent),
        (RxjPlus, _) => (&[], state),
        (RxjMinus, Closed | Closing) => (&[Tlf], Closed),
        (RxjMinus, Stopped | Stopping | ReqSent | AckRcvd | AckSent) => (&[Tlf], Stopped),
        (RxjMinus, Opened) => (&[Tld, Irc, Str], Stopping),

        (Rxr, Opened) => (&[Ser], Opened),
        (Rxr, _) => (&[], state),
    };
    Some(cell)
}

/// The state, the restart counter and the restart timer of one protocol.
#[derive(Debug)]
pub(crate) struct Automaton {
    state: State,
    /// The restart counter: how many more Configure-Requests or Terminate-Requests may go unanswered.
    sends_left: u8,
    restart_at: Option<Instant>,
}

impl Automaton {
    pub(crate) fn new() -> Automaton {
        Automaton {
            state: State::Initial,
            sends_left: 0,
            restart_at: None,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// When the restart timer expires, while it runs.
    pub(crate) fn restart_at(&self) -> Option<Instant> {
        self.restart_at
    }

    /// Moves, and says what to do. An event that cannot happen changes nothing.
    pub(crate) fn advance(&mut self, event: Event) -> &'static [Action] {
        let Some((actions, next)) = transition(self.state, event) else {
            tracing::debug!(state = ?self.state, on = ?event, "event cannot happen in this state");
            return &[];
        };
        tracing::debug!(from = ?self.state, to = ?next, on = ?event, "transition");
        self.state = next;
        if actions.contains(&Action::Irc) {
            self.sends_left = if actions.contains(&Action::Str) {
                MAX_TERMINATE
            } else {
                MAX_CONFIGURE
            };
        }
        // RFC 1661 §4.2: the restart timer runs in the five states in between and in no other.
        if !matches!(
            next,
            State::Closing | State::Stopping | State::ReqSent | State::AckRcvd | State::AckSent
        ) {
            self.restart_at = None;
        }
        actions
    }

    /// A Configure-Request or Terminate-Request went out: one try less, and the timer runs.
    pub(crate) fn sent(&mut self, restart_at: Instant) {
        self.sends_left = self.sends_left.saturating_sub(1);
        self.restart_at = Some(restart_at);
    }

    /// RFC 1661 §4.4: zero the counter, but let the timer run once so that the Terminate-Ack can arrive.
    pub(crate) fn zero_restart_count(&mut self, restart_at: Instant) {
        self.sends_left = 0;
        self.restart_at = Some(restart_at);
    }

    /// The event of an expired restart timer, if it has expired.
    pub(crate) fn timeout(&mut self, now: Instant) -> Option<Event> {
        self.restart_at.take_if(|at| *at <= now)?;
        Some(if self.sends_left > 0 {
            Event::ToPlus
        } else {
            Event::ToMinus
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 10] = [
        State::Initial,
        State::Starting,
        State::Closed,
        State::Stopped,
        State::Closing,
        State::Stopping,
        State::ReqSent,
        State::AckRcvd,
        State::AckSent,
        State::Opened,
    ];

    const EVENTS: [(&str, Event); 16] = [
        ("Up", Event::Up),
        ("Down", Event::Down),
        ("Open", Event::Open),
        ("Close", Event::Close),
        ("TO+", Event::ToPlus),
        ("TO-", Event::ToMinus),
        ("RCR+", Event::RcrPlus),
        ("RCR-", Event::RcrMinus),
        ("RCA", Event::Rca),
        ("RCN", Event::Rcn),
        ("RTR", Event::Rtr),
        ("RTA", Event::Rta),
        ("RUC", Event::Ruc),
        ("RXJ+", Event::RxjPlus),
        ("RXJ-", Event::RxjMinus),
        ("RXR", Event::Rxr),
    ];

    /// RFC 1661 §4.1 as printed: states 0 to 5, then 6 to 9.
    const RFC_FIRST_HALF: &str = "
         |    0         1         2         3         4         5
   Events| Initial   Starting  Closed    Stopped   Closing   Stopping
   ------+-----------------------------------------------------------
    Up   |    2     irc,scr/6     -         -         -         -
    Down |    -         -         0       tls/1       0         1
    Open |  tls/1       1     irc,scr/6     3r        5r        5r
    Close|    0       tlf/0       2         2         4         4
         |
     TO+ |    -         -         -         -       str/4     str/5
     TO- |    -         -         -         -       tlf/2     tlf/3
         |
    RCR+ |    -         -       sta/2 irc,scr,sca/8   4         5
    RCR- |    -         -       sta/2 irc,scr,scn/6   4         5
    RCA  |    -         -       sta/2     sta/3       4         5
    RCN  |    -         -       sta/2     sta/3       4         5
         |
    RTR  |    -         -       sta/2     sta/3     sta/4     sta/5
    RTA  |    -         -         2         3       tlf/2     tlf/3
         |
    RUC  |    -         -       scj/2     scj/3     scj/4     scj/5
    RXJ+ |    -         -         2         3         4         5
    RXJ- |    -         -       tlf/2     tlf/3     tlf/2     tlf/3
         |
    RXR  |    -         -         2         3         4         5
";

    const RFC_SECOND_HALF: &str = "
         |    6         7         8           9
   Events| Req-Sent  Ack-Rcvd  Ack-Sent    Opened
   ------+-----------------------------------------
    Up   |    -         -         -           -
    Down |    1         1         1         tld/1
    Open |    6         7         8           9r
    Close|irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4
         |
     TO+ |  scr/6     scr/6     scr/8         -
     TO- |  tlf/3p    tlf/3p    tlf/3p        -
         |
    RCR+ |  sca/8   sca,tlu/9   sca/8   tld,scr,sca/8
    RCR- |  scn/6     scn/7     scn/6   tld,scr,scn/6
    RCA  |  irc/7     scr/6x  irc,tlu/9   tld,scr/6x
    RCN  |irc,scr/6   scr/6x  irc,scr/8   tld,scr/6x
         |
    RTR  |  sta/6     sta/6     sta/6   tld,zrc,sta/5
    RTA  |    6         6         8       tld,scr/6
         |
    RUC  |  scj/6     scj/7     scj/8       scj/9
    RXJ+ |    6         6         8           9
    RXJ- |  tlf/3     tlf/3     tlf/3   tld,irc,str/5
         |
    RXR  |    6         7         8         ser/9
";

    fn rfc_row(table: &str, event: &str) -> Vec<String> {
        let cells = table
            .lines()
            .filter_map(|line| line.split_once('|'))
            .find_map(|(name, cells)| (name.trim() == event).then_some(cells));
        let cells = cells.unwrap_or_else(|| panic!("the RFC has no row {event}"));
        // The footnotes name options that are not taken.
        cells
            .split_whitespace()
            .map(|cell| cell.trim_end_matches(['r', 'p', 'x']).to_owned())
            .collect()
    }

    fn our_cell(state: State, event: Event) -> String {
        let Some((actions, next)) = transition(state, event) else {
            return "-".to_owned();
        };
        let number = STATES
            .iter()
            .position(|state| *state == next)
            .expect("all ten are listed");
        let actions: Vec<_> = actions
            .iter()
            .map(|action| format!("{action:?}").to_lowercase())
            .collect();
        if actions.is_empty() {
            number.to_string()
        } else {
            format!("{}/{number}", actions.join(","))
        }
    }

    #[test]
    fn every_cell_of_the_table_is_the_rfcs() {
        println!(
            "       0         1         2         3         4         5         6         7         8         9"
        );
        let mut cells = 0;
        for (name, event) in EVENTS {
            let ours: Vec<_> = STATES.iter().map(|state| our_cell(*state, event)).collect();
            println!(
                "{name:>5}| {}",
                ours.iter()
                    .map(|cell| format!("{cell:<10}"))
                    .collect::<String>()
            );
            let mut rfc = rfc_row(RFC_FIRST_HALF, name);
            rfc.extend(rfc_row(RFC_SECOND_HALF, name));
            assert_eq!(ours, rfc, "row {name}");
            cells += ours.len();
        }
        assert_eq!(cells, 160);
    }

    #[test]
    fn no_cell_says_two_things_to_the_layer_above() {
        for state in STATES {
            for (name, event) in EVENTS {
                let actions = transition(state, event).map_or(&[][..], |(actions, _)| actions);
                let signals = [Action::Tlu, Action::Tld, Action::Tls, Action::Tlf];
                let count = actions
                    .iter()
                    .filter(|action| signals.contains(action))
                    .count();
                assert!(count <= 1, "{name} in {state:?}");
            }
        }
    }
}
