//! The operators of a job as the coordinator sees them: who has to acknowledge, and under which name it is stored.
//!
//! Invariants: uids are unique; an operator has at most as many subtasks as key groups, so that each owns at least one.

use std::collections::BTreeSet;

use highwater_core::{Error, JobName, MaxParallelism, OperatorUid, Parallelism, Result, SubtaskIndex, TaskId};

/// One operator of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPlan {
    /// Ties its state in a snapshot to the operator of the program that restores it.
    pub uid: OperatorUid,
    /// What people call it.
    pub name: String,
    /// How many subtasks.
    pub parallelism: Parallelism,
    /// How many key groups.
    pub max_parallelism: MaxParallelism,
}

impl OperatorPlan {
    /// The tasks of this operator, in the order of their subtask index.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        (0..self.parallelism.count()).map(|index| TaskId { operator: self.uid.clone(), subtask: SubtaskIndex(index) })
    }
}

/// A job's name and operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlan {
    job: JobName,
    operators: Vec<OperatorPlan>,
}

impl JobPlan {
    /// A job of these operators.
    ///
    /// # Errors
    /// If there are none, two share a uid, or one has a parallelism above its max parallelism.
    pub fn new(job: JobName, operators: Vec<OperatorPlan>) -> Result<Self> {
        if operators.is_empty() {
            return Err(Error::settings(format!("job {job} has no operators: add a source and a sink")));
        }
        let mut seen = BTreeSet::new();
        for OperatorPlan { uid, parallelism, max_parallelism, .. } in &operators {
            if !seen.insert(uid) {
                return Err(Error::settings(format!("two operators have the uid {uid}: give each its own")));
            }
            if parallelism.count() > max_parallelism.count() {
                return Err(Error::settings(format!(
                    "operator {uid} has parallelism {parallelism} above its max parallelism {max_parallelism}: \
                     lower the first, or raise the second if there is no state to keep"
                )));
            }
        }
        Ok(JobPlan { job, operators })
    }

    /// The name of the job.
    pub fn job(&self) -> &JobName {
        &self.job
    }

    /// The operators in the order they were given in.
    pub fn operators(&self) -> &[OperatorPlan] {
        &self.operators
    }

    /// Every subtask of every operator: the tasks whose acknowledgements make a checkpoint.
    pub fn tasks(&self) -> BTreeSet<TaskId> {
        self.operators.iter().flat_map(OperatorPlan::tasks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(uid: &str, parallelism: u32, max_parallelism: u32) -> OperatorPlan {
        OperatorPlan {
            uid: OperatorUid::parse(uid).unwrap(),
            name: uid.to_uppercase(),
            parallelism: Parallelism::new(parallelism).unwrap(),
            max_parallelism: MaxParallelism::new(max_parallelism).unwrap(),
        }
    }

    fn plan(operators: Vec<OperatorPlan>) -> Result<JobPlan> {
        JobPlan::new(JobName::parse("visitors").unwrap(), operators)
    }

    #[test]
    fn tasks_are_all_subtasks_of_all_operators() {
        let tasks = plan(vec![operator("read", 1, 8), operator("count", 2, 8)]).unwrap().tasks();
        assert_eq!(tasks.iter().map(TaskId::to_string).collect::<Vec<_>>(), ["count[0]", "count[1]", "read[0]"]);
    }

    #[test]
    fn plans_that_cannot_be_stored_are_refused() {
        for (operators, why) in [
            (vec![], "no operators"),
            (vec![operator("count", 1, 8), operator("count", 2, 8)], "two operators"),
            (vec![operator("count", 9, 8)], "above its max parallelism"),
        ] {
            let error = plan(operators).unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }
}
