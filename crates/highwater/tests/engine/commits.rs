//! Output becomes visible with its checkpoint: not before that has completed, not if it never does, and once.
//!
//! Each publish is held back until the sink has written records of the next epoch. So it has had every turn in which it could have
//! committed too early, and what may be visible then is known to the record, whatever the threads do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater_core::CheckpointId;
use highwater_storage::MemoryStorage;
use highwater_testing::{Call, Fate, FaultyStorage, HookedStorage};

use crate::storage_faults::on;
use crate::support::{CountNumbers, KEYS, Numbers, Step, assert_exactly_once, at_once, returns, run};

const COUNT: u64 = 100;

/// Numbers written while a publish is held back. A sink commits at the start of a turn, and a number that is emitted after another
/// was written comes in a later one: so the second is written when everything that is due has been committed.
const PER_PUBLISH: u64 = 2;

type Counted = (u64, u64);

/// How far the job may go, and has come.
#[derive(Debug, Default)]
struct Stage {
    /// The source may emit the numbers below this.
    allowed: AtomicU64,
    written: AtomicU64,
    /// The function is to fail at the next number.
    crash: AtomicBool,
    crashed: AtomicBool,
}

impl Stage {
    fn write_one(&self) {
        let count = self.allowed.fetch_add(1, Ordering::SeqCst) + 1;
        wait_until(|| self.written.load(Ordering::SeqCst) == count);
    }

    /// Ends the attempt. The next one may go as far as it likes.
    fn crash(&self) {
        self.crash.store(true, Ordering::SeqCst);
        self.allowed.store(COUNT, Ordering::SeqCst);
        wait_until(|| self.crashed.load(Ordering::SeqCst));
    }

    fn process(&self) -> UserResult {
        if self.crash.swap(false, Ordering::SeqCst) {
            self.crashed.store(true, Ordering::SeqCst);
            return Err("a crash while a checkpoint is being published".into());
        }
        Ok(())
    }
}

fn wait_until(due: impl Fn() -> bool) {
    while !due() {
        std::thread::yield_now();
    }
}

/// A collecting sink that says how much it has written.
#[derive(Clone)]
struct CountingSink {
    inner: CollectSink<Counted>,
    stage: Arc<Stage>,
}

impl Sink for CountingSink {
    type Record = Counted;
    type Writer = CountingWriter;

    fn open(&self, context: &SinkContext, states: Vec<()>) -> highwater::Result<CountingWriter> {
        Ok(CountingWriter { inner: self.inner.open(context, states)?, stage: self.stage.clone() })
    }
}

struct CountingWriter {
    inner: <CollectSink<Counted> as Sink>::Writer,
    stage: Arc<Stage>,
}

impl SinkWriter for CountingWriter {
    type Record = Counted;
    type Committable = <<CollectSink<Counted> as Sink>::Writer as SinkWriter>::Committable;
    type State = ();

    fn write(&mut self, record: Counted, time: i64) -> highwater::Result<()> {
        self.inner.write(record, time)?;
        self.stage.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn prepare(&mut self, id: CheckpointId, last: bool) -> highwater::Result<Prepared<Self::Committable, ()>> {
        self.inner.prepare(id, last)
    }

    fn commit(&mut self, committables: Vec<Self::Committable>) -> highwater::Result<()> {
        self.inner.commit(committables)
    }
}

/// Runs a job whose first publishes have `fates`, and that crashes at the last of them: what was visible at each, and in the end.
fn with_held_publishes(fates: &[Fate]) -> (Vec<usize>, Vec<Counted>) {
    let faults = FaultyStorage::new(Arc::new(MemoryStorage::new()));
    fates.iter().zip(1..).for_each(|(fate, n)| faults.set(Call::Publish, n, *fate));
    // How many records were visible at each publish that was held back.
    let (stage, sink, visible) = (Arc::<Stage>::default(), CollectSink::new(), Arc::<Mutex<Vec<usize>>>::default());
    let (held, holding, shown, seen) = (fates.len(), stage.clone(), sink.clone(), Arc::clone(&visible));
    // Holds back the first publishes, and crashes the job at the last of these.
    let storage = HookedStorage::new(Arc::new(faults)).before_publish(move |_| {
        let mut visible = seen.lock().unwrap();
        if visible.len() < held {
            (0..PER_PUBLISH).for_each(|_| holding.write_one());
            visible.push(shown.committed().len());
            if visible.len() == held {
                holding.crash();
            }
        }
    });
    // One worker: in between two turns of the sink the source has its own.
    let env = on(Arc::new(storage), 1, 100);
    env.set_restart_strategy(at_once(1));
    let (source, function) = (stage.clone(), stage.clone());
    let numbers = Numbers::new(COUNT)
        .when(move |number| if number < source.allowed.load(Ordering::SeqCst) { Step::Emit } else { Step::Wait });
    env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
        .key_by(|number: &u64| number % KEYS)
        .process(CountNumbers { before: move |_| function.process() })
        .sink_to(CountingSink { inner: sink.clone(), stage });
    assert_eq!(run(&env).unwrap().attempts, 2);
    let visible = visible.lock().unwrap().clone();
    (visible, sink.committed())
}

#[test]
fn output_is_visible_only_once_its_checkpoint_has_completed_and_once_after_a_crash() {
    for last in [Fate::Happens, Fate::HappensInDoubt, Fate::Fails, Fate::FailsInDoubt] {
        let (visible, committed) = returns(move || {
            with_held_publishes(&[
                Fate::Happens,
                Fate::Fails,
                Fate::FailsInDoubt,
                Fate::HappensInDoubt,
                Fate::Happens,
                last,
            ])
        });
        // Epoch 1 is empty, and has completed. Then come three that have not; the fifth completes, with all that was written
        // before it was published: the numbers of four publishes.
        assert_eq!(visible, [0, 0, 0, 0, 0, 4 * PER_PUBLISH as usize], "{last:?}");
        assert_exactly_once(&committed, COUNT);
    }
}
