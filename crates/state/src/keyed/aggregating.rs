//! One accumulator per key, which takes in values and gives a result of another type.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::sync::Arc;

use super::State;
use super::ttl::{Expiry, Never, TtlClock};
use super::value::ValueState;
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// How an [`AggregatingState`] takes in values: Flink's `AggregateFunction`, given as a type.
pub trait Aggregate: 'static {
    /// What is added.
    type In;
    /// What is kept, and stored.
    type Accumulator: Data;
    /// What comes out.
    type Out;

    /// An accumulator that has taken in nothing.
    fn create() -> Self::Accumulator;

    /// Takes in a value.
    fn add(accumulator: &mut Self::Accumulator, value: Self::In);

    /// What has been taken in comes to.
    fn result(accumulator: &Self::Accumulator) -> Self::Out;

    /// Takes in what another accumulator has.
    fn merge(accumulator: &mut Self::Accumulator, other: Self::Accumulator);
}

/// How many values of type `T` there are.
#[derive(Debug)]
pub struct Count<T>(PhantomData<T>);

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

/// One accumulator per key, which takes in values by `A`: Flink's `AggregatingState`. With [`Ttl`](super::Ttl) as `E`
/// it [expires](super::ttl), as one value.
///
/// ```
/// use highwater_state::keyed::Aggregate;
/// use highwater_state::{AggregatingState, KeyedState};
///
/// /// The mean, kept as sum and count.
/// enum Mean {}
///
/// impl Aggregate for Mean {
///     type In = u64;
///     type Accumulator = (u64, u64);
///     type Out = f64;
///
///     fn create() -> (u64, u64) {
///         (0, 0)
///     }
///
///     fn add((sum, count): &mut (u64, u64), value: u64) {
///         *sum += value;
///         *count += 1;
///     }
///
///     fn result((sum, count): &(u64, u64)) -> f64 {
///         *sum as f64 / *count as f64
///     }
///
///     fn merge((sum, count): &mut (u64, u64), other: (u64, u64)) {
///         *sum += other.0;
///         *count += other.1;
///     }
/// }
///
/// #[derive(KeyedState)]
/// struct Sensor {
///     mean: AggregatingState<Mean>,
/// }
///
/// let mut sensor = Sensor::default();
/// assert_eq!(sensor.mean.get(), None);
/// sensor.mean.add(1);
/// sensor.mean.add(2);
/// sensor.mean.merge((9, 1));
/// assert_eq!(sensor.mean.get(), Some(4.0));
/// ```
pub struct AggregatingState<A: Aggregate, E: Expiry = Never> {
    accumulator: ValueState<A::Accumulator, E>,
    function: PhantomData<fn() -> A>,
}

impl<A: Aggregate, E: Expiry> AggregatingState<A, E> {
    /// Takes in a value.
    #[inline]
    pub fn add(&mut self, value: A::In) {
        A::add(self.accumulator.get_or_insert_with(A::create), value);
    }

    /// Takes in what another accumulator has, as when two sessions turn out to be one.
    #[inline]
    pub fn merge(&mut self, other: A::Accumulator) {
        A::merge(self.accumulator.get_or_insert_with(A::create), other);
    }

    /// What has been taken in comes to, if there was anything.
    #[inline]
    pub fn get(&self) -> Option<A::Out> {
        self.accumulator.get().map(A::result)
    }

    /// The accumulator, if anything was taken in.
    #[inline]
    pub fn accumulator(&self) -> Option<&A::Accumulator> {
        self.accumulator.get()
    }

    /// Clears the state and returns the accumulator.
    #[inline]
    pub fn take(&mut self) -> Option<A::Accumulator> {
        self.accumulator.take()
    }

    /// Clears the state.
    #[inline]
    pub fn clear(&mut self) {
        self.accumulator.clear();
    }

    /// Whether anything has been taken in.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.accumulator.is_set()
    }
}

impl<A: Aggregate, E: Expiry> Clone for AggregatingState<A, E> {
    fn clone(&self) -> Self {
        AggregatingState { accumulator: self.accumulator.clone(), function: PhantomData }
    }
}

impl<A: Aggregate, E: Expiry> Default for AggregatingState<A, E> {
    fn default() -> Self {
        AggregatingState { accumulator: ValueState::default(), function: PhantomData }
    }
}

impl<A: Aggregate, E: Expiry> Debug for AggregatingState<A, E>
where
    ValueState<A::Accumulator, E>: Debug,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AggregatingState").field(&self.accumulator).finish()
    }
}

/// With the same accumulator, and the same stamp if it has one.
impl<A: Aggregate, E: Expiry> PartialEq for AggregatingState<A, E>
where
    ValueState<A::Accumulator, E>: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.accumulator == other.accumulator
    }
}

impl<A: Aggregate, E: Expiry> Eq for AggregatingState<A, E> where ValueState<A::Accumulator, E>: Eq {}

impl<A: Aggregate, E: Expiry> State for AggregatingState<A, E> {
    type Expiry = E;

    fn describe(name: &str) -> NamedState {
        NamedState::new(name, StateKind::Aggregating, A::Accumulator::schema()).with_ttl(E::EXPIRES)
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.accumulator.encode(out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(AggregatingState { accumulator: ValueState::decode(input)?, function: PhantomData })
    }

    #[inline]
    fn is_cleared(&self) -> bool {
        self.accumulator.is_cleared()
    }

    fn clear(&mut self) {
        self.accumulator.clear();
    }

    #[inline]
    fn follow(&mut self, clock: &Arc<TtlClock>) {
        self.accumulator.follow(clock);
    }

    fn expire(&mut self) -> bool {
        self.accumulator.expire()
    }
}
