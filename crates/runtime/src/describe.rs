//! What a job stores, as its program declares it: known without running it.
//!
//! A tool compares it with what a checkpoint holds ([`KeyedVerdict`](highwater_state::schema::KeyedVerdict),
//! [`Verdict`](highwater_state::schema::Verdict)) before anybody stops the running version. The schemas have all that a
//! migration needs: unlike stored ones also aliases and defaults.

use std::collections::BTreeSet;

use highwater_core::{JobName, MaxParallelism, OperatorUid, Result};
use highwater_state::operator::{NamedElements, OperatorState};
use highwater_state::{Data, Key, KeyedState, Schema, StateSchema};
use serde::{Deserialize, Serialize};

use crate::graph::Graph;

/// A job and all its operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDescription {
    /// Its name.
    pub job: JobName,
    /// Its operators, each after those it reads from.
    pub operators: Vec<OperatorDescription>,
}

/// An operator and the state it declares; one without state takes no part in checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorDescription {
    /// What ties stored state to it.
    pub uid: OperatorUid,
    /// Its name, for people.
    pub name: String,
    /// Its number of key groups, if that is set; else it is that of the restored checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallelism: Option<MaxParallelism>,
    /// The keys and the states of each, if it has keyed state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyed: Option<StateSchema>,
    /// Its operator states, by the names they are stored under.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operator_state: Vec<OperatorStateDescription>,
}

/// An operator state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorStateDescription {
    /// The name it is stored under.
    pub name: String,
    /// The shape of an element.
    pub schema: Schema,
}

/// The state that a node of the graph declares.
#[derive(Default)]
pub(crate) struct Declared {
    keyed: Option<fn() -> StateSchema>,
    operator_state: Vec<OperatorStateDescription>,
}

impl Declared {
    /// Keyed state.
    pub fn keyed<K: Key, S: KeyedState>() -> Self {
        let schema = || StateSchema { key: K::schema(), states: S::states() };
        Declared { keyed: Some(schema), operator_state: Vec::new() }
    }

    /// The same, and an operator state with elements of type `T`.
    #[must_use]
    pub fn and<T: Data>(mut self, name: &'static str) -> Self {
        self.operator_state.push(OperatorStateDescription { name: name.to_owned(), schema: T::schema() });
        self
    }

    /// The same, and the operator state that a user declares.
    #[must_use]
    pub fn and_all<S: OperatorState>(mut self) -> Self {
        let describe = |state: NamedElements| OperatorStateDescription { name: state.name, schema: state.schema };
        self.operator_state.extend(S::states().into_iter().map(describe));
        self
    }

    /// The name of an operator state that is there twice.
    pub fn duplicate(&self) -> Option<&str> {
        let mut names = BTreeSet::new();
        self.operator_state.iter().map(|state| state.name.as_str()).find(|name| !names.insert(*name))
    }
}

/// Describes a job without running it: nothing is opened, no source is asked for its splits.
///
/// # Errors
/// Those of the graph: if there is no operator, or a uid is not usable or given twice.
pub fn describe(graph: Graph, job: JobName, max_parallelism: Option<MaxParallelism>) -> Result<JobDescription> {
    let plan = graph.plan()?;
    let operators = plan.declared().map(|(uid, name, declared)| OperatorDescription {
        uid: uid.clone(),
        name: name.to_owned(),
        max_parallelism,
        keyed: declared.keyed.map(|schema| schema()),
        operator_state: declared.operator_state.clone(),
    });
    Ok(JobDescription { job, operators: operators.collect() })
}
