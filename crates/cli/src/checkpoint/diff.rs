//! `highwater checkpoint diff`

mod keyed;

use std::collections::BTreeMap;

use highwater_checkpoint::metadata::OperatorSnapshot;
use highwater_core::Result;
use highwater_snapshot::{STATE, Snapshot, TIMERS};
use serde::Serialize;

use super::DiffArgs;
use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::states::{List, States};
use crate::stores;
use keyed::{Keyed, KeysLeft};

#[derive(Debug, Serialize)]
struct Diff {
    a: String,
    b: String,
    different: bool,
    operators: Vec<Operator>,
}

#[derive(Debug, Serialize)]
struct Operator {
    uid: String,
    change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_parallelism: Option<Changed<u32>>,
    keyed: Vec<Keyed>,
    operator_states: Vec<ListDiff>,
}

/// What became of something that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Same,
    Changed,
    Added,
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Changed<T> {
    a: T,
    b: T,
}

impl<T: PartialEq> Changed<T> {
    fn of(a: T, b: T) -> Option<Self> {
        (a != b).then_some(Changed { a, b })
    }
}

#[derive(Debug, Serialize)]
struct ListDiff {
    state: String,
    change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Changed<String>>,
    added: u64,
    removed: u64,
}

pub fn run(args: &DiffArgs, out: &mut Output) -> Result<Finding, Failure> {
    let (a, b) = (stores::open(&args.a)?, stores::open(&args.b)?);
    let mut keys_left = KeysLeft::new(if args.keys { args.limit } else { 0 });
    let mut operators = Vec::new();
    for (uid, (old, new)) in pairs(&a.metadata().operators, &b.metadata().operators, |operator| operator.uid.as_str()) {
        operators.push(match (old, new) {
            (Some(old), Some(new)) => Operator::compare((&a, old), (&b, new), &mut keys_left)?,
            (Some(_), None) => Operator::only(uid, Change::Removed),
            (None, _) => Operator::only(uid, Change::Added),
        });
    }
    let different = operators.iter().any(|operator| operator.change != Change::Same);
    let diff = Diff { a: a.path(), b: b.path(), different, operators };
    if out.is_json() {
        out.document(&diff)?;
    } else {
        diff.print(out)?;
    }
    Ok(Finding::amiss_if(different))
}

impl Operator {
    fn only(uid: &str, change: Change) -> Self {
        Operator { uid: uid.to_owned(), change, max_parallelism: None, keyed: vec![], operator_states: vec![] }
    }

    fn compare(
        (a, old): (&Snapshot, &OperatorSnapshot),
        (b, new): (&Snapshot, &OperatorSnapshot),
        keys_left: &mut KeysLeft,
    ) -> Result<Self> {
        let (old_states, new_states) = (States::of(old)?, States::of(new)?);
        let mut keyed = Vec::new();
        for name in [STATE, TIMERS] {
            keyed.extend(Keyed::compare(name, (a, old, &old_states), (b, new, &new_states), keys_left)?);
        }
        let lists = pairs(&old_states.lists, &new_states.lists, |(name, _)| *name);
        let lists = lists
            .into_iter()
            .map(|(name, (old, new))| ListDiff::of(name, old.map(|(_, list)| list), new.map(|(_, list)| list)));
        let operator_states: Vec<ListDiff> = lists.collect();
        let max_parallelism = Changed::of(old.max_parallelism.count(), new.max_parallelism.count());
        let is_same = max_parallelism.is_none()
            && keyed.iter().all(|keyed| keyed.change == Change::Same)
            && operator_states.iter().all(|list| list.change == Change::Same);
        let change = if is_same { Change::Same } else { Change::Changed };
        Ok(Operator { uid: new.uid.to_string(), change, max_parallelism, keyed, operator_states })
    }

    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        out.line(format!("operator {}: {}", self.uid, self.change.word()))?;
        if let Some(Changed { a, b }) = &self.max_parallelism {
            out.line(format!("  max parallelism was {a}, is {b}"))?;
        }
        self.keyed.iter().try_for_each(|keyed| keyed.print(out))?;
        for ListDiff { state, change, schema, added, removed } in &self.operator_states {
            out.line(format!(
                "  operator state {state}: {}, {added} elements added, {removed} removed",
                change.word()
            ))?;
            print_schema(schema.as_ref(), out)?;
        }
        Ok(())
    }
}

impl Diff {
    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        out.line(format!("a  {}", self.a))?;
        out.line(format!("b  {}", self.b))?;
        self.operators.iter().try_for_each(|operator| operator.print(out))
    }
}

impl ListDiff {
    /// Elements have no keys: they are compared as a multiset.
    fn of(name: &str, old: Option<&List<'_>>, new: Option<&List<'_>>) -> Self {
        let mut counts = BTreeMap::<&[u8], i64>::new();
        for (list, sign) in [(old, -1), (new, 1)] {
            for (_, element) in list.iter().flat_map(|list| &list.elements) {
                *counts.entry(element).or_default() += sign;
            }
        }
        let schema = match (old, new) {
            (Some(old), Some(new)) => Changed::of(old.schema.to_string(), new.schema.to_string()),
            _ => None,
        };
        let added = counts.values().filter(|count| **count > 0).sum::<i64>().unsigned_abs();
        let removed = counts.values().filter(|count| **count < 0).sum::<i64>().unsigned_abs();
        let change = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ if added == 0 && removed == 0 && schema.is_none() => Change::Same,
            _ => Change::Changed,
        };
        ListDiff { state: name.to_owned(), change, schema, added, removed }
    }
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Change::Same => "the same",
            Change::Changed => "changed",
            Change::Added => "added",
            Change::Removed => "removed",
        }
    }
}

fn print_schema(schema: Option<&Changed<String>>, out: &mut Output) -> std::io::Result<()> {
    let Some(Changed { a, b }) = schema else { return Ok(()) };
    out.line(format!("    schema was {a}"))?;
    out.line(format!("    schema is  {b}"))
}

/// What has the same name on both sides, in the order of the names.
fn pairs<'n, T: Copy>(
    a: impl IntoIterator<Item = T>,
    b: impl IntoIterator<Item = T>,
    name: impl Fn(T) -> &'n str,
) -> BTreeMap<&'n str, (Option<T>, Option<T>)> {
    let mut pairs = BTreeMap::<_, (Option<T>, Option<T>)>::new();
    for item in a {
        pairs.entry(name(item)).or_default().0 = Some(item);
    }
    for item in b {
        pairs.entry(name(item)).or_default().1 = Some(item);
    }
    pairs
}
