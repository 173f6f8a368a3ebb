//! The verbs of a machine at the end of a line.

mod inbox;
mod machine;
mod outbox;
mod refused;

use std::process::ExitCode;

use clap::Subcommand;

/// For the whole program's help.
pub(crate) const EXAMPLES: &str = "
  ringup enrol owner.bundle                      make this machine a terminal
  ringup inbox list                              received messages
  ringup send --to tel:301 --token-file token note.txt";

#[derive(Debug, Subcommand)]
pub(crate) enum TerminalVerb {
    Send(machine::Send),
    DialIn(machine::DialIn),
    Connect(machine::Connect),
    Enrol(machine::Enrol),
    Inbox(inbox::InboxVerbs),
    Outbox(outbox::OutboxVerbs),
    Subscribe(outbox::Subscribe),
    Unsubscribe(outbox::Unsubscribe),
    Conditions(outbox::StateConditions),
    Refused(refused::Refused),
    Wait(machine::Wait),
    Answer(machine::Answer),
}

impl TerminalVerb {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Send(send) => send.run(),
            Self::DialIn(dial_in) => dial_in.run(),
            Self::Connect(connect) => connect.run(),
            Self::Enrol(enrol) => enrol.run(),
            Self::Inbox(verbs) => verbs.run(),
            Self::Outbox(verbs) => verbs.run(),
            Self::Subscribe(subscribe) => subscribe.run(),
            Self::Unsubscribe(unsubscribe) => unsubscribe.run(),
            Self::Conditions(conditions) => conditions.run(),
            Self::Refused(refused) => refused.run(),
            Self::Wait(wait) => wait.run(),
            Self::Answer(answer) => answer.run(),
        }
    }
}
