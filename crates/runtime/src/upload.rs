//! The asynchronous part of a snapshot: what tasks hand over is written, made durable, and acknowledged.
//!
//! Each worker has one upload thread. Tasks send it chunks of keyed state while they go on processing, and then the frame of their
//! snapshot ([`Uploads::finish`]). What is small travels inside the acknowledgement and ends up in `_metadata`; the rest of all
//! tasks of the worker goes into one data file per checkpoint, so a checkpoint is few files. A task is acknowledged only after its
//! bytes are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use highwater_checkpoint::metadata::{BLOCK, Block, FileDigest, KeyedSnapshot, Location, OperatorState, TaskSnapshot};
use highwater_core::frame;
use highwater_core::{CheckpointId, Error, KeyGroup, KeyGroupRange, MaxParallelism, Result, TaskId};
use highwater_storage::layout::data_name;
use highwater_storage::{JobStore, SnapshotWriter};

use crate::control::{Control, TaskEvent, lock};
use crate::sink::MakeDurable;

/// A task whose keyed state takes up to this many bytes stores it in `_metadata` itself (Flink's default: 20 kB).
pub const INLINE_BYTES: u64 = 20 * 1024;

/// A keyed state of a task, as its snapshot describes it; the blocks come as chunks.
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
}

/// Everything of a task's snapshot but the blocks of its keyed states.
#[derive(Default)]
pub struct SnapshotFrame {
    /// Keyed states, each with the chunks that were sent under its name.
    pub keyed: Vec<KeyedFrame>,
    /// Operator state, whole.
    pub operator_state: Vec<OperatorState>,
    /// What must have happened before the task may acknowledge.
    pub durable: Option<MakeDurable>,
}

enum Message {
    Chunk { id: CheckpointId, task: TaskId, state: &'static str, group: KeyGroup, entries: u64, bytes: Vec<u8> },
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

impl Uploads {
    /// Hands over a chunk of keyed state.
    pub fn chunk(
        &self,
        id: CheckpointId,
        task: &TaskId,
        state: &'static str,
        group: KeyGroup,
        entries: u64,
        bytes: Vec<u8>,
    ) {
        self.backlog.fetch_add(bytes.len(), Ordering::Relaxed);
        self.send(Message::Chunk { id, task: task.clone(), state, group, entries, bytes });
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
            Uploader { worker, store, control, tasks, open: BTreeMap::new(), backlog, written }.run(&receiver);
        })
        .map_err(|error| Error::internal("cannot start the upload thread").with_source(error))?;
    Ok((uploads, thread))
}

struct Uploader {
    worker: u32,
    store: Option<Arc<JobStore>>,
    control: Arc<Control>,
    /// How many tasks of this worker take part in a checkpoint.
    tasks: usize,
    open: BTreeMap<CheckpointId, OpenCheckpoint>,
    backlog: Arc<AtomicUsize>,
    written: Written,
}

/// What has come in for one checkpoint.
#[derive(Default)]
struct OpenCheckpoint {
    parts: BTreeMap<TaskId, Part>,
    file: Option<DataFile>,
    /// Tasks that have handed over everything.
    finished: usize,
    /// Those of them whose bytes are in the file, which is still open.
    waiting: Vec<(TaskId, TaskSnapshot, u64)>,
    declined: BTreeSet<TaskId>,
}

/// What has come in of one task.
#[derive(Default)]
struct Part {
    kept: Vec<(&'static str, KeyGroup, u64, Vec<u8>)>,
    blocks: Vec<(&'static str, Block)>,
    bytes: u64,
}

struct DataFile {
    name: String,
    writer: Box<dyn SnapshotWriter>,
    len: u64,
    crc32c: u32,
}

impl DataFile {
    /// Appends a block; where it is.
    fn append(&mut self, payload: &[u8]) -> Result<Location> {
        let header = frame::header(BLOCK, payload);
        let offset = self.len;
        for bytes in [&header[..], payload] {
            self.writer.append(bytes)?;
            self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
            self.len += bytes.len() as u64;
        }
        Ok(Location::File { name: self.name.clone(), offset, len: self.len - offset })
    }
}

impl Uploader {
    fn run(mut self, receiver: &Receiver<Message>) {
        for message in receiver {
            match message {
                Message::Chunk { id, task, state, group, entries, bytes } => {
                    let len = bytes.len();
                    if self.is_wanted(id) {
                        let result = self.take_chunk(id, &task, (state, group, entries, bytes));
                        self.decline_on_error(id, &task, result);
                    }
                    self.backlog.fetch_sub(len, Ordering::Relaxed);
                }
                Message::Finish { id, task, frame } => {
                    if self.is_wanted(id) {
                        let result = self.take_finish(id, &task, frame);
                        self.decline_on_error(id, &task, result);
                    }
                }
            }
        }
    }

    /// Drops what was collected for checkpoints that were given up; whether `id` is not one of them.
    fn is_wanted(&mut self, id: CheckpointId) -> bool {
        self.open.retain(|id, _| !self.control.is_given_up(*id));
        !self.control.is_given_up(id)
    }

    fn decline_on_error(&mut self, id: CheckpointId, task: &TaskId, result: Result<()>) {
        if let Err(error) = result
            && self.open.entry(id).or_default().declined.insert(task.clone())
        {
            self.control.tell(TaskEvent::Declined { id, task: task.clone(), reason: error.to_string() });
        }
    }

    fn take_chunk(
        &mut self,
        id: CheckpointId,
        task: &TaskId,
        chunk: (&'static str, KeyGroup, u64, Vec<u8>),
    ) -> Result<()> {
        let checkpoint = self.open.entry(id).or_default();
        let part = checkpoint.parts.entry(task.clone()).or_default();
        part.bytes += chunk.3.len() as u64;
        part.kept.push(chunk);
        if part.bytes <= INLINE_BYTES {
            return Ok(());
        }
        let file = match &mut checkpoint.file {
            Some(file) => file,
            none => {
                let store = self.store.as_ref().ok_or_else(|| Error::internal("a checkpoint without a storage"))?;
                let writer = store.create_data(id, self.worker)?;
                none.insert(DataFile { name: data_name(self.worker), writer, len: 0, crc32c: 0 })
            }
        };
        for (state, group, entries, bytes) in part.kept.drain(..) {
            let location = file.append(&bytes)?;
            part.blocks.push((state, Block { group, entries, location }));
            let mut written = lock(&self.written);
            if written.len() < WRITTEN_CHUNKS {
                written.push(bytes);
            }
        }
        Ok(())
    }

    fn take_finish(&mut self, id: CheckpointId, task: &TaskId, frame: SnapshotFrame) -> Result<()> {
        let checkpoint = self.open.entry(id).or_default();
        checkpoint.finished += 1;
        let part = checkpoint.parts.remove(task).unwrap_or_default();
        let elements = frame.operator_state.iter().flat_map(|state| &state.elements);
        let bytes = part.bytes + elements.map(|element| element.len() as u64).sum::<u64>();
        let in_file = !part.blocks.is_empty();
        let durable = frame.durable;
        let snapshot = part.into_snapshot(frame.keyed, frame.operator_state);
        if checkpoint.declined.contains(task) {
            return Ok(());
        }
        if let Some(durable) = durable {
            durable()?;
        }
        if in_file {
            checkpoint.waiting.push((task.clone(), snapshot, bytes));
        } else {
            self.control.tell(TaskEvent::Acknowledged { id, task: task.clone(), snapshot, files: Vec::new(), bytes });
        }
        self.close_if_complete(id)
    }

    /// Makes the data file durable once every task of the worker is through, and acknowledges those that are in it.
    fn close_if_complete(&mut self, id: CheckpointId) -> Result<()> {
        let checkpoint = self.open.get_mut(&id).expect("called for an open checkpoint");
        if checkpoint.finished < self.tasks {
            return Ok(());
        }
        let checkpoint = self.open.remove(&id).expect("checked above");
        let Some(file) = checkpoint.file else { return Ok(()) };
        let digest = FileDigest { name: file.name, len: file.len, crc32c: file.crc32c };
        let finished = file.writer.finish();
        let mut files = vec![digest];
        for (task, snapshot, bytes) in checkpoint.waiting {
            match &finished {
                Ok(()) => {
                    let files = std::mem::take(&mut files);
                    self.control.tell(TaskEvent::Acknowledged { id, task, snapshot, files, bytes });
                }
                Err(error) => self.control.tell(TaskEvent::Declined { id, task, reason: error.to_string() }),
            }
        }
        Ok(())
    }
}

impl Part {
    fn into_snapshot(self, keyed: Vec<KeyedFrame>, operator_state: Vec<OperatorState>) -> TaskSnapshot {
        let inline = self.kept.into_iter().map(|(state, group, entries, bytes)| {
            let mut framed = Vec::new();
            frame::seal(BLOCK, &bytes, &mut framed);
            (state, Block { group, entries, location: Location::Inline(framed) })
        });
        let mut blocks: Vec<(&str, Block)> = self.blocks.into_iter().chain(inline).collect();
        blocks.sort_by_key(|(_, block)| block.group);
        let keyed = keyed.into_iter().map(|frame| KeyedSnapshot {
            name: frame.name.to_string(),
            max_parallelism: frame.max_parallelism,
            range: frame.range,
            schema: frame.schema,
            blocks: blocks.iter().filter(|(state, _)| *state == frame.name).map(|(_, block)| block.clone()).collect(),
        });
        TaskSnapshot { keyed: keyed.collect(), operator_state }
    }
}
