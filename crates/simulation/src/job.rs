//! The job that is simulated: sources that read splits of records, counts that keep every record they have seen by key group, and
//! sinks that stage what they get and commit it when its checkpoint has completed.
//!
//! A worker has one task of each. Records go from any source to the count that owns their key group, as far as its credit goes; a
//! count's output goes to the sink of its own worker. The marks of the real engine are here what follows from them: the epoch of each
//! input of a count, records of later epochs in its stash, and the barrier when the slowest input has passed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use highwater_checkpoint::{FileDigest, JobPlan, KeyedSnapshot, Lineage, Metadata, OperatorPlan, TaskSnapshot};
use highwater_core::flow::{Credit, Incoming, Limits, Outgoing};
use highwater_core::{
    CheckpointId, Error, ErrorKind, JobName, KeyGroupRange, KeyHash, MaxParallelism, OperatorUid, Parallelism,
    SubtaskIndex, TaskId, frame,
};
use highwater_jobmaster::AttemptToken;
use serde::{Deserialize, Serialize};

/// The operators, in the order of the stream.
pub const OPERATORS: [&str; 3] = ["source", "count", "sink"];
/// How many records may be on the way from a source to a count: few, so that sources are held back.
pub const LIMITS: Limits = Limits { first: 6, min: 2, max: 12 };
/// A task's file in a checkpoint.
const FILE: frame::Kind = frame::Kind { magic: *b"SIMU", version: 1, name: "simulated state" };
/// The name of the metadata among the files of a checkpoint.
pub const METADATA: &str = "_metadata";

/// A record: the split it was read from, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Record {
    pub split: u32,
    pub offset: u32,
}

/// How much there is to read.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    pub splits: u32,
    pub records: u32,
    pub key_groups: MaxParallelism,
}

impl Input {
    /// The subtask of the count that a record goes to.
    pub fn owner(&self, record: Record, parallelism: Parallelism) -> u32 {
        let key = KeyHash::of(&[record.split.to_le_bytes(), record.offset.to_le_bytes()].concat());
        self.key_groups.owner(key.key_group(self.key_groups), parallelism).0
    }

    pub fn all(&self) -> impl Iterator<Item = Record> + use<> {
        let records = self.records;
        (0..self.splits).flat_map(move |split| (0..records).map(move |offset| Record { split, offset }))
    }

    pub fn plan(&self, parallelism: Parallelism) -> JobPlan {
        let operator = |name: &str| OperatorPlan {
            uid: uid(name),
            name: name.to_owned(),
            parallelism,
            max_parallelism: self.key_groups,
        };
        JobPlan::new(job_name(), OPERATORS.map(operator).to_vec()).expect("the simulated job has a good plan")
    }
}

pub fn job_name() -> JobName {
    JobName::parse("simulated").expect("a good name")
}

fn uid(name: &str) -> OperatorUid {
    OperatorUid::parse(name).expect("a good uid")
}

pub fn task(operator: &str, subtask: u32) -> TaskId {
    TaskId { operator: uid(operator), subtask: SubtaskIndex(subtask) }
}

/// Output of one sink in one epoch, under a name by which it is committed once however often that is tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Transaction {
    pub token: AttemptToken,
    pub subtask: u32,
    pub epoch: u64,
    pub records: Vec<Record>,
}

/// What a task's file in a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    Source(BTreeMap<u32, u32>),
    Count(BTreeSet<Record>),
    Sink(Vec<Transaction>),
}

impl Content {
    /// The file that holds it.
    pub fn encode(&self) -> Vec<u8> {
        let payload = postcard::to_stdvec(self).expect("it is encoded to memory");
        let mut bytes = Vec::new();
        frame::seal(FILE, &payload, &mut bytes);
        bytes
    }
}

/// The files of a checkpoint, as they were read.
pub type Files = BTreeMap<String, Vec<u8>>;

/// All of a checkpoint, verified.
///
/// # Errors
/// If any of it is missing, or is not what was written: with the name of the file.
pub fn open(id: CheckpointId, files: &Files) -> Result<(Metadata, Restored), Error> {
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, format!("checkpoint {id}: {what}"));
    let bytes = files.get(METADATA).ok_or_else(|| corrupt("it has no metadata".into()))?;
    let metadata = Metadata::decode(bytes, &format!("chk-{id}/{METADATA}"))?;
    let mut restored = Restored::default();
    for file in &metadata.files {
        let bytes = files.get(&file.name).ok_or_else(|| corrupt(format!("{} is gone", file.name)))?;
        let payload = frame::open(FILE, bytes, &format!("chk-{id}/{}", file.name))?.payload;
        if checksum(bytes) != file.crc32c {
            return Err(corrupt(format!("{} is not what was acknowledged", file.name)));
        }
        let content = postcard::from_bytes::<Content>(payload).map_err(|error| corrupt(error.to_string()))?;
        restored.add(content);
    }
    Ok((metadata, restored))
}

/// All of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub positions: BTreeMap<u32, u32>,
    pub counted: Vec<Record>,
    pub staged: Vec<Transaction>,
}

impl Restored {
    pub fn add(&mut self, content: Content) {
        match content {
            Content::Source(positions) => self.positions.extend(positions),
            Content::Count(records) => self.counted.extend(records),
            Content::Sink(transactions) => self.staged.extend(transactions),
        }
    }
}

/// What a worker does.
#[derive(Debug)]
pub enum Effect {
    /// Send this to a worker.
    Send { to: u32, what: Payload },
    /// A task has taken its snapshot.
    Snapshot { id: CheckpointId, operator: &'static str, content: Content },
    /// All splits of the source are read.
    SourceEnded,
    /// Make this visible.
    Commit(Transaction),
    /// What must not be.
    Wrong(String),
}

/// What goes between a source and a count.
#[derive(Clone, Copy, Debug)]
pub enum Payload {
    Record {
        record: Record,
        epoch: u64,
    },
    /// Epochs up to this one are over.
    Barrier(CheckpointId),
    /// The other way: how many records the count has dealt with.
    Credit(Credit),
}

/// A record of an epoch that has not begun for the count.
#[derive(Clone, Copy, Debug)]
struct Stashed {
    epoch: u64,
    from: u32,
    record: Record,
}

/// One worker of an attempt.
#[derive(Debug)]
pub struct Worker {
    pub subtask: u32,
    token: AttemptToken,
    parallelism: Parallelism,
    input: Input,
    positions: BTreeMap<u32, u32>,
    epoch: u64,
    pub source_ended: bool,
    /// The source reads nothing in epochs after this one.
    last: Option<CheckpointId>,
    outgoing: Vec<Outgoing>,
    incoming: Vec<Incoming>,
    /// What has come and was not looked at.
    inbox: VecDeque<(u32, Payload)>,
    counting: u64,
    inputs: Vec<u64>,
    /// Epochs that end with a checkpoint: a leader that took over may have left some out.
    barriers: BTreeSet<u64>,
    stash: Vec<Stashed>,
    counted: BTreeSet<Record>,
    open: Vec<Record>,
    staged: BTreeMap<u64, Transaction>,
}

impl Worker {
    /// A worker that restores its part, and what it commits at once: what was staged in the checkpoint.
    pub fn restore(
        token: AttemptToken,
        subtask: u32,
        parallelism: Parallelism,
        input: Input,
        first_epoch: CheckpointId,
        restored: &Restored,
    ) -> (Self, Vec<Effect>) {
        let count = parallelism.count();
        let splits = (0..input.splits).filter(|split| split % count == subtask);
        let positions = splits.map(|split| (split, restored.positions.get(&split).copied().unwrap_or(0))).collect();
        let is_own = |record: &&Record| input.owner(**record, parallelism) == subtask;
        let counted = restored.counted.iter().filter(is_own).copied().collect();
        let mine = restored.staged.iter().zip(0u32..).filter(|(_, index)| index % count == subtask);
        let commits = mine.map(|(transaction, _)| Effect::Commit(transaction.clone())).collect();
        let worker = Worker {
            subtask,
            token,
            parallelism,
            input,
            positions,
            epoch: first_epoch.0,
            source_ended: false,
            last: None,
            outgoing: vec![Outgoing::new(LIMITS); count as usize],
            incoming: vec![Incoming::new(LIMITS); count as usize],
            inbox: VecDeque::new(),
            counting: first_epoch.0,
            inputs: vec![first_epoch.0; count as usize],
            barriers: BTreeSet::new(),
            stash: Vec::new(),
            counted,
            open: Vec::new(),
            staged: BTreeMap::new(),
        };
        (worker, commits)
    }

    /// The highest epoch that any of its tasks is in.
    pub fn epoch(&self) -> u64 {
        self.epoch.max(self.counting)
    }

    /// How many records wait for a barrier.
    pub fn stashed(&self) -> usize {
        self.stash.len()
    }

    /// How many records of a source it has and has not counted.
    pub fn holds_of(&self, source: u32) -> usize {
        let is_record = |(from, what): &&(u32, Payload)| *from == source && matches!(what, Payload::Record { .. });
        let waiting = self.inbox.iter().filter(is_record).count();
        waiting + self.stash.iter().filter(|stashed| stashed.from == source).count()
    }

    /// Whether its source was told to read nothing after a checkpoint.
    pub fn is_last(&self) -> bool {
        self.last.is_some()
    }

    fn is_past_last(&self) -> bool {
        self.last.is_some_and(|last| self.epoch > last.0)
    }

    /// Whether its source has room for another record, whomever it goes to.
    pub fn has_room(&self) -> bool {
        self.outgoing.iter().all(Outgoing::has_room)
    }

    /// Reads a record of each split, as long as there is room.
    pub fn read(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.is_past_last() {
            return effects;
        }
        for (split, position) in &mut self.positions {
            if *position < self.input.records && self.outgoing.iter().all(Outgoing::has_room) {
                let record = Record { split: *split, offset: *position };
                *position += 1;
                let to = self.input.owner(record, self.parallelism);
                self.outgoing[to as usize].sent(1);
                effects.push(Effect::Send { to, what: Payload::Record { record, epoch: self.epoch } });
            }
        }
        if !self.source_ended && self.positions.values().all(|position| *position >= self.input.records) {
            self.source_ended = true;
            effects.push(Effect::SourceEnded);
        }
        effects
    }

    /// Ends the epochs up to `id` at the source, which reads nothing more if that is the last.
    pub fn trigger(&mut self, id: CheckpointId, is_last: bool) -> Vec<Effect> {
        if id.0 < self.epoch {
            return Vec::new();
        }
        if is_last {
            self.last = Some(id);
        }
        self.epoch = id.0 + 1;
        let content = Content::Source(self.positions.clone());
        let barriers = (0..self.parallelism.count()).map(|to| Effect::Send { to, what: Payload::Barrier(id) });
        std::iter::once(Effect::Snapshot { id, operator: OPERATORS[0], content }).chain(barriers).collect()
    }

    /// The last checkpoint was not the last: the source reads on.
    pub fn resume(&mut self) {
        self.last = None;
    }

    /// Something has come from another worker.
    pub fn receive(&mut self, from: u32, what: Payload) {
        match what {
            Payload::Credit(credit) => self.outgoing[from as usize].credited(credit),
            Payload::Record { .. } | Payload::Barrier(_) => self.inbox.push_back((from, what)),
        }
    }

    /// The count takes in up to so much of what has come.
    pub fn process(&mut self, most: usize, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (from, what) in self.inbox.drain(..most.min(self.inbox.len())).collect::<Vec<_>>() {
            self.take(from, what, now, &mut effects);
        }
        effects
    }

    fn take(&mut self, from: u32, what: Payload, now: Duration, effects: &mut Vec<Effect>) {
        match what {
            Payload::Record { record, epoch } if epoch < self.inputs[from as usize] => {
                effects.push(Effect::Wrong(format!("I5: {record:?} of epoch {epoch} came after its barrier")));
            }
            Payload::Record { record, epoch } if epoch > self.counting => {
                self.stash.push(Stashed { epoch, from, record });
            }
            Payload::Record { record, .. } => self.count(from, record, now, effects),
            Payload::Barrier(id) => {
                let input = &mut self.inputs[from as usize];
                if id.0 < *input {
                    effects.push(Effect::Wrong(format!("I5: the barrier of {id} came to epoch {input}")));
                }
                *input = id.0 + 1;
                self.barriers.insert(id.0);
                self.pass_barriers(now, effects);
            }
            Payload::Credit(_) => {}
        }
    }

    fn count(&mut self, from: u32, record: Record, now: Duration, effects: &mut Vec<Effect>) {
        if !self.counted.insert(record) {
            effects.push(Effect::Wrong(format!("I1: {record:?} was counted twice")));
        }
        self.open.push(record);
        if let Some(credit) = self.incoming[from as usize].consumed(1, || now) {
            effects.push(Effect::Send { to: from, what: Payload::Credit(credit) });
        }
    }

    /// The slowest input decides which epochs are over.
    fn pass_barriers(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let passed = self.inputs.iter().copied().min().unwrap_or(self.counting);
        while self.counting < passed {
            if self.barriers.remove(&self.counting) {
                self.snapshot(CheckpointId(self.counting), effects);
            }
            self.counting += 1;
            let counting = self.counting;
            let waiting = std::mem::take(&mut self.stash).into_iter();
            let (due, later): (Vec<_>, Vec<_>) = waiting.partition(|stashed| stashed.epoch <= counting);
            self.stash = later;
            due.into_iter().for_each(|Stashed { from, record, .. }| self.count(from, record, now, effects));
        }
    }

    /// Count and sink take part in checkpoint `id`: the sink stages what it has.
    fn snapshot(&mut self, id: CheckpointId, effects: &mut Vec<Effect>) {
        effects.push(Effect::Snapshot { id, operator: OPERATORS[1], content: Content::Count(self.counted.clone()) });
        let records = std::mem::take(&mut self.open);
        let (token, subtask) = (self.token, self.subtask);
        self.staged.insert(id.0, Transaction { token, subtask, epoch: id.0, records });
        let staged = self.staged.values().cloned().collect();
        effects.push(Effect::Snapshot { id, operator: OPERATORS[2], content: Content::Sink(staged) });
    }

    /// A checkpoint has completed: the sink commits what it has staged up to it.
    pub fn complete(&mut self, id: CheckpointId) -> Vec<Effect> {
        let later = self.staged.split_off(&(id.0 + 1));
        std::mem::replace(&mut self.staged, later).into_values().map(Effect::Commit).collect()
    }
}

/// How a task acknowledges what it has written.
pub fn handles(
    operator: &str,
    subtask: u32,
    parallelism: Parallelism,
    key_groups: MaxParallelism,
    id: CheckpointId,
    bytes: &[u8],
) -> (TaskSnapshot, Vec<FileDigest>) {
    let mut snapshot = TaskSnapshot::default();
    if operator == OPERATORS[1] {
        let range: KeyGroupRange = key_groups.range_of(SubtaskIndex(subtask), parallelism);
        let lineage = Lineage { since: vec![id; range.count()], segments: Vec::new() };
        let (name, schema) = ("state".to_owned(), String::new());
        snapshot.keyed.push(KeyedSnapshot { name, max_parallelism: key_groups, range, schema, lineage, store: None });
    }
    let (name, len) = (format!("{operator}-{subtask}"), bytes.len() as u64);
    let file = FileDigest { name, shared_by: None, len, crc32c: checksum(bytes) };
    (snapshot, vec![file])
}

pub fn checksum(bytes: &[u8]) -> u32 {
    KeyHash::of(bytes).0 as u32
}
