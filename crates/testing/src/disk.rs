//! A file system in memory that can lose power at any sync.
//!
//! The [`SimulatedDisk`] behaves like a machine with a page cache: everything is visible at once, and nothing is
//! durable before it was synced (the rules are those of [`highwater_storage::disk`]). What was not synced when the
//! power goes is lost, or kept, or kept in part, as the seed decides; an unsynced rename may survive and the create
//! before it not.
//!
//! A test runs its scenario once and counts the syncs, then runs it again for each of them with
//! [`crash_at_sync`](SimulatedDisk::crash_at_sync), and looks at what [`reboot`](SimulatedDisk::reboot) finds. A crash
//! between two syncs finds the same as one at the later sync that had no effect, so every case is covered. (redb's
//! `crash_consistency` test is the model.)
//!
//! Invariant: the same seed and the same calls find the same disk.

mod cache;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_storage::disk::{DirEntry, Metadata, check_range, given_up};
use highwater_storage::lock::LockTable;
use highwater_storage::{Disk, DiskFile, Error, Lock, Outcome, Result, What};

use cache::{Node, PageCache};
use highwater_core::Random;

/// Whether the sync at which the machine died had reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncEffect {
    /// It had: only the answer is missing.
    Took,
    /// It had not.
    Lost,
}

/// A file system in memory. A clone is another handle to the same one.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    cache: PageCache,
    random: Random,
    dead: bool,
    syncs: u64,
    crash_at: Option<(u64, SyncEffect)>,
    capacity: Option<u64>,
    locks: LockTable,
}

impl SimulatedDisk {
    /// An empty disk with only the root folder; `seed` decides what a power cut keeps of what was not synced.
    pub fn new(seed: u64) -> Self {
        Self::of(PageCache::new(), Random::new(seed), None)
    }

    /// The same disk with room for `bytes` bytes of file content from now on.
    #[must_use]
    pub fn with_capacity(self, bytes: u64) -> Self {
        self.state().capacity = Some(bytes);
        self
    }

    /// Lets the machine die at the `n`-th sync since this disk was made: that call and all after it fail.
    ///
    /// # Panics
    /// If there were that many already.
    pub fn crash_at_sync(&self, n: u64, effect: SyncEffect) {
        let mut state = self.state();
        assert!(n > state.syncs, "sync {n} is to fail, but {} are done", state.syncs);
        state.crash_at = Some((n, effect));
    }

    /// Syncs of files and folders so far, the failed one included.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Cuts the power if it was not cut yet, and returns the disk as the next boot finds it. This handle stays dead.
    pub fn reboot(&self) -> SimulatedDisk {
        let mut state = self.state();
        state.dead = true;
        let mut random = Random::new(state.random.any());
        Self::of(state.cache.after_power_cut(&mut random), random, state.capacity)
    }

    /// Ends the process but not the machine (`kill -9`), and returns the disk as the next process finds it: all is
    /// visible, also what was never synced and may vanish later. This handle stays dead.
    pub fn restart(&self) -> SimulatedDisk {
        let mut state = self.state();
        state.dead = true;
        let random = Random::new(state.random.any());
        Self::of(state.cache.clone(), random, state.capacity)
    }

    fn of(cache: PageCache, random: Random, capacity: Option<u64>) -> Self {
        let locks = LockTable::default();
        let state = State { cache, random, dead: false, syncs: 0, crash_at: None, capacity, locks };
        SimulatedDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` if the machine is alive, and puts `operation` and `path` into its error.
    fn on<T>(&self, operation: &'static str, path: &Path, act: impl FnOnce(&mut State) -> io::Result<T>) -> Result<T> {
        let mut state = self.state();
        if state.dead {
            return Err(dead(Outcome::DidNotHappen, operation, path));
        }
        let result = act(&mut state).map_err(|source| Error::io(operation, path, source));
        // It died of this very call.
        if state.dead { Err(dead(Outcome::MayHaveHappened, operation, path)) } else { result }
    }

    fn open(&self, path: &Path, node: Node) -> Box<dyn DiskFile> {
        Box::new(SimulatedFile { disk: self.clone(), path: path.to_owned(), node, failed: false })
    }
}

impl State {
    /// Counts a sync, which is `act` unless the machine dies of it.
    fn sync(&mut self, act: impl FnOnce(&mut PageCache)) {
        self.syncs += 1;
        let crash = self.crash_at.filter(|(n, _)| *n == self.syncs).map(|(_, effect)| effect);
        self.dead = crash.is_some();
        match crash {
            None | Some(SyncEffect::Took) => act(&mut self.cache),
            Some(SyncEffect::Lost) => {}
        }
    }

    /// Like a real disk, writes what fits before it says that it is full.
    fn append(&mut self, node: Node, bytes: &[u8]) -> io::Result<()> {
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.cache.used()));
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        self.cache.content(node).extend_from_slice(&bytes[..fits]);
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimulatedDisk").field("syncs", &state.syncs).field("dead", &state.dead).finish_non_exhaustive()
    }
}

impl Disk for SimulatedDisk {
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.on("create", path, |state| state.cache.create_file(path)).map(|node| self.open(path, node))
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<Box<dyn DiskFile>> {
        check_range(path, 0, len, self.metadata(path)?.len)?;
        let node = self.on("truncate", path, |state| {
            let node = state.cache.file(path)?;
            state.cache.content(node).truncate(usize::try_from(len).unwrap_or(usize::MAX));
            state.sync(|cache| cache.sync_file(node));
            Ok(node)
        })?;
        Ok(self.open(path, node))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let read = self.on("read", path, |state| state.cache.file(path).map(|node| state.cache.content(node).clone()));
        read.map_err(|error| error.with_outcome(Outcome::DidNotHappen))
    }

    fn read_range(&self, path: &Path, offset: u64, len: u64) -> Result<Vec<u8>> {
        let bytes = self.read(path)?;
        check_range(path, offset, len, bytes.len() as u64)?;
        Ok(bytes[offset as usize..(offset + len) as usize].to_vec())
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        self.on("sync the folder", path, |state| {
            let node = state.cache.dir(path)?;
            state.sync(|cache| cache.sync_dir(node));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.on("rename", from, |state| state.cache.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        self.on("rename", from, |state| match state.cache.metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => state.cache.rename(from, to),
        })
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.on("remove", path, |state| state.cache.remove_file(path))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        self.on("create the folder", path, |state| state.cache.create_dir(path))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        self.on("remove the folder", path, |state| state.cache.remove_dir(path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        self.on("list", path, |state| state.cache.list(path))
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        self.on("look at", path, |state| state.cache.metadata(path))
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        let locks = self.on("lock", path, |state| {
            match state.cache.create_file(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(_) | Err(_) => {}
            }
            Ok(state.locks.clone())
        })?;
        locks.lock(path)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    path: PathBuf,
    node: Node,
    failed: bool,
}

impl SimulatedFile {
    fn attempt(&mut self, operation: &'static str, act: impl FnOnce(&mut State, Node) -> io::Result<()>) -> Result<()> {
        if self.failed {
            return Err(given_up(operation, &self.path));
        }
        let node = self.node;
        let result = self.disk.on(operation, &self.path, |state| act(state, node));
        self.failed = result.is_err();
        result
    }
}

impl DiskFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.attempt("append to", |state, node| state.append(node, bytes))
    }

    fn sync(&mut self) -> Result<()> {
        self.attempt("sync", |state, node| {
            state.sync(|cache| cache.sync_file(node));
            Ok(())
        })
    }

    fn len(&self) -> u64 {
        self.disk.state().cache.content(self.node).len() as u64
    }
}

fn dead(outcome: Outcome, operation: &'static str, path: &Path) -> Error {
    Error::new(What::Other, outcome, operation, path.display()).with_detail("the simulated machine has died")
}
