//! Whether the values of a state are plain or stamped, as a type.

use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;

use super::clock::{NO_STAMP, TtlClock};
use crate::data::{Data, DecodeError, Width, encode_parts};
use crate::schema::Schema;

/// Whether what a state holds expires: [`Never`] or [`Ttl`].
pub trait Expiry: Representation {}

/// What a state holds stays until it is removed: no stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

/// What a state holds expires when it has not been accessed for the time that `#[state(ttl = "..")]` of its field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {}

impl Expiry for Never {}
impl Expiry for Ttl {}

/// Holds for [`Never`]: what a field without `#[state(ttl = "..")]` must have.
#[diagnostic::on_unimplemented(
    message = "a state with `{Self}` needs a time-to-live",
    label = "no ttl given",
    note = "write `#[state(ttl = \"30m\")]` before the field, or leave `{Self}` out of its type"
)]
pub trait ExpiresNever: Expiry {
    /// Named by what the derive generates, so that it compiles only where this holds.
    const HOLDS: () = ();
}

impl ExpiresNever for Never {}

/// Holds for [`Ttl`]: what a field with `#[state(ttl = "..")]` must have.
#[diagnostic::on_unimplemented(
    message = "a state without `Ttl` in its type cannot expire",
    label = "has `#[state(ttl = ..)]`, but its type has no room for stamps",
    note = "give `Ttl` as the last type parameter: `ValueState<u64, Ttl>`, `MapState<String, u64, Ttl>`"
)]
pub trait ExpiresAfterTtl: Expiry {
    /// Named by what the derive generates, so that it compiles only where this holds.
    const HOLDS: () = ();
}

impl ExpiresAfterTtl for Ttl {}

/// How the values of a state are kept. The state calls it with its clock at every access; for [`Never`] nothing is
/// left of that.
pub trait Representation: Copy + 'static {
    /// Whether values have stamps.
    const EXPIRES: bool;
    /// A value as it is kept and encoded.
    type Entry<T: Data>: Data;
    /// What a state knows of the present.
    type Clock: Clone + Default + Debug + Send + 'static;

    /// A value that is created now.
    fn create<T: Data>(clock: &Self::Clock, value: T) -> Self::Entry<T>;
    fn value<T: Data>(entry: &Self::Entry<T>) -> &T;
    fn value_mut<T: Data>(entry: &mut Self::Entry<T>) -> &mut T;
    fn into_value<T: Data>(entry: Self::Entry<T>) -> T;
    fn is_visible<T: Data>(clock: &Self::Clock, entry: &Self::Entry<T>) -> bool;
    fn note_read<T: Data>(clock: &Self::Clock, entry: &Self::Entry<T>);
    fn note_write<T: Data>(clock: &Self::Clock, entry: &Self::Entry<T>);
    fn create_all<T: Data>(clock: &Self::Clock, values: Vec<T>) -> Vec<Self::Entry<T>>;
    /// The visible ones of `entries`.
    fn into_values<T: Data>(clock: &Self::Clock, entries: Vec<Self::Entry<T>>) -> Vec<T>;
    /// What the clean-up does with an entry; one that has no stamp gets one.
    fn age<T: Data>(clock: &Self::Clock, entry: &Self::Entry<T>) -> Age;
    fn follow(clock: &mut Self::Clock, other: &Arc<TtlClock>);

    /// The value, if it is visible; counts as reading it.
    #[inline]
    fn read<'a, T: Data>(clock: &Self::Clock, entry: &'a Self::Entry<T>) -> Option<&'a T> {
        Self::is_visible::<T>(clock, entry).then(|| {
            Self::note_read::<T>(clock, entry);
            Self::value(entry)
        })
    }

    /// Sets the value, and returns the one before if it was visible.
    #[inline]
    fn replace<T: Data>(clock: &Self::Clock, entry: &mut Self::Entry<T>, value: T) -> Option<T> {
        let was_visible = Self::is_visible::<T>(clock, entry);
        Self::note_write::<T>(clock, entry);
        let before = std::mem::replace(Self::value_mut::<T>(entry), value);
        was_visible.then_some(before)
    }

    /// The value to be changed in place, starting from `fresh` if it is not visible.
    #[inline]
    fn write<'a, T: Data>(clock: &Self::Clock, entry: &'a mut Self::Entry<T>, fresh: impl FnOnce() -> T) -> &'a mut T {
        let was_visible = Self::is_visible::<T>(clock, entry);
        Self::note_write::<T>(clock, entry);
        let value = Self::value_mut(entry);
        if !was_visible {
            *value = fresh();
        }
        value
    }

    /// The value, if it is visible.
    #[inline]
    fn take<T: Data>(clock: &Self::Clock, entry: Self::Entry<T>) -> Option<T> {
        Self::is_visible::<T>(clock, &entry).then(|| Self::into_value(entry))
    }
}

/// What the clean-up finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It has not expired.
    Alive,
    /// It had no stamp, and has got one.
    Stamped,
    /// It has expired.
    Expired,
}

impl Representation for Never {
    const EXPIRES: bool = false;
    type Entry<T: Data> = T;
    type Clock = ();

    #[inline]
    fn create<T: Data>((): &(), value: T) -> T {
        value
    }

    #[inline]
    fn value<T: Data>(entry: &T) -> &T {
        entry
    }

    #[inline]
    fn value_mut<T: Data>(entry: &mut T) -> &mut T {
        entry
    }

    #[inline]
    fn into_value<T: Data>(entry: T) -> T {
        entry
    }

    #[inline]
    fn is_visible<T: Data>((): &(), _: &T) -> bool {
        true
    }

    #[inline]
    fn note_read<T: Data>((): &(), _: &T) {}

    #[inline]
    fn note_write<T: Data>((): &(), _: &T) {}

    #[inline]
    fn create_all<T: Data>((): &(), values: Vec<T>) -> Vec<T> {
        values
    }

    #[inline]
    fn into_values<T: Data>((): &(), entries: Vec<T>) -> Vec<T> {
        entries
    }

    #[inline]
    fn age<T: Data>((): &(), _: &T) -> Age {
        Age::Alive
    }

    #[inline]
    fn follow((): &mut (), _: &Arc<TtlClock>) {}
}

impl Representation for Ttl {
    const EXPIRES: bool = true;
    type Entry<T: Data> = Stamped<T>;
    /// None in a row that no task has seen: what is done to it is not stamped, and it shows everything.
    type Clock = Option<Arc<TtlClock>>;

    fn create<T: Data>(clock: &Self::Clock, value: T) -> Stamped<T> {
        Stamped { value, stamp: Cell::new(clock.as_ref().map_or(NO_STAMP, |clock| clock.stamp())) }
    }

    #[inline]
    fn value<T: Data>(entry: &Stamped<T>) -> &T {
        &entry.value
    }

    #[inline]
    fn value_mut<T: Data>(entry: &mut Stamped<T>) -> &mut T {
        &mut entry.value
    }

    #[inline]
    fn into_value<T: Data>(entry: Stamped<T>) -> T {
        entry.value
    }

    #[inline]
    fn is_visible<T: Data>(clock: &Self::Clock, entry: &Stamped<T>) -> bool {
        clock.as_ref().is_none_or(|clock| clock.is_visible(entry.stamp.get()))
    }

    #[inline]
    fn note_read<T: Data>(clock: &Self::Clock, entry: &Stamped<T>) {
        if let Some(clock) = clock
            && (clock.is_renewed_by_reads() || entry.stamp.get() == NO_STAMP)
        {
            entry.stamp.set(clock.renewed(entry.stamp.get()));
        }
    }

    #[inline]
    fn note_write<T: Data>(clock: &Self::Clock, entry: &Stamped<T>) {
        if let Some(clock) = clock {
            entry.stamp.set(clock.renewed(entry.stamp.get()));
        }
    }

    fn create_all<T: Data>(clock: &Self::Clock, values: Vec<T>) -> Vec<Stamped<T>> {
        values.into_iter().map(|value| Self::create(clock, value)).collect()
    }

    fn into_values<T: Data>(clock: &Self::Clock, entries: Vec<Stamped<T>>) -> Vec<T> {
        entries.into_iter().filter_map(|entry| Self::take(clock, entry)).collect()
    }

    fn age<T: Data>(clock: &Self::Clock, entry: &Stamped<T>) -> Age {
        let (Some(clock), stamp) = (clock, entry.stamp.get()) else { return Age::Alive };
        if clock.has_expired(stamp) {
            return Age::Expired;
        }
        if stamp == NO_STAMP && clock.stamp() != NO_STAMP {
            entry.stamp.set(clock.stamp());
            return Age::Stamped;
        }
        Age::Alive
    }

    #[inline]
    fn follow(clock: &mut Self::Clock, other: &Arc<TtlClock>) {
        if clock.as_ref().is_none_or(|clock| !Arc::ptr_eq(clock, other)) {
            *clock = Some(Arc::clone(other));
        }
    }
}

/// A value with the time of its last access in ms since the Unix epoch, or [`NO_STAMP`]. Encoded in this order.
///
/// The stamp is in a cell, since reading may renew it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped<T> {
    value: T,
    stamp: Cell<i64>,
}

impl<T: Data> Data for Stamped<T> {
    const WIDTH: Width = T::WIDTH.then(i64::WIDTH);

    fn schema() -> Schema {
        Schema::Tuple(vec![T::schema(), i64::schema()])
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_parts(self, out, |out| {
            self.value.encode(out);
            self.stamp.get().encode(out);
        });
    }

    #[inline]
    fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
        self.stamp.get().store(self.value.store(slot))
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(Stamped { value: T::decode(input)?, stamp: Cell::new(i64::decode(input)?) })
    }
}
