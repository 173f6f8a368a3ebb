//! With whom a call is.

use crate::keys::Whose;
use model::directory::{ChapSecret, Name, StockTrust, Terminal};
use model::provider::Provider;

/// Whom the number belongs to that we called or that calls.
#[derive(Debug)]
pub(crate) enum Peer {
    Terminal(Terminal),
    /// And what it has to pass CHAP with, if that is demanded.
    Provider(Provider, Option<ChapSecret>),
}

impl Peer {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Self::Terminal(terminal) => &terminal.name,
            Self::Provider(provider, _) => &provider.name,
        }
    }

    pub(crate) fn terminal(&self) -> Option<&Terminal> {
        match self {
            Self::Terminal(terminal) => Some(terminal),
            Self::Provider(..) => None,
        }
    }

    /// Whose sessions these are.
    pub(super) fn whose(&self) -> Whose {
        match self {
            Self::Terminal(terminal) => Whose::Terminal(terminal.id),
            Self::Provider(provider, _) => Whose::Provider(provider.name.clone()),
        }
    }

    /// What it has to pass CHAP with: without, it has no link, whoever called.
    pub(crate) fn chap(&self) -> Option<&ChapSecret> {
        match self {
            Self::Terminal(terminal) => match &terminal.trusted_by.stock()?.trust {
                StockTrust::Chap(secret) => Some(secret),
                StockTrust::NumberOnly => None,
            },
            Self::Provider(_, secret) => secret.as_ref(),
        }
    }
}
