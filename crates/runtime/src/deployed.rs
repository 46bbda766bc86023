//! An attempt as one process runs it.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use highwater_core::Error;
use highwater_storage::JobStore;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Config as CommunicationConfig, Hooks};

use crate::control::{Control, Incoming};
use crate::graph::Attempt;
use crate::job::Process;
use crate::memory::{MemoryWatch, StateSizes};
use crate::mesh::{DataSockets, Mesh, NotConnected};
use crate::restore::Restored;
use crate::wire::Start;
use crate::worker::{self, Workers};

/// The workers of an attempt in this process.
pub(crate) struct Deployed {
    /// The word of the leader to their tasks.
    pub control: Arc<Control>,
    workers: Workers,
    /// Those that have not yet said that they are done.
    running: BTreeSet<u32>,
    sockets: DataSockets,
    _memory: Option<MemoryWatch>,
}

impl Deployed {
    /// Connects to the other processes of the attempt, in which this is number `index`, and starts the workers.
    ///
    /// # Errors
    /// If threads cannot be started; if another process does not connect before `give_up` says so.
    pub fn start(
        process: &Process,
        (start, index): (&Start, u32),
        restored: Option<Arc<Restored>>,
        (mesh, store): (Option<&Mesh>, Option<&Arc<JobStore>>),
        inbox: Sender<Incoming>,
        give_up: &dyn Fn() -> bool,
    ) -> std::result::Result<Self, NotConnected> {
        let config = &process.config;
        let control = Arc::new(Control::new(start.first_epoch, inbox, Arc::clone(&config.clock)));
        let attempt = Arc::new(Attempt {
            control: Arc::clone(&control),
            parallelism: start.parallelism(),
            max_parallelism: start.max_parallelism,
            mode: config.checkpoints.mode,
            checkpointing: process.checkpointing(),
            restored,
            spilling: config.spilling.clone(),
            splits: start.splits.clone(),
            read: config.status().records_read.clone(),
            sizes: StateSizes::default(),
        });
        let running = start.workers_of(index);
        // Before there is any state: to restore it may be too much already.
        let watch = |budget| MemoryWatch::start(budget, attempt.sizes.clone(), Arc::clone(&control), running.start);
        let memory = config.memory_budget.map(watch).transpose()?;
        let (sockets, communication) = communication(start, index, mesh, give_up)?;
        let workers = worker::start(&process.plan, &attempt, store, communication)?;
        Ok(Deployed { control, workers, running: running.collect(), sockets, _memory: memory })
    }

    /// Notes that a worker has said that it is done; whether all have.
    pub fn done(&mut self, worker: u32) -> bool {
        self.running.remove(&worker);
        self.running.is_empty()
    }

    /// The workers that have not yet said that they are done.
    pub fn running(&self) -> &BTreeSet<u32> {
        &self.running
    }

    /// Ends every connection at once: of an attempt that was aborted.
    pub fn shut_down(&self) {
        self.sockets.shut_down();
    }

    /// Waits for the threads of workers that are all done.
    pub fn join(self) {
        self.workers.join(self.control.is_aborted());
    }

    /// Leaves workers behind that do not come back: user code blocks in them.
    pub fn abandon(self) {
        self.workers.abandon();
    }
}

type Communication = (Vec<AllocatorBuilder>, Box<dyn Any + Send>);

fn communication(
    start: &Start,
    index: u32,
    mesh: Option<&Mesh>,
    give_up: &dyn Fn() -> bool,
) -> std::result::Result<(DataSockets, Communication), NotConnected> {
    let workers = start.workers as usize;
    let failed = |error: String| Error::internal(format!("cannot set up the workers: {error}"));
    let Some(mesh) = mesh.filter(|_| start.processes() > 1) else {
        let config = if workers == 1 { CommunicationConfig::Thread } else { CommunicationConfig::Process(workers) };
        return Ok((DataSockets::default(), config.try_build().map_err(failed)?));
    };
    let (streams, sockets) = mesh.data_sockets(start, index, give_up)?;
    let hooks = Hooks::default();
    let local = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), None);
    let (builders, guard) = initialize_networking_from_sockets(local, streams, index as usize, workers, hooks)
        .map_err(|error| failed(error.to_string()))?;
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
    Ok((sockets, (builders, Box::new(guard))))
}
