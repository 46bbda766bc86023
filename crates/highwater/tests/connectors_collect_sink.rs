//! The collecting sink commits in two phases, so that tests of exactly-once can rely on it.

use std::sync::Arc;

use highwater::connectors::CollectSink;
use highwater_core::{CheckpointId, Parallelism, SubtaskIndex, SystemClock};
use highwater_runtime::batch::NO_TIME;
use highwater_runtime::sink::{Sink, SinkContext, SinkWriter};

fn context(subtask: u32) -> SinkContext {
    SinkContext {
        subtask: SubtaskIndex(subtask),
        parallelism: Parallelism::new(2).unwrap(),
        first_epoch: CheckpointId(1),
        referenced: Arc::default(),
        clock: Arc::new(SystemClock::new()),
    }
}

#[test]
fn records_are_visible_once_they_are_committed_and_only_once() {
    let sink = CollectSink::new();
    let mut writer = sink.open(&context(0), vec![]).unwrap();
    writer.write("a".to_string(), NO_TIME).unwrap();
    let first = writer.prepare(CheckpointId(1), false).unwrap().committables;
    writer.write("b".to_string(), NO_TIME).unwrap();
    assert!(sink.committed().is_empty());
    writer.commit(first.clone()).unwrap();
    assert_eq!(sink.committed(), ["a"]);
    // A restored attempt commits again what may have been committed; what was only written is gone.
    let mut restored = sink.open(&context(0), vec![]).unwrap();
    restored.commit(first).unwrap();
    restored.write("b".to_string(), NO_TIME).unwrap();
    let second = restored.prepare(CheckpointId(2), true).unwrap().committables;
    restored.commit(second).unwrap();
    assert_eq!(sink.committed(), ["a", "b"]);
}

#[test]
fn subtasks_of_one_checkpoint_do_not_pass_for_each_other() {
    let sink = CollectSink::new();
    for subtask in 0..2 {
        let mut writer = sink.open(&context(subtask), vec![]).unwrap();
        writer.write(subtask, NO_TIME).unwrap();
        let prepared = writer.prepare(CheckpointId(1), false).unwrap();
        writer.commit(prepared.committables).unwrap();
        assert!(writer.prepare(CheckpointId(2), false).unwrap().committables.is_empty());
    }
    assert_eq!(sink.committed(), [0, 1]);
}
