//! A checkpoint storage whose calls fail on request.
//!
//! A call to something remote has four outcomes, not two: it takes effect or not, and the caller is told or left in
//! doubt. Code that is right under all four [`Fate`]s of every call has understood [`Outcome`]. (Materialize's
//! `Unreliable` blob is the model.)
//!
//! Invariant: an error that says [`Outcome::DidNotHappen`] is only ever reported for a call that did not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_storage::disk::given_up;
use highwater_storage::{CheckpointStorage, Entry, Error, Lock, Outcome, Result, SnapshotWriter, What};

use highwater_core::Random;

/// The calls of a [`CheckpointStorage`] and its [`SnapshotWriter`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`CheckpointStorage::create_dir`]
    CreateDir,
    /// [`CheckpointStorage::create`]
    Create,
    /// [`SnapshotWriter::append`]
    Append,
    /// [`SnapshotWriter::finish`]
    Finish,
    /// [`CheckpointStorage::publish`]
    Publish,
    /// [`CheckpointStorage::read`]
    Read,
    /// [`CheckpointStorage::read_range`]
    ReadRange,
    /// [`CheckpointStorage::list`]
    List,
    /// [`CheckpointStorage::remove_file`]
    RemoveFile,
    /// [`CheckpointStorage::remove_dir_all`]
    RemoveDirAll,
    /// [`CheckpointStorage::lock`]
    Lock,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It happens, and the caller is told so.
    Happens,
    /// It happens, and the caller is told that it may have.
    HappensInDoubt,
    /// It does not happen, and the caller is told so.
    Fails,
    /// It does not happen, and the caller is told that it may have.
    FailsInDoubt,
}

/// A storage that passes every call on to another one, unless its fate is different.
#[derive(Clone, Debug)]
pub struct FaultyStorage {
    inner: Arc<dyn CheckpointStorage>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    counts: BTreeMap<Call, u64>,
    script: BTreeMap<(Call, u64), Fate>,
    seeded: Option<(Random, u8)>,
}

impl FaultyStorage {
    /// Fails no call but those chosen with [`set`](Self::set).
    pub fn new(inner: Arc<dyn CheckpointStorage>) -> Self {
        FaultyStorage { inner, plan: Arc::default() }
    }

    /// Gives `percent` of 100 calls one of the three bad fates, as `seed` decides.
    pub fn seeded(inner: Arc<dyn CheckpointStorage>, seed: u64, percent: u8) -> Self {
        let plan = Plan { seeded: Some((Random::new(seed), percent)), ..Plan::default() };
        FaultyStorage { inner, plan: Arc::new(Mutex::new(plan)) }
    }

    /// Decides the fate of the `n`-th `call` since the beginning, counted from 1.
    ///
    /// # Panics
    /// If it has been made already.
    pub fn set(&self, call: Call, n: u64, fate: Fate) {
        let done = self.count(call);
        assert!(n > done, "{call:?} number {n} is to be {fate:?}, but {done} are done");
        plan(&self.plan).script.insert((call, n), fate);
    }

    /// How many times `call` was made.
    pub fn count(&self, call: Call) -> u64 {
        plan(&self.plan).counts.get(&call).copied().unwrap_or(0)
    }

    fn pass<T>(&self, call: Call, path: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let fate = plan(&self.plan).next(call);
        suffer(fate, call, path, act)
    }
}

impl Plan {
    fn next(&mut self, call: Call) -> Fate {
        let count = self.counts.entry(call).or_default();
        *count += 1;
        if let Some(fate) = self.script.get(&(call, *count)) {
            return *fate;
        }
        let Some((random, percent)) = &mut self.seeded else { return Fate::Happens };
        if random.chance(*percent) {
            [Fate::HappensInDoubt, Fate::Fails, Fate::FailsInDoubt][random.up_to(2)]
        } else {
            Fate::Happens
        }
    }
}

fn plan(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

fn suffer<T>(fate: Fate, call: Call, path: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let injected = |outcome| {
        let detail = format!("injected fault: {call:?} {fate:?}");
        Err(Error::new(What::Other, outcome, "reach the storage for", path).with_detail(detail))
    };
    match fate {
        Fate::Happens => act(),
        Fate::HappensInDoubt => act().and_then(|_| injected(Outcome::MayHaveHappened)),
        Fate::Fails => injected(Outcome::DidNotHappen),
        Fate::FailsInDoubt => injected(Outcome::MayHaveHappened),
    }
}

impl CheckpointStorage for FaultyStorage {
    fn uri(&self) -> String {
        self.inner.uri()
    }

    fn reopen_uri(&self) -> String {
        self.inner.reopen_uri()
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        self.pass(Call::CreateDir, dir, || self.inner.create_dir(dir))
    }

    fn create(&self, path: &str) -> Result<Box<dyn SnapshotWriter>> {
        let inner = self.pass(Call::Create, path, || self.inner.create(path))?;
        let (plan, path) = (Arc::clone(&self.plan), path.to_owned());
        Ok(Box::new(FaultyWriter { inner, plan, path, failed: false }))
    }

    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.pass(Call::Publish, path, || self.inner.publish(path, bytes))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.pass(Call::Read, path, || self.inner.read(path))
    }

    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.pass(Call::ReadRange, path, || self.inner.read_range(path, offset, len))
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        self.pass(Call::List, dir, || self.inner.list(dir))
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        self.pass(Call::RemoveFile, path, || self.inner.remove_file(path))
    }

    fn remove_dir_all(&self, dir: &str) -> Result<()> {
        self.pass(Call::RemoveDirAll, dir, || self.inner.remove_dir_all(dir))
    }

    fn lock(&self, dir: &str) -> Result<Lock> {
        self.pass(Call::Lock, dir, || self.inner.lock(dir))
    }
}

#[derive(Debug)]
struct FaultyWriter {
    inner: Box<dyn SnapshotWriter>,
    plan: Arc<Mutex<Plan>>,
    path: String,
    failed: bool,
}

impl SnapshotWriter for FaultyWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.failed {
            return Err(given_up("append to", Path::new(&self.path)));
        }
        let fate = plan(&self.plan).next(Call::Append);
        let result = suffer(fate, Call::Append, &self.path, || self.inner.append(bytes));
        self.failed = result.is_err();
        result
    }

    fn finish(self: Box<Self>) -> Result<()> {
        if self.failed {
            return Err(given_up("finish", Path::new(&self.path)));
        }
        let fate = plan(&self.plan).next(Call::Finish);
        let FaultyWriter { inner, path, .. } = *self;
        suffer(fate, Call::Finish, &path, || inner.finish())
    }
}
