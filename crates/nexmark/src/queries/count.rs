//! How many records there are.

use std::marker::PhantomData;

use highwater::state::Aggregate;

/// Counts records of type `T`.
pub(super) struct Count<T>(PhantomData<T>);

impl<T: 'static> Aggregate for Count<T> {
    type In = T;
    type Accumulator = u64;
    type Out = u64;

    fn create() -> u64 {
        0
    }

    fn add(count: &mut u64, _: T) {
        *count += 1;
    }

    fn result(count: &u64) -> u64 {
        *count
    }

    fn merge(count: &mut u64, other: u64) {
        *count += other;
    }
}
