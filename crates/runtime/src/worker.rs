//! The worker threads of a process in one attempt.
//!
//! A worker restores the state of its tasks, waits until all workers of the job have, builds its dataflow, says that it is ready, and
//! steps until the dataflow is complete or the attempt is aborted. Nothing that happens in it may take the process down or hang: errors and panics end the attempt.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use highwater_core::{Error, ErrorKind, Result};
use highwater_storage::JobStore;
use timely::WorkerConfig;
use timely::communication::{Allocator, AllocatorBuilder, WorkerGuards, initialize_from};
use timely::worker::Worker;

use crate::control::{TaskEvent, message_of};
use crate::graph::{Attempt, Builder, Plan};
use crate::mark::Mark;
use crate::upload;

/// How long an idle worker sleeps at most before it looks whether the attempt was aborted; it is also woken for that.
const LONGEST_PARK: Duration = Duration::from_millis(500);

/// The worker threads of this process, and timely's communication threads, which end after them.
pub(crate) struct Workers {
    workers: WorkerGuards<()>,
    communication: Box<dyn Any + Send>,
}

/// Starts a worker for each of `allocators`.
///
/// # Errors
/// If threads cannot be started.
pub(crate) fn start(
    plan: &Arc<Plan>,
    attempt: &Arc<Attempt>,
    store: Option<&Arc<JobStore>>,
    (allocators, communication): (Vec<AllocatorBuilder>, Box<dyn Any + Send>),
) -> Result<Workers> {
    let (plan, attempt, store) = (Arc::clone(plan), Arc::clone(attempt), store.cloned());
    let work = move |allocator: Allocator| {
        let worker = allocator.index() as u32;
        let run = AssertUnwindSafe(|| run(worker, &plan, &attempt, store.clone(), allocator));
        match catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => attempt.control.fail(worker, error),
            Err(panic) => attempt.control.fail(worker, lost(worker, &*panic)),
        }
        attempt.control.tell(TaskEvent::WorkerDone { worker });
    };
    let workers = initialize_from(allocators, Box::new(()), work)
        .map_err(|error| Error::internal(format!("cannot start worker threads: {error}")))?;
    Ok(Workers { workers, communication })
}

/// A worker panicked outside of user code. Timely does so when a connection to another process is lost.
fn lost(worker: u32, panic: &(dyn Any + Send)) -> Error {
    let message = message_of(panic);
    if message.contains("MergeQueue poisoned") || message.contains("timely communication error") {
        return Error::new(ErrorKind::Cluster, "a data connection to another process was lost");
    }
    Error::internal(format!("worker {worker} panicked: {message}"))
}

impl Workers {
    /// Waits for threads that have said that they are done. If the attempt was `aborted`, its sockets were shut down, which timely's
    /// communication threads answer with a panic: nobody waits for those.
    pub fn join(self, aborted: bool) {
        // A worker's panic is caught and reported inside of it.
        let _ = self.workers.join();
        if aborted {
            std::mem::forget(self.communication);
        }
    }

    /// Leaves threads behind that do not come back: user code blocks in them.
    pub fn abandon(self) {
        std::mem::forget(self.workers);
        std::mem::forget(self.communication);
    }
}

fn run(
    index: u32,
    plan: &Plan,
    attempt: &Arc<Attempt>,
    store: Option<Arc<JobStore>>,
    allocator: Allocator,
) -> Result<()> {
    let control = &attempt.control;
    let (announce, tasks) = channel();
    let (uploads, upload_thread) = upload::start(index, store, Arc::clone(control), tasks)?;
    let mut worker = Worker::new(WorkerConfig::default(), allocator, Some(started()));
    let built = worker.dataflow::<Mark, _, _>(|scope| -> Result<()> {
        let builder = Builder::new(scope, Arc::clone(attempt), uploads);
        plan.restore(&builder)?;
        if attempt.restored.is_some() {
            // Sinks commit what the checkpoint had prepared when they are built: not before all of it is known to be good.
            control.tell(TaskEvent::Restored { worker: index });
            if !control.wait_until_restored() {
                return Err(Error::new(ErrorKind::Cluster, "the attempt ended before all state was restored"));
            }
        }
        plan.build(&builder)?;
        // The upload thread is gone only if it panicked, which its first message will show.
        let _ = announce.send(builder.tasks.borrow().len());
        Ok(())
    });
    let result = built.map(|()| {
        control.tell(TaskEvent::Ready { worker: index });
        step(&mut worker, attempt);
    });
    drop_dataflows(&mut worker);
    drop(worker);
    // If nothing was announced, the thread still waits for it.
    drop(announce);
    let _ = upload_thread.join();
    result
}

fn step(worker: &mut Worker, attempt: &Attempt) {
    while worker.has_dataflows() && !attempt.control.is_aborted() {
        worker.step_or_park(Some(LONGEST_PARK));
    }
}

/// Drops what an aborted attempt leaves, so that the upload thread ends.
fn drop_dataflows(worker: &mut Worker) {
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

#[expect(clippy::disallowed_methods, reason = "timely measures its own delays from this instant")]
fn started() -> std::time::Instant {
    std::time::Instant::now()
}
