//! A lock for storages without one: a lease, which lasts only as long as its holder renews it.
//!
//! The lease of a folder is a row of files `<dir>/.lease/<generation>`, of which the newest counts. Each holds who
//! wrote it, for how long it holds, and whether it was given back. All that is needed of a storage is that *of several
//! who create the same file, one succeeds*:
//!
//! * the holder renews by creating the next generation, three times within the time the lease holds;
//! * a contender reads the newest generation and waits for as long as it says. If a newer one appears meanwhile, the
//!   holder lives. If none does, the contender creates the next generation, and so do others: one succeeds;
//! * a holder who cannot create the next generation because it is there has been replaced.
//!
//! No clocks are compared, only how long somebody has waited. A holder counts from *before* it wrote a generation, a
//! contender from *after* it read it; so the holder's time is over first.
//!
//! Invariant: of all leases of a folder, at most one is valid, as long as no clock runs faster than another by more
//! than a tenth. A process that was stopped (by its machine or a debugger) between looking at its lease and acting on
//! it can act too late. What is protected against that is [`publish`](crate::CheckpointStorage::publish), which never
//! overwrites: a late publish cannot take the place of one that the new holder has made.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use highwater_core::{Clock, SystemClock};

use super::token;
use crate::disk::unless_not_found;
use crate::error::{Error, Outcome, Result, What};
use crate::lock::Lock;

const WAY_OUT: &str = "another run of this job is using it: stop that run, or choose another checkpoint directory";
/// A lease is renewed this often within the time it holds, so that one renewal may be lost.
const RENEWALS: u32 = 3;

/// The files of leases, by folder and generation.
pub(crate) trait LeaseFiles: Send + Sync + 'static {
    /// The generations there are, in any order; none if the folder has never been locked.
    fn generations(&self, dir: &str) -> Result<Vec<u64>>;

    /// What a generation holds.
    fn read(&self, dir: &str, generation: u64) -> Result<Vec<u8>>;

    /// Creates a generation; [`What::AlreadyExists`] if there is one. Of several who try, one succeeds.
    fn create(&self, dir: &str, generation: u64, content: &[u8]) -> Result<()>;

    /// Removes a generation. Not there is Ok.
    fn remove(&self, dir: &str, generation: u64) -> Result<()>;
}

/// The leases that runs of this process hold in one storage.
pub(crate) struct Leases {
    /// What folders lie in, for people.
    place: String,
    files: Arc<dyn LeaseFiles>,
    /// The same files with less patience, for what has to be done in time.
    renewed_files: Arc<dyn LeaseFiles>,
    clock: Arc<dyn Clock>,
    time: Duration,
    held: Arc<Mutex<BTreeMap<String, Arc<Held>>>>,
}

impl Leases {
    /// Leases that hold for `time`, in a storage that is called `place`.
    pub(crate) fn new(
        place: String,
        files: Arc<dyn LeaseFiles>,
        renewed_files: Arc<dyn LeaseFiles>,
        time: Duration,
    ) -> Self {
        Leases { place, files, renewed_files, clock: Arc::new(SystemClock::new()), time, held: Arc::default() }
    }

    /// Locks `dir`, which is there. Waits while it is not clear whether its holder lives.
    pub(crate) fn lock(&self, dir: &str) -> Result<Lock> {
        let held = Arc::new(Held {
            dir: dir.to_owned(),
            owner: token(),
            time: self.time,
            state: Mutex::new(State { generation: 0, valid_until: Duration::ZERO, replaced: false }),
        });
        // What this process holds lives: nobody needs to wait to find out.
        if lock(&self.held).contains_key(dir) {
            return Err(self.locked(dir));
        }
        self.acquire(&held)?;
        lock(&self.held).insert(dir.to_owned(), Arc::clone(&held));
        let renewer = Renewer { held, files: Arc::clone(&self.renewed_files), clock: Arc::clone(&self.clock) };
        Ok(Lock::new(Guard::start(renewer, Arc::clone(&self.held))?))
    }

    /// Refuses to change anything below a folder whose lease this process held and may not hold any more.
    pub(crate) fn check(&self, operation: &'static str, path: &str) -> Result<()> {
        let now = self.clock.monotonic();
        let held = lock(&self.held);
        let of_path = |held: &&Arc<Held>| path.strip_prefix(&held.dir).is_some_and(|rest| rest.starts_with('/'));
        held.values().find(of_path).map_or(Ok(()), |held| held.check(operation, path, now))
    }

    fn acquire(&self, held: &Held) -> Result<()> {
        let mut watch = Watch::default();
        loop {
            let newest = self.newest(&held.dir)?;
            let before = self.clock.monotonic();
            let first = watch.seen.is_none();
            match watch.look(newest.as_ref(), before) {
                Verdict::Lives => return Err(self.locked(&held.dir)),
                Verdict::Unclear(wait) => {
                    if first && let Some((_, Record { holds, .. })) = newest {
                        tracing::info!(
                            dir = held.dir,
                            ?holds,
                            "waiting to see whether the run that held the lock is gone"
                        );
                    }
                    thread::sleep(wait);
                }
                Verdict::Free(generation) => match self.files.create(&held.dir, generation, &held.record(false)) {
                    Ok(()) => {
                        held.renewed(generation, before);
                        self.sweep(&held.dir, generation);
                        return Ok(());
                    }
                    Err(error) if error.what() == What::AlreadyExists => return Err(self.locked(&held.dir)),
                    Err(error) => return Err(error),
                },
            }
        }
    }

    fn newest(&self, dir: &str) -> Result<Option<(u64, Record)>> {
        loop {
            let Some(generation) = self.files.generations(dir)?.into_iter().max() else { return Ok(None) };
            // Gone means renewed while we looked.
            if let Some(content) = unless_not_found(self.files.read(dir, generation))? {
                return Ok(Some((generation, Record::parse(dir, generation, &content)?)));
            }
        }
    }

    fn locked(&self, dir: &str) -> Error {
        let path = format_args!("{}/{dir}", self.place);
        Error::new(What::Locked, Outcome::DidNotHappen, "lock", path).with_detail(WAY_OUT)
    }

    /// Generations that a holder left when it died. What cannot be removed is in nobody's way.
    fn sweep(&self, dir: &str, newest: u64) {
        let found = self.files.generations(dir).unwrap_or_default();
        for old in found.into_iter().filter(|generation| *generation < newest) {
            let _ = self.files.remove(dir, old);
        }
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases").field("time", &self.time).finish_non_exhaustive()
    }
}

/// A lease that was granted.
struct Held {
    dir: String,
    owner: String,
    time: Duration,
    state: Mutex<State>,
}

struct State {
    generation: u64,
    valid_until: Duration,
    replaced: bool,
}

impl Held {
    fn record(&self, given_back: bool) -> Vec<u8> {
        let time = if given_back { Duration::ZERO } else { self.time };
        format!("highwater-lease 1\nowner {}\nholds_ms {}\n", self.owner, time.as_millis()).into_bytes()
    }

    fn renewed(&self, generation: u64, began: Duration) {
        let mut state = lock(&self.state);
        state.generation = generation;
        state.valid_until = began + self.time;
    }

    fn check(&self, operation: &'static str, path: &str, now: Duration) -> Result<()> {
        let state = lock(&self.state);
        if !state.replaced && now < state.valid_until {
            return Ok(());
        }
        let why = if state.replaced {
            format!("another run has taken over {}: this one must end", self.dir)
        } else {
            format!("the lease of {} could not be renewed in time, so another run may have taken over", self.dir)
        };
        Err(Error::new(What::Locked, Outcome::DidNotHappen, operation, path).with_detail(why))
    }
}

/// What a generation holds.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    owner: String,
    /// How long it holds; nothing if it was given back.
    holds: Duration,
}

impl Record {
    fn parse(dir: &str, generation: u64, content: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(content);
        let mut lines = text.lines();
        let known = lines.next() == Some("highwater-lease 1");
        let owner = lines.next().and_then(|line| line.strip_prefix("owner "));
        let holds = lines.next().and_then(|line| line.strip_prefix("holds_ms ")?.parse().ok());
        match (known, owner, holds) {
            (true, Some(owner), Some(ms)) => Ok(Record { owner: owner.to_owned(), holds: Duration::from_millis(ms) }),
            _ => Err(Error::new(What::Other, Outcome::DidNotHappen, "lock", dir).with_detail(format!(
                "{dir}/.lease/{} is not a lease that this version knows: remove it if no run uses the folder",
                generation_name(generation)
            ))),
        }
    }
}

/// Name of a generation: sorted by name they are in order.
pub(crate) fn generation_name(generation: u64) -> String {
    format!("{generation:020}")
}

/// What a contender knows.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Take this generation.
    Free(u64),
    /// The holder lives.
    Lives,
    /// Look again after this time.
    Unclear(Duration),
}

/// A contender's watch over the newest generation.
#[derive(Debug, Default)]
struct Watch {
    seen: Option<(u64, Duration)>,
}

impl Watch {
    fn look(&mut self, newest: Option<&(u64, Record)>, now: Duration) -> Verdict {
        let Some((generation, record)) = newest else { return Verdict::Free(1) };
        if record.holds.is_zero() {
            return Verdict::Free(generation + 1);
        }
        match self.seen {
            Some((seen, since)) if seen == *generation => {
                // A tenth more, for clocks that do not run alike.
                let wait = (record.holds + record.holds / 10).saturating_sub(now.saturating_sub(since));
                if wait.is_zero() {
                    Verdict::Free(generation + 1)
                } else {
                    Verdict::Unclear(wait.min(record.holds / 10))
                }
            }
            Some(_) => Verdict::Lives,
            None => {
                self.seen = Some((*generation, now));
                Verdict::Unclear(record.holds / 10)
            }
        }
    }
}

/// Renews a lease until told to stop.
struct Renewer {
    held: Arc<Held>,
    files: Arc<dyn LeaseFiles>,
    clock: Arc<dyn Clock>,
}

impl Renewer {
    fn run(&self, stop: &mpsc::Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(self.held.time / RENEWALS) {
            self.renew(false);
        }
        self.renew(true);
    }

    fn renew(&self, give_back: bool) {
        let (generation, replaced) = {
            let state = lock(&self.held.state);
            (state.generation, state.replaced)
        };
        if replaced {
            return;
        }
        let (dir, began) = (&self.held.dir, self.clock.monotonic());
        match self.files.create(dir, generation + 1, &self.held.record(give_back)) {
            Ok(()) => {
                self.held.renewed(generation + 1, began);
                // Else the next holder sweeps it.
                let _ = self.files.remove(dir, generation);
            }
            Err(error) if error.what() == What::AlreadyExists => self.meet(generation + 1, give_back),
            Err(error) => tracing::warn!(dir, %error, "the lease of the checkpoint folder was not renewed"),
        }
    }

    /// The next generation is there: another run's, or one of ours of which no answer came.
    fn meet(&self, generation: u64, give_back: bool) {
        let dir = &self.held.dir;
        let found = self.files.read(dir, generation).and_then(|content| Record::parse(dir, generation, &content));
        match found {
            Ok(record) if record.owner == self.held.owner => {
                // Since when is not known, so it does not make the lease last longer: the next one does.
                lock(&self.held.state).generation = generation;
                self.renew(give_back);
            }
            Err(error) if error.what() != What::NotFound => {
                tracing::warn!(dir, %error, "the lease of the checkpoint folder was not renewed");
            }
            // Not found: its holder has renewed it already, and we are not the one.
            Ok(_) | Err(_) => {
                lock(&self.held.state).replaced = true;
                tracing::error!(dir, "another run has taken over this job's checkpoint folder: this one must end");
            }
        }
    }
}

/// Gives the lease back when dropped.
struct Guard {
    dir: String,
    held: Arc<Mutex<BTreeMap<String, Arc<Held>>>>,
    stop: Option<Sender<()>>,
    renewer: Option<JoinHandle<()>>,
}

impl Guard {
    fn start(renewer: Renewer, held: Arc<Mutex<BTreeMap<String, Arc<Held>>>>) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let dir = renewer.held.dir.clone();
        let mut guard = Guard { dir, held, stop: Some(stop), renewer: None };
        let thread = thread::Builder::new().name("highwater-lease".to_owned()).spawn(move || renewer.run(&stopped));
        let unable = |source| Error::new(What::Other, Outcome::DidNotHappen, "lock", &guard.dir).with_source(source);
        guard.renewer = Some(thread.map_err(unable)?);
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(renewer) = self.renewer.take() {
            // It has nothing to tell: a lease that could not be given back runs out.
            let _ = renewer.join();
        }
        lock(&self.held).remove(&self.dir);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
