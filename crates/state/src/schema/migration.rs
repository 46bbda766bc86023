//! Migrations: stored bytes of an older program become those of this one.
//!
//! A migration is planned from two schemas before anything is read, and either covers every value that can have been
//! stored or does not exist. It works on bytes: the types of the older program are gone.
//!
//! | change | |
//! |---|---|
//! | a field added | with `#[data(default)]` or `#[data(default = "..")]` |
//! | a field removed | but not in an element of a set or a key of a map, where two could become the same |
//! | a field, variant or state renamed | with `#[data(alias = "..")]`, `#[state(alias = "..")]` |
//! | fields, variants, states in another order | |
//! | a variant added | but none removed: a stored value may be one |
//! | a number widened | to one that holds every value of the old: `u8` to `u16` or `i16`, `f32` to `f64` |
//! | `T` becomes `Option<T>` | |
//! | a state added, removed, its time-to-live switched on or off | an added one starts cleared |
//!
//! The same holds within options, lists, sets, maps, tuples, arrays and nested types. The key of a stream is the
//! exception: its bytes decide its key group, so they have to stay as they are.

use std::fmt;

use super::plan::Planner;
use super::states::compare;
use super::step::{Fields, Step};
use super::verdict::KeyedVerdict;
use super::{Schema, StateSchema};
use crate::data::DecodeError;

/// Why state of one schema cannot become that of another: where, what it was and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatible {
    reason: String,
}

impl Incompatible {
    pub(super) fn new(reason: String) -> Self {
        Incompatible { reason }
    }

    /// The reason, without what could not become something else.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Incompatible {}

/// How encoded values of one schema become those of another.
///
/// ```
/// use highwater_state::schema::ValueMigration;
/// use highwater_state::Data;
///
/// #[derive(Clone, Data)]
/// struct Old {
///     hits: u32,
/// }
///
/// #[derive(Clone, Debug, PartialEq, Data)]
/// struct New {
///     #[data(default)]
///     host: Option<String>,
///     #[data(alias = "hits")]
///     requests: u64,
/// }
///
/// let migration = ValueMigration::plan(&Old::schema(), &New::schema()).unwrap();
/// let (mut old, mut new) = (Vec::new(), Vec::new());
/// Old { hits: 7 }.encode(&mut old);
/// migration.value(&mut &old[..], &mut new).unwrap();
/// assert_eq!(New::decode(&mut &new[..]), Ok(New { host: None, requests: 7 }));
/// ```
#[derive(Clone, Debug)]
pub struct ValueMigration {
    step: Step,
    changes: Vec<String>,
}

impl ValueMigration {
    /// The migration from `old`, which was stored, to `new`, the program's.
    ///
    /// # Errors
    /// If not every value of `old` stands for one of `new`.
    pub fn plan(old: &Schema, new: &Schema) -> Result<Self, Incompatible> {
        let mut planner = Planner::default();
        let step = planner.value(old, new)?;
        Ok(ValueMigration { step, changes: planner.into_changes() })
    }

    /// Whether every value keeps its bytes.
    pub fn is_identity(&self) -> bool {
        self.step.is_copy()
    }

    /// What is different, for people; names that changed as well, although bytes do not tell.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }

    /// Reads an old value from the start of `input`, moves `input` past it, and appends the new one to `out`.
    ///
    /// # Errors
    /// If the bytes are not the encoding of an old value; what was appended by then means nothing.
    pub fn value(&self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.step.run(input, out)
    }
}

/// How the encoded entries of a keyed operator, a key and its row, become those of another schema.
#[derive(Clone, Debug)]
pub struct Migration {
    key: Schema,
    row: Fields,
    verdict: KeyedVerdict,
}

impl Migration {
    /// The migration from `old`, which was stored, to `new`, the program's.
    ///
    /// # Errors
    /// The first reason why there is none; [`KeyedVerdict::of`] has them all.
    pub fn plan(old: &StateSchema, new: &StateSchema) -> Result<Self, Incompatible> {
        let (verdict, row) = compare(old, new);
        match (verdict.incompatible(), row) {
            (None, Some(row)) => Ok(Migration { key: old.key.clone(), row, verdict }),
            (reason, _) => Err(Incompatible::new(reason.unwrap_or_default())),
        }
    }

    /// Whether every entry keeps its bytes.
    pub fn is_identity(&self) -> bool {
        self.row.is_copy()
    }

    /// What becomes of each state.
    pub fn verdict(&self) -> &KeyedVerdict {
        &self.verdict
    }

    /// Reads an old entry from the start of `input`, moves `input` past it, and appends the new one to `out`.
    ///
    /// A key whose states are all dropped gets a row that is empty, and is not to be kept.
    ///
    /// # Errors
    /// If the bytes are not the encoding of an old entry; what was appended by then means nothing.
    pub fn entry(&self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let start = *input;
        self.key.skip(input)?;
        out.extend_from_slice(&start[..start.len() - input.len()]);
        self.row.run(input, out)
    }
}
