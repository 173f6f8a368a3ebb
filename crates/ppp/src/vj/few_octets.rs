//! Headers and differences, kept in place.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// At most `N` octets in place: a vector would be an allocation for each packet.
#[derive(Clone, Copy)]
pub(crate) struct FewOctets<const N: usize> {
    octets: [u8; N],
    /// How many of them count.
    count: usize,
}

impl<const N: usize> FewOctets<N> {
    pub(crate) const EMPTY: FewOctets<N> = FewOctets {
        octets: [0; N],
        count: 0,
    };

    /// # Panics
    /// If there are more than `N` then.
    pub(crate) fn extend(&mut self, more: &[u8]) {
        self.octets[self.count..self.count + more.len()].copy_from_slice(more);
        self.count += more.len();
    }

    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }
}

impl<const N: usize> Deref for FewOctets<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets[..self.count]
    }
}

impl<const N: usize> DerefMut for FewOctets<N> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.octets[..self.count]
    }
}

impl<const N: usize> PartialEq for FewOctets<N> {
    fn eq(&self, other: &FewOctets<N>) -> bool {
        **self == **other
    }
}

impl<const N: usize> Eq for FewOctets<N> {}

impl<const N: usize> fmt::Debug for FewOctets<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
