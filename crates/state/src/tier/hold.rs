//! The snapshot of the tier below, which is taken on another thread while the task goes on.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use highwater_core::Result;

use crate::spill::{LocalSnapshot, RowStore, StoredRows};

/// Whether a store must not be written, because its snapshot has begun and is not yet taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold(Arc<(Mutex<bool>, Condvar)>);

impl Hold {
    fn lock(&self) -> MutexGuard<'_, bool> {
        // A flag is whole also after a panic of another thread.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the store must not be written.
    pub fn is_held(&self) -> bool {
        *self.lock()
    }

    /// Waits until it may.
    pub fn wait(&self) {
        let held = self.0.1.wait_while(self.lock(), |held| *held);
        drop(held.unwrap_or_else(PoisonError::into_inner));
    }

    fn set(&self, held: bool) {
        *self.lock() = held;
        self.0.1.notify_all();
    }
}

/// A snapshot of the store below that has begun: the content is that of the moment it did.
///
/// The store is not written until this was [taken](Self::take), or dropped to give it up. So it has to be taken soon, and
/// on another thread than the task's: the task waits if it needs to write.
#[derive(Debug)]
#[must_use = "the store is not written until its snapshot is taken or dropped"]
pub struct StoreSnapshot {
    store: Arc<dyn RowStore>,
    hold: Hold,
}

impl StoreSnapshot {
    pub(super) fn begin(store: Arc<dyn RowStore>, hold: &Hold) -> Self {
        hold.set(true);
        StoreSnapshot { store, hold: hold.clone() }
    }

    /// Makes the files of the snapshot, after which the store may be written again.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn take(self) -> Result<LocalSnapshot> {
        self.store.snapshot()
    }

    /// Makes them ready to be gone through instead, after which the store may be written again.
    ///
    /// # Errors
    /// If that fails.
    pub fn view(self) -> Result<Box<dyn StoredRows>> {
        self.store.view()
    }
}

impl Drop for StoreSnapshot {
    fn drop(&mut self) {
        self.hold.set(false);
    }
}
