//! Addresses for callers that have none in the directory.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

/// A range of addresses, each given to one link at a time. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AddressPool {
    first: Ipv4Addr,
    last: Ipv4Addr,
    taken: Arc<Mutex<BTreeSet<Ipv4Addr>>>,
}

/// The range is upside down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool's last address {last} is before its first {first}")]
pub struct AddressPoolError {
    /// As given.
    pub first: Ipv4Addr,
    /// As given.
    pub last: Ipv4Addr,
}

/// An address on loan; it goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    pub(crate) address: Ipv4Addr,
    pool: AddressPool,
}

impl AddressPool {
    /// The addresses from `first` to `last`, both included.
    ///
    /// # Errors
    /// [`AddressPoolError`].
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Result<Self, AddressPoolError> {
        if last < first {
            return Err(AddressPoolError { first, last });
        }
        Ok(Self {
            first,
            last,
            taken: Arc::default(),
        })
    }

    /// The lowest address that is free. `None`: all are on loan.
    pub(crate) fn lend(&self) -> Option<Loan> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let range = u32::from(self.first)..=u32::from(self.last);
        let address = range
            .map(Ipv4Addr::from)
            .find(|address| !taken.contains(address))?;
        taken.insert(address);
        Some(Loan {
            address,
            pool: self.clone(),
        })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.pool
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_lent_once_until_it_comes_back() {
        let pool = AddressPool::new([10, 0, 0, 255].into(), [10, 0, 1, 0].into()).unwrap();
        let first = pool.lend().unwrap();
        let second = pool.lend().unwrap();
        assert_eq!(
            [first.address, second.address],
            [Ipv4Addr::from([10, 0, 0, 255]), [10, 0, 1, 0].into()]
        );
        assert!(pool.lend().is_none());
        drop(first);
        assert_eq!(
            pool.lend().unwrap().address,
            Ipv4Addr::from([10, 0, 0, 255])
        );
    }

    #[test]
    fn a_range_upside_down_is_refused() {
        assert!(AddressPool::new([10, 0, 0, 2].into(), [10, 0, 0, 1].into()).is_err());
    }
}
