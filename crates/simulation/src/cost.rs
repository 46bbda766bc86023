//! What a checkpoint costs the coordinator itself, by the number of tasks: nothing but its own steps is timed. It should grow with the
//! number of tasks and no faster, since each says two things about each checkpoint.

use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, Command, Coordinator, Event, JobPlan, OperatorPlan};
use highwater_core::{CheckpointId, Clock, Error, MaxParallelism, OperatorUid, Parallelism, Result, TaskId};

use crate::job;

const COUNT: &str = job::OPERATORS[1];

/// The numbers of tasks that are compared.
pub const TASKS: [u32; 4] = [25, 50, 100, 200];

/// What one of `checkpoints` costs on average with so many `tasks`.
///
/// # Errors
/// If there are no tasks, or more than key groups.
pub fn per_checkpoint(tasks: u32, checkpoints: u64, clock: &dyn Clock) -> Result<Duration> {
    let key_groups = MaxParallelism::new(256)?;
    let no_tasks = || Error::settings("there are no tasks: give 1 or more");
    let parallelism = Parallelism::new(tasks).ok_or_else(no_tasks)?;
    let plan = plan(parallelism, key_groups)?;
    let all: Vec<TaskId> = plan.tasks().into_iter().collect();
    let config = CheckpointConfig { interval: Some(Duration::from_secs(1)), ..CheckpointConfig::default() };
    let mut timed = Timed {
        coordinator: Coordinator::new(config, plan, CheckpointId(1), Vec::new())?,
        clock,
        spent: Duration::ZERO,
        now: Duration::ZERO,
    };
    timed.step(Event::Running);
    for id in (1..=checkpoints).map(CheckpointId) {
        timed.now += Duration::from_secs(1);
        timed.step(Event::Tick);
        timed.step(Event::Located { id, created_unix_ms: 0 });
        for task in &all {
            timed.step(Event::Prepared { id, task: task.clone() });
        }
        let mut published = false;
        for task in &all {
            let (snapshot, files) = job::handles(COUNT, task.subtask.0, parallelism, key_groups, id, &[0; 64]);
            let acknowledged = Event::Acknowledged { id, task: task.clone(), snapshot, files, bytes: 64 };
            published |= timed.step(acknowledged).iter().any(|command| matches!(command, Command::Publish { .. }));
        }
        assert!(published, "all tasks have acknowledged checkpoint {id}");
        timed.step(Event::Published { id });
    }
    Ok(timed.spent / u32::try_from(checkpoints).unwrap_or(u32::MAX).max(1))
}

fn plan(parallelism: Parallelism, max_parallelism: MaxParallelism) -> Result<JobPlan> {
    let operator =
        OperatorPlan { uid: OperatorUid::parse(COUNT)?, name: COUNT.to_owned(), parallelism, max_parallelism };
    JobPlan::new(job::job_name(), vec![operator])
}

struct Timed<'a> {
    coordinator: Coordinator,
    clock: &'a dyn Clock,
    spent: Duration,
    now: Duration,
}

impl Timed<'_> {
    fn step(&mut self, event: Event) -> Vec<Command> {
        let begin = self.clock.monotonic();
        let commands = self.coordinator.step(event, self.now);
        self.spent += self.clock.monotonic() - begin;
        commands
    }
}
