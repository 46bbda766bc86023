//! What a TaskManager must have in common with the JobManager that it registers with.
//!
//! Invariant: who differs is refused before it takes part in anything, with what differs and what to do.

use std::collections::BTreeMap;

use crate::proto::v1::{Graph, Operator, Register};

/// The version of the protocol between JobManager and TaskManagers. Both have the same.
pub const PROTOCOL_VERSION: u32 = 1;

/// Differences between two dataflows that a refusal names.
const MOST_DIFFERENCES: usize = 5;

/// What runs in a process of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The version of Highwater that the program was built with.
    pub highwater_version: String,
    /// The job.
    pub job: String,
    /// The dataflow that the program builds.
    pub graph: Graph,
}

impl Identity {
    /// Why a TaskManager that registers with this JobManager cannot be part of its job, if so.
    pub fn refusal(&self, register: &Register) -> Option<String> {
        let Identity { highwater_version, job, graph } = self;
        let (its_version, its_job) = (&register.highwater_version, &register.job);
        let from = if register.protocol_version != PROTOCOL_VERSION {
            let its = register.protocol_version;
            return Some(format!(
                "it speaks version {its} of the protocol and has Highwater {its_version}, the JobManager speaks version \
                 {PROTOCOL_VERSION} and has Highwater {highwater_version}: start both from the same program"
            ));
        } else if its_job != job {
            format!("it runs job {its_job}, the JobManager job {job}: name the JobManager of its own job")
        } else if its_version != highwater_version {
            format!(
                "its program has Highwater {its_version}, the JobManager's {highwater_version}: start both from the same program"
            )
        } else if register.graph.as_ref().is_none_or(|its| its.digest != graph.digest) {
            let differences = differences(graph, &register.graph.clone().unwrap_or_default());
            format!(
                "its program builds another dataflow than the JobManager's: {differences}; start both from the same program \
                 with the same arguments"
            )
        } else if register.slots == 0 {
            "it has no slots: start it with --slots 1 or more".to_owned()
        } else if register.task_manager_id.is_empty() || register.data_address.is_empty() {
            "it does not say who it is, or where the others reach it".to_owned()
        } else {
            return None;
        };
        Some(from)
    }
}

/// What a TaskManager's dataflow has, lacks or has otherwise, for people.
fn differences(ours: &Graph, its: &Graph) -> String {
    let by_uid = |graph: &Graph| -> BTreeMap<String, Operator> {
        graph.operators.iter().map(|operator| (operator.uid.clone(), operator.clone())).collect()
    };
    let (ours, its) = (by_uid(ours), by_uid(its));
    let lacks = ours.iter().filter(|(uid, _)| !its.contains_key(*uid));
    let lacks = lacks.map(|(_, operator)| format!("it lacks {}", name(operator)));
    let more = its.iter().filter(|(uid, _)| !ours.contains_key(*uid));
    let more = more.map(|(_, operator)| format!("it has {} in addition", name(operator)));
    let changed = ours.iter().filter_map(|(uid, ours)| changes(ours, its.get(uid)?));
    let all: Vec<String> = lacks.chain(more).chain(changed).collect();
    match all.len().checked_sub(MOST_DIFFERENCES) {
        None | Some(0) if all.is_empty() => {
            "the operators have the same names, but other types, settings or order".to_owned()
        }
        None | Some(0) => all.join("; "),
        Some(others) => format!("{}; and {others} other differences", all[..MOST_DIFFERENCES].join("; ")),
    }
}

fn name(operator: &Operator) -> String {
    format!("operator {} ({} {:?})", operator.uid, operator.kind, operator.name)
}

fn changes(ours: &Operator, its: &Operator) -> Option<String> {
    let what = if ours.kind != its.kind {
        format!("is a {} there and a {} here", its.kind, ours.kind)
    } else if ours.inputs != its.inputs {
        format!("reads from [{}] there and from [{}] here", its.inputs.join(", "), ours.inputs.join(", "))
    } else if ours.name != its.name {
        format!("is named {:?} there and {:?} here", its.name, ours.name)
    } else {
        return None;
    };
    Some(format!("operator {} {what}", ours.uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(uid: &str, kind: &str, inputs: &[&str]) -> Operator {
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        Operator { uid: uid.to_owned(), name: uid.to_owned(), kind: kind.to_owned(), inputs }
    }

    fn graph() -> Graph {
        let operators = vec![
            operator("lines", "source", &[]),
            operator("count", "process", &["lines"]),
            operator("out", "sink", &["count"]),
        ];
        Graph { digest: 7, operators }
    }

    fn register() -> Register {
        Register {
            protocol_version: PROTOCOL_VERSION,
            highwater_version: "0.1.0".to_owned(),
            job: "visitors".to_owned(),
            graph: Some(graph()),
            task_manager_id: "a".to_owned(),
            data_address: "10.0.0.1:7000".to_owned(),
            slots: 2,
            running: None,
            pid: 1,
        }
    }

    #[test]
    fn whoever_differs_is_refused_with_what_differs() {
        let ours = Identity { highwater_version: "0.1.0".to_owned(), job: "visitors".to_owned(), graph: graph() };
        assert_eq!(ours.refusal(&register()), None);
        let other_graph = |change: fn(&mut Vec<Operator>)| {
            let mut graph = Graph { digest: 8, ..graph() };
            change(&mut graph.operators);
            Register { graph: Some(graph), ..register() }
        };
        let cases = [
            (Register { protocol_version: 2, ..register() }, "version 2 of the protocol"),
            (Register { job: "views".to_owned(), ..register() }, "it runs job views"),
            (Register { highwater_version: "0.2.0".to_owned(), ..register() }, "has Highwater 0.2.0"),
            (Register { graph: None, ..register() }, "it lacks operator count (process \"count\")"),
            (other_graph(|_| {}), "other types, settings or order"),
            (other_graph(|operators| operators.truncate(2)), "it lacks operator out (sink \"out\")"),
            (other_graph(|operators| operators.push(operator("side", "sink", &[]))), "it has operator side"),
            (other_graph(|operators| operators[1].kind = "map".to_owned()), "count is a map there and a process here"),
            (other_graph(|operators| operators[2].inputs[0] = "lines".to_owned()), "reads from [lines] there"),
            (other_graph(|operators| operators[0].name = "words".to_owned()), "is named \"words\" there"),
            (Register { slots: 0, ..register() }, "--slots"),
            (Register { task_manager_id: String::new(), ..register() }, "who it is"),
        ];
        for (register, why) in cases {
            let refusal = ours.refusal(&register).unwrap_or_default();
            assert!(refusal.contains(why), "{why}: {refusal}");
        }
        let many = other_graph(|operators| {
            operators.extend((0..9).map(|n| operator(&format!("more-{n}"), "map", &[])));
        });
        assert!(ours.refusal(&many).unwrap().contains("and 4 other differences"));
    }
}
