//! What a user declares as state, how it is encoded, and the table that holds it.
//!
//! * [`data`]: values that can be stored and sent, and their canonical encoding;
//! * [`key`]: values a stream can be partitioned by;
//! * [`schema`]: the shape of what is stored, and how one shape becomes another;
//! * [`keyed`]: the state of one key, as a struct of states;
//! * [`operator`]: the state of one subtask, as a struct of lists or of broadcast maps;
//! * [`table`]: the state of all keys of a subtask in memory;
//! * [`spill`]: the contract of stores for what does not fit there;
//! * [`tier`]: table and store together.
//!
//! This crate does no I/O, but for the stand-in of a store that tests use and its suite, and starts no thread.

// The derives name this crate as its users do, also in its own unit tests.
#[cfg(test)]
extern crate self as highwater_state;

pub mod data;
pub mod key;
pub mod keyed;
pub mod operator;
pub mod schema;
pub mod spill;
pub mod table;
pub mod tier;

pub use data::{Data, DecodeError};
pub use key::Key;
pub use keyed::{
    Aggregate, AggregatingState, Count, KeyedState, ListState, MapState, Never, Plain, Reduce, ReducingState, State,
    Ttl, ValueState,
};
pub use operator::{BroadcastState, OperatorState, SplitList, UnionList};
pub use schema::{Schema, StateSchema};

/// Implements [`Data`](trait@Data) for a struct or an enum whose fields are all `Data`.
///
/// A struct is encoded as its fields in the order they are declared, an enum as one byte with the index of the variant
/// and then the variant's fields. Type parameters must be `Data` themselves. `#[data(crate = "path")]` names this crate
/// where it is only reachable under another path.
///
/// What is stored outlives changes of the type, see [`ValueMigration`](schema::ValueMigration). A field that is added
/// says what values without it have, by `#[data(default)]` or `#[data(default = "expression")]`; a field or variant that
/// is renamed says what it was called, by `#[data(alias = "name")]`, given several times if need be:
///
/// ```
/// # use highwater_state::Data;
/// #[derive(Clone, Data)]
/// struct Visit {
///     #[data(alias = "address")]
///     host: String,
///     #[data(default = "443")]
///     port: u16,
/// }
/// ```
///
/// A default is for stored values only. Fields without a name are found by their place: add to their end, and give
/// them names before you move them.
pub use highwater_state_derive::Data;

/// Implements [`KeyedState`](trait@KeyedState) and `Default` for a struct whose fields are all states.
///
/// `#[state(ttl = "30m")]` on a field gives its state a [time-to-live](keyed::ttl). A state that is renamed says what it
/// was called, by `#[state(alias = "name")]`, so that what is stored is still its own.
///
/// `#[state(crate = "path")]` names this crate where it is only reachable under another path.
pub use highwater_state_derive::KeyedState;

/// Implements [`OperatorState`](trait@OperatorState) and `Default` for a struct whose fields are all operator states of one kind.
///
/// `#[state(crate = "path")]` names this crate where it is only reachable under another path.
pub use highwater_state_derive::OperatorState;
