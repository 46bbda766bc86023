//! `highwater state get`

use highwater_core::{Error, KeyHash, Result};
use highwater_snapshot::{KeyedReader, STATE, TIMERS};
use serde_json::{Value, json};

use super::{GetArgs, row};
use crate::failure::{Failure, Finding};
use crate::key;
use crate::output::Output;
use crate::states::{Selected, States};
use crate::stores;

pub fn run(args: &GetArgs, out: &mut Output) -> Result<Finding, Failure> {
    let snapshot = stores::open(&args.path)?;
    let operator = snapshot.operator(&args.operator)?;
    let states = States::of(operator)?;
    let Some(schema) = &states.keyed else {
        let how =
            format!("look at its other state with `highwater state scan {} --operator {}`", args.path, operator.uid);
        return Err(Error::settings(format!("operator {} keeps no state by key: {how}", operator.uid)).into());
    };
    let selected = args.state.as_deref().map_or(Ok(Selected::Row), |name| states.select(name))?;
    let key = key::parse(&schema.key, &args.key)?;
    let hash = KeyHash::of(&key);
    let group = hash.key_group(operator.max_parallelism);
    let open = |name: &str| -> Result<KeyedReader<'_>> {
        let none = || Error::settings(format!("operator {} has no keyed state {name}", operator.uid));
        KeyedReader::open(&snapshot, operator, name)?.ok_or_else(none)
    };
    let (name, found) = match selected {
        Selected::Row | Selected::Declared(_) => {
            let only = if let Selected::Declared(index) = selected { Some(index) } else { None };
            let found = open(STATE)?.rows(group, schema)?.remove(&key);
            let found = found.map(|bytes| Ok::<_, Error>(row::document(schema, row::values(schema, &bytes)?, only)));
            ("state", found.transpose()?)
        }
        Selected::Timers => {
            let timers = open(TIMERS)?.timers(group, &schema.key)?;
            let timers = timers.iter().filter(|timer| timer.key == key);
            let timers: Vec<_> =
                timers.map(|timer| json!({"time": timer.domain(), "time_ms": timer.time_ms})).collect();
            ("timers", (!timers.is_empty()).then_some(Value::from(timers)))
        }
        Selected::List(name, _) => {
            let how = format!("give --state {name} to `highwater state scan`");
            return Err(Error::settings(format!("{name} is no state by key: {how}")).into());
        }
    };
    let is_there = found.is_some();
    let document = json!({
        "operator": operator.uid.as_str(),
        "key": row::key(schema, &key)?,
        "key_group": group.0,
        "hash": format!("{:016x}", hash.0),
        name: found,
    });
    out.document(&document)?;
    Ok(Finding::amiss_if(!is_there))
}
