//! Pure. What an operator asks a server for, and what it answers: JSON whose fields have types at both ends. Values are text as people write
//! them; the server says what is wrong with one by the field's name.

mod change;
mod directory;
mod money;
mod requests;

pub use change::Change;
pub use directory::{Provider, ProviderChange, TerminalChange};
pub use money::{Cost, Payer, PayerError, Spent, SpentBy};
pub use requests::{
    ClearAlarm, Invitation, Invited, NewBackup, NewKey, NewProvider, NewSender, NewSubscription,
    NewTerminal, NewToken, OldSubscription, ReadFeed, Retirement,
};
