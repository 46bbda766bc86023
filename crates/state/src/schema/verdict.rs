//! What becomes of stored state under another program, for people and for tools: pure, from two schemas.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::migration::ValueMigration;
use super::states::compare;
use super::{Schema, StateSchema};

/// What becomes of one stored state.
///
/// ```
/// use highwater_state::schema::{Schema, Verdict};
///
/// let verdict = Verdict::of(&Schema::U32, &Schema::U64);
/// assert_eq!(verdict.to_string(), "migrated: widened from u32 to u64");
/// assert_eq!(Verdict::of(&Schema::U32, &Schema::U32), Verdict::AsIs);
/// assert!(Verdict::of(&Schema::U64, &Schema::U32).is_incompatible());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It is restored as it was stored.
    AsIs,
    /// It becomes what the program declares. Where only names changed the bytes stay as they are.
    Migrated {
        /// What is different, each in words.
        changes: Vec<String>,
    },
    /// It was not stored: it starts cleared.
    New,
    /// The program does not declare it any more: it is not restored.
    Dropped,
    /// It cannot become what the program declares: the program is not restored from it.
    Incompatible {
        /// Why not, in words.
        reason: String,
    },
}

impl Verdict {
    /// On a value, or on the elements of an operator state.
    pub fn of(old: &Schema, new: &Schema) -> Self {
        match ValueMigration::plan(old, new) {
            Ok(migration) => Verdict::of_changes(migration.changes().to_vec()),
            Err(incompatible) => Verdict::Incompatible { reason: incompatible.reason().to_owned() },
        }
    }

    pub(super) fn of_changes(changes: Vec<String>) -> Self {
        if changes.is_empty() { Verdict::AsIs } else { Verdict::Migrated { changes } }
    }

    /// Whether the program cannot be restored.
    pub fn is_incompatible(&self) -> bool {
        matches!(self, Verdict::Incompatible { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::AsIs => f.write_str("as it is"),
            Verdict::Migrated { changes } => write!(f, "migrated: {}", changes.join("; ")),
            Verdict::New => f.write_str("new: starts cleared"),
            Verdict::Dropped => f.write_str("dropped"),
            Verdict::Incompatible { reason } => write!(f, "incompatible: {reason}"),
        }
    }
}

/// The verdict on one state, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateVerdict {
    /// The name the program gives it, or the stored one if it is dropped; empty for a plain value.
    pub state: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The verdicts on everything that a keyed operator stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedVerdict {
    /// On the key: as it is, incompatible, or migrated if nothing but names changed.
    pub key: Verdict,
    /// On each state: those of the program in their order, then those that are dropped.
    pub states: Vec<StateVerdict>,
}

impl KeyedVerdict {
    /// What becomes of state that was stored as `old` under a program that declares `new`.
    pub fn of(old: &StateSchema, new: &StateSchema) -> Self {
        compare(old, new).0
    }

    /// The first reason why the program cannot be restored, with the state it is about.
    pub fn incompatible(&self) -> Option<String> {
        let reason = |place: String, verdict: &Verdict| match verdict {
            Verdict::Incompatible { reason } => Some(format!("{place}: {reason}")),
            Verdict::AsIs | Verdict::Migrated { .. } | Verdict::New | Verdict::Dropped => None,
        };
        let of_state = |state: &StateVerdict| {
            let place = if state.state.is_empty() { "state".into() } else { format!("state `{}`", state.state) };
            reason(place, &state.verdict)
        };
        reason("key".into(), &self.key).or_else(|| self.states.iter().find_map(of_state))
    }
}
