//! How much memory rows may take, and how much they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of memory for the rows of all keyed tasks of a worker.
///
/// The tasks share one budget. Each says what it takes, so that the others see what is left; if it is exceeded, those
/// that take more than an equal share make room.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bytes: usize,
    used: AtomicUsize,
    shares: AtomicUsize,
}

impl MemoryBudget {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        MemoryBudget { inner: Arc::new(Inner { bytes, used: AtomicUsize::new(0), shares: AtomicUsize::new(0) }) }
    }

    /// What all shares take together, in bytes.
    pub fn used_bytes(&self) -> usize {
        self.inner.used.load(Ordering::Relaxed)
    }

    /// A share of one task.
    pub(super) fn share(&self) -> Share {
        self.inner.shares.fetch_add(1, Ordering::Relaxed);
        Share { budget: self.clone(), used: 0 }
    }
}

/// What one task takes of a budget.
#[derive(Debug)]
pub(super) struct Share {
    budget: MemoryBudget,
    used: usize,
}

impl Share {
    /// Takes `used` bytes from now on; by how many this task exceeds what it may.
    pub fn take(&mut self, used: usize) -> usize {
        let Inner { bytes, used: total, shares } = &*self.budget.inner;
        // Adding a difference that wraps around subtracts.
        let difference = used.wrapping_sub(self.used);
        let total = total.fetch_add(difference, Ordering::Relaxed).wrapping_add(difference);
        self.used = used;
        let equal = bytes / shares.load(Ordering::Relaxed).max(1);
        total.saturating_sub(*bytes).min(used.saturating_sub(equal))
    }

    /// The bytes of the whole budget.
    pub fn budget_bytes(&self) -> usize {
        self.budget.inner.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.take(0);
        self.budget.inner.shares.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_more_than_an_equal_share_makes_room() {
        let budget = MemoryBudget::new(100);
        let mut one = budget.share();
        assert_eq!((one.take(100), one.take(130)), (0, 30));
        let mut other = budget.share();
        assert_eq!((other.take(40), one.take(130)), (0, 70));
        assert_eq!((one.take(70), other.take(40)), (10, 0));
        assert_eq!(budget.used_bytes(), 110);
        drop(one);
        assert_eq!((budget.used_bytes(), other.take(100)), (40, 0));
    }
}
