//! What operators emit whose results can be taken back: changes of a table.
//!
//! Applied in any order, the changes of a stream come to the same [`table`]: a record is in it as often as it was inserted
//! more than deleted. Of one key they come in the order in which they happened, and a result that is replaced is deleted right
//! before the new one is inserted: Flink's `UPDATE_BEFORE` and `UPDATE_AFTER`.

use std::collections::BTreeMap;

use highwater_state::Data;

/// A record that comes into a table, or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
#[data(crate = "highwater_state")]
pub enum Change<T> {
    /// It comes.
    Insert(T),
    /// It goes, after it has come.
    Delete(T),
}

impl<T> Change<T> {
    /// The record that comes or goes.
    pub fn record(&self) -> &T {
        match self {
            Change::Insert(record) | Change::Delete(record) => record,
        }
    }

    /// The same change of another record.
    pub fn map<U>(self, function: impl FnOnce(T) -> U) -> Change<U> {
        match self {
            Change::Insert(record) => Change::Insert(function(record)),
            Change::Delete(record) => Change::Delete(function(record)),
        }
    }
}

/// The records that are in a table after all `changes`, sorted.
///
/// ```
/// use highwater::change::{Change, table};
///
/// let changes = [Change::Insert("a"), Change::Insert("b"), Change::Delete("a"), Change::Insert("b")];
/// assert_eq!(table(changes), ["b", "b"]);
/// ```
pub fn table<T: Ord + Clone>(changes: impl IntoIterator<Item = Change<T>>) -> Vec<T> {
    let mut counts = BTreeMap::<T, i64>::new();
    for change in changes {
        match change {
            Change::Insert(record) => *counts.entry(record).or_default() += 1,
            Change::Delete(record) => *counts.entry(record).or_default() -= 1,
        }
    }
    let times = |(record, count): (T, i64)| std::iter::repeat_n(record, usize::try_from(count).unwrap_or(0));
    counts.into_iter().flat_map(times).collect()
}
