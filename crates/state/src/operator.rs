//! Operator state as a user declares it: the state of a subtask, not of a key.
//!
//! A struct of [`SplitList`]s and [`UnionList`]s is what a process function without keys keeps; a struct of [`BroadcastState`]s is
//! what a broadcast function does. As with keyed state everything in the struct is checkpointed, and its states are known with
//! their schemas before the first record. The two kinds do not mix, which the compiler checks through [`OperatorState::Kind`]: a
//! broadcast state has to be the same in all subtasks, and only a broadcast function sees the same records in all of them.
//!
//! Operator state is held in memory and is encoded as a whole at each barrier: it is meant for positions, buffers and rules.
//!
//! Invariant: each state is stored as a list of elements that have a meaning on their own, so that a checkpoint can be restored
//! with any number of subtasks, whole element by whole element.

mod broadcast;
mod list;
mod union;

pub use broadcast::BroadcastState;
pub use list::SplitList;
pub use union::UnionList;

use crate::data::Data;
use crate::schema::Schema;

/// All the operator state of one subtask. Derive it for a struct of states:
///
/// ```
/// use highwater_state::{OperatorState, SplitList, UnionList};
///
/// #[derive(OperatorState)]
/// struct Buffer {
///     waiting: SplitList<String>,
///     offsets: UnionList<(u32, u64)>,
/// }
///
/// let mut buffer = Buffer::default();
/// buffer.waiting.add("line".into());
/// assert_eq!(buffer.waiting.len(), 1);
/// ```
///
/// The derive implements `Default` as well: all states empty. A function without operator state has `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not declare operator state",
    label = "not `OperatorState`",
    note = "add `#[derive(OperatorState)]` to a struct whose fields are `SplitList` and `UnionList`, \
            or `BroadcastState` for a broadcast function"
)]
pub trait OperatorState: Default + 'static {
    /// [`Lists`] or [`Broadcast`].
    type Kind;

    /// The states in the order they are declared.
    fn states() -> Vec<NamedElements>;

    /// The encoded elements of each state, in the order of [`states`](Self::states).
    fn encode(&self) -> Vec<Vec<Vec<u8>>>;

    /// Takes each state from a checkpoint.
    ///
    /// # Errors
    /// From `stored`.
    fn restore<R: ReadElements>(stored: &mut R) -> Result<Self, R::Error>;
}

/// The kind of operator state that differs from subtask to subtask.
#[derive(Debug)]
pub enum Lists {}

/// The kind of operator state that is the same in all subtasks.
#[derive(Debug)]
pub enum Broadcast {}

impl OperatorState for () {
    type Kind = Lists;

    fn states() -> Vec<NamedElements> {
        Vec::new()
    }

    fn encode(&self) -> Vec<Vec<Vec<u8>>> {
        Vec::new()
    }

    fn restore<R: ReadElements>(_: &mut R) -> Result<Self, R::Error> {
        Ok(())
    }
}

/// One state: what a field of an [`OperatorState`] struct can be. Implemented by [`SplitList`], [`UnionList`] and
/// [`BroadcastState`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an operator state",
    label = "not an operator state",
    note = "lists are kept in a `SplitList` or a `UnionList`, the map of a broadcast function in a `BroadcastState`"
)]
pub trait ElementState: Default + 'static {
    /// [`Lists`] or [`Broadcast`].
    type Kind;

    /// How its elements are restored, and their schema, under the name of the field.
    fn describe(name: &str) -> NamedElements;

    /// The elements, encoded.
    fn encode(&self) -> Vec<Vec<u8>>;

    /// Takes the state from a checkpoint.
    ///
    /// # Errors
    /// From `stored`.
    fn restore<R: ReadElements>(name: &str, stored: &mut R) -> Result<Self, R::Error>;
}

/// One declared operator state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedElements {
    /// The field's name.
    pub name: String,
    /// Who restores its elements.
    pub redistribution: Redistribution,
    /// The shape of an element.
    pub schema: Schema,
}

/// Who restores the elements that the subtasks stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redistribution {
    /// They are dealt out, each to one subtask: Flink's `SPLIT_DISTRIBUTE`.
    Split,
    /// They are dealt out, and every subtask is shown all of them: Flink's `UNION`.
    Union,
    /// All subtasks have the same ones: Flink's `BROADCAST`.
    Broadcast,
}

/// The elements of a checkpoint, as one subtask restores them.
pub trait ReadElements {
    /// Why they cannot be had.
    type Error;

    /// The elements of a state that were dealt to this subtask; none if the checkpoint does not know the state.
    ///
    /// # Errors
    /// If they are of another type or do not decode.
    fn share<T: Data>(&mut self, state: &NamedElements) -> Result<Vec<T>, Self::Error>;

    /// The elements of a state that all subtasks stored, in the order of the subtasks; none if the checkpoint does not know it.
    ///
    /// # Errors
    /// If they are of another type or do not decode.
    fn all<T: Data>(&mut self, state: &NamedElements) -> Result<Vec<T>, Self::Error>;
}

/// [`ElementState::describe`], for the derive: it compiles only for states of the struct's kind.
#[doc(hidden)]
pub fn describe_as<Kind, S: ElementState<Kind = Kind>>(name: &str) -> NamedElements {
    S::describe(name)
}

/// Each element in the encoding of values.
fn encode_each<'a, T: Data>(elements: impl IntoIterator<Item = &'a T>) -> Vec<Vec<u8>> {
    let encode = |element: &T| {
        let mut bytes = Vec::new();
        element.encode(&mut bytes);
        bytes
    };
    elements.into_iter().map(encode).collect()
}
