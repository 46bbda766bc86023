//! One value per key, into which every added value is folded.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::ops::AddAssign;
use std::sync::Arc;

use super::State;
use super::ttl::{Expiry, Never, TtlClock};
use super::value::ValueState;
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// How a [`ReducingState`] folds a value into the one it has: Flink's `ReduceFunction`, given as a type.
///
/// It should be associative: `reduce` may one day be called with what was itself reduced.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot reduce values of type `{T}`",
    label = "no `Reduce<{T}>`",
    note = "there are `Sum`, `Min` and `Max`; for others implement `Reduce<{T}>`"
)]
pub trait Reduce<T>: 'static {
    /// Folds `value` into `into`.
    fn reduce(into: &mut T, value: T);
}

/// Adds values, with `+=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {}

/// Keeps the least value, of equal ones the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Min {}

/// Keeps the greatest value, of equal ones the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Max {}

impl<T: AddAssign> Reduce<T> for Sum {
    #[inline]
    fn reduce(into: &mut T, value: T) {
        *into += value;
    }
}

impl<T: Ord> Reduce<T> for Min {
    #[inline]
    fn reduce(into: &mut T, value: T) {
        if value < *into {
            *into = value;
        }
    }
}

impl<T: Ord> Reduce<T> for Max {
    #[inline]
    fn reduce(into: &mut T, value: T) {
        if value > *into {
            *into = value;
        }
    }
}

/// One value per key, into which every added value is folded with `R`: Flink's `ReducingState`. With
/// [`Ttl`](super::Ttl) as `E` it [expires](super::ttl), as one value.
///
/// ```
/// use highwater_state::keyed::{Max, Reduce};
/// use highwater_state::{KeyedState, ReducingState};
///
/// /// Puts words together, with spaces.
/// enum Join {}
///
/// impl Reduce<String> for Join {
///     fn reduce(into: &mut String, value: String) {
///         into.push(' ');
///         into.push_str(&value);
///     }
/// }
///
/// #[derive(KeyedState)]
/// struct Chat {
///     longest: ReducingState<u64, Max>,
///     text: ReducingState<String, Join>,
/// }
///
/// let mut chat = Chat::default();
/// for word in ["all", "is", "well"] {
///     chat.longest.add(word.len() as u64);
///     chat.text.add(word.to_string());
/// }
/// assert_eq!(chat.longest.get(), Some(&4));
/// assert_eq!(chat.text.take().unwrap(), "all is well");
/// ```
pub struct ReducingState<T: Data, R: Reduce<T>, E: Expiry = Never> {
    value: ValueState<T, E>,
    function: PhantomData<fn() -> R>,
}

impl<T: Data, R: Reduce<T>, E: Expiry> ReducingState<T, R, E> {
    /// Folds `value` into the one that is there, or keeps it if there is none.
    #[inline]
    pub fn add(&mut self, value: T) {
        // In an option, because it goes to one of two places and the compiler cannot know which.
        let mut value = Some(value);
        let into = self.value.get_or_insert_with(|| value.take().expect("asked for once"));
        if let Some(value) = value {
            R::reduce(into, value);
        }
    }

    /// What the values added so far come to, if there were any.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// Clears the state and returns what the values added came to.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }

    /// Clears the state.
    #[inline]
    pub fn clear(&mut self) {
        self.value.clear();
    }

    /// Whether a value has been added.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.value.is_set()
    }
}

impl<T: Data, R: Reduce<T>, E: Expiry> Clone for ReducingState<T, R, E> {
    fn clone(&self) -> Self {
        ReducingState { value: self.value.clone(), function: PhantomData }
    }
}

impl<T: Data, R: Reduce<T>, E: Expiry> Default for ReducingState<T, R, E> {
    fn default() -> Self {
        ReducingState { value: ValueState::default(), function: PhantomData }
    }
}

impl<T: Data, R: Reduce<T>, E: Expiry> Debug for ReducingState<T, R, E>
where
    ValueState<T, E>: Debug,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReducingState").field(&self.value).finish()
    }
}

/// With the same value, and the same stamp if it has one.
impl<T: Data, R: Reduce<T>, E: Expiry> PartialEq for ReducingState<T, R, E>
where
    ValueState<T, E>: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Data, R: Reduce<T>, E: Expiry> Eq for ReducingState<T, R, E> where ValueState<T, E>: Eq {}

impl<T: Data, R: Reduce<T>, E: Expiry> State for ReducingState<T, R, E> {
    type Expiry = E;

    fn describe(name: &str) -> NamedState {
        NamedState::new(name, StateKind::Reducing, T::schema()).with_ttl(E::EXPIRES)
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.value.encode(out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(ReducingState { value: ValueState::decode(input)?, function: PhantomData })
    }

    #[inline]
    fn is_cleared(&self) -> bool {
        self.value.is_cleared()
    }

    fn clear(&mut self) {
        self.value.clear();
    }

    #[inline]
    fn follow(&mut self, clock: &Arc<TtlClock>) {
        self.value.follow(clock);
    }

    fn expire(&mut self) -> bool {
        self.value.expire()
    }
}
