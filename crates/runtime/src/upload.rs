//! The asynchronous part of a snapshot: what tasks hand over is written, made durable, and acknowledged.
//!
//! Each worker has one upload thread. Tasks send it chunks of keyed state while they go on processing, and then the frame of their
//! snapshot ([`Uploads::finish`]). What is small travels inside the acknowledgement and ends up in `_metadata`; the rest of all
//! tasks of the worker goes into one file per checkpoint, so a checkpoint is few files.
//!
//! The rows of a task that are not in memory come as the snapshot of a store: the thread makes its files, and writes those anew that
//! the snapshot before did not have. Into a savepoint it writes the rows themselves.
//!
//! A task writes what has changed. The thread keeps the [lineage](highwater_checkpoint::lineage) of every keyed state, appends to
//! it at each checkpoint, and acknowledges with all of it: a checkpoint that fails after its data were written costs nothing, since
//! the next one refers to them as well. A savepoint is apart from that: everything goes into its own folder.
//!
//! Invariants:
//! * a task is acknowledged only after every file that its lineage refers to is durable;
//! * a lineage lacks nothing: where something could not be written, the task is [told](LineageHandle::take_lost) to write
//!   everything, and declined until it has.

mod data_file;
mod store_files;
mod store_rows;
mod tracked;
mod uploader;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use highwater_checkpoint::metadata::{FileDigest, OperatorState, StoreSnapshot};
use highwater_checkpoint::{Lineage, rebase::Rebase};
use highwater_core::{CheckpointId, Error, KeyGroup, KeyGroupRange, MaxParallelism, Result, TaskId};
use highwater_state::table::Chunk;
use highwater_state::tier;
use highwater_storage::JobStore;

use self::uploader::Uploader;
use crate::control::{Control, lock};
use crate::sink::MakeDurable;

/// A task whose keyed state takes up to this many bytes stores it in `_metadata` itself (Flink's default: 20 kB).
pub const INLINE_BYTES: u64 = 20 * 1024;

/// A keyed state of a task, as its snapshot describes it; the sections come as chunks.
#[derive(Clone, Debug)]
pub struct KeyedFrame {
    /// Name of the state.
    pub name: &'static str,
    /// Its schema, as JSON.
    pub schema: String,
    /// Number of key groups of the operator.
    pub max_parallelism: MaxParallelism,
    /// The key groups of the task.
    pub range: KeyGroupRange,
    /// For each of them, whether everything was handed over, or what has changed since the snapshot before.
    pub full: Vec<bool>,
}

/// Everything of a task's snapshot but the sections of its keyed states.
#[derive(Default)]
pub struct SnapshotFrame {
    /// Keyed states, each with the chunks that were sent under its name.
    pub keyed: Vec<KeyedFrame>,
    /// Operator state, whole.
    pub operator_state: Vec<OperatorState>,
    /// What must have happened before the task may acknowledge.
    pub durable: Option<MakeDurable>,
}

/// What a keyed state was restored from, if its checkpoints can go on from there.
#[derive(Clone, Debug, Default)]
pub struct Restorable {
    /// Its lineage.
    pub lineage: Lineage,
    /// The store below it, if the task has opened it as it was.
    pub store: Option<StoreSnapshot>,
    /// The files that they refer to, by name.
    pub files: BTreeMap<String, FileDigest>,
}

enum Message {
    Track { task: TaskId, state: &'static str, restored: Restorable, lost: Arc<AtomicBool> },
    Store { id: CheckpointId, task: TaskId, state: &'static str, snapshot: tier::StoreSnapshot },
    Chunk { id: CheckpointId, task: TaskId, state: &'static str, chunk: Chunk },
    Finish { id: CheckpointId, task: TaskId, frame: SnapshotFrame },
}

/// A worker's end of its upload thread.
#[derive(Clone)]
pub struct Uploads {
    sender: Sender<Message>,
    backlog: Arc<AtomicUsize>,
    written: Written,
}

/// How many chunks wait on their way back: 16 MiB.
const WRITTEN_CHUNKS: usize = 64;

/// Chunks that were written, on their way back to the tasks for their memory.
type Written = Arc<Mutex<Vec<Vec<u8>>>>;

/// A task's view of the lineage of one of its keyed states: which key groups it has to write in full.
#[derive(Debug)]
pub struct LineageHandle {
    rebase: Rebase,
    lost: Arc<AtomicBool>,
}

impl LineageHandle {
    /// Decides at a barrier which key groups are written in full.
    pub fn begin(&mut self) -> Vec<bool> {
        if self.take_lost() {
            self.rebase.forget();
        }
        self.rebase.begin()
    }

    /// A section of `bytes` bytes was handed over.
    pub fn wrote(&mut self, group: KeyGroup, is_full: bool, bytes: usize) {
        self.rebase.wrote(group, is_full, bytes as u64);
    }

    /// Whether something that was handed over could not be written.
    fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::AcqRel)
    }
}

impl Uploads {
    /// Keeps the lineage of a keyed state from here on, with what it was restored from. `rebase` knows the sizes of that.
    pub fn track(&self, task: &TaskId, state: &'static str, restored: Restorable, rebase: Rebase) -> LineageHandle {
        let lost = Arc::new(AtomicBool::new(false));
        let handle = LineageHandle { rebase, lost: Arc::clone(&lost) };
        self.send(Message::Track { task: task.clone(), state, restored, lost });
        handle
    }

    /// Hands over the snapshot of the store below a keyed state, which has begun.
    pub fn store(&self, id: CheckpointId, task: &TaskId, state: &'static str, snapshot: tier::StoreSnapshot) {
        self.send(Message::Store { id, task: task.clone(), state, snapshot });
    }

    /// Hands over a chunk of keyed state.
    pub fn chunk(&self, id: CheckpointId, task: &TaskId, state: &'static str, chunk: Chunk) {
        self.backlog.fetch_add(chunk.bytes.len(), Ordering::Relaxed);
        self.send(Message::Chunk { id, task: task.clone(), state, chunk });
    }

    /// Everything of `task` for checkpoint `id` has been handed over.
    pub fn finish(&self, id: CheckpointId, task: &TaskId, frame: SnapshotFrame) {
        self.send(Message::Finish { id, task: task.clone(), frame });
    }

    /// Bytes handed over and not yet written: a task that copies ahead of the disk waits while there are many.
    pub fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// The memory of chunks that were written.
    pub fn written(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *lock(&self.written))
    }

    fn send(&self, message: Message) {
        // The thread ends only after all senders are gone.
        let _ = self.sender.send(message);
    }
}

/// Starts the upload thread of worker `worker`, which ends when the last [`Uploads`] is dropped.
///
/// `tasks` will be told once how many tasks of the worker take part in checkpoints.
///
/// # Errors
/// If no thread can be started.
pub fn start(
    worker: u32,
    store: Option<Arc<JobStore>>,
    control: Arc<Control>,
    tasks: Receiver<usize>,
) -> Result<(Uploads, JoinHandle<()>)> {
    let (sender, receiver) = channel();
    let backlog = Arc::new(AtomicUsize::new(0));
    let written = Written::default();
    let uploads = Uploads { sender, backlog: Arc::clone(&backlog), written: Arc::clone(&written) };
    let thread = std::thread::Builder::new()
        .name(format!("highwater-upload-{worker}"))
        .spawn(move || {
            // Without a number the worker never came up, and nothing will be sent.
            let Ok(tasks) = tasks.recv() else { return };
            Uploader::new(worker, store, control, tasks, backlog, written).run(&receiver);
        })
        .map_err(|error| Error::internal("cannot start the upload thread").with_source(error))?;
    Ok((uploads, thread))
}
