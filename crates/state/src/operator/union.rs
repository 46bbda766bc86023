//! Elements that every subtask is shown when a checkpoint is restored.

use super::{ElementState, Lists, NamedElements, ReadElements, Redistribution, SplitList};
use crate::data::Data;

/// The elements of one subtask, and after a restore the elements of all of them to look at: Flink's `getUnionListState`.
///
/// Each subtask stores its [own](Self::own) elements. After a restore [`restored`](Self::restored) has those of all subtasks, in
/// every subtask, and `own` a share of them, dealt out as in a [`SplitList`]. So nothing is lost if a function only looks, and
/// nothing is stored once per subtask, as it is with Flink when a function forgets to clear the list. A function that decides by
/// itself what is whose says so: `state.own.update(..)`.
///
/// ```
/// use highwater_state::UnionList;
///
/// let mut offsets = UnionList::<(u32, u64)>::default();
/// // In `open`: this subtask takes the partitions with even numbers.
/// let mine = offsets.take_restored().into_iter().filter(|(partition, _)| partition % 2 == 0).collect();
/// offsets.own.update(mine);
/// assert!(offsets.restored().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnionList<T> {
    /// What this subtask stores.
    pub own: SplitList<T>,
    restored: Vec<T>,
}

impl<T: Data> UnionList<T> {
    /// The elements that all subtasks had stored in the restored checkpoint, in the order of those subtasks.
    pub fn restored(&self) -> &[T] {
        &self.restored
    }

    /// The same, given away: for a function that needs them only once.
    pub fn take_restored(&mut self) -> Vec<T> {
        std::mem::take(&mut self.restored)
    }
}

impl<T> Default for UnionList<T> {
    fn default() -> Self {
        UnionList { own: SplitList::default(), restored: Vec::new() }
    }
}

impl<T: Data> ElementState for UnionList<T> {
    type Kind = Lists;

    fn describe(name: &str) -> NamedElements {
        NamedElements { name: name.into(), redistribution: Redistribution::Union, schema: T::schema() }
    }

    fn encode(&self) -> Vec<Vec<u8>> {
        self.own.encode()
    }

    fn restore<R: ReadElements>(name: &str, stored: &mut R) -> Result<Self, R::Error> {
        let state = Self::describe(name);
        let mut own = SplitList::default();
        own.update(stored.share(&state)?);
        Ok(UnionList { own, restored: stored.all(&state)? })
    }
}
