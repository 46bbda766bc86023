//! What the upload thread does with what it is sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};

use highwater_checkpoint::Lineage;
use highwater_checkpoint::SavepointLocation;
use highwater_checkpoint::block::{BLOCK, BlockBuilder, Section, SectionKind};
use highwater_checkpoint::metadata::{Block, FileDigest, Location, TaskSnapshot};
use highwater_core::{CheckpointId, Error, Result, TaskId, frame};
use highwater_state::table::{Chunk, ChunkKind};
use highwater_state::tier;
use highwater_storage::JobStore;

use super::data_file::DataFile;
use super::store_files::StoreFiles;
use super::store_rows::{StoreRows, too_large};
use super::tracked::Tracked;
use super::{INLINE_BYTES, KeyedFrame, Message, SnapshotFrame, WRITTEN_CHUNKS, Written};
use crate::control::{Control, TaskEvent, lock};
use crate::savepoint;

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
    store_files: StoreFiles,
    backlog: Arc<AtomicUsize>,
    written: Written,
}

/// What has come in for one checkpoint or savepoint.
#[derive(Default)]
struct OpenCheckpoint {
    /// Where it goes, if it is a savepoint.
    savepoint: Option<SavepointLocation>,
    /// What a savepoint consists of, apart from the lineages that go on.
    own: BTreeMap<(TaskId, &'static str), Tracked>,
    parts: BTreeMap<TaskId, Part>,
    /// Rows of stores that a savepoint is not through with.
    rows: VecDeque<StoreRows>,
    /// Tasks that have handed over everything, and whose rows are not through.
    held: BTreeMap<TaskId, SnapshotFrame>,
    file: Option<DataFile>,
    /// Tasks that are through.
    finished: usize,
    /// Those of them that wait for files to become durable.
    waiting: Vec<Acknowledgement>,
    declined: BTreeSet<TaskId>,
}

/// What has come in of one task.
#[derive(Default)]
struct Part {
    states: BTreeMap<&'static str, (BlockBuilder, Vec<Block>)>,
    /// What comes before that, of a store.
    below: BTreeMap<&'static str, Vec<Block>>,
    bytes: u64,
    /// Those that were written for its stores.
    store_bytes: u64,
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
        let store_files = StoreFiles::new(worker);
        Uploader { worker, store, control, tasks, tracked, durable, open, store_files, backlog, written }
    }

    pub fn run(mut self, receiver: &Receiver<Message>) {
        while let Some(message) = self.next(receiver) {
            match message {
                Message::Track { task, state, restored, lost } => {
                    self.durable.extend(restored.files);
                    self.tracked.insert((task, state), Tracked::new(restored.lineage, restored.store, lost));
                }
                Message::Store { id, task, state, snapshot } => {
                    let result = self.take_store(id, &task, state, snapshot);
                    self.decline_on_error(id, &task, result);
                }
                Message::Chunk { id, task, state, chunk } => {
                    let len = chunk.bytes.len();
                    let result = self.take_chunk(id, &task, state, chunk);
                    self.decline_on_error(id, &task, result);
                    self.backlog.fetch_sub(len, Ordering::Relaxed);
                }
                Message::Finish { id, task, frame } => {
                    self.finish(id, &task, frame);
                }
            }
            // Neither waits for the other.
            self.write_rows();
        }
    }

    /// What was sent next; `None` if nothing will be. Until there is something the savepoints go on.
    fn next(&mut self, receiver: &Receiver<Message>) -> Option<Message> {
        while self.open.values().any(|checkpoint| !checkpoint.rows.is_empty()) {
            match receiver.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.write_rows(),
            }
        }
        receiver.recv().ok()
    }

    fn finish(&mut self, id: CheckpointId, task: &TaskId, frame: SnapshotFrame) {
        let checkpoint = opened(&mut self.open, id, &self.control);
        if checkpoint.rows.iter().any(|rows| rows.task == *task) {
            checkpoint.held.insert(task.clone(), frame);
            return;
        }
        let result = self.take_finish(id, task, frame);
        self.decline_on_error(id, task, result);
        self.close_complete();
    }

    /// Writes a part of the rows that the oldest savepoint waits for.
    fn write_rows(&mut self) {
        let Some((id, checkpoint)) = self.open.iter_mut().find(|(_, checkpoint)| !checkpoint.rows.is_empty()) else {
            return;
        };
        let id = *id;
        if self.control.is_given_up(id) {
            // Nobody waits for it any more.
            checkpoint.rows.clear();
            checkpoint.held.clear();
            return;
        }
        let place =
            Place { id, worker: self.worker, store: self.store.as_deref(), savepoint: checkpoint.savepoint.as_ref() };
        let (rows, file) = (&mut checkpoint.rows, &mut checkpoint.file);
        let Some(mut written) = rows.pop_front() else { return };
        let task = written.task.clone();
        let result = match written.advance(id, |payload| place.open_file(file)?.append(payload)) {
            Ok(false) => return rows.push_front(written),
            Ok(true) => {
                let state = written.state;
                let (blocks, bytes) = written.into_blocks();
                let part = checkpoint.parts.entry(task.clone()).or_default();
                part.below.insert(state, blocks);
                part.store_bytes += bytes;
                Ok(())
            }
            Err(error) => Err(error),
        };
        let held = checkpoint.held.remove(&task);
        self.decline_on_error(id, &task, result);
        if let Some(frame) = held {
            self.finish(id, &task, frame);
        }
    }

    /// What a task handed over is not written: the checkpoint fails, and the task's next one has to hold everything.
    fn decline_on_error(&mut self, id: CheckpointId, task: &TaskId, result: Result<()>) {
        let Err(error) = result else { return };
        let checkpoint = opened(&mut self.open, id, &self.control);
        if checkpoint.savepoint.is_none() {
            self.tracked.iter_mut().filter(|((of, _), _)| of == task).for_each(|(_, tracked)| tracked.lose());
        }
        if checkpoint.declined.insert(task.clone()) {
            self.control.tell(TaskEvent::Declined { id, task: task.clone(), reason: error.to_string() });
        }
    }

    fn take_chunk(&mut self, id: CheckpointId, task: &TaskId, state: &'static str, chunk: Chunk) -> Result<()> {
        let Chunk { group, kind, entries, bytes } = chunk;
        let checkpoint = opened(&mut self.open, id, &self.control);
        if checkpoint.declined.contains(task) {
            return Ok(());
        }
        let (store, savepoint) = (self.store.as_deref(), checkpoint.savepoint.as_ref());
        let place = Place { id, worker: self.worker, store, savepoint };
        let part = checkpoint.parts.entry(task.clone()).or_default();
        part.bytes += bytes.len() as u64;
        let (builder, blocks) = part.states.entry(state).or_default();
        let entries = u32::try_from(entries).ok().filter(|_| u32::try_from(bytes.len()).is_ok());
        let entries = entries.ok_or_else(|| too_large(group, state))?;
        let kind = match kind {
            ChunkKind::Rows => SectionKind::Rows,
            ChunkKind::Removed => SectionKind::Removed,
        };
        builder.push(&Section { id, group, kind, entries, bytes: &bytes });
        if part.bytes > INLINE_BYTES && builder.is_full() {
            let file = place.open_file(&mut checkpoint.file)?;
            write_block(builder, blocks, |payload| file.append(payload))?;
        }
        let mut written = lock(&self.written);
        if written.len() < WRITTEN_CHUNKS {
            written.push(bytes);
        }
        Ok(())
    }

    fn take_store(
        &mut self,
        id: CheckpointId,
        task: &TaskId,
        state: &'static str,
        snapshot: tier::StoreSnapshot,
    ) -> Result<()> {
        let checkpoint = opened(&mut self.open, id, &self.control);
        if checkpoint.declined.contains(task) {
            return Ok(());
        }
        if checkpoint.savepoint.is_some() {
            checkpoint.rows.push_back(StoreRows::new(task.clone(), state, snapshot.view()?));
            return Ok(());
        }
        let local = snapshot.take()?;
        let store = self.store.as_deref().ok_or_else(|| Error::internal("a checkpoint without a storage"))?;
        let tracked = self.tracked.get_mut(&(task.clone(), state));
        let tracked = tracked.ok_or_else(|| Error::internal(format!("state {state} is not tracked")))?;
        let (bytes, files) = self.store_files.upload(store, id, &local, tracked.store().as_ref(), &mut self.durable)?;
        checkpoint.parts.entry(task.clone()).or_default().store_bytes += bytes;
        *tracked.store() = Some(files);
        Ok(())
    }

    fn take_finish(&mut self, id: CheckpointId, task: &TaskId, frame: SnapshotFrame) -> Result<()> {
        let checkpoint = opened(&mut self.open, id, &self.control);
        checkpoint.finished += 1;
        let part = checkpoint.parts.remove(task).unwrap_or_default();
        if checkpoint.declined.contains(task) {
            return Ok(());
        }
        let elements = frame.operator_state.iter().flat_map(|state| &state.elements);
        let bytes = part.bytes + part.store_bytes + elements.map(|element| element.len() as u64).sum::<u64>();
        self.advance(id, task, &frame.keyed, part)?;
        if let Some(durable) = frame.durable {
            durable()?;
        }
        let checkpoint = opened(&mut self.open, id, &self.control);
        let lineages = if checkpoint.savepoint.is_some() { &checkpoint.own } else { &self.tracked };
        let mut files = BTreeSet::new();
        let keyed = frame.keyed.into_iter().map(|frame| {
            let tracked = &lineages[&(task.clone(), frame.name)];
            files.extend(tracked.files().map(str::to_owned));
            tracked.snapshot(frame)
        });
        let snapshot = TaskSnapshot { keyed: keyed.collect(), operator_state: frame.operator_state };
        let acknowledgement = Acknowledgement { task: task.clone(), snapshot, files, bytes };
        if acknowledgement.files.iter().all(|name| self.durable.contains_key(name)) {
            acknowledgement.send(id, &self.durable, &self.control);
        } else {
            checkpoint.waiting.push(acknowledgement);
        }
        Ok(())
    }

    /// Appends what a task wrote at checkpoint `id` to the lineages of its states: of a savepoint to new ones.
    fn advance(&mut self, id: CheckpointId, task: &TaskId, frames: &[KeyedFrame], mut part: Part) -> Result<()> {
        let OpenCheckpoint { savepoint, own, file, .. } = opened(&mut self.open, id, &self.control);
        let place = Place { id, worker: self.worker, store: self.store.as_deref(), savepoint: savepoint.as_ref() };
        let lineages = if savepoint.is_some() { own } else { &mut self.tracked };
        if savepoint.is_some() {
            let empty = |frame: &KeyedFrame| {
                ((task.clone(), frame.name), Tracked::new(Lineage::default(), None, Arc::default()))
            };
            lineages.extend(frames.iter().map(empty));
        }
        let mut inline = 0;
        for frame in frames {
            let tracked = lineages.get_mut(&(task.clone(), frame.name));
            let tracked = tracked.ok_or_else(|| Error::internal(format!("state {} is not tracked", frame.name)))?;
            let (mut builder, above) = part.states.remove(frame.name).unwrap_or_default();
            let mut blocks = part.below.remove(frame.name).unwrap_or_default();
            blocks.extend(above);
            write_block(&mut builder, &mut blocks, |payload| {
                let mut framed = Vec::new();
                frame::seal(BLOCK, payload, &mut framed);
                Ok(Location::Inline(framed))
            })?;
            tracked.advance(id, frame, blocks)?;
            inline += tracked.inline_bytes();
        }
        for frame in frames {
            let Some(tracked) = lineages.get_mut(&(task.clone(), frame.name)) else { continue };
            if inline > INLINE_BYTES {
                tracked.move_inline(|framed| place.open_file(file)?.append_frame(&[framed]))?;
            }
            let Some(store) = place.store else { continue };
            tracked.merge(frame.range, store, &self.durable, |payload| place.open_file(file)?.append(payload))?;
        }
        Ok(())
    }

    /// Closes the checkpoints for which nothing more will come, oldest first: what a newer one refers to is durable before it is.
    fn close_complete(&mut self) {
        // A task hands over its snapshots in order, so with a newer checkpoint every older one is complete, if some tasks left
        // it out: but for a savepoint that is not through with the rows of a store.
        let complete = self.open.iter().rev().find(|(_, checkpoint)| checkpoint.finished >= self.tasks);
        let Some(newest) = complete.map(|(id, _)| *id) else { return };
        let complete = self.open.range(..=newest).filter(|(_, checkpoint)| checkpoint.rows.is_empty());
        let complete: Vec<CheckpointId> = complete.map(|(id, _)| *id).collect();
        for id in complete {
            let Some(checkpoint) = self.open.remove(&id) else { continue };
            self.close(id, checkpoint);
        }
        let open: BTreeSet<&String> =
            self.open.values().flat_map(|checkpoint| &checkpoint.waiting).flat_map(|waiting| &waiting.files).collect();
        let used: BTreeSet<&str> = self.tracked.values().flat_map(Tracked::files).collect();
        self.durable.retain(|name, _| used.contains(name.as_str()) || open.contains(name));
    }

    fn close(&mut self, id: CheckpointId, checkpoint: OpenCheckpoint) {
        let is_savepoint = checkpoint.savepoint.is_some();
        // Files of two savepoints have the same names.
        let mut own = BTreeMap::new();
        let durable = if is_savepoint { &mut own } else { &mut self.durable };
        let mut failure = None;
        if let Some(file) = checkpoint.file {
            let name = file.name().to_owned();
            match file.finish() {
                Ok(digest) => drop(durable.insert(name, digest)),
                Err(error) => {
                    // No lineage refers to a file of a savepoint.
                    let refers = |tracked: &&mut Tracked| tracked.files().any(|file| file == name);
                    self.tracked.values_mut().filter(refers).for_each(Tracked::lose);
                    failure = Some(error);
                }
            }
        }
        for waiting in checkpoint.waiting {
            if waiting.files.iter().all(|name| durable.contains_key(name)) {
                waiting.send(id, durable, &self.control);
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

/// What has come in for checkpoint `id`, opened with the first of it.
fn opened<'a>(
    open: &'a mut BTreeMap<CheckpointId, OpenCheckpoint>,
    id: CheckpointId,
    control: &Control,
) -> &'a mut OpenCheckpoint {
    open.entry(id).or_insert_with(|| OpenCheckpoint { savepoint: control.savepoint(id), ..OpenCheckpoint::default() })
}

/// Where a worker's file of a checkpoint goes.
#[derive(Clone, Copy)]
struct Place<'a> {
    id: CheckpointId,
    worker: u32,
    store: Option<&'a JobStore>,
    savepoint: Option<&'a SavepointLocation>,
}

impl Place<'_> {
    /// The file, begun with the first that goes into it.
    fn open_file<'f>(&self, file: &'f mut Option<DataFile>) -> Result<&'f mut DataFile> {
        match file {
            Some(file) => Ok(file),
            none => {
                let store = self.store.ok_or_else(|| Error::internal("a checkpoint without a storage"))?;
                let begun = match self.savepoint {
                    Some(location) => DataFile::create_in(&savepoint::open(location, store.storage())?, self.worker),
                    None => DataFile::create(store, self.id, self.worker),
                };
                Ok(none.insert(begun?))
            }
        }
    }
}

/// Closes a block, unless it is empty, and writes it with `append`.
pub(super) fn write_block(
    builder: &mut BlockBuilder,
    blocks: &mut Vec<Block>,
    append: impl FnOnce(&[u8]) -> Result<Location>,
) -> Result<()> {
    builder.close(|range, entries, payload| {
        blocks.push(Block { range, entries, location: append(payload)? });
        Ok(())
    })
}
