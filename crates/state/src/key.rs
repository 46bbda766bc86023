//! Keys: what a stream is partitioned by.

use std::fmt::Debug;
use std::hash::Hash;

use crate::data::Data;

/// A value a stream can be keyed by: [`Data`] with equality.
///
/// Equal keys must encode to equal bytes, and different keys to different ones. A derived `Data` with derived `Eq` and
/// `Hash` does; floats and hash maps do not, and are no keys because they lack `Eq` or `Hash`.
#[diagnostic::on_unimplemented(
    message = "a stream cannot be keyed by `{Self}`",
    label = "not a key",
    note = "a key needs `#[derive(Clone, Debug, PartialEq, Eq, Hash, Data)]`"
)]
pub trait Key: Data + Eq + Hash + Debug {}

impl<T: Data + Eq + Hash + Debug> Key for T {}
