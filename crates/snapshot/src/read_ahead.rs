//! Reading ahead: a few threads fetch pieces while earlier ones are worked on; they are handed out in order.
//!
//! A storage behind a network answers one request after the other with a pause in between, and a disk has nothing to do while what it
//! gave is decoded. So several requests are under way at once.
//!
//! Invariants:
//! * pieces that were fetched, or are being fetched, and were not taken yet are at most one more than there are readers: memory is bounded
//!   by the size of a piece;
//! * however it ends, with an error or a panic of whoever takes the pieces, the readers end too.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use highwater_core::{Error, Result};

/// What readers and the one who takes have in common.
struct Shared<T> {
    progress: Mutex<Progress<T>>,
    changed: Condvar,
}

struct Progress<T> {
    /// The piece that nobody has begun to fetch.
    next: usize,
    /// How many were taken.
    taken: usize,
    fetched: BTreeMap<usize, T>,
    /// No more is wanted, or will come.
    is_over: bool,
}

/// Fetches `count` pieces with `fetch`, on up to `readers` threads, and passes them to `take` in order.
///
/// # Errors
/// The first of `take`; if no thread can be started.
pub(crate) fn read_ahead<T: Send>(
    count: usize,
    readers: usize,
    fetch: impl Fn(usize) -> T + Sync,
    mut take: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let readers = readers.min(count);
    if count <= 1 {
        return (0..count).try_for_each(|index| take(index, fetch(index)));
    }
    let progress = Progress { next: 0, taken: 0, fetched: BTreeMap::new(), is_over: false };
    let shared = Shared { progress: Mutex::new(progress), changed: Condvar::new() };
    thread::scope(|scope| {
        let over = Over(&shared);
        for _ in 0..readers {
            let read = || {
                let _over_on_panic = OverOnPanic(&shared);
                while let Some(index) = shared.next(count, readers + 1) {
                    shared.put(index, fetch(index));
                }
            };
            thread::Builder::new()
                .name("highwater-read".into())
                .spawn_scoped(scope, read)
                .map_err(|error| Error::internal("cannot start a thread that reads").with_source(error))?;
        }
        let result = (0..count).try_for_each(|index| match shared.take(index) {
            Some(piece) => take(index, piece),
            None => Err(Error::internal("a thread that reads has panicked")),
        });
        drop(over);
        result
    })
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece to fetch, once there is room for it within `window`; none if there is nothing more to do.
    fn next(&self, count: usize, window: usize) -> Option<usize> {
        let is_full = |progress: &mut Progress<T>| {
            !progress.is_over && progress.next < count && progress.next >= progress.taken + window
        };
        let waited = self.changed.wait_while(self.lock(), is_full);
        let mut progress = waited.unwrap_or_else(PoisonError::into_inner);
        if progress.is_over || progress.next >= count {
            return None;
        }
        progress.next += 1;
        Some(progress.next - 1)
    }

    fn put(&self, index: usize, piece: T) {
        self.lock().fetched.insert(index, piece);
        self.changed.notify_all();
    }

    /// Waits for a piece; none if it will not come.
    fn take(&self, index: usize) -> Option<T> {
        let is_missing = |progress: &mut Progress<T>| !progress.is_over && !progress.fetched.contains_key(&index);
        let mut progress = self.changed.wait_while(self.lock(), is_missing).unwrap_or_else(PoisonError::into_inner);
        progress.taken = index + 1;
        let piece = progress.fetched.remove(&index);
        self.changed.notify_all();
        piece
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

/// Ends the reading when it is dropped.
struct Over<'a, T>(&'a Shared<T>);

impl<T> Drop for Over<'_, T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Ends the reading if a reader panics, for else the piece that it was to fetch would be waited for for ever.
struct OverOnPanic<'a, T>(&'a Shared<T>);

impl<T> Drop for OverOnPanic<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn pieces_come_in_order_and_each_once() {
        for readers in 1..5 {
            for count in [0, 1, 2, 3, 100] {
                let mut taken = Vec::new();
                let take = |index, piece| {
                    assert_eq!(piece, index * 2);
                    taken.push(index);
                    Ok(())
                };
                read_ahead(count, readers, |index| index * 2, take).unwrap();
                assert!(taken.into_iter().eq(0..count), "{readers} {count}");
            }
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        for readers in 1..5 {
            let (begun, mut most) = (AtomicUsize::new(0), 0);
            let fetch = |_| begun.fetch_add(1, Ordering::SeqCst);
            let take = |index: usize, _| {
                most = most.max(begun.load(Ordering::SeqCst) - index);
                Ok(())
            };
            read_ahead(200, readers, fetch, take).unwrap();
            // The one that was just taken made room for another.
            assert!(most <= readers + 2, "{most} with {readers} readers");
        }
    }

    #[test]
    fn several_are_under_way_at_once() {
        let together = std::sync::Barrier::new(3);
        read_ahead(6, 3, |_| together.wait(), |_, _| Ok(())).unwrap();
    }

    #[test]
    fn an_error_ends_it_for_all() {
        let take = |index, _| if index == 3 { Err(Error::internal("enough")) } else { Ok(()) };
        let error = read_ahead(100, 3, |index| index, take).unwrap_err();
        assert!(error.to_string().contains("enough"), "{error}");
    }

    #[test]
    fn a_panic_on_either_side_ends_it_for_all() {
        let taking = |index: usize, _| if index == 3 { panic!("taking") } else { Ok(()) };
        catch_unwind(AssertUnwindSafe(|| read_ahead(100, 3, |index| index, taking))).unwrap_err();
        let fetching = |index: usize| assert!(index != 3, "fetching");
        catch_unwind(AssertUnwindSafe(|| read_ahead(100, 3, fetching, |_, ()| Ok(())))).unwrap_err();
    }
}
