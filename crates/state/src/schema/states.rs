//! How the states of a keyed operator become those of another program, and what people are told about it.

use super::plan::{Planned, Planner, sources};
use super::step::{Entries, Fields, Origin, Step};
use super::verdict::{KeyedVerdict, StateVerdict, Verdict};
use super::{NamedState, Schema, StateKind, StateSchema};
use crate::keyed::ttl::NO_STAMP;

/// What becomes of everything in `old`; and how its rows become those of `new`, unless something is incompatible.
pub(super) fn compare(old: &StateSchema, new: &StateSchema) -> (KeyedVerdict, Option<Fields>) {
    let key = key(&old.key, &new.key);
    let names: Vec<_> = old.states.iter().map(|state| &*state.name).collect();
    let sources = sources(&names, new.states.iter().map(|state| (&*state.name, &*state.aliases)));
    let mut states = Vec::new();
    let mut origins = Vec::new();
    for (state, source) in new.states.iter().zip(&sources) {
        let (verdict, origin) = match source {
            Some(index) => kept(*index, &old.states[*index], state),
            None => added(state),
        };
        states.push(StateVerdict { state: state.name.clone(), verdict });
        origins.extend(origin);
    }
    for (_, state) in old.states.iter().enumerate().filter(|(index, _)| !sources.contains(&Some(*index))) {
        states.push(StateVerdict { state: state.name.clone(), verdict: dropped(state) });
    }
    let verdict = KeyedVerdict { key, states };
    let row = verdict.incompatible().is_none().then(|| {
        let encodings: Vec<_> = old.states.iter().map(encoding).collect();
        Fields::arrange(&encodings.iter().collect::<Vec<_>>(), origins)
    });
    (verdict, row)
}

/// The key must keep its bytes, whatever its fields and variants are called.
fn key(old: &Schema, new: &Schema) -> Verdict {
    let mut planner = Planner::default();
    let refused = |why: &str| Verdict::Incompatible {
        reason: format!("{why}; the key of a stream has to stay as it is, since its bytes decide its key group"),
    };
    match planner.value(old, new) {
        Ok(step) if step.is_copy() => Verdict::of_changes(planner.into_changes()),
        Ok(_) => refused(&planner.into_changes().join("; ")),
        Err(incompatible) => refused(incompatible.reason()),
    }
}

fn kept(index: usize, old: &NamedState, new: &NamedState) -> (Verdict, Option<Origin>) {
    let mut planner = Planner::default();
    planner.note_rename(&old.name, &new.name);
    match state(&mut planner, old, new) {
        Ok(step) => (Verdict::of_changes(planner.into_changes()), Some(Origin::Stored(index, step))),
        Err(incompatible) => (Verdict::Incompatible { reason: incompatible.reason().to_owned() }, None),
    }
}

fn added(state: &NamedState) -> (Verdict, Option<Origin>) {
    let cleared = match state.kind {
        StateKind::Value | StateKind::Reducing | StateKind::Aggregating => vec![0],
        StateKind::List | StateKind::Map { .. } => vec![0; 4],
        StateKind::Plain => {
            let reason = "was not stored, and a plain value cannot be cleared: keep the states there were";
            return (Verdict::Incompatible { reason: reason.into() }, None);
        }
    };
    (Verdict::New, Some(Origin::Inserted(cleared)))
}

fn dropped(state: &NamedState) -> Verdict {
    match state.kind {
        StateKind::Plain => {
            Verdict::Incompatible { reason: "was removed, and a plain value is all there is of a key: keep it".into() }
        }
        StateKind::Value | StateKind::Reducing | StateKind::Aggregating | StateKind::List | StateKind::Map { .. } => {
            Verdict::Dropped
        }
    }
}

fn state(planner: &mut Planner, old: &NamedState, new: &NamedState) -> Planned<Step> {
    let value_width = stamped_schema(&old.schema, old.ttl).min_width();
    let step = match (&old.kind, &new.kind) {
        (StateKind::Map { key: old_key }, StateKind::Map { key: new_key }) => {
            planner.map((old_key, new_key), value_width, |planner| {
                planner
                    .within("value", |planner| planner.value(&old.schema, &new.schema))
                    .map(|step| stamped(step, old, new))
            })?
        }
        (StateKind::List, StateKind::List) => {
            let element = planner.within("element", |planner| planner.value(&old.schema, &new.schema))?;
            let key = stamped(element, old, new);
            planner.entries(Entries { min_width: value_width, key, value: None, sorted_by: None })?
        }
        (StateKind::Value, StateKind::Value) | (StateKind::Reducing, StateKind::Reducing) => {
            optional(stamped(planner.value(&old.schema, &new.schema)?, old, new))
        }
        (StateKind::Aggregating, StateKind::Aggregating) => {
            let accumulator = planner.within("accumulator", |planner| planner.value(&old.schema, &new.schema))?;
            optional(stamped(accumulator, old, new))
        }
        (StateKind::Plain, StateKind::Plain) => Some(planner.value(&old.schema, &new.schema)?),
        (old, new) => return planner.refuse(format!("was {} state, is {} state", kind(old), kind(new))),
    };
    match (old.ttl, new.ttl) {
        (false, true) => planner.note("time-to-live switched on: what is stored counts from when it is seen first"),
        (true, false) => planner.note("time-to-live switched off"),
        (true, true) | (false, false) => {}
    }
    Ok(step.unwrap_or_else(|| Step::Copy(encoding(old))))
}

fn optional(value: Step) -> Option<Step> {
    (!value.is_copy()).then(|| Step::Option(Box::new(value)))
}

/// A value and the stamp behind it.
fn stamped(value: Step, old: &NamedState, new: &NamedState) -> Step {
    let stamp = match (old.ttl, new.ttl) {
        (false, false) => return value,
        (true, true) if value.is_copy() => return Step::Copy(stamped_schema(&old.schema, true)),
        (_, false) => None,
        (true, true) => Some(Origin::Stored(1, Step::Copy(Schema::I64))),
        (false, true) => Some(Origin::Inserted(NO_STAMP.to_le_bytes().to_vec())),
    };
    let read: &[&Schema] = if old.ttl { &[&old.schema, &Schema::I64] } else { &[&old.schema] };
    Step::Fields(Fields::arrange(read, [Some(Origin::Stored(0, value)), stamp].into_iter().flatten().collect()))
}

/// The shape of a state's encoding.
pub(super) fn encoding(state: &NamedState) -> Schema {
    let value = Box::new(stamped_schema(&state.schema, state.ttl));
    match &state.kind {
        StateKind::Value | StateKind::Reducing | StateKind::Aggregating => Schema::Option(value),
        StateKind::List => Schema::List(value),
        StateKind::Map { key } => Schema::Map(Box::new(key.clone()), value),
        StateKind::Plain => *value,
    }
}

fn stamped_schema(value: &Schema, ttl: bool) -> Schema {
    if ttl { Schema::Tuple(vec![value.clone(), Schema::I64]) } else { value.clone() }
}

fn kind(kind: &StateKind) -> &'static str {
    match kind {
        StateKind::Value => "a value",
        StateKind::List => "a list",
        StateKind::Map { .. } => "a map",
        StateKind::Reducing => "a reducing",
        StateKind::Aggregating => "an aggregating",
        StateKind::Plain => "a plain",
    }
}
