//! `highwater upgrade-check`: what becomes of stored state under another version of the program.

mod program;

use std::collections::BTreeMap;

use clap::Args;
use highwater_checkpoint::metadata::OperatorSnapshot;
use highwater_snapshot::Snapshot;
use highwater_state::schema::{KeyedVerdict, StateVerdict, Verdict};
use serde::Serialize;

use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::states::States;
use program::Described;

pub use program::{Program, describe, path_of};

/// Operator states that every source and every sink has: one without them is another kind of operator.
const OF_CONNECTORS: [&str; 3] = ["splits", "committables", "writers"];

/// The runtime's own: no program declares it.
const EVENT_TIME: &str = "event-time";

/// What is checked.
#[derive(Debug, Args)]
pub struct UpgradeArgs {
    /// The program of the job; it has to take its settings from the command line, as with `StreamExecutionEnvironment::from_args`
    job: String,

    /// The folder of a snapshot: a path or URI
    path: String,

    /// Take state for granted that the program has no use for
    #[arg(long)]
    allow_non_restored_state: bool,

    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// What becomes of the state of a snapshot under a program.
#[derive(Debug, Serialize)]
pub struct Check {
    job: String,
    path: String,
    compatible: bool,
    operators: Vec<Operator>,
}

#[derive(Debug, Serialize)]
struct Operator {
    uid: String,
    name: String,
    status: Status,
    /// Why the operator as a whole cannot be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Verdict>,
    states: Vec<StateVerdict>,
    operator_states: Vec<StateVerdict>,
}

/// What becomes of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// Stored, and in the program.
    Restored,
    /// Only in the program.
    New,
    /// Only stored.
    Dropped,
}

/// Runs the command.
pub fn run(args: &UpgradeArgs, out: &mut Output) -> Result<Finding, Failure> {
    let snapshot = Snapshot::at_path(&args.path)?;
    let program = describe(&args.job, &args.args)?;
    let check = Check::of(&snapshot, &program, args.allow_non_restored_state)?;
    check.write(out)?;
    Ok(Finding::amiss_if(!check.compatible))
}

impl Check {
    /// Compares a snapshot with a program.
    ///
    /// # Errors
    /// If a stored schema cannot be read.
    pub fn of(snapshot: &Snapshot, program: &Program, allow_non_restored_state: bool) -> highwater_core::Result<Self> {
        let mut described: BTreeMap<_, _> =
            program.operators.iter().map(|operator| (operator.uid.as_str(), operator)).collect();
        let mut operators = Vec::new();
        for stored in &snapshot.metadata().operators {
            // An operator without state claims none.
            let claimed = described.remove(stored.uid.as_str()).filter(|operator| operator.is_stateful());
            operators.push(match claimed {
                Some(operator) => Operator::restored(stored, operator)?,
                None => Operator::only(stored.uid.as_str(), &stored.name, Status::Dropped),
            });
        }
        let is_new = |operator: &&Described| operator.is_stateful() && described.contains_key(operator.uid.as_str());
        let new = program.operators.iter().filter(is_new);
        operators.extend(new.map(|operator| Operator::only(operator.uid.as_str(), &operator.name, Status::New)));
        let amiss = operators
            .iter()
            .any(|operator| operator.is_incompatible() || (operator.is_dropping() && !allow_non_restored_state));
        Ok(Check { job: program.job.clone(), path: snapshot.path(), compatible: !amiss, operators })
    }

    /// Whether the program can be restored from the snapshot.
    pub fn is_compatible(&self) -> bool {
        self.compatible
    }

    /// Says what becomes of each state.
    pub fn write(&self, out: &mut Output) -> std::io::Result<()> {
        if out.is_json() { out.document(self) } else { self.print(out) }
    }
}

impl Operator {
    fn only(uid: &str, name: &str, status: Status) -> Self {
        let (uid, name) = (uid.to_owned(), name.to_owned());
        Operator { uid, name, status, reason: None, key: None, states: vec![], operator_states: vec![] }
    }

    fn restored(stored: &OperatorSnapshot, program: &Described) -> highwater_core::Result<Self> {
        let states = States::of(stored)?;
        let mut operator = Operator::only(stored.uid.as_str(), &program.name, Status::Restored);
        match (&states.keyed, &program.keyed) {
            (Some(old), Some(new)) => {
                let KeyedVerdict { key, states } = KeyedVerdict::of(old, new);
                (operator.key, operator.states) = (Some(key), states);
                let max = program.max_parallelism.filter(|max| *max != stored.max_parallelism.count());
                operator.reason = max.map(|max| {
                    let was = stored.max_parallelism;
                    format!(
                        "its keys are stored in {was} key groups, and the program sets {max}: set max parallelism {was}"
                    )
                });
            }
            (Some(_), None) => operator.reason = Some("it had keyed state, and the program declares none".to_owned()),
            (None, Some(_)) => {
                operator.reason = Some("it had no keyed state: give each operator the uid it had".to_owned())
            }
            (None, None) => {}
        }
        for new in &program.operator_state {
            let verdict = match states.lists.get(new.name.as_str()) {
                Some(old) => Verdict::of(&old.schema, &new.schema),
                None if OF_CONNECTORS.contains(&new.name.as_str()) => Verdict::Incompatible {
                    reason:
                        "what is stored is the state of another kind of operator: give each operator the uid it had"
                            .to_owned(),
                },
                None => Verdict::New,
            };
            operator.operator_states.push(StateVerdict { state: new.name.clone(), verdict });
        }
        let declared = |name: &str| program.operator_state.iter().any(|state| state.name == name);
        for name in states.lists.keys().filter(|name| **name != EVENT_TIME && !declared(name)) {
            let reason = "the program does not declare it: the job would refuse to lose it".to_owned();
            let verdict = Verdict::Incompatible { reason };
            operator.operator_states.push(StateVerdict { state: (*name).to_owned(), verdict });
        }
        Ok(operator)
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.key.iter().chain(self.states.iter().chain(&self.operator_states).map(|state| &state.verdict))
    }

    fn is_incompatible(&self) -> bool {
        self.reason.is_some() || self.verdicts().any(Verdict::is_incompatible)
    }

    fn is_dropping(&self) -> bool {
        self.status == Status::Dropped || self.verdicts().any(|verdict| *verdict == Verdict::Dropped)
    }

    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        let status = match self.status {
            Status::Restored => "",
            Status::New => ": new, starts without state",
            Status::Dropped => ": dropped, the program has no operator with state under this uid",
        };
        out.line(format!("operator {} ({}){status}", self.uid, self.name))?;
        if let Some(reason) = &self.reason {
            out.line(format!("  incompatible: {reason}"))?;
        }
        if let Some(key) = &self.key {
            out.line(format!("  key: {key}"))?;
        }
        for StateVerdict { state, verdict } in self.states.iter().chain(&self.operator_states) {
            let state = if state.is_empty() { "state" } else { state };
            out.line(format!("  {state}: {verdict}"))?;
        }
        Ok(())
    }
}

impl Check {
    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        self.operators.iter().try_for_each(|operator| operator.print(out))?;
        out.line(match self.compatible {
            true => format!("job {} can be restored from {}", self.job, self.path),
            false => format!("job {} can NOT be restored from {} without losing state", self.job, self.path),
        })
    }
}
