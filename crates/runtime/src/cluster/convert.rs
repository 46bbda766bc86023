//! Between what goes over the network and what the engine has.
//!
//! What a message lacks, or says wrongly, is an error of kind [`ErrorKind::Cluster`](highwater_core::ErrorKind::Cluster).

use std::time::Duration;

use highwater_control::convert::{decode_snapshot, encode_snapshot, job_end, malformed, nanos, required};
use highwater_control::proto::v1;
use highwater_control::{Notice as Said, Order as Word};
use highwater_core::{CheckpointId, Error, MaxParallelism, OperatorUid, Result};
use highwater_jobmaster::{AttemptToken, TaskManagerId};

use crate::control::{Ending, Held, TaskEvent, Trigger};
use crate::graph::{Plan, Splits};
use crate::job::JobEnd;
use crate::restore::{SnapshotLocation, StateTimes};
use crate::wire::{Notice, Order, Start};

/// The dataflow, so that a refusal can say what differs.
pub(super) fn graph(plan: &Plan, digest: u64) -> v1::Graph {
    let operators = plan.outline().map(|(uid, name, kind, inputs)| v1::Operator {
        uid: uid.to_string(),
        name: name.to_owned(),
        kind: format!("{kind:?}").to_lowercase(),
        inputs: inputs.into_iter().map(ToString::to_string).collect(),
    });
    v1::Graph { digest, operators: operators.collect() }
}

/// The name of a TaskManager on the network.
pub(super) fn name_of(id: TaskManagerId) -> String {
    id.to_string()
}

/// The TaskManager of this name.
pub(super) fn id_of(name: &str) -> Result<TaskManagerId> {
    u128::from_str_radix(name, 16).map(TaskManagerId).map_err(|_| malformed("register.task_manager_id"))
}

/// Orders, as the JobManager sends them to who has a part of attempt `current`.
pub(super) fn word(order: Order, current: AttemptToken) -> Word {
    let order = match order {
        Order::Start { start, process } => {
            let attempt = start.token.0;
            return Word::Attempt { attempt, order: v1::order::Order::Start(start_out(start, process)) };
        }
        Order::Abort { token, reason } => {
            return Word::Attempt { attempt: token.0, order: v1::order::Order::Abort(v1::Abort { reason }) };
        }
        Order::End { result } => return Word::End(result_out(result)),
        Order::Attach { completed, next } => {
            v1::order::Order::Attach(v1::Attach { completed: id_out(completed), next_checkpoint: next.0 })
        }
        Order::Restored => v1::order::Order::Restored(v1::Restored {}),
        Order::Trigger(Trigger { id, last, savepoint }) => v1::order::Order::Trigger(v1::Trigger {
            checkpoint: id.0,
            last: last.map(|last| ending_out(last).into()),
            savepoint: savepoint.as_ref().map(Into::into),
        }),
        Order::Resume => v1::order::Order::Resume(v1::Resume {}),
        Order::Complete { id } => v1::order::Order::Complete(v1::Complete { checkpoint: id.0 }),
        Order::GiveUp { id } => v1::order::Order::GiveUp(v1::GiveUp { checkpoint: id.0 }),
        Order::Finish { ended } => v1::order::Order::Finish(v1::Finish { input_ended: ended }),
    };
    Word::Attempt { attempt: current.0, order }
}

/// What a TaskManager has received, and the attempt it is about.
pub(super) fn order(word: Word) -> Result<(Option<AttemptToken>, Order)> {
    use v1::order::Order as Received;
    let (attempt, order) = match word {
        Word::End(result) => return Ok((None, Order::End { result: result_in(result)? })),
        Word::Attempt { attempt, order } => (AttemptToken(attempt), order),
    };
    let order = match order {
        Received::Start(start) => {
            let process = start.process;
            Order::Start { start: start_in(start, attempt)?, process }
        }
        Received::Attach(v1::Attach { completed, next_checkpoint }) => {
            Order::Attach { completed: id_in(completed), next: CheckpointId(next_checkpoint) }
        }
        Received::Restored(_) => Order::Restored,
        Received::Trigger(trigger) => {
            let last = trigger.last.map(ending_in).transpose()?;
            let savepoint = trigger.savepoint.map(Into::into);
            Order::Trigger(Trigger { id: CheckpointId(trigger.checkpoint), last, savepoint })
        }
        Received::Resume(_) => Order::Resume,
        Received::Complete(complete) => Order::Complete { id: CheckpointId(complete.checkpoint) },
        Received::GiveUp(give_up) => Order::GiveUp { id: CheckpointId(give_up.checkpoint) },
        Received::Finish(finish) => Order::Finish { ended: finish.input_ended },
        Received::Abort(abort) => Order::Abort { token: attempt, reason: abort.reason },
    };
    Ok((Some(attempt), order))
}

fn start_out(start: Start, process: u32) -> v1::Start {
    let restore = start.restore.map(|SnapshotLocation { storage, folder, is_own }| v1::SnapshotLocation {
        storage,
        folder,
        is_own,
    });
    let splits = start.splits.into_iter().map(|(uid, splits)| v1::SourceSplits {
        operator_uid: uid.to_string(),
        splits: splits.into_iter().map(Into::into).collect(),
    });
    v1::Start {
        process,
        data_addresses: start.hosts,
        workers: start.workers,
        first_epoch: start.first_epoch.0,
        restore,
        splits: splits.collect(),
        max_parallelism: start.max_parallelism.count(),
        cluster: start.cluster,
    }
}

fn start_in(start: v1::Start, token: AttemptToken) -> Result<Start> {
    let restore = start.restore.map(|v1::SnapshotLocation { storage, folder, is_own }| SnapshotLocation {
        storage,
        folder,
        is_own,
    });
    let splits = start.splits.into_iter().map(|v1::SourceSplits { operator_uid, splits }| {
        let uid = OperatorUid::parse(&operator_uid).map_err(|_| malformed("start.splits.operator_uid"))?;
        Ok((uid, splits.into_iter().map(Into::into).collect()))
    });
    if start.workers == 0 || start.process as usize >= start.data_addresses.len() {
        return Err(malformed("start: the process has no place in the attempt"));
    }
    Ok(Start {
        token,
        cluster: start.cluster,
        hosts: start.data_addresses,
        workers: start.workers,
        max_parallelism: MaxParallelism::new(start.max_parallelism)?,
        first_epoch: CheckpointId(start.first_epoch),
        restore,
        splits: splits.collect::<Result<Splits>>()?,
    })
}

/// What a TaskManager says.
pub(super) fn said(notice: Notice) -> Result<Said> {
    Ok(match notice {
        Notice::Task { token, event } => Said::Task { attempt: token.0, event: event_out(event)? },
        Notice::Released { token } => Said::Released { attempt: token.0 },
        Notice::Leaving => Said::Leaving {},
    })
}

/// What the JobManager has received.
pub(super) fn notice(said: Said) -> Result<Notice> {
    Ok(match said {
        Said::Task { attempt, event } => Notice::Task { token: AttemptToken(attempt), event: event_in(event)? },
        Said::Released { attempt } => Notice::Released { token: AttemptToken(attempt) },
        Said::Leaving {} => Notice::Leaving,
    })
}

fn event_out(event: TaskEvent) -> Result<v1::task_event::Event> {
    use v1::task_event::Event;
    Ok(match event {
        TaskEvent::Restored { worker } => Event::WorkerRestored(v1::WorkerRestored { worker }),
        TaskEvent::Ready { worker } => Event::WorkerReady(v1::WorkerReady { worker }),
        TaskEvent::StateRestored { task, keys, bytes, times } => Event::StateRestored(v1::StateRestored {
            task: Some((&task).into()),
            keys,
            bytes,
            init_nanos: nanos(times.init),
            prepare_nanos: nanos(times.prepare),
            confirm_nanos: nanos(times.confirm),
            complete_nanos: nanos(times.complete),
        }),
        TaskEvent::Prepared { id, task, pause } => {
            Event::Prepared(v1::Prepared { checkpoint: id.0, task: Some((&task).into()), pause_nanos: nanos(pause) })
        }
        TaskEvent::Acknowledged { id, task, snapshot, files, bytes } => Event::Acknowledged(v1::Acknowledged {
            checkpoint: id.0,
            task: Some((&task).into()),
            snapshot: encode_snapshot(&snapshot)?,
            files: files.iter().map(Into::into).collect(),
            bytes,
        }),
        TaskEvent::Declined { id, task, reason } => {
            Event::Declined(v1::Declined { checkpoint: id.0, task: Some((&task).into()), reason })
        }
        TaskEvent::LongestPause { task, pause } => {
            Event::LongestPause(v1::LongestPause { task: Some((&task).into()), pause_nanos: nanos(pause) })
        }
        TaskEvent::SourceEnded { task } => Event::SourceEnded(v1::SourceEnded { task: Some((&task).into()) }),
        TaskEvent::Unreachable { processes, error } => {
            Event::Unreachable(v1::Unreachable { processes, failure: Some((&error).into()) })
        }
        TaskEvent::Failed { worker, error } => {
            Event::WorkerFailed(v1::WorkerFailed { worker, failure: Some((&error).into()) })
        }
        TaskEvent::WorkerDone { worker } => Event::WorkerDone(v1::WorkerDone { worker }),
    })
}

fn event_in(event: v1::task_event::Event) -> Result<TaskEvent> {
    use v1::task_event::Event;
    let task = |task: Option<v1::Task>| required(task, "task_event.task")?.try_into();
    let failure = |failure: Option<v1::Failure>| required(failure, "task_event.failure").map(Error::from);
    Ok(match event {
        Event::WorkerRestored(v1::WorkerRestored { worker }) => TaskEvent::Restored { worker },
        Event::WorkerReady(v1::WorkerReady { worker }) => TaskEvent::Ready { worker },
        Event::StateRestored(restored) => TaskEvent::StateRestored {
            task: task(restored.task)?,
            keys: restored.keys,
            bytes: restored.bytes,
            times: StateTimes {
                init: Duration::from_nanos(restored.init_nanos),
                prepare: Duration::from_nanos(restored.prepare_nanos),
                confirm: Duration::from_nanos(restored.confirm_nanos),
                complete: Duration::from_nanos(restored.complete_nanos),
            },
        },
        Event::Prepared(prepared) => TaskEvent::Prepared {
            id: CheckpointId(prepared.checkpoint),
            task: task(prepared.task)?,
            pause: Duration::from_nanos(prepared.pause_nanos),
        },
        Event::Acknowledged(acknowledged) => TaskEvent::Acknowledged {
            id: CheckpointId(acknowledged.checkpoint),
            task: task(acknowledged.task)?,
            snapshot: decode_snapshot(&acknowledged.snapshot)?,
            files: acknowledged.files.into_iter().map(Into::into).collect(),
            bytes: acknowledged.bytes,
        },
        Event::Declined(declined) => TaskEvent::Declined {
            id: CheckpointId(declined.checkpoint),
            task: task(declined.task)?,
            reason: declined.reason,
        },
        Event::LongestPause(longest) => {
            TaskEvent::LongestPause { task: task(longest.task)?, pause: Duration::from_nanos(longest.pause_nanos) }
        }
        Event::SourceEnded(ended) => TaskEvent::SourceEnded { task: task(ended.task)? },
        Event::Unreachable(unreachable) => {
            TaskEvent::Unreachable { processes: unreachable.processes, error: failure(unreachable.failure)? }
        }
        Event::WorkerFailed(failed) => TaskEvent::Failed { worker: failed.worker, error: failure(failed.failure)? },
        Event::WorkerDone(v1::WorkerDone { worker }) => TaskEvent::WorkerDone { worker },
    })
}

/// What a TaskManager that registers says of its part of an attempt.
pub(super) fn running(held: &Held) -> v1::RunningAttempt {
    let workers = |workers: &std::collections::BTreeSet<u32>| workers.iter().copied().collect();
    v1::RunningAttempt {
        attempt: held.token.0,
        process: held.process,
        restored_workers: workers(&held.restored),
        ready_workers: workers(&held.ready),
        done_workers: workers(&held.done),
        ended_sources: held.ended_sources.iter().map(Into::into).collect(),
        newest_triggered: id_out(held.triggered),
        newest_completed: id_out(held.completed),
        last: held.last.map(|last| ending_out(last).into()),
        finishing: held.finishing,
    }
}

/// The other way.
pub(super) fn held(running: v1::RunningAttempt) -> Result<Held> {
    Ok(Held {
        restored: running.restored_workers.into_iter().collect(),
        ready: running.ready_workers.into_iter().collect(),
        done: running.done_workers.into_iter().collect(),
        ended_sources: running.ended_sources.into_iter().map(TryInto::try_into).collect::<Result<_>>()?,
        triggered: id_in(running.newest_triggered),
        completed: id_in(running.newest_completed),
        last: running.last.map(ending_in).transpose()?,
        finishing: running.finishing,
        ..Held::new(AttemptToken(running.attempt), running.process)
    })
}

fn id_out(id: Option<CheckpointId>) -> u64 {
    id.map_or(0, |id| id.0)
}

fn id_in(id: u64) -> Option<CheckpointId> {
    (id > 0).then_some(CheckpointId(id))
}

fn ending_out(ending: Ending) -> v1::Ending {
    match ending {
        Ending::Suspend => v1::Ending::Suspend,
        Ending::Drain => v1::Ending::Drain,
    }
}

fn ending_in(ending: i32) -> Result<Ending> {
    match v1::Ending::try_from(ending) {
        Ok(v1::Ending::Suspend) => Ok(Ending::Suspend),
        Ok(v1::Ending::Drain) => Ok(Ending::Drain),
        Ok(v1::Ending::Unspecified) | Err(_) => Err(malformed(&format!("ending {ending}"))),
    }
}

fn result_out(result: super::record::Outcome) -> v1::job_result::Result {
    match result {
        Ok(end) => v1::job_result::Result::End(end_out(end).into()),
        Err((kind, why)) => v1::job_result::Result::Failure((&Error::new(kind, why)).into()),
    }
}

fn end_out(end: JobEnd) -> v1::JobEnd {
    match end {
        JobEnd::Finished => v1::JobEnd::Finished,
        JobEnd::Stopped => v1::JobEnd::Stopped,
        JobEnd::Cancelled => v1::JobEnd::Canceled,
        // A process that leaves does not end the job.
        JobEnd::Left => v1::JobEnd::Unspecified,
    }
}

fn result_in(result: v1::job_result::Result) -> Result<super::record::Outcome> {
    Ok(match result {
        // Its own words, and not what is wrong with the message.
        v1::job_result::Result::Failure(failure) => {
            let error = Error::from(failure);
            Err((error.kind(), error.to_string()))
        }
        end @ v1::job_result::Result::End(_) => Ok(match job_end(end)? {
            v1::JobEnd::Stopped => JobEnd::Stopped,
            v1::JobEnd::Canceled => JobEnd::Cancelled,
            v1::JobEnd::Finished | v1::JobEnd::Unspecified => JobEnd::Finished,
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use highwater_checkpoint::SavepointLocation;
    use highwater_checkpoint::metadata::TaskSnapshot;
    use highwater_core::{ErrorKind, SubtaskIndex, TaskId};

    use super::*;

    const TOKEN: AttemptToken = AttemptToken(7 << 20);

    fn uid() -> OperatorUid {
        OperatorUid::parse("visits").unwrap()
    }

    fn task() -> TaskId {
        TaskId { operator: uid(), subtask: SubtaskIndex(3) }
    }

    #[test]
    fn every_order_arrives_as_it_was_sent() {
        let restore = SnapshotLocation { storage: "s3://b".into(), folder: "chk-4".into(), is_own: true };
        let start = Start {
            token: TOKEN,
            cluster: "blue".into(),
            hosts: vec!["a:1".into(), "b:2".into()],
            workers: 2,
            max_parallelism: MaxParallelism::new(128).unwrap(),
            first_epoch: CheckpointId(5),
            restore: Some(restore),
            splits: [(uid(), vec![vec![1, 2], vec![]])].into(),
        };
        let savepoint = Some(SavepointLocation { storage: "file:///s".into(), folder: "savepoint-1".into() });
        let trigger = Trigger { id: CheckpointId(9), last: Some(Ending::Drain), savepoint };
        for sent in [
            Order::Start { start, process: 1 },
            Order::Attach { completed: Some(CheckpointId(4)), next: CheckpointId(9) },
            Order::Attach { completed: None, next: CheckpointId(1) },
            Order::Restored,
            Order::Trigger(trigger),
            Order::Trigger(Trigger { id: CheckpointId(1), last: None, savepoint: None }),
            Order::Resume,
            Order::Complete { id: CheckpointId(9) },
            Order::GiveUp { id: CheckpointId(9) },
            Order::Finish { ended: true },
            Order::Abort { token: TOKEN, reason: "why".into() },
        ] {
            let (attempt, received) = order(word(sent.clone(), TOKEN)).unwrap();
            assert_eq!((attempt, format!("{received:?}")), (Some(TOKEN), format!("{sent:?}")));
        }
        for result in
            [Ok(JobEnd::Finished), Ok(JobEnd::Stopped), Ok(JobEnd::Cancelled), Err((ErrorKind::Input, "x".into()))]
        {
            let sent = Order::End { result };
            let (attempt, received) = order(word(sent.clone(), TOKEN)).unwrap();
            assert_eq!((attempt, format!("{received:?}")), (None, format!("{sent:?}")));
        }
    }

    #[test]
    fn every_notice_arrives_as_it_was_sent() {
        let (id, time) = (CheckpointId(9), Duration::from_nanos(1_234_567_890));
        let times = StateTimes { init: time, prepare: time * 2, confirm: time * 3, complete: time * 4 };
        let error = || Error::new(ErrorKind::UserFunction, "it panicked");
        let events = [
            TaskEvent::Restored { worker: 3 },
            TaskEvent::Ready { worker: 3 },
            TaskEvent::StateRestored { task: task(), keys: 5, bytes: 6, times },
            TaskEvent::Prepared { id, task: task(), pause: time },
            TaskEvent::Acknowledged {
                id,
                task: task(),
                snapshot: TaskSnapshot::default(),
                files: Vec::new(),
                bytes: 7,
            },
            TaskEvent::Declined { id, task: task(), reason: "disk full".into() },
            TaskEvent::LongestPause { task: task(), pause: time },
            TaskEvent::SourceEnded { task: task() },
            TaskEvent::Unreachable { processes: vec![1, 2], error: error() },
            TaskEvent::Failed { worker: 3, error: error() },
            TaskEvent::WorkerDone { worker: 3 },
        ];
        let task_notices = events.into_iter().map(|event| Notice::Task { token: TOKEN, event });
        for sent in task_notices.chain([Notice::Released { token: TOKEN }, Notice::Leaving]) {
            // An error arrives with its words and not with its sources.
            let words = format!("{sent:?}");
            assert_eq!(format!("{:?}", notice(said(sent).unwrap()).unwrap()), words);
        }
    }

    #[test]
    fn a_part_of_an_attempt_is_described_whole() {
        let sent = Held {
            restored: BTreeSet::from([2, 3]),
            ready: BTreeSet::from([2]),
            done: BTreeSet::from([3]),
            ended_sources: BTreeSet::from([task()]),
            triggered: Some(CheckpointId(9)),
            completed: Some(CheckpointId(8)),
            last: Some(Ending::Suspend),
            finishing: true,
            ..Held::new(TOKEN, 1)
        };
        assert_eq!(held(running(&sent)).unwrap(), sent);
        assert_eq!(id_of(&name_of(TaskManagerId(42))).unwrap(), TaskManagerId(42));
    }

    #[test]
    fn what_a_message_lacks_is_named() {
        let refused =
            |word: v1::order::Order| order(Word::Attempt { attempt: 1, order: word }).unwrap_err().to_string();
        assert!(refused(v1::order::Order::Start(v1::Start::default())).contains("no place in the attempt"));
        let last = Some(99);
        let trigger = v1::Trigger { last, ..v1::Trigger::default() };
        assert!(refused(v1::order::Order::Trigger(trigger)).contains("ending 99"));
        let ended = v1::task_event::Event::SourceEnded(v1::SourceEnded { task: None });
        let error = notice(Said::Task { attempt: 1, event: ended }).unwrap_err().to_string();
        assert!(error.contains("task_event.task"), "{error}");
        assert!(id_of("no number").is_err());
    }
}
