//! Keyed state as a user declares it: one struct per key, whose fields are its states.
//!
//! Everything in the struct is checkpointed, per key; nothing else has to be done to make it fault-tolerant. Since the
//! struct names all its states, they are known with their schemas before the first record.
//!
//! Invariants:
//! * a row is encoded as its states one after the other, in the order [`KeyedState::states`] names them;
//! * a row that [is empty](KeyedState::is_empty) is the same as no row: the backend drops it, and a key that comes
//!   back starts with the default.

mod aggregating;
mod list;
mod map;
mod plain;
mod reducing;
pub mod ttl;
mod value;

pub use aggregating::{Aggregate, AggregatingState, Count};
pub use list::{ListIter, ListState};
pub use map::{MapIter, MapState};
pub use plain::Plain;
pub use reducing::{Max, Min, Reduce, ReducingState, Sum};
pub use ttl::{Never, Ttl};
pub use value::ValueState;

use std::sync::Arc;

use crate::data::DecodeError;
use crate::schema::NamedState;
use ttl::{Expiry, StateTtlConfig, TtlClock, TtlClocks};

/// All the state an operator keeps for one key. Derive it for a struct of states:
///
/// ```
/// use highwater_state::{KeyedState, MapState, ValueState};
///
/// #[derive(KeyedState)]
/// struct Visitor {
///     requests: ValueState<u64>,
///     pages: MapState<String, u64>,
/// }
///
/// let mut visitor = Visitor::default();
/// visitor.requests.update(|requests| *requests += 1);
/// visitor.pages.update("/index.html".into(), |hits| *hits += 1);
/// assert!(!visitor.is_empty());
/// ```
///
/// The derive implements `Default` as well: all states cleared.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not declare keyed state",
    label = "not `KeyedState`",
    note = "add `#[derive(KeyedState)]` to a struct whose fields are `ValueState`, `ListState`, `MapState` and the like"
)]
pub trait KeyedState: Default + Send + 'static {
    /// Whether a state has a [time-to-live](ttl). If not, none of the methods about it has anything to do.
    const HAS_TTL: bool = false;

    /// The states in the order they are encoded.
    fn states() -> Vec<NamedState>;

    /// Appends the encoding of the row.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one row from the start of `input` and moves `input` past it.
    ///
    /// # Errors
    /// If the bytes are not the encoding of a row.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;

    /// Whether all states are cleared, so that the row can be dropped.
    fn is_empty(&self) -> bool;

    /// Clears all states.
    fn clear(&mut self);

    /// Names and settings of the states with a time-to-live, in the order they are declared.
    fn ttl_configs() -> Vec<(&'static str, StateTtlConfig)> {
        Vec::new()
    }

    /// Has the states with a time-to-live take the present from `clocks`, which are those of this type: before they are
    /// handed to a function, and before [`expire`](Self::expire).
    fn follow(&mut self, clocks: &TtlClocks) {
        let _ = clocks;
    }

    /// Removes what has expired, and returns whether anything has changed by that. What has no stamp yet gets one, which
    /// is a change too.
    fn expire(&mut self) -> bool {
        false
    }
}

/// One state: what a field of a [`KeyedState`] struct can be. Implemented by [`ValueState`], [`ListState`],
/// [`MapState`], [`ReducingState`] and [`AggregatingState`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a state",
    label = "not a state",
    note = "wrap it: `ValueState<{Self}>`; lists are kept in a `ListState`, maps in a `MapState`"
)]
pub trait State: Default + Send + 'static {
    /// Whether it has a time-to-live: [`Never`] or [`Ttl`].
    type Expiry: Expiry;

    /// The state's kind and schema, under the name of the field.
    fn describe(name: &str) -> NamedState;

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads the state from the start of `input` and moves `input` past it.
    ///
    /// # Errors
    /// If the bytes are not the encoding of such a state.
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError>;

    /// Whether the state is cleared.
    fn is_cleared(&self) -> bool;

    /// Clears the state.
    fn clear(&mut self);

    /// Takes the present from `clock` from now on. Without a time-to-live there is nothing to do.
    fn follow(&mut self, clock: &Arc<TtlClock>);

    /// Removes what has expired, and returns whether anything has changed by that.
    fn expire(&mut self) -> bool;
}
