//! A bound on the memory of the process, so that a job whose state outgrows it ends with an error that says so, and not by the
//! kernel's OOM killer.
//!
//! What is watched is the resident memory of the whole process: that is what the machine has to have, whatever a row owns on the
//! heap, and it costs nothing to keep. Where the system does not tell it, nothing is watched.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use highwater_core::{Error, Result, TaskId};

use crate::control::{Control, lock};

/// How often the memory is looked at: a worker fills less than 100 MiB of fresh memory meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// How many tasks an error names.
const NAMED: usize = 3;

/// What of the memory of the machine the default budget leaves to others, as a share: one in this many parts.
const LEFT_TO_OTHERS: u64 = 10;

/// The size of a task's state, as it tells now and then.
#[derive(Debug, Default)]
pub(crate) struct StateSize {
    keys: AtomicU64,
    bytes: AtomicU64,
}

impl StateSize {
    /// `bytes` are those of the tables, without what rows own on the heap.
    pub fn set(&self, keys: usize, bytes: usize) {
        self.keys.store(keys as u64, Ordering::Relaxed);
        self.bytes.store(bytes as u64, Ordering::Relaxed);
    }
}

/// The sizes of the state of all tasks of this process, for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateSizes(Arc<Mutex<BTreeMap<TaskId, Arc<StateSize>>>>);

impl StateSizes {
    /// The size of a task's state.
    pub fn of(&self, task: &TaskId) -> Arc<StateSize> {
        Arc::clone(lock(&self.0).entry(task.clone()).or_default())
    }
}

impl fmt::Display for StateSizes {
    /// The largest of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = lock(&self.0);
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let mut sizes: Vec<_> = sizes.iter().map(|(task, size)| (load(&size.bytes), load(&size.keys), task)).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        for (index, (bytes, keys, task)) in sizes.into_iter().take(NAMED).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{task} has {keys} keys in tables of {} MiB", bytes >> 20)?;
        }
        Ok(())
    }
}

/// Fails the attempt when the process has more memory than its budget. Ends when it is dropped.
pub(crate) struct MemoryWatch {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// Watches from now on; the error is told as of `worker`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(budget: u64, sizes: StateSizes, control: Arc<Control>, worker: u32) -> Result<Self> {
        let (end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("highwater-memory".into())
            .spawn(move || {
                while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    let Some(resident) = resident_bytes() else { return };
                    if resident > budget {
                        control.fail(worker, outgrown(resident, budget, &sizes));
                        return;
                    }
                }
            })
            .map_err(|error| Error::internal("cannot start the memory thread").with_source(error))?;
        Ok(MemoryWatch { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn outgrown(resident: u64, budget: u64, sizes: &StateSizes) -> Error {
    Error::settings(format!(
        "the job has outgrown its memory: the process takes {} MiB of a budget of {} MiB (--memory-budget); {sizes}. \
         Spread it over more processes, let state expire, or give it more memory; it goes on from its last checkpoint",
        resident >> 20,
        budget >> 20
    ))
}

/// The memory that the process takes, in bytes.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kib_after(&status, "VmRSS:").map(|kib| kib << 10)
}

/// The budget of a process for which none is set: nine tenths of what the machine, or the container, has. `None` where the system
/// does not tell.
pub fn default_memory_budget() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|info| kib_after(&info, "MemTotal:"));
    let limit = [machine.map(|kib| kib << 10), container_limit()].into_iter().flatten().min()?;
    Some(limit - limit / LEFT_TO_OTHERS)
}

/// The limit of the control group, version 2 or 1.
fn container_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let files = [
        format!("/sys/fs/cgroup{path}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    // Without a limit there is a word, or a number that no machine has.
    files.iter().find_map(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok())
}

fn kib_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use highwater_core::{OperatorUid, SubtaskIndex};

    use super::*;

    #[test]
    fn an_error_names_the_largest_states() {
        let sizes = StateSizes::default();
        for (subtask, mib) in [(0, 3), (1, 70), (2, 5), (3, 1)] {
            let operator = OperatorUid::parse("count").unwrap();
            sizes.of(&TaskId { operator, subtask: SubtaskIndex(subtask) }).set(mib * 10, mib << 20);
        }
        let error = outgrown(2 << 30, 1 << 30, &sizes);
        assert_eq!(
            error.message(),
            "the job has outgrown its memory: the process takes 2048 MiB of a budget of 1024 MiB (--memory-budget); \
             count[1] has 700 keys in tables of 70 MiB, count[2] has 50 keys in tables of 5 MiB, \
             count[0] has 30 keys in tables of 3 MiB. \
             Spread it over more processes, let state expire, or give it more memory; it goes on from its last checkpoint"
        );
    }

    #[test]
    fn sizes_are_read_as_the_system_writes_them() {
        assert_eq!(kib_after("Name:\tx\nVmRSS:\t   1234 kB\nVmData: 9 kB\n", "VmRSS:"), Some(1234));
        assert_eq!(kib_after("VmRSS: many kB", "VmRSS:"), None);
        assert_eq!(kib_after("", "VmRSS:"), None);
    }
}
