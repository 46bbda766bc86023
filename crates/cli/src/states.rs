//! What an operator keeps, over all of its subtasks.

use std::collections::BTreeMap;

use highwater_checkpoint::metadata::{OperatorSnapshot, OperatorState, Redistribution};
use highwater_core::{Error, Result, SubtaskIndex};
use highwater_snapshot::{STATE, TIMERS};
use highwater_state::{Schema, StateSchema};

/// The states of one operator.
#[derive(Debug)]
pub struct States<'a> {
    /// Of key and declared states, if it has keyed state.
    pub keyed: Option<StateSchema>,
    /// By their names.
    pub lists: BTreeMap<&'a str, List<'a>>,
    operator: &'a OperatorSnapshot,
}

/// An operator state: the elements that its subtasks have stored.
#[derive(Debug)]
pub struct List<'a> {
    /// Of one element.
    pub schema: Schema,
    /// Who gets the elements at a restore.
    pub redistribution: Redistribution,
    /// With the subtask that stored each.
    pub elements: Vec<(SubtaskIndex, &'a [u8])>,
}

impl<'a> States<'a> {
    /// Reads the schemas of an operator.
    ///
    /// # Errors
    /// If one is not known to this version.
    pub fn of(operator: &'a OperatorSnapshot) -> Result<Self> {
        let unknown =
            |state: &str, error: Error| error.context(format!("state {state:?} of operator {}", operator.uid));
        let mut states = States { keyed: None, lists: BTreeMap::new(), operator };
        for (subtask, task) in &operator.subtasks {
            if let (None, Some(keyed)) = (&states.keyed, task.keyed.first()) {
                let schema = StateSchema::from_json(&keyed.schema).map_err(|error| unknown(&keyed.name, error))?;
                states.keyed = Some(schema);
            }
            for OperatorState { name, schema, redistribution, elements } in &task.operator_state {
                if !states.lists.contains_key(name.as_str()) {
                    let schema = Schema::from_json(schema).map_err(|error| unknown(name, error))?;
                    states.lists.insert(name, List { schema, redistribution: *redistribution, elements: Vec::new() });
                }
                if let Some(list) = states.lists.get_mut(name.as_str()) {
                    list.elements.extend(elements.iter().map(|element| (*subtask, element.as_slice())));
                }
            }
        }
        Ok(states)
    }

    /// Whether there is a keyed state of this name in the snapshot: `state` or `timers`.
    pub fn has_keyed(&self, name: &str) -> bool {
        self.operator.subtasks.iter().any(|(_, task)| task.keyed.iter().any(|keyed| keyed.name == name))
    }

    /// What `name`, which a user gave, stands for.
    ///
    /// # Errors
    /// If there is no such state, naming those there are.
    pub fn select(&self, name: &str) -> Result<Selected<'_, 'a>> {
        if let Some(index) = self.keyed.iter().flat_map(|schema| &schema.states).position(|state| state.name == name) {
            return Ok(Selected::Declared(index));
        }
        if name == STATE && self.has_keyed(STATE) {
            return Ok(Selected::Row);
        }
        if name == TIMERS && self.has_keyed(TIMERS) {
            return Ok(Selected::Timers);
        }
        if let Some(list) = self.lists.get_key_value(name) {
            return Ok(Selected::List(list.0, list.1));
        }
        let none = format!("operator {} has no state {name:?}: it has {}", self.operator.uid, self.names().join(", "));
        Err(Error::settings(none))
    }

    /// The names that [`select`](Self::select) takes.
    fn names(&self) -> Vec<&str> {
        let declared = self.keyed.iter().flat_map(|schema| &schema.states).map(|state| state.name.as_str());
        let keyed = [STATE, TIMERS].into_iter().filter(|name| self.has_keyed(name));
        let mut names: Vec<_> = declared.filter(|name| !name.is_empty()).chain(keyed).collect();
        names.extend(self.lists.keys());
        if names.is_empty() { vec!["none"] } else { names }
    }
}

/// A state of an operator.
#[derive(Debug)]
pub enum Selected<'s, 'a> {
    /// All declared states of a key.
    Row,
    /// One of them.
    Declared(usize),
    /// The timers.
    Timers,
    /// An operator state.
    List(&'a str, &'s List<'a>),
}

/// The word for a redistribution.
pub fn redistribution(redistribution: Redistribution) -> &'static str {
    match redistribution {
        Redistribution::Split => "split",
        Redistribution::Union => "union",
        Redistribution::Broadcast => "broadcast",
    }
}
