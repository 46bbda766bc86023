//! Which part of an operator's snapshot each subtask of a new attempt restores.
//!
//! Keyed state moves in whole key groups: subtask i of p takes the lineage of the key groups it owns, from whichever subtasks
//! stored them. Operator state moves in whole elements: dealt out among the subtasks ([`split_elements`], Flink's
//! `SPLIT_DISTRIBUTE`), or all to each ([`all_elements`]): a broadcast state, which one subtask stored for all. A union is both:
//! its elements are dealt out, and shown to each subtask.
//!
//! Invariant I2: the stored ranges cover `0..max_parallelism` with no gap and no overlap ([`check_coverage`]), and so do the
//! ranges of any parallelism: hence no entry is lost, and none restored twice.

use std::collections::BTreeMap;

use highwater_core::{Error, ErrorKind, KeyGroupRange, MaxParallelism, Parallelism, Result, SubtaskIndex};

use crate::lineage::Lineage;
use crate::metadata::{KeyedSnapshot, OperatorSnapshot, OperatorState, StoreSnapshot};

/// What one subtask restores of one keyed state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedShare<'a> {
    /// Name of the state.
    pub name: &'a str,
    /// Schema it was stored with.
    pub schema: &'a str,
    /// The key groups of the subtask.
    pub range: KeyGroupRange,
    /// What is replayed.
    pub lineage: Lineage,
    /// The stores on local disk that hold the rest, each with the key groups it has.
    pub stores: Vec<(KeyGroupRange, &'a StoreSnapshot)>,
}

/// What one subtask restores of one operator state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementShare<'a> {
    /// Name of the state.
    pub name: &'a str,
    /// Schema it was stored with.
    pub schema: &'a str,
    /// In the order of the subtasks that stored them.
    pub elements: Vec<&'a [u8]>,
}

/// Proves that the ranges stored for each keyed state cover every key group exactly once.
///
/// # Errors
/// [`ErrorKind::Corrupt`], naming the state and where the gap or overlap is.
pub fn check_coverage(operator: &OperatorSnapshot) -> Result<()> {
    for (name, parts) in keyed_by_name(operator) {
        let mut ranges: Vec<KeyGroupRange> = parts.iter().map(|part| part.range).collect();
        ranges.sort_by_key(|range| (range.start(), range.end()));
        let mut next = 0;
        for range in ranges {
            if range.start() != next {
                let what = if range.start() > next { "no" } else { "more than one" };
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("{what} subtask has key group {} of state {name:?}", range.start().min(next)),
                ));
            }
            next = range.end();
        }
        if next != operator.max_parallelism.count() {
            return Err(Error::new(ErrorKind::Corrupt, format!("no subtask has key group {next} of state {name:?}")));
        }
    }
    Ok(())
}

/// The lineage of the key groups that `subtask` of `parallelism` owns, of every keyed state of the operator.
///
/// # Errors
/// [`ErrorKind::Incompatible`] if the state was stored with another max parallelism: a key's group would not be the one it
/// is stored under. [`ErrorKind::Internal`] if there is no such subtask.
pub fn assign_keyed(
    operator: &OperatorSnapshot,
    subtask: SubtaskIndex,
    parallelism: Parallelism,
    max_parallelism: MaxParallelism,
) -> Result<Vec<KeyedShare<'_>>> {
    check_subtask(operator, subtask, parallelism)?;
    let states = keyed_by_name(operator);
    if max_parallelism != operator.max_parallelism && !states.is_empty() {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "operator {} has keyed state with max parallelism {}, the program asks for {max_parallelism}: \
                 set its max parallelism to {}, or start without the state",
                operator.uid, operator.max_parallelism, operator.max_parallelism
            ),
        ));
    }
    let range = max_parallelism.range_of(subtask, parallelism);
    let mut shares = Vec::new();
    for (name, parts) in states {
        let schema = parts.first().map_or("", |part| &part.schema);
        let lineage = Lineage::assemble(range, parts.iter().map(|part| (part.range, &part.lineage)));
        let overlaps = |other: KeyGroupRange| other.start() < range.end() && range.start() < other.end();
        let stores = parts.iter().filter(|part| overlaps(part.range));
        let stores = stores.filter_map(|part| Some((part.range, part.store.as_ref()?))).collect();
        shares.push(KeyedShare { name, schema, range, lineage, stores });
    }
    Ok(shares)
}

/// The elements of every operator state that fall to `subtask` when they are split among `parallelism` subtasks.
///
/// With the parallelism they were stored with each subtask gets its own back, else they are dealt out in turn.
///
/// # Errors
/// [`ErrorKind::Internal`] if there is no such subtask.
pub fn split_elements(
    operator: &OperatorSnapshot,
    subtask: SubtaskIndex,
    parallelism: Parallelism,
) -> Result<Vec<ElementShare<'_>>> {
    check_subtask(operator, subtask, parallelism)?;
    if parallelism == operator.parallelism {
        return Ok(share_elements(operator, |_, stored_by| stored_by == subtask));
    }
    Ok(share_elements(operator, |position, _| position % u64::from(parallelism.count()) == u64::from(subtask.0)))
}

/// The elements of every operator state from all subtasks.
pub fn all_elements(operator: &OperatorSnapshot) -> Vec<ElementShare<'_>> {
    share_elements(operator, |_, _| true)
}

/// The elements for which `is_mine` holds, given their position among all elements of the state and who stored them.
fn share_elements(operator: &OperatorSnapshot, is_mine: impl Fn(u64, SubtaskIndex) -> bool) -> Vec<ElementShare<'_>> {
    let mut shares = BTreeMap::new();
    for (subtask, task) in &operator.subtasks {
        for OperatorState { name, schema, elements, .. } in &task.operator_state {
            let (position, share) =
                shares.entry(name.as_str()).or_insert((0, ElementShare { name, schema, elements: Vec::new() }));
            for element in elements {
                if is_mine(*position, *subtask) {
                    share.elements.push(element.as_slice());
                }
                *position += 1;
            }
        }
    }
    shares.into_values().map(|(_, share)| share).collect()
}

fn check_subtask(operator: &OperatorSnapshot, subtask: SubtaskIndex, parallelism: Parallelism) -> Result<()> {
    if subtask.0 < parallelism.count() {
        return Ok(());
    }
    Err(Error::internal(format!(
        "operator {} has parallelism {parallelism}, and so no subtask {subtask}",
        operator.uid
    )))
}

fn keyed_by_name(operator: &OperatorSnapshot) -> BTreeMap<&str, Vec<&KeyedSnapshot>> {
    let mut states = BTreeMap::<_, Vec<_>>::new();
    for state in operator.subtasks.iter().flat_map(|(_, task)| &task.keyed) {
        states.entry(state.name.as_str()).or_default().push(state);
    }
    states
}
