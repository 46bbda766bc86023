//! What the upload thread does with what it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

use highwater_checkpoint::block::{BLOCK, BlockBuilder, Section, SectionKind};
use highwater_checkpoint::metadata::{Block, FileDigest, Location, TaskSnapshot};
use highwater_core::{CheckpointId, Error, ErrorKind, Result, TaskId, frame};
use highwater_state::table::{Chunk, ChunkKind};
use highwater_storage::JobStore;

use super::data_file::DataFile;
use super::tracked::Tracked;
use super::{INLINE_BYTES, KeyedFrame, Message, SnapshotFrame, WRITTEN_CHUNKS, Written};
use crate::control::{Control, TaskEvent, lock};

pub(super) struct Uploader {
    worker: u32,
    store: Option<Arc<JobStore>>,
    control: Arc<Control>,
    /// How many tasks of this worker take part in a checkpoint.
    tasks: usize,
    tracked: BTreeMap<(TaskId, &'static str), Tracked>,
    /// The files that lineages refer to and that are durable.
    durable: BTreeMap<String, FileDigest>,
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
    /// Those of them that wait for files to become durable.
    waiting: Vec<Acknowledgement>,
    declined: BTreeSet<TaskId>,
}

/// What has come in of one task.
#[derive(Default)]
struct Part {
    states: BTreeMap<&'static str, (BlockBuilder, Vec<Block>)>,
    bytes: u64,
}

/// What a task will be acknowledged with.
struct Acknowledgement {
    task: TaskId,
    snapshot: TaskSnapshot,
    /// The names of the files it refers to.
    files: BTreeSet<String>,
    bytes: u64,
}

impl Uploader {
    pub fn new(
        worker: u32,
        store: Option<Arc<JobStore>>,
        control: Arc<Control>,
        tasks: usize,
        backlog: Arc<AtomicUsize>,
        written: Written,
    ) -> Self {
        let (tracked, durable, open) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Uploader { worker, store, control, tasks, tracked, durable, open, backlog, written }
    }

    pub fn run(mut self, receiver: &Receiver<Message>) {
        for message in receiver {
            match message {
                Message::Track { task, state, restored, lost } => {
                    self.durable.extend(restored.files);
                    self.tracked.insert((task, state), Tracked::new(restored.lineage, lost));
                }
                Message::Chunk { id, task, state, chunk } => {
                    let len = chunk.bytes.len();
                    let result = self.take_chunk(id, &task, state, chunk);
                    self.decline_on_error(id, &task, result);
                    self.backlog.fetch_sub(len, Ordering::Relaxed);
                }
                Message::Finish { id, task, frame } => {
                    let result = self.take_finish(id, &task, frame);
                    self.decline_on_error(id, &task, result);
                    self.close_complete();
                }
            }
        }
    }

    /// What a task handed over is not written: the checkpoint fails, and the task's next one has to hold everything.
    fn decline_on_error(&mut self, id: CheckpointId, task: &TaskId, result: Result<()>) {
        let Err(error) = result else { return };
        self.tracked.iter_mut().filter(|((of, _), _)| of == task).for_each(|(_, tracked)| tracked.lose());
        if self.open.entry(id).or_default().declined.insert(task.clone()) {
            self.control.tell(TaskEvent::Declined { id, task: task.clone(), reason: error.to_string() });
        }
    }

    fn take_chunk(&mut self, id: CheckpointId, task: &TaskId, state: &'static str, chunk: Chunk) -> Result<()> {
        let Chunk { group, kind, entries, bytes } = chunk;
        let (worker, store) = (self.worker, self.store.as_deref());
        let checkpoint = self.open.entry(id).or_default();
        if checkpoint.declined.contains(task) {
            return Ok(());
        }
        let part = checkpoint.parts.entry(task.clone()).or_default();
        part.bytes += bytes.len() as u64;
        let (builder, blocks) = part.states.entry(state).or_default();
        let entries = u32::try_from(entries).ok().filter(|_| u32::try_from(bytes.len()).is_ok());
        let entries = entries.ok_or_else(|| {
            Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "a single row in key group {} of state {state} has more than 4 GiB: keep less per key",
                    group.0
                ),
            )
        })?;
        let kind = match kind {
            ChunkKind::Rows => SectionKind::Rows,
            ChunkKind::Removed => SectionKind::Removed,
        };
        builder.push(&Section { id, group, kind, entries, bytes: &bytes });
        if part.bytes > INLINE_BYTES && builder.is_full() {
            let file = open_file(&mut checkpoint.file, store, id, worker)?;
            write_block(builder, blocks, |payload| file.append(payload))?;
        }
        let mut written = lock(&self.written);
        if written.len() < WRITTEN_CHUNKS {
            written.push(bytes);
        }
        Ok(())
    }

    fn take_finish(&mut self, id: CheckpointId, task: &TaskId, frame: SnapshotFrame) -> Result<()> {
        let checkpoint = self.open.entry(id).or_default();
        checkpoint.finished += 1;
        let part = checkpoint.parts.remove(task).unwrap_or_default();
        if checkpoint.declined.contains(task) {
            return Ok(());
        }
        let elements = frame.operator_state.iter().flat_map(|state| &state.elements);
        let bytes = part.bytes + elements.map(|element| element.len() as u64).sum::<u64>();
        self.advance(id, task, &frame.keyed, part)?;
        if let Some(durable) = frame.durable {
            durable()?;
        }
        let mut files = BTreeSet::new();
        let keyed = frame.keyed.into_iter().map(|frame| {
            let tracked = &self.tracked[&(task.clone(), frame.name)];
            files.extend(tracked.lineage().files().map(str::to_owned));
            tracked.snapshot(frame)
        });
        let snapshot = TaskSnapshot { keyed: keyed.collect(), operator_state: frame.operator_state };
        let acknowledgement = Acknowledgement { task: task.clone(), snapshot, files, bytes };
        if acknowledgement.files.iter().all(|name| self.durable.contains_key(name)) {
            acknowledgement.send(id, &self.durable, &self.control);
        } else {
            self.open.entry(id).or_default().waiting.push(acknowledgement);
        }
        Ok(())
    }

    /// Appends what a task wrote at checkpoint `id` to the lineages of its states.
    fn advance(&mut self, id: CheckpointId, task: &TaskId, frames: &[KeyedFrame], mut part: Part) -> Result<()> {
        let (worker, store) = (self.worker, self.store.as_deref());
        let file = &mut self.open.entry(id).or_default().file;
        let mut inline = 0;
        for frame in frames {
            let tracked = self.tracked.get_mut(&(task.clone(), frame.name));
            let tracked = tracked.ok_or_else(|| Error::internal(format!("state {} is not tracked", frame.name)))?;
            let (mut builder, mut blocks) = part.states.remove(frame.name).unwrap_or_default();
            write_block(&mut builder, &mut blocks, |payload| {
                let mut framed = Vec::new();
                frame::seal(BLOCK, payload, &mut framed);
                Ok(Location::Inline(framed))
            })?;
            tracked.advance(id, frame, blocks)?;
            inline += tracked.inline_bytes();
        }
        for frame in frames {
            let Some(tracked) = self.tracked.get_mut(&(task.clone(), frame.name)) else { continue };
            if inline > INLINE_BYTES {
                tracked.move_inline(|framed| open_file(file, store, id, worker)?.append_frame(&[framed]))?;
            }
            let Some(store) = store else { continue };
            tracked.merge(frame.range, store, &self.durable, |payload| {
                open_file(file, Some(store), id, worker)?.append(payload)
            })?;
        }
        Ok(())
    }

    /// Closes the checkpoints for which nothing more will come, oldest first: what a newer one refers to is durable before it is.
    fn close_complete(&mut self) {
        // A task hands over its snapshots in order, so with a newer checkpoint every older one is complete, if some tasks left
        // it out.
        let complete = self.open.iter().rev().find(|(_, checkpoint)| checkpoint.finished >= self.tasks);
        let Some(newest) = complete.map(|(id, _)| *id) else { return };
        while let Some((id, checkpoint)) = self.open.pop_first() {
            if id > newest {
                self.open.insert(id, checkpoint);
                break;
            }
            self.close(id, checkpoint);
        }
        let open: BTreeSet<&String> =
            self.open.values().flat_map(|checkpoint| &checkpoint.waiting).flat_map(|waiting| &waiting.files).collect();
        let used: BTreeSet<&str> = self.tracked.values().flat_map(|tracked| tracked.lineage().files()).collect();
        self.durable.retain(|name, _| used.contains(name.as_str()) || open.contains(name));
    }

    fn close(&mut self, id: CheckpointId, checkpoint: OpenCheckpoint) {
        let mut failure = None;
        if let Some(file) = checkpoint.file {
            let name = file.name().to_owned();
            match file.finish() {
                Ok(digest) => drop(self.durable.insert(name, digest)),
                Err(error) => {
                    let refers = |tracked: &&mut Tracked| tracked.lineage().files().any(|file| file == name);
                    self.tracked.values_mut().filter(refers).for_each(Tracked::lose);
                    failure = Some(error);
                }
            }
        }
        for waiting in checkpoint.waiting {
            if waiting.files.iter().all(|name| self.durable.contains_key(name)) {
                waiting.send(id, &self.durable, &self.control);
            } else {
                let reason = failure.clone().unwrap_or_else(|| "a file of the checkpoint before it failed".to_owned());
                self.control.tell(TaskEvent::Declined { id, task: waiting.task, reason });
            }
        }
    }
}

impl Acknowledgement {
    fn send(self, id: CheckpointId, durable: &BTreeMap<String, FileDigest>, control: &Control) {
        let Acknowledgement { task, snapshot, files, bytes } = self;
        let files = files.iter().filter_map(|name| durable.get(name).cloned()).collect();
        control.tell(TaskEvent::Acknowledged { id, task, snapshot, files, bytes });
    }
}

/// The file of the checkpoint, begun with the first that goes into it.
fn open_file<'a>(
    file: &'a mut Option<DataFile>,
    store: Option<&JobStore>,
    id: CheckpointId,
    worker: u32,
) -> Result<&'a mut DataFile> {
    match file {
        Some(file) => Ok(file),
        none => {
            let store = store.ok_or_else(|| Error::internal("a checkpoint without a storage"))?;
            Ok(none.insert(DataFile::create(store, id, worker)?))
        }
    }
}

/// Closes a block, unless it is empty, and writes it with `append`.
fn write_block(
    builder: &mut BlockBuilder,
    blocks: &mut Vec<Block>,
    append: impl FnOnce(&[u8]) -> Result<Location>,
) -> Result<()> {
    builder.close(|range, entries, payload| {
        blocks.push(Block { range, entries, location: append(payload)? });
        Ok(())
    })
}
