//! `highwater state ls`

use highwater_snapshot::{STATE, Snapshot, TIMERS};
use highwater_state::schema::StateKind;
use serde::Serialize;

use super::LsArgs;
use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::states::{States, redistribution};
use crate::table::Table;

#[derive(Debug, Serialize)]
struct Listing {
    states: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    operator: String,
    state: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    schema: String,
}

pub fn run(args: &LsArgs, out: &mut Output) -> Result<Finding, Failure> {
    let snapshot = Snapshot::at_path(&args.path)?;
    let mut listing = Listing { states: Vec::new() };
    for operator in &snapshot.metadata().operators {
        let states = States::of(operator)?;
        listing.states.extend(listed(operator.uid.as_str(), &states));
    }
    if out.is_json() {
        out.document(&listing)?;
        return Ok(Finding::Fine);
    }
    let mut table = Table::new(["OPERATOR", "STATE", "KIND", "KEY", "SCHEMA"]);
    for Listed { operator, state, kind, key, schema } in listing.states {
        table.row([operator, state, kind.to_owned(), key.unwrap_or_default(), schema]);
    }
    out.table(&table)?;
    Ok(Finding::Fine)
}

fn listed(operator: &str, states: &States<'_>) -> Vec<Listed> {
    let mut listed = Vec::new();
    let mut add = |state: &str, kind, key: Option<String>, schema: String| {
        listed.push(Listed { operator: operator.to_owned(), state: state.to_owned(), kind, key, schema });
    };
    if let Some(schema) = &states.keyed {
        let key = || Some(schema.key.to_string());
        for state in &schema.states {
            let name = if state.name.is_empty() { STATE } else { &state.name };
            // With its name the text would say it twice.
            let mut unnamed = state.clone();
            unnamed.name.clear();
            add(name, kind(&state.kind), key(), unnamed.to_string());
        }
        if states.has_keyed(TIMERS) {
            add(TIMERS, "timers", key(), String::new());
        }
    }
    for (name, list) in &states.lists {
        add(name, redistribution(list.redistribution), None, list.schema.to_string());
    }
    listed
}

fn kind(kind: &StateKind) -> &'static str {
    match kind {
        StateKind::Value => "value",
        StateKind::List => "list",
        StateKind::Map { .. } => "map",
        StateKind::Reducing => "reducing",
        StateKind::Aggregating => "aggregating",
        StateKind::Plain => "plain",
    }
}
